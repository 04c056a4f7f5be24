//! The plans in force, and the counters of their limits: a table for each limit, in which each key
//! that asks has its counter. What a reload does to them is said here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::Now;
use super::counter::Counter;
use super::key::{self, Asking};
use super::sync::Mode;
use crate::metrics::Decisions;
use crate::plans::{By, Limit, Plans};

/// Keys of one limit that are counted at a time.
const MOST_KEYS: usize = 64 * 1024;
/// Of these, keys of the addresses of one network (/48): beyond them its addresses count as one, so
/// that one customer's do not take every place.
pub(super) const MOST_OF_NETWORK: usize = MOST_KEYS / 64;
/// The same of a network that a whole provider may have (/32).
pub(super) const MOST_OF_PROVIDER: usize = MOST_KEYS / 4;
/// How long the places that a sweep left taken stay taken.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(1);

/// Plans with the counters of their limits: swapped whole by a reload.
#[derive(Debug, Default)]
pub(super) struct InForce {
    pub(super) plans: Arc<Plans>,
    /// By the limit's id, as the counters of a limit outlive what a request saw of them.
    pub(super) tables: HashMap<String, Arc<Table>>,
}

/// The counters of one limit.
#[derive(Debug)]
pub(super) struct Table {
    by: By,
    /// How often it decided what, once it did.
    pub(super) decisions: OnceLock<Decisions>,
    pub(super) kept: Mutex<Kept>,
}

#[derive(Debug)]
pub(super) struct Kept {
    /// The numbers that each of them is held to.
    pub(super) limit: Arc<Limit>,
    pub(super) counters: HashMap<key::Key, Arc<Counter>>,
    /// How many of them are of each network.
    of_networks: HashMap<IpAddr, usize>,
    /// And of each provider.
    of_providers: HashMap<IpAddr, usize>,
    /// When counters that are as new were last looked for.
    swept: Option<Duration>,
}

impl InForce {
    /// The same with other plans: what was counted of limits that these have too stays counted.
    pub(super) fn after(&self, plans: Arc<Plans>) -> Self {
        let table = |limit: &Arc<Limit>| {
            let table = match self.tables.get(&limit.id) {
                Some(standing) => {
                    standing.hold_to(limit);
                    standing.clone()
                }
                None => Arc::new(Table::of(limit)),
            };
            (limit.id.clone(), table)
        };
        let tables = plans.limits().map(table).collect();
        Self { plans, tables }
    }
}

impl Table {
    fn of(limit: &Arc<Limit>) -> Self {
        let (counters, of_networks, of_providers) = Default::default();
        let limit_now = limit.clone();
        let kept = Kept { limit: limit_now, counters, of_networks, of_providers, swept: None };
        Self { by: limit.by, decisions: OnceLock::new(), kept: Mutex::new(kept) }
    }

    /// Holds all its counters to other numbers. Nothing but numbers differs between limits of one
    /// id: it says by what is counted, what, and in which window.
    fn hold_to(&self, limit: &Arc<Limit>) {
        let kept = &mut *self.kept.lock();
        if kept.limit != *limit {
            kept.limit = limit.clone();
            kept.counters.values().for_each(|counter| counter.hold_to(limit));
        }
    }

    /// The counter of whoever asks; `None` when every place is taken by one that is in use:
    /// whoever comes under that many keys at once must not push the others' state out.
    pub(super) fn counter(
        &self,
        asking: &Asking<'_>,
        mode: Mode,
        now: &Now,
    ) -> Option<Arc<Counter>> {
        let mut key = asking.key(self.by);
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
        let counter = Arc::new(Counter::of(&kept.limit, key.clone()));
        kept.insert(key, counter.clone());
        Some(counter)
    }
}

impl Kept {
    pub(super) fn insert(&mut self, key: key::Key, counter: Arc<Counter>) {
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
