//! Requests that their clients named, found again by the commits that answered them
//! (docs/storage.md, "Idempotency keys").

use fhir_core::{Instant, VersionId};
use store::{Earlier, HistoryOrder, Idempotency, T, VersionEntry, places};

use crate::{Database, ReadError, Snapshot, Visibility, Written};

/// For how long a commit is found by the name of its request, in seconds: 7 days.
pub const KNOWN_FOR: i64 = 7 * 24 * 60 * 60;

/// What is known of a request by its name.
pub enum Lookup {
    /// No commit up to this position answered one of that name.
    Unanswered(T),
    /// One did, and it was this very request.
    Answered(Box<Answered>),
    /// One did, and it was another request.
    OtherRequest,
}

/// The commit that answered a request.
pub struct Answered {
    /// Its position.
    pub t: T,
    /// The data just before it: what the request was judged by.
    pub before: Snapshot,
    /// What it wrote, in order.
    pub versions: Vec<(VersionEntry, Written)>,
}

impl Database {
    /// Looks a request up by the name its client gave it.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot say.
    pub async fn look_up(&self, request: &Idempotency, now: Instant) -> Result<Lookup, ReadError> {
        let snapshot = self.snapshot(Visibility::everything());
        let (of, name) = request.name();
        let bearers = snapshot.store.identified(&of, &name, snapshot.at()).await?;
        let known = |earlier: &Earlier| earlier.second.saturating_add(KNOWN_FOR) > now.as_seconds();
        let earlier = bearers.iter().filter_map(Earlier::read).filter(known);
        let Some(earlier) = earlier.max_by_key(|earlier| earlier.t) else {
            return Ok(Lookup::Unanswered(snapshot.at()));
        };
        if !earlier.answered(request) {
            return Ok(Lookup::OtherRequest);
        }
        let t = earlier.t;
        let before = T::new(t.get().saturating_sub(1));
        let places = places(before, t);
        let found = snapshot.log(None, places, HistoryOrder::OldestFirst, usize::MAX).await?;
        let before = snapshot.as_of(before);
        let mut versions = Vec::with_capacity(found.len());
        for version in found {
            let entry = version.entry;
            let earlier = match entry.version {
                VersionId::FIRST => None,
                _ => before.newest(&entry.resource_type, &entry.id).await?,
            };
            let written = Written {
                version: Some(entry.version),
                instant: entry.instant,
                created: earlier.is_none_or(|earlier| earlier.flags.is_deleted()),
                changed: true,
            };
            versions.push((entry, written));
        }
        Ok(Lookup::Answered(Box::new(Answered { t, before, versions })))
    }
}
