//! The log's segments, open for reading at any place by any thread.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use store::record::MAX_LENGTH;
use store::{Location, ReadError};

use crate::error::{Damage, Flaw};
use crate::layout::Layout;

/// How many segments stay open.
const MOST_OPEN: usize = 256;

/// Reads from segments and keeps them open.
#[derive(Debug)]
pub(crate) struct Segments {
    layout: Layout,
    files: RwLock<HashMap<u64, Arc<File>>>,
}

impl Segments {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, files: RwLock::default() }
    }

    /// The bytes at `location`; `what` names what is lost without them.
    pub(crate) fn read(
        &self,
        location: &Location,
        what: impl Fn() -> String,
    ) -> Result<Bytes, ReadError> {
        let &Location { segment, offset, length } = location;
        let damaged = |flaw| {
            let lost = what();
            ReadError::from(Damage { segment, offset, lost, flaw })
        };
        let length = length as usize;
        if length > MAX_LENGTH {
            return Err(damaged(Flaw::Field("pointer to it")));
        }
        let mut bytes = vec![0; length];
        let read = self.file(segment).and_then(|file| file.read_exact_at(&mut bytes, offset));
        match read {
            Ok(()) => Ok(Bytes::from(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(damaged(Flaw::SegmentMissing))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(damaged(Flaw::Short {
                    needed: offset.saturating_add(length as u64),
                    available: self
                        .file(segment)
                        .and_then(|file| file.metadata())
                        .map_or(0, |metadata| metadata.len()),
                }))
            }
            Err(source) => Err(ReadError::Io { segment, offset, source }),
        }
    }

    fn file(&self, number: u64) -> io::Result<Arc<File>> {
        if let Some(file) = self.files.read().get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(self.layout.segment(number))?);
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
