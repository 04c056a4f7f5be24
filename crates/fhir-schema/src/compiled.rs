//! Definitions as a small file: a header that can be read as it is, then one zstd frame.
//!
//! ```text
//! "HGSCHEMA"                            8 bytes
//! format                                u16, little-endian
//! package, version, licence, FHIR version   four strings
//! length of the body                    number
//! body                                  zstd frame with a checksum
//! ```
//!
//! A number is LEB128, a string a number and that many bytes of UTF-8. The body is a table of all
//! strings, each once, which everything after it names by index; then the types, each element by
//! its depth and last name, since it stands after its parent; then the plain paths. The same
//! definitions give the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use crate::SchemaError;
use crate::definitions::{
    Definitions, ElementDefinition, PlainPath, Source, TypeDefinition, TypeKind,
    UnresolvedExpression, XmlForm,
};

/// The one format that is written and read.
pub const FORMAT: u16 = 2;

const MAGIC: &[u8; 8] = b"HGSCHEMA";
/// The best ratio below the levels that need much memory to read.
const COMPRESSION_LEVEL: i32 = 19;
/// Twenty times what R4 takes.
const MAX_BODY_BYTES: usize = 16 << 20;

/// What can be known of a compiled file without unpacking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The file's format.
    pub format: u16,
    /// The package it was compiled from.
    pub source: Source,
}

/// Writes definitions.
///
/// # Errors
/// [`SchemaError::Compression`] when the compressor fails.
pub fn encode(definitions: &Definitions) -> Result<Vec<u8>, SchemaError> {
    pack(MAGIC, FORMAT, &definitions.source, &encode_body(definitions))
}

/// A header and a body as one file.
pub(crate) fn pack(
    magic: &[u8; 8],
    format: u16,
    source: &Source,
    body: &[u8],
) -> Result<Vec<u8>, SchemaError> {
    let mut file = Vec::new();
    file.extend_from_slice(magic);
    file.extend_from_slice(&format.to_le_bytes());
    for text in [&source.package, &source.version, &source.licence, &source.fhir_version] {
        put_string(&mut file, text);
    }
    put_number(&mut file, body.len());
    let mut compressor =
        zstd::bulk::Compressor::new(COMPRESSION_LEVEL).map_err(SchemaError::Compression)?;
    compressor.include_checksum(true).map_err(SchemaError::Compression)?;
    file.extend(compressor.compress(body).map_err(SchemaError::Compression)?);
    Ok(file)
}

/// Reads the header alone.
///
/// # Errors
/// [`SchemaError::Damaged`] or [`SchemaError::UnknownFormat`].
pub fn header(file: &[u8]) -> Result<Header, SchemaError> {
    read_header(MAGIC, FORMAT, &mut Reader { rest: file })
}

/// Reads definitions.
///
/// # Errors
/// [`SchemaError::Damaged`] or [`SchemaError::UnknownFormat`].
pub fn decode(file: &[u8]) -> Result<Definitions, SchemaError> {
    let (source, body) = unpack(MAGIC, FORMAT, file)?;
    decode_body(&body, source)
}

/// The header's source and the body of a file that [`pack`] made.
pub(crate) fn unpack(
    magic: &[u8; 8],
    format: u16,
    file: &[u8],
) -> Result<(Source, Vec<u8>), SchemaError> {
    let mut reader = Reader { rest: file };
    let header = read_header(magic, format, &mut reader)?;
    let length = reader.number()?;
    if length > MAX_BODY_BYTES {
        return Err(SchemaError::Damaged("its body is too long"));
    }
    let body = zstd::bulk::decompress(reader.rest, length)
        .map_err(|_| SchemaError::Damaged("its body does not unpack"))?;
    if body.len() != length {
        return Err(SchemaError::Damaged("its body has another length"));
    }
    Ok((header.source, body))
}

fn read_header(
    magic: &[u8; 8],
    known: u16,
    reader: &mut Reader<'_>,
) -> Result<Header, SchemaError> {
    if reader.bytes(magic.len())? != magic {
        return Err(SchemaError::Damaged("it does not begin as one"));
    }
    let format = u16::from_le_bytes([reader.byte()?, reader.byte()?]);
    if format != known {
        return Err(SchemaError::UnknownFormat { found: format, known });
    }
    Ok(Header {
        format,
        source: Source {
            package: reader.string()?,
            version: reader.string()?,
            licence: reader.string()?,
            fhir_version: reader.string()?,
        },
    })
}

fn encode_body(definitions: &Definitions) -> Vec<u8> {
    let strings = strings_of(definitions);
    let mut body = Vec::new();
    put_number(&mut body, strings.len());
    for text in &strings {
        put_string(&mut body, text);
    }
    let ids = strings.iter().enumerate().map(|(id, text)| (*text, id)).collect();
    let mut writer = Writer { body, ids };

    writer.number(definitions.types.len());
    for definition in &definitions.types {
        writer.type_definition(definition);
    }
    for paths_by_type in [&definitions.identifiers, &definitions.patient_compartment] {
        writer.number(paths_by_type.len());
        for (resource_type, paths) in paths_by_type {
            writer.text(resource_type);
            writer.number(paths.len());
            for path in paths {
                writer.texts(&path.steps);
            }
        }
    }
    writer.number(definitions.unresolved.len());
    for unresolved in &definitions.unresolved {
        writer.text(&unresolved.resource_type);
        writer.text(&unresolved.search_param);
        writer.text(&unresolved.expression);
    }
    writer.body
}

/// Every string that the body names, sorted.
fn strings_of(definitions: &Definitions) -> BTreeSet<&str> {
    let mut strings = BTreeSet::new();
    for definition in &definitions.types {
        strings.insert(&*definition.name);
        strings.extend(definition.base.as_deref());
        for element in &definition.elements {
            strings.insert(element.name());
            strings.extend(element.types.iter().map(|code| &**code));
            strings.extend(element.content_reference.as_deref());
            strings.extend(element.fhir_type.as_deref());
        }
    }
    for paths_by_type in [&definitions.identifiers, &definitions.patient_compartment] {
        for (resource_type, paths) in paths_by_type {
            strings.insert(resource_type);
            for path in paths {
                strings.extend(path.steps.iter().map(|step| &**step));
            }
        }
    }
    for unresolved in &definitions.unresolved {
        strings.insert(&unresolved.resource_type);
        strings.insert(&unresolved.search_param);
        strings.insert(&unresolved.expression);
    }
    strings
}

struct Writer<'a> {
    body: Vec<u8>,
    ids: BTreeMap<&'a str, usize>,
}

impl Writer<'_> {
    fn number(&mut self, number: usize) {
        put_number(&mut self.body, number);
    }

    fn text(&mut self, text: &str) {
        self.number(self.ids[text]);
    }

    fn texts(&mut self, texts: &[Box<str>]) {
        self.number(texts.len());
        for text in texts {
            self.text(text);
        }
    }

    fn optional_text(&mut self, text: Option<&str>) {
        self.number(text.map_or(0, |text| self.ids[text] + 1));
    }

    fn type_definition(&mut self, definition: &TypeDefinition) {
        self.text(&definition.name);
        self.number(match definition.kind {
            TypeKind::Resource => 0,
            TypeKind::Complex => 1,
            TypeKind::Primitive => 2,
        });
        self.number(usize::from(definition.is_abstract));
        self.optional_text(definition.base.as_deref());
        self.number(definition.elements.len());
        for element in &definition.elements {
            self.number(element.path.matches('.').count());
            self.text(element.name());
            self.number(element.min as usize);
            self.number(element.max.map_or(0, |max| max as usize + 1));
            self.texts(&element.types);
            self.optional_text(element.content_reference.as_deref());
            self.optional_text(element.fhir_type.as_deref());
            self.number(match element.xml {
                XmlForm::Element => 0,
                XmlForm::Attribute => 1,
            });
        }
    }
}

pub(crate) fn put_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

pub(crate) fn put_string(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

fn decode_body(body: &[u8], source: Source) -> Result<Definitions, SchemaError> {
    let mut bytes = Reader { rest: body };
    let strings: Vec<Box<str>> = bytes.many(Reader::string)?;
    let mut reader = BodyReader { bytes, strings };
    let definitions = Definitions {
        source,
        types: reader.many(BodyReader::type_definition)?,
        identifiers: reader.paths_by_type()?,
        patient_compartment: reader.paths_by_type()?,
        unresolved: reader.many(|reader| {
            Ok(UnresolvedExpression {
                resource_type: reader.text()?,
                search_param: reader.text()?,
                expression: reader.text()?,
            })
        })?,
    };
    if reader.bytes.rest.is_empty() {
        Ok(definitions)
    } else {
        Err(SchemaError::Damaged("it goes on after its end"))
    }
}

pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], SchemaError> {
        let (bytes, rest) =
            self.rest.split_at_checked(count).ok_or(SchemaError::Damaged("it ends too early"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, SchemaError> {
        Ok(self.bytes(1)?[0])
    }

    pub(crate) fn number(&mut self) -> Result<usize, SchemaError> {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(SchemaError::Damaged("a number is too large"))
    }

    pub(crate) fn string(&mut self) -> Result<Box<str>, SchemaError> {
        let length = self.number()?;
        let text = std::str::from_utf8(self.bytes(length)?)
            .map_err(|_| SchemaError::Damaged("a string is not UTF-8"))?;
        Ok(text.into())
    }

    /// A count and that many items. Room is made as items come, so that a count alone takes none.
    pub(crate) fn many<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, SchemaError>,
    ) -> Result<Vec<T>, SchemaError> {
        (0..self.number()?).map(|_| item(self)).collect()
    }
}

struct BodyReader<'a> {
    bytes: Reader<'a>,
    strings: Vec<Box<str>>,
}

impl BodyReader<'_> {
    fn many<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, SchemaError>,
    ) -> Result<Vec<T>, SchemaError> {
        (0..self.bytes.number()?).map(|_| item(self)).collect()
    }

    fn string_at(&self, id: usize) -> Result<Box<str>, SchemaError> {
        let text = self.strings.get(id);
        text.cloned().ok_or(SchemaError::Damaged("it names a string that is not there"))
    }

    fn text(&mut self) -> Result<Box<str>, SchemaError> {
        let id = self.bytes.number()?;
        self.string_at(id)
    }

    fn optional_text(&mut self) -> Result<Option<Box<str>>, SchemaError> {
        match self.bytes.number()? {
            0 => Ok(None),
            id => self.string_at(id - 1).map(Some),
        }
    }

    fn small_number(&mut self) -> Result<u32, SchemaError> {
        u32::try_from(self.bytes.number()?)
            .map_err(|_| SchemaError::Damaged("a number is too large"))
    }

    fn paths_by_type(&mut self) -> Result<BTreeMap<Box<str>, Vec<PlainPath>>, SchemaError> {
        let pairs = self.many(|reader| {
            let resource_type = reader.text()?;
            let paths = reader.many(|reader| {
                let steps = reader.many(Self::text)?;
                Ok(PlainPath { steps })
            })?;
            Ok((resource_type, paths))
        })?;
        Ok(pairs.into_iter().collect())
    }

    fn type_definition(&mut self) -> Result<TypeDefinition, SchemaError> {
        let name = self.text()?;
        let kind = match self.bytes.number()? {
            0 => TypeKind::Resource,
            1 => TypeKind::Complex,
            2 => TypeKind::Primitive,
            _ => return Err(SchemaError::Damaged("a type is of no kind")),
        };
        let is_abstract = match self.bytes.number()? {
            0 => false,
            1 => true,
            _ => return Err(SchemaError::Damaged("a type is neither abstract nor not")),
        };
        let base = self.optional_text()?;
        let mut elements = Vec::new();
        // The path to the element before, as the end of each of its parts.
        let mut path = name.to_string();
        let mut ends = vec![path.len()];
        for _ in 0..self.bytes.number()? {
            let depth = self.bytes.number()?;
            if depth == 0 || depth > ends.len() {
                return Err(SchemaError::Damaged("an element stands before its parent"));
            }
            ends.truncate(depth);
            path.truncate(ends[depth - 1]);
            path.push('.');
            path.push_str(&self.text()?);
            ends.push(path.len());
            elements.push(ElementDefinition {
                path: path.as_str().into(),
                min: self.small_number()?,
                max: self.small_number()?.checked_sub(1),
                types: self.many(Self::text)?,
                content_reference: self.optional_text()?,
                fhir_type: self.optional_text()?,
                xml: match self.bytes.number()? {
                    0 => XmlForm::Element,
                    1 => XmlForm::Attribute,
                    _ => return Err(SchemaError::Damaged("an element has no form in XML")),
                },
            });
        }
        Ok(TypeDefinition { name, kind, is_abstract, base, elements })
    }
}
