//! `cargo xtask soak limits`: rates and quotas against what they should come to
//! ([`integration_tests::limit_soak`]).

use std::error::Error;
use std::time::Duration;

use clap::Args;
use integration_tests::limit_soak::{Admitted, kills, one_gateway, three_gateways};
use integration_tests::test_data::say;

/// Hundredths by which a rate may be passed; of one gateway also by which it may be missed.
const WANTED: f64 = 1.0;
/// How long a gateway is asked before a kill.
const BEFORE_A_KILL: Duration = Duration::from_secs(3);

/// How much.
#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// Requests to one gateway.
    #[arg(long, default_value_t = 10_000)]
    requests: u32,
    /// Seconds for which three gateways are asked.
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    seconds: f64,
    /// Kills.
    #[arg(long, default_value_t = 10)]
    kills: u32,
}

impl Limits {
    /// Does it, and says what was seen.
    pub(crate) fn run(&self) -> Result<(), Box<dyn Error>> {
        let time = Duration::try_from_secs_f64(self.seconds)?;
        let runtime = tokio::runtime::Runtime::new()?;
        let mut wrong = Vec::new();
        let one = runtime.block_on(one_gateway(self.requests));
        if tell("one gateway, 100 a second and 20 at once", one).abs() > WANTED {
            wrong.push("one gateway: another number than in theory");
        }
        match runtime.block_on(three_gateways(time)) {
            Some(three) => {
                if tell("three gateways, 1000 a second and at once", three) > WANTED {
                    wrong.push("three gateways: more than in theory");
                }
                if three.is_all() {
                    wrong.push("three gateways: asked too little, none was refused");
                }
            }
            None => wrong.push("three gateways: not measured without Redis or Valkey"),
        }
        for killed in runtime.block_on(kills(self.kills, BEFORE_A_KILL)) {
            say(&format!(
                "kill -9 after {} requests of a quota: {} forgotten, {} were of the last second",
                killed.admitted,
                killed.lost(),
                killed.lately
            ));
            if killed.is_wrong() {
                wrong.push("a kill: a quota forgot more than the last second");
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
    }
}

/// Says what was let pass, and gives how many hundredths that was beyond theory.
fn tell(what: &str, admitted: Admitted) -> f64 {
    let Admitted { sent, admitted: passed, theory } = admitted;
    let beyond = admitted.beyond();
    say(&format!("{what}: {passed} of {sent} let pass, in theory {theory:.0}: {beyond:+.2} %"));
    beyond
}
