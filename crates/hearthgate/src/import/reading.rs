//! From files to documents: line by line, or a file at a time; compressed or plain.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::document::{self, Place, Shipment};
use super::inputs::{Input, Inputs, is_ndjson, without_zst};
use crate::progress::Progress;

/// What comes out of the files.
#[derive(Debug)]
pub(crate) enum Read {
    /// Something to send.
    Shipment(Shipment),
    /// Something that is none: where, and why.
    Unreadable(Place, String),
    /// Wait for everything before.
    NextArgument,
}

/// The longest document: it is held in memory whole, a few at a time.
const LONGEST_DOCUMENT: u64 = 256 << 20;

/// Nobody takes what is read any more.
#[derive(Debug)]
struct Closed;

/// Reads every file and sends what is in it, until nobody takes it any more.
pub(crate) fn read_all(
    inputs: &Inputs,
    progress: &Progress,
    reserve: &dyn Fn(&mut Shipment),
    send: &mpsc::Sender<Read>,
) {
    for input in &inputs.files {
        let begun = if input.begins_group { give(send, Read::NextArgument) } else { Ok(()) };
        if begun.and_then(|()| read_file(input, progress, reserve, send)).is_err() {
            return;
        }
    }
}

fn read_file(
    input: &Input,
    progress: &Progress,
    reserve: &dyn Fn(&mut Shipment),
    send: &mpsc::Sender<Read>,
) -> Result<(), Closed> {
    let file: Arc<str> = input.path.display().to_string().into();
    let mut line = 1;
    let place = |line| Place { file: file.clone(), line, entry: None };
    let mut documents = match Documents::open(&input.path, progress) {
        Ok(documents) => documents,
        Err(error) => return give(send, Read::Unreadable(place(line), error.to_string())),
    };
    loop {
        match documents.next() {
            Ok(None) => return Ok(()),
            Ok(Some(Document::Whole(bytes))) => {
                if !bytes.iter().all(u8::is_ascii_whitespace) {
                    document::take_apart(bytes, &place(line), &mut |mut read| {
                        if let Read::Shipment(shipment) = &mut read {
                            reserve(shipment);
                        }
                        give(send, read).is_ok()
                    })
                    .map_err(|_| Closed)?;
                }
            }
            Ok(Some(Document::TooLong)) => {
                let why = format!("longer than {} MiB; split it", LONGEST_DOCUMENT >> 20);
                give(send, Read::Unreadable(place(line), why))?;
            }
            Err(error) => {
                // Where a stream breaks nothing after it can be trusted to be what it was.
                let why = format!("the rest of the file cannot be read: {error}");
                return give(send, Read::Unreadable(place(line), why));
            }
        }
        line += 1;
    }
}

fn give(send: &mpsc::Sender<Read>, read: Read) -> Result<(), Closed> {
    send.blocking_send(read).map_err(|_| Closed)
}

enum Document {
    Whole(Vec<u8>),
    TooLong,
}

/// The documents of one file.
struct Documents {
    reader: Box<dyn BufRead>,
    by_line: bool,
    is_start: bool,
}

impl Documents {
    fn open(path: &Path, progress: &Progress) -> io::Result<Self> {
        let file = progress.count(File::open(path)?);
        let (_, compressed) = without_zst(path);
        let reader: Box<dyn BufRead> = if compressed {
            Box::new(BufReader::new(zstd::stream::read::Decoder::new(file)?))
        } else {
            Box::new(BufReader::with_capacity(64 << 10, file))
        };
        Ok(Self { reader, by_line: is_ndjson(path), is_start: true })
    }

    /// The next document; `None` at the end of the file.
    fn next(&mut self) -> io::Result<Option<Document>> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.reader).take(LONGEST_DOCUMENT + 1);
        let read = if self.by_line {
            limited.read_until(b'\n', &mut bytes)?
        } else {
            limited.read_to_end(&mut bytes)?
        };
        if read == 0 {
            return Ok(None);
        }
        if bytes.len() as u64 > LONGEST_DOCUMENT {
            self.skip_rest()?;
            return Ok(Some(Document::TooLong));
        }
        if std::mem::take(&mut self.is_start) && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        Ok(Some(Document::Whole(bytes)))
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        if self.by_line {
            self.reader.skip_until(b'\n')?;
        } else {
            io::copy(&mut self.reader, &mut io::sink())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// What is read from a file of this name and content: `line: body` or `line! why`.
    fn read(name: &str, content: &[u8]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let inputs = Inputs::find(&[path]).unwrap();
        let (send, mut receive) = mpsc::channel(100);
        read_all(&inputs, &Progress::hidden(), &|_| (), &send);
        drop(send);
        let mut found = Vec::new();
        while let Some(read) = receive.blocking_recv() {
            match read {
                Read::Shipment(shipment) => found.push(format!(
                    "{}: {}",
                    shipment.place.line,
                    String::from_utf8_lossy(&shipment.body)
                )),
                Read::Unreadable(place, why) => found.push(format!("{}! {why}", place.line)),
                Read::NextArgument => {}
            }
        }
        found
    }

    #[test]
    fn lines_are_documents_and_keep_their_numbers() {
        let one = "{\"resourceType\":\"Basic\",\"n\":1.0}";
        let text = format!("\u{feff}{one}\r\n\n  \nnot json\n{one}");
        let found = read("x.ndjson", text.as_bytes());
        assert_eq!(found[0], format!("1: {one}"));
        assert!(found[1].starts_with("4! "), "{found:?}");
        assert_eq!(found[2], format!("5: {one}"));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_json_file_is_one_document_however_many_lines_it_has() {
        let text = "{\n \"resourceType\": \"Basic\",\n \"n\": 1.50\n}\n";
        assert_eq!(read("x.json", text.as_bytes()), [format!("1: {}", text.trim())]);
    }

    #[test]
    fn compressed_files_read_like_plain_ones_also_in_several_frames() {
        let line = b"{\"resourceType\":\"Basic\"}\n";
        let mut bytes = zstd::encode_all(&line[..], 1).unwrap();
        bytes.extend(zstd::encode_all(&line[..], 19).unwrap());
        let found = read("x.ndjson.zst", &bytes);
        assert_eq!(found, ["1: {\"resourceType\":\"Basic\"}", "2: {\"resourceType\":\"Basic\"}"]);
    }

    #[test]
    fn a_compressed_file_that_breaks_off_is_said_after_what_was_whole() {
        let mut text = Vec::new();
        for number in 0..20_000 {
            text.extend(format!("{{\"resourceType\":\"Basic\",\"n\":{number}}}\n").bytes());
        }
        let mut bytes = zstd::encode_all(&text[..], 1).unwrap();
        bytes.truncate(bytes.len() - 10);
        let found = {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.ndjson.zst");
            std::fs::write(&path, &bytes).unwrap();
            let mut documents = Documents::open(&path, &Progress::hidden()).unwrap();
            let mut whole = 0;
            loop {
                match documents.next() {
                    Ok(Some(_)) => whole += 1,
                    Ok(None) => panic!("no error"),
                    Err(_) => break whole,
                }
            }
        };
        assert!(found > 0 && found < 20_000, "{found}");
        assert!(read("y.json.zst", b"this is not zstd")[0].contains("cannot be read"));
    }
}
