//! What backups cost those who write: durable commits with and without full backups beside, one
//! after the other, in turns.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use fhir_core::Clock;
use hearthgate::backup::Backup;
use hearthgate::doors::SystemClock;
use hearthgate::lock::{Half, Lock};

use super::child::{self, Child};
use super::directory::Directory;
use super::figures::{Target, print, ratio, table, verdict};
use super::load::measure;
use super::product::open;
use super::store::fill;
use super::write::Committing;
use super::{Failure, Rounds, runtime};

/// What the log has before, so that a backup is at work for a while.
const VERSIONS: u64 = 300_000;
/// Clients, and more commits a second than any machine that was seen makes of so many.
const CLIENTS: (usize, f64) = (16, 120_000.0);
/// The part of the rate wanted beside backups.
const WANTED: f64 = 0.9;

pub(super) fn run(rounds: Rounds) -> Result<(), Failure> {
    let directory = Directory::new("backed-up")?;
    let data = directory.path().join("data");
    // As a server's does, so that a backup goes as beside one.
    let _lock = Lock::take(&data, Half::Server, "bench")?;
    let database = Arc::new(open(&data)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let runtime = runtime()?;
    runtime.block_on(fill(&database, VERSIONS, &*clock))?;
    // Numbers that no version filled in has.
    let mut next = 1 << 40;
    let mut alone = Target::new("alone");
    let mut beside = Target::new("beside full backups");
    let mut backups = 0;
    for _ in 0..rounds.rounds {
        for target in [&mut alone, &mut beside] {
            let ready = Committing::clients(&database, &mut next, rounds.window(), CLIENTS)?;
            let to = directory.path().join("backups");
            let backing = (target.name != "alone")
                .then(|| Child::Backups { directory: data.clone(), to: to.clone() }.start());
            let backing = backing.transpose()?;
            let round = measure(ready, rounds.window(), &clock, || Ok(None));
            target.rounds.push(runtime.block_on(round)?);
            if let Some(backing) = backing {
                drop(backing);
                let count = std::fs::read_to_string(to.join("count"))?;
                backups += count.trim().parse::<u32>()?;
            }
        }
    }
    database.close()?;
    let found = ratio(&beside, &alone);
    let (clients, _) = CLIENTS;
    let title = format!(
        "durable commits of {clients} clients beside full backups of {VERSIONS} versions and more, \
         {backups} in all"
    );
    print(&table(&title, &[&alone, &beside]))?;
    print(&verdict("beside backups / alone", found, found >= WANTED, &format!(">= {WANTED}")))?;
    Ok(())
}

/// The arguments of the command, as on its own command line.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    backup: Backup,
}

/// Makes full backups one after the other until this process shall end; leaves their count.
pub(super) async fn backups(data: PathBuf, to: PathBuf) -> Result<(), Failure> {
    let over = Arc::new(AtomicBool::new(false));
    let making = tokio::task::spawn_blocking({
        let over = Arc::clone(&over);
        move || make(&data, &to, &over)
    });
    child::ready("")?;
    child::end().await;
    over.store(true, Ordering::Relaxed);
    making.await?
}

fn make(data: &Path, to: &Path, over: &AtomicBool) -> Result<(), Failure> {
    hearthgate::backup::behind_all_others();
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        let one = to.join(format!("{count}"));
        let line = ["backup".into(), "--data".into(), data.to_owned(), "--to".into(), one.clone()];
        Line::parse_from(line).backup.run()?;
        std::fs::remove_dir_all(&one)?;
        count += 1;
    }
    std::fs::write(to.join("count"), count.to_string())?;
    Ok(())
}
