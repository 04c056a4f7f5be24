//! The database: what everyone asks, and what they share with the serial step ([`crate::writer`]).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use fhir_core::{Clock, Instant, ResourceId, ResourceType};
use fhir_schema::Schema;
use parking_lot::{Mutex, RwLock};
use store::{FhirVersion, Store, T, TenantText};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::blob;
use crate::bodies::{Begun, Bodies, Kept};
use crate::indexing::{Indexed, Indexes, Indexing, KeptIndex};
use crate::large::{Few, NotDone, Reading};
use crate::lately::{Valued, Watched};
use crate::line::{Line, NotTaken, Weight};
use crate::seal::Sealing;
use crate::stand_in::StandIns;
use crate::waiting::{self, Held, Waiting};
use crate::writer::Writers;
use crate::{
    Action, Author, Change, CommitError, Receipt, Rules, Snapshot, Terms, Transaction, Visibility,
    rules,
};

/// Of a transaction with more changes nothing is kept for readers.
const MOST_KEPT: usize = 8;

/// A transaction of so many changes, or bytes, or more waits aside for the serial step while
/// small ones go.
const LARGE: (usize, usize) = (200, 256 << 10);

/// How far the clock may stand behind the newest data, in microseconds. Within it instants go on
/// a microsecond at a time; beyond it they would say for long what is not so.
const MOST_BEHIND: i64 = 60_000_000;

/// Bounds of the serial step.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Transactions that may wait; one more is refused with [`CommitError::Overloaded`].
    pub queue: usize,
    /// Bytes of bodies that may wait before no further transaction does; the one that passes
    /// them is taken, so that a large one need not find the queue empty. Bodies that stand beside
    /// the log are counted apart, and as many bytes of them may wait.
    pub queue_bytes: usize,
    /// Transactions in one group.
    pub group: usize,
    /// Bytes of bodies in one group; a larger transaction is a group of its own.
    pub group_bytes: usize,
    /// Bytes of resources that are kept in memory, since what was read or written is soon read
    /// again.
    pub kept_bytes: usize,
    /// Bytes of memory that keys and orders of the search index may take, where it is kept on the
    /// disk: what is more is read again as searches need it.
    pub index_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: 4096,
            queue_bytes: 64 << 20,
            group: 1024,
            group_bytes: 8 << 20,
            kept_bytes: 32 << 20,
            index_bytes: 1 << 30,
        }
    }
}

/// One tenant's data. Dropping it without [`Database::close`] loses nothing acknowledged; what
/// waits is still committed, and the store is let go of after that, not before the drop returns.
pub struct Database {
    pub(crate) shared: Arc<Shared>,
    writers: Mutex<Vec<JoinHandle<()>>>,
    /// The threads of the search index and of those before it.
    pub(crate) indexers: Mutex<Vec<JoinHandle<()>>>,
    rules: Rules,
}

/// What the database and its writers share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) line: Line<Job>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenant: TenantText,
    pub(crate) options: Options,
    /// The last position that is durable and visible.
    pub(crate) published: AtomicU64,
    /// The store takes no commits until it is opened again.
    pub(crate) failed: AtomicBool,
    pub(crate) bodies: Arc<Bodies>,
    /// What stands in for what is not there.
    stand_ins: Arc<StandIns>,
    pub(crate) schema: &'static Schema,
    /// That of the schema, as records have it.
    pub(crate) fhir_version: FhirVersion,
    pub(crate) sealing: Sealing,
    /// Large bodies are read by these, and sealed by those: neither waits for the other.
    reading: Reading,
    sealers: Few,
    /// The search indexes, where there are any.
    pub(crate) indexes: RwLock<Indexes>,
    /// The search index by the newest parameters, where those were defined while the next one was
    /// being made: it is begun after that.
    pub(crate) queued_index: Mutex<Option<Arc<Indexing>>>,
    /// The types that conditions ask for.
    pub(crate) watched: Watched,
    /// Where the search index is kept over a restart, if it is.
    pub(crate) kept_index: OnceLock<Arc<KeptIndex>>,
    /// Held by whoever publishes commits, and by whoever puts another index.
    pub(crate) publishing: Mutex<()>,
    /// A purge is under way.
    pub(crate) purging: AtomicBool,
    /// Bytes of the bodies that wait.
    pub(crate) waiting: Arc<Waiting>,
}

/// A transaction that waits for its turn.
pub(crate) struct Job {
    pub(crate) transaction: Transaction,
    pub(crate) terms: Terms,
    pub(crate) taken: Taken,
    pub(crate) held: Held,
    pub(crate) answer: oneshot::Sender<Result<Receipt, CommitError>>,
    /// The span that it is committed in, where that is recorded.
    pub(crate) scope: Option<trace::Scope>,
}

/// What was taken from a transaction's bodies before it waits.
#[derive(Default)]
pub(crate) struct Taken {
    /// For the search index.
    pub(crate) indexed: Option<Indexed>,
    /// For conditions.
    pub(crate) valued: Valued,
}

impl Database {
    /// Opens the database of `tenant` over its store, without keys: nothing is sealed.
    ///
    /// # Errors
    /// When the threads of the writers cannot be started.
    pub fn open(
        store: Arc<dyn Store>,
        tenant: TenantText,
        schema: &'static Schema,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> io::Result<Self> {
        Self::open_sealed(store, tenant, schema, clock, options, Sealing::none())
    }

    /// Opens the database of `tenant` over its store and starts its writers.
    ///
    /// # Errors
    /// When the threads of the writers cannot be started, or the schema is of a FHIR version that
    /// records do not know.
    pub fn open_sealed(
        store: Arc<dyn Store>,
        tenant: TenantText,
        schema: &'static Schema,
        clock: Arc<dyn Clock>,
        options: Options,
        sealing: Sealing,
    ) -> io::Result<Self> {
        let version = schema.fhir_version();
        let unknown = || io::Error::new(io::ErrorKind::Unsupported, format!("FHIR {version}"));
        let fhir_version = FhirVersion::of(version).ok_or_else(unknown)?;
        let published = AtomicU64::new(store.head().t.get());
        let failed = AtomicBool::new(false);
        let bodies = Arc::new(Bodies::new(options.kept_bytes));
        let waiting = Arc::default();
        let shared = Arc::new(Shared {
            store,
            bodies,
            stand_ins: Arc::default(),
            schema,
            fhir_version,
            sealing,
            reading: Reading::new(),
            sealers: Few::new(),
            indexes: RwLock::default(),
            queued_index: Mutex::default(),
            watched: Watched::default(),
            kept_index: OnceLock::new(),
            publishing: Mutex::new(()),
            purging: AtomicBool::new(false),
            clock,
            tenant,
            line: Line::new(options.queue, options.group, options.group_bytes),
            options,
            published,
            failed,
            waiting,
        });
        let writers = Writers::start(&shared)?;
        let (writers, indexers) = (Mutex::new(writers), Mutex::default());
        Ok(Self { shared, writers, indexers, rules: Rules::default() })
    }

    /// Judges all that is written from now on by these rules, too.
    #[must_use]
    pub fn with_rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Why the store takes no commits, for the operator, where it knows more than that.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.shared.store.trouble()
    }

    /// The newest data that `visibility` shows.
    #[must_use]
    pub fn snapshot(&self, visibility: Visibility) -> Snapshot {
        self.shared.snapshot(visibility)
    }

    /// The data as of `t`, or the newest when that is earlier, as far as `visibility` shows it.
    #[must_use]
    pub fn snapshot_at(&self, t: T, visibility: Visibility) -> Snapshot {
        self.shared.snapshot(visibility).as_of(t)
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
            && self.shared.line.is_open()
            && self.shared.store.takes_commits()
    }

    /// Commits a transaction: when this answers, it is durable and every snapshot opened from
    /// now on shows it.
    ///
    /// # Errors
    /// [`CommitError`]: nothing of it was committed, except after
    /// [`CommitError::OutcomeUnknown`].
    pub async fn commit(&self, transaction: Transaction) -> Result<Receipt, CommitError> {
        self.commit_under(transaction, Terms::default()).await
    }

    /// As [`Database::commit`], bound to `terms` besides.
    ///
    /// # Errors
    /// As [`Database::commit`].
    pub async fn commit_under(
        &self,
        transaction: Transaction,
        terms: Terms,
    ) -> Result<Receipt, CommitError> {
        if rules::concern(&self.rules.unique_identifiers, &transaction, &terms) {
            return Box::pin(self.commit_by_rules(transaction, terms)).await;
        }
        self.judge_and_write(transaction, terms).await
    }

    /// A number that grows whenever somebody is purged; 0 when nobody ever was.
    #[must_use]
    pub fn purges(&self) -> u64 {
        self.shared.sealing.epoch()
    }

    /// The rules by which it judges.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Gives it to the serial step.
    pub(crate) async fn judge_and_write(
        &self,
        transaction: Transaction,
        terms: Terms,
    ) -> Result<Receipt, CommitError> {
        let mut commit = trace::child("commit");
        if let Some(span) = &mut commit {
            span.set("hearthgate.changes", transaction.changes.len());
        }
        let began = self.shared.bodies.begin();
        let writes = writes_of(&transaction);
        let (transaction, taken) = self.seal(transaction).await?;
        if !self.shared.line.is_open() {
            return Err(CommitError::Closed);
        }
        let (kept, most) =
            (waiting::Kept::of(&transaction, &terms), self.shared.options.queue_bytes);
        let held = Held::take(&self.shared.waiting, kept, most).ok_or(CommitError::Overloaded)?;
        let shared = Arc::clone(&self.shared);
        let scope = commit.as_ref().map(trace::Span::scope);
        let going = shared.write_and_join((transaction, terms), taken, held, scope);
        let receipt = going.await;
        if let (Some(span), Err(_)) = (&mut commit, &receipt) {
            span.fail();
        }
        let receipt = receipt?;
        self.keep(began, writes, &receipt);
        Ok(receipt)
    }

    /// Seals a transaction's bodies, and takes from them what is indexed and what conditions
    /// compare: of large ones, a few at a time, where no request waits for it.
    async fn seal(
        &self,
        mut transaction: Transaction,
    ) -> Result<(Transaction, Taken), CommitError> {
        let (sealing, indexes) = (self.shared.sealing.clone(), self.shared.indexes());
        let (is_long, shared) = (transaction.is_long(), Arc::clone(&self.shared));
        let work = move || {
            let indexed = indexes.prepare(&transaction);
            let at = T::new(shared.published.load(Ordering::Acquire));
            let valued = shared.watched.values_of(&transaction, at);
            sealing.seal(&mut transaction)?;
            Ok((transaction, Taken { indexed, valued }))
        };
        let (Ok(runtime), true) = (Handle::try_current(), is_long) else {
            return work();
        };
        let sealed = self.shared.sealers.work(&runtime, work);
        // Nothing was written.
        match sealed.await {
            Ok(sealed) => sealed,
            Err(NotDone::Busy) => Err(CommitError::Overloaded),
            Err(NotDone::Ended) => Err(CommitError::Closed),
        }
    }

    /// Keeps what was written for whoever reads it next.
    fn keep(&self, began: Begun, writes: Vec<Write>, receipt: &Receipt) {
        for Write { change, resource_type, id, plain, author } in writes {
            let written = &receipt.written[change];
            if written.version.is_some() {
                let key = (receipt.t, resource_type, id);
                self.shared.bodies.keep(began, key, Kept::Plain(plain, author));
            }
        }
    }

    /// Commits what waits, then closes the store. Blocks; a second call does nothing.
    ///
    /// # Errors
    /// When the store's derived state could not be written; nothing acknowledged is lost.
    pub fn close(&self) -> Result<(), store::CloseError> {
        self.stop_indexing();
        self.shared.line.close();
        let indexers = {
            let mut indexers = self.indexers.lock();
            // Of one that was begun before the line was closed; none is after that.
            self.stop_indexing();
            std::mem::take(&mut *indexers)
        };
        for writer in self.writers.lock().drain(..) {
            if writer.join().is_err() {
                tracing::error!("a writer of the database ended by a panic");
            }
        }
        for indexer in indexers {
            if indexer.join().is_err() {
                tracing::error!("the thread of the search index ended by a panic");
            }
        }
        self.shared.store.close()
    }
}

/// Its threads end with it, and with the last of them the store's hold on its files.
impl Drop for Database {
    fn drop(&mut self) {
        // As after a kill: whoever opens it again finds a folder that nobody writes into.
        if let Some(kept) = self.shared.kept_index.get() {
            kept.end();
        }
        self.stop_indexing();
        self.shared.line.close();
    }
}

/// How much work a transaction is for the serial step.
fn weight(changes: usize, bytes: usize) -> Weight {
    if changes >= LARGE.0 || bytes >= LARGE.1 { Weight::Large } else { Weight::Small }
}

/// What one change of a transaction writes.
struct Write {
    change: usize,
    resource_type: ResourceType,
    id: ResourceId,
    plain: Bytes,
    author: Option<Author>,
}

/// What a transaction writes, when it is small: an import would only push out what is read.
fn writes_of(transaction: &Transaction) -> Vec<Write> {
    if transaction.changes.len() > MOST_KEPT {
        return Vec::new();
    }
    let write = |(change, of): (usize, &Change)| match &of.action {
        Action::Delete | Action::Purge { .. } => None,
        Action::Write { body, .. } => Some(Write {
            change,
            resource_type: of.resource_type.clone(),
            id: of.id.clone(),
            plain: body.plain.clone(),
            author: body.compartments.author,
        }),
    };
    transaction.changes.iter().enumerate().filter_map(write).collect()
}

/// Whether it is certain that nothing of a transaction was or will be written.
fn is_not_there(answer: &Result<Receipt, CommitError>) -> bool {
    match answer {
        Ok(_) | Err(CommitError::OutcomeUnknown) => false,
        Err(CommitError::Store(error)) => !matches!(**error, store::AppendError::Poisoned(_)),
        Err(_) => true,
    }
}

impl Shared {
    /// Writes a transaction's blobs, where it has any, and gives it to the serial step.
    async fn write_and_join(
        self: Arc<Self>,
        (mut transaction, terms): (Transaction, Terms),
        taken: Taken,
        mut held: Held,
        scope: Option<trace::Scope>,
    ) -> Result<Receipt, CommitError> {
        let blobs = blob::take(&mut transaction);
        if blobs.is_empty() {
            return self.join((transaction, terms), taken, held, scope).await;
        }
        let shared = Arc::clone(&self);
        let plain = blob::plain_bytes(&transaction);
        let Ok(runtime) = Handle::try_current() else {
            let written = blob::write(&self.store, blobs)?;
            held.lower_beside(plain);
            let answer = shared.join((transaction, terms), taken, held, scope).await;
            if is_not_there(&answer) {
                blob::discard(&self.store, &written);
            }
            return answer;
        };
        // In a task of its own: whoever asked may go, and what was refused is removed all the same.
        let blocking = runtime.clone();
        let task = runtime.spawn(async move {
            let store = Arc::clone(&self.store);
            let writing = blocking.spawn_blocking(move || blob::write(&store, blobs)).await;
            let written = writing.unwrap_or(Err(CommitError::Closed))?;
            held.lower_beside(plain);
            let answer = shared.join((transaction, terms), taken, held, scope).await;
            if is_not_there(&answer) {
                let store = Arc::clone(&self.store);
                drop(blocking.spawn_blocking(move || blob::discard(&store, &written)).await);
            }
            answer
        });
        task.await.unwrap_or(Err(CommitError::OutcomeUnknown))
    }

    async fn join(
        &self,
        (transaction, terms): (Transaction, Terms),
        taken: Taken,
        held: Held,
        scope: Option<trace::Scope>,
    ) -> Result<Receipt, CommitError> {
        let (answer, answered) = oneshot::channel();
        let size = transaction.size();
        let weight = weight(transaction.changes.len(), size);
        let job = Job { transaction, terms, taken, held, answer, scope };
        self.line.join(job, size, weight).map_err(|not| match not {
            NotTaken::Full => CommitError::Overloaded,
            NotTaken::Closed => CommitError::Closed,
        })?;
        answered.await.unwrap_or(Err(CommitError::OutcomeUnknown))
    }

    pub(crate) fn snapshot(&self, visibility: Visibility) -> Snapshot {
        let at = T::new(self.published.load(Ordering::Acquire));
        let (store, bodies) = (Arc::clone(&self.store), Arc::clone(&self.bodies));
        let (sealing, reading) = (self.sealing.clone(), self.reading.clone());
        let reading = (bodies, reading, Arc::clone(&self.stand_ins));
        let indexes = self.indexes();
        Snapshot::new((store, sealing), reading, self.schema, visibility, at, indexes)
    }

    /// The refusal of whatever would be written, while the clock is too far behind the data.
    pub(crate) fn clock_behind(&self) -> Option<CommitError> {
        let (now, newest) = (self.clock.now(), self.store.head().instant);
        let behind = newest.as_micros().saturating_sub(now.as_micros());
        (behind > MOST_BEHIND).then_some(CommitError::ClockBehind { now, newest })
    }

    /// An instant after `previous`, now if possible.
    pub(crate) fn instant_after(&self, previous: Instant) -> Instant {
        self.clock.now().max(Instant::from_micros(previous.as_micros() + 1))
    }
}
