//! Upstreams that are not the server of ours: where requests land, what reaches them and what
//! comes back, and what becomes of those that go wrong.

use std::time::Duration;

use gateway::{GatewayConfig, Routing, WrittenRoute};
use registry::ClientId;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::harness::{Running, actor, connect, request, start_alone, start_with, within};
use crate::names::Names;
use crate::upstream::{Play, Upstream, real_now};

fn routing(routes: &Value, upstreams: &Value) -> Result<Routing, String> {
    let routes: Vec<WrittenRoute> = serde_json::from_value(routes.clone()).expect("routes");
    let upstreams = serde_json::from_value(upstreams.clone()).expect("upstreams");
    Routing::check(&routes, &upstreams).map_err(|error| error.to_string())
}

/// A gateway of these, without a server of ours.
pub(crate) async fn start_of(routes: Value, upstreams: Value) -> Running {
    start_alone(|config| alone(config, &routes, &upstreams)).await
}

pub(crate) fn alone(config: &mut GatewayConfig, routes: &Value, upstreams: &Value) {
    config.routing = routing(routes, upstreams).unwrap_or_else(|error| panic!("{error}"));
    config.serves_server = false;
}

/// An upstream's text with more members.
pub(crate) fn upstream(endpoints: &[&Upstream], more: Value) -> Value {
    let endpoints: Vec<Value> =
        endpoints.iter().map(|endpoint| json!({"address": endpoint.address.to_string()})).collect();
    let mut text = json!({"endpoints": endpoints, "enforces": "none"});
    merge(&mut text, more);
    text
}

fn merge(text: &mut Value, more: Value) {
    let (Value::Object(text), Value::Object(more)) = (text, more) else { panic!("objects") };
    text.extend(more);
}

pub(crate) fn to(path: &str, upstream: &str) -> Value {
    json!({"name": upstream, "path": path, "upstream": upstream})
}

// GW-002
#[tokio::test]
async fn two_upstreams_get_their_own_requests_and_no_word_of_the_contract() {
    let (one, two) = (Upstream::start(Play::Echo).await, Upstream::start(Play::Echo).await);
    let routes = json!([
        to("/one", "one"),
        {"name": "two", "path": "/two", "upstream": "two", "upstream_path": "/base",
         "content": "other", "request_headers": {"remove": ["x-out"], "set": {"x-in": "1"}},
         "response_headers": {"set": {"x-back": "1"}}},
    ]);
    let upstreams = json!({
        "one": upstream(&[&one], json!({})),
        "two": upstream(&[&two], json!({"host": "two.example"})),
    });
    let running = start_of(routes, upstreams).await;
    running.until_ready().await;
    let forged = [("Hearthgate-Grant", "x"), ("X-Forwarded-For", "10.0.0.1"), ("X-Out", "y")];
    let read = running.send(&running.request("GET", "/one/Patient/1?_x=%20", &forged, "")).await;
    assert_eq!((read.status, read.body.as_str()), (200, "GET /one/Patient/1?_x=%20 HTTP/1.1 0"));
    assert_eq!(read.field("x-back"), None);
    assert!(read.field("x-request-id").is_some());
    let seen = one.only();
    assert_eq!(seen.values("host"), ["localhost"]);
    assert_eq!(seen.values("x-forwarded-host"), ["localhost"]);
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.values("x-out"), ["y"]);
    assert_eq!(seen.values("authorization"), [""; 0]);
    assert!(!seen.head.to_ascii_lowercase().contains("hearthgate"), "{}", seen.head);

    let posted = running.send(&running.request("POST", "/two/a?b", &forged, "body")).await;
    assert_eq!(posted.body, "POST /base/a?b HTTP/1.1 4");
    assert_eq!(posted.field("x-back"), Some("1"));
    let seen = two.only();
    assert_eq!((seen.values("host"), seen.values("x-in")), (vec!["two.example"], vec!["1"]));
    assert_eq!(seen.values("x-out"), [""; 0]);
    assert_eq!(seen.body, b"body");
    assert_eq!(running.get("/three").await.status, 404);
}

// GW-002
#[tokio::test]
async fn the_server_of_ours_is_beside_upstreams_of_others() {
    let other = Upstream::start(Play::Echo).await;
    let (routes, upstreams) =
        (json!([to("/other", "other")]), json!({"other": upstream(&[&other], json!({}))}));
    let (running, stub) =
        start_with(|config| config.routing = routing(&routes, &upstreams).expect("sound")).await;
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    assert_eq!(running.get("/other/Patient/1").await.status, 200);
    assert_eq!((stub.seen().len(), other.seen().len()), (1, 1));
    assert_eq!(running.admin("/readyz").await.json()["parts"]["upstreams"]["other"], true);
}

// GW-003
#[test]
fn a_route_that_promises_limits_that_its_upstream_does_not_enforce_is_refused() {
    let upstreams = |enforces: &str| json!({"lab": {"endpoints": [{"address": "127.0.0.1:1"}], "enforces": enforces}});
    for promise in ["patient", "user"] {
        let routes = json!([
            {"name": "labs", "path": "/lab", "upstream": "lab", "promises": promise}
        ]);
        let refused = routing(&routes, &upstreams("none")).expect_err("it enforces nothing");
        let reason =
            format!("promises {promise}-level limits, and the upstream `lab` enforces none");
        assert!(refused.contains("gateway.routes[0]: promises: the route `labs`"), "{refused}");
        assert!(refused.contains(&reason), "{refused}");
        assert!(routing(&routes, &upstreams("smart-token")).is_ok());
    }
    let refused = routing(&json!([]), &upstreams("grant")).expect_err("no grant leaves");
    assert!(refused.contains("gateway.upstreams.lab: enforces: "), "{refused}");
}

#[test]
fn what_is_wrong_with_routes_and_upstreams_is_said_with_its_place() {
    let upstreams = json!({
        "a": {"endpoints": [{"address": "127.0.0.1:1"}], "enforces": "none"},
        "b": {"endpoints": [{"address": "127.0.0.1:1"}], "enforces": "smart-token"},
    });
    for (routes, said) in [
        (json!([to("/a", "c")]), "gateway.routes[0]: there is no upstream `c`"),
        (json!([to("/a", "a"), {"name": "x", "path": "/a", "upstream": "a"}]), "gateway.routes[1]"),
        (
            json!([{"name": "x", "path": "/x", "split": [
                {"upstream": "a", "weight": 1}, {"upstream": "b", "weight": 1}]}]),
            "enforce different things",
        ),
        (
            json!([{"name": "x", "path": "/x", "upstream": "server", "upstream_path": "/y"}]),
            "upstream_path: it is for other upstreams",
        ),
        (
            json!([{"name": "x", "path": "/x", "upstream": "a",
                 "request_headers": {"set": {"hearthgate-grant": "x"}}}]),
            "request_headers",
        ),
        (json!([{"name": "x", "path": "/x"}]), "name an upstream"),
    ] {
        let refused = routing(&routes, &upstreams).expect_err("it is wrong");
        assert!(refused.contains(said), "{refused}");
    }
    for (member, value) in [
        ("endpoints", json!([])),
        ("endpoints", json!([{"address": "nowhere"}])),
        ("hash_header", json!("x-user")),
        ("failures", json!(0)),
        ("tls", json!({})),
        ("credentials", json!({})),
    ] {
        let mut text = upstreams["a"].clone();
        text[member] = value;
        let refused = routing(&json!([]), &json!({"lab": text})).expect_err("it is wrong");
        assert!(refused.starts_with(&format!("gateway.upstreams.lab: {member}: ")), "{refused}");
    }
}

// GW-003
#[tokio::test]
async fn an_upstream_that_enforces_nothing_is_asked_for_those_alone_who_may_see_everything() {
    let lab = Upstream::start(Play::Echo).await;
    let routes = json!([
        to("/lab", "lab"),
        {"name": "few", "path": "/few", "upstream": "lab", "clients": ["reader"]},
        {"name": "open", "path": "/open", "upstream": "lab", "callers": "public"},
    ]);
    let running = start_of(routes, json!({"lab": upstream(&[&lab], json!({}))})).await;
    let patient =
        running.client_with("patient", "patient", |client| client.patient = "1".parse().ok());
    let reader = running.client("reader", "reader", None);
    let ask = async |key: &str, method: &str, target: &str| {
        let bearer = format!("Bearer {key}");
        let fields = [("Authorization", bearer.as_str())];
        let fields = if key.is_empty() { &[][..] } else { &fields[..] };
        running.send(&request(method, target, fields, "")).await
    };
    for (key, method, target, status) in [
        (reader.as_str(), "GET", "/lab/Patient/1", 200),
        (&reader, "GET", "/lab/Patient?_include=*", 200),
        (&reader, "PUT", "/lab/Patient/1", 403),
        (&reader, "POST", "/lab", 403),
        (&running.owner_key, "POST", "/lab", 200),
        (&patient, "GET", "/lab/Patient/1", 403),
        (&patient, "GET", "/lab/metadata", 200),
        ("", "GET", "/lab/Patient/1", 401),
        ("", "GET", "/open/Patient/1", 200),
        (&reader, "GET", "/few/Patient/1", 200),
        (&running.owner_key, "GET", "/few/Patient/1", 403),
        (&reader, "GET", "/lab/%50atient/1", 400),
        (&reader, "GET", "/lab/../few/Patient/1", 400),
    ] {
        let answer = ask(key, method, target).await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        if status >= 400 {
            answer.is_refusal(status);
        }
    }
    assert_eq!(lab.seen().len(), 6);
    assert!(lab.seen().iter().all(|seen| seen.values("authorization").is_empty()));
}

// GW-003
#[tokio::test]
async fn a_token_is_passed_on_to_who_enforces_it_and_a_key_of_ours_never_is() {
    let ehr = Upstream::start(Play::Echo).await;
    let upstreams = json!({"ehr": upstream(&[&ehr], json!({"enforces": "smart-token"}))});
    let running = start_of(json!([to("/ehr", "ehr")]), upstreams).await;
    let ask = async |authorization: &str| {
        let fields = [("Authorization", authorization)];
        running.send(&request("GET", "/ehr/Patient/1", &fields, "")).await.status
    };
    assert_eq!(ask("Bearer ey.a.b").await, 200);
    assert_eq!(ehr.only().values("authorization"), ["Bearer ey.a.b"]);
    assert_eq!(ask(&format!("Bearer {}", running.owner_key)).await, 401);
    assert_eq!(ask("Basic eDp5").await, 401);
    assert_eq!(ehr.seen().len(), 1);
    // What is open to all, the upstream says itself.
    assert_eq!(running.send(&request("GET", "/ehr/metadata", &[], "")).await.status, 200);
}

// GW-005
#[tokio::test]
async fn no_read_fails_while_an_endpoint_is_killed_and_it_comes_back_by_itself() {
    let (one, two) = (Upstream::start(Play::Echo).await, Upstream::start(Play::Echo).await);
    let more = json!({"health": {"path": "/up", "interval_ms": 100, "timeout_ms": 100, "down": 1}});
    let running =
        start_of(json!([to("/a", "a")]), json!({"a": upstream(&[&one, &two], more)})).await;
    let reads = async |number: usize| {
        for _ in 0..number {
            assert_eq!(running.get("/a/Patient/1").await.status, 200);
        }
    };
    let reached = |two: &Upstream| two.seen().iter().any(|seen| seen.line().contains("/a/"));
    reads(10).await;
    assert!(reached(&two));
    let checks = |result: &str| {
        format!("hearthgate_gateway_upstream_checks_total{{result=\"{result}\",upstream=\"a\"}}")
    };
    let address = two.address;
    drop(two);
    reads(40).await;
    within("a check that fails", async {
        while running.metric(&checks("failed")).await < 1.0 {
            reads(1).await;
        }
    })
    .await;
    let two = Upstream::start_at(address, Play::Echo).await;
    let back = real_now();
    within("requests at the endpoint that is back", async {
        while !reached(&two) {
            reads(1).await;
        }
    })
    .await;
    // Two intervals, and time for the machine.
    assert!(back.elapsed() < Duration::from_millis(200 + 300), "{:?}", back.elapsed());
    assert!(running.metric(&checks("passed")).await >= 1.0);
}

// GW-005, GW-050
#[tokio::test]
async fn failing_requests_take_an_endpoint_out_without_checks() {
    let (one, two) = (Upstream::start(Play::Echo).await, Upstream::start(Play::Drop).await);
    let more = json!({"failures": 2, "ejection_ms": 1000});
    let running =
        start_of(json!([to("/a", "a")]), json!({"a": upstream(&[&one, &two], more)})).await;
    for _ in 0..20 {
        assert_eq!(running.get("/a/Patient/1").await.status, 200);
    }
    assert_eq!(two.seen().len(), 2);
    for (line, value) in [
        ("ejections_total{upstream=\"a\"}", 1.0),
        ("endpoints{state=\"available\",upstream=\"a\"}", 1.0),
        ("endpoints{state=\"out\",upstream=\"a\"}", 1.0),
        ("ready{upstream=\"a\"}", 1.0),
    ] {
        let line = format!("hearthgate_gateway_upstream_{line}");
        assert_eq!(running.metric(&line).await, value, "{line}");
    }
    running.clock.advance(Duration::from_secs(1));
    two.play(Play::Echo);
    for _ in 0..4 {
        assert_eq!(running.get("/a/Patient/1").await.status, 200);
    }
    assert_eq!(two.seen().len(), 4);
}

// GW-006
#[tokio::test]
async fn of_a_hundred_requests_to_a_slow_upstream_ten_are_under_way_and_the_rest_refused_at_once() {
    let slow = Upstream::start(Play::AfterGo).await;
    let more = json!({"in_flight": 10, "pending": 0});
    let running = start_of(json!([to("/a", "a")]), json!({"a": upstream(&[&slow], more)})).await;
    let bytes = running.request("GET", "/a/Patient/1", &[], "");
    let mut requests = JoinSet::new();
    for _ in 0..100 {
        let (bytes, listen) = (bytes.clone(), running.bound.listen);
        requests.spawn(async move {
            let mut connection = connect(listen).await;
            connection.write(bytes.as_bytes()).await;
            connection.read_answer().await
        });
    }
    for _ in 0..90 {
        let refused = within("a refusal", requests.join_next()).await.expect("100 of them");
        let refused = refused.expect("no panic");
        refused.is_refusal(503);
        assert_eq!(refused.field("retry-after"), Some("1"));
    }
    assert_eq!(slow.seen().len(), 10);
    let under_way = "hearthgate_gateway_upstream_requests_in_flight{upstream=\"a\"}";
    assert_eq!(running.metric(under_way).await, 10.0);
    slow.go();
    while let Some(answer) = requests.join_next().await {
        assert_eq!(answer.expect("no panic").status, 200);
    }
    assert_eq!(running.metric("hearthgate_gateway_requests_in_flight").await, 0.0);
    slow.play(Play::Echo);
    assert_eq!(running.get("/a/Patient/1").await.status, 200);
}

#[tokio::test]
async fn requests_that_may_wait_are_answered_one_after_the_other() {
    let one = Upstream::start(Play::AfterGo).await;
    let more = json!({"in_flight": 1, "pending": 1});
    let running = start_of(json!([to("/a", "a")]), json!({"a": upstream(&[&one], more)})).await;
    let bytes = running.request("GET", "/a/Patient/1", &[], "");
    let mut first = running.connect().await;
    first.write(bytes.as_bytes()).await;
    within("the first", async {
        while one.seen().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut second = running.connect().await;
    second.write(bytes.as_bytes()).await;
    one.play(Play::Echo);
    one.go();
    assert_eq!(first.read_answer().await.status, 200);
    assert_eq!(second.read_answer().await.status, 200);
}

// GW-007
#[tokio::test]
async fn a_read_is_sent_once_more_elsewhere_and_a_write_is_seen_exactly_once() {
    let (gone, there) = (Upstream::start(Play::Drop).await, Upstream::start(Play::Echo).await);
    let more = json!({"failures": 100});
    let upstreams = json!({
        "both": upstream(&[&gone, &there], more.clone()),
        "gone": upstream(&[&gone], more),
    });
    let running = start_of(json!([to("/both", "both"), to("/gone", "gone")]), upstreams).await;
    for method in ["GET", "OPTIONS"] {
        for _ in 0..4 {
            let bytes = running.request(method, "/both/Patient", &[], "");
            let answer = running.send(&bytes).await;
            assert!([200, 405].contains(&answer.status), "{method} {answer:?}");
        }
    }
    let before = gone.seen().len();
    assert!(before >= 2);
    running.send(&running.request("POST", "/gone/Patient", &[], "{}")).await.is_refusal(502);
    running.send(&running.request("DELETE", "/gone/Patient/1", &[], "")).await.is_refusal(502);
    assert_eq!(gone.seen().len(), before + 2);
    running.get("/gone/Patient/1").await.is_refusal(503);
    assert_eq!(gone.seen().len(), before + 3, "there is no other endpoint");
}

/// By when a request has ended by its limit of at most 300 ms, on a machine that has other things
/// to do. Without that limit none of these ends before the others, which are of 30 s and more.
const LATEST: Duration = Duration::from_secs(10);

// GW-008
#[tokio::test]
async fn each_time_limit_ends_its_request() {
    let slow = Upstream::start(Play::Silence).await;
    // A queue of one that nobody takes from: what comes after it gets no connection.
    let full = TcpSocket::new_v4().expect("a socket");
    full.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let full = full.listen(1).expect("it listens");
    let full_address = full.local_addr().expect("an address");
    let mut waiting = JoinSet::new();
    for _ in 0..4 {
        waiting.spawn(tokio::net::TcpStream::connect(full_address));
    }
    let mut upstreams = json!({
        "full": {"endpoints": [{"address": full_address.to_string()}], "enforces": "none",
                 "connect_ms": 200},
        "first": upstream(&[&slow], json!({"first_byte_ms": 200})),
        "between": upstream(&[&slow], json!({"between_bytes_ms": 200})),
        "whole": upstream(&[&slow], json!({"whole_ms": 300})),
    });
    upstreams["first"]["failures"] = json!(100);
    let routes = json!([
        to("/full", "full"),
        to("/first", "first"),
        to("/between", "between"),
        to("/whole", "whole"),
    ]);
    let running = start_of(routes, upstreams).await;
    let timed = async |target: &str| {
        let begun = real_now();
        let answer = running.get(target).await;
        (answer, begun.elapsed())
    };
    for (target, least) in
        [("/full/Patient/1", 200), ("/first/Patient/1", 200), ("/whole/Patient/1", 300)]
    {
        let (answer, took) = timed(target).await;
        answer.is_refusal(504);
        let expected = Duration::from_millis(least)..LATEST;
        assert!(expected.contains(&took), "{target} took {took:?}");
    }
    let cut = async |target: &str| {
        let mut connection = running.connect().await;
        connection.write(running.request("GET", target, &[], "").as_bytes()).await;
        let begun = real_now();
        connection.drain().await;
        begun.elapsed()
    };
    slow.play(Play::Stuck);
    let took = cut("/between/Patient/1").await;
    assert!(took < LATEST, "{took:?}");
    slow.play(Play::Drip);
    let took = cut("/whole/Patient/1").await;
    assert!(took < LATEST, "{took:?}");
    let log = running.stop().await.text();
    assert_eq!(log.matches("\"refusal\":\"server-too-slow\"").count(), 5, "{log}");
}

// GW-010
#[tokio::test]
async fn answers_pass_byte_for_byte_whatever_their_status() {
    let odd = Upstream::start(Play::Echo).await;
    let routes = json!([
        to("/fhir", "odd"),
        {"name": "other", "path": "/other", "upstream": "odd", "content": "other"},
    ]);
    let running = start_of(routes, json!({"odd": upstream(&[&odd], json!({}))})).await;
    let body: String = (0..5000).map(|number| format!("{{\"n\" : {number}}}\r\n \t")).collect();
    for status in ["200 OK", "404 Not Found", "418 Teapot", "500 Oh", "503 Later"] {
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/odd\r\nX-Odd:  a, b \r\nETag: W/\"7\"\r\n\
             Hearthgate-Nonce: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        odd.play(Play::Bytes(answer.into_bytes()));
        let answer = running.get("/fhir/Patient/1").await;
        assert_eq!(answer.status.to_string(), status[..3]);
        assert!(answer.body == body, "the body changed");
        assert_eq!(answer.field("content-type"), Some("text/odd"));
        assert_eq!(answer.field("x-odd"), Some("a, b"));
        assert_eq!(answer.field("hearthgate-nonce"), None);
    }
    odd.play(Play::Drop);
    let posted = |path: &str| running.request("POST", path, &[], "{}");
    running.send(&posted("/fhir/Patient")).await.is_refusal(502);
    let elsewhere = running.send(&posted("/other/x")).await;
    assert_eq!(elsewhere.field("content-type"), Some("application/problem+json"));
    let problem = elsewhere.json();
    assert_eq!((&problem["status"], &problem["title"]), (&json!(502), &json!("server-broken")));
    assert_eq!(problem["requestId"], elsewhere.field("x-request-id").expect("an id"));
}

// GW-012
#[tokio::test]
async fn a_websocket_passes_both_ways_with_a_cap_and_an_end_to_silence() {
    let socket = Upstream::start(Play::Mirror).await;
    let more = json!({"sockets": 1, "socket_idle_ms": 300, "first_byte_ms": 150, "whole_ms": 100});
    let routes = json!([{"name": "a", "path": "/a", "upstream": "a", "content": "other"}]);
    let running = start_of(routes, json!({"a": upstream(&[&socket], more)})).await;
    let fields = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let upgrade = running.request("GET", "/a/ws", &fields, "");
    let mut open = running.connect().await;
    open.write(upgrade.as_bytes()).await;
    assert_eq!(open.read_head().await.status, 101);
    for round in 0..5 {
        let text = format!("round {round}");
        open.write(text.as_bytes()).await;
        assert_eq!(open.read_exact(text.len()).await, text);
        // Longer together than every limit of a request.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(running.send(&upgrade).await.status, 503);
    let begun = real_now();
    open.drain().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    within("room for another", async {
        loop {
            let mut again = running.connect().await;
            again.write(upgrade.as_bytes()).await;
            if again.read_head().await.status == 101 {
                break;
            }
        }
    })
    .await;
}

// GW-034
#[tokio::test]
async fn a_websocket_and_a_long_answer_end_once_their_caller_is_revoked() {
    let lab = Upstream::start(Play::Mirror).await;
    let routes = json!([{"name": "a", "path": "/a", "upstream": "a", "content": "other"}]);
    let running = start_of(routes, json!({"a": upstream(&[&lab], json!({}))})).await;
    let [revoked, stays] =
        ["revoked", "stays"].map(|id| (id.to_owned(), running.client(id, "all", None)));
    let mut open = Vec::new();
    for (_, key) in [&revoked, &stays] {
        let authorization = format!("Bearer {key}");
        let fields = [
            ("Authorization", authorization.as_str()),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut socket = running.connect().await;
        socket.write(request("GET", "/a/ws", &fields, "").as_bytes()).await;
        assert_eq!(socket.read_head().await.status, 101);
        open.push(socket);
    }
    let key = running.registry.named_by(&revoked.1).expect("a key");
    running.registry.revoke_key(&key, &actor()).expect("it was good");
    let begun = real_now();
    open[0].drain().await;
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    // The other's goes on, looked at as often.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    open[1].write(b"still").await;
    assert_eq!(open[1].read_exact(5).await, "still");
    // What waits for an answer ends like any request of theirs.
    lab.play(Play::Silence);
    let mut waiting = running.connect().await;
    let authorization = format!("Bearer {}", stays.1);
    let fields = [("Authorization", authorization.as_str())];
    waiting.write(request("GET", "/a/Patient/1", &fields, "").as_bytes()).await;
    within("it is there", async {
        while lab.seen().len() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let client = ClientId::new("stays").expect("an id");
    running.registry.disable_client(&client, &actor()).expect("a client");
    assert_eq!(waiting.read_answer().await.status, 401);
    open[1].drain().await;
}

#[tokio::test]
async fn an_upstream_whose_links_lead_past_the_gateway_is_not_ready() {
    let says = |base: &str| {
        let body = json!({"implementation": {"url": base}}).to_string();
        let length = body.len();
        Play::Bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into())
    };
    let lab = Upstream::start(says("http://10.0.0.7/fhir")).await;
    let health = json!({"health": {
        "path": "/metadata", "interval_ms": 50,
        "base_pointer": "/implementation/url", "base": "https://hub.example/lab",
    }});
    let running =
        start_of(json!([to("/lab", "lab")]), json!({"lab": upstream(&[&lab], health)})).await;
    within("a check", async {
        while lab.seen().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let unready = running.until_readyz(503).await;
    assert_eq!(unready.json()["parts"], json!({"gateway": true, "upstreams": {"lab": false}}));
    lab.play(says("https://hub.example/lab"));
    running.until_readyz(200).await;
}

// GW-014
#[tokio::test]
async fn names_of_endpoints_are_resolved() {
    let named = Upstream::start(Play::Echo).await;
    let address = format!("localhost:{}", named.address.port());
    let upstreams = json!({"a": {"endpoints": [{"address": address}], "enforces": "none"}});
    let running = start_of(json!([to("/a", "a")]), upstreams).await;
    running.until_ready().await;
    assert_eq!(running.get("/a/Patient/1").await.status, 200);
}

// GW-014
#[tokio::test]
async fn a_name_is_asked_for_again_when_its_answer_holds_no_more() {
    let first = Upstream::start(Play::Echo).await;
    let port = first.address.port();
    let second =
        Upstream::start_at(std::net::SocketAddr::from(([127, 0, 0, 2], port)), Play::Echo).await;
    let names = Names::start(&[[127, 0, 0, 1].into()], 1).await;
    let routes = json!([to("/a", "a")]);
    let upstreams = json!({
        "a": {"endpoints": [{"address": format!("lab.example.org:{port}")}], "enforces": "none"},
    });
    let running = start_alone(|config| {
        alone(config, &routes, &upstreams);
        config.resolvers = vec![names.address];
    })
    .await;
    running.until_ready().await;
    assert_eq!(running.get("/a/Patient/1").await.status, 200);
    assert_eq!((first.seen().len(), second.seen().len()), (1, 0));
    names.are_at(&[[127, 0, 0, 2].into()]);
    let begun = real_now();
    within("requests at its new place", async {
        while second.seen().is_empty() {
            assert_eq!(running.get("/a/Patient/1").await.status, 200);
        }
    })
    .await;
    // A second, and time for the machine: far from where answers do not say how long they hold.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(names.asked() <= 2 + 5, "{}", names.asked());
    // Nobody knows it any more: it stays where it was.
    names.are_at(&[]);
    let asked = names.asked();
    within("two more questions", async {
        while names.asked() < asked + 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(running.get("/a/Patient/1").await.status, 200);
}

// GW-061
#[tokio::test]
async fn a_reload_changes_routes_and_keeps_what_is_known_of_upstreams_that_stay() {
    let (one, two) = (Upstream::start(Play::Echo).await, Upstream::start(Play::Drop).await);
    let upstreams = json!({"a": upstream(&[&one, &two], json!({"failures": 1}))});
    let running = start_of(json!([to("/a", "a")]), upstreams.clone()).await;
    for _ in 0..4 {
        assert_eq!(running.get("/a/Patient/1").await.status, 200);
    }
    // Taken out, and still so when routes change.
    assert_eq!(two.seen().len(), 1);
    let routes = json!([to("/b", "a")]);
    running.reload(|config| alone(config, &routes, &upstreams)).await.expect("it is sound");
    for _ in 0..4 {
        assert_eq!(running.get("/b/Patient/1").await.status, 200);
    }
    assert_eq!(two.seen().len(), 1);
    assert_eq!(running.get("/a/Patient/1").await.status, 404);
}

// GW-005
#[tokio::test]
async fn a_client_that_stalls_takes_no_endpoint_out() {
    let endless = Play::Bytes(
        [b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n".to_vec(), vec![b'x'; 67_108_864]]
            .concat(),
    );
    let (one, two) = (Upstream::start(endless.clone()).await, Upstream::start(endless).await);
    let more = json!({"failures": 1, "first_byte_ms": 200, "between_bytes_ms": 200});
    let (routes, upstreams) = (json!([to("/a", "a")]), json!({"a": upstream(&[&one, &two], more)}));
    let running = start_alone(|config| {
        alone(config, &routes, &upstreams);
        config.limits.idle = Duration::from_secs(1);
    })
    .await;
    // Two that do not read their answers, and two that do not send their bodies.
    for _ in 0..2 {
        let mut lazy = running.connect().await;
        lazy.write(running.request("GET", "/a/Patient/1", &[], "").as_bytes()).await;
        assert_eq!(lazy.read_head().await.status, 200);
        within("the end of its request", async {
            while running.metric("hearthgate_gateway_requests_in_flight").await > 0.0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    for _ in 0..2 {
        let mut lazy = running.connect().await;
        let fields = [("Content-Length", "100")];
        lazy.write(running.request("POST", "/a/Patient", &fields, "{").as_bytes()).await;
        assert_eq!(lazy.read_answer().await.status, 408);
    }
    one.play(Play::Echo);
    two.play(Play::Echo);
    let before = (one.seen().len(), two.seen().len());
    for _ in 0..4 {
        assert_eq!(running.get("/a/Patient/1").await.status, 200);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (before.0 + 2, before.1 + 2));
    let log = running.stop().await.text();
    assert_eq!(log.matches("\"refusal\":\"client-too-slow\"").count(), 4, "{log}");
}

// GW-022
#[tokio::test]
async fn a_body_that_trickles_to_an_upstream_of_others_is_ended() {
    let lab = Upstream::start(Play::Echo).await;
    let more = json!({"in_flight": 1, "pending": 0});
    let running = start_of(json!([to("/a", "a")]), json!({"a": upstream(&[&lab], more)})).await;
    let mut slow = running.connect().await;
    let fields = [("Content-Length", "100000")];
    slow.write(running.request("POST", "/a/Patient", &fields, "{").as_bytes()).await;
    within("its place to be taken", async {
        while running.get("/a/Patient/1").await.status != 503 {}
    })
    .await;
    running.clock.advance(Duration::from_secs(60));
    slow.write(b"x").await;
    assert_eq!(slow.read_answer().await.status, 408);
    within("its place to be free", async {
        while running.get("/a/Patient/1").await.status != 200 {}
    })
    .await;
}

// GW-012
#[tokio::test]
async fn only_what_asks_for_a_websocket_takes_the_place_of_one() {
    let lab = Upstream::start(Play::Echo).await;
    let routes = json!([{"name": "a", "path": "/a", "upstream": "a", "content": "other"}]);
    let running = start_of(routes, json!({"a": upstream(&[&lab], json!({"sockets": 1}))})).await;
    let websocket = [
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let with = |at: usize, value: &'static str| {
        let mut fields = websocket;
        fields[at].1 = value;
        fields
    };
    for fields in [
        with(0, "keep-alive"),
        with(1, "h2c"),
        with(1, "websocket, h2c"),
        with(2, "12"),
        with(3, "c2hvcnQ="),
    ] {
        let bytes = running.request("GET", "/a/ws", &fields, "");
        assert_eq!(running.send(&bytes).await.status, 200);
        assert_eq!(lab.seen().last().expect("it").values("upgrade"), [""; 0], "{fields:?}");
    }
    let posted = running.request("POST", "/a/ws", &websocket, "body");
    assert_eq!(running.send(&posted).await.body, "POST /a/ws HTTP/1.1 4");
    lab.play(Play::Mirror);
    let mut open = running.connect().await;
    open.write(running.request("GET", "/a/ws", &websocket, "").as_bytes()).await;
    assert_eq!(open.read_head().await.status, 101);
}

// GW-061
#[tokio::test]
async fn a_reload_keeps_what_is_known_of_an_upstream_that_has_credentials() {
    let (one, two) = (Upstream::start(Play::Echo).await, Upstream::start(Play::Drop).await);
    let dir = tempfile::tempdir().expect("a directory");
    let token = dir.path().join("token");
    let write = |text: &str| {
        std::fs::write(&token, text).expect("a file");
        let rights = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&token, rights).expect("our file");
    };
    write("first");
    let more = json!({"failures": 1, "credentials": {"file": token}});
    let upstreams = json!({"a": upstream(&[&one, &two], more)});
    let routes = json!([to("/a", "a")]);
    let running = start_of(routes.clone(), upstreams.clone()).await;
    for _ in 0..4 {
        assert_eq!(running.get("/a/Patient/1").await.status, 200);
    }
    assert_eq!(two.seen().len(), 1);
    write("second");
    running.reload(|config| alone(config, &routes, &upstreams)).await.expect("it is sound");
    for _ in 0..4 {
        assert_eq!(running.get("/a/Patient/1").await.status, 200);
    }
    assert_eq!(two.seen().len(), 1, "it is still out");
    assert_eq!(one.seen().last().expect("it").values("authorization"), ["Bearer second"]);
}
