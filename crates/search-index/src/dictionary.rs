//! The keys of a settled segment, sorted, with their documents. Nothing in it is changed, and it
//! is a few plain lists.

use roaring::RoaringBitmap;

use crate::facet::Facet;
use crate::part::Keys;
use crate::postings::{Postings, Union};

/// Sorted keys of many facets.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    /// Ascending.
    facets: Vec<FacetPlace>,
    /// Where each key ends in `bytes`.
    ends: Vec<u32>,
    bytes: Vec<u8>,
    /// Where the documents of each key are.
    slots: Vec<Slot>,
    few: Vec<u32>,
    many: Vec<RoaringBitmap>,
    /// While it is made: a bit for each document that has a key of the last facet.
    marks: Vec<u64>,
}

/// Where the keys of a facet are.
#[derive(Debug, Clone, Copy)]
struct FacetPlace {
    facet: Facet,
    /// The place of its first key.
    start: u32,
    /// How many documents its keys have, each counted once for each key.
    documents: u64,
    /// Whether no document has two of its keys.
    is_single: bool,
}

/// Up to so many documents stand in the common list, more in a bitmap of their own.
const MOST_OF_FEW: u32 = 32;

/// Where documents are: so many of `few`, or with no count one of `many`.
#[derive(Debug, Clone, Copy)]
struct Slot {
    at: u32,
    count: u8,
}

impl Dictionary {
    /// How many bytes its keys have.
    pub(crate) fn key_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        let many: usize = self.many.iter().map(|it| it.serialized_size() + 64).sum();
        self.bytes.len() + self.ends.len() * (4 + size_of::<Slot>()) + self.few.len() * 4 + many
    }

    /// The key at a place.
    pub(crate) fn key(&self, place: u32) -> &[u8] {
        let place = place as usize;
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.bytes[start as usize..self.ends[place] as usize]
    }

    /// The documents of the key at a place.
    pub(crate) fn postings(&self, place: u32) -> Postings<'_> {
        let slot = self.slots[place as usize];
        match slot.count {
            0 => Postings::Many(&self.many[slot.at as usize]),
            count => Postings::Few(&self.few[slot.at as usize..][..usize::from(count)]),
        }
    }

    /// All facets, ascending.
    pub(crate) fn facets(&self) -> impl Iterator<Item = Facet> + '_ {
        self.facets.iter().map(|it| it.facet)
    }

    /// The places of a facet's keys.
    pub(crate) fn places(&self, facet: Facet) -> std::ops::Range<u32> {
        let end_of_all = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        match self.facets.binary_search_by_key(&facet, |it| it.facet) {
            Ok(at) => {
                let end = self.facets.get(at + 1).map_or(end_of_all, |it| it.start);
                self.facets[at].start..end
            }
            Err(_) => 0..0,
        }
    }

    /// About how many documents the keys of a range have: as many as any keys of the facet.
    pub(crate) fn count_documents(&self, facet: Facet, low: &[u8], high: Option<&[u8]>) -> u64 {
        let Ok(at) = self.facets.binary_search_by_key(&facet, |it| it.facet) else { return 0 };
        let all = (self.places(facet).len() as u64).max(1);
        let keys = self.within(facet, low, high).len() as u64;
        keys * self.facets[at].documents / all
    }

    /// The place of the first key of a facet that is not below `low`.
    fn first_from(&self, places: &std::ops::Range<u32>, low: &[u8]) -> u32 {
        let (mut start, mut end) = (places.start, places.end);
        while start < end {
            let middle = start + (end - start) / 2;
            if self.key(middle) < low {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        start
    }

    /// The places of the keys of a facet from `low` on, those below `high` alone if it is given.
    pub(crate) fn within(
        &self,
        facet: Facet,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> std::ops::Range<u32> {
        let places = self.places(facet);
        // Of most ranges all keys are on one side, which the first and the last tell.
        if places.is_empty() || self.key(places.end - 1) < low {
            return places.end..places.end;
        }
        if high.is_some_and(|high| self.key(places.start) >= high) {
            return places.start..places.start;
        }
        let start = self.first_from(&places, low);
        let end = high.map_or(places.end, |high| self.first_from(&(start..places.end), high));
        start..end
    }

    /// Adds the documents of all keys at these places. Gives how many they are, each counted once
    /// for each key.
    pub(crate) fn unite<'a>(&'a self, places: std::ops::Range<u32>, union: &mut Union<'a>) -> u64 {
        let slots = &self.slots[places.start as usize..places.end as usize];
        let mut documents = 0;
        for slot in slots.iter().filter(|slot| slot.count == 0) {
            let many = &self.many[slot.at as usize];
            documents += many.len();
            union.add(Postings::Many(many));
        }
        // The lists of neighbours follow one another.
        let mut short = slots.iter().filter(|slot| slot.count > 0);
        if let Some(first) = short.next() {
            let last = short.next_back().unwrap_or(first);
            let few = &self.few[first.at as usize..last.at as usize + usize::from(last.count)];
            documents += few.len() as u64;
            union.add(Postings::Few(few));
        }
        documents
    }

    /// Whether no document has two keys of a facet.
    pub(crate) fn is_single(&self, facet: Facet) -> bool {
        let at = self.facets.binary_search_by_key(&facet, |it| it.facet);
        at.is_ok_and(|at| self.facets[at].is_single)
    }

    /// The keys of a facet from `low` on, those below `high` alone if it is given.
    pub(crate) fn range<'a>(&'a self, facet: Facet, low: &[u8], high: Option<&[u8]>) -> Keys<'a> {
        let places = self.within(facet, low, high);
        Box::new(places.map(|place| (self.key(place), self.postings(place))))
    }

    /// The documents of a key.
    pub(crate) fn get(&self, facet: Facet, key: &[u8]) -> Option<Postings<'_>> {
        let places = self.places(facet);
        let place = self.first_from(&places, key);
        (place < places.end && self.key(place) == key).then(|| self.postings(place))
    }

    /// Whether so many bytes of a key and so many documents can be added.
    pub(crate) fn has_room_for(&self, key: usize, documents: usize) -> bool {
        let most = u32::MAX as usize;
        self.bytes.len() + key <= most
            && self.ends.len() < most
            && self.few.len() + documents <= most
    }

    /// Adds a key, which is greater than the one before, with its documents, ascending. A key
    /// without documents is left out.
    pub(crate) fn push(&mut self, facet: Facet, key: &[u8], docs: &[u32]) {
        let Some(count) = u32::try_from(docs.len()).ok().filter(|count| *count > 0) else {
            return;
        };
        let place = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        if self.facets.last().is_none_or(|last| last.facet != facet) {
            self.facets.push(FacetPlace { facet, start: place, documents: 0, is_single: true });
            self.marks.clear();
        }
        let is_new = self.mark(docs);
        if let Some(last) = self.facets.last_mut() {
            last.documents += u64::from(count);
            last.is_single &= is_new;
        }
        self.bytes.extend_from_slice(key);
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        let slot = match u8::try_from(count) {
            Ok(short) if count <= MOST_OF_FEW => {
                let at = u32::try_from(self.few.len()).unwrap_or(u32::MAX);
                self.few.extend_from_slice(docs);
                Slot { at, count: short }
            }
            _ => {
                let at = u32::try_from(self.many.len()).unwrap_or(u32::MAX);
                // Not brought into runs: they are smaller, and several times slower to combine.
                let many = RoaringBitmap::from_sorted_iter(docs.iter().copied());
                self.many.push(many.unwrap_or_default());
                Slot { at, count: 0 }
            }
        };
        self.slots.push(slot);
    }

    /// Marks documents; whether none was marked before.
    fn mark(&mut self, docs: &[u32]) -> bool {
        let length = docs.last().map_or(0, |last| *last as usize / 64 + 1);
        if self.marks.len() < length {
            self.marks.resize(length, 0);
        }
        let mut is_new = true;
        for doc in docs {
            let (word, bit) = (&mut self.marks[*doc as usize / 64], 1 << (doc % 64));
            is_new &= *word & bit == 0;
            *word |= bit;
        }
        is_new
    }

    /// Gives back what was set aside for growing.
    pub(crate) fn shrink(&mut self) {
        self.marks = Vec::new();
        self.facets.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.bytes.shrink_to_fit();
        self.slots.shrink_to_fit();
        self.few.shrink_to_fit();
        self.many.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::{Dictionary, Union};
    use crate::facet::{Facet, Number, View};

    #[test]
    fn keys_are_found_alone_and_in_ranges_within_their_facet() {
        let (one, other) = (Facet::of(Number(20), View::Value), Facet::of(Number(21), View::Value));
        let mut dictionary = Dictionary::default();
        let many: Vec<u32> = (0..1000).collect();
        for (key, docs) in [("a", &[1_u32][..]), ("ab", &[2, 3]), ("b", &many), ("c", &[])] {
            dictionary.push(one, key.as_bytes(), docs);
        }
        dictionary.push(other, b"ab", &[9]);
        let range = |facet, low: &str, high: Option<&str>| -> Vec<(String, u64)> {
            let keys = dictionary.range(facet, low.as_bytes(), high.map(str::as_bytes));
            keys.map(|(key, docs)| (String::from_utf8_lossy(key).into_owned(), docs.len()))
                .collect()
        };
        assert_eq!(range(one, "ab", None), [("ab".into(), 2), ("b".into(), 1000)]);
        assert_eq!(range(one, "", Some("b")), [("a".into(), 1), ("ab".into(), 2)]);
        assert_eq!(range(other, "", None), [("ab".into(), 1)]);
        assert_eq!(range(Facet::TYPE, "", None), []);
        assert_eq!(dictionary.get(one, b"b").map(|it| it.len()), Some(1000));
        assert!(dictionary.get(one, b"c").is_none());
        assert!(dictionary.get(other, b"a").is_none());
        assert!(!dictionary.is_single(one) && dictionary.is_single(other));
    }

    #[test]
    fn all_documents_of_neighbouring_keys_are_united() {
        let facet = Facet::of(Number(20), View::Value);
        let mut dictionary = Dictionary::default();
        let many: Vec<u32> = (500..600).collect();
        for (key, docs) in [("a", &[7_u32, 9][..]), ("b", &many), ("c", &[1]), ("d", &[3])] {
            dictionary.push(facet, key.as_bytes(), docs);
        }
        assert!(dictionary.is_single(facet));
        for (low, high, expected) in [
            ("a", None, 104),
            ("b", None, 102),
            ("b", Some("c"), 100),
            ("c", Some("d"), 1),
            ("e", None, 0),
        ] {
            let places = dictionary.within(facet, low.as_bytes(), high.map(str::as_bytes));
            let mut union = Union::default();
            assert_eq!(dictionary.unite(places.clone(), &mut union), expected, "{low}");
            let mut one_by_one = Union::default();
            places.for_each(|place| one_by_one.add(dictionary.postings(place)));
            assert_eq!(union.finish().into_owned(), one_by_one.finish().into_owned(), "{low}");
        }
    }
}
