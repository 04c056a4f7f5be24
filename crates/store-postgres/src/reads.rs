//! What is read, and the statements for it.

use std::ops::Range;

use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use futures_util::future::{join_all, join5};
use store::{HistoryOrder, HistoryVersion, IdentifierKey, Place, StoredBody, T, VersionEntry};
use tokio_postgres::{Client, Statement};

use crate::connect::Session;
use crate::error::Failure;
use crate::rows::{self, Flaw, signed};
use crate::statements;

/// The statements of a session that reads.
pub(crate) struct Statements {
    newest: Statement,
    version: Statement,
    versions: Statement,
    body: Statement,
    identified: Statement,
    walk: Statement,
    histories: [Statement; 7],
}

/// In the order of [`Statements::histories`].
const HISTORIES: [&str; 7] = [
    statements::HISTORY_NEWEST_FIRST,
    statements::HISTORY_OLDEST_FIRST,
    statements::TYPE_NEWEST_FIRST,
    statements::TYPE_OLDEST_FIRST,
    statements::COUNT_HISTORY,
    statements::COUNT_TYPE,
    statements::POSITION_AT,
];

impl Statements {
    pub(crate) async fn prepare(client: &Client) -> Result<Self, Failure> {
        let (newest, version, versions, body, identified) = join5(
            client.prepare(statements::NEWEST),
            client.prepare(statements::VERSION),
            client.prepare(statements::VERSIONS),
            client.prepare(statements::BODY),
            client.prepare(statements::IDENTIFIED),
        )
        .await;
        let (newest, version, versions) = (newest?, version?, versions?);
        let (body, identified) = (body?, identified?);
        let walk = client.prepare(statements::WALK).await?;
        let histories = join_all(HISTORIES.map(|statement| client.prepare(statement))).await;
        let histories: Vec<_> = histories.into_iter().collect::<Result<_, _>>()?;
        let histories = histories.try_into().expect("as many were prepared as there are");
        Ok(Self { newest, version, versions, body, identified, walk, histories })
    }
}

/// A resource at a position.
#[derive(Clone)]
pub(crate) struct Resource {
    pub(crate) tenant: String,
    pub(crate) resource_type: ResourceType,
    pub(crate) id: ResourceId,
    pub(crate) at: T,
}

impl Resource {
    pub(crate) async fn newest(&self, session: &Session) -> Result<Option<VersionEntry>, Failure> {
        let (client, statement) = (&session.client, &session.statements.newest);
        let (tenant, resource_type, id, at) = self.key();
        let row = client.query_opt(statement, &[&tenant, &resource_type, &id, &at]).await?;
        row.map(|row| rows::entry(&row, &self.resource_type, &self.id)).transpose()
    }

    pub(crate) async fn version(
        &self,
        version: VersionId,
        session: &Session,
    ) -> Result<Option<VersionEntry>, Failure> {
        let (client, statement) = (&session.client, &session.statements.version);
        let (tenant, resource_type, id, at) = self.key();
        let version = signed(version.get());
        let row =
            client.query_opt(statement, &[&tenant, &resource_type, &id, &at, &version]).await?;
        row.map(|row| rows::entry(&row, &self.resource_type, &self.id)).transpose()
    }

    pub(crate) async fn versions(&self, session: &Session) -> Result<Vec<VersionEntry>, Failure> {
        let (client, statement) = (&session.client, &session.statements.versions);
        let (tenant, resource_type, id, at) = self.key();
        let found = client.query(statement, &[&tenant, &resource_type, &id, &at]).await?;
        found.iter().map(|row| rows::entry(row, &self.resource_type, &self.id)).collect()
    }

    fn key(&self) -> (&str, &str, &str, i64) {
        let (resource_type, id) = (self.resource_type.as_str(), self.id.as_str());
        (&self.tenant, resource_type, id, signed(self.at.get()))
    }
}

/// The body of a version, or what is wrong with it.
pub(crate) async fn body(
    tenant: &str,
    entry: &VersionEntry,
    session: &Session,
) -> Result<Result<StoredBody, Flaw>, Failure> {
    let (client, statement) = (&session.client, &session.statements.body);
    let (resource_type, id) = (entry.resource_type.as_str(), entry.id.as_str());
    let version = signed(entry.version.get());
    let row = client.query_opt(statement, &[&tenant, &resource_type, &id, &version]).await?;
    row.map_or(Ok(Err(Flaw::Missing)), |row| rows::body(&row, entry))
}

/// Who bears an identifier, in the order of their ids.
pub(crate) async fn identified(
    tenant: &str,
    resource_type: &ResourceType,
    identifier: &IdentifierKey,
    at: T,
    session: &Session,
) -> Result<Vec<ResourceId>, Failure> {
    let (client, statement) = (&session.client, &session.statements.identified);
    let (resource_type, key, at) =
        (resource_type.as_str(), identifier.as_bytes(), signed(at.get()));
    let found = client.query(statement, &[&tenant, &resource_type, &key, &at]).await?;
    let id = |row: &tokio_postgres::Row| {
        ResourceId::new(row.try_get(0)?).map_err(|_| Failure::Impossible("id"))
    };
    let mut ids: Vec<_> = found.iter().map(id).collect::<Result<_, Failure>>()?;
    // By the bytes, whatever the database's collation.
    ids.sort_unstable();
    Ok(ids)
}

/// The versions of the commits after `after` and up to `through`.
pub(crate) async fn walk(
    tenant: &str,
    (after, through): (T, T),
    session: &Session,
) -> Result<Vec<rows::WalkedRow>, Failure> {
    let (client, statement) = (&session.client, &session.statements.walk);
    let (after, through) = (signed(after.get()), signed(through.get()));
    let found = client.query(statement, &[&tenant, &after, &through]).await?;
    found.iter().map(rows::walked).collect()
}

/// A part of a history.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) tenant: String,
    pub(crate) of: Option<ResourceType>,
    pub(crate) range: Range<Place>,
}

impl History {
    pub(crate) async fn versions(
        &self,
        order: HistoryOrder,
        most: i64,
        session: &Session,
    ) -> Result<Vec<HistoryVersion>, Failure> {
        let (client, [all_newest, all_oldest, type_newest, type_oldest, ..]) =
            (&session.client, &session.statements.histories);
        let (tenant, [t, to_t], [ordinal, to_ordinal]) = self.key();
        let newest_first = order == HistoryOrder::NewestFirst;
        let found = match &self.of {
            None => {
                let statement = if newest_first { all_newest } else { all_oldest };
                client.query(statement, &[&tenant, &t, &ordinal, &to_t, &to_ordinal, &most]).await?
            }
            Some(of) => {
                let statement = if newest_first { type_newest } else { type_oldest };
                let of = of.as_str();
                client
                    .query(statement, &[&tenant, &t, &ordinal, &to_t, &to_ordinal, &most, &of])
                    .await?
            }
        };
        found.iter().map(rows::history_version).collect()
    }

    pub(crate) async fn count(&self, session: &Session) -> Result<u64, Failure> {
        let (client, [.., all, of_type, _]) = (&session.client, &session.statements.histories);
        let (tenant, [t, to_t], [ordinal, to_ordinal]) = self.key();
        let row = match &self.of {
            None => client.query_one(all, &[&tenant, &t, &ordinal, &to_t, &to_ordinal]).await?,
            Some(of) => {
                let of = of.as_str();
                client.query_one(of_type, &[&tenant, &t, &ordinal, &to_t, &to_ordinal, &of]).await?
            }
        };
        Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
    }

    /// Positions and ordinals of the first place and of the one after the last. What lies beyond
    /// the largest signed number is beyond every commit.
    fn key(&self) -> (&str, [i64; 2], [i32; 2]) {
        let t = |place: Place| i64::try_from(place.t.get()).unwrap_or(i64::MAX);
        let ordinal = |place: Place| i32::try_from(place.ordinal).unwrap_or(i32::MAX);
        let (from, to) = (self.range.start, self.range.end);
        (&self.tenant, [t(from), t(to)], [ordinal(from), ordinal(to)])
    }
}

/// The last commit at or before an instant.
pub(crate) async fn position_at(
    tenant: &str,
    instant: Instant,
    session: &Session,
) -> Result<T, Failure> {
    let (client, [.., position_at]) = (&session.client, &session.statements.histories);
    let row = client.query_opt(position_at, &[&tenant, &instant.as_micros()]).await?;
    let t = row.map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
    Ok(T::new(t.cast_unsigned()))
}
