//! What is revoked while a request waits, and what its grant is worth then.

use std::time::Duration;

use contract::{Clock as _, header};
use registry::ClientId;

use crate::harness::{Connection, Running, actor, request, start_with, within};
use crate::stub::{Script, Stub};

/// A gateway with one place for bulk.
async fn start() -> (Running, Stub) {
    start_with(|config| config.lanes.bulk = Some(1)).await
}

/// An export, which is bulk.
fn export(key: &str) -> String {
    let authorization = format!("Bearer {key}");
    request("GET", "/fhir/Patient/$export", &[("Authorization", &authorization)], "")
}

/// One that has the place until it is told to go on.
async fn holds_the_place(running: &Running, stub: &Stub) -> Connection {
    stub.script([Script::AfterGo]);
    let mut held = running.connect().await;
    held.write(export(&running.owner_key).as_bytes()).await;
    stub.until_begun().await;
    held
}

/// One that waits for the place.
async fn waits(running: &Running, key: &str) -> Connection {
    let mut waiting = running.connect().await;
    waiting.write(export(key).as_bytes()).await;
    let series = "hearthgate_gateway_lane_waiting{lane=\"bulk\"}";
    within("it waits", async { while running.metric(series).await != 1.0 {} }).await;
    waiting
}

/// What comes of a request of this client's that waits while this is changed.
async fn after(change: impl FnOnce(&Running, &ClientId, &str)) -> (u16, usize) {
    let (running, stub) = start().await;
    let key = running.client("app", "all", None);
    let mut held = holds_the_place(&running, &stub).await;
    let mut waiting = waits(&running, &key).await;
    change(&running, &ClientId::new("app").expect("an id"), &key);
    stub.go();
    assert_eq!(held.read_answer().await.status, 200);
    let answer = waiting.read_answer().await;
    (answer.status, stub.seen().len())
}

// GW-034, GW-044
#[tokio::test]
async fn what_waits_is_refused_when_what_it_came_under_is_revoked_meanwhile() {
    let key_revoked = |running: &Running, _: &ClientId, key: &str| {
        let key = running.registry.named_by(key).expect("a key");
        running.registry.revoke_key(&key, &actor()).expect("it was good");
    };
    assert_eq!(after(key_revoked).await, (401, 1));
    let disabled = |running: &Running, client: &ClientId, _: &str| {
        running.registry.disable_client(client, &actor()).expect("a client");
    };
    assert_eq!(after(disabled).await, (401, 1));
    // What is no matter of this client's does not touch it.
    let others = |running: &Running, _: &ClientId, _: &str| {
        let other = running.client("other", "all", None);
        let key = running.registry.named_by(&other).expect("a key");
        running.registry.revoke_key(&key, &actor()).expect("it was good");
    };
    assert_eq!(after(others).await, (200, 2));
}

// GW-044
#[tokio::test]
async fn a_request_that_waited_has_a_grant_of_when_it_is_sent_and_says_what_was_known_then() {
    let (running, stub) = start().await;
    let mut held = holds_the_place(&running, &stub).await;
    let mut waiting = waits(&running, &running.owner_key).await;
    // Longer than a grant is good.
    running.clock.advance(Duration::from_secs(61));
    running.client("other", "all", None);
    stub.go();
    assert_eq!(held.read_answer().await.status, 200);
    assert_eq!(waiting.read_answer().await.status, 200);
    let seen = stub.seen();
    let now = running.clock.now();
    assert!(seen[0].grant.expired(now) && !seen[1].grant.expired(now));
    let known = |at: usize| {
        let said = seen[at].headers[header::FEED].to_str().expect("text");
        let (feed, cursor) = said.rsplit_once(' ').expect("a feed and a cursor");
        (feed.to_owned(), cursor.parse::<u64>().expect("a number"))
    };
    let (first, second) = (known(0), known(1));
    assert_eq!(first.0, second.0);
    assert!(first.1 < second.1 && second.1 == running.registry.sequence(), "{first:?} {second:?}");
    // Of nobody nothing is known.
    assert_eq!(running.send(&request("GET", "/fhir/metadata", &[], "")).await.status, 200);
    assert!(!stub.seen()[2].headers.contains_key(header::FEED));
}
