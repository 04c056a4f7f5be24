//! The end of the log: the one place that writes commits.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use store::AppendError;

/// The door through which commits go to the disk.
pub(crate) trait LogFile: Send {
    /// Appends all of `bytes`.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file off.
    fn set_len(&self, length: u64) -> io::Result<()>;
}

impl LogFile for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        Self::set_len(self, length)
    }
}

/// The newest segment, open for appending.
pub(crate) struct Tail {
    file: Box<dyn LogFile>,
    segment: u64,
    length: u64,
    condition: Condition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Sound,
    /// It is unknown what is on the disk.
    Poisoned,
    Closed,
}

impl Tail {
    /// Opens the newest segment, which has `length` bytes, all of them durable.
    pub(crate) fn open(path: &Path, segment: u64, length: u64) -> io::Result<Self> {
        Ok(Self {
            file: Box::new(OpenOptions::new().append(true).open(path)?),
            segment,
            length,
            condition: Condition::Sound,
        })
    }

    pub(crate) fn segment(&self) -> u64 {
        self.segment
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether anything can be appended.
    pub(crate) fn ready(&self) -> Result<(), AppendError> {
        match self.condition {
            Condition::Sound => Ok(()),
            Condition::Poisoned => Err(AppendError::Poisoned(None)),
            Condition::Closed => Err(AppendError::Closed),
        }
    }

    /// Makes `bytes` durable at the end, or leaves the file as it was.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        self.ready()?;
        if let Err(error) = self.file.write_all(bytes) {
            let undone = self.file.set_len(self.length);
            return match undone.and_then(|()| self.file.sync_data()) {
                Ok(()) => Err(append_error(error)),
                Err(error) => Err(self.poison(error)),
            };
        }
        // After a failed fsync the system may have thrown the pages away and say yes the next
        // time, so there is no next time.
        if let Err(error) = self.file.sync_data() {
            return Err(self.poison(error));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Takes nothing more: `error` left unknown what is on the disk.
    pub(crate) fn poison(&mut self, error: io::Error) -> AppendError {
        self.condition = Condition::Poisoned;
        tracing::error!(%error, segment = self.segment, "the log takes no more commits");
        AppendError::Poisoned(Some(error))
    }

    pub(crate) fn close(&mut self) {
        if self.condition == Condition::Sound {
            self.condition = Condition::Closed;
        }
    }

    /// Puts another door before the disk.
    #[cfg(test)]
    pub(crate) fn wrap(&mut self, wrap: impl FnOnce(Box<dyn LogFile>) -> Box<dyn LogFile>) {
        struct Nothing;
        impl LogFile for Nothing {
            fn write_all(&mut self, _: &[u8]) -> io::Result<()> {
                Ok(())
            }
            fn sync_data(&self) -> io::Result<()> {
                Ok(())
            }
            fn set_len(&self, _: u64) -> io::Result<()> {
                Ok(())
            }
        }
        let file = std::mem::replace(&mut self.file, Box::new(Nothing));
        self.file = wrap(file);
    }
}

/// The condition that a failed write, undone, stands for.
pub(crate) fn append_error(error: io::Error) -> AppendError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AppendError::DiskFull,
        io::ErrorKind::ReadOnlyFilesystem => AppendError::ReadOnly,
        _ => AppendError::Io(error),
    }
}
