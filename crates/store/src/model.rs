//! The reference backend: a log in memory, for tests of backends and of everything above them.
//! Durable for as long as the value lives.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};

use crate::{
    AppendError, BlobError, BlobFlaw, BlobId, BlobReference, CloseError, Commit, Head,
    HistoryOrder, HistoryVersion, IdentifierKey, Location, MalformedGroup, Place, ReadError, Store,
    StoredBody, T, TenantText, Version, VersionEntry, Walked, judge_group, named_blobs, record,
};

/// A [`Store`] in memory.
#[derive(Debug)]
pub struct ModelStore {
    tenant: TenantText,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    head: Head,
    closed: Closed,
    /// The commit at `t` is the one at index `t - 1`.
    commits: Vec<Commit>,
    blobs: BTreeMap<BlobId, Bytes>,
    /// The positions of a resource's versions, in order.
    resources: BTreeMap<(ResourceType, ResourceId), Vec<(T, usize)>>,
    /// The first position at which a resource bore an identifier.
    identifiers: BTreeMap<(ResourceType, IdentifierKey), BTreeMap<ResourceId, T>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    No,
    Yes,
}

impl ModelStore {
    /// An empty log.
    #[must_use]
    pub fn new(tenant: TenantText) -> Self {
        Self {
            tenant,
            state: Mutex::new(State {
                head: Head::EMPTY,
                closed: Closed::No,
                commits: Vec::new(),
                blobs: BTreeMap::new(),
                resources: BTreeMap::new(),
                identifiers: BTreeMap::new(),
            }),
        }
    }

    /// Takes commits again after [`Store::close`].
    pub fn reopen(&self) {
        self.state().closed = Closed::No;
    }

    /// What stands there of a blob, whole or not.
    #[must_use]
    pub fn blob_bytes(&self, id: BlobId) -> Option<Bytes> {
        self.state().blobs.get(&id).cloned()
    }

    /// Puts other bytes where a blob is, or takes it away.
    pub fn harm_blob(&self, id: BlobId, bytes: Option<Bytes>) {
        let blobs = &mut self.state().blobs;
        match bytes {
            Some(bytes) => drop(blobs.insert(id, bytes)),
            None => drop(blobs.remove(&id)),
        }
    }

    /// Every commit, in order.
    #[must_use]
    pub fn commits(&self) -> Vec<Commit> {
        self.state().commits.clone()
    }

    /// Every resource that has a version, by type and id.
    #[must_use]
    pub fn resources(&self) -> Vec<(ResourceType, ResourceId)> {
        self.state().resources.keys().cloned().collect()
    }

    /// Every type and identifier that a version bears.
    #[must_use]
    pub fn identifiers(&self) -> BTreeSet<(ResourceType, IdentifierKey)> {
        self.state().identifiers.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for ModelStore {
    fn head(&self) -> Head {
        self.state().head
    }

    fn append(&self, group: &[Commit]) -> Result<Head, AppendError> {
        let mut state = self.state();
        if state.closed == Closed::Yes {
            return Err(AppendError::Closed);
        }
        judge_group(&state.head, &self.tenant, group)?;
        for (t, BlobReference { id: blob, length, .. }) in named_blobs(group) {
            let there = state.blobs.get(&blob).is_some_and(|bytes| bytes.len() as u64 == length);
            if !there {
                return Err(AppendError::Malformed(MalformedGroup::BlobMissing { t, blob }));
            }
        }
        let mut head = state.head;
        let (mut bytes, mut blocks) = (Vec::new(), Vec::new());
        for commit in group {
            let hash = record::encode(commit, &head.hash, &mut bytes, &mut blocks);
            let hash = hash.map_err(|source| {
                let t = commit.t;
                AppendError::Malformed(MalformedGroup::Unencodable { t, source })
            })?;
            head = Head { t: commit.t, instant: commit.instant, hash };
        }
        for commit in group {
            state.insert(commit);
        }
        state.head = head;
        Ok(head)
    }

    fn write_blob(&self, id: BlobId, bytes: &Bytes) -> Result<(), AppendError> {
        let mut state = self.state();
        if state.closed == Closed::Yes {
            return Err(AppendError::Closed);
        }
        if state.blobs.contains_key(&id) {
            return Err(AppendError::Io(std::io::ErrorKind::AlreadyExists.into()));
        }
        state.blobs.insert(id, bytes.clone());
        Ok(())
    }

    async fn fetch_blob(&self, reference: &BlobReference) -> Result<Bytes, ReadError> {
        let (id, found) = (reference.id, self.state().blobs.get(&reference.id).cloned());
        found.ok_or(ReadError::Blob { id, source: BlobFlaw::Missing })
    }

    fn remove_blob(&self, id: BlobId) -> Result<bool, BlobError> {
        Ok(self.state().blobs.remove(&id).is_some())
    }

    fn blobs(&self) -> Result<Vec<BlobId>, BlobError> {
        Ok(self.state().blobs.keys().copied().collect())
    }

    async fn newest(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError> {
        Ok(self.state().entries(resource_type, id, at).next())
    }

    async fn version(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        version: VersionId,
        at: T,
    ) -> Result<Option<VersionEntry>, ReadError> {
        let state = self.state();
        let mut entries = state.entries(resource_type, id, at);
        Ok(entries.find(|entry| entry.version == version))
    }

    async fn versions(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> Result<Vec<VersionEntry>, ReadError> {
        Ok(self.state().entries(resource_type, id, at).collect())
    }

    async fn stored(&self, entry: &VersionEntry) -> Result<StoredBody, ReadError> {
        let Location { segment, offset, ordinal, .. } = entry.location;
        let state = self.state();
        let version = state.at(entry.t, ordinal as usize).filter(|version| {
            (&version.resource_type, &version.id, version.version)
                == (&entry.resource_type, &entry.id, entry.version)
        });
        let version = version.ok_or_else(|| ReadError::Damaged {
            segment,
            offset,
            lost: format!("{}/{}", entry.resource_type, entry.id),
            source: "nothing of that name stands there".into(),
        })?;
        let commit = state.commit(entry.t).expect("the version was found in it");
        let (owner, bytes) = (version.owner, version.body.clone());
        Ok(StoredBody { owner, commit: commit.id, ordinal, bytes })
    }

    async fn walk(
        &self,
        at: T,
        each: &mut (dyn for<'a> FnMut(Walked<'a>) + Send),
    ) -> Result<(), ReadError> {
        for commit in self.commits().iter().take_while(|commit| commit.t <= at) {
            for (ordinal, version) in (0..).zip(&commit.versions) {
                let (t, instant, id, kind) = (commit.t, commit.instant, commit.id, commit.kind);
                each(Walked { t, instant, commit: id, kind, ordinal, version });
            }
        }
        Ok(())
    }

    async fn identified(
        &self,
        resource_type: &ResourceType,
        identifier: &IdentifierKey,
        at: T,
    ) -> Result<Vec<ResourceId>, ReadError> {
        let key = (resource_type.clone(), identifier.clone());
        let state = self.state();
        let bearers = state.identifiers.get(&key).into_iter().flatten();
        Ok(bearers.filter(|(_, first)| **first <= at).map(|(id, _)| id.clone()).collect())
    }

    async fn history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
        order: HistoryOrder,
        most: usize,
    ) -> Result<Vec<HistoryVersion>, ReadError> {
        let mut found = self.state().history(of, &range);
        if order == HistoryOrder::NewestFirst {
            found.reverse();
        }
        found.truncate(most);
        Ok(found)
    }

    async fn count_history(
        &self,
        of: Option<&ResourceType>,
        range: Range<Place>,
    ) -> Result<u64, ReadError> {
        Ok(self.state().history(of, &range).len() as u64)
    }

    async fn position_at(&self, instant: Instant) -> Result<T, ReadError> {
        let state = self.state();
        let commits = state.commits.partition_point(|commit| commit.instant <= instant);
        Ok(T::new(commits as u64))
    }

    fn close(&self) -> Result<(), CloseError> {
        self.state().closed = Closed::Yes;
        Ok(())
    }
}

impl State {
    fn insert(&mut self, commit: &Commit) {
        for (ordinal, version) in commit.versions.iter().enumerate() {
            let resource = (version.resource_type.clone(), version.id.clone());
            let positions = self.resources.entry(resource).or_default();
            positions.push((commit.t, ordinal));
            for identifier in &version.identifiers {
                let key = (version.resource_type.clone(), identifier.clone());
                let bearers = self.identifiers.entry(key).or_default();
                bearers.entry(version.id.clone()).or_insert(commit.t);
            }
        }
        if let Some((of, key, bearer)) = commit.answers() {
            let bearers = self.identifiers.entry((of, key)).or_default();
            bearers.entry(bearer).or_insert(commit.t);
        }
        self.commits.push(commit.clone());
    }

    fn commit(&self, t: T) -> Option<&Commit> {
        let index = usize::try_from(t.get().checked_sub(1)?).ok()?;
        self.commits.get(index)
    }

    fn at(&self, t: T, ordinal: usize) -> Option<&Version> {
        self.commit(t)?.versions.get(ordinal)
    }

    /// A resource's versions up to `at`, the newest first.
    fn entries(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        at: T,
    ) -> impl Iterator<Item = VersionEntry> + '_ {
        let resource = (resource_type.clone(), id.clone());
        let positions = self.resources.get(&resource).into_iter().flatten();
        let visible: Vec<_> = positions.filter(|(t, _)| *t <= at).collect();
        visible.into_iter().rev().filter_map(|&(t, ordinal)| self.entry(t, ordinal))
    }

    /// The versions in `range`, the oldest first.
    fn history(&self, of: Option<&ResourceType>, range: &Range<Place>) -> Vec<HistoryVersion> {
        let mut found = Vec::new();
        for commit in &self.commits {
            for (ordinal, version) in (0..).zip(&commit.versions) {
                let place = Place { t: commit.t, ordinal };
                let wanted = of.is_none_or(|of| version.resource_type == *of);
                if wanted && range.contains(&place) {
                    let entry = self.entry(commit.t, ordinal as usize);
                    found.extend(entry.map(|entry| HistoryVersion { place, entry }));
                }
            }
        }
        found
    }

    fn entry(&self, t: T, ordinal: usize) -> Option<VersionEntry> {
        let (commit, version) = (self.commit(t)?, self.at(t, ordinal)?);
        Some(VersionEntry {
            t,
            instant: commit.instant,
            resource_type: version.resource_type.clone(),
            id: version.id.clone(),
            version: version.version,
            flags: version.flags,
            dictionary: version.dictionary,
            length: version.length,
            location: Location {
                segment: 0,
                offset: t.get(),
                length: 0,
                ordinal: u32::try_from(ordinal).ok()?,
                into_commit: 0,
            },
        })
    }
}
