//! capabilities: what the statement says is what the server does.

use std::collections::BTreeSet;

use fhir_schema::Schema;
use serde_json::Value;

use crate::support::{Access, BASE, Site};

fn codes(list: &Value) -> BTreeSet<&str> {
    let list = list.as_array().unwrap();
    list.iter().map(|item| item["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_statement_is_served_to_everyone() {
    // HTTP-129, HTTP-208, HTTP-212
    let site = Site::start().await;
    let answer = site.ask("GET", "metadata").by(&Access::nobody()).send().await.is(200);
    let statement = answer.json();
    let text = |name: &str| statement[name].as_str().unwrap();
    assert_eq!(text("resourceType"), "CapabilityStatement");
    assert_eq!(text("kind"), "instance");
    assert_eq!(text("fhirVersion"), "4.0.1");
    assert_eq!(text("status"), "active");
    assert_eq!(text("date"), "2026-01-02T03:04:05.678901Z");
    assert_eq!(statement["implementation"]["url"], BASE);
    assert_eq!(statement["rest"][0]["mode"], "server");
    let formats = ["application/json-patch+json", "application/fhir+json", "application/fhir+xml"];
    assert_eq!(statement["patchFormat"], serde_json::json!(formats));
    let types: Vec<&str> = statement["rest"][0]["resource"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["type"].as_str().unwrap())
        .collect();
    let distinct: BTreeSet<_> = types.iter().copied().collect();
    assert_eq!(types.len(), distinct.len());
    assert_eq!(distinct, Schema::r4().resource_types().collect());
}

#[tokio::test]
async fn modes_that_are_not_there_are_refused() {
    // HTTP-209
    let site = Site::start().await;
    for mode in ["full", "normative"] {
        let answer = site.get(&format!("metadata?mode={mode}")).await.is(200);
        assert_eq!(answer.json()["resourceType"], "CapabilityStatement");
    }
    site.get("metadata?mode=bogus").await.is(400);
}

#[tokio::test]
async fn what_the_terminology_service_knows_is_stated() {
    // TERM-141, HTTP-209
    let site = Site::start().await;
    let ask = site.ask("GET", "metadata?mode=terminology").by(&Access::nobody());
    let statement = ask.send().await.is(200).json();
    assert_eq!(statement["resourceType"], "TerminologyCapabilities");
    assert_eq!((&statement["kind"], &statement["status"]), (&"instance".into(), &"active".into()));
    assert_eq!(statement["implementation"]["url"], BASE);
    let systems = statement["codeSystem"].as_array().unwrap();
    let gender = systems.iter().find(|it| it["uri"] == "http://hl7.org/fhir/administrative-gender");
    let version = serde_json::json!([{ "code": "4.0.1", "isDefault": true }]);
    assert_eq!(gender.unwrap()["version"], version);
    // Each parameter that it names is taken, and no other.
    let genders = "ValueSet/$expand?url=http://hl7.org/fhir/ValueSet/administrative-gender";
    for parameter in statement["expansion"]["parameter"].as_array().unwrap() {
        let name = parameter["name"].as_str().unwrap();
        let answer = site.get(&format!("{genders}&{name}=x")).await;
        assert!(answer.status == 200 || answer.code() != "not-supported", "{name}");
    }
    assert_eq!(site.get(&format!("{genders}&unheard=x")).await.is(400).code(), "not-supported");
    // As XML as well, and again the same.
    let xml = site.get("metadata?mode=terminology&_format=xml").await.is(200);
    assert_eq!(xml.json()["codeSystem"].as_array().unwrap().len(), systems.len());
}

#[tokio::test]
async fn options_answers_with_the_statement() {
    // HTTP-216
    let site = Site::start().await;
    for target in ["", "metadata"] {
        let answer = site.ask("OPTIONS", target).send().await.is(200);
        assert_eq!(answer.json()["resourceType"], "CapabilityStatement", "{target}");
    }
}

/// What each interaction answers when it is there; every other answer says 501.
struct Probe {
    code: &'static str,
    method: &'static str,
    target: &'static str,
    body: &'static str,
}

const fn probe(
    code: &'static str,
    method: &'static str,
    target: &'static str,
    body: &'static str,
) -> Probe {
    Probe { code, method, target, body }
}

const PATIENT: &str = r#"{"resourceType":"Patient","id":"1"}"#;

/// Every interaction that R4's restful-interaction names.
const PROBES: [Probe; 16] = [
    probe("update", "PUT", "Patient/1", PATIENT),
    probe("read", "GET", "Patient/1", ""),
    probe("vread", "GET", "Patient/1/_history/1", ""),
    probe("patch", "PATCH", "Patient/1", r#"{"resourceType":"Parameters"}"#),
    probe("history-instance", "GET", "Patient/1/_history", ""),
    probe("history-type", "GET", "Patient/_history", ""),
    probe("create", "POST", "Patient", PATIENT),
    probe("search-type", "GET", "Patient", ""),
    probe("search-type", "GET", "Patient/?name=x", ""),
    probe("search-type", "POST", "Patient/_search", ""),
    probe("delete", "DELETE", "Patient/1", ""),
    probe("search-system", "GET", "", ""),
    probe("search-system", "POST", "_search", ""),
    probe("history-system", "GET", "_history", ""),
    probe("transaction", "POST", "", r#"{"resourceType":"Bundle","type":"transaction"}"#),
    probe("batch", "POST", "", r#"{"resourceType":"Bundle","type":"batch"}"#),
];

#[tokio::test]
async fn each_interaction_is_named_exactly_when_it_is_there() {
    // HTTP-210, HTTP-211
    let site = Site::start().await;
    let statement = site.get("metadata").await.is(200).json();
    let rest = &statement["rest"][0];
    let resources = rest["resource"].as_array().unwrap();
    let patient = resources.iter().find(|of| of["type"] == "Patient").unwrap();
    let mut named = codes(&patient["interaction"]);
    named.extend(codes(&rest["interaction"]));
    let mut there = BTreeSet::new();
    for probe in &PROBES {
        let ask = site.ask(probe.method, probe.target);
        let ask = if probe.body.is_empty() { ask } else { ask.body(probe.body) };
        let answer = ask.send().await;
        if answer.status == 501 {
            assert_eq!(answer.code(), "not-supported");
        } else {
            assert!(answer.status < 300, "{}: {}", probe.code, answer.text());
            there.insert(probe.code);
        }
    }
    assert_eq!(named, there);
    for resource in resources {
        if resource["type"] == "AuditEvent" {
            // Recorded by the server alone: tests of the audit say what is done of it.
            let read = BTreeSet::from(["read", "search-type"]);
            assert_eq!(codes(&resource["interaction"]), read);
            continue;
        }
        assert_eq!(resource["interaction"], patient["interaction"], "{resource}");
    }
    for operation in rest["operation"].as_array().unwrap() {
        let target = format!("${}", operation["name"].as_str().unwrap());
        assert_ne!(site.get(&target).await.status, 501, "{target}");
    }
    site.get("$everything").await.is(501);
    site.get("Patient/1/$everything").await.is(501);
}

#[tokio::test]
async fn each_feature_of_a_type_is_stated_as_it_is() {
    // HTTP-210
    let site = Site::start().await;
    let statement = site.get("metadata").await.is(200).json();
    let resources = statement["rest"][0]["resource"].as_array().unwrap().clone();
    for resource in resources {
        let of = resource["type"].as_str().unwrap();
        let body = format!(r#"{{"resourceType":"{of}","id":"1"}}"#);
        if of == "AuditEvent" {
            assert_eq!(resource["versioning"], "no-version");
            for never in ["updateCreate", "readHistory", "conditionalCreate", "conditionalUpdate"] {
                assert_eq!(resource[never], false, "{never}");
            }
            assert_eq!(resource["conditionalDelete"], "not-supported");
            site.put("AuditEvent/1", &body).await.is(405);
            continue;
        }
        assert_eq!(resource["versioning"], "versioned");
        assert_eq!(resource["updateCreate"], true);
        assert_eq!(resource["readHistory"], true);
        assert_eq!(resource["conditionalRead"], "full-support");
        let instance = format!("{of}/1");
        site.put(&instance, &body).await.is(201);
        site.get(&format!("{of}/1/_history/1")).await.is(200);
        let read = site.ask("GET", &instance).header("if-none-match", "W/\"1\"");
        read.send().await.is(304);
        assert_eq!(resource["conditionalCreate"], true);
        for (criteria, status) in [("_id=1", 200), ("_id=2", 201)] {
            let ask = site.ask("POST", of).header("if-none-exist", criteria);
            ask.body(&body).send().await.is(status);
        }
        assert_eq!(resource["conditionalUpdate"], true);
        let one = format!("{of}?_id=1");
        site.put(&one, &body).await.is(200);
        assert_eq!(resource["conditionalDelete"], "single");
        site.delete(&format!("{of}?_id:missing=false")).await.is(412);
        site.delete(&one).await.is(204);
        site.get(&instance).await.is(410);
    }
}

#[tokio::test]
async fn what_is_stated_of_search_can_be_asked() {
    // HTTP-210
    let site = Site::start().await;
    let statement = site.get("metadata").await.is(200);
    assert!(statement.body.len() < 2 << 20, "{}", statement.body.len());
    let statement = statement.json();
    let rest = &statement["rest"][0];
    let patient = rest["resource"].as_array().unwrap().iter().find(|of| of["type"] == "Patient");
    let patient = patient.unwrap();
    let birthdate = serde_json::json!({
        "name": "birthdate",
        "definition": "http://hl7.org/fhir/SearchParameter/individual-birthdate",
        "type": "date",
    });
    assert!(patient["searchParam"].as_array().unwrap().contains(&birthdate));
    let all = rest["searchParam"].as_array().unwrap();
    let names: Vec<_> = all.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names[..4], ["_content", "_filter", "_id", "_lastUpdated"]);
    let list = |name: &str| -> Vec<String> {
        let list = patient[name].as_array().unwrap().iter();
        list.map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let (includes, reverse) = (list("searchInclude"), list("searchRevInclude"));
    assert!(includes.contains(&"Patient:organization".to_owned()));
    assert!(reverse.contains(&"Observation:subject".to_owned()));
    assert!(reverse.contains(&"Provenance:target".to_owned()));
    assert!(!reverse.contains(&"Patient:organization".to_owned()));
    for (of, list) in [("_include", includes), ("_revinclude", reverse)] {
        for include in list.chunks(40).map(|some| some.iter().map(|it| format!("{of}={it}"))) {
            let target = format!("Patient?{}", include.collect::<Vec<_>>().join("&"));
            site.ask("GET", &target).header("prefer", "handling=strict").send().await.is(200);
        }
    }
    let own = patient["searchParam"].as_array().unwrap();
    for parameter in own.iter().chain(all) {
        let name = parameter["name"].as_str().unwrap();
        let target = format!("Patient?{name}=");
        let answer = site.get(&target).await.is(200).json();
        let issue = &answer["entry"][0]["resource"]["issue"][0];
        // It is known, and has no value.
        assert_eq!(issue["code"], "value", "{name}: {issue}");
    }
}
