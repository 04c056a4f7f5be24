//! The key of the pseudonyms by which the access log names subjects: 32 random bytes beside what
//! the gateway's half keeps, made at its first start. `hearthgate pseudonym` says with it which
//! pseudonym somebody has.

use std::path::{Path, PathBuf};

use clap::Args;
use contract::Ids;
use gateway::SubjectKey;

use crate::data_directory::DataDirectory;
use crate::key_file::{self, KeyFileError};

/// The folder in the data directory.
const FOLDER: &str = "gateway";
/// The file's name in it.
pub const FILE: &str = "subjects.key";

/// What ends with a key that is lost.
const ENDS: &str = "telling whose the pseudonyms in access logs so far are ends";

const _: () = assert!(SubjectKey::LENGTH == key_file::LENGTH);

/// The pseudonym of a subject.
#[derive(Debug, Args)]
pub(crate) struct Pseudonym {
    #[command(flatten)]
    data: DataDirectory,
    /// The user as the audit log names them (hospital/u-1), or Practitioner/7, or Patient/123
    #[arg(value_name = "SUBJECT")]
    subject: String,
}

/// Why no pseudonym can be told.
#[derive(Debug, thiserror::Error)]
pub enum PseudonymError {
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// No gateway ran on the data directory.
    #[error(
        "there is no {}: no gateway has run on this data directory; name the right one with --data",
        .0.display()
    )]
    NoKey(PathBuf),
    /// What is asked about is nobody as the log names them.
    #[error(
        "`{0}` is no subject: write ISSUER/SUBJECT as the audit log has it, or a resource like \
         Practitioner/7 or Patient/123"
    )]
    NoSubject(String),
}

/// The key in the data directory, made when there is none.
///
/// # Errors
/// [`KeyFileError`].
pub fn open(data: &Path, ids: &dyn Ids) -> Result<SubjectKey, KeyFileError> {
    Ok(SubjectKey::new(&key_file::open(&data.join(FOLDER), FILE, ENDS, ids)?))
}

impl Pseudonym {
    /// The pseudonym, on a line.
    ///
    /// # Errors
    /// [`PseudonymError`].
    pub(crate) fn run(&self) -> Result<String, PseudonymError> {
        let named = self.subject.split_once('/');
        if named.is_none_or(|(of, name)| of.is_empty() || name.is_empty()) {
            return Err(PseudonymError::NoSubject(self.subject.clone()));
        }
        let path = self.data.path.join(FOLDER).join(FILE);
        let key = key_file::read(&path, ENDS)?.ok_or(PseudonymError::NoKey(path))?;
        Ok(format!("{}\n", SubjectKey::new(&key).pseudonym(&self.subject)))
    }
}

#[cfg(test)]
mod tests {
    use super::{DataDirectory, Pseudonym, PseudonymError, open};
    use crate::doors::SystemIds;

    // GW-052
    #[test]
    fn an_operator_is_told_the_pseudonym_that_the_log_has() {
        let data = tempfile::tempdir().unwrap();
        let of = |subject: &str| Pseudonym {
            data: DataDirectory { path: data.path().to_owned() },
            subject: subject.to_owned(),
        };
        assert!(matches!(of("Patient/1").run(), Err(PseudonymError::NoKey(_))));
        let key = open(data.path(), &SystemIds::open().unwrap()).unwrap();
        let told = of("hospital/u-1").run().unwrap();
        assert_eq!(told, format!("{}\n", key.pseudonym("hospital/u-1")));
        for nobody in ["u-1", "/u-1", "Patient/", ""] {
            assert!(matches!(of(nobody).run(), Err(PseudonymError::NoSubject(_))), "{nobody}");
        }
    }
}
