//! Which documents have a key: lists of their numbers, by how many they are.

use roaring::{MultiOps, RoaringBitmap};

/// The documents of one key, in ascending order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Postings<'a> {
    /// A few numbers.
    Few(&'a [u32]),
    /// Many.
    Many(&'a RoaringBitmap),
}

impl Postings<'_> {
    /// How many documents.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Few(docs) => docs.len() as u64,
            Self::Many(docs) => docs.len(),
        }
    }

    /// Whether one of them is in a set.
    pub(crate) fn any_in(&self, set: &RoaringBitmap) -> bool {
        match self {
            Self::Few(docs) => docs.iter().any(|doc| set.contains(*doc)),
            Self::Many(docs) => !docs.is_disjoint(set),
        }
    }

    /// Those that are in a set.
    pub(crate) fn and(&self, set: &RoaringBitmap) -> RoaringBitmap {
        match self {
            Self::Few(docs) => docs.iter().copied().filter(|doc| set.contains(*doc)).collect(),
            Self::Many(docs) => *docs & set,
        }
    }

    /// Calls with each document.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u32)) {
        match self {
            Self::Few(docs) => docs.iter().copied().for_each(each),
            Self::Many(docs) => {
                for doc in *docs {
                    each(doc);
                }
            }
        }
    }
}

/// Lists of documents being united, all at once: single numbers are sorted once, and bitmaps go
/// together without one in between for each.
#[derive(Debug, Default)]
pub(crate) struct Union<'a> {
    many: Vec<&'a RoaringBitmap>,
    single: Vec<u32>,
}

impl<'a> Union<'a> {
    /// Adds the documents of a key.
    pub(crate) fn add(&mut self, postings: Postings<'a>) {
        match postings {
            Postings::Few(docs) => self.single.extend_from_slice(docs),
            Postings::Many(docs) => self.many.push(docs),
        }
    }

    /// Adds one document.
    pub(crate) fn push(&mut self, doc: u32) {
        self.single.push(doc);
    }

    /// All of them: borrowed when they are those of one key.
    pub(crate) fn finish(self) -> Set<'a> {
        match (&*self.many, self.single.is_empty()) {
            ([only], true) => Set::Borrowed(only),
            ([], _) => Set::Owned(set_of(self.single)),
            ([only], false) => Set::Owned(set_of(self.single) | *only),
            (many, _) => Set::Owned(many.iter().copied().union() | set_of(self.single)),
        }
    }
}

/// From so many on numbers are marked in a row of bits, which does not sort them; fewer too, where
/// the row has no more than so many bytes for each.
const MARKED: usize = 1024;
const BYTES_FOR_EACH: usize = 16;

fn set_of(mut docs: Vec<u32>) -> RoaringBitmap {
    let greatest = docs.iter().copied().max().unwrap_or(0);
    if docs.len() < MARKED && greatest as usize / 8 > docs.len() * BYTES_FOR_EACH {
        docs.sort_unstable();
        docs.dedup();
        return RoaringBitmap::from_sorted_iter(docs).unwrap_or_default();
    }
    let mut bits = vec![0_u8; greatest as usize / 8 + 1];
    for doc in docs {
        bits[doc as usize / 8] |= 1 << (doc % 8);
    }
    RoaringBitmap::from_lsb0_bytes(0, &bits)
}

/// Documents of one part of the index.
#[derive(Debug)]
pub(crate) enum Set<'a> {
    /// As they stand in the index.
    Borrowed(&'a RoaringBitmap),
    /// Worked out.
    Owned(RoaringBitmap),
}

impl Set<'_> {
    /// The documents.
    pub(crate) fn as_ref(&self) -> &RoaringBitmap {
        match self {
            Self::Borrowed(docs) => docs,
            Self::Owned(docs) => docs,
        }
    }

    /// The documents, copied if they are the index's.
    pub(crate) fn into_owned(self) -> RoaringBitmap {
        match self {
            Self::Borrowed(docs) => docs.clone(),
            Self::Owned(docs) => docs,
        }
    }

    /// Those that are in both.
    pub(crate) fn and(self, other: &RoaringBitmap) -> RoaringBitmap {
        match self {
            Self::Borrowed(docs) => docs & other,
            Self::Owned(mut docs) => {
                docs &= other;
                docs
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Postings, Set, Union};
    use roaring::RoaringBitmap;

    #[test]
    fn lists_of_every_length_are_united() {
        let (odd, high): (RoaringBitmap, RoaringBitmap) =
            ((0..100).map(|it| it * 2 + 1).collect(), (150..400).collect());
        let mut union = Union::default();
        for postings in [
            Postings::Few(&[7, 9000]),
            Postings::Many(&odd),
            Postings::Few(&[8, 9000]),
            Postings::Many(&high),
        ] {
            union.add(postings);
        }
        let expected: RoaringBitmap = odd.iter().chain(high.iter()).chain([7, 8, 9000]).collect();
        assert_eq!(union.finish().into_owned(), expected);
    }

    #[test]
    fn very_many_numbers_in_any_order_are_the_same_set() {
        let mut union = Union::default();
        for at in 0..5000_u32 {
            union.push(at.wrapping_mul(2_654_435_761) % 70_001);
        }
        let expected = (0..5000_u32).map(|at| at.wrapping_mul(2_654_435_761) % 70_001);
        assert_eq!(union.finish().into_owned(), expected.collect());
    }

    #[test]
    fn one_long_list_is_not_copied() {
        let many: RoaringBitmap = (0..100).collect();
        let mut union = Union::default();
        union.add(Postings::Many(&many));
        assert!(matches!(union.finish(), Set::Borrowed(_)));
    }
}
