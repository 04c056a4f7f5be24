//! What the server sees of who is asking: what the gateway says, and nothing a client said.

use std::time::Duration;

use contract::header;

use crate::harness::{HandClock, request, start};
use crate::stub::one;

// GW-025
#[tokio::test]
async fn forged_identity_headers_are_replaced_in_every_spelling() {
    let (running, stub) = start().await;
    let forged = [
        ("Hearthgate-Grant", "forged"),
        ("hearthgate-grant", "again"),
        ("HEARTHGATE_GRANT", "forged"),
        ("Hearthgate-Channel", "forged"),
        ("hearthgate_channel", "forged"),
        ("Hearthgate-Contract", "forged"),
        ("Hearthgate-Nonce", "forged"),
        ("hearthgate-anything", "forged"),
        ("Forwarded", "for=forged"),
        ("X-Forwarded-For", "forged"),
        ("x_forwarded_for", "forged"),
        ("X-Forwarded-Proto", "forged"),
        ("X-Real-IP", "forged"),
        ("X-HTTP-Method-Override", "forged"),
    ];
    let bytes = running.request("GET", "/fhir/Patient/1", &forged, "");
    // The stub has checked channel, contract, grant and digest, each of which must stand once.
    assert_eq!(running.send(&bytes).await.status, 200);
    let seen = stub.only();
    let left: Vec<_> = seen
        .headers
        .iter()
        .filter(|(_, value)| value.as_bytes().windows(6).any(|part| part == b"forged"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(one(&seen.headers, "forwarded"), "for=127.0.0.1;proto=http");
    assert_eq!(one(&seen.headers, "x-forwarded-for"), "127.0.0.1");
    assert!(!seen.headers.contains_key("x-http-method-override"));
}

#[tokio::test]
async fn headers_named_by_connection_do_not_take_the_gateways_away() {
    let (running, stub) = start().await;
    let nominated = "hearthgate-grant, hearthgate-channel, x-request-id, x-mine";
    let fields = [("Connection", nominated), ("X-Mine", "1"), ("Accept", "a/b")];
    let bytes = running.request("GET", "/fhir/Patient/1", &fields, "");
    assert_eq!(running.send(&bytes).await.status, 200);
    let seen = stub.only();
    assert!(!seen.headers.contains_key("x-mine"));
    assert_eq!(one(&seen.headers, "accept"), "a/b");
}

#[tokio::test]
async fn the_callers_key_stays_at_the_gateway() {
    let (running, stub) = start().await;
    running.get("/fhir/Patient/1").await;
    let seen = stub.only();
    assert!(!seen.headers.contains_key("authorization"));
    let key = running.owner_key.as_bytes();
    let holds = |value: &[u8]| value.windows(key.len()).any(|part| part == key);
    assert!(!seen.headers.values().any(|value| holds(value.as_bytes())));
}

#[tokio::test]
async fn each_request_has_a_grant_of_its_own_good_for_a_minute() {
    let (running, stub) = start().await;
    running.get("/fhir/Patient/1").await;
    running.clock.advance(Duration::from_secs(2));
    running.get("/fhir/Patient/1").await;
    let grants: Vec<_> = stub.seen().into_iter().map(|seen| seen.grant).collect();
    assert_ne!(grants[0].nonce, grants[1].nonce);
    let life = |grant: &contract::Grant| grant.not_after.as_micros() - HandClock::START;
    assert_eq!(life(&grants[0]), 60_000_000);
    assert_eq!(life(&grants[1]), 62_000_000);
}

// GW-053
#[tokio::test]
async fn a_request_id_makes_the_round_and_stands_in_the_log() {
    let (running, stub) = start().await;
    let bytes = running.request("GET", "/fhir/Patient/1", &[("X-Request-Id", "ward-7")], "");
    let answer = running.send(&bytes).await;
    assert_eq!(answer.field("x-request-id"), Some("ward-7"));
    assert_eq!(one(&stub.only().headers, "x-request-id"), "ward-7");
    let answer = running.get("/fhir/Patient/1").await;
    let made = answer.field("x-request-id").expect("an id").to_owned();
    assert_eq!(made.len(), 32);
    assert_eq!(one(&stub.seen()[1].headers, "x-request-id"), made);
    let refused = running.get("/fhir/patient/1").await;
    let of_refusal = refused.field("x-request-id").expect("an id").to_owned();
    assert!(refused.body.contains(&of_refusal), "{refused:?}");
    let log = running.stop().await.text();
    for id in ["ward-7", &made, &of_refusal] {
        assert!(log.contains(&format!("\"requestId\":\"{id}\"")), "{log}");
    }
}

#[tokio::test]
async fn path_and_query_reach_the_server_byte_for_byte() {
    let (running, stub) = start().await;
    let targets = [
        "/fhir/Patient?name=a%20b&_count=1&x=%2F%C3%A9",
        "/fhir/Patient/1/%24everything",
        "/fhir/Patient/1/_history/3?",
        "/fhir",
        "/fhir/",
        "/fhir?_type=A,B",
    ];
    for target in targets {
        let answer = running.get(target).await;
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
    }
    let seen: Vec<_> = stub.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(seen, targets);
}

#[tokio::test]
async fn an_absolute_target_is_forwarded_as_its_path() {
    let (running, stub) = start().await;
    assert_eq!(running.get("http://localhost/fhir/Patient/1?x=y").await.status, 200);
    assert_eq!(stub.only().target, "/fhir/Patient/1?x=y");
}

#[tokio::test]
async fn nothing_but_the_base_is_routed() {
    let (running, stub) = start().await;
    for target in ["/", "/fhirx/Patient/1", "/FHIR/Patient/1", "/metadata", "/fhi"] {
        running.get(target).await.is_refusal(404);
    }
    assert!(stub.seen().is_empty());
}

// GW-024
#[tokio::test]
async fn urls_that_are_none_of_fhirs_are_answered_by_the_gateway() {
    let (running, stub) = start().await;
    for (method, target, status) in [
        ("GET", "/fhir/Patient/1/2/3", 404),
        ("GET", "/fhir/patient/1", 404),
        ("GET", "/fhir//Patient/1", 400),
        ("GET", "/fhir/../admin", 400),
        ("GET", "/fhir/%2e%2e/admin", 400),
        ("GET", "/fhir/Patient%2F1", 400),
        ("GET", "/fhir/Patient/%zz", 400),
        ("GET", "/fhir/Patient/1#end", 400),
        ("GET", "/fhir/Patient/%C3", 400),
        ("GET", "/fhir/Patient/a_b", 400),
        ("BREW", "/fhir/Patient/1", 405),
        ("CONNECT", "/fhir/Patient/1", 405),
    ] {
        let answer = running.send(&running.request(method, target, &[], "")).await;
        answer.is_refusal(status);
        assert_eq!(answer.field("allow").is_some(), status == 405, "{target}");
    }
    let answer = running.send(&running.request("POST", "/fhir/Patient/1", &[], "")).await;
    answer.is_refusal(405);
    let allow = answer.field("allow").expect("methods");
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE"] {
        assert!(allow.split(", ").any(|allowed| allowed == method), "{allow}");
    }
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn no_header_of_the_contract_reaches_a_client() {
    let (running, _stub) = start().await;
    let answer = running.get("/fhir/Patient/1").await;
    let contracts = |(name, _): &&(String, String)| name.starts_with(header::PREFIX);
    assert_eq!(answer.fields.iter().find(contracts), None);
    assert_eq!(answer.field("etag"), Some("W/\"1\""));
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_only_when_they_are_named() {
    let origin = "https://app.example";
    let preflight = [("Origin", origin), ("Access-Control-Request-Method", "PUT")];
    let bytes = request("OPTIONS", "/fhir/Patient/1", &preflight, "");

    let (running, _stub) = start().await;
    running.send(&bytes).await.is_refusal(405);

    let change = |config: &mut gateway::GatewayConfig| {
        config.cors =
            Some(gateway::Cors { origins: vec![origin.to_owned()], ..gateway::Cors::default() });
    };
    let (running, stub) = crate::harness::start_with(change).await;
    let answer = running.send(&bytes).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.field("access-control-allow-origin"), Some(origin));
    assert!(answer.field("access-control-allow-methods").is_some_and(|all| all.contains("PUT")));
    assert!(stub.seen().is_empty());
    let other = request("OPTIONS", "/fhir/Patient/1", &[("Origin", "https://evil.example")], "");
    let answer = running.send(&other).await;
    assert_eq!(answer.field("access-control-allow-origin"), None);
    let read = running.request("GET", "/fhir/Patient/1", &[("Origin", origin)], "");
    let answer = running.send(&read).await;
    assert_eq!(answer.field("access-control-allow-origin"), Some(origin));
    assert!(answer.field("access-control-expose-headers").is_some_and(|all| all.contains("etag")));
}
