//! `cargo xtask soak search`: what the search index finds against what looking at every resource
//! finds ([`integration_tests::search_soak`]).

use std::error::Error;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

use clap::{Args, ValueEnum};
use contract::Clock as _;
use hearthgate::doors::SystemClock;
use integration_tests::search_soak::{Backend, Run, Seen};
use integration_tests::test_data::say;

/// Pairs of one run.
const PAIRS_OF_A_RUN: u64 = 1000;
/// After so many runs with a difference there is enough to be mended.
const MOST_DIFFERENT: u64 = 10;
/// So often it is said how far it is.
const RUNS_BETWEEN: u64 = 10;

/// What to compare.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Pairs of data and query.
    #[arg(long, default_value_t = 100_000)]
    pairs: u64,
    /// The first run: the number that another run printed.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// Where the data is.
    #[arg(long, value_enum, default_value = "both")]
    store: Stores,
    /// Bytes of memory that the index may have for what can be read again from the disk, where it
    /// is kept then; without this it is not kept. Over the embedded store.
    #[arg(long, value_name = "BYTES")]
    index_memory: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stores {
    /// In the embedded store.
    Sled,
    /// In a PostgreSQL that is begun for it.
    Postgres,
    /// In each by turns.
    Both,
}

/// How far it is.
struct Progress {
    begun: u64,
    seen: [(Backend, Seen); 2],
    /// Runs with a difference.
    different: u64,
}

impl Search {
    /// Compares, as many runs at once as there are processors, and says what was seen.
    pub(crate) fn run(&self) -> Result<(), Box<dyn Error>> {
        let clock = SystemClock::start();
        let progress = Mutex::new(Progress {
            begun: 0,
            seen: [Backend::Sled, Backend::Postgres].map(|backend| (backend, Seen::default())),
            different: 0,
        });
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| self.work(&progress));
            }
        });
        let Progress { seen, different, .. } =
            progress.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut pairs = 0;
        for (backend, seen) in seen {
            pairs += seen.pairs;
            if seen.pairs > 0 {
                say(&format!("over {backend}: {seen}"));
            }
        }
        say(&format!(
            "{pairs} pairs in {} s from seed {} on, {} runs with a difference",
            clock.monotonic().as_secs(),
            self.from,
            different
        ));
        match different {
            0 if pairs < self.pairs => Err("not every run was made to its end".into()),
            0 => Ok(()),
            _ => Err(format!("{different} runs with a difference").into()),
        }
    }

    /// The run of this number, if there is one.
    fn of(&self, number: u64) -> Option<Run> {
        let left = self.pairs.checked_sub(number * PAIRS_OF_A_RUN).filter(|left| *left > 0)?;
        let backend = match self.store {
            Stores::Sled => Backend::Sled,
            Stores::Postgres => Backend::Postgres,
            Stores::Both if number.is_multiple_of(2) => Backend::Sled,
            Stores::Both => Backend::Postgres,
        };
        let index_memory = self.index_memory;
        let pairs = left.min(PAIRS_OF_A_RUN);
        Some(Run { seed: self.from + number, pairs, backend, index_memory })
    }

    /// Makes one run after the other.
    fn work(&self, progress: &Mutex<Progress>) {
        let progress = || progress.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let number = {
                let mut progress = progress();
                progress.begun += 1;
                progress.begun - 1
            };
            let Some(run) = self.of(number) else { return };
            let made = run.make();
            let mut progress = progress();
            match made {
                Ok(seen) => {
                    for (backend, all) in &mut progress.seen {
                        if *backend == run.backend {
                            all.add(&seen);
                        }
                    }
                }
                Err(why) => {
                    say(&why);
                    progress.different += 1;
                }
            }
            if progress.different >= MOST_DIFFERENT {
                progress.begun = u64::MAX / PAIRS_OF_A_RUN;
            }
            if number % RUNS_BETWEEN == RUNS_BETWEEN - 1 {
                let (pairs, different) = (
                    progress.seen.iter().map(|(_, seen)| seen.pairs).sum::<u64>(),
                    progress.different,
                );
                say(&format!("{pairs} pairs, {different} runs with a difference so far"));
            }
        }
    }
}
