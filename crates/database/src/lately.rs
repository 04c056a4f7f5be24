//! What was committed lately of the types that conditions ask for, by the values that queries
//! compare: so a condition is judged by what came since it was prepared, and by nothing older.
//!
//! The values are taken before the serial step, of those types alone that somebody asked for a
//! moment ago ([`Watched`]); in it they are compared ([`Lately`]). What is not remembered, or was
//! not taken, is not known: then the condition is asked again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fhir_core::json::Document;
use fhir_core::{ResourceId, ResourceType};
use fhir_search::{ExtractOptions, IndexedResource};
use parking_lot::RwLock;
use store::{Commit, CommitKind, T};

use crate::condition::SearchCriteria;
use crate::indexing::IndexedBy;
use crate::transaction::Action;
use crate::{Body, Transaction};

/// For so many commits after a condition on a type values of that type are taken.
const WATCHED_FOR: u64 = 4096;
/// How many changes of a type are remembered: many times what comes while a transaction waits.
const MOST_OF_A_TYPE: usize = 2048;
/// Bytes of values of a type that are remembered, of all types together, and of one resource: of a
/// larger one they are not known. A resource whose JSON is longer is not looked at.
const MOST_BYTES_OF_A_TYPE: usize = 16 << 20;
const MOST_BYTES: usize = 64 << 20;
const MOST_BYTES_OF_ONE: usize = 1 << 20;
/// How much the serial step compares for one transaction, in units of [`fhir_search::Weight`]: some
/// tens of milliseconds.
pub(crate) const MOST_COMPARED: usize = 1_000_000;

/// The types that conditions ask for.
#[derive(Default)]
pub(crate) struct Watched {
    state: RwLock<Watch>,
    /// The last position up to which any type is watched.
    until: AtomicU64,
}

#[derive(Default)]
struct Watch {
    by: Option<Arc<IndexedBy>>,
    /// Up to which position.
    types: HashMap<ResourceType, T>,
}

/// What of a resource is compared, and by what it was taken.
struct Values {
    by: Arc<IndexedBy>,
    resource: IndexedResource,
    /// What it stands in the compartments of.
    named: Vec<(ResourceType, ResourceId)>,
    bytes: usize,
}

/// The values of what a transaction writes, in the order of its changes that do; none of what was
/// not watched. Empty when nothing was.
#[derive(Default)]
pub(crate) struct Valued(Vec<Option<Arc<Values>>>);

fn are_same(one: &IndexedBy, other: &IndexedBy) -> bool {
    Arc::ptr_eq(&one.extractor, &other.extractor)
        && one.base == other.base
        && one.zone == other.zone
}

impl Watched {
    /// From now on values are taken of these types for a while.
    pub(crate) fn watch(&self, (of, criteria): (&ResourceType, &SearchCriteria), at: T) {
        let until = T::new(at.get().saturating_add(WATCHED_FOR));
        let is_soon_over = T::new(at.get().saturating_add(WATCHED_FOR / 2));
        let types = || criteria.reached().iter().chain([of]);
        let watch = self.state.read();
        let is_by = watch.by.as_ref().is_some_and(|by| are_same(by, criteria.by()));
        let is_on = |of| watch.types.get(of).is_some_and(|until| *until >= is_soon_over);
        if is_by && types().all(is_on) {
            return;
        }
        drop(watch);
        let mut watch = self.state.write();
        if !watch.by.as_ref().is_some_and(|by| are_same(by, criteria.by())) {
            watch.by = Some(Arc::new(criteria.by().clone()));
        }
        watch.types.retain(|_, until| *until >= at);
        for of in types() {
            let last = watch.types.entry(of.clone()).or_insert(until);
            *last = until.max(*last);
        }
        self.until.fetch_max(until.get(), Ordering::AcqRel);
    }

    fn is_idle(&self, at: T) -> bool {
        self.until.load(Ordering::Acquire) < at.get()
    }

    /// Takes the values of what a transaction writes, as far as its types are watched at this
    /// position.
    pub(crate) fn values_of(&self, transaction: &Transaction, at: T) -> Valued {
        if self.is_idle(at) {
            return Valued::default();
        }
        let watch = self.state.read();
        let Some(by) = watch.by.clone() else { return Valued::default() };
        let of_changes = transaction.changes.iter().map(|change| &change.resource_type);
        let watched = |of: &ResourceType| watch.types.get(of).is_some_and(|until| *until >= at);
        let watched: Vec<bool> = of_changes.map(watched).collect();
        drop(watch);
        if !watched.contains(&true) {
            return Valued::default();
        }
        // What would push itself out again is not taken.
        let mut left = MOST_BYTES_OF_A_TYPE;
        let values = transaction.changes.iter().zip(watched).filter_map(|(change, is_watched)| {
            let Action::Write { body, .. } = &change.action else { return None };
            let values = (is_watched && left > 0).then(|| values(body, &by)).flatten();
            let bytes = values.as_ref().map_or(0, |it| it.bytes);
            left = left.saturating_sub(bytes);
            Some(values)
        });
        Valued(values.collect())
    }
}

/// What of a resource is compared; `None` where that takes too much room.
fn values(body: &Body, by: &Arc<IndexedBy>) -> Option<Arc<Values>> {
    let json = &body.plain;
    if json.len() > MOST_BYTES_OF_ONE {
        return None;
    }
    let document = Document::parse(json).ok()?;
    let options = ExtractOptions { base: Some(&by.base), zone: by.zone, last_updated: None };
    let resource = IndexedResource::of(document.root(), &by.extractor, &options);
    let bytes = resource.bytes();
    let named = body.compartments.named(Some(&by.base));
    let values = Values { by: Arc::clone(by), resource, named, bytes };
    (bytes <= MOST_BYTES_OF_ONE).then(|| Arc::new(values))
}

/// What the newest commits did to the types that are watched.
#[derive(Default)]
pub(crate) struct Lately(HashMap<ResourceType, OfType>);

struct OfType {
    /// Everything after this position is remembered.
    floor: T,
    changes: VecDeque<Changed>,
    /// Of the values.
    bytes: usize,
}

impl OfType {
    fn after(floor: T) -> Self {
        Self { floor, changes: VecDeque::new(), bytes: 0 }
    }

    fn push(&mut self, change: Changed) {
        self.bytes += change.became.bytes();
        self.changes.push_back(change);
        while self.changes.len() > MOST_OF_A_TYPE || self.bytes > MOST_BYTES_OF_A_TYPE {
            self.forget_the_oldest();
        }
    }

    /// Forgets the oldest change, and so what else there was up to its position.
    fn forget_the_oldest(&mut self) {
        if let Some(forgotten) = self.changes.pop_front() {
            self.floor = self.floor.max(forgotten.t);
            self.bytes -= forgotten.became.bytes();
        }
    }
}

struct Changed {
    t: T,
    id: ResourceId,
    became: Became,
}

impl Changed {
    /// Whether whoever asks may see what came of it, as far as that is known here.
    fn may_be_seen_by(&self, criteria: &SearchCriteria, of: &ResourceType) -> bool {
        match &self.became {
            Became::Known(values) => criteria.may_show(of, &values.named),
            Became::Gone | Became::NotKnown => criteria.shows_some_of(of),
        }
    }
}

enum Became {
    Gone,
    Known(Arc<Values>),
    /// Its values were not taken.
    NotKnown,
}

impl Became {
    fn bytes(&self) -> usize {
        match self {
            Self::Known(values) => values.bytes,
            Self::Gone | Self::NotKnown => 0,
        }
    }
}

impl Lately {
    /// Remembers what `commit`, the next one, does to what is watched.
    pub(crate) fn note(&mut self, commit: &Commit, valued: Valued, watched: &Watched) {
        // With a patient all goes that is theirs.
        if watched.is_idle(commit.t) || commit.kind == CommitKind::Purge {
            self.0.clear();
            return;
        }
        let watch = watched.state.read();
        let is_watched = |of: &ResourceType| watch.types.get(of).is_some_and(|it| *it >= commit.t);
        self.0.retain(|of, _| is_watched(of));
        for of in watch.types.keys().filter(|of| is_watched(of)) {
            if !self.0.contains_key(of) {
                let floor = T::new(commit.t.get().saturating_sub(1));
                self.0.insert(of.clone(), OfType::after(floor));
            }
        }
        drop(watch);
        let mut valued = valued.0.into_iter();
        for version in &commit.versions {
            let is_deleted = version.flags.is_deleted();
            let values = if is_deleted { None } else { valued.next().flatten() };
            let Some(of_type) = self.0.get_mut(&version.resource_type) else { continue };
            let became = match values {
                _ if is_deleted => Became::Gone,
                Some(values) => Became::Known(values),
                None => Became::NotKnown,
            };
            of_type.push(Changed { t: commit.t, id: version.id.clone(), became });
        }
        let mut bytes: usize = self.0.values().map(|it| it.bytes).sum();
        while bytes > MOST_BYTES
            && let Some(largest) = self.0.values_mut().max_by_key(|it| it.bytes)
        {
            bytes -= largest.bytes;
            largest.forget_the_oldest();
            bytes += largest.bytes;
        }
    }

    /// What was done to a type after `since`; `None` where that is not known. `last` is the last
    /// position that was judged.
    fn since(
        &mut self,
        of: &ResourceType,
        since: T,
        last: T,
    ) -> Option<impl Iterator<Item = &Changed>> {
        if !self.0.contains_key(of) {
            self.0.insert(of.clone(), OfType::after(last));
        }
        let of_type = self.0.get(of).filter(|it| it.floor <= since)?;
        let first = of_type.changes.partition_point(|change| change.t <= since);
        Some(of_type.changes.range(first..))
    }

    /// Whether it is certain that criteria over a type, which found these as of `since`, find them
    /// still at `last`, up to which all is judged. Takes from `left` what work that is.
    pub(crate) fn hold(
        &mut self,
        (of, criteria): (&ResourceType, &SearchCriteria),
        found: &[ResourceId],
        (since, last): (T, T),
        left: &mut usize,
    ) -> bool {
        if since >= last {
            return true;
        }
        for reached in criteria.reached() {
            let Some(changes) = self.since(reached, since, last) else { return false };
            if !take(1, left) {
                return false;
            }
            for change in changes {
                if !take(1, left) || change.may_be_seen_by(criteria, reached) {
                    return false;
                }
            }
        }
        let Some(changes) = self.since(of, since, last) else { return false };
        for change in changes {
            if !take(1, left) {
                return false;
            }
            if !change.may_be_seen_by(criteria, of) && found.binary_search(&change.id).is_err() {
                continue;
            }
            let matches = match &change.became {
                Became::Gone => Some(false),
                Became::Known(values) if are_same(&values.by, criteria.by()) => {
                    criteria.matches_at_once(&values.resource, left)
                }
                Became::Known(_) | Became::NotKnown => None,
            };
            if matches != Some(found.binary_search(&change.id).is_ok()) {
                return false;
            }
        }
        true
    }
}

/// Takes so much from what is left, if there is so much.
fn take(work: usize, left: &mut usize) -> bool {
    let less = left.checked_sub(work);
    *left = less.unwrap_or(*left);
    less.is_some()
}
