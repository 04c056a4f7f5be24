//! Denials of the gateway in the tenant's audit log: each is judged by itself and stands there once.

use std::sync::atomic::Ordering;

use contract::{Clock, Power};
use fhir_core::Instant;
use serde_json::{Value, json};
use store::audit::{AuditLog as _, Event, Outcome};

use crate::support::{Access, PATIENCE, Site};

/// A site with the patient `a`.
async fn with_data() -> Site {
    let site = Site::on_disk().await;
    site.put("Patient/a", json!({ "resourceType": "Patient", "id": "a" })).await.is(201);
    site
}

fn auditor() -> Access {
    Access::owner().with(Power::Audit)
}

fn named(event: &Event) -> String {
    let of = event.act.resource_type.as_deref().unwrap_or("-");
    format!("{} {of}/{}", event.act.kind.code(), event.act.id.as_deref().unwrap_or("-"))
}

/// What the gateway denied, of the events after so many.
async fn denials(site: &Site, before: usize) -> Vec<String> {
    let events = site.audited().await;
    let denials = events[before..].iter().filter(|event| event.client.as_deref() == Some("ward"));
    denials.map(named).collect()
}

/// The disk of this tenant's audit log is full, and that is known.
async fn is_full(site: &Site) {
    site.audit_disk.is_full.store(true, Ordering::SeqCst);
    let told = async { while site.get("Patient/a").await.status != 503 {} };
    tokio::time::timeout(PATIENCE, told).await.expect("the full disk is known");
}

/// Hands denials to the server as the gateway does; what it answers.
async fn hand_over(site: &Site, denials: &Value) -> Value {
    let body = denials.to_string();
    let request = format!(
        "POST /denials HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = crate::support::raw(&site.channel_socket, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    match head.split(' ').nth(1).unwrap() {
        "200" => serde_json::from_str(body).unwrap(),
        status => json!(status),
    }
}

/// A denial with this id, as the gateway tells of it.
fn denied(denial: &str, tenant: &str, interaction: &str) -> Value {
    let time = format!("2025-12-31T23:00:00.00000{denial}Z");
    json!({ "denial": denial, "time": time, "tenant": tenant,
        "requestId": "r-7", "client": "ward", "role": "reader", "interaction": interaction,
        "resourceType": "Patient", "id": "a", "status": 403 })
}

/// All of them are on the disk.
fn all_taken() -> Value {
    json!({ "refused": [], "later": [] })
}

#[tokio::test]
async fn what_the_gateway_denied_is_written_down_and_believed_on_the_channel_socket_alone() {
    let site = with_data().await;
    let before = site.audited().await.len();
    let list = json!([denied("1", "default", "delete")]);
    assert_eq!(hand_over(&site, &list).await, all_taken());
    let events = site.audited().await;
    let [event] = &events[before..] else { panic!("{events:?}") };
    assert_eq!(named(event), "delete Patient/a");
    assert_eq!(
        (event.outcome, event.act.status, &*event.patients),
        (Outcome::Denied, 403, &[Box::from("a")][..])
    );
    let who = (event.client.as_deref(), event.role.as_deref(), &*event.request_id);
    assert_eq!(who, (Some("ward"), Some("reader"), "r-7"));
    // When it was denied stands beside when it was told.
    let found = site.ask("GET", "AuditEvent?_count=1").by(&auditor()).send().await.is(200).json();
    let event = &found["entry"][0]["resource"];
    assert_eq!(event["period"]["start"], "2025-12-31T23:00:00.000001Z", "{event}");
    assert_ne!(event["recorded"], event["period"]["start"], "{event}");
    let log = site.ask("GET", "Patient/a/$access-log").by(&auditor()).send().await.is(200).json();
    let parts = &log["parameter"][0]["part"];
    assert_eq!(parts[0]["valueInstant"], "2025-12-31T23:00:00.000001Z", "{parts}");
    // The socket that clients' requests come over takes none.
    let request = b"POST /denials HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n[]";
    let refused = crate::support::raw(&site.socket, request).await;
    assert!(!refused.starts_with("HTTP/1.1 2"), "{refused}");
    assert_eq!(hand_over(&site, &json!({})).await, "422");
}

#[tokio::test]
async fn each_denial_of_the_gateway_is_judged_by_itself() {
    let site = with_data().await;
    let before = site.audited().await.len();
    let mut of_no_time = denied("4", "default", "read");
    of_no_time["time"] = json!("yesterday");
    let list = json!([
        denied("1", "nobody", "read"),
        denied("2", "default", "read"),
        denied("3", "default", "teleport"),
        of_no_time,
        {},
        denied("", "default", "read"),
        denied("5", "default", "delete"),
    ]);
    let answer = hand_over(&site, &list).await;
    let refused: Vec<_> =
        answer["refused"].as_array().unwrap().iter().map(|it| it["entry"].clone()).collect();
    assert_eq!((json!(refused), &answer["later"]), (json!([0, 2, 3, 4, 5]), &json!([])));
    assert_eq!(answer["refused"][1]["reason"], "`interaction` is none");
    let events = site.audited().await;
    let kinds: Vec<_> = events[before..].iter().map(named).collect();
    assert_eq!(kinds, ["read Patient/a", "delete Patient/a"]);
}

/// The gateway hands over again what it was not told of.
#[tokio::test]
async fn a_denial_that_is_handed_over_again_stands_in_the_log_once() {
    let site = with_data().await;
    let before = site.audited().await.len();
    let list = json!([denied("1", "default", "read")]);
    hand_over(&site, &list).await;
    let more = json!([denied("1", "default", "read"), denied("2", "default", "delete")]);
    assert_eq!(hand_over(&site, &more).await, all_taken());
    // While nothing can be written they are not taken: the gateway keeps them.
    is_full(&site).await;
    let waits = json!([denied("3", "default", "create")]);
    assert_eq!(hand_over(&site, &waits).await["later"], json!([0]));
    site.audit_disk.is_full.store(false, Ordering::SeqCst);
    let written = async { while hand_over(&site, &waits).await != all_taken() {} };
    tokio::time::timeout(PATIENCE, written).await.expect("there is room again");
    assert_eq!(hand_over(&site, &waits).await, all_taken());
    assert_eq!(
        denials(&site, before).await,
        ["read Patient/a", "delete Patient/a", "create Patient/a"]
    );
}

/// An answer may be lost with the process that gave it.
#[tokio::test]
async fn a_denial_that_is_handed_over_again_after_a_restart_stands_in_the_log_once() {
    let site = with_data().await;
    let before = site.audited().await.len();
    let list = json!([denied("1", "default", "read")]);
    assert_eq!(hand_over(&site, &list).await, all_taken());
    let site = site.restart().await;
    let list = json!([denied("1", "default", "read"), denied("2", "default", "read")]);
    assert_eq!(hand_over(&site, &list).await, all_taken());
    assert_eq!(denials(&site, before).await, ["read Patient/a", "read Patient/a"]);
}

/// The gateway's clock may be ahead, so that what it denied before the restart seems to be later.
#[tokio::test]
async fn a_denial_by_a_clock_that_is_ahead_stands_in_the_log_once_after_a_restart_too() {
    let site = with_data().await;
    let before = site.audited().await.len();
    let at = |denial: &str, ahead: i64| {
        let time = site.clock.now().as_micros() + 1_000_000 * ahead;
        let mut denied = denied(denial, "default", "read");
        denied["time"] = json!(Instant::from_micros(time).to_string());
        denied
    };
    let list = json!([at("1", 100), at("2", 1)]);
    assert_eq!(hand_over(&site, &list).await, all_taken());
    let site = site.restart().await;
    assert_eq!(hand_over(&site, &list).await, all_taken());
    assert_eq!(denials(&site, before).await, ["read Patient/a", "read Patient/a"]);
}

/// One request may be denied twice within a microsecond, as entries of a batch are.
#[tokio::test]
async fn denials_that_differ_by_their_ids_alone_are_each_in_the_log() {
    let site = with_data().await;
    let before = site.audited().await.len();
    let same = |denial: &str| {
        let mut denied = denied("1", "default", "read");
        denied["denial"] = json!(denial);
        denied
    };
    assert_eq!(hand_over(&site, &json!([same("1")])).await, all_taken());
    let site = site.restart().await;
    let list = json!([same("1"), same("2"), same("3")]);
    assert_eq!(hand_over(&site, &list).await, all_taken());
    assert_eq!(denials(&site, before).await.len(), 3);
    let ids = site.audited().await.into_iter().filter_map(|event| event.told_as);
    assert_eq!(ids.collect::<Vec<_>>(), ["1", "2", "3"].map(Box::from));
}

/// Events of denials had no id of their own in the log before.
#[tokio::test]
async fn a_denial_that_stands_in_the_log_without_its_id_is_known_by_what_it_was() {
    let site = with_data().await;
    let before = site.audited().await.len();
    let list = json!([denied("1", "default", "read")]);
    assert_eq!(hand_over(&site, &list).await, all_taken());
    let event = site.audited().await.pop().expect("an event");
    let request_id = Box::from("r-8");
    let earlier = Event { told_as: None, request_id, ..event };
    site.audits.values().next().expect("a log").append(&earlier).expect("it is kept");
    let site = site.restart().await;
    let mut again = denied("1", "default", "read");
    (again["denial"], again["requestId"]) = (json!("2"), json!("r-8"));
    assert_eq!(hand_over(&site, &json!([again])).await, all_taken());
    assert_eq!(denials(&site, before).await.len(), 2);
}

#[tokio::test]
async fn one_tenants_full_audit_log_keeps_back_no_denial_of_another() {
    let site = with_data().await;
    *site.audit_disk.spared.lock().unwrap() = Some("other");
    is_full(&site).await;
    let list = json!([denied("1", "default", "read"), denied("2", "other", "read")]);
    assert_eq!(hand_over(&site, &list).await, json!({ "refused": [], "later": [0] }));
    site.audit_disk.is_full.store(false, Ordering::SeqCst);
}
