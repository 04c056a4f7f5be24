//! The database and its one writer: the serial step.
//!
//! Transactions wait in a bounded queue. The writer takes all that wait, judges them one after
//! the other, appends what was judged good as one group, publishes the new head, and only then
//! answers any of them (guarantees G3, G11). While it waits for the disk the next group gathers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use fhir_core::{Clock, Instant, ResourceId, ResourceType};
use fhir_schema::Schema;
use parking_lot::Mutex;
use store::{AppendError, Commit, Store, T, TenantText};
use tokio::sync::oneshot;

use crate::bodies::Bodies;
use crate::judge::{self, Judge};
use crate::recent::Recent;
use crate::{Action, Change, CommitError, Receipt, Snapshot, Transaction, Visibility, body};

/// Of a transaction with more changes nothing is kept for readers.
const MOST_KEPT: usize = 8;

/// Bounds of the serial step.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Transactions that may wait; one more is refused with [`CommitError::Overloaded`].
    pub queue: usize,
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
        Self { queue: 4096, group: 1024, group_bytes: 8 << 20, kept_bytes: 16 << 20 }
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
}

struct Job {
    transaction: Transaction,
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
        let shared =
            Arc::new(Shared { store, bodies, schema, clock, tenant, options, published, failed });
        let (queue, jobs) = sync_channel(options.queue);
        let writer = Writer { shared: Arc::clone(&shared), jobs };
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

    /// Whether the store takes commits now.
    #[must_use]
    pub fn takes_commits(&self) -> bool {
        !self.shared.failed.load(Ordering::Acquire)
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
        match queue.try_send(Job { transaction, answer }) {
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

    /// An instant after `previous`, now if possible.
    fn instant_after(&self, previous: Instant) -> Instant {
        self.clock.now().max(Instant::from_micros(previous.as_micros() + 1))
    }
}

struct Writer {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
}

/// Without its writer a database takes no commits, also when a panic ended it: then whoever waits
/// is told that the outcome is unknown.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.failed.store(true, Ordering::Release);
    }
}

/// A transaction of the group, its answer waiting for the group to be durable.
type Answer = (oneshot::Sender<Result<Receipt, CommitError>>, Result<Receipt, CommitError>);

impl Writer {
    fn run(self) {
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

    /// Writes one group beginning with `first`; returns a job that did not fit in any more.
    fn group(&self, first: Job, recent: &mut Recent) -> Option<Job> {
        let options = self.shared.options;
        let durable = self.shared.snapshot(Visibility::everything());
        let head = self.shared.store.head();
        let (mut t, mut instant) = (head.t, head.instant);
        let mut states = HashMap::new();
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
            let mut judge = Judge { durable: &durable, group: &mut states, recent };
            let judged = judge.judge(job.transaction, t.next(), next_instant);
            let answer = match futures_executor::block_on(judged) {
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
            answers.push((job.answer, answer));
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
            })
        };
        let failed = appended.err().map(|error| {
            if matches!(error, AppendError::Poisoned(_)) {
                self.shared.failed.store(true, Ordering::Release);
            }
            tracing::error!(error = &error as &dyn std::error::Error, "a group was not written");
            Arc::new(error)
        });
        for (sender, answer) in answers {
            let answer = match (&failed, answer) {
                (None, answer) => answer,
                // The write was begun, and what became of it the next open finds.
                (Some(error), Ok(_)) if matches!(**error, AppendError::Poisoned(Some(_))) => {
                    Err(CommitError::OutcomeUnknown)
                }
                // Even a refusal may rest on a commit of this group, which now is not there.
                (Some(error), _) => Err(CommitError::Store(Arc::clone(error))),
            };
            // A caller that is gone does not undo its commit.
            drop(sender.send(answer));
        }
        failed.is_none()
    }
}
