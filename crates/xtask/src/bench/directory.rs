//! A directory for one run's data, on the disk that `target` is on: removed when the run is over.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The directory; removed with all in it when this is dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// A new one. Its path is short enough for sockets: it is relative to the working directory.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let path = PathBuf::from(format!("target/bench/{name}-{}", std::process::id()));
        // As the server and the gateway want the directories of their sockets.
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What stays behind is under `target`, and harms no later run.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
