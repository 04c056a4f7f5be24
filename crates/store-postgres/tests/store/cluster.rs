//! A database a test, in one cluster for all of them.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use fhir_core::{Clock, Instant, Redacted};
use store::suite::fixture::tenant;
use store_postgres::{OpenError, PostgresOptions, PostgresStore, Takeover, Transport};

use crate::postgres::{Cluster, PASSWORD};

/// A database of one test.
pub(crate) struct Database {
    pub(crate) cluster: &'static Cluster,
    pub(crate) name: String,
}

/// A fresh database, or `None` (and why) when PostgreSQL is not installed.
pub(crate) fn database() -> Option<Database> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(Cluster::begin).as_ref();
    if cluster.is_none() {
        println!("skipped: {}", crate::postgres::ABSENT);
    }
    let cluster = cluster?;
    Some(Database { cluster, name: cluster.create_database() })
}

/// The system's clocks.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is a door of time, for tests")]
    fn now(&self) -> Instant {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Instant::from_micros(i64::try_from(since.as_micros()).unwrap())
    }

    #[expect(clippy::disallowed_methods, reason = "this is a door of time, for tests")]
    fn monotonic(&self) -> Duration {
        static START: OnceLock<std::time::Instant> = OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let limit = SystemClock.monotonic() + Duration::from_secs(30);
    while !condition() {
        assert!(SystemClock.monotonic() < limit, "waited in vain: {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

impl Database {
    /// Over the Unix socket.
    pub(crate) fn options(&self) -> PostgresOptions {
        let directory = self.cluster.directory.display();
        let port = self.cluster.port;
        self.options_at(&format!("host={directory} port={port}"), Transport::Local)
    }

    /// At another place.
    pub(crate) fn options_at(&self, place: &str, transport: Transport) -> PostgresOptions {
        let connection = format!("{place} user=hearthgate dbname={}", self.name);
        let password = Some(Redacted::new(PASSWORD.to_owned()));
        let holder = "clinic.example, process 7".to_owned();
        PostgresOptions::new(&connection, password, transport, holder).unwrap()
    }

    pub(crate) fn open(&self) -> PostgresStore {
        open(self.options()).unwrap()
    }

    /// As after a crash: the one before did not give its lease back.
    pub(crate) fn take_over(&self) -> PostgresStore {
        let mut options = self.options();
        options.takeover = Takeover::AtOnce;
        open(options).unwrap()
    }

    /// What SQL answers, as the superuser.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.cluster.psql(&self.name, sql)
    }

    /// Keeps everybody from a table until it is opened.
    pub(crate) fn lock(&self, table: &str) -> Gate {
        let mut session = self.cluster.session_command(&self.name);
        let mut session = session.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stdin = session.stdin.as_mut().unwrap();
        writeln!(stdin, "BEGIN; LOCK TABLE {table};").unwrap();
        wait_until("the table is locked", || {
            let held = format!(
                "SELECT count(*) FROM pg_locks WHERE relation = '{table}'::regclass \
                 AND mode = 'AccessExclusiveLock' AND granted"
            );
            self.sql(&held) == "1"
        });
        Gate(session)
    }

    /// The certificate of the authority that signed the server's.
    pub(crate) fn authority(&self) -> Vec<u8> {
        fs::read(self.cluster.directory.join("ca.pem")).unwrap()
    }

    /// A certificate of an authority that signed nothing.
    pub(crate) fn other_authority(&self) -> Vec<u8> {
        fs::read(self.cluster.directory.join("other.pem")).unwrap()
    }
}

/// A locked table.
pub(crate) struct Gate(Child);

impl Gate {
    pub(crate) fn open(mut self) {
        // The session ends with its input, and the lock with the session.
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

pub(crate) fn open(options: PostgresOptions) -> Result<PostgresStore, OpenError> {
    PostgresStore::open(tenant().as_str(), options, Arc::new(SystemClock))
}
