//! What is found within other resources, along canonicals, and by references that are not clear.

use serde_json::{Value, json};

use super::search::{ids, link, put};
use crate::support::{BASE, Site};

fn urls(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    let urls = entries.iter().filter_map(|entry| entry["fullUrl"].as_str());
    urls.map(|url| url.strip_prefix(BASE).unwrap().to_owned()).collect()
}

async fn prescriptions() -> Site {
    let site = Site::start().await;
    put(&site, json!({ "resourceType": "Patient", "id": "p", "name": [{ "family": "Own" }] }))
        .await;
    put(&site, json!({ "resourceType": "Organization", "id": "maker" })).await;
    let medication = |id: &str, code: &str| {
        json!({
            "resourceType": "Medication", "id": id, "status": "active",
            "code": { "coding": [{ "code": code }] },
            "manufacturer": { "reference": "Organization/maker" }
        })
    };
    for (id, codes) in [("one", ["x", "y"]), ("two", ["x", "x"])] {
        put(
            &site,
            json!({
                "resourceType": "MedicationRequest", "id": id, "status": "active",
                "intent": "order", "subject": { "reference": "Patient/p" },
                "contained": [medication("a", codes[0]), medication("b", codes[1])],
                "medicationReference": { "reference": "#a" }
            }),
        )
        .await;
    }
    put(&site, medication("own", "x")).await;
    site
}

#[tokio::test]
async fn contained_resources_are_found_as_themselves_or_by_what_contains_them() {
    // SRCH-222, SRCH-223, SRCH-257
    let site = prescriptions().await;
    let check = async |query: &str, expected: &[&str]| {
        let bundle = site.get(&format!("Medication?{query}")).await.is(200).json();
        assert_eq!(urls(&bundle), expected, "{query}");
        let modes = bundle["entry"].as_array().into_iter().flatten();
        assert!(modes.clone().all(|it| it["search"]["mode"] == "match"), "{query}");
        assert_eq!(bundle["total"], expected.len(), "{query}");
        assert!(link(&bundle, "self").unwrap().ends_with(&query.replace('=', "=")), "{query}");
    };
    check("code=x", &["/Medication/own"]).await;
    let containers = ["/MedicationRequest/one", "/MedicationRequest/two"];
    check("code=x&_contained=true", &containers).await;
    check("code=y&_contained=true&_containedType=container", &containers[..1]).await;
    let all = ["/MedicationRequest/one", "/MedicationRequest/two", "/Medication/own"];
    check("code=x&_contained=both", &all).await;
    let inner =
        ["/MedicationRequest/one#a", "/MedicationRequest/two#a", "/MedicationRequest/two#b"];
    check("code=x&_contained=true&_containedType=contained", &inner).await;
    check("code=z&_contained=true", &[]).await;

    let target = "Medication?code=y&_contained=true&_containedType=contained&_elements=code";
    let bundle = site.get(target).await.is(200).json();
    let resource = &bundle["entry"][0]["resource"];
    assert_eq!((&resource["resourceType"], &resource["id"]), (&json!("Medication"), &json!("b")));
    assert_eq!(resource["code"]["coding"][0]["code"], "y");
    assert!(resource.get("status").is_some() && resource.get("manufacturer").is_none());
    let target = "Medication?_contained=true&_containedType=contained&_count=1&code=y\
                  &_include=Medication:manufacturer";
    let bundle = site.get(target).await.is(200).json();
    assert_eq!(urls(&bundle), ["/MedicationRequest/one#b", "/Organization/maker"]);
}

#[tokio::test]
async fn pages_have_each_contained_match_once() {
    // SRCH-203, SRCH-222
    let site = prescriptions().await;
    for (form, count) in [
        ("_contained=true", 2),
        ("_contained=both", 3),
        ("_contained=both&_containedType=contained", 5),
    ] {
        for sort in ["", "&_sort=-code", "&_sort=_lastUpdated", "&_sort=-_lastUpdated,_id"] {
            let (mut seen, mut next) =
                (Vec::new(), Some(format!("/Medication?{form}{sort}&_count=1")));
            while let Some(page) = next {
                let bundle = site.get(&page).await.is(200).json();
                assert_eq!(bundle["total"], count, "{form}");
                seen.extend(urls(&bundle));
                next = link(&bundle, "next");
            }
            let whole = site.get(&format!("Medication?{form}{sort}")).await.is(200).json();
            assert_eq!(seen, urls(&whole), "{form}{sort}");
            assert_eq!(seen.len(), count, "{form}{sort}");
        }
    }
}

#[tokio::test]
async fn a_canonical_leads_to_what_has_its_url_and_version() {
    // SRCH-166, SRCH-180
    let site = Site::start().await;
    for (id, version, title) in [("1", "1.0", "Old"), ("2", "2.0", "New")] {
        put(
            &site,
            json!({
                "resourceType": "Questionnaire", "id": id, "url": "http://x/q", "status": "active",
                "version": version, "title": title
            }),
        )
        .await;
    }
    for (id, canonical) in [("any", "http://x/q"), ("two", "http://x/q|2.0")] {
        put(
            &site,
            json!({
                "resourceType": "QuestionnaireResponse", "id": id, "status": "completed",
                "questionnaire": canonical
            }),
        )
        .await;
    }
    let bundle = async |target: &str| site.get(target).await.is(200).json();
    let chain = "QuestionnaireResponse?_sort=_id&questionnaire.title=";
    assert_eq!(ids(&bundle(&format!("{chain}old")).await, "match"), ["any"]);
    assert_eq!(ids(&bundle(&format!("{chain}new")).await, "match"), ["any", "two"]);
    let has = "Questionnaire?_has:QuestionnaireResponse:questionnaire:_id=two";
    assert_eq!(ids(&bundle(has).await, "match"), ["2"]);
    let include = "QuestionnaireResponse?_include=QuestionnaireResponse:questionnaire&_id=two";
    assert_eq!(ids(&bundle(include).await, "include"), ["2"]);
    let back = "Questionnaire?_revinclude=QuestionnaireResponse:questionnaire&_id=1";
    assert_eq!(ids(&bundle(back).await, "include"), ["any"]);
}

#[tokio::test]
async fn an_id_that_resources_of_several_types_have_is_refused_without_its_type() {
    // SRCH-117
    let site = Site::start().await;
    put(&site, json!({ "resourceType": "Patient", "id": "1" })).await;
    put(
        &site,
        json!({
            "resourceType": "Observation", "id": "o", "status": "final", "code": { "text": "x" },
            "subject": { "reference": "Patient/1" }
        }),
    )
    .await;
    let bundle = site.get("Observation?subject=1").await.is(200).json();
    assert_eq!(ids(&bundle, "match"), ["o"]);
    put(&site, json!({ "resourceType": "Group", "id": "1", "type": "person", "actual": true }))
        .await;
    for target in ["Observation?subject=1", "Observation?subject=2,1"] {
        let refused = site.get(target).await.is(400);
        assert_eq!(
            (refused.code(), refused.expressions()),
            ("multiple-matches".into(), vec!["http.subject".into()])
        );
        let text = refused.text();
        assert!(text.contains("Patient/1") && text.contains("Group/1"), "{text}");
    }
    for target in ["Observation?subject=Patient/1", "Observation?patient=1"] {
        let bundle = site.get(target).await.is(200).json();
        assert_eq!(ids(&bundle, "match"), ["o"], "{target}");
    }
    site.delete("Group/1").await.is(204);
    site.get("Observation?subject=1").await.is(200);
}

#[tokio::test]
async fn a_chain_along_a_reference_to_an_older_version_says_so() {
    // SRCH-120
    let site = Site::start().await;
    put(&site, json!({ "resourceType": "Patient", "id": "1", "active": true })).await;
    put(
        &site,
        json!({
            "resourceType": "Observation", "id": "o", "status": "final", "code": { "text": "x" },
            "subject": { "reference": "Patient/1/_history/1" }
        }),
    )
    .await;
    let target = "Observation?subject:Patient.active=";
    let told = async |value: &str| {
        let bundle = site.get(&format!("{target}{value}")).await.is(200).json();
        let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
        entries.iter().filter(|it| it["search"]["mode"] == "outcome").count()
    };
    assert_eq!(told("true").await, 0);
    site.put("Patient/1", json!({ "resourceType": "Patient", "id": "1", "active": false })).await;
    assert_eq!((told("true").await, told("false").await), (0, 1));
}

#[tokio::test]
async fn a_page_link_ends_when_the_terminology_that_it_asks_changes() {
    // SRCH-106, SRCH-206
    let site = Site::start().await;
    let set = |codes: &[&str]| {
        let concepts: Vec<Value> = codes.iter().map(|code| json!({ "code": code })).collect();
        json!({
            "resourceType": "ValueSet", "id": "v", "url": "http://x/v", "status": "active",
            "compose": { "include": [{ "system": "http://x/s", "concept": concepts }] }
        })
    };
    put(&site, set(&["a"])).await;
    for id in ["1", "2", "3"] {
        let coding = json!([{ "system": "http://x/s", "code": "a" }]);
        put(&site, json!({ "resourceType": "Basic", "id": id, "code": { "coding": coding } }))
            .await;
    }
    let next = async |target: &str| link(&site.get(target).await.is(200).json(), "next").unwrap();
    let asking = next("Basic?code:in=http://x/v&_count=1").await;
    let plain = next("Basic?code=a&_count=1").await;
    site.get(&asking).await.is(200);
    put(&site, json!({ "resourceType": "Patient", "id": "1" })).await;
    site.get(&asking).await.is(200);
    site.put("ValueSet/v", set(&["a", "b"])).await.is(200);
    let refused = site.get(&asking).await.is(410);
    assert!(refused.text().contains("value set"), "{}", refused.text());
    site.get(&plain).await.is(200);
    let anew = next("Basic?code:in=http://x/v&_count=1").await;
    site.get(&anew).await.is(200);
}

#[tokio::test]
async fn a_search_needs_no_status_and_an_estimate_is_exact() {
    // SRCH-028, SRCH-210
    let site = prescriptions().await;
    for target in
        ["MedicationRequest?patient=p", "MedicationRequest?patient=p&intent=order&_total=estimate"]
    {
        let bundle = site.get(target).await.is(200).json();
        assert_eq!((ids(&bundle, "match").len(), &bundle["total"]), (2, &json!(2)), "{target}");
    }
}
