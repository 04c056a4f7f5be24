//! Holds requests to plans: counts what was asked, refuses what is too much, and says what is left.
//!
//! Counters stand in this process. Quotas are kept in a log of their own (`ledger`), so that a
//! restart resets none. Where several gateways share their counters, each takes leases from a
//! store ahead of the requests (`sync`); no request ever waits for it, and without it each gateway
//! goes on with its share.

mod counter;
mod key;
mod lease;
mod ledger;
mod redis_store;
mod rolling;
mod shown;
mod store;
mod sync;
mod tables;

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use contract::{Cost, Instant};
use http::HeaderValue;
use registry::Client;

use crate::errors::{Exceeded, Refusal};
use crate::metrics::Metrics;
use crate::network::network;
use crate::plans::{Kind, Limit, Plan, Plans, Unit};
use counter::{Counter, Outcome};
use key::Asking;
use ledger::{Ledger, LedgerFile};
use sync::{Mode, Sharing};
use tables::{InForce, Table};

pub use ledger::LedgerError;
pub use redis_store::{RedisStore, RedisStoreError};
pub use shown::{LimitShown, LimitsShown};
pub use store::{CounterStore, Exchanged, Granted, Report, Reported, StoreError};

/// What a request is counted at: by the clock on the wall, for windows, and by the one that never
/// goes back, for rates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) wall: Instant,
    pub(crate) monotonic: Duration,
}

/// What a limited answer says about a plan's limits.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) policy: HeaderValue,
    pub(crate) state: HeaderValue,
}

/// Plans, and what was counted.
#[derive(Debug)]
pub struct Limiting {
    in_force: ArcSwap<InForce>,
    ledger: Option<Ledger>,
    sharing: Option<Sharing>,
}

/// A request that its plan admits.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) plan: Arc<Plan>,
    pub(crate) told: Told,
    /// How long the request has to wait for its turn.
    pub(crate) wait: Duration,
    /// Quotas of requests that it was counted in, until it is under way.
    counted: Vec<Arc<Counter>>,
    /// Of quotas in bytes and cost: charged when the answer has ended.
    charged: Vec<(Unit, Arc<Counter>)>,
    /// Places among those at once, until the request has ended.
    slots: Vec<Arc<Counter>>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        for slot in &self.slots {
            slot.leave();
        }
    }
}

/// Why a request is not admitted, and what its answer says.
#[derive(Debug)]
pub(crate) struct NotAdmitted {
    pub(crate) refusal: Refusal,
    pub(crate) told: Told,
}

impl Default for Limiting {
    /// No plans: nothing is limited.
    fn default() -> Self {
        Self::in_memory(Plans::default())
    }
}

impl Limiting {
    /// Counters in memory alone, gone with the process.
    #[must_use]
    pub fn in_memory(plans: Plans) -> Self {
        let in_force = ArcSwap::from_pointee(InForce::default().after(Arc::new(plans)));
        Self { in_force, ledger: None, sharing: None }
    }

    /// Counters of which the quotas are kept in `dir`, which is made where it is not; what counts
    /// at `now` is taken up. The caller
    /// holds the lock of the gateway's half.
    ///
    /// # Errors
    /// [`LedgerError`] when the file system refuses, or what is there was written by a later
    /// release.
    pub fn open(plans: Plans, dir: &Path, now: Instant) -> Result<Self, LedgerError> {
        let limiting = Self::in_memory(plans);
        let (ledger, entries) = Ledger::open(dir)?;
        let in_force = limiting.in_force.load_full();
        for entry in entries {
            // A quota that no plan has any more is left out of the next log.
            let Some(table) = in_force.tables.get(&entry.limit) else { continue };
            let kept = &mut *table.kept.lock();
            let counter = Arc::new(Counter::of(&kept.limit, entry.key.clone()));
            counter.restore(entry.used);
            kept.insert(entry.key, counter);
        }
        limiting.rewrite(&mut ledger.to_write(), now)?;
        Ok(Self { ledger: Some(ledger), ..limiting })
    }

    /// Shares the counters with other gateways through `store`. While it does not answer, this
    /// gateway keeps to its share among as many as were seen last; `assumed` before any were.
    #[must_use]
    pub fn sharing(self, store: Arc<dyn CounterStore>, assumed: u32) -> Self {
        Self { sharing: Some(Sharing::new(store, assumed)), ..self }
    }

    /// The plans.
    #[must_use]
    pub fn plans(&self) -> Arc<Plans> {
        self.in_force.load().plans.clone()
    }

    /// Puts other plans into force, for requests that come from now on. Limits that stay keep what
    /// was counted; those whose numbers change are held to the new ones, by what was counted.
    pub(crate) fn put(&self, plans: Arc<Plans>) {
        let next = self.in_force.load().after(plans);
        self.in_force.store(Arc::new(next));
    }

    fn mode(&self) -> Mode {
        self.sharing.as_ref().map_or(Mode::Own, Sharing::mode)
    }

    /// Counts one request against the plan of its client, or the one of nobody; `None` where
    /// there is no plan.
    pub(crate) fn admit(
        &self,
        client: Option<&Client>,
        user: impl FnOnce() -> Option<String>,
        address: IpAddr,
        route: &str,
        now: &Now,
        metrics: &Metrics,
    ) -> Result<Option<Admission>, NotAdmitted> {
        let in_force = self.in_force.load();
        let plan = match client {
            Some(client) => in_force.plans.of(client),
            None => in_force.plans.of_nobody(),
        };
        let Some(plan) = plan else { return Ok(None) };
        let client = client.map(|client| &client.id);
        let user = if plan.limits.iter().any(|limit| limit.by.user) { user() } else { None };
        let asking = Asking { client, user: user.as_deref(), address: network(address), route };
        let mode = self.mode();
        let mut admitted = Admitting::new(plan, mode);
        for limit in &plan.limits {
            // Every limit of every plan has its counters.
            let Some(table) = in_force.tables.get(&limit.id) else { continue };
            let outcome = self.take(table, &asking, mode, now);
            let decisions = table.decisions.get_or_init(|| metrics.limiting.decisions_of(limit));
            match &outcome {
                Ok((_, outcome)) if outcome.wait.is_zero() => decisions.admitted.inc(),
                Ok(_) => decisions.delayed.inc(),
                Err(_) => decisions.refused.inc(),
            }
            match outcome {
                Ok((counter, outcome)) => admitted.add(limit, counter, outcome),
                Err(retry_after) => return Err(admitted.refuse(limit, retry_after)),
            }
        }
        Ok(Some(admitted.done()))
    }

    /// Takes one of a limit; otherwise says after how many seconds there may be one.
    fn take(
        &self,
        table: &Table,
        asking: &Asking<'_>,
        mode: Mode,
        now: &Now,
    ) -> Result<(Arc<Counter>, Outcome), u32> {
        let counter = table.counter(asking, mode, now).ok_or(1_u32)?;
        let taken = counter.take(mode, now);
        self.touched(&counter, taken.is_err());
        Ok((counter, taken?))
    }

    /// Remembers to keep and to share what changed.
    fn touched(&self, counter: &Arc<Counter>, wants_more: bool) {
        if let Some(ledger) = &self.ledger
            && counter.is_quota()
            && !counter.to_keep.swap(true, Ordering::AcqRel)
        {
            ledger.changed(counter.clone());
        }
        if let Some(sharing) = &self.sharing {
            sharing.touched(counter, wants_more);
        }
    }

    /// Gives back what was counted of quotas of requests: the request was not answered by whoever
    /// it was for, and will not be. Rates stay taken, for they protect this gateway too.
    pub(crate) fn give_back(&self, admission: &mut Admission) {
        let mode = self.mode();
        for counter in admission.counted.drain(..) {
            counter.give_back(mode);
            self.touched(&counter, false);
        }
    }

    /// Charges what a request turned out to cost.
    pub(crate) fn charge(
        &self,
        admission: &Admission,
        bytes: u64,
        cost: Option<Cost>,
        wall: Instant,
    ) {
        let mode = self.mode();
        for (unit, counter) in &admission.charged {
            let amount = match unit {
                Unit::Requests => 0,
                Unit::Bytes => bytes,
                Unit::Cost => cost.map_or(0, units),
            };
            if amount > 0 {
                counter.charge(amount, mode, wall);
                self.touched(counter, false);
            }
        }
    }

    /// Writes down what was counted of quotas since the last time. Blocks for the disk.
    ///
    /// # Errors
    /// What the file system says; nothing is forgotten by that, and the next call writes it.
    pub(crate) fn keep(&self, now: Instant) -> io::Result<()> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let mut file = ledger.to_write();
        let changed = ledger.take_changed();
        let mode = self.mode();
        for counter in &changed {
            counter.to_keep.store(false, Ordering::Release);
        }
        let entries = changed.iter().filter_map(|counter| counter.entry(mode, now));
        let mut lines = String::new();
        entries.for_each(|entry| ledger::write_line(&entry, &mut lines));
        if let Err(error) = file.append(&lines) {
            for counter in changed {
                counter.to_keep.store(true, Ordering::Release);
                ledger.changed(counter);
            }
            return Err(error);
        }
        if file.is_long() { self.rewrite(&mut file, now).map_err(io::Error::other) } else { Ok(()) }
    }

    /// Writes all that was written down and still counts into a new log.
    fn rewrite(&self, file: &mut LedgerFile, now: Instant) -> Result<(), LedgerError> {
        let mut lines = String::new();
        for table in self.in_force.load().tables.values() {
            let counters: Vec<_> = table.kept.lock().counters.values().cloned().collect();
            let entries = counters.iter().filter_map(|counter| counter.kept_entry(now));
            entries.for_each(|entry| ledger::write_line(&entry, &mut lines));
        }
        file.rewrite(&lines)
    }
}

/// What a cost counts as: 1 for each row, and 1 for each millisecond.
fn units(cost: Cost) -> u64 {
    u64::from(cost.rows) + u64::from(cost.micros.div_ceil(1000))
}

/// A request on its way through the limits of its plan.
struct Admitting<'plan> {
    plan: &'plan Arc<Plan>,
    mode: Mode,
    wait: Duration,
    state: String,
    taken: Vec<Arc<Counter>>,
    charged: Vec<(Unit, Arc<Counter>)>,
    slots: Vec<Arc<Counter>>,
}

impl<'plan> Admitting<'plan> {
    fn new(plan: &'plan Arc<Plan>, mode: Mode) -> Self {
        Self {
            plan,
            mode,
            wait: Duration::ZERO,
            state: String::with_capacity(48 * plan.limits.len()),
            taken: Vec::with_capacity(plan.limits.len()),
            charged: Vec::new(),
            slots: Vec::new(),
        }
    }

    fn add(&mut self, limit: &Limit, counter: Arc<Counter>, outcome: Outcome) {
        self.tell(&limit.name, outcome.remaining, outcome.seconds);
        self.wait = self.wait.max(outcome.wait);
        match limit.kind {
            Kind::AtOnce { .. } => self.slots.push(counter),
            Kind::Quota { of: of @ (Unit::Bytes | Unit::Cost), .. } => {
                self.charged.push((of, counter));
            }
            _ => self.taken.push(counter),
        }
    }

    fn tell(&mut self, name: &str, remaining: u64, seconds: Option<u32>) {
        let comma = if self.state.is_empty() { "" } else { ", " };
        // A String takes every text.
        let _ = write!(self.state, "{comma}\"{name}\";r={remaining}");
        if let Some(seconds) = seconds {
            let _ = write!(self.state, ";t={seconds}");
        }
    }

    fn told(&mut self) -> Told {
        let state = HeaderValue::try_from(std::mem::take(&mut self.state))
            .expect("names and numbers are visible ASCII");
        Told { policy: self.plan.policy.clone(), state }
    }

    fn done(mut self) -> Admission {
        Admission {
            told: self.told(),
            plan: self.plan.clone(),
            wait: self.wait,
            counted: self.taken.into_iter().filter(|counter| counter.is_quota()).collect(),
            charged: self.charged,
            slots: self.slots,
        }
    }

    /// What earlier limits gave is given back: the request does not come to be.
    fn refuse(mut self, limit: &Arc<Limit>, retry_after: u32) -> NotAdmitted {
        for counter in &self.taken {
            counter.give_back(self.mode);
        }
        for slot in &self.slots {
            slot.leave();
        }
        let seconds = (!matches!(limit.kind, Kind::AtOnce { .. })).then_some(retry_after);
        self.tell(&limit.name, 0, seconds);
        let exceeded = Exceeded { limit: limit.clone(), retry_after };
        NotAdmitted { refusal: Refusal::Exceeded(exceeded), told: self.told() }
    }
}

#[cfg(test)]
mod redis_tests;
#[cfg(test)]
mod tests;
