//! `cargo xtask soak access`: what a server answers to who may see a part of its data against what
//! the rules say of all of it ([`integration_tests::access_soak`]).

use std::error::Error;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

use clap::{Args, ValueEnum};
use contract::Clock as _;
use hearthgate::doors::SystemClock;
use integration_tests::access_soak::{Backend, Run, Seen};
use integration_tests::test_data::say;

/// Requests of one run.
const REQUESTS_OF_A_RUN: u64 = 500;
/// After so many runs with a difference there is enough to be mended.
const MOST_DIFFERENT: u64 = 10;

/// What to compare.
#[derive(Debug, Args)]
pub(crate) struct Access {
    /// Requests that are judged.
    #[arg(long, default_value_t = 20_000)]
    requests: u64,
    /// The first run: the number that another run printed.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// Where the data is.
    #[arg(long, value_enum, default_value = "both")]
    store: Stores,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stores {
    /// In the embedded store.
    Sled,
    /// In the model of a store.
    Memory,
    /// In each by turns.
    Both,
}

/// How far it is.
#[derive(Debug, Default)]
struct Progress {
    begun: u64,
    seen: Seen,
    /// Runs with a difference.
    different: u64,
}

impl Access {
    /// Compares, as many runs at once as there are processors, and says what was seen.
    pub(crate) fn run(&self) -> Result<(), Box<dyn Error>> {
        let clock = SystemClock::start();
        let progress = Mutex::new(Progress::default());
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| self.work(&progress));
            }
        });
        let Progress { seen, different, .. } =
            progress.into_inner().unwrap_or_else(PoisonError::into_inner);
        say(&seen.to_string());
        say(&format!(
            "{} requests in {} s from seed {} on, {different} runs with a difference",
            seen.requests,
            clock.monotonic().as_secs(),
            self.from,
        ));
        match different {
            0 if seen.requests < self.requests => Err("not every run was made to its end".into()),
            0 => Ok(()),
            _ => Err(format!("{different} runs with a difference").into()),
        }
    }

    /// The run of this number, if there is one.
    fn of(&self, number: u64) -> Option<Run> {
        let left = self.requests.checked_sub(number.checked_mul(REQUESTS_OF_A_RUN)?);
        let left = left.filter(|left| *left > 0)?;
        // A run is over the same store whenever it is made.
        let seed = self.from + number;
        let backend = match self.store {
            Stores::Sled => Backend::Sled,
            Stores::Memory => Backend::Memory,
            Stores::Both if seed.is_multiple_of(2) => Backend::Sled,
            Stores::Both => Backend::Memory,
        };
        Some(Run { seed, requests: left.min(REQUESTS_OF_A_RUN), backend })
    }

    /// Makes one run after the other.
    fn work(&self, progress: &Mutex<Progress>) {
        let progress = || progress.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let number = {
                let mut progress = progress();
                if progress.different >= MOST_DIFFERENT {
                    return;
                }
                progress.begun += 1;
                progress.begun - 1
            };
            let Some(run) = self.of(number) else { return };
            let made = run.make();
            let mut progress = progress();
            match made {
                Ok(seen) => progress.seen.add(&seen),
                Err(why) => {
                    say(&why);
                    progress.different += 1;
                }
            }
        }
    }
}
