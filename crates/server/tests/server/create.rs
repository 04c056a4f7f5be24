//! create, and what a write answers.

use serde_json::{Value, json};

use crate::support::bundle::{batch, entry, transaction};
use crate::support::{BASE, Site};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

const PATIENT: &str = r#"{"resourceType":"Patient","active":true}"#;

#[tokio::test]
async fn a_create_answers_201_with_the_place_of_the_new_version() {
    // HTTP-073, HTTP-055, HTTP-031
    let site = Site::start().await;
    let created = site.post("Patient", PATIENT).await.is(201);
    let location = created.header("location").unwrap();
    assert!(location.starts_with(&format!("{BASE}/Patient/")), "{location}");
    assert!(location.ends_with("/_history/1"), "{location}");
    assert_eq!(created.header("etag"), Some("W/\"1\""));
    assert_eq!(created.header("last-modified"), Some("Fri, 02 Jan 2026 03:04:05 GMT"));
    let read = site.get(&location[BASE.len() + 1..]).await.is(200);
    assert_eq!(read.body, created.body);
    assert_eq!(read.json()["active"], json!(true));
}

#[tokio::test]
async fn the_server_gives_id_version_and_time_whatever_the_body_says() {
    // HTTP-074, HTTP-078
    let site = Site::start().await;
    let body = json!({
        "resourceType": "Patient",
        "id": "abc",
        "meta": {
            "versionId": "77",
            "lastUpdated": "1999-01-01T00:00:00Z",
            "source": "urn:x",
            "profile": ["http://p"],
            "tag": [{ "code": "t" }],
            "security": [{ "code": "s" }],
        },
    });
    let created = site.post("Patient", &body).await.is(201);
    assert_ne!(created.reference(), "Patient/abc");
    let meta = &created.json()["meta"];
    assert_eq!(meta["versionId"], "1");
    assert_eq!(meta["lastUpdated"], "2026-01-02T03:04:05.678901Z");
    for kept in ["source", "profile", "tag", "security"] {
        assert_eq!(meta[kept], body["meta"][kept], "{kept}");
    }
    site.get("Patient/abc").await.is(404);
}

#[tokio::test]
async fn content_is_kept_to_the_letter_but_for_id_and_meta() {
    // HTTP-079
    let site = Site::on_disk().await;
    let members = r#""zeta":"unknown members stay","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">Zo\u00eb é 😀 \/</div>"},"_birthDate":{"extension":[{"url":"http://e","valueString":"a  b"}]},"name":[{"given":["A",null],"_given":[null,{"id":"g"}]}]"#;
    let body = format!("{{\"resourceType\":\"Patient\",{members}}}");
    let created = site.post("Patient", &body).await.is(201);
    let id = created.reference()["Patient/".len()..].to_owned();
    let expected = format!(
        r#"{{"resourceType":"Patient","id":"{id}","meta":{{"versionId":"1","lastUpdated":"2026-01-02T03:04:05.678901Z"}},{members}}}"#
    );
    assert_eq!(created.text(), expected);
    assert_eq!(site.get(&format!("Patient/{id}")).await.text(), expected);
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    // HTTP-075
    let site = Site::start().await;
    let refused = site.post("Patient", r#"{"resourceType":"Observation"}"#).await.is(400);
    assert_eq!(refused.expressions(), ["resourceType"]);
    let refused = site.put("Patient/1", r#"{"resourceType":"Observation","id":"1"}"#).await;
    refused.is(400);
    assert_eq!(site.position(), 0);
}

#[tokio::test]
async fn a_missing_or_unreadable_body_is_refused() {
    // HTTP-076
    let site = Site::start().await;
    let check = async |body: &str, code: &str| {
        let refused = site.post("Patient", body).await.is(400);
        assert_eq!(refused.code(), code, "{body}");
    };
    check("", "required").await;
    check("{", "structure").await;
    check("[]", "structure").await;
    check("\"Patient\"", "structure").await;
    check("{}", "required").await;
    check(r#"{"resourceType":1}"#, "value").await;
    check(r#"{"resourceType":"Patient","active":tru}"#, "structure").await;
    site.ask("POST", "Patient").send().await.is(400);
    assert_eq!(site.position(), 0);
}

#[tokio::test]
async fn preferences_say_what_a_write_returns() {
    // HTTP-043, HTTP-044, HTTP-045, HTTP-046
    let site = Site::start().await;
    let check = async |prefer: &str, expected: Option<&str>| {
        for (method, target) in [("POST", "Patient"), ("PUT", "Patient/1")] {
            let mut ask = site.ask(method, target);
            if !prefer.is_empty() {
                ask = ask.header("prefer", prefer);
            }
            let body = r#"{"resourceType":"Patient","id":"1"}"#;
            let answer = ask.body(body).send().await;
            assert!([200, 201].contains(&answer.status), "{answer:?}");
            assert!(answer.header("etag").is_some());
            assert!(answer.header("location").is_some());
            match expected {
                None => {
                    assert!(answer.body.is_empty(), "{answer:?}");
                    assert_eq!(answer.header("content-type"), None);
                }
                Some(expected) => assert_eq!(answer.json()["resourceType"], expected),
            }
            if expected == Some("Patient") {
                assert!(answer.json()["meta"]["versionId"].is_string());
            }
        }
    };
    check("", Some("Patient")).await;
    check("return=minimal", None).await;
    check("return=representation", Some("Patient")).await;
    check("return=OperationOutcome", Some("OperationOutcome")).await;
    // HTTP-048
    check("respond-async, return=minimal; handling=lenient", None).await;
    // A read returns what it reads.
    let read = site.ask("GET", "Patient/1").header("prefer", "return=minimal").send().await;
    assert_eq!(read.is(200).json()["resourceType"], "Patient");
    let prefer = "return=OperationOutcome";
    let read = site.ask("GET", "Patient/1").header("prefer", prefer).send().await;
    assert_eq!(read.is(200).json()["resourceType"], "Patient");
}

#[tokio::test]
async fn a_method_in_a_header_is_not_obeyed() {
    // HTTP-054
    let site = Site::start().await;
    let patient = r#"{"resourceType":"Patient","id":"1"}"#;
    site.put("Patient/1", patient).await.is(201);
    let ask = site.ask("POST", "Patient").header("x-http-method-override", "DELETE");
    ask.body(patient).send().await.is(201);
    site.get("Patient/1").await.is(200);
}

#[tokio::test]
async fn what_only_a_transaction_can_resolve_is_not_stored() {
    // HTTP-183
    let site = Site::start().await;
    for reference in [
        "Patient?identifier=a|b",
        r"Patient\u003fidentifier=a|b",
        "/Patient?identifier=a|b",
        "http://clinic.example/fhir/Patient?identifier=a|b",
        "https://clinic.example/fhir/Patient?identifier=a|b",
    ] {
        let body = format!(
            r#"{{"resourceType":"Observation","id":"1","subject":{{"reference":"{reference}"}}}}"#
        );
        for refused in [
            site.post("Observation", &body).await.is(400),
            site.put("Observation/1", &body).await.is(400),
        ] {
            assert_eq!(refused.expressions(), ["Observation.subject.reference"], "{reference}");
        }
    }
    assert_eq!(site.position(), 0);
}

#[tokio::test]
async fn a_meta_that_is_no_object_is_refused() {
    let site = Site::start().await;
    for meta in ["\"text\"", "[]", "null", "1"] {
        let patient = format!(r#"{{"resourceType":"Patient","id":"1","meta":{meta}}}"#);
        for refused in [
            site.put("Patient/1", &patient).await,
            site.post("Patient", &patient).await,
            site.post("", transaction([entry("PUT", "Patient/1", parsed(&patient))])).await,
        ] {
            let at = refused.is(400).expressions();
            assert!(at[0].ends_with(".meta"), "{at:?}");
        }
    }
    assert_eq!(site.position(), 0);
}

#[tokio::test]
async fn no_second_id_hides_behind_an_escape() {
    let site = Site::start().await;
    let hidden = r#"{"resourceType":"Patient","\u0069d":"1","m\u0065ta":{"version\u0049d":"9"}}"#;
    let expected = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"1","lastUpdated":"2026-01-02T03:04:05.678901Z"}}"#;
    assert_eq!(site.put("Patient/1", hidden).await.is(201).text(), expected);
    site.post("Patient", hidden).await.is(201);
    assert_eq!(site.get("Patient/1").await.text(), expected);
}

#[tokio::test]
async fn a_reference_to_what_is_not_there_is_taken() {
    // HTTP-099
    let site = Site::start().await;
    let body = r#"{"resourceType":"Observation","subject":{"reference":"Patient/not-there-yet"}}"#;
    let created = site.post("Observation", body).await.is(201);
    assert_eq!(created.json()["subject"]["reference"], "Patient/not-there-yet");
}

#[tokio::test]
async fn a_bundle_posted_to_its_type_is_stored() {
    // HTTP-160
    let site = Site::start().await;
    let bundle = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}]}"#;
    let stored = site.post("Bundle", bundle).await.is(201);
    assert!(stored.reference().starts_with("Bundle/"));
    assert_eq!(stored.json()["entry"][0]["request"]["method"], "POST");
    assert_eq!(site.position(), 1);
}

#[tokio::test]
async fn a_create_with_a_search_in_its_url_is_refused_and_told_where_that_belongs() {
    let site = Site::start().await;
    let body = r#"{"resourceType":"Patient","identifier":[{"system":"urn:x","value":"1"}]}"#;
    let target = "Patient?identifier=urn:x%7C1";
    let refused = site.post(target, body).await.is(400);
    assert!(refused.text().contains("If-None-Exist"), "{}", refused.text());
    let entries = || [entry("POST", target, parsed(body))];
    site.post("", transaction(entries())).await.is(400);
    assert_eq!(site.post("", batch(entries())).await.is(200).statuses(), [400]);
    assert_eq!(site.position(), 0);
    site.post("Patient?_format=json&_pretty=true", body).await.is(201);
}
