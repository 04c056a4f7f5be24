//! Reading a FHIR package: a gzipped tar archive whose folder `package/` holds one resource a
//! file (FHIR NPM package specification).
//!
//! Archives come from outside, so nothing is written to disk, names are never used as paths, links
//! are passed over, and sizes are bounded both as packed and as unpacked. Only the members which
//! [`crate::compile`] needs are kept.

use std::collections::BTreeSet;
use std::io::{self, Read};

use serde::Deserialize;

use crate::SchemaError;

/// How much an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct PackageLimits {
    /// Entries of any kind.
    pub entries: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of the unpacked tar stream.
    pub total_bytes: u64,
}

impl Default for PackageLimits {
    /// Three times what the largest core packages hold.
    fn default() -> Self {
        Self { entries: 50_000, file_bytes: 32 << 20, total_bytes: 384 << 20 }
    }
}

/// What a package defines, as far as it is used here.
#[derive(Debug)]
pub struct Package {
    /// `package.json`.
    pub manifest: Manifest,
    /// In the archive's order, as all that follow.
    pub structure_definitions: Vec<StructureDefinition>,
    /// Search parameters.
    pub search_parameters: Vec<SearchParameter>,
    /// Compartment definitions.
    pub compartment_definitions: Vec<CompartmentDefinition>,
}

/// `package.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The package's name.
    pub name: Box<str>,
    /// The package's version.
    pub version: Box<str>,
    /// The SPDX name of the licence.
    pub license: Option<Box<str>>,
    /// The FHIR versions it is for.
    #[serde(default)]
    pub fhir_versions: Vec<Box<str>>,
}

/// StructureDefinition.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StructureDefinition {
    /// The type it defines or constrains.
    #[serde(rename = "type")]
    pub type_name: Box<str>,
    /// `resource`, `complex-type`, `primitive-type` or `logical`.
    pub kind: Box<str>,
    /// Whether no instance can be of this type.
    #[serde(rename = "abstract")]
    pub is_abstract: bool,
    /// `specialization` or `constraint`; none at the root types.
    pub derivation: Option<Box<str>>,
    /// The canonical URL of what it derives from.
    pub base_definition: Option<Box<str>>,
    /// All elements, with what is inherited.
    pub snapshot: Option<Snapshot>,
}

/// `StructureDefinition.snapshot`.
#[derive(Debug, Deserialize)]
pub struct Snapshot {
    /// The elements; the first is the root.
    pub element: Vec<PackageElement>,
}

/// ElementDefinition.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageElement {
    /// The path.
    pub path: Box<str>,
    /// The name of a slice; base types have none.
    pub slice_name: Option<Box<str>>,
    /// The least number of occurrences.
    pub min: Option<u32>,
    /// The greatest number, or `*`.
    pub max: Option<Box<str>>,
    /// The types.
    #[serde(default, rename = "type")]
    pub types: Vec<PackageElementType>,
    /// `#` and the path of the element with the same content.
    pub content_reference: Option<Box<str>>,
    /// `xmlAttr` for an attribute.
    #[serde(default)]
    pub representation: Vec<Box<str>>,
}

/// `ElementDefinition.type`.
#[derive(Debug, Deserialize)]
pub struct PackageElementType {
    /// The type's name, or the URL of a FHIRPath system type.
    pub code: Box<str>,
    /// Among others, the FHIR type that a system type stands for.
    #[serde(default)]
    pub extension: Vec<PackageExtension>,
}

/// An extension of `ElementDefinition.type`.
#[derive(Debug, Deserialize)]
pub struct PackageExtension {
    /// What it says.
    pub url: Box<str>,
    /// A value of type url or uri.
    #[serde(alias = "valueUrl", alias = "valueUri")]
    pub value: Option<Box<str>>,
}

/// SearchParameter.
#[derive(Debug, Deserialize)]
pub struct SearchParameter {
    /// The name in a query.
    pub code: Box<str>,
    /// The resource types it is for.
    #[serde(default)]
    pub base: Vec<Box<str>>,
    /// FHIRPath; a union when it is for several types.
    pub expression: Option<Box<str>>,
}

/// CompartmentDefinition.
#[derive(Debug, Deserialize)]
pub struct CompartmentDefinition {
    /// `Patient`, `Encounter`, ….
    pub code: Box<str>,
    /// Every resource type, with what puts it into the compartment.
    #[serde(default)]
    pub resource: Vec<CompartmentResource>,
    /// The canonical URL.
    pub url: Box<str>,
}

/// `CompartmentDefinition.resource`.
#[derive(Debug, Deserialize)]
pub struct CompartmentResource {
    /// The resource type.
    pub code: Box<str>,
    /// Codes of its search parameters.
    #[serde(default)]
    pub param: Vec<Box<str>>,
}

/// The member that says what a file holds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyFile {
    resource_type: Option<String>,
}

impl Package {
    /// Reads a package's archive.
    ///
    /// # Errors
    /// [`SchemaError`] when the archive cannot be read, holds more than `limits`, holds a file
    /// twice or one that is not what it says, or lacks `package.json`.
    pub fn read(archive: impl Read, limits: PackageLimits) -> Result<Self, SchemaError> {
        let unpacked = BoundedReader {
            inner: flate2::read::GzDecoder::new(archive),
            left: limits.total_bytes,
        };
        let mut archive = tar::Archive::new(unpacked);
        let archive_error = |source| archive_error(source, limits);

        let mut manifest = None;
        let mut structure_definitions = Vec::new();
        let mut search_parameters = Vec::new();
        let mut compartment_definitions = Vec::new();
        let mut names = BTreeSet::new();
        let mut entries = 0;
        for entry in archive.entries().map_err(archive_error)? {
            let mut entry = entry.map_err(archive_error)?;
            entries += 1;
            if entries > limits.entries {
                return Err(SchemaError::TooLarge { what: "entries", limit: limits.entries });
            }
            let Some(file) = resource_file_name(&entry) else {
                continue;
            };
            if !names.insert(file.clone()) {
                return Err(SchemaError::DuplicateFile(file));
            }
            if entry.size() > limits.file_bytes {
                return Err(SchemaError::TooLarge {
                    what: "bytes in one file",
                    limit: limits.file_bytes,
                });
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(archive_error)?;
            if file == "package.json" {
                manifest = Some(parse(&file, &bytes)?);
                continue;
            }
            let any: AnyFile = parse(&file, &bytes)?;
            match any.resource_type.as_deref() {
                Some("StructureDefinition") => structure_definitions.push(parse(&file, &bytes)?),
                Some("SearchParameter") => search_parameters.push(parse(&file, &bytes)?),
                Some("CompartmentDefinition") => {
                    compartment_definitions.push(parse(&file, &bytes)?);
                }
                _ => {}
            }
        }
        Ok(Self {
            manifest: manifest.ok_or(SchemaError::Missing("package.json"))?,
            structure_definitions,
            search_parameters,
            compartment_definitions,
        })
    }
}

/// The name of a regular file directly under `package/` that ends in `.json`.
fn resource_file_name<R: Read>(entry: &tar::Entry<'_, R>) -> Option<String> {
    if entry.header().entry_type() != tar::EntryType::Regular {
        return None;
    }
    let path = entry.path_bytes();
    let path = std::str::from_utf8(&path).ok()?;
    let name = path.strip_prefix("package/")?;
    (name.ends_with(".json") && !name.contains(['/', '\\'])).then(|| name.to_owned())
}

fn parse<'a, T: Deserialize<'a>>(file: &str, bytes: &'a [u8]) -> Result<T, SchemaError> {
    serde_json::from_slice(bytes)
        .map_err(|source| SchemaError::Json { file: file.to_owned(), source })
}

fn archive_error(source: io::Error, limits: PackageLimits) -> SchemaError {
    if source.kind() == io::ErrorKind::FileTooLarge {
        SchemaError::TooLarge { what: "unpacked bytes", limit: limits.total_bytes }
    } else {
        SchemaError::Archive(source)
    }
}

/// Fails instead of reading on past its bound, so that a small archive cannot unpack without end.
struct BoundedReader<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for BoundedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(read)
    }
}
