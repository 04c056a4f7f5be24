//! The members of Groups as they were read lately: a rule that names a Group asks for them with
//! every request, and a Group may have very many.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::TenantName;
use database::{Owners, T};
use fhir_core::{Instant, ResourceId};

/// Members of all Groups that are kept at a time, roughly 100 bytes each.
const MOST_MEMBERS: usize = 200_000;

/// One version of a Group: the position of its commit beside its tenant and its id.
type Key = (TenantName, ResourceId, T);

/// Who was an active member, and for how long that stays so.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    /// The patients.
    pub(crate) patients: Owners,
    /// When that was judged.
    pub(crate) from: Instant,
    /// The last moment for which it holds: then a membership begins or ends. None where none does.
    pub(crate) until: Option<Instant>,
}

impl Members {
    fn hold(&self, now: Instant) -> bool {
        self.from <= now && self.until.is_none_or(|until| now <= until)
    }
}

/// The members of versions of Groups. A version never changes; whether it is the present one and
/// can be read is decided before.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    groups: HashMap<Key, Members>,
    members: usize,
}

impl Groups {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The members of a version, where they are known as of now.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<Owners> {
        let known = self.known();
        let members = known.groups.get(key).filter(|members| members.hold(now))?;
        Some(members.patients.clone())
    }

    /// Keeps them. When there are too many, all others go.
    pub(crate) fn keep(&self, key: Key, members: Members) {
        let count = members.patients.len() + 1;
        let mut known = self.known();
        if let Some(before) = known.groups.remove(&key) {
            known.members -= before.patients.len() + 1;
        }
        if known.members + count > MOST_MEMBERS {
            *known = Known::default();
        }
        if count <= MOST_MEMBERS {
            known.members += count;
            known.groups.insert(key, members);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u32) -> Instant {
        format!("2026-03-04T05:06:{second:02}Z").parse().unwrap()
    }

    fn key(t: u64) -> Key {
        ("default".parse().unwrap(), "g".parse().unwrap(), T::new(t))
    }

    fn members(count: usize) -> Members {
        let one = |at: usize| ("Patient".parse().unwrap(), format!("{at}").parse().unwrap());
        Members { patients: (0..count).map(one).collect(), from: at(1), until: Some(at(3)) }
    }

    #[test]
    fn members_are_known_until_a_membership_begins_or_ends() {
        let groups = Groups::default();
        groups.keep(key(1), members(2));
        let known = |second| groups.get(&key(1), at(second)).map(|it| it.len());
        assert_eq!([0, 1, 3, 4].map(known), [None, Some(2), Some(2), None]);
        assert!(groups.get(&key(2), at(1)).is_none(), "another version has others");
        groups.keep(key(1), Members { until: None, ..members(5) });
        assert_eq!(known(4), Some(5));
    }

    #[test]
    fn what_is_kept_of_members_has_a_bound() {
        let groups = Groups::default();
        for t in 0..7 {
            groups.keep(key(t), members(MOST_MEMBERS / 4));
            assert!(groups.known().members <= MOST_MEMBERS);
            assert!(groups.get(&key(t), at(1)).is_some());
        }
        groups.keep(key(9), members(MOST_MEMBERS));
        assert!(groups.get(&key(9), at(1)).is_none());
    }
}
