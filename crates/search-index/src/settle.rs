//! Making segments: of a full tail, and of small segments a larger one. Nobody waits for it.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fhir_core::Instant;
use fhir_search::Direction;
use store::T;

use crate::cost::{Counts, Meter};
use crate::documents::{Document, Ending, Superseded};
use crate::index::Index;
use crate::memory::Memory;
use crate::merge::{DROPPED, Source, SourceOf, merge};
use crate::parts::{Content, PartRef, Parts};
use crate::segment::Segment;
use crate::segment_view::SegmentView;
use crate::sort::SortSource;

/// Whether there was something to settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// A segment was made; there may be more to do.
    Some,
    /// Everything is settled as well as it can be.
    Nothing,
}

/// So many segments of about one size are merged.
const MERGED_AT_ONCE: usize = 4;
/// Segments with fewer documents are of the lowest tier; those of the next are
/// [`MERGED_AT_ONCE`] times larger.
const SMALLEST_TIER: u32 = 8192;
/// A segment is written anew when one in so many of its documents can be dropped.
const STALE_SHARE: usize = 3;
/// Segments are not merged into one with more documents, or more bytes of keys.
const MOST_DOCUMENTS: u64 = 4_000_000;
const MOST_KEY_BYTES: u64 = 1 << 30;
/// Nor of what takes more than one part in so many of what all may take: what is made of it is in
/// memory as a whole until it is written down. Values that several have are there once then, so it
/// is mostly much smaller.
const MOST_SHARE: u64 = 2;
/// But always into one of so many bytes.
const LEAST_BYTES: u64 = 8 << 20;
/// And never of more than so many.
const MOST_BYTES: u64 = 256 << 20;

/// With so many parts merges are behind: they give way at one in so many looks.
const MANY_PARTS: usize = 32;
const LOOKS_BEHIND: u32 = 32;

impl Index {
    /// Makes a segment of a full tail, or one of several small segments: one step, which takes as
    /// long as the segment is large. Of what is merged, versions that were replaced or deleted at
    /// `horizon` or before are dropped; a `t` at which one of them was the newest cannot be
    /// searched any more.
    pub fn settle(&self, horizon: Instant) -> Settled {
        self.settle_unless(&AtomicBool::new(false), horizon)
    }

    /// As [`Index::settle`], but given up when `stop` turns true: then nothing is changed.
    pub fn settle_unless(&self, stop: &AtomicBool, horizon: Instant) -> Settled {
        let _settling = self.settling.lock();
        let settled = match self.settle_a_full_tail(stop, horizon) {
            Settled::Some => Settled::Some,
            Settled::Nothing => self.settle_segments(stop, horizon),
        };
        self.drop_replaced();
        settled
    }

    /// Makes a segment of the first tail that is full.
    fn settle_a_full_tail(&self, stop: &AtomicBool, horizon: Instant) -> Settled {
        let parts = Arc::clone(&self.parts.read());
        let mut full = parts.iter().take(parts.len() - 1).filter(|it| it.as_segment().is_none());
        let Some(tail) = full.next().cloned() else { return Settled::Nothing };
        drop(parts);
        self.replace(&[tail], horizon, stop)
    }

    /// Makes one of several segments, or writes one anew.
    fn settle_segments(&self, stop: &AtomicBool, horizon: Instant) -> Settled {
        let inputs = {
            let parts = Arc::clone(&self.parts.read());
            let stale = || parts.iter().position(|it| is_stale(it, horizon)).map(|at| at..at + 1);
            let Some(chosen) = choose(&parts, self.memory.budget as u64).or_else(stale) else {
                return Settled::Nothing;
            };
            parts[chosen].to_vec()
        };
        // It may take seconds. Searches read tails under their lock: those that fill meanwhile do
        // not wait for it.
        let looks = Cell::new(0_u32);
        let goes_on = || {
            while self.settle_a_full_tail(stop, horizon) == Settled::Some {
                self.drop_replaced();
            }
            looks.set(looks.get().wrapping_add(1));
            // Whoever gives up a processor gets the next one late. Among very many parts searches
            // wait longer for those than for a processor.
            let is_behind = self.parts.read().len() >= MANY_PARTS;
            if !is_behind || looks.get().is_multiple_of(LOOKS_BEHIND) {
                std::thread::yield_now();
            }
            !stop.load(Ordering::Relaxed)
        };
        self.replace_by_and_by(&inputs, horizon, stop, &goes_on)
    }

    /// As [`Index::replace_by_and_by`], until it is stopped.
    pub(crate) fn replace(
        &self,
        inputs: &[PartRef],
        horizon: Instant,
        stop: &AtomicBool,
    ) -> Settled {
        self.replace_by_and_by(inputs, horizon, stop, &|| !stop.load(Ordering::Relaxed))
    }

    /// Makes one segment of adjacent parts. What was there stays until no reader has it any more,
    /// so that it is taken apart by whoever settles ([`Index::drop_replaced`]), which takes
    /// milliseconds, and not by whoever answers a search.
    fn replace_by_and_by(
        &self,
        inputs: &[PartRef],
        horizon: Instant,
        stop: &AtomicBool,
        goes_on: &dyn Fn() -> bool,
    ) -> Settled {
        match self.replace_while(inputs, horizon, stop, goes_on) {
            None => Settled::Nothing,
            Some(()) => {
                let contents = inputs.iter().map(|part| part.content.clone());
                self.replaced.lock().extend(contents);
                Settled::Some
            }
        }
    }

    /// Drops those replaced parts that no reader has any more.
    pub(crate) fn drop_replaced(&self) {
        let mut replaced = self.replaced.lock();
        let dropped: Vec<_> = replaced.extract_if(.., |content| !content.is_shared()).collect();
        drop(replaced);
        drop(dropped);
    }

    /// How many bytes the tails take, about, that are full and wait to be settled.
    #[must_use]
    pub fn unsettled_bytes(&self) -> usize {
        let parts = Arc::clone(&self.parts.read());
        let full = parts.iter().take(parts.len() - 1);
        full.map(|part| match &part.content {
            Content::Segment(_) => 0,
            Content::Tail(tail) => tail.read().size(),
        })
        .sum()
    }

    /// Lets the next commits go to another tail, so that this one can be settled before it is
    /// full: for when there is time.
    pub fn close_tail(&self) {
        let _writer = self.writer.lock();
        self.begin_tail();
    }

    /// Puts an empty tail behind one that is not.
    pub(crate) fn begin_tail(&self) {
        let mut parts = self.parts.write();
        if parts.last().is_some_and(|tail| tail.read(|it| it.documents().len()) > 0) {
            *parts = Arc::new(parts.iter().cloned().chain([PartRef::tail()]).collect());
        }
    }

    /// Rewrites the parts that have documents of purged resources, without them.
    pub(crate) fn drop_purged(&self) {
        let _settling = self.settling.lock();
        {
            let _writer = self.writer.lock();
            let last = self.parts.read().last().cloned();
            if last.is_some_and(|tail| tail.superseded.read().purged() > 0) {
                self.begin_tail();
            }
        }
        let parts = Arc::clone(&self.parts.read());
        for part in parts.iter().take(parts.len() - 1) {
            if part.superseded.read().purged() > 0 {
                let never = AtomicBool::new(false);
                let _done = self.replace(std::slice::from_ref(part), Instant::MIN, &never);
            }
        }
    }

    /// Makes for a new segment what searches have made for others, before anyone searches it.
    fn make_views(&self, segment: &Segment, stop: &AtomicBool) {
        if self.memory.is_full_with(0) {
            return;
        }
        let parts = Arc::clone(&self.parts.read());
        let meter = Meter::new(u64::MAX, Counts::LookedAt, stop);
        let direction = Direction::Ascending;
        let view = SegmentView::of(segment);
        let source = SortSource { part: &view, direction, names: &self.names, meter: &meter };
        for other in parts.iter().filter_map(PartRef::as_segment) {
            // Where it is stopped, whoever searches makes them.
            let _ = segment.make_as(other, &source);
        }
    }

    /// Makes one segment of adjacent parts that no commit writes into, and puts it in their place.
    /// `None` when `goes_on` said no, which is asked every few milliseconds.
    fn replace_while(
        &self,
        inputs: &[PartRef],
        horizon: Instant,
        stop: &AtomicBool,
        goes_on: &dyn Fn() -> bool,
    ) -> Option<()> {
        let mut merge = Merge::new(inputs, horizon);
        let segment = merge.build(inputs, &self.memory, goes_on)?;
        self.make_views(&segment, stop);
        merge.take_endings(inputs);
        // What is dropped must not be missed by a search that begins now.
        self.oldest.fetch_max(merge.dropped.get(), Ordering::AcqRel);
        self.put(inputs, merge, segment)?;
        // No commit waits for what goes from memory.
        self.memory.keep_within_budget();
        Some(())
    }

    /// Puts a segment in the place of the parts that it was made of. Commits wait for that.
    fn put(&self, inputs: &[PartRef], mut merge: Merge, segment: Segment) -> Option<()> {
        // It is watched over from now on, for which it may have to wait.
        let made =
            (segment.documents_len() > 0).then(|| PartRef::segment(segment, Superseded::default()));
        let _writer = self.writer.lock();
        merge.take_endings(inputs);
        if let Some(made) = &made {
            *made.superseded.write() = merge.superseded;
        }
        let mut parts = self.parts.write();
        let first = parts.iter().position(|part| inputs.first().is_some_and(|it| it.is(part)))?;
        let after = parts[first + inputs.len()..].iter().cloned();
        let next = parts[..first].iter().cloned().chain(made).chain(after).collect();
        *parts = Arc::new(next);
        Some(())
    }
}

/// Whether so much of a segment can be dropped that it is worth to be written anew.
fn is_stale(part: &PartRef, horizon: Instant) -> bool {
    let Some(segment) = part.as_segment() else { return false };
    let superseded = part.superseded.read();
    let old = superseded.endings().partition_point(|ending| ending.instant <= horizon);
    old > 0 && old * STALE_SHARE >= segment.documents_len() as usize
}

/// Adjacent segments to be merged.
fn choose(parts: &Parts, budget: u64) -> Option<Range<usize>> {
    let segments = parts.iter().map_while(PartRef::as_segment).map(|segment| {
        let (key_bytes, bytes) = segment.key_bytes();
        Measure { documents: u64::from(segment.documents_len()), key_bytes, bytes }
    });
    choose_among(&segments.collect::<Vec<_>>(), budget)
}

/// How large a segment is.
#[derive(Debug, Clone, Copy, Default)]
struct Measure {
    documents: u64,
    /// Of its keys, and of all that it has of them in memory.
    key_bytes: u64,
    bytes: u64,
}

impl Measure {
    fn of(segments: &[Self]) -> Self {
        segments.iter().fold(Self::default(), |all, it| Self {
            documents: all.documents + it.documents,
            key_bytes: all.key_bytes + it.key_bytes,
            bytes: all.bytes + it.bytes,
        })
    }

    fn tier(&self) -> u32 {
        let times = self.documents / u64::from(SMALLEST_TIER);
        times.checked_ilog(MERGED_AT_ONCE as u64).map_or(0, |it| it + 1)
    }
}

/// The next to be merged: [`MERGED_AT_ONCE`] of a tier, with smaller ones between them; fewer, where
/// one more would be too large.
fn choose_among(segments: &[Measure], budget: u64) -> Option<Range<usize>> {
    let most_bytes = (budget / MOST_SHARE).clamp(LEAST_BYTES, MOST_BYTES);
    let is_too_large = |it: &Measure| {
        it.documents > MOST_DOCUMENTS || it.key_bytes > MOST_KEY_BYTES || it.bytes > most_bytes
    };
    for wanted in 0..32 {
        let mut run = 0..0;
        for (at, segment) in segments.iter().enumerate() {
            if segment.tier() > wanted {
                run = at + 1..at + 1;
                continue;
            }
            if is_too_large(&Measure::of(&segments[run.start..=at])) {
                if is_worth_it(&segments[run.clone()], wanted) {
                    return Some(run);
                }
                run = at..at + 1;
                continue;
            }
            run.end = at + 1;
            let of_tier = segments[run.clone()].iter().filter(|it| it.tier() == wanted);
            if of_tier.count() >= MERGED_AT_ONCE {
                return Some(run);
            }
        }
    }
    None
}

/// Whether to merge as many as there is room for: where all are of one tier and none is more than
/// two thirds of them, so that no document is written anew for a few others.
fn is_worth_it(segments: &[Measure], tier: u32) -> bool {
    let all = Measure::of(segments);
    let most = segments.iter().map(|it| it.documents).max().unwrap_or(0);
    segments.len() > 1
        && most * 3 <= all.documents * 2
        && segments.iter().all(|it| it.tier() == tier)
}

/// A segment being made of others.
struct Merge {
    documents: Vec<Document>,
    /// For each input, the new number of each document.
    numbers: Vec<Vec<u32>>,
    superseded: Superseded,
    /// How many of each input's endings have been taken over.
    taken: Vec<usize>,
    /// The last commit that ended something that is dropped for its age.
    dropped: T,
}

impl Merge {
    fn new(inputs: &[PartRef], horizon: Instant) -> Self {
        let (mut documents, mut numbers, mut dropped) = (Vec::new(), Vec::new(), T::ZERO);
        for input in inputs {
            let superseded = input.superseded.read().clone();
            let mut own = vec![0; input.read(|it| it.documents().len()) as usize];
            for ending in superseded.endings().iter().filter(|it| it.instant <= horizon) {
                own[ending.doc as usize] = DROPPED;
                dropped = dropped.max(ending.t);
            }
            input.read(|content| {
                for (doc, document) in (0..).zip(content.documents().iter()) {
                    let number = &mut own[doc as usize];
                    if superseded.is_purged(doc) {
                        *number = DROPPED;
                    }
                    if *number != DROPPED {
                        *number = u32::try_from(documents.len()).unwrap_or(DROPPED);
                        documents.push(document);
                    }
                }
            });
            numbers.push(own);
        }
        let taken = vec![0; inputs.len()];
        Self { documents, numbers, superseded: Superseded::default(), taken, dropped }
    }

    fn build(
        &mut self,
        inputs: &[PartRef],
        memory: &Arc<Memory>,
        goes_on: &dyn Fn() -> bool,
    ) -> Option<Segment> {
        let documents = std::mem::take(&mut self.documents);
        // One by one, since a tail is read under its lock: no commit writes into these.
        let tails: Vec<_> = inputs
            .iter()
            .map(|input| match &input.content {
                Content::Segment(_) => None,
                Content::Tail(tail) => Some(tail.read()),
            })
            .collect();
        let sources =
            inputs.iter().zip(&tails).zip(&self.numbers).filter_map(|((input, tail), numbers)| {
                let of = match (&input.content, tail) {
                    (Content::Segment(segment), _) => SourceOf::Segment(segment),
                    (Content::Tail(_), Some(tail)) => SourceOf::Tail(tail),
                    (Content::Tail(_), None) => return None,
                };
                Some(Source { of, numbers })
            });
        let facets = merge(&sources.collect::<Vec<_>>(), goes_on)?;
        Some(Segment::new(documents, facets, None, memory))
    }

    /// Takes over which versions have ended since it was last done, and what was purged.
    fn take_endings(&mut self, inputs: &[PartRef]) {
        let mut new = Vec::new();
        let mut purged = Vec::new();
        for ((input, numbers), taken) in inputs.iter().zip(&self.numbers).zip(&mut self.taken) {
            let superseded = input.superseded.read();
            let endings = superseded.endings();
            let moved = endings[*taken..].iter().filter_map(|ending| {
                let doc = numbers[ending.doc as usize];
                (doc != DROPPED).then_some(Ending { doc, ..*ending })
            });
            new.extend(moved);
            *taken = endings.len();
            let still_there = superseded.purged_docs().map(|doc| numbers[doc as usize]);
            purged.extend(still_there.filter(|doc| *doc != DROPPED));
        }
        new.sort_by_key(|ending| ending.t);
        for ending in new {
            self.superseded.note(ending);
        }
        if !purged.is_empty() {
            self.superseded.purge(&purged);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use fhir_core::{Instant, VersionId};
    use store::T;

    use super::{Content, Index, LEAST_BYTES, MERGED_AT_ONCE, Measure, Settled, choose_among};
    use crate::facet::Facet;
    use crate::index::Change;
    use crate::prepare::{Prepared, PreparedKey};

    /// One more resource, in a tail that is closed then.
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
        index.close_tail();
    }

    #[test]
    fn a_tail_that_is_full_does_not_wait_for_a_merge_to_end() {
        let index = Index::default();
        for _ in 0..super::MERGED_AT_ONCE {
            add(&index);
            assert_eq!(
                index.settle_a_full_tail(&AtomicBool::new(false), Instant::MIN),
                Settled::Some
            );
        }
        add(&index);
        assert!(index.unsettled_bytes() > 0);
        assert_eq!(index.settle_segments(&AtomicBool::new(false), Instant::MIN), Settled::Some);
        assert_eq!((index.unsettled_bytes(), index.size().segments), (0, 2));
        assert_eq!((index.size().documents, index.head()), (5, T::new(5)));
    }

    /// Of what a checkpoint and a purge replace, too.
    #[test]
    fn whoever_replaces_a_part_leaves_it_to_no_reader() {
        let replace: [fn(&Index); 2] = [
            |index| drop(index.checkpoint(&AtomicBool::new(false))),
            |index| index.forget(&[("Patient".parse().unwrap(), "p1".parse().unwrap())]),
        ];
        for replace in replace {
            let index = Index::default();
            add(&index);
            let reader = Arc::clone(&index.parts.read());
            let Content::Tail(tail) = &reader[0].content else { panic!("it is settled") };
            let tail = Arc::downgrade(tail);
            replace(&index);
            assert_eq!(index.unsettled_bytes(), 0);
            drop(reader);
            assert!(tail.upgrade().is_some());
            assert_eq!(index.settle(Instant::MIN), Settled::Nothing);
            assert!(tail.upgrade().is_none());
        }
    }

    #[test]
    fn as_many_are_merged_as_there_is_room_for_and_none_for_a_few_others() {
        let of = |documents: u64| Measure { documents, key_bytes: 0, bytes: documents * 100 };
        let choose = |documents: &[u64], budget| {
            choose_among(&documents.iter().map(|it| of(*it)).collect::<Vec<_>>(), budget)
        };
        let (roomy, room) = (u64::MAX, 2 * LEAST_BYTES);
        assert_eq!(choose(&[20_000; 9], roomy), Some(0..MERGED_AT_ONCE));
        assert_eq!(choose(&[20_000; 3], roomy), None);
        // Four of them are 8.8 MB, and no more than 8 MiB may be.
        assert_eq!(choose(&[22_000; 9], room), Some(0..3));
        assert_eq!(choose(&[66_000, 22_000, 22_000, 22_000, 22_000], room), Some(1..4));
        // Large ones are not written anew for a small one.
        assert_eq!(choose(&[66_000, 22_000, 66_000], room), None);
        assert_eq!(choose(&[40_000, 36_000, 40_000], room), Some(0..2));
        assert_eq!(choose(&[70_000, 10_000, 70_000], room), None);
        let mut left: Vec<u64> = vec![22_000; 40];
        while let Some(merged) = choose(&left, room) {
            let sum = left[merged.clone()].iter().sum();
            left.splice(merged, [sum]);
        }
        assert_eq!(left, [&[66_000; 13][..], &[22_000]].concat());
    }

    #[test]
    fn what_was_replaced_is_taken_apart_by_who_settles_and_not_by_the_last_to_read_it() {
        let index = Index::default();
        add(&index);
        let reader = Arc::clone(&index.parts.read());
        let Content::Tail(tail) = &reader[0].content else { panic!("it is settled") };
        let tail = Arc::downgrade(tail);
        assert_eq!(index.settle(Instant::MIN), Settled::Some);
        drop(reader);
        assert!(tail.upgrade().is_some());
        assert_eq!(index.settle(Instant::MIN), Settled::Nothing);
        assert!(tail.upgrade().is_none());
    }
}
