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
        "the tenant has resources of FHIR {log}, and `fhir_package` names {}, which is of {version}: leave it out, or begin a tenant in another data directory",
        package.display()
    )]
    BegunOtherwise {
        /// The package.
        package: PathBuf,
        /// Its version.
        version: String,
        /// That of the data.
        log: &'static str,
    },
    /// What was kept is not there, and R4, which is built in, is not what the data is of.
    #[error(
        "the tenant has resources of FHIR {log}, and {} is missing: put it back from a backup, or name the core package of that version (`fhir_package`)",
        path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// The version of the data.
        log: &'static str,
    },
    /// What was kept is another tenant's.
    #[error(
        "the tenant has resources of FHIR {log}, and {} is of {kept}: put that back which belongs to the data, or remove it and name the core package of that version (`fhir_package`)",
        path.display()
    )]
    OfAnother {
        /// The file.
        path: PathBuf,
        /// Its version.
        kept: String,
        /// That of the data.
        log: &'static str,
    },
}

/// The definitions that a tenant's resources are of; its log has those of `of_log`, none where it
/// is empty.
///
/// # Errors
/// [`DefinitionsError`] when what is kept of them is missing, not whole, or of another version.
pub(crate) fn of(
    directory: &Path,
    of_log: Option<FhirVersion>,
) -> Result<&'static Schema, DefinitionsError> {
    at_start(directory, None, of_log)
}

/// The same at a start with `package` as the configuration has it. It is taken up where the tenant
/// begins, and again where what was kept of it is lost.
///
/// # Errors
/// As [`of`], or when the package is needed and cannot be used; nothing is then kept.
pub(crate) fn at_start(
    directory: &Path,
    package: Option<&Path>,
    of_log: Option<FhirVersion>,
) -> Result<&'static Schema, DefinitionsError> {
    choose(directory, package, of_log, compiled_from)
}

/// `compile` makes of a package what is kept of it.
fn choose(
    directory: &Path,
    package: Option<&Path>,
    of_log: Option<FhirVersion>,
    compile: impl Fn(&Path) -> Result<Vec<u8>, DefinitionsError>,
) -> Result<&'static Schema, DefinitionsError> {
    let path = directory.join(FILE);
    let kept = match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(DefinitionsError::Io { doing: "read", path, source }),
    };
    // While nothing is stored the package that is named now counts.
    if let Some(bytes) = kept.filter(|_| of_log.is_some() || package.is_none()) {
        let kept = schema(&path, &bytes)?;
        return match of_log {
            Some(log) if FhirVersion::of(kept.fhir_version()) != Some(log) => {
                let kept = kept.fhir_version().to_owned();
                Err(DefinitionsError::OfAnother { path, kept, log: log.name() })
            }
            _ => Ok(kept),
        };
    }
    match (package, of_log) {
        (None, None | Some(FhirVersion::R4)) => Ok(Schema::r4()),
        (None, Some(log)) => Err(DefinitionsError::Missing { path, log: log.name() }),
        (Some(package), _) => {
            let file = compile(package)?;
            let taken = schema(package, &file)?;
            let (package, version) = (package.to_owned(), taken.fhir_version().to_owned());
            match (FhirVersion::of(&version), of_log) {
                (None, _) => Err(DefinitionsError::UnknownVersion { path: package, version }),
                (Some(of), Some(log)) if of != log => {
                    Err(DefinitionsError::BegunOtherwise { package, version, log: log.name() })
                }
                // What is built in is what it has begun with.
                (Some(FhirVersion::R4), Some(_)) => Ok(Schema::r4()),
                _ => {
                    let kept = keep(&path, &file);
                    kept.map_err(|source| DefinitionsError::Io { doing: "write", path, source })?;
                    Ok(taken)
                }
            }
        }
    }
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

    /// What is kept of a core package of R5.
    const R5: &[u8] = include_bytes!("../../../integration-tests/data/r5-definitions.zst");

    /// Compiles packages by their names.
    fn compile(package: &Path) -> Result<Vec<u8>, DefinitionsError> {
        match package.to_str() {
            Some("r5") => Ok(R5.to_vec()),
            Some("r4") => Ok(of_version("4.0.1")),
            Some("r3") => Ok(of_version("3.0.2")),
            _ => compiled_from(package),
        }
    }

    /// The same definitions by another name.
    fn of_version(version: &str) -> Vec<u8> {
        let mut definitions = compiled::decode(R5).unwrap();
        definitions.source.fhir_version = version.into();
        compiled::encode(&definitions).unwrap()
    }

    fn chosen(
        directory: &Path,
        package: Option<&str>,
        of_log: Option<FhirVersion>,
    ) -> Result<String, DefinitionsError> {
        let chosen = choose(directory, package.map(Path::new), of_log, compile);
        chosen.map(|schema| schema.fhir_version().to_owned())
    }

    #[test]
    fn without_a_package_resources_are_of_r4() {
        let directory = tempfile::tempdir().unwrap();
        for of_log in [None, Some(FhirVersion::R4)] {
            assert_eq!(chosen(directory.path(), None, of_log).unwrap(), "4.0.1");
        }
        assert!(!directory.path().join(FILE).exists());
    }

    #[test]
    fn a_package_is_taken_up_while_nothing_is_stored_and_kept_from_then_on() {
        let directory = tempfile::tempdir().unwrap();
        let tenant = directory.path().join("tenant");
        assert_eq!(chosen(&tenant, Some("r4"), None).unwrap(), "4.0.1");
        // Nothing was stored since: another one may be named.
        assert_eq!(chosen(&tenant, Some("r5"), None).unwrap(), "5.0.0");
        assert_eq!(fs::read(tenant.join(FILE)).unwrap(), R5);
        for package in [None, Some("r5"), Some("/absent")] {
            assert_eq!(chosen(&tenant, package, Some(FhirVersion::R5)).unwrap(), "5.0.0");
        }
        assert_eq!(chosen(&tenant, None, None).unwrap(), "5.0.0");
    }

    #[test]
    fn data_of_one_version_is_never_read_by_the_definitions_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let tenant = directory.path().join("tenant");
        let refused = chosen(&tenant, Some("r5"), Some(FhirVersion::R4)).unwrap_err();
        assert!(matches!(refused, DefinitionsError::BegunOtherwise { .. }), "{refused}");
        let refused = chosen(&tenant, None, Some(FhirVersion::R5)).unwrap_err();
        assert!(matches!(refused, DefinitionsError::Missing { .. }), "{refused}");
        let refused = chosen(&tenant, Some("r4"), Some(FhirVersion::R5)).unwrap_err();
        assert!(matches!(refused, DefinitionsError::BegunOtherwise { .. }), "{refused}");
        assert!(!tenant.exists());
        // What is lost is made again from the package.
        assert_eq!(chosen(&tenant, Some("r5"), Some(FhirVersion::R5)).unwrap(), "5.0.0");
        assert_eq!(fs::read(tenant.join(FILE)).unwrap(), R5);
        let refused = chosen(&tenant, None, Some(FhirVersion::R4)).unwrap_err();
        assert!(matches!(refused, DefinitionsError::OfAnother { .. }), "{refused}");
    }

    #[test]
    fn what_is_no_package_not_whole_or_of_no_known_version_is_refused_and_nothing_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let tenant = directory.path().join("tenant");
        let package = directory.path().join("r5.tgz");
        let named = package.to_str();
        let refused = chosen(&tenant, named, None).unwrap_err();
        assert!(matches!(refused, DefinitionsError::Io { doing: "open", .. }), "{refused}");
        fs::write(&package, "no archive").unwrap();
        let refused = chosen(&tenant, named, None).unwrap_err();
        assert!(refused.to_string().contains("r5.tgz"), "{refused}");
        let refused = chosen(&tenant, Some("r3"), None).unwrap_err();
        assert!(matches!(refused, DefinitionsError::UnknownVersion { .. }), "{refused}");
        assert!(!tenant.exists());
        fs::create_dir(&tenant).unwrap();
        fs::write(tenant.join(FILE), "no definitions").unwrap();
        let refused = chosen(&tenant, None, None).unwrap_err();
        assert!(matches!(refused, DefinitionsError::Schema { .. }), "{refused}");
    }
}
