//! The store's suite over PostgreSQL, a database a test.

use store::suite::StoreUnderTest;
use store::{Store, suite_tests};
use store_postgres::PostgresStore;

use crate::cluster::{Database, database};

/// A store in a database; a crash takes the lease of the one before over, which gave nothing back.
struct Postgres {
    database: Database,
    store: Option<PostgresStore>,
}

impl Postgres {
    fn new() -> Option<Self> {
        let database = database()?;
        let store = Some(database.open());
        Some(Self { database, store })
    }
}

impl StoreUnderTest for Postgres {
    fn store(&self) -> &dyn Store {
        self.store.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.store.take().unwrap().close().unwrap();
        self.store = Some(self.database.open());
    }

    fn crash(&mut self) {
        drop(self.store.take());
        self.store = Some(self.database.take_over());
    }
}

suite_tests!(match Postgres::new() {
    Some(under_test) => under_test,
    None => return,
});
