//! An event as an AuditEvent, in the shapes of IHE's Basic Audit Log Patterns (BALP 1.1.4): read,
//! query, create, update and delete, each with a patient or without.
//!
//! A pattern has one entity of the type 2: what was read or written, or the query. All else that an
//! event tells of stands beside it with another type; an event that has not just one of these, as of
//! criteria that deleted several resources, claims no pattern.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use database::audit::{Act, Event, Outcome};
use serde_json::{Value, json};

use super::AUDIT_EVENT;

const BALP: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.";
const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const PARTICIPANT: &str = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";
const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";

/// Types of entities.
const PERSON: &str = "1";
const SYSTEM_OBJECT: &str = "2";
const OTHER: &str = "4";

/// What an event's ids begin with: no other AuditEvent has such.
pub(super) const ID: &str = "log-";

/// What BALP tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Read,
    Query,
    Create,
    Update,
    Delete,
    Other,
}

impl Pattern {
    fn of(act: &Act) -> Self {
        match act.kind.code() {
            "read" | "vread" => Self::Read,
            "search-type" | "search-system" | "search-compartment" => Self::Query,
            "create" => Self::Create,
            "update" | "conditional-update" | "patch" | "conditional-patch" => Self::Update,
            "delete" | "conditional-delete" => Self::Delete,
            _ => Self::Other,
        }
    }

    /// The profile's name, where there is one.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Read => Some("Read"),
            Self::Query => Some("Query"),
            Self::Create => Some("Create"),
            Self::Update => Some("Update"),
            Self::Delete => Some("Delete"),
            Self::Other => None,
        }
    }

    /// `AuditEvent.action`.
    fn action(self, act: &Act) -> &'static str {
        match self {
            Self::Read => "R",
            Self::Create => "C",
            Self::Update => "U",
            Self::Delete => "D",
            Self::Other if act.kind.code().starts_with("history") => "R",
            Self::Other if act.kind.code() == "purge" => "D",
            Self::Query | Self::Other => "E",
        }
    }

    /// Whether what it says was done, where it was not refused: a condition may have kept a create
    /// from making anything, and what was set apart is not written yet.
    fn is_done(self, act: &Act) -> bool {
        match (self, act.status) {
            (Self::Create, status) => status == 201,
            (_, status) => status != 202,
        }
    }

    /// The types of the client's agent and of the server's: system, code and display.
    fn roles(self) -> [(&'static str, &'static str, &'static str); 2] {
        let source = (DICOM, "110153", "Source Role ID");
        let destination = (DICOM, "110152", "Destination Role ID");
        match self {
            // Where data flows from and to: a read brings it to the client.
            Self::Read => [destination, source],
            Self::Delete => {
                [(DICOM, "110150", "Application"), (PARTICIPANT, "custodian", "Custodian")]
            }
            Self::Query | Self::Create | Self::Update | Self::Other => [source, destination],
        }
    }
}

/// The AuditEvent with this number. `about` is the one patient it is to be about, where all of
/// them are not to be named.
#[must_use]
pub fn to_resource(
    (number, event): (u64, &Event),
    about: Option<&str>,
    (base, tenant): (&str, &str),
) -> Value {
    let pattern = Pattern::of(&event.act);
    let patients: Vec<&str> = match about {
        Some(patient) => vec![patient],
        None => event.patients.iter().map(|patient| &**patient).collect(),
    };
    let mut resource = json!({
        "resourceType": AUDIT_EVENT,
        "id": format!("{ID}{number}"),
        "type": {
            "system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
            "code": "rest",
            "display": "Restful Operation",
        },
        "subtype": subtypes(&event.act),
        "action": pattern.action(&event.act),
        "recorded": event.instant.to_string(),
        "outcome": outcome(event.outcome),
        "outcomeDesc": described(event),
        "agent": agents(event, pattern, base),
        "source": {
            "site": tenant,
            "observer": { "display": base },
            "type": [{
                "system": "http://terminology.hl7.org/CodeSystem/security-source-type",
                "code": "4",
                "display": "Application Server",
            }],
        },
    });
    if let Some(occurred) = event.occurred.map(|occurred| occurred.to_string()) {
        resource["period"] = json!({ "start": occurred, "end": occurred });
    }
    let entities = entities(event, pattern, &patients);
    if let Some(name) = pattern.name().filter(|_| is_one_of_balp(event, &patients, &entities)) {
        let patient = if patients.is_empty() { "" } else { "Patient" };
        resource["meta"] = json!({ "profile": [format!("{BALP}{patient}{name}")] });
    }
    if let Some(purpose) = &event.purpose {
        resource["purposeOfEvent"] = json!([{ "coding": [{ "system": REASON, "code": purpose }] }]);
    }
    resource["entity"] = entities.into();
    resource
}

/// Whether an event has all that its pattern asks for. A shape with several patients is none of
/// BALP's, which has an event for each.
fn is_one_of_balp(event: &Event, patients: &[&str], entities: &[Value]) -> bool {
    let is_object = |entity: &&Value| {
        entity["type"]["system"] == ENTITY_TYPE && entity["type"]["code"] == SYSTEM_OBJECT
    };
    event.outcome == Outcome::Done
        && Pattern::of(&event.act).is_done(&event.act)
        && patients.len() <= 1
        && entities.iter().filter(is_object).count() == 1
}

fn subtypes(act: &Act) -> Value {
    let rest = "http://hl7.org/fhir/restful-interaction";
    let code = act.kind.code();
    match code {
        // A compartment is searched for resources of one type, or of all.
        "search-compartment" => {
            let code = if act.name.is_some() { "search-type" } else { "search-system" };
            json!([{ "system": rest, "code": code, "display": code }])
        }
        "conditional-update" => json!([{ "system": rest, "code": "update" }]),
        "conditional-patch" => json!([{ "system": rest, "code": "patch" }]),
        "conditional-delete" => json!([{ "system": rest, "code": "delete" }]),
        "batch-or-transaction" => json!([{ "system": rest, "code": "transaction" }]),
        "not-admitted" | "purge" | "packages" | "quarantine" => {
            json!([{ "system": "urn:hearthgate:audit", "code": code }])
        }
        code => json!([{ "system": rest, "code": code, "display": code }]),
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "0",
        Outcome::Denied | Outcome::NotFound | Outcome::Refused => "4",
        Outcome::Failed => "8",
    }
}

fn described(event: &Event) -> String {
    let what = match event.outcome {
        Outcome::Done => "done",
        Outcome::Denied => "denied",
        Outcome::NotFound if event.restricted => {
            "not found by this caller, who sees a part of the data alone"
        }
        Outcome::NotFound => "not found",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
    };
    format!("{what} (HTTP {})", event.act.status)
}

fn agents(event: &Event, pattern: Pattern, base: &str) -> Value {
    let [client, server] = pattern.roles().map(|(system, code, display)| {
        json!({ "coding": [{ "system": system, "code": code, "display": display }] })
    });
    let who = event.client.as_deref().unwrap_or("nobody known");
    let mut app = json!({
        "type": client,
        "who": { "identifier": { "value": who }, "display": who },
        "requestor": event.user.is_none() && event.fhir_user.is_none(),
    });
    if pattern != Pattern::Other {
        // Where the client is the gateway knows, which passes on no address.
        let absent = json!([{ "url": ABSENT, "valueCode": "unknown" }]);
        app["network"] = json!({ "_address": { "extension": absent } });
    }
    if let Some(role) = &event.role {
        app["role"] = json!([{ "text": role }]);
    }
    let is_of_user = event.user.is_some() || event.fhir_user.is_some();
    let policy =
        event.break_glass.as_ref().map(|id| json!([format!("urn:hearthgate:break-glass:{id}")]));
    if let Some(policy) = policy.clone().filter(|_| !is_of_user) {
        app["policy"] = policy;
    }
    let mut agents = vec![
        app,
        json!({
            "type": server,
            "who": { "display": base },
            "requestor": false,
            "network": { "address": base, "type": "5" },
        }),
    ];
    if is_of_user {
        let reads = matches!(pattern, Pattern::Read | Pattern::Query | Pattern::Other);
        let code = if reads { "IRCP" } else { "AUT" };
        let mut who = json!({});
        if let Some(user) = &event.fhir_user {
            who["reference"] = json!(user);
        }
        if let Some(user) = &event.user {
            who["identifier"] = json!({ "value": user });
            who["display"] = json!(user);
        }
        let mut agent = json!({
            "type": { "coding": [{ "system": PARTICIPATION, "code": code }] },
            "who": who,
            "requestor": true,
        });
        if let Some(purpose) = &event.purpose {
            agent["purposeOfUse"] = json!([{ "coding": [{ "system": REASON, "code": purpose }] }]);
        }
        if let Some(policy) = policy {
            agent["policy"] = policy;
        }
        agents.push(agent);
    }
    agents.into()
}

fn entities(event: &Event, pattern: Pattern, patients: &[&str]) -> Vec<Value> {
    let coded = |system: &str, code: &str| json!({ "system": system, "code": code });
    // Of a query the query is the one object of the system, and else what criteria led to.
    let (object, asked) = match pattern {
        Pattern::Query => (OTHER, SYSTEM_OBJECT),
        Pattern::Create | Pattern::Update | Pattern::Delete => (SYSTEM_OBJECT, OTHER),
        Pattern::Read | Pattern::Other => (SYSTEM_OBJECT, SYSTEM_OBJECT),
    };
    let data = |of: &str, id: &str, version: Option<u64>| {
        let version = version.map(|version| format!("/_history/{version}")).unwrap_or_default();
        json!({
            "what": { "reference": format!("{of}/{id}{version}") },
            "type": coded(ENTITY_TYPE, object),
            "role": coded(ROLE, "4"),
        })
    };
    let mut entities = Vec::new();
    for patient in patients {
        entities.push(json!({
            "what": { "reference": format!("Patient/{patient}") },
            "type": coded(ENTITY_TYPE, PERSON),
            "role": coded(ROLE, "1"),
        }));
    }
    let act = &event.act;
    if let (Some(of), Some(id)) = (&act.resource_type, &act.id) {
        entities.push(data(of, id, act.version));
    }
    if pattern == Pattern::Query || event.query.is_some() {
        let of = act.resource_type.as_deref().unwrap_or_default();
        let of = match (&act.id, &act.name) {
            // The id of what criteria found is not what was asked for.
            (Some(id), Some(name)) if pattern == Pattern::Query => format!("{of}/{id}/{name}"),
            (Some(id), None) if pattern == Pattern::Query => format!("{of}/{id}/*"),
            _ => of.to_owned(),
        };
        let query = format!("{of}?{}", event.query.as_deref().unwrap_or_default());
        entities.push(json!({
            "type": coded(ENTITY_TYPE, asked),
            "role": coded(ROLE, "24"),
            "description": query,
            "query": STANDARD.encode(&query),
        }));
    }
    for entry in &event.entries {
        let (of, id) = (entry.resource_type.as_deref(), entry.id.as_deref());
        let mut entity = match (of, id) {
            (Some(of), Some(id)) => data(of, id, entry.version),
            _ => json!({ "type": coded(ENTITY_TYPE, object), "role": coded(ROLE, "4") }),
        };
        let what = of.filter(|_| id.is_none()).map(|of| format!(" {of}")).unwrap_or_default();
        entity["description"] = json!(format!("{}{what} ({})", entry.kind.code(), entry.status));
        entities.push(entity);
    }
    let shown = event.shown.iter();
    entities.extend(shown.map(|of| data(&of.resource_type, &of.id, Some(of.version))));
    if let Some(name) = act.name.as_deref().filter(|_| pattern != Pattern::Query) {
        entities.push(json!({
            "type": coded(ENTITY_TYPE, OTHER),
            "name": name,
        }));
    }
    if !event.request_id.is_empty() {
        entities.push(json!({
            "what": { "identifier": { "value": event.request_id } },
            "type": {
                "system": "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType",
                "code": "XrequestId",
            },
        }));
    }
    entities
}

#[cfg(test)]
mod tests {
    use database::audit::Kind;

    use super::*;

    struct Still;

    impl contract::Clock for Still {
        fn now(&self) -> contract::Instant {
            contract::Instant::from_micros(0)
        }

        fn monotonic(&self) -> std::time::Duration {
            std::time::Duration::ZERO
        }
    }

    #[test]
    fn whoever_asks_names_the_break_glass_that_it_was_for() {
        let act = Act {
            kind: Kind::of("read").unwrap(),
            name: None,
            resource_type: Some("Patient".into()),
            id: Some("a".into()),
            version: None,
            status: 200,
        };
        let event = Event {
            client: Some("ward".into()),
            break_glass: Some("bg-1".into()),
            ..super::super::event_of(act, &Still)
        };
        for user in [None, Some("anna".into())] {
            let told = to_resource((0, &Event { user, ..event.clone() }), None, ("base", "clinic"));
            let agents = told["agent"].as_array().unwrap();
            for agent in agents {
                let names_it = agent["policy"][0] == "urn:hearthgate:break-glass:bg-1";
                assert_eq!(names_it, agent["requestor"] == true, "{agent}");
            }
        }
    }

    #[test]
    fn what_wrote_nothing_claims_no_pattern() {
        let profile = |kind: &str, status| {
            let act = Act {
                kind: Kind::of(kind).unwrap(),
                name: None,
                resource_type: Some("Basic".into()),
                id: Some("a".into()),
                version: None,
                status,
            };
            let event = super::super::event_of(act, &Still);
            let told = to_resource((0, &event), None, ("base", "clinic"));
            told["meta"]["profile"][0].as_str().map(|it| it.replace(BALP, ""))
        };
        for (kind, status, expected) in [
            ("create", 201, Some("Create")),
            ("create", 200, None),
            ("update", 200, Some("Update")),
            ("update", 201, Some("Update")),
            ("update", 202, None),
            ("delete", 204, Some("Delete")),
        ] {
            assert_eq!(profile(kind, status).as_deref(), expected, "{kind} {status}");
        }
    }
}
