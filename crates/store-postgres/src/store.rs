//! The store itself: opening, and the port over the store's own runtime, so that it can be asked
//! from any thread and any executor. How sessions are asked, and when commits end, is in `shared`.

mod shared;

pub(crate) use shared::Shared;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc;

use async_trait::async_trait;
use bytes::Bytes;
use fhir_core::{Clock, Instant, ResourceId, ResourceType, VersionId};
use parking_lot::Mutex;
use store::{
    AppendError, BlobError, BlobFlaw, BlobId, BlobReference, CloseError, Commit, CommitHash, Head,
    HistoryOrder, HistoryVersion, IdentifierKey, Location, Place, ReadError, Store, StoredBody, T,
    TenantText, VersionEntry, Walked, judge_group, named_blobs,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::shared::{Ended, LEASE_EXPIRED};
use crate::append::HeadElsewhere;
use crate::blobs;
use crate::connect::{Connector, Session};
use crate::error::{Failure, LeaseLost, OpenError, append_error};
use crate::open::open;
use crate::options::PostgresOptions;
use crate::reads::{self, History, Resource};
use crate::rows::Rows;
use crate::sessions::Sessions;

/// How many commits a walk through the log asks for at once.
const WALKED_COMMITS: u64 = 100;

/// One tenant's store in a PostgreSQL database.
pub struct PostgresStore {
    pub(crate) shared: Arc<Shared>,
    /// Held while appending.
    appending: Mutex<()>,
    runtime: Option<Runtime>,
}

impl PostgresStore {
    /// Opens the store of `tenant` in the database that `options` reach, or makes it, and takes
    /// its lease. Blocks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        tenant: &str,
        options: PostgresOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let tenant = TenantText::new(tenant)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("store-postgres")
            .enable_all()
            .build()
            .map_err(OpenError::Threads)?;
        let connector = Arc::new(Connector::new(&options, runtime.handle().clone()));
        let opening = open(tenant, options, Arc::clone(&connector), clock);
        let shared = match blocking(&runtime, opening) {
            Ok(shared) => Arc::new(shared),
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        runtime.spawn(Arc::clone(&shared.lease).keep(connector));
        Ok(Self { shared, appending: Mutex::new(()), runtime: Some(runtime) })
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("drop() alone takes it")
    }

    /// Asks on a session that reads, once more on another one if it was gone.
    async fn ask<R, F>(
        &self,
        question: impl Fn(Arc<Session>) -> F + Send + Sync + 'static,
    ) -> Result<R, ReadError>
    where
        R: Send + 'static,
        F: Future<Output = Result<R, Failure>> + Send,
    {
        self.ask_on(Sessions::Readers, question).await
    }

    async fn ask_on<R, F>(
        &self,
        sessions: Sessions,
        question: impl Fn(Arc<Session>) -> F + Send + Sync + 'static,
    ) -> Result<R, ReadError>
    where
        R: Send + 'static,
        F: Future<Output = Result<R, Failure>> + Send,
    {
        let shared = Arc::clone(&self.shared);
        let (sender, answer) = oneshot::channel();
        // On the store's own runtime, which has the timer and the network.
        self.runtime().spawn(async move {
            let answer = shared.ask_in_turn(sessions, question).await;
            let answer = answer.map_err(|failure| failure.to_string());
            drop(
                sender.send(
                    answer.and_then(|(answer, hold)| shared.judge_hold(hold).map(|()| answer)),
                ),
            );
        });
        let answer = answer.await.unwrap_or_else(|_| Err("the store was dropped".to_owned()));
        answer.map_err(|reason| {
            tracing::warn!(reason, "PostgreSQL was asked in vain");
            ReadError::StateFailed { reason }
        })
    }

    /// Asks on a session and waits for the answer, on whatever thread that is.
    fn ask_now<R, F>(
        &self,
        sessions: Sessions,
        question: impl Fn(Arc<Session>) -> F + Send + Sync + 'static,
    ) -> Result<R, Failure>
    where
        R: Send + 'static,
        F: Future<Output = Result<R, Failure>> + Send,
    {
        let shared = Arc::clone(&self.shared);
        blocking(self.runtime(), async move {
            shared.ask_in_turn(sessions, question).await.map(|(answer, _)| answer)
        })
    }

    /// A resource at a position that is never beyond what was acknowledged.
    fn resource(&self, resource_type: &ResourceType, id: &ResourceId, at: T) -> Resource {
        Resource {
            tenant: self.shared.tenant.as_str().to_owned(),
            resource_type: resource_type.clone(),
            id: id.clone(),
            at: at.min(self.head().t),
        }
    }

    /// The part of a history that is durable.
    fn part(&self, of: Option<&ResourceType>, range: Range<Place>) -> History {
        let end = range.end.min(Place::first_of(self.head().t.next()));
        History {
            tenant: self.shared.tenant.as_str().to_owned(),
            of: of.cloned(),
            range: range.start..end,
        }
    }
}

pub(crate) fn head_of(row: &tokio_postgres::Row) -> Result<(i64, Head), Failure> {
    let (t, instant): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let hash: &[u8] = row.try_get(2)?;
    let hash = hash.try_into().map_err(|_| Failure::Impossible("hash"))?;
    let head = Head {
        t: T::new(t.cast_unsigned()),
        instant: Instant::from_micros(instant),
        hash: CommitHash(hash),
    };
    Ok((t, head))
}

/// Carries `what` out on the runtime and waits for it, on whatever thread that is.
pub(crate) fn blocking<R: Send + 'static>(
    runtime: &Runtime,
    what: impl Future<Output = R> + Send + 'static,
) -> R {
    let (sender, answer) = mpsc::sync_channel(1);
    runtime.spawn(async move { drop(sender.send(what.await)) });
    answer.recv().expect("the runtime lives as long as the store, and tasks do not panic")
}

#[async_trait]
impl Store for PostgresStore {
    fn head(&self) -> Head {
        *self.shared.head.read()
    }

    fn append(&self, group: &[Commit]) -> Result<Head, AppendError> {
        let _alone = self.appending.lock();
        match *self.shared.ended.lock() {
            Ended::No => {}
            Ended::Poisoned => return Err(AppendError::Poisoned(None)),
            Ended::HeadElsewhere => {
                return Err(AppendError::Io(std::io::Error::other(HeadElsewhere)));
            }
            Ended::Closed => return Err(AppendError::Closed),
        }
        let head = self.head();
        judge_group(&head, &self.shared.tenant, group)?;
        if group.is_empty() {
            return Ok(head);
        }
        if self.shared.lease.is_lost() {
            return Err(AppendError::Io(std::io::Error::other(LeaseLost)));
        }
        let blobs: Vec<_> = named_blobs(group).collect();
        let rows = Rows::of(group, &head)?;
        let shared = Arc::clone(&self.shared);
        blocking(self.runtime(), async move { shared.append(&rows, &blobs).await })
    }

    fn write_blob(&self, id: BlobId, bytes: &Bytes) -> Result<(), AppendError> {
        if *self.shared.ended.lock() == Ended::Closed {
            return Err(AppendError::Closed);
        }
        let (tenant, bytes) = (self.shared.tenant.clone(), bytes.clone());
        let sessions = Sessions::BlobWriters(bytes.len() as u64);
        let written = self.ask_now(sessions, move |session| {
            let (tenant, bytes) = (tenant.clone(), bytes.clone());
            async move { blobs::write(tenant.as_str(), id, &bytes, &session).await }
        });
        written.map_err(append_error)
    }

    async fn fetch_blob(&self, reference: &BlobReference) -> Result<Bytes, ReadError> {
        let (tenant, id) = (self.shared.tenant.clone(), reference.id);
        let found = self.ask_on(Sessions::BlobReaders(reference.length), move |session| {
            let tenant = tenant.clone();
            async move { blobs::read(tenant.as_str(), id, &session.client).await }
        });
        found.await?.ok_or(ReadError::Blob { id, source: BlobFlaw::Missing })
    }

    fn remove_blob(&self, id: BlobId) -> Result<bool, BlobError> {
        let tenant = self.shared.tenant.clone();
        let removed = self.ask_now(Sessions::BlobWriters(0), move |session| {
            let tenant = tenant.clone();
            async move { blobs::remove(tenant.as_str(), id, &session).await }
        });
        removed.map_err(|failure| BlobError::Failed { reason: failure.to_string() })
    }

    fn blobs(&self) -> Result<Vec<BlobId>, BlobError> {
        let tenant = self.shared.tenant.clone();
        let found = self.ask_now(Sessions::BlobReaders(0), move |session| {
            let tenant = tenant.clone();
            async move { blobs::list(tenant.as_str(), &session).await }
        });
        found.map_err(|failure| BlobError::Failed { reason: failure.to_string() })
    }

    fn takes_commits(&self) -> bool {
        *self.shared.ended.lock() == Ended::No && self.shared.lease.seems_held()
    }

    fn trouble(&self) -> Option<String> {
        let (ended, lease) = (*self.shared.ended.lock(), &self.shared.lease);
        match ended {
            Ended::No if lease.is_lost() => Some(LeaseLost.to_string()),
            Ended::No if !lease.seems_held() => Some(LEASE_EXPIRED.to_owned()),
            Ended::No | Ended::Closed => None,
            Ended::Poisoned => Some(AppendError::Poisoned(None).to_string()),
            Ended::HeadElsewhere => Some(HeadElsewhere.to_string()),
        }
    }

    async fn newest(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError> {
        let resource = Arc::new(self.resource(resource_type, id, at));
        self.ask(move |session| {
            let resource = Arc::clone(&resource);
            async move { resource.newest(&session).await }
        })
        .await
    }

    async fn version(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        version: VersionId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError> {
        let resource = Arc::new(self.resource(resource_type, id, at));
        self.ask(move |session| {
            let resource = Arc::clone(&resource);
            async move { resource.version(version, &session).await }
        })
        .await
    }

    async fn versions(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Vec<VersionEntry>, ReadError> {
        let resource = Arc::new(self.resource(resource_type, id, at));
        self.ask(move |session| {
            let resource = Arc::clone(&resource);
            async move { resource.versions(&session).await }
        })
        .await
    }

    async fn stored(&self, entry: &VersionEntry) -> Result<StoredBody, ReadError> {
        let Location { segment, offset, .. } = entry.location;
        let (tenant, wanted) = (self.shared.tenant.clone(), Arc::new(entry.clone()));
        let body = self.ask(move |session| {
            let (tenant, wanted) = (tenant.clone(), Arc::clone(&wanted));
            async move { reads::body(tenant.as_str(), &wanted, &session).await }
        });
        body.await?.map_err(|flaw| ReadError::Damaged {
            segment,
            offset,
            lost: format!("{}/{} version {}", entry.resource_type, entry.id, entry.version),
            source: Box::new(flaw),
        })
    }

    async fn walk(
        &self,
        at: T,
        each: &mut (dyn for<'a> FnMut(Walked<'a>) + Send),
    ) -> Result<(), ReadError> {
        let (mut after, at) = (T::ZERO, at.min(self.head().t));
        while after < at {
            let through = T::new(after.get().saturating_add(WALKED_COMMITS)).min(at);
            let tenant = self.shared.tenant.clone();
            let rows = self.ask(move |session| {
                let tenant = tenant.clone();
                async move { reads::walk(tenant.as_str(), (after, through), &session).await }
            });
            rows.await?.iter().for_each(|row| each(row.as_walked()));
            after = through;
        }
        Ok(())
    }

    async fn identified(
        &self,
        resource_type: &ResourceType,
        identifier: &IdentifierKey,
        at: T,
    ) -> Result<Vec<ResourceId>, ReadError> {
        let at = at.min(self.head().t);
        let wanted =
            Arc::new((self.shared.tenant.clone(), resource_type.clone(), identifier.clone()));
        self.ask(move |session| {
            let wanted = Arc::clone(&wanted);
            async move {
                let (tenant, resource_type, identifier) = wanted.as_ref();
                reads::identified(tenant.as_str(), resource_type, identifier, at, &session).await
            }
        })
        .await
    }

    async fn history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
        order: HistoryOrder,
        most: usize,
    ) -> Result<Vec<HistoryVersion>, ReadError> {
        let history = Arc::new(self.part(of, range));
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.ask(move |session| {
            let history = Arc::clone(&history);
            async move { history.versions(order, most, &session).await }
        })
        .await
    }

    async fn count_history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
    ) -> Result<u64, ReadError> {
        let history = Arc::new(self.part(of, range));
        self.ask(move |session| {
            let history = Arc::clone(&history);
            async move { history.count(&session).await }
        })
        .await
    }

    async fn position_at(&self, instant: Instant) -> Result<T, ReadError> {
        let head = self.head().t;
        let tenant = self.shared.tenant.clone();
        let asked = self.ask(move |session| {
            let tenant = tenant.clone();
            async move { reads::position_at(tenant.as_str(), instant, &session).await }
        });
        Ok(asked.await?.min(head))
    }

    fn close(&self) -> Result<(), CloseError> {
        let _alone = self.appending.lock();
        if !self.shared.end(Ended::Closed) {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let limit = self.shared.options.patience;
        // Undone, the next server waits for the lease to expire: nothing else is lost.
        let released = blocking(self.runtime(), async move {
            timeout(limit, shared.lease.release(&shared.connector)).await
        });
        let reason = match released {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => Failure::Silent(limit).to_string(),
        };
        Err(CloseError::StateFailed { reason: format!("the lease was not given back: {reason}") })
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        // Also within another runtime, where waiting is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PostgresStore")
            .field("tenant", &self.shared.tenant)
            .field("head", &self.head())
            .finish_non_exhaustive()
    }
}
