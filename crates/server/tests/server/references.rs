//! References between the entries of a transaction, and conditional references.

use serde_json::{Value, json};

use crate::support::bundle::{
    creation, entry, identified, observation, patient, transaction, when,
};
use crate::support::{Access, Answer, Site, rule};

const P: &str = "urn:uuid:9d1b1f5e-36c2-4cf7-8a51-7c6a3f0c1e01";

/// Creates a Patient under [`P`] beside `resource`; gives back what `resource` became, with the
/// Patient's reference written as `PATIENT`.
async fn beside_patient(resource: Value) -> Value {
    let site = Site::start().await;
    let entries = [creation("urn:uuid:x", resource), creation(P, patient("x"))];
    let answer = site.post("", transaction(entries)).await.is(200);
    let patient = answer.entry_reference(1);
    let text = site.get(&answer.entry_reference(0)).await.is(200).text();
    let mut stored: Value = serde_json::from_str(&text.replace(&patient, "PATIENT")).unwrap();
    let members = stored.as_object_mut().unwrap();
    members.remove("id");
    members.remove("meta");
    stored
}

#[tokio::test]
async fn every_place_of_a_reference_is_rewritten() {
    // HTTP-177, HTTP-178
    for resource in [
        json!({ "resourceType": "Observation", "subject": { "reference": P }, "performer": [{ "reference": "Practitioner/1" }, { "reference": P }] }),
        json!({ "resourceType": "Observation", "contained": [{ "resourceType": "Specimen", "id": "s", "subject": { "reference": P } }] }),
        json!({ "resourceType": "Basic", "extension": [{ "url": "http://e", "valueReference": { "reference": P } }] }),
        json!({ "resourceType": "Basic", "modifierExtension": [{ "url": "http://e", "extension": [{ "url": "in", "valueUri": P }] }] }),
        json!({ "resourceType": "Basic", "extension": [{ "url": "http://e", "valueUrl": P }, { "url": "http://e", "valueUuid": P }] }),
        json!({ "resourceType": "DocumentReference", "content": [{ "attachment": { "url": P } }] }),
        json!({ "resourceType": "Parameters", "parameter": [{ "name": "a", "part": [{ "name": "b", "valueReference": { "reference": P } }] }] }),
        json!({ "resourceType": "Parameters", "parameter": [{ "name": "a", "resource": { "resourceType": "Observation", "subject": { "reference": P } } }] }),
        json!({ "resourceType": "Provenance", "target": [{ "reference": P }], "entity": [{ "role": "source", "what": { "reference": P } }] }),
        json!({ "resourceType": "Patient", "_birthDate": { "extension": [{ "url": "http://e", "valueReference": { "reference": P } }] } }),
        json!({ "resourceType": "Observation", "identifier": [{ "system": "urn:x", "value": "1", "assigner": { "reference": P } }] }),
        json!({ "resourceType": "List", "entry": [{ "item": { "reference": P, "display": P } }] }),
    ] {
        let stored = beside_patient(resource.clone()).await;
        // Everything that named the entry by a reference or URI does no more.
        let expected = resource.to_string().replace(P, "PATIENT");
        let expected = expected.replace(r#""display":"PATIENT""#, &format!(r#""display":"{P}""#));
        assert_eq!(stored, serde_json::from_str::<Value>(&expected).unwrap());
    }
}

#[tokio::test]
async fn links_of_a_narrative_are_rewritten() {
    // HTTP-178
    let div = |to: &str| {
        format!(
            r#"<div xmlns="http://www.w3.org/1999/xhtml"><a href="{to}">the patient {P}</a><img src='{to}' alt="{P}"/></div>"#
        )
    };
    let resource = |to: &str| json!({ "resourceType": "Basic", "text": { "status": "generated", "div": div(to) } });
    assert_eq!(beside_patient(resource(P)).await, resource("PATIENT"));
}

#[tokio::test]
async fn what_only_looks_like_a_reference_stays() {
    // HTTP-178, HTTP-179
    for resource in [
        json!({ "resourceType": "Patient", "identifier": [{ "system": "urn:ietf:rfc:3986", "value": P }] }),
        json!({ "resourceType": "Patient", "identifier": [{ "system": P, "value": "1" }] }),
        json!({ "resourceType": "Basic", "extension": [{ "url": "http://e", "valueCanonical": P }, { "url": "http://e", "valueString": P }] }),
        json!({ "resourceType": "QuestionnaireResponse", "questionnaire": P, "status": "completed" }),
        json!({ "resourceType": "Observation", "note": [{ "text": P }, { "text": format!("see {P}") }] }),
        json!({ "resourceType": "Bundle", "type": "collection", "entry": [{ "fullUrl": P, "resource": { "resourceType": "Observation", "subject": { "reference": P } } }] }),
        json!({ "resourceType": "Basic", "extension": [{ "url": "http://e", "valueUri": format!("{P}/more") }] }),
        // HTTP-181
        json!({ "resourceType": "Observation", "contained": [{ "resourceType": "Patient", "id": "p" }], "subject": { "reference": "#p" } }),
    ] {
        assert_eq!(beside_patient(resource.clone()).await, resource);
    }
}

#[tokio::test]
async fn a_reference_keeps_its_fragment() {
    // HTTP-182
    let with_fragment = format!("{P}#part");
    let stored = beside_patient(observation(&with_fragment)).await;
    assert_eq!(stored["subject"]["reference"], "PATIENT#part");
}

#[tokio::test]
async fn absolute_full_urls_lead_their_relative_references() {
    // HTTP-180, HTTP-240
    let site = Site::start().await;
    let root = "http://other.example/fhir";
    let entries = [
        creation(&format!("{root}/Patient/1"), patient("1")),
        creation(&format!("{root}/Observation/1"), observation("Patient/1")),
        creation(&format!("{root}/Observation/2"), observation(&format!("{root}/Patient/1"))),
        creation(&format!("{root}/Observation/3"), observation("Patient/1/_history/7")),
        creation("http://elsewhere.example/Observation/4", observation("Patient/1")),
        entry("POST", "Observation", observation("Patient/1")),
    ];
    let answer = site.post("", transaction(entries)).await.is(200);
    let patient = answer.entry_reference(0);
    assert_ne!(patient, "Patient/1");
    let versioned = format!("{patient}/_history/1");
    for (index, expected) in [
        (1, patient.as_str()),
        (2, patient.as_str()),
        (3, versioned.as_str()),
        (4, "Patient/1"),
        (5, "Patient/1"),
    ] {
        let stored = site.get(&answer.entry_reference(index)).await.json();
        assert_eq!(stored["subject"]["reference"], expected, "{index}");
    }
}

#[tokio::test]
async fn an_update_with_a_temporary_full_url_is_referred_to_by_its_id() {
    // HTTP-188, HTTP-241
    let site = Site::start().await;
    let with = |full_url: &str, id: &str| {
        let mut put = entry("PUT", &format!("Patient/{id}"), patient(id));
        put["fullUrl"] = full_url.into();
        put
    };
    let entries = [
        with("urn:uuid:1", "1"),
        with("http://other.example/fhir/Patient/7", "7"),
        entry("POST", "Observation", observation("urn:uuid:1")),
        entry("POST", "Observation", observation("http://other.example/fhir/Patient/7")),
        with("urn:oid:1.2.3", "3"),
        entry("POST", "Observation", observation("urn:oid:1.2.3")),
    ];
    let answer = site.post("", transaction(entries)).await.is(200);
    for (index, expected) in [(2, "Patient/1"), (3, "Patient/7"), (5, "Patient/3")] {
        let stored = site.get(&answer.entry_reference(index)).await.json();
        assert_eq!(stored["subject"]["reference"], expected);
    }
}

#[tokio::test]
async fn a_urn_that_no_entry_has_fails_the_transaction() {
    // HTTP-189
    let site = Site::start().await;
    for reference in ["urn:uuid:none", "urn:oid:1.2", "urn:uuid:none#x"] {
        let entries =
            [creation(P, patient("x")), entry("POST", "Observation", observation(reference))];
        let refused = site.post("", transaction(entries)).await.is(400);
        assert_eq!(refused.expressions(), ["Bundle.entry[1].resource.subject.reference"]);
    }
    // What a transaction deletes has no fullUrl to refer to.
    let mut delete = entry("DELETE", "Patient/1", Value::Null);
    delete["fullUrl"] = "urn:uuid:1".into();
    let entries = [delete, entry("POST", "Observation", observation("urn:uuid:1"))];
    site.post("", transaction(entries)).await.is(400);
    assert_eq!(site.position(), 0);
}

/// What became of the reference `Patient?identifier=urn:mrn|47` in a transaction with `others`.
async fn conditional(site: &Site, others: Vec<Value>) -> Answer {
    let reference = "Patient?identifier=urn:mrn|47";
    let mut entries = vec![entry("POST", "Observation", observation(reference))];
    entries.extend(others);
    site.post("", transaction(entries)).await
}

async fn subject(site: &Site, answer: &Answer) -> String {
    let stored = site.get(&answer.entry_reference(0)).await.is(200).json();
    stored["subject"]["reference"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_conditional_reference_becomes_its_one_match() {
    // HTTP-183
    let site = Site::on_disk().await;
    let at = ["Bundle.entry[0].resource.subject.reference"];
    let none = conditional(&site, vec![creation("urn:uuid:1", identified("48"))]).await.is(400);
    assert_eq!(none.expressions(), at);
    assert_eq!(site.position(), 0);
    let existing = site.post("Patient", identified("47")).await.is(201).reference();
    let one = conditional(&site, vec![]).await.is(200);
    assert_eq!(subject(&site, &one).await, existing);
    site.post("Patient", identified("47")).await.is(201);
    let position = site.position();
    let several = conditional(&site, vec![creation("urn:uuid:1", identified("48"))]).await.is(412);
    assert_eq!(
        (several.code(), several.expressions()),
        ("multiple-matches".into(), vec![at[0].into()])
    );
    assert_eq!(site.position(), position);
}

#[tokio::test]
async fn a_conditional_reference_matches_what_is_there_after_the_transaction() {
    // HTTP-184
    let site = Site::on_disk().await;
    let with_identifier = |id: &str| {
        let mut resource = identified("47");
        resource["id"] = id.into();
        resource
    };
    // Created in the same Bundle.
    let created = conditional(&site, vec![creation("urn:uuid:1", identified("47"))]).await.is(200);
    let first = created.entry_reference(1);
    assert_eq!(subject(&site, &created).await, first);
    // One that was there and one that comes: two.
    conditional(&site, vec![creation("urn:uuid:1", identified("47"))]).await.is(412);
    // Deleted in the same Bundle: none.
    let delete = || entry("DELETE", &first, Value::Null);
    conditional(&site, vec![delete()]).await.is(400);
    // Deleted, and another created.
    let replaced =
        conditional(&site, vec![delete(), creation("urn:uuid:1", identified("47"))]).await.is(200);
    let second = replaced.entry_reference(2);
    assert_eq!(subject(&site, &replaced).await, second);
    // Loses the identifier in the same Bundle: none; keeps it: one; another gains it: two.
    let id = second["Patient/".len()..].to_owned();
    conditional(&site, vec![entry("PUT", &second, patient(&id))]).await.is(400);
    let kept = conditional(&site, vec![entry("PUT", &second, with_identifier(&id))]).await.is(200);
    assert_eq!(subject(&site, &kept).await, second);
    conditional(&site, vec![entry("PUT", "Patient/3", with_identifier("3"))]).await.is(412);
    // A conditional create that finds it is one and the same.
    let create =
        when(creation("urn:uuid:1", identified("47")), "ifNoneExist", "identifier=urn:mrn|47");
    let found = conditional(&site, vec![create]).await.is(200);
    assert_eq!(subject(&site, &found).await, second);
}

#[tokio::test]
async fn a_conditional_reference_is_resolved_wherever_it_stands_or_fails_where_it_stands() {
    // HTTP-183
    let site = Site::start().await;
    let existing = site.post("Patient", identified("47")).await.is(201).reference();
    let reference = "Patient?identifier=urn%3Amrn%7C47";
    let own = format!("{}/{reference}", crate::support::BASE);
    let resource = json!({
        "resourceType": "Basic",
        "contained": [{ "resourceType": "Specimen", "id": "s", "subject": { "reference": reference } }],
        "extension": [{ "url": "http://e", "valueReference": { "reference": own } }],
    });
    let answer = site.post("", transaction([entry("POST", "Basic", resource)])).await.is(200);
    let stored = site.get(&answer.entry_reference(0)).await;
    assert_eq!(stored.text().matches(&format!(r#""reference":"{existing}""#)).count(), 2);
    assert!(!stored.text().contains('?'));
    for unsupported in [
        "Patient?name=x",
        "Patient?",
        "Patient?identifier=urn:mrn|47&bogus=1",
        "AuditEvent?identifier=a|b",
        "Foo?identifier=a|b",
    ] {
        let refused = site
            .post("", transaction([entry("POST", "Observation", observation(unsupported))]))
            .await
            .is(400);
        assert_eq!(
            refused.expressions(),
            ["Bundle.entry[0].resource.subject.reference"],
            "{unsupported}"
        );
    }
}

#[tokio::test]
async fn a_conditional_reference_takes_the_right_to_search_its_type() {
    // LEAK-12
    let site = Site::start().await;
    site.post("Patient", identified("47")).await.is(201);
    let access = Access::of(vec![
        rule(&["Observation"], &["*"], "all"),
        rule(&["Patient"], &["read"], "all"),
    ]);
    let send = async |value: &str| {
        let reference = format!("Patient?identifier=urn:mrn|{value}");
        let bundle = transaction([entry("POST", "Observation", observation(&reference))]);
        site.ask("POST", "").by(&access).body(bundle).send().await.is(403)
    };
    // The answer does not tell whether there is a match.
    assert_eq!(send("47").await.body, send("48").await.body);
    assert_eq!(site.position(), 1);
}
