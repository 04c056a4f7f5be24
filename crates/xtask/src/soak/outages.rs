//! `cargo xtask soak outages`: what the gateway leans on goes away and comes back beside others who
//! ask ([`integration_tests::outage_soak`]).

use std::error::Error;
use std::time::Duration;

use clap::Args;
use integration_tests::outage_soak::{Plan, Seen};
use integration_tests::test_data::say;

/// How long, and beside how many.
#[derive(Debug, Args)]
pub(crate) struct Outages {
    /// Clients that read meanwhile, of the server of ours and of another upstream each.
    #[arg(long, default_value_t = 4)]
    readers: usize,
    /// Seconds before each outage, of it, and after it.
    #[arg(long, default_value_t = 20.0, value_name = "SECONDS")]
    seconds: f64,
    /// Reloads.
    #[arg(long, default_value_t = 10_000)]
    reloads: u32,
}

impl Outages {
    /// Does it, and says what was seen.
    pub(crate) fn run(&self) -> Result<(), Box<dyn Error>> {
        let phase = Duration::try_from_secs_f64(self.seconds)?;
        let plan = Plan { readers: self.readers, phase, reloads: self.reloads };
        let seen = tokio::runtime::Runtime::new()?.block_on(plan.run());
        let seen = seen.ok_or("nothing was seen: there is no store of counters to take away")?;
        let wrong: Vec<String> = seen.iter().filter_map(tell).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
    }
}

/// Says what became of an outage; what of that must not be.
fn tell(seen: &Seen) -> Option<String> {
    let name = seen.name;
    let [before, meanwhile, after] = &seen.reads;
    let [small, left] = seen.memory.map(|bytes| bytes >> 10);
    let failed: usize = seen.reads.iter().map(|reads| reads.failed).sum();
    say(&format!(
        "{name}: {}, {} and {} answers before, meanwhile and after, p99 {:?}, {:?}, {:?}; {failed} \
         requests failed; gateway {small}, {left} KiB",
        before.answered,
        meanwhile.answered,
        after.answered,
        before.hundredth(),
        meanwhile.hundredth(),
        after.hundredth(),
    ));
    if failed > 0 {
        let why = seen.reads.iter().rev().find_map(|reads| reads.why.as_deref());
        return Some(format!("{name}: {failed} requests failed: {}", why.unwrap_or("")));
    }
    (meanwhile.answered == 0).then(|| format!("{name}: nobody was answered meanwhile"))
}
