//! The search index of a tenant, and how it follows the log: what a commit writes is prepared
//! before the serial step, and applied there once it is durable and before it is visible, so that
//! whoever was answered finds it (guarantee G5).
//!
//! At first the log is read from its start, beside everything else; what is committed meanwhile
//! waits. Until the index has caught up, searches look at the resources themselves; so they do
//! while the newest version of some resource cannot be read, since then nothing may be left out
//! silently.
//!
//! When parameters are defined anew, the next index is made beside the one that there is, which
//! goes on following the log and answers what does not ask by the new ones.

mod file;
mod folder;
mod keeping;
mod kept;
mod manifest;
mod owner;
mod progress;
mod rebuild;
mod segment_file;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use fhir_core::json::Document;
use fhir_core::{Instant, ResourceId, ResourceType};
use fhir_schema::Schema;
use fhir_search::{ExtractOptions, Extractor, Zone};
use parking_lot::{Condvar, Mutex};
use search_index::{Change, Index, Prepared, Settled, Subject};
use store::T;

use crate::compartment::Compartments;
use crate::priority::{BEHIND_REQUESTS, give_way};
use crate::transaction::Action;
use crate::{ReadError, Receipt, Snapshot, Transaction};

pub(crate) use folder::KeptIndex;
use keeping::{Keeping, Opened, Outcome};
use kept::Due;
pub use kept::IndexState;
pub use progress::BeingIndexed;
use rebuild::Merging;

/// So many changes, of so many bytes, wait with what was prepared of them; what more of them say is
/// read from the log again.
const MOST_PREPARED: (usize, usize) = (4096, 32 << 20);
/// How long whoever settles waits before it looks again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long it waits at most before it reads again what could not be read.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long what was replaced can be searched, in microseconds: as long as a page's link lives.
const HORIZON: i64 = 24 * 3600 * 1_000_000;

/// By what a tenant's resources are indexed.
#[derive(Clone)]
pub struct IndexedBy {
    /// Takes values from resources.
    pub extractor: Arc<Extractor<'static>>,
    /// The server's own base URL, without its last slash.
    pub base: Arc<str>,
    /// What a time without an offset is read in.
    pub zone: Zone,
}

/// One index. It is not changed into one by other parameters: that is another one.
pub(crate) struct Indexing {
    pub(crate) index: Index,
    by: IndexedBy,
    schema: &'static Schema,
    /// What is still to be applied; none when the index has all that is visible.
    behind: Mutex<Option<Waiting>>,
    /// Whether its turn has come.
    has_begun: AtomicBool,
    /// Whether nothing is behind.
    has_caught_up: AtomicBool,
    /// Whether the log was read once: from now on it is worth to prepare commits for it.
    has_read_log: AtomicBool,
    /// Resources whose newest version could not be read.
    unreadable: Mutex<HashSet<(ResourceType, ResourceId)>>,
    /// Whether there are none.
    is_whole: AtomicBool,
    /// A commit is missing: nothing is found by it any more.
    is_broken: AtomicBool,
    /// The instant of the last commit that was applied, in microseconds.
    last: AtomicI64,
    /// What was said in the log of what could not be indexed: how often it was so then.
    told: Mutex<BTreeMap<Code, u64>>,
    /// Something is to be done.
    wake: Condvar,
    stop: AtomicBool,
    /// Where it is kept over a restart, if it is.
    keeping: Option<Keeping>,
    /// How many bytes of memory keys and orders may take.
    budget: usize,
    /// It was said that it takes more.
    cannot_make_room: AtomicBool,
    /// Up to which position it was there from the start.
    restored: Mutex<Option<T>>,
    /// What was kept, until it is used.
    opened: Mutex<Option<Opened>>,
}

/// Commits that the index does not have, in their order.
#[derive(Default)]
struct Waiting {
    commits: VecDeque<Behind>,
    /// How many changes are prepared, and how many bytes they take.
    prepared: (usize, usize),
}

/// A commit, or several, that the index does not have.
enum Behind {
    Prepared(T, Instant, Vec<Change>),
    /// What those up to it say, the log has to say.
    InLog(T),
}

/// A commit as it is read from the log.
struct Read {
    t: T,
    instant: Instant,
    changes: Vec<Change>,
    /// Resources whose versions of this commit cannot be read.
    unreadable: Vec<(ResourceType, ResourceId)>,
}

impl Waiting {
    fn push(&mut self, t: T, instant: Instant, changes: Option<Vec<Change>>) {
        let is_short = self.prepared.0 < MOST_PREPARED.0 && self.prepared.1 < MOST_PREPARED.1;
        match (changes.filter(|_| is_short), self.commits.back_mut()) {
            // What is read from the log is read up to here.
            (_, Some(Behind::InLog(last))) => *last = t,
            (Some(changes), _) => {
                self.prepared.0 += changes.len();
                self.prepared.1 += bytes(&changes);
                self.commits.push_back(Behind::Prepared(t, instant, changes));
            }
            (None, _) => self.commits.push_back(Behind::InLog(t)),
        }
    }

    fn pop(&mut self) -> Option<Behind> {
        let next = self.commits.pop_front()?;
        if let Behind::Prepared(_, _, changes) = &next {
            self.prepared.0 -= changes.len();
            self.prepared.1 -= bytes(changes);
        }
        Some(next)
    }
}

/// How many bytes changes take.
fn bytes(changes: &[Change]) -> usize {
    changes.iter().map(Change::bytes).sum()
}

/// A type and the code of one of its parameters.
type Code = (Box<str>, Box<str>);

/// The indexes of a tenant.
#[derive(Clone, Default)]
pub(crate) struct Indexes {
    /// The one that searches ask.
    pub(crate) current: Option<Arc<Indexing>>,
    /// The one that is being made to stand in its place.
    pub(crate) next: Option<Arc<Indexing>>,
}

impl Indexes {
    /// Those that follow the log.
    fn all(&self) -> impl Iterator<Item = &Arc<Indexing>> {
        self.current.iter().chain(&self.next)
    }

    /// Prepares what a transaction says for those that will soon want it.
    pub(crate) fn prepare(&self, transaction: &Transaction) -> Option<Indexed> {
        let next = self.next.iter().filter(|it| it.has_read_log.load(Ordering::Acquire));
        let wanting = self.current.iter().chain(next);
        let each: Vec<_> = wanting.map(|it| (Arc::clone(it), it.prepare(transaction))).collect();
        (!each.is_empty()).then_some(Indexed { each })
    }
}

/// What was prepared of a transaction's changes, one for each of them, by index.
pub(crate) struct Indexed {
    each: Vec<(Arc<Indexing>, Vec<Unjudged>)>,
}

/// A change of which it is not known yet whether it is made.
enum Unjudged {
    Write(Prepared),
    Delete(ResourceType, ResourceId),
    /// Of no concern.
    Nothing,
}

/// A commit's changes, those alone that were made, by index.
pub(crate) struct ToApply {
    each: Vec<(Arc<Indexing>, Vec<Change>)>,
}

impl ToApply {
    /// Those for an index, where they were prepared for it.
    fn take(&mut self, of: &Arc<Indexing>) -> Option<Vec<Change>> {
        let at = self.each.iter().position(|(it, _)| Arc::ptr_eq(it, of))?;
        Some(self.each.swap_remove(at).1)
    }
}

impl Indexed {
    /// What is made of it, as the receipt says.
    pub(crate) fn judged(self, receipt: &Receipt) -> ToApply {
        let each = self.each.into_iter().map(|(of, changes)| (of, judged(changes, receipt)));
        ToApply { each: each.collect() }
    }
}

fn judged(changes: Vec<Unjudged>, receipt: &Receipt) -> Vec<Change> {
    let made = changes.into_iter().zip(&receipt.written);
    let changes = made.filter_map(|(change, written)| {
        let version = written.version.filter(|_| written.changed)?;
        match change {
            Unjudged::Write(prepared) => Some(Change::Put { prepared, version }),
            Unjudged::Delete(resource_type, id) => Some(Change::Delete { resource_type, id }),
            Unjudged::Nothing => None,
        }
    });
    let mut changes: Vec<Change> = changes.collect();
    // The log has them in this order too, and a place in it is a place in a page's link: the index
    // that is made of the log after a start must give the same.
    changes.sort_by_key(|change| matches!(change, Change::Delete { .. }));
    changes
}

impl Indexing {
    /// Of what is kept the least is read here: it goes on in [`Indexing::run`].
    pub(crate) fn new(
        by: IndexedBy,
        schema: &'static Schema,
        budget: usize,
        keeping: Option<Keeping>,
    ) -> Arc<Self> {
        // Where it is not kept there is nothing to read it from again.
        let index = keeping.as_ref().map_or_else(Index::default, |_| Index::within(budget));
        let opened = keeping.as_ref().and_then(Keeping::open);
        if let Some(opened) = &opened {
            index.number_as(&opened.state);
        }
        Arc::new(Self {
            index,
            by,
            schema,
            behind: Mutex::new(Some(Waiting::default())),
            has_begun: AtomicBool::new(false),
            has_caught_up: AtomicBool::new(false),
            has_read_log: AtomicBool::new(false),
            unreadable: Mutex::default(),
            is_whole: AtomicBool::new(true),
            is_broken: AtomicBool::new(false),
            last: AtomicI64::new(i64::MIN),
            told: Mutex::default(),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
            keeping,
            restored: Mutex::default(),
            budget,
            cannot_make_room: AtomicBool::new(false),
            opened: Mutex::new(opened),
        })
    }

    /// By what it is.
    pub(crate) fn by(&self) -> &IndexedBy {
        &self.by
    }

    /// Whether it has what this extractor takes from resources.
    pub(crate) fn is_by(&self, extractor: &Extractor<'static>) -> bool {
        let own = &self.by.extractor;
        own.is_comparable(extractor)
            && own.parameters().fingerprint() == extractor.parameters().fingerprint()
    }

    /// Whether it has all that is visible and is to be searched, so that its values tell.
    pub(crate) fn is_ready(&self, zone: Zone) -> bool {
        self.by.zone == zone
            && self.has_caught_up()
            && self.is_whole.load(Ordering::Acquire)
            && !self.is_broken.load(Ordering::Acquire)
            && !self.index.may_be_harmed()
    }

    /// Waits until it has all that is visible, so long at most; whether it has then.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let mut behind = self.behind.lock();
        let is_behind = |behind: &mut Option<Waiting>| behind.is_some();
        !self.wake.wait_while_for(&mut behind, is_behind, patience).timed_out()
    }

    /// Whether it has all that is visible.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.has_caught_up.load(Ordering::Acquire)
    }

    /// Prepares what a transaction says.
    fn prepare(&self, transaction: &Transaction) -> Vec<Unjudged> {
        let prepare = |change: &crate::Change| match &change.action {
            Action::Write { body, .. } => {
                let name = (&change.resource_type, &change.id);
                self.prepared(name, &body.plain, &body.compartments)
                    .map_or(Unjudged::Nothing, Unjudged::Write)
            }
            Action::Delete if self.concerns(&change.resource_type) => {
                Unjudged::Delete(change.resource_type.clone(), change.id.clone())
            }
            // All else that is the patient's goes when the index is made anew.
            Action::Purge { .. } => {
                Unjudged::Delete(change.resource_type.clone(), change.id.clone())
            }
            Action::Delete => Unjudged::Nothing,
        };
        transaction.changes.iter().map(prepare).collect()
    }

    /// Whether resources of a type are searched: not those that the server keeps for itself.
    fn concerns(&self, of: &ResourceType) -> bool {
        self.schema.is_resource_type(of.as_str())
    }

    fn prepared(
        &self,
        (of, id): (&ResourceType, &ResourceId),
        json: &[u8],
        compartments: &Compartments,
    ) -> Option<Prepared> {
        if !self.concerns(of) {
            return None;
        }
        self.prepared_of((of, id), &Document::parse(json).ok()?, compartments)
    }

    fn prepared_of(
        &self,
        (of, id): (&ResourceType, &ResourceId),
        document: &Document<'_>,
        compartments: &Compartments,
    ) -> Option<Prepared> {
        let compartments = compartments.named(Some(&self.by.base));
        let subject = Subject { resource_type: of, id, compartments: &compartments };
        let IndexedBy { extractor, base, zone } = &self.by;
        let options = ExtractOptions { base: Some(base), zone: *zone, last_updated: None };
        Some(self.index.prepare(document.root(), subject, extractor, &options))
    }

    /// Takes in a commit that is durable: the next one of the log. The serial step calls it.
    pub(crate) fn follow(&self, t: T, instant: Instant, own: Option<Vec<Change>>) {
        let mut behind = self.behind.lock();
        match (&mut *behind, own) {
            (None, Some(changes)) => self.apply(t, instant, changes),
            (Some(waiting), own) => waiting.push(t, instant, own),
            (None, None) => {
                // It was prepared before this index was there.
                self.has_caught_up.store(false, Ordering::Release);
                behind.insert(Waiting::default()).push(t, instant, None);
                self.wake.notify_all();
            }
        }
    }

    fn apply(&self, t: T, instant: Instant, changes: Vec<Change>) {
        if t <= self.index.head() {
            return;
        }
        if !self.is_whole.load(Ordering::Acquire) {
            let mut unreadable = self.unreadable.lock();
            for change in &changes {
                let (of, id) = change.name();
                unreadable.remove(&(of.clone(), id.clone()));
            }
            self.is_whole.store(unreadable.is_empty(), Ordering::Release);
        }
        if let Err(error) = self.index.apply(t, instant, changes) {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the search index does not follow the log");
            self.is_broken.store(true, Ordering::Release);
        }
        self.last.store(instant.as_micros(), Ordering::Release);
    }

    /// Applies a commit as the log has it.
    fn apply_read(&self, commit: Read) {
        let Read { t, instant, changes, unreadable } = commit;
        self.apply(t, instant, changes);
        if !unreadable.is_empty() {
            self.unreadable.lock().extend(unreadable);
            self.is_whole.store(false, Ordering::Release);
        }
    }

    /// Goes on to `t`, up to which there is nothing more: a commit may have no versions.
    fn advance(&self, t: T) {
        // No later commit has an earlier instant: they grow by a microsecond at least.
        let instant = self.last.load(Ordering::Acquire).saturating_add(1);
        self.apply(t, Instant::from_micros(instant), Vec::new());
    }

    /// Follows the log, from where what is kept ends, until it is stopped; `snapshot` gives all
    /// data at the head, `has_caught_up` is told whenever it has all that is visible.
    pub(crate) fn run(
        &self,
        snapshot: &dyn Fn() -> Snapshot,
        now: &(dyn Fn() -> Instant + Sync),
        has_caught_up: &dyn Fn(),
    ) {
        give_way(BEHIND_REQUESTS);
        self.restore(&snapshot());
        std::thread::scope(|scope| {
            let merging = Merging::start(scope, self, now);
            self.follow_log(snapshot, now, has_caught_up, &merging);
        });
        self.keep_at_the_end(snapshot);
    }

    /// Follows the log from where the index ends until it is stopped.
    fn follow_log(
        &self,
        snapshot: &dyn Fn() -> Snapshot,
        now: &(dyn Fn() -> Instant + Sync),
        has_caught_up: &dyn Fn(),
        merging: &Merging,
    ) {
        let mut pause = PAUSE;
        let mut due = Due::after(self.index.documents());
        let mut done = self.read_log(&snapshot(), self.index.head(), now, merging);
        while !self.is_stopped() {
            if let Err(error) = done {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the log cannot be read for the search index");
                self.pause(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
                // It goes on where it ended.
                done = self.read_log(&snapshot(), self.index.head(), now, merging);
                continue;
            }
            pause = PAUSE;
            self.has_read_log.store(true, Ordering::Release);
            done = self.catch_up(snapshot, now, merging);
            if self.begin_anew_if_harmed() {
                done = self.read_log(&snapshot(), T::ZERO, now, merging);
                continue;
            }
            if done.is_ok() && !self.is_stopped() {
                has_caught_up();
                self.settle(now);
                self.keep_if_due(&mut due, snapshot, now);
                self.tell_left_out();
            }
        }
    }

    /// Waits so long, or until it is stopped.
    fn pause(&self, time: Duration) {
        let mut behind = self.behind.lock();
        if !self.is_stopped() {
            let _ = self.wake.wait_for(&mut behind, time);
        }
    }

    /// Ends the run soon.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let _behind = self.behind.lock();
        self.wake.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Applies what waits, until nothing does.
    fn catch_up(
        &self,
        snapshot: &dyn Fn() -> Snapshot,
        now: &(dyn Fn() -> Instant + Sync),
        merging: &Merging,
    ) -> Result<(), ReadError> {
        while !self.is_stopped() {
            let mut behind = self.behind.lock();
            let Some(waiting) = &mut *behind else { return Ok(()) };
            let Some(next) = waiting.pop() else {
                *behind = None;
                self.has_caught_up.store(true, Ordering::Release);
                self.wake.notify_all();
                tracing::info!("the search index has caught up with the log");
                return Ok(());
            };
            drop(behind);
            match next {
                Behind::Prepared(t, instant, changes) => self.apply(t, instant, changes),
                Behind::InLog(t) if t <= self.index.head() => {}
                Behind::InLog(t) => {
                    let all = snapshot();
                    let read = self.read_log(&all, self.index.head(), now, merging);
                    // It may be durable and not visible yet.
                    if read.is_err() || all.at() < t {
                        let mut behind = self.behind.lock();
                        if let Some(waiting) = &mut *behind {
                            waiting.commits.push_front(Behind::InLog(t));
                        }
                        read?;
                        let _ = self.wake.wait_for(&mut behind, Duration::from_millis(1));
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes segments while there are any to make.
    pub(crate) fn settle_all(&self, now: &(dyn Fn() -> Instant + Sync)) {
        let horizon = Instant::from_micros(now().as_micros().saturating_sub(HORIZON));
        while !self.is_stopped() && self.index.settle_unless(&self.stop, horizon) == Settled::Some {
            self.make_room();
        }
    }

    /// Makes segments, then waits for more to make.
    fn settle(&self, now: &(dyn Fn() -> Instant + Sync)) {
        self.settle_all(now);
        let mut behind = self.behind.lock();
        if behind.is_none() && !self.is_stopped() {
            let _ = self.wake.wait_for(&mut behind, PAUSE);
        }
    }
}
