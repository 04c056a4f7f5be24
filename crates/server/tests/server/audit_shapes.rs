//! What the audit log tells as AuditEvents is valid R4, and has what IHE's Basic Audit Log Patterns
//! ask of each kind: <https://profiles.ihe.net/ITI/BALP/content.html>.

use contract::Power;
use serde_json::Value;

use crate::support::{Access, Site, rule};

const BALP: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.";
/// A role of an agent, in DICOM's terms.
const SOURCE: &str = "110153";
const DESTINATION: &str = "110152";

/// What a pattern of BALP fixes: its name, subtypes one of which it has, action, the role of the
/// client (the server has the other one), and its entity for what was acted on (the code of its
/// role), beside the patient.
struct Pattern {
    name: &'static str,
    subtypes: &'static [&'static str],
    action: &'static str,
    client: &'static str,
    entity: &'static str,
}

const PATTERNS: [Pattern; 5] = [
    Pattern { name: "Create", subtypes: &["create"], action: "C", client: SOURCE, entity: "4" },
    Pattern {
        name: "Read",
        subtypes: &["read", "vread"],
        action: "R",
        client: DESTINATION,
        entity: "4",
    },
    Pattern {
        name: "Update",
        subtypes: &["update", "patch"],
        action: "U",
        client: SOURCE,
        entity: "4",
    },
    Pattern { name: "Delete", subtypes: &["delete"], action: "D", client: SOURCE, entity: "4" },
    Pattern {
        name: "Query",
        subtypes: &["search", "search-type"],
        action: "E",
        client: SOURCE,
        entity: "24",
    },
];

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The codes that something has, by whichever of its systems.
fn codes(concept: &Value) -> Vec<&str> {
    list(&concept["coding"]).iter().filter_map(|coding| coding["code"].as_str()).collect()
}

fn check_pattern(event: &Value, name: &str, is_about_patient: bool) {
    let of = PATTERNS.iter().find(|of| of.name == name).expect("a pattern of BALP");
    assert_eq!(event["type"]["code"], "rest", "{event:#}");
    let subtypes: Vec<_> = list(&event["subtype"]).iter().map(|it| &it["code"]).collect();
    assert!(subtypes.iter().any(|it| of.subtypes.iter().any(|of| *it == of)), "{event:#}");
    assert_eq!(event["action"], of.action, "{event:#}");
    let server = if of.client == SOURCE { DESTINATION } else { SOURCE };
    let agents = list(&event["agent"]);
    for (code, is_server) in [(of.client, false), (server, true)] {
        let such = agents.iter().filter(|agent| codes(&agent["type"]).contains(&code));
        let [agent] = such.collect::<Vec<_>>()[..] else { panic!("one {code} in {event:#}") };
        assert!(agent["who"].is_object(), "{event:#}");
        assert_eq!(agent["network"].is_object(), is_server, "{event:#}");
    }
    let entities = |kind: &str, role: &str| {
        let of = |it: &&Value| it["type"]["code"] == kind && it["role"]["code"] == role;
        list(&event["entity"]).iter().filter(of).collect::<Vec<_>>()
    };
    let acted_on = entities("2", of.entity);
    assert!(!acted_on.is_empty(), "{event:#}");
    match name {
        "Query" => assert!(acted_on[0]["query"].is_string(), "{event:#}"),
        _ => assert!(acted_on[0]["what"]["reference"].is_string(), "{event:#}"),
    }
    let patients = entities("1", "1");
    assert_eq!(patients.len(), usize::from(is_about_patient), "{event:#}");
}

#[tokio::test]
async fn events_are_valid_and_have_what_their_patterns_ask_for() {
    let site = Site::on_disk().await;
    let patient = r#"{"resourceType":"Patient","id":"a","gender":"male"}"#;
    let basic = r#"{"resourceType":"Basic","id":"x","code":{"text":"t"}}"#;
    let patch = r#"[{"op":"replace","path":"/gender","value":"other"}]"#;
    let bundle = r#"{"resourceType":"Bundle","type":"batch","entry":[
        {"request":{"method":"GET","url":"Patient/a"}},
        {"request":{"method":"GET","url":"Patient/none"}}]}"#;
    let outsider = Access::of(vec![rule(&["Observation"], &["read"], "all")]);
    let of_a_user = Access::of_patient("a");
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
        site.ask("PATCH", "Patient/a").bytes("application/json-patch+json", patch),
        site.ask("POST", "").body(bundle),
        site.ask("POST", "Patient/$validate").body(r#"{"resourceType":"Patient"}"#),
        site.ask("GET", "metadata"),
        site.ask("GET", "Patient/a").by(&outsider),
        site.ask("GET", "Patient/none").by(&of_a_user),
        site.ask("DELETE", "Basic/x"),
        site.ask("DELETE", "Patient?gender=other"),
    ];
    let asked = requests.len();
    for request in requests {
        request.send().await;
    }
    let auditor = Access::owner().with(Power::Audit);
    let found = site.ask("GET", "AuditEvent?_count=100").by(&auditor).send().await.is(200).json();
    let events: Vec<&Value> = list(&found["entry"]).iter().map(|it| &it["resource"]).collect();
    // What the server can do is asked without a trace.
    assert!(events.len() + 1 >= asked, "{} events of {asked} requests", events.len());
    let deleted = events.iter().find(|event| event["action"] == "D").expect("a deletion");
    let query = list(&deleted["entity"]).iter().find(|entity| entity["query"].is_string());
    assert_eq!(query.expect("criteria")["description"], "Patient?gender=");
    let mut seen = Vec::new();
    for event in events {
        let outcome = site.post("AuditEvent/$validate", event).await.is(200).json();
        let errors = list(&outcome["issue"]).iter().filter(|it| it["severity"] != "information");
        let errors: Vec<_> = errors.filter(|it| it["severity"] != "warning").collect();
        assert!(errors.is_empty(), "{errors:?} of {event:#}");
        if let Some(profile) = event["meta"]["profile"][0].as_str() {
            let name = profile.strip_prefix(BALP).expect("one of BALP's");
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
