//! The audit log of the product: there after `kill -9`, exported and verified from outside, and
//! readable by nobody who has its files alone.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use contract::Clock as _;
use hearthgate::doors::SystemClock;
use http::Method;
use integration_tests::binary;
use integration_tests::client::try_send;
use integration_tests::site::{Deployment, First, Site};
use integration_tests::waiting::{SOON, until};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::purge::give_tenant_key;

for_every_deployment! {
    after_kill_9_all_that_came_before_a_denial_is_written_down,
}

// Backups are of the embedded store's files.
mod backups {
    use super::a_backup_has_the_audit_log_and_a_restore_brings_it_back;

    for_both_deployments! {
        a_backup_has_the_audit_log_and_a_restore_brings_it_back,
    }
}

/// Clients that read at once, and reads of each before its denial.
const READERS: usize = 8;
const READS: usize = 10;
/// With so many denials, and nine times as many reads, the process is killed.
const DENIALS: usize = 40;
/// An event is on the disk within a tenth of a second.
const LATEST: Duration = Duration::from_millis(100);

/// How long this machine let a thread wait that was ready to run, at most: as long as that, nothing
/// is done by anyone in time.
struct Stalls {
    longest: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    watch: Option<std::thread::JoinHandle<()>>,
}

impl Stalls {
    fn watched() -> Self {
        let (longest, end) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (noted, ended) = (Arc::clone(&longest), Arc::clone(&end));
        let watch = std::thread::Builder::new().name("stalls".to_owned()).spawn(move || {
            let (clock, step) = (SystemClock::start(), Duration::from_millis(2));
            while !ended.load(Ordering::SeqCst) {
                let before = clock.monotonic();
                std::thread::sleep(step);
                let late = clock.monotonic().saturating_sub(before + step);
                noted.fetch_max(u64::try_from(late.as_micros()).unwrap(), Ordering::SeqCst);
            }
        });
        Self { longest, end, watch: Some(watch.unwrap()) }
    }

    fn longest(mut self) -> Duration {
        self.end.store(true, Ordering::SeqCst);
        self.watch.take().unwrap().join().unwrap();
        Duration::from_micros(self.longest.load(Ordering::SeqCst))
    }
}

fn audit(site: &Site, verb: &str) -> Output {
    audit_of(site, site.data(), verb)
}

fn audit_of(site: &Site, data: &Path, verb: &str) -> Output {
    binary::run(site.folder(), &["audit", verb, "--data", data.to_str().unwrap()])
}

fn exported(site: &Site) -> Vec<Value> {
    exported_of(site, site.data())
}

fn exported_of(site: &Site, data: &Path) -> Vec<Value> {
    let output = audit_of(site, data, "export");
    assert!(output.status.success(), "{output:?}");
    let text = binary::text(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many of these events are of this kind, by this client.
fn count(events: &[Value], kind: &str, client: &str) -> usize {
    let is = |event: &&Value| {
        let kinds = event["subtype"].as_array().unwrap();
        kinds.iter().any(|it| it["code"] == kind) && event["agent"][0]["who"]["display"] == client
    };
    events.iter().filter(is).count()
}

fn holds(directory: &Path, text: &[u8]) -> bool {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut bytes = files.map(|path| fs::read(path).unwrap());
    bytes.any(|bytes| bytes.windows(text.len()).any(|part| part == text))
}

async fn after_kill_9_all_that_came_before_a_denial_is_written_down(deployment: Deployment) {
    let mut site = Site::start(deployment).await;
    let patient = r#"{"resourceType":"Patient","id":"quillfeather"}"#;
    let _ = site.owner().put("/Patient/quillfeather", patient).await.is(201);
    let reader = site.new_client("reader", &["--role", "reader"]);
    for _ in 0..20 {
        let _ = reader.get("/Patient/quillfeather").await.is(200);
    }
    // It may search, but not these: it has not the power.
    let _ = reader.get("/AuditEvent").await.is(403);
    site.kill().await;

    let events = exported(&site);
    assert_eq!(count(&events, "read", "reader"), 20);
    let denied = &events[0];
    assert_eq!((&denied["action"], &denied["outcome"]), (&"E".into(), &"4".into()), "{denied}");
    let verified = audit(&site, "verify");
    let text = binary::text(&verified.stdout);
    assert!(verified.status.success() && text.contains("is whole"), "{verified:?}");
    let files = site.data().join("tenants/default/audit");
    assert!(!holds(&files, b"quillfeather") && !holds(&files, b"reader"));

    site.launch(First::Gateway).await;
    let auditor = site.new_client("auditor", &["--role", "auditor"]);
    let found = auditor.get("/AuditEvent?patient=quillfeather&agent=reader").await.is(200).json();
    assert_eq!(found["entry"].as_array().unwrap().len(), 20);
    // At the port of this start.
    let reader = site.client(reader.key());
    let log = reader.get("/Patient/quillfeather/$access-log").await.is(200).json();
    assert_eq!(log["parameter"].as_array().unwrap().len(), 21);
    // Beside the running server.
    assert_eq!(count(&exported(&site), "read", "reader"), 20);
}

/// The ids of the requests that these events are of.
fn requests(events: &[Value]) -> HashSet<String> {
    let entities = events.iter().flat_map(|event| event["entity"].as_array().unwrap());
    let own = entities.filter(|entity| entity["type"]["code"] == "XrequestId");
    own.map(|entity| entity["what"]["identifier"]["value"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn kill_9_loses_reads_of_the_last_moment_and_no_denial() {
    let mut site = Site::start(Deployment::OneProcess).await;
    let _ = site.owner().put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.is(201);
    let (clock, end) = (Arc::new(SystemClock::start()), Arc::new(AtomicBool::new(false)));
    let (denied_so_far, stalls) = (Arc::new(AtomicUsize::new(0)), Stalls::watched());
    let mut readers = JoinSet::new();
    for number in 0..READERS {
        let client = site.new_client(&format!("reader-{number}"), &["--role", "reader"]);
        let (clock, end) = (Arc::clone(&clock), Arc::clone(&end));
        let denied_so_far = Arc::clone(&denied_so_far);
        readers.spawn(async move {
            // Ids of what was answered and when: the denials, and the reads.
            let mut answered = (Vec::new(), Vec::new());
            for turn in 1.. {
                let is_read = turn % READS != 0;
                let path = if is_read { "/Patient/p" } else { "/AuditEvent" };
                let Ok(answer) = try_send(client.request(Method::GET, path)).await else { break };
                let at = clock.monotonic();
                let id = answer.header("x-request-id").unwrap().to_owned();
                match answer.status {
                    200 if is_read => answered.1.push((id, at)),
                    403 if !is_read => {
                        answered.0.push((id, at));
                        denied_so_far.fetch_add(1, Ordering::SeqCst);
                    }
                    // The gateway says that its server is gone.
                    _ => break,
                }
                if end.load(Ordering::SeqCst) {
                    break;
                }
            }
            answered
        });
    }
    until("clients are denied, and read in between", SOON, async || {
        match denied_so_far.load(Ordering::SeqCst) {
            enough if enough >= DENIALS => Ok(()),
            fewer => Err(format!("{fewer} denials")),
        }
    })
    .await;
    let killed = clock.monotonic();
    site.kill().await;
    end.store(true, Ordering::SeqCst);
    let stalled = stalls.longest();
    let (mut denials, mut reads) = (Vec::new(), Vec::new());
    for (denied, read) in readers.join_all().await {
        denials.extend(denied);
        reads.extend(read);
    }
    let kept = requests(&exported(&site));
    let lost = |answered: &[(String, Duration)]| -> Vec<Duration> {
        let lost = answered.iter().filter(|(id, _)| !kept.contains(id));
        lost.map(|(_, at)| killed.saturating_sub(*at)).collect()
    };
    let (lost_denials, lost_reads) = (lost(&denials), lost(&reads));
    let oldest = lost_reads.iter().max().copied().unwrap_or_default();
    let (read, denied, count) = (reads.len(), denials.len(), lost_reads.len());
    println!(
        "{read} reads and {denied} denials; {count} reads lost, the oldest {oldest:?} before, on a \
         machine that stalled for {stalled:?}"
    );
    assert!(read >= DENIALS && denied >= DENIALS, "{read} {denied}");
    assert!(lost_denials.is_empty(), "{lost_denials:?}");
    assert!(oldest <= LATEST + stalled, "{oldest:?} of {count}; stalled {stalled:?}");
    let verified = audit(&site, "verify");
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test]
async fn what_the_gateway_denies_to_a_client_that_it_knows_is_in_the_audit_log() {
    let mut site = Site::start(Deployment::OneProcess).await;
    let reader = site.new_client("reader", &["--role", "reader"]);
    // The gateway refuses this itself: no rule of the role has the action.
    let denied = reader.request(Method::DELETE, "/Patient/quillfeather");
    let denied = try_send(denied).await.unwrap().is(403);
    let id = denied.header("x-request-id").unwrap().to_owned();
    let of_request = |events: Vec<Value>| -> Vec<Value> {
        let is = |event: &Value| requests(std::slice::from_ref(event)).contains(&id);
        events.into_iter().filter(is).collect()
    };
    until("the denial is in the audit log", SOON, async || {
        match of_request(exported(&site)).len() {
            1 => Ok(()),
            other => Err(format!("{other} events")),
        }
    })
    .await;
    let event = &of_request(exported(&site))[0];
    assert_eq!((&event["action"], &event["outcome"]), (&"D".into(), &"4".into()), "{event}");
    let agent = &event["agent"][0];
    assert_eq!(agent["who"]["display"], "reader", "{event}");
    assert_eq!(agent["role"][0]["text"], "reader", "{event}");
    let entities = event["entity"].as_array().unwrap();
    assert!(entities.iter().any(|it| it["what"]["reference"] == "Patient/quillfeather"), "{event}");
    // One that came at the very end is handed over before the gateway stops.
    let last = try_send(reader.request(Method::DELETE, "/Patient/last")).await.unwrap().is(403);
    let id = last.header("x-request-id").unwrap().to_owned();
    site.stop().await;
    assert!(requests(&exported(&site)).contains(&id));
}

async fn a_backup_has_the_audit_log_and_a_restore_brings_it_back(deployment: Deployment) {
    let mut site = Site::start(deployment).await;
    let _ = site.owner().put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.is(201);
    let reader = site.new_client("reader", &["--role", "reader"]);
    let data = site.data().to_str().unwrap().to_owned();
    let folder = site.folder().to_owned();
    let backup = ["backup", "--data", &data, "--to", "backup", "--keys-to", "keys"];
    for _ in 0..2 {
        // What is added is added to what was copied before.
        for _ in 0..10 {
            let _ = reader.get("/Patient/p").await.is(200);
        }
        let _ = reader.get("/AuditEvent").await.is(403);
        let made = binary::run(&folder, &backup);
        assert!(made.status.success(), "{made:?}");
    }
    let verified = binary::run(&folder, &["verify", "--backup", "backup"]);
    assert!(verified.status.success(), "{verified:?}");
    site.stop().await;
    let restored = folder.join("restored");
    for (number, reads) in [("1", 10), ("2", 20)] {
        let restore = ["restore", "--from", "backup", "--data", "restored"];
        let which = ["--keys-from", "keys", "--backup", number];
        let made = binary::run(&folder, &[&restore[..], &which].concat());
        assert!(made.status.success(), "{made:?}");
        give_tenant_key(site.data(), &restored);
        let verified = audit_of(&site, &restored, "verify");
        let text = binary::text(&verified.stdout);
        assert!(verified.status.success() && text.contains("is whole"), "{verified:?}");
        let events = exported_of(&site, &restored);
        assert_eq!(count(&events, "read", "reader"), reads, "backup {number}");
        fs::remove_dir_all(&restored).unwrap();
    }
    // An end that was cut off is noticed by the next backup.
    let newest = site.data().join("tenants/default/audit/0000000000000001.log");
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let refused = binary::run(&folder, &backup);
    assert!(!refused.status.success(), "{refused:?}");
    let said = binary::text(&refused.stderr);
    assert!(said.contains("somebody changed the audit log"), "{said}");
}
