//! All of a FHIR version's definitions as one small file: a header as [`crate::compiled`] has it,
//! then one zstd frame of what `coding.rs` writes. The same definitions give the same bytes.

use crate::SchemaError;
use crate::coding::{Coded, Reader, Writer};
use crate::compiled::{pack, unpack};
use crate::conformance::{CompartmentDefinition, OperationDefinition, SearchParameter};
use crate::definitions::Source;
use crate::structure::StructureDefinition;

/// The one format that is written and read.
pub const FORMAT: u16 = 2;

const MAGIC: &[u8; 8] = b"HGSTRUCT";

/// All that a core package defines, whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Structures {
    /// Where they come from.
    pub source: Source,
    /// Base types, profiles, extensions and logical models, sorted by URL.
    pub structures: Vec<StructureDefinition>,
    /// Sorted by URL.
    pub search_parameters: Vec<SearchParameter>,
    /// Sorted by URL.
    pub compartments: Vec<CompartmentDefinition>,
    /// Sorted by URL.
    pub operations: Vec<OperationDefinition>,
}

/// Writes.
///
/// # Errors
/// [`SchemaError::Compression`] when the compressor fails.
pub fn encode(structures: &Structures) -> Result<Vec<u8>, SchemaError> {
    let mut writer = Writer::default();
    structures.structures.write(&mut writer);
    structures.search_parameters.write(&mut writer);
    structures.compartments.write(&mut writer);
    structures.operations.write(&mut writer);
    pack(MAGIC, FORMAT, &structures.source, &writer.bytes)
}

/// Reads.
///
/// # Errors
/// [`SchemaError::Damaged`] or [`SchemaError::UnknownFormat`].
pub fn decode(file: &[u8]) -> Result<Structures, SchemaError> {
    let (source, body) = unpack(MAGIC, FORMAT, file)?;
    let mut reader = Reader::new(&body);
    let structures = Structures {
        source,
        structures: Coded::read(&mut reader)?,
        search_parameters: Coded::read(&mut reader)?,
        compartments: Coded::read(&mut reader)?,
        operations: Coded::read(&mut reader)?,
    };
    reader.end()?;
    Ok(structures)
}
