//! The search index of a tenant, and how it follows the log: what a commit writes is prepared
//! before the serial step, and applied there once it is durable and before it is visible, so that
//! whoever was answered finds it (guarantee G5).
//!
//! At first the log is read from its start, beside everything else; what is committed meanwhile
//! waits. Until the index has caught up, searches look at the resources themselves.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fhir_core::json::{Document, Replacements};
use fhir_core::{Instant, Resource, ResourceId, ResourceType};
use fhir_schema::Schema;
use fhir_search::{ExtractOptions, Extractor, Parameters, Zone};
use parking_lot::{Condvar, Mutex};
use search_index::{Change, Index, Prepared, Settled, Subject};
use store::{HistoryOrder, HistoryVersion, T, places};

use crate::compartment::Compartments;
use crate::transaction::Action;
use crate::{ReadError, Receipt, Snapshot, Transaction};

/// Versions that are read from the log at a time.
const PAGE: usize = 500;
/// So many commits wait with what was prepared of them; what of more of them says is read from
/// the log again.
const MOST_PREPARED: usize = 4096;
/// How long whoever settles waits before it looks again.
const PAUSE: Duration = Duration::from_secs(1);
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
    behind: Mutex<Option<VecDeque<Behind>>>,
    /// Something is to be done.
    wake: Condvar,
    stop: AtomicBool,
}

/// A commit that the index does not have.
enum Behind {
    Prepared(T, Instant, Vec<Change>),
    /// What it says, the log has to say.
    InLog(T),
}

/// What was prepared of a transaction's changes, one for each of them, and for which index.
pub(crate) struct Indexed {
    of: Arc<Indexing>,
    changes: Vec<Unjudged>,
}

/// A change of which it is not known yet whether it is made.
enum Unjudged {
    Write(Prepared),
    Delete(ResourceType, ResourceId),
    /// Of no concern.
    Nothing,
}

/// A commit's changes for one index, those alone that were made.
pub(crate) struct ToApply {
    of: Arc<Indexing>,
    changes: Vec<Change>,
}

impl Indexed {
    /// What is made of it, as the receipt says.
    pub(crate) fn judged(self, receipt: &Receipt) -> ToApply {
        let made = self.changes.into_iter().zip(&receipt.written);
        let changes = made.filter_map(|(change, written)| {
            let version = written.version.filter(|_| written.changed)?;
            match change {
                Unjudged::Write(prepared) => Some(Change::Put { prepared, version }),
                Unjudged::Delete(resource_type, id) => Some(Change::Delete { resource_type, id }),
                Unjudged::Nothing => None,
            }
        });
        ToApply { changes: changes.collect(), of: self.of }
    }
}

impl Indexing {
    pub(crate) fn new(by: IndexedBy, schema: &'static Schema) -> Arc<Self> {
        Arc::new(Self {
            index: Index::default(),
            by,
            schema,
            behind: Mutex::new(Some(VecDeque::new())),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
        })
    }

    /// By what it is.
    pub(crate) fn by(&self) -> &IndexedBy {
        &self.by
    }

    /// Whether it takes values by this extractor.
    pub(crate) fn is_by(&self, extractor: &Arc<Extractor<'static>>) -> bool {
        Arc::ptr_eq(&self.by.extractor, extractor)
    }

    /// Whether a query that was read with these parameters can be asked of it now.
    pub(crate) fn answers(&self, parameters: &Arc<Parameters>, zone: Zone) -> bool {
        Arc::ptr_eq(self.by.extractor.parameters(), parameters)
            && self.by.zone == zone
            && self.has_caught_up()
    }

    /// Whether it has all that is visible.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.behind.lock().is_none()
    }

    /// Prepares what a transaction says.
    pub(crate) fn prepare(self: &Arc<Self>, transaction: &Transaction) -> Indexed {
        let prepare = |change: &crate::Change| match &change.action {
            Action::Write { body, .. } => {
                let name = (&change.resource_type, &change.id);
                self.prepared(name, &body.plain, &body.compartments)
                    .map_or(Unjudged::Nothing, Unjudged::Write)
            }
            Action::Delete if self.concerns(&change.resource_type) => {
                Unjudged::Delete(change.resource_type.clone(), change.id.clone())
            }
            // The whole index is made anew.
            Action::Delete | Action::Purge { .. } => Unjudged::Nothing,
        };
        let changes = transaction.changes.iter().map(prepare).collect();
        Indexed { of: Arc::clone(self), changes }
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
        let document = Document::parse(json).ok()?;
        let patient = ResourceType::new("Patient").ok()?;
        let patients = compartments.patients.iter();
        let compartments: Vec<_> = patients.map(|id| (patient.clone(), id.clone())).collect();
        let subject = Subject { resource_type: of, id, compartments: &compartments };
        let IndexedBy { extractor, base, zone } = &self.by;
        let options = ExtractOptions { base: Some(base), zone: *zone, last_updated: None };
        Some(self.index.prepare(document.root(), subject, extractor, &options))
    }

    /// Takes in a commit that is durable: the next one of the log. The serial step calls it.
    pub(crate) fn follow(self: &Arc<Self>, t: T, instant: Instant, prepared: Option<ToApply>) {
        let own = prepared.filter(|it| Arc::ptr_eq(&it.of, self)).map(|it| it.changes);
        let mut behind = self.behind.lock();
        match (&mut *behind, own) {
            (None, Some(changes)) => self.apply(t, instant, changes),
            (Some(waiting), Some(changes)) if waiting.len() < MOST_PREPARED => {
                waiting.push_back(Behind::Prepared(t, instant, changes));
            }
            (Some(waiting), _) => waiting.push_back(Behind::InLog(t)),
            (None, None) => {
                // It was prepared before this index was there.
                *behind = Some(VecDeque::from([Behind::InLog(t)]));
                self.wake.notify_all();
            }
        }
    }

    fn apply(&self, t: T, instant: Instant, changes: Vec<Change>) {
        if t <= self.index.head() {
            return;
        }
        if let Err(error) = self.index.apply(t, instant, changes) {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the search index does not follow the log");
        }
    }

    /// Begins to follow the log, from its start; `snapshot` gives all data at its head.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn start(
        self: &Arc<Self>,
        snapshot: impl Fn() -> Snapshot + Send + 'static,
        now: impl Fn() -> Instant + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let this = Arc::clone(self);
        std::thread::Builder::new()
            .name("hearthgate-index".into())
            .spawn(move || this.run(&snapshot, &now))
    }

    /// Ends its thread soon.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let _behind = self.behind.lock();
        self.wake.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn run(&self, snapshot: &dyn Fn() -> Snapshot, now: &dyn Fn() -> Instant) {
        let all = snapshot();
        let mut done = self.read_log(&all, T::ZERO);
        while !self.is_stopped() {
            match done {
                Ok(()) => done = self.catch_up(snapshot),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "the log cannot be read for the search index");
                    // It goes on where it ended.
                    let mut behind = self.behind.lock();
                    let _ = self.wake.wait_for(&mut behind, PAUSE);
                    drop(behind);
                    done = self.read_log(&snapshot(), self.index.head());
                    continue;
                }
            }
            if done.is_ok() {
                self.settle(now);
            }
        }
    }

    /// Applies what waits, until nothing does.
    fn catch_up(&self, snapshot: &dyn Fn() -> Snapshot) -> Result<(), ReadError> {
        loop {
            let mut behind = self.behind.lock();
            let Some(waiting) = &mut *behind else { return Ok(()) };
            let Some(next) = waiting.pop_front() else {
                *behind = None;
                tracing::info!("the search index has caught up with the log");
                return Ok(());
            };
            drop(behind);
            match next {
                Behind::Prepared(t, instant, changes) => self.apply(t, instant, changes),
                Behind::InLog(t) if t <= self.index.head() => {}
                // It is read once it can be seen.
                Behind::InLog(t) => match snapshot() {
                    all if all.at() >= t => self.read_log(&all.as_of(t), self.index.head())?,
                    _ => {
                        let mut behind = self.behind.lock();
                        if let Some(waiting) = &mut *behind {
                            waiting.push_front(Behind::InLog(t));
                        }
                        let _ = self.wake.wait_for(&mut behind, Duration::from_millis(1));
                    }
                },
            }
            if self.is_stopped() {
                return Ok(());
            }
        }
    }

    /// Applies all commits after a position that a snapshot shows.
    fn read_log(&self, all: &Snapshot, after: T) -> Result<(), ReadError> {
        let mut range = places(after, all.at());
        let mut commit: Option<(T, Instant, Vec<Change>)> = None;
        while !self.is_stopped() {
            let log = all.log(None, range.clone(), HistoryOrder::OldestFirst, PAGE);
            let page = futures_executor::block_on(log)?;
            let Some(last) = page.last() else { break };
            range.start = last.place.next();
            for HistoryVersion { entry, .. } in page {
                if self.is_stopped() {
                    return Ok(());
                }
                let (t, instant) = (entry.t, entry.instant);
                if let Some((before, at, changes)) = commit.take_if(|(before, ..)| *before != t) {
                    self.apply(before, at, changes);
                }
                let (_, _, changes) = commit.get_or_insert_with(|| (t, instant, Vec::new()));
                changes.extend(self.change(all, entry)?);
            }
        }
        if let Some((t, instant, changes)) = commit {
            self.apply(t, instant, changes);
        }
        Ok(())
    }

    /// What a version of the log does.
    fn change(
        &self,
        all: &Snapshot,
        entry: store::VersionEntry,
    ) -> Result<Option<Change>, ReadError> {
        let (of, id, version) = (entry.resource_type.clone(), entry.id.clone(), entry.version);
        if !self.concerns(&of) {
            return Ok(None);
        }
        let json = match futures_executor::block_on(all.load(entry)) {
            Ok(stored) => stored.json,
            // Who was purged is found by nothing.
            Err(ReadError::Purged) => None,
            Err(error) => return Err(error),
        };
        let prepared = json.and_then(|json| {
            let document = Document::parse(&json).ok()?;
            let resource = Resource::new(document.root()).ok()?;
            let of_whom = Compartments::of(&resource, &id, &Replacements::default(), self.schema);
            self.prepared((&of, &id), &json, &of_whom)
        });
        Ok(Some(match prepared {
            Some(prepared) => Change::Put { prepared, version },
            None => Change::Delete { resource_type: of, id },
        }))
    }

    /// Makes segments while there are any to make, then waits for more.
    fn settle(&self, now: &dyn Fn() -> Instant) {
        let horizon = Instant::from_micros(now().as_micros().saturating_sub(HORIZON));
        while self.index.settle(horizon) == Settled::Some {
            if self.is_stopped() || self.behind.lock().is_some() {
                return;
            }
        }
        let mut behind = self.behind.lock();
        if behind.is_none() && !self.is_stopped() {
            let _ = self.wake.wait_for(&mut behind, PAUSE);
        }
    }
}
