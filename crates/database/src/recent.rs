//! What was changed lately, so that a condition that nothing touched need not be asked again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType};
use store::{Commit, IdentifierKey, T};

/// How many touched things are remembered.
const LIMIT: usize = 200_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Touched {
    Resource(ResourceType, ResourceId),
    Identifier(ResourceType, IdentifierKey),
}

/// When each resource and identifier was last touched, for the newest commits.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Everything after this position is remembered.
    floor: T,
    last: HashMap<Arc<Touched>, T>,
    order: VecDeque<(T, Arc<Touched>)>,
}

impl Recent {
    /// Remembers from `floor` on.
    pub(crate) fn since(floor: T) -> Self {
        Self { floor, ..Self::default() }
    }

    /// Remembers what `commit` touches.
    pub(crate) fn note(&mut self, commit: &Commit) {
        for version in &commit.versions {
            let of = &version.resource_type;
            self.touch(commit.t, Touched::Resource(of.clone(), version.id.clone()));
            for identifier in &version.identifiers {
                self.touch(commit.t, Touched::Identifier(of.clone(), identifier.clone()));
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
        let touched = Arc::new(touched);
        self.last.insert(Arc::clone(&touched), t);
        self.order.push_back((t, touched));
    }

    /// Whether it is certain that this resource was not changed after `since`.
    pub(crate) fn untouched(&self, of: &ResourceType, id: &ResourceId, since: T) -> bool {
        self.before(&Touched::Resource(of.clone(), id.clone()), since)
    }

    /// Whether it is certain that no resource got this identifier after `since`.
    pub(crate) fn unborne(&self, of: &ResourceType, key: &IdentifierKey, since: T) -> bool {
        self.before(&Touched::Identifier(of.clone(), key.clone()), since)
    }

    fn before(&self, touched: &Touched, since: T) -> bool {
        since >= self.floor && self.last.get(touched).is_none_or(|&last| last <= since)
    }
}
