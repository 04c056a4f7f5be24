//! The renewal socket, asked as the server asks it.

use std::os::unix::fs::PermissionsExt as _;

use std::time::Duration;

use contract::{Clock as _, Renewal, RenewalAnswer, RevocationFeed};
use http::StatusCode;
use registry::ClientId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::harness::{Running, actor, request, socket, start, start_alone, within};
use crate::upstream::real_now;

async fn ask(running: &Running, bytes: &str) -> (u16, String) {
    let path = socket(&running.dir, "renewal.sock");
    let mut stream = UnixStream::connect(path).await.expect("the socket is there");
    stream.write_all(bytes.as_bytes()).await.expect("it reads");
    let mut text = String::new();
    within("an answer", stream.read_to_string(&mut text)).await.expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a status"), body.to_owned())
}

pub(crate) async fn renew(running: &Running, renewal: &Renewal) -> RenewalAnswer {
    let body = serde_json::to_string(renewal).expect("a renewal");
    let length = body.len();
    let bytes = format!(
        "POST /renew HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let (status, answer) = ask(running, &bytes).await;
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).expect("an answer")
}

async fn feed(running: &Running, cursor: u64) -> RevocationFeed {
    let bytes =
        format!("GET /revocations?after={cursor} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let (status, answer) = ask(running, &bytes).await;
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).expect("a feed")
}

#[tokio::test]
async fn an_authorization_is_renewed_for_seconds_until_its_key_is_revoked() {
    let running = start_alone(|_| {}).await;
    let owner = ClientId::new("owner").expect("an id");
    let (key, _) = running.key_of(&owner);
    let renewal = Renewal { authorization: key.authorization() };
    let answer = renew(&running, &renewal).await;
    let now = running.clock.now();
    let grant = renewal.accept(&answer, now).expect("usable").expect("a grant");
    assert_eq!(grant.client.as_deref(), Some("owner"));
    assert_eq!(grant.tenant.as_str(), "default");

    let before = feed(&running, 0).await;
    running.registry.revoke_key(&key, &actor()).expect("a key");
    assert_eq!(renew(&running, &renewal).await, RenewalAnswer::Gone);
    let after = feed(&running, before.cursor).await;
    let entries = after.since(before.cursor).expect("it follows");
    assert_eq!(entries.len(), 1);
    assert!(entries[0].ends(&grant));
}

#[tokio::test]
async fn what_never_was_is_gone() {
    let running = start_alone(|_| {}).await;
    let renewal = Renewal { authorization: "key:ffffffffffffffff".to_owned() };
    assert_eq!(renew(&running, &renewal).await, RenewalAnswer::Gone);
}

#[tokio::test]
async fn other_questions_are_refused() {
    let running = start_alone(|_| {}).await;
    for (line, status) in [
        ("GET /renew", 404),
        ("GET /revocations", 400),
        ("GET /revocations?after=x", 400),
        ("POST /renew", 400),
        ("GET /channel", 404),
    ] {
        let bytes = format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(ask(&running, &bytes).await.0, status, "{line}");
    }
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone_and_goes_with_the_gateway() {
    let running = start_alone(|_| {}).await;
    let path = socket(&running.dir, "renewal.sock");
    let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = path.clone();
    running.tell_to_stop();
    running.until_stopped_in_place(|| assert!(!kept.exists())).await;
}

// GW-034
#[tokio::test]
async fn the_server_is_told_what_is_revoked_until_it_heard_and_again_once_it_was_restarted() {
    let (running, stub) = start().await;
    let owner = ClientId::new("owner").expect("an id");
    let (first, second) = (running.key_of(&owner).0, running.key_of(&owner).0);
    running.registry.revoke_key(&first, &actor()).expect("a key");
    let told = stub.revoked(1).await;
    assert_eq!((told.len(), told[0].id.as_str()), (1, &*first.authorization()));
    // Each once, and what was not heard until it is.
    stub.is_deaf(2);
    running.registry.revoke_key(&second, &actor()).expect("a key");
    let told = stub.revoked(2).await;
    assert_eq!((told.len(), told[1].id.as_str()), (2, &*second.authorization()));
    // A server that was restarted has forgotten; the next request finds that out.
    stub.change_secret();
    assert_eq!(running.send(&request("GET", "/fhir/metadata", &[], "")).await.status, 200);
    assert_eq!(stub.revoked(2).await, told);
}

// GW-034
#[tokio::test]
async fn what_the_server_will_not_hear_is_brought_less_and_less_often_and_told_to_operators() {
    let (running, stub) = start().await;
    let owner = ClientId::new("owner").expect("an id");
    let untold = "hearthgate_gateway_revocations_untold_seconds";
    let before = stub.takes_no_feed(Some(StatusCode::PAYLOAD_TOO_LARGE));
    let begun = real_now();
    running.registry.revoke_key(&running.key_of(&owner).0, &actor()).expect("a key");
    let brought = || stub.takes_no_feed(Some(StatusCode::PAYLOAD_TOO_LARGE)) - before;
    within("it is brought", async {
        while brought() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(running.metric(untold).await, 0.0);
    let ready = running.until_readyz(200).await.json();
    assert_eq!(ready.get("revocations_untold_seconds"), None);
    running.clock.advance(Duration::from_secs(40));
    within("it is told", async { while running.metric(untold).await < 40.0 {} }).await;
    let ready = running.until_readyz(200).await.json();
    assert_eq!(ready["revocations_untold_seconds"], 40);
    // Brought at each look, it would be the third time after half a second; the waits before it are
    // two looks and four, and none is ever shorter.
    within("it is brought thrice", async {
        while brought() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_millis(6 * 250), "{:?}", begun.elapsed());
    // Once the server is another it is told at once.
    stub.takes_no_feed(None);
    stub.change_secret();
    assert_eq!(running.send(&request("GET", "/fhir/metadata", &[], "")).await.status, 200);
    let told = within("it hears at once", stub.revoked(1));
    tokio::time::timeout(Duration::from_secs(2), told).await.expect("within two seconds");
    within("it is told", async { while running.metric(untold).await > 0.0 {} }).await;
    let ready = running.until_readyz(200).await.json();
    assert_eq!(ready.get("revocations_untold_seconds"), None);
}
