//! What the gateway asks beside a request: copies for a second upstream, and an authorizer; and what
//! it shows upstreams of itself.

use std::time::Duration;

use serde_json::{Value, json};

use crate::foreign::{alone, start_of, to, upstream};
use crate::harness::{request, start_alone, within};
use crate::upstream::{Play, Upstream, real_now};

pub(crate) fn answer(status: &str, body: &str) -> Play {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    Play::Bytes((head + body).into_bytes())
}

pub(crate) async fn until_seen(upstream: &Upstream, count: usize) {
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

// GW-009, GW-003
#[tokio::test]
async fn a_copy_has_no_header_that_its_route_sets_or_takes_out_and_fhir_no_cookie() {
    let (first, second) = (Upstream::start(Play::Echo).await, Upstream::start(Play::Echo).await);
    let rules = json!({
        "set": {"x-api-key": "of-the-first"}, "remove": ["x-out"], "rename": {"x-old": "x-new"},
    });
    let mut routes = json!([to("/a", "a"), to("/pages", "a")]);
    for route in routes.as_array_mut().expect("an array") {
        route["mirror"] = json!({"upstream": "copy", "percent": 100});
        route["request_headers"] = rules.clone();
    }
    routes[1]["name"] = json!("pages");
    routes[1]["content"] = json!("other");
    let upstreams =
        json!({"a": upstream(&[&first], json!({})), "copy": upstream(&[&second], json!({}))});
    let running = start_of(routes, upstreams).await;
    let fields = [
        ("Cookie", "session=1"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("X-Api-Key", "of-the-caller"),
        ("X-Out", "1"),
        ("X-Old", "2"),
    ];
    for (number, target, cookie) in [(1, "/a/Patient/1", None), (2, "/pages/a", Some("session=1"))]
    {
        let bytes = running.request("GET", target, &fields, "");
        assert_eq!(running.send(&bytes).await.status, 200);
        until_seen(&second, number).await;
        let seen = first.seen().pop().expect("the request");
        assert_eq!(seen.values("x-api-key"), ["of-the-first"]);
        assert_eq!((seen.values("x-out"), seen.values("x-new")), (vec![], vec!["2"]));
        assert_eq!(seen.values("cookie"), cookie.into_iter().collect::<Vec<_>>(), "{target}");
        let copy = second.seen().pop().expect("the copy");
        assert_eq!(copy.line(), format!("GET {target} HTTP/1.1"));
        for name in ["x-api-key", "x-out", "x-new", "cookie", "proxy-authorization"] {
            assert_eq!(copy.values(name), [""; 0], "{name}: {target}");
        }
        assert_eq!(copy.values("x-old"), ["2"]);
    }
    assert_eq!(first.seen()[0].values("proxy-authorization"), [""; 0]);
}

// GW-005, GW-009
#[tokio::test]
async fn an_endpoint_that_answers_503_to_copies_is_taken_out() {
    let first = Upstream::start(Play::Echo).await;
    let (bad, good) =
        (Upstream::start(answer("503 No", "")).await, Upstream::start(Play::Echo).await);
    let mut route = to("/a", "a");
    route["mirror"] = json!({"upstream": "copy", "percent": 100});
    let upstreams = json!({
        "a": upstream(&[&first], json!({})),
        "copy": upstream(&[&bad, &good], json!({"failures": 2})),
    });
    let running = start_of(json!([route]), upstreams).await;
    for number in 1..=12 {
        assert_eq!(running.get("/a/Patient/1").await.status, 200);
        within("the copy", async {
            while bad.seen().len() + good.seen().len() < number {
                tokio::task::yield_now().await;
            }
        })
        .await;
        if bad.seen().len() == 2 {
            // Its answer is counted once it has come.
            let out = "hearthgate_gateway_upstream_ejections_total{upstream=\"copy\"}";
            within("it to be taken out", async {
                while running.metric(out).await < 1.0 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    }
    assert_eq!(bad.seen().len(), 2);
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

// GW-005
#[tokio::test]
async fn an_authorizer_that_answers_503_is_taken_out() {
    let (bad, good) =
        (Upstream::start(answer("503 No", "")).await, Upstream::start(answer("200 OK", "")).await);
    let lab = Upstream::start(Play::Echo).await;
    let mut route = to("/lab", "lab");
    route["authorizer"] = json!({"upstream": "judge", "path": "/check"});
    let upstreams = json!({
        "lab": upstream(&[&lab], json!({})),
        "judge": upstream(&[&bad, &good], json!({"failures": 2})),
    });
    let running = start_of(json!([route]), upstreams).await;
    let mut refused = 0;
    for _ in 0..20 {
        refused += usize::from(running.get("/lab/Patient/1").await.status == 503);
    }
    assert_eq!((bad.seen().len(), refused), (2, 2));
}
