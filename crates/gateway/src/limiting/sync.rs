//! Keeps the counters written down and shared, beside the requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::{Clock, Ids, digest};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::metrics::Metrics;

use super::counter::Counter;
use super::store::{CounterStore, Report, StoreError};
use super::{Limiting, Now};

/// How often the store is spoken to while something is counted.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);
/// How soon again when a counter had nothing left to give.
const SOONEST: Duration = Duration::from_millis(10);
/// How often when nothing is counted, so that this gateway counts as there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long the store may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a store that did not answer is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// Counters in one exchange.
const TOGETHER: usize = 200;
/// How often quotas are written down: twice a second, so that no more than a second is lost.
const KEPT_EVERY: Duration = Duration::from_millis(500);

/// Whose counters count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// This gateway's alone: it shares none.
    Own,
    /// All gateways' together, by leases.
    Shared {
        /// How many there are.
        gateways: u32,
    },
    /// This gateway's share, while the store does not answer.
    Alone {
        /// How many there were last.
        gateways: u32,
    },
}

/// How the counters stand, for readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// No other gateway is to know.
    Own,
    /// With the others.
    Shared,
    /// With a share of each limit: the store does not answer.
    LocalShares,
}

/// What is shared with whom.
#[derive(Debug)]
pub(super) struct Sharing {
    store: Arc<dyn CounterStore>,
    /// The gateways, doubled, and one more while the store answers.
    mode: AtomicU64,
    /// Counters that have something to tell.
    waiting: Mutex<Vec<Arc<Counter>>>,
    /// A counter has nothing left to give.
    wanted: Notify,
    /// A counter has something to tell, after none had.
    begun: Notify,
}

impl Sharing {
    pub(super) fn new(store: Arc<dyn CounterStore>, assumed: u32) -> Self {
        let mode = AtomicU64::new(u64::from(assumed.max(1)) * 2);
        Self { store, mode, waiting: Mutex::default(), wanted: Notify::new(), begun: Notify::new() }
    }

    pub(super) fn mode(&self) -> Mode {
        let mode = self.mode.load(Ordering::Acquire);
        let gateways = u32::try_from(mode / 2).unwrap_or(u32::MAX);
        match mode % 2 {
            0 => Mode::Alone { gateways },
            _ => Mode::Shared { gateways },
        }
    }

    fn set_mode(&self, mode: Mode) {
        let number = match mode {
            Mode::Own => return,
            Mode::Alone { gateways } => u64::from(gateways) * 2,
            Mode::Shared { gateways } => u64::from(gateways) * 2 + 1,
        };
        self.mode.store(number, Ordering::Release);
    }

    /// The store did not answer: from now on this gateway keeps to its share.
    pub(super) fn is_lost(&self) {
        if let Mode::Shared { gateways } = self.mode() {
            self.set_mode(Mode::Alone { gateways });
        }
    }

    /// Something was counted; where it `wants_more` the store is asked soon.
    pub(super) fn touched(&self, counter: &Arc<Counter>, wants_more: bool) {
        if !counter.to_share.swap(true, Ordering::AcqRel) {
            let mut waiting = self.waiting.lock();
            waiting.push(counter.clone());
            if waiting.len() == 1 {
                self.begun.notify_one();
            }
        }
        if wants_more {
            self.wanted.notify_one();
        }
    }

    /// Speaks to the store once about all that waits.
    pub(super) async fn exchange(
        &self,
        gateway: &str,
        clock: &dyn Clock,
    ) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let was_alone = matches!(self.mode(), Mode::Alone { .. });
        let mut told = 0;
        let mut failed = None;
        while told < waiting.len().max(1) {
            let some = &waiting[told..waiting.len().min(told + TOGETHER)];
            if let Err(error) = self.exchange_some(gateway, some, was_alone, clock).await {
                failed = Some(error);
                break;
            }
            told += TOGETHER;
        }
        let mut left = self.waiting.lock();
        for (at, counter) in waiting.into_iter().enumerate() {
            // What was counted while the store was spoken to counts as not told.
            if at >= told || counter.has_to_share() {
                left.push(counter);
            } else {
                counter.to_share.store(false, Ordering::Release);
                // Between the two a request may have come, and not have waited in the list.
                if counter.has_to_share() && !counter.to_share.swap(true, Ordering::AcqRel) {
                    left.push(counter);
                }
            }
        }
        drop(left);
        failed.map_or(Ok(()), Err)
    }

    async fn exchange_some(
        &self,
        gateway: &str,
        counters: &[Arc<Counter>],
        was_alone: bool,
        clock: &dyn Clock,
    ) -> Result<(), StoreError> {
        let now = now(clock);
        let reported: Vec<(&Arc<Counter>, Report)> = counters
            .iter()
            .filter_map(|counter| {
                if was_alone {
                    counter.store_is_back(&now);
                }
                Some((counter, counter.report(name(counter), &now)?))
            })
            .collect();
        let reports: Vec<Report> = reported.iter().map(|(_, report)| report.clone()).collect();
        let answered = tokio::time::timeout(PATIENCE, self.store.exchange(gateway, &reports));
        let answered = match answered.await {
            Ok(Ok(answered)) if answered.granted.len() == reports.len() => Ok(answered),
            Ok(Ok(_)) => Err(StoreError("it answered something else".to_owned())),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StoreError("it took too long".to_owned())),
        };
        match answered {
            Ok(answered) => {
                let now = self::now(clock);
                for ((counter, _), granted) in reported.iter().zip(answered.granted) {
                    counter.granted(granted, &now);
                }
                self.set_mode(Mode::Shared { gateways: answered.gateways.max(1) });
                Ok(())
            }
            Err(error) => {
                for (counter, report) in &reported {
                    counter.not_told(report);
                }
                Err(error)
            }
        }
    }
}

/// Names a counter in the store: a hash, as it may be a person's.
fn name(counter: &Counter) -> String {
    let whose = counter.key.to_string();
    format!("hearthgate:counter:{}", digest(&counter.limit, &whose, None).to_header())
}

pub(super) fn now(clock: &dyn Clock) -> Now {
    Now { wall: clock.now(), monotonic: clock.monotonic() }
}

impl Counting {
    /// The word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Shared => "shared",
            Self::LocalShares => "local-shares",
        }
    }
}

impl Limiting {
    /// How the counters stand.
    pub(crate) fn counting(&self) -> Counting {
        match self.mode() {
            Mode::Own => Counting::Own,
            Mode::Shared { .. } => Counting::Shared,
            Mode::Alone { .. } => Counting::LocalShares,
        }
    }

    /// Keeps what is counted written down and shared, for as long as it is polled.
    pub(crate) async fn tend(self: Arc<Self>, clock: &dyn Clock, ids: &dyn Ids, metrics: &Metrics) {
        let keeping = async {
            loop {
                tokio::time::sleep(KEPT_EVERY).await;
                self.clone().keep_beside(clock, metrics).await;
            }
        };
        tokio::join!(keeping, self.share(clock, ids, metrics));
    }

    /// Writes down what was counted, where waiting for the disk keeps nobody else.
    pub(crate) async fn keep_beside(self: Arc<Self>, clock: &dyn Clock, metrics: &Metrics) {
        if self.ledger.is_none() {
            return;
        }
        let (wall, limiting) = (clock.now(), self);
        let kept = tokio::task::spawn_blocking(move || limiting.keep(wall)).await;
        let result = match kept.map_err(std::io::Error::other).and_then(|kept| kept) {
            Ok(()) => "ok",
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "quotas cannot be written down; a restart would count from the last time on"
                );
                "failed"
            }
        };
        metrics.limiting.writes.with_label_values(&[result]).inc();
    }

    async fn share(&self, clock: &dyn Clock, ids: &dyn Ids, metrics: &Metrics) {
        let Some(sharing) = &self.sharing else { return std::future::pending().await };
        let gateway = format!("{:032x}", ids.next());
        let mut answered = None;
        loop {
            let result = sharing.exchange(&gateway, clock).await;
            let word = if result.is_ok() { "ok" } else { "failed" };
            metrics.limiting.exchanges.with_label_values(&[word]).inc();
            if let Err(error) = &result {
                sharing.is_lost();
                if answered != Some(false) {
                    tracing::warn!(
                        error = error as &dyn std::error::Error,
                        "counters are not shared: this gateway keeps to its share of each limit"
                    );
                }
            } else if answered == Some(false) {
                tracing::info!("counters are shared again");
            }
            answered = Some(result.is_ok());
            metrics.limiting.shared.set(i64::from(result.is_ok()));
            if let Mode::Shared { gateways } | Mode::Alone { gateways } = sharing.mode() {
                metrics.limiting.gateways.set(gateways.into());
            }
            if result.is_err() {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            // Not all gateways at the same moments: who comes last would always find nothing.
            let jitter = Duration::from_micros(u64::try_from(ids.next() % 50_000).unwrap_or(0));
            if sharing.waiting.lock().is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(HEARTBEAT) => continue,
                    () = sharing.begun.notified() => {}
                }
            }
            tokio::time::sleep(SOONEST).await;
            tokio::select! {
                () = tokio::time::sleep(INTERVAL / 2 + jitter) => {}
                () = sharing.wanted.notified() => {}
            }
        }
    }
}
