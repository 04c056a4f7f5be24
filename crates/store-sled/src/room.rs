//! How much room the disk has for commits. Some is kept from them: for the derived state, which
//! follows behind and does not survive a full disk, and for the operator.

use std::io;
use std::path::Path;

use crate::SledStoreOptions;

/// What the derived state may still write for each byte of memory that waits for it.
const STATE_PER_LAG: u64 = 3;

/// Whether `bytes` more of the log, and what follows from them, fit the disk of `path`. `lag` is
/// how many bytes of memory already wait for the derived state.
pub(crate) fn fits(
    path: &Path,
    options: &SledStoreOptions,
    bytes: u64,
    lag: usize,
) -> io::Result<bool> {
    let room = room(path, options)?;
    let state = (lag as u64).saturating_mul(STATE_PER_LAG);
    Ok(room.free >= room.reserve.saturating_add(bytes).saturating_add(state))
}

/// How many bytes of the disk of `path` are a purge's own.
pub(crate) fn of_purges(path: &Path, options: &SledStoreOptions) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    let whole = size(disk.f_blocks, disk.f_frsize);
    Ok(options.purge_bytes.min(whole / options.reserve_share.max(1)))
}

/// What is free where `path` is, and what of it appends leave alone.
///
/// # Errors
/// When the file system does not tell.
pub fn room(path: &Path, options: &SledStoreOptions) -> io::Result<Room> {
    let disk = rustix::fs::statvfs(path)?;
    let whole = size(disk.f_blocks, disk.f_frsize);
    Ok(Room {
        free: size(disk.f_bavail, disk.f_frsize),
        reserve: options.reserve_bytes.min(whole / options.reserve_share.max(1)),
    })
}

/// Free bytes of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// That this account may fill.
    pub free: u64,
    /// Of those, how many appends leave alone.
    pub reserve: u64,
}

fn size(blocks: u64, of: u64) -> u64 {
    blocks.saturating_mul(of)
}
