//! The directory: `hearthgate.toml` and `clients/ID.toml`, read as text and written.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Exported;

/// The configuration in the directory.
const CONFIGURATION: &str = "hearthgate.toml";
/// The clients in the directory.
const CLIENTS: &str = "clients";
/// The most bytes that the files have together: what a running gateway reads of one command is
/// twice that, for what JSON adds.
const MOST: usize = 4 << 20;

/// What a directory holds, as text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Files {
    /// The configuration; absent where the directory says nothing of it.
    pub(crate) configuration: Option<ConfigurationText>,
    /// Clients, by the names of their files; absent where the directory says nothing of them.
    pub(crate) clients: Option<Vec<ClientText>>,
    /// Whether clients that no file names are disabled.
    pub(crate) prune: bool,
}

/// A configuration file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ConfigurationText {
    /// As it was named.
    pub(crate) path: PathBuf,
    /// Where it truly is.
    pub(crate) place: PathBuf,
    pub(crate) text: String,
}

/// A client's file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ClientText {
    /// As it was named.
    pub(crate) path: PathBuf,
    /// Its name without `.toml`.
    pub(crate) stem: String,
    pub(crate) text: String,
}

/// Files name patients.
impl std::fmt::Debug for Files {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Files({})", self.clients.as_ref().map_or(0, Vec::len))
    }
}

/// Why a directory could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The file system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Nothing is in it.
    #[error(
        "{} has neither {CONFIGURATION} nor {CLIENTS}/; name the directory that has your files, or make one with `hearthgate config export`",
        .0.display()
    )]
    Empty(PathBuf),
    /// A file that cannot be a client's.
    #[error(
        "{} is no client's file; name it ID.toml, or take it out of the directory",
        .0.display()
    )]
    NoClient(PathBuf),
    /// More than can be sent.
    #[error("the files in {} have more than {MOST} bytes together; split them up", .0.display())]
    TooLong(PathBuf),
    /// It would be written over.
    #[error("{} is there and not empty; name a new directory", .0.display())]
    NotEmpty(PathBuf),
}

fn refused(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    let path = path.to_owned();
    move |source| FilesError::Io { doing, path, source }
}

impl Files {
    /// Reads a directory.
    ///
    /// # Errors
    /// [`FilesError`] when it cannot be read, has nothing, or has what belongs into none.
    pub(crate) fn read(directory: &Path, prune: bool) -> Result<Self, FilesError> {
        if !fs::metadata(directory).map_err(refused("read", directory))?.is_dir() {
            let source = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(refused("read the directory", directory)(source));
        }
        let path = directory.join(CONFIGURATION);
        let configuration = match fs::read_to_string(&path) {
            Ok(text) => {
                let place = path.canonicalize().map_err(refused("find", &path))?;
                Some(ConfigurationText { path, place, text })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(refused("read", &path)(error)),
        };
        let clients = clients(&directory.join(CLIENTS))?;
        if configuration.is_none() && clients.is_none() {
            return Err(FilesError::Empty(directory.to_owned()));
        }
        let length = configuration.as_ref().map_or(0, |file| file.text.len())
            + clients.iter().flatten().map(|file| file.text.len()).sum::<usize>();
        if length > MOST {
            return Err(FilesError::TooLong(directory.to_owned()));
        }
        Ok(Self { configuration, clients, prune })
    }
}

/// The clients' files in `directory`, by name; `None` where it is not there. What begins with a dot
/// and what is Markdown is no client's and may stand there.
fn clients(directory: &Path) -> Result<Option<Vec<ClientText>>, FilesError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused("read", directory)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(refused("read", directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name else { return Err(FilesError::NoClient(path)) };
        if name.starts_with('.') || name.ends_with(".md") {
            continue;
        }
        let stem = match name.strip_suffix(".toml") {
            Some(stem) if !path.is_dir() => stem.to_owned(),
            _ => return Err(FilesError::NoClient(path)),
        };
        let text = fs::read_to_string(&path).map_err(refused("read", &path))?;
        files.push(ClientText { path, stem, text });
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Some(files))
}

/// A directory that was made, or was there and empty.
pub(super) struct NewDirectory(PathBuf);

/// Looks whether a directory can be written to without harm.
///
/// # Errors
/// [`FilesError`] when something is there already.
pub(super) fn new_directory(path: &Path) -> Result<NewDirectory, FilesError> {
    match fs::read_dir(path) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(FilesError::NotEmpty(path.to_owned()));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused("read", path)(error)),
    }
    Ok(NewDirectory(path.to_owned()))
}

impl NewDirectory {
    /// Writes the files, for this account alone: they name patients.
    ///
    /// # Errors
    /// [`FilesError`] when the file system refuses.
    pub(super) fn write(&self, exported: &Exported) -> Result<(), FilesError> {
        let clients = self.0.join(CLIENTS);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&clients);
        made.map_err(refused("make", &clients))?;
        let configuration = exported.configuration.iter();
        let configuration = configuration.map(|text| (self.0.join(CONFIGURATION), text));
        let each = exported.clients.iter();
        let each = each.map(|(id, text)| (clients.join(format!("{id}.toml")), text));
        for (path, text) in configuration.chain(each) {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let written = options.open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
            written.map_err(refused("write", &path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[&str]) -> Result<Files, String> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("clients")).unwrap();
        for name in files {
            fs::write(dir.path().join(name), "role = \"reader\"\n").unwrap();
        }
        let read = Files::read(dir.path(), false);
        read.map_err(|error| crate::failure::one_line(&error))
    }

    // GW-060
    #[test]
    fn a_directory_has_a_configuration_and_clients_and_nothing_that_is_overlooked() {
        let files =
            read(&["clients/b.c.toml", "clients/a.toml", "clients/README.md", "x"]).unwrap();
        assert!(files.configuration.is_none());
        let stems: Vec<_> = files.clients.iter().flatten().map(|file| &file.stem).collect();
        assert_eq!(stems, ["a", "b.c"]);
        assert!(read(&["hearthgate.toml"]).unwrap().configuration.is_some());
        let error = read(&["clients/a.tml"]).unwrap_err();
        assert!(error.contains("clients/a.tml is no client's file; name it ID.toml"), "{error}");
    }

    #[test]
    fn an_empty_directory_is_refused_and_nothing_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let error = Files::read(dir.path(), true).unwrap_err().to_string();
        assert!(error.contains("neither hearthgate.toml nor clients/"), "{error}");
        assert!(Files::read(&dir.path().join("none"), false).is_err());
        let clients = vec![("app".to_owned(), "role = \"reader\"\n".to_owned())];
        let exported = Exported { configuration: None, clients };
        new_directory(dir.path()).unwrap().write(&exported).unwrap();
        assert_eq!(Files::read(dir.path(), false).unwrap().clients.unwrap().len(), 1);
        assert!(new_directory(dir.path()).is_err());
    }
}
