//! A small disk of a test's own, full or read-only at will: a tmpfs in namespaces that only this
//! test's processes enter. Linux gives these to every user where nothing forbids it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::test_data::say;

/// The disk. It goes with its owner.
#[derive(Debug)]
pub struct PrivateDisk {
    holder: Child,
    place: PathBuf,
    _folder: TempDir,
}

const HOLD: &str = "mount -t tmpfs -o \"$2\" tmpfs \"$1\" && echo mounted && exec cat";

impl PrivateDisk {
    /// A disk with these options of tmpfs (`size=16m`, `ro`); `None`, said aloud, where the
    /// system gives no namespaces.
    ///
    /// # Panics
    /// When the system gives no folder.
    #[must_use]
    pub fn mount(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("the system gives a folder");
        let place = folder.path().join("disk");
        std::fs::create_dir(&place).expect("a new folder takes another");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", HOLD, "sh"]);
        command.arg(&place).arg(options).stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut holder) = command.spawn() else {
            say("skipped: there is no `unshare` here to make a disk with");
            return None;
        };
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("it was asked for");
        let read = BufReader::new(stdout).read_line(&mut line);
        let disk = Self { holder, place, _folder: folder };
        if read.is_err() || line != "mounted\n" {
            say("skipped: this system gives a test no disk of its own (user namespaces)");
            return None;
        }
        Some(disk)
    }

    /// Where the disk is for processes that were started through [`Self::launcher`].
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Where the disk is for the test.
    #[must_use]
    pub fn from_outside(&self) -> PathBuf {
        let inside = self.place.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }

    /// The words before a command that is to see the disk.
    #[must_use]
    pub fn launcher(&self) -> Vec<String> {
        let id = self.holder.id().to_string();
        let words = ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", &id];
        words.map(str::to_owned).into_iter().chain(["--".to_owned()]).collect()
    }
}

impl Drop for PrivateDisk {
    fn drop(&mut self) {
        // The namespaces end with their last process.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
