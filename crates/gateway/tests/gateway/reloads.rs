//! A changed configuration, put into force while requests pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gateway::{Addresses, GatewayConfig, LaneSizes, Limiting, Plans, Rate, Then, WrittenPlan};
use registry::{NewClient, PlanName, PutClient};

use crate::harness::{start, start_with};
use crate::stub::Script;
use crate::tls::Site;

// GW-061
#[tokio::test]
async fn a_reload_counts_for_the_next_request_and_closes_no_connection() {
    let (running, stub) = start().await;
    let bytes = running.request("GET", "/fhir/Patient/1", &[("Origin", "https://a.example")], "");
    let mut kept = running.connect().await;
    kept.write(bytes.as_bytes()).await;
    let answer = kept.read_answer().await;
    assert_eq!(answer.field("access-control-allow-origin"), None);
    stub.until_begun().await;

    // One that is under way keeps what was in force when it came.
    stub.script([Script::AfterGo]);
    let mut busy = running.connect().await;
    busy.write(bytes.as_bytes()).await;
    stub.until_begun().await;
    let changed = |config: &mut GatewayConfig| {
        let origins = vec!["https://a.example".to_owned()];
        config.cors = Some(gateway::Cors { origins, ..gateway::Cors::default() });
        config.limits.uri_bytes = 20;
        config.public_open = Vec::new();
    };
    running.reload(changed).await.expect("it can be put into force");
    stub.go();
    let answer = busy.read_answer().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("access-control-allow-origin"), None);

    kept.write(bytes.as_bytes()).await;
    let answer = kept.read_answer().await;
    assert_eq!(answer.field("access-control-allow-origin"), Some("https://a.example"));
    let long = running.request("GET", "/fhir/Patient?name=too-long", &[], "");
    running.send(&long).await.is_refusal(414);
    let open = crate::harness::request("GET", "/fhir/metadata", &[], "");
    running.send(&open).await.is_refusal(401);
    assert_eq!(running.metric("hearthgate_gateway_reloads_total{result=\"ok\"}").await, 1.0);
}

// GW-061
#[tokio::test]
async fn what_cannot_be_put_into_force_as_a_whole_changes_nothing() {
    let site = Site::new();
    let (running, _stub) = start().await;
    let deny_all =
        || Addresses { deny: vec!["0.0.0.0/0".parse().expect("a block")], ..Addresses::default() };
    let bad: [&dyn Fn(&mut GatewayConfig); 2] = [
        &|config| {
            config.addresses = deny_all();
            config.base_path = "no-path".to_owned();
        },
        &|config| {
            config.addresses = deny_all();
            config.tls = Some(site.tls());
        },
    ];
    for change in bad {
        let error = running.reload(change).await.expect_err("it is refused");
        assert!(!error.to_string().is_empty());
        assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    }
    assert_eq!(running.metric("hearthgate_gateway_reloads_total{result=\"refused\"}").await, 2.0);
}

// GW-061
#[tokio::test]
async fn what_was_taken_of_a_limit_stays_taken_over_a_reload() {
    let (running, _stub) = start().await;
    let limits = |config: &mut GatewayConfig| {
        config.limits.public = Rate::new(1, 3).expect("a rate");
        config.limits.client = Rate::new(1, 2);
    };
    running.reload(limits).await.expect("it can be put into force");
    let public = crate::harness::request("GET", "/fhir/metadata", &[], "");
    for status in [200, 200, 200, 429] {
        assert_eq!(running.send(&public).await.status, status);
        running.reload(limits).await.expect("it can be put into force");
    }
    for status in [200, 200, 429] {
        assert_eq!(running.get("/fhir/Patient/1").await.status, status);
        running.reload(limits).await.expect("it can be put into force");
    }
    let wider = |config: &mut GatewayConfig| config.limits.client = None;
    running.reload(wider).await.expect("it can be put into force");
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
}

// GW-061
#[tokio::test]
async fn a_role_that_changes_counts_from_the_next_request_on() {
    let (running, _stub) = start().await;
    let key = running.client("app", "reader", None);
    let authorization = format!("Bearer {key}");
    let bytes = crate::harness::request(
        "GET",
        "/fhir/Patient/1",
        &[("Authorization", authorization.as_str())],
        "",
    );
    assert_eq!(running.send(&bytes).await.status, 200);
    running.reload(|config| config.roles = std::sync::Arc::default()).await.expect("in force");
    running.send(&bytes).await.is_refusal(403);
    running.reload(|_| {}).await.expect("in force");
    assert_eq!(running.send(&bytes).await.status, 200);
}

fn plans(text: serde_json::Value) -> Arc<Limiting> {
    let mut plan = text;
    plan["says"] = "For a test.".into();
    let plan: WrittenPlan = serde_json::from_value(plan).expect("a plan's text");
    let name: PlanName = "app".parse().expect("a plan's name");
    let plans = Plans::new(&BTreeMap::from([(name, plan)])).expect("a plan");
    Arc::new(Limiting::in_memory(plans))
}

fn quota(most: u32) -> serde_json::Value {
    serde_json::json!({ "quotas": [{ "of": "requests", "most": most, "per": "day" }] })
}

// GW-061 GW-041
#[tokio::test]
async fn plans_change_by_a_reload_and_what_was_counted_stays_counted() {
    let (running, _stub) = start_with(|config| config.limiting = plans(quota(3))).await;
    let plan = |client: &mut NewClient| client.plan = Some("app".parse().expect("a plan's name"));
    let key = running.client_with("app", "all", plan);
    let authorization = format!("Bearer {key}");
    let bytes = crate::harness::request(
        "GET",
        "/fhir/Patient/1",
        &[("Authorization", authorization.as_str())],
        "",
    );
    let reload = async |text| {
        let text: serde_json::Value = text;
        running.reload(|config| config.limiting = plans(text)).await.expect("in force");
    };
    for status in [200, 200] {
        assert_eq!(running.send(&bytes).await.status, status);
        reload(quota(3)).await;
    }
    // Two of three are used, whatever else comes and goes.
    reload(serde_json::json!({
        "rates": [{ "per_second": 100, "burst": 100 }],
        "quotas": [{ "of": "requests", "most": 3, "per": "day" }],
    }))
    .await;
    assert_eq!(running.send(&bytes).await.status, 200);
    assert_eq!(running.send(&bytes).await.status, 429);
    // Three of five.
    reload(quota(5)).await;
    for status in [200, 200, 429] {
        assert_eq!(running.send(&bytes).await.status, status);
    }
    // Fewer than were used, and no plan at all.
    reload(quota(1)).await;
    assert_eq!(running.send(&bytes).await.status, 429);
    running.reload(|_| {}).await.expect("in force");
    assert_eq!(running.send(&bytes).await.field("ratelimit"), None);
}

// GW-061
#[tokio::test]
async fn requests_that_have_not_ended_count_for_the_plan_of_a_reload() {
    let at_once = |most: u32| serde_json::json!({ "at_once": [{ "most": most }] });
    let (running, stub) = start_with(|config| config.limiting = plans(at_once(1))).await;
    let plan = |client: &mut NewClient| client.plan = Some("app".parse().expect("a plan's name"));
    let key = running.client_with("app", "all", plan);
    let authorization = format!("Bearer {key}");
    let bytes = crate::harness::request(
        "GET",
        "/fhir/Patient/1",
        &[("Authorization", authorization.as_str())],
        "",
    );
    stub.script([Script::AfterGo]);
    let mut busy = running.connect().await;
    busy.write(bytes.as_bytes()).await;
    stub.until_begun().await;
    running.send(&bytes).await.is_refusal(429);
    running.reload(|config| config.limiting = plans(at_once(2))).await.expect("in force");
    assert_eq!(running.send(&bytes).await.status, 200);
    running.reload(|config| config.limiting = plans(at_once(1))).await.expect("in force");
    running.send(&bytes).await.is_refusal(429);
    stub.go();
    assert_eq!(busy.read_answer().await.status, 200);
    crate::harness::within("the place to be free", async {
        while running.send(&bytes).await.status != 200 {}
    })
    .await;
}

// GW-061 GW-044
#[tokio::test]
async fn lanes_change_their_size_by_a_reload() {
    let (running, stub) = start().await;
    let sizes = |interactive| {
        move |config: &mut GatewayConfig| {
            let wait = Duration::ZERO;
            config.lanes = LaneSizes { interactive, wait, ..LaneSizes::default() };
        }
    };
    stub.script([Script::AfterGo]);
    let bytes = running.request("GET", "/fhir/Patient/1", &[], "");
    let mut busy = running.connect().await;
    busy.write(bytes.as_bytes()).await;
    stub.until_begun().await;
    running.reload(sizes(1)).await.expect("in force");
    assert_eq!(running.get("/fhir/Patient/1").await.status, 503);
    running.reload(sizes(2)).await.expect("in force");
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    stub.go();
    assert_eq!(busy.read_answer().await.status, 200);
}

// GW-061
#[tokio::test]
async fn what_has_to_be_done_first_is_done_or_nothing_changes() {
    let (running, _stub) = start_with(|config| config.limiting = plans(quota(9))).await;
    let longer = |config: &mut GatewayConfig| config.limits.uri_bytes = 20;
    let long = running.request("GET", "/fhir/Patient?name=too-long", &[], "");
    let fails = Then::PutAfter(Box::new(|| Err("the disk is full".into())));
    let error = running.reload_then(fails, longer).await.expect_err("it was not done");
    let source = std::error::Error::source(&error).expect("a reason");
    assert_eq!(source.to_string(), "the disk is full");
    assert_eq!(running.send(&long).await.status, 200);
    running.reload_then(Then::Nothing, longer).await.expect("it could be put into force");
    assert_eq!(running.send(&long).await.status, 200);
    assert_eq!(running.metric("hearthgate_gateway_reloads_total{result=\"ok\"}").await, 0.0);
    let before = running.registry.clients().len();
    let registry = running.registry.clone();
    let works = Then::PutAfter(Box::new(move || {
        let id = "first".parse().expect("an id");
        let client = NewClient::of_role(id, "First", "all".parse().expect("a role"));
        registry.create_client(client, &crate::harness::actor())?;
        Ok(())
    }));
    running.reload_then(works, longer).await.expect("in force");
    running.send(&long).await.is_refusal(414);
    assert_eq!(running.registry.clients().len(), before + 1);
}

// GW-061
#[tokio::test]
async fn a_disabled_client_is_refused_at_once_and_an_enabled_one_is_not() {
    let (running, _stub) = start().await;
    let key = running.client("app", "reader", None);
    let authorization = format!("Bearer {key}");
    let bytes = crate::harness::request(
        "GET",
        "/fhir/Patient/1",
        &[("Authorization", authorization.as_str())],
        "",
    );
    let client = running.registry.client(&"app".parse().expect("an id")).expect("a client");
    for (disabled, status) in [(false, 200), (true, 401), (false, 200)] {
        let put = PutClient { client: client.to_new(), disabled };
        let done = running.registry.put_clients(vec![put], Vec::new(), &crate::harness::actor());
        done.expect("it is put");
        assert_eq!(running.send(&bytes).await.status, status);
    }
}
