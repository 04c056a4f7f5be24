//! How far an index is that is being made, and what could not be indexed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fhir_search::{Extractor, Origin, Parameter, Query, Zone};
use store::T;

use super::{Indexes, Indexing};
use crate::Database;

/// The index that is being made has read so much of the log, in percent: 99 at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeingIndexed {
    /// The parameters that are not indexed yet.
    pub parameters: Vec<Arc<Parameter>>,
    /// How much of the log the index that has them has read, in percent.
    pub percent: u8,
}

impl Database {
    /// Which of an extractor's parameters are not indexed as it takes them, and how far the index
    /// is that will have them; none when all are. While there is no index to search at all, as
    /// after a start, those that were posted stand for all.
    #[must_use]
    pub fn being_indexed(&self, extractor: &Extractor<'static>) -> Option<BeingIndexed> {
        let indexes = self.shared.indexes();
        let queued = self.shared.queued_index.lock().clone();
        let current = indexes.current.as_ref()?;
        let making = queued.as_ref().or(indexes.making())?;
        let parameters = extractor.parameters();
        let is_indexed = |parameter: &Parameter| {
            let own = current.by.extractor.parameters();
            let same = own.get(&parameter.resource_type, parameter.code());
            same.is_some_and(|it| it.fingerprint == parameter.fingerprint)
        };
        let knows_some = current.has_caught_up() && current.is_comparable(extractor);
        let missing = parameters.all().filter(|it| match knows_some {
            true => !is_indexed(it),
            false => it.origin == Origin::Posted,
        });
        let parameters: Vec<_> = missing.cloned().collect();
        let percent = making.percent(T::new(self.shared.published.load(Ordering::Acquire)));
        (!parameters.is_empty()).then_some(BeingIndexed { parameters, percent })
    }

    /// Parameters, by type and code, that have no values of some resources since their expression
    /// fails there or takes more steps than it may, each with about how often that was so since
    /// the index was begun.
    #[must_use]
    pub fn left_out_of_index(&self) -> Vec<(Box<str>, Box<str>, u64)> {
        self.shared.indexing().map(|it| it.index.left_out()).unwrap_or_default()
    }
}

impl Indexes {
    /// The index that has not caught up, the one of the newest parameters where there are two.
    fn making(&self) -> Option<&Arc<Indexing>> {
        let current = self.current.as_ref().filter(|it| !it.has_caught_up());
        self.next.as_ref().or(current)
    }

    /// What of a query an index that is ready does not have, while one is made that will.
    pub(crate) fn being_indexed(
        &self,
        query: &Query,
        extractor: &Extractor<'static>,
        (zone, head): (Zone, T),
    ) -> Option<BeingIndexed> {
        let (current, next) = (self.current.as_ref()?, self.next.as_ref()?);
        if !current.is_ready(zone) {
            return None;
        }
        let parameters = current.lacks(query, extractor)?;
        let has_all = next.lacks(query, extractor).is_some_and(|lacking| lacking.is_empty());
        // Else the one that has is queued.
        let percent = if has_all { next.percent(head) } else { 0 };
        (!parameters.is_empty()).then_some(BeingIndexed { parameters, percent })
    }
}

impl Indexing {
    /// Whether what it has of a parameter is what an extractor takes where both define it alike.
    fn is_comparable(&self, extractor: &Extractor<'static>) -> bool {
        self.by.extractor.is_comparable(extractor)
    }

    /// The parameters of a query, read with those of an extractor, whose values it does not have;
    /// `None` when it cannot tell.
    pub(crate) fn lacks(
        &self,
        query: &Query,
        extractor: &Extractor<'static>,
    ) -> Option<Vec<Arc<Parameter>>> {
        let own = &self.by.extractor;
        let comparable = own.is_comparable(extractor);
        comparable.then(|| query.unlike(extractor.parameters(), own.parameters()))
    }

    /// How much it has of a log with this head, in percent.
    fn percent(&self, head: T) -> u8 {
        let (read, all) = (u128::from(self.index.head().get()), u128::from(head.get().max(1)));
        u8::try_from((read * 100 / all).min(99)).unwrap_or(99)
    }

    /// Says in the log what could not be indexed, again for each tenfold.
    pub(super) fn tell_left_out(&self) {
        let mut told = self.told.lock();
        for (resource_type, code, count) in self.index.left_out() {
            let before = told.entry((resource_type.clone(), code.clone())).or_default();
            if *before == 0 || count >= before.saturating_mul(10) {
                *before = count;
                tracing::warn!(
                    %resource_type, %code, count,
                    "the expression of a search parameter fails on resources, or takes more steps \
                     than it may: they are not found by it"
                );
            }
        }
    }
}
