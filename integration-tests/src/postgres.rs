//! PostgreSQL for the black-box tests: a cluster for all of them, or one for a test that stops it.

#[path = "../../crates/store-postgres/tests/cluster/mod.rs"]
mod cluster;

use std::sync::{Arc, OnceLock};

use cluster::{ABSENT, Cluster, PASSWORD};

use crate::test_data::say;

/// A running PostgreSQL. It ends with the last that has it, or with this process.
#[derive(Debug, Clone)]
pub struct Postgres(Arc<Cluster>);

/// A database of one test.
#[derive(Debug, Clone)]
pub struct Database {
    postgres: Postgres,
    name: String,
}

impl Postgres {
    /// The one that tests share; `None`, said, where it is not installed and need not be.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn shared() -> Option<Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Cluster::begin().map(|cluster| Self(Arc::new(cluster))));
        if shared.is_none() {
            say(&format!("skipped: {ABSENT}"));
        }
        shared.clone()
    }

    /// One of its own, for a test that stops it.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn own() -> Option<Self> {
        Self::shared()?;
        Cluster::begin().map(|cluster| Self(Arc::new(cluster)))
    }

    /// A new database.
    ///
    /// # Panics
    /// When it is not made.
    #[must_use]
    pub fn database(&self) -> Database {
        Database { postgres: self.clone(), name: self.0.create_database() }
    }

    /// Stops it as a machine does that is switched off.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&self) {
        self.0.start();
    }
}

impl Database {
    /// The keys of a configuration that name it, over the Unix socket. To stand before sections.
    #[must_use]
    pub fn configuration(&self) -> String {
        format!("storage.postgres = \"{}\"\n", self.connection())
    }

    /// How it is reached over the Unix socket, in libpq's form.
    #[must_use]
    pub fn connection(&self) -> String {
        let cluster = &self.postgres.0;
        let directory = cluster.directory.display();
        format!("host={directory} port={} user=hearthgate dbname={}", cluster.port, self.name)
    }

    /// The same over TLS, with the password in this file.
    #[must_use]
    pub fn configuration_over_tls(&self, password_file: &str) -> String {
        let cluster = &self.postgres.0;
        let authority = cluster.directory.join("ca.pem");
        format!(
            "storage.postgres = \"host=localhost port={} user=hearthgate dbname={}\"\n\
             storage.postgres_password_file = \"{password_file}\"\n\
             storage.postgres_authority_file = \"{}\"\n",
            cluster.port,
            self.name,
            authority.display()
        )
    }

    /// The password of its role.
    #[must_use]
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// What SQL answers, as the superuser.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn sql(&self, sql: &str) -> String {
        self.postgres.0.psql(&self.name, sql)
    }

    /// Everything that it holds, as `pg_dump` writes it.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn dump(&self) -> String {
        self.postgres.0.dump(&self.name)
    }

    /// A new database with everything that a dump holds.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn restored(&self, dump: &str) -> Self {
        let restored = self.postgres.database();
        self.postgres.0.load(&restored.name, dump);
        restored
    }
}
