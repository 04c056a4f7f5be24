//! What is asked of the serial step, and what it answers.

use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use store::{BLOB_FROM, CommitId, Method, OwnerKeyId, T};

use crate::Body;
use crate::condition::Condition;
use crate::line::ALONE;

/// A transaction with more changes is sealed off the runtime's threads.
const SEALED_AT_ONCE: usize = 200;

/// Changes that become visible together or not at all.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Names the commit; never used twice.
    pub id: CommitId,
    /// The position at which everything below was looked up.
    pub prepared_at: T,
    /// The changes: each resource at most once.
    pub changes: Vec<Change>,
    /// What must still hold when the commit is written.
    pub conditions: Vec<Condition>,
}

impl Transaction {
    /// Whether sealing it takes longer than may be waited for on the runtime's threads: a change
    /// takes a microsecond or two, and a large body some milliseconds.
    pub(crate) fn is_long(&self) -> bool {
        self.changes.len() > SEALED_AT_ONCE || self.bytes() > BLOB_FROM
    }

    /// What it counts in the line: the bytes of its bodies. A purge shares its group with nobody,
    /// since on a full disk a group of purges alone has the room that is kept for them; nor does
    /// what asks for nothing but its turn, which needs no room and fails with whose group it is in.
    pub(crate) fn size(&self) -> usize {
        let purges = |change: &Change| matches!(change.action, Action::Purge { .. });
        let asks_for_nothing = self.changes.is_empty() && self.conditions.is_empty();
        if asks_for_nothing || self.changes.iter().any(purges) { ALONE } else { self.bytes() }
    }

    fn bytes(&self) -> usize {
        let size = |change: &Change| match &change.action {
            Action::Write { body, .. } => body.bytes.len(),
            Action::Delete | Action::Purge { .. } => 0,
        };
        self.changes.iter().map(size).sum()
    }
}

/// A change of one resource.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its type.
    pub resource_type: ResourceType,
    /// Its id.
    pub id: ResourceId,
    /// What becomes of it.
    pub action: Action,
    /// The state it must be in.
    pub expect: Expect,
}

/// What becomes of a resource.
#[derive(Debug, Clone)]
pub enum Action {
    /// A new version with this body.
    Write {
        /// The body.
        body: Box<Body>,
        /// The interaction, as history shows it.
        method: Method,
    },
    /// Deleted. When there is nothing to delete, nothing is written.
    Delete,
    /// A Patient, deleted because its key is destroyed; written also when there is none.
    Purge {
        /// The key.
        key: OwnerKeyId,
    },
}

/// The state a change expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// The id is the server's and new: there is no such resource.
    New,
    /// Any state.
    Any,
    /// There is a resource, not deleted (`If-Match: *`).
    Exists,
    /// One of these versions is the newest one, be it a deletion (`If-Match`).
    Versions(Vec<VersionId>),
    /// One of these versions is the newest one and no deletion: for who may not bring back.
    Existing(Vec<VersionId>),
    /// There is none or it is deleted (`If-None-Match: *`).
    Absent,
    /// There never was one, not even one that is deleted: for who would undo the deletion.
    Never,
}

/// What a change expected and did not find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// The resource is not there.
    Missing,
    /// Another version is the newest one.
    VersionConflict {
        /// The newest version.
        newest: VersionId,
    },
    /// The resource is there.
    Present,
}

/// A committed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// From this position on everything written is visible.
    pub t: T,
    /// What became of each change, in their order.
    pub written: Vec<Written>,
}

/// What became of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The version the resource has now; `None` when a deletion found nothing there ever was.
    pub version: Option<VersionId>,
    /// When that version was made.
    pub instant: Instant,
    /// Whether there was no resource before, or a deleted one.
    pub created: bool,
    /// Whether a version was written (a deletion of what is not there writes none).
    pub changed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_purge_waits_behind_shares_its_group_with_nobody() {
        let nothing = Transaction {
            id: CommitId(1),
            prepared_at: T::ZERO,
            changes: Vec::new(),
            conditions: Vec::new(),
        };
        assert_eq!(nothing.size(), ALONE);
        let delete = Change {
            resource_type: ResourceType::new("Patient").unwrap(),
            id: "1".parse().unwrap(),
            action: Action::Delete,
            expect: Expect::Any,
        };
        assert_eq!(Transaction { changes: vec![delete], ..nothing }.size(), 0);
    }
}
