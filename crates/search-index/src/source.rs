//! Where the keys of a settled segment are when memory has them no more.

use std::sync::Arc;

use crate::checkpoint::{Damaged, decode_keys};
use crate::dictionary::{Dictionary, Summary};
use crate::facet::Facet;
use crate::key::local_ordinal;

/// A segment that was written down, of which the keys of one facet can be read without the others.
/// What it gives must be what [`crate::SettledSegment::write`] gave.
pub trait SegmentSource: Send + Sync + std::fmt::Debug {
    /// Gives the pieces of the keys of a facet in their order; none of one that it does not have.
    /// Searches call it: it may block for as long as reading takes.
    ///
    /// # Errors
    /// Those of `take`, and whatever keeps it from reading.
    fn facet(
        &self,
        facet: u32,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Damaged>,
    ) -> Result<(), SourceError>;
}

/// The keys of a segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Something else is there.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// Nothing can be read.
    #[error("it cannot be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A source, and what the keys in it may say.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) source: Arc<dyn SegmentSource>,
    /// So many resources have names: no reference is to another.
    pub(crate) names: u32,
    /// The facets of references, ascending.
    pub(crate) references: Arc<[Facet]>,
}

impl Kept {
    /// Reads the keys of a facet, of a segment with so many documents; none of them when `is_left`
    /// says before some piece that nobody waits for them.
    pub(crate) fn load(
        &self,
        facet: Facet,
        summary: &Summary,
        documents: u32,
        is_left: &dyn Fn() -> bool,
    ) -> Result<Option<Dictionary>, SourceError> {
        let (mut dictionary, mut last) = (Dictionary::default(), None);
        let mut was_left = is_left();
        let read = match was_left {
            true => Ok(()),
            false => self.source.facet(facet.number(), &mut |piece| {
                was_left = is_left();
                match was_left {
                    true => Err(LEFT),
                    false => decode_keys(piece, facet, documents, &mut dictionary, &mut last),
                }
            }),
        };
        if was_left {
            return Ok(None);
        }
        read?;
        dictionary.shrink();
        if dictionary.len() != summary.keys {
            return Err(Damaged("a facet has another number of keys").into());
        }
        if self.references.binary_search(&facet).is_ok() {
            let mut ordinals = dictionary.keys().filter_map(local_ordinal);
            if ordinals.any(|it| it.0 >= self.names) {
                return Err(Damaged("a reference is to a resource without a name").into());
            }
        }
        Ok(Some(dictionary))
    }
}

/// Ends a reading that nobody waits for.
const LEFT: Damaged = Damaged("nobody waits for it");
