//! What was revoked at gateways, as they tell it on the channel (docs/contract.md, "The way back"),
//! and what ends here for it: requests under way whose work goes on for longer than an instant.
//!
//! No grant is kept here beyond its request, and nothing outlives one: who is refused from the next
//! request on, the gateways know.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;

use contract::{Grant, Instant, Revocation, RevocationFeed};
use database::{Abandoned, ReadError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::error::ServerError;

/// Feeds that are followed at once. A gateway that starts anew has another.
const MOST_FEEDS: usize = 64;
/// As far as the clocks of two hosts may differ, in microseconds. What began later than so much
/// after a revocation began under something else, like a client that was enabled again.
const CLOCKS_DIFFER: i64 = 60_000_000;

/// The longest name of a feed, in bytes.
const LONGEST_NAME: usize = 64;

/// What a gateway says: its feed by name, and the page of it that it was asked for. It says no page
/// where it does not know how far it was heard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Told {
    feed: String,
    #[serde(default)]
    page: Option<RevocationFeed>,
}

/// What it is answered: the cursor that the next page is to follow.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Asked {
    after: u64,
}

impl Told {
    fn is_named(&self) -> bool {
        (1..=LONGEST_NAME).contains(&self.feed.len()) && !self.feed.chars().any(char::is_control)
    }
}

/// Requests under way, and the feeds that say which of them end.
#[derive(Debug, Default)]
pub(crate) struct Revocations(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Each feed with the cursor that it is asked with next; the one heard last at the end.
    feeds: VecDeque<(String, u64)>,
    under_way: BTreeMap<u64, UnderWay>,
    begun: u64,
}

#[derive(Debug)]
struct UnderWay {
    grant: Arc<Grant>,
    since: Instant,
    end: watch::Sender<bool>,
}

/// A request that ends when what it came under is revoked.
#[derive(Debug)]
pub(crate) struct Revocable {
    revocations: Arc<Revocations>,
    number: u64,
    ended: watch::Receiver<bool>,
}

impl Revocations {
    /// A request under this grant begins. One without a caller has nothing that could be revoked.
    pub(crate) fn begin(self: &Arc<Self>, grant: &Arc<Grant>, now: Instant) -> Option<Revocable> {
        grant.client.as_ref()?;
        let (end, ended) = watch::channel(false);
        let under_way = UnderWay { grant: Arc::clone(grant), since: now, end };
        let mut state = self.0.lock();
        let number = state.begun;
        state.begun += 1;
        state.under_way.insert(number, under_way);
        Some(Revocable { revocations: Arc::clone(self), number, ended })
    }

    /// Hears what a gateway tells, and says with which cursor it is asked next; `None` where its
    /// feed has no name.
    pub(crate) fn hear(&self, told: &Told) -> Option<Asked> {
        if !told.is_named() {
            return None;
        }
        let mut state = self.0.lock();
        let known = state.feeds.iter().position(|(feed, _)| *feed == told.feed);
        let cursor = known.and_then(|at| state.feeds.remove(at)).map_or(0, |(_, cursor)| cursor);
        let next = match told.page.as_ref().map(|page| (page.cursor, page.since(cursor))) {
            None => cursor,
            Some((next, Ok(entries))) => {
                let ended = state.end(entries);
                if !entries.is_empty() {
                    tracing::info!(revoked = entries.len(), ended, "revocations were heard");
                }
                next
            }
            // Something may be missing: all of it is told again.
            Some((_, Err(error))) => {
                if cursor != 0 {
                    tracing::warn!(%error, "a gateway is to tell everything that was revoked again");
                }
                0
            }
        };
        if state.feeds.len() >= MOST_FEEDS {
            state.feeds.pop_front();
        }
        state.feeds.push_back((told.feed.clone(), next));
        Some(Asked { after: next })
    }
}

impl State {
    /// Ends what was begun before these; how much that was.
    fn end(&self, entries: &[Revocation]) -> usize {
        let ends = |under_way: &&UnderWay| {
            entries.iter().any(|entry| {
                let later = under_way.since.as_micros().saturating_sub(entry.since.as_micros());
                later <= CLOCKS_DIFFER && entry.ends(&under_way.grant)
            })
        };
        let ending = self.under_way.values().filter(ends);
        ending.filter(|under_way| !under_way.end.send_replace(true)).count()
    }
}

impl Revocable {
    /// Whether it may go on.
    ///
    /// # Errors
    /// [`ServerError::Revoked`] when what it came under was revoked meanwhile.
    pub(crate) fn goes_on(&self) -> Result<(), ServerError> {
        if *self.ended.borrow() { Err(ServerError::Revoked) } else { Ok(()) }
    }

    /// What `work` comes to, which is dropped when what it is done under is revoked.
    ///
    /// # Errors
    /// [`ServerError::Revoked`] then, and the work's own.
    pub(crate) async fn or_ends<T>(
        &self,
        work: impl Future<Output = Result<T, ServerError>>,
    ) -> Result<T, ServerError> {
        tokio::select! {
            biased;
            () = self.is_revoked() => Err(ServerError::Revoked),
            done = work => done,
        }
    }

    /// What `work` comes to, which may have changed something: it is told like when its client
    /// leaves, looks for nothing more, and says itself what became of it.
    ///
    /// # Errors
    /// [`ServerError::Revoked`] where it ended for that, and the work's own.
    pub(crate) async fn or_is_told<T>(
        &self,
        abandoned: &Abandoned,
        work: impl Future<Output = Result<T, ServerError>>,
    ) -> Result<T, ServerError> {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            () = self.is_revoked() => abandoned.set(),
            done = &mut work => return done,
        }
        work.await.map_err(|error| match error {
            ServerError::Interrupted | ServerError::Read(ReadError::Abandoned) => {
                ServerError::Revoked
            }
            error => error,
        })
    }

    async fn is_revoked(&self) {
        let mut ended = self.ended.clone();
        if ended.wait_for(|ended| *ended).await.is_err() {
            // It stands with whoever could end it for as long as this does.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Revocable {
    fn drop(&mut self) {
        self.revocations.0.lock().under_way.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use contract::{GrantFields, Interaction, Nonce, Revoked, digest};

    use super::*;

    struct Zeros;

    impl contract::Ids for Zeros {
        fn next(&self) -> u128 {
            0
        }

        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    fn grant(client: &str, authorization: &str) -> Arc<Grant> {
        let fields = GrantFields {
            client: Some(client.to_owned()),
            authorization: Some(authorization.to_owned()),
            ..GrantFields::of_request(
                "default".parse().unwrap(),
                &Interaction::Capabilities,
                digest("GET", "/metadata", None),
                Nonce::generate(&Zeros),
                Instant::from_micros(0),
            )
        };
        Arc::new(Grant::new(fields).unwrap())
    }

    fn page(after: u64, cursor: u64, entries: &[(Revoked, &str, i64)]) -> Option<RevocationFeed> {
        let entries = entries.iter().map(|(kind, id, since)| Revocation {
            kind: *kind,
            id: (*id).to_owned(),
            since: Instant::from_micros(*since),
        });
        Some(RevocationFeed { after, cursor, entries: entries.collect() })
    }

    fn told(feed: &str, page: Option<RevocationFeed>) -> Told {
        Told { feed: feed.to_owned(), page }
    }

    fn asked(revocations: &Revocations, feed: &str, page: Option<RevocationFeed>) -> u64 {
        revocations.hear(&told(feed, page)).unwrap().after
    }

    // GW-034
    #[test]
    fn what_was_begun_before_a_revocation_ends_and_nothing_else() {
        let revocations = Arc::new(Revocations::default());
        let at = |seconds: i64| Instant::from_micros(seconds * 1_000_000);
        let begin = |client, authorization, seconds| {
            revocations.begin(&grant(client, authorization), at(seconds)).unwrap()
        };
        let (key, other) = (begin("app", "key:1", 100), begin("app", "key:2", 100));
        let (client, enabled) = (begin("left", "key:3", 100), begin("left", "key:3", 400));
        let entries = [
            (Revoked::Authorization, "key:1", 110_000_000),
            (Revoked::Client, "left", 110_000_000),
            (Revoked::User, "app", 110_000_000),
        ];
        assert_eq!(asked(&revocations, "a", page(0, 3, &entries)), 3);
        assert!(key.goes_on().is_err() && client.goes_on().is_err());
        assert!(other.goes_on().is_ok() && enabled.goes_on().is_ok());
        drop((key, other, client, enabled));
        assert!(revocations.0.lock().under_way.is_empty());
    }

    #[test]
    fn each_feed_is_asked_where_it_was_left_and_from_the_start_when_something_may_be_missing() {
        let revocations = Revocations::default();
        assert_eq!(asked(&revocations, "a", None), 0);
        assert_eq!(asked(&revocations, "a", page(0, 7, &[])), 7);
        assert_eq!(asked(&revocations, "b", None), 0);
        assert_eq!(asked(&revocations, "a", None), 7);
        // What does not follow: of another registry, or with something left out.
        assert_eq!(asked(&revocations, "a", page(8, 9, &[])), 0);
        assert_eq!(asked(&revocations, "a", page(0, 9, &[])), 9);
        for unnamed in ["", "a\nb", &"a".repeat(65)] {
            assert_eq!(revocations.hear(&told(unnamed, None)), None);
        }
        for other in 0..MOST_FEEDS {
            asked(&revocations, &format!("f{other}"), page(0, 1, &[]));
        }
        assert_eq!(revocations.0.lock().feeds.len(), MOST_FEEDS);
        assert_eq!(asked(&revocations, "a", None), 0, "the one heard longest ago is forgotten");
    }

    #[tokio::test]
    async fn work_under_something_revoked_is_dropped() {
        let revocations = Arc::new(Revocations::default());
        let request = revocations.begin(&grant("app", "key:1"), Instant::from_micros(0)).unwrap();
        let done = request.or_ends(async { Ok(7) }).await;
        assert!(matches!(done, Ok(7)));
        let entries = [(Revoked::Authorization, "key:1", 0)];
        let work = request.or_ends(std::future::pending::<Result<(), _>>());
        let ended = async { asked(&revocations, "a", page(0, 1, &entries)) };
        let (work, _) = tokio::join!(work, ended);
        assert!(matches!(work, Err(ServerError::Revoked)));
        // What may have changed something says itself what became of it.
        let abandoned = Abandoned::default();
        let work = async {
            assert!(abandoned.is_set(), "it is told first");
            Ok(7)
        };
        assert!(matches!(request.or_is_told(&abandoned, work).await, Ok(7)));
        let work = async { Err::<(), _>(ServerError::Read(ReadError::Abandoned)) };
        let ended = request.or_is_told(&abandoned, work).await;
        assert!(matches!(ended, Err(ServerError::Revoked)));
    }
}
