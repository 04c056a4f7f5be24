//! The keys of one facet of a settled segment, sorted, with their documents. Nothing in it is
//! changed, and it is a few plain lists.

use roaring::RoaringBitmap;

use crate::part::Keys;
use crate::postings::{Postings, Union};

/// Sorted keys of one facet.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    /// Where each key ends in `bytes`.
    ends: Vec<u32>,
    bytes: Vec<u8>,
    /// Where the documents of each key are.
    slots: Vec<Slot>,
    few: Vec<u32>,
    many: Vec<RoaringBitmap>,
}

/// What is known of the keys of a facet without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many they are.
    pub keys: u32,
    /// How many documents they have, each counted once for each key.
    pub documents: u64,
    /// Whether no document has two of them.
    pub is_single: bool,
    /// How many bytes the keys have.
    pub key_bytes: u64,
    /// About how many bytes of memory they take.
    pub bytes: u64,
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
    /// Without keys.
    pub(crate) const fn new() -> Self {
        Self {
            ends: Vec::new(),
            bytes: Vec::new(),
            slots: Vec::new(),
            few: Vec::new(),
            many: Vec::new(),
        }
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        let many: usize = self.many.iter().map(|it| it.serialized_size() + 64).sum();
        self.bytes.len() + self.ends.len() * (4 + size_of::<Slot>()) + self.few.len() * 4 + many
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
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

    /// All keys, ascending.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|place| self.key(place))
    }

    /// The place of the first key that is not below `low`, from a place on.
    fn first_from(&self, start: u32, low: &[u8]) -> u32 {
        let (mut start, mut end) = (start, self.len());
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

    /// The places of the keys from `low` on, those below `high` alone if it is given.
    pub(crate) fn within(&self, low: &[u8], high: Option<&[u8]>) -> std::ops::Range<u32> {
        let end = self.len();
        // Of most ranges all keys are on one side, which the first and the last tell.
        if end == 0 || self.key(end - 1) < low {
            return end..end;
        }
        if high.is_some_and(|high| self.key(0) >= high) {
            return 0..0;
        }
        let start = self.first_from(0, low);
        start..high.map_or(end, |high| self.first_from(start, high))
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

    /// The keys from `low` on, those below `high` alone if it is given.
    pub(crate) fn range<'a>(&'a self, low: &[u8], high: Option<&[u8]>) -> Keys<'a> {
        let places = self.within(low, high);
        Box::new(places.map(|place| (self.key(place), self.postings(place))))
    }

    /// The documents of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Postings<'_>> {
        let place = self.first_from(0, key);
        (place < self.len() && self.key(place) == key).then(|| self.postings(place))
    }

    /// Each document with the places of its keys, ascending.
    pub(crate) fn by_document(&self, documents: u32) -> Vec<(u32, u32)> {
        // They are put where they belong at once, which takes a fraction of sorting them.
        let mut next = vec![0_u32; documents as usize + 1];
        for place in 0..self.len() {
            self.postings(place).for_each(|doc| next[doc as usize + 1] += 1);
        }
        for doc in 1..next.len() {
            next[doc] += next[doc - 1];
        }
        let mut pairs = vec![(0, 0); next.last().map_or(0, |all| *all as usize)];
        for place in 0..self.len() {
            self.postings(place).for_each(|doc| {
                let at = &mut next[doc as usize];
                pairs[*at as usize] = (doc, place);
                *at += 1;
            });
        }
        pairs
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
    pub(crate) fn push(&mut self, key: &[u8], docs: &[u32]) {
        let Some(count) = u32::try_from(docs.len()).ok().filter(|count| *count > 0) else {
            return;
        };
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
                // A copy has no room for more.
                self.many.push(many.unwrap_or_default().clone());
                Slot { at, count: 0 }
            }
        };
        self.slots.push(slot);
    }

    /// Gives back what was set aside for growing.
    pub(crate) fn shrink(&mut self) {
        shrink(&mut self.ends);
        shrink(&mut self.bytes);
        shrink(&mut self.slots);
        shrink(&mut self.few);
        self.many.shrink_to_fit();
    }
}

/// Gives back what a list that stays set aside for growing. `shrink_to_fit` alone does not:
/// allocators leave a list where it is as long as it takes half of its room.
pub(crate) fn shrink<T: Copy>(list: &mut Vec<T>) {
    if list.capacity() - list.len() > list.len() / 16 {
        *list = list.as_slice().to_vec();
    }
}

/// A dictionary being made, of which it is found out what is known without it.
#[derive(Debug, Default)]
pub(crate) struct DictionaryBuilder {
    dictionary: Dictionary,
    documents: u64,
    has_several: bool,
    /// A bit for each document that has a key.
    marks: Vec<u64>,
}

impl DictionaryBuilder {
    /// As [`Dictionary::push`].
    pub(crate) fn push(&mut self, key: &[u8], docs: &[u32]) {
        self.documents += docs.len() as u64;
        self.has_several |= !self.mark(docs);
        self.dictionary.push(key, docs);
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

    /// The keys and what is known of them; none without any.
    pub(crate) fn finish(self) -> Option<(Summary, Dictionary)> {
        let mut dictionary = self.dictionary;
        dictionary.shrink();
        let summary = Summary {
            keys: dictionary.len(),
            documents: self.documents,
            is_single: !self.has_several,
            key_bytes: dictionary.bytes.len() as u64,
            bytes: dictionary.size() as u64,
        };
        (summary.keys > 0).then_some((summary, dictionary))
    }
}

#[cfg(test)]
mod tests {
    use super::{DictionaryBuilder, Union};

    fn of(keys: &[(&str, &[u32])]) -> super::Dictionary {
        let mut builder = DictionaryBuilder::default();
        keys.iter().for_each(|(key, docs)| builder.push(key.as_bytes(), docs));
        let (summary, dictionary) = builder.finish().unwrap();
        assert_eq!(summary.keys, dictionary.len());
        dictionary
    }

    #[test]
    fn keys_are_found_alone_and_in_ranges() {
        let many: Vec<u32> = (0..1000).collect();
        let dictionary = of(&[("a", &[1]), ("ab", &[2, 3]), ("b", &many), ("c", &[])]);
        let range = |low: &str, high: Option<&str>| -> Vec<(String, u64)> {
            let keys = dictionary.range(low.as_bytes(), high.map(str::as_bytes));
            keys.map(|(key, docs)| (String::from_utf8_lossy(key).into_owned(), docs.len()))
                .collect()
        };
        assert_eq!(range("ab", None), [("ab".into(), 2), ("b".into(), 1000)]);
        assert_eq!(range("", Some("b")), [("a".into(), 1), ("ab".into(), 2)]);
        assert_eq!(range("bb", None), []);
        assert_eq!(dictionary.get(b"b").map(|it| it.len()), Some(1000));
        assert!(dictionary.get(b"c").is_none() && dictionary.get(b"aa").is_none());
    }

    #[test]
    fn it_is_known_whether_a_document_has_two_keys_and_each_finds_its_own() {
        let several = [("a", &[1_u32, 4][..]), ("b", &[0, 4]), ("c", &[1])];
        for (keys, is_single) in [(&several[..], false), (&several[..1], true)] {
            let mut builder = DictionaryBuilder::default();
            keys.iter().for_each(|(key, docs)| builder.push(key.as_bytes(), docs));
            assert_eq!(builder.finish().unwrap().0.is_single, is_single);
        }
        assert_eq!(of(&several).by_document(6), [(0, 1), (1, 0), (1, 2), (4, 0), (4, 1)]);
        assert!(DictionaryBuilder::default().finish().is_none());
    }

    #[test]
    fn all_documents_of_neighbouring_keys_are_united() {
        let many: Vec<u32> = (500..600).collect();
        let dictionary = of(&[("a", &[7, 9]), ("b", &many), ("c", &[1]), ("d", &[3])]);
        for (low, high, expected) in [
            ("a", None, 104),
            ("b", None, 102),
            ("b", Some("c"), 100),
            ("c", Some("d"), 1),
            ("e", None, 0),
        ] {
            let places = dictionary.within(low.as_bytes(), high.map(str::as_bytes));
            let mut union = Union::default();
            assert_eq!(dictionary.unite(places.clone(), &mut union), expected, "{low}");
            let mut one_by_one = Union::default();
            places.for_each(|place| one_by_one.add(dictionary.postings(place)));
            assert_eq!(union.finish().into_owned(), one_by_one.finish().into_owned(), "{low}");
        }
    }
}
