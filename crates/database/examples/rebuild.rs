//! How long a search index takes to be there after a start: `cargo run --release -p database
//! --example rebuild -- 300000`. Writes so many generated resources to a store in a temporary
//! folder, sealed, opens it anew, builds the index from the log, and keeps it; then opens it twice
//! more, from what was kept.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures and tells")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Moment, SystemTime, UNIX_EPOCH};

use database::{
    Action, Body, Change, Database, DeriveFromBody, Expect, IndexedBy, Method, Options, Sealing,
    Transaction, Visibility,
};
use fhir_core::json::{Document, Replacements};
use fhir_core::{Clock, Ids, Instant, Resource};
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{Extractor, Parameters, Zone};
use fhir_terminology::Terminology;
use futures_executor::block_on;
use store::keys::{FirstKeys, Keyring, MemoryKeyStore, TenantKey};
use store::{CommitId, TenantText};
use store_sled::{SledStore, SledStoreOptions};

/// Resources of a commit.
const TOGETHER: u64 = 100;

struct System;

impl Clock for System {
    fn now(&self) -> Instant {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Instant::from_micros(i64::try_from(since.as_micros()).unwrap_or(0))
    }

    fn monotonic(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// Chance that counts: nothing here is secret.
struct Counting(AtomicU64);

impl Ids for Counting {
    fn next(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed)) << 20
    }

    fn fill(&self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(16) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::args().nth(1).and_then(|it| it.parse().ok()).unwrap_or(100_000_u64);
    let folder = tempfile::tempdir()?;
    let kept = folder.path().join("index");
    let tenant = TenantText::new("clinic")?;
    let ids = Arc::new(Counting(AtomicU64::new(1)));
    let key = TenantKey::parse(&"5a".repeat(32))?;
    let keys = Box::new(MemoryKeyStore::default());
    let keyring = Arc::new(Keyring::open(keys, &tenant, key, ids, FirstKeys::MayBeMade)?);
    let parameters = Arc::new(Parameters::new(DefinitionSet::r4(), Schema::r4()));
    let extractor = Arc::new(Extractor::new(
        Schema::r4(),
        parameters,
        DefinitionSet::r4().clone(),
        Terminology::r4(),
    ));
    let open = || -> Result<Database, Box<dyn Error>> {
        let sealing = Sealing::with(tenant.clone(), Arc::clone(&keyring));
        let derive = Arc::new(DeriveFromBody::sealed(Schema::r4(), sealing.clone()));
        let options = SledStoreOptions::default();
        let store = SledStore::open(folder.path(), tenant.as_str(), derive, options)?;
        let (store, clock) = (Arc::new(store), Arc::new(System));
        let options = Options::default();
        let (tenant, schema) = (tenant.clone(), Schema::r4());
        let database = Database::open_sealed(store, tenant, schema, clock, options, sealing)?;
        Ok(database.keeping_index_in(kept.clone()))
    };
    let database = open()?;
    for commit in 0..count.div_ceil(TOGETHER) {
        let resources = (0..TOGETHER).map(|at| change(commit * TOGETHER + at));
        let changes = resources.collect::<Result<_, _>>()?;
        let id = CommitId(u128::from(commit) + 1);
        let prepared_at = database.snapshot(Visibility::everything()).at();
        let transaction = Transaction { id, prepared_at, changes, conditions: Vec::new() };
        block_on(database.commit(transaction))?;
    }
    database.close()?;
    drop(database);
    for _ in 0..3 {
        let database = open()?;
        let (moment, before) = (Moment::now(), running());
        let (extractor, base) = (Arc::clone(&extractor), Arc::from("https://clinic.example/fhir"));
        database.index_by(IndexedBy { extractor, base, zone: Zone::UTC })?;
        let is_there = database.wait_for_index(Duration::from_secs(3600));
        let (took, ran) = (moment.elapsed().as_secs_f64(), running() - before);
        let rate = count as f64 / took;
        let head = database.snapshot(Visibility::everything()).at();
        let restored = database.index_state().and_then(|it| it.restored);
        println!(
            "{count} resources up to {head}: there {is_there} after {took:.2} s, {rate:.0} a second, \
             {:.1} µs of processors each; read from the disk: {restored:?}",
            ran * 1e6 / count as f64
        );
        let moment = Moment::now();
        database.close()?;
        let files = std::fs::read_dir(&kept)?.map(|it| Ok(it?.metadata()?.len()));
        let bytes: u64 = files.sum::<std::io::Result<_>>()?;
        println!(
            "closed in {:.2} s; kept in {:.1} bytes a resource",
            moment.elapsed().as_secs_f64(),
            bytes as f64 / count as f64
        );
    }
    Ok(())
}

/// How long this process has had processors, in seconds.
fn running() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|it| it.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// A patient, or one of the patient's observations.
fn change(at: u64) -> Result<Change, Box<dyn Error>> {
    let patient = at / 100;
    let (of, id, json) = if at.is_multiple_of(100) {
        let json = format!(
            "{{\"resourceType\":\"Patient\",\"identifier\":[{{\"system\":\"http://id\",\
             \"value\":\"n{patient}\"}}],\"name\":[{{\"family\":\"family{}\",\"given\":[\"given{}\"]}}],\
             \"gender\":\"{}\",\"birthDate\":\"19{:02}-0{}-11\"}}",
            patient % 5000,
            patient % 300,
            ["male", "female"][patient as usize % 2],
            patient % 100,
            patient % 9 + 1
        );
        ("Patient", format!("p{patient}"), json)
    } else {
        let json = format!(
            "{{\"resourceType\":\"Observation\",\"status\":\"final\",\"category\":[{{\"coding\":\
             [{{\"system\":\"http://terminology.hl7.org/CodeSystem/observation-category\",\
             \"code\":\"vital-signs\"}}]}}],\"code\":{{\"coding\":[{{\"system\":\"http://loinc.org\",\
             \"code\":\"c{}\",\"display\":\"What was measured\"}}],\"text\":\"What was measured\"}},\
             \"subject\":{{\"reference\":\"Patient/p{patient}\"}},\"encounter\":{{\"reference\":\
             \"Encounter/e{}\"}},\"effectiveDateTime\":\"20{:02}-0{}-1{}T1{}:21:33+01:00\",\
             \"issued\":\"2020-01-01T11:21:33.000+01:00\",\"valueQuantity\":{{\"value\":{}.{},\
             \"unit\":\"mmol/L\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mmol/L\"}}}}",
            at % 40,
            at / 8,
            at % 21,
            at % 9 + 1,
            at % 10,
            at % 9,
            at % 150,
            at % 10
        );
        ("Observation", format!("o{at}"), json)
    };
    let (resource_type, id) = (of.parse()?, id.parse()?);
    let document = Document::parse(json.as_bytes())?;
    let resource = Resource::new(document.root())?;
    let body = Body::of(&resource, &id, &Replacements::default(), Schema::r4());
    let action = Action::Write { body: Box::new(body), method: Method::Put };
    Ok(Change { resource_type, id, action, expect: Expect::Any })
}
