//! The store's suite over PostgreSQL, a database a test.

use store::suite::{Harm, StoreUnderTest};
use store::{BLOB_CHUNK, BlobId, Store, suite_tests};
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

    fn harm_blob(&mut self, id: BlobId, harm: Harm) {
        let chunk = |number: u64| format!("WHERE id = '\\x{id}' AND number = {number}");
        let last = format!(
            "WHERE id = '\\x{id}' AND number = (SELECT max(number) FROM hearthgate.blobs b WHERE b.id = '\\x{id}')"
        );
        self.database.sql(&match harm {
            Harm::Flipped(at) => {
                let (number, at) = (at / BLOB_CHUNK as u64, at % BLOB_CHUNK as u64);
                let flipped = format!("set_byte(bytes, {at}, get_byte(bytes, {at}) # 64)");
                format!("UPDATE hearthgate.blobs SET bytes = {flipped} {}", chunk(number))
            }
            Harm::Cut => format!(
                "UPDATE hearthgate.blobs SET bytes = substr(bytes, 1, length(bytes) - 1) {last}"
            ),
            Harm::LastChunkLost => format!("DELETE FROM hearthgate.blobs {last}"),
            Harm::Lost => format!("DELETE FROM hearthgate.blobs WHERE id = '\\x{id}'"),
        });
    }
}

suite_tests!(match Postgres::new() {
    Some(under_test) => under_test,
    None => return,
});
