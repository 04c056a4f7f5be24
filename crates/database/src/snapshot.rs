//! The data as of one position, as far as one caller may see it.

use std::sync::Arc;

use bytes::Bytes;
use fhir_core::json::Document;
use fhir_core::{Instant, Resource, ResourceId, ResourceType, VersionId};
use fhir_schema::Schema;
use store::{BLOB_FROM, HistoryOrder, IdentifierKey, Place, Store, T, VersionEntry};
use tokio::runtime::Handle;

use crate::blob::Fetched;
use crate::bodies::{Bodies, Filled, Kept, Known};
use crate::history::check_to_be_judged;
use crate::indexing::Indexes;
use crate::large::{NotDone, Reading};
use crate::names::Named;
use crate::seal::Sealing;
use crate::stand_in::StandIns;
use crate::{Abandoned, Author, Maker, ReadError, Rows, Visibility, author, body, seen};

/// Shows exactly the commits up to one position (guarantee G4), and of them what its
/// [`Visibility`] lets through: what is not visible is answered as if it did not exist.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) store: Arc<dyn Store>,
    bodies: Arc<Bodies>,
    pub(crate) reading: Reading,
    stand_ins: Arc<StandIns>,
    schema: &'static Schema,
    sealing: Sealing,
    pub(crate) visibility: Visibility,
    at: T,
    /// What was the newest when it was opened.
    head: T,
    /// The search indexes, where there are any.
    pub(crate) indexes: Indexes,
    /// The server's own base URL, as far as the search index knows it.
    base: Option<Arc<str>>,
    /// What is read through it.
    pub(crate) rows: Rows,
    /// Whether anyone still waits for what searches of it find.
    pub(crate) abandoned: Abandoned,
}

/// A version and its JSON.
#[derive(Debug, Clone)]
pub struct StoredVersion {
    /// What is known about it.
    pub entry: VersionEntry,
    /// The resource as JSON, `meta` filled; `None` when this version is a deletion.
    pub json: Option<Bytes>,
}

impl Snapshot {
    pub(crate) fn new(
        (store, sealing): (Arc<dyn Store>, Sealing),
        (bodies, reading, stand_ins): (Arc<Bodies>, Reading, Arc<StandIns>),
        schema: &'static Schema,
        visibility: Visibility,
        at: T,
        indexes: Indexes,
    ) -> Self {
        let rows = Rows::default();
        let abandoned = Abandoned::default();
        let head = at;
        let base = indexes.current.as_ref().map(|it| Arc::clone(&it.by().base));
        Self {
            store,
            bodies,
            reading,
            stand_ins,
            schema,
            sealing,
            visibility,
            at,
            head,
            indexes,
            base,
            rows,
            abandoned,
        }
    }

    /// The same data, for whoever may leave before the answer: its searches end soon after that,
    /// with [`crate::SearchError::Abandoned`], and so do its histories, where each version is
    /// judged.
    #[must_use]
    pub fn until(self, abandoned: &Abandoned) -> Self {
        Self { abandoned: abandoned.clone(), ..self }
    }

    /// The same, with what is read through it counted there.
    #[must_use]
    pub fn counted(self, rows: &Rows) -> Self {
        Self { rows: rows.clone(), ..self }
    }

    /// Ends what is done piece by piece when nobody waits for it any more.
    pub(crate) fn check_awaited(&self) -> Result<(), ReadError> {
        match self.abandoned.is_set() {
            true => Err(ReadError::Abandoned),
            false => Ok(()),
        }
    }

    /// What is known of resource types.
    pub(crate) fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// The server's own base URL, without its last slash, where it is known.
    pub(crate) fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    /// The same data as of `t`, or as of here when that is earlier.
    #[must_use]
    pub fn as_of(&self, t: T) -> Self {
        Self { at: t.min(self.at), ..self.clone() }
    }

    /// The newest position when it was opened: what is closed there is closed in what came before.
    pub(crate) fn head(&self) -> T {
        self.head
    }

    /// The same data as far as this visibility shows it.
    #[must_use]
    pub fn seen_by(&self, visibility: Visibility) -> Self {
        Self { visibility, ..self.clone() }
    }

    /// The same data, of which searches look at the resources themselves.
    pub(crate) fn without_index(&self) -> Self {
        Self { indexes: Indexes::default(), ..self.clone() }
    }

    /// The position it shows.
    #[must_use]
    pub fn at(&self) -> T {
        self.at
    }

    /// The newest version of a resource, deletions included.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say.
    pub async fn read(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
    ) -> Result<Option<StoredVersion>, ReadError> {
        let _read = trace::child("read");
        match self.newest_seen(resource_type, id).await? {
            Some(entry) => self.load(entry).await.map(Some),
            None => Ok(None),
        }
    }

    /// What is known of the newest version of a resource without its body.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say.
    pub async fn newest(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
    ) -> Result<Option<VersionEntry>, ReadError> {
        let newest = self.newest_seen(resource_type, id).await?;
        self.rows.add(u64::from(newest.is_some()));
        Ok(newest)
    }

    /// The newest version of a resource, if it may be seen.
    async fn newest_seen(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
    ) -> Result<Option<VersionEntry>, ReadError> {
        if !self.visibility.shows_some_of(resource_type) {
            return Ok(None);
        }
        let newest = self.store.newest(resource_type, id, self.at).await?;
        self.if_seen(resource_type, newest).await
    }

    /// A version, if it is there and may be seen. It takes one way and the same time whether it is
    /// not there or is not to be seen.
    async fn if_seen(
        &self,
        of: &ResourceType,
        version: Option<VersionEntry>,
    ) -> Result<Option<VersionEntry>, ReadError> {
        match version {
            Some(entry) if self.sees(&entry).await? => Ok(Some(entry)),
            Some(hidden) => {
                self.stand_ins.note(hidden);
                Ok(None)
            }
            None => {
                self.judge_stand_in(of).await?;
                Ok(None)
            }
        }
    }

    /// Judges what stands in for a resource that is not there, as if it were.
    async fn judge_stand_in(&self, of: &ResourceType) -> Result<(), ReadError> {
        if self.visibility.parts_of(of).is_none() {
            return Ok(());
        }
        let stand_in = match self.stand_ins.next(of) {
            Some(known) => Some(known),
            None => {
                let all = Place::first_of(T::ZERO)..Place::first_of(self.at.next());
                let newest =
                    self.store.history(Some(of), all, HistoryOrder::NewestFirst, 1).await?;
                let newest = newest.into_iter().next().map(|version| version.entry);
                newest.inspect(|entry| self.stand_ins.note(entry.clone()))
            }
        };
        if let Some(stand_in) = stand_in {
            // Whether it may be seen, or can be read, is no matter.
            let _judged = self.sees(&stand_in).await;
        }
        Ok(())
    }

    /// One version of a resource.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say.
    pub async fn vread(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        version: VersionId,
    ) -> Result<Option<StoredVersion>, ReadError> {
        if !self.visibility.shows_some_of(resource_type) {
            return Ok(None);
        }
        let _read = trace::child("read");
        let found = self.store.version(resource_type, id, version, self.at).await?;
        match self.if_seen(resource_type, found).await? {
            Some(entry) => self.load(entry).await.map(Some),
            None => Ok(None),
        }
    }

    /// The JSON of a version that the commit at `t` made: as [`Self::vread`], and quicker while it
    /// is still in memory. `None` also for a deletion.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say.
    pub async fn written(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
        t: T,
        (version, instant): (VersionId, Instant),
    ) -> Result<Option<Bytes>, ReadError> {
        let sees_all = self.visibility.parts_of(resource_type).is_none()
            && self.visibility.shows_some_of(resource_type);
        if t <= self.at && sees_all {
            let key = (t, resource_type.clone(), id.clone());
            match self.bodies.get(&key) {
                Some(Kept::Filled(Filled { json, .. })) => return Ok(Some(json)),
                // It is answered now, and may not be asked for again.
                Some(Kept::Plain(plain, _)) => {
                    let name = (resource_type, id);
                    return body::fill_plain(&plain, name, version, instant).map(Some);
                }
                None => {}
            }
        }
        Ok(self.vread(resource_type, id, version).await?.and_then(|version| version.json))
    }

    /// All versions of a resource, the newest first, without their bodies.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say.
    pub async fn history(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
    ) -> Result<Vec<VersionEntry>, ReadError> {
        if !self.visibility.shows_some_of(resource_type) {
            return Ok(Vec::new());
        }
        let _history = trace::child("history");
        let versions = self.store.versions(resource_type, id, self.at).await?;
        let versions = match (self.visibility.parts_of(resource_type), versions.first()) {
            (None, _) => versions,
            (Some(_), None) => {
                self.judge_stand_in(resource_type).await?;
                versions
            }
            // Who does not see the present content sees no version.
            (Some(parts), Some(newest)) => match self.shows_present(newest, parts).await? {
                false => {
                    self.stand_ins.note(newest.clone());
                    Vec::new()
                }
                true => {
                    check_to_be_judged(versions.len())?;
                    self.seen(versions, parts).await?
                }
            },
        };
        self.rows.add(versions.len() as u64);
        Ok(versions)
    }

    /// The resource of a version, its body read.
    ///
    /// # Errors
    /// [`ReadError`] when the body cannot be read; [`ReadError::Purged`] when nobody can any more.
    pub async fn load(&self, entry: VersionEntry) -> Result<StoredVersion, ReadError> {
        let json = self.json(&entry).await?;
        Ok(StoredVersion { entry, json })
    }

    /// The JSON of a version; `None` when it is a deletion.
    ///
    /// # Errors
    /// As [`Snapshot::load`].
    pub async fn json(&self, entry: &VersionEntry) -> Result<Option<Bytes>, ReadError> {
        self.rows.add(1);
        if entry.flags.is_deleted() {
            return Ok(None);
        }
        let key = (entry.t, entry.resource_type.clone(), entry.id.clone());
        let began = self.bodies.begin();
        let (json, author) = match self.bodies.get(&key) {
            Some(Kept::Filled(Filled { json, .. })) => return Ok(Some(json)),
            Some(Kept::Plain(plain, author)) => (fill_plain(&plain, entry)?, author),
            None => self.open(entry).await?,
        };
        let filled = Filled { json: json.clone(), known: Known::of(entry), author, named: None };
        self.bodies.keep(began, key, Kept::Filled(filled));
        Ok(Some(json))
    }

    /// What the store knows of a version that the commit at `t` made and that is not purged,
    /// wherever it may be seen: as it was kept with the JSON, or else as the store says. And all
    /// that a rule may name it by, where that is kept ([`Self::named`]).
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say.
    pub(crate) async fn entry(
        &self,
        name: (ResourceType, ResourceId),
        t: T,
        version: VersionId,
    ) -> Result<Option<(VersionEntry, Option<Named>)>, ReadError> {
        let key = (t, name.0, name.1);
        match self.bodies.get(&key) {
            Some(Kept::Filled(Filled { known, named, .. }))
                if known.version() == version && t <= self.at =>
            {
                Ok(Some((known.entry(key), named)))
            }
            _ => {
                let entry = self.store.version(&key.1, &key.2, version, self.at).await?;
                Ok(entry.map(|entry| (entry, None)))
            }
        }
    }

    /// The JSON of a version as [`Snapshot::load`] gives it, and who wrote it, where that is on
    /// record. It is not counted, nor kept for others: for whoever reads everything once, and for
    /// who judges whether it may be read.
    ///
    /// # Errors
    /// As [`Snapshot::load`].
    pub(crate) async fn load_authored(
        &self,
        entry: &VersionEntry,
    ) -> Result<Option<(Bytes, Option<Author>)>, ReadError> {
        if entry.flags.is_deleted() {
            return Ok(None);
        }
        self.open(entry).await.map(Some)
    }

    /// All that a rule may name this version by, which is not a deletion; `None` once it is
    /// purged. It is kept with the JSON: for what was found, and so may be seen, and is read next.
    ///
    /// # Errors
    /// As [`Snapshot::load`].
    pub(crate) async fn named(&self, entry: &VersionEntry) -> Result<Option<Named>, ReadError> {
        let key = (entry.t, entry.resource_type.clone(), entry.id.clone());
        let known = Known::of(entry);
        let began = self.bodies.begin();
        let (json, author) = match self.bodies.get(&key) {
            Some(Kept::Filled(filled)) if filled.known == known => match filled.named {
                Some(named) => return Ok(Some(named)),
                None => (filled.json, filled.author),
            },
            Some(Kept::Plain(plain, author)) => (fill_plain(&plain, entry)?, author),
            _ => match self.open(entry).await {
                Err(ReadError::Purged) => return Ok(None),
                opened => opened?,
            },
        };
        let named = self.bodies.named(began, seen::named(&json, &entry.id, author, self)?);
        let filled = Filled { json, known, author, named: Some(Arc::clone(&named)) };
        self.bodies.keep(began, key, Kept::Filled(filled));
        Ok(Some(named))
    }

    /// Who made the resource that is there now, wherever it may be seen: what replaces it carries
    /// that on.
    ///
    /// # Errors
    /// [`ReadError`] when that cannot be read.
    pub async fn maker(
        &self,
        resource_type: &ResourceType,
        id: &ResourceId,
    ) -> Result<Maker, ReadError> {
        let newest = self.store.newest(resource_type, id, self.at).await?;
        let Some(newest) = newest.filter(|newest| !newest.flags.is_deleted()) else {
            return Ok(Maker::Writer);
        };
        if !author::is_authored(newest.dictionary) {
            return Ok(Maker::Nobody);
        }
        match self.open(&newest).await {
            Ok((_, Some(author))) => Ok(Maker::Author(author)),
            Ok((_, None)) | Err(ReadError::Purged) => Ok(Maker::Nobody),
            Err(error) => Err(error),
        }
    }

    /// The JSON of a version as it is stored, and who wrote it. A large one is fetched, and then compared with its
    /// hash, opened and expanded, where no other request waits for it.
    async fn open(&self, entry: &VersionEntry) -> Result<(Bytes, Option<Author>), ReadError> {
        let read = |entry: &VersionEntry, coded: &[u8]| {
            let (_, _, author) = author::apart(entry.dictionary, coded)?;
            Ok::<_, ReadError>((body::fill(entry, coded)?, author))
        };
        if entry.length as usize > BLOB_FROM
            && let Ok(runtime) = Handle::try_current()
        {
            let (store, within) = (Arc::clone(&self.store), runtime.clone());
            let [fetching, opening] = [(); 2].map(|()| (self.sealing.clone(), entry.clone()));
            let fetch = move || {
                let (sealing, entry) = fetching;
                within.block_on(sealing.fetch(store.as_ref(), &entry))
            };
            let open = move |fetched: Result<Fetched, ReadError>| {
                let (sealing, entry) = opening;
                let coded = sealing.open((&entry.resource_type, &entry.id), fetched?)?;
                read(&entry, &coded)
            };
            match self.reading.read(&runtime, fetch, open).await {
                Ok(opened) => return opened,
                Err(NotDone::Busy) => return Err(ReadError::Overloaded),
                Err(NotDone::Ended) => {}
            }
        }
        let coded = self.sealing.read(self.store.as_ref(), entry).await?;
        read(entry, &coded)
    }

    /// A version's body as it was coded, read and opened: for whoever looks at how bodies are
    /// stored.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be read.
    pub async fn coded(&self, entry: &VersionEntry) -> Result<Bytes, ReadError> {
        self.sealing.read(self.store.as_ref(), entry).await
    }

    /// The resources whose newest version bears this identifier, in the order of their ids.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say.
    pub async fn identified(
        &self,
        resource_type: &ResourceType,
        identifier: &IdentifierKey,
    ) -> Result<Vec<ResourceId>, ReadError> {
        let mut found = Vec::new();
        let candidates = self.store.identified(resource_type, identifier, self.at).await?;
        for id in candidates {
            // Candidates bore the identifier once; whether they do now is in their newest version.
            let version = match self.read(resource_type, &id).await {
                // Who was purged is found by nothing.
                Err(ReadError::Purged) => continue,
                read => read?,
            };
            let Some(json) = version.and_then(|version| version.json) else {
                continue;
            };
            let unreadable = |reason: String| ReadError::UnreadableBody { reason };
            let document = Document::parse(&json).map_err(|error| unreadable(error.to_string()))?;
            let resource =
                Resource::new(document.root()).map_err(|error| unreadable(error.to_string()))?;
            if body::identifiers(&resource, self.schema).contains(identifier) {
                found.push(id);
            }
        }
        Ok(found)
    }
}

/// The JSON of a version from what it was before coding.
fn fill_plain(plain: &[u8], entry: &VersionEntry) -> Result<Bytes, ReadError> {
    let name = (&entry.resource_type, &entry.id);
    body::fill_plain(plain, name, entry.version, entry.instant)
}
