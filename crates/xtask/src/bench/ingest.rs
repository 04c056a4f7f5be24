//! What comes in through REST and is validated, durable and searchable when it is answered:
//! Synthea's transactions, and its resources one by one from many clients. And where the
//! processor time of one resource goes.

mod steps;

use std::path::Path;
use std::sync::Arc;

use fhir_core::Clock;
use hearthgate::doors::SystemClock;

use super::child::Child;
use super::copies::{Copies, SEED};
use super::directory::Directory;
use super::figures::{Target, print, ratio, table, verdict};
use super::http::{Address, Requests};
use super::product::{Caller, server_socket};
use super::search::filled::send;
use super::turns::{self, Turn};
use super::{Failure, Rounds};

/// Wanted of transactions, in resources a second.
const TRANSACTIONS: f64 = 8_000.0;
/// Wanted of single creates, a second.
const CREATES: f64 = 5_000.0;
/// Clients that create one by one.
const CLIENTS: usize = 64;
/// Resources that they create, over and over.
const DIFFERENT: usize = 4_000;

/// How much.
#[derive(clap::Args)]
pub(crate) struct Sizes {
    /// Resources of the transactions.
    #[arg(long, default_value_t = 100_000)]
    resources: u64,
    /// Resources whose steps are measured.
    #[arg(long, default_value_t = 20_000)]
    steps: u64,
    /// What they are drawn with.
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    #[command(flatten)]
    rounds: Rounds,
    /// Only these parts.
    #[arg(long, value_enum)]
    part: Vec<Part>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Transactions,
    Creates,
    Steps,
}

/// Measures and prints.
pub(crate) fn run(sizes: &Sizes) -> Result<(), Failure> {
    let has = |part| sizes.part.is_empty() || sizes.part.contains(&part);
    let copies = || -> Result<Copies, Failure> {
        Ok(Copies::of_test_data(sizes.seed)?.ok_or("there is no test data to copy")?)
    };
    if has(Part::Transactions) {
        transactions(copies()?, sizes.resources)?;
    }
    if has(Part::Creates) {
        creates(&copies()?, sizes.rounds)?;
    }
    if has(Part::Steps) {
        steps::run(&copies()?, sizes.steps)?;
    }
    Ok(())
}

fn transactions(copies: Copies, resources: u64) -> Result<(), Failure> {
    let directory = Directory::new("ingest")?;
    let server = Child::Server { directory: directory.path().to_owned() }.start()?;
    let used = server.cpu()?;
    let sent = send(directory.path(), copies, resources)?;
    let used = (server.cpu()? - used).as_secs_f64() * 1e6 / sent.resources as f64;
    print(&format!(
        "\n{} resources of Synthea's in {} transactions over a Unix socket, 8 at once: {used:.0} µs of a \
         processor each in the server\n",
        sent.resources, sent.transactions
    ))?;
    let rate = sent.resources as f64 / sent.took.as_secs_f64();
    let wanted = format!(">= {TRANSACTIONS}");
    print(&verdict("durable and searchable, resources/s", rate, rate >= TRANSACTIONS, &wanted))?;
    Ok(())
}

fn creates(copies: &Copies, rounds: Rounds) -> Result<(), Failure> {
    let directory = Directory::new("creates")?;
    let path = directory.path();
    let (socket, log) = (path.join("bare.sock"), path.join("raw.log"));
    let server = Child::Server { directory: path.to_owned() }.start()?;
    let bare = Child::BareWriter { socket: socket.clone(), log }.start()?;
    let requests = requests(path, copies)?;
    let turn = |name, process, address| Turn {
        name,
        process,
        address,
        requests: requests.clone(),
        expected: "HTTP/1.1 201",
    };
    let turns = [
        turn("bare axum handler over a raw log", &bare, Address::Unix(socket)),
        turn("server, Prefer: return=minimal", &server, Address::Unix(server_socket(path))),
    ];
    let [bare, ours]: [Target; 2] = turns::take(&turns, CLIENTS, rounds)?;
    let title = format!(
        "creates of Synthea's resources one by one over a Unix socket, {CLIENTS} connections"
    );
    print(&table(&title, &[&bare, &ours]))?;
    let rate = ours.median(|round| round.rate);
    print(&verdict("creates/s", rate, rate >= CREATES, &format!(">= {CREATES}")))?;
    Ok(print(&format!("  server / bare handler: {:.2}\n", ratio(&ours, &bare)))?)
}

fn requests(path: &Path, copies: &Copies) -> Result<Requests, Failure> {
    let (caller, mut requests) = (Caller::of(path)?, Vec::new());
    for copy in copies.until(DIFFERENT as u64) {
        copy.each_resource(|of, json| {
            requests.push(caller.request("POST", of, "prefer: return=minimal\r\n", json)?);
            Ok(())
        })?;
    }
    Ok(Requests::Repeated(requests.into()))
}

/// Processor time of this whole process.
fn processor_time_of_all() -> Result<std::time::Duration, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("a process without a name")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks =
        || -> Result<u32, Failure> { Ok(fields.next().ok_or("a process without times")?.parse()?) };
    // Linux counts these in hundredths of a second, on every machine (proc_pid_stat(5)).
    Ok(std::time::Duration::from_millis(10) * (ticks()? + ticks()?))
}

/// The clock of this process.
fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::start())
}
