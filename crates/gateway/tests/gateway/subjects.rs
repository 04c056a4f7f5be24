//! Whom a request was for, and what the limits decided, as the access log tells it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::ResourceId;
use gateway::{Limiting, Plans, Rate, SubjectKey, WrittenPlan};
use registry::RateLimit;
use serde_json::{Value, json};

use crate::harness::{Kept, Running, request, start_with};
use crate::issuer::Issuer;
use crate::tokens::accept;

/// The key of the gateway under test.
fn key() -> SubjectKey {
    SubjectKey::new(&[42; SubjectKey::LENGTH])
}

/// `GET` with credentials and an id of its own.
async fn get(running: &Running, credentials: &str, id: &str, more: &[(&str, &str)]) -> u16 {
    let authorization = format!("Bearer {credentials}");
    let mut fields = vec![("X-Request-Id", id), ("Authorization", &authorization)];
    fields.extend(more);
    running.send(&request("GET", "/fhir/Patient/1", &fields, "")).await.status
}

/// The line of each request.
fn lines(log: &Kept) -> BTreeMap<String, Value> {
    let text = log.text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.map(|line| (line["requestId"].as_str().expect("an id").to_owned(), line)).collect()
}

// GW-052
#[tokio::test]
async fn the_log_names_whom_a_request_is_for_by_a_pseudonym_alone() {
    let issuer = Issuer::start().await;
    let keys = tempfile::tempdir().expect("a directory");
    let accepting = accept(&issuer, &json!({}), keys.path());
    let (running, _stub) = start_with(|config| {
        accepting(config);
        config.subject_key = Some(key());
    })
    .await;
    let patient: ResourceId = "planted-patient".parse().expect("an id");
    let phone = running.client_with("phone", "patient", |client| client.patient = Some(patient));
    let nurse = running.client_with("nurse", "ward", |client| {
        client.fhir_user = Some("Practitioner/planted-nurse".parse().expect("a person"));
    });
    let user = issuer.token(&json!({"sub": "planted-user"}));
    let owner = running.owner_key.clone();
    assert_eq!(get(&running, &user, "user", &[]).await, 200);
    assert_eq!(get(&running, &user, "user-again", &[]).await, 200);
    assert_eq!(get(&running, &phone, "patient", &[]).await, 200);
    assert_eq!(get(&running, &nurse, "person", &[]).await, 200);
    assert_eq!(get(&running, &owner, "app", &[]).await, 200);
    // Whoever breaks the glass stays who it is.
    let reason = r#"{"patient": "planted-other", "reason": "unconscious in the emergency room"}"#;
    let authorization = format!("Bearer {nurse}");
    let fields = [("Authorization", authorization.as_str())];
    let taken = running.send(&request("POST", "/break-glass", &fields, reason)).await.json();
    let taken = taken["id"].as_str().expect("an id").to_owned();
    assert_eq!(get(&running, &nurse, "glass", &[("Break-Glass", &taken)]).await, 200);
    // A reload names nobody otherwise.
    let accepting = accept(&issuer, &json!({}), keys.path());
    running.reload(accepting).await.expect("a good configuration");
    assert_eq!(get(&running, &user, "user-then", &[]).await, 200);
    assert_eq!(get(&running, &phone, "patient-then", &[]).await, 200);

    let log = running.stop().await;
    assert!(!log.text().contains("planted"), "{}", log.text());
    let lines = lines(&log);
    for (id, subject) in [
        ("user", Some("hospital/planted-user")),
        ("user-again", Some("hospital/planted-user")),
        ("user-then", Some("hospital/planted-user")),
        ("patient", Some("Patient/planted-patient")),
        ("patient-then", Some("Patient/planted-patient")),
        ("person", Some("Practitioner/planted-nurse")),
        ("glass", Some("Practitioner/planted-nurse")),
        ("app", None),
    ] {
        let expected = subject.map_or(Value::Null, |subject| key().pseudonym(subject).into());
        assert_eq!(lines[id]["subject"], expected, "{id}");
    }
}

// GW-052, GW-040
#[tokio::test]
async fn the_log_says_what_the_limits_decided() {
    let plan: WrittenPlan = serde_json::from_value(json!({
        "says": "For a test.",
        "rates": [{ "per_second": 1, "burst": 2, "delay_ms": 0 }],
    }))
    .expect("a plan's text");
    let plan_name = || "app".parse().expect("a plan's name");
    let plans = Plans::new(&BTreeMap::from([(plan_name(), plan)])).expect("a plan");
    let (running, _stub) = start_with(|config| {
        config.limiting = Arc::new(Limiting::in_memory(plans));
        config.limits.public = Rate::new(1, 1).expect("a rate");
        config.limits.failed_authentications = Rate::new(1, 1).expect("a rate");
    })
    .await;
    let planned = running.client_with("planned", "all", |client| client.plan = Some(plan_name()));
    let one = RateLimit { per_second: 1, burst: 1 };
    let limited = running.client("limited", "all", Some(one));
    let owner = running.owner_key.clone();
    for (id, credentials, status) in [
        ("free", &owner, 200),
        ("planned", &planned, 200),
        ("planned-2", &planned, 200),
        ("planned-3", &planned, 429),
        ("limited", &limited, 200),
        ("limited-2", &limited, 429),
    ] {
        assert_eq!(get(&running, credentials, id, &[]).await, status, "{id}");
    }
    for (id, status) in [("public", 401), ("public-2", 429)] {
        let bytes = request("GET", "/fhir/Patient/1", &[("X-Request-Id", id)], "");
        assert_eq!(running.send(&bytes).await.status, status, "{id}");
    }
    running.clock.advance(Duration::from_secs(1));
    for (id, status) in [("wrong", 401), ("wrong-2", 429)] {
        assert_eq!(get(&running, "nonsense", id, &[]).await, status, "{id}");
    }
    let lines = lines(&running.stop().await);
    let expect = |id: &str, limit: Value| assert_eq!(lines[id]["limit"], limit, "{id}");
    let said = |decision: &str, plan: Option<&str>, by: Option<&str>| json!({"decision": decision, "plan": plan, "by": by, "waitMicros": 0});
    expect("free", Value::Null);
    expect("planned", said("admitted", Some("app"), None));
    expect("planned-3", said("refused", Some("app"), Some("app/client-per-second")));
    expect("limited", said("admitted", None, None));
    expect("limited-2", said("refused", None, Some("client")));
    expect("public", said("admitted", None, None));
    expect("public-2", said("refused", None, Some("address")));
    expect("wrong", Value::Null);
    expect("wrong-2", said("refused", None, Some("failures")));
}
