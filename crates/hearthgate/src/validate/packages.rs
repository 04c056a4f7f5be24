//! The packages that were given: read, and put together with R4.
//!
//! Nothing is fetched. What a package depends on and nobody gave is told as a note: often it holds
//! terminology alone, and then only what needs that is not checked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fhir_core::json::Document;
use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, SchemaError};
use fhir_terminology::{Entry, Layer, Terminology};

use super::ValidateError;

/// R4 and the packages.
#[derive(Debug)]
pub(crate) struct Packages {
    pub(crate) definitions: DefinitionSet,
    pub(crate) terminology: Terminology,
    notes: Vec<String>,
}

impl Packages {
    /// Reads them all.
    ///
    /// # Errors
    /// When one cannot be read or used, or they do not go together.
    pub(crate) fn load(paths: &[PathBuf]) -> Result<Self, ValidateError> {
        let mut packages = Vec::new();
        for path in paths {
            add(path, &mut packages)?;
        }
        let mut layer = Layer::new();
        for package in &mut packages {
            for resource in std::mem::take(&mut package.resources) {
                // They were read when the package was; what is no terminology is not needed.
                let document = Document::parse(&resource.json);
                let entry = document.ok().and_then(|it| Entry::new(it.root()).ok());
                if let Some(entry) = entry {
                    layer.add(Arc::new(entry));
                }
            }
        }
        let definitions = match packages.is_empty() {
            true => DefinitionSet::r4().clone(),
            false => {
                let set = DefinitionSet::r4().with_packages(packages);
                set.map_err(|source| ValidateError::Packages(Box::new(source)))?
            }
        };
        let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for unmet in definitions.unmet_dependencies() {
            let wanted = format!("{}#{}", unmet.name, unmet.wanted);
            missing.entry(unmet.package.to_string()).or_default().push(wanted);
        }
        let notes = missing.into_iter().map(|(package, wanted)| {
            format!(
                "{package} wants packages that were not given, and what needs them is not checked: \
                 {}",
                wanted.join(", ")
            )
        });
        let notes = notes.collect();
        let terminology = match layer.is_empty() {
            true => Terminology::r4(),
            false => Terminology::r4().with(layer),
        };
        Ok(Self { definitions, terminology, notes })
    }

    /// What is missing.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Reads an archive, an unpacked package, or all packages in a folder.
fn add(path: &Path, packages: &mut Vec<Package>) -> Result<(), ValidateError> {
    let unreadable = |source| ValidateError::Unreadable { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        packages.push(archive(path)?);
        return Ok(());
    }
    if let Some(folder) = unpacked(path) {
        packages.push(files(&folder)?);
        return Ok(());
    }
    let before = packages.len();
    let entries = fs::read_dir(path).map_err(unreadable)?;
    let mut paths =
        entries.map(|it| Ok(it?.path())).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    paths.sort();
    for path in paths {
        if let Some(folder) = unpacked(&path) {
            packages.push(files(&folder)?);
        } else if path.extension().is_some_and(|it| it == "tgz") {
            packages.push(archive(&path)?);
        }
    }
    if packages.len() == before {
        return Err(ValidateError::NoPackage { path: path.to_owned() });
    }
    Ok(())
}

/// The folder of an unpacked package that has its files, if it is one.
fn unpacked(folder: &Path) -> Option<PathBuf> {
    let places = [folder.to_owned(), folder.join("package")];
    places.into_iter().find(|it| it.join("package.json").is_file())
}

fn archive(path: &Path) -> Result<Package, ValidateError> {
    let file = File::open(path)
        .map_err(|source| ValidateError::Unreadable { path: path.to_owned(), source })?;
    Package::read(file, PackageLimits::default()).map_err(|source| refused(path, source))
}

fn files(folder: &Path) -> Result<Package, ValidateError> {
    let limits = PackageLimits::default();
    let entries = fs::read_dir(folder)
        .map_err(|source| ValidateError::Unreadable { path: folder.to_owned(), source })?;
    let files = entries.filter_map(|entry| read(entry, limits).transpose());
    Package::from_files(files, limits).map_err(|source| refused(folder, source))
}

/// A file of an unpacked package, if it is one.
fn read(
    entry: io::Result<fs::DirEntry>,
    limits: PackageLimits,
) -> io::Result<Option<(String, Vec<u8>)>> {
    let path = entry?.path();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let metadata = fs::metadata(&path)?;
    if !metadata.is_file() || !name.ends_with(".json") {
        return Ok(None);
    }
    if metadata.len() > limits.file_bytes {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(Some((name, fs::read(&path)?)))
}

fn refused(path: &Path, source: SchemaError) -> ValidateError {
    ValidateError::Package { path: path.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGE: &str = r#"{"name":"a.b","version":"1.0.0","fhirVersions":["4.0.1"],"dependencies":{"hl7.fhir.r4.core":"4.0.1","c.d":"2.x"}}"#;
    const SET: &str = r#"{"resourceType":"ValueSet","url":"http://a/v","status":"active"}"#;

    fn unpack(folder: &Path) {
        fs::create_dir_all(folder.join("example")).unwrap();
        fs::write(folder.join("package.json"), PACKAGE).unwrap();
        fs::write(folder.join("ValueSet-v.json"), SET).unwrap();
        fs::write(folder.join("notes.txt"), "x").unwrap();
    }

    #[test]
    fn a_package_is_read_unpacked_below_package_and_from_a_folder_of_packages() {
        let dir = tempfile::tempdir().unwrap();
        let [flat, cache] = ["flat", "cache"].map(|it| dir.path().join(it));
        unpack(&flat);
        unpack(&cache.join("a.b#1.0.0/package"));
        for path in [flat, cache.join("a.b#1.0.0"), cache] {
            let packages = Packages::load(&[path]).unwrap();
            let ids: Vec<String> =
                packages.definitions.packages().map(ToString::to_string).collect();
            assert!(ids.contains(&"a.b#1.0.0".to_owned()), "{ids:?}");
            let known = packages.terminology.canonicals(fhir_terminology::Kind::ValueSet);
            assert!(known.contains(&"http://a/v".to_owned()));
            let [note] = packages.notes() else { panic!("{:?}", packages.notes()) };
            assert!(note.starts_with("a.b#1.0.0 wants") && note.ends_with("c.d#2.x"), "{note}");
        }
    }

    #[test]
    fn what_is_no_package_or_a_hostile_one_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| {
            let error = Packages::load(&[path.to_owned()]).unwrap_err();
            crate::failure::one_line(&error)
        };
        let check = |path: &Path, problem: &str| {
            let line = refused(path);
            assert!(line.contains(problem), "{line}");
        };
        check(dir.path(), "there is no package in");
        check(&dir.path().join("absent.tgz"), "absent.tgz");
        let file = dir.path().join("x.tgz");
        fs::write(&file, "no archive").unwrap();
        check(&file, "not a readable tgz archive");
        let pack = |name: &str, text: &str| {
            let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
                Vec::new(),
                flate2::Compression::fast(),
            ));
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
            fs::write(&file, builder.into_inner().unwrap().finish().unwrap()).unwrap();
        };
        pack("package/../../etc/passwd.json", "{}");
        check(&file, "leads out of the package");
        pack("package/package.json", "{\"name\":\"a\",");
        check(&file, "package.json is not valid");
        pack("package/ValueSet-v.json", SET);
        check(&file, "the package has no package.json");
        pack("package/package.json", &PACKAGE.replace("4.0.1", "5.0.0"));
        check(&file, "the packages cannot be used together");
    }
}
