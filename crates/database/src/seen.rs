//! Whether a version may be seen: by its own content and by the present one of its resource, and a
//! deletion by the content before it.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fhir_core::json::{Document, Replacements};
use fhir_core::{Instant, Resource, ResourceId, ResourceType, VersionId};
use fhir_search::{ExtractOptions, IndexedResource};
use store::VersionEntry;

use crate::aside::where_it_may_last;
use crate::compartment::Compartments;
use crate::names::Named;
use crate::search::Scan;
use crate::visibility::{Filter, Seen, SeenWithin};
use crate::{Asked, Author, Body, ReadError, Rows, SearchError, Snapshot, Visibility};

/// Rows that one filter may look at beside the version that it is asked of.
const MOST_ROWS: u64 = 250_000;

/// How often what a search had found was hidden only when its body was read.
static HIDDEN_LATE: AtomicU64 = AtomicU64::new(0);
static HIDDEN_LATE_PANICS: AtomicBool = AtomicBool::new(false);

/// How often, in this process, the last look at what a search had found hid some of it. What is not
/// seen is to be no match in the first place: so this is 0.
#[must_use]
pub fn hidden_late() -> u64 {
    HIDDEN_LATE.load(Ordering::Relaxed)
}

/// From now on that is a panic: for tests.
pub fn panic_when_hidden_late() {
    HIDDEN_LATE_PANICS.store(true, Ordering::Relaxed);
}

/// Notes that something was hidden only by the last look.
pub(crate) fn note_hidden_late(of: &ResourceType) {
    HIDDEN_LATE.fetch_add(1, Ordering::Relaxed);
    assert!(!HIDDEN_LATE_PANICS.load(Ordering::Relaxed), "a {of} was hidden only by the last look");
    tracing::error!(%of, "a search found what its caller may not see; it was left out at last");
}

/// What a version says, as far as it is judged.
struct Content {
    json: bytes::Bytes,
    author: Option<Author>,
}

/// Whether filters that follow references are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Following {
    /// They are.
    Is,
    /// They were, and held.
    IsTrusted,
}

type Judged<'s> = Pin<Box<dyn Future<Output = Result<bool, ReadError>> + Send + 's>>;

impl Snapshot {
    /// Whether this version may be seen.
    ///
    /// # Errors
    /// [`ReadError`] when that cannot be told.
    pub(crate) fn sees<'s>(&'s self, entry: &'s VersionEntry) -> Judged<'s> {
        Box::pin(async move {
            let Some(parts) = self.visibility.parts_of(&entry.resource_type) else {
                return Ok(self.visibility.shows_some_of(&entry.resource_type));
            };
            let (of, id) = (&entry.resource_type, &entry.id);
            let present = self.store.newest(of, id, self.head()).await?;
            let present = present.filter(|present| present.t != entry.t);
            if let Some(present) = present
                && !self.shows_content(present, parts, Following::Is).await?
            {
                return Ok(false);
            }
            self.shows_content(entry.clone(), parts, Following::Is).await
        })
    }

    /// The same of a version that a search found by the index: what the index judged at the
    /// position of its resource's present content by following references, it judged exactly, and
    /// is not asked again. `named` is all that a rule may name it by, where that is known.
    ///
    /// # Errors
    /// [`ReadError`] when that cannot be told.
    pub(crate) async fn sees_found(
        &self,
        entry: &VersionEntry,
        named: Option<Named>,
    ) -> Result<bool, ReadError> {
        let Some(parts) = self.visibility.parts_of(&entry.resource_type) else {
            return Ok(self.visibility.shows_some_of(&entry.resource_type));
        };
        let follows = parts.iter().filter_map(|part| part.filter.as_ref()).any(|it| it.follows());
        if self.at() != self.head() || entry.flags.is_deleted() {
            return self.sees(entry).await;
        }
        if follows {
            let (of, id) = (&entry.resource_type, &entry.id);
            let newest = self.store.newest(of, id, self.head()).await?;
            return match newest.is_some_and(|it| it.t == entry.t) {
                true => self.shows_content(entry.clone(), parts, Following::IsTrusted).await,
                false => self.sees(entry).await,
            };
        }
        if parts.iter().any(|part| part.filter.is_some()) {
            return self.sees(entry).await;
        }
        // What was found at the newest position is the present content.
        let named = match named {
            Some(named) => named,
            None => match self.named(entry).await? {
                Some(named) => named,
                None => return Ok(false),
            },
        };
        Ok(parts.iter().any(|part| part.within.has(&named)))
    }

    /// Whether the present content of a version's resource may be seen.
    pub(crate) async fn shows_present(
        &self,
        entry: &VersionEntry,
        parts: &[Seen],
    ) -> Result<bool, ReadError> {
        let present = self.store.newest(&entry.resource_type, &entry.id, self.head()).await?;
        self.shows_content(present.unwrap_or_else(|| entry.clone()), parts, Following::Is).await
    }

    /// Of these versions, the present content of whose resource may be seen, those that may be.
    pub(crate) async fn seen(
        &self,
        versions: Vec<VersionEntry>,
        parts: &[Seen],
    ) -> Result<Vec<VersionEntry>, ReadError> {
        let mut seen = Vec::with_capacity(versions.len());
        for entry in versions {
            self.check_awaited()?;
            if self.shows_content(entry.clone(), parts, Following::Is).await? {
                seen.push(entry);
            }
        }
        Ok(seen)
    }

    /// Whether one of these parts shows what a version says, or said before it was deleted.
    pub(crate) async fn shows_content(
        &self,
        entry: VersionEntry,
        parts: &[Seen],
        following: Following,
    ) -> Result<bool, ReadError> {
        let mut entry = entry;
        while entry.flags.is_deleted() {
            let (of, id) = (&entry.resource_type, &entry.id);
            let Some(before) = VersionId::new(entry.version.get() - 1) else { return Ok(false) };
            match self.store.version(of, id, before, self.head()).await? {
                Some(before) => entry = before,
                None => return Ok(false),
            }
        }
        let content = match self.load_authored(&entry).await {
            Ok(Some((json, author))) => Content { json, author },
            Ok(None) | Err(ReadError::Purged) => return Ok(false),
            Err(error) => return Err(error),
        };
        let length = content.json.len();
        let document = where_it_may_last(length, || parsed(&content.json))?;
        let resource = resource(&document)?;
        let named =
            where_it_may_last(length, || named_by(&resource, &entry.id, content.author, self));
        for part in parts {
            if !part.within.has(&named) {
                continue;
            }
            let Some(filter) = &part.filter else { return Ok(true) };
            if following == Following::IsTrusted && filter.follows() {
                return Ok(true);
            }
            let options = ExtractOptions {
                base: Some(&filter.by.base),
                zone: filter.by.zone,
                last_updated: Some(entry.instant),
            };
            let indexed = where_it_may_last(length, || {
                IndexedResource::of(document.root(), &filter.by.extractor, &options)
            });
            if self.matches(filter, &indexed).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether it may be written by whoever sees this much: it is within a part, and whoever else
    /// it is of, of the kind that the part names, the part names too.
    ///
    /// # Errors
    /// [`ReadError`] when that cannot be told.
    pub async fn may_be_written(
        &self,
        (of, id): (&ResourceType, &ResourceId),
        body: &Body,
    ) -> Result<bool, ReadError> {
        if self.visibility.parts_of(of).is_none() {
            return Ok(self.visibility.shows_some_of(of));
        }
        let document = parsed(body.plain())?;
        let author = body.compartments.author;
        self.leaves_nobody_else((of, id), &document, author, None).await
    }

    /// Whether this version may be taken away, or another put in its place, by whoever sees this
    /// much: the same, of what it says.
    ///
    /// # Errors
    /// [`ReadError`] when that cannot be told.
    pub async fn may_be_replaced(&self, entry: &VersionEntry) -> Result<bool, ReadError> {
        let (of, id) = (&entry.resource_type, &entry.id);
        if self.visibility.parts_of(of).is_none() {
            return Ok(self.visibility.shows_some_of(of));
        }
        let (json, author) = match self.load_authored(entry).await {
            Ok(Some(content)) => content,
            Ok(None) | Err(ReadError::Purged) => return Ok(false),
            Err(error) => return Err(error),
        };
        let document = where_it_may_last(json.len(), || parsed(&json))?;
        self.leaves_nobody_else((of, id), &document, author, Some(entry.instant)).await
    }

    async fn leaves_nobody_else(
        &self,
        (of, id): (&ResourceType, &ResourceId),
        document: &Document<'_>,
        author: Option<Author>,
        last_updated: Option<Instant>,
    ) -> Result<bool, ReadError> {
        let Some(parts) = self.visibility.parts_of(of) else { return Ok(false) };
        let resource = resource(document)?;
        let length = document.root().raw().len();
        let compartments = where_it_may_last(length, || Compartments {
            author,
            ..Compartments::of(&resource, id, &Replacements::default(), self.schema())
        });
        let named = compartments.named(self.base());
        let patient = ResourceType::new("Patient").expect("the name of a type");
        // Who is named by a URL is a patient of ours, as far as that can be told here.
        let owners: BTreeSet<_> = compartments.owners().cloned().collect();
        for part in parts {
            if !part.within.has(&named) {
                continue;
            }
            if let SeenWithin::Compartments(about) = &part.within {
                let names_patients = about.iter().any(|(of, _)| *of == patient);
                let is_named = |id: &ResourceId| about.contains(&(patient.clone(), id.clone()));
                if names_patients && !owners.iter().all(is_named) {
                    continue;
                }
            }
            let Some(filter) = &part.filter else { return Ok(true) };
            let options =
                ExtractOptions { base: Some(&filter.by.base), zone: filter.by.zone, last_updated };
            let indexed = where_it_may_last(length, || {
                IndexedResource::of(document.root(), &filter.by.extractor, &options)
            });
            if self.matches(filter, &indexed).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a resource matches a filter, among all data.
    async fn matches(
        &self,
        filter: &Filter,
        resource: &IndexedResource,
    ) -> Result<bool, ReadError> {
        let all = self.seen_by(Visibility::everything()).counted(&Rows::default());
        let asked = Asked {
            extractor: &filter.by.extractor,
            codes: &*filter.codes,
            base: &filter.by.base,
            zone: filter.by.zone,
            after: None,
            most: 0,
            count: false,
            most_included: 0,
            budget: MOST_ROWS,
        };
        let mut scan = Scan::new(&all, &filter.query, &asked);
        for of in &filter.query.types {
            match scan.matches(of, resource).await {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(SearchError::Read(error)) => return Err(error),
                // What cannot be told is not shown.
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(
                        error,
                        "a filter of a rule has no answer: nothing is shown by it"
                    );
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// All that a rule may name a version by, of its JSON.
pub(crate) fn named(
    json: &[u8],
    id: &ResourceId,
    author: Option<Author>,
    within: &Snapshot,
) -> Result<Vec<(ResourceType, ResourceId)>, ReadError> {
    where_it_may_last(json.len(), || {
        let document = parsed(json)?;
        Ok(named_by(&resource(&document)?, id, author, within))
    })
}

fn named_by(
    resource: &Resource<'_>,
    id: &ResourceId,
    author: Option<Author>,
    within: &Snapshot,
) -> Vec<(ResourceType, ResourceId)> {
    let found = Compartments::of(resource, id, &Replacements::default(), within.schema());
    Compartments { author, ..found }.named(within.base())
}

fn parsed(json: &[u8]) -> Result<Document<'_>, ReadError> {
    Document::parse(json).map_err(|error| ReadError::UnreadableBody { reason: error.to_string() })
}

fn resource<'a>(document: &'a Document<'_>) -> Result<Resource<'a>, ReadError> {
    Resource::new(document.root())
        .map_err(|error| ReadError::UnreadableBody { reason: error.to_string() })
}
