//! A body that is damaged where it lies is an error that says so, never a panic and never half a
//! resource.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use database::{Database, DeriveFromBody, Expect, Options, ReadError};
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use fhir_schema::Schema;
use parking_lot::Mutex;
use store::model::ModelStore;
use store::{
    AppendError, BlobError, BlobId, BlobReference, BodyCoding, CloseError, Commit, Derive, Head,
    HistoryOrder, HistoryVersion, IdentifierKey, Place, Store, StoredBody, T, VersionEntry, Walked,
};

use crate::support::{Clinic, SetClock, block_on, commit, everything, put, resource, tenant};

/// Gives another body, or another coding or length, than what was stored.
struct Liar {
    store: ModelStore,
    lie: Mutex<Lie>,
}

#[derive(Debug, Clone, Default)]
struct Lie {
    body: Option<Bytes>,
    coding: Option<BodyCoding>,
    length: Option<u32>,
}

impl Liar {
    fn about(&self, mut entry: VersionEntry) -> VersionEntry {
        let lie = self.lie.lock();
        entry.dictionary = lie.coding.unwrap_or(entry.dictionary);
        entry.length = lie.length.unwrap_or(entry.length);
        entry
    }
}

#[async_trait]
impl Store for Liar {
    fn head(&self) -> Head {
        self.store.head()
    }

    fn append(&self, group: &[Commit]) -> Result<Head, AppendError> {
        self.store.append(group)
    }

    fn write_blob(&self, id: BlobId, bytes: &Bytes) -> Result<(), AppendError> {
        self.store.write_blob(id, bytes)
    }

    async fn fetch_blob(&self, reference: &BlobReference) -> Result<Bytes, store::ReadError> {
        self.store.fetch_blob(reference).await
    }

    fn remove_blob(&self, id: BlobId) -> Result<bool, BlobError> {
        self.store.remove_blob(id)
    }

    fn blobs(&self) -> Result<Vec<BlobId>, BlobError> {
        self.store.blobs()
    }

    async fn newest(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Option<VersionEntry>, store::ReadError> {
        let entry = self.store.newest(resource_type, id, at).await?;
        Ok(entry.map(|entry| self.about(entry)))
    }

    async fn version(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        version: VersionId,
        at: T,
    ) -> Result<Option<VersionEntry>, store::ReadError> {
        self.store.version(resource_type, id, version, at).await
    }

    async fn versions(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Vec<VersionEntry>, store::ReadError> {
        self.store.versions(resource_type, id, at).await
    }

    async fn stored(&self, entry: &VersionEntry) -> Result<StoredBody, store::ReadError> {
        let lie = self.lie.lock().body.clone();
        let stored = self.store.stored(entry).await?;
        Ok(StoredBody { bytes: lie.unwrap_or(stored.bytes.clone()), ..stored })
    }

    async fn walk(
        &self,
        at: T,
        each: &mut (dyn for<'a> FnMut(Walked<'a>) + Send),
    ) -> Result<(), store::ReadError> {
        self.store.walk(at, each).await
    }

    async fn identified(
        &self,
        resource_type: &ResourceType,
        identifier: &IdentifierKey,
        at: T,
    ) -> Result<Vec<ResourceId>, store::ReadError> {
        self.store.identified(resource_type, identifier, at).await
    }

    async fn history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
        order: HistoryOrder,
        most: usize,
    ) -> Result<Vec<HistoryVersion>, store::ReadError> {
        self.store.history(of, range, order, most).await
    }

    async fn count_history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
    ) -> Result<u64, store::ReadError> {
        self.store.count_history(of, range).await
    }

    async fn position_at(&self, instant: Instant) -> Result<T, store::ReadError> {
        self.store.position_at(instant).await
    }

    fn close(&self) -> Result<(), CloseError> {
        self.store.close()
    }
}

fn over_a_liar(json: &str) -> (Arc<Liar>, Database) {
    let liar = Arc::new(Liar { store: ModelStore::new(tenant()), lie: Mutex::default() });
    let database = Database::open(
        Arc::clone(&liar) as _,
        tenant(),
        Schema::r4(),
        Arc::new(SetClock::at(0)),
        // What is read must be what lies there.
        Options { kept_bytes: 0, ..Options::default() },
    )
    .unwrap();
    block_on(commit(&database, vec![put("Patient/1", json, Expect::Any)])).unwrap();
    (liar, database)
}

fn read(database: &Database) -> Result<Option<Bytes>, ReadError> {
    let (of, id) = resource("Patient/1");
    let found = block_on(everything(database).read(&of, &id))?;
    Ok(found.unwrap().json)
}

/// One that is stored as it is, and two that are not.
fn patients() -> [String; 3] {
    let text = |length| crate::support::patient(&"ab ".repeat(length), &["x"]);
    ["{\"resourceType\":\"Patient\"}".to_owned(), text(1), text(200)]
}

#[test]
fn a_cut_body_is_an_error() {
    for json in patients() {
        let (liar, database) = over_a_liar(&json);
        let (of, id) = resource("Patient/1");
        let entry = block_on(everything(&database).newest(&of, &id));
        let whole = block_on(liar.store.body(&entry.unwrap().unwrap())).unwrap();
        for length in 0..whole.len() {
            liar.lie.lock().body = Some(whole.slice(..length));
            let cut = read(&database);
            let unreadable = matches!(cut, Err(ReadError::UnreadableBody { .. }));
            assert!(unreadable, "{length} of {} bytes: {cut:?}", whole.len());
        }
        liar.lie.lock().body = Some(whole);
        assert!(read(&database).unwrap().is_some());
    }
}

#[test]
fn a_body_with_another_length_or_coding_is_an_error() {
    for json in patients() {
        let (liar, database) = over_a_liar(&json);
        let (of, id) = resource("Patient/1");
        let entry = block_on(everything(&database).newest(&of, &id));
        let entry = entry.unwrap().unwrap();
        let coding = |number| Lie { coding: Some(BodyCoding(number)), ..Lie::default() };
        let length = |length| Lie { length: Some(length), ..Lie::default() };
        let other = u32::from(entry.dictionary == BodyCoding::AS_IS);
        for lie in [
            coding(other),
            coding(3),
            coding(u32::MAX),
            length(0),
            length(entry.length - 1),
            length(entry.length + 1),
            length(u32::MAX),
        ] {
            *liar.lie.lock() = lie.clone();
            let found = read(&database);
            let unreadable = matches!(found, Err(ReadError::UnreadableBody { .. }));
            assert!(unreadable, "{lie:?}: {found:?}");
        }
    }
}

#[test]
fn another_resources_body_is_an_error() {
    for json in patients() {
        let (liar, database) = over_a_liar(&json);
        let changes = vec![put("Patient/2", &json, Expect::Any)];
        block_on(commit(&database, changes)).unwrap();
        let (of, id) = resource("Patient/2");
        let entry = block_on(everything(&database).newest(&of, &id));
        let other = block_on(liar.store.body(&entry.unwrap().unwrap())).unwrap();
        liar.lie.lock().body = Some(other);
        let found = read(&database);
        let unreadable = matches!(found, Err(ReadError::UnreadableBody { .. }));
        assert!(unreadable, "{found:?}");
    }
}

#[test]
fn no_changed_byte_of_a_body_is_a_panic() {
    let derive = DeriveFromBody::new(Schema::r4());
    for json in patients() {
        let (liar, database) = over_a_liar(&json);
        let (of, id) = resource("Patient/1");
        let entry = block_on(everything(&database).newest(&of, &id));
        let entry = entry.unwrap().unwrap();
        let whole = block_on(liar.store.body(&entry)).unwrap();
        let key = crate::support::key("x");
        for at in 0..whole.len() {
            for change in [1, 0x20, 0xff] {
                let mut body = whole.to_vec();
                body[at] ^= change;
                let body = Bytes::from(body);
                // Whether it can be read, is noticed by the store's checksums; here alone: what
                // is given has the length that was stored, and nothing panics.
                let derived = derive.identifiers(&of, entry.dictionary, entry.length, &body);
                liar.lie.lock().body = Some(body);
                if let Ok(Some(found)) = read(&database) {
                    assert!(found.len() > entry.length as usize);
                }
                let searched = block_on(everything(&database).identified(&of, &key));
                assert!(derived.is_ok() || searched.is_err() || searched.unwrap().is_empty());
            }
        }
    }
}

over_each_backend! {
    a_byte_changed_in_the_log_is_an_error_of_that_body_alone
}

fn a_byte_changed_in_the_log_is_an_error_of_that_body_alone(clinic: &mut Clinic) {
    clinic.reopen_with(Options { kept_bytes: 0, ..Options::default() });
    let [short, _, long] = patients();
    clinic.write(put("Patient/1", &short, Expect::Any));
    clinic.write(put("Patient/2", &long, Expect::Any));
    let Some(path) = clinic.log_file() else {
        // The model has no bytes that could change.
        assert!(clinic.json("Patient/1").is_some());
        return;
    };
    let log = std::fs::read(&path).unwrap();
    let (of, id) = resource("Patient/1");
    let entry = block_on(clinic.snapshot().newest(&of, &id)).unwrap();
    let body = block_on(clinic.gate().body(&entry.unwrap())).unwrap();
    let start = log.windows(body.len()).position(|window| window == body);
    let start = start.expect("a short body stands in the log as it is");
    for at in start..start + body.len() {
        let mut damaged = log.clone();
        damaged[at] ^= 0x04;
        std::fs::write(&path, &damaged).unwrap();
        let found = block_on(clinic.snapshot().read(&of, &id));
        let noticed = matches!(found, Err(ReadError::Store(store::ReadError::Damaged { .. })));
        assert!(noticed, "byte {at}: {found:?}");
        assert!(clinic.json("Patient/2").is_some());
    }
    std::fs::write(&path, &log).unwrap();
    assert!(clinic.json("Patient/1").is_some());
}
