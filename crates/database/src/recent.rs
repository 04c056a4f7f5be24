//! What was changed lately, so that a condition that nothing touched need not be asked again.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};

use fhir_core::{ResourceId, ResourceType};
use store::{Commit, IdentifierKey, T};

/// How many touched things are remembered: many times what waits in the queue, and few enough
/// for a processor's cache.
const LIMIT: usize = 1 << 16;
/// For so many commits after a transaction with conditions it is remembered what is touched: most
/// data comes without conditions, and remembering costs more than all else of a judgement.
const REMEMBERED_FOR: u64 = 1 << 16;

/// A resource or an identifier, hashed with a key drawn at start. Should two share a hash, one
/// may seem touched that is not, and is asked again: never the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Touched(u64);

/// When each resource and identifier was last touched, for the newest commits.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Everything after this position is remembered.
    floor: T,
    /// Remembering began here; what was dropped since, being too much, is below the floor.
    began: T,
    /// Up to this position commits are remembered.
    until: T,
    hasher: RandomState,
    last: HashMap<Touched, T, BuildHasherDefault<AsItIs>>,
    order: VecDeque<(T, Touched)>,
}

/// What is a hash already needs no other.
#[derive(Debug, Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Recent {
    /// Remembers from `floor` on.
    pub(crate) fn since(floor: T) -> Self {
        Self { floor, began: floor, ..Self::default() }
    }

    /// Remembers, for a while, what commits after `head` touch, of which `commits` are already
    /// judged: conditions are being judged.
    pub(crate) fn remember_after<'a>(
        &mut self,
        head: T,
        commits: impl IntoIterator<Item = &'a Commit>,
    ) {
        let remembered = self.until > head && self.began <= head;
        self.until = T::new(head.get().saturating_add(REMEMBERED_FOR));
        if !remembered {
            self.forget(head);
            commits.into_iter().for_each(|commit| self.note(commit));
        }
    }

    /// Remembers nothing up to `floor`.
    fn forget(&mut self, floor: T) {
        (self.floor, self.began) = (floor, floor);
        if !self.order.is_empty() {
            self.last.clear();
            self.order.clear();
        }
    }

    /// Remembers what `commit` touches, or that it does not.
    pub(crate) fn note(&mut self, commit: &Commit) {
        if commit.t > self.until {
            return self.forget(commit.t);
        }
        if let Some((of, name, _)) = commit.answers() {
            self.touch(commit.t, self.identifier(&of, &name));
        }
        for version in &commit.versions {
            let of = &version.resource_type;
            self.touch(commit.t, self.resource(of, &version.id));
            for identifier in &version.identifiers {
                self.touch(commit.t, self.identifier(of, identifier));
            }
        }
        while self.order.len() > LIMIT {
            if let Some((t, touched)) = self.order.pop_front() {
                self.floor = self.floor.max(t);
                if self.last.get(&touched) == Some(&t) {
                    self.last.remove(&touched);
                }
            }
        }
    }

    fn touch(&mut self, t: T, touched: Touched) {
        self.last.insert(touched, t);
        self.order.push_back((t, touched));
    }

    fn resource(&self, of: &ResourceType, id: &ResourceId) -> Touched {
        Touched(self.hasher.hash_one((0_u8, of, id)))
    }

    fn identifier(&self, of: &ResourceType, key: &IdentifierKey) -> Touched {
        Touched(self.hasher.hash_one((1_u8, of, key)))
    }

    /// Whether it is certain that this resource was not changed after `since`.
    pub(crate) fn untouched(&self, of: &ResourceType, id: &ResourceId, since: T) -> bool {
        self.before(self.resource(of, id), since)
    }

    /// Whether it is certain that no resource got this identifier after `since`.
    pub(crate) fn unborne(&self, of: &ResourceType, key: &IdentifierKey, since: T) -> bool {
        self.before(self.identifier(of, key), since)
    }

    fn before(&self, touched: Touched, since: T) -> bool {
        since >= self.floor && self.last.get(&touched).is_none_or(|&last| last <= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{CommitId, CommitKind, FhirVersion, TenantText};

    fn commit(t: u64) -> Commit {
        Commit {
            t: T::new(t),
            instant: fhir_core::Instant::from_micros(1),
            id: CommitId(u128::from(t)),
            idempotency: None,
            tenant: TenantText::new("clinic").unwrap(),
            fhir_version: FhirVersion::R4,
            kind: CommitKind::Resources,
            versions: vec![store::suite::fixture::put("Patient/a", 1, "text")],
        }
    }

    fn untouched(recent: &Recent, id: &str, since: u64) -> bool {
        let patient = ResourceType::new("Patient").unwrap();
        recent.untouched(&patient, &ResourceId::new(id).unwrap(), T::new(since))
    }

    /// G3: what is not remembered is not certain.
    #[test]
    fn what_came_before_conditions_were_judged_is_not_certain() {
        let mut recent = Recent::since(T::ZERO);
        recent.note(&commit(1));
        assert!(!untouched(&recent, "a", 0) && !untouched(&recent, "b", 0));
        assert!(untouched(&recent, "a", 1) && untouched(&recent, "b", 1));
        // Conditions come when two commits of a group are judged, then another follows.
        recent.note(&commit(2));
        recent.note(&commit(3));
        recent.remember_after(T::new(1), &[commit(2), commit(3)]);
        recent.note(&commit(4));
        recent.remember_after(T::new(4), &[]);
        for since in 1..4 {
            assert!(!untouched(&recent, "a", since) && untouched(&recent, "b", since));
        }
        assert!(untouched(&recent, "a", 4) && !untouched(&recent, "b", 0));
        // When none come for long, nothing is remembered any more.
        recent.note(&commit(5 + REMEMBERED_FOR));
        assert!(!untouched(&recent, "b", 4) && recent.last.is_empty());
    }
}
