//! The registry in PostgreSQL, for several gateways: a table of changes that each adds to and each
//! follows.
//!
//! ```text
//! schema hearthgate_registry
//!   format    which layout this is
//!   changes   sequence, instant, actor, change as JSON, and both checksums of the files' frame
//! ```
//!
//! It is a schema of its own and never the FHIR store's tables, whatever database they are in. Rows
//! are only ever added. `log` adds a change behind the last one that is known or says that another
//! was quicker, `follow` reads what others added: told by NOTIFY, and asking each second all the
//! same. While PostgreSQL is away what is known stands, and nothing is changed.
//!
//! Deliberately absent: quotas as they are counted (the gateway's), deleting old changes.

mod condition;
mod connect;
mod error;
mod follow;
mod log;
mod options;
mod rows;
mod schema;
mod wake;

pub use condition::{Condition, Tables};
pub(crate) use connect::Database;
pub use error::{Failure, InvalidConnection, PostgresError};
pub use follow::Standing;
pub(crate) use follow::{Followed, Follower, publish};
pub(crate) use log::{PostgresLog, copy, find};
pub use options::{PostgresOptions, Transport};
pub(crate) use wake::Wake;
