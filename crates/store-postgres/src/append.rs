//! A group in one transaction of two round trips: everything but COMMIT, then COMMIT. An outcome
//! that got lost is asked for.

use std::future::Future;
use std::time::Duration;

use futures_util::future::{join, join5};
use store::{AppendError, BlobReference, MalformedGroup, T};
use tokio::time::{sleep, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use crate::blobs;
use crate::connect::Connector;
use crate::error::{Failure, LeaseLost, append_error};
use crate::lease::Lease;
use crate::rows::{Rows, VersionColumns, id_bytes};
use crate::statements;

/// How often a group is tried that was undone for a reason that passes.
const TRIES: u32 = 5;
/// How long the first pause between two tries is; each one doubles.
const PAUSE: Duration = Duration::from_millis(20);

/// The session that writes, with its statements.
pub(crate) struct Writer {
    client: Client,
    move_head: Statement,
    insert_commits: Statement,
    insert_versions: Statement,
    insert_identifiers: Statement,
    renew: Statement,
}

/// What an append needs.
pub(crate) struct Appending<'a> {
    pub(crate) tenant: &'a str,
    /// The blobs that the group names, and where.
    pub(crate) blobs: &'a [(T, BlobReference)],
    pub(crate) lease: &'a Lease,
    pub(crate) connector: &'a Connector,
    pub(crate) patience: Duration,
    pub(crate) outcome_patience: Duration,
}

/// How one try ended.
enum Tried {
    Committed,
    /// Undone, for a reason that passes.
    Undone(Failure),
    /// COMMIT was sent and its answer did not come.
    Unknown(Failure),
    /// Undone, for one that stays.
    Refused(AppendError),
}

impl Writer {
    async fn connect(connector: &Connector) -> Result<Self, Failure> {
        let client = connector.connect().await?;
        Self::prepare(client).await
    }

    async fn prepare(client: Client) -> Result<Self, Failure> {
        let (move_head, insert_commits, insert_versions, insert_identifiers, renew) = join5(
            client.prepare(statements::MOVE_HEAD),
            client.prepare(statements::INSERT_COMMITS),
            client.prepare(statements::INSERT_VERSIONS),
            client.prepare(statements::INSERT_IDENTIFIERS),
            client.prepare(statements::RENEW),
        )
        .await;
        let (move_head, insert_commits, renew) = (move_head?, insert_commits?, renew?);
        let (insert_versions, insert_identifiers) = (insert_versions?, insert_identifiers?);
        Ok(Self { client, move_head, insert_commits, insert_versions, insert_identifiers, renew })
    }
}

impl Appending<'_> {
    /// Appends the rows. `session` is the writer's of the last append, and is left for the next.
    pub(crate) async fn append(
        &self,
        session: &mut Option<Writer>,
        rows: &Rows,
    ) -> Result<(), AppendError> {
        let mut pause = PAUSE;
        let mut tries = 1;
        loop {
            let asked = self.lease.now();
            let failure = match self.attempt(session, rows).await {
                Tried::Committed => {
                    self.lease.extended(asked);
                    return Ok(());
                }
                Tried::Refused(error) => return Err(error),
                Tried::Undone(failure) => failure,
                Tried::Unknown(failure) => {
                    tracing::warn!(error = %failure, "the answer to a commit was lost: asking");
                    match self.ask(session, rows, failure).await? {
                        Outcome::Committed => return Ok(()),
                        Outcome::Undone(failure) => failure,
                    }
                }
            };
            if tries == TRIES {
                return Err(append_error(failure));
            }
            sleep(pause).await;
            pause *= 2;
            tries += 1;
        }
    }

    async fn attempt(&self, session: &mut Option<Writer>, rows: &Rows) -> Tried {
        let writer = match session.take() {
            Some(writer) if !writer.client.is_closed() => writer,
            _ => match Writer::connect(self.connector).await {
                Ok(writer) => writer,
                Err(failure) => return Tried::Undone(failure),
            },
        };
        // Once it is there, this server alone removes it, and not while a transaction waits.
        let missing = blobs::missing(self.tenant, self.blobs, &writer.client);
        match within(self.patience, missing).await {
            Ok(None) => {}
            Ok(Some((t, blob))) => {
                *session = Some(writer);
                let missing = MalformedGroup::BlobMissing { t, blob };
                return Tried::Refused(AppendError::Malformed(missing));
            }
            Err(failure) if failure.is_disconnected() || failure.is_lost_race() => {
                return Tried::Undone(failure);
            }
            Err(failure) => return Tried::Refused(append_error(failure)),
        }
        let written = within(self.patience, self.write(&writer, rows)).await;
        match written {
            // The session is dropped with its transaction: COMMIT was never sent.
            Err(failure) if failure.is_disconnected() => return Tried::Undone(failure),
            Ok(Written { head: 1, lease: 1 }) => {}
            refused => {
                let error = match refused {
                    Err(failure) if failure.is_lost_race() => Ok(failure),
                    Err(failure) => Err(append_error(failure)),
                    Ok(Written { lease: 0, .. }) => {
                        self.lease.lose();
                        Err(AppendError::Io(std::io::Error::other(LeaseLost)))
                    }
                    Ok(_) => Err(AppendError::Io(std::io::Error::other(HeadElsewhere))),
                };
                let rollback = async { Ok(writer.client.batch_execute("ROLLBACK").await?) };
                if within(self.patience, rollback).await.is_ok() {
                    *session = Some(writer);
                }
                return error.map_or_else(Tried::Refused, Tried::Undone);
            }
        }
        let commit = async { Ok(writer.client.batch_execute("COMMIT").await?) };
        match within(self.patience, commit).await {
            Ok(()) => {
                *session = Some(writer);
                Tried::Committed
            }
            Err(failure) if failure.is_lost_race() => {
                *session = Some(writer);
                Tried::Undone(failure)
            }
            Err(failure) if failure.is_undone_commit() => Tried::Refused(append_error(failure)),
            Err(failure) => Tried::Unknown(failure),
        }
    }

    /// Everything but COMMIT, sent without waiting in between but for large groups.
    async fn write(&self, writer: &Writer, rows: &Rows) -> Result<Written, Failure> {
        let (tenant, client) = (self.tenant, &writer.client);
        let (before, after) = (signed_head(&rows.before), signed_head(&rows.after));
        let move_head: [&(dyn ToSql + Sync); 6] =
            [&tenant, &before.0, &before.2, &after.0, &after.1, &after.2];
        let of = &rows.commits;
        let commits: [&(dyn ToSql + Sync); 12] = [
            &tenant,
            &of.t,
            &of.instant,
            &of.id,
            &of.kind,
            &of.fhir_version,
            &of.client,
            &of.key,
            &of.digest,
            &of.previous,
            &of.hash,
            &of.versions,
        ];
        let of = &rows.identifiers;
        let identifiers: [&(dyn ToSql + Sync); 5] =
            [&tenant, &of.resource_type, &of.identifier, &of.id, &of.t];
        let length = self.lease.micros();
        let renew: [&(dyn ToSql + Sync); 3] = [&tenant, &self.lease.epoch, &length];
        let (last, earlier) = rows.versions.split_last().expect("Rows::of() begins with one");

        let begin = client.batch_execute("BEGIN");
        let move_head = client.execute(&writer.move_head, &move_head);
        let commits = client.execute(&writer.insert_commits, &commits);
        let identifiers = client.execute(&writer.insert_identifiers, &identifiers);
        // Last, so that a server that wants to take over waits for COMMIT alone.
        let renew = client.execute(&writer.renew, &renew);
        let versions = self.insert_versions(writer, last);
        if earlier.is_empty() {
            let (begun, head, commits, versions, (identifiers, lease)) =
                join5(begin, move_head, commits, versions, join(identifiers, renew)).await;
            begun?;
            let head = head?;
            commits?;
            versions?;
            identifiers?;
            return Ok(Written { head, lease: lease? });
        }
        begin.await?;
        let head = move_head.await?;
        commits.await?;
        for chunk in earlier {
            self.insert_versions(writer, chunk).await?;
        }
        versions.await?;
        identifiers.await?;
        Ok(Written { head, lease: renew.await? })
    }

    async fn insert_versions(
        &self,
        writer: &Writer,
        of: &VersionColumns,
    ) -> Result<u64, tokio_postgres::Error> {
        let bodies: Vec<&[u8]> = of.body.iter().map(AsRef::as_ref).collect();
        let columns: [&(dyn ToSql + Sync); 13] = [
            &self.tenant,
            &of.resource_type,
            &of.id,
            &of.version,
            &of.t,
            &of.ordinal,
            &of.instant,
            &of.flags,
            &of.owner,
            &of.dictionary,
            &of.content_hash,
            &of.length,
            &bodies,
        ];
        writer.client.execute(&writer.insert_versions, &columns).await
    }

    /// Asks on new connections whether the group was committed, until that is known.
    async fn ask(
        &self,
        session: &mut Option<Writer>,
        rows: &Rows,
        failure: Failure,
    ) -> Result<Outcome, AppendError> {
        let asking = async {
            let mut pause = PAUSE;
            loop {
                match self.ask_once(rows).await {
                    Ok((committed, client)) => {
                        *session = Writer::prepare(client).await.ok();
                        return committed;
                    }
                    Err(error) => tracing::warn!(%error, "what became of a commit is not known"),
                }
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        };
        match timeout(self.outcome_patience, asking).await {
            Ok(true) => Ok(Outcome::Committed),
            Ok(false) => Ok(Outcome::Undone(failure)),
            Err(_) => Err(AppendError::Poisoned(Some(failure.into_io()))),
        }
    }

    async fn ask_once(&self, rows: &Rows) -> Result<(bool, Client), Failure> {
        let mut client = self.connector.connect().await?;
        let transaction = client.transaction().await?;
        // The transaction that is asked about holds the head's row until it has ended: before
        // that, a commit that is not there says nothing.
        transaction.query_one(statements::HEAD_SETTLED, &[&self.tenant]).await?;
        let id = id_bytes(rows.last_id);
        let found = transaction.query_opt(statements::COMMIT_BY_ID, &[&self.tenant, &id]).await?;
        transaction.commit().await?;
        let committed = match found {
            None => false,
            Some(row) => row.try_get::<_, &[u8]>(1)? == rows.after.hash.0,
        };
        Ok((committed, client))
    }
}

/// Rows that were there to change.
struct Written {
    head: u64,
    lease: u64,
}

enum Outcome {
    Committed,
    Undone(Failure),
}

/// Somebody else moved the head, while the lease was ours.
#[derive(Debug, thiserror::Error)]
#[error(
    "the head in the database is not the one this server knows: another program wrote to its \
     tables, or they were restored; restart the server once that is understood"
)]
pub(crate) struct HeadElsewhere;

fn signed_head(head: &store::Head) -> (i64, i64, &[u8]) {
    (crate::rows::signed(head.t.get()), head.instant.as_micros(), &head.hash.0)
}

async fn within<R>(
    limit: Duration,
    what: impl Future<Output = Result<R, Failure>>,
) -> Result<R, Failure> {
    timeout(limit, what).await.unwrap_or(Err(Failure::Silent(limit)))
}
