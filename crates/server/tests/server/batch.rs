//! batch: each entry by itself.

use serde_json::{Value, json};

use crate::support::bundle::{batch, creation, entry, identified, observation, patient, when};
use crate::support::{Access, BASE, Fault, PATIENCE, Site, check_issues, rule};

#[tokio::test]
async fn each_entry_succeeds_or_fails_alone_and_answers_in_its_place() {
    // HTTP-158, HTTP-159, HTTP-164, HTTP-165
    let site = Site::start().await;
    site.put("Patient/1", patient("1")).await.is(201);
    site.put("Patient/2", patient("2")).await.is(201);
    let answer = site
        .post(
            "",
            batch([
                entry("GET", "Patient/1", Value::Null),
                entry("PUT", "Patient/3", patient("4")),
                entry("POST", "Patient", patient("x")),
                entry("GET", "Patient/9", Value::Null),
                entry("PUT", "Patient/2", patient("2")),
                entry("DELETE", "Patient/1", Value::Null),
                entry("PUT", "Patient?bogus=x", patient("5")),
                entry("GET", "metadata", Value::Null),
            ]),
        )
        .await
        .is(200);
    let bundle = answer.json();
    assert_eq!(bundle["type"], "batch-response");
    // The deletion comes first, the reads last.
    assert_eq!(answer.statuses(), [410, 400, 201, 404, 200, 204, 400, 200]);
    for failed in [0, 1, 3, 6] {
        check_issues(&answer.entry(failed)["outcome"]);
        assert_eq!(bundle["entry"][failed].get("resource"), None);
    }
    let created = answer.entry(2);
    assert_eq!(created["status"], "201 Created");
    assert_eq!(created["etag"], "W/\"1\"");
    assert_eq!(created["lastModified"], "2026-01-02T03:04:05.678904Z");
    site.get(&answer.entry_reference(2)).await.is(200);
    assert_eq!(answer.entry(4)["location"], "Patient/2/_history/2");
    assert_eq!(answer.entry(5).get("location"), None);
    assert_eq!(bundle["entry"][7]["resource"]["resourceType"], "CapabilityStatement");
}

#[tokio::test]
async fn entries_name_their_place_in_every_form_of_url() {
    // HTTP-161, HTTP-004, HTTP-102
    let site = Site::start().await;
    let https = BASE.replace("http:", "https:");
    let urls = [
        "Patient/1".to_owned(),
        "/Patient/1".to_owned(),
        format!("{BASE}/Patient/1"),
        format!("{https}/Patient/1"),
    ];
    for url in &urls {
        let answer = site.post("", batch([entry("PUT", url, patient("1"))])).await.is(200);
        assert!([200, 201].contains(&answer.statuses()[0]), "{url}");
    }
    assert_eq!(site.position(), 4);
    for (url, status) in [
        ("http://other.example/fhir/Patient/1", 400),
        ("http://clinic.example/fhirx/Patient/1", 400),
        ("../Patient/1", 400),
        ("Patient/a_b", 400),
        ("Patient/%2e%2e/Patient/1", 400),
        ("Patient/1/2/3", 404),
        ("metadata", 405),
        ("Patient", 405),
        ("", 405),
    ] {
        let answer = site.post("", batch([entry("PUT", url, patient("1"))])).await.is(200);
        assert_eq!(answer.statuses(), [status], "{url}");
        check_issues(&answer.entry(0)["outcome"]);
    }
    assert_eq!(site.position(), 4);
}

#[tokio::test]
async fn conditions_of_an_entry_count_like_headers() {
    // HTTP-163
    let site = Site::start().await;
    site.put("Patient/1", patient("1")).await.is(201);
    let existing = site.post("Patient", identified("47")).await.is(201).reference();
    let read = || entry("GET", "Patient/1", Value::Null);
    let put = || entry("PUT", "Patient/1", patient("1"));
    let post = |value| entry("POST", "Patient", identified(value));
    let answer = site
        .post(
            "",
            batch([
                when(read(), "ifNoneMatch", "W/\"1\""),
                when(read(), "ifNoneMatch", "W/\"2\""),
                when(read(), "ifModifiedSince", "2026-01-02T03:04:05.678901Z"),
                when(read(), "ifModifiedSince", "2026-01-02T03:04:04Z"),
                when(put(), "ifMatch", "W/\"2\""),
                when(put(), "ifNoneMatch", "*"),
                when(post("47"), "ifNoneExist", "identifier=urn:mrn|47"),
                when(post("48"), "ifNoneExist", "identifier=urn:mrn|48"),
                when(post("48"), "ifNoneExist", "foo=bar"),
            ]),
        )
        .await
        .is(200);
    assert_eq!(answer.statuses(), [304, 200, 304, 200, 412, 412, 200, 201, 400]);
    assert_eq!(answer.json()["entry"][0].get("resource"), None);
    assert_eq!(answer.entry_reference(6), existing);
}

#[tokio::test]
async fn entries_that_refer_to_each_other_are_refused() {
    // HTTP-162
    let site = Site::start().await;
    let uuid = "urn:uuid:0b0d2a4a-6a5c-4bd3-9f3a-0c7b5ed6c001";
    let absolute = "http://other.example/Patient/1";
    let mut put = entry("PUT", "Patient/7", patient("7"));
    put["fullUrl"] = "urn:uuid:7".into();
    let answer = site
        .post(
            "",
            batch([
                creation(uuid, patient("x")),
                creation("urn:uuid:2", observation(uuid)),
                creation(absolute, patient("x")),
                entry("POST", "Observation", observation(absolute)),
                put,
                entry("POST", "Observation", observation("urn:uuid:7")),
                entry("POST", "Observation", observation("urn:uuid:of-no-entry")),
                entry("POST", "Observation", observation("Patient/7")),
                entry("POST", "Observation", observation("Patient?identifier=a|b")),
            ]),
        )
        .await
        .is(200);
    assert_eq!(answer.statuses(), [201, 400, 201, 400, 201, 400, 400, 201, 400]);
}

#[tokio::test]
async fn written_resources_are_returned_where_that_is_preferred() {
    // HTTP-167
    let site = Site::start().await;
    site.put("Patient/1", patient("1")).await.is(201);
    let send = async |prefer: &str| {
        let entries = [
            entry("POST", "Patient", patient("x")),
            entry("PUT", "Patient/1", patient("1")),
            entry("GET", "Patient/1", Value::Null),
        ];
        let ask = site.ask("POST", "").header("prefer", prefer).body(batch(entries));
        let bundle = ask.send().await.is(200).json();
        assert_eq!(bundle["type"], "batch-response");
        [0, 1, 2].map(|index| bundle["entry"][index]["resource"].is_object())
    };
    assert_eq!(send("return=minimal").await, [false, false, true]);
    assert_eq!(send("return=representation").await, [true, true, true]);
    assert_eq!(send("return=OperationOutcome").await, [false, false, true]);
}

#[tokio::test]
async fn a_bundle_within_a_bundle_and_an_unknown_method_are_refused() {
    // HTTP-080, HTTP-166, HTTP-168
    let site = Site::start().await;
    site.put("Patient/1", patient("1")).await.is(201);
    let inner = batch([entry("POST", "Patient", patient("x"))]);
    let answer = site
        .post(
            "",
            batch([
                entry("POST", "", inner.clone()),
                entry("POST", "/", inner.clone()),
                entry("POST", BASE, inner),
                entry("TRACE", "Patient/1", Value::Null),
                entry("get", "Patient/1", Value::Null),
                entry("POST", "Patient", Value::Null),
                entry("POST", "Patient/1", patient("1")),
                entry("HEAD", "Patient/1", Value::Null),
            ]),
        )
        .await
        .is(200);
    assert_eq!(answer.statuses(), [400, 400, 400, 400, 400, 400, 405, 200]);
    assert_eq!(answer.json()["entry"][7].get("resource"), None);
    assert_eq!(site.position(), 1);
}

#[tokio::test]
async fn permission_is_judged_entry_by_entry() {
    // HTTP-170, LEAK-11
    let site = Site::start().await;
    site.put("Patient/1", patient("1")).await.is(201);
    let access = Access::of(vec![rule(&["Patient"], &["read"], "all")]);
    let entries = [
        entry("GET", "Patient/1", Value::Null),
        entry("PUT", "Patient/1", patient("1")),
        entry("DELETE", "Patient/1", Value::Null),
        entry("POST", "Observation", observation("Patient/1")),
        entry("GET", "Observation/1", Value::Null),
        entry("GET", "Patient/1/_history", Value::Null),
    ];
    let answer = site.ask("POST", "").by(&access).body(batch(entries)).send().await.is(200);
    assert_eq!(answer.statuses(), [200, 403, 403, 403, 403, 403]);
    assert_eq!(site.position(), 1);
}

#[tokio::test]
async fn entries_about_one_resource_stay_in_order() {
    // HTTP-238
    let site = Site::start().await;
    let put = |id: &str, language: &str| {
        let resource = json!({ "resourceType": "Patient", "id": id, "language": language });
        entry("PUT", &format!("Patient/{id}"), resource)
    };
    let others = (0..200).map(|id| put(&format!("o{id}"), "en"));
    let one = ["a", "b", "c", "d"].map(|language| put("1", language));
    let entries = one.into_iter().take(2).chain(others).chain([put("1", "c"), put("1", "d")]);
    let answer = site.post("", batch(entries)).await.is(200);
    let tag = |index: usize| answer.entry(index)["etag"].as_str().unwrap().to_owned();
    assert_eq!([0, 1, 202, 203].map(tag), ["W/\"1\"", "W/\"2\"", "W/\"3\"", "W/\"4\""]);
    assert_eq!(site.get("Patient/1").await.json()["language"], "d");
    // What is deleted is brought back, what is written is read, wherever the entries stand.
    let get = || entry("GET", "Patient/1", Value::Null);
    let delete = || entry("DELETE", "Patient/1", Value::Null);
    let answer = site.post("", batch([get(), put("1", "e"), delete(), delete()])).await.is(200);
    assert_eq!(answer.statuses(), [200, 201, 204, 204]);
    assert_eq!(answer.json()["entry"][0]["resource"]["meta"]["versionId"], "6");
}

#[tokio::test]
async fn entries_about_different_resources_are_committed_at_once_and_not_too_many() {
    let site = Site::start().await;
    let entries =
        (0..200).map(|id| entry("PUT", &format!("Patient/{id}"), patient(&id.to_string())));
    let before = site.ids.given();
    site.fail(Fault::Held);
    let release = async {
        let begun = async {
            while site.ids.given() < before + 64 {
                tokio::task::yield_now().await;
            }
        };
        let begun = tokio::time::timeout(PATIENCE, begun).await;
        // While the first waits for the disk, each commit that was begun has its id.
        let given = site.ids.given() - before;
        site.fail(Fault::None);
        assert!(begun.is_ok(), "{given} commits were begun");
        assert_eq!(given, 64);
    };
    let (answer, ()) = tokio::join!(site.post("", batch(entries)), release);
    assert_eq!(answer.is(200).statuses(), [201; 200]);
}

#[tokio::test]
async fn creates_with_one_condition_create_once() {
    let site = Site::start().await;
    let create =
        || when(entry("POST", "Patient", identified("47")), "ifNoneExist", "identifier=urn:mrn|47");
    let answer = site.post("", batch((0..100).map(|_| create()))).await.is(200);
    assert_eq!(answer.statuses()[0], 201);
    assert_eq!(answer.statuses()[1..], [200; 99]);
    // One that stands before it, without a condition, is found by it.
    let plain = entry("POST", "Patient", identified("48"));
    let found =
        when(entry("POST", "Patient", identified("48")), "ifNoneExist", "identifier=urn:mrn|48");
    let answer = site.post("", batch([plain, found])).await.is(200);
    assert_eq!(answer.statuses(), [201, 200]);
}

#[tokio::test]
async fn an_empty_batch_and_a_large_one_are_carried_out() {
    let site = Site::start().await;
    let empty = site.post("", json!({ "resourceType": "Bundle", "type": "batch" })).await.is(200);
    assert_eq!(empty.text(), r#"{"resourceType":"Bundle","type":"batch-response"}"#);
    let many = (0..500).map(|id| entry("PUT", &format!("Patient/{id}"), patient(&id.to_string())));
    let answer = site.post("", batch(many)).await.is(200);
    assert_eq!(answer.statuses(), [201; 500]);
    for (index, id) in [(0, "0"), (499, "499")] {
        assert_eq!(answer.entry_reference(index), format!("Patient/{id}"));
    }
}
