//! Sorted pairs of documents, or of resources, with what belongs to each: where one is found from
//! where another was, and how those of documents stand so that none need be looked for.

/// No key has this place: the document has none.
pub(crate) const NO_KEY: u32 = u32::MAX;

/// Where at least one of so many documents has a key, those without one have a pair too.
const SHARE: usize = 3;

/// The first pair whose first part is not below `wanted`, which is near `last` if it is after that.
pub(crate) fn first_from<K: Copy + Ord>(pairs: &[(K, u32)], last: usize, wanted: K) -> usize {
    let is_below = |(it, _): &(K, u32)| *it < wanted;
    if last > 0 && !pairs.get(last - 1).is_some_and(is_below) {
        return pairs[..last.min(pairs.len())].partition_point(is_below);
    }
    let (mut from, mut step) = (last, 1);
    while pairs.get(from + step - 1).is_some_and(is_below) {
        from += step;
        step *= 2;
    }
    let end = (from + step).min(pairs.len());
    from + pairs[from.min(end)..end].partition_point(is_below)
}

/// The first pair of a document, or of the next one that has any: mostly where [`filled`] pairs
/// have it, else near `last` if it is after that.
pub(crate) fn first_of(pairs: &[(u32, u32)], last: usize, doc: u32) -> usize {
    let at = doc as usize;
    let is_at = |at: usize| pairs.get(at).is_some_and(|(it, _)| *it == doc);
    if is_at(at) && (at == 0 || !is_at(at - 1)) { at } else { first_from(pairs, last, doc) }
}

/// Of documents and places of keys, ascending, those that are kept: where no document has two keys
/// and many have one, the others have [`NO_KEY`], so that each stands at its own number.
pub(crate) fn filled(pairs: Vec<(u32, u32)>, documents: u32) -> Vec<(u32, u32)> {
    let is_single = pairs.windows(2).all(|two| two[0].0 != two[1].0);
    if !is_single || pairs.len().saturating_mul(SHARE) < documents as usize {
        return pairs;
    }
    let mut all: Vec<(u32, u32)> = (0..documents).map(|doc| (doc, NO_KEY)).collect();
    for (doc, place) in pairs {
        all[doc as usize].1 = place;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{NO_KEY, filled, first_from, first_of};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn from_wherever_it_begins_the_first_is_found(
            mut pairs in proptest::collection::vec((0_u32..60, 0_u32..3), 0..80),
            asked in proptest::collection::vec(0_u32..64, 1..20),
        ) {
            pairs.sort_unstable();
            let (mut last, mut last_of) = (0, 0);
            for doc in asked {
                let first = pairs.partition_point(|(it, _)| *it < doc);
                last = first_from(&pairs, last, doc);
                last_of = first_of(&pairs, last_of, doc);
                prop_assert_eq!((last, last_of), (first, first));
            }
        }

        #[test]
        fn what_is_filled_has_the_same_keys(
            mut pairs in proptest::collection::vec((0_u32..40, 0_u32..9), 0..60),
            is_single: bool,
        ) {
            pairs.sort_unstable();
            pairs.dedup_by_key(|(doc, place)| (*doc, if is_single { 0 } else { *place }));
            let all = filled(pairs.clone(), 40);
            prop_assert!(all.is_sorted());
            prop_assert!(all.len() == 40 || all == pairs);
            let with_key = all.into_iter().filter(|(_, place)| *place != NO_KEY);
            prop_assert_eq!(with_key.collect::<Vec<_>>(), pairs);
        }
    }
}
