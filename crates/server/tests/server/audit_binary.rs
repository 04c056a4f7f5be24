//! Large Binaries, whose bodies stand beside the log (docs/storage.md): each reading of one is an
//! event, and who may not see one is told what is told of none.

use contract::Power;
use serde_json::{Value, json};
use store::Store as _;
use store::audit::{Event, Outcome};

use crate::support::{Access, Answer, Site, rule};

/// Base64 that hardly compresses: more than stands in the log (262,144 bytes).
fn large(seed: u64) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(ALPHABET[(state >> 58) as usize])
    };
    (0..800_000).map(next).collect()
}

fn binary(id: &str, seed: u64, context: Option<&str>) -> Value {
    let mut binary = json!({ "resourceType": "Binary", "id": id, "contentType": "image/png",
        "data": large(seed) });
    if let Some(context) = context {
        binary["securityContext"] = json!({ "reference": context });
    }
    binary
}

/// A site whose large Binaries are `own` and `by-context` of the patient `a`, `others` of `b`, and
/// `free` of nobody.
async fn with_binaries() -> Site {
    let site = Site::on_disk().await;
    for patient in ["a", "b"] {
        let json = json!({ "resourceType": "Patient", "id": patient });
        site.put(&format!("Patient/{patient}"), json).await.is(201);
        let document = json!({ "resourceType": "DocumentReference", "id": patient,
            "status": "current", "content": [],
            "subject": { "reference": format!("Patient/{patient}") } });
        site.put(&format!("DocumentReference/{patient}"), document).await.is(201);
    }
    for (at, (id, context)) in [
        ("own", Some("Patient/a")),
        ("by-context", Some("DocumentReference/a")),
        ("others", Some("Patient/b")),
        ("by-others", Some("DocumentReference/b")),
        ("free", None),
    ]
    .into_iter()
    .enumerate()
    {
        site.put(&format!("Binary/{id}"), binary(id, at as u64 + 1, context)).await.is(201);
        let blobs = site.stores["default"].blobs().expect("the blobs");
        assert_eq!(blobs.len(), at + 1, "{id} stands beside the log");
    }
    site
}

async fn get(site: &Site, access: &Access, target: &str) -> Answer {
    site.ask("GET", target).by(access).send().await
}

/// The one event since there were so many.
async fn one_since(site: &Site, before: usize) -> Event {
    let mut events = site.audited().await.split_off(before);
    let event = events.pop().expect("an event");
    assert!(events.is_empty(), "{events:?}");
    event
}

fn told(event: &Event) -> (&str, Option<&str>, u16, Outcome) {
    (event.act.kind.code(), event.act.id.as_deref(), event.act.status, event.outcome)
}

#[tokio::test]
async fn each_reading_of_a_large_binary_is_an_event_of_its_own() {
    // SEC-AUD
    let site = with_binaries().await;
    let (patient, mut before) = (Access::of_patient("a").sent_by("viewer"), 0);
    for (target, kind, id, patients) in [
        ("Binary/own", "read", "own", &["a"][..]),
        ("Binary/own", "read", "own", &["a"]),
        ("Binary/own/_history/1", "vread", "own", &["a"]),
        // It names a document, and no patient.
        ("Binary/by-context", "read", "by-context", &[]),
        ("Binary/by-context/_history/1", "vread", "by-context", &[]),
    ] {
        before = site.audited().await.len().max(before);
        let read = get(&site, &patient, target).await.is(200).json();
        assert_eq!(read["data"], large(if id == "own" { 1 } else { 2 }), "{target}");
        let event = one_since(&site, before).await;
        assert_eq!(told(&event), (kind, Some(id), 200, Outcome::Done), "{target}");
        assert_eq!((event.client.as_deref(), event.act.version), (Some("viewer"), Some(1)));
        assert_eq!(event.patients.iter().map(|it| &**it).collect::<Vec<_>>(), patients, "{target}");
    }
    // What the client has already it may have read again.
    before = site.audited().await.len();
    let again = site.ask("GET", "Binary/own").by(&patient).header("if-none-match", "W/\"1\"");
    again.send().await.is(304);
    assert_eq!(told(&one_since(&site, before).await), ("read", Some("own"), 304, Outcome::Done));
    // Who looked at the record is told of each.
    let auditor = Access::owner().with(Power::Audit);
    let log = get(&site, &auditor, "AuditEvent?entity=Binary/own&agent=viewer").await.is(200);
    assert_eq!(log.json()["entry"].as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn who_may_not_see_a_large_binary_is_told_what_is_told_of_none_and_that_is_an_event() {
    // LEAK-18, LEAK-26
    let site = with_binaries().await;
    let patient = Access::of_patient("a");
    let none = get(&site, &patient, "Binary/never").await.is(404);
    let none_of_it = get(&site, &patient, "Binary/never/_history/1").await.is(404);
    for id in ["others", "by-others", "free"] {
        for (target, kind, none) in [
            (format!("Binary/{id}"), "read", &none),
            (format!("Binary/{id}/_history/1"), "vread", &none_of_it),
        ] {
            let before = site.audited().await.len();
            let answer = get(&site, &patient, &target).await.is(404);
            assert_eq!(answer.body, none.body, "{target}");
            assert!(!answer.headers.contains_key("etag"), "{target}");
            let event = one_since(&site, before).await;
            assert_eq!(told(&event), (kind, Some(id), 404, Outcome::NotFound), "{target}");
            assert!(event.restricted && event.patients.is_empty(), "{event:?}");
        }
    }
    // Who may read no Binary at all is denied, of whichever it is.
    let before = site.audited().await.len();
    let narrow = rule(&["Patient"], &["read"], "compartment(Patient/a)");
    let narrow = Access::of(vec![narrow]).launched_for("a");
    get(&site, &narrow, "Binary/own").await.is(403);
    let event = one_since(&site, before).await;
    assert_eq!(told(&event), ("read", Some("own"), 403, Outcome::Denied));
}
