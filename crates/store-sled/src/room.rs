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
    let disk = rustix::fs::statvfs(path)?;
    let (whole, free) = (size(disk.f_blocks, disk.f_frsize), size(disk.f_bavail, disk.f_frsize));
    let kept = options.reserve_bytes.min(whole / options.reserve_share.max(1));
    let state = (lag as u64).saturating_mul(STATE_PER_LAG);
    Ok(free >= kept.saturating_add(bytes).saturating_add(state))
}

fn size(blocks: u64, of: u64) -> u64 {
    blocks.saturating_mul(of)
}
