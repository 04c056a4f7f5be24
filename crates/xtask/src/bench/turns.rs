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

/// The places of so many targets in a round: each round begins with another, so that none is always
/// measured after the same one.
pub(crate) fn order(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |place| (round + place) % count)
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
        for round in 0..rounds.rounds {
            for place in order(round, COUNT) {
                let turn = &turns[place];
                let Turn { address, requests, expected, .. } = turn;
                let open = Connection::open_all(connections, address, requests, expected);
                let cpu = || turn.process.cpu().map(Some);
                let measured = measure(open.await?, rounds.window(), &clock, cpu).await?;
                targets[place].rounds.push(measured);
            }
        }
        Ok(targets)
    })
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn each_round_begins_with_another_and_has_all() {
        let rounds: Vec<Vec<usize>> = (0..4).map(|round| order(round, 3).collect()).collect();
        assert_eq!(rounds, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
        assert_eq!(order(1, 0).count(), 0);
    }
}
