//! What opening and verifying found, to be told to the operator.

use std::path::PathBuf;

use store::Head;

/// What happened while a store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// Where the log ends.
    pub head: Head,
    /// A torn tail that was cut off.
    pub cut: Option<Cut>,
    /// Why the derived state was rebuilt from the log, when it was.
    pub rebuilt: Option<Rebuild>,
    /// How many commits were read from the log into the derived state.
    pub replayed_commits: u64,
    /// How many versions those have.
    pub replayed_versions: u64,
    /// How many of those have a blob that is harmed or missing: nothing finds them by an
    /// identifier. Each is named in the log of the process.
    pub harmed_blobs: u64,
}

/// A group that a crash left unfinished, and that was therefore never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment it stood in.
    pub segment: u64,
    /// Where it began, in bytes: the log now ends there.
    pub offset: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
    /// Where they are kept.
    pub copied_to: PathBuf,
}

/// A derived state that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuild {
    /// Why.
    pub reason: String,
    /// Where its files are kept, when there were any.
    pub moved_to: Option<PathBuf>,
}

/// What [`crate::SledStore::verify`] went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyReport {
    /// The head up to which everything was verified.
    pub head: Head,
    /// How many versions that were.
    pub versions: u64,
    /// How many bodies of them are not sealed.
    pub unsealed: u64,
}
