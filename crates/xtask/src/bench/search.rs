//! Searches among a million resources, through the server over its Unix socket: how long each kind
//! of them takes one client that asks again and again, by itself and while others write; what so
//! many clients get of all kinds together; what a second start and the memory cost.
//!
//! Beside each a bare handler answers the same bytes. Conditions and orders of the queries are
//! drawn anew for each request, from what is stored.

mod asked;
pub(super) mod filled;
mod queries;
mod seen;
mod table;
mod writers;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fhir_core::Clock;
use hearthgate::doors::SystemClock;

use super::child::{Child, Process};
use super::copies::SEED;
use super::directory::Directory;
use super::figures::{print, verdict};
use super::http::{Address, Connection, Requests};
use super::load::{Round, Window, measure};
use super::product::{Caller, kept_index, server_socket};
use super::{Failure, Rounds, store};
use asked::Asked;
use filled::Filled;
use table::Row;
use writers::Writers;

/// Clients that ask for everything at once.
const TOGETHER: usize = 32;
/// Milliseconds wanted of each kind: half of the answers, all but one in a hundred.
const WANTED: (f64, f64) = (1.0, 8.0);
/// How many times that while others write.
const BESIDE_WRITERS: f64 = 2.0;
/// Megabytes that the server may have in memory.
const MEMORY: f64 = 1000.0;
/// Bytes of the index on disk wanted of a resource, where it is there.
const ON_DISK: f64 = 200.0;
/// Resources that the index takes in each second, wanted of a second start.
const REBUILT: f64 = 40_000.0;

/// How long and how much.
#[derive(clap::Args)]
pub(crate) struct Sizes {
    /// Resources at least.
    #[arg(long, default_value_t = 1_000_000)]
    resources: u64,
    /// What they are drawn with.
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Seconds that each kind of query is measured.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    seconds: f64,
    /// A directory that stays: filled where it is empty, else measured as it is.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Bytes of memory that the server's search index may have for what can be read again.
    #[arg(long, value_name = "BYTES")]
    index_memory: Option<usize>,
    /// Start the server with its kept index and no more, for a quick look at a filled directory.
    #[arg(long)]
    kept: bool,
    /// Only these parts.
    #[arg(long, value_enum)]
    part: Vec<Part>,
    /// Only queries whose name has this in it.
    #[arg(long)]
    only: Option<String>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Each kind of query by itself.
    Alone,
    /// The same while 64 clients write half of what they can.
    Writers,
    /// All kinds at once.
    Mix,
    /// Each kind where a caller may see one patient, or 200.
    Seen,
}

impl Sizes {
    fn has(&self, part: Part) -> bool {
        self.part.is_empty() || self.part.contains(&part)
    }

    fn window(&self) -> Window {
        Rounds { rounds: 1, seconds: self.seconds, warm_up: self.seconds / 3.0 }.window()
    }
}

/// Measures and prints.
pub(crate) fn run(sizes: &Sizes) -> Result<(), Failure> {
    let own = Directory::new("search")?;
    let path = sizes.directory.as_deref().unwrap_or(own.path());
    let filled = filled::fill(path, sizes.resources, sizes.seed)?;
    through_the_server(path, &filled, sizes)
}

fn through_the_server(path: &Path, filled: &Filled, sizes: &Sizes) -> Result<(), Failure> {
    let server = match sizes.kept {
        true => start(path, "with its kept index", sizes.index_memory)?.0,
        false => started(path, filled, sizes.index_memory)?,
    };
    let caller = Caller::of(path)?;
    let all = asked::ask(path, &caller, sizes.only.as_deref())?;
    let alone = match sizes.has(Part::Alone) || sizes.has(Part::Writers) {
        true => rows(path, &all, sizes)?,
        false => Vec::new(),
    };
    if !alone.is_empty() {
        let title = "one client, over a Unix socket to the server";
        print(&table::of(title, &alone, WANTED))?;
    }
    if sizes.has(Part::Seen) {
        seen::run(path, &caller, sizes)?;
    }
    if sizes.has(Part::Mix) {
        mix(path, &server, &all, sizes)?;
    }
    let (resident, most) = server.memory()?;
    print(&format!("  megabytes resident {resident:.0}, at most {most:.0}\n"))?;
    print(&verdict("megabytes at most", most, most <= MEMORY, &format!("<= {MEMORY}")))?;
    if sizes.has(Part::Writers) {
        let writers = Writers::start(path, &caller, sizes.window())?;
        let beside = rows(path, &all, sizes)?;
        let done = writers.end()?;
        print(&format!(
            "\n64 writers, behind all others for a processor: {:.0} creates/s at most, {:.0}/s now\n",
            done.most, done.now
        ))?;
        print(&table::beside("the same client beside them", &beside, &alone, BESIDE_WRITERS))?;
    }
    Ok(())
}

/// Starts the server on what is there, first with its kept index and then without, and says what
/// that took.
fn started(path: &Path, filled: &Filled, index_memory: Option<usize>) -> Result<Process, Failure> {
    let resources = filled.resources as f64;
    let tenant = path.join("tenants/default");
    let each = |of: &Path| -> Result<f64, Failure> { Ok(store::bytes_in(of)? / resources) };
    let kept = kept_index(path);
    if kept.is_dir() {
        drop(start(path, "with its kept index", index_memory)?);
        let found = each(&kept)?;
        let (met, wanted) = (found <= ON_DISK, format!("<= {ON_DISK}"));
        print(&verdict("kept index, bytes a resource", found, met, &wanted))?;
        std::fs::remove_dir_all(&kept)?;
    }
    let (server, indexing) = start(path, "without a kept index", index_memory)?;
    let rate = resources / indexing;
    let wanted = format!(">= {REBUILT}");
    print(&verdict("indexed from the log, resources/s", rate, rate >= REBUILT, &wanted))?;
    print(&format!(
        "  bytes a resource on disk: log {:.0}, state {:.0}\n",
        each(&tenant.join("log"))?,
        each(&tenant.join("state"))?
    ))?;
    filled::wait_until_idle(&server)?;
    let (resident, _) = server.memory()?;
    print(&format!("  {resident:.0} MB resident once it is idle\n"))?;
    Ok(server)
}

/// Starts the server, and gives the seconds that its index took.
fn start(path: &Path, how: &str, index_memory: Option<usize>) -> Result<(Process, f64), Failure> {
    let directory = path.to_owned();
    let server = match index_memory {
        None => Child::Server { directory }.start()?,
        Some(index_memory) => Child::ServerWithin { directory, index_memory }.start()?,
    };
    let told = server.told().split_once(' ').ok_or("a server that does not tell its times")?;
    let (opening, indexing): (f64, f64) = (told.0.parse()?, told.1.parse()?);
    let (opening, indexing) = (opening / 1e3, indexing / 1e3);
    let (resident, _) = server.memory()?;
    print(&format!(
        "\nstarted again {how}: opened in {opening:.2} s, indexed in {indexing:.2} s more; \
         {resident:.0} MB resident then\n"
    ))?;
    Ok((server, indexing))
}

/// What each kind of query takes, and a bare handler's answer of the same bytes.
fn rows(path: &Path, all: &[Asked], sizes: &Sizes) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for asked in all {
        let address = Address::Unix(server_socket(path));
        let requests = Requests::Repeated(Arc::clone(&asked.requests));
        let ours = one_client(&address, &requests, sizes.window())?;
        let (socket, answer) = (path.join("bare.sock"), path.join("bare.answer"));
        std::fs::write(&answer, &asked.answer)?;
        if socket.exists() {
            std::fs::remove_file(&socket)?;
        }
        let bare = Child::BareReader { socket: socket.clone(), answer }.start()?;
        let peer = one_client(&Address::Unix(socket), &requests, sizes.window())?;
        drop(bare);
        rows.push(Row::of(asked, &ours, &peer));
    }
    Ok(rows)
}

/// One client that asks again and again, each after the answer to the one before.
fn one_client(address: &Address, requests: &Requests, window: Window) -> Result<Round, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let one = Connection::open_all(1, address, requests, "HTTP/1.1 200").await?;
        measure(one, window, &clock, || Ok(None)).await
    })
}

/// All kinds of queries at once, each client one after the other.
fn mix(path: &Path, server: &Process, all: &[Asked], sizes: &Sizes) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let most = all.iter().map(|asked| asked.requests.len()).max().unwrap_or(0);
    let turns = (0..most).flat_map(|at| {
        all.iter().map(move |asked| asked.requests[at % asked.requests.len()].clone())
    });
    let requests = Requests::Repeated(turns.collect());
    let address = Address::Unix(server_socket(path));
    let round = runtime.block_on(async {
        let open = Connection::open_all(TOGETHER, &address, &requests, "HTTP/1.1 200").await?;
        measure(open, sizes.window(), &clock, || server.cpu().map(Some)).await
    })?;
    let millis = |of: std::time::Duration| of.as_secs_f64() * 1e3;
    print(&format!(
        "\nall kinds in turns, {TOGETHER} clients: {:.0} answers/s, p50 {:.2} ms, p99 {:.2} ms, \
         {:.2} ms of a processor each\n",
        round.rate,
        millis(round.median),
        millis(round.slowest_of_100),
        round.cpu.map_or(f64::NAN, millis),
    ))?;
    Ok(())
}
