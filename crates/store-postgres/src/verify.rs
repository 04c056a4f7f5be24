//! Verifies everything that a tenant has in its database: the chain of hashes, each body's hash,
//! what versions are found by, and that the identifiers are those that the bodies give.
//!
//! It reads one state of the database, so it may run beside the server, and takes no lease.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fhir_core::{Instant, ResourceId, ResourceType};
use store::{
    Commit, CommitHash, CommitKind, ContentHash, Derive, DeriveError, FhirVersion, Head,
    Idempotency, IdentifierKey, OwnerKeyId, ReadError, T, TenantText, record,
};
use tokio_postgres::{Client, Row};

use crate::blobs::ReadAhead;
use crate::connect::Connector;
use crate::error::{Failure, OpenError};
use crate::options::PostgresOptions;
use crate::rows::{self, IdentifierColumns, WalkedRow, signed};
use crate::{schema, statements};

/// What was found whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Where the log ends.
    pub head: Head,
    /// How many versions there are.
    pub versions: u64,
    /// How many bodies are not sealed.
    pub unsealed: u64,
    /// How many identifiers versions are found by; `None` where they were not compared.
    pub identifiers: Option<u64>,
}

/// The first thing that is not whole.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It could not be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A commit.
    #[error("commit {t}: {what}")]
    Commit {
        /// Which.
        t: T,
        /// What is wrong.
        what: &'static str,
    },
    /// A body.
    #[error("commit {t}: the body of {resource} does not have the hash stored with it")]
    Body {
        /// In which commit.
        t: T,
        /// Of which resource.
        resource: String,
    },
    /// A body that cannot be read.
    #[error("commit {t}: {resource} cannot be read")]
    Unreadable {
        /// In which commit.
        t: T,
        /// Which.
        resource: String,
        /// Why not.
        #[source]
        source: DeriveError,
    },
    /// A blob that nobody says was purged.
    #[error("commit {t}: the blob of {resource} is not whole")]
    Blob {
        /// In which commit.
        t: T,
        /// Of which resource.
        resource: String,
        /// What is wrong with it.
        #[source]
        source: ReadError,
    },
    /// An identifier.
    #[error("commit {t}: {resource} is not found by an identifier that it bears")]
    IdentifierLost {
        /// In which commit.
        t: T,
        /// Which resource.
        resource: String,
    },
    /// Identifiers of nothing.
    #[error(
        "{extra} identifiers are borne by no version that can be read: they were changed by hand, or are of a patient who was purged and whose rows were restored; the next start of the server deletes the latter"
    )]
    IdentifiersBeyond {
        /// How many.
        extra: u64,
    },
    /// Versions of nothing.
    #[error("{extra} rows of versions belong to no commit")]
    VersionsBeyond {
        /// How many.
        extra: i64,
    },
    /// A version's instant.
    #[error("{count} rows of versions do not have their commit's instant")]
    Instants {
        /// How many.
        count: i64,
    },
    /// Numbers that do not grow.
    #[error("the numbers of the versions of {resource} do not grow with the log")]
    Numbers {
        /// Of which resource.
        resource: String,
    },
    /// The head is elsewhere.
    #[error("the log ends at commit {found}, and the head says {head} or has another hash")]
    Head {
        /// The last commit.
        found: T,
        /// What the head says.
        head: T,
    },
}

impl From<Failure> for VerifyError {
    fn from(failure: Failure) -> Self {
        Self::Open(failure.into())
    }
}

impl From<tokio_postgres::Error> for VerifyError {
    fn from(error: tokio_postgres::Error) -> Self {
        Failure::from(error).into()
    }
}

/// How many versions are read at once, but for a commit that has more.
const VERSIONS_AT_ONCE: u64 = 2000;

/// Verifies `tenant` in the database that `options` reach. With `derive` every body is opened and
/// the identifiers are compared; without, hashes alone. Blocks; not to be called on a thread of an
/// asynchronous runtime.
///
/// # Errors
/// [`VerifyError`] for the first thing found wrong.
pub fn verify(
    tenant: &str,
    options: &PostgresOptions,
    derive: Option<Arc<dyn Derive>>,
) -> Result<Verified, VerifyError> {
    let tenant = TenantText::new(tenant).map_err(OpenError::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(OpenError::Threads)?;
    let connector = Connector::new(options, runtime.handle().clone());
    runtime.block_on(async {
        let client = connector.connect().await?;
        client.batch_execute(ONE_STATE).await?;
        let walk = Walk {
            client: &client,
            tenant: &tenant,
            derive: derive.as_deref(),
            before: Head::EMPTY,
            versions: 0,
            unsealed: 0,
            identifiers: 0,
            lost: Vec::new(),
            purged: BTreeSet::new(),
        };
        walk.verify().await
    })
}

/// One state of the database, for as long as reading it takes.
const ONE_STATE: &str = "SET idle_in_transaction_session_timeout = 0; \
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

struct Walk<'a> {
    client: &'a Client,
    tenant: &'a TenantText,
    derive: Option<&'a dyn Derive>,
    /// The last commit that was verified.
    before: Head,
    versions: u64,
    unsealed: u64,
    identifiers: u64,
    /// Blobs that are not whole, which is as it should be where their key was destroyed. Without
    /// keys a later commit may say so.
    lost: Vec<(OwnerKeyId, VerifyError)>,
    purged: BTreeSet<OwnerKeyId>,
}

/// A row of `commits`.
struct CommitRow {
    commit: Commit,
    previous: Vec<u8>,
    hash: Vec<u8>,
    versions: u64,
}

/// Whose an identifier is.
type Borne = (ResourceType, IdentifierKey, ResourceId);

impl Walk<'_> {
    async fn verify(mut self) -> Result<Verified, VerifyError> {
        match schema::format(self.client).await? {
            None => return Ok(self.verified(Head::EMPTY)),
            Some(found) => schema::check(found)?,
        }
        let head = self.client.query_opt(statements::HEAD, &[&self.tenant.as_str()]).await?;
        let head = match head {
            None => Head::EMPTY,
            Some(row) => crate::store::head_of(&row)?.1,
        };
        loop {
            let after = signed(self.before.t.get());
            let of = &[&self.tenant.as_str() as &(dyn tokio_postgres::types::ToSql + Sync), &after];
            let page = self.client.query(statements::COMMITS_AFTER, of).await?;
            if page.is_empty() {
                break;
            }
            let page: Result<VecDeque<_>, Failure> =
                page.iter().map(|row| commit_row(row, self.tenant)).collect();
            let mut page = page?;
            while !page.is_empty() {
                self.verify_some(&mut page).await?;
            }
        }
        if self.before != head {
            return Err(VerifyError::Head { found: self.before.t, head: head.t });
        }
        self.verify_places().await?;
        let purged = std::mem::take(&mut self.purged);
        if let Some((_, lost)) = self.lost.drain(..).find(|(owner, _)| !purged.contains(owner)) {
            return Err(lost);
        }
        Ok(self.verified(head))
    }

    fn verified(&self, head: Head) -> Verified {
        let identifiers = self.derive.map(|_| self.identifiers);
        Verified { head, versions: self.versions, unsealed: self.unsealed, identifiers }
    }

    /// Verifies the first commits of `page`, which go.
    async fn verify_some(&mut self, page: &mut VecDeque<CommitRow>) -> Result<(), VerifyError> {
        let (mut some, mut versions) = (Vec::new(), 0);
        while let Some(next) = page.front() {
            if !some.is_empty() && versions + next.versions > VERSIONS_AT_ONCE {
                break;
            }
            versions += next.versions;
            some.extend(page.pop_front());
        }
        let through = some.last().map_or(self.before.t, |row| row.commit.t);
        let (after, through) = (signed(self.before.t.get()), signed(through.get()));
        let rows =
            self.client.query(statements::WALK, &[&self.tenant.as_str(), &after, &through]).await?;
        let rows: Result<Vec<_>, Failure> = rows.iter().map(rows::walked).collect();
        let mut rows = rows?.into_iter().peekable();
        let mut borne = BTreeMap::new();
        for mut row in some {
            let t = row.commit.t;
            let mut own = Vec::new();
            while let Some(version) = rows.next_if(|version| version.t == t) {
                own.push(version);
            }
            self.verify_commit(&mut row, own, &mut borne).await?;
        }
        self.verify_identifiers(&borne).await
    }

    async fn verify_commit(
        &mut self,
        row: &mut CommitRow,
        own: Vec<WalkedRow>,
        borne: &mut BTreeMap<Borne, T>,
    ) -> Result<(), VerifyError> {
        let t = row.commit.t;
        let wrong = |what| Err(VerifyError::Commit { t, what });
        if t != self.before.t.next() {
            return wrong("the commit before it is not there");
        }
        if row.previous != self.before.hash.0 {
            return wrong("it does not name the hash of the commit before it");
        }
        if own.len() as u64 != row.versions || (0..).zip(&own).any(|(at, row)| row.ordinal != at) {
            return wrong("its versions are not all there, or there are more");
        }
        if let Some(answers) = row.commit.answers().filter(|_| self.derive.is_some()) {
            borne.insert(answers, t);
        }
        for WalkedRow { commit, ordinal, version, .. } in own {
            let resource = || format!("{}/{}", version.resource_type, version.id);
            if ContentHash::of(&version.body) != version.content_hash {
                return Err(VerifyError::Body { t, resource: resource() });
            }
            if !version.flags.is_deleted() {
                self.unsealed += u64::from(version.owner == OwnerKeyId::NONE);
                let blob = ReadAhead::of(self.tenant.as_str(), &version, self.client).await?;
                let read = |reference: &_| blob.get(reference);
                if self.derive.is_none()
                    && let Some(Err(source)) = version.blob().map(|of| blob.get(&of))
                {
                    let lost = VerifyError::Blob { t, resource: resource(), source };
                    self.lost.push((version.owner, lost));
                }
                let derive = |of: &dyn Derive| of.identifiers_of(&version, commit, ordinal, &read);
                let derived = self.derive.map(derive);
                let derived = derived.transpose().map_err(|source| VerifyError::Unreadable {
                    t,
                    resource: resource(),
                    source,
                })?;
                for identifier in derived.unwrap_or_default() {
                    let key = (version.resource_type.clone(), identifier, version.id.clone());
                    borne.entry(key).or_insert(t);
                }
            }
            if row.commit.kind == CommitKind::Purge {
                self.purged.insert(version.owner);
            }
            row.commit.versions.push(version);
        }
        let hash = record::encode(&row.commit, &self.before.hash, &mut Vec::new(), &mut Vec::new());
        let Ok(hash) = hash else {
            return wrong("it is none that a log can hold");
        };
        if hash.0 != row.hash.as_slice() {
            return wrong("it does not have the hash stored with it");
        }
        if row.commit.instant <= self.before.instant && self.before.t != T::ZERO {
            return wrong("its instant is not after that of the commit before it");
        }
        self.versions += row.versions;
        self.before = Head { t, instant: row.commit.instant, hash: CommitHash(hash.0) };
        Ok(())
    }

    /// Compares what a few commits bear, each from the first of them, with the rows. One that was
    /// borne before is counted there.
    async fn verify_identifiers(&mut self, borne: &BTreeMap<Borne, T>) -> Result<(), VerifyError> {
        if borne.is_empty() {
            return Ok(());
        }
        let mut columns = IdentifierColumns::default();
        for ((resource_type, identifier, id), t) in borne {
            columns.push(*t, (resource_type, id), identifier.as_bytes());
        }
        let IdentifierColumns { resource_type, identifier, id, .. } = &columns;
        let tenant = self.tenant.as_str();
        let found = self
            .client
            .query(statements::FIRST_BORNE, &[&tenant, resource_type, identifier, id])
            .await?;
        let mut firsts = BTreeMap::new();
        for row in &found {
            let ordinal: i64 = row.try_get(0)?;
            firsts.insert(ordinal, row.try_get::<_, i64>(1)?);
        }
        for (ordinal, ((resource_type, _, id), t)) in (1..).zip(borne) {
            match firsts.get(&ordinal) {
                Some(first) if *first == signed(t.get()) => self.identifiers += 1,
                Some(first) if *first < signed(t.get()) => {}
                _ => {
                    let resource = format!("{resource_type}/{id}");
                    return Err(VerifyError::IdentifierLost { t: *t, resource });
                }
            }
        }
        Ok(())
    }

    /// What versions are found by, beyond their own rows.
    async fn verify_places(&self) -> Result<(), VerifyError> {
        let tenant = self.tenant.as_str();
        let row = self.client.query_one(statements::COUNT_PLACES, &[&tenant]).await?;
        let (versions, instants): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if versions.cast_unsigned() != self.versions {
            return Err(VerifyError::VersionsBeyond { extra: versions - signed(self.versions) });
        }
        if instants != 0 {
            return Err(VerifyError::Instants { count: instants });
        }
        if let Some(row) = self.client.query_opt(statements::SHRINKING_NUMBER, &[&tenant]).await? {
            let (of, id): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
            return Err(VerifyError::Numbers { resource: format!("{of}/{id}") });
        }
        if self.derive.is_some() {
            let row = self.client.query_one(statements::COUNT_IDENTIFIERS, &[&tenant]).await?;
            let extra = row.try_get::<_, i64>(0)?.cast_unsigned().saturating_sub(self.identifiers);
            if extra > 0 {
                return Err(VerifyError::IdentifiersBeyond { extra });
            }
        }
        Ok(())
    }
}

/// A commit without its versions.
fn commit_row(row: &Row, tenant: &TenantText) -> Result<CommitRow, Failure> {
    let impossible = Failure::Impossible;
    let number =
        |at: usize, field| u8::try_from(row.try_get::<_, i16>(at)?).map_err(|_| impossible(field));
    let id: &[u8] = row.try_get(2)?;
    let client: Option<Vec<u8>> = row.try_get(5)?;
    let idempotency = match client {
        None => None,
        Some(client) => {
            let text = |bytes: Vec<u8>, field| {
                String::from_utf8(bytes).map(String::into_boxed_str).map_err(|_| impossible(field))
            };
            let digest: &[u8] = row.try_get(7)?;
            Some(Idempotency {
                client: text(client, "client")?,
                key: text(row.try_get(6)?, "key")?,
                digest: digest.try_into().map_err(|_| impossible("digest"))?,
            })
        }
    };
    let versions: i32 = row.try_get(10)?;
    Ok(CommitRow {
        commit: Commit {
            t: T::new(row.try_get::<_, i64>(0)?.cast_unsigned()),
            instant: Instant::from_micros(row.try_get(1)?),
            id: rows::commit_id(id)?,
            idempotency,
            tenant: tenant.clone(),
            fhir_version: FhirVersion::from_number(number(4, "FHIR version")?)
                .ok_or(impossible("FHIR version"))?,
            kind: CommitKind::from_number(number(3, "kind")?).ok_or(impossible("kind"))?,
            versions: Vec::new(),
        },
        previous: row.try_get(8)?,
        hash: row.try_get(9)?,
        versions: u64::try_from(versions).map_err(|_| impossible("number of versions"))?,
    })
}
