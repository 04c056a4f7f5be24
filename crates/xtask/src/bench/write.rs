//! Durable creates of 64 clients: the database against bare appends of the same bytes in groups
//! of the same sizes, and the
//! server against a bare handler that writes what it is sent to such a log.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use database::{Action, Body, Change, CommitId, Database, Expect, Method, Transaction, Visibility};
use fhir_core::json::{Document, Replacements};
use fhir_core::{Clock, Resource, ResourceId};
use fhir_schema::Schema;
use hearthgate::doors::SystemClock;
use store::{Commit, CommitHash, FhirVersion, TenantText, record};

use super::child::Child;
use super::directory::Directory;
use super::figures::{Target, print, ratio, table, verdict};
use super::http::{Address, Requests};
use super::load::{Client, Window, measure};
use super::patient::{NUMBER, patient};
use super::product::{BASE, Caller, open_database, open_store, sealing, server_socket};
use super::traced::Traced;
use super::turns::{self, Turn};
use super::{Failure, Rounds, raw_log, runtime};
use database::keys::MemoryKeyStore;

const CLIENTS: usize = 64;
const WANTED: f64 = 0.5;
/// More than any machine that was seen commits.
const MOST_PER_SECOND: f64 = 200_000.0;

pub(crate) fn run(rounds: Rounds) -> Result<(), Failure> {
    through_the_database(rounds)?;
    through_http(rounds)
}

fn through_the_database(rounds: Rounds) -> Result<(), Failure> {
    let directory = Directory::new("commit")?;
    let record = record_of_a_patient()?;
    let (store, sealing) = open_store(directory.path())?;
    let store = Arc::new(Traced::new(store));
    let database = Arc::new(open_database(Arc::clone(&store) as _, sealing)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let raw_log = directory.path().join("raw.log");
    let (runtime, mut groups) = (runtime()?, Vec::new());
    let mut next = 0;
    let mut raw = Target::new("raw append + fdatasync");
    let mut committing = Target::new("database, patients made ready before");
    let mut creating = Target::new("database, from JSON");
    for _ in 0..rounds.rounds {
        let many = (CLIENTS, MOST_PER_SECOND);
        let clients = Committing::clients(&database, &mut next, rounds.window(), many)?;
        let round = measure(clients, rounds.window(), &clock, || Ok(None));
        committing.rounds.push(runtime.block_on(round)?);
        let of_round = store.groups();
        raw.rounds.push(raw_log::replay(&raw_log, &record, &of_round, rounds.window(), &*clock)?);
        groups.extend(of_round);
        let clients = Creating::clients(&database, &mut next);
        let round = measure(clients, rounds.window(), &clock, || Ok(None));
        creating.rounds.push(runtime.block_on(round)?);
        store.groups();
    }
    database.close()?;
    let mean = groups.iter().sum::<usize>() as f64 / groups.len() as f64;
    let title = format!(
        "durable creates of a Patient of {} bytes ({} in the log), {CLIENTS} clients, groups of \
         {mean:.0}",
        patient().len(),
        record.len()
    );
    let found = ratio(&committing, &raw);
    print(&table(&title, &[&raw, &committing, &creating]))?;
    print(&verdict("database / raw", found, found >= WANTED, &format!(">= {WANTED}")))?;
    let found = ratio(&creating, &raw);
    print(&format!("  database from JSON / raw: {found:.2}\n"))?;
    Ok(())
}

/// A client of the database whose transactions are ready: parsed, written, compressed, hashed.
pub(super) struct Committing {
    database: Arc<Database>,
    ready: Vec<Transaction>,
}

impl Committing {
    /// So many clients, with enough to do for a window at `most` commits a second.
    pub(super) fn clients(
        database: &Arc<Database>,
        next: &mut u64,
        window: Window,
        (clients, most): (usize, f64),
    ) -> Result<Vec<Self>, Failure> {
        let each = most * (window.warm_up + window.measured).as_secs_f64();
        let each = (each / clients as f64) as usize;
        let patient = patient();
        let client = |_| {
            let ready = (0..each).map(|_| {
                *next += 1;
                transaction(database, *next, &patient)
            });
            let ready = ready.collect::<Result<_, _>>()?;
            Ok(Self { database: Arc::clone(database), ready })
        };
        (0..clients).map(client).collect()
    }
}

impl Client for Committing {
    async fn once(&mut self) -> Result<(), Failure> {
        let ready = self.ready.pop().ok_or("more was committed than was made ready")?;
        self.database.commit(ready).await?;
        Ok(())
    }
}

/// A client of the database that makes each patient ready itself.
struct Creating {
    database: Arc<Database>,
    next: u64,
    patient: Arc<str>,
}

impl Creating {
    fn clients(database: &Arc<Database>, next: &mut u64) -> Vec<Self> {
        let patient: Arc<str> = Arc::from(patient());
        let client = |_| {
            // Each has ten million numbers of its own.
            *next += 10_000_000;
            Self { database: Arc::clone(database), next: *next, patient: Arc::clone(&patient) }
        };
        (0..CLIENTS).map(client).collect()
    }
}

impl Client for Creating {
    async fn once(&mut self) -> Result<(), Failure> {
        self.next += 1;
        let ready = transaction(&self.database, self.next, &self.patient)?;
        self.database.commit(ready).await?;
        Ok(())
    }
}

/// A create of the patient with this number.
pub(super) fn transaction(
    database: &Database,
    number: u64,
    patient: &str,
) -> Result<Transaction, Failure> {
    let json = patient.replace(NUMBER, &format!("{number:010}"));
    Ok(Transaction {
        id: CommitId(number.into()),
        prepared_at: database.snapshot(Visibility::everything()).at(),
        changes: vec![create(number, &json)?],
        conditions: Vec::new(),
    })
}

fn create(number: u64, json: &str) -> Result<Change, Failure> {
    let document = Document::parse(json.as_bytes())?;
    let resource = Resource::new(document.root())?;
    let id = ResourceId::from_uuid(number.into());
    let body = Body::of(&resource, &id, &Replacements::default(), Schema::r4());
    let resource_type = resource.resource_type().clone();
    let action = Action::Write { body: Box::new(body), method: Method::Post };
    Ok(Change { resource_type, id, action, expect: Expect::New })
}

/// The bytes that the embedded store writes for one such create: what the database wrote into a
/// model is written down as a record.
pub(super) fn record_of_a_patient() -> Result<Bytes, Failure> {
    let tenant = TenantText::new("default")?;
    let model = Arc::new(store::model::ModelStore::new(tenant));
    let sealing = sealing(Box::new(MemoryKeyStore::default()))?;
    let database = open_database(Arc::clone(&model) as _, sealing)?;
    let transaction = transaction(&database, 0, &patient())?;
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
