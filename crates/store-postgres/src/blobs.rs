//! Large bodies: rows of a chunk each, in a table beside the versions that refer to them.

use std::cell::Cell;
use std::collections::BTreeSet;

use bytes::Bytes;
use store::{
    BLOB_CHUNK, BlobFlaw, BlobId, BlobReference, CommitId, Derive, DeriveError, IdentifierKey,
    ReadError, T, Version,
};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

use crate::connect::Session;
use crate::error::Failure;
use crate::lease::Lease;
use crate::statements;

/// A part of a sweep looks at so many blobs and removes so many at most.
const LOOKED_AT: i64 = 1000;
const REMOVED: usize = 100;

/// The statements of a part, which together take less time than the lease lasts.
const STATEMENTS: u32 = 4;

/// Writes a blob, all of it or nothing. It may be asked for again when the answer was lost: the same
/// bytes that are there already are what was to be written.
pub(crate) async fn write(
    tenant: &str,
    id: BlobId,
    bytes: &Bytes,
    session: &Session,
) -> Result<(), Failure> {
    let chunks: Vec<&[u8]> = bytes.chunks(BLOB_CHUNK).collect();
    let numbers: Vec<i32> = (0..).take(chunks.len()).collect();
    let key = id.0.to_be_bytes();
    let key = key.as_slice();
    let insert = statements::INSERT_BLOB;
    let Err(error) = session.client.execute(insert, &[&tenant, &key, &numbers, &chunks]).await
    else {
        return Ok(());
    };
    if error.code() != Some(&SqlState::UNIQUE_VIOLATION) {
        return Err(error.into());
    }
    match read(tenant, id, &session.client).await? {
        Some(there) if there == *bytes => Ok(()),
        _ => Err(error.into()),
    }
}

/// What is there of a blob; `None` when nothing is.
pub(crate) async fn read(
    tenant: &str,
    id: BlobId,
    client: &impl GenericClient,
) -> Result<Option<Bytes>, Failure> {
    let id = id.0.to_be_bytes();
    let rows = client.query(statements::BLOB, &[&tenant, &id.as_slice()]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(rows.len() * BLOB_CHUNK);
    for row in &rows {
        bytes.extend_from_slice(row.try_get(0)?);
    }
    Ok(Some(Bytes::from(bytes)))
}

/// The blob of a version, read before [`store::Derive`] asks for it, which it does without waiting.
pub(crate) struct ReadAhead(Option<Bytes>);

impl ReadAhead {
    /// Of this version; it may have none.
    pub(crate) async fn of(
        tenant: &str,
        version: &Version,
        client: &impl GenericClient,
    ) -> Result<Self, Failure> {
        let Some(reference) = version.blob() else { return Ok(Self(None)) };
        read(tenant, reference.id, client).await.map(Self)
    }

    /// What `derive` reads out of the version, or that its blob does not let it.
    pub(crate) fn derived(
        &self,
        derive: &dyn Derive,
        (version, commit, ordinal): (&Version, CommitId, u32),
    ) -> Result<Derived, DeriveError> {
        let lost = Cell::new(None);
        let read = |reference: &BlobReference| {
            self.get(reference).inspect_err(|error| {
                if let ReadError::Blob { id, source } = error {
                    lost.set(Some((*id, *source)));
                }
            })
        };
        match (derive.identifiers_of(version, commit, ordinal, &read), lost.get()) {
            (Err(_), Some((blob, flaw))) => Ok(Derived::Lost { blob, flaw }),
            (derived, _) => derived.map(Derived::Bears),
        }
    }

    /// What is there, checked to be the blob that is referred to.
    pub(crate) fn get(&self, reference: &BlobReference) -> Result<Bytes, ReadError> {
        let damaged = |source| ReadError::Blob { id: reference.id, source };
        let found = self.0.clone().ok_or_else(|| damaged(BlobFlaw::Missing))?;
        reference.check(&found).map_err(damaged)?;
        Ok(found)
    }
}

/// The first of these blobs that is not there, or not as long, and the position that names it.
pub(crate) async fn missing(
    tenant: &str,
    wanted: &[(T, BlobReference)],
    client: &impl GenericClient,
) -> Result<Option<(T, BlobId)>, Failure> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let ids: Vec<_> = wanted.iter().map(|(_, of)| of.id.0.to_be_bytes()).collect();
    let ids: Vec<&[u8]> = ids.iter().map(<[u8; 16]>::as_slice).collect();
    let rows = client.query(statements::BLOB_LENGTHS, &[&tenant, &ids]).await?;
    let mut there = Vec::with_capacity(rows.len());
    for row in &rows {
        there.push((blob_id(row)?, row.try_get::<_, i64>(1)?.cast_unsigned()));
    }
    let lost = wanted.iter().find(|(_, of)| !there.contains(&(of.id, of.length)));
    Ok(lost.map(|(t, of)| (*t, of.id)))
}

/// Removes a blob. Says whether it was there.
pub(crate) async fn remove(tenant: &str, id: BlobId, session: &Session) -> Result<bool, Failure> {
    let id = id.0.to_be_bytes();
    let id = id.as_slice();
    let removed = session.client.execute(statements::REMOVE_BLOB, &[&tenant, &id]).await?;
    Ok(removed > 0)
}

/// What a version bears as far as its blob lets it be known.
pub(crate) enum Derived {
    Bears(Vec<IdentifierKey>),
    /// It has a blob, which is harmed or missing.
    Lost {
        blob: BlobId,
        flaw: BlobFlaw,
    },
}

/// Every blob of the tenant.
pub(crate) async fn list(tenant: &str, session: &Session) -> Result<Vec<BlobId>, Failure> {
    let rows = session.client.query(statements::BLOBS, &[&tenant]).await?;
    rows.iter().map(blob_id).collect()
}

/// Removes every blob that no version names, which is what a server leaves that ended between writing
/// one and appending its commit, or could not remove it. Nobody writes any meanwhile: the lease is
/// held, renewed with each part, and cannot be taken before a part has ended. Returns how many went.
pub(crate) async fn sweep(
    tenant: &str,
    lease: &Lease,
    client: &mut Client,
) -> Result<usize, Failure> {
    let (mut after, mut removed) = (Vec::new(), 0);
    loop {
        let asked = lease.now();
        let part = sweep_part(tenant, lease, &after, client).await?;
        let Some(Swept { orphans, last }) = part else { return Ok(removed) };
        lease.extended(asked);
        removed += orphans;
        let Some(last) = last else { return Ok(removed) };
        after = last.0.to_be_bytes().to_vec();
    }
}

/// What a part of a sweep did.
struct Swept {
    /// How many went.
    orphans: usize,
    /// Behind which blob the next part begins; `None` when there is none.
    last: Option<BlobId>,
}

/// The blobs behind an id; `None` when the lease is not held any more.
async fn sweep_part(
    tenant: &str,
    lease: &Lease,
    after: &[u8],
    client: &mut Client,
) -> Result<Option<Swept>, Failure> {
    let transaction = client.transaction().await?;
    let limit = (lease.length() / STATEMENTS).as_millis();
    transaction.batch_execute(&format!("SET LOCAL statement_timeout = {limit}")).await?;
    let (epoch, length) = (lease.epoch, lease.micros());
    if transaction.execute(statements::RENEW, &[&tenant, &epoch, &length]).await? == 0 {
        return Ok(None);
    }
    let rows = transaction.query(statements::BLOBS_AFTER, &[&tenant, &after, &LOOKED_AT]).await?;
    let mut orphans = rows.iter().map(blob_id).collect::<Result<BTreeSet<_>, _>>()?;
    let mut last = orphans.last().copied();
    let beginnings: Vec<_> = orphans.iter().map(|id| id.0.to_le_bytes()).collect();
    let beginnings: Vec<&[u8]> = beginnings.iter().map(<[u8; 16]>::as_slice).collect();
    for row in transaction.query(statements::NAMED_BLOBS, &[&tenant, &beginnings]).await? {
        let beginning: &[u8] = row.try_get(0)?;
        let beginning = beginning.try_into().map_err(|_| Failure::Impossible("reference"))?;
        orphans.remove(&BlobId(u128::from_le_bytes(beginning)));
    }
    let orphans: Vec<_> = orphans.into_iter().collect();
    let most = &orphans[..orphans.len().min(REMOVED)];
    if most.len() < orphans.len() {
        last = most.last().copied();
    }
    if !most.is_empty() {
        let ids: Vec<_> = most.iter().map(|id| id.0.to_be_bytes()).collect();
        let ids: Vec<&[u8]> = ids.iter().map(<[u8; 16]>::as_slice).collect();
        transaction.execute(statements::REMOVE_BLOBS, &[&tenant, &ids]).await?;
    }
    transaction.commit().await?;
    Ok(Some(Swept { orphans: most.len(), last }))
}

fn blob_id(row: &tokio_postgres::Row) -> Result<BlobId, Failure> {
    let id: &[u8] = row.try_get(0)?;
    let id = id.try_into().map_err(|_| Failure::Impossible("blob"))?;
    Ok(BlobId(u128::from_be_bytes(id)))
}
