//! The index of one tenant: what commits do to it.
//!
//! One writer applies commits in the order of the log. It takes the tail's lock for some
//! microseconds a resource, and waits neither for readers of settled segments nor for merges.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use parking_lot::{Mutex, RwLock};
use store::T;

use crate::documents::{Document, DocumentOf, Ending, LogPlace, Ordinal};
use crate::error::SearchError;
use crate::kept::Restrictions;
use crate::left_out::LeftOut;
use crate::memory::Memory;
use crate::names::{Names, Numbers};
use crate::parts::{Content, PartRef, Parts};
use crate::prepare::{Named, Prepared};
use crate::segment::Harmed;

/// The search index of one tenant, in memory. It is derived from the log: applying the log's
/// commits to an empty one gives it again.
#[derive(Debug)]
pub struct Index {
    pub(crate) names: RwLock<Names>,
    pub(crate) numbers: RwLock<Numbers>,
    pub(crate) parts: RwLock<Arc<Parts>>,
    /// By what searches were restricted lately.
    pub(crate) restrictions: Restrictions,
    /// Held by whoever changes which versions have ended, or which parts there are.
    pub(crate) writer: Mutex<Head>,
    /// How often what a parameter finds could not be had from a resource.
    pub(crate) left_out: LeftOut,
    /// Held by whoever makes segments.
    pub(crate) settling: Mutex<()>,
    /// Parts that others have taken the place of, as long as a reader may have them.
    pub(crate) replaced: Mutex<Vec<Content>>,
    /// The greatest `t` that can be searched.
    pub(crate) newest: AtomicU64,
    /// The least `t` that can be searched: of what ended before, some is no longer there.
    pub(crate) oldest: AtomicU64,
    /// How much of the segments is in memory.
    pub(crate) memory: Arc<Memory>,
}

/// The last commit that was applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    t: T,
    instant: Instant,
}

/// What a commit does to one resource.
#[derive(Debug)]
pub enum Change {
    /// It has a new version.
    Put {
        /// What the resource says, as [`Index::prepare`] took it.
        prepared: Prepared,
        /// The version's number.
        version: VersionId,
    },
    /// It is deleted.
    Delete {
        /// The type.
        resource_type: ResourceType,
        /// The id.
        id: ResourceId,
    },
}

impl Change {
    /// About how much memory it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { prepared, .. } => prepared.bytes(),
            Self::Delete { .. } => size_of::<Self>(),
        }
    }

    /// The resource.
    #[must_use]
    pub fn name(&self) -> (&ResourceType, &ResourceId) {
        match self {
            Self::Put { prepared, .. } => (&prepared.resource_type, &prepared.id),
            Self::Delete { resource_type, id } => (resource_type, id),
        }
    }
}

/// A commit cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Commits come in the order of the log, with instants that grow.
    #[error("commit {t} cannot be applied after commit {head}")]
    OutOfOrder {
        /// The commit.
        t: T,
        /// The last one that was applied.
        head: T,
    },
}

/// How much there is in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Versions of resources, those among them that are no longer the newest, and what they
    /// contain.
    pub documents: u64,
    /// Settled segments.
    pub segments: usize,
    /// About how much memory it takes, in bytes.
    pub bytes: usize,
    /// How many of those are keys and orders of settled segments, which may leave the memory when
    /// the segment is kept.
    pub held: usize,
    /// How often keys of a facet were read from where a segment is kept.
    pub loaded: u64,
    /// How often keys of a facet, or an order, left the memory for others.
    pub evicted: u64,
}

/// So many changes are made under one lock.
const CHANGES_AT_ONCE: usize = 64;

impl Head {
    pub(crate) fn new(t: T, instant: Instant) -> Self {
        Self { t, instant }
    }

    pub(crate) fn t(self) -> T {
        self.t
    }

    pub(crate) fn instant(self) -> Instant {
        self.instant
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::within(usize::MAX)
    }
}

impl Index {
    /// An empty one. The keys and orders of its settled segments take so many bytes of memory, as
    /// far as the segments are kept elsewhere ([`SettledSegment::keep_in`]); a search may hold on
    /// to more for as long as it reads it. What it knows of documents and names comes to that.
    ///
    /// [`SettledSegment::keep_in`]: crate::SettledSegment::keep_in
    #[must_use]
    pub fn within(bytes: usize) -> Self {
        Self {
            names: RwLock::default(),
            numbers: RwLock::default(),
            parts: RwLock::new(Arc::new(vec![PartRef::tail()])),
            restrictions: Restrictions::default(),
            writer: Mutex::new(Head { t: T::ZERO, instant: Instant::MIN }),
            left_out: LeftOut::default(),
            settling: Mutex::new(()),
            replaced: Mutex::default(),
            newest: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            memory: Memory::of(bytes),
        }
    }

    /// Applies the next commit. Searches at an earlier `t` do not see it, whenever they come.
    ///
    /// # Errors
    /// [`ApplyError::OutOfOrder`] when it does not follow the last one; nothing is changed then.
    pub fn apply(&self, t: T, instant: Instant, changes: Vec<Change>) -> Result<(), ApplyError> {
        let mut head = self.writer.lock();
        if t <= head.t || instant <= head.instant {
            return Err(ApplyError::OutOfOrder { t, head: head.t });
        }
        let mut changes = changes.into_iter().zip(0_u32..).peekable();
        while changes.peek().is_some() {
            let some = changes.by_ref().take(CHANGES_AT_ONCE);
            self.apply_some(t, instant, some);
        }
        *head = Head { t, instant };
        self.newest.store(t.get(), Ordering::Release);
        Ok(())
    }

    fn apply_some(&self, t: T, instant: Instant, changes: impl Iterator<Item = (Change, u32)>) {
        let (mut documents, mut ended) = (Vec::new(), Vec::new());
        {
            let mut names = self.names.write();
            for (change, number) in changes {
                let place = LogPlace { t, change: number };
                let (ordinal, current) = match change {
                    Change::Put { prepared, version } => {
                        let named = prepared.name(&mut names);
                        let Some(ordinal) = named.first().map(|it| it.ordinal) else { continue };
                        documents.push((place, version, named));
                        (ordinal, Some(t))
                    }
                    Change::Delete { resource_type, id } => {
                        match names.get(resource_type.as_str(), id.as_str()) {
                            Some(ordinal) => (ordinal, None),
                            None => continue,
                        }
                    }
                };
                if let Some(old) = names.current(ordinal) {
                    ended.push((ordinal, old, place));
                }
                names.set_current(ordinal, current);
            }
        }
        self.push(instant, documents);
        for (ordinal, old, before) in ended {
            self.end(ordinal, old, before, instant);
        }
    }

    fn push(&self, instant: Instant, documents: Vec<(LogPlace, VersionId, Vec<Named>)>) {
        let parts = Arc::clone(&self.parts.read());
        let Some(Content::Tail(tail)) = parts.last().map(|part| &part.content) else { return };
        let mut tail = tail.write();
        for (place, version, named) in documents {
            let mut of = DocumentOf::Resource;
            for Named { ordinal, keys } in named {
                tail.push(Document { ordinal, place, version, instant, of }, keys);
                of = DocumentOf::Contained;
            }
        }
        if tail.is_full() {
            drop(tail);
            let next = parts.iter().cloned().chain([PartRef::tail()]).collect();
            *self.parts.write() = Arc::new(next);
        }
    }

    /// Ends the version that a resource had since the commit `old`, as of the change at `before`.
    fn end(&self, ordinal: Ordinal, old: T, before: LogPlace, instant: Instant) {
        let parts = Arc::clone(&self.parts.read());
        for part in parts.iter().rev() {
            let found = part.read(|content| {
                let documents = content.documents();
                let of_commit = documents.of(ordinal).filter(|doc| {
                    let place = documents.get(*doc).place;
                    place.t == old && place < before
                });
                of_commit.max().map(|doc| documents.with_contained(doc))
            });
            if let Some(docs) = found {
                let mut superseded = part.superseded.write();
                for doc in docs {
                    superseded.note(Ending { t: before.t, instant, doc });
                }
                return;
            }
        }
    }

    /// Drops everything that is known of resources that were purged, at every `t`: it is found no
    /// more when this returns, and is in memory no more but for readers that have begun before.
    /// Their ids stay, since other resources may refer to them.
    pub fn forget(&self, resources: &[(ResourceType, ResourceId)]) {
        {
            let _writer = self.writer.lock();
            let mut names = self.names.write();
            let parts = Arc::clone(&self.parts.read());
            for (resource_type, id) in resources {
                let Some(ordinal) = names.get(resource_type.as_str(), id.as_str()) else {
                    continue;
                };
                names.set_current(ordinal, None);
                for part in parts.iter() {
                    let docs: Vec<u32> = part.read(|content| {
                        let documents = content.documents();
                        let of = documents.of(ordinal);
                        of.flat_map(|doc| documents.with_contained(doc)).collect()
                    });
                    if !docs.is_empty() {
                        part.superseded.write().purge(&docs);
                    }
                }
            }
        }
        self.drop_purged();
        self.drop_replaced();
    }

    /// How many documents there are: as [`Index::size`] says, and found sooner.
    #[must_use]
    pub fn documents(&self) -> u64 {
        let parts = Arc::clone(&self.parts.read());
        parts.iter().map(|part| part.read(|content| u64::from(content.documents().len()))).sum()
    }

    /// How much there is.
    #[must_use]
    pub fn size(&self) -> Size {
        let parts = Arc::clone(&self.parts.read());
        let (loaded, evicted) = self.memory.counts();
        let held = self.memory.held();
        let bytes = self.names.read().size() + self.restrictions.size();
        let mut size = Size { bytes, held, loaded, evicted, ..Size::default() };
        for part in parts.iter() {
            size.documents += u64::from(part.read(|content| content.documents().len()));
            size.bytes += match &part.content {
                Content::Segment(segment) => {
                    size.segments += 1;
                    segment.size() + part.kept.size()
                }
                Content::Tail(tail) => tail.read().size(),
            };
        }
        size
    }

    /// Reads into memory what there is room for of what is kept elsewhere, until it is stopped.
    ///
    /// # Errors
    /// [`SearchError::Unreadable`] when something cannot be read: it [is harmed](Index::harm) then.
    pub fn load(&self, is_stopped: &dyn Fn() -> bool) -> Result<(), SearchError> {
        let parts = Arc::clone(&self.parts.read());
        for segment in parts.iter().filter_map(PartRef::as_segment) {
            match segment.load(is_stopped) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Harmed) => return Err(SearchError::Unreadable),
            }
        }
        Ok(())
    }

    /// Whether something could not be read since this was last asked, of a segment that it has or
    /// has had.
    #[must_use]
    pub fn may_be_harmed(&self) -> bool {
        self.memory.is_harmed.load(Ordering::Acquire)
    }

    /// Why keys of a segment that it has could not be read; each time for one such segment. No
    /// search is answered any more that needs the segment: it is to [begin anew](Index::forget_all).
    #[must_use]
    pub fn harm(&self) -> Option<String> {
        self.memory.is_harmed.store(false, Ordering::Release);
        let parts = Arc::clone(&self.parts.read());
        let harm = parts.iter().filter_map(PartRef::as_segment).find_map(|it| it.failure());
        let mut text = harm?.to_string();
        self.memory.is_harmed.store(true, Ordering::Release);
        let mut source = std::error::Error::source(harm?);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        Some(text)
    }

    /// Drops all documents and begins anew: the log is to be applied from its start. The numbers of
    /// resources and parameters stay. Searches that have begun before find no more at a later `t`
    /// than the head, and so have no answer.
    pub fn forget_all(&self) {
        let _settling = self.settling.lock();
        let mut head = self.writer.lock();
        self.newest.store(0, Ordering::Release);
        *self.parts.write() = Arc::new(vec![PartRef::tail()]);
        self.names.write().end_all();
        *head = Head::new(T::ZERO, Instant::MIN);
        self.oldest.store(0, Ordering::Release);
        self.memory.is_harmed.store(false, Ordering::Release);
    }

    /// The last commit that was applied.
    #[must_use]
    pub fn head(&self) -> T {
        T::new(self.newest.load(Ordering::Acquire))
    }

    /// The least `t` that can be searched.
    #[must_use]
    pub fn oldest(&self) -> T {
        T::new(self.oldest.load(Ordering::Acquire))
    }
}
