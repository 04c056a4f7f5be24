//! `cargo xtask soak outages`: what the gateway leans on goes away and comes back beside others who
//! ask ([`integration_tests::outage_soak`]).

use std::error::Error;
use std::time::Duration;

use clap::Args;
use integration_tests::outage_soak::{Asked, Plan, Seen};
use integration_tests::test_data::say;

/// How long, and beside how many.
#[derive(Debug, Args)]
pub(crate) struct Outages {
    /// Clients that read meanwhile, of the server of ours and of another upstream each.
    #[arg(long, default_value_t = 4)]
    readers: usize,
    /// Connections over which wrk asks meanwhile, in turns of both.
    #[arg(long, default_value_t = 16)]
    connections: u32,
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
        let Self { readers, connections, reloads, .. } = *self;
        let plan = Plan { readers, connections, phase, reloads };
        let seen = tokio::runtime::Runtime::new()?.block_on(plan.run())?;
        let wrong: Vec<String> = seen.iter().filter_map(tell).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
    }
}

/// Says what became of an outage; what of that must not be.
fn tell(seen: &Seen) -> Option<String> {
    let name = seen.name;
    let [small, left] = seen.memory.map(|bytes| bytes >> 10);
    let times = if seen.times == 1 { "once".to_owned() } else { format!("{} times", seen.times) };
    say(&format!("{name}, {times}: gateway {small} KiB before, {left} KiB after"));
    for (when, asked) in ["before", "meanwhile", "after"].iter().zip(&seen.asked) {
        let Asked { reads, load } = asked;
        say(&format!(
            "  {when}: readers {} answers, p99 {:?}; wrk {} answers in {:.1} s, p99 {:?}; {} \
             requests failed",
            reads.answered,
            reads.hundredth(),
            load.answers,
            load.elapsed.as_secs_f64(),
            load.slowest_of_100,
            asked.failed(),
        ));
    }
    let mut failed = seen.asked.iter().filter(|asked| asked.failed() > 0);
    if let Some(first) = failed.next() {
        let all: usize = seen.asked.iter().map(Asked::failed).sum();
        return Some(format!("{name}: {all} requests failed: {}", first.why()));
    }
    let [_, meanwhile, _] = &seen.asked;
    (meanwhile.reads.answered == 0 || meanwhile.load.answers == 0)
        .then(|| format!("{name}: nobody was answered meanwhile"))
}
