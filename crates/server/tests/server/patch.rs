//! patch: JSON Patch and FHIRPath Patch, alone and in Bundles.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::bundle::{batch, entry, identified, observation, transaction, when};
use crate::support::{Access, Answer, Ask, Site, rule};

const JSON_PATCH: &str = "application/json-patch+json";

fn json_patch<'a>(site: &'a Site, target: &'a str, patch: Value) -> Ask<'a> {
    site.ask("PATCH", target).bytes(JSON_PATCH, patch.to_string())
}

async fn send(site: &Site, target: &str, patch: Value) -> Answer {
    json_patch(site, target, patch).send().await
}

/// A FHIRPath Patch that replaces what `path` finds.
fn replacement(path: &str, value: &str, of: Value) -> Value {
    let part = |name: &str, value: &str, of: Value| json!({ "name": name, value: of });
    json!({ "resourceType": "Parameters", "parameter": [{ "name": "operation", "part": [
        part("type", "valueCode", json!("replace")),
        part("path", "valueString", json!(path)),
        part("value", value, of),
    ] }] })
}

const ADA: &str = r#"{"resourceType":"Patient","id":"ada","active":true,"birthDate":"1815-12-10",
    "extension":[{"url":"urn:x","valueDecimal":1.50}]}"#;

async fn site() -> Site {
    let site = Site::start().await;
    site.put("Patient/ada", ADA).await.is(201);
    site
}

#[tokio::test]
async fn a_json_patch_makes_the_next_version_and_keeps_every_digit() {
    // HTTP-031, HTTP-113, HTTP-115
    let site = site().await;
    let patch = json!([
        { "op": "test", "path": "/meta/versionId", "value": "1" },
        { "op": "replace", "path": "/active", "value": false },
        { "op": "add", "path": "/_birthDate", "value": { "id": "b" } },
    ]);
    let patched = send(&site, "Patient/ada", patch).await.is(200);
    assert_eq!(patched.header("etag"), Some("W/\"2\""));
    assert_eq!(patched.json()["active"], false);
    assert_eq!(patched.json()["_birthDate"]["id"], "b");
    let read = site.get("Patient/ada").await.is(200);
    assert_eq!(read.body, patched.body);
    assert!(read.text().contains("1.50"), "{}", read.text());
    assert_eq!(read.json()["meta"]["versionId"], "2");
    let history = site.get("Patient/ada/_history").await.json();
    assert_eq!(history["entry"][0]["request"]["method"], "PUT");
}

#[tokio::test]
async fn a_patch_that_fails_changes_nothing_and_says_where() {
    // HTTP-114, HTTP-116, HTTP-118
    let site = site().await;
    let position = site.position();
    let fails = json!([
        { "op": "replace", "path": "/active", "value": false },
        { "op": "test", "path": "/birthDate", "value": "1900" },
    ]);
    let refused = send(&site, "Patient/ada", fails).await.is(422);
    assert_eq!(refused.expressions(), ["Patient.birthDate"]);
    assert!(refused.text().contains("operation 1 (/birthDate)"), "{}", refused.text());
    let missing = json!([{ "op": "remove", "path": "/foo/0" }]);
    let refused = send(&site, "Patient/ada", missing).await.is(422);
    assert_eq!(refused.expressions(), ["Patient.foo[0]"]);
    let none = replacement("Patient.gender", "valueCode", json!("female"));
    let refused = site.ask("PATCH", "Patient/ada").body(none).send().await.is(422);
    assert_eq!(refused.expressions(), ["Patient.gender"]);
    assert!(refused.text().contains("operation 0 (Patient.gender)"), "{}", refused.text());
    assert_eq!(site.position(), position);
    assert_eq!(site.get("Patient/ada").await.json()["active"], true);
}

#[tokio::test]
async fn an_extension_is_put_beside_one_of_many_primitives() {
    let site = site().await;
    let given: Vec<_> = (0..400).map(|_| "A").collect();
    let patient = json!({ "resourceType": "Patient", "id": "p", "name": [{ "given": given }] });
    site.put("Patient/p", &patient.to_string()).await.is(201);
    let part = |name: &str, value: &str, of: &str| json!({ "name": name, value: of });
    let extension = json!({ "name": "value", "part": [
        { "name": "url", "valueUri": "urn:x" }, { "name": "valueString", "valueString": "y" },
    ] });
    let patch = json!({ "resourceType": "Parameters", "parameter": [{ "name": "operation", "part": [
        part("type", "valueCode", "add"),
        part("path", "valueString", "Patient.name.given.last()"),
        part("name", "valueString", "extension"),
        extension,
    ] }] });
    let patched = site.ask("PATCH", "Patient/p").body(patch).send().await.is(200);
    assert_eq!(patched.json()["name"][0]["_given"].as_array().map(Vec::len), Some(400));
}

#[tokio::test]
async fn a_fhirpath_patch_is_taken_in_json_and_in_xml() {
    // HTTP-117
    let site = site().await;
    let patch = replacement("Patient.birthDate", "valueDate", json!("1815-12-11"));
    let patched = site.ask("PATCH", "Patient/ada").body(patch).send().await.is(200);
    assert_eq!(patched.json()["birthDate"], "1815-12-11");
    let xml = r#"<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="operation"/>
        <part><name value="type"/><valueCode value="add"/></part>
        <part><name value="path"/><valueString value="Patient"/></part>
        <part><name value="name"/><valueString value="contact"/></part>
        <part><name value="value"/><part><name value="gender"/><valueCode value="female"/></part></part>
        </parameter></Parameters>"#;
    let patched = site.ask("PATCH", "Patient/ada").bytes("application/fhir+xml", xml);
    let patched = patched.send().await.is(200);
    assert_eq!(patched.header("etag"), Some("W/\"3\""));
    assert_eq!(patched.json()["contact"], json!([{ "gender": "female" }]));
}

#[tokio::test]
async fn what_is_no_patch_is_refused() {
    // HTTP-008, HTTP-122
    let site = site().await;
    let position = site.position();
    for (media_type, body, status) in [
        ("application/fhir+json", ADA, 400),
        ("application/fhir+json", "[]", 400),
        ("application/fhir+json", r#"{"resourceType":"Parameters","parameter":[{}]}"#, 400),
        (JSON_PATCH, "{}", 400),
        (JSON_PATCH, "[", 400),
        (JSON_PATCH, r#"[{"op":"add","path":"active","value":1}]"#, 400),
        (JSON_PATCH, "", 400),
        ("application/merge-patch+json", "{}", 415),
        ("application/xml-patch+xml", "<diff/>", 415),
        ("text/csv", "a", 415),
        ("", "[]", 415),
        ("application/fhir+json", r#"{"resourceType":"Binary","contentType":"text/plain"}"#, 400),
    ] {
        let ask = site.ask("PATCH", "Patient/ada").bytes(media_type, body);
        let answer = ask.send().await;
        assert_eq!(answer.status, status, "{media_type} {body}: {}", answer.text());
    }
    site.ask("PUT", "Patient/ada").bytes(JSON_PATCH, "[]").send().await.is(415);
    assert_eq!(site.position(), position);
}

#[tokio::test]
async fn which_resource_it_is_and_whose_version_no_patch_changes() {
    // HTTP-123
    let site = site().await;
    let position = site.position();
    let replace =
        |path: &str, value: Value| json!([{ "op": "replace", "path": path, "value": value }]);
    for (patch, expression) in [
        (replace("/id", json!("eve")), "Patient.id"),
        (json!([{ "op": "remove", "path": "/id" }]), "Patient.id"),
        (replace("/resourceType", json!("Person")), "resourceType"),
        (replace("/meta/versionId", json!("9")), "Patient.meta.versionId"),
        (replace("/meta/lastUpdated", json!("2020-01-01T00:00:00Z")), "Patient.meta.lastUpdated"),
        (replace("", json!([])), "resourceType"),
    ] {
        let refused = send(&site, "Patient/ada", patch).await.is(422);
        assert_eq!(refused.expressions(), [expression]);
    }
    let by_path = replacement("Patient.id", "valueString", json!("eve"));
    site.ask("PATCH", "Patient/ada").body(by_path).send().await.is(422);
    // What an update must not bring, a patch must not leave.
    let meta = json!([{ "op": "replace", "path": "/meta", "value": "x" }]);
    let refused = send(&site, "Patient/ada", meta).await.is(400);
    assert_eq!(refused.expressions(), ["Patient.meta"]);
    let conditional = json!([{ "op": "add", "path": "/managingOrganization",
        "value": { "reference": "Organization?identifier=a|b" } }]);
    send(&site, "Patient/ada", conditional).await.is(400);
    assert_eq!(site.position(), position);
    let tagged = json!([{ "op": "add", "path": "/meta/tag", "value": [{ "code": "x" }] }]);
    let tagged = send(&site, "Patient/ada", tagged).await.is(200);
    assert_eq!(tagged.json()["meta"]["tag"], json!([{ "code": "x" }]));
}

#[tokio::test]
async fn a_patch_is_conditional_as_an_update_is() {
    // HTTP-124, HTTP-034
    let site = site().await;
    let flip = || json!([{ "op": "replace", "path": "/active", "value": false }]);
    let when = async |name: &str, value: &str| {
        json_patch(&site, "Patient/ada", flip()).header(name, value).send().await
    };
    let stale = when("if-match", "W/\"7\"").await.is(412);
    assert_eq!(stale.expressions(), ["http.If-Match"]);
    when("if-match", "\"\"").await.is(400);
    when("if-none-match", "*").await.is(412);
    assert_eq!(site.get("Patient/ada").await.header("etag"), Some("W/\"1\""));
    when("if-match", "W/\"1\"").await.is(200);
    when("if-match", "W/\"1\"").await.is(412);
    when("if-match", "*").await.is(200);
    assert_eq!(site.get("Patient/ada").await.header("etag"), Some("W/\"3\""));
}

#[tokio::test]
async fn what_is_not_there_cannot_be_patched() {
    // HTTP-125
    let site = site().await;
    send(&site, "Patient/eve", json!([])).await.is(404);
    send(&site, "Foo/ada", json!([])).await.is(404);
    site.delete("Patient/ada").await.is(204);
    let gone = send(&site, "Patient/ada", json!([])).await.is(410);
    assert_eq!(gone.header("etag"), Some("W/\"2\""));
}

#[tokio::test]
async fn what_a_patch_answers_is_as_preferred() {
    let site = site().await;
    let prefer = async |preference: &str| {
        json_patch(&site, "Patient/ada", json!([]))
            .header("prefer", preference)
            .send()
            .await
            .is(200)
    };
    assert!(prefer("return=minimal").await.body.is_empty());
    assert_eq!(prefer("return=representation").await.json()["id"], "ada");
    let outcome = prefer("return=OperationOutcome").await.json();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
}

#[tokio::test]
async fn of_patches_at_once_none_is_lost() {
    let site = Arc::new(site().await);
    let start = json!([{ "op": "add", "path": "/identifier", "value": [{ "value": "first" }] }]);
    send(&site, "Patient/ada", start).await.is(200);
    let mut sent = JoinSet::new();
    for number in 0..12 {
        let site = Arc::clone(&site);
        sent.spawn(async move {
            let identifier = json!({ "system": "urn:n", "value": number.to_string() });
            let patch = json!([{ "op": "add", "path": "/identifier/-", "value": identifier }]);
            send(&site, "Patient/ada", patch).await.status
        });
    }
    while let Some(status) = sent.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let read = site.get("Patient/ada").await.json();
    assert_eq!(read["identifier"].as_array().unwrap().len(), 13);
}

#[tokio::test]
async fn criteria_choose_the_one_resource_to_patch() {
    // HTTP-126
    let site = Site::start().await;
    let id = site.post("Patient", identified("1")).await.is(201).reference();
    site.post("Patient", identified("2")).await.is(201);
    site.post("Patient", identified("2")).await.is(201);
    let position = site.position();
    let patch = || json!([{ "op": "add", "path": "/active", "value": true }]);
    send(&site, "Patient?identifier=urn:mrn|3", patch()).await.is(404);
    send(&site, "Patient?identifier=urn:mrn|2", patch()).await.is(412);
    send(&site, "Patient?name=x", patch()).await.is(404);
    for unusable in ["Patient?bogus=x", "Patient?identifier=urn:mrn|1&_count=1"] {
        send(&site, unusable, patch()).await.is(400);
    }
    assert_eq!(site.position(), position);
    let patched = send(&site, "Patient?identifier=urn:mrn|1", patch()).await.is(200);
    assert_eq!((patched.reference(), patched.json()["active"].clone()), (id, json!(true)));
    let strict = json_patch(&site, "Patient?identifier=urn:mrn|1", patch());
    strict.header("prefer", "handling=strict").send().await.is(200);
    // Whoever may not search learns of no match.
    let access = Access::of(vec![rule(&["Patient"], &["read", "update"], "all")]);
    let denied = json_patch(&site, "Patient?identifier=urn:mrn|1", patch()).by(&access);
    denied.send().await.is(403);
}

#[tokio::test]
async fn a_patch_takes_what_an_update_takes() {
    // LEAK-12, LEAK-14
    let site = site().await;
    let position = site.position();
    let patch = || json!([{ "op": "replace", "path": "/active", "value": false }]);
    let by = async |access: &Access, target: &str| {
        json_patch(&site, target, patch()).by(access).send().await
    };
    let reader = Access::of(vec![rule(&["Patient"], &["read", "create", "search"], "all")]);
    for target in ["Patient/ada", "Patient/never", "Patient?identifier=a|b"] {
        by(&reader, target).await.is(403);
    }
    let patient = Access::of_patient("eve");
    let hidden = by(&patient, "Patient/ada").await.is(404);
    assert_eq!(by(&patient, "Patient/never").await.is(404).body, hidden.body);
    assert_eq!(site.position(), position);
    by(&Access::of_patient("ada"), "Patient/ada").await.is(200);
    // One who may not read could ask what was there, by tests and by what cannot be applied.
    let writer = Access::of(vec![rule(&["Patient"], &["update", "search"], "all")]);
    let apart = [rule(&["Patient"], &["update"], "all"), rule(&["Patient"], &["read"], "own")];
    let test = |value: &str| json!([{ "op": "test", "path": "/birthDate", "value": value }]);
    for access in [writer, Access::of(apart.to_vec())] {
        let mut answers = Vec::new();
        for guess in ["1815-12-10", "x"] {
            let refused = json_patch(&site, "Patient/ada", test(guess)).by(&access).send().await;
            answers.push(refused.is(403).body);
            let conditional = json_patch(&site, "Patient?identifier=urn:mrn|1", test(guess));
            conditional.by(&access).send().await.is(403);
            let entries = [entry("PATCH", "Patient/ada", wrapped(&test(guess)))];
            let whole = site.ask("POST", "").by(&access).body(transaction(entries.clone()));
            whole.send().await.is(403);
            let each = site.ask("POST", "").by(&access).body(batch(entries)).send().await.is(200);
            assert_eq!(each.statuses(), [403]);
        }
        assert_eq!(answers[0], answers[1]);
    }
}

/// A JSON Patch as an entry of a Bundle has it.
fn wrapped(patch: &Value) -> Value {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
    json!({ "resourceType": "Binary", "contentType": JSON_PATCH, "data": data })
}

#[tokio::test]
async fn entries_patch_in_both_forms() {
    // HTTP-127, HTTP-146
    let site = Site::start().await;
    for (number, whole) in [(1, batch as fn(Vec<Value>) -> Value), (2, transaction)] {
        let [a, b] = ["a", "b"].map(|name| format!("Patient/{name}{number}"));
        for patient in [&a, &b] {
            let id = &patient[8..];
            let patient = json!({ "resourceType": "Patient", "id": id, "active": true });
            site.put(&format!("Patient/{id}"), patient).await.is(201);
        }
        let json = wrapped(&json!([{ "op": "add", "path": "/gender", "value": "other" }]));
        let by_path = replacement("Patient.active", "valueBoolean", json!(false));
        let bundle = whole(vec![
            entry("GET", &b, Value::Null),
            entry("PATCH", &a, json),
            when(entry("PATCH", &b, by_path), "ifMatch", "W/\"1\""),
        ]);
        let answer = site.post("", bundle).await.is(200);
        assert_eq!(answer.statuses(), [200, 200, 200], "{}", answer.text());
        assert_eq!(answer.entry(1)["etag"], "W/\"2\"");
        assert_eq!(site.get(&a).await.json()["gender"], "other");
        assert_eq!(site.get(&b).await.json()["active"], false);
        assert_eq!(site.get(&b).await.header("etag"), Some("W/\"2\""));
        // An entry that reads sees what was patched.
        assert_eq!(answer.json()["entry"][0]["resource"]["active"], false);
    }
}

#[tokio::test]
async fn a_transaction_with_a_patch_that_fails_writes_nothing() {
    // HTTP-114, HTTP-124, HTTP-127
    let site = site().await;
    site.put("Patient/eve", json!({ "resourceType": "Patient", "id": "eve" })).await.is(201);
    let position = site.position();
    let fails = json!([{ "op": "test", "path": "/active", "value": false }]);
    let patch = |patch: Value| entry("PATCH", "Patient/ada", patch);
    for (bad, status, expression) in [
        (patch(wrapped(&fails)), 422, "Bundle.entry[1].resource"),
        (
            patch(replacement("Patient.name", "valueHumanName", json!({}))),
            422,
            "Bundle.entry[1].resource",
        ),
        (patch(json!({ "resourceType": "Patient" })), 400, "Bundle.entry[1].resource"),
        (
            patch(json!({ "resourceType": "Binary", "contentType": "text/plain" })),
            400,
            "Bundle.entry[1].resource.contentType",
        ),
        (patch(Value::Null), 400, "Bundle.entry[1]"),
        (
            when(patch(wrapped(&json!([]))), "ifMatch", "W/\"9\""),
            412,
            "Bundle.entry[1].request.ifMatch",
        ),
        (entry("PATCH", "Patient/none", wrapped(&json!([]))), 404, "Bundle.entry[1]"),
        (entry("PATCH", "Patient/eve", wrapped(&json!([]))), 400, "Bundle.entry[1].request.url"),
        (entry("PATCH", "Patient?identifier=a|b", wrapped(&json!([]))), 404, "Bundle.entry[1]"),
    ] {
        let put = json!({ "resourceType": "Patient", "id": "eve", "active": true });
        let bundle = transaction([entry("PUT", "Patient/eve", put), bad.clone()]);
        let refused = site.post("", bundle).await;
        assert_eq!(refused.status, status, "{bad}: {}", refused.text());
        assert_eq!(refused.expressions(), [expression], "{bad}");
    }
    assert_eq!(site.position(), position);
}

#[tokio::test]
async fn criteria_choose_what_an_entry_patches() {
    // HTTP-126, HTTP-127
    let site = Site::on_disk().await;
    let id = site.post("Patient", identified("1")).await.is(201).reference();
    site.post("Patient", identified("2")).await.is(201);
    site.post("Patient", identified("2")).await.is(201);
    let patch = |value: &str, path: &str| {
        let operation = json!([{ "op": "add", "path": path, "value": true }]);
        entry("PATCH", &format!("Patient?identifier=urn:mrn|{value}"), wrapped(&operation))
    };
    let position = site.position();
    let put = |id: &str| json!({ "resourceType": "Patient", "id": id });
    for (entries, status, expression) in [
        (vec![patch("3", "/active")], 404, "Bundle.entry[0]"),
        (vec![patch("2", "/active")], 412, "Bundle.entry[0]"),
        (vec![patch("1", "/none/none")], 422, "Bundle.entry[0].resource"),
        (
            vec![when(patch("1", "/active"), "ifMatch", "W/\"7\"")],
            412,
            "Bundle.entry[0].request.ifMatch",
        ),
        (vec![patch("1", "/active"), patch("1", "/active")], 400, "Bundle.entry[1].request.url"),
        (
            vec![patch("1", "/active"), entry("PUT", &id, put(&id[8..]))],
            400,
            "Bundle.entry[1].request.url",
        ),
    ] {
        let sent = json!(entries).to_string();
        let refused = site.post("", transaction(entries)).await;
        assert_eq!(refused.status, status, "{sent}: {}", refused.text());
        assert_eq!(refused.expressions(), [expression], "{sent}");
    }
    assert_eq!(site.position(), position);
    let patched = patch("1", "/active");
    for _ in 0..2 {
        // Sent again by its name it is done once.
        let ask = site.ask("POST", "").header("idempotency-key", "t");
        let answer = ask.body(transaction([patched.clone()])).send().await.is(200);
        assert_eq!(
            (answer.entry_reference(0), answer.entry(0)["etag"].clone()),
            (id.clone(), json!("W/\"2\""))
        );
    }
    assert_eq!(site.get(&id).await.json()["active"], true);
    // Whoever may not search learns of no match.
    let access = Access::of(vec![rule(&["Patient"], &["read", "update"], "all")]);
    let ask = site.ask("POST", "").by(&access).body(transaction([patched]));
    ask.send().await.is(403);
}

/// Criteria hold until the commit: who else comes to bear the identifier meanwhile is seen.
#[tokio::test]
async fn of_transactions_that_patch_by_criteria_at_once_none_is_lost() {
    let site = Arc::new(Site::start().await);
    let id = site.post("Patient", identified("1")).await.is(201).reference();
    let mut sent = JoinSet::new();
    for number in 0..8 {
        let site = Arc::clone(&site);
        sent.spawn(async move {
            let identifier = json!({ "system": "urn:n", "value": number.to_string() });
            let patch = json!([{ "op": "add", "path": "/identifier/-", "value": identifier }]);
            let entry = entry("PATCH", "Patient?identifier=urn:mrn|1", wrapped(&patch));
            site.post("", transaction([entry])).await.status
        });
    }
    while let Some(status) = sent.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let read = site.get(&id).await.json();
    assert_eq!(read["identifier"].as_array().unwrap().len(), 9);
}

#[tokio::test]
async fn a_patch_may_refer_to_what_its_transaction_creates() {
    let site = Site::start().await;
    let id = site.post("Observation", observation("Patient/x")).await.is(201).reference();
    let mut creation = entry("POST", "Patient", json!({ "resourceType": "Patient" }));
    creation["fullUrl"] = "urn:uuid:5f1c9f0e-7a3c-4bb5-9a38-0d1d6f0d2c11".into();
    let subject = json!("urn:uuid:5f1c9f0e-7a3c-4bb5-9a38-0d1d6f0d2c11");
    let patch = json!([{ "op": "replace", "path": "/subject/reference", "value": subject }]);
    let bundle = transaction([entry("PATCH", &id, wrapped(&patch)), creation]);
    let answer = site.post("", bundle).await.is(200);
    let patient = answer.entry_reference(1);
    assert_eq!(site.get(&id).await.json()["subject"]["reference"], patient.as_str());
}

#[tokio::test]
async fn a_patch_sent_again_by_its_name_is_done_once() {
    let site = Site::on_disk().await;
    site.put("Patient/ada", ADA).await.is(201);
    let patch = || json!([{ "op": "add", "path": "/name", "value": [{ "text": "Ada" }] }]);
    let send = async || {
        let ask = json_patch(&site, "Patient/ada", patch()).header("idempotency-key", "p");
        ask.send().await.is(200)
    };
    let (first, again) = (send().await, send().await);
    assert_eq!(
        (first.body.clone(), first.header("etag")),
        (again.body.clone(), again.header("etag"))
    );
    let bundle = transaction([entry(
        "PATCH",
        "Patient/ada",
        wrapped(&json!([
            { "op": "add", "path": "/name/-", "value": { "text": "Countess" } }
        ])),
    )]);
    for _ in 0..2 {
        let ask = site.ask("POST", "").header("idempotency-key", "t").body(bundle.clone());
        assert_eq!(ask.send().await.is(200).entry(0)["etag"], "W/\"3\"");
    }
    let names = site.get("Patient/ada").await.json()["name"].clone();
    assert_eq!(names, json!([{ "text": "Ada" }, { "text": "Countess" }]));
}
