//! Which files are read, in which order.

use std::fs;
use std::path::{Path, PathBuf};

use super::ImportError;

/// The files, in order.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) files: Vec<Input>,
    skipped: u64,
}

/// One file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// Everything before this file is answered before it is begun.
    pub(crate) begins_group: bool,
}

impl Inputs {
    /// The files that `paths` name, and those in folders below them.
    ///
    /// An argument is begun when those before it are done. Within a folder, files go in the order
    /// of their names; those that Synthea names `hospitalInformation…` and
    /// `practitionerInformation…` go first, each kind on its own, since the others refer to them.
    pub(crate) fn find(paths: &[PathBuf]) -> Result<Self, ImportError> {
        let mut inputs = Self { files: Vec::new(), skipped: 0 };
        for path in paths {
            inputs.add(path)?;
        }
        Ok(inputs)
    }

    /// All files together.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// How many files in folders are none to import.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    fn add(&mut self, path: &Path) -> Result<(), ImportError> {
        let unreadable = |source| ImportError::Unreadable { path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_dir() {
            self.files.push(Input {
                path: path.to_owned(),
                bytes: metadata.len(),
                begins_group: true,
            });
            return Ok(());
        }
        let mut found = Vec::new();
        self.walk(path, &mut found)?;
        if found.is_empty() {
            return Err(ImportError::Nothing { path: path.to_owned() });
        }
        found.sort_by_cached_key(|(path, _)| (rank(path), path.clone()));
        let mut last = None;
        for (path, bytes) in found {
            let rank = rank(&path);
            let begins_group = last.replace(rank) != Some(rank);
            self.files.push(Input { path, bytes, begins_group });
        }
        Ok(())
    }

    fn walk(&mut self, dir: &Path, found: &mut Vec<(PathBuf, u64)>) -> Result<(), ImportError> {
        let unreadable = |source| ImportError::Unreadable { path: dir.to_owned(), source };
        for entry in fs::read_dir(dir).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            // A link to a folder is not followed: it could lead round in a circle.
            let is_dir = fs::symlink_metadata(&path).map_err(unreadable)?.is_dir();
            if is_dir {
                self.walk(&path, found)?;
            } else if is_fhir(&path) {
                let metadata = fs::metadata(&path).map_err(unreadable)?;
                found.push((path, metadata.len()));
            } else {
                self.skipped += 1;
            }
        }
        Ok(())
    }
}

/// The name without `.zst`, and whether it had it.
pub(crate) fn without_zst(path: &Path) -> (&Path, bool) {
    match path.extension() {
        Some(extension) if extension == "zst" => (path.file_stem().map_or(path, Path::new), true),
        _ => (path, false),
    }
}

/// Whether a line of the file is a document.
pub(crate) fn is_ndjson(path: &Path) -> bool {
    let (path, _) = without_zst(path);
    path.extension().is_some_and(|extension| extension == "ndjson" || extension == "jsonl")
}

fn is_fhir(path: &Path) -> bool {
    let (plain, _) = without_zst(path);
    is_ndjson(path) || plain.extension().is_some_and(|extension| extension == "json")
}

fn rank(path: &Path) -> u8 {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    if name.starts_with(b"hospitalInformation") {
        0
    } else if name.starts_with(b"practitionerInformation") {
        1
    } else {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_in_order_of_names_with_what_others_refer_to_first() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        for name in [
            "z.json",
            "a.ndjson",
            "b/c.json.zst",
            "practitionerInformation1.json",
            "hospitalInformation1.json",
            "readme.txt",
            "x.jsonl.zst",
            "archive.zst",
        ] {
            fs::write(dir.path().join(name), "{}").unwrap();
        }
        let single = dir.path().join("readme.txt");
        let inputs = Inputs::find(&[dir.path().to_owned(), single]).unwrap();
        let found: Vec<(String, bool)> = inputs
            .files
            .iter()
            .map(|input| {
                let name = input.path.strip_prefix(dir.path()).unwrap();
                (name.display().to_string(), input.begins_group)
            })
            .collect();
        let expected = [
            ("hospitalInformation1.json", true),
            ("practitionerInformation1.json", true),
            ("a.ndjson", true),
            ("b/c.json.zst", false),
            ("x.jsonl.zst", false),
            ("z.json", false),
            ("readme.txt", true),
        ];
        assert_eq!(found, expected.map(|(name, begins)| (name.to_owned(), begins)));
        assert_eq!((inputs.skipped(), inputs.bytes()), (2, 14));
    }

    #[test]
    fn a_folder_without_any_and_a_missing_file_are_errors_that_name_them() {
        let dir = tempfile::tempdir().unwrap();
        let nothing = Inputs::find(&[dir.path().to_owned()]).unwrap_err();
        assert!(matches!(nothing, ImportError::Nothing { .. }), "{nothing}");
        let missing = Inputs::find(&[dir.path().join("absent.json")]).unwrap_err();
        assert!(missing.to_string().contains("absent.json"), "{missing}");
    }
}
