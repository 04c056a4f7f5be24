//! Access tokens that the gateway gets for itself: how they are asked for, what happens while none
//! is given, and what a refusal of one costs.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::beside::{answer, until_seen};
use crate::foreign::{start_of, to, upstream};
use crate::harness::{Answer, Running, connect, within};
use crate::upstream::{Play, Upstream, real_now};

/// The key of the gateway, in a file.
struct Key {
    _dir: TempDir,
    file: PathBuf,
    public: Vec<u8>,
}

impl Key {
    fn make() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random);
        let public = pair.expect("a key").public_key().as_ref().to_vec();
        let encoded = base64::engine::general_purpose::STANDARD.encode(pkcs8.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{encoded}\n-----END PRIVATE KEY-----\n");
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("key.pem");
        std::fs::write(&file, pem).expect("a file");
        Self { _dir: dir, file, public }
    }

    /// An upstream's member: tokens that the upstream `issuer` gives.
    fn credentials(&self) -> Value {
        json!({"credentials": {"file": self.file, "token": {
            "upstream": "issuer", "path": "/token", "audience": "https://issuer.example/token",
            "client": "hub", "key_id": "k-1", "scope": "system/*.rs",
        }}})
    }

    /// The same with more members.
    fn and(&self, more: Value) -> Value {
        let (mut members, Value::Object(more)) = (self.credentials(), more) else {
            panic!("an object")
        };
        members.as_object_mut().expect("an object").extend(more);
        members
    }
}

/// An answer with a token that is good for 100 s.
fn token(text: &str) -> Play {
    let body = json!({"access_token": text, "token_type": "bearer", "expires_in": 100});
    answer("200 OK", &body.to_string())
}

// GW-013
#[tokio::test]
async fn a_token_that_never_ends_is_one() {
    let key = Key::make();
    let body = json!({"access_token": "one", "token_type": "Bearer", "expires_in": u64::MAX});
    let issuer = Upstream::start(answer("200 OK", &body.to_string())).await;
    let lab = Upstream::start(Play::Echo).await;
    let upstreams = json!({
        "issuer": upstream(&[&issuer], json!({})), "lab": upstream(&[&lab], key.credentials()),
    });
    let running = start_of(json!([to("/lab", "lab")]), upstreams).await;
    for _ in 0..2 {
        assert_eq!(running.get("/lab/Patient/1").await.status, 200);
        assert_eq!(lab.seen().last().expect("a request").values("authorization"), ["Bearer one"]);
        running.clock.advance(Duration::from_secs(3600));
    }
    assert_eq!(issuer.only().line(), "POST /token HTTP/1.1");
}

/// So many requests at once, as the owner.
fn ask_at_once(running: &Running, number: usize, target: &str) -> JoinSet<Answer> {
    let mut asking = JoinSet::new();
    for _ in 0..number {
        let (bytes, listen) = (running.request("GET", target, &[], ""), running.bound.listen);
        asking.spawn(async move {
            let mut connection = connect(listen).await;
            connection.write(bytes.as_bytes()).await;
            connection.read_answer().await
        });
    }
    asking
}

// GW-013
#[tokio::test]
async fn an_access_token_is_asked_for_with_a_signed_assertion_and_anew_when_its_time_is_over() {
    let key = Key::make();
    let (issuer, lab) = (Upstream::start(token("one")).await, Upstream::start(Play::Echo).await);
    let upstreams = json!({
        "issuer": upstream(&[&issuer], json!({})), "lab": upstream(&[&lab], key.credentials()),
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
    let public = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &key.public);
    public.verify(signed.as_bytes(), &signature).expect("the key's own signature");
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
    until_seen(&issuer, 2).await;
    assert_eq!(shown(200).await, "Bearer one");
    issuer.play(token("two"));
    within("another token", async { while shown(200).await != "Bearer two" {} }).await;
    // Refused where it is shown: another as soon as it is given.
    issuer.play(token("three"));
    lab.play(answer("401 No", ""));
    assert_eq!(shown(401).await, "Bearer two");
    lab.play(Play::Echo);
    within("another token", async { while shown(200).await != "Bearer three" {} }).await;
    // All of its time is over and nobody gives one: not let through without.
    running.clock.advance(Duration::from_secs(101));
    issuer.play(answer("400 No", "{}"));
    let before = lab.seen().len();
    running.get("/lab/Patient/1").await.is_refusal(503);
    assert_eq!(lab.seen().len(), before);
}

// GW-013
#[tokio::test]
async fn a_token_is_asked_for_once_for_all_and_a_failure_is_everybodys_for_a_second() {
    let key = Key::make();
    let (issuer, lab) = (Upstream::start(Play::AfterGo).await, Upstream::start(Play::Echo).await);
    let upstreams = json!({
        "issuer": upstream(&[&issuer], json!({})), "lab": upstream(&[&lab], key.credentials()),
    });
    let running = start_of(json!([to("/lab", "lab")]), upstreams).await;
    let asking = ask_at_once(&running, 20, "/lab/Patient/1");
    let waiting = "hearthgate_gateway_upstream_requests_in_flight{upstream=\"lab\"}";
    within("twenty that wait", async { while running.metric(waiting).await < 20.0 {} }).await;
    until_seen(&issuer, 1).await;
    // It answers what is no token, and whoever asks next is given one.
    issuer.play(token("one"));
    let failing = real_now();
    issuer.go();
    for refused in within("the refusals", asking.join_all()).await {
        refused.is_refusal(503);
    }
    // Whoever comes within the second is refused as they were, and nobody is asked.
    within("a token", async { while running.get("/lab/Patient/1").await.status != 200 {} }).await;
    assert!(failing.elapsed() >= Duration::from_secs(1), "{:?}", failing.elapsed());
    assert_eq!((issuer.seen().len(), lab.seen().len()), (2, 1));
}

// GW-005, GW-006, GW-013
#[tokio::test]
async fn a_token_endpoint_that_hangs_is_waited_for_within_the_limits_of_whoever_asks() {
    let key = Key::make();
    let issuer = Upstream::start(Play::Silence).await;
    let (lab, judge) =
        (Upstream::start(Play::Echo).await, Upstream::start(answer("200 OK", "")).await);
    let health = json!({"path": "/up", "interval_ms": 20, "timeout_ms": 200});
    let open = json!({"name": "open", "path": "/open", "upstream": "open", "authorizer": {
        "upstream": "judge", "path": "/check", "timeout_ms": 200,
    }});
    let upstreams = json!({
        "issuer": upstream(&[&issuer], json!({})),
        "lab": upstream(&[&lab], key.and(json!({"whole_ms": 200, "health": health}))),
        "open": upstream(&[&lab], json!({})),
        "judge": upstream(&[&judge], key.credentials()),
    });
    let begun = real_now();
    let running = start_of(json!([to("/lab", "lab"), open]), upstreams).await;
    for target in ["/lab/Patient/1", "/open/Patient/1"] {
        for refused in ask_at_once(&running, 10, target).join_all().await {
            refused.is_refusal(503);
        }
    }
    // Checks go on without one: their answers say that all is well.
    until_seen(&lab, 3).await;
    assert!(lab.seen().iter().all(|seen| seen.line() == "GET /up HTTP/1.1"));
    assert!(judge.seen().is_empty());
    running.until_ready().await;
    // One asking takes 10 s, all of which whoever waited for its end would have waited.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // Each upstream has a token of its own.
    assert_eq!(issuer.seen().len(), 2);
}

// GW-013
#[tokio::test]
async fn an_upstream_that_answers_401_to_everything_costs_few_tokens_and_nobody_waits() {
    let key = Key::make();
    let (issuer, lab) = (Upstream::start(token("one")).await, Upstream::start(Play::Echo).await);
    let upstreams = json!({
        "issuer": upstream(&[&issuer], json!({})), "lab": upstream(&[&lab], key.credentials()),
    });
    let running = start_of(json!([to("/lab", "lab")]), upstreams).await;
    assert_eq!(running.get("/lab/Patient/1").await.status, 200);
    let refused = async |times: usize, shown: &str| {
        for _ in 0..times {
            assert_eq!(running.get("/lab/Patient/1").await.status, 401);
            let seen = lab.seen().pop().expect("it");
            assert_eq!(seen.values("authorization"), [shown]);
        }
    };
    lab.play(answer("401 No", ""));
    issuer.play(token("two"));
    assert_eq!(running.get("/lab/Patient/1").await.status, 401);
    within("another token", async {
        loop {
            assert_eq!(running.get("/lab/Patient/1").await.status, 401);
            let seen = lab.seen().pop().expect("it");
            if seen.values("authorization") == ["Bearer two"] {
                break;
            }
        }
    })
    .await;
    refused(20, "Bearer two").await;
    assert_eq!(issuer.seen().len(), 2);
    // Some seconds later a refusal counts again. The token stays until there is another.
    running.clock.advance(Duration::from_secs(5));
    issuer.play(Play::AfterGo);
    refused(10, "Bearer two").await;
    until_seen(&issuer, 3).await;
    issuer.go();
    refused(10, "Bearer two").await;
    assert_eq!(issuer.seen().len(), 3);
}

// GW-005
#[tokio::test]
async fn an_endpoint_that_gives_503_for_a_token_is_taken_out() {
    let key = Key::make();
    let (bad, good) =
        (Upstream::start(answer("503 No", "")).await, Upstream::start(token("one")).await);
    let lab = Upstream::start(Play::Echo).await;
    let more = json!({"failures": 1, "ejection_ms": 3_600_000, "longest_ejection_ms": 3_600_000});
    let upstreams = json!({
        "issuer": upstream(&[&bad, &good], more), "lab": upstream(&[&lab], key.credentials()),
    });
    let running = start_of(json!([to("/lab", "lab")]), upstreams).await;
    for _ in 0..3 {
        within("a token", async { while running.get("/lab/Patient/1").await.status != 200 {} })
            .await;
        running.clock.advance(Duration::from_secs(101));
    }
    assert_eq!((bad.seen().len(), good.seen().len()), (1, 3));
}
