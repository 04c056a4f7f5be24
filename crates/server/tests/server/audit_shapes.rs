//! What the audit log tells as AuditEvents is valid R4, and has what IHE's Basic Audit Log Patterns
//! 1.1.4 ask of each kind that it claims to be: <https://profiles.ihe.net/ITI/BALP/content.html>.

use contract::Power;
use serde_json::{Value, json};
use server::Limits;

use crate::support::{Access, Site, rule};

const BALP: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.";
const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
/// Types of agents: system and code.
const SOURCE: (&str, &str) = (DCM, "110153");
const DESTINATION: (&str, &str) = (DCM, "110152");
const APPLICATION: (&str, &str) = (DCM, "110150");
const CUSTODIAN: (&str, &str) =
    ("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "custodian");
const READER: &[&str] = &["IRCP"];
const WRITER: &[&str] = &["AUT", "INF", "CST"];

/// What a pattern of BALP fixes: its name, subtypes of which it has one, action, the types of its
/// client and server, and those that its user may have.
struct Pattern {
    name: &'static str,
    subtypes: &'static [&'static str],
    action: &'static str,
    client: (&'static str, &'static str),
    server: (&'static str, &'static str),
    user: &'static [&'static str],
}

const PATTERNS: [Pattern; 5] = [
    Pattern {
        name: "Create",
        subtypes: &["create"],
        action: "C",
        client: SOURCE,
        server: DESTINATION,
        user: WRITER,
    },
    Pattern {
        name: "Read",
        subtypes: &["read", "vread"],
        action: "R",
        client: DESTINATION,
        server: SOURCE,
        user: READER,
    },
    Pattern {
        name: "Update",
        subtypes: &["update", "patch"],
        action: "U",
        client: SOURCE,
        server: DESTINATION,
        user: WRITER,
    },
    Pattern {
        name: "Delete",
        subtypes: &["delete"],
        action: "D",
        client: APPLICATION,
        server: CUSTODIAN,
        user: WRITER,
    },
    Pattern {
        name: "Query",
        subtypes: &["search", "search-type", "search-system"],
        action: "E",
        client: SOURCE,
        server: DESTINATION,
        user: READER,
    },
];

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn has(coding: &Value, (system, code): (&str, &str)) -> bool {
    coding["system"] == system && coding["code"] == code
}

/// The one of these that is such; with what it stands in for a message.
fn one<'a>(event: &Value, of: &'a Value, is_such: impl Fn(&Value) -> bool) -> &'a Value {
    let such = list(of).iter().filter(|it| is_such(it)).collect::<Vec<_>>();
    let [one] = such[..] else { panic!("{} such, and not one, in {event:#}", such.len()) };
    one
}

fn is_of_type(entity: &Value, code: &str) -> bool {
    has(&entity["type"], ("http://terminology.hl7.org/CodeSystem/audit-entity-type", code))
}

fn check_agents(event: &Value, of: &Pattern) {
    let is = |agent: &Value, it| list(&agent["type"]["coding"]).iter().any(|code| has(code, it));
    let client = one(event, &event["agent"], |agent| is(agent, of.client));
    let server = one(event, &event["agent"], |agent| is(agent, of.server));
    for agent in [client, server] {
        assert!(agent["who"].is_object() && agent["media"].is_null(), "{event:#}");
    }
    // The server is told no address of a client.
    let absent =
        json!({ "_address": { "extension": [{ "url": ABSENT, "valueCode": "unknown" }] } });
    assert_eq!(client["network"], absent, "{event:#}");
    assert!(server["network"]["address"].is_string(), "{event:#}");
    let others = list(&event["agent"]).iter();
    let users = others.filter(|it| !is(it, of.client) && !is(it, of.server)).collect::<Vec<_>>();
    assert!(users.len() <= 1, "{event:#}");
    for user in users {
        let code = user["type"]["coding"][0]["code"].as_str().expect("a code");
        assert!(of.user.contains(&code), "{event:#}");
        assert!(user["who"].is_object() && user["requestor"] == true, "{event:#}");
        assert!(user["network"].is_null() && user["media"].is_null(), "{event:#}");
    }
}

fn check_entities(event: &Value, of: &Pattern, is_about_patient: bool) {
    let object = one(event, &event["entity"], |entity| is_of_type(entity, "2"));
    let role = object["role"]["code"].as_str().expect("a role");
    if of.name == "Query" {
        assert_eq!(role, "24", "{event:#}");
        assert!(object["query"].is_string(), "{event:#}");
        for none in ["what", "lifecycle", "detail"] {
            assert!(object[none].is_null(), "{event:#}");
        }
    } else {
        assert!(["3", "4", "20"].contains(&role), "{event:#}");
        assert!(object["what"]["reference"].is_string(), "{event:#}");
    }
    let is_person = |entity: &Value| is_of_type(entity, "1");
    if is_about_patient {
        let patient = one(event, &event["entity"], is_person);
        assert_eq!(patient["role"]["code"], "1", "{event:#}");
        let what = patient["what"]["reference"].as_str().expect("a reference");
        assert!(what.starts_with("Patient/"), "{event:#}");
    } else {
        assert!(!list(&event["entity"]).iter().any(is_person), "{event:#}");
    }
    let is_request = |entity: &&Value| entity["type"]["code"] == "XrequestId";
    let requests = list(&event["entity"]).iter().filter(is_request).collect::<Vec<_>>();
    assert!(requests.len() <= 1, "{event:#}");
    for request in requests {
        assert!(request["what"]["identifier"]["value"].is_string(), "{event:#}");
    }
}

fn check_pattern(event: &Value, name: &str, is_about_patient: bool) {
    let of = PATTERNS.iter().find(|of| of.name == name).expect("a pattern of BALP");
    let rest = ("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest");
    assert!(has(&event["type"], rest), "{event:#}");
    let [subtype] = list(&event["subtype"]) else { panic!("one subtype in {event:#}") };
    let interaction = |code: &&str| has(subtype, ("http://hl7.org/fhir/restful-interaction", code));
    assert!(of.subtypes.iter().any(interaction), "{event:#}");
    assert_eq!((&event["action"], &event["outcome"]), (&json!(of.action), &json!("0")));
    check_agents(event, of);
    check_entities(event, of, is_about_patient);
}

/// The pattern that an event claims, with `Patient` before it or without.
fn claimed(event: &Value) -> Option<&str> {
    let profile = event["meta"]["profile"][0].as_str()?;
    Some(profile.strip_prefix(BALP).expect("one of BALP's"))
}

/// All that the audit log tells, the newest first.
async fn told(site: &Site) -> Vec<Value> {
    let auditor = Access::owner().with(Power::Audit);
    let found = site.ask("GET", "AuditEvent?_count=100").by(&auditor).send().await.is(200).json();
    list(&found["entry"]).iter().map(|it| it["resource"].clone()).collect()
}

/// A site on which criteria may delete several.
async fn site() -> Site {
    Site::limited(Limits { conditional_deletes: 3, ..Limits::default() }).await
}

/// The codes of the types and roles of an event's entities beside the request's id.
fn entities(event: &Value) -> Vec<String> {
    let beside = list(&event["entity"]).iter().filter(|it| it["type"]["code"] != "XrequestId");
    let code = |it: &Value| it["code"].as_str().unwrap_or("-").to_owned();
    beside.map(|it| format!("{}/{}", code(&it["type"]), code(&it["role"]))).collect()
}

#[tokio::test]
async fn events_are_valid_and_have_what_their_patterns_ask_for() {
    let site = site().await;
    let patient = r#"{"resourceType":"Patient","id":"a","gender":"male"}"#;
    let basic = r#"{"resourceType":"Basic","id":"x","code":{"text":"t"}}"#;
    let patch = r#"[{"op":"replace","path":"/gender","value":"other"}]"#;
    let bundle = r#"{"resourceType":"Bundle","type":"batch","entry":[
        {"request":{"method":"GET","url":"Patient/a"}},
        {"request":{"method":"GET","url":"Patient/none"}}]}"#;
    let outsider = Access::of(vec![rule(&["Observation"], &["read"], "all")]);
    let of_a_user = Access::of_patient("a");
    let user = Access::owner().used_by("u-1");
    let requests = [
        site.ask("PUT", "Patient/a").body(patient),
        site.ask("PUT", "Basic/x").body(basic),
        site.ask("POST", "Patient").body(r#"{"resourceType":"Patient"}"#),
        site.ask("GET", "Patient/a"),
        site.ask("GET", "Patient/a").by(&of_a_user),
        site.ask("GET", "Patient/a/_history/1"),
        site.ask("GET", "Patient/a/_history"),
        site.ask("GET", "Basic/x"),
        site.ask("GET", "Patient?gender=male&_id=a"),
        site.ask("GET", "Basic?_id=none"),
        site.ask("GET", "Patient/a/Observation?status=final"),
        site.ask("GET", "Patient/a/*"),
        site.ask("GET", "?_type=Patient,Basic"),
        site.ask("GET", "Patient?gender=male").by(&of_a_user),
        site.ask("PUT", "Patient/a").body(patient).by(&user),
        site.ask("PUT", "Patient?_id=a").body(patient),
        site.ask("PATCH", "Patient?_id=a").bytes("application/json-patch+json", patch),
        site.ask("PATCH", "Patient/a").bytes("application/json-patch+json", patch),
        site.ask("POST", "").body(bundle),
        site.ask("POST", "Patient/$validate").body(r#"{"resourceType":"Patient"}"#),
        site.ask("GET", "metadata"),
        site.ask("GET", "Patient/a").by(&outsider),
        site.ask("GET", "Patient/none").by(&of_a_user),
        site.ask("DELETE", "Basic/x").by(&user),
        site.ask("DELETE", "Patient?gender=other"),
    ];
    let asked = requests.len();
    for request in requests {
        request.send().await;
    }
    let events = told(&site).await;
    // What the server can do is asked without a trace.
    assert!(events.len() + 1 >= asked, "{} events of {asked} requests", events.len());
    let deleted = events.iter().find(|event| event["action"] == "D").expect("a deletion");
    let query = list(&deleted["entity"]).iter().find(|entity| entity["query"].is_string());
    assert_eq!(query.expect("criteria")["description"], "Patient?gender=");
    let mut seen = Vec::new();
    for event in &events {
        let outcome = site.post("AuditEvent/$validate", event).await.is(200).json();
        let errors = list(&outcome["issue"]).iter().filter(|it| it["severity"] != "information");
        let errors: Vec<_> = errors.filter(|it| it["severity"] != "warning").collect();
        assert!(errors.is_empty(), "{errors:?} of {event:#}");
        if let Some(name) = claimed(event) {
            let without = name.strip_prefix("Patient");
            check_pattern(event, without.unwrap_or(name), without.is_some());
            seen.push(name.to_owned());
        }
    }
    seen.sort_unstable();
    seen.dedup();
    let each = ["Delete", "PatientCreate", "PatientDelete", "PatientQuery", "PatientRead"];
    for name in each.into_iter().chain(["PatientUpdate", "Query", "Read"]) {
        assert!(seen.iter().any(|it| it == name), "{name} is not among {seen:?}");
    }
}

#[tokio::test]
async fn a_query_tells_what_it_showed_beside_the_query_that_is_its_one_object() {
    let site = site().await;
    site.put("Patient/a", json!({ "resourceType": "Patient", "id": "a" })).await.is(201);
    for (target, subtype, expected) in [
        ("Patient?_id=a", "search-type", &["1/1", "2/24", "4/4"][..]),
        ("?_type=Patient", "search-system", &["1/1", "2/24", "4/4"]),
        ("Patient/a/Observation", "search-type", &["4/4", "2/24"]),
        ("Patient/a/*", "search-system", &["1/1", "4/4", "2/24", "4/4"]),
    ] {
        site.ask("GET", target).send().await.is(200);
        let event = &told(&site).await[0];
        assert_eq!(event["subtype"][0]["code"], subtype, "{target}: {event:#}");
        assert_eq!(entities(event), expected, "{target}: {event:#}");
        assert!(claimed(event).is_some_and(|name| name.ends_with("Query")), "{event:#}");
    }
}

#[tokio::test]
async fn criteria_stand_beside_what_they_led_to_and_no_pattern_is_claimed_without_just_one() {
    let site = site().await;
    let basic = |id: &str, tag: &str| {
        let tag = json!([{ "system": "urn:t", "code": tag }]);
        json!({ "resourceType": "Basic", "id": id, "code": { "text": "t" }, "meta": { "tag": tag } })
    };
    for (id, tag) in [("1", "one"), ("2", "two"), ("3", "two")] {
        site.put(&format!("Basic/{id}"), basic(id, tag)).await.is(201);
    }
    let (one, new) = (basic("1", "one").to_string(), r#"{"resourceType":"Basic"}"#);
    let patch = r#"[{"op":"replace","path":"/code/text","value":"u"}]"#;
    let patch_of = |target| site.ask("PATCH", target).bytes("application/json-patch+json", patch);
    let [of_one, of_two, of_none] =
        ["Basic?_tag=urn:t|one", "Basic?_tag=urn:t|two", "Basic?_tag=urn:t|none"];
    let known = "_tag=urn:t|one";
    for (request, claims, expected) in [
        (site.ask("PUT", of_one).body(one.as_str()), Some("Update"), &["2/4", "4/24"][..]),
        (patch_of(of_one), Some("Update"), &["2/4", "4/24"]),
        // Nothing is created.
        (site.ask("POST", "Basic").header("if-none-exist", known).body(new), None, &["2/4"]),
        (site.ask("DELETE", of_one), Some("Delete"), &["2/4", "4/24"]),
        (site.ask("DELETE", of_two), None, &["4/24", "2/4", "2/4"]),
        (site.ask("DELETE", of_none), None, &["4/24"]),
        (site.ask("DELETE", "Basic/2"), None, &["2/4"]),
    ] {
        let status = request.send().await.status;
        assert!(status < 300, "{status}");
        let event = &told(&site).await[0];
        assert_eq!(
            (claimed(event), &*entities(event)),
            (claims, &*to_texts(expected)),
            "{event:#}"
        );
    }
}

fn to_texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
