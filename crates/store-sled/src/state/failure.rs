//! Errors and panics of sled: what they say about the state, and how it is put out of use. How it
//! is rebuilt is not here.

use std::any::Any;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;

use super::State;
use crate::layout::Layout;

/// What sled says when another has its lock.
const LOCK_HELD: &str = "could not acquire lock";

/// Why the state's files were not opened.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// Another process has them: nothing may be touched.
    InUse,
    /// The disk takes no writes: that says nothing about them.
    Disk(io::Error),
    /// They are not what they must be: why.
    Unusable(String),
}

impl State {
    /// Why the state is out of use, when it is.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failed.lock().clone()
    }

    /// Does `work` unless the state has failed, and notes when it does.
    pub(super) fn guarded<R>(&self, work: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
        if let Some(reason) = self.failure() {
            return Err(reason);
        }
        caught(work).inspect_err(|reason| self.fail(reason))
    }

    /// Puts the state out of use, also for the next open.
    pub(crate) fn fail(&self, reason: &str) {
        let mut failed = self.failed.lock();
        if failed.is_some() {
            return;
        }
        *failed = Some(reason.to_owned());
        tracing::error!(reason, "the derived state failed");
        let path = self.layout.state_failed();
        let marked = (self.layout.disk().create_new(&path))
            .and_then(|file| file.write_all_at(reason.as_bytes(), 0));
        if let Err(error) = marked {
            tracing::error!(%error, "the derived state cannot be marked as failed");
        }
    }
}

/// What an error of sled's at open says about the state.
pub(super) fn unopened(error: sled::Error) -> Unopened {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error {
        sled::Error::Io(error) if error.to_string().contains(LOCK_HELD) => Unopened::InUse,
        sled::Error::Io(error) => match error.kind() {
            StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied => {
                Unopened::Disk(error)
            }
            _ if is_of_the_system(&error.to_string()) => Unopened::Disk(error),
            _ => Unopened::Unusable(error.to_string()),
        },
        other => Unopened::Unusable(other.to_string()),
    }
}

/// Whether it is the disk that cannot be read (EIO), or descriptors or memory that are used up.
/// Of some errors sled keeps the text alone.
pub(crate) fn is_of_the_system(reason: &str) -> bool {
    [Errno::IO, Errno::MFILE, Errno::NFILE, Errno::NOMEM]
        .iter()
        .any(|errno| reason.contains(&format!("(os error {})", errno.raw_os_error())))
}

/// Why the last use of the state put it out of use, when it did.
pub(crate) fn marked_failure(layout: &Layout) -> Option<String> {
    let path = layout.state_failed();
    path.symlink_metadata().ok()?;
    Some(fs::read_to_string(path).unwrap_or_default())
}

/// Does `work` and turns a panic into an error.
pub(super) fn caught<R>(work: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    // Nothing of ours is left half done: what `work` changes is either sled's, which is not used
    // again after a panic, or thrown away with the error.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panic_text(panic.as_ref())))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a message"))
}

/// What sled says.
#[expect(clippy::needless_pass_by_value, reason = "given to map_err, which hands the error over")]
pub(super) fn text(error: sled::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use super::{Unopened, unopened};

    /// G8: a state is not given up for what is no fault of its files.
    #[test]
    fn a_disk_that_takes_no_writes_or_gives_no_bytes_is_no_reason_to_rebuild_the_state() {
        let opened = |kind: ErrorKind| unopened(sled::Error::Io(kind.into()));
        for kind in [
            ErrorKind::StorageFull,
            ErrorKind::QuotaExceeded,
            ErrorKind::ReadOnlyFilesystem,
            ErrorKind::PermissionDenied,
        ] {
            let found = opened(kind);
            assert!(matches!(&found, Unopened::Disk(error) if error.kind() == kind));
        }
        for number in [5, 24] {
            let bare = io::Error::from_raw_os_error(number);
            let in_words = io::Error::other(format!("cannot read: {bare}"));
            for error in [bare, in_words] {
                let found = unopened(sled::Error::Io(error));
                assert!(matches!(found, Unopened::Disk(_)), "{found:?}");
            }
        }
        assert!(matches!(opened(ErrorKind::InvalidData), Unopened::Unusable(_)));
        let corrupt = sled::Error::Corruption { at: None, bt: () };
        assert!(matches!(unopened(corrupt), Unopened::Unusable(_)));
        let held = io::Error::other("could not acquire lock on \"db\"");
        assert!(matches!(unopened(sled::Error::Io(held)), Unopened::InUse));
    }
}
