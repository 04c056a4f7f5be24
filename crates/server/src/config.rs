//! What the server is told when it starts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fhir_core::ResourceType;
use trace::Tracer;

use crate::{Audit, Denials, LinkDoors, PageKey, PublicBase};

/// Where the server answers and within which bounds.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The socket that carries clients' requests, vouched for by the gateway's side.
    pub socket: PathBuf,
    /// The socket on which the gateway's side fetches the channel's secret.
    pub channel_socket: PathBuf,
    /// Where gateways on other hosts are answered too; nowhere when absent.
    pub link: Option<LinkDoors>,
    /// Where the operator is told of metrics and readiness; nowhere when absent.
    pub admin_listen: Option<SocketAddr>,
    /// The base URL that clients know.
    pub public_base: PublicBase,
    /// What links to other pages are sealed with: kept with the data, so that they outlive a
    /// restart.
    pub page_key: PageKey,
    /// Where it is written down who saw and changed what.
    pub audit: Audit,
    /// Where the reasons of denials are kept.
    pub denials: Arc<Denials>,
    /// What is recorded of requests: what the gateway's side records.
    pub tracer: Arc<Tracer>,
    /// Types of which no client deletes a resource.
    pub not_deletable: BTreeSet<ResourceType>,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of one request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a request's body; the gateway has a bound of its own before this one.
    pub body_bytes: usize,
    /// Bytes of the bodies of all requests that are worked on at once; of one more, the request
    /// is refused for now.
    pub held_bytes: usize,
    /// How long a body may stop coming.
    pub body_grace: Duration,
    /// Bytes a second that a body must come with on average; that grace aside.
    pub body_rate: u32,
    /// Entries of a batch or transaction.
    pub bundle_entries: usize,
    /// Versions on a page of a history.
    pub history_page: usize,
    /// Bytes of resources on a page of a history or search (one is always there), and of all that
    /// a Bundle's entries read.
    pub answer_bytes: usize,
    /// Matches on a page of a search that does not say how many.
    pub search_page: usize,
    /// Resources that are included on a page of a search.
    pub search_included: usize,
    /// Versions of resources that one search may look at.
    pub search_versions: u64,
    /// Resources that one conditional delete deletes at most; of more matches none is.
    pub conditional_deletes: usize,
    /// Items of a tenant's quarantine; beyond them what is invalid is refused.
    pub quarantine_items: usize,
    /// Bytes of those items, before they are compressed.
    pub quarantine_bytes: usize,
    /// How long requests in flight may take to end when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 << 20,
            held_bytes: 256 << 20,
            body_grace: Duration::from_secs(30),
            body_rate: 16 << 10,
            bundle_entries: 20_000,
            history_page: 100,
            answer_bytes: 64 << 20,
            search_page: 50,
            search_included: 5_000,
            search_versions: 250_000,
            conditional_deletes: 1,
            quarantine_items: 100_000,
            quarantine_bytes: 4 << 30,
            drain: Duration::from_secs(30),
        }
    }
}
