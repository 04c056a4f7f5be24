//! What writing an event down costs the one who answers, and what the thread behind it costs: the
//! audit log of an embedded tenant, sealed, on the file system that the measurement is given.

use std::sync::Arc;
use std::time::Duration;

use contract::Clock as _;
use database::audit::{Act, AuditLog as _, Event, Kind, Outcome};
use hearthgate::doors::{SystemClock, SystemIds};
use store::TenantText;
use store::keys::{FirstKeys, Keyring, MemoryKeyStore, TenantKey};
use store_sled::{AuditFiles, AuditOptions};

use super::directory::Directory;
use super::{Failure, figures};

/// How much to measure.
#[derive(clap::Args)]
pub(crate) struct Events {
    /// Events that are appended.
    #[arg(long, default_value_t = 1_000_000)]
    events: u32,
}

pub(crate) fn run(events: &Events) -> Result<(), Failure> {
    let directory = Directory::new("audit")?;
    let directory = directory.path();
    let clock = SystemClock::start();
    let tenant = TenantText::new("bench")?;
    let (key, ids) = (TenantKey::parse(&"11".repeat(32))?, Arc::new(SystemIds::open()?));
    let disk = Box::new(MemoryKeyStore::default());
    let keys = Arc::new(Keyring::open(disk, &tenant, key, ids, FirstKeys::MayBeMade)?);
    let options = AuditOptions::default();
    let log = AuditFiles::open(directory, &tenant, Some(keys), clock.now(), options)?;
    let mut spent = Duration::ZERO;
    for number in 0..events.events {
        let event = event(number, &clock);
        let begun = clock.monotonic();
        log.append(&event)?;
        spent += clock.monotonic().saturating_sub(begun);
        // A busy server's pace, so that the thread writes in between.
        if number % 2_000 == 0 {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let begun = clock.monotonic();
    log.close();
    let closing = clock.monotonic().saturating_sub(begun);
    let each = spent.as_secs_f64() * 1e6 / f64::from(events.events.max(1));
    let bytes: u64 = std::fs::read_dir(directory.join("audit"))?
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .sum();
    let on_disk = bytes / u64::from(events.events.max(1));
    figures::print(&format!(
        "append: {each:.2} µs an event, {} events\non disk: {on_disk} bytes an event\n\
         closing: {closing:?}",
        events.events
    ))?;
    Ok(())
}

/// What a read of an observation is.
fn event(number: u32, clock: &SystemClock) -> Event {
    Event {
        instant: clock.now(),
        request_id: format!("{number:032x}").into(),
        client: Some("clinic-app".into()),
        user: None,
        fhir_user: Some("Practitioner/7f0c2b1e".into()),
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
