//! `cargo xtask soak lanes`: a bedside's reads alone and beside slow searches in the lane of bulk
//! ([`integration_tests::lane_soak`]).

use std::error::Error;
use std::time::Duration;

use clap::Args;
use integration_tests::lane_soak::Plan;
use integration_tests::test_data::say;

/// How much slower the 99th of 100 reads may be beside bulk.
const WANTED: f64 = 2.0;

/// What to ask beside each other.
#[derive(Debug, Args)]
pub(crate) struct Lanes {
    /// Patients that are searched among.
    #[arg(long, default_value_t = 20_000)]
    patients: usize,
    /// Clients that search.
    #[arg(long, default_value_t = 16)]
    searchers: usize,
    /// Turns, each without and with them.
    #[arg(long, default_value_t = 5)]
    turns: u32,
    /// Seconds of each half of a turn.
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    seconds: f64,
    /// The searchers in the reader's own lane, to see what lanes are for.
    #[arg(long)]
    same_lane: bool,
}

impl Lanes {
    /// Does it, and says what was seen.
    pub(crate) fn run(&self) -> Result<(), Box<dyn Error>> {
        let plan = Plan {
            patients: self.patients,
            searchers: self.searchers,
            turns: self.turns,
            half: Duration::try_from_secs_f64(self.seconds)?,
            bulk: !self.same_lane,
        };
        let runtime = tokio::runtime::Runtime::new()?;
        let report = runtime.block_on(plan.run());
        let ratio = report.beside.as_secs_f64() / report.alone.as_secs_f64();
        say(&format!(
            "p99 of {} reads alone {:?}, of {} beside {} searches {:?}: {ratio:.2} times",
            report.reads[0], report.alone, report.reads[1], report.searches, report.beside
        ));
        if ratio > WANTED && !self.same_lane {
            return Err(format!("wanted {WANTED} times at most").into());
        }
        Ok(())
    }
}
