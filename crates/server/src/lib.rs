//! FHIR REST (FHIR R4, 3.1.0) over the contract: one file per interaction.
//!
//! [`run`] answers on a Unix socket, and over the link where gateways are on other hosts, and only requests that the gateway's side vouches for
//! (`admission`). What a request means is decided here; who is asking was decided before, and
//! whether it may, both sides judge by the contract. Resource state is the database's.

mod access;
mod admission;
mod audit;
mod base;
mod bundle;
mod bundle_page;
mod call;
mod channel;
mod config;
mod criteria;
mod denials;
mod dispatch;
mod error;
mod error_answer;
mod exchange;
mod holding;
mod idempotency;
mod interactions;
mod internal;
mod large;
mod link_doors;
mod listener;
mod metrics;
mod negotiation;
mod operator;
mod page_link;
mod panics;
mod quarantine;
mod references_exist;
mod representation;
mod revocations;
mod run;
mod table;
mod terminology;
mod validation;
mod writing;

pub use audit::{Audit, record_command, to_resource as audit_event};
pub use base::{InvalidPublicBase, PublicBase};
pub use config::{Limits, ServerConfig};
pub use denials::{Denial, Denials};
pub use link_doors::LinkDoors;
pub use page_link::PageKey;
pub use quarantine::{
    Asked, Defect, Defects, Listed, ListedItem, Outcome, Quarantine, QuarantineError,
};
pub use run::{Ready, RunError, run};
pub use table::{Judged, OperationRow, Row, TABLE, operations};
pub use validation::{
    ACTIONS, Action, AddedPackages, Archive, DEPTHS, Depth, InvalidPolicy, ListedPackage,
    PackagesError, Policy, PolicyRule, RequiredProfile, Validation, WritePolicy, list as packages,
};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::{ChannelSecret, Clock, Ids, TenantName};
use database::Database;
use fhir_core::ResourceType;
use trace::Tracer;

/// What every request is answered from.
pub(crate) struct Server {
    pub(crate) base: PublicBase,
    pub(crate) audit: Audit,
    pub(crate) audit_readers: audit::Readers,
    pub(crate) handed_over: audit::HandedOver,
    pub(crate) groups: access::Groups,
    pub(crate) shown: access::Shown,
    pub(crate) limits: Limits,
    pub(crate) not_deletable: BTreeSet<ResourceType>,
    pub(crate) holding: Arc<holding::Holding>,
    pub(crate) denials: Arc<Denials>,
    pub(crate) revocations: Arc<revocations::Revocations>,
    pub(crate) large: large::LaneTurns,
    pub(crate) writing: writing::Writing,
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) metrics: metrics::Metrics,
    pub(crate) databases: BTreeMap<TenantName, Arc<Database>>,
    pub(crate) validations: BTreeMap<TenantName, Arc<Validation>>,
    pub(crate) secret: ChannelSecret,
    pub(crate) page_key: PageKey,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) capabilities: BTreeMap<TenantName, interactions::capabilities::Statement>,
}
