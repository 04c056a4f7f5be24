//! Purge: a patient's key is destroyed, and with it every version of everything that is that
//! patient's alone.
//!
//! In this order, each step durable before the next: nothing more is sealed with the key; all that
//! is stored is looked through for data of the patient that another key, or none, protects, and
//! the purge refused if there is any; the ledger says that it has begun; a commit says it in the
//! log; the key is destroyed; what memory holds is forgotten; the blobs that nobody can open any
//! more are removed; the ledger says that it is done. A purge that has begun is finished at the next open ([`Database::finish_purges`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fhir_core::json::{Document, Replacements};
use fhir_core::{Resource, ResourceId, ResourceType, VersionId};
use store::keys::{Keyring, KeysError, LedgerEntry, PurgeState};
use store::{BlobFlaw, BlobReference, CommitId, OwnerKeyId, StoredBody, T, Version, Walked};

use crate::compartment::Compartments;
use crate::dictionary::expand;
use crate::transaction::{Action, Change, Expect, Transaction};
use crate::{CommitError, Database, ReadError, Receipt, quarantine};

/// The most obstacles that are listed.
const MOST_LISTED: usize = 1000;

/// So often a commit is tried on a full disk, and so long after the try before: who failed then
/// is answered by then.
const MOST_TRIES: u32 = 16;
const PAUSE: Duration = Duration::from_millis(10);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Purge {
    /// Whose data.
    pub patient: ResourceId,
    /// Why, in the operator's words. Kept in the purge ledger, not in the log.
    pub reason: String,
    /// Who asks for it.
    pub by: String,
    /// Names the commit; never used twice.
    pub commit: CommitId,
}

/// A purge that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purged {
    /// What the ledger says of it.
    pub entry: LedgerEntry,
    /// The position of its commit.
    pub t: T,
    /// How many versions nobody can read any more, by type.
    pub versions: BTreeMap<String, u64>,
    /// Bytes of them that still stand in the log, sealed.
    pub bytes: u64,
    /// How many blobs were removed.
    pub blobs: u64,
    /// Bytes of those.
    pub blob_bytes: u64,
    /// Versions that were not looked at since their blobs are missing, and whose keys stay: a
    /// backup that has the blobs makes them readable, and they may name the patient.
    pub not_looked_at: NotLookedAt,
}

/// Versions that a purge did not look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotLookedAt {
    /// How many.
    pub count: u64,
    /// The first of them, in the log's order: type and id, and the number.
    pub listed: Vec<(ResourceType, ResourceId, VersionId)>,
}

/// A version that keeps a patient from being purged: destroying the key would not make it
/// unreadable, or would make another's data unreadable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Its type.
    pub resource_type: ResourceType,
    /// Its id.
    pub id: ResourceId,
    /// Its number.
    pub version: VersionId,
    /// What is in the way.
    pub why: String,
}

/// Why a patient was not purged. Nothing was destroyed, unless it is [`PurgeError::Begun`].
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The tenant has no keys to destroy.
    #[error("the data of this tenant is not sealed: there is no key to destroy")]
    NotSealed,
    /// Another purge is under way.
    #[error("another purge is under way; wait for its end")]
    UnderWay,
    /// It was done before.
    #[error("Patient/{} was purged at {}", .0.patient, .0.instant)]
    AlreadyDone(Box<LedgerEntry>),
    /// Nothing of such a patient is there.
    #[error("nothing is stored of Patient/{0}; compare the id")]
    NothingStored(ResourceId),
    /// Versions that destroying the key would not make unreadable.
    #[error("{count} versions keep Patient/{patient} from being purged")]
    Refused {
        /// Whose data.
        patient: ResourceId,
        /// How many.
        count: u64,
        /// The first of them, in the log's order; those in blobs last.
        obstacles: Vec<Obstacle>,
    },
    /// What is stored cannot be looked through.
    #[error("what is stored cannot be looked through")]
    Read(#[from] ReadError),
    /// Nothing can be committed now.
    #[error("nothing can be written now")]
    Commit(#[source] CommitError),
    /// The keys cannot be changed.
    #[error(transparent)]
    Keys(KeysError),
    /// It has begun and could not be finished: it will be at the next start, or when it is asked
    /// for again. Until then the data may still be readable.
    #[error("the purge has begun and is not finished; ask again, or restart")]
    Begun(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One at a time.
struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Database {
    /// Purges a patient. When this answers, nobody can read any version of anything that was that
    /// patient's alone. Reads the whole log, and may block.
    ///
    /// # Errors
    /// [`PurgeError`].
    pub async fn purge(&self, purge: Purge) -> Result<Purged, PurgeError> {
        let keys = self.shared.sealing.keys().ok_or(PurgeError::NotSealed)?;
        let _turn = self.turn()?;
        let key = keys.of_patient(&purge.patient);
        let before = keys.ledger().into_iter().find(|entry| entry.key == key);
        if let Some(done) = before.as_ref().filter(|entry| entry.state == PurgeState::Done) {
            return Err(PurgeError::AlreadyDone(Box::new(done.clone())));
        }
        keys.close(key);
        let found = self.look_through(keys, &purge).await;
        let found = match (found, &before) {
            (Ok(found), _) => found,
            // It had begun: what is in the way now was not then.
            (Err(error), None) => {
                keys.reopen(key);
                return Err(error);
            }
            (Err(error), Some(_)) => return Err(error),
        };
        let entry = before.unwrap_or_else(|| LedgerEntry {
            state: PurgeState::Begun,
            key,
            commit: purge.commit,
            instant: self.shared.clock.now(),
            patient: purge.patient.clone(),
            reason: purge.reason.into(),
            by: purge.by.into(),
        });
        if let Err(error) = keys.begin_purge(entry.clone()) {
            if keys.ledger().iter().any(|entry| entry.key == key) {
                return Err(PurgeError::Begun(Box::new(error)));
            }
            keys.reopen(key);
            return Err(PurgeError::Keys(error));
        }
        let t = self.finish(keys, &entry, &found.blobs).await?;
        let entry = LedgerEntry { state: PurgeState::Done, ..entry };
        let blob_bytes = found.blobs.iter().map(|blob| blob.length).sum();
        let Found { versions, bytes, not_looked_at, .. } = found;
        let blobs = found.blobs.len() as u64;
        Ok(Purged { entry, t, versions, bytes, blobs, blob_bytes, not_looked_at })
    }

    /// Finishes every purge that had begun when the process ended. Returns whose. May block.
    ///
    /// # Errors
    /// [`PurgeError::Begun`] when one cannot be finished now either.
    pub async fn finish_purges(&self) -> Result<Vec<LedgerEntry>, PurgeError> {
        let Some(keys) = self.shared.sealing.keys() else {
            return Ok(Vec::new());
        };
        let _turn = self.turn()?;
        let mut finished = Vec::new();
        for entry in keys.ledger() {
            if entry.state == PurgeState::Begun {
                let blobs = self.blobs_of(entry.key).await;
                let blobs = blobs.map_err(|error| PurgeError::Begun(error.into()))?;
                self.finish(keys, &entry, &blobs).await?;
                finished.push(entry);
            }
        }
        Ok(finished)
    }

    fn turn(&self) -> Result<Turn<'_>, PurgeError> {
        if self.shared.purging.swap(true, Ordering::AcqRel) {
            return Err(PurgeError::UnderWay);
        }
        Ok(Turn(&self.shared.purging))
    }

    /// What follows once the ledger says that it has begun.
    async fn finish(
        &self,
        keys: &Arc<Keyring>,
        entry: &LedgerEntry,
        blobs: &[BlobReference],
    ) -> Result<T, PurgeError> {
        let begun = |error: Box<dyn std::error::Error + Send + Sync>| PurgeError::Begun(error);
        let committed = self.committed(entry).await.map_err(|error| begun(error.into()))?;
        let t = match committed {
            Some(t) => t,
            None => {
                let change = Change {
                    resource_type: patient(),
                    id: entry.patient.clone(),
                    action: Action::Purge { key: entry.key },
                    expect: Expect::Any,
                };
                let receipt = self.commit_beside_others(entry.commit, &[change]).await;
                receipt.map_err(|error| begun(error.into()))?.t
            }
        };
        keys.destroy_begun(entry.key).map_err(|error| begun(error.into()))?;
        self.shared.bodies.forget_all();
        if let Some(kept) = self.shared.kept_index.get() {
            kept.forget(keys).map_err(|error| begun(error.into()))?;
        }
        self.index_anew();
        for blob in blobs {
            let removed = self.shared.store.remove_blob(blob.id);
            removed.map_err(|error| begun(error.into()))?;
        }
        keys.conclude(entry.key).map_err(|error| begun(error.into()))?;
        Ok(t)
    }

    /// The blobs of every version that has this key.
    async fn blobs_of(&self, key: OwnerKeyId) -> Result<Vec<BlobReference>, ReadError> {
        let mut blobs = Vec::new();
        let store = &self.shared.store;
        let mut look_at = |walked: Walked<'_>| {
            blobs.extend(walked.version.blob().filter(|_| walked.version.owner == key));
        };
        store.walk(store.head().t, &mut look_at).await?;
        Ok(blobs)
    }

    /// Where the log says it already.
    async fn committed(&self, entry: &LedgerEntry) -> Result<Option<T>, ReadError> {
        let store = &self.shared.store;
        let newest = store.newest(&patient(), &entry.patient, store.head().t).await?;
        let Some(newest) = newest.filter(|newest| newest.flags.is_deleted()) else {
            return Ok(None);
        };
        let stored = store.stored(&newest).await?;
        Ok((stored.owner == entry.key).then_some(newest.t))
    }

    async fn look_through(&self, keys: &Keyring, purge: &Purge) -> Result<Found, PurgeError> {
        // Behind this stands everything that was judged before the key was closed.
        let barrier = self.commit_beside_others(purge.commit, &[]).await;
        barrier.map_err(PurgeError::Commit)?;
        let mut search = Search {
            database: self,
            patient: &purge.patient,
            key: keys.of_patient(&purge.patient),
            found: Found::default(),
            with_blobs: Vec::new(),
            failed: None,
        };
        let at = self.shared.store.head().t;
        let walked = self.shared.store.walk(at, &mut |walked| search.look_at(walked)).await;
        walked.map_err(ReadError::from)?;
        for (commit, ordinal, version) in std::mem::take(&mut search.with_blobs) {
            let stored = stored_body(&version, commit, ordinal);
            let name = (&version.resource_type, &version.id);
            let shared = &self.shared;
            let coded = shared.sealing.read_blob(shared.store.as_ref(), name, stored).await;
            search.judge(&version, coded);
        }
        if let Some(error) = search.failed {
            return Err(error.into());
        }
        let found = search.found;
        if found.count > 0 {
            let (patient, count) = (purge.patient.clone(), found.count);
            return Err(PurgeError::Refused { patient, count, obstacles: found.obstacles });
        }
        if found.versions.is_empty() {
            return Err(PurgeError::NothingStored(purge.patient.clone()));
        }
        Ok(found)
    }

    /// Commits on a disk that may be full for others, who ask all the same: what is judged over
    /// their group fails with it, and is tried again. Blocks between two tries.
    async fn commit_beside_others(
        &self,
        id: CommitId,
        changes: &[Change],
    ) -> Result<Receipt, CommitError> {
        for _ in 1..MOST_TRIES {
            match self.commit(self.transaction(id, changes.to_vec())).await {
                Err(error) if error.is_disk_full() => std::thread::sleep(PAUSE),
                answer => return answer,
            }
        }
        self.commit(self.transaction(id, changes.to_vec())).await
    }

    fn transaction(&self, id: CommitId, changes: Vec<Change>) -> Transaction {
        Transaction { id, prepared_at: self.shared.store.head().t, changes, conditions: Vec::new() }
    }
}

fn patient() -> ResourceType {
    ResourceType::new("Patient").expect("Patient is a type's name")
}

fn stored_body(version: &Version, commit: CommitId, ordinal: u32) -> StoredBody {
    StoredBody { owner: version.owner, commit, ordinal, bytes: version.body.clone() }
}

/// What was found of a patient.
#[derive(Debug, Default)]
struct Found {
    versions: BTreeMap<String, u64>,
    bytes: u64,
    blobs: Vec<BlobReference>,
    count: u64,
    obstacles: Vec<Obstacle>,
    not_looked_at: NotLookedAt,
}

impl NotLookedAt {
    fn note(&mut self, version: &Version) {
        self.count += 1;
        if self.listed.len() < MOST_LISTED {
            let Version { resource_type, id, version, .. } = version;
            self.listed.push((resource_type.clone(), id.clone(), *version));
        }
    }
}

impl Found {
    fn count_in(&mut self, version: &Version) {
        self.count_unremoved(version);
        self.blobs.extend(version.blob());
    }

    /// Counts it; its blob, where it has one, is not removed.
    fn count_unremoved(&mut self, version: &Version) {
        *self.versions.entry(version.resource_type.to_string()).or_default() += 1;
        self.bytes += version.body.len() as u64;
    }
}

struct Search<'a> {
    database: &'a Database,
    patient: &'a ResourceId,
    key: OwnerKeyId,
    found: Found,
    /// The versions that must be looked at and have blobs, which no walk reads.
    with_blobs: Vec<(CommitId, u32, Version)>,
    failed: Option<ReadError>,
}

impl Search<'_> {
    fn look_at(&mut self, walked: Walked<'_>) {
        let version = walked.version;
        let own = version.owner == self.key;
        let may_be = own
            || version.owner == OwnerKeyId::NONE
            || Keyring::is_of_tenant(version.owner)
            || quarantine::is_of(&version.resource_type);
        if version.flags.is_deleted() || !may_be || self.failed.is_some() {
            return;
        }
        let &Walked { commit, ordinal, .. } = &walked;
        if version.flags.is_blob() {
            self.with_blobs.push((commit, ordinal, version.clone()));
            return;
        }
        let name = (&version.resource_type, &version.id);
        let stored = stored_body(version, commit, ordinal);
        let coded = self.database.shared.sealing.open_named(name, stored);
        self.judge(version, coded);
    }

    /// Judges a version by its coded body.
    fn judge(&mut self, version: &Version, coded: Result<Bytes, ReadError>) {
        let own = version.owner == self.key;
        if self.failed.is_some() {
            return;
        }
        match coded.and_then(|coded| self.compartments(version, &coded)) {
            // A purge that is asked for again.
            Err(ReadError::Purged) if own => self.found.count_in(version),
            // Were it this patient's too, it is sealed with this key beneath that of another.
            Err(ReadError::Purged) if quarantine::is_of(&version.resource_type) => {}
            Err(ReadError::Store(store::ReadError::Blob { .. }))
                if quarantine::is_of(&version.resource_type)
                    && !own
                    && version.owner != OwnerKeyId::NONE => {}
            // What of it can be read is what the key opens.
            Err(ReadError::Store(store::ReadError::Blob { .. })) if own => {
                self.found.count_in(version);
            }
            // Nothing of it is there to be read: a backup may have it.
            Err(ReadError::Store(store::ReadError::Blob { source: BlobFlaw::Missing, .. })) => {
                self.found.not_looked_at.note(version);
            }
            Err(ReadError::Store(store::ReadError::Blob { .. })) => {
                self.refuse(version, "its blob is harmed, and it may name this patient");
            }
            Err(error) => self.failed = Some(error),
            // What is quarantined nobody reads any more when one of those it names is purged.
            Ok(of)
                if quarantine::is_of(&version.resource_type)
                    && version.owner != OwnerKeyId::NONE =>
            {
                if own {
                    self.found.count_in(version);
                } else if of.name(self.patient) {
                    // Its blob stays, which nobody can open: the key around all of it is another's.
                    self.found.count_unremoved(version);
                }
            }
            Ok(of) if own && of.owner() == Some(self.patient) => self.found.count_in(version),
            Ok(_) if own => self.refuse(version, "it is not this patient's, and has the same key"),
            Ok(of) if !of.name(self.patient) => {}
            Ok(_) if version.owner == OwnerKeyId::NONE => {
                self.refuse(version, "it was stored before there were keys, and is not sealed");
            }
            Ok(of) => {
                let others = of.patients.iter().filter(|other| *other != self.patient);
                let others: Vec<_> = others.map(|other| format!("Patient/{other}")).collect();
                if others.is_empty() {
                    self.refuse(version, "it names a patient by a URL, which may be another's");
                } else {
                    let why = format!("it stands also in the compartment of {}", others.join(", "));
                    self.refuse(version, &why);
                }
            }
        }
    }

    fn refuse(&mut self, version: &Version, why: &str) {
        self.found.count += 1;
        if self.found.obstacles.len() < MOST_LISTED {
            self.found.obstacles.push(Obstacle {
                resource_type: version.resource_type.clone(),
                id: version.id.clone(),
                version: version.version,
                why: why.to_owned(),
            });
        }
    }

    fn compartments(&self, version: &Version, coded: &[u8]) -> Result<Compartments, ReadError> {
        let shared = &self.database.shared;
        let json = expand(version.dictionary, version.length, coded)?;
        let unreadable = |reason: String| ReadError::UnreadableBody { reason };
        let document = Document::parse(&json).map_err(|error| unreadable(error.to_string()))?;
        let resource =
            Resource::new(document.root()).map_err(|error| unreadable(error.to_string()))?;
        let none = Replacements::default();
        Ok(Compartments::of(&resource, &version.id, &none, shared.schema))
    }
}
