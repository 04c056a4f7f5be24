//! Which denials of the gateway were taken, by their ids: of each tenant the latest.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::TenantName;
use fhir_core::Instant;

/// Ids of one tenant that are remembered: of several gateways as many as wait in each.
const MOST: usize = 16 << 10;

/// What was handed over since this process began.
#[derive(Debug)]
pub(crate) struct HandedOver {
    began: Instant,
    taken: Mutex<HashMap<TenantName, Ids>>,
}

#[derive(Debug, Default)]
struct Ids {
    known: HashSet<Box<str>>,
    in_order: VecDeque<Box<str>>,
}

impl Ids {
    fn add(&mut self, id: &str) {
        if !self.known.insert(id.into()) {
            return;
        }
        self.in_order.push_back(id.into());
        if self.in_order.len() > MOST
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl HandedOver {
    /// Nothing yet, as of now.
    pub(crate) fn since(began: Instant) -> Self {
        Self { began, taken: Mutex::default() }
    }

    /// When this process began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<TenantName, Ids>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the tenant's denial with this id was taken, as far as that is remembered.
    pub(crate) fn remembers(&self, tenant: &TenantName, id: &str) -> bool {
        self.taken().get(tenant).is_some_and(|ids| ids.known.contains(id))
    }

    /// Notes that it was.
    pub(crate) fn note(&self, tenant: &TenantName, id: &str) {
        self.taken().entry(tenant.clone()).or_default().add(id);
    }

    /// Takes it by `take`, which says whether it could, unless it was taken before; whether it is
    /// taken now. Of two that come at once one is.
    pub(crate) fn once(&self, tenant: &TenantName, id: &str, take: impl FnOnce() -> bool) -> bool {
        let mut taken = self.taken();
        let ids = taken.entry(tenant.clone()).or_default();
        if ids.known.contains(id) {
            return true;
        }
        let is_taken = take();
        if is_taken {
            ids.add(id);
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_not_taken_again_as_long_as_it_is_remembered() {
        let handed_over = HandedOver::since(Instant::from_micros(0));
        let [one, other] = ["one", "other"].map(|name| name.parse::<TenantName>().unwrap());
        assert!(!handed_over.once(&one, "0", || false), "it was not, and may come again");
        assert!(handed_over.once(&one, "0", || true));
        assert!(handed_over.once(&one, "0", || unreachable!("it is known")));
        assert!(!handed_over.remembers(&other, "0"));
        for at in 1..=MOST {
            handed_over.note(&one, &at.to_string());
        }
        assert!(!handed_over.remembers(&one, "0"), "the oldest goes");
        assert!(handed_over.remembers(&one, "1"));
        assert_eq!(handed_over.taken()[&one].known.len(), MOST);
    }
}
