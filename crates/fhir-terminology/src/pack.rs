//! Definitions as a small file: what each resource is called by in one index, and the resources
//! in blocks of their own, so that one is read without the others.
//!
//! ```text
//! "HGTERMS\0"                           8 bytes
//! format                                u16, little-endian
//! package, version, licence             three strings
//! index                                 length unpacked, length packed, zstd frame
//! blocks                                how many; of each length unpacked, length packed, frame
//! ```
//!
//! A number is LEB128, a string a number and that many bytes of UTF-8. A resource is kept as JSON
//! without what nobody asks for: narrative, contacts, extensions. The same package gives the same
//! bytes.

use fhir_core::json::{Document, Kind as JsonKind, Value};

use crate::layer::{Kind, Label};

/// The one format that is written and read.
pub const FORMAT: u16 = 1;

const MAGIC: &[u8; 8] = b"HGTERMS\0";
/// Unpacked bytes of a block, but for a resource that is larger by itself.
const BLOCK_BYTES: usize = 256 << 10;
const COMPRESSION_LEVEL: i32 = 19;
/// Many times what R4 takes.
const MAX_BYTES: usize = 64 << 20;

/// A packed file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It ends early or contradicts itself.
    #[error("the packed definitions are damaged: {0}")]
    Damaged(&'static str),
    /// The compressor failed.
    #[error("the definitions could not be compressed")]
    Compression(#[source] std::io::Error),
    /// A resource cannot be read.
    #[error("{file} cannot be read")]
    Resource {
        /// Its file in the package.
        file: String,
        /// What is wrong with it.
        #[source]
        source: Box<crate::TerminologyError>,
    },
}

/// Where a file comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// The package: `hl7.fhir.r4.core`.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The SPDX name of its licence.
    pub licence: String,
}

/// A packed file that was opened: its index, and its blocks still packed.
#[derive(Debug)]
pub struct Pack {
    /// Where it comes from.
    pub source: Source,
    /// The resources, each with its place.
    pub(crate) index: Vec<(Label, Place)>,
    blocks: Vec<(usize, &'static [u8])>,
}

/// Where a resource stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    block: usize,
    start: usize,
    end: usize,
}

/// Packs resources, in this order.
///
/// # Errors
/// [`PackError`] when one of them is no terminology resource, or the compressor fails.
pub fn encode(source: &Source, files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, PackError> {
    let mut index = Vec::new();
    let mut blocks: Vec<Vec<u8>> = vec![Vec::new()];
    let mut count = 0;
    for (name, bytes) in files {
        let unreadable = |problem: String| PackError::Resource {
            file: name.clone(),
            source: Box::new(crate::read_code_system::malformed("", problem)),
        };
        let document = Document::parse(bytes).map_err(|error| unreadable(error.to_string()))?;
        let label = Label::read(document.root()).map_err(|source| PackError::Resource {
            file: name.clone(),
            source: Box::new(source),
        })?;
        let mut kept = Vec::new();
        strip(document.root(), &mut kept);
        if blocks
            .last()
            .is_some_and(|last| last.len() + kept.len() > BLOCK_BYTES && !last.is_empty())
        {
            blocks.push(Vec::new());
        }
        let at = blocks.len() - 1;
        let block = &mut blocks[at];
        put_label(&mut index, &label);
        for number in [at, block.len(), block.len() + kept.len()] {
            put_number(&mut index, number);
        }
        block.extend(kept);
        count += 1;
    }
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&FORMAT.to_le_bytes());
    for text in [&source.package, &source.version, &source.licence] {
        put_string(&mut file, text);
    }
    put_number(&mut file, count);
    put_frame(&mut file, &index)?;
    put_number(&mut file, blocks.len());
    for block in &blocks {
        put_frame(&mut file, block)?;
    }
    Ok(file)
}

/// Members that no question is about.
const DROPPED: &[&str] = &[
    "id",
    "meta",
    "implicitRules",
    "text",
    "extension",
    "modifierExtension",
    "identifier",
    "publisher",
    "contact",
    "description",
    "useContext",
    "jurisdiction",
    "purpose",
    "copyright",
    "immutable",
    "experimental",
];

/// Writes a resource without what is dropped. `description` stays in properties; of what is
/// contained, value sets stay.
fn strip(resource: Value<'_>, out: &mut Vec<u8>) {
    write_object(
        resource,
        out,
        |name, value, out| match name {
            "contained" => {
                let sets = value
                    .items()
                    .filter(|item| item.get_str("resourceType").as_deref() == Some("ValueSet"));
                write_list(sets, out, |item, out| {
                    write_object(item, out, keep, |name| !DROPPED.contains(&name))
                });
            }
            _ => keep(name, value, out),
        },
        |name| !DROPPED.contains(&name),
    );
}

/// An object's members but for extensions, each as `member` writes it.
fn write_object(
    object: Value<'_>,
    out: &mut Vec<u8>,
    member: impl Fn(&str, Value<'_>, &mut Vec<u8>),
    kept: impl Fn(&str) -> bool,
) {
    let mut separator = b'{';
    for (name, value) in object.members() {
        if name.starts_with('_') || name == "extension" || !kept(&name) {
            continue;
        }
        out.push(separator);
        separator = b',';
        fhir_core::json::write_string(&name, out);
        out.push(b':');
        member(&name, value, out);
    }
    out.extend_from_slice(if separator == b'{' { b"{}" } else { b"}" });
}

fn write_list<'a>(
    items: impl Iterator<Item = Value<'a>>,
    out: &mut Vec<u8>,
    item: impl Fn(Value<'a>, &mut Vec<u8>),
) {
    out.push(b'[');
    for (count, value) in items.enumerate() {
        if count > 0 {
            out.push(b',');
        }
        item(value, out);
    }
    out.push(b']');
}

fn keep(_: &str, value: Value<'_>, out: &mut Vec<u8>) {
    match value.kind() {
        JsonKind::Object => write_object(value, out, keep, |_| true),
        JsonKind::Array => write_list(value.items(), out, |item, out| keep("", item, out)),
        _ => out.extend_from_slice(value.raw().as_bytes()),
    }
}

impl Pack {
    /// Opens a packed file: reads its index, and no block.
    ///
    /// # Errors
    /// [`PackError::Damaged`]
    pub fn open(file: &'static [u8]) -> Result<Self, PackError> {
        let mut reader = Reader { rest: file };
        if reader.bytes(MAGIC.len())? != MAGIC {
            return Err(PackError::Damaged("it does not begin as one"));
        }
        if reader.bytes(2)? != FORMAT.to_le_bytes() {
            return Err(PackError::Damaged("it has another format"));
        }
        let source =
            Source { package: reader.text()?, version: reader.text()?, licence: reader.text()? };
        let count = reader.number()?;
        let (length, frame) = reader.frame()?;
        let unpacked = unpack(length, frame)?;
        let mut entries = Reader { rest: &unpacked };
        let mut index = Vec::with_capacity(count.min(100_000));
        for _ in 0..count {
            let label = entries.label()?;
            let (block, start, end) = (entries.number()?, entries.number()?, entries.number()?);
            index.push((label, Place { block, start, end }));
        }
        let count = reader.number()?;
        let blocks = (0..count).map(|_| reader.frame()).collect::<Result<_, _>>()?;
        Ok(Self { source, index, blocks })
    }

    /// The JSON of a resource.
    ///
    /// # Errors
    /// [`PackError::Damaged`]
    pub(crate) fn json(&self, place: Place) -> Result<Vec<u8>, PackError> {
        let &(length, frame) =
            self.blocks.get(place.block).ok_or(PackError::Damaged("a block is missing"))?;
        let block = unpack(length, frame)?;
        let bytes = block.get(place.start..place.end);
        bytes.map(<[u8]>::to_vec).ok_or(PackError::Damaged("a resource is outside of its block"))
    }
}

fn unpack(length: usize, frame: &[u8]) -> Result<Vec<u8>, PackError> {
    if length > MAX_BYTES {
        return Err(PackError::Damaged("a part is too long"));
    }
    zstd::bulk::decompress(frame, length).map_err(|_| PackError::Damaged("a part does not unpack"))
}

fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_frame(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), PackError> {
    let frame = zstd::bulk::compress(bytes, COMPRESSION_LEVEL).map_err(PackError::Compression)?;
    put_number(out, bytes.len());
    put_number(out, frame.len());
    out.extend(frame);
    Ok(())
}

fn put_label(out: &mut Vec<u8>, label: &Label) {
    out.push(label.kind as u8);
    out.push(label.status as u8);
    for text in [&label.url, &label.version, &label.date, &label.points_to] {
        put_string(out, text);
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], PackError> {
        let (bytes, rest) =
            self.rest.split_at_checked(count).ok_or(PackError::Damaged("it ends early"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<usize, PackError> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.bytes(1)?[0];
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(PackError::Damaged("a number is too long"))
    }

    fn text(&mut self) -> Result<String, PackError> {
        let length = self.number()?;
        let text = std::str::from_utf8(self.bytes(length)?);
        Ok(text.map_err(|_| PackError::Damaged("a text is no UTF-8"))?.to_owned())
    }

    fn frame(&mut self) -> Result<(usize, &'a [u8]), PackError> {
        let (length, packed) = (self.number()?, self.number()?);
        Ok((length, self.bytes(packed)?))
    }

    fn label(&mut self) -> Result<Label, PackError> {
        let codes = self.bytes(2)?;
        let unknown = PackError::Damaged("a code is unknown");
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == codes[0]);
        let status = crate::layer::STATUSES.into_iter().find(|it| *it as u8 == codes[1]);
        let (Some(kind), Some(status)) = (kind, status) else { return Err(unknown) };
        let mut text = || self.text().map(String::into_boxed_str);
        Ok(Label {
            kind,
            status,
            url: text()?,
            version: text()?,
            date: text()?,
            points_to: text()?,
        })
    }
}
