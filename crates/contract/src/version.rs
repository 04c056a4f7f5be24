//! Versions of the contract: a side speaks N and N−1, so that the two sides of a split deployment
//! can be upgraded one at a time.

use serde::{Deserialize, Serialize};

/// The newest version spoken here.
pub const VERSION: u32 = 1;

/// Whether this side speaks `version`. There is no version 0.
#[must_use]
pub const fn speaks(version: u32) -> bool {
    version != 0 && (version == VERSION || version == VERSION - 1)
}

/// The versions a side speaks, said at start in the [`ChannelDocument`](crate::ChannelDocument).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The newest.
    pub newest: u32,
    /// The oldest; all between are spoken too.
    pub oldest: u32,
}

/// The two sides have no version in common: upgrade the older one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("one side speaks contract versions {}-{}, the other {}-{}", .0.oldest, .0.newest, .1.oldest, .1.newest)]
pub struct NoCommonVersion(pub Versions, pub Versions);

impl Versions {
    /// What this side speaks.
    pub const HERE: Self =
        Self { newest: VERSION, oldest: if VERSION > 1 { VERSION - 1 } else { 1 } };
}

/// The newest version that both sides speak.
///
/// # Errors
/// [`NoCommonVersion`] when there is none, or when a side names a range that is none.
pub fn negotiate(ours: Versions, theirs: Versions) -> Result<u32, NoCommonVersion> {
    let newest = ours.newest.min(theirs.newest);
    let oldest = ours.oldest.max(theirs.oldest).max(1);
    // A side whose range is upside down can have no version in common with anyone.
    if newest < oldest || ours.oldest > ours.newest || theirs.oldest > theirs.newest {
        return Err(NoCommonVersion(ours, theirs));
    }
    Ok(newest)
}
