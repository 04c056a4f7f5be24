//! What is read, and the statements for it.

use fhir_core::{ResourceId, ResourceType, VersionId};
use futures_util::future::join5;
use store::{IdentifierKey, StoredBody, T, VersionEntry};
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
}

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
        Ok(Self { newest, version, versions, body, identified, walk })
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
