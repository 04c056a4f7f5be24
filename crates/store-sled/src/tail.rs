//! The end of the log: the one place that writes commits.
//!
//! Behind the last group stand zeros, some way ahead: a group that is written over them changes
//! nothing of the file but these bytes, and fdatasync has no new length to write down as well,
//! which halves its time. They are cut off when the segment is finished or closed; after a crash
//! they are what the log ends with.

use std::io;
use std::path::Path;

use store::AppendError;

use crate::disk::{Disk, DiskFile};

/// The file that commits go to.
pub(crate) trait LogFile: Send {
    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file off.
    fn set_len(&self, length: u64) -> io::Result<()>;
}

impl LogFile for DiskFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        Self::write_all_at(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        Self::set_len(self, length)
    }
}

/// How many zeros are written ahead at once.
const AHEAD: u64 = 1 << 20;

/// The newest segment, open for appending.
pub(crate) struct Tail {
    file: Box<dyn LogFile>,
    segment: u64,
    /// Where the last group ends.
    length: u64,
    /// Where the file ends: all between is zeros.
    filled: u64,
    /// Zeros are written up to here and no further.
    limit: u64,
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
    /// Opens the newest segment, which has `length` bytes, all of them durable, and is finished
    /// when it has `limit`.
    pub(crate) fn open(
        disk: &Disk,
        path: &Path,
        segment: u64,
        length: u64,
        limit: u64,
    ) -> io::Result<Self> {
        Ok(Self {
            file: Box::new(disk.open(path)?),
            segment,
            length,
            filled: length,
            limit,
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

    /// How many bytes the file grows by when so many are appended, zeros ahead not counted.
    pub(crate) fn growth(&self, bytes: usize) -> u64 {
        (self.length + bytes as u64).saturating_sub(self.filled)
    }

    /// Makes `bytes` durable at the end, or leaves the file as it was.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        self.ready()?;
        let end = self.length + bytes.len() as u64;
        if let Err(error) = self.file.write_all_at(bytes, self.length) {
            let undone = self.file.set_len(self.length);
            return match undone.and_then(|()| self.file.sync_data()) {
                Ok(()) => {
                    self.filled = self.length;
                    Err(append_error(error))
                }
                Err(error) => Err(self.poison(error)),
            };
        }
        if end > self.filled {
            self.fill_ahead(end)?;
        }
        // After a failed fsync the system may have thrown the pages away and say yes the next
        // time, so there is no next time.
        let sync = trace::child("sync");
        if let Err(error) = self.file.sync_data() {
            return Err(self.poison(error));
        }
        drop(sync);
        self.length = end;
        Ok(())
    }

    /// Writes zeros after `end`. That there is no room for them is no failure.
    fn fill_ahead(&mut self, end: u64) -> Result<(), AppendError> {
        const ZEROS: &[u8] = &[0; AHEAD as usize];
        let ahead = self.limit.saturating_sub(end).min(AHEAD) as usize;
        self.filled = end + ahead as u64;
        if self.file.write_all_at(&ZEROS[..ahead], end).is_err() {
            self.filled = end;
            self.file.set_len(end).map_err(|error| self.poison(error))?;
        }
        Ok(())
    }

    /// Cuts the zeros off, durably: the next segment follows.
    pub(crate) fn finish(&mut self) -> Result<(), AppendError> {
        if self.filled == self.length {
            return Ok(());
        }
        let cut = self.file.set_len(self.length).and_then(|()| self.file.sync_data());
        cut.map_err(|error| self.poison(error))?;
        self.filled = self.length;
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
            // Zeros that stay are found and cut off by the next open.
            if let Err(error) = self.finish() {
                tracing::warn!(%error, "the zeros at the end of the log could not be cut off");
            }
            self.condition = Condition::Closed;
        }
    }

    /// Puts another file in its place.
    #[cfg(test)]
    pub(crate) fn wrap(&mut self, wrap: impl FnOnce(Box<dyn LogFile>) -> Box<dyn LogFile>) {
        struct Nothing;
        impl LogFile for Nothing {
            fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
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

/// Whether it says that the disk, or its quota, has no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The condition that a failed write, undone, stands for.
pub(crate) fn append_error(error: io::Error) -> AppendError {
    match error.kind() {
        _ if is_full(&error) => AppendError::DiskFull,
        io::ErrorKind::ReadOnlyFilesystem => AppendError::ReadOnly,
        _ => AppendError::Io(error),
    }
}
