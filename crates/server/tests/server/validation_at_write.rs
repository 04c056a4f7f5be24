//! What the tenant's policy does with what is written.

use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Value, json};
use server::{Action, Depth, Policy, WritePolicy};
use tokio::task::JoinSet;

use crate::support::bundle::{batch, creation, entry, identified, transaction, when};
use crate::support::package::{self, PROFILE};
use crate::support::{Answer, Site};

fn policy(depth: Depth, action: Action) -> WritePolicy {
    WritePolicy { default: Policy { depth, action }, ..WritePolicy::default() }
}

/// A patient with something that R4 has no name for.
fn invalid() -> Value {
    json!({ "resourceType": "Patient", "colour": "red" })
}

fn valid() -> Value {
    json!({ "resourceType": "Patient", "active": true })
}

fn tags(resource: &Value) -> Vec<&str> {
    let tags = resource["meta"]["tag"].as_array();
    tags.into_iter().flatten().filter_map(|tag| tag["code"].as_str()).collect()
}

#[tokio::test]
async fn what_is_invalid_is_refused_with_what_is_wrong_and_nothing_is_written() {
    // HTTP-077, VAL-200
    let site = Site::asking(WritePolicy::default()).await;
    let refused = site.post("Patient", invalid()).await.is(422);
    assert_eq!(refused.expressions(), ["Patient.colour"]);
    assert_eq!(refused.json()["issue"][0]["details"]["coding"][0]["code"], "unknown-property");
    let mut named = invalid();
    named["id"] = "1".into();
    site.put("Patient/1", &named).await.is(422);
    assert_eq!(site.position(), 0);
    site.post("Patient", valid()).await.is(201);
    // What is only asked for at another depth is not asked.
    let gender = json!({ "resourceType": "Patient", "contact": [{ "gender": "male" }] });
    site.post("Patient", gender).await.is(201);
}

#[tokio::test]
async fn each_depth_asks_for_what_those_before_it_ask_and_more() {
    // VAL-200
    let broken = [
        (Depth::Base, invalid()),
        (
            Depth::Invariants,
            json!({ "resourceType": "Patient", "contact": [{ "gender": "male" }] }),
        ),
        (Depth::Profiles, json!({ "resourceType": "Patient", "meta": { "profile": [PROFILE] } })),
        (Depth::Terminology, json!({ "resourceType": "Patient", "gender": "none" })),
    ];
    for (depth, _) in server::DEPTHS {
        let site = Site::asking(policy(depth, Action::Enforce)).await;
        site.add_package(package::tgz()).await;
        for (least, body) in &broken {
            let expected = if depth >= *least { 422 } else { 201 };
            site.post("Patient", body).await.is(expected);
        }
    }
}

#[tokio::test]
async fn with_warn_it_is_written_and_tagged_and_whoever_asks_is_told() {
    let site = Site::asking(policy(Depth::Base, Action::Warn)).await;
    let ask = site.ask("POST", "Patient").header("prefer", "return=OperationOutcome");
    let answer = ask.body(invalid()).send().await.is(201);
    let outcome = answer.json();
    let severities: Vec<_> = outcome["issue"].as_array().unwrap().iter().collect();
    assert_eq!(severities[0]["severity"], "information");
    assert_eq!(severities[1]["severity"], "warning");
    assert_eq!(severities[1]["expression"], json!(["Patient.colour"]));
    let reference = answer.reference();
    let mut stored = site.get(&reference).await.is(200).json();
    assert_eq!(tags(&stored), ["invalid"]);
    assert_eq!(stored["colour"], "red");
    // Mended, it loses the tag, and keeps those that are its own.
    stored["meta"]["tag"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "system": "http://x", "code": "a" }));
    stored.as_object_mut().unwrap().remove("colour");
    let mended = site.put(&reference, &stored).await.is(200).json();
    assert_eq!(tags(&mended), ["a"]);
    let valid = site.ask("POST", "Patient").header("prefer", "return=OperationOutcome");
    let told = valid.body(valid_with_tag()).send().await.is(201);
    assert_eq!(told.json()["issue"][0]["diagnostics"], "done as asked");
    assert_eq!(tags(&site.get(&told.reference()).await.json()), [""; 0]);
}

#[tokio::test]
async fn the_servers_tag_is_nobodys_also_where_nothing_is_judged() {
    let site = Site::asking(policy(Depth::Parse, Action::Enforce)).await;
    let reference = site.post("Patient", &valid_with_tag()).await.is(201).reference();
    assert_eq!(tags(&site.get(&reference).await.json()), [""; 0]);
}

/// Who claims the server's tag does not get it.
fn valid_with_tag() -> Value {
    json!({ "resourceType": "Patient", "active": true,
        "meta": { "tag": [{ "system": "urn:hearthgate:validation", "code": "invalid" }] } })
}

#[tokio::test]
async fn a_batch_is_judged_entry_by_entry_and_a_transaction_as_a_whole() {
    // VAL-171
    let site = Site::asking(WritePolicy::default()).await;
    let entries = || {
        [
            creation("urn:uuid:0c1f1a84-6b3c-4f6a-9a63-2f1f5f3f7d01", valid()),
            entry("POST", "Patient", invalid()),
            entry("POST", "Patient", valid()),
            entry("POST", "Basic", json!({ "resourceType": "Basic", "colour": "red" })),
        ]
    };
    let answer = site.post("", batch(entries())).await.is(200);
    assert_eq!(answer.statuses(), [201, 422, 201, 422]);
    let expression = &answer.entry(1)["outcome"]["issue"][0]["expression"];
    assert_eq!(expression, &json!(["Patient.colour"]));
    let before = site.position();
    let refused = site.post("", transaction(entries())).await.is(422);
    // What lacks an element is named by what it should stand in.
    let expected = [
        "Bundle.entry[1].resource.colour",
        "Bundle.entry[3].resource.colour",
        "Bundle.entry[3].resource",
    ];
    assert_eq!(refused.expressions(), expected);
    assert_eq!(site.position(), before);
}

#[tokio::test]
async fn references_that_a_transaction_resolves_are_no_fault() {
    let site = Site::asking(policy(Depth::Terminology, Action::Enforce)).await;
    let identified = json!({ "resourceType": "Patient",
        "identifier": [{ "system": "urn:mrn", "value": "1" }] });
    site.post("Patient", identified).await.is(201);
    let observation = |subject: &str| {
        json!({ "resourceType": "Observation", "status": "final", "code": { "text": "a" },
            "subject": { "reference": subject } })
    };
    let full_url = "urn:uuid:0c1f1a84-6b3c-4f6a-9a63-2f1f5f3f7d01";
    let answer = site.post(
        "",
        transaction([
            creation(full_url, valid()),
            entry("POST", "Observation", observation(full_url)),
            entry("POST", "Observation", observation("Patient?identifier=urn:mrn|1")),
        ]),
    );
    assert_eq!(answer.await.is(200).statuses(), [201, 201, 201]);
}

#[tokio::test]
async fn a_reference_to_another_entry_is_judged_by_the_type_of_that_entry() {
    // VAL-140
    let site = Site::asking(WritePolicy::default()).await;
    let organization = || json!({ "resourceType": "Organization", "name": "A" });
    let observation = |subject: &str| {
        json!({ "resourceType": "Observation", "status": "final", "code": { "text": "a" },
            "subject": { "reference": subject, "display": "B" } })
    };
    let urn = "urn:uuid:0c1f1a84-6b3c-4f6a-9a63-2f1f5f3f7d01";
    let other = "urn:uuid:0c1f1a84-6b3c-4f6a-9a63-2f1f5f3f7d02";
    let place = "Bundle.entry[1].resource.subject";
    for (target, subject, full_url) in [
        (urn, urn, other),
        // What a URL looks like does not count.
        ("http://x.example/Patient/1", "http://x.example/Patient/1", other),
        ("http://x.example/Patient/1", "Patient/1", "http://x.example/Observation/1"),
        (urn, "Organization?identifier=urn:mrn|1", other),
    ] {
        let entries = [creation(target, organization()), creation(full_url, observation(subject))];
        let mut sent = transaction(entries);
        if subject.contains('?') {
            sent["entry"][0]["resource"]["identifier"] =
                json!([{ "system": "urn:mrn", "value": "1" }]);
        }
        // On lines, to see where it is said to be wrong.
        let sent = serde_json::to_string_pretty(&sent).unwrap();
        let line = 1 + sent.lines().position(|line| line.contains("\"reference\"")).unwrap();
        let refused = site.post("", sent).await.is(422);
        assert_eq!(refused.expressions(), [place], "{subject}");
        let issue = &refused.json()["issue"][0];
        assert_eq!(issue["details"]["coding"][0]["code"], "reference-target");
        assert_eq!(issue["extension"][0]["valueInteger"], line);
    }
    assert_eq!(site.position(), 0);
    let group = json!({ "resourceType": "Group", "type": "person", "actual": true });
    let right = [creation(urn, group), creation(other, observation(urn))];
    site.post("", transaction(right)).await.is(200);
}

#[tokio::test]
async fn a_narrative_that_is_none_is_refused_in_json_and_in_xml() {
    // XML-015, VAL-160, VAL-161, VAL-162
    let site = Site::asking(WritePolicy::default()).await;
    let div = |inner: &str| format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{inner}</div>");
    let json = async |div: &str| {
        let text = json!({ "status": "generated", "div": div });
        site.post("Patient", json!({ "resourceType": "Patient", "text": text })).await
    };
    let xml = async |div: &str| {
        let body = format!(
            "<Patient xmlns=\"http://hl7.org/fhir\"><text><status value=\"generated\"/>{div}\
             </text></Patient>"
        );
        site.ask("POST", "Patient").bytes("application/fhir+xml", body).send().await
    };
    // What cannot be read is 400.
    for inner in ["<p>a", "a</p>", "a & b", "<p a=1>b</p>", "&unknown;", "<p>a</b></p>"] {
        for answer in [json(&div(inner)).await, xml(&div(inner)).await] {
            assert_eq!(answer.status, 400, "{inner} {}", answer.text());
        }
    }
    let doctype = format!("<!DOCTYPE div [<!ENTITY a \"b\">]>{}", div("&a;"));
    for whole in [&*doctype, "", "text"] {
        drop(json(whole).await.is(400));
    }
    // What can be read and may not stand in a narrative is 422.
    for inner in [
        "<script>a</script>",
        "<p onclick=\"a()\">a</p>",
        "<a href=\"javascript:a()\">a</a>",
        "<form>a</form>",
        "<iframe src=\"http://x\"/>",
        " ",
    ] {
        for answer in [json(&div(inner)).await, xml(&div(inner)).await] {
            assert_eq!(answer.status, 422, "{inner} {}", answer.text());
            assert_eq!(answer.expressions(), ["Patient.text.div"], "{inner}");
        }
    }
    drop(json("<p xmlns=\"http://www.w3.org/1999/xhtml\">a</p>").await.is(422));
    assert_eq!(site.position(), 0);
    // A comment stays in both formats; an instruction is no part of XHTML as FHIR takes it.
    for answer in [json(&div("a<!-- b -->")).await, xml(&div("a<!-- b -->")).await] {
        let stored = site.get(&answer.is(201).reference()).await.json();
        assert!(stored["text"]["div"].as_str().unwrap().contains("a<!-- b -->"), "{stored}");
    }
    drop(json(&div("a<?b c?>")).await.is(422));
    let written = xml(&div("a<?b c?>")).await.is(201).reference();
    assert_eq!(site.get(&written).await.json()["text"]["div"], div("a"));
}

#[tokio::test]
async fn a_transaction_with_warn_tells_of_each_entry() {
    let site = Site::asking(policy(Depth::Base, Action::Warn)).await;
    let entries = [entry("POST", "Patient", valid()), entry("POST", "Patient", invalid())];
    for bundle in [batch(entries.clone()), transaction(entries)] {
        let answer = site.post("", bundle).await.is(200);
        assert_eq!(answer.statuses(), [201, 201]);
        assert_eq!(answer.entry(0).get("outcome"), None);
        let issues = answer.entry(1)["outcome"]["issue"].clone();
        assert_eq!(issues[1]["expression"], json!(["Patient.colour"]), "{issues}");
        let stored = site.get(&answer.entry_reference(1)).await.json();
        assert_eq!(tags(&stored), ["invalid"]);
    }
}

#[tokio::test]
async fn a_required_profile_is_asked_of_every_resource_of_its_type() {
    // HTTP-077, VAL-153, VAL-200
    let required = format!("Patient {PROFILE}").parse().unwrap();
    let policy = WritePolicy { required_profiles: vec![required], ..WritePolicy::parse_only() };
    let site = Site::asking(policy.clone()).await;
    // Not there, it cannot be met: nobody is let through for that.
    let refused = site.post("Patient", valid()).await.is(422);
    assert_eq!(refused.code(), "not-found");
    site.add_package(package::tgz()).await;
    let born = json!({ "resourceType": "Patient", "birthDate": "2000-01-01" });
    let check = async |site: &Site| -> Answer {
        site.post("Patient", &born).await.is(201);
        site.post("Basic", json!({ "resourceType": "Basic" })).await.is(201);
        site.post("Patient", valid()).await.is(422)
    };
    assert_eq!(check(&site).await.expressions(), ["Patient"]);
    // It is in the log: a server that starts anew has it.
    check(&site.restart_asking(policy).await).await;
}

#[tokio::test]
async fn a_request_sent_again_is_answered_though_the_policy_would_refuse_it_now() {
    let site = Site::asking(WritePolicy::parse_only()).await;
    let bundle = transaction([entry("POST", "Patient", invalid())]);
    let send = async |site: &Site| {
        let ask = site.ask("POST", "").header("idempotency-key", "a");
        ask.body(&bundle).send().await.is(200).entry_reference(0)
    };
    let first = send(&site).await;
    let site = site.restart_asking(WritePolicy::default()).await;
    assert_eq!(send(&site).await, first);
}

/// A patch that adds what R4 has no name for.
fn spoiling() -> Value {
    json!([{ "op": "add", "path": "/colour", "value": "red" }])
}

/// The same patch as an entry of a Bundle has it.
fn spoiling_entry(target: &str) -> Value {
    let data = base64::engine::general_purpose::STANDARD.encode(spoiling().to_string());
    let patch = json!({ "resourceType": "Binary", "contentType": JSON_PATCH, "data": data });
    entry("PATCH", target, patch)
}

const JSON_PATCH: &str = "application/json-patch+json";

async fn spoil(site: &Site, target: &str) -> Answer {
    site.ask("PATCH", target).bytes(JSON_PATCH, spoiling().to_string()).send().await
}

#[tokio::test]
async fn what_a_patch_makes_is_judged_as_an_update_is() {
    // VAL-171
    let site = Site::asking(WritePolicy::default()).await;
    let reference = site.post("Patient", identified("1")).await.is(201).reference();
    let before = site.position();
    for target in [&*reference, "Patient?identifier=urn:mrn|1"] {
        let refused = spoil(&site, target).await.is(422);
        assert_eq!(refused.expressions(), ["Patient.colour"], "{target}");
        let issue = &refused.json()["issue"][0];
        assert_eq!(issue["details"]["coding"][0]["code"], "unknown-property");
        // It has a rule, and no line: nobody sent what is wrong.
        assert_eq!(issue.get("extension"), None, "{issue}");
    }
    let answer = site.post("", batch([spoiling_entry(&reference)])).await.is(200);
    assert_eq!(answer.statuses(), [422]);
    let whole = transaction([entry("POST", "Patient", valid()), spoiling_entry(&reference)]);
    let refused = site.post("", whole).await.is(422);
    assert_eq!(refused.expressions(), ["Bundle.entry[1].resource.colour"]);
    assert_eq!(site.position(), before);
}

#[tokio::test]
async fn with_warn_what_a_patch_makes_is_tagged_until_a_patch_mends_it() {
    let site = Site::asking(policy(Depth::Base, Action::Warn)).await;
    let reference = site.post("Patient", valid()).await.is(201).reference();
    let patched = spoil(&site, &reference).await.is(200).json();
    assert_eq!(tags(&patched), ["invalid"]);
    let mend = json!([{ "op": "remove", "path": "/colour" }]).to_string();
    let mended = site.ask("PATCH", &reference).bytes(JSON_PATCH, mend).send().await.is(200).json();
    assert_eq!(tags(&mended), [""; 0]);
    let whole = transaction([entry("POST", "Patient", valid()), spoiling_entry(&reference)]);
    let answer = site.post("", whole).await.is(200);
    assert_eq!(answer.entry(0).get("outcome"), None);
    let issues = &answer.entry(1)["outcome"]["issue"];
    assert_eq!(issues[1]["expression"], json!(["Patient.colour"]), "{issues}");
    assert_eq!(tags(&site.get(&reference).await.json()), ["invalid"]);
}

/// A transaction that is planned again may find what it would have created: what was judged
/// stays with its entry.
#[tokio::test]
async fn of_transactions_at_once_each_entry_has_its_own_judgement() {
    let site = Arc::new(Site::asking(policy(Depth::Base, Action::Warn)).await);
    let mut sent = JoinSet::new();
    for _ in 0..24 {
        let site = Arc::clone(&site);
        sent.spawn(async move {
            let found = entry("POST", "Patient", identified("1"));
            let found = when(found, "ifNoneExist", "identifier=urn:mrn|1");
            let basic =
                json!({ "resourceType": "Basic", "colour": "red", "code": { "text": "a" } });
            let whole = transaction([found, entry("POST", "Basic", basic)]);
            let answer = site.post("", whole).await.is(200);
            assert_eq!(answer.entry(0).get("outcome"), None);
            let issues = &answer.entry(1)["outcome"]["issue"];
            assert_eq!(issues[1]["expression"], json!(["Basic.colour"]), "{issues}");
            let stored = site.get(&answer.entry_reference(1)).await.json();
            assert_eq!(tags(&stored), ["invalid"]);
            answer.entry_reference(0)
        });
    }
    let mut references = sent.join_all().await;
    references.dedup();
    assert_eq!(references.len(), 1);
    assert_eq!(tags(&site.get(&references[0]).await.json()), [""; 0]);
}
