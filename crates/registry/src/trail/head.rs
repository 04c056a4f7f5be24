//! What is known of the trail beside it, `trail.head`: where it begins, and how far it went when
//! the process that writes it last started, closed a file of it, or ended. A trail that is missing,
//! or shorter than that, is missed by it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::line::{NOTHING_BEFORE, damaged};
use crate::error::OpenError;
use crate::files;

const NAME: &str = "trail.head";

/// Where the trail begins, and how far it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Head {
    /// The number of the first line that is kept.
    pub(super) first: u64,
    /// What that line names as the one before it.
    pub(super) before: String,
    /// The number of the last line that there was.
    pub(super) lines: u64,
    /// The SHA-256 of that line.
    pub(super) last: String,
}

impl Default for Head {
    /// Of a trail without a line.
    fn default() -> Self {
        let nothing = NOTHING_BEFORE.to_owned();
        Self { first: 1, before: nothing.clone(), lines: 0, last: nothing }
    }
}

impl Head {
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(NAME)
    }

    /// What is noted in `dir`; `None` where nothing is.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = Self::path(dir);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io("read", &path)(error)),
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(head) if head.first > 0 && head.lines + 1 >= head.first => Ok(Some(head)),
            _ => Err(damaged(&path, 0, 0, "it is not what this release writes")),
        }
    }

    /// Notes it in `dir`, at once or not at all.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        files::write_atomically(&Self::path(dir), &self.bytes()?)
    }

    /// What the file holds.
    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }
}
