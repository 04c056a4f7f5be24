//! Plans: what they refuse, delay and tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gateway::{GatewayConfig, Limiting, Plans, WrittenPlan};
use registry::PlanName;
use tokio::time::Instant;

use crate::harness::{Answer, Running, request, start_with, within};
use crate::stub::{Script, Stub};

fn name(text: &str) -> PlanName {
    text.parse().expect("a plan's name")
}

fn plan(text: serde_json::Value) -> WrittenPlan {
    let mut text = text;
    text["says"] = "For a test.".into();
    serde_json::from_value(text).expect("a plan's text")
}

/// A gateway with one plan, and the key of a client that has it.
async fn start_with_plan(
    text: serde_json::Value,
    change: impl FnOnce(&mut GatewayConfig),
) -> (Running, Stub, String) {
    let plans = Plans::new(&BTreeMap::from([(name("app"), plan(text))])).expect("a plan");
    let (running, stub) = start_with(|config| {
        config.limiting = Arc::new(Limiting::in_memory(plans));
        change(config);
    })
    .await;
    let key = running.client_with("app", "all", |client| client.plan = Some(name("app")));
    (running, stub, key)
}

fn asking(key: &str, method: &str, body: &str) -> String {
    let authorization = format!("Bearer {key}");
    request(method, "/fhir/Patient/1", &[("Authorization", &authorization)], body)
}

async fn get(running: &Running, key: &str) -> Answer {
    running.send(&asking(key, "GET", "")).await
}

/// The parameter of one limit's member of a list.
fn parameter(field: &str, limit: &str, name: &str) -> Option<u64> {
    let member = field.split(", ").find(|one| one.starts_with(&format!("\"{limit}\"")))?;
    let mut parameters = member.split(';').skip(1);
    let found = parameters.find_map(|one| one.strip_prefix(name)?.strip_prefix('='));
    found?.parse().ok()
}

// GW-043
#[tokio::test]
async fn every_answer_tells_of_every_limit_and_agrees_with_what_follows() {
    let text = serde_json::json!({
        "rates": [{ "per_second": 10, "burst": 3 }],
        "quotas": [{ "of": "requests", "most": 5, "per": "hour" }],
    });
    let (running, stub, key) = start_with_plan(text, |_| {}).await;
    let policy = "\"client-per-second\";q=3;w=1, \"requests-per-hour\";q=5;w=3600;qu=\"requests\"";
    let state = |answer: &Answer, limit| {
        assert_eq!(answer.field("ratelimit-policy"), Some(policy));
        parameter(answer.field("ratelimit").expect("a state"), limit, "r")
    };
    for (rate, quota) in [(2, 4), (1, 3), (0, 2)] {
        let answer = get(&running, &key).await;
        assert_eq!(answer.status, 200);
        assert_eq!(state(&answer, "client-per-second"), Some(rate));
        assert_eq!(state(&answer, "requests-per-hour"), Some(quota));
    }
    let refused = get(&running, &key).await;
    refused.is_refusal(429);
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(state(&refused, "client-per-second"), Some(0));
    running.clock.advance(Duration::from_secs(1));
    assert_eq!(get(&running, &key).await.status, 200);
    assert_eq!(get(&running, &key).await.status, 200);
    let refused = get(&running, &key).await;
    refused.is_refusal(429);
    assert_eq!(state(&refused, "requests-per-hour"), Some(0));
    let seconds: u64 = refused.field("retry-after").expect("a time").parse().expect("seconds");
    // The clock begins at 14:13:20; one second has passed.
    assert_eq!(seconds, 2800 - 1);
    assert_eq!(stub.seen().len(), 5);
    running.clock.advance(Duration::from_secs(seconds));
    assert_eq!(get(&running, &key).await.status, 200);
    // Whoever has no plan is told of none.
    assert_eq!(running.get("/fhir/Patient/1").await.field("ratelimit"), None);
    let line = "hearthgate_gateway_limit_decisions_total{decision=\"refused\",\
                limit=\"requests-per-hour\",plan=\"app\"}";
    assert_eq!(running.metric(line).await, 1.0);
}

// GW-055
#[tokio::test]
async fn a_denial_says_which_limit_of_which_plan() {
    let text = serde_json::json!({ "quotas": [{ "of": "requests", "most": 1, "per": "day" }] });
    let (running, _stub, key) = start_with_plan(text, |_| {}).await;
    assert_eq!(get(&running, &key).await.status, 200);
    let refused = get(&running, &key).await;
    assert_eq!(refused.status, 429);
    let id = refused.field("x-request-id").expect("an id");
    let denials = running.denials.of_request(id);
    assert_eq!(denials.len(), 1);
    assert_eq!(denials[0].reason, "quota-exceeded");
    let expected = "more came than requests-per-day of the plan app: 1 requests in a day of the calendar, by client";
    assert_eq!(denials[0].decided, expected);
    assert!(denials[0].mend.contains("another plan"), "{denials:?}");
    let shown = running.registry.client(&"app".parse().expect("an id")).expect("a client");
    assert_eq!(shown.plan, Some(name("app")));
}

// GW-041, GW-044
#[tokio::test]
async fn bytes_of_both_ways_and_what_the_server_says_are_charged() {
    let text = serde_json::json!({ "quotas": [
        { "of": "bytes", "most": 200, "per": "hour" },
        { "of": "cost", "most": 9, "per": "hour" },
    ] });
    let (running, _stub, key) = start_with_plan(text, |_| {}).await;
    let left = async |method: &str, body: &str| {
        let answer = running.send(&asking(&key, method, body)).await;
        let state = answer.field("ratelimit").expect("a state").to_owned();
        let of = |limit| parameter(&state, limit, "r").expect("what is left");
        (answer.status, answer.body.len() as u64, of("bytes-per-hour"), of("cost-per-hour"))
    };
    let (status, first, ..) = left("PUT", &"x".repeat(50)).await;
    assert_eq!(status, 200);
    // Charged when the answer has ended, which its reader may see a moment before.
    let mut seen = left("GET", "").await;
    while seen.2 == 200 {
        seen = left("GET", "").await;
    }
    assert!(seen.2 <= 200 - 50 - first, "{seen:?}");
    // Three rows and a part of a millisecond each.
    assert_eq!(seen.3 % 4, 1, "{seen:?}");
    within("the quota to be used up", async { while left("GET", "").await.0 == 200 {} }).await;
    let refused = get(&running, &key).await;
    refused.is_refusal(429);
    assert!(refused.body.contains("quota"), "{refused:?}");
}

// GW-040
#[tokio::test]
async fn a_spike_is_delayed_as_far_as_the_plan_says_and_refused_beyond() {
    let text = serde_json::json!({ "rates": [{ "per_second": 10, "burst": 1, "delay_ms": 200 }] });
    let (running, _stub, key) = start_with_plan(text, |_| {}).await;
    // The gateway's clock stands: each request waits for its turn in the time of the test.
    #[expect(clippy::disallowed_methods, reason = "how long requests are held is what is tested")]
    let began = Instant::now();
    assert_eq!(get(&running, &key).await.status, 200);
    assert!(began.elapsed() < Duration::from_millis(100));
    assert_eq!(get(&running, &key).await.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(get(&running, &key).await.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(300));
    get(&running, &key).await.is_refusal(429);
    let line = "hearthgate_gateway_limit_decisions_total{decision=\"delayed\"";
    assert_eq!(running.metric(line).await, 2.0);
}

// GW-040
#[tokio::test]
async fn requests_at_once_are_bounded_until_their_answers_end() {
    let text = serde_json::json!({ "at_once": [{ "most": 1 }] });
    let (running, stub, key) = start_with_plan(text, |_| {}).await;
    stub.script([Script::AfterGo]);
    let mut held = running.connect().await;
    held.write(asking(&key, "GET", "").as_bytes()).await;
    stub.until_begun().await;
    let refused = get(&running, &key).await;
    refused.is_refusal(429);
    assert!(refused.body.contains("at once"), "{refused:?}");
    assert_eq!(refused.field("ratelimit"), Some("\"client-at-once\";r=0"));
    stub.go();
    assert_eq!(held.read_answer().await.status, 200);
    within("the place to be free", async { while get(&running, &key).await.status != 200 {} })
        .await;
}

// GW-044
#[tokio::test]
async fn bulk_that_is_slow_keeps_other_bulk_waiting_and_no_bedside() {
    let text = serde_json::json!({ "lane": "bulk" });
    let (running, stub, key) = start_with_plan(text, |config| {
        config.lanes.bulk = Some(1);
        config.lanes.wait = Duration::from_millis(200);
    })
    .await;
    stub.script([Script::AfterGo]);
    let mut held = running.connect().await;
    held.write(asking(&key, "GET", "").as_bytes()).await;
    stub.until_begun().await;
    let in_flight = "hearthgate_gateway_lane_in_flight{lane=\"bulk\"}";
    assert_eq!(running.metric(in_flight).await, 1.0);
    // A bedside's read does not even wait.
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    let refused = get(&running, &key).await;
    refused.is_refusal(503);
    assert_eq!(refused.field("retry-after"), Some("1"));
    // One that waits gets the place of one that ends.
    let mut waiting = running.connect().await;
    waiting.write(asking(&key, "GET", "").as_bytes()).await;
    stub.go();
    assert_eq!(held.read_answer().await.status, 200);
    assert_eq!(waiting.read_answer().await.status, 200);
    let refusals = "hearthgate_gateway_refusals_total{reason=\"lane-full\"}";
    assert_eq!(running.metric(refusals).await, 1.0);
    // The server is told which of them nobody waits for.
    let lanes: Vec<_> = stub.seen().iter().map(|seen| seen.grant.lane).collect();
    let (bulk, waited_for) = (contract::Lane::Bulk, contract::Lane::Interactive);
    assert_eq!(lanes, [bulk, waited_for, bulk]);
}

#[tokio::test]
async fn an_export_is_bulk_whoever_asks_for_it() {
    let (running, stub) = start_with(|config| {
        config.lanes.bulk = Some(1);
        config.lanes.wait = Duration::from_millis(1);
    })
    .await;
    stub.script([Script::AfterGo]);
    let mut held = running.connect().await;
    let export = running.request("GET", "/fhir/Patient/$export", &[], "");
    held.write(export.as_bytes()).await;
    stub.until_begun().await;
    running.send(&export).await.is_refusal(503);
    assert_eq!(running.get("/fhir/Patient").await.status, 200);
    stub.go();
    assert_eq!(held.read_answer().await.status, 200);
}

#[tokio::test]
async fn a_plan_that_is_given_counts_from_the_next_request_on() {
    let text = serde_json::json!({ "rates": [{ "per_minute": 1 }] });
    let (running, _stub, _) = start_with_plan(text, |_| {}).await;
    let key = running.client("other", "all", None);
    let id = "other".parse().expect("an id");
    for _ in 0..3 {
        assert_eq!(get(&running, &key).await.status, 200);
    }
    let by = crate::harness::actor();
    running.registry.set_plan(&id, Some(name("app")), &by).expect("a plan");
    assert_eq!(get(&running, &key).await.status, 200);
    get(&running, &key).await.is_refusal(429);
    running.registry.set_plan(&id, None, &by).expect("no plan");
    assert_eq!(get(&running, &key).await.status, 200);
}
