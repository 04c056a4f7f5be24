//! What sealing and purge need of the tables beside the port: whether anything is sealed, and that
//! the identifiers of who was purged go.

use std::collections::BTreeMap;
use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType};
use store::{BlobFlaw, CommitId, Derive, DeriveError, IdentifierKey, OwnerKeyId, T, Version};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, GenericClient};

use crate::PostgresStore;
use crate::blobs::{Derived, ReadAhead};
use crate::error::{Failure, LeaseLost};
use crate::rows::{self, IdentifierColumns, id_bytes, signed};
use crate::statements;
use crate::store::{Shared, blocking};

/// Why the identifiers of who was purged were not deleted.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// PostgreSQL did not do it.
    #[error("PostgreSQL does not do what it is asked to")]
    Postgres(#[from] Failure),
    /// Another server has the tenant.
    #[error("the tenant is not held any more: {}", LeaseLost)]
    Lost,
    /// A version that stays cannot be read.
    #[error("{resource} cannot be read, so that it is not known what it bears")]
    Derive {
        /// Of which resource.
        resource: String,
        /// Why not.
        #[source]
        source: DeriveError,
    },
}

impl From<tokio_postgres::Error> for ForgetError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error.into())
    }
}

/// A sealed version, with what it takes to open it.
pub struct Sealed {
    /// The version.
    pub version: Version,
    /// The id of its commit.
    pub commit: CommitId,
    /// Which of the commit's versions it is, from 0.
    pub ordinal: u32,
    blob: ReadAhead,
}

/// Whether keys open what is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opens {
    /// They do.
    Yes,
    /// It cannot be known: what is sealed is a blob, which is harmed or missing.
    NotKnown(BlobFlaw),
}

impl Sealed {
    /// Whether `derive` reads it: whether its keys are those that it was sealed with.
    ///
    /// # Errors
    /// [`DeriveError`] when it does not.
    pub fn is_read_by(&self, derive: &dyn Derive) -> Result<Opens, DeriveError> {
        let Self { version, commit, ordinal, blob } = self;
        Ok(match blob.derived(derive, (version, *commit, *ordinal))? {
            Derived::Bears(_) => Opens::Yes,
            Derived::Lost { flaw, .. } => Opens::NotKnown(flaw),
        })
    }
}

impl PostgresStore {
    /// The last version whose body is sealed, one in a blob only where all are; `None` where
    /// nothing is. Blocks.
    ///
    /// # Errors
    /// [`Failure`] when PostgreSQL does not say.
    pub fn newest_sealed(&self) -> Result<Option<Sealed>, Failure> {
        let shared = Arc::clone(&self.shared);
        blocking(self.runtime(), async move {
            let limit = shared.options.patience;
            let found = timeout(limit, newest_sealed(&shared)).await;
            found.unwrap_or(Err(Failure::Silent(limit)))
        })
    }

    /// Whether the log has a commit of this id. Blocks.
    ///
    /// # Errors
    /// [`Failure`] when PostgreSQL does not say.
    pub fn has_commit(&self, id: CommitId) -> Result<bool, Failure> {
        let shared = Arc::clone(&self.shared);
        blocking(self.runtime(), async move {
            let (limit, tenant) = (shared.options.patience, shared.tenant.as_str());
            let asked = async {
                let client = shared.connector.connect().await?;
                let id = id_bytes(id);
                Ok(client.query_opt(statements::COMMIT_BY_ID, &[&tenant, &id]).await?.is_some())
            };
            timeout(limit, asked).await.unwrap_or(Err(Failure::Silent(limit)))
        })
    }

    /// Deletes the identifiers of every version that has one of these keys, which are destroyed,
    /// but for what the resource's other versions bear. Returns how many rows went. Blocks. Commits
    /// wait while rows are deleted, and not while bodies are read.
    ///
    /// # Errors
    /// [`ForgetError`]; then nothing was deleted.
    pub fn forget_identifiers(
        &self,
        keys: &[OwnerKeyId],
        derive: Arc<dyn Derive>,
    ) -> Result<u64, ForgetError> {
        let keys: Vec<i64> = keys.iter().map(|key| signed(key.0)).collect();
        let shared = Arc::clone(&self.shared);
        blocking(self.runtime(), async move {
            let mut client = shared.connector.connect().await?;
            forget(&shared, &mut client, &keys, derive.as_ref()).await
        })
    }
}

async fn newest_sealed(shared: &Shared) -> Result<Option<Sealed>, Failure> {
    let client = shared.connector.connect().await?;
    let tenant = shared.tenant.as_str();
    let mut row = client.query_opt(statements::NEWEST_SEALED_ROW, &[&tenant]).await?;
    if row.is_none() {
        row = client.query_opt(statements::NEWEST_SEALED, &[&tenant]).await?;
    }
    let Some(row) = row else { return Ok(None) };
    let rows::WalkedRow { version, commit, ordinal, .. } = rows::walked(&row)?;
    let blob = ReadAhead::of(tenant, &version, &client).await?;
    Ok(Some(Sealed { version, commit, ordinal, blob }))
}

async fn forget(
    shared: &Shared,
    client: &mut Client,
    keys: &[i64],
    derive: &dyn Derive,
) -> Result<u64, ForgetError> {
    let tenant = shared.tenant.as_str();
    // Reads all versions' rows, so before anybody waits. With a destroyed key none is added.
    let found = client.query(statements::BORNE_UNDER, &[&tenant, &keys]).await?;
    let mut borne = IdentifierColumns::default();
    for row in &found {
        borne.resource_type.push(row.try_get(0)?);
        borne.identifier.push(row.try_get(1)?);
        borne.id.push(row.try_get(2)?);
    }
    // So is what the resources bear in the versions that are there now: bodies are opened, and large
    // ones read. Read behind the head, so that nothing up to it is missed.
    let head = client.query_one(statements::HEAD, &[&tenant]).await?.try_get::<_, i64>(0)?;
    let mut stay = Stay::default();
    let of = (borne.resource_type.as_slice(), borne.id.as_slice(), keys);
    stay.add(client, tenant, of, 0, derive).await?;
    let transaction = client.transaction().await?;
    // An append moves the head first: none is under way from here on.
    transaction.query_one(statements::HEAD_SETTLED, &[&tenant]).await?;
    let held = transaction.query_one(statements::HELD, &[&tenant, &shared.lease.epoch]).await?;
    if !(held.try_get::<_, bool>(0)? && held.try_get::<_, bool>(1)?) {
        return Err(ForgetError::Lost);
    }
    let IdentifierColumns { resource_type, identifier, id, .. } = &borne;
    let gone = transaction
        .execute(statements::DELETE_IDENTIFIERS, &[&tenant, resource_type, identifier, id])
        .await?;
    stay.add(&transaction, tenant, of, head, derive).await?;
    let stay = stay.columns();
    let IdentifierColumns { resource_type, identifier, id, t } = &stay;
    let back = transaction
        .execute(statements::INSERT_IDENTIFIERS, &[&tenant, resource_type, identifier, id, t])
        .await?;
    transaction.commit().await?;
    Ok(gone.saturating_sub(back))
}

/// What resources bear in versions that can be read, each from the first of them.
#[derive(Default)]
struct Stay(BTreeMap<(ResourceType, IdentifierKey, ResourceId), T>);

impl Stay {
    /// Adds what these resources bear in versions after a position, the later ones behind the
    /// earlier. One whose blob is lost bears nothing any more.
    async fn add(
        &mut self,
        client: &impl GenericClient,
        tenant: &str,
        (types, ids, keys): (&[String], &[String], &[i64]),
        after: i64,
        derive: &dyn Derive,
    ) -> Result<(), ForgetError> {
        let of: [&(dyn ToSql + Sync); 5] = [&tenant, &types, &ids, &keys, &after];
        for row in &client.query(statements::VERSIONS_OF, &of).await? {
            let rows::WalkedRow { t, commit, ordinal, version, .. } = rows::walked(row)?;
            let blob = ReadAhead::of(tenant, &version, client).await?;
            let derived = blob.derived(derive, (&version, commit, ordinal));
            let derived = derived.map_err(|source| {
                let resource = format!("{}/{}", version.resource_type, version.id);
                ForgetError::Derive { resource, source }
            })?;
            let bears = match derived {
                Derived::Bears(bears) => bears,
                Derived::Lost { blob, flaw } => {
                    let Version { resource_type, id, version, .. } = &version;
                    tracing::error!(
                        %t, %blob, %flaw,
                        "{resource_type}/{id} version {version} is lost, and no identifier leads to it"
                    );
                    continue;
                }
            };
            for identifier in bears {
                let key = (version.resource_type.clone(), identifier, version.id.clone());
                self.0.entry(key).or_insert(t);
            }
        }
        Ok(())
    }

    fn columns(&self) -> IdentifierColumns {
        let mut columns = IdentifierColumns::default();
        for ((resource_type, identifier, id), t) in &self.0 {
            columns.push(*t, (resource_type, id), identifier.as_bytes());
        }
        columns
    }
}
