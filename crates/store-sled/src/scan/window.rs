//! A segment's file, read forward in large pieces while it may grow, or lose the zeros behind its
//! last group.

use std::io;
use std::path::Path;

use bytes::Bytes;

use crate::disk::{Disk, Reading};

use super::torn::{BLOCK, is_zeros};

/// Bytes read at a time, at least.
const WINDOW: usize = 1 << 20;
/// How often a read that gives nothing of a longer file is made again.
const TRIES: u32 = 3;

/// A file and a piece of it.
#[derive(Debug)]
pub(super) struct Window {
    file: Reading,
    length: u64,
    start: u64,
    bytes: Bytes,
}

impl Window {
    pub(super) fn open(disk: &Disk, path: &Path) -> io::Result<Self> {
        let file = disk.open_to_read(path)?;
        let length = file.length()?;
        Ok(Self { file, length, start: 0, bytes: Bytes::new() })
    }

    /// The file's length when it was last looked at.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes at `offset`, as many of `length` as the file has.
    pub(super) fn read(&mut self, offset: u64, length: u64) -> io::Result<Bytes> {
        let length = length.min(self.length.saturating_sub(offset));
        // A piece of a file that is in memory has a length that fits memory.
        let length = usize::try_from(length).map_err(io::Error::other)?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        let inside = offset.checked_sub(self.start).map(usize::try_from);
        if let Some(Ok(at)) = inside
            && at + length <= self.bytes.len()
        {
            return Ok(self.bytes.slice(at..at + length));
        }
        let rest = usize::try_from(self.length - offset).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.max(WINDOW).min(rest)];
        let read = self.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        (self.start, self.bytes) = (offset, Bytes::from(bytes));
        Ok(self.bytes.slice(..length.min(read)))
    }

    /// Looks at the file anew: its length, and what is read from now on.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        self.bytes = Bytes::new();
        self.length = self.file.length()?;
        Ok(())
    }

    /// Where the zeros begin that the file ends with.
    pub(super) fn written(&mut self) -> io::Result<u64> {
        let mut end = self.length;
        let mut bytes = vec![0; WINDOW];
        while end > 0 {
            let start = end.saturating_sub(WINDOW as u64);
            let piece = &mut bytes[..usize::try_from(end - start).unwrap_or(WINDOW)];
            let read = self.read_at(piece, start)?;
            let piece = &piece[..read];
            let mut written = piece.len();
            for block in piece.rchunks(BLOCK as usize) {
                if !is_zeros(block) {
                    let last = block.iter().rposition(|byte| *byte != 0);
                    let zeros = last.map_or(block.len(), |last| block.len() - last - 1);
                    return Ok(start + (written - zeros) as u64);
                }
                written -= block.len();
            }
            end = start;
        }
        Ok(0)
    }

    /// Fills `bytes` as far as the file goes: it may be cut off at this moment. A disk that ends
    /// before the file does has failed, and is not a log that ends there.
    fn read_at(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut read, mut tries) = (0, 0);
        while read < bytes.len() {
            let at = offset + read as u64;
            match self.file.read_at(&mut bytes[read..], at) {
                Ok(0) if self.file.length()? <= at => {
                    self.length = self.length.min(at);
                    break;
                }
                // It may have been cut off and written to in between.
                Ok(0) if tries < TRIES => tries += 1,
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }
}
