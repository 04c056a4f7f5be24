//! What every document says of the version that it is for, and when that version ended.

use std::sync::Arc;

use fhir_core::{Instant, VersionId};
use roaring::RoaringBitmap;
use store::T;

use crate::dictionary::shrink;
use crate::places::first_from;

/// A resource within one index: given at first sight, also to what is only referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ordinal(pub(crate) u32);

impl Ordinal {
    /// That of no resource.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// Where a version stands in the log. Documents are in this order, within a part of the index as
/// from part to part; so it is also the order in which hits come when nothing else is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LogPlace {
    /// The commit.
    pub(crate) t: T,
    /// Which of the commit's changes, from 0.
    pub(crate) change: u32,
}

/// The version that a document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) ordinal: Ordinal,
    pub(crate) place: LogPlace,
    pub(crate) version: VersionId,
    pub(crate) instant: Instant,
    pub(crate) of: DocumentOf,
}

/// What a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DocumentOf {
    /// A resource.
    Resource,
    /// A resource contained in that of the nearest document of a resource before it. Searches
    /// find it by way of that one alone.
    Contained,
}

/// The documents of one part of the index, by number, in the order of the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Documents {
    all: Vec<Document>,
    /// By ordinal and number.
    by_ordinal: Vec<(Ordinal, u32)>,
    /// How much of `by_ordinal` is sorted; what follows is in the order of the documents.
    sorted: usize,
}

/// So many unsorted ordinals are looked through before they are sorted.
const UNSORTED: usize = 64;

impl From<Vec<Document>> for Documents {
    /// All documents of a part, in the order of the log; sorted once, however many they are.
    fn from(mut all: Vec<Document>) -> Self {
        shrink(&mut all);
        let ordinals = all.iter().map(|document| document.ordinal);
        let mut by_ordinal: Vec<(Ordinal, u32)> = ordinals.zip(0..).collect();
        by_ordinal.sort_unstable();
        Self { sorted: by_ordinal.len(), all, by_ordinal }
    }
}

impl Documents {
    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    /// One of them.
    pub(crate) fn get(&self, doc: u32) -> Document {
        self.all[doc as usize]
    }

    /// All, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Document> + '_ {
        self.all.iter().copied()
    }

    /// Adds the next one of the log. Gives its number.
    pub(crate) fn push(&mut self, document: Document) -> u32 {
        let doc = self.len();
        self.all.push(document);
        self.by_ordinal.push((document.ordinal, doc));
        if self.by_ordinal.len() - self.sorted > UNSORTED {
            self.sort();
        }
        doc
    }

    /// Makes looking up by ordinal a binary search alone.
    fn sort(&mut self) {
        self.by_ordinal.sort();
        self.sorted = self.by_ordinal.len();
    }

    /// Those of a resource, in no order.
    pub(crate) fn of(&self, ordinal: Ordinal) -> impl Iterator<Item = u32> + '_ {
        let (sorted, rest) = self.by_ordinal.split_at(self.sorted);
        let start = sorted.partition_point(|(it, _)| *it < ordinal);
        let in_sorted = sorted[start..].iter().take_while(move |(it, _)| *it == ordinal);
        in_sorted.chain(rest.iter().filter(move |(it, _)| *it == ordinal)).map(|(_, doc)| *doc)
    }

    /// Calls with each document of these resources, in no order: one is looked for from where the
    /// one before was found, and resources without documents here are left out together.
    pub(crate) fn of_all(&self, ordinals: &RoaringBitmap, mut each: impl FnMut(u32)) {
        let (sorted, rest) = self.by_ordinal.split_at(self.sorted);
        let mut wanted = ordinals.iter();
        let mut from = 0;
        while let Some((own, _)) = sorted.get(from) {
            wanted.advance_to(own.0);
            let Some(ordinal) = wanted.next() else { break };
            from = first_from(sorted, from, Ordinal(ordinal));
            while let Some((_, doc)) = sorted.get(from).filter(|(it, _)| it.0 == ordinal) {
                each(*doc);
                from += 1;
            }
        }
        let of_rest = rest.iter().filter(|(ordinal, _)| ordinals.contains(ordinal.0));
        of_rest.for_each(|(_, doc)| each(*doc));
    }

    /// At most how many of these resources it has documents of.
    pub(crate) fn most_of(&self, ordinals: &RoaringBitmap) -> u64 {
        let (sorted, rest) = self.by_ordinal.split_at(self.sorted);
        let of_sorted = match (sorted.first(), sorted.last()) {
            (Some((first, _)), Some((last, _))) => ordinals.range_cardinality(first.0..=last.0),
            _ => 0,
        };
        of_sorted.min(sorted.len() as u64) + rest.len() as u64
    }

    /// A document and those of the resources that it contains.
    pub(crate) fn with_contained(&self, doc: u32) -> std::ops::Range<u32> {
        let after = self.all.iter().skip(doc as usize + 1);
        let contained = after.take_while(|it| it.of == DocumentOf::Contained).count();
        doc..doc + 1 + u32::try_from(contained).unwrap_or(0)
    }

    /// The document of the resource that one contained in it stands behind: the first of its
    /// place, looked up, since a resource may contain very many.
    pub(crate) fn container(&self, doc: u32) -> u32 {
        let Document { of, place, .. } = self.get(doc);
        match of {
            DocumentOf::Resource => doc,
            DocumentOf::Contained => self.first_from(place),
        }
    }

    /// How many were there when `t` was the head: the later ones are a suffix.
    pub(crate) fn up_to(&self, t: T) -> u32 {
        let count = self.all.partition_point(|document| document.place.t <= t);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The number of the first document that does not stand before a place.
    pub(crate) fn first_from(&self, place: LogPlace) -> u32 {
        let count = self.all.partition_point(|document| document.place < place);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The number of the first document whose instant is not before one: with the log instants
    /// only grow.
    pub(crate) fn first_at(&self, instant: Instant) -> u32 {
        let count = self.all.partition_point(|document| document.instant < instant);
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// The documents of a part whose version was replaced or deleted, and at which `t`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Superseded {
    /// All of them; shared with readers, copied when one still has it.
    now: Arc<RoaringBitmap>,
    /// In the order of the log.
    endings: Vec<Ending>,
    /// Documents of purged resources: there at no `t`.
    purged: Arc<RoaringBitmap>,
    /// How often any of it changed.
    changes: u64,
}

/// When the version of a document was replaced or deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    /// The commit.
    pub(crate) t: T,
    /// Its instant.
    pub(crate) instant: Instant,
    /// The document.
    pub(crate) doc: u32,
}

impl Superseded {
    /// Notes that a document's version ended with a commit. It is mostly the newest so far; a
    /// merge, which reads one part after the other while commits go on, hears of some late.
    pub(crate) fn note(&mut self, ending: Ending) {
        self.changes += 1;
        Arc::make_mut(&mut self.now).insert(ending.doc);
        let newer = self.endings.iter().rev().take_while(|it| it.t > ending.t).count();
        self.endings.insert(self.endings.len() - newer, ending);
    }

    /// Hides documents of purged resources from now on, at every `t`.
    pub(crate) fn purge(&mut self, docs: &[u32]) {
        self.changes += 1;
        Arc::make_mut(&mut self.purged).extend(docs);
    }

    /// The documents of purged resources.
    pub(crate) fn purged_docs(&self) -> impl Iterator<Item = u32> + '_ {
        self.purged.iter()
    }

    /// Whether a document is one of a purged resource.
    pub(crate) fn is_purged(&self, doc: u32) -> bool {
        self.purged.contains(doc)
    }

    /// Whether a document's version has ended by now.
    pub(crate) fn has_ended(&self, doc: u32) -> bool {
        self.now.contains(doc)
    }

    /// How many documents are to be dropped for having been purged.
    pub(crate) fn purged(&self) -> u64 {
        self.purged.len()
    }

    /// When documents ended, in the order of the log.
    pub(crate) fn endings(&self) -> &[Ending] {
        &self.endings
    }

    /// Which documents had ended when `t` was the head.
    pub(crate) fn at(&self, t: T) -> Ended {
        let later = self.endings.partition_point(|ending| ending.t <= t);
        let since = self.endings[later..].iter().map(|ending| ending.doc);
        let mut since: Vec<u32> = since.filter(|doc| !self.purged.contains(*doc)).collect();
        since.sort_unstable();
        let (now, purged) = (Arc::clone(&self.now), Arc::clone(&self.purged));
        Ended { now, since, purged, changes: self.changes }
    }
}

/// Which documents of a part had ended at some `t`.
#[derive(Debug)]
pub(crate) struct Ended {
    now: Arc<RoaringBitmap>,
    /// Those that ended after it, ascending.
    since: Vec<u32>,
    purged: Arc<RoaringBitmap>,
    changes: u64,
}

impl Ended {
    /// A number that is the same only where the same ones have ended by now and were purged.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether one of a set may have ended, or been purged.
    pub(crate) fn has_some_of(&self, set: &RoaringBitmap) -> bool {
        !self.now.is_disjoint(set) || !self.purged.is_disjoint(set)
    }

    /// Those that have ended by now, and had not at the `t`.
    pub(crate) fn since(&self) -> &[u32] {
        &self.since
    }

    /// Whether a document is one of a purged resource.
    pub(crate) fn is_purged(&self, doc: u32) -> bool {
        self.purged.contains(doc)
    }

    /// Whether a document had ended, or is of a purged resource.
    pub(crate) fn has(&self, doc: u32) -> bool {
        let has_ended = self.now.contains(doc) && self.since.binary_search(&doc).is_err();
        has_ended || self.is_purged(doc)
    }

    /// Takes those that had ended out of a set.
    pub(crate) fn take_from(&self, set: &mut RoaringBitmap) {
        if !self.purged.is_empty() {
            *set -= &*self.purged;
        }
        if self.now.is_empty() {
            return;
        }
        if self.since.is_empty() {
            *set -= &*self.now;
            return;
        }
        let still_there: Vec<u32> =
            self.since.iter().copied().filter(|doc| set.contains(*doc)).collect();
        *set -= &*self.now;
        set.extend(still_there);
    }
}

#[cfg(test)]
mod tests {
    use super::{Document, DocumentOf, Documents, Ending, LogPlace, Ordinal, Superseded};
    use fhir_core::{Instant, VersionId};
    use roaring::RoaringBitmap;
    use store::T;

    fn document(ordinal: u32, t: u64) -> Document {
        Document {
            ordinal: Ordinal(ordinal),
            place: LogPlace { t: T::new(t), change: 0 },
            version: VersionId::FIRST,
            instant: Instant::from_micros(i64::try_from(t).unwrap() * 1000),
            of: DocumentOf::Resource,
        }
    }

    #[test]
    fn documents_are_found_by_resource_and_by_position() {
        let all: Vec<Document> =
            (0..300_u32).map(|at| document(at % 100, u64::from(at / 2) + 1)).collect();
        let mut pushed = Documents::default();
        for document in &all {
            pushed.push(*document);
        }
        for documents in [pushed, Documents::from(all)] {
            let mut of: Vec<u32> = documents.of(Ordinal(42)).collect();
            of.sort_unstable();
            assert_eq!(of, [42, 142, 242]);
            assert_eq!(documents.of(Ordinal(100)).count(), 0);
            assert_eq!(documents.up_to(T::ZERO), 0);
            assert_eq!(documents.up_to(T::new(3)), 6);
            assert_eq!(documents.up_to(T::new(900)), 300);
            assert_eq!(documents.first_at(Instant::from_micros(3000)), 4);
            assert_eq!(documents.first_at(Instant::from_micros(3001)), 6);
        }
    }

    #[test]
    fn documents_of_many_resources_are_found_together() {
        let all: Vec<Document> =
            (0..300_u32).map(|at| document(at * 7 % 110, u64::from(at) + 1)).collect();
        let mut pushed = Documents::default();
        for document in &all {
            pushed.push(*document);
        }
        let wanted: RoaringBitmap = [0, 3, 4, 50, 109, 110, 5000].into_iter().collect();
        let is_wanted = |doc: &u32| wanted.contains(all[*doc as usize].ordinal.0);
        let expected: Vec<u32> = (0..300).filter(is_wanted).collect();
        for documents in [pushed, Documents::from(all.clone())] {
            let mut found = Vec::new();
            documents.of_all(&wanted, |doc| found.push(doc));
            found.sort_unstable();
            assert_eq!(found, expected);
            assert!((5..=7 + 64).contains(&documents.most_of(&wanted)));
            documents.of_all(&RoaringBitmap::new(), |doc| panic!("{doc} is of nothing"));
        }
        Documents::default().of_all(&wanted, |doc| panic!("{doc} is not there"));
    }

    #[test]
    fn a_container_is_found_from_each_of_very_many_that_it_contains() {
        let mut all = vec![document(0, 1), document(1, 2)];
        let contained =
            (2..200_000).map(|at| Document { of: DocumentOf::Contained, ..document(at, 2) });
        all.extend(contained);
        all.push(document(200_000, 3));
        let documents = Documents::from(all);
        // Where each is walked back from, this takes minutes.
        assert!((1..200_000).all(|doc| documents.container(doc) == 1));
        assert_eq!((documents.container(0), documents.container(200_000)), (0, 200_000));
        assert_eq!(documents.with_contained(1), 1..200_000);
    }

    #[test]
    fn what_had_ended_is_right_at_every_t_in_whatever_order_it_was_noted() {
        let mut superseded = Superseded::default();
        // As a merge may note them: that of 5 late.
        for (t, doc) in [(7, 0), (8, 3), (5, 1)] {
            superseded.note(Ending { t: T::new(t), instant: Instant::from_micros(0), doc });
        }
        let all: RoaringBitmap = (0..4).collect();
        for (t, expected) in [
            (4, vec![0, 1, 2, 3]),
            (5, vec![0, 2, 3]),
            (6, vec![0, 2, 3]),
            (7, vec![2, 3]),
            (8, vec![2]),
        ] {
            let mut set = all.clone();
            superseded.at(T::new(t)).take_from(&mut set);
            assert_eq!(set.iter().collect::<Vec<_>>(), expected, "at {t}");
        }
    }
}
