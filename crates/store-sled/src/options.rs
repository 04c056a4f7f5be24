//! What of the embedded backend can be set.

use std::time::Duration;

use crate::disk::Disk;

/// Sizes and intervals of one tenant's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SledStoreOptions {
    /// Bytes of sled's cache.
    pub cache_bytes: u64,
    /// How often sled writes what it holds back. A crash replays at most what was applied since.
    pub flush_every: Duration,
    /// A segment of the log that has this many bytes is followed by a new one.
    pub segment_bytes: u64,
    /// How many versions may be in the log and not yet in sled before an append waits.
    pub lag_versions: usize,
    /// How many bytes of memory those may take.
    pub lag_bytes: usize,
    /// Up to this many keys, opening compares sled's keys with the count and sum it kept of
    /// them; with more, [`crate::SledStore::verify`] alone does.
    pub checked_keys: u64,
    /// Free bytes of the disk that appends leave alone.
    pub reserve_bytes: u64,
    /// They leave no more alone than the disk's size divided by this.
    pub reserve_share: u64,
    /// Bytes that are kept for purges alone; no more than the disk's size divided by
    /// `reserve_share`.
    pub purge_bytes: u64,
    /// The disk, with whoever watches it.
    pub disk: Disk,
}

impl Default for SledStoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            flush_every: Duration::from_secs(1),
            segment_bytes: 256 << 20,
            lag_versions: 50_000,
            lag_bytes: 32 << 20,
            checked_keys: 1_000_000,
            reserve_bytes: 1 << 30,
            reserve_share: 20,
            purge_bytes: 16 << 20,
            disk: Disk::default(),
        }
    }
}
