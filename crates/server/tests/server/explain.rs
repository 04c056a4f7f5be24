//! `_explain`: how a search is answered, and why a resource matches or does not.

use contract::Power;
use serde_json::{Value, json};

use super::search::{clinic, ids, put};
use crate::support::bundle::batch;
use crate::support::{Access, Answer, Site, rule};

/// May do everything, and have searches explained.
fn explainer() -> Access {
    Access::owner().with(Power::Explain)
}

async fn told(site: &Site, url: &str) -> Value {
    let answer = site.ask("GET", url).by(&explainer()).send().await;
    let told = answer.is(200).json();
    assert_eq!(told["resourceType"], "Parameters", "{told}");
    told
}

/// The parts with this name, one below the other.
fn all<'v>(of: &'v Value, name: &str) -> Vec<&'v Value> {
    let parts = of.get("parameter").or_else(|| of.get("part"));
    let parts = parts.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    parts.iter().filter(|it| it["name"] == name).collect()
}

#[track_caller]
fn part<'v>(of: &'v Value, path: &str) -> &'v Value {
    path.split('/').fold(of, |of, name| {
        all(of, name).first().copied().unwrap_or_else(|| panic!("no {name} of {path}: {of}"))
    })
}

#[track_caller]
fn value(of: &Value, path: &str) -> Value {
    let part = part(of, path).as_object().unwrap();
    part.iter().find(|(name, _)| name.starts_with("value")).unwrap().1.clone()
}

#[tokio::test]
async fn a_plan_tells_how_each_condition_was_read_and_is_answered() {
    let site = clinic().await;
    site.is_indexed().await;
    let url = "Observation?subject:Patient.name=mül&status=final&_sort=-_lastUpdated&_explain=plan";
    let plan = told(&site, url).await;
    assert_eq!(value(&plan, "answeredBy"), "index");
    assert_eq!(value(&plan, "total"), 2);
    assert_eq!(value(&plan, "rows/budget"), 250_000);
    assert!(value(&plan, "rows/estimated").as_u64().unwrap() > 0);
    assert!(value(&plan, "rows/real").as_u64().unwrap() > 0);
    let of = part(&plan, "type");
    assert_eq!((value(of, "of"), value(of, "versions")), (json!("Observation"), json!(3)));
    assert_eq!(value(of, "sort"), "_lastUpdated descending");
    let conditions = all(of, "condition");
    let [chain, status] = conditions[..] else { panic!("{plan}") };
    assert_eq!(value(chain, "parameter"), "subject:Patient.name");
    assert_eq!(value(chain, "read/what"), "chain");
    assert_eq!(value(chain, "read/read/of"), "Patient");
    assert_eq!(value(chain, "read/read/read/read/value"), "mul");
    assert_eq!(value(chain, "answered/by"), "chain");
    assert_eq!(value(chain, "answered/answered/of"), "Patient");
    assert_eq!(value(status, "value"), "final");
    assert_eq!(value(status, "answered/versions"), 2);
    // It is no parameter of the search, and no page.
    let answer = site.ask("GET", url).by(&explainer()).header("prefer", "handling=strict");
    answer.send().await.is(200);
}

#[tokio::test]
async fn what_is_in_no_index_is_said_to_be_looked_for_in_the_resources() {
    let site = clinic().await;
    let plan = told(&site, "Patient?_content=words&_explain=plan").await;
    assert_eq!(value(&plan, "answeredBy"), "scan");
    assert!(value(&plan, "because").as_str().unwrap().contains("in no index"));
    assert_eq!(value(&plan, "rows/real"), 3);
}

#[tokio::test]
async fn a_resource_is_explained_by_the_values_that_are_indexed_of_it() {
    let site = clinic().await;
    let url = "Observation?code=1234-5&status=final&subject:Patient.name=mul&_sort=code&_explain=";
    let why = told(&site, &format!("{url}Observation/b")).await;
    assert_eq!((value(&why, "there"), value(&why, "matches")), (json!(true), json!(false)));
    assert_eq!((value(&why, "onThisPage"), value(&why, "version")), (json!(false), json!("1")));
    assert_eq!(value(&why, "indexCaughtUp"), true);
    assert_eq!(value(&why, "sort/value"), "http://loinc.org|1234-5");
    let since = value(&why, "indexedSinceT").as_u64().unwrap();
    let later = told(&site, &format!("{url}Observation/c")).await;
    assert_eq!(value(&later, "indexedSinceT").as_u64().unwrap(), since + 1);
    assert_eq!((value(&later, "matches"), value(&later, "onThisPage")), (json!(true), json!(true)));
    let holds: Vec<Value> = all(&why, "condition").iter().map(|it| value(it, "holds")).collect();
    assert_eq!(holds, [true, false, true]);
    let indexed = |at: usize| -> Vec<(Value, Value)> {
        let indexed = all(all(&why, "condition")[at], "indexed").into_iter();
        indexed.map(|it| (value(it, "value"), value(it, "counts"))).collect()
    };
    assert_eq!(
        indexed(0),
        [
            (json!("http://loinc.org|1234-5"), json!(true)),
            (json!("http://loinc.org|1234-6"), json!(false))
        ]
    );
    let [(status, counts)] = &indexed(1)[..] else { panic!("{why}") };
    assert!(status.as_str().unwrap().ends_with("preliminary") && *counts == json!(false));
    let within = told(&site, "Patient/2/Observation?_explain=Observation/a").await;
    assert_eq!(value(&within, "inCompartment"), false);
    assert_eq!(value(&within, "matches"), false);
}

#[tokio::test]
async fn a_search_is_explained_to_who_has_the_power_for_it_alone() {
    // SRCH-027
    let site = clinic().await;
    for what in ["plan", "Patient/1", "nothing"] {
        let url = format!("Patient?_explain={what}");
        let answer = site.get(&url).await.is(403);
        assert!(answer.text().contains("power-missing"), "{}", answer.text());
    }
    for (url, mend) in [
        ("Patient?_explain=nothing", "write plan"),
        ("Patient?_explain=Observation/a", "of a type that is searched"),
        ("Patient?_explain=plan&_explain=plan", "give it once"),
    ] {
        let answer = site.ask("GET", url).by(&explainer()).send().await.is(400);
        assert!(answer.text().contains(mend), "{url}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_resource_that_may_not_be_seen_is_explained_like_one_that_is_not_there() {
    let site = clinic().await;
    let patient = Access::of_patient("1").with(Power::Explain);
    let told = async |id: &str| {
        let url = format!("Patient?name=mul&_sort=name&_explain=Patient/{id}");
        let answer = site.ask("GET", &url).by(&patient).send().await.is(200);
        let cost = rows(&answer);
        (answer.text().replace(&format!("Patient/{id}"), "Patient/ID"), cost)
    };
    assert!(told("1").await.0.contains(r#"{"name":"there","valueBoolean":true}"#));
    let (hidden, absent) = (told("2").await, told("nobody").await);
    assert!(hidden.0.contains(r#"{"name":"there","valueBoolean":false}"#), "{}", hidden.0);
    assert_eq!(hidden, absent);
}

#[tokio::test]
async fn a_plan_counts_nothing_that_may_not_be_seen() {
    let (with, without) = (clinic().await, Site::start().await);
    for id in ["1", "2", "3"] {
        let patient = with.get(&format!("Patient/{id}")).await.is(200).json();
        put(&without, patient).await;
    }
    // What is contained in what may not be seen has keys of types that may.
    for at in 0..70 {
        let name = format!("Hulda{at}");
        let basic = json!({
            "resourceType": "Basic", "id": format!("hidden-{at}"), "code": { "text": "x" },
            "subject": { "reference": "#1" },
            "contained": [{ "resourceType": "Patient", "id": "1", "active": true,
                "name": [{ "family": name }] }]
        });
        put(&with, basic).await;
    }
    let patients = Access::of(vec![rule(&["Patient"], &["read", "search"], "all")]);
    let patients = patients.with(Power::Explain);
    for url in [
        "Patient?_has:Observation:patient:status=final&_explain=plan",
        "Patient?name:contains=ul&_include=*&_revinclude=*&_explain=plan",
        "Patient?organization.name=north&_sort=name&_explain=plan",
        "Patient?active=true&name:contains=ul&_sort=family&_explain=plan",
    ] {
        let ask = async |site: &Site| {
            site.ask("GET", url).by(&patients).send().await.is(200).text().to_owned()
        };
        let told = ask(&with).await;
        assert_eq!(told, ask(&without).await, "{url}");
        assert!(told.contains(r#""valueCode":"index""#) && told.contains("total"), "{told}");
        for counted in ["versions", "keys", "entries", "estimated", "real", "parts", "answered\""] {
            assert!(!told.contains(&format!("\"{counted}")), "{counted}: {told}");
        }
    }
    // Nor does a search that is refused tell of it.
    let ask = async |site: &Site| {
        let ask = site.ask("GET", "Patient?active=true&name:contains=ul");
        ask.by(&patients.clone().reading(0)).send().await.is(400).text().to_owned()
    };
    let refused = ask(&with).await;
    assert_eq!(refused, ask(&without).await);
    assert!(refused.contains("more than 0 rows") && !refused.contains("about"), "{refused}");
}

/// The rows that an answer says were read.
#[track_caller]
fn rows(answer: &Answer) -> u32 {
    let cost = answer.header(contract::header::COST).and_then(contract::Cost::from_header);
    cost.expect("a cost").rows
}

/// An entry that reads.
fn get(url: &str) -> Value {
    json!({ "request": { "method": "GET", "url": url } })
}

#[tokio::test]
async fn the_cost_of_an_answer_says_how_many_rows_were_read() {
    // SRCH-250
    let site = clinic().await;
    assert_eq!(rows(&site.get("metadata").await), 0);
    assert_eq!(rows(&site.get("Patient/1").await), 1);
    assert_eq!(rows(&site.get("Patient/nobody").await), 0);
    assert_eq!(rows(&site.get("Patient/1/_history/1").await), 1);
    let history = rows(&site.get("Patient/_history").await);
    assert!((6..=12).contains(&history), "{history}");
    // The index's entries are a row or two, and three matches are read.
    let search = rows(&site.get("Patient?name:contains=l").await);
    assert!((4..=5).contains(&search), "{search}");
    assert_eq!(rows(&site.get("Patient?_content=words&_summary=count").await), 3);
    let entries = ["Patient/1", "Patient/2", "Patient/3"].map(get);
    assert_eq!(rows(&site.post("", batch(entries)).await), 3);
}

#[tokio::test]
async fn a_search_looks_at_no_more_rows_than_its_caller_may_read() {
    // SRCH-027, SRCH-250
    let site = clinic().await;
    let ask = async |url: &str, budget| {
        site.ask("GET", url).by(&explainer().reading(budget)).send().await
    };
    for (url, name, mend) in [
        ("Patient?name:contains=ul", "name:contains", "leave out :contains"),
        ("Patient?_has:Observation:patient:status=final", "_has:Observation", "_include"),
        ("Patient?_content=words", "_content", "leave the words out"),
    ] {
        let answer = ask(url, 0).await.is(400);
        assert_eq!(answer.code(), "too-costly", "{url}");
        let text = answer.text();
        assert!(text.contains(name) && text.contains(mend), "{url}: {text}");
        let code = name.split(':').next().unwrap();
        assert_eq!(answer.json()["issue"][0]["expression"][0], format!("http.{code}"));
        ask(url, 100).await.is(200);
    }
    // What may not be answered is explained still.
    let plan = ask("Patient?name:contains=ul&_explain=plan", 0).await.is(200).json();
    assert_eq!(value(&plan, "rows/tooCostly"), true);
    assert_eq!(value(&plan, "rows/most/parameter"), "name:contains");
    // The entries of a batch read from one budget.
    let entries = ["Patient?name=mul"; 2].map(get);
    let by = explainer().reading(2);
    let answer = site.ask("POST", "").by(&by).body(batch(entries)).send().await.is(200).json();
    let status = |at: usize| answer["entry"][at]["response"]["status"].as_str().unwrap();
    assert!(status(0).starts_with("200") && status(1).starts_with("400"), "{answer}");
}

#[tokio::test]
async fn what_a_query_has_too_much_of_is_named_with_its_place() {
    // SRCH-162, SRCH-251
    let site = clinic().await;
    let values: Vec<String> = (0..10_000).map(|at| at.to_string()).collect();
    let form = format!("identifier={}", values.join(","));
    let form = site.ask("POST", "Patient/_search").bytes("application/x-www-form-urlencoded", form);
    let hops = format!("Organization?{}name=x", "partof.".repeat(12));
    let longest = "identifier: more than 1000 values of one parameter; ask for less at once (at \
                   character 3891 of the value)";
    for (answer, text, place) in [
        (form.send().await, longest, "http.identifier"),
        (
            site.get(&hops).await,
            "more than 8 references in one chain; ask for less at once (at character 64",
            "http.partof",
        ),
    ] {
        let answer = answer.is(400);
        assert_eq!(answer.code(), "too-costly");
        assert!(answer.text().contains(text), "{}", answer.text());
        assert_eq!(answer.json()["issue"][0]["expression"][0], place);
    }
}

#[tokio::test]
async fn what_a_hub_is_referred_to_by_is_cut_and_said_to_be() {
    // SRCH-251
    let limits = server::Limits { search_included: 20, ..server::Limits::default() };
    let site = Site::limited(limits).await;
    put(&site, json!({ "resourceType": "Patient", "id": "hub" })).await;
    for at in 0..30 {
        let observation = json!({
            "resourceType": "Observation", "id": format!("o{at}"), "status": "final",
            "code": { "text": "x" }, "subject": { "reference": "Patient/hub" }
        });
        put(&site, observation).await;
    }
    let page = site.get("Patient?_id=hub&_include=*&_revinclude=*").await.is(200).json();
    assert_eq!(ids(&page, "include").len(), 20);
    let entries = page["entry"].as_array().unwrap();
    let outcome = entries.iter().find(|it| it["search"]["mode"] == "outcome").unwrap();
    let issue = &outcome["resource"]["issue"][0];
    assert_eq!((&issue["severity"], &issue["code"]), (&json!("warning"), &json!("too-costly")));
    assert!(issue["diagnostics"].as_str().unwrap().contains("not all that was to be included"));
}
