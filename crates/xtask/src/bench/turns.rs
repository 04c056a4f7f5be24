//! Targets that are asked over HTTP, in turns.

use std::sync::Arc;

use fhir_core::Clock;
use hearthgate::doors::SystemClock;

use super::child::Process;
use super::figures::Target;
use super::http::{Address, Connection, Requests};
use super::load::measure;
use super::{Failure, Rounds};

/// A process, and what it is asked.
pub(crate) struct Turn<'a> {
    pub(crate) name: &'static str,
    pub(crate) process: &'a Process,
    pub(crate) address: Address,
    pub(crate) requests: Requests,
    /// How every answer begins.
    pub(crate) expected: &'static str,
}

/// Measures each once in every round.
pub(crate) fn take<const COUNT: usize>(
    turns: &[Turn<'_>; COUNT],
    connections: usize,
    rounds: Rounds,
) -> Result<[Target; COUNT], Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let mut targets = turns.each_ref().map(|turn| Target::new(turn.name));
    // One thread asks: it takes as little as it can from those that answer.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for _ in 0..rounds.rounds {
            for (turn, target) in turns.iter().zip(&mut targets) {
                let Turn { address, requests, expected, .. } = turn;
                let open = Connection::open_all(connections, address, requests, expected);
                let cpu = || turn.process.cpu().map(Some);
                target.rounds.push(measure(open.await?, rounds.window(), &clock, cpu).await?);
            }
        }
        Ok(targets)
    })
}
