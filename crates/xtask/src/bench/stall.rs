//! Large transactions beside small ones: how long a small write and a read are kept waiting, at
//! worst, while transactions of thousands of entries come one after the other; through the
//! database, and through the server over its socket.
//!
//! Every small client pauses after each answer, since clients that never do would keep both
//! processors busy by themselves, and what they wait for would be each other.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use database::{Database, Transaction, Visibility};
use fhir_core::{Clock, ResourceId, ResourceType};
use hearthgate::doors::SystemClock;
use tokio::task::JoinSet;

use super::child::Child;
use super::directory::Directory;
use super::figures::{print, verdict};
use super::http::{Address, Connection, Requests, ask};
use super::load::Client;
use super::patient::patient;
use super::product::{Caller, open, server_socket};
use super::store::{bulk, fill, id, observation};
use super::{Failure, runtime, write};

/// Small clients of each kind.
const CLIENTS: u64 = 16;
/// The longest waits wanted, in milliseconds: of a small write, of a read.
const WANTED: (f64, f64) = (50.0, 10.0);
/// How many resources are read.
const READ: u64 = 4096;

/// How much of both.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Sizes {
    /// Large transactions in all.
    #[arg(long, default_value_t = 20)]
    large: u64,
    /// Who sends them: so many at once, each one after the other.
    #[arg(long, default_value_t = 1)]
    senders: usize,
    /// Entries in each.
    #[arg(long, default_value_t = 5_000)]
    entries: u64,
    /// Seconds that the small ones are alone before.
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    alone: f64,
    /// Microseconds that a small client pauses after each answer.
    #[arg(long, default_value_t = 2_000, value_name = "MICROSECONDS")]
    pause: u64,
    /// Which to measure; without it, both.
    #[arg(long, value_enum)]
    only: Option<Only>,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Only {
    Database,
    Server,
}

impl Sizes {
    fn pause(self) -> Duration {
        Duration::from_micros(self.pause)
    }
}

pub(crate) fn run(sizes: Sizes) -> Result<(), Failure> {
    if sizes.only != Some(Only::Server) {
        through_the_database(sizes)?;
    }
    if sizes.only != Some(Only::Database) {
        through_http(sizes)?;
    }
    Ok(())
}

/// What small clients of one kind waited, in microseconds.
#[derive(Default)]
struct Waits {
    writes: Vec<u32>,
    reads: Vec<u32>,
}

/// What kind a small client is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Write,
    Read,
}

/// Lets the small clients work, pausing, until `over`.
async fn small<C: Client>(
    clients: Vec<(Kind, C)>,
    pause: Duration,
    over: Arc<AtomicBool>,
) -> Result<(Waits, Vec<(Kind, C)>), Failure> {
    let clock = Arc::new(SystemClock::start());
    let mut working = JoinSet::new();
    for (kind, mut client) in clients {
        let (over, clock) = (Arc::clone(&over), Arc::clone(&clock));
        working.spawn(async move {
            let mut micros = Vec::with_capacity(1 << 14);
            while !over.load(Ordering::Relaxed) {
                let began = clock.monotonic();
                client.once().await?;
                micros.push(u32::try_from((clock.monotonic() - began).as_micros())?);
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            Ok::<_, Failure>((kind, client, micros))
        });
    }
    let (mut waits, mut clients) = (Waits::default(), Vec::new());
    while let Some(worked) = working.join_next().await {
        let (kind, client, mut micros) = worked??;
        match kind {
            Kind::Write => waits.writes.append(&mut micros),
            Kind::Read => waits.reads.append(&mut micros),
        }
        clients.push((kind, client));
    }
    Ok((waits, clients))
}

/// Prints what was waited, alone and beside large ones that took so long each.
fn tell(title: &str, alone: Waits, beside: Waits, large: &mut [Duration]) -> Result<(), Failure> {
    large.sort_unstable();
    let millis = |of: &Duration| of.as_secs_f64() * 1e3;
    let (middle, slowest) = (large.get(large.len() / 2), large.last());
    print(&format!(
        "\n{title}; {} large ones, the middle one took {:.0} ms, the slowest {:.0} ms\n  {:<28}{:>9}{:>9}{:>9}{:>11}\n",
        large.len(),
        middle.map_or(f64::NAN, millis),
        slowest.map_or(f64::NAN, millis),
        "",
        "answers",
        "p50 ms",
        "p99.9 ms",
        "longest ms"
    ))?;
    let mut longest = [f64::NAN; 4];
    let rows = [
        ("small writes, alone", alone.writes),
        ("small writes, beside", beside.writes),
        ("reads, alone", alone.reads),
        ("reads, beside", beside.reads),
    ];
    for ((name, mut micros), longest) in rows.into_iter().zip(&mut longest) {
        if micros.is_empty() {
            return Err(format!("{name}: nothing was answered").into());
        }
        micros.sort_unstable();
        let at =
            |thousandths: usize| f64::from(micros[(micros.len() - 1) * thousandths / 1000]) / 1e3;
        *longest = at(1000);
        let (count, half, most) = (micros.len(), at(500), at(999));
        print(&format!("  {name:<28}{count:>9}{half:>9.2}{most:>9.2}{longest:>11.2}\n"))?;
    }
    for (what, found, wanted) in [
        ("longest stall of a small write beside, ms", longest[1], WANTED.0),
        ("longest stall of a read beside, ms", longest[3], WANTED.1),
    ] {
        print(&verdict(what, found, found <= wanted, &format!("<= {wanted}")))?;
    }
    Ok(())
}

/// A small client of the database.
struct OfDatabase {
    database: Arc<Database>,
    next: Arc<AtomicU64>,
    patient: Arc<str>,
    observation: ResourceType,
    kind: Kind,
}

impl Client for OfDatabase {
    async fn once(&mut self) -> Result<(), Failure> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if self.kind == Kind::Write {
            let ready = write::transaction(&self.database, number, &self.patient)?;
            self.database.commit(ready).await?;
            return Ok(());
        }
        let id = id(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % READ);
        let snapshot = self.database.snapshot(Visibility::everything());
        let found = snapshot.read(&self.observation, &id).await?;
        found.and_then(|version| version.json).ok_or("what was committed is not there")?;
        Ok(())
    }
}

fn through_the_database(sizes: Sizes) -> Result<(), Failure> {
    let directory = Directory::new("stall")?;
    let database = Arc::new(open(directory.path())?);
    let (runtime, clock) = (runtime()?, SystemClock::start());
    runtime.block_on(fill(&database, READ, &clock))?;
    let (next, patient) = (Arc::new(AtomicU64::new(1 << 40)), Arc::from(patient()));
    let client = |number: u64| -> Result<_, Failure> {
        let kind = if number < CLIENTS { Kind::Write } else { Kind::Read };
        let (database, next, patient) =
            (Arc::clone(&database), Arc::clone(&next), Arc::clone(&patient));
        let observation = ResourceType::new("Observation")?;
        Ok((kind, OfDatabase { database, next, patient, observation, kind }))
    };
    let clients = (0..2 * CLIENTS).map(client).collect::<Result<Vec<_>, _>>()?;
    // Made ready before: what making costs is the server's, and measured there.
    let ready = (0..sizes.large).map(|number| {
        let first = (1 << 30) + number * sizes.entries;
        bulk(&database, first..first + sizes.entries)
    });
    let ready: Vec<Transaction> = ready.collect::<Result<_, _>>()?;
    let (alone, clients) = runtime.block_on(alone(clients, sizes))?;
    let over = Arc::new(AtomicBool::new(false));
    let small = runtime.spawn(small(clients, sizes.pause(), Arc::clone(&over)));
    let queue = Arc::new(Mutex::new(ready));
    let committed = runtime.block_on(async {
        let mut senders = JoinSet::new();
        for _ in 0..sizes.senders {
            let (database, queue) = (Arc::clone(&database), Arc::clone(&queue));
            senders.spawn(async move {
                let (clock, mut took) = (SystemClock::start(), Vec::new());
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                while let Some(transaction) = next() {
                    let began = clock.monotonic();
                    database.commit(transaction).await?;
                    took.push(clock.monotonic() - began);
                }
                Ok(took)
            });
        }
        gathered(senders).await
    });
    over.store(true, Ordering::Relaxed);
    let (beside, _) = runtime.block_on(small)??;
    let mut large = committed?;
    let title = title("through the database", sizes);
    tell(&title, alone, beside, &mut large)?;
    Ok(database.close()?)
}

/// The small ones by themselves.
async fn alone<C: Client>(
    clients: Vec<(Kind, C)>,
    sizes: Sizes,
) -> Result<(Waits, Vec<(Kind, C)>), Failure> {
    let over = Arc::new(AtomicBool::new(false));
    let mut working = JoinSet::new();
    working.spawn(small(clients, sizes.pause(), Arc::clone(&over)));
    tokio::time::sleep(Duration::from_secs_f64(sizes.alone)).await;
    over.store(true, Ordering::Relaxed);
    working.join_next().await.ok_or("the small ones have ended")??
}

fn title(through: &str, sizes: Sizes) -> String {
    format!(
        "{CLIENTS} small writers and {CLIENTS} readers {through}, pausing {} µs, beside \
         transactions of {} entries from {} at once",
        sizes.pause, sizes.entries, sizes.senders
    )
}

fn through_http(sizes: Sizes) -> Result<(), Failure> {
    let directory = Directory::new("stall")?;
    let path = directory.path().to_owned();
    let server = Child::Server { directory: path.clone() }.start()?;
    let caller = Caller::of(&path)?;
    let address = Address::Unix(server_socket(&path));
    let reads = put_what_is_read(&path, &caller)?;
    let minimal = "prefer: return=minimal\r\n";
    let post = caller.request("POST", "Patient", minimal, &patient())?;
    let post = Requests::numbered(post);
    let large = caller.request("POST", "", minimal, &transaction(sizes.entries))?;
    let large = Requests::Repeated(Arc::new([large]));
    // One thread asks for the small ones, and another for the large.
    let small_ones = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (alone, clients) = small_ones.block_on(async {
        let mut clients = Vec::new();
        for connection in
            Connection::open_all(CLIENTS as usize, &address, &post, "HTTP/1.1 201").await?
        {
            clients.push((Kind::Write, connection));
        }
        for connection in
            Connection::open_all(CLIENTS as usize, &address, &reads, "HTTP/1.1 200").await?
        {
            clients.push((Kind::Read, connection));
        }
        alone(clients, sizes).await
    })?;
    let over = Arc::new(AtomicBool::new(false));
    let sending = std::thread::Builder::new().name("large".to_owned()).spawn({
        let over = Arc::clone(&over);
        move || {
            let sent = send_large(&address, &large, sizes);
            over.store(true, Ordering::Relaxed);
            sent
        }
    })?;
    let beside = small_ones.block_on(small(clients, sizes.pause(), over));
    let mut took = sending.join().map_err(|_| "the sender of large ones panicked")??;
    let (beside, _) = beside?;
    tell(&title("over a Unix socket", sizes), alone, beside, &mut took)?;
    drop(server);
    Ok(())
}

/// Sends the large ones; how long each took.
fn send_large(
    address: &Address,
    requests: &Requests,
    sizes: Sizes,
) -> Result<Vec<Duration>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let expected = "HTTP/1.1 200";
        let open = Connection::open_all(sizes.senders, address, requests, expected).await?;
        let sent = Arc::new(AtomicU64::new(0));
        let mut senders = JoinSet::new();
        for mut connection in open {
            let sent = Arc::clone(&sent);
            senders.spawn(async move {
                let (clock, mut took) = (SystemClock::start(), Vec::new());
                while sent.fetch_add(1, Ordering::Relaxed) < sizes.large {
                    let began = clock.monotonic();
                    connection.once().await?;
                    took.push(clock.monotonic() - began);
                }
                Ok(took)
            });
        }
        gathered(senders).await
    })
}

/// What all senders say.
async fn gathered(
    mut senders: JoinSet<Result<Vec<Duration>, Failure>>,
) -> Result<Vec<Duration>, Failure> {
    let mut all = Vec::new();
    while let Some(sent) = senders.join_next().await {
        all.append(&mut sent??);
    }
    Ok(all)
}

/// Puts the resources that are read, and makes the requests that read them.
fn put_what_is_read(directory: &Path, caller: &Caller) -> Result<Requests, Failure> {
    let id = |number: u64| -> ResourceId { id(number) };
    let entries = (0..READ).map(|number| {
        let (id, json) = (id(number), observation(number));
        let json = json.replacen('{', &format!("{{\"id\":\"{id}\","), 1);
        format!(r#"{{"resource":{json},"request":{{"method":"PUT","url":"Observation/{id}"}}}}"#)
    });
    let put = caller.request("POST", "", "prefer: return=minimal\r\n", &of_entries(entries))?;
    let (head, answer) = ask(&server_socket(directory), &put)?;
    if !head.starts_with("HTTP/1.1 200") {
        let answer = String::from_utf8_lossy(&answer);
        return Err(format!("what shall be read was not put: {head}{answer}").into());
    }
    let read = (0..READ).map(|number| {
        let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % READ;
        caller.request("GET", &format!("Observation/{}", id(number)), "", "")
    });
    Ok(Requests::Repeated(read.collect::<Result<Vec<_>, _>>()?.into()))
}

/// A patient, and Observations of them.
fn transaction(entries: u64) -> String {
    let subject = "urn:uuid:00000000-0000-4000-8000-000000000000";
    let of_patient = format!(
        r#"{{"fullUrl":"{subject}","resource":{},"request":{{"method":"POST","url":"Patient"}}}}"#,
        patient()
    );
    let observations = (1..entries).map(|number| {
        let whose = format!(r#""Patient/{:032x}""#, u128::from(number / 40) * 0x9e37_79b9_7f4a_7c15);
        let json = observation(number).replacen(&whose, &format!("\"{subject}\""), 1);
        format!(
            r#"{{"fullUrl":"urn:uuid:00000000-0000-4000-8000-{number:012x}","resource":{json},"request":{{"method":"POST","url":"Observation"}}}}"#
        )
    });
    of_entries(std::iter::once(of_patient).chain(observations))
}

fn of_entries(entries: impl Iterator<Item = String>) -> String {
    let entries: Vec<_> = entries.collect();
    format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#, entries.join(","))
}

#[cfg(test)]
mod tests {
    use super::transaction;

    #[test]
    fn every_observation_of_a_large_transaction_is_of_its_patient() {
        let bundle: serde_json::Value = serde_json::from_str(&transaction(100)).unwrap();
        let entries = bundle["entry"].as_array().unwrap();
        assert_eq!(entries.len(), 100);
        for entry in &entries[1..] {
            assert_eq!(entry["resource"]["subject"]["reference"], entries[0]["fullUrl"]);
        }
    }
}
