//! From a file to its documents: one at a time, unpacked on the way, so that memory holds no more
//! than is being validated.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use fhir_core::json;

use super::inputs::{Form, Input, Packing, Source, of_name};
use crate::progress::Progress;

/// The longest document: it is held in memory whole, some at a time.
pub(crate) const LONGEST_DOCUMENT: u64 = 256 << 20;

/// One resource as it was read, or why it was not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// The line of the file that it begins on, from 1.
    pub(crate) line: usize,
    pub(crate) content: Content,
}

/// What a document is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Json(Vec<u8>),
    Xml(Vec<u8>),
    /// It cannot be read, and why.
    Unreadable(String),
}

/// The documents of one file.
pub(crate) struct Documents {
    reader: Box<dyn BufRead + Send>,
    /// Not known until the first bytes are seen, where the name does not tell it.
    form: Option<Form>,
    /// Lines that were read.
    line: usize,
    is_over: bool,
}

impl Documents {
    /// Opens a file, or the standard input.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open(input: &Input, progress: &Progress) -> io::Result<Self> {
        let (reader, form): (Box<dyn BufRead + Send>, _) = match &input.source {
            Source::Standard => (Box::new(BufReader::new(io::stdin())), None),
            Source::File(path) => {
                let file = progress.count(File::open(path)?);
                let (packing, form) = of_name(path);
                (unpacked(file, packing)?, form)
            }
        };
        Ok(Self { reader, form, line: 0, is_over: false })
    }

    /// The next document; `None` after the last. Lines of white space are none.
    pub(crate) fn next(&mut self) -> Option<Document> {
        while !self.is_over {
            match self.read() {
                Ok(None) => self.is_over = true,
                Ok(Some(document)) => return Some(document),
                Err(error) => {
                    // Where a stream breaks nothing after it can be trusted to be what it was.
                    self.is_over = true;
                    let why = format!("the rest of the file cannot be read: {error}");
                    let content = Content::Unreadable(why);
                    return Some(Document { line: self.line.max(1), content });
                }
            }
        }
        None
    }

    fn read(&mut self) -> io::Result<Option<Document>> {
        match self.form {
            Some(Form::Lines) => self.next_line(),
            Some(form) => {
                self.is_over = true;
                let mut bytes = Vec::new();
                self.read_rest(&mut bytes)?;
                Ok(Some(Document { line: 1, content: whole(form, bytes) }))
            }
            None => self.first().map(|content| Some(Document { line: 1, content })),
        }
    }

    /// The next line that is more than white space.
    fn next_line(&mut self) -> io::Result<Option<Document>> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if !self.read_line(&mut bytes)? {
                return Ok(None);
            }
            if bytes.len() as u64 > LONGEST_DOCUMENT {
                self.reader.skip_until(b'\n')?;
                return Ok(Some(Document { line: self.line, content: too_long() }));
            }
            if !bytes.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(Document { line: self.line, content: Content::Json(bytes) }));
            }
        }
    }

    /// The first document of what has no name to tell its form: XML where it looks like it, lines
    /// where the first is a document, otherwise one document.
    fn first(&mut self) -> io::Result<Content> {
        let mut bytes = Vec::new();
        while self.read_line(&mut bytes)? && bytes.iter().all(u8::is_ascii_whitespace) {}
        let form = if looks_like_xml(&bytes) {
            Form::Xml
        } else if json::Document::parse(without_mark(&bytes)).is_ok() {
            self.form = Some(Form::Lines);
            return Ok(Content::Json(bytes));
        } else {
            Form::Json
        };
        self.is_over = true;
        self.read_rest(&mut bytes)?;
        Ok(whole(form, bytes))
    }

    /// Reads one line, to one byte more than the longest; whether there was one.
    fn read_line(&mut self, bytes: &mut Vec<u8>) -> io::Result<bool> {
        self.line += 1;
        let room = (LONGEST_DOCUMENT + 1).saturating_sub(bytes.len() as u64);
        Ok((&mut self.reader).take(room).read_until(b'\n', bytes)? > 0)
    }

    /// Reads what is left, to one byte more than the longest.
    fn read_rest(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let room = (LONGEST_DOCUMENT + 1).saturating_sub(bytes.len() as u64);
        (&mut self.reader).take(room).read_to_end(bytes)?;
        Ok(())
    }
}

fn unpacked(
    file: impl Read + Send + 'static,
    packing: Packing,
) -> io::Result<Box<dyn BufRead + Send>> {
    Ok(match packing {
        Packing::Plain => Box::new(BufReader::with_capacity(64 << 10, file)),
        Packing::Zstd => Box::new(BufReader::new(zstd::stream::read::Decoder::new(file)?)),
        Packing::Gzip => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file))),
    })
}

fn whole(form: Form, bytes: Vec<u8>) -> Content {
    if bytes.len() as u64 > LONGEST_DOCUMENT {
        return too_long();
    }
    match form {
        Form::Xml => Content::Xml(bytes),
        Form::Json | Form::Lines => Content::Json(bytes),
    }
}

fn too_long() -> Content {
    Content::Unreadable(format!("longer than {} MiB; split it", LONGEST_DOCUMENT >> 20))
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

/// Whether the first character is one that XML begins with; UTF-16 is XML's alone.
fn looks_like_xml(bytes: &[u8]) -> bool {
    let is_utf_16 = bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF");
    is_utf_16 || without_mark(bytes).trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    use crate::validate::inputs::Inputs;

    /// What is read from a file of this name: line, form and text.
    fn read(name: &str, content: &[u8]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let inputs = Inputs::find(&[path]).unwrap();
        let mut documents = match Documents::open(&inputs.files[0], &Progress::hidden()) {
            Ok(documents) => documents,
            Err(error) => return vec![error.to_string()],
        };
        let mut found = Vec::new();
        while let Some(Document { line, content }) = documents.next() {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
            found.push(match content {
                Content::Json(bytes) => format!("{line} json {}", text(bytes)),
                Content::Xml(bytes) => format!("{line} xml {}", text(bytes)),
                Content::Unreadable(why) => format!("{line} ! {why}"),
            });
        }
        found
    }

    #[test]
    fn lines_are_documents_and_keep_their_numbers() {
        assert_eq!(read("x.ndjson", b"\n{}\n  \nno\n{}"), ["2 json {}", "4 json no", "5 json {}"]);
        assert_eq!(read("x.ndjson", b"").len(), 0);
    }

    #[test]
    fn a_file_of_json_or_xml_is_one_document_however_many_lines_it_has() {
        assert_eq!(read("x.json", b"{\n}\n"), ["1 json {\n}"]);
        assert_eq!(read("x.xml", b"<a>\n</a>"), ["1 xml <a>\n</a>"]);
        assert_eq!(read("x.json", b""), ["1 json "]);
    }

    #[test]
    fn what_has_no_telling_name_is_known_by_how_it_begins() {
        assert_eq!(read("x", b"{\"a\":\n1}"), ["1 json {\"a\":\n1}"]);
        assert_eq!(read("x", b"{}\n{}\n"), ["1 json {}", "2 json {}"]);
        assert_eq!(read("x", b"\xEF\xBB\xBF <a>\n</a>"), ["1 xml \u{feff} <a>\n</a>"]);
        assert_eq!(read("x", b"\n\n{}\n{}"), ["1 json {}", "4 json {}"]);
        assert_eq!(read("x", b"no\nmore"), ["1 json no\nmore"]);
        assert_eq!(read("x", b""), ["1 json "]);
    }

    #[test]
    fn packed_files_read_like_plain_ones_also_in_several_parts() {
        let mut zstd = zstd::encode_all(&b"{}\n"[..], 1).unwrap();
        zstd.extend(zstd::encode_all(&b"[]\n"[..], 1).unwrap());
        assert_eq!(read("x.ndjson.zst", &zstd), ["1 json {}", "2 json []"]);
        let mut gzip = Vec::new();
        for part in ["{}\n", "[]\n"] {
            let mut encoder = flate2::write::GzEncoder::new(gzip, flate2::Compression::fast());
            encoder.write_all(part.as_bytes()).unwrap();
            gzip = encoder.finish().unwrap();
        }
        assert_eq!(read("x.ndjson.gz", &gzip), ["1 json {}", "2 json []"]);
    }

    #[test]
    fn a_packed_file_that_breaks_off_is_said_after_what_was_whole() {
        for name in ["x.ndjson.gz", "x.ndjson.zst"] {
            let found = read(name, b"this is packed by nobody");
            assert!(found.len() == 1 && found[0].contains("cannot be read"), "{found:?}");
        }
        let lines = "{}\n".repeat(100_000);
        let mut bytes = zstd::encode_all(lines.as_bytes(), 1).unwrap();
        bytes.truncate(bytes.len() - 4);
        let found = read("x.ndjson.zst", &bytes);
        let (last, before) = found.split_last().unwrap();
        assert!(last.contains("cannot be read"), "{last}");
        assert!(before.iter().all(|it| it.ends_with("json {}")));
    }
}
