//! What was revoked at gateways, as they tell it on the channel (docs/contract.md, "The way back"),
//! and what ends here for it: requests under way whose work goes on for longer than an instant, and
//! those that were let through before and come only now.
//!
//! No grant is kept here beyond its request, and no revocation for longer than a grant is good: who
//! is refused from the next request on, the gateways know.

mod heard;

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use contract::{Grant, Instant, RevocationFeed};
use database::{Abandoned, ReadError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinError;

use self::heard::{Heard, Under};
use crate::error::ServerError;

pub(crate) use self::heard::{KnownAsOf, known_as_of};

/// Feeds that are followed at once. A gateway that starts anew has another.
const MOST_FEEDS: usize = 64;

/// The longest name of a feed, in bytes.
const LONGEST_NAME: usize = 64;

/// Revocations that are kept for requests that come only now.
const MOST_KEPT: usize = 256 * 1024;

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

/// Requests under way, what was revoked lately, and the feeds that say so.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    /// Each feed with the cursor that it is asked with next; the one heard last at the end. Held
    /// for as long as one is heard; no request takes it.
    feeds: Mutex<VecDeque<(Arc<str>, u64)>>,
    state: Mutex<State>,
}

/// What each request takes the lock of: nothing long is done under it.
#[derive(Debug, Default)]
struct State {
    under_way: BTreeMap<u64, UnderWay>,
    begun: u64,
    lately: Arc<Heard>,
}

#[derive(Debug)]
struct UnderWay {
    under: Under,
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
    ///
    /// # Errors
    /// [`ServerError::Revoked`] when what it came under was revoked on its way here.
    pub(crate) fn begin(
        self: &Arc<Self>,
        grant: &Arc<Grant>,
        known: Option<KnownAsOf>,
        now: Instant,
    ) -> Result<Option<Revocable>, ServerError> {
        if grant.client.is_none() {
            return Ok(None);
        }
        let (end, ended) = watch::channel(false);
        let under_way = UnderWay { under: Under::of(grant, known, now), end };
        let mut state = self.state.lock();
        // Under the lock under which what is heard is put there: each sees the other.
        if state.lately.ends(&under_way.under) {
            return Err(ServerError::Revoked);
        }
        let number = state.begun;
        state.begun += 1;
        state.under_way.insert(number, under_way);
        Ok(Some(Revocable { revocations: Arc::clone(self), number, ended }))
    }

    /// Hears what a gateway tells, and says with which cursor it is asked next; `None` where its
    /// feed has no name. It may take long.
    fn hear(&self, told: &Told, now: Instant) -> Option<Asked> {
        if !told.is_named() {
            return None;
        }
        let mut feeds = self.feeds.lock();
        let known = feeds.iter().position(|(feed, _)| **feed == *told.feed);
        let known = known.and_then(|at| feeds.remove(at));
        let (feed, cursor) = known.unwrap_or_else(|| (Arc::from(told.feed.as_str()), 0));
        let next = match told.page.as_ref().map(|page| (page.cursor, page.since(cursor))) {
            None => cursor,
            Some((next, Ok(entries))) => {
                if !entries.is_empty() {
                    let ended = self.end(&Heard::page(entries, &feed, next), now);
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
        if feeds.len() >= MOST_FEEDS {
            feeds.pop_front();
        }
        feeds.push_back((feed, next));
        Some(Asked { after: next })
    }

    /// Ends what was let through before these, now and when it comes; how much was under way.
    fn end(&self, page: &Heard, now: Instant) -> usize {
        // Nobody else puts another there meanwhile: `hear` is for one at a time.
        let before = Arc::clone(&self.state.lock().lately);
        let lately = before.with(page, now, MOST_KEPT);
        let mut state = self.state.lock();
        state.lately = Arc::new(lately);
        let ending = state.under_way.values().filter(|under_way| page.ends(&under_way.under));
        ending.filter(|under_way| !under_way.end.send_replace(true)).count()
    }
}

/// Reads what a gateway tells, and hears it, where no request waits for that: a page may have some
/// hundred thousand entries. `None` where that is not what a gateway tells.
///
/// # Errors
/// When it broke off.
pub(crate) async fn hear_aside(
    revocations: &Arc<Revocations>,
    told: Bytes,
    now: Instant,
) -> Result<Option<Asked>, JoinError> {
    let revocations = Arc::clone(revocations);
    let hearing = tokio::task::spawn_blocking(move || {
        let told = serde_json::from_slice::<Told>(&told).ok()?;
        revocations.hear(&told, now)
    });
    hearing.await
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
        self.revocations.state.lock().under_way.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use contract::{GrantFields, Interaction, Nonce, Revocation, Revoked, digest};

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

    const SECOND: i64 = 1_000_000;

    fn at(seconds: i64) -> Instant {
        Instant::from_micros(seconds * SECOND)
    }

    /// A grant that was made at this second.
    fn grant(client: &str, authorization: &str, seconds: i64) -> Arc<Grant> {
        let fields = GrantFields {
            client: Some(client.to_owned()),
            authorization: Some(authorization.to_owned()),
            ..GrantFields::of_request(
                "default".parse().unwrap(),
                &Interaction::Capabilities,
                digest("GET", "/metadata", None),
                Nonce::generate(&Zeros),
                at(seconds + 60),
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
        revocations.hear(&told(feed, page), at(0)).unwrap().after
    }

    fn known(feed: &str, cursor: u64) -> Option<KnownAsOf> {
        Some(KnownAsOf { feed: feed.to_owned(), cursor })
    }

    // GW-034
    #[test]
    fn what_was_begun_before_a_revocation_ends_and_nothing_else() {
        let revocations = Arc::new(Revocations::default());
        let begin = |client, authorization, seconds| {
            let grant = grant(client, authorization, seconds);
            revocations.begin(&grant, None, at(seconds)).unwrap().unwrap()
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
        assert!(revocations.state.lock().under_way.is_empty());
    }

    // GW-034
    #[test]
    fn what_was_let_through_before_a_revocation_and_comes_after_is_refused_and_nothing_else() {
        let revocations = Arc::new(Revocations::default());
        let entries = [
            (Revoked::Authorization, "key:1", 100 * SECOND),
            (Revoked::Client, "left", 100 * SECOND),
        ];
        let told = told("a", page(0, 7, &entries));
        let _ = revocations.hear(&told, at(101)).unwrap();
        let is_refused = |client, authorization, made, known, now| {
            revocations.begin(&grant(client, authorization, made), known, at(now)).is_err()
        };
        // Before the feed's cursor, of another feed, or of nobody knows which: by the clock.
        for known in [known("a", 6), known("b", 9), None] {
            assert!(is_refused("app", "key:1", 99, known.clone(), 102));
            assert!(is_refused("left", "key:2", 99, known.clone(), 158));
            assert!(!is_refused("left", "key:2", 161, known.clone(), 161), "it was enabled again");
            assert!(!is_refused("app", "key:2", 99, known, 102));
        }
        // Who knew of it, and let it through all the same, had another reason.
        assert!(!is_refused("left", "key:2", 101, known("a", 7), 102));
        // Over with its last grant, whatever else is heard.
        let later = super::Told { feed: "a".to_owned(), page: page(7, 8, &entries[..0]) };
        let _ = revocations.hear(&later, at(221)).unwrap();
        let entries = [(Revoked::User, "u", 220 * SECOND)];
        let later = super::Told { feed: "a".to_owned(), page: page(8, 9, &entries) };
        let _ = revocations.hear(&later, at(221)).unwrap();
        assert!(!is_refused("app", "key:1", 99, None, 102));
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_latest_stays() {
        let feed = Arc::from("a");
        let entry = |number: i64| Revocation {
            kind: Revoked::Authorization,
            id: format!("key:{number}"),
            since: at(number),
        };
        let all: Vec<_> = (0..10).map(entry).collect();
        let kept = Heard::default().with(&Heard::page(&all, &feed, 1), at(10), 4);
        let is_kept =
            |number| kept.ends(&Under::of(&grant("app", &format!("key:{number}"), 0), None, at(0)));
        let kept: Vec<i64> = (0..10).filter(|number| is_kept(*number)).collect();
        assert_eq!(kept, [6, 7, 8, 9]);
    }

    #[test]
    fn a_request_says_once_how_far_its_gateway_knew() {
        let said = |values: &[&str]| {
            let mut headers = http::HeaderMap::new();
            for value in values {
                headers.append(contract::header::FEED, value.parse().unwrap());
            }
            known_as_of(&headers)
        };
        assert_eq!(said(&["a b 17"]), known("a b", 17));
        for nothing in [&[][..], &["a"], &["a x"], &["a -1"], &["a 1", "a 2"]] {
            assert_eq!(said(nothing), None, "{nothing:?}");
        }
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
            assert_eq!(revocations.hear(&told(unnamed, None), at(0)), None);
        }
        for other in 0..MOST_FEEDS {
            asked(&revocations, &format!("f{other}"), page(0, 1, &[]));
        }
        assert_eq!(revocations.feeds.lock().len(), MOST_FEEDS);
        assert_eq!(asked(&revocations, "a", None), 0, "the one heard longest ago is forgotten");
    }

    #[tokio::test]
    async fn a_long_page_is_heard_where_no_request_waits() {
        let revocations = Arc::new(Revocations::default());
        let request = revocations.begin(&grant("app", "key:7", 0), None, at(0)).unwrap().unwrap();
        let ids: Vec<String> = (0..20_000).map(|number| format!("key:{number}")).collect();
        let entries: Vec<_> = ids.iter().map(|id| (Revoked::Authorization, &**id, 0)).collect();
        let page = serde_json::to_value(page(0, 1, &entries)).unwrap();
        let told = serde_json::json!({ "feed": "a", "page": page }).to_string();
        let mut hearing = pin!(hear_aside(&revocations, told.into(), at(0)));
        tokio::select! {
            biased;
            _ = &mut hearing => panic!("its thread was not free meanwhile"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(hearing.await.unwrap(), Some(Asked { after: 1 }));
        assert!(request.goes_on().is_err());
        let nonsense = hear_aside(&revocations, Bytes::from_static(b"{}"), at(0)).await;
        assert_eq!(nonsense.unwrap(), None);
    }

    #[tokio::test]
    async fn work_under_something_revoked_is_dropped() {
        let revocations = Arc::new(Revocations::default());
        let request = revocations.begin(&grant("app", "key:1", 0), None, at(0)).unwrap().unwrap();
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
