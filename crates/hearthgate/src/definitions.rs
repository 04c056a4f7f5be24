//! Of which FHIR version a tenant's resources are: R4, which is built in, or that of the core
//! package that the configuration names when the tenant begins. What is taken from the package is
//! kept beside the tenant's data, so that whatever reads it, reads it as it was written.

use std::fs::{self, File};
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};

use database::FhirVersion;
use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{Schema, SchemaError, compile, compiled};

/// The file's name in a tenant's directory.
pub(crate) const FILE: &str = "definitions";

/// Why a tenant's definitions cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionsError {
    /// The package, or what was kept of it, cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is no FHIR package.
    #[error("{} is no FHIR package that can be read (`fhir_package`)", path.display())]
    Package {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<SchemaError>,
    },
    /// It does not define a FHIR version, or what was kept is not whole.
    #[error("{} gives no definitions of a FHIR version", path.display())]
    Schema {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<SchemaError>,
    },
    /// A version that logs have no number for.
    #[error("{} defines FHIR {version}; name a core package of 4.0, 4.3 or 5.0 (`fhir_package`)", path.display())]
    UnknownVersion {
        /// The package.
        path: PathBuf,
        /// What it defines.
        version: String,
    },
    /// There is data of another version.
    #[error(
        "the tenant has resources of FHIR R4 already, and `fhir_package` names {}: leave it out, or begin a tenant in another data directory",
        .0.display()
    )]
    BegunOtherwise(PathBuf),
}

/// The definitions that a tenant's resources are of.
///
/// # Errors
/// [`DefinitionsError`] when what is kept of them is not whole.
pub(crate) fn of(directory: &Path) -> Result<&'static Schema, DefinitionsError> {
    let path = directory.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => schema(&path, &bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Schema::r4()),
        Err(source) => Err(DefinitionsError::Io { doing: "read", path, source }),
    }
}

/// The same at a start with `package` as the configuration has it, which is taken up where the
/// tenant begins: where it holds nothing.
///
/// # Errors
/// [`DefinitionsError`]; nothing is then kept.
pub(crate) fn at_start(
    directory: &Path,
    package: Option<&Path>,
    holds_nothing: bool,
) -> Result<&'static Schema, DefinitionsError> {
    let (Some(package), false) = (package, directory.join(FILE).exists()) else {
        return of(directory);
    };
    let file = compiled_from(package)?;
    let taken = schema(package, &file)?;
    if FhirVersion::of(taken.fhir_version()).is_none() {
        let (path, version) = (package.to_owned(), taken.fhir_version().to_owned());
        return Err(DefinitionsError::UnknownVersion { path, version });
    }
    if !holds_nothing {
        return match FhirVersion::of(taken.fhir_version()) {
            Some(FhirVersion::R4) => Ok(Schema::r4()),
            _ => Err(DefinitionsError::BegunOtherwise(package.to_owned())),
        };
    }
    let path = directory.join(FILE);
    let kept = keep(&path, &file);
    kept.map_err(|source| DefinitionsError::Io { doing: "write", path, source })?;
    Ok(taken)
}

/// What is kept of a core package.
fn compiled_from(package: &Path) -> Result<Vec<u8>, DefinitionsError> {
    let path = || package.to_owned();
    let archive = File::open(package).map_err(|source| DefinitionsError::Io {
        doing: "open",
        path: path(),
        source,
    })?;
    let read = Package::read(BufReader::new(archive), PackageLimits::default());
    let read =
        read.map_err(|source| DefinitionsError::Package { path: path(), source: source.into() })?;
    let definitions = compile::structures(read).and_then(|all| compile::compile(&all));
    let file = definitions.and_then(|definitions| compiled::encode(&definitions));
    file.map_err(|source| DefinitionsError::Schema { path: path(), source: source.into() })
}

/// A schema lives as long as the process: there are as many as tenants.
fn schema(path: &Path, bytes: &[u8]) -> Result<&'static Schema, DefinitionsError> {
    let schema = compiled::decode(bytes).and_then(|definitions| Schema::new(&definitions));
    match schema {
        Ok(schema) => Ok(Box::leak(Box::new(schema))),
        Err(source) => {
            Err(DefinitionsError::Schema { path: path.to_owned(), source: source.into() })
        }
    }
}

/// Writes the file at once or not at all, durably, and its directory (0700) where it is missing.
fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let directory = path.parent().unwrap_or(path);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let unfinished = path.with_extension("unfinished");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_package_resources_are_of_r4() {
        let directory = tempfile::tempdir().unwrap();
        for holds_nothing in [true, false] {
            let schema = at_start(directory.path(), None, holds_nothing).unwrap();
            assert_eq!(schema.fhir_version(), "4.0.1");
        }
        assert!(!directory.path().join(FILE).exists());
    }

    #[test]
    fn what_is_no_package_or_not_whole_is_refused_by_name_and_nothing_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let tenant = directory.path().join("tenant");
        let package = directory.path().join("r5.tgz");
        let refused = at_start(&tenant, Some(&package), true).err().unwrap();
        assert!(matches!(refused, DefinitionsError::Io { doing: "open", .. }), "{refused}");
        fs::write(&package, "no archive").unwrap();
        let refused = at_start(&tenant, Some(&package), true).err().unwrap();
        assert!(refused.to_string().contains("r5.tgz"), "{refused}");
        assert!(!tenant.exists());
        fs::create_dir(&tenant).unwrap();
        fs::write(tenant.join(FILE), "no definitions").unwrap();
        let refused = of(&tenant).err().unwrap();
        assert!(matches!(refused, DefinitionsError::Schema { .. }), "{refused}");
    }
}
