//! Which files are read, and what their names say of their form.

use std::fs;
use std::path::{Path, PathBuf};

use super::ValidateError;

/// The files, in order.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) files: Vec<Input>,
    skipped: u64,
}

/// One file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) source: Source,
    bytes: u64,
}

/// Where bytes come from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The standard input.
    Standard,
    /// A file.
    File(PathBuf),
}

/// How the documents of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One document in JSON.
    Json,
    /// One document in XML.
    Xml,
    /// A document in JSON on each line.
    Lines,
}

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// It is not.
    Plain,
    Zstd,
    Gzip,
}

impl Inputs {
    /// The files that `paths` name, and those in folders below them in the order of their names.
    ///
    /// # Errors
    /// When a path is not there, or a folder has nothing that looks like FHIR.
    pub(crate) fn find(paths: &[PathBuf]) -> Result<Self, ValidateError> {
        let mut inputs = Self { files: Vec::new(), skipped: 0 };
        for path in paths {
            if path.as_os_str() == "-" {
                inputs.files.push(Input { source: Source::Standard, bytes: 0 });
                continue;
            }
            let unreadable = |source| ValidateError::Unreadable { path: path.clone(), source };
            let metadata = fs::metadata(path).map_err(unreadable)?;
            let before = inputs.files.len();
            if metadata.is_dir() {
                inputs.walk(path)?;
                if inputs.files.len() == before {
                    return Err(ValidateError::Nothing { path: path.clone() });
                }
            } else {
                inputs.add(path.clone(), metadata.len());
            }
        }
        Ok(inputs)
    }

    /// All files together, as they are packed.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// How many files in folders were left out.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    fn add(&mut self, path: PathBuf, bytes: u64) {
        self.files.push(Input { source: Source::File(path), bytes });
    }

    fn walk(&mut self, folder: &Path) -> Result<(), ValidateError> {
        let unreadable = |source| ValidateError::Unreadable { path: folder.to_owned(), source };
        let entries = fs::read_dir(folder).map_err(unreadable)?;
        let mut paths =
            entries.map(|it| Ok(it?.path())).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        paths.sort();
        for path in paths {
            // Of hidden folders and files the best known are a version control's.
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if name.starts_with(b".") {
                continue;
            }
            // A link to a folder is not followed: it could lead round in a circle.
            let is_folder = fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir());
            if is_folder {
                self.walk(&path)?;
                continue;
            }
            // One that cannot be read is told when its turn comes; a pipe would be waited for.
            let metadata = fs::metadata(&path);
            let is_file = metadata.as_ref().map_or(true, fs::Metadata::is_file);
            if is_file && of_name(&path).1.is_some() {
                self.add(path, metadata.map_or(0, |it| it.len()));
            } else {
                self.skipped += 1;
            }
        }
        Ok(())
    }
}

/// What a file's name says of it; the form is not told by every name.
pub(crate) fn of_name(path: &Path) -> (Packing, Option<Form>) {
    let is = |path: &Path, extensions: &[&str]| {
        let own = path.extension().and_then(|it| it.to_str());
        own.is_some_and(|own| extensions.iter().any(|it| own.eq_ignore_ascii_case(it)))
    };
    let packing = if is(path, &["zst"]) {
        Packing::Zstd
    } else if is(path, &["gz"]) {
        Packing::Gzip
    } else {
        Packing::Plain
    };
    let plain = match packing {
        Packing::Plain => path,
        _ => path.file_stem().map_or(path, Path::new),
    };
    let form = if is(plain, &["json"]) {
        Some(Form::Json)
    } else if is(plain, &["xml"]) {
        Some(Form::Xml)
    } else if is(plain, &["ndjson", "jsonl"]) {
        Some(Form::Lines)
    } else {
        None
    };
    (packing, form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_give_what_looks_like_fhir_in_order_of_names_and_nothing_hidden() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["b", ".git"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for name in
            ["z.XML", "a.ndjson.gz", "b/c.json.zst", ".git/x.json", "readme.md", "x.gz", ".y.json"]
        {
            fs::write(dir.path().join(name), "{}").unwrap();
        }
        let named = dir.path().join("readme.md");
        let inputs = Inputs::find(&[dir.path().to_owned(), named, "-".into()]).unwrap();
        let found: Vec<String> = inputs
            .files
            .iter()
            .map(|it| match &it.source {
                Source::File(path) => path.strip_prefix(dir.path()).unwrap().display().to_string(),
                Source::Standard => "-".to_owned(),
            })
            .collect();
        assert_eq!(found, ["a.ndjson.gz", "b/c.json.zst", "z.XML", "readme.md", "-"]);
        assert_eq!((inputs.skipped(), inputs.bytes()), (2, 8));
    }

    #[test]
    fn a_folder_without_any_and_a_missing_file_are_errors_that_name_them() {
        let dir = tempfile::tempdir().unwrap();
        let nothing = Inputs::find(&[dir.path().to_owned()]).unwrap_err();
        assert!(matches!(nothing, ValidateError::Nothing { .. }), "{nothing}");
        let missing = Inputs::find(&[dir.path().join("absent.json")]).unwrap_err();
        assert!(missing.to_string().contains("absent.json"), "{missing}");
    }

    #[test]
    fn names_tell_packing_and_form() {
        let check = |name: &str, packing, form| {
            assert_eq!(of_name(Path::new(name)), (packing, form), "{name}");
        };
        check("a.json", Packing::Plain, Some(Form::Json));
        check("a.b.xml.gz", Packing::Gzip, Some(Form::Xml));
        check("a.jsonl.zst", Packing::Zstd, Some(Form::Lines));
        check("a.gz", Packing::Gzip, None);
        check("a", Packing::Plain, None);
    }
}
