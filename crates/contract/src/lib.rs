//! What the gateway's side and the server share: headers, channel, grant, classification,
//! decision, existence rules, renewal and revocation. `docs/contract.md` says it for whoever
//! writes another gateway or another server.
//!
//! Plain functions of their inputs: no I/O, no clock (instants are passed in), and no knowledge
//! of which resource types exist or what a search parameter means.

mod actions;
mod bytes;
mod channel;
mod decide;
mod existence;
mod grant;
mod grant_codec;
pub mod header;
mod json;
mod refusal;
mod renewal;
mod rule;
mod tenant;
mod version;

pub use actions::{Action, Actions};
pub use bytes::{Bytes, Digest, InvalidBytes, Nonce, digest};
pub use channel::{ChannelDocument, ChannelSecret};
pub use decide::{Clause, Decision, Reason, Restriction, decide, may_choose_ids};
pub use existence::{EXISTENCE, Reveals, Situation};
pub use grant::{Grant, GrantError, GrantFields, Lane, Power};
pub use grant_codec::Disagreement;
pub use header::Cost;
pub use refusal::refusal;
pub use renewal::{Renewal, RenewalAnswer, RenewalError};
pub use renewal::{Revocation, RevocationFeed, Revoked, UnusableFeed};
pub use rule::{Rule, Types, Within};
pub use tenant::TenantName;
pub use version::{NoCommonVersion, VERSION, Versions, negotiate, speaks};

pub use fhir_core::{Clock, Ids, Instant, Redacted, ResourceId, ResourceType};
pub use fhir_core::{Instance, Interaction, InvalidName, Level, NotFhir, OperationName};
