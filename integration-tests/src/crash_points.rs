//! The points at which crashes come: what kinds of calls the embedded store makes to the disk, and
//! how often a crash came at each.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use store_sled::disk::Call;

/// Whether it keeps a torn tail that was cut off.
fn is_cut(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cut-"))
}

/// What a call is to the store: its kind, and the kind of file.
pub(crate) fn point(call: &Call<'_>) -> String {
    let kind = match call {
        Call::CreateDirectory(_) => "create-directory",
        Call::Create(..) => "create",
        Call::Open(..) => "open",
        // Ahead of the log, and over keys that were replaced. What is cut off may be zeros too.
        Call::Write(path, _, _, bytes) if bytes.iter().all(|byte| *byte == 0) && !is_cut(path) => {
            "write-zeros"
        }
        Call::Write(..) => "write",
        Call::SetLength(..) => "set-length",
        Call::Allocate(..) => "allocate",
        Call::Sync(..) => "sync",
        Call::Rename(..) => "rename",
        Call::Remove(_) | Call::RemoveTree(_) => "remove",
        Call::SyncDirectory(_) => "sync-directory",
        _ => "other",
    };
    let path = call.path();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let role = match (&*folder, &*name) {
        ("log", name) if name.starts_with("cut-") => "log/cut",
        ("log", name) if name.ends_with(".unfinished") => "log/new-segment",
        ("log", _) => "log/segment",
        ("history", _) => "history/run",
        ("keys", _) => "keys/file",
        ("blobs", name) if name.ends_with(".unfinished") => "blobs/unfinished",
        ("blobs", _) => "blobs/blob",
        (_, name) if name.starts_with("format") => "format",
        (_, name) if name.starts_with("state") => "state",
        (_, "reserve") => "reserve",
        (_, "log" | "keys" | "history" | "blobs") => &*name,
        _ => "tenant",
    };
    format!("{role}.{kind}")
}

/// So many runs have a crash at every kind of call.
const HAS_ALL_POINTS: u64 = 200;

/// Every kind of call that the store makes in these runs, and while what a crash left is opened.
/// A soak that leaves one out fails, and so does a run that makes another.
const POINTS: &[&str] = &[
    "blobs.create-directory",
    "blobs.sync-directory",
    "blobs/blob.remove",
    "blobs/unfinished.create",
    "blobs/unfinished.remove",
    "blobs/unfinished.rename",
    "blobs/unfinished.sync",
    "blobs/unfinished.write",
    "format.create",
    "format.rename",
    "format.sync",
    "format.write",
    "history.create-directory",
    "history.sync-directory",
    "history/run.create",
    "history/run.rename",
    "history/run.sync",
    "history/run.write",
    "keys.create-directory",
    "keys.sync-directory",
    "keys/file.create",
    "keys/file.open",
    "keys/file.rename",
    "keys/file.sync",
    "keys/file.write",
    "keys/file.write-zeros",
    "log.create-directory",
    "log.sync-directory",
    "log/new-segment.create",
    "log/new-segment.rename",
    "log/new-segment.sync",
    "log/new-segment.write",
    "log/segment.open",
    "log/segment.set-length",
    "log/segment.sync",
    "log/segment.write",
    "log/segment.write-zeros",
    "open: blobs/unfinished.remove",
    "open: format.create",
    "open: format.rename",
    "open: format.sync",
    "open: format.write",
    "open: log.create-directory",
    "open: log.sync-directory",
    "open: log/cut.create",
    "open: log/cut.sync",
    "open: log/cut.write",
    "open: log/new-segment.create",
    "open: log/new-segment.rename",
    "open: log/new-segment.sync",
    "open: log/new-segment.write",
    "open: log/segment.open",
    "open: log/segment.set-length",
    "open: log/segment.sync",
    "open: log/segment.write",
    "open: log/segment.write-zeros",
    "open: reserve.allocate",
    "open: reserve.create",
    "open: state.remove",
    "open: tenant.sync-directory",
    "reserve.allocate",
    "reserve.create",
    "reserve.remove",
    "state.remove",
    "tenant.create-directory",
    "tenant.sync-directory",
];

/// Refuses a kind of call that nobody listed.
pub(crate) fn check_known(point: &str) -> Result<(), String> {
    if POINTS.contains(&point) {
        return Ok(());
    }
    Err(format!("the store makes a call that is not among the points of a crash: {point}"))
}

/// How often a crash came at each kind of call.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Hits(BTreeMap<String, u64>);

impl Hits {
    /// Counts one more.
    pub(crate) fn count(&mut self, point: &str) {
        *self.0.entry(point.to_owned()).or_default() += 1;
    }

    /// Adds others.
    pub fn add(&mut self, others: &Self) {
        for (point, hits) in &others.0 {
            *self.0.entry(point.clone()).or_default() += hits;
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Whether this kind of call was among them.
    #[must_use]
    pub fn has(&self, point: &str) -> bool {
        self.0.contains_key(point)
    }

    /// Whether so many runs crashed at all that is listed; a few need not.
    ///
    /// # Errors
    /// Names the kinds of calls at which no crash came.
    pub fn check_all(&self, runs: u64) -> Result<(), String> {
        let missing: Vec<&str> = POINTS.iter().filter(|point| !self.has(point)).copied().collect();
        if runs < HAS_ALL_POINTS || missing.is_empty() {
            return Ok(());
        }
        Err(format!("no crash came at {}:\n{}", missing.join(", "), self.table()))
    }

    /// How many kinds of calls were among them.
    #[must_use]
    pub fn kinds(&self) -> usize {
        self.0.len()
    }

    /// A line for each.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::new();
        for (point, hits) in &self.0 {
            let _ = writeln!(table, "  {point:<32}{hits:>10}");
        }
        table
    }
}
