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

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use contract::{Cost, Instant};
use http::HeaderValue;
use parking_lot::Mutex;
use registry::Client;

use crate::errors::{Exceeded, Refusal};
use crate::metrics::{Decisions, Metrics};
use crate::network::network;
use crate::plans::{Kind, Limit, Plan, Plans, Unit};
use counter::{Counter, Outcome};
use key::Asking;
use ledger::{Ledger, LedgerFile};
use sync::{Mode, Sharing};

pub use ledger::LedgerError;
pub use redis_store::{RedisStore, RedisStoreError};
pub use shown::{LimitShown, LimitsShown};
pub use store::{CounterStore, Exchanged, Granted, Report, Reported, StoreError};

/// Keys of one limit that are counted at a time.
const MOST_KEYS: usize = 64 * 1024;
/// Of these, keys of the addresses of one network (/48): beyond them its addresses count as one, so
/// that one customer's do not take every place.
const MOST_OF_NETWORK: usize = MOST_KEYS / 64;
/// The same of a network that a whole provider may have (/32).
const MOST_OF_PROVIDER: usize = MOST_KEYS / 4;
/// How long the places that a sweep left taken stay taken.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(1);

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
    plans: Plans,
    /// By the limit's id, as the counters of a limit outlive what a request saw of them.
    tables: HashMap<String, Arc<Table>>,
    ledger: Option<Ledger>,
    sharing: Option<Sharing>,
}

/// The counters of one limit.
#[derive(Debug)]
struct Table {
    limit: Arc<Limit>,
    /// How often it decided what, once it did.
    decisions: OnceLock<Decisions>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    counters: HashMap<key::Key, Arc<Counter>>,
    /// How many of them are of each network.
    of_networks: HashMap<IpAddr, usize>,
    /// And of each provider.
    of_providers: HashMap<IpAddr, usize>,
    /// When counters that are as new were last looked for.
    swept: Option<Duration>,
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
        let table = |limit: &Arc<Limit>| {
            let (decisions, kept) = (OnceLock::new(), Mutex::default());
            (limit.id.clone(), Arc::new(Table { limit: limit.clone(), decisions, kept }))
        };
        let tables = plans.limits().map(table).collect();
        Self { plans, tables, ledger: None, sharing: None }
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
        for entry in entries {
            // A quota that no plan has any more is left out of the next log.
            let Some(table) = limiting.tables.get(&entry.limit) else { continue };
            let counter = Arc::new(Counter::of(table.limit.clone(), entry.key.clone()));
            counter.restore(entry.used);
            table.kept.lock().insert(entry.key, counter);
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
    pub fn plans(&self) -> &Plans {
        &self.plans
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
        let plan = match client {
            Some(client) => self.plans.of(client),
            None => self.plans.of_nobody(),
        };
        let Some(plan) = plan else { return Ok(None) };
        let client = client.map(|client| &client.id);
        let user = if plan.limits.iter().any(|limit| limit.by.user) { user() } else { None };
        let asking = Asking { client, user: user.as_deref(), address: network(address), route };
        let mode = self.mode();
        let mut admitted = Admitting::new(plan, mode);
        for limit in &plan.limits {
            // Every limit of every plan has its counters.
            let Some(table) = self.tables.get(&limit.id) else { continue };
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
        for table in self.tables.values() {
            let counters: Vec<_> = table.kept.lock().counters.values().cloned().collect();
            let entries = counters.iter().filter_map(|counter| counter.kept_entry(now));
            entries.for_each(|entry| ledger::write_line(&entry, &mut lines));
        }
        file.rewrite(&lines)
    }
}

impl Table {
    /// The counter of whoever asks; `None` when every place is taken by one that is in use:
    /// whoever comes under that many keys at once must not push the others' state out.
    fn counter(&self, asking: &Asking<'_>, mode: Mode, now: &Now) -> Option<Arc<Counter>> {
        let mut key = asking.key(self.limit.by);
        let kept = &mut *self.kept.lock();
        if let Some(counter) = kept.counters.get(&key) {
            return Some(counter.clone());
        }
        if kept.counters.len() >= MOST_KEYS || kept.crowded(&key).into_iter().any(|it| it.is_some())
        {
            kept.sweep(mode, now);
        }
        for network in kept.crowded(&key).into_iter().flatten() {
            key = key.of_network(network);
            if let Some(counter) = kept.counters.get(&key) {
                return Some(counter.clone());
            }
        }
        if kept.counters.len() >= MOST_KEYS {
            return None;
        }
        let counter = Arc::new(Counter::of(self.limit.clone(), key.clone()));
        kept.insert(key, counter.clone());
        Some(counter)
    }
}

impl Kept {
    fn insert(&mut self, key: key::Key, counter: Arc<Counter>) {
        self.count(&key);
        self.counters.insert(key, counter);
    }

    fn count(&mut self, key: &key::Key) {
        for (of, network) in
            [(&mut self.of_networks, key.network()), (&mut self.of_providers, key.provider())]
        {
            if let Some(network) = network {
                *of.entry(network).or_default() += 1;
            }
        }
    }

    /// The networks that a key's address is in and that have as many counters as they may, the
    /// narrower first.
    fn crowded(&self, key: &key::Key) -> [Option<IpAddr>; 2] {
        let has = |of: &HashMap<IpAddr, usize>, network: &IpAddr, most| {
            of.get(network).is_some_and(|count| *count >= most)
        };
        [
            key.network().filter(|it| has(&self.of_networks, it, MOST_OF_NETWORK)),
            key.provider().filter(|it| has(&self.of_providers, it, MOST_OF_PROVIDER)),
        ]
    }

    /// Forgets counters that are as new, unless that was done a moment ago.
    fn sweep(&mut self, mode: Mode, now: &Now) {
        let since = |swept: Duration| now.monotonic.saturating_sub(swept);
        if self.swept.is_some_and(|swept| since(swept) < BETWEEN_SWEEPS) {
            return;
        }
        self.swept = Some(now.monotonic);
        self.counters
            .retain(|_, counter| Arc::strong_count(counter) > 1 || !counter.is_as_new(mode, now));
        self.of_networks.clear();
        self.of_providers.clear();
        let counters = std::mem::take(&mut self.counters);
        counters.keys().for_each(|key| self.count(key));
        self.counters = counters;
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
