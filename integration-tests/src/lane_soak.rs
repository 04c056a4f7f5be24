//! Slow searches in the lane of bulk, and whether a bedside's reads feel them.
//!
//! Reads are made one after the other, alone and with bulk clients that search without a pause, in
//! turns within one run, so that a slow minute of the machine slows both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use contract::Clock as _;
use hearthgate::doors::SystemClock;
use tokio::task::JoinSet;

use crate::bundle::transaction;
use crate::client::Client;
use crate::readers::hundredth;
use crate::site::{Deployment, First, Site};

/// A search that looks at every patient and writes many of them.
const SLOW: &str = "/Patient?name:contains=a&_sort=-birthdate&_count=500";
/// Patients of one transaction.
const TOGETHER: usize = 500;
/// Between two reads of the bedside.
const PAUSE: Duration = Duration::from_millis(2);

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Patients that are searched among.
    pub patients: usize,
    /// Clients that search.
    pub searchers: usize,
    /// Turns, each alone and with them.
    pub turns: u32,
    /// How long each half of a turn is.
    pub half: Duration,
    /// Whether the searchers are in the lane of bulk, or in that of the reader.
    pub bulk: bool,
}

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// The 99th of 100 reads without searches.
    pub alone: Duration,
    /// The 99th of 100 reads beside searches.
    pub beside: Duration,
    /// Reads of both kinds.
    pub reads: [usize; 2],
    /// Searches that were answered.
    pub searches: u32,
}

impl Plan {
    /// Does it.
    ///
    /// # Panics
    /// When an answer is not what it must be.
    pub async fn run(self) -> Report {
        let mut site = Site::prepare(Deployment::OneProcess);
        let lane = if self.bulk { "bulk" } else { "interactive" };
        site.configure(&format!("[plans.app]\nsays = \"For a study.\"\nlane = \"{lane}\"\n"));
        site.launch(First::Gateway).await;
        let owner = site.owner();
        let mut made = 0;
        while made < self.patients {
            let some: Vec<String> = (made..self.patients.min(made + TOGETHER)).map(entry).collect();
            let _ = owner.post("", transaction(&some)).await.is(200);
            made += some.len();
        }
        let reader = site.new_client("bedside", &["--role", "reader"]);
        let searcher = site.new_client("study", &["--role", "reader", "--plan", "app"]);
        let (mut alone, mut beside, mut searches) = (Vec::new(), Vec::new(), 0);
        for _ in 0..self.turns {
            read(&reader, self.half, &mut alone).await;
            let over = Arc::new(AtomicBool::new(false));
            let answered = Arc::new(AtomicU32::new(0));
            let mut tasks = JoinSet::new();
            for _ in 0..self.searchers {
                tasks.spawn(search(searcher.clone(), over.clone(), answered.clone()));
            }
            read(&reader, self.half, &mut beside).await;
            over.store(true, Ordering::Relaxed);
            tasks.join_all().await;
            searches += answered.load(Ordering::Relaxed);
        }
        Report {
            reads: [alone.len(), beside.len()],
            alone: hundredth(alone),
            beside: hundredth(beside),
            searches,
        }
    }
}

fn entry(number: usize) -> String {
    let (year, family) = (1920 + number % 100, format!("Family{}", number % 997));
    format!(
        r#"{{"resource":{{"resourceType":"Patient","id":"p{number}","name":[{{"family":"{family}","given":["Ana"]}}],"birthDate":"{year}-05-17"}},"request":{{"method":"PUT","url":"Patient/p{number}"}}}}"#
    )
}

async fn read(reader: &Client, time: Duration, took: &mut Vec<Duration>) {
    let clock = SystemClock::start();
    let began = clock.monotonic();
    while clock.monotonic().saturating_sub(began) < time {
        let before = clock.monotonic();
        let _ = reader.get("/Patient/p7").await.is(200);
        took.push(clock.monotonic().saturating_sub(before));
        tokio::time::sleep(PAUSE).await;
    }
}

async fn search(searcher: Client, over: Arc<AtomicBool>, answered: Arc<AtomicU32>) {
    while !over.load(Ordering::Relaxed) {
        let status = searcher.get(SLOW).await.status;
        // One that found no place in time was busy waiting.
        assert!(matches!(status, 200 | 503), "{status}");
        answered.fetch_add(u32::from(status == 200), Ordering::Relaxed);
    }
}
