//! A changed configuration, put into force while requests pass.

use gateway::{Addresses, GatewayConfig, Rate};

use crate::harness::start;
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
