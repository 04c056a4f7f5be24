//! The gateway side's own state: clients, their keys, and what was revoked.
//!
//! ```text
//! registry/
//!   format        which layout this is
//!   changes.log   every change, framed, checksummed, synced before it is acknowledged: the truth,
//!                 and the audit of who changed what
//!   trail.jsonl   who asked for what, by the API or a command, and what came of it; a chain
//!   trail.head    where the trail begins and how far it went, so that its end is missed too
//!   view/         sled: where the log speaks of a client or key; derived, rebuilt at any doubt
//! ```
//!
//! Where several gateways share it, the log is in PostgreSQL instead (`postgres`): every gateway
//! adds to it and follows what the others add.
//!
//! It knows nothing of FHIR but what `contract` says, takes no lock on the directory (the binary
//! does), and never sees a key's text again once it was made.

mod audit;
mod backend;
mod break_glass;
mod change;
mod client;
mod error;
mod files;
mod format;
mod frame;
mod key;
mod log;
mod moving;
mod opening;
mod operator;
mod plan;
mod postgres;
mod put_clients;
mod registry;
mod role;
mod state;
mod text;
mod tokens;
mod trail;
mod view;

pub use audit::{RecordedChange, ViewReport};
pub use break_glass::BreakGlass;
pub use change::{Actor, InvalidActor, Subject};
pub use client::{
    Client, ClientId, InvalidClient, InvalidClientId, MAX_TEXT, NewClient, RateLimit,
};
pub use error::{ChangeError, OpenError};
pub use key::{CreatedKey, InvalidKeyId, Key, KeyId, is_key};
pub use log::{Cut, whole_changes, write_whole_changes};
pub use moving::{Moved, is_in_postgres, move_into_postgres};
pub use opening::{Beside, OpenReport, Opened};
pub use operator::{
    CertificateDigest, Credential, DrawnToken, InvalidCertificateDigest, InvalidOperatorName,
    KnownBy, Operator, OperatorName, OperatorRole, is_operator_token,
};
pub use plan::{InvalidPlanName, PlanName};
pub use postgres::{
    Condition, Failure, InvalidConnection, PostgresError, PostgresOptions, Standing, Tables,
    Transport,
};
pub use put_clients::PutClient;
pub use registry::{Caller, OWNER, Registry, Renewed};
pub use role::{InvalidRoleName, RoleName};
pub use state::CannotFollow;
pub use tokens::{
    RevokedTokens, TokenFacts, TokenIdentity, WhichTokens, is_token_authorization,
    token_authorization,
};
pub use trail::{
    Begun, BegunAnew, Doing, How, Outcome, TRAIL, Trail, TrailError, TrailLine, TrailReport,
    begin_trail_anew, verify_trail,
};
