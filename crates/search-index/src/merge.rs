//! One segment's keys made of those of several parts, facet by facet, so that of what is kept
//! elsewhere no more is in memory at once than one facet of each.

use std::collections::BTreeSet;

use crate::dictionary::DictionaryBuilder;
use crate::facet::Facet;
use crate::part::{Keys, Part};
use crate::segment::{FacetOf, Segment};
use crate::tail::Tail;

/// What a new segment is made of: keys of one part, and what becomes of its documents.
pub(crate) struct Source<'a> {
    pub(crate) of: SourceOf<'a>,
    /// The new number of each document; [`DROPPED`] for those that are left out.
    pub(crate) numbers: &'a [u32],
}

/// Whose keys.
#[derive(Clone, Copy)]
pub(crate) enum SourceOf<'a> {
    Segment(&'a Segment),
    Tail(&'a Tail),
}

/// No document has this number.
pub(crate) const DROPPED: u32 = u32::MAX;

/// A merge looks up so often whether it goes on, and lets others go on: after so many keys, which
/// take some hundreds of microseconds.
const BETWEEN_LOOKS: usize = 1024;
/// As many documents of a key take as long as a key.
const DOCUMENTS_PER_KEY: usize = 16;

/// Merges the keys of parts whose documents follow one another. `None` when it was stopped, or
/// when some keys could not be read.
pub(crate) fn merge(sources: &[Source<'_>], goes_on: &dyn Fn() -> bool) -> Option<Vec<FacetOf>> {
    let mut facets = BTreeSet::new();
    for source in sources {
        match source.of {
            SourceOf::Segment(segment) => facets.extend(segment.facets().map(|(facet, _)| facet)),
            SourceOf::Tail(tail) => facets.extend(tail.facets()),
        }
    }
    let mut merged = Vec::with_capacity(facets.len());
    for facet in facets {
        if let Some((summary, keys)) = merge_facet(facet, sources, goes_on)?.finish() {
            merged.push((facet, summary, Some(keys)));
        }
    }
    Some(merged)
}

/// Merges the keys of one facet. Of a key that several sources have, the documents come in the
/// order of the sources, which is ascending.
fn merge_facet(
    facet: Facet,
    sources: &[Source<'_>],
    goes_on: &dyn Fn() -> bool,
) -> Option<DictionaryBuilder> {
    let mut of_segments = Vec::with_capacity(sources.len());
    for source in sources {
        of_segments.push(match source.of {
            SourceOf::Segment(segment) => segment.keys_once(facet).ok()?,
            SourceOf::Tail(_) => None,
        });
    }
    let mut each: Vec<_> = sources
        .iter()
        .zip(&of_segments)
        .map(|(source, of_segment)| {
            let keys: Keys<'_> = match (source.of, of_segment) {
                (SourceOf::Tail(tail), _) => tail.range(facet, &[], None),
                (SourceOf::Segment(_), Some(keys)) => keys.range(&[], None),
                (SourceOf::Segment(_), None) => Box::new(std::iter::empty()),
            };
            (keys.peekable(), source.numbers)
        })
        .collect();
    let (mut merged, mut docs) = (DictionaryBuilder::default(), Vec::new());
    let mut done = BETWEEN_LOOKS;
    loop {
        if done >= BETWEEN_LOOKS {
            done = 0;
            if !goes_on() {
                return None;
            }
        }
        let least = each.iter_mut().filter_map(|(keys, _)| keys.peek().map(|(key, _)| *key));
        let Some(key) = least.min() else { break };
        docs.clear();
        for (keys, numbers) in &mut each {
            if let Some((_, postings)) = keys.next_if(|(its_key, _)| *its_key == key) {
                postings.for_each(|doc| {
                    let number = numbers[doc as usize];
                    if number != DROPPED {
                        docs.push(number);
                    }
                });
            }
        }
        merged.push(key, &docs);
        done += 1 + docs.len() / DOCUMENTS_PER_KEY;
    }
    Some(merged)
}
