//! What the gateway asks beside a request: copies for a second upstream, access tokens, an
//! authorizer; and what it shows upstreams of itself.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use serde_json::{Value, json};

use crate::foreign::{alone, start_of, to, upstream};
use crate::harness::{request, start_alone, within};
use crate::upstream::{Play, Upstream, real_now};

fn answer(status: &str, body: &str) -> Play {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    Play::Bytes((head + body).into_bytes())
}

async fn until_seen(upstream: &Upstream, count: usize) {
    within("requests at the upstream", async {
        while upstream.seen().len() < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

// GW-009
#[tokio::test]
async fn copies_go_to_a_second_upstream_without_the_callers_key() {
    let (first, second) = (Upstream::start(Play::Echo).await, Upstream::start(Play::Echo).await);
    let mut route = to("/a", "a");
    route["mirror"] = json!({"upstream": "copy", "percent": 100});
    let upstreams =
        json!({"a": upstream(&[&first], json!({})), "copy": upstream(&[&second], json!({}))});
    let running = start_of(json!([route]), upstreams).await;
    let cookie = [("Cookie", "session=1"), ("X-Kept", "1")];
    let body = "x".repeat(100_000);
    let bytes = running.request("POST", "/a/Patient?x=1", &cookie, &body);
    assert_eq!(running.send(&bytes).await.status, 200);
    assert_eq!(running.get("/a/Patient/1").await.status, 200);
    until_seen(&second, 2).await;
    let mut seen = second.seen();
    seen.sort_by_key(|seen| seen.line().to_owned());
    assert_eq!(seen[0].line(), "GET /a/Patient/1 HTTP/1.1");
    assert_eq!(seen[1].line(), "POST /a/Patient?x=1 HTTP/1.1");
    assert_eq!(seen[1].body.len(), body.len());
    assert_eq!(seen[1].values("x-kept"), ["1"]);
    for name in ["authorization", "cookie"] {
        assert_eq!(seen[1].values(name), [""; 0], "{name}");
    }
    assert_eq!(first.seen().len(), 2);
    // Longer than what is copied: the request passes, its copy does not.
    let long = running.request("POST", "/a/Patient", &[], &"x".repeat(2 << 20));
    assert_eq!(running.send(&long).await.status, 200);
    assert_eq!(running.get("/a/Patient/2").await.status, 200);
    until_seen(&second, 3).await;
    assert!(second.seen().iter().all(|seen| seen.body.len() <= body.len()));
}

// GW-009
#[tokio::test]
async fn a_mirror_that_is_down_or_slow_changes_nothing() {
    let (first, second) = (Upstream::start(Play::Echo).await, Upstream::start(Play::Silence).await);
    let mut route = to("/a", "a");
    route["mirror"] = json!({"upstream": "copy", "percent": 100});
    let upstreams =
        json!({"a": upstream(&[&first], json!({})), "copy": upstream(&[&second], json!({}))});
    let running = start_of(json!([route]), upstreams).await;
    let begun = real_now();
    for _ in 0..100 {
        assert_eq!(running.get("/a/Patient/1").await.status, 200);
    }
    drop(second);
    for _ in 0..100 {
        assert_eq!(running.get("/a/Patient/1").await.status, 200);
    }
    // A copy may be under way for 10 s, and no request waited for one.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(first.seen().len(), 200);
}

// GW-013
#[tokio::test]
async fn an_upstream_is_shown_what_a_file_or_the_environment_holds() {
    let there = Upstream::start(Play::Echo).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    std::fs::write(&file, "planted-outgoing-token\n").expect("a file");
    let bearer = json!({"credentials": {"file": file}});
    let basic = json!({"credentials": {"user": "hub", "environment": "LAB_PASSWORD"}});
    let upstreams =
        json!({"bearer": upstream(&[&there], bearer), "basic": upstream(&[&there], basic)});
    let routes = json!([to("/bearer", "bearer"), to("/basic", "basic")]);
    let running = start_alone(|config| {
        alone(config, &routes, &upstreams);
        config.environment = gateway::Environment(|name| {
            (name == "LAB_PASSWORD").then(|| "planted-password".to_owned())
        });
    })
    .await;
    for target in ["/bearer/Patient/1", "/basic/Patient/1"] {
        assert_eq!(running.get(target).await.status, 200);
    }
    let shown: Vec<String> =
        there.seen().iter().map(|seen| seen.values("authorization").join("|")).collect();
    // `hub:planted-password`
    assert_eq!(shown, ["Bearer planted-outgoing-token", "Basic aHViOnBsYW50ZWQtcGFzc3dvcmQ="]);
    let log = running.stop().await.text() + &crate::secrets::captured_logs();
    assert!(!log.contains("planted"), "a secret stands in a log");
}

// GW-013
#[tokio::test]
async fn an_access_token_is_asked_for_with_a_signed_assertion_and_anew_when_its_time_is_over() {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random);
    let pkcs8 = pkcs8.expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8.as_ref(), &random);
    let public = pair.expect("a key").public_key().as_ref().to_vec();
    let encoded = base64::engine::general_purpose::STANDARD.encode(pkcs8.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{encoded}\n-----END PRIVATE KEY-----\n");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key.pem");
    std::fs::write(&file, pem).expect("a file");

    let token = |text: &str| {
        let body = json!({"access_token": text, "token_type": "bearer", "expires_in": 100});
        answer("200 OK", &body.to_string())
    };
    let (issuer, lab) = (Upstream::start(token("one")).await, Upstream::start(Play::Echo).await);
    let credentials = json!({"credentials": {"file": file, "token": {
        "upstream": "issuer", "path": "/token", "audience": "https://issuer.example/token",
        "client": "hub", "key_id": "k-1", "scope": "system/*.rs",
    }}});
    let upstreams = json!({
        "issuer": upstream(&[&issuer], json!({})), "lab": upstream(&[&lab], credentials),
    });
    let running = start_of(json!([to("/lab", "lab")]), upstreams).await;
    let shown = async |status: u16| {
        assert_eq!(running.get("/lab/Patient/1").await.status, status);
        lab.seen().last().map(|seen| seen.values("authorization").join("|")).unwrap_or_default()
    };
    assert_eq!(shown(200).await, "Bearer one");
    assert_eq!(shown(200).await, "Bearer one");
    let asked = issuer.only();
    assert_eq!(asked.line(), "POST /token HTTP/1.1");
    let form = String::from_utf8(asked.body).expect("text");
    assert!(form.contains("grant_type=client_credentials&"), "{form}");
    assert!(form.contains("&scope=system%2F%2A.rs&"), "{form}");
    let assertion = form.rsplit_once("&client_assertion=").expect("an assertion").1;
    let (signed, signature) = assertion.rsplit_once('.').expect("three parts");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public);
    key.verify(signed.as_bytes(), &signature).expect("the key's own signature");
    let parts: Vec<Value> = signed
        .split('.')
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")))
        .collect::<Result<_, _>>()
        .expect("JSON");
    assert_eq!(parts[0], json!({"alg": "ES384", "typ": "JWT", "kid": "k-1"}));
    assert_eq!((&parts[1]["iss"], &parts[1]["sub"]), (&json!("hub"), &json!("hub")));
    assert_eq!(parts[1]["aud"], "https://issuer.example/token");
    let life =
        parts[1]["exp"].as_i64().expect("a time") - parts[1]["iat"].as_i64().expect("a time");
    assert!((1..=300).contains(&life), "{life}");

    // Three quarters of its time are over: another, but the old one while none is given.
    running.clock.advance(Duration::from_secs(80));
    issuer.play(answer("503 Later", ""));
    assert_eq!(shown(200).await, "Bearer one");
    issuer.play(token("two"));
    assert_eq!(shown(200).await, "Bearer two");
    // Refused where it is shown: another for the next request.
    lab.play(answer("401 No", ""));
    assert_eq!(shown(401).await, "Bearer two");
    issuer.play(token("three"));
    lab.play(Play::Echo);
    assert_eq!(shown(200).await, "Bearer three");
    // All of its time is over and nobody gives one: not let through without.
    running.clock.advance(Duration::from_secs(101));
    issuer.play(answer("400 No", "{}"));
    let before = lab.seen().len();
    running.get("/lab/Patient/1").await.is_refusal(503);
    assert_eq!(lab.seen().len(), before);
}

#[tokio::test]
async fn an_authorizer_can_only_refuse_and_its_silence_does() {
    let (judge, lab) =
        (Upstream::start(answer("200 OK", "")).await, Upstream::start(Play::Echo).await);
    let mut route = to("/lab", "lab");
    route["authorizer"] = json!({
        "upstream": "judge", "path": "/check", "timeout_ms": 200, "keep_seconds": 10,
    });
    let upstreams =
        json!({"lab": upstream(&[&lab], json!({})), "judge": upstream(&[&judge], json!({}))});
    let running = start_of(json!([route]), upstreams).await;
    let status = async |target: &str| running.get(target).await.status;
    assert_eq!(status("/lab/Patient/1?x=y").await, 200);
    let asked: Value = serde_json::from_slice(&judge.only().body).expect("JSON");
    assert_eq!(asked["route"], "lab");
    assert_eq!((&asked["method"], &asked["path"]), (&json!("GET"), &json!("/lab/Patient/1")));
    assert_eq!((&asked["query"], &asked["client"]), (&json!("x=y"), &json!("owner")));
    assert_eq!(asked["interaction"], "read");
    // Kept for this very question, and for its time.
    judge.play(answer("403 No", ""));
    assert_eq!(status("/lab/Patient/1?x=y").await, 200);
    assert_eq!(status("/lab/Patient/2").await, 403);
    running.clock.advance(Duration::from_secs(10));
    assert_eq!(status("/lab/Patient/1?x=y").await, 403);
    // What is refused without it is not asked.
    let before = judge.seen().len();
    assert_eq!(running.send(&request("GET", "/lab/Patient/1", &[], "")).await.status, 401);
    assert_eq!(judge.seen().len(), before);
    let reached = lab.seen().len();
    for play in [answer("500 Oh", ""), answer("302 Elsewhere", ""), Play::Drop, Play::Silence] {
        running.clock.advance(Duration::from_secs(10));
        judge.play(play);
        running.get("/lab/Patient/3").await.is_refusal(503);
    }
    assert_eq!(lab.seen().len(), reached, "it fails closed");
}
