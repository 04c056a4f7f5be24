//! The log's segments, open for reading at any place by any thread.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use store::record::{self, MAX_LENGTH};
use store::{CommitId, Location, ReadError};

use crate::disk::Reading;
use crate::error::{Damage, Flaw};
use crate::layout::Layout;

/// What stands before a version in its commit is read with it when it is no longer than this.
const READ_THROUGH: usize = 4096;

/// How many segments stay open.
const MOST_OPEN: usize = 256;

/// Reads from segments and keeps them open.
#[derive(Debug)]
pub(crate) struct Segments {
    layout: Layout,
    files: RwLock<HashMap<u64, Arc<Reading>>>,
}

impl Segments {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, files: RwLock::default() }
    }

    /// The bytes at `location`, and the id of the commit they are of; `what` names what is lost
    /// without them. The id is as it stands there: what was sealed under it opens under no other.
    pub(crate) fn read_with_commit(
        &self,
        location: &Location,
        what: impl Fn() -> String + Copy,
    ) -> Result<(CommitId, Bytes), ReadError> {
        let &Location { segment, offset, length, into_commit, .. } = location;
        let before = into_commit as usize;
        let malformed = || {
            let flaw = Flaw::Field("pointer to it");
            ReadError::from(Damage { segment, offset, lost: what(), flaw })
        };
        let start = offset.checked_sub(into_commit.into()).ok_or_else(malformed)?;
        if before > READ_THROUGH {
            let head = self.read(segment, start, record::ID_END, what)?;
            let commit = record::commit_id(&head).ok_or_else(malformed)?;
            return Ok((commit, self.read(segment, offset, length as usize, what)?));
        }
        let bytes = self.read(segment, start, before + length as usize, what)?;
        let commit = record::commit_id(&bytes).ok_or_else(malformed)?;
        Ok((commit, bytes.slice(before..)))
    }

    /// The whole record of the commit that the version at `location` is of; `what` names it.
    pub(crate) fn commit_at(
        &self,
        location: &Location,
        what: impl Fn() -> String + Copy,
    ) -> Result<Bytes, ReadError> {
        let &Location { segment, offset, into_commit, .. } = location;
        let malformed = || {
            let flaw = Flaw::Field("pointer to it");
            ReadError::from(Damage { segment, offset, lost: what(), flaw })
        };
        let start = offset.checked_sub(into_commit.into()).ok_or_else(malformed)?;
        let frame = self.read(segment, start, record::FRAME_HEADER, what)?;
        let length = record::length_of_frame(&frame).ok_or_else(malformed)?;
        self.read(segment, start, length, what)
    }

    /// The bytes of a segment there; `what` names what is lost without them.
    pub(crate) fn read(
        &self,
        segment: u64,
        offset: u64,
        length: usize,
        what: impl Fn() -> String,
    ) -> Result<Bytes, ReadError> {
        let damaged = |flaw| {
            let lost = what();
            ReadError::from(Damage { segment, offset, lost, flaw })
        };
        if length > MAX_LENGTH + READ_THROUGH {
            return Err(damaged(Flaw::Field("pointer to it")));
        }
        let mut bytes = vec![0; length];
        let read = self.file(segment).and_then(|file| file.read_exact_at(&mut bytes, offset));
        match read {
            Ok(()) => Ok(Bytes::from(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(damaged(Flaw::SegmentMissing))
            }
            Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                let needed = offset.saturating_add(length as u64);
                match self.file(segment).and_then(|file| file.length()) {
                    Ok(available) if available < needed => {
                        Err(damaged(Flaw::Short { needed, available }))
                    }
                    // The file is as long as it must be: the disk did not give it.
                    _ => Err(ReadError::Io { segment, offset, source }),
                }
            }
            Err(source) => Err(ReadError::Io { segment, offset, source }),
        }
    }

    fn file(&self, number: u64) -> io::Result<Arc<Reading>> {
        if let Some(file) = self.files.read().get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(self.layout.disk().open_to_read(&self.layout.segment(number))?);
        let mut files = self.files.write();
        if files.len() >= MOST_OPEN {
            // Which one goes matters little: opening it again costs microseconds.
            if let Some(oldest) = files.keys().min().copied() {
                files.remove(&oldest);
            }
        }
        files.insert(number, Arc::clone(&file));
        Ok(file)
    }
}
