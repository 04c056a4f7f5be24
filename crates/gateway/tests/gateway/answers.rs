//! Answers: passed on when they are answers to the request, and what is said when there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contract::{ChannelSecret, Nonce, Versions};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::harness::{CountedIds, connect, socket, start, start_alone, within};
use crate::stub::{Script, Stub};
use crate::upstream::real_now;

// GW-010
#[tokio::test]
async fn the_servers_status_headers_and_body_pass_as_they_are() {
    let (running, stub) = start().await;
    for status in [200, 201, 304, 400, 404, 409, 412, 422, 500, 501] {
        stub.script([Script::Status(status, "{\"as\": \"it is\"}")]);
        let answer = running.get("/fhir/Patient/1").await;
        assert_eq!(answer.status, status);
        if status != 304 {
            assert_eq!(answer.body, "{\"as\": \"it is\"}");
        }
        assert_eq!(answer.field("etag"), Some("W/\"1\""));
    }
}

#[tokio::test]
async fn an_answer_without_the_requests_nonce_is_discarded_and_its_connection_closed() {
    let (running, stub) = start().await;
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    let foreign = Nonce::generate(&CountedIds::default()).to_header();
    let mut connections = stub.connections();
    for nonces in [vec![], vec![foreign.clone()], vec![foreign.clone(), foreign]] {
        stub.script([Script::Nonces(nonces)]);
        let answer = running.get("/fhir/Patient/1").await;
        answer.is_refusal(502);
        assert!(!answer.body.contains("not for you"));
        assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
        connections += 1;
        assert_eq!(stub.connections(), connections);
    }
    assert_eq!(running.metric("hearthgate_gateway_answers_discarded_total").await, 3.0);
}

#[tokio::test]
async fn requests_share_one_kept_connection_to_the_server() {
    let (running, stub) = start().await;
    for _ in 0..5 {
        assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    }
    assert_eq!(stub.connections(), 1);
}

#[tokio::test]
async fn a_server_with_a_new_secret_is_heard_again_and_the_request_sent_once_more() {
    let (running, stub) = start().await;
    assert_eq!(stub.fetches(), 1);
    stub.change_secret();
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    assert_eq!(stub.fetches(), 2);
    assert_eq!(stub.seen().len(), 1);
    assert_eq!(running.metric("hearthgate_gateway_retries_total").await, 1.0);
    // And a request without a body of any method: the server said that it did nothing.
    stub.change_secret();
    let delete = running.request("DELETE", "/fhir/Patient/1", &[], "");
    assert_eq!(running.send(&delete).await.status, 200);
    assert_eq!(stub.fetches(), 3);
}

#[tokio::test]
async fn a_request_whose_body_was_sent_is_not_sent_again() {
    let (running, stub) = start().await;
    stub.change_secret();
    let bytes = running.request("POST", "/fhir/Patient", &[], "{}");
    let answer = running.send(&bytes).await;
    answer.is_refusal(503);
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert!(stub.seen().is_empty());
    // The secret was read for those that follow.
    assert_eq!(running.send(&bytes).await.status, 200);
    assert_eq!(stub.only().body, b"{}");
    assert_eq!(stub.fetches(), 2);
}

#[tokio::test]
async fn a_server_that_never_knows_the_secret_is_asked_twice_and_no_more() {
    let (running, stub) = start().await;
    stub.script([Script::Misdirected, Script::Misdirected]);
    running.get("/fhir/Patient/1").await.is_refusal(503);
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
}

#[tokio::test]
async fn of_many_that_find_the_secret_stale_one_reads_and_its_failure_is_everybodys() {
    let (running, stub) = start().await;
    // From now on its channel takes connections and says nothing.
    let channel = socket(&running.dir, "channel.sock");
    std::fs::remove_file(&channel).expect("the stub's");
    let silent = UnixListener::bind(&channel).expect("a socket");
    let read = Arc::new(AtomicUsize::new(0));
    let counted = read.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut held = Vec::new();
        while let Ok(connection) = silent.accept().await {
            held.push(connection);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    stub.change_secret();
    let begun = real_now();
    let mut asking = JoinSet::new();
    for _ in 0..30 {
        let (bytes, listen) =
            (running.request("GET", "/fhir/Patient/1", &[], ""), running.bound.listen);
        asking.spawn(async move {
            let mut connection = connect(listen).await;
            connection.write(bytes.as_bytes()).await;
            connection.read_answer().await
        });
    }
    for refused in within("the refusals", asking.join_all()).await {
        refused.is_refusal(503);
    }
    // A reading takes 2 s, and another one is for whoever came after that. One for each would be
    // 30, or take a minute.
    let most = 1 + begun.elapsed().as_secs() / 2;
    assert!(read.load(Ordering::SeqCst) as u64 <= most, "{read:?} in {:?}", begun.elapsed());
}

// GW-007
#[tokio::test]
async fn a_post_that_the_server_drops_is_seen_once() {
    let (running, stub) = start().await;
    // A kept connection, which is where a second try would tempt.
    running.get("/fhir/Patient/1").await;
    stub.script([Script::Hangup]);
    let bytes = running.request("POST", "/fhir/Patient", &[], "{}");
    running.send(&bytes).await.is_refusal(502);
    let posts = stub.seen().into_iter().filter(|seen| seen.method == "POST");
    assert_eq!(posts.count(), 1);
}

// GW-007
#[tokio::test]
async fn a_get_that_the_server_drops_is_sent_once_more_and_no_more() {
    let (running, stub) = start().await;
    // The first is on a connection of its own, where nothing says that it is an old one.
    stub.script([Script::Hangup]);
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    assert_eq!(stub.seen().len(), 2);
    stub.script([Script::Hangup, Script::Hangup]);
    let answer = running.get("/fhir/Patient/1").await;
    answer.is_refusal(503);
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!(stub.seen().len(), 4);
    // Deleting twice is the same as well, but not what was asked.
    stub.script([Script::Hangup]);
    let delete = running.request("DELETE", "/fhir/Patient/1", &[], "");
    running.send(&delete).await.is_refusal(502);
    assert_eq!(stub.seen().len(), 5);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_off_as_whole() {
    let (running, stub) = start().await;
    stub.script([Script::BreakOff]);
    let mut connection = running.connect().await;
    let bytes = running.request("GET", "/fhir/Patient/1", &[], "");
    connection.write(bytes.as_bytes()).await;
    let head = connection.read_head().await;
    assert_eq!(head.field("content-length"), Some("100"));
    assert_eq!(connection.read_exact(9).await, "only this");
    assert!(connection.is_closed().await);
    let log = running.stop().await.text();
    assert!(log.contains("\"refusal\":\"server-broken\""), "{log}");
}

#[tokio::test]
async fn without_a_server_the_answer_is_503_and_a_server_that_comes_is_found() {
    let running = start_alone(|_| {}).await;
    let answer = running.get("/fhir/Patient/1").await;
    answer.is_refusal(503);
    assert_eq!(answer.field("retry-after"), Some("1"));
    let stub = Stub::start(&running.dir);
    running.until_ready().await;
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    drop(stub);
    running.until_readyz(503).await;
    running.get("/fhir/Patient/1").await.is_refusal(503);
    // Restarted with another secret, it is found again.
    let secret = ChannelSecret::generate(&skipped_ids());
    let _stub = Stub::start_with_secret(&running.dir, secret);
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
}

#[tokio::test]
async fn a_server_that_was_missed_and_is_back_takes_a_body_at_once() {
    let (running, stub) = start().await;
    drop(stub);
    running.until_readyz(503).await;
    let post = running.request("POST", "/fhir/Patient", &[], "{}");
    running.send(&post).await.is_refusal(503);
    let secret = ChannelSecret::generate(&skipped_ids());
    let _stub = Stub::start_with_secret(&running.dir, secret);
    // Without a request that would find out: the first one could not be sent again.
    let fetched = "hearthgate_gateway_channel_fetches_total{result=\"read\"}";
    within("the new secret", async {
        while running.metric(fetched).await < 2.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(running.send(&post).await.status, 200);
}

#[tokio::test]
async fn a_server_of_another_contract_is_not_spoken_to() {
    let running = start_alone(|_| {}).await;
    let stub = Stub::start_speaking(&running.dir, Versions { newest: 9, oldest: 8 });
    running.get("/fhir/Patient/1").await.is_refusal(503);
    stub.until_fetched().await;
    running.get("/fhir/Patient/1").await.is_refusal(503);
    assert!(stub.seen().is_empty());
    let told = running.until_readyz(503).await.body;
    assert!(told.contains("the gateway speaks the contract's versions 1 to 1"), "{told}");
    assert!(told.contains("the server 8 to 9: upgrade the older one"), "{told}");
}

#[tokio::test]
async fn of_the_versions_that_both_sides_speak_the_newest_is_spoken() {
    for (newest, oldest) in [(1, 1), (2, 1)] {
        let running = start_alone(|_| {}).await;
        let stub = Stub::start_speaking(&running.dir, Versions { newest, oldest });
        running.until_ready().await;
        assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
        assert_eq!(stub.only().headers["hearthgate-contract"], "1");
    }
}

#[tokio::test]
async fn head_is_answered_without_a_body_and_the_connection_goes_on() {
    let (running, _stub) = start().await;
    let mut connection = running.connect().await;
    for target in ["/fhir/Patient/1", "/fhir/patient/1"] {
        let bytes = running.request("HEAD", target, &[], "");
        connection.write(bytes.as_bytes()).await;
        let answer = connection.read_answer_to(&bytes).await;
        assert!(answer.field("content-length").is_some_and(|length| length != "0"));
    }
    connection.write(running.request("GET", "/fhir/Patient/1", &[], "").as_bytes()).await;
    assert_eq!(connection.read_answer().await.status, 200);
}

fn skipped_ids() -> CountedIds {
    let ids = CountedIds::default();
    let _used: ChannelSecret = ChannelSecret::generate(&ids);
    ids
}
