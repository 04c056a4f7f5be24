//! What writing an event down costs the one who answers, and what the thread behind it costs: the
//! audit log of an embedded tenant, sealed, on the file system that the measurement is given. With
//! `--reads`, whether each of so many reads of the server is one event.

use std::fs::{read_dir, read_to_string};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use contract::Clock as _;
use database::audit::{Act, AuditLog as _, Event, Extent, Kind, NotKept, Outcome};
use fhir_core::Instant;
use hearthgate::doors::{SystemClock, SystemIds};
use store::TenantText;
use store::keys::{FirstKeys, Keyring, MemoryKeyStore, TenantKey};
use store_sled::{AuditFiles, AuditOptions, verify_audit};
use tokio::task::JoinSet;

use super::child::Child;
use super::directory::Directory;
use super::http::{Address, Connection};
use super::knowledge::processor::processor_time;
use super::load::Client as _;
use super::product::{of_tenant, open_audit, server_socket};
use super::{Failure, figures, read};

/// Microseconds of a processor that an event may take in all.
const WANTED: f64 = 3.0;
const CONNECTIONS: usize = 32;

/// How much to measure.
#[derive(clap::Args)]
pub(crate) struct Events {
    /// Events that are appended.
    #[arg(long, default_value_t = 300_000)]
    events: u32,
    /// Events a tenth of a second.
    #[arg(long, default_value_t = 1_000)]
    pace: u32,
    /// Read so often from a server instead, with several clients, and count the events.
    #[arg(long)]
    reads: Option<usize>,
}

pub(crate) fn run(events: &Events) -> Result<(), Failure> {
    match events.reads {
        Some(reads) => counted(reads),
        None => appended(events),
    }
}

fn appended(events: &Events) -> Result<(), Failure> {
    let directory = Directory::new("audit")?;
    let directory = directory.path();
    let clock = SystemClock::start();
    let tenant = TenantText::new("bench")?;
    let (key, ids) = (TenantKey::parse(&"11".repeat(32))?, Arc::new(SystemIds::open()?));
    let disk = Box::new(MemoryKeyStore::default());
    let keys = Arc::new(Keyring::open(disk, &tenant, key, ids, FirstKeys::MayBeMade)?);
    let options = AuditOptions::default();
    let log = AuditFiles::open(directory, &tenant, Some(keys), clock.now(), options)?;
    let (mut appending, behind) = (Duration::ZERO, behind()?);
    for first in (0..events.events).step_by(events.pace.max(1) as usize) {
        let last = first.saturating_add(events.pace).min(events.events);
        let batch: Vec<Event> = (first..last).map(|number| event(number, &clock)).collect();
        let begun = processor_time()?;
        for event in &batch {
            log.append(event)?;
        }
        appending += processor_time()?.saturating_sub(begun);
        std::thread::sleep(Duration::from_millis(100));
    }
    synced(&log)?;
    let behind = self::behind()?.saturating_sub(behind);
    log.close();
    let count = events.events.max(1);
    let bytes: u64 = read_dir(directory.join("audit"))?
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .sum();
    let each = |taken: Duration| taken.as_secs_f64() * 1e6 / f64::from(count);
    let (appending, behind) = (each(appending), each(behind));
    figures::print(&format!(
        "\n{count} events, {} a tenth of a second, {} bytes each on the disk\n  processor time of \
         an event: {appending:.2} µs of who answers, {behind:.2} µs of the thread behind\n",
        events.pace,
        bytes / u64::from(count),
    ))?;
    let (all, wanted) = (appending + behind, format!("<= {WANTED} µs"));
    Ok(figures::print(&figures::verdict("an event", all, all <= WANTED, &wanted))?)
}

fn synced(log: &AuditFiles) -> Result<(), Failure> {
    let (tell, told) = std::sync::mpsc::channel::<Result<(), NotKept>>();
    // Whoever waits is here.
    log.sync(Box::new(move |result| drop(tell.send(result))));
    Ok(told.recv()??)
}

/// Processor time of the thread that writes (proc(5), schedstat).
fn behind() -> Result<Duration, Failure> {
    // A thread gives itself its name, some time after it was started.
    for _ in 0..100 {
        if let Some(used) = used_behind()? {
            return Ok(used);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err("the thread behind the audit log is not there".into())
}

fn used_behind() -> Result<Option<Duration>, Failure> {
    for task in read_dir("/proc/self/task")? {
        let task = task?.path();
        if read_to_string(task.join("comm"))?.trim() == "audit-log" {
            let told = read_to_string(task.join("schedstat"))?;
            let nanos = told.split_whitespace().next().ok_or("a thread without times")?;
            return Ok(Some(Duration::from_nanos(nanos.parse()?)));
        }
    }
    Ok(None)
}

/// Reads so often, and counts what the audit log has of it when the server has ended.
fn counted(reads: usize) -> Result<(), Failure> {
    let directory = Directory::new("audit-reads")?;
    let path = directory.path();
    let server = Child::Server { directory: path.to_owned() }.start()?;
    let (requests, _) = read::fill(path)?;
    let address = Address::Unix(server_socket(path));
    let clock = SystemClock::start();
    let (begun, used) = (clock.monotonic(), server.cpu()?);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let all = Connection::open_all(CONNECTIONS, &address, &requests, "HTTP/1.1 200").await?;
        let mut working: JoinSet<Result<(), Failure>> = JoinSet::new();
        for (number, mut connection) in all.into_iter().enumerate() {
            let own = reads / CONNECTIONS + usize::from(number < reads % CONNECTIONS);
            working.spawn(async move {
                for _ in 0..own {
                    connection.once().await?;
                }
                Ok(())
            });
        }
        while let Some(worked) = working.join_next().await {
            worked??;
        }
        Ok::<_, Failure>(())
    })?;
    let (elapsed, cpu) = (clock.monotonic() - begun, server.cpu()? - used);
    drop(server);
    let verified = verify_audit(&of_tenant(path), &TenantText::new("default")?)?;
    let log = open_audit(path)?;
    let (mut of_reads, mut others) = (0, 0);
    let instants = Instant::MIN..Instant::from_micros(i64::MAX);
    let extent = Extent { instants, before: None, patient: None, most_bytes: u64::MAX };
    log.read(&extent, &mut |_, event| {
        match event.act.kind.code() {
            "read" if event.outcome == Outcome::Done => of_reads += 1,
            _ => others += 1,
        }
        ControlFlow::Continue(())
    })?;
    let expected = (reads + read::FILLING / 2, read::FILLING / 2);
    figures::print(&format!(
        "\n{reads} reads, {CONNECTIONS} at a time, in {elapsed:.1?}, {:.1} µs of a processor each\n  \
         the audit log has {of_reads} reads and {others} other requests, in {} files; made were \
         {} and {}\n",
        cpu.as_secs_f64() * 1e6 / reads as f64,
        verified.segments,
        expected.0,
        expected.1,
    ))?;
    if !verified.flaws.is_empty() {
        return Err(verified.flaws.join("; ").into());
    }
    let is_exact = (of_reads, others) == expected && verified.events as usize == of_reads + others;
    if is_exact { Ok(()) } else { Err("the audit log has other events than were made".into()) }
}

/// What a read of an observation is.
fn event(number: u32, clock: &SystemClock) -> Event {
    Event {
        instant: clock.now(),
        occurred: None,
        told_as: None,
        request_id: format!("{number:032x}").into(),
        client: Some("clinic-app".into()),
        user: None,
        fhir_user: Some("Practitioner/7f0c2b1e".into()),
        role: None,
        purpose: None,
        break_glass: None,
        act: Act {
            kind: Kind::of("read").expect("reads are a kind"),
            name: None,
            resource_type: Some("Observation".into()),
            id: Some(format!("{number:032x}").into()),
            version: Some(1),
            status: 200,
        },
        entries: Vec::new(),
        shown: Vec::new(),
        patients: vec![format!("{:032x}", number % 1000).into()],
        query: None,
        outcome: Outcome::Done,
        restricted: false,
    }
}
