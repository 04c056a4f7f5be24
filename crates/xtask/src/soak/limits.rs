//! `cargo xtask soak limits`: rates and quotas against what they should come to
//! ([`integration_tests::limit_soak`]).

use std::error::Error;
use std::time::Duration;

use clap::Args;
use integration_tests::limit_soak::{Admitted, WANTED, kills, one_gateway, three_gateways};
use integration_tests::test_data::say;

/// How long a gateway is asked before a kill.
const BEFORE_A_KILL: Duration = Duration::from_secs(3);

/// How much.
#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// Requests to one gateway.
    #[arg(long, default_value_t = 10_000)]
    requests: u32,
    /// Requests a second that three gateways let pass together.
    #[arg(long, default_value_t = 1_000)]
    per_second: u32,
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
        tell("one gateway, 100 a second and 20 at once", one);
        if one.is_too_many() || one.is_too_few() {
            wrong.push("one gateway: another number than in theory".to_owned());
        }
        match runtime.block_on(three_gateways(self.per_second, time)) {
            Ok(three) => {
                let rate = self.per_second;
                tell(&format!("three gateways, {rate} a second and at once"), three);
                if three.is_too_many() {
                    wrong.push("three gateways: more than in theory".to_owned());
                }
                if three.is_all() {
                    wrong.push(
                        "three gateways: asked too little, none was refused (--per-second)"
                            .to_owned(),
                    );
                }
            }
            Err(absent) => wrong.push(format!("three gateways: not measured: {absent}")),
        }
        for killed in runtime.block_on(kills(self.kills, BEFORE_A_KILL)) {
            say(&format!(
                "kill -9 after {} requests of a quota: {} forgotten, {} were of the last second",
                killed.admitted,
                killed.lost(),
                killed.lately
            ));
            if killed.is_wrong() {
                wrong.push("a kill: a quota forgot more than the last second".to_owned());
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
    }
}

/// Says what was let pass.
fn tell(what: &str, admitted: Admitted) {
    let Admitted { sent, admitted: passed, theory } = admitted;
    let beyond = admitted.beyond();
    say(&format!(
        "{what}: {passed} of {sent} let pass, in theory {theory:.0}: {beyond:+.2} % (wanted: \
         {WANTED} % at most)"
    ));
}
