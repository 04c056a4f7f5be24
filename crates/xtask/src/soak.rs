//! `cargo xtask soak`: what the black-box tests do a few times, as often as one likes. Runs the
//! release build of `hearthgate`, which has to be there, and for the store alone itself.

mod access;
mod hostile;
mod lanes;
mod limits;
mod outages;
mod search;

use std::error::Error;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use clap::{Args, Subcommand};
use contract::Ids as _;
use hearthgate::doors::SystemIds;
use integration_tests::crash_points::Hits;
use integration_tests::crashes::{crash, kill, run_to_a_kill};
use integration_tests::kills::{self, Plan};
use integration_tests::site::Deployment;
use integration_tests::test_data::{documents, folder, say};

/// How soon after a kill the product is to be ready again.
const READY_AGAIN: Duration = Duration::from_secs(2);

/// What to do for long.
#[derive(Debug, Subcommand)]
pub(crate) enum Soak {
    /// Compare what a server answers to who may see a part of its data with what the rules say.
    Access(access::Access),
    /// Attack the gateway in several ways while others read.
    Hostile(hostile::Hostile),
    /// Kill the product in the middle of an import and look at what is left of it.
    Kills(Kills),
    /// Read beside slow searches in the lane of bulk.
    Lanes(lanes::Lanes),
    /// Compare what limits let pass with what they should.
    Limits(limits::Limits),
    /// Take away what the gateway leans on, and give it back, while others ask.
    Outages(outages::Outages),
    /// Compare what the search index finds with what looking at every resource finds.
    Search(search::Search),
    /// Crash the embedded store at its calls to a disk that forgets.
    Store(Seeds),
    /// Kill a process with the embedded store at its calls to the disk.
    StoreKills(Seeds),
    /// A process that kills itself.
    #[command(hide = true)]
    StoreKilled(Killed),
}

/// Which runs of the store to crash.
#[derive(Debug, Args)]
pub(crate) struct Seeds {
    /// How many.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many calls of each run besides one of each kind.
    #[arg(long, default_value_t = 4)]
    more: usize,
}

/// A run that ends in a kill.
#[derive(Debug, Args)]
pub(crate) struct Killed {
    directory: PathBuf,
    seed: u64,
    call: usize,
}

/// How to kill.
#[derive(Debug, Args)]
pub(crate) struct Kills {
    /// How often.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Where chance begins: the number that another run printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Gateway and server as two processes, both killed.
    #[arg(long)]
    two_processes: bool,
}

impl Soak {
    /// Does it, and says what was seen.
    pub(crate) fn run(&self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Access(access) => access.run(),
            Self::Hostile(hostile) => hostile.run(),
            Self::Kills(kills) => kills.run(),
            Self::Lanes(lanes) => lanes.run(),
            Self::Limits(limits) => limits.run(),
            Self::Outages(outages) => outages.run(),
            Self::Search(search) => search.run(),
            Self::Store(seeds) => {
                let hits = seeds.run("crashes", &|seed| crash(seed, seeds.more))?;
                Ok(hits.check_all(seeds.seeds)?)
            }
            Self::StoreKills(seeds) => seeds
                .run("kills", &|seed| {
                    kill(seed, |directory, call| {
                        let process = Command::new(std::env::current_exe()?)
                            .args(["soak", "store-killed"])
                            .arg(directory)
                            .args([seed.to_string(), call.to_string()])
                            .output()?;
                        Ok(String::from_utf8_lossy(&process.stdout).into_owned())
                    })
                })
                .map(drop),
            Self::StoreKilled(Killed { directory, seed, call }) => {
                Ok(run_to_a_kill(directory, *seed, *call, Box::new(std::io::stdout()))?)
            }
        }
    }
}

impl Seeds {
    /// Does `one` for each seed, as many at once as there are processors.
    fn run(
        &self,
        what: &str,
        one: &(dyn Fn(u64) -> Result<Hits, String> + Sync),
    ) -> Result<Hits, Box<dyn Error>> {
        let next = AtomicU64::new(self.from);
        let end = self.from + self.seeds;
        let work = || {
            let mut hits = Hits::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return Ok(hits);
                }
                hits.add(&one(seed).inspect_err(|_| {
                    next.store(end, Ordering::Relaxed);
                })?);
            }
        };
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
        let found: Vec<Result<Hits, String>> = std::thread::scope(|scope| {
            let working: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let ended = |worker: ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|_| Err("a run panicked".to_owned()))
            };
            working.into_iter().map(ended).collect()
        });
        let mut hits = Hits::default();
        for worker in found {
            hits.add(&worker?);
        }
        say(&format!(
            "{} runs, {} {what}: nothing acknowledged or seen was lost, no group was there in \
             part, every store went on. By the call they came at:\n{}",
            self.seeds,
            hits.total(),
            hits.table()
        ));
        Ok(hits)
    }
}

impl Kills {
    fn run(&self) -> Result<(), Box<dyn Error>> {
        let data = folder().ok_or("there is nothing to import without the test data")?;
        let bundles = documents(&data.join("synthea/bundles.ndjson.zst"));
        let seed = match self.seed {
            Some(seed) => seed,
            None => {
                let mut bytes = [0; 8];
                SystemIds::open()?.fill(&mut bytes);
                u64::from_le_bytes(bytes)
            }
        };
        let deployment =
            if self.two_processes { Deployment::TwoProcesses } else { Deployment::OneProcess };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let plan = Plan { rounds: self.rounds, seed, deployment };
        let report = runtime.block_on(kills::run(plan, &bundles));
        say(&format!(
            "{} kills: {} Bundles acknowledged and whole; without an answer {} whole, {} absent, \
             none partly there; ready again after {:?} at the latest",
            self.rounds, report.acknowledged, report.whole, report.absent, report.slowest_start
        ));
        if report.slowest_start > READY_AGAIN {
            return Err(format!("a start took longer than {READY_AGAIN:?}").into());
        }
        Ok(())
    }
}
