//! `cargo xtask soak`: what the black-box tests do a few times, as often as one likes. Runs the
//! release build of `hearthgate`, which has to be there.

use std::error::Error;
use std::time::Duration;

use clap::{Args, Subcommand};
use contract::Ids as _;
use hearthgate::doors::SystemIds;
use integration_tests::kills::{self, Plan};
use integration_tests::site::Deployment;
use integration_tests::test_data::{documents, folder, say};

/// How soon after a kill the product is to be ready again.
const READY_AGAIN: Duration = Duration::from_secs(2);

/// What to do for long.
#[derive(Debug, Subcommand)]
pub(crate) enum Soak {
    /// Kill the product in the middle of an import and look at what is left of it.
    Kills(Kills),
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
            Self::Kills(kills) => kills.run(),
        }
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
