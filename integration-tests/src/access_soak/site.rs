//! A server in this process, over its sockets, and its database, which is looked at whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::{Interaction, TenantName, digest, header};
use database::{
    Action, Body, Change, CommitId, Database, DeriveFromBody, Expect, HistoryOrder, Method,
    Options, Store, T, TenantText, Transaction, Visibility,
};
use fhir_core::json::{Document, Replacements};
use fhir_core::{Clock, Ids, Instant, Resource};
use fhir_schema::Schema;
use serde_json::{Value, json};
use server::{Audit, Limits, PageKey, RunError, ServerConfig, Validation, WritePolicy};
use store::model::ModelStore;
use store_sled::{SledStore, SledStoreOptions};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::Backend;
use super::caller::Caller;
use super::model::Version;
use crate::raw::{RawAnswer, exchange};
use crate::socket::NONCE;

/// The base that clients know.
pub(super) const BASE: &str = "http://clinic.example/fhir";
const TENANT: &str = "default";
/// How long the index may take to follow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that is set.
#[derive(Debug)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Instant {
        Instant::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Ids that follow from how many were given.
#[derive(Debug, Default)]
struct CountedIds(AtomicU64);

impl Ids for CountedIds {
    fn next(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            let number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

/// What is sent.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) method: &'static str,
    /// Relative to the base, without a slash before it.
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    raw: RawAnswer,
}

impl Reply {
    pub(super) fn status(&self) -> u16 {
        self.raw.status().unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.raw.header(name)
    }

    pub(super) fn header_names(&self) -> Vec<String> {
        self.raw.header_names()
    }

    pub(super) fn text(&self) -> String {
        self.raw.text()
    }

    /// Null where there is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.raw.body).unwrap_or_default()
    }
}

/// A server and its data.
pub(super) struct Site {
    folder: TempDir,
    secret: String,
    database: Arc<Database>,
    clock: Arc<SetClock>,
    stop: watch::Sender<bool>,
    running: JoinSet<Result<(), RunError>>,
    commits: u128,
}

impl Site {
    /// An empty one, which answers.
    pub(super) async fn start(backend: Backend) -> Self {
        let folder = tempfile::tempdir().expect("the system gives a folder");
        let tenant = TenantText::new(TENANT).expect("a tenant's name");
        let store: Arc<dyn Store> = match backend {
            Backend::Memory => Arc::new(ModelStore::new(tenant.clone())),
            Backend::Sled => {
                let derive = Arc::new(DeriveFromBody::new(Schema::r4()));
                let options =
                    SledStoreOptions { cache_bytes: 4 << 20, ..SledStoreOptions::default() };
                let path = folder.path().join("data");
                Arc::new(SledStore::open(&path, TENANT, derive, options).expect("a store"))
            }
        };
        // 2026-01-02T03:04:05Z.
        let clock = Arc::new(SetClock(AtomicI64::new(1_767_323_045_000_000)));
        let as_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let database =
            Database::open(store, tenant, Schema::r4(), Arc::clone(&as_clock), Options::default());
        let database = Arc::new(database.expect("a database"));
        let version = database.schema().fhir_version();
        let validation = Arc::new(Validation::new(WritePolicy::parse_only(), version));
        let name: TenantName = TENANT.parse().expect("a tenant's name");
        let served = BTreeMap::from([(name, (Arc::clone(&database), validation))]);
        let config = ServerConfig {
            socket: folder.path().join("run/server.sock"),
            channel_socket: folder.path().join("run/channel.sock"),
            link: None,
            admin_listen: None,
            public_base: BASE.parse().expect("a base"),
            page_key: PageKey::new(&[7; 32]),
            audit: Audit::default(),
            tracer: Arc::default(),
            denials: Arc::default(),
            not_deletable: Default::default(),
            limits: Limits::default(),
        };
        let (stop, stopping) = watch::channel(false);
        let (ready, is_ready) = oneshot::channel();
        let mut running = JoinSet::new();
        let ids = Arc::new(CountedIds::default());
        running.spawn(server::run(config, served, as_clock, ids, ready, stopping));
        is_ready.await.expect("the server gets ready");
        let mut site =
            Self { folder, secret: String::new(), database, clock, stop, running, commits: 0 };
        let request = b"GET /channel HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        let answer = exchange(site.connect("channel.sock").await, request).await;
        let document: Value = serde_json::from_slice(&answer.body).expect("the channel document");
        document["secret"].as_str().expect("a secret").clone_into(&mut site.secret);
        site
    }

    /// Ends it.
    pub(super) async fn end(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.running.join_next().await {
            ended.expect("no panic").expect("a clean stop");
        }
        self.database.close().expect("the store closes");
    }

    async fn connect(&self, name: &str) -> UnixStream {
        let path = self.folder.path().join("run").join(name);
        UnixStream::connect(&path).await.expect("the server listens")
    }

    /// Asks as this caller.
    pub(super) async fn ask(&self, sent: &Sent, caller: &Caller) -> Reply {
        let Sent { method, target, headers, body } = sent;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target.as_str(), None),
        };
        let inner = if path.is_empty() { String::new() } else { format!("/{path}") };
        let interaction = Interaction::classify(method, &inner, query).expect("an interaction");
        let mut grant = json!({
            "tenant": TENANT,
            "lane": "interactive",
            "budget": 1_000_000,
            "notAfter": "2099-12-31T23:59:59.000000Z",
            "interaction": interaction.code(),
            "digest": digest(method, &format!("/fhir{inner}"), query).to_header(),
            "nonce": NONCE,
        });
        let members = caller.members();
        let members = members.as_object().expect("members of a grant").clone();
        grant.as_object_mut().expect("an object").extend(members);
        let grant = URL_SAFE_NO_PAD.encode(grant.to_string());
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let mut head = format!(
            "{method} /fhir{inner}{query} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{}: {}\r\n\
             {}: {}\r\n{}: {grant}\r\n",
            header::CONTRACT,
            contract::VERSION,
            header::CHANNEL,
            self.secret,
            header::GRANT,
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = body.as_ref().map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            let media_type = match *method {
                "PATCH" => "application/json-patch+json",
                _ => "application/fhir+json",
            };
            let length = body.len();
            head.push_str(&format!("content-type: {media_type}\r\ncontent-length: {length}\r\n"));
        }
        let bytes = format!("{head}\r\n{body}");
        let raw = exchange(self.connect("server.sock").await, bytes.as_bytes()).await;
        Reply { raw }
    }

    /// Lets time pass.
    pub(super) fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).expect("not for ever");
        self.clock.0.fetch_add(micros, Ordering::SeqCst);
    }

    /// The microsecond that it is.
    pub(super) fn now(&self) -> i64 {
        self.clock.0.load(Ordering::SeqCst)
    }

    /// Sets the microsecond that it is.
    pub(super) fn set(&self, micros: i64) {
        self.clock.0.store(micros, Ordering::SeqCst);
    }

    /// Waits until the index has all that was written.
    pub(super) fn wait(&self) {
        assert!(self.database.wait_for_index(PATIENCE), "the index does not catch up");
    }

    /// The versions that were written after a position, the oldest first, and the newest position.
    pub(super) async fn log_after(&self, after: u64) -> (Vec<Version>, u64) {
        let snapshot = self.database.snapshot(Visibility::everything());
        let head = snapshot.at();
        let range = database::places(T::new(after), head);
        let log = snapshot.log(None, range, HistoryOrder::OldestFirst, 100_000).await;
        let mut versions = Vec::new();
        for found in log.expect("the log is read") {
            let entry = found.entry;
            let loaded = snapshot.load(entry.clone()).await.expect("a version is read");
            let json = loaded.json.map(|json| serde_json::from_slice(&json).expect("JSON"));
            versions.push(Version {
                of: entry.resource_type.to_string(),
                id: entry.id.to_string(),
                number: entry.version.get(),
                t: entry.t.get(),
                micros: entry.instant.as_micros(),
                json,
                by: (String::new(), None),
            });
        }
        (versions, head.get())
    }

    /// Writes these in one commit, as of their instant.
    pub(super) async fn put(&mut self, versions: &[&Version]) {
        self.commits += 1;
        let mut changes = Vec::new();
        for version in versions {
            self.set(version.micros);
            let json = version.json.as_ref().expect("it is not deleted").to_string();
            let document = Document::parse(json.as_bytes()).expect("JSON");
            let resource = Resource::new(document.root()).expect("a resource");
            let id = version.id.parse().expect("an id");
            let body = Body::of(&resource, &id, &Replacements::default(), Schema::r4());
            changes.push(Change {
                resource_type: version.of.parse().expect("a type's name"),
                id,
                action: Action::Write { body: Box::new(body), method: Method::Put },
                expect: Expect::Any,
            });
        }
        let transaction = Transaction {
            id: CommitId(self.commits),
            prepared_at: self.database.snapshot(Visibility::everything()).at(),
            changes,
            conditions: Vec::new(),
        };
        self.database.commit(transaction).await.expect("it commits");
    }
}
