//! The audit log of the product: there after `kill -9`, exported and verified from outside, and
//! readable by nobody who has its files alone.

use std::fs;
use std::path::Path;
use std::process::Output;

use integration_tests::binary;
use integration_tests::site::{Deployment, First, Site};
use serde_json::Value;

for_every_deployment! {
    after_kill_9_all_that_came_before_a_denial_is_written_down,
}

fn audit(site: &Site, verb: &str) -> Output {
    let data = site.data().to_str().unwrap();
    binary::run(site.folder(), &["audit", verb, "--data", data])
}

fn exported(site: &Site) -> Vec<Value> {
    let output = audit(site, "export");
    assert!(output.status.success(), "{output:?}");
    let text = binary::text(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many of these events are of this kind, by this client.
fn count(events: &[Value], kind: &str, client: &str) -> usize {
    let is = |event: &&Value| {
        let kinds = event["subtype"].as_array().unwrap();
        kinds.iter().any(|it| it["code"] == kind) && event["agent"][0]["who"]["display"] == client
    };
    events.iter().filter(is).count()
}

fn holds(directory: &Path, text: &[u8]) -> bool {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut bytes = files.map(|path| fs::read(path).unwrap());
    bytes.any(|bytes| bytes.windows(text.len()).any(|part| part == text))
}

async fn after_kill_9_all_that_came_before_a_denial_is_written_down(deployment: Deployment) {
    let mut site = Site::start(deployment).await;
    let patient = r#"{"resourceType":"Patient","id":"quillfeather"}"#;
    let _ = site.owner().put("/Patient/quillfeather", patient).await.is(201);
    let reader = site.new_client("reader", &["--role", "reader"]);
    for _ in 0..20 {
        let _ = reader.get("/Patient/quillfeather").await.is(200);
    }
    // It may search, but not these: it has not the power.
    let _ = reader.get("/AuditEvent").await.is(403);
    site.kill().await;

    let events = exported(&site);
    assert_eq!(count(&events, "read", "reader"), 20);
    let denied = &events[0];
    assert_eq!((&denied["action"], &denied["outcome"]), (&"E".into(), &"4".into()), "{denied}");
    let verified = audit(&site, "verify");
    let text = binary::text(&verified.stdout);
    assert!(verified.status.success() && text.contains("is whole"), "{verified:?}");
    let files = site.data().join("tenants/default/audit");
    assert!(!holds(&files, b"quillfeather") && !holds(&files, b"reader"));

    site.launch(First::Gateway).await;
    let auditor = site.new_client("auditor", &["--role", "auditor"]);
    let found = auditor.get("/AuditEvent?patient=quillfeather&agent=reader").await.is(200).json();
    assert_eq!(found["entry"].as_array().unwrap().len(), 20);
    // At the port of this start.
    let reader = site.client(reader.key());
    let log = reader.get("/Patient/quillfeather/$access-log").await.is(200).json();
    assert_eq!(log["parameter"].as_array().unwrap().len(), 21);
    // Beside the running server.
    assert_eq!(count(&exported(&site), "read", "reader"), 20);
}
