//! What is found, and how a search answers.

use serde_json::{Value, json};

use crate::support::bundle::{batch, entry, transaction};
use crate::support::{Answer, BASE, Site, check_issues};

/// The ids of the entries with this mode.
pub(crate) fn ids(bundle: &Value, mode: &str) -> Vec<String> {
    let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_mode = entries.iter().filter(|entry| entry["search"]["mode"] == mode);
    of_mode.map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

/// The issues that are told beside the matches.
fn told(bundle: &Value) -> Vec<Value> {
    let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    let outcomes = entries.iter().filter(|entry| entry["search"]["mode"] == "outcome");
    let issues = outcomes.flat_map(|entry| {
        check_issues(&entry["resource"]);
        entry["resource"]["issue"].as_array().unwrap().clone()
    });
    issues.collect()
}

pub(crate) fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array().unwrap();
    let link = links.iter().find(|link| link["relation"] == relation)?;
    Some(link["url"].as_str().unwrap().strip_prefix(BASE).unwrap().to_owned())
}

pub(crate) async fn put(site: &Site, resource: Value) {
    let target = format!(
        "{}/{}",
        resource["resourceType"].as_str().unwrap(),
        resource["id"].as_str().unwrap()
    );
    site.put(&target, resource).await.is(201);
}

/// Two families, their doctor, and what was observed.
pub(crate) async fn clinic() -> Site {
    let site = Site::start().await;
    fill(&site).await;
    site
}

pub(crate) async fn fill(site: &Site) {
    put(site, json!({ "resourceType": "Organization", "id": "o", "name": "North" })).await;
    let patient = |id: &str, family: &str, born: &str| {
        json!({
            "resourceType": "Patient", "id": id, "birthDate": born,
            "name": [{ "family": family, "given": ["Ada", "B"] }],
            "text": { "status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">words</div>" },
            "managingOrganization": { "reference": "Organization/o" },
            "maritalStatus": { "text": "unknown" }
        })
    };
    put(site, patient("1", "Müller", "1970-03-30")).await;
    put(site, patient("2", "Muller", "1980-01-01")).await;
    put(site, patient("3", "Nelson", "1990-12-31")).await;
    for (id, subject, status) in [
        ("a", "Patient/1", "final"),
        ("b", "Patient/1", "preliminary"),
        ("c", "Patient/2", "final"),
    ] {
        put(
            site,
            json!({
                "resourceType": "Observation", "id": id, "status": status,
                "code": { "coding": [
                    { "system": "http://loinc.org", "code": "1234-5" },
                    { "system": "http://loinc.org", "code": "1234-6" }
                ] },
                "subject": { "reference": subject }
            }),
        )
        .await;
    }
}

async fn found(site: &Site, target: &str) -> Vec<String> {
    ids(&site.get(target).await.is(200).json(), "match")
}

fn form<'a>(site: &'a Site, target: &'a str, body: &str) -> crate::support::Ask<'a> {
    site.ask("POST", target).bytes("application/x-www-form-urlencoded", body.to_owned())
}

#[tokio::test]
async fn a_search_answers_a_searchset_with_what_matches() {
    // SRCH-001, SRCH-225, SRCH-227, SRCH-228, SRCH-229
    let site = clinic().await;
    let bundle = site.get("Patient?name=m%C3%BCll&_sort=_id").await.is(200).json();
    assert_eq!((&bundle["resourceType"], &bundle["type"]), (&json!("Bundle"), &json!("searchset")));
    assert_eq!(bundle["total"], 2);
    assert_eq!(bundle["meta"]["lastUpdated"], "2026-01-02T03:04:05.678901Z");
    assert!(bundle["id"].is_string());
    assert_eq!(ids(&bundle, "match"), ["1", "2"]);
    let first = &bundle["entry"][0];
    assert_eq!(first["fullUrl"], format!("{BASE}/Patient/1"));
    assert_eq!(first["resource"], site.get("Patient/1").await.json());
    assert_eq!((first.get("request"), first.get("response")), (None, None));
    let nothing = site.get("Patient?_id=absent").await.is(200).json();
    assert_eq!((&nothing["total"], nothing.get("entry")), (&json!(0), None));
}

#[tokio::test]
async fn a_form_asks_what_a_url_does_and_both_count() {
    // SRCH-002, SRCH-003, SRCH-004
    let site = clinic().await;
    let same = |answer: Answer| {
        let bundle = answer.is(200).json();
        (ids(&bundle, "match"), bundle["total"].clone(), link(&bundle, "self"))
    };
    let get = same(site.get("Patient?family=mul&birthdate=gt1975").await);
    assert_eq!(get.0, ["2"]);
    let both = "family=mul&birthdate=gt1975";
    assert_eq!(same(form(&site, "Patient/_search", both).send().await), get);
    let split = form(&site, "Patient/_search?family=mul", "birthdate=gt1975");
    assert_eq!(same(split.send().await), get);
    let charset = "application/x-www-form-urlencoded; charset=UTF-8";
    let ask = site.ask("POST", "Patient/_search").bytes(charset, both);
    assert_eq!(same(ask.send().await), get);
    let empty = site.ask("POST", "Patient/_search?family=mul&birthdate=gt1975").send().await;
    assert_eq!(same(empty), get);
    for (media_type, body) in [("application/fhir+json", "{}"), ("text/plain", both), ("", both)] {
        let answer = site.ask("POST", "Patient/_search").bytes(media_type, body).send().await;
        assert_eq!(answer.is(415).expressions(), ["http.Content-Type"]);
    }
    for body in ["name=%zz", "name=%ff", "name=%"] {
        assert_eq!(form(&site, "Patient/_search", body).send().await.is(400).code(), "invalid");
    }
    let bytes = site.ask("POST", "Patient/_search");
    bytes.bytes("application/x-www-form-urlencoded", b"name=\xff".to_vec()).send().await.is(400);
    let long = format!("name={}", "x".repeat(2 << 20));
    form(&site, "Patient/_search", &long).send().await.is(413);
}

#[tokio::test]
async fn all_types_are_searched_at_the_base() {
    // SRCH-005, SRCH-006
    let site = clinic().await;
    let at_base = site.get("?_type=Patient,Organization&_sort=_id").await.is(200).json();
    assert_eq!(ids(&at_base, "match").len(), 4);
    assert_eq!(link(&at_base, "self").unwrap(), "?_type=Patient,Organization&_sort=_id");
    let by_form = form(&site, "_search", "_type=Patient,Organization").send().await;
    assert_eq!(by_form.is(200).json()["total"], 4);
    let refused = site.get("?_type=Patient,Observation&name=x").await.is(400);
    assert_eq!(refused.expressions(), ["http.name"]);
    assert_eq!(site.get("?_lastUpdated=gt2020").await.is(200).json()["total"], 7);
    assert_eq!(site.get("").await.is(200).json()["total"], 7);
    assert_eq!(site.get("?_type=Foo").await.is(400).expressions(), ["http._type"]);
}

#[tokio::test]
async fn a_compartment_has_what_refers_to_its_resource() {
    // SRCH-007, SRCH-008, SRCH-009, SRCH-010, SRCH-011
    let site = clinic().await;
    assert_eq!(found(&site, "Patient/1/Observation?_sort=_id").await, ["a", "b"]);
    let by_form = form(&site, "Patient/1/Observation/_search", "status=final").send().await;
    assert_eq!(ids(&by_form.is(200).json(), "match"), ["a"]);
    let whole = site.get("Patient/1/*?_sort=_id").await.is(200).json();
    assert_eq!(ids(&whole, "match"), ["1", "a", "b"]);
    assert_eq!(link(&whole, "self").unwrap(), "/Patient/1/*?_sort=_id");
    assert_eq!(found(&site, "Patient/1/*?_type=Observation").await.len(), 2);
    let encounter = json!({ "resourceType": "Encounter", "id": "e", "status": "finished",
        "class": { "code": "AMB" } });
    put(&site, encounter).await;
    let mut observation = site.get("Observation/c").await.json();
    observation["encounter"] = json!({ "reference": "Encounter/e" });
    site.put("Observation/c", observation).await.is(200);
    assert_eq!(found(&site, "Encounter/e/Observation").await, ["c"]);
    for (target, code) in [
        ("Patient/1/ValueSet", "not-supported"),
        ("Organization/o/Patient", "not-supported"),
        ("Patient/absent/Observation", "not-found"),
        ("Patient/absent/*", "not-found"),
        ("Foo/1/Observation", "not-supported"),
    ] {
        assert_eq!(site.get(target).await.is(404).code(), code, "{target}");
    }
}

#[tokio::test]
async fn what_is_not_understood_is_ignored_and_told_or_refused() {
    // SRCH-020, SRCH-021, SRCH-022, SRCH-226
    let site = clinic().await;
    let target = "Patient?foo=1&family=nel&_sort=foo&name=&_include=Patient:foo";
    let bundle = site.get(target).await.is(200).json();
    assert_eq!((ids(&bundle, "match"), &bundle["total"]), (vec!["3".to_owned()], &json!(1)));
    assert_eq!(link(&bundle, "self").unwrap(), "/Patient?family=nel");
    let told = told(&bundle);
    assert!(told.iter().all(|issue| issue["severity"] == "warning"));
    let places: Vec<_> = told.iter().map(|issue| issue["expression"][0].clone()).collect();
    assert_eq!(places, ["http.foo", "http._sort", "http.name", "http._include"]);
    assert_eq!(bundle["entry"].as_array().unwrap().len(), 2);
    for (target, place) in [
        ("Patient?foo=1", "http.foo"),
        ("Patient?foo/1=1", "http.foo/1"),
        ("Patient?name=", "http.name"),
        ("Patient?_sort=foo", "http._sort"),
        ("Patient?_include=Patient:foo", "http._include"),
    ] {
        let ask = site.ask("GET", target).header("prefer", "handling=strict");
        assert_eq!(ask.send().await.is(400).expressions(), [place]);
    }
    let strict = site.ask("GET", "Patient?family=nel").header("prefer", "handling=strict");
    strict.send().await.is(200);
}

#[tokio::test]
async fn what_would_widen_the_answer_is_refused_with_its_place_and_how_to_mend_it() {
    // SRCH-023, SRCH-024, SRCH-076, SRCH-202, SRCH-217
    let site = clinic().await;
    let check = async |target: &str, place: &str, code: &str, text: &str| {
        let answer = site.get(target).await.is(400);
        assert_eq!((answer.code(), answer.expressions()), (code.into(), vec![place.into()]));
        assert!(answer.text().contains(text), "{}", answer.text());
    };
    check("Patient?birthdate:contains=1", "http.birthdate", "not-supported", "modifier").await;
    check("Patient?birthdate=abc", "http.birthdate", "value", "character 1").await;
    check("Patient?birthdate=2021-02-30", "http.birthdate", "value", "date").await;
    check("Patient?_count=-1", "http._count", "value", "whole number").await;
    check("Observation?subject.foo=1", "http.subject", "not-supported", "foo").await;
    check("Patient?_query=bogus", "http._query", "not-supported", "bogus").await;
    let text = "Patient?_summary=text&_include=Patient:organization";
    check(text, "http._summary", "invalid", "leave out").await;
    let text = "ask for it among Condition";
    check("Patient?_list=$current-problems", "http._list", "not-supported", text).await;
    let text = "$current-drug-allergies";
    check("Patient?_list=$mine", "http._list", "not-supported", text).await;
    for target in ["Observation?subject=nope", "Observation?code=http://loinc.org|zzz"] {
        assert_eq!(site.get(target).await.is(200).json()["total"], 0, "{target}");
    }
}

#[tokio::test]
async fn includes_follow_the_matches_each_once() {
    // SRCH-170, SRCH-171, SRCH-174, SRCH-197, SRCH-230
    let site = clinic().await;
    let target = "Patient?_include=Patient:organization&_revinclude=Observation:subject&_sort=-_id";
    let bundle = site.get(target).await.is(200).json();
    assert_eq!(bundle["total"], 3);
    assert_eq!(ids(&bundle, "match"), ["3", "2", "1"]);
    let mut included = ids(&bundle, "include");
    included.sort();
    assert_eq!(included, ["a", "b", "c", "o"]);
    let modes = bundle["entry"].as_array().unwrap().iter().map(|it| it["search"]["mode"].clone());
    assert!(modes.collect::<Vec<_>>()[..3].iter().all(|mode| mode == "match"));
    let two_codings = site.get("Observation?code=1234-5,1234-6").await.is(200).json();
    assert_eq!(ids(&two_codings, "match").len(), 3);
    assert_eq!(found(&site, "Patient?_has:Observation:patient:status=preliminary").await, ["1"]);
    assert_eq!(found(&site, "Observation?patient.birthdate=1980&_sort=_id").await, ["c"]);
}

#[tokio::test]
async fn a_part_of_each_resource_is_answered_where_it_is_asked_for() {
    // SRCH-215, SRCH-216, SRCH-218, SRCH-221
    let site = clinic().await;
    let first = async |target: &str| {
        let bundle = site.get(target).await.is(200).json();
        bundle["entry"].as_array().unwrap().iter().map(|it| it["resource"].clone()).collect()
    };
    let members = |resource: &Value| -> Vec<String> {
        let names = resource.as_object().unwrap().keys().map(String::to_owned);
        let mut names: Vec<String> = names.filter(|it| it != "resourceType").collect();
        names.sort();
        names
    };
    let subsetted = |resource: &Value| resource["meta"]["tag"][0]["code"] == "SUBSETTED";
    let check = async |query: &str, expected: &[&str]| {
        let found: Vec<Value> = first(&format!("Patient?_id=1&{query}")).await;
        assert_eq!(
            (members(&found[0]), subsetted(&found[0])),
            (expected.iter().map(|it| (*it).to_owned()).collect(), query != "_summary=false")
        );
    };
    check("_summary=true", &["birthDate", "id", "managingOrganization", "meta", "name"]).await;
    check("_summary=text", &["id", "meta", "text"]).await;
    let data = ["birthDate", "id", "managingOrganization", "maritalStatus", "meta", "name"];
    check("_summary=data", &data).await;
    let all: Vec<&str> = data.iter().copied().chain(["text"]).collect();
    check("_summary=false", &all).await;
    check("_elements=birthDate,nothing", &["birthDate", "id", "meta"]).await;
    let target = "Patient?_id=1&_elements=birthDate&_include=Patient:organization";
    let found: Vec<Value> = first(target).await;
    assert!(subsetted(&found[0]) && !subsetted(&found[1]));
    let target = "Patient?_id=1&_summary=true&_include=Patient:organization";
    let found: Vec<Value> = first(target).await;
    assert!(subsetted(&found[0]) && subsetted(&found[1]));
}

#[tokio::test]
async fn a_number_alone_has_no_entries_and_a_total_is_left_out_where_it_is_not_wanted() {
    // SRCH-201, SRCH-208, SRCH-209
    let site = clinic().await;
    for query in ["_summary=count", "_count=0", "_count=0&_total=none&foo=1"] {
        let bundle = site.get(&format!("Patient?family=mul&{query}")).await.is(200).json();
        assert_eq!((&bundle["total"], bundle.get("entry")), (&json!(2), None), "{query}");
        assert_eq!((link(&bundle, "next"), link(&bundle, "last")), (None, None));
    }
    for (total, expected) in
        [("none", None), ("estimate", Some(json!(3))), ("accurate", Some(json!(3)))]
    {
        let target = format!("Patient?_total={total}&_count=1");
        let bundle = site.get(&target).await.is(200).json();
        assert_eq!(bundle.get("total").cloned(), expected, "{total}");
    }
}

#[tokio::test]
async fn codes_are_compared_by_the_terminology_of_the_tenant() {
    // SRCH-106, SRCH-107, SRCH-108
    let site = clinic().await;
    let system = json!({
        "resourceType": "CodeSystem", "id": "s", "url": "http://x/s", "status": "active",
        "content": "complete", "hierarchyMeaning": "is-a", "caseSensitive": true,
        "concept": [{ "code": "up", "concept": [{ "code": "down" }] }, { "code": "UP" }]
    });
    put(&site, system).await;
    let set = json!({
        "resourceType": "ValueSet", "id": "v", "url": "http://x/v", "status": "active",
        "compose": { "include": [{ "system": "http://x/s", "concept": [{ "code": "down" }] }] }
    });
    put(&site, set).await;
    for code in ["up", "down", "UP"] {
        let coding = json!([{ "system": "http://x/s", "code": code }]);
        let resource = json!({ "resourceType": "Basic", "id": code, "code": { "coding": coding } });
        put(&site, resource).await;
    }
    assert_eq!(found(&site, "Basic?code:in=http://x/v").await, ["down"]);
    assert_eq!(found(&site, "Basic?code:in=ValueSet/v").await, ["down"]);
    assert_eq!(found(&site, "Basic?code:not-in=http://x/v&_sort=_id").await, ["UP", "up"]);
    assert_eq!(found(&site, "Basic?code:below=http://x/s|up&_sort=_id").await, ["down", "up"]);
    assert_eq!(found(&site, "Basic?code:above=http://x/s|down&_sort=_id").await, ["down", "up"]);
    assert_eq!(found(&site, "Basic?code=http://x/s|up").await, ["up"]);
    for target in [
        "Basic?code:in=http://x/unknown",
        "Basic?code:in=ValueSet/unknown",
        "Basic?code:below=http://x/unknown|up",
    ] {
        assert_eq!(site.get(target).await.is(400).code(), "not-found", "{target}");
    }
}

#[tokio::test]
async fn a_search_is_an_entry_of_a_batch_and_of_a_transaction() {
    let site = clinic().await;
    let search = || entry("GET", "Patient?family=nelson", Value::Null);
    let create = json!({ "resourceType": "Patient", "name": [{ "family": "Nelson" }] });
    let create = || entry("POST", "Patient", create.clone());
    for (bundle, expected) in
        [(batch([search(), create()]), 2), (transaction([search(), create()]), 3)]
    {
        // What is read comes last.
        let answer = site.post("", bundle).await.is(200).json();
        assert_eq!(answer["entry"][0]["resource"]["total"], expected);
    }
}

#[tokio::test]
async fn head_has_the_headers_alone() {
    // SRCH-019
    let site = clinic().await;
    let head = site.ask("HEAD", "Patient?family=mul").send().await.is(200);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-type"), site.get("Patient").await.header("content-type"));
    site.ask("HEAD", "Patient?birthdate=x").send().await.is(400);
}

#[tokio::test]
async fn xml_is_answered_where_it_is_asked_for() {
    let site = clinic().await;
    let bundle = site.get("Patient?foo=1&_format=xml&_count=2").await.is(200);
    assert!(bundle.text().starts_with('<'));
    let next = link(&bundle.json(), "next").unwrap();
    assert!(site.get(&next).await.is(200).text().starts_with('<'));
}

#[tokio::test]
async fn many_searches_at_once_are_all_answered_and_keep_no_read_waiting() {
    let site = clinic().await;
    let searches = (0..150).map(|_| site.get("Patient?family=mul&_include=*"));
    let searches = futures_util::future::join_all(searches);
    let (found, read) = tokio::join!(searches, site.get("Patient/1"));
    read.is(200);
    for answer in found {
        assert_eq!(answer.is(200).json()["total"], 2);
    }
}

#[tokio::test]
async fn a_search_that_looks_at_too_much_is_refused() {
    // SRCH-027, SRCH-250
    let limits = server::Limits { search_versions: 5, ..server::Limits::default() };
    let site = Site::limited(limits).await;
    fill(&site).await;
    assert_eq!(found(&site, "Patient?_id=1").await, ["1"]);
    // Words are in no index.
    let url = "Patient?_content=words&_has:Observation:patient:status=final";
    let answer = site.get(url).await.is(400);
    assert_eq!(answer.code(), "too-costly");
    assert!(answer.text().contains("5 rows"), "{}", answer.text());
}
