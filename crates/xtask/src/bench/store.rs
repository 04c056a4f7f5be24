//! The embedded store and the database over it: durable commits of one and of many clients beside
//! bare appends of the same bytes in groups of the same sizes; bulk commits; reads by id on one
//! thread; and what opening costs after a kill.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use clap::ValueEnum as _;
use database::{Action, Body, Change, CommitId, Database, Expect, Method, Transaction, Visibility};
use fhir_core::json::{Document, Replacements};
use fhir_core::{Clock, Resource, ResourceId, ResourceType};
use fhir_schema::Schema;
use hearthgate::doors::SystemClock;

use super::child::{self, Child};
use super::directory::Directory;
use super::figures::{Target, print, ratio, table, verdict};
use super::load::measure;
use super::product::{open, open_database, open_store};
use super::traced::Traced;
use super::write::{Committing, record_of_a_patient};
use super::{Failure, Rounds, backed_up, raw_log, runtime, synthea};

/// Clients, the ratio wanted to bare appends, and more commits a second than any machine that was
/// seen makes of so many.
const CLIENTS: [(usize, f64, f64); 3] =
    [(1, 0.85, 20_000.0), (16, 0.7, 120_000.0), (64, 0.7, 200_000.0)];
/// Wanted of bulk commits, in versions a second.
const BULK: f64 = 30_000.0;
/// Wanted of reads by id, a second on one thread.
const READS: f64 = 150_000.0;
/// Wanted of opening: seconds to the first read, and megabytes of memory then.
const OPENED: (f64, f64) = (3.0, 300.0);
/// Wanted of rebuilding the derived state, in versions a second.
const REBUILT: f64 = 50_000.0;
/// Versions in one bulk commit.
const COMMIT: u64 = 500;
/// As many as are warm at once in a cache of the default size.
const WARM: u64 = 5_000;

/// How long and how much.
#[derive(clap::Args)]
pub(crate) struct Sizes {
    #[command(flatten)]
    rounds: Rounds,
    /// Versions in the store that is opened after a kill.
    #[arg(long, default_value_t = 1_000_000)]
    versions: u64,
    /// Only these parts.
    #[arg(long, value_enum)]
    part: Vec<Part>,
}

/// What is measured, in this order.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Commits of one client, of some and of many.
    One,
    Some,
    Many,
    /// Bulk commits, and reads by id.
    Reads,
    /// Bytes on disk.
    Synthea,
    Backups,
    /// Opening after a kill, and the rebuild.
    Opening,
}

impl Part {
    fn run(self, sizes: &Sizes) -> Result<(), Failure> {
        match self {
            Self::One | Self::Some | Self::Many => commits(sizes.rounds, CLIENTS[self as usize]),
            Self::Reads => bulk_and_reads(Directory::new("store")?.path()),
            Self::Synthea => synthea::run(),
            Self::Backups => backed_up::run(sizes.rounds),
            Self::Opening => after_a_kill(sizes.versions),
        }
    }
}

pub(crate) fn run(sizes: &Sizes) -> Result<(), Failure> {
    let all = Part::value_variants().iter();
    all.filter(|part| sizes.part.is_empty() || sizes.part.contains(part))
        .try_for_each(|part| part.run(sizes))
}

fn commits(rounds: Rounds, (clients, wanted, most): (usize, f64, f64)) -> Result<(), Failure> {
    let directory = Directory::new("commits")?;
    let record = record_of_a_patient()?;
    let (store, sealing) = open_store(directory.path())?;
    let store = Arc::new(Traced::new(store));
    let database = Arc::new(open_database(Arc::clone(&store) as _, sealing)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let raw_file = directory.path().join("raw.log");
    let (runtime, mut next) = (runtime()?, 0);
    let mut raw = Target::new("raw append + fdatasync");
    let mut ours = Target::new("database");
    for _ in 0..rounds.rounds {
        let many = (clients, most);
        let ready = Committing::clients(&database, &mut next, rounds.window(), many)?;
        let round = measure(ready, rounds.window(), &clock, || Ok(None));
        ours.rounds.push(runtime.block_on(round)?);
        let groups = store.groups();
        raw.rounds.push(raw_log::replay(&raw_file, &record, &groups, rounds.window(), &*clock)?);
    }
    database.close()?;
    let found = ratio(&ours, &raw);
    let bytes = record.len();
    print(&table(&format!("durable commits of {bytes} bytes, {clients} clients"), &[&raw, &ours]))?;
    print(&verdict("database / raw", found, found >= wanted, &format!(">= {wanted}")))?;
    Ok(())
}

/// An Observation of about the size that they have.
pub(super) fn observation(number: u64) -> String {
    format!(
        r#"{{"resourceType":"Observation","status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital signs"}}]}}],"code":{{"coding":[{{"system":"http://loinc.org","code":"8302-2","display":"Body Height"}}],"text":"Body Height"}},"subject":{{"reference":"Patient/{:032x}"}},"encounter":{{"reference":"Encounter/{:032x}"}},"effectiveDateTime":"2026-11-{:02}T{:02}:15:00+00:00","issued":"2026-11-24T10:15:00.000+00:00","valueQuantity":{{"value":{}.{},"unit":"cm","system":"http://unitsofmeasure.org","code":"cm"}}}}"#,
        u128::from(number / 40) * 0x9e37_79b9_7f4a_7c15,
        u128::from(number / 8) * 0xbf58_476d_1ce4_e5b9,
        number % 28 + 1,
        number % 24,
        100 + number % 90,
        number % 10
    )
}

fn observations() -> Result<ResourceType, Failure> {
    Ok(ResourceType::new("Observation")?)
}

pub(super) fn id(number: u64) -> ResourceId {
    // Spread as random ids are.
    ResourceId::from_uuid(
        u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
    )
}

/// A transaction that creates these Observations, from JSON.
pub(super) fn bulk(database: &Database, numbers: Range<u64>) -> Result<Transaction, Failure> {
    let of = observations()?;
    let id_of_commit = CommitId(u128::from(numbers.start) | 1 << 100);
    let change = |number| -> Result<Change, Failure> {
        let json = observation(number);
        let document = Document::parse(json.as_bytes())?;
        let resource = Resource::new(document.root())?;
        let id = id(number);
        let body = Body::of(&resource, &id, &Replacements::default(), Schema::r4());
        let action = Action::Write { body: Box::new(body), method: Method::Post };
        Ok(Change { resource_type: of.clone(), id, action, expect: Expect::New })
    };
    Ok(Transaction {
        id: id_of_commit,
        prepared_at: database.snapshot(Visibility::everything()).at(),
        changes: numbers.map(change).collect::<Result<_, _>>()?,
        conditions: Vec::new(),
    })
}

/// Commits Observations from JSON, many in each commit. Returns how many a second.
pub(super) async fn fill(
    database: &Database,
    versions: u64,
    clock: &dyn Clock,
) -> Result<f64, Failure> {
    let began = clock.monotonic();
    for first in (0..versions).step_by(usize::try_from(COMMIT)?) {
        let transaction = bulk(database, first..versions.min(first + COMMIT))?;
        database.commit(transaction).await?;
    }
    Ok(versions as f64 / (clock.monotonic() - began).as_secs_f64())
}

fn bulk_and_reads(path: &Path) -> Result<(), Failure> {
    const VERSIONS: u64 = 200_000;
    let clock = SystemClock::start();
    let database = open(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let rate = runtime.block_on(fill(&database, VERSIONS, &clock))?;
    print("\nbulk commits of 500 Observations from JSON, one after the other\n")?;
    print(&verdict("versions/s", rate, rate >= BULK, &format!(">= {BULK}")))?;
    let (of, asked) = (observations()?, 1_000_000_u64);
    for (name, among, wanted) in [
        ("reads/s by id on one thread, warm", WARM, Some(READS)),
        ("reads/s by id on one thread, of all", VERSIONS, None),
    ] {
        let read = async {
            let snapshot = database.snapshot(Visibility::everything());
            for number in 0..among {
                drop(snapshot.read(&of, &id(number)).await?);
            }
            let began = clock.monotonic();
            let mut bytes = 0;
            for number in 0..asked {
                let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % among;
                let found: Option<Bytes> =
                    snapshot.read(&of, &id(number)).await?.and_then(|version| version.json);
                bytes += found.ok_or("what was committed is not there")?.len();
            }
            let elapsed = (clock.monotonic() - began).as_secs_f64();
            Ok::<_, Failure>((asked as f64 / elapsed, bytes))
        };
        let (rate, bytes) = runtime.block_on(read)?;
        let met = wanted.is_none_or(|wanted| rate >= wanted);
        let wanted = wanted.map_or_else(|| "none".to_owned(), |wanted| format!(">= {wanted}"));
        print(&verdict(
            name,
            rate,
            met,
            &format!("{wanted}; {} bytes each", bytes / asked as usize),
        ))?;
    }
    Ok(database.close()?)
}

fn after_a_kill(versions: u64) -> Result<(), Failure> {
    let directory = Directory::new("opened")?;
    let path = directory.path().to_owned();
    let filled = Child::Filled { directory: path.clone(), versions }.start()?;
    let log = bytes_in(&path.join("tenants/default/log"))? / versions as f64;
    let state = bytes_in(&path.join("tenants/default/state"))? / versions as f64;
    filled.kill()?;
    let opened = Child::Opened { directory: path.clone() }.start()?;
    let told = opened.told().split_once(' ').ok_or("nothing was told of the open store")?;
    let (seconds, megabytes): (f64, f64) = (told.0.parse()?, told.1.parse()?);
    print(&format!(
        "\n{versions} versions, killed, opened again; {log:.0} bytes a version in the log, {state:.0} in state/\n"
    ))?;
    let (most, memory) = OPENED;
    print(&verdict("seconds to the first read", seconds, seconds <= most, &format!("<= {most}")))?;
    let what = "megabytes resident then";
    print(&verdict(what, megabytes, megabytes <= memory, &format!("<= {memory}")))?;
    drop(opened);
    std::fs::remove_dir_all(path.join("tenants/default/state"))?;
    let rebuilt = Child::Opened { directory: path }.start()?;
    let told = rebuilt.told().split_once(' ').ok_or("nothing was told of the rebuilt store")?;
    let rate = versions as f64 / told.0.parse::<f64>()?;
    let what = "versions/s of the rebuild, without state/, to the first read";
    print(&verdict(what, rate, rate >= REBUILT, &format!(">= {REBUILT}")))?;
    Ok(())
}

pub(super) fn bytes_in(directory: &Path) -> Result<f64, Failure> {
    use std::os::unix::fs::MetadataExt as _;
    let mut blocks = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        blocks += if metadata.is_dir() {
            bytes_in(&entry.path())? as u64 / 512
        } else {
            metadata.blocks()
        };
    }
    Ok(blocks as f64 * 512.0)
}

/// Fills a store and waits to be killed.
pub(crate) async fn filled(directory: &Path, versions: u64) -> Result<(), Failure> {
    let database = open(directory)?;
    fill(&database, versions, &SystemClock::start()).await?;
    child::ready("")?;
    child::end().await;
    Ok(())
}

/// Opens a store, reads from it, and tells the seconds that took and the megabytes it has then.
pub(crate) async fn opened(directory: &Path) -> Result<(), Failure> {
    let clock = SystemClock::start();
    let began = clock.monotonic();
    let database = open(directory)?;
    let snapshot = database.snapshot(Visibility::everything());
    snapshot.read(&observations()?, &id(7)).await?.ok_or("what was committed is not there")?;
    let seconds = (clock.monotonic() - began).as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: f64 =
        resident.and_then(|text| text.split_whitespace().next()).ok_or("no VmRSS")?.parse()?;
    child::ready(&format!("{seconds} {}", kilobytes / 1024.0))?;
    child::end().await;
    Ok(database.close()?)
}
