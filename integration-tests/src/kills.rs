//! `kill -9` at random moments of an import: what was acknowledged is whole, and nothing else is
//! partly there.
//!
//! The Bundles are sent under ids that the sender chose, so that those never acknowledged can be
//! asked for as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use contract::Clock as _;
use hearthgate::doors::SystemClock;
use http::Method;
use tokio::task::JoinSet;

use crate::bundle::{Answers, Chosen, reads, under_chosen_ids};
use crate::chance::Chance;
use crate::client::{Client, sent, try_send};
use crate::site::{Deployment, First, Site};
use crate::test_data::say;

/// Bundles on their way at a time.
const IN_FLIGHT: usize = 4;
/// The latest moment of a kill, counted from the first request of its round.
const LATEST: Duration = Duration::from_millis(2500);

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How often to kill.
    pub rounds: u32,
    /// Where chance begins.
    pub seed: u64,
    /// What to kill.
    pub deployment: Deployment,
}

/// What was seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Bundles that were acknowledged, all of them whole after every kill since.
    pub acknowledged: usize,
    /// Bundles without an answer that are whole.
    pub whole: usize,
    /// Bundles without an answer of which nothing is there.
    pub absent: usize,
    /// The longest time from the start after a kill until ready.
    pub slowest_start: Duration,
}

/// A Bundle that was sent.
#[derive(Debug)]
struct Sent {
    instances: Vec<String>,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    Unanswered,
}

/// Imports `bundles` over and over, kills, starts again and looks.
///
/// # Panics
/// When something acknowledged is not whole, something else is partly there, or the place does
/// not come back.
pub async fn run(plan: Plan, bundles: &[String]) -> Report {
    say(&format!("kills: seed {}, {} rounds, {:?}", plan.seed, plan.rounds, plan.deployment));
    let clock = SystemClock::start();
    let mut chance = Chance::new(plan.seed);
    let mut report = Report::default();
    let mut acknowledged: Vec<Vec<String>> = Vec::new();
    let mut site = Site::start(plan.deployment).await;
    let bundles: Arc<[String]> = bundles.into();
    for round in 1..=plan.rounds {
        let moment = chance.duration(LATEST);
        let sent = import_and_kill(&mut site, &bundles, round, moment).await;
        let began = clock.monotonic();
        site.launch(First::Gateway).await;
        let start = clock.monotonic().saturating_sub(began);
        report.slowest_start = report.slowest_start.max(start);

        let (mut whole, mut absent, before) = (0, 0, acknowledged.len());
        for bundle in sent {
            match (there(&site.owner(), &bundle.instances).await, bundle.fate) {
                (There::Whole, Fate::Acknowledged) => acknowledged.push(bundle.instances),
                (There::Whole, Fate::Unanswered) => whole += 1,
                (There::Absent, Fate::Unanswered) => absent += 1,
                (there, fate) => {
                    panic!("round {round}, killed at {moment:?}: {fate:?}, and {there:?}");
                }
            }
        }
        say(&format!(
            "round {round}: killed at {moment:?}; {} acknowledged and whole, without an answer \
             {whole} whole and {absent} absent; ready again after {start:?}",
            acknowledged.len() - before
        ));
        report.whole += whole;
        report.absent += absent;
    }
    for instances in &acknowledged {
        let there = there(&site.owner(), instances).await;
        assert_eq!(there, There::Whole, "acknowledged, seen whole, and after more kills not");
    }
    report.acknowledged = acknowledged.len();
    site.stop().await;
    report
}

/// Sends Bundles until the kill at `moment`; says what was sent and what became of it.
async fn import_and_kill(
    site: &mut Site,
    bundles: &Arc<[String]>,
    round: u32,
    moment: Duration,
) -> Vec<Sent> {
    let next = Arc::new(AtomicUsize::new(0));
    let owner = site.owner();
    let mut senders = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        senders.spawn(send_until_it_breaks(owner.clone(), bundles.clone(), round, next.clone()));
    }
    // Not a wait for anything: the moment is the test.
    tokio::time::sleep(moment).await;
    site.kill().await;
    senders.join_all().await.into_iter().flatten().collect()
}

async fn send_until_it_breaks(
    owner: Client,
    bundles: Arc<[String]>,
    round: u32,
    next: Arc<AtomicUsize>,
) -> Vec<Sent> {
    let mut all = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let text = &bundles[number % bundles.len()];
        let Chosen { body, instances } = under_chosen_ids(text, &format!("r{round}b{number}"));
        let fate = match try_send(owner.with_body(Method::POST, "", body)).await {
            Ok(answer) if answer.status == 200 => Fate::Acknowledged,
            // The gateway lived longer than the server.
            Ok(answer) if matches!(answer.status, 502 | 503) => Fate::Unanswered,
            Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
            Err(_) => Fate::Unanswered,
        };
        all.push(Sent { instances, fate });
        if fate == Fate::Unanswered {
            return all;
        }
    }
}

/// How much of a Bundle is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    /// All of it.
    Whole,
    /// Nothing of it.
    Absent,
    /// What must never be.
    Partly {
        /// Resources that are there.
        present: usize,
        /// Resources that it has.
        of: usize,
    },
}

/// How much of a Bundle with these instances is there.
///
/// # Panics
/// When a resource is neither there nor absent.
pub async fn there(owner: &Client, instances: &[String]) -> There {
    let answer = sent(owner.with_body(Method::POST, "", reads(instances))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answers: Answers = serde_json::from_slice(&answer.body).expect("a batch's answer");
    assert_eq!(answers.entry.len(), instances.len());
    let mut present = 0;
    for entry in answers.entry {
        match entry.response.status.get(..3) {
            Some("200") => present += 1,
            Some("404") => {}
            other => panic!("{other:?} for a resource that is there or not"),
        }
    }
    match present {
        0 => There::Absent,
        all if all == instances.len() => There::Whole,
        present => There::Partly { present, of: instances.len() },
    }
}
