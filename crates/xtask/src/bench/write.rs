//! Durable creates of 64 clients: the database against bare appends of the same bytes in groups
//! of the same sizes, and the
//! server against a bare handler that writes what it is sent to such a log.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use database::{Action, Body, Change, CommitId, Database, Expect, Method, Transaction, Visibility};
use fhir_core::json::{Document, Replacements};
use fhir_core::{Clock, Resource, ResourceId};
use fhir_schema::Schema;
use hearthgate::doors::SystemClock;
use store::{Commit, CommitHash, FhirVersion, T, TenantText, record};

use super::child::Child;
use super::directory::Directory;
use super::figures::{Target, print, ratio, table, verdict};
use super::http::{Address, Requests};
use super::load::{Client, measure};
use super::patient::{NUMBER, patient};
use super::product::{BASE, Caller, open_database, open_store, server_socket};
use super::traced::Traced;
use super::turns::{self, Turn};
use super::{Failure, Rounds, raw_log, runtime};

const CLIENTS: usize = 64;
const WANTED: f64 = 0.5;

pub(crate) fn run(rounds: Rounds) -> Result<(), Failure> {
    through_the_database(rounds)?;
    through_http(rounds)
}

fn through_the_database(rounds: Rounds) -> Result<(), Failure> {
    let directory = Directory::new("commit")?;
    let record = record_of_a_patient()?;
    let store = Arc::new(Traced::new(open_store(directory.path())?));
    let database = Arc::new(open_database(Arc::clone(&store) as _)?);
    let next = Arc::new(AtomicU64::new(0));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let (mut raw, mut ours) = (Target::new("raw append + fdatasync"), Target::new("database"));
    let raw_log = directory.path().join("raw.log");
    let (runtime, mut groups) = (runtime()?, Vec::new());
    for _ in 0..rounds.rounds {
        let creating = Creating {
            database: Arc::clone(&database),
            next: Arc::clone(&next),
            patient: Arc::from(patient()),
        };
        let clients = vec![creating; CLIENTS];
        let round = measure(clients, rounds.window(), &clock, || Ok(None));
        ours.rounds.push(runtime.block_on(round)?);
        let of_round = store.groups();
        raw.rounds.push(raw_log::replay(&raw_log, &record, &of_round, rounds.window(), &*clock)?);
        groups.extend(of_round);
    }
    database.close()?;
    let mean = groups.iter().sum::<usize>() as f64 / groups.len() as f64;
    let title = format!(
        "durable creates of a Patient of {} bytes ({} in the log), {CLIENTS} clients, \
         groups of {mean:.1} on average",
        patient().len(),
        record.len()
    );
    let found = ratio(&ours, &raw);
    print(&table(&title, &[&raw, &ours]))?;
    print(&verdict("database / raw", found, found >= WANTED, &format!(">= {WANTED}")))?;
    Ok(())
}

/// A client of the database: each patient is made ready (written, compressed, hashed) and
/// committed.
#[derive(Clone)]
struct Creating {
    database: Arc<Database>,
    next: Arc<AtomicU64>,
    patient: Arc<str>,
}

impl Client for Creating {
    async fn once(&mut self) -> Result<(), Failure> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let json = self.patient.replace(NUMBER, &format!("{number:010}"));
        let change = create(number, &json)?;
        let transaction = Transaction {
            id: CommitId(number.into()),
            prepared_at: self.database.snapshot(Visibility::everything()).at(),
            changes: vec![change],
            conditions: Vec::new(),
        };
        self.database.commit(transaction).await?;
        Ok(())
    }
}

fn create(number: u64, json: &str) -> Result<Change, Failure> {
    let document = Document::parse(json.as_bytes())?;
    let resource = Resource::new(document.root())?;
    let id = ResourceId::from_uuid(number.into());
    let body = Body::of(&resource, &id, &Replacements::default(), Schema::r4());
    let resource_type = resource.resource_type().clone();
    let action = Action::Write { body, method: Method::Post };
    Ok(Change { resource_type, id, action, expect: Expect::New })
}

/// The bytes that the embedded store writes for one such create: what the database wrote into a
/// model is written down as a record.
fn record_of_a_patient() -> Result<Bytes, Failure> {
    let tenant = TenantText::new("default")?;
    let model = Arc::new(store::model::ModelStore::new(tenant));
    let database = open_database(Arc::clone(&model) as _)?;
    let transaction = Transaction {
        id: CommitId(0),
        prepared_at: T::ZERO,
        changes: vec![create(0, &patient())?],
        conditions: Vec::new(),
    };
    runtime()?.block_on(database.commit(transaction))?;
    database.close()?;
    let commits: Vec<Commit> = model.commits();
    let commit = commits.first().ok_or("the model has no commit")?;
    assert_eq!(commit.fhir_version, FhirVersion::R4);
    let mut bytes = Vec::new();
    record::encode(commit, &CommitHash::ZERO, &mut bytes, &mut Vec::new())?;
    Ok(bytes.into())
}

fn through_http(rounds: Rounds) -> Result<(), Failure> {
    let directory = Directory::new("write")?;
    let path = directory.path();
    let (socket, log) = (path.join("bare.sock"), path.join("raw.log"));
    let server = Child::Server { directory: path.to_owned() }.start()?;
    let bare = Child::BareWriter { socket: socket.clone(), log }.start()?;
    let ours = Address::Unix(server_socket(path));
    let minimal = requests(path, "prefer: return=minimal\r\n")?;
    let turn = |name, process, address, requests| Turn {
        name,
        process,
        address,
        requests,
        expected: "HTTP/1.1 201",
    };
    let turns = [
        turn("bare axum handler over a raw log", &bare, Address::Unix(socket), minimal.clone()),
        turn("server, Prefer: return=minimal", &server, ours.clone(), minimal),
        turn("server, answering the resource", &server, ours, requests(path, "")?),
    ];
    let [bare, minimal, whole] = turns::take(&turns, CLIENTS, rounds)?;
    let title = format!(
        "POST {BASE}/Patient of {} bytes over a Unix socket, {CLIENTS} connections",
        patient().len()
    );
    print(&table(&title, &[&bare, &minimal, &whole]))?;
    for ours in [minimal, whole] {
        let found = ratio(&ours, &bare);
        let what = format!("{} / bare handler", ours.name);
        print(&verdict(&what, found, found >= WANTED, &format!(">= {WANTED}")))?;
    }
    Ok(())
}

fn requests(directory: &Path, fields: &str) -> Result<Requests, Failure> {
    let caller = Caller::of(directory)?;
    Ok(Requests::numbered(caller.request("POST", "Patient", fields, &patient())?))
}
