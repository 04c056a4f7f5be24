//! How much of the settled segments is in memory. What is used least recently goes when it is more
//! than the budget; whoever reads it at that moment keeps it until then.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::segment::Segment;

/// What all segments of an index share.
#[derive(Debug)]
pub(crate) struct Memory {
    /// In bytes.
    pub(crate) budget: usize,
    held: AtomicUsize,
    /// So much of it cannot go, since it is kept nowhere else.
    fixed: AtomicUsize,
    /// Counts uses: what was used later has a greater number.
    uses: AtomicU64,
    loaded: AtomicU64,
    evicted: AtomicU64,
    segments: Mutex<Vec<Weak<Segment>>>,
    /// Some segment could not be read.
    pub(crate) is_harmed: AtomicBool,
}

/// Something of a segment that can be had again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evictable<U> {
    /// When it was used last.
    pub(crate) used: u64,
    /// What it is.
    pub(crate) unit: U,
}

/// Of what can go so much is free after what was too much has gone, so that it does not go one by
/// one.
const FREE_SHARE: usize = 8;

impl Memory {
    /// With so many bytes.
    pub(crate) fn of(budget: usize) -> Arc<Self> {
        Arc::new(Self {
            budget,
            held: AtomicUsize::new(0),
            fixed: AtomicUsize::new(0),
            uses: AtomicU64::new(0),
            loaded: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            segments: Mutex::default(),
            is_harmed: AtomicBool::new(false),
        })
    }

    /// Watches over one more segment.
    pub(crate) fn add(&self, segment: &Arc<Segment>) {
        let mut segments = self.segments.lock();
        segments.retain(|it| it.strong_count() > 0);
        segments.push(Arc::downgrade(segment));
    }

    /// The number of one more use.
    pub(crate) fn use_now(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts what a segment holds from now on.
    pub(crate) fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Counts what a segment holds no more.
    pub(crate) fn let_go(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Counts what cannot go.
    pub(crate) fn fix(&self, bytes: usize) {
        self.fixed.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Counts what can go from now on, or is gone.
    pub(crate) fn unfix(&self, bytes: usize) {
        self.fixed.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Whether what cannot go leaves no room for anything else: nothing need be looked for that
    /// could go, and nothing stays.
    pub(crate) fn has_no_room(&self) -> bool {
        self.fixed.load(Ordering::Acquire) >= self.budget
    }

    /// Counts a facet that was read.
    pub(crate) fn count_loaded(&self) {
        self.loaded.fetch_add(1, Ordering::Relaxed);
    }

    /// How many bytes all segments hold.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// How many facets were read, and how many facets and views went.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.loaded.load(Ordering::Relaxed), self.evicted.load(Ordering::Relaxed))
    }

    /// Whether so many bytes more are too many.
    pub(crate) fn is_full_with(&self, bytes: usize) -> bool {
        self.held().saturating_add(bytes) > self.budget
    }

    /// Lets go of what was used least recently, where it is too much. One does it for all.
    pub(crate) fn keep_within_budget(&self) {
        if !self.is_full_with(0) {
            return;
        }
        let Some(segments) = self.segments.try_lock() else { return };
        let segments: Vec<Arc<Segment>> = segments.iter().filter_map(Weak::upgrade).collect();
        let mut all = Vec::new();
        for (at, segment) in segments.iter().enumerate() {
            segment.evictable(&mut |it| {
                all.push(Evictable { used: it.used, unit: (at, it.unit) });
            });
        }
        all.sort_unstable_by_key(|it| it.used);
        let fixed = self.fixed.load(Ordering::Acquire).min(self.budget);
        let wanted = self.budget - (self.budget - fixed) / FREE_SHARE;
        for Evictable { unit: (at, unit), .. } in all {
            if self.held() <= wanted {
                break;
            }
            if segments[at].evict(unit) {
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use fhir_core::{Instant, VersionId};

    use crate::facet::Facet;
    use crate::index::{Change, Index};
    use crate::prepare::{Prepared, PreparedKey};
    use crate::settle::Settled;

    fn add(index: &Index) {
        let t = index.head().next();
        let prepared = Prepared {
            resource_type: "Patient".parse().unwrap(),
            id: format!("p{t}").parse().unwrap(),
            keys: vec![PreparedKey::Ready(Facet::TYPE, b"Patient"[..].into())],
            contained: Vec::new(),
        };
        let instant = Instant::from_micros(t.get().cast_signed());
        let change = Change::Put { prepared, version: VersionId::FIRST };
        index.apply(t, instant, vec![change]).unwrap();
    }

    #[test]
    fn no_commit_waits_while_somebody_makes_room_for_a_new_segment() {
        const LONG: Duration = Duration::from_secs(20);
        let index = &Index::default();
        add(index);
        index.close_tail();
        std::thread::scope(|scope| {
            let makes_room = index.memory.segments.lock();
            let settling = scope.spawn(|| index.settle(Instant::MIN));
            while !index.settling.is_locked() {
                std::thread::yield_now();
            }
            let (done, is_done) = mpsc::channel();
            let writing = scope.spawn(move || {
                (0..2000).for_each(|_| add(index));
                done.send(()).unwrap();
            });
            let written = is_done.recv_timeout(LONG);
            drop(makes_room);
            written.expect("commits wait for whoever makes room");
            writing.join().unwrap();
            assert_eq!(settling.join().unwrap(), Settled::Some);
        });
        assert_eq!(index.size().documents, 2001);
    }
}
