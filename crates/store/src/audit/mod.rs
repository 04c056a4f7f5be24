//! The audit log: who saw and changed what, and why. The event, its form as bytes (`codec`), and
//! the port by which events are kept ([`AuditLog`]).
//!
//! An event is about one request; a batch or transaction is one with a list of what its entries
//! did. It holds ids and no content of resources: of a query its parameters' names, and values
//! only where the operator asked for them. What an event looks like as a resource is not said
//! here.

mod codec;

pub use codec::{InvalidEvent, decode, encode};

use std::ops::{ControlFlow, Range};

use fhir_core::Instant;
use ring::digest::{SHA256, digest};

/// What kinds of acts there are, by the number that stands for each in a record. New ones are
/// added behind: the codes of `Interaction`, then what is done beside FHIR's API.
const KINDS: [&str; 22] = [
    "read",
    "vread",
    "update",
    "conditional-update",
    "patch",
    "conditional-patch",
    "delete",
    "conditional-delete",
    "create",
    "search-type",
    "search-system",
    "search-compartment",
    "capabilities",
    "batch-or-transaction",
    "history-instance",
    "history-type",
    "history-system",
    "operation",
    "not-admitted",
    "purge",
    "packages",
    "quarantine",
];

/// A kind of act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind(u8);

impl Kind {
    /// The kind with this code; `None` when there is no such.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        let at = KINDS.iter().position(|kind| *kind == code)?;
        u8::try_from(at).ok().map(Self)
    }

    /// Its code.
    #[must_use]
    pub fn code(self) -> &'static str {
        KINDS.get(usize::from(self.0)).copied().unwrap_or("unknown")
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// The caller may not do it, or is not known.
    Denied,
    /// What it is about was not found, as far as this caller sees.
    NotFound,
    /// The request was wrong, or came too late.
    Refused,
    /// The server could not do it.
    Failed,
}

/// One thing done to or asked of one resource, type or the whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Act {
    /// What kind.
    pub kind: Kind,
    /// The operation's name, the package's.
    pub name: Option<Box<str>>,
    /// The type.
    pub resource_type: Option<Box<str>>,
    /// The id.
    pub id: Option<Box<str>>,
    /// The version read or written.
    pub version: Option<u64>,
    /// The HTTP status that it was answered with.
    pub status: u16,
}

/// A resource that an answer showed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shown {
    /// Its type.
    pub resource_type: Box<str>,
    /// Its id.
    pub id: Box<str>,
    /// The version that was shown.
    pub version: u64,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it was answered; of what was told of later, when it was told.
    pub instant: Instant,
    /// When it happened, as whoever told of it later says.
    pub occurred: Option<Instant>,
    /// The id that whoever told of it later knows it by: no other event has it.
    pub told_as: Option<Box<str>>,
    /// The id of the request, by which other logs have it.
    pub request_id: Box<str>,
    /// The app.
    pub client: Option<Box<str>>,
    /// On whose behalf it asked.
    pub user: Option<Box<str>>,
    /// That subject as a resource.
    pub fhir_user: Option<Box<str>>,
    /// The name of the role that its rights came from.
    pub role: Option<Box<str>>,
    /// The purpose of use that the grant names.
    pub purpose: Option<Box<str>>,
    /// The id of the recorded break-glass.
    pub break_glass: Option<Box<str>>,
    /// What was asked.
    pub act: Act,
    /// What each entry of a batch or transaction did, in the order it was done.
    pub entries: Vec<Act>,
    /// What the answer showed beside the resource of `act`.
    pub shown: Vec<Shown>,
    /// Patients whose data was shown or written: their ids, each once.
    pub patients: Vec<Box<str>>,
    /// The names of the query's parameters, or the query where values are kept.
    pub query: Option<Box<str>>,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether the caller sees a part of the data alone: what it did not find may be there.
    pub restricted: bool,
}

/// The hash that one group of events passes on to the next: SHA-256.
pub type ChainHash = [u8; 32];

/// The hash of these bytes, which hold the hash before.
#[must_use]
pub fn chain_hash(bytes: &[u8]) -> ChainHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Events cannot be kept now: nothing that must be audited is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written: {reason}")]
pub struct NotKept {
    /// What the disk said.
    pub reason: Box<str>,
    /// Whether the event waits all the same, and is written as soon as it can be.
    pub waits: bool,
}

/// Why events cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("the audit log cannot be read: {0}")]
pub struct Unreadable(pub String);

/// Is told whether events are durable.
pub type Synced = Box<dyn FnOnce(Result<(), NotKept>) + Send>;

/// Sees events, the newest first, each with its number.
pub type Visit<'a> = dyn FnMut(u64, Event) -> ControlFlow<()> + 'a;

/// Which events are read.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Instants of the events.
    pub instants: Range<Instant>,
    /// Events before this number alone.
    pub before: Option<u64>,
    /// Events about this patient alone are wanted: others need not be shown, and may be.
    pub patient: Option<Box<str>>,
    /// How many bytes of the log may be looked at before the reading ends.
    pub most_bytes: u64,
}

/// How far a reading came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// There is nothing before.
    Beginning,
    /// The bytes were used up; all from this number on was looked at.
    Number(u64),
}

/// Keeps one tenant's events, in their order, and gives none of them back changed.
pub trait AuditLog: Send + Sync + 'static {
    /// Takes an event, which is durable within a tenth of a second.
    ///
    /// # Errors
    /// [`NotKept`] when those before it could not be written. It says whether this one waits with
    /// them; the caller does not answer what it is about.
    fn append(&self, event: &Event) -> Result<(), NotKept>;

    /// Tells when all that was appended is durable, and makes it so at once.
    fn sync(&self, synced: Synced);

    /// Why events are not kept now.
    fn trouble(&self) -> Option<NotKept>;

    /// Shows events, the newest first, until `visit` breaks. Blocks.
    ///
    /// # Errors
    /// [`Unreadable`].
    fn read(&self, extent: &Extent, visit: &mut Visit<'_>) -> Result<Reached, Unreadable>;
}
