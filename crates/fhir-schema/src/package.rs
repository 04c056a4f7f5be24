//! Reading a FHIR package: a gzipped tar archive whose folder `package/` holds one resource a
//! file (FHIR NPM package specification), or the files of one that was unpacked.
//!
//! Packages come from outside, so nothing is written to disk, names are never used as paths, an
//! archive with names that lead elsewhere or with links is refused, and sizes are bounded both as
//! packed and as unpacked. Folders beside `package/` and below it (examples, the XML forms) are
//! not read.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;

use fhir_core::json::{Document, Kind, Value};

use crate::SchemaError;
use crate::conformance::{CompartmentDefinition, OperationDefinition, SearchParameter};
use crate::draft::StructureSource;
use crate::interner::Interner;
use crate::parse::Parser;

/// How much a package may hold.
#[derive(Debug, Clone, Copy)]
pub struct PackageLimits {
    /// Entries of any kind.
    pub entries: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of the unpacked tar stream, or of all files together.
    pub total_bytes: u64,
}

impl Default for PackageLimits {
    /// Three times what the largest core packages hold.
    fn default() -> Self {
        Self { entries: 50_000, file_bytes: 32 << 20, total_bytes: 384 << 20 }
    }
}

/// What a package defines.
#[derive(Debug)]
pub struct Package {
    /// `package.json`.
    pub manifest: Manifest,
    /// What tells its archive from another of the same name and version: SHA-256, where whoever
    /// read it says so.
    pub digest: Option<[u8; 32]>,
    /// In the order of the files, as all that follow.
    pub structure_definitions: Vec<StructureSource>,
    /// Search parameters.
    pub search_parameters: Vec<SearchParameter>,
    /// Compartment definitions.
    pub compartment_definitions: Vec<CompartmentDefinition>,
    /// Operation definitions.
    pub operation_definitions: Vec<OperationDefinition>,
    /// All other resources, as they were read: value sets, code systems, ….
    pub resources: Vec<PackageResource>,
}

/// `package.json`.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    /// The package's name.
    pub name: Box<str>,
    /// The package's version.
    pub version: Box<str>,
    /// The SPDX name of the licence.
    pub license: Option<Box<str>>,
    /// The FHIR versions it is for.
    pub fhir_versions: Vec<Box<str>>,
    /// Names of packages, each with the version it asks for.
    pub dependencies: Vec<(Box<str>, Box<str>)>,
}

/// A resource of a package that says nothing about structure.
#[derive(Debug)]
pub struct PackageResource {
    /// The file's name.
    pub file: Box<str>,
    /// `ValueSet`, `CodeSystem`, ….
    pub resource_type: Box<str>,
    /// The canonical URL, if it has one.
    pub url: Option<Box<str>>,
    /// The business version, if it has one.
    pub version: Option<Box<str>>,
    /// The JSON as it was read, without a byte order mark.
    pub json: Vec<u8>,
}

impl Package {
    /// Reads a package's archive.
    ///
    /// # Errors
    /// [`SchemaError`] when the archive cannot be read, has names that lead out of it or links,
    /// holds more than `limits`, holds a file twice or one that is not what it says, or lacks
    /// `package.json`.
    pub fn read(archive: impl Read, limits: PackageLimits) -> Result<Self, SchemaError> {
        let mut reading = Reading::new();
        each_entry(archive, limits, |file, bytes| reading.file(file, bytes))?;
        reading.package()
    }

    /// Reads the files of an unpacked package's folder `package/`: their names and what is in
    /// them. Names which do not end in `.json` are passed over.
    ///
    /// # Errors
    /// As [`Package::read`], and what the iterator gives.
    pub fn from_files(
        files: impl IntoIterator<Item = io::Result<(String, Vec<u8>)>>,
        limits: PackageLimits,
    ) -> Result<Self, SchemaError> {
        let mut reading = Reading::new();
        let (mut left, mut entries) = (limits.total_bytes, 0);
        for file in files {
            let (name, bytes) = file.map_err(SchemaError::Archive)?;
            limits.count(&mut entries)?;
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or(SchemaError::TooLarge { what: "bytes", limit: limits.total_bytes })?;
            if name.contains(['/', '\\', '\0']) {
                return Err(SchemaError::UnsafeEntry {
                    name,
                    problem: "is not the name of a file in the folder",
                });
            }
            if name.ends_with(".json") {
                limits.check_size(bytes.len() as u64)?;
                reading.file(&name, bytes)?;
            }
        }
        reading.package()
    }
}

/// Hands every `.json` file of a package's archive to `take`, in the archive's order, under the
/// same bounds as [`Package::read`].
///
/// # Errors
/// [`SchemaError`] when the archive cannot be read, has names that lead out of it or links, holds
/// more than `limits` or a file twice; and what `take` refuses.
pub fn each_file(
    archive: impl Read,
    limits: PackageLimits,
    mut take: impl FnMut(&str, &[u8]) -> Result<(), SchemaError>,
) -> Result<(), SchemaError> {
    let mut names = BTreeSet::new();
    each_entry(archive, limits, |file, bytes| {
        if !names.insert(file.to_owned()) {
            return Err(SchemaError::DuplicateFile(file.to_owned()));
        }
        take(file, &bytes)
    })
}

/// The same, a file that is there twice included.
fn each_entry(
    archive: impl Read,
    limits: PackageLimits,
    mut take: impl FnMut(&str, Vec<u8>) -> Result<(), SchemaError>,
) -> Result<(), SchemaError> {
    let unpacked =
        BoundedReader { inner: flate2::read::GzDecoder::new(archive), left: limits.total_bytes };
    let mut archive = tar::Archive::new(unpacked);
    let archive_error = |source| archive_error(source, limits);
    let mut entries = 0;
    for entry in archive.entries().map_err(archive_error)? {
        let mut entry = entry.map_err(archive_error)?;
        limits.count(&mut entries)?;
        let name = safe_name(&entry)?;
        let Some(file) = resource_file_name(&name) else { continue };
        if entry.header().entry_type() != tar::EntryType::Regular {
            continue;
        }
        limits.check_size(entry.size())?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(archive_error)?;
        take(file, bytes)?;
    }
    Ok(())
}

/// A package of which some files are read.
struct Reading {
    names: BTreeSet<String>,
    interner: Interner,
    has_manifest: bool,
    package: Package,
}

impl PackageLimits {
    /// Counts one entry more.
    fn count(self, entries: &mut u64) -> Result<(), SchemaError> {
        *entries += 1;
        if *entries > self.entries {
            return Err(SchemaError::TooLarge { what: "entries", limit: self.entries });
        }
        Ok(())
    }

    fn check_size(self, bytes: u64) -> Result<(), SchemaError> {
        if bytes > self.file_bytes {
            let limit = self.file_bytes;
            return Err(SchemaError::TooLarge { what: "bytes in one file", limit });
        }
        Ok(())
    }
}

impl Reading {
    fn new() -> Self {
        Self {
            names: BTreeSet::new(),
            interner: Interner::default(),
            has_manifest: false,
            package: Package {
                manifest: Manifest::default(),
                digest: None,
                structure_definitions: Vec::new(),
                search_parameters: Vec::new(),
                compartment_definitions: Vec::new(),
                operation_definitions: Vec::new(),
                resources: Vec::new(),
            },
        }
    }

    fn file(&mut self, file: &str, mut bytes: Vec<u8>) -> Result<(), SchemaError> {
        if !self.names.insert(file.to_owned()) {
            return Err(SchemaError::DuplicateFile(file.to_owned()));
        }
        // Dot files are indexes of tools, `.index.json` the best known.
        if file.starts_with('.') {
            return Ok(());
        }
        // Some published packages have one, and it means nothing in UTF-8.
        if bytes.starts_with(b"\xEF\xBB\xBF") {
            bytes.drain(..3);
        }
        let resource = self.resource(file, &bytes)?;
        if let Some(PackageResource { resource_type, url, version, .. }) = resource {
            let file = file.into();
            let resource = PackageResource { file, resource_type, url, version, json: bytes };
            self.package.resources.push(resource);
        }
        Ok(())
    }

    /// Takes what a file defines; gives back what is kept as it is, without its bytes.
    fn resource(
        &mut self,
        file: &str,
        bytes: &[u8],
    ) -> Result<Option<PackageResource>, SchemaError> {
        let document = Document::parse(bytes)
            .map_err(|source| SchemaError::Json { file: file.to_owned(), source })?;
        let root = document.root();
        if file == "package.json" {
            self.package.manifest = manifest(root)?;
            self.has_manifest = true;
            return Ok(None);
        }
        let mut parser = Parser { file, interner: &mut self.interner };
        if root.kind() != Kind::Object {
            return Err(not_fhir(file, "is not an object"));
        }
        let Some(resource_type) = root.get_str("resourceType") else {
            // A package may have other JSON beside its resources.
            return Ok(None);
        };
        let package = &mut self.package;
        match &*resource_type {
            "StructureDefinition" => package.structure_definitions.push(parser.structure(root)?),
            "SearchParameter" => package.search_parameters.push(parser.search_parameter(root)?),
            "CompartmentDefinition" => {
                package.compartment_definitions.push(parser.compartment(root)?);
            }
            "OperationDefinition" => package.operation_definitions.push(parser.operation(root)?),
            other => {
                return Ok(Some(PackageResource {
                    file: Box::default(),
                    resource_type: other.into(),
                    url: root.get_str("url").map(Into::into),
                    version: root.get_str("version").map(Into::into),
                    json: Vec::new(),
                }));
            }
        }
        Ok(None)
    }

    fn package(self) -> Result<Package, SchemaError> {
        if self.has_manifest { Ok(self.package) } else { Err(SchemaError::Missing("package.json")) }
    }
}

fn not_fhir(file: &str, problem: &str) -> SchemaError {
    SchemaError::NotFhir { file: file.to_owned(), line: 1, problem: problem.to_owned() }
}

fn manifest(root: Value<'_>) -> Result<Manifest, SchemaError> {
    let text = |name: &str| root.get_str(name).map(Box::<str>::from);
    let required = |name: &str| {
        text(name).ok_or_else(|| not_fhir("package.json", &format!("{name} is missing")))
    };
    let versions = root.get("fhirVersions").or_else(|| root.get("fhir-version-list"));
    let version_texts = versions.iter().flat_map(Value::items).filter_map(|it| it.as_str());
    let dependencies = root.get("dependencies");
    Ok(Manifest {
        name: required("name")?,
        version: required("version")?,
        license: text("license"),
        fhir_versions: version_texts.map(Into::into).collect(),
        dependencies: dependencies
            .iter()
            .flat_map(Value::members)
            .map(|(name, version)| (name.into(), version.as_str().unwrap_or_default().into()))
            .collect(),
    })
}

/// The name of an archive's entry, if it and what it is lead nowhere else.
fn safe_name<R: Read>(entry: &tar::Entry<'_, R>) -> Result<String, SchemaError> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let problem =
        if entry.header().entry_type().is_symlink() || entry.header().entry_type().is_hard_link() {
            "is a link"
        } else if name.starts_with('/')
            || name.contains('\\')
            || name.contains(':') && name.find(':') == Some(1)
        {
            "is an absolute path or one of another system"
        } else if name.split('/').any(|part| part == "..") {
            "leads out of the package"
        } else {
            return Ok(name);
        };
    Err(SchemaError::UnsafeEntry { name, problem })
}

/// The name of a file directly under `package/` that ends in `.json`.
fn resource_file_name(name: &str) -> Option<&str> {
    let name = name.strip_prefix("./").unwrap_or(name).strip_prefix("package/")?;
    (name.ends_with(".json") && !name.contains('/')).then_some(name)
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

/// A package's name and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageId {
    /// `hl7.fhir.us.core`.
    pub name: Arc<str>,
    /// `6.1.0`.
    pub version: Arc<str>,
}

impl std::fmt::Display for PackageId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}#{}", self.name, self.version)
    }
}
