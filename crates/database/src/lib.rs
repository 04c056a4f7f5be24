//! One tenant's data as one value: [`Database::commit`] a transaction, open a [`Snapshot`].
//!
//! Here preconditions are judged, positions, instants and version numbers given, in the one
//! serial step that every change passes ([`Transaction`]), and searches are answered
//! ([`Snapshot::search`]). What is durable and where it lies is the store's; what a query means is
//! said by `fhir-search`, and what a request means by the server; who may see what comes in as
//! [`Visibility`], without which no snapshot opens.

mod answered;
mod aside;
mod author;
mod blob;
mod bodies;
mod body;
mod compartment;
mod condition;
mod database;
pub mod dictionary;
mod error;
mod history;
mod indexing;
mod judge;
mod large;
mod lately;
mod line;
mod load;
mod names;
pub mod priority;
mod purge;
pub mod quarantine;
mod recent;
mod rows;
mod rules;
mod seal;
mod search;
mod seen;
mod snapshot;
mod stand_in;
mod terms;
mod transaction;
mod visibility;
mod waiting;
mod writer;

pub use answered::{Answered, KNOWN_FOR, Lookup};
pub use aside::where_it_may_last;
pub use author::{Author, Maker};
pub use body::{Body, DeriveFromBody, OwnTag, identifiers};
pub use condition::{Condition, Criteria, SearchCriteria};
pub use database::{Database, Options};
pub use error::{CommitError, ReadError};
pub use indexing::{BeingIndexed, IndexState, IndexedBy};
pub use load::Load;
pub use purge::{NotLookedAt, Obstacle, Purge, PurgeError, Purged};
pub use rows::Rows;
pub use rules::{
    CheckedReferences, InvalidCheckedReferences, InvalidUniqueIdentifier, Rules, UniqueIdentifier,
};
pub use seal::Sealing;
pub use search::{
    Abandoned, Asked, ClauseExplained, Costly, Explained, Found, NoIndex, ResourceExplained,
    SearchError, Valued,
};
pub use seen::{hidden_late, panic_when_hidden_late};
pub use snapshot::{Snapshot, StoredVersion};
pub use terms::{Broken, Named, Required, Terms};
pub use transaction::{Action, Change, Expect, Precondition, Receipt, Transaction, Written};
pub use visibility::{Filter, Seen, SeenWithin, Visibility};

pub use search_index::{Owners, Plan, Step, TypePlan, Way};
pub use store::{
    CloseError, CommitId, FhirVersion, HistoryOrder, HistoryVersion, Idempotency, IdentifierKey,
    InvalidTenant, Method, Place, Store, T, TenantText, VersionEntry, audit, keys, places,
};
