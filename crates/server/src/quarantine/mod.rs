//! Quarantine: what the tenant's policy finds invalid and does not lose. It stands in the tenant's
//! log under a type of the server's own, sealed with the keys of the patients that it names, and
//! no clinical interaction comes upon it (docs/adr/0022).
//!
//! Where it is set apart is `set_apart`; which items there are, `shelf`, and which of them nobody can
//! read any more, `weed`; what is most often wrong with them, `defects`; how they become resources
//! after all, `release`. Who may ask for that is decided elsewhere.

mod defects;
mod item;
mod release;
mod set_apart;
mod shelf;
mod weed;

use std::error::Error as _;

use contract::{Clock, Ids};
use database::{Database, ReadError, Visibility, quarantine};
use fhir_core::{Instant, Issue, ResourceId};

use crate::PublicBase;
use crate::call::Call;
use crate::error::ServerError;
use crate::internal;
use crate::validation::Validation;

pub use defects::{Defect, Defects};
pub(crate) use item::{Item, Request};
pub use release::Outcome;
pub(crate) use set_apart::{Wanted, answered, check_expected, set_apart};
pub(crate) use shelf::{Key, Shelf};

/// Items that are looked at for one page, and bytes of them: where few are asked for, a page may
/// have fewer than it could, and a next one.
const MOST_LOOKED_AT: usize = 1000;
const MOST_BYTES: usize = 64 << 20;

/// A tenant's quarantine, for whoever may see and empty it.
#[derive(Clone, Copy)]
pub struct Quarantine<'a> {
    database: &'a Database,
    validation: &'a Validation,
    base: &'a PublicBase,
    ids: &'a dyn Ids,
    clock: &'a dyn Clock,
}

/// It cannot be read or changed now.
#[derive(Debug, thiserror::Error)]
#[error("the quarantine cannot be read or changed now")]
pub struct QuarantineError(#[from] ServerError);

/// Which items are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Those of this sender alone.
    pub sender: Option<String>,
    /// Those of this type alone.
    pub resource_type: Option<String>,
}

/// An item as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedItem {
    /// Its id.
    pub id: ResourceId,
    /// When it was sent.
    pub received: Instant,
    /// The client that sent it.
    pub sender: String,
    /// On whose behalf.
    pub user: Option<String>,
    /// The id of the request, by which logs have it.
    pub request_id: Option<String>,
    /// What was asked for: `PUT Patient/1`.
    pub request: String,
    /// The media type of the body.
    pub media_type: String,
    /// Bytes of the body.
    pub bytes: usize,
    /// What was wrong with it.
    pub issues: Vec<Issue>,
}

/// What a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An item.
    Item(ListedItem),
    /// One that is harmed, or that the disk does not give: of whom or what it is nobody can say,
    /// so it is shown whatever is asked for.
    Unreadable {
        /// Its id.
        id: ResourceId,
        /// When it was sent.
        received: Instant,
    },
}

/// What is found where an item should be.
pub(crate) enum Found {
    Item(Item<'static>),
    Unreadable {
        received: Instant,
        why: ServerError,
    },
    /// It was taken out, or somebody whom it names was purged.
    Nothing,
}

/// Items, the newest first.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) items: Vec<Listed>,
    /// Where the next page begins.
    pub(crate) next: Option<Key>,
}

impl<'a> Quarantine<'a> {
    /// The quarantine of the tenant with this data, judged by this policy and these packages.
    #[must_use]
    pub fn new(
        (database, validation): (&'a Database, &'a Validation),
        base: &'a PublicBase,
        ids: &'a dyn Ids,
        clock: &'a dyn Clock,
    ) -> Self {
        Self { database, validation, base, ids, clock }
    }

    pub(crate) fn of(call: &'a Call<'_>) -> Self {
        let server = call.server;
        let validation = &*server.validations[&call.grant.tenant];
        let (ids, clock) = (&*server.ids, &*server.clock);
        Self::new((call.database, validation), &server.base, ids, clock)
    }

    /// The newest items, `most` of them at most.
    ///
    /// # Errors
    /// [`QuarantineError`] when the log cannot be read.
    pub async fn newest(&self, asked: &Asked, most: usize) -> Result<Vec<Listed>, QuarantineError> {
        let (mut items, mut before) = (Vec::new(), None);
        loop {
            let page = self.page(asked, before, most - items.len()).await?;
            items.extend(page.items);
            before = page.next;
            if before.is_none() || items.len() >= most {
                return Ok(items);
            }
        }
    }

    /// The newest items before this one, `count` of them at most.
    pub(crate) async fn page(
        &self,
        asked: &Asked,
        mut before: Option<Key>,
        count: usize,
    ) -> Result<Page, ServerError> {
        let mut page = Page { items: Vec::new(), next: None };
        self.validation.shelf.follow(self.database).await?;
        let (mut looked_at, mut bytes) = (0, 0);
        while let Some((key, length)) = self.validation.shelf.newest_before(before.as_ref()) {
            let full = page.items.len() >= count || looked_at >= MOST_LOOKED_AT;
            if full || (looked_at > 0 && bytes + length > MOST_BYTES) {
                page.next = before.filter(|_| count > 0);
                break;
            }
            looked_at += 1;
            bytes += length;
            let found = self.load(&key.1).await?;
            let (_, id) = before.insert(key);
            let item = match found {
                Found::Item(item) => item,
                Found::Unreadable { received, .. } => {
                    page.items.push(Listed::Unreadable { id: id.clone(), received });
                    continue;
                }
                Found::Nothing => continue,
            };
            let is_of =
                |asked: &Option<String>, of: &str| asked.as_deref().is_none_or(|it| it == of);
            if is_of(&asked.sender, &item.sender)
                && is_of(&asked.resource_type, item.request.resource_type().as_str())
            {
                page.items.push(Listed::Item(item.listed()));
            }
        }
        Ok(page)
    }

    /// One item whole.
    pub(crate) async fn item(&self, id: &ResourceId) -> Result<Found, ServerError> {
        self.validation.shelf.follow(self.database).await?;
        match self.validation.shelf.get(id) {
            Some(_) => self.load(id).await,
            None => Ok(Found::Nothing),
        }
    }

    /// What is found of the item of this id.
    ///
    /// # Errors
    /// What keeps any item from being read now.
    async fn load(&self, id: &ResourceId) -> Result<Found, ServerError> {
        let snapshot = self.database.snapshot(Visibility::everything());
        let newest = snapshot.newest(&internal::of(quarantine::TYPE), id).await?;
        // Somebody may have taken it out a moment ago.
        let Some(newest) = newest.filter(|newest| !newest.flags.is_deleted()) else {
            return Ok(Found::Nothing);
        };
        let received = newest.instant;
        let item = match snapshot.load(newest).await {
            Ok(version) => Item::read(&version),
            Err(ReadError::Purged) => {
                self.validation.shelf.forget(id);
                return Ok(Found::Nothing);
            }
            Err(error @ ReadError::Overloaded) => return Err(error.into()),
            Err(error) if error.is_passing() => return Err(error.into()),
            Err(error) => Err(error.into()),
        };
        Ok(match item {
            Ok(item) => Found::Item(item),
            Err(why) => {
                let reason = why.source().map(ToString::to_string);
                tracing::error!(item = %id, error = %why, reason, "what is quarantined cannot be read");
                Found::Unreadable { received, why }
            }
        })
    }
}
