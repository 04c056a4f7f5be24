//! The parts of the index in the order of the log, as a reader holds on to them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::RwLock;

use crate::documents::Superseded;
use crate::kept::KeptSets;
use crate::part::Part;
use crate::segment::Segment;
use crate::segment_view::SegmentView;
use crate::tail::Tail;

/// A part of the index, and which of its versions have ended: the one thing that goes on changing
/// when a part is settled.
#[derive(Debug, Clone)]
pub(crate) struct PartRef {
    pub(crate) content: Content,
    pub(crate) superseded: Arc<RwLock<Superseded>>,
    /// What may be seen of a segment, for who asks again.
    pub(crate) kept: Arc<KeptSets>,
}

/// The documents and keys of a part.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Settled.
    Segment(Arc<Segment>),
    /// The tail, or one that is full and waits to be settled.
    Tail(Arc<RwLock<Tail>>),
}

/// All parts at one moment. The last is the tail that commits write into, and only a tail is
/// after a tail.
pub(crate) type Parts = Vec<PartRef>;

impl Content {
    /// Whether anyone else has it.
    pub(crate) fn is_shared(&self) -> bool {
        match self {
            Self::Segment(segment) => Arc::strong_count(segment) > 1,
            Self::Tail(tail) => Arc::strong_count(tail) > 1,
        }
    }
}

impl PartRef {
    /// An empty tail.
    pub(crate) fn tail() -> Self {
        let content = Content::Tail(Arc::default());
        Self { content, superseded: Arc::default(), kept: Arc::default() }
    }

    /// A settled segment.
    pub(crate) fn segment(segment: Segment, superseded: Superseded) -> Self {
        let segment = Arc::new(segment);
        segment.memory().add(&segment);
        let superseded = Arc::new(RwLock::new(superseded));
        Self { content: Content::Segment(segment), superseded, kept: Arc::default() }
    }

    /// Reads the part. Of a tail that keeps the writer waiting: it must not take long, and must
    /// not read another.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&dyn Part) -> R) -> R {
        match &self.content {
            Content::Segment(segment) => read(&SegmentView::of(segment)),
            Content::Tail(tail) => read(&*tail.read()),
        }
    }

    /// The same for a search, for which no more is read from where the part is kept once it is
    /// cancelled: there are no keys then ([`Part::is_left`]).
    pub(crate) fn read_until<R>(
        &self,
        cancelled: &AtomicBool,
        read: impl FnOnce(&dyn Part) -> R,
    ) -> R {
        match &self.content {
            Content::Segment(segment) => read(&SegmentView::until(segment, cancelled)),
            Content::Tail(tail) => read(&*tail.read()),
        }
    }

    /// Whether it is the same part, not one that is equal.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.superseded, &other.superseded)
    }

    pub(crate) fn as_segment(&self) -> Option<&Arc<Segment>> {
        match &self.content {
            Content::Segment(segment) => Some(segment),
            Content::Tail(_) => None,
        }
    }
}
