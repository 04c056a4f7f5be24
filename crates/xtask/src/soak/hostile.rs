//! `cargo xtask soak hostile`: clients that mean harm beside others who read
//! ([`integration_tests::hostile_soak`]).

use std::error::Error;
use std::time::Duration;

use clap::Args;
use integration_tests::hostile_soak::{IDLE_WANTED, Plan, Seen};
use integration_tests::test_data::say;

/// How long, and beside how many.
#[derive(Debug, Args)]
pub(crate) struct Hostile {
    /// Clients that read meanwhile.
    #[arg(long, default_value_t = 8)]
    readers: usize,
    /// Seconds before each attack, of it, and after it.
    #[arg(long, default_value_t = 20.0, value_name = "SECONDS")]
    seconds: f64,
    /// Connections that stay idle.
    #[arg(long, default_value_t = 10_000, value_name = "CONNECTIONS")]
    idle: u32,
}

impl Hostile {
    /// Does it, and says what was seen.
    pub(crate) fn run(&self) -> Result<(), Box<dyn Error>> {
        let phase = Duration::try_from_secs_f64(self.seconds)?;
        let plan = Plan { readers: self.readers, phase, idle: self.idle };
        let seen = tokio::runtime::Runtime::new()?.block_on(plan.run());
        let wrong: Vec<String> = seen.iter().filter_map(tell).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
    }
}

/// Says what became of an attack; what of that must not be.
fn tell(seen: &Seen) -> Option<String> {
    let name = seen.name;
    let [before, meanwhile, after] = &seen.reads;
    let [small, most, left] = seen.memory.map(|bytes| bytes >> 10);
    say(&format!(
        "{name}: {}; p99 of the others' {}, {} and {} reads before, meanwhile and after {:?}, \
         {:?}, {:?}; gateway {small}, {most}, {left} KiB",
        seen.made,
        before.answered,
        meanwhile.answered,
        after.answered,
        before.hundredth(),
        meanwhile.hundredth(),
        after.hundredth(),
    ));
    let failed: usize = seen.reads.iter().map(|reads| reads.failed).sum();
    if failed > 0 {
        let why = seen.reads.iter().rev().find_map(|reads| reads.why.as_deref());
        return Some(format!("{name}: {failed} reads of others failed: {}", why.unwrap_or("")));
    }
    if seen.made == 0 {
        return Some(format!("{name}: none was made"));
    }
    if meanwhile.answered == 0 {
        return Some(format!("{name}: nobody else was answered meanwhile"));
    }
    let each = seen.each()?;
    say(&format!("{name}: {each} bytes of the gateway each (wanted: {IDLE_WANTED} at most)"));
    (each > IDLE_WANTED).then(|| format!("{name}: {each} bytes each"))
}
