//! The database and its one writer: the serial step.
//!
//! Transactions wait in a bounded queue. The writer takes all that wait, judges them one after
//! the other, appends what was judged good as one group, publishes the new head, and only then
//! answers any of them (guarantees G3, G11). While it waits for the disk the next group gathers.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use fhir_core::{Clock, Instant, ResourceId, ResourceType};
use fhir_schema::Schema;
use parking_lot::Mutex;
use store::{AppendError, Commit, Store, T, TenantText};
use tokio::sync::oneshot;

use crate::bodies::Bodies;
use crate::judge::{self, GroupStates, Judge};
use crate::recent::Recent;
use crate::{Action, Change, CommitError, Receipt, Snapshot, Transaction, Visibility, body};

/// Of a transaction with more changes nothing is kept for readers.
const MOST_KEPT: usize = 8;

/// How far the clock may stand behind the newest data, in microseconds. Within it instants go on
/// a microsecond at a time; beyond it they would say for long what is not so.
const MOST_BEHIND: i64 = 60_000_000;

/// Bounds of the serial step.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Transactions that may wait; one more is refused with [`CommitError::Overloaded`].
    pub queue: usize,
    /// Bytes of bodies that may wait before no further transaction does; the one that passes
    /// them is taken, so that a large one need not find the queue empty.
    pub queue_bytes: usize,
    /// Transactions in one group.
    pub group: usize,
    /// Bytes of bodies in one group; a larger transaction is a group of its own.
    pub group_bytes: usize,
    /// Bytes of resources that are kept in memory, since what was read or written is soon read
    /// again.
    pub kept_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: 4096,
            queue_bytes: 64 << 20,
            group: 1024,
            group_bytes: 8 << 20,
            kept_bytes: 16 << 20,
        }
    }
}

/// One tenant's data. Dropping it without [`Database::close`] loses nothing acknowledged.
pub struct Database {
    shared: Arc<Shared>,
    queue: Mutex<Option<SyncSender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    store: Arc<dyn Store>,
    bodies: Arc<Bodies>,
    schema: &'static Schema,
    clock: Arc<dyn Clock>,
    tenant: TenantText,
    options: Options,
    /// The last position that is durable and visible.
    published: AtomicU64,
    /// The store takes no commits until it is opened again.
    failed: AtomicBool,
    /// Bytes of the bodies that wait.
    waiting: AtomicUsize,
}

/// The bytes of one transaction among those that wait; given back when it goes.
struct Held {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Held {
    /// Counts `bytes` in, unless as many as may wait do already.
    fn take(shared: &Arc<Shared>, bytes: usize) -> Option<Self> {
        let before = shared.waiting.fetch_add(bytes, Ordering::AcqRel);
        let held = Self { shared: Arc::clone(shared), bytes };
        (before < shared.options.queue_bytes).then_some(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

struct Job {
    transaction: Transaction,
    held: Held,
    answer: oneshot::Sender<Result<Receipt, CommitError>>,
}

impl Database {
    /// Opens the database of `tenant` over its store and starts its writer.
    ///
    /// # Errors
    /// When the thread of the writer cannot be started.
    pub fn open(
        store: Arc<dyn Store>,
        tenant: TenantText,
        schema: &'static Schema,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> std::io::Result<Self> {
        let published = AtomicU64::new(store.head().t.get());
        let failed = AtomicBool::new(false);
        let bodies = Arc::new(Bodies::new(options.kept_bytes));
        let waiting = AtomicUsize::new(0);
        let shared = Arc::new(Shared {
            store,
            bodies,
            schema,
            clock,
            tenant,
            options,
            published,
            failed,
            waiting,
        });
        let (queue, jobs) = sync_channel(options.queue);
        let writer = Writer { shared: Arc::clone(&shared), jobs, said: Cell::default() };
        let writer = std::thread::Builder::new()
            .name("hearthgate-commit".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self { shared, queue: Mutex::new(Some(queue)), writer: Mutex::new(Some(writer)) })
    }

    /// The newest data that `visibility` shows.
    #[must_use]
    pub fn snapshot(&self, visibility: Visibility) -> Snapshot {
        self.shared.snapshot(visibility)
    }

    /// The definitions the data is read by.
    #[must_use]
    pub fn schema(&self) -> &'static Schema {
        self.shared.schema
    }

    /// Why every commit would be refused now, when the clock is the reason.
    #[must_use]
    pub fn clock_behind(&self) -> Option<CommitError> {
        self.shared.clock_behind()
    }

    /// Whether the store takes commits now.
    #[must_use]
    pub fn takes_commits(&self) -> bool {
        self.clock_behind().is_none()
            && !self.shared.failed.load(Ordering::Acquire)
            && self.queue.lock().is_some()
            && self.shared.store.takes_commits()
    }

    /// Commits a transaction: when this answers, it is durable and every snapshot opened from
    /// now on shows it.
    ///
    /// # Errors
    /// [`CommitError`]: nothing of it was committed, except after
    /// [`CommitError::OutcomeUnknown`].
    pub async fn commit(&self, transaction: Transaction) -> Result<Receipt, CommitError> {
        let writes = writes_of(&transaction);
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.lock().clone().ok_or(CommitError::Closed)?;
        let held = Held::take(&self.shared, transaction.held()).ok_or(CommitError::Overloaded)?;
        match queue.try_send(Job { transaction, held, answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(CommitError::Overloaded),
            Err(TrySendError::Disconnected(_)) => return Err(CommitError::Closed),
        }
        drop(queue);
        let receipt = answered.await.unwrap_or(Err(CommitError::OutcomeUnknown))?;
        self.keep(writes, &receipt);
        Ok(receipt)
    }

    /// Keeps what was written for whoever reads it next.
    fn keep(&self, writes: Vec<Write>, receipt: &Receipt) {
        for Write { change, resource_type, id, plain } in writes {
            let written = &receipt.written[change];
            let Some(version) = written.version else { continue };
            let name = (&resource_type, &id);
            if let Ok(json) = body::fill_plain(&plain, name, version, written.instant) {
                self.shared.bodies.keep((receipt.t, resource_type, id), &json);
            }
        }
    }

    /// Commits what waits, then closes the store. Blocks; a second call does nothing.
    ///
    /// # Errors
    /// When the store's derived state could not be written; nothing acknowledged is lost.
    pub fn close(&self) -> Result<(), store::CloseError> {
        drop(self.queue.lock().take());
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the database ended by a panic");
        }
        self.shared.store.close()
    }
}

/// What one change of a transaction writes.
struct Write {
    change: usize,
    resource_type: ResourceType,
    id: ResourceId,
    plain: Bytes,
}

/// What a transaction writes, when it is small: an import would only push out what is read.
fn writes_of(transaction: &Transaction) -> Vec<Write> {
    if transaction.changes.len() > MOST_KEPT {
        return Vec::new();
    }
    let write = |(change, of): (usize, &Change)| match &of.action {
        Action::Delete => None,
        Action::Write { body, .. } => Some(Write {
            change,
            resource_type: of.resource_type.clone(),
            id: of.id.clone(),
            plain: body.plain.clone(),
        }),
    };
    transaction.changes.iter().enumerate().filter_map(write).collect()
}

impl Shared {
    fn snapshot(&self, visibility: Visibility) -> Snapshot {
        let at = T::new(self.published.load(Ordering::Acquire));
        let (store, bodies) = (Arc::clone(&self.store), Arc::clone(&self.bodies));
        Snapshot::new(store, bodies, self.schema, visibility, at)
    }

    /// The refusal of whatever would be written, while the clock is too far behind the data.
    fn clock_behind(&self) -> Option<CommitError> {
        let (now, newest) = (self.clock.now(), self.store.head().instant);
        let behind = newest.as_micros().saturating_sub(now.as_micros());
        (behind > MOST_BEHIND).then_some(CommitError::ClockBehind { now, newest })
    }

    /// An instant after `previous`, now if possible.
    fn instant_after(&self, previous: Instant) -> Instant {
        self.clock.now().max(Instant::from_micros(previous.as_micros() + 1))
    }
}

struct Writer {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    said: Cell<Standing>,
}

/// Whether writes are refused for a reason that passes, as the log was last told: it is told
/// of changes, not of each refusal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Writes,
    DiskFull,
    ClockBehind,
}

/// Without its writer a database takes no commits, also when a panic ended it: then whoever waits
/// is told that the outcome is unknown.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.failed.store(true, Ordering::Release);
    }
}

/// A transaction of the group, its answer waiting for the group to be durable.
struct Answer {
    held: Held,
    to: oneshot::Sender<Result<Receipt, CommitError>>,
    result: Result<Receipt, CommitError>,
}

impl Writer {
    fn run(self) {
        self.refusal_by_clock();
        let mut recent = Recent::since(self.shared.store.head().t);
        let mut held = None;
        loop {
            let first = match held.take() {
                Some(job) => job,
                None => match self.jobs.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                },
            };
            held = self.group(first, &mut recent);
        }
    }

    /// Says in the log how it stands, when that has changed.
    fn say(&self, standing: Standing, error: Option<&CommitError>) {
        if self.said.replace(standing) == standing {
            return;
        }
        let error = error.map(|error| error as &dyn std::error::Error);
        match standing {
            Standing::Writes => tracing::info!("writes are taken again"),
            Standing::DiskFull => {
                tracing::error!("the disk is full: writes are refused until there is room");
            }
            Standing::ClockBehind => tracing::error!(
                error,
                "writes are refused until the clock agrees with the data: set it right"
            ),
        }
    }

    fn refusal_by_clock(&self) -> Option<CommitError> {
        let refusal = self.shared.clock_behind();
        if refusal.is_some() {
            self.say(Standing::ClockBehind, refusal.as_ref());
        }
        refusal
    }

    /// Writes one group beginning with `first`; returns a job that did not fit in any more.
    fn group(&self, first: Job, recent: &mut Recent) -> Option<Job> {
        if let Some(error) = self.refusal_by_clock() {
            let Job { held, answer, .. } = first;
            drop(held);
            drop(answer.send(Err(error)));
            return None;
        }
        let options = self.shared.options;
        let durable = self.shared.snapshot(Visibility::everything());
        let head = self.shared.store.head();
        let (mut t, mut instant) = (head.t, head.instant);
        let mut states = GroupStates::default();
        let mut commits: Vec<Commit> = Vec::new();
        let mut answers: Vec<Answer> = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(job) = next.take() {
            let size = job.transaction.size();
            if !answers.is_empty() && bytes + size > options.group_bytes {
                next = Some(job);
                break;
            }
            bytes += size;
            let next_instant = self.shared.instant_after(instant);
            let id = job.transaction.id;
            let (durable, group) = (&durable, &mut states);
            if !job.transaction.conditions.is_empty() {
                recent.remember_after(head.t, &commits);
            }
            let mut judge = Judge { durable, commits: &commits, group, recent };
            let judged = judge.judge(job.transaction, t.next(), next_instant);
            let result = match futures_executor::block_on(judged) {
                Ok(judged) if judged.versions.is_empty() => Ok(Receipt { t, ..judged.receipt }),
                Ok(judged) => {
                    (t, instant) = (t.next(), next_instant);
                    let tenant = self.shared.tenant.clone();
                    let commit = judge::commit(id, tenant, t, instant, judged.versions);
                    recent.note(&commit);
                    commits.push(commit);
                    Ok(judged.receipt)
                }
                Err(error) => Err(error),
            };
            answers.push(Answer { held: job.held, to: job.answer, result });
            if answers.len() < options.group {
                next = self.jobs.try_recv().ok();
            }
        }
        if !self.append(&commits, answers) {
            // What it remembers of this group never happened.
            *recent = Recent::since(head.t);
        }
        next
    }

    /// Appends, publishes and answers; says whether the commits are in the log.
    fn append(&self, commits: &[Commit], answers: Vec<Answer>) -> bool {
        let appended = if commits.is_empty() {
            Ok(())
        } else {
            self.shared.store.append(commits).map(|head| {
                self.shared.published.store(head.t.get(), Ordering::Release);
                self.say(Standing::Writes, None);
            })
        };
        let failed = appended.err().map(|error| {
            if matches!(error, AppendError::Poisoned(_)) {
                self.shared.failed.store(true, Ordering::Release);
            }
            if matches!(error, AppendError::DiskFull) {
                self.say(Standing::DiskFull, None);
            } else {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "a group was not written");
            }
            Arc::new(error)
        });
        for Answer { held, to, result } in answers {
            let answer = match (&failed, result) {
                (None, answer) => answer,
                // The write was begun, and what became of it the next open finds.
                (Some(error), Ok(_)) if matches!(**error, AppendError::Poisoned(Some(_))) => {
                    Err(CommitError::OutcomeUnknown)
                }
                // Even a refusal may rest on a commit of this group, which now is not there.
                (Some(error), _) => Err(CommitError::Store(Arc::clone(error))),
            };
            // A caller that is gone does not undo its commit.
            drop(held);
            drop(to.send(answer));
        }
        failed.is_none()
    }
}
