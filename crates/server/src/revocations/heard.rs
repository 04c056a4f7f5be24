//! Revocations that were heard, by what they are compared with, so that a request is looked up
//! however many there are.

use std::collections::HashMap;
use std::sync::Arc;

use contract::{Grant, Instant, Revocation, Revoked, header};
use http::HeaderMap;

/// For how long the grant of a request is good (docs/contract.md), in microseconds.
const GRANT_LIFE: i64 = 60_000_000;
/// As far as the clocks of two hosts may differ, in microseconds.
const CLOCKS_DIFFER: i64 = 60_000_000;
/// For how long after a revocation a request may come whose grant was made before.
const KEPT_FOR: i64 = GRANT_LIFE + CLOCKS_DIFFER;

/// How far a gateway knew its feed when it looked a caller up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownAsOf {
    pub(super) feed: String,
    pub(super) cursor: u64,
}

/// The same as a request says it; `None` where it does not.
pub(crate) fn known_as_of(headers: &HeaderMap) -> Option<KnownAsOf> {
    let mut values = headers.get_all(header::FEED).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (feed, cursor) = value.to_str().ok()?.rsplit_once(' ')?;
    Some(KnownAsOf { feed: feed.to_owned(), cursor: cursor.parse().ok()? })
}

/// What a revocation is compared with.
#[derive(Debug)]
pub(super) struct Under {
    pub(super) grant: Arc<Grant>,
    known: Option<KnownAsOf>,
    /// When it was let through, as far as can be told.
    since: i64,
}

impl Under {
    /// A request under this grant, which came now.
    pub(super) fn of(grant: &Arc<Grant>, known: Option<KnownAsOf>, now: Instant) -> Self {
        let made = grant.not_after.as_micros().saturating_sub(GRANT_LIFE);
        Self { grant: Arc::clone(grant), known, since: made.min(now.as_micros()) }
    }
}

/// Since when something is revoked, and where that was heard.
#[derive(Debug, Clone)]
struct Since {
    at: i64,
    feed: Arc<str>,
    cursor: u64,
}

impl Since {
    /// Whether it ends what was let through under the same name.
    fn ends(&self, under: &Under) -> bool {
        // A gateway that knew it and let the request through did so for something else that stands,
        // like a client that was enabled again.
        let was_known = under
            .known
            .as_ref()
            .is_some_and(|known| *known.feed == *self.feed && known.cursor >= self.cursor);
        !was_known && under.since.saturating_sub(self.at) <= CLOCKS_DIFFER
    }
}

/// Revocations of one kind, by their ids: of each feed the latest.
type ById = HashMap<Box<str>, Vec<Since>>;

/// Revocations by kind and id.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    authorizations: ById,
    clients: ById,
    users: ById,
}

impl Heard {
    /// These of one page, with the cursor that it ends at.
    pub(super) fn page(entries: &[Revocation], feed: &Arc<str>, cursor: u64) -> Self {
        let mut heard = Self::default();
        for entry in entries {
            let at = entry.since.as_micros();
            heard.add(entry.kind, &entry.id, Since { at, feed: Arc::clone(feed), cursor });
        }
        heard
    }

    /// Whether one of them ends this.
    pub(super) fn ends(&self, under: &Under) -> bool {
        let grant = &under.grant;
        let compared = [
            (&self.authorizations, &grant.authorization),
            (&self.clients, &grant.client),
            (&self.users, &grant.user),
        ];
        compared.into_iter().any(|(by_id, id)| {
            let all = id.as_deref().and_then(|id| by_id.get(id));
            all.is_some_and(|all| all.iter().any(|since| since.ends(under)))
        })
    }

    /// The same with those of a page, as far as a request may come still that they end; at most so
    /// many, the latest.
    pub(super) fn with(&self, page: &Self, now: Instant, most: usize) -> Self {
        let oldest = now.as_micros().saturating_sub(KEPT_FOR);
        let is_kept = |since: &Since| since.at >= oldest;
        let mut all = self.clone();
        all.retain(is_kept);
        for (kind, by_id) in page.by_kind() {
            for (id, sinces) in by_id {
                for since in sinces.iter().filter(|since| is_kept(since)) {
                    all.add(kind, id, since.clone());
                }
            }
        }
        all.shorten(most);
        all
    }

    fn shorten(&mut self, most: usize) {
        let sinces = self.by_kind().into_iter().flat_map(|(_, by_id)| by_id.values().flatten());
        let mut times: Vec<i64> = sinces.map(|since| since.at).collect();
        let mut too_many = times.len().saturating_sub(most);
        if too_many == 0 {
            return;
        }
        let (_, &mut last, _) = times.select_nth_unstable(too_many - 1);
        tracing::warn!(too_many, "more was revoked at once than is kept");
        self.retain(|since| {
            let goes = too_many > 0 && since.at <= last;
            too_many -= usize::from(goes);
            !goes
        });
    }

    fn add(&mut self, kind: Revoked, id: &str, since: Since) {
        let by_id = match kind {
            Revoked::Authorization => &mut self.authorizations,
            Revoked::Client => &mut self.clients,
            Revoked::User => &mut self.users,
        };
        match by_id.get_mut(id) {
            None => drop(by_id.insert(id.into(), vec![since])),
            Some(all) => {
                all.retain(|other| other.feed != since.feed);
                all.push(since);
            }
        }
    }

    fn by_kind(&self) -> [(Revoked, &ById); 3] {
        [
            (Revoked::Authorization, &self.authorizations),
            (Revoked::Client, &self.clients),
            (Revoked::User, &self.users),
        ]
    }

    fn retain(&mut self, mut is_kept: impl FnMut(&Since) -> bool) {
        for by_id in [&mut self.authorizations, &mut self.clients, &mut self.users] {
            by_id.retain(|_, all| {
                all.retain(&mut is_kept);
                !all.is_empty()
            });
        }
    }
}
