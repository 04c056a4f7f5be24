//! An index in pieces of bytes, so that it can be kept over a restart, and an index made of such
//! pieces again. Where they are kept and how they are protected is the caller's.
//!
//! A checkpoint is of all commits up to one `t`: the settled segments that hold them, which never
//! change and so need be written once; the names of resources, which only become more; and the
//! state, which is written anew each time: when versions ended, and the numbers of parameters.

mod bytes;
mod segment;
mod state;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use fhir_core::Instant;
use store::T;

use crate::dictionary::Summary;
use crate::documents::{DocumentOf, Ending, Superseded};
use crate::facet::{Facet, View};
use crate::index::{Head, Index};
use crate::names::Numbers;
use crate::parts::PartRef;
use crate::segment::Segment;
use crate::settle::Settled;
use crate::source::{Kept, SegmentSource};

pub(crate) use segment::decode_keys;
pub use segment::{PieceOf, SavedSegment};
pub use state::SavedState;

/// About so many bytes are given at a time.
const PIECE: usize = 1 << 20;

/// What an index of the same resources and parameters says is the same while this is. It is raised
/// whenever keys, the pieces or what is taken from a resource changes.
pub const CONTENT_VERSION: u32 = 2;

/// Bytes that are no part of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(pub(crate) &'static str);

/// An index as of one position, to be written.
#[derive(Debug)]
pub struct Checkpoint {
    t: T,
    instant: Instant,
    oldest: T,
    names: u32,
    segments: Vec<(Arc<Segment>, Vec<Ending>)>,
}

/// Which segment it is, for as long as the index has it.
#[derive(Debug, Clone)]
pub struct SegmentIdentity(Weak<Segment>);

impl SegmentIdentity {
    /// Whether an index, or a search of it, still has it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// A settled segment, to be written down.
#[derive(Debug, Clone)]
pub struct SettledSegment(Arc<Segment>);

impl SettledSegment {
    /// Which it is.
    #[must_use]
    pub fn identity(&self) -> SegmentIdentity {
        SegmentIdentity(Arc::downgrade(&self.0))
    }

    /// Whether it can be read from where it is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.0.is_kept()
    }

    /// Gives it in pieces: first its documents, then its keys, facet by facet, each with what it
    /// is of.
    ///
    /// # Errors
    /// Those of `sink`, and when keys that are kept elsewhere cannot be read.
    pub fn write(&self, sink: &mut dyn FnMut(PieceOf, &[u8]) -> io::Result<()>) -> io::Result<()> {
        segment::write(&self.0, sink)
    }

    /// The numbers of its facets, ascending, each with what is known of its keys.
    #[must_use]
    pub fn facets(&self) -> Vec<(u32, Summary)> {
        self.0.facets().map(|(facet, summary)| (facet.number(), summary)).collect()
    }

    /// Its keys are read from there from now on, when they are not in memory: it has what
    /// [`SettledSegment::write`] gave. `index` is the one that has the segment.
    pub fn keep_in(&self, source: Arc<dyn SegmentSource>, index: &Index) {
        let references = references(&index.numbers.read());
        let names = index.names.read().len();
        self.0.keep_in(Kept { source, names, references });
        index.memory.keep_within_budget();
    }
}

/// The facets whose keys are references, ascending.
fn references(numbers: &Numbers) -> Arc<[Facet]> {
    let all = numbers.references(None).into_iter();
    let all = all.map(|(_, number)| Facet::of(number, View::Value)).chain([Facet::COMPARTMENT]);
    let mut all: Vec<Facet> = all.collect();
    all.sort_unstable();
    all.into()
}

impl PartialEq for SegmentIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Index {
    /// What there is of all commits that are applied. Of tails segments are made, which takes some
    /// microseconds for each of their documents. `None` when `stop` turned true, or when something
    /// is being purged.
    pub fn checkpoint(&self, stop: &AtomicBool) -> Option<Checkpoint> {
        let _settling = self.settling.lock();
        let (head, names, inputs) = {
            // Between two commits.
            let head = self.writer.lock();
            self.begin_tail();
            let parts = Arc::clone(&self.parts.read());
            (*head, self.names.read().len(), parts[..parts.len() - 1].to_vec())
        };
        for part in inputs.iter().filter(|part| part.as_segment().is_none()) {
            if self.replace(std::slice::from_ref(part), Instant::MIN, stop) == Settled::Nothing {
                return None;
            }
        }
        drop(inputs);
        self.drop_replaced();
        let parts = Arc::clone(&self.parts.read());
        let mut segments = Vec::new();
        for part in parts.iter() {
            let Some(segment) = part.as_segment() else { break };
            let superseded = part.superseded.read();
            if superseded.purged() > 0 {
                return None;
            }
            let endings = superseded.endings();
            let until = endings.partition_point(|ending| ending.t <= head.t());
            segments.push((Arc::clone(segment), endings[..until].to_vec()));
        }
        let (t, instant, oldest) = (head.t(), head.instant(), self.oldest());
        Some(Checkpoint { t, instant, oldest, names, segments })
    }

    /// About how many bytes its settled segments take that are not kept elsewhere.
    #[must_use]
    pub fn unkept_bytes(&self) -> usize {
        let parts = Arc::clone(&self.parts.read());
        let all = parts.iter().filter_map(PartRef::as_segment);
        all.filter(|segment| !segment.is_kept()).map(|segment| segment.size()).sum()
    }

    /// Whether keys and orders take more memory than they may.
    #[must_use]
    pub fn is_over_budget(&self) -> bool {
        self.memory.is_full_with(0)
    }

    /// Its settled segments, in order.
    #[must_use]
    pub fn segments(&self) -> Vec<SettledSegment> {
        let parts = Arc::clone(&self.parts.read());
        let all = parts.iter().filter_map(PartRef::as_segment);
        all.map(|segment| SettledSegment(Arc::clone(segment))).collect()
    }

    /// Gives the names of the resources from one number up to another, in pieces.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn write_names(
        &self,
        numbers: std::ops::Range<u32>,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut next = numbers.start;
        while next < numbers.end {
            let piece = state::write_names(&self.names.read(), &mut next, numbers.end);
            sink(piece.as_slice())?;
        }
        Ok(())
    }

    /// Lets parameters have the numbers that they have in a state: of an index that nothing was
    /// prepared by yet.
    pub fn number_as(&self, state: &SavedState) {
        *self.numbers.write() = state.numbers();
    }

    /// Goes on from what was saved, which is the state by whose numbers it is, and all its
    /// segments in their order. Nothing has been applied before.
    ///
    /// # Errors
    /// [`Damaged`] when they do not belong together; then nothing is changed.
    pub fn restore(
        &self,
        mut state: SavedState,
        segments: Vec<SavedSegment>,
    ) -> Result<Vec<SegmentIdentity>, Damaged> {
        let mut head = self.writer.lock();
        let is_empty = head.t() == T::ZERO && self.parts.read().len() == 1;
        if !is_empty || segments.len() != state.endings().len() {
            return Err(Damaged("there is another number of segments"));
        }
        let (numbers, mut names) = (state.numbers(), state.take_names()?);
        let references = references(&numbers);
        let mut parts = Vec::with_capacity(segments.len() + 1);
        let mut identities = Vec::with_capacity(segments.len());
        let mut last = None;
        for (segment, endings) in segments.into_iter().zip(state.endings()) {
            let documents = segment.of();
            let (Some(first), Some(end)) = (documents.first(), documents.last()) else {
                return Err(Damaged("a segment is empty"));
            };
            if last.is_some_and(|last| last >= first.place) || end.place.t > state.t() {
                return Err(Damaged("segments are not in the order of the log"));
            }
            last = Some(end.place);
            let mut superseded = Superseded::default();
            for ending in endings {
                if documents.get(ending.doc as usize).is_none() {
                    return Err(Damaged("a version ended that is not there"));
                }
                superseded.note(*ending);
            }
            for (document, doc) in documents.iter().zip(0_u32..) {
                if document.ordinal.0 >= names.len() {
                    return Err(Damaged("a document is of a resource without a name"));
                }
                if document.of == DocumentOf::Resource && !superseded.has_ended(doc) {
                    names.set_current(document.ordinal, Some(document.place.t));
                }
            }
            let (all, references) = (names.len(), Arc::clone(&references));
            let kept = |source| Kept { source, names: all, references };
            let part = PartRef::segment(segment.finish(kept, &self.memory)?, superseded);
            identities.extend(part.as_segment().map(|it| SegmentIdentity(Arc::downgrade(it))));
            parts.push(part);
        }
        parts.push(PartRef::tail());
        *self.names.write() = names;
        *self.parts.write() = Arc::new(parts);
        self.oldest.store(state.oldest().get(), Ordering::Release);
        *head = Head::new(state.t(), state.instant());
        self.newest.store(state.t().get(), Ordering::Release);
        Ok(identities)
    }
}

impl Checkpoint {
    /// Up to which position.
    #[must_use]
    pub fn t(&self) -> T {
        self.t
    }

    /// How many names of resources belong to it, at least.
    #[must_use]
    pub fn names(&self) -> u32 {
        self.names
    }

    /// Its segments, in order.
    pub fn segments(&self) -> impl Iterator<Item = SettledSegment> + '_ {
        self.segments.iter().map(|(segment, _)| SettledSegment(Arc::clone(segment)))
    }

    /// Gives all else that `index`, whose checkpoint it is, would not find again in segments and
    /// names, in pieces.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn write_state(
        &self,
        index: &Index,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        state::write(self, &index.numbers.read(), sink)
    }
}
