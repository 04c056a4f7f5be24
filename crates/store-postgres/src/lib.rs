//! The system of record in PostgreSQL, one node: the log's commits, versions and identifiers as
//! rows, written a whole group in one transaction.
//!
//! One server writes: it holds a lease (`lease`) with an epoch that every append checks within its
//! transaction. An append whose outcome is unknown is asked for by its commit id (`append`)
//! before it is answered. docs/postgresql.md has the tables, what is guaranteed and what to do
//! when a server is refused.
//!
//! `verify` reads all of it and says whether it is whole; `sealing` is what purge needs beside the
//! port. Keys are never here: they stay in the data directory, so that a dump holds none.
//!
//! Deliberately absent: several writing nodes, the registry's tables, backup.

mod append;
mod blobs;
mod condition;
mod connect;
mod error;
mod lease;
mod open;
mod options;
mod reads;
mod rows;
mod schema;
mod sealing;
mod sessions;
mod statements;
mod store;
mod verify;

pub use condition::Condition;
pub use error::{Failure, InvalidConnection, OpenError};
pub use options::{PostgresOptions, Takeover, Transport, check_connection};
pub use sealing::{ForgetError, Opens, Sealed};
pub use store::PostgresStore;
pub use verify::{Verified, VerifyError, verify};
