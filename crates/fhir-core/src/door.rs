//! The one door through which time and chance come in.
//!
//! Everything that needs an instant, an elapsed time or an id takes these traits; the binary
//! gives the system's, tests give fixed ones, and whole answers can then be compared.

use std::time::Duration;

use crate::Instant;

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, in microseconds since 1970 (UTC).
    fn now(&self) -> Instant;

    /// Time since an arbitrary fixed point; never goes back. For measuring and for limits.
    fn monotonic(&self) -> Duration;
}

/// Where chance comes from.
pub trait Ids: Send + Sync + 'static {
    /// A new 128-bit identifier, unique and hard to guess. Rendered by callers as they need it.
    fn next(&self) -> u128;

    /// Fills `bytes` from the system's cryptographic source: secrets and keys.
    fn fill(&self, bytes: &mut [u8]);
}
