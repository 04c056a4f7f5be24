//! Clients that take their time: bodies that never end, and answers that are hardly taken. Whatever
//! they hold, it is not the places of others.

use std::time::Duration;

use bytes::Bytes;
use gateway::GatewayConfig;
use h2::Reason;

use crate::harness::{Running, request as bytes_of, start_with, within};
use crate::http2;
use crate::stub::Script;

/// More than any buffer on the way takes.
const LARGE: usize = 24 << 20;

/// One place, for which nobody waits long.
fn narrow(config: &mut GatewayConfig) {
    config.lanes.interactive = 1;
    config.lanes.wait = Duration::from_millis(1);
}

/// The same, and an answer may be left for a moment.
fn hurried(config: &mut GatewayConfig) {
    narrow(config);
    config.limits.answer_grace = Duration::from_millis(300);
    config.limits.answer_rate = 64 << 20;
}

/// The same for who takes answers as they come, on a machine that has other things to do.
fn patient(config: &mut GatewayConfig) {
    config.limits.answer_grace = Duration::from_secs(1);
    config.limits.answer_rate = 1 << 20;
}

fn large() -> Script {
    Script::Status(200, "x".repeat(LARGE).leak())
}

/// Lets time pass for everybody.
async fn pause(running: &Running) {
    let pause = Duration::from_millis(20);
    tokio::time::sleep(pause).await;
    running.clock.advance(pause);
}

/// Waits until no request is under way.
async fn until_nobody_is_here(running: &Running) {
    within("the end of the request", async {
        while running.metric("hearthgate_gateway_requests_in_flight").await > 0.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

// GW-022 GW-044
#[tokio::test]
async fn a_body_that_never_ends_holds_no_place_behind_its_answer_and_is_ended() {
    let (running, stub) = start_with(narrow).await;
    let mut seen = 0;
    for (fields, body) in [
        ([("Content-Length", "1")], ""),
        ([("Content-Length", "100")], "{"),
        ([("Transfer-Encoding", "chunked")], "1\r\n{\r\n"),
    ] {
        stub.script([Script::AtOnce]);
        let mut endless = running.connect().await;
        let head = running.request("POST", "/fhir/Patient", &fields, body);
        endless.write(head.as_bytes()).await;
        let answer = endless.read_answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        // The place is free at once, and its connection ends by itself long before it is idle.
        assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
        assert!(endless.is_closed().await);
        seen += 2;
        assert_eq!(stub.seen().len(), seen);
    }
    until_nobody_is_here(&running).await;
    let log = running.stop().await.text();
    assert_eq!(log.matches("\"refusal\":\"client-too-slow\"").count(), 3, "{log}");
}

// GW-022
#[tokio::test]
async fn a_body_that_goes_on_behind_its_answer_is_waited_for_and_not_for_long() {
    let (running, stub) = start_with(narrow).await;
    stub.script([Script::AtOnce]);
    let mut late = running.connect().await;
    let head = running.request("POST", "/fhir/Patient", &[("Content-Length", "4")], "{");
    late.write(head.as_bytes()).await;
    let answer = late.read_answer().await;
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    late.write(b"}  ").await;
    assert!(late.is_closed().await);

    let mut endless = running.connect().await;
    stub.script([Script::AtOnce]);
    let head = running.request("POST", "/fhir/Patient", &[("Content-Length", "100000")], "{");
    endless.write(head.as_bytes()).await;
    assert_eq!(endless.read_answer().await.status, 200);
    // A byte now and then does not make the wait any longer.
    running.clock.advance(Duration::from_secs(1));
    let _ = endless.try_write(b"x").await;
    assert!(endless.is_closed().await);
    until_nobody_is_here(&running).await;
    let log = running.stop().await.text();
    assert_eq!(log.matches("\"refusal\":\"client-too-slow\"").count(), 1, "{log}");
}

// GW-020 GW-022 GW-044
#[tokio::test]
async fn a_request_of_http_2_that_never_ends_holds_no_place_and_is_ended() {
    let (site, running, stub) = http2::start(narrow).await;
    let mut hostile = http2::Connection::open(&site, &running).await;
    let mut other = http2::Connection::open(&site, &running).await;
    for piece in [&b""[..], b"{"] {
        stub.script([Script::AtOnce]);
        let head = http2::request(&running, "GET", "/fhir/Patient/1");
        hostile.sender = within("a free stream", hostile.sender.clone().ready()).await.expect("it");
        let sent = hostile.sender.send_request(head, false).expect("a request");
        let (answer, mut sending) = sent;
        if !piece.is_empty() {
            sending.send_data(Bytes::from_static(piece), false).expect("a piece of a body");
        }
        let (head, mut body) = within("an answer", answer).await.expect("an answer").into_parts();
        assert_eq!(head.status, 200);
        while let Some(piece) = within("its body", body.data()).await {
            let _ = piece.expect("a whole answer");
        }
        let asked = other.ask(http2::request(&running, "GET", "/fhir/Patient/2"), &[]).await;
        assert_eq!(asked.expect("an answer").head.status(), 200);
        let reset = std::future::poll_fn(|context| sending.poll_reset(context));
        let reason = within("the end of the request", reset).await.expect("a reset");
        assert_eq!(reason, Reason::NO_ERROR);
    }
    // The connection is as good as before for whoever ends requests.
    let asked = hostile.ask(http2::request(&running, "POST", "/fhir/Patient"), &[b"{", b"}"]).await;
    assert_eq!(asked.expect("an answer").head.status(), 200);
    until_nobody_is_here(&running).await;
    let log = running.stop().await.text();
    assert_eq!(log.matches("\"refusal\":\"client-too-slow\"").count(), 2, "{log}");
}

// GW-020 GW-022
#[tokio::test]
async fn a_body_of_http_2_that_stops_while_its_answer_comes_is_waited_for_as_in_http_1() {
    let (site, running, stub) =
        http2::start(|config| config.limits.idle = Duration::from_secs(1)).await;
    stub.script([Script::Pieces]);
    let mut hostile = http2::Connection::open(&site, &running).await;
    let head = http2::request(&running, "GET", "/fhir/Patient/1");
    let (answer, mut sending) = hostile.sender.send_request(head, false).expect("a request");
    sending.send_data(Bytes::from_static(b"{"), false).expect("a piece of a body");
    stub.pieces.send(Bytes::from_static(b"piece")).expect("the stub is there");
    let (head, mut body) = within("an answer", answer).await.expect("an answer").into_parts();
    assert_eq!(head.status, 200);
    let piece = within("a piece", body.data()).await.expect("a piece").expect("a piece");
    assert_eq!(piece.as_ref(), b"piece");
    // Neither more of the answer nor of the body comes.
    let ended = within("the end", body.data()).await.expect("more was to come");
    assert!(ended.expect_err("it is not whole").is_reset());
    until_nobody_is_here(&running).await;
}

// GW-022 GW-044
#[tokio::test]
async fn an_answer_that_is_left_or_taken_in_drops_is_ended_and_its_place_is_free() {
    let (running, stub) = start_with(hurried).await;
    for drop in [0, 16 << 10] {
        stub.script([large()]);
        let mut lazy = running.connect().await;
        lazy.write(running.request("GET", "/fhir/Patient", &[], "").as_bytes()).await;
        assert_eq!(lazy.read_head().await.status, 200);
        let taking = async {
            while drop > 0 && lazy.try_read_exact(drop).await {
                pause(&running).await;
            }
        };
        tokio::join!(taking, until_nobody_is_here(&running));
        // The system keeps nothing of the answer for it either. Who goes on taking has seen it.
        assert!(drop > 0 || lazy.ends_by_reset().await);
        assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    }
    let log = running.stop().await.text();
    assert_eq!(log.matches("\"refusal\":\"answer-left\"").count(), 2, "{log}");
}

// GW-011 GW-022
#[tokio::test]
async fn whoever_takes_an_answer_as_it_comes_gets_all_of_it_however_long_it_takes_to_make() {
    let (running, stub) = start_with(patient).await;
    stub.script([large(), Script::Pieces]);
    let mut prompt = running.connect().await;
    prompt.write(running.request("GET", "/fhir/Patient", &[], "").as_bytes()).await;
    assert_eq!(prompt.read_answer().await.body.len(), LARGE);
    prompt.write(running.request("GET", "/fhir/Patient", &[], "").as_bytes()).await;
    for _ in 0..2 {
        // Longer than a client may leave an answer.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        stub.pieces.send(Bytes::from_static(b"piece")).expect("the stub is there");
    }
    assert_eq!(prompt.read_head().await.status, 200);
    assert_eq!(prompt.read_exact(20).await, "5\r\npiece\r\n".repeat(2));
}

// GW-020 GW-022 GW-044
#[tokio::test]
async fn an_answer_of_http_2_that_is_left_or_taken_in_drops_is_ended() {
    let (site, running, stub) = http2::start(hurried).await;
    for drop in [0, 1 << 10] {
        stub.script([large()]);
        let mut lazy = http2::Connection::open(&site, &running).await;
        let head = http2::request(&running, "GET", "/fhir/Patient");
        let (answer, _) = lazy.sender.send_request(head, true).expect("a request");
        let (head, mut body) = within("an answer", answer).await.expect("an answer").into_parts();
        assert_eq!(head.status, 200);
        let ended = within("the end of the answer", async {
            loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    ended => return ended,
                }
                let _ = body.flow_control().release_capacity(drop);
                pause(&running).await;
            }
        });
        let ended = ended.await.expect("more was to come").expect_err("it is not whole");
        assert!(ended.is_reset(), "{ended}");
        until_nobody_is_here(&running).await;
        assert_eq!(running_in_http_2(&site, &running).await, 200);
    }
    let log = running.stop().await.text();
    assert_eq!(log.matches("\"refusal\":\"answer-left\"").count(), 2, "{log}");
}

// GW-020 GW-022
#[tokio::test]
async fn whoever_takes_an_answer_of_http_2_as_it_comes_gets_all_of_it() {
    let (site, running, stub) = http2::start(patient).await;
    stub.script([large()]);
    let mut prompt = http2::Connection::open(&site, &running).await;
    let answer = prompt.ask(http2::request(&running, "GET", "/fhir/Patient"), &[]).await;
    assert_eq!(answer.expect("a whole answer").body.len(), LARGE);
}

async fn running_in_http_2(site: &crate::tls::Site, running: &Running) -> u16 {
    let mut other = http2::Connection::open(site, running).await;
    let asked = other.ask(http2::request(running, "GET", "/fhir/Patient/1"), &[]).await;
    asked.expect("an answer").head.status().as_u16()
}

#[tokio::test]
async fn the_body_of_a_break_glass_is_not_waited_for_in_vain() {
    let (site, running, _stub) = http2::start(|config| {
        config.limits.body_grace = Duration::from_millis(200);
    })
    .await;
    let reader = running.client("reader", "reader", None);
    let ward = running.client_with("ward", "ward", |client| {
        client.fhir_user = Some("Practitioner/7".parse().expect("a reference"));
    });
    // Whose role has none is told without a look at the body.
    for (key, status) in [(reader, 403), (ward, 408)] {
        let mut connection = http2::Connection::open(&site, &running).await;
        let mut head = http2::request(&running, "POST", "/break-glass");
        let bearer = format!("Bearer {key}").parse().expect("a value");
        head.headers_mut().insert("authorization", bearer);
        let (answer, _sending) = connection.sender.send_request(head, false).expect("a request");
        let answer = within("an answer", answer).await.expect("an answer");
        assert_eq!(answer.status(), status);
    }
}

// GW-040 GW-053
#[tokio::test]
async fn preflights_are_counted_as_whatever_comes_without_credentials() {
    let (running, stub) = start_with(|config| {
        let origins = vec!["https://app.example".to_owned()];
        config.cors = Some(gateway::Cors { origins, ..gateway::Cors::default() });
        config.limits.public = gateway::Rate::new(1, 3).expect("a rate");
    })
    .await;
    let fields = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "PUT")];
    let preflight = bytes_of("OPTIONS", "/fhir/Patient/1", &fields, "");
    for _ in 0..3 {
        assert_eq!(running.send(&preflight).await.status, 204);
    }
    let refused = running.send(&preflight).await;
    refused.is_refusal(429);
    assert_eq!(refused.field("access-control-allow-origin"), Some("https://app.example"));
    running.send(&bytes_of("GET", "/fhir/metadata", &[], "")).await.is_refusal(429);
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    assert_eq!(stub.seen().len(), 1);
}
