//! What a search shows to whom: what a caller may not see is no match, no target of a chain, not
//! included and not counted.

use serde_json::{Value, json};

use super::search::{clinic, ids};
use crate::support::{Access, Site, rule};

fn reader(types: &[&str]) -> Access {
    Access::of(vec![rule(types, &["read", "search"], "all")])
}

async fn by(site: &Site, access: &Access, target: &str) -> Value {
    site.ask("GET", target).by(access).send().await.is(200).json()
}

#[tokio::test]
async fn other_types_are_not_included() {
    // SRCH-181
    let site = clinic().await;
    let target = "Patient?_include=*&_revinclude=Observation:subject&_include:iterate=*";
    let all = by(&site, &reader(&["Patient", "Observation", "Organization"]), target).await;
    assert_eq!(ids(&all, "include").len(), 4);
    let own = by(&site, &reader(&["Patient"]), target).await;
    assert_eq!((ids(&own, "match").len(), ids(&own, "include").len()), (3, 0));
    assert_eq!(own["total"], 3);
    let some = by(&site, &reader(&["Patient", "Organization"]), target).await;
    assert_eq!(ids(&some, "include"), ["o"]);
    // Who may search and not read a type is not shown it beside others.
    let rules = vec![
        rule(&["Patient"], &["read", "search"], "all"),
        rule(&["Organization"], &["search"], "all"),
        rule(&["Observation"], &["read"], "all"),
    ];
    assert_eq!(ids(&by(&site, &Access::of(rules), target).await, "include"), [""; 0]);
}

#[tokio::test]
async fn chains_and_has_do_not_tell_of_other_types() {
    // SRCH-164, SRCH-253
    let site = clinic().await;
    for target in [
        "Patient?organization.name=north",
        "Patient?_has:Observation:patient:status=final",
        "Patient?_filter=organization.name eq \"North\"",
    ] {
        let target = target.replace(' ', "%20").replace('"', "%22");
        let all = reader(&["Patient", "Observation", "Organization"]);
        assert!(by(&site, &all, &target).await["total"] != 0, "{target}");
        let own = by(&site, &reader(&["Patient"]), &target).await;
        assert_eq!((&own["total"], own.get("entry")), (&json!(0), None), "{target}");
    }
    // What a negation leaves is the same whatever the hidden says.
    let negated = "Observation?subject:Patient.birthdate:missing=true";
    let without = by(&site, &reader(&["Observation"]), negated).await;
    assert_eq!(without["total"], 0);
}

#[tokio::test]
async fn a_search_of_what_may_not_be_searched_is_refused_whole() {
    // SRCH-252
    let site = clinic().await;
    let access = reader(&["Patient", "Organization"]);
    for target in
        ["Observation", "?_type=Patient,Observation", "", "Patient/1/*", "Patient/1/Observation"]
    {
        let answer = site.ask("GET", target).by(&access).send().await.is(403);
        assert_eq!(answer.code(), "forbidden", "{target}");
    }
    let both = by(&site, &access, "?_type=Patient,Organization").await;
    assert_eq!(both["total"], 4);
    let of_compartment = by(&site, &access, "Patient/1/Patient").await;
    assert_eq!(ids(&of_compartment, "match"), ["1"]);
    // A form that is denied is not read.
    let ask = site.ask("POST", "Observation/_search").by(&access);
    ask.bytes("text/plain", "x").send().await.is(403);
    site.ask("GET", "Patient").by(&Access::nobody()).send().await.is(403);
}

#[tokio::test]
async fn whether_a_compartment_is_there_is_not_told_to_who_may_not_read_its_resource() {
    // SRCH-011, SRCH-253
    let site = clinic().await;
    let access = reader(&["Observation"]);
    assert_eq!(
        ids(&by(&site, &access, "Patient/1/Observation?_sort=_id").await, "match"),
        ["a", "b"]
    );
    for target in ["Patient/3/Observation", "Patient/absent/Observation"] {
        assert_eq!(by(&site, &access, target).await["total"], 0);
    }
}

#[tokio::test]
async fn a_patient_finds_itself_and_nothing_else() {
    // SRCH-252, LEAK-12, LEAK-29
    let site = clinic().await;
    let access = Access::of_patient("1");
    for target in [
        "Patient",
        "Patient?family=mul",
        "Patient?_include=*&_revinclude=Observation:subject",
        "Patient?_sort=-birthdate",
    ] {
        let bundle = by(&site, &access, target).await;
        assert_eq!((ids(&bundle, "match"), &bundle["total"]), (vec!["1".into()], &json!(1)));
        let included = if target.contains("_revinclude") { vec!["a", "b"] } else { Vec::new() };
        let mut others = ids(&bundle, "include");
        others.sort();
        assert_eq!(others, included, "{target}");
    }
    assert_eq!(by(&site, &access, "Patient?_id=2").await["total"], 0);
    assert_eq!(by(&site, &access, "Patient?organization.name=north").await["total"], 0);
    let told = async |id: &str| {
        let target = format!("Patient/{id}/Patient");
        let answer = site.ask("GET", &target).by(&access).send().await.is(404);
        answer.text()
    };
    assert_eq!(told("2").await, told("absent").await);
}

#[tokio::test]
async fn a_tenant_finds_its_own() {
    let site = clinic().await;
    let other = Access::owner().in_tenant("other");
    assert_eq!(by(&site, &other, "Patient").await["total"], 0);
}

#[tokio::test]
async fn value_sets_of_others_are_not_known_to_who_may_not_see_them() {
    let site = clinic().await;
    let set = json!({
        "resourceType": "ValueSet", "id": "v", "url": "http://x/v", "status": "active",
        "compose": { "include": [{ "system": "http://loinc.org", "concept": [{ "code": "1234-5" }] }] }
    });
    site.put("ValueSet/v", set).await.is(201);
    for target in ["Observation?code:in=http://x/v", "Observation?code:in=ValueSet/v"] {
        let ask = site.ask("GET", target).by(&reader(&["Observation"]));
        assert_eq!(ask.send().await.is(400).code(), "not-found");
        assert_eq!(by(&site, &reader(&["Observation", "ValueSet"]), target).await["total"], 3);
    }
}
