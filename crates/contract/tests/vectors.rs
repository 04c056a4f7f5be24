//! The golden vectors, as any other implementation would run them.

use std::collections::BTreeMap;
use std::path::Path;

use contract::{
    Cost, Decision, EXISTENCE, Grant, GrantFields, Instant, Interaction, Level, Nonce, NotFhir,
    Renewal, RenewalAnswer, ResourceType, Types, decide, digest, header, may_choose_ids,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn vectors<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    let text = std::fs::read_to_string(path).expect("the vectors are beside the tests");
    serde_json::from_str(&text).expect("the vectors have the form the test reads")
}

#[derive(Deserialize)]
struct Request {
    method: String,
    path: String,
    query: Option<String>,
    digest: Option<String>,
    #[serde(flatten)]
    expected: BTreeMap<String, Value>,
}

#[test]
fn digests_are_as_the_vectors_say_and_no_two_requests_share_one() {
    let requests: Vec<Request> = vectors("digests.json");
    let mut seen = std::collections::BTreeSet::new();
    for request in requests {
        let digest = digest(&request.method, &request.path, request.query.as_deref()).to_header();
        assert_eq!(Some(&digest), request.digest.as_ref(), "{}", request.path);
        assert!(seen.insert(digest), "{}", request.path);
    }
}

/// What `classify` answered, in the words of the vectors.
fn described(answer: Result<Interaction, NotFhir>) -> BTreeMap<String, Value> {
    let mut words = BTreeMap::new();
    let mut say = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.insert(name.to_owned(), Value::from(value));
        }
    };
    match answer {
        Ok(interaction) => {
            say("code", Some(interaction.code().to_owned()));
            say("type", interaction.resource_type().map(ToString::to_string));
            say("id", interaction.id().map(ToString::to_string));
            say("version", interaction.version().map(str::to_owned));
            if let Interaction::SearchCompartment(of, _) = &interaction {
                say("compartment", Some(of.to_string()));
            }
            if let Interaction::Operation(name, level) = &interaction {
                say("operation", Some(name.as_str().to_owned()));
                assert_eq!(*level == Level::System, interaction.resource_type().is_none());
            }
        }
        Err(error) => {
            if let NotFhir::MethodNotAllowed { allowed } = &error {
                say("allow", Some(allowed.join(", ")));
            }
            words.insert("status".to_owned(), error.status().into());
        }
    }
    words
}

/// Checks what becomes of each request of the vectors that is none of FHIR's, or of each that is.
fn check_classified(are_refused: bool) {
    let requests: Vec<Request> = vectors("classify.json");
    let of_these = |request: &Request| request.expected.contains_key("status") == are_refused;
    let requests: Vec<Request> = requests.into_iter().filter(of_these).collect();
    assert!(!requests.is_empty());
    for request in requests {
        let query = request.query.as_deref();
        let answer = described(Interaction::classify(&request.method, &request.path, query));
        let shown = format!("{} {:?} {query:?}", request.method, request.path);
        assert_eq!(answer, request.expected, "{shown}");
    }
}

// HTTP-001 HTTP-027 HTTP-068 GW-024
#[test]
fn every_url_is_classified_as_the_vectors_say() {
    check_classified(false);
}

// HTTP-002 HTTP-004 HTTP-028 HTTP-080 HTTP-102
#[test]
fn every_url_that_is_no_interaction_is_refused_as_the_vectors_say() {
    check_classified(true);
}

#[derive(Deserialize)]
struct GrantVector {
    name: String,
    json: Option<String>,
    header: String,
    error: Option<String>,
    canonical: Option<bool>,
}

#[test]
fn grants_are_read_and_written_byte_for_byte() {
    let mut all: BTreeMap<String, Vec<GrantVector>> = vectors("grants.json");
    for vector in all.remove("accepted").unwrap() {
        let grant = Grant::decode(&vector.header).expect(&vector.name);
        let again = grant.encode().unwrap();
        let canonical = vector.canonical.unwrap_or(true);
        assert_eq!(again == vector.header, canonical, "{}", vector.name);
        assert_eq!(Grant::decode(&again).unwrap(), grant, "{}", vector.name);
        let json = vector.json.unwrap();
        let fields: GrantFields = serde_json::from_str(&json).unwrap();
        assert_eq!(Grant::new(fields).unwrap(), grant, "{}", vector.name);
    }
}

#[test]
fn grants_that_could_mean_more_than_was_meant_are_refused() {
    // LEAK-24
    let mut all: BTreeMap<String, Vec<GrantVector>> = vectors("grants.json");
    for vector in all.remove("refused").unwrap() {
        let error = Grant::decode(&vector.header).expect_err(&vector.name);
        let expected = vector.error.unwrap();
        let shown = format!("{error:?}");
        assert!(shown.starts_with(&expected), "{}: {shown}, not {expected}", vector.name);
        // What is judged when a grant is read is judged when it is made.
        let fields = vector.json.map(|json| serde_json::from_str::<GrantFields>(&json));
        if let (Some(Ok(fields)), true) = (fields, expected != "NotJson") {
            assert!(Grant::new(fields).is_err(), "{}", vector.name);
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DecisionVector {
    name: String,
    grant: Value,
    cases: Vec<DecisionCase>,
    may_choose_ids: BTreeMap<String, bool>,
}

#[derive(Deserialize)]
struct DecisionCase {
    request: String,
    decision: Value,
}

/// A grant of these members, and otherwise of no consequence.
fn grant_of(members: &Value) -> Grant {
    let mut whole = json!({
        "tenant": "default", "lane": "interactive", "budget": 1,
        "notAfter": "2026-01-02T03:04:05.678901Z", "interaction": "read",
        "digest": digest("GET", "/", None).to_header(), "nonce": "AAECAwQFBgcICQoLDA0ODw",
    });
    for (name, value) in members.as_object().expect("members") {
        whole[name] = value.clone();
    }
    Grant::new(serde_json::from_value(whole).expect("members")).expect("a grant")
}

fn in_words(decision: Decision) -> Value {
    let clause = |clause: &contract::Clause| {
        let mut words = json!({
            "types": Vec::<String>::from(clause.types.clone()),
            "within": clause.within.to_string(),
        });
        if let Some(filter) = &clause.filter {
            words["filter"] = filter.clone().into();
        }
        if !clause.without_labels.is_empty() {
            words["withoutLabels"] = clause.without_labels.clone().into();
        }
        words
    };
    match decision {
        Decision::Allow => "allow".into(),
        Decision::Deny(reason) => reason.code().into(),
        Decision::AllowWithin(restriction) => restriction.clauses.iter().map(clause).collect(),
    }
}

#[test]
fn decisions_are_as_the_vectors_say() {
    // LEAK-07 LEAK-12 LEAK-22 SMART-S6
    let all: Vec<DecisionVector> = vectors("decisions.json");
    for vector in all {
        let grant = grant_of(&vector.grant);
        for case in vector.cases {
            let (method, url) = case.request.split_once(' ').unwrap();
            let (path, query) = match url.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (url, None),
            };
            let interaction = Interaction::classify(method, path, query).unwrap();
            let decision = in_words(decide(&grant, &interaction));
            assert_eq!(decision, case.decision, "{}: {}", vector.name, case.request);
        }
        for (of, expected) in vector.may_choose_ids {
            let of = ResourceType::new(&of).unwrap();
            assert_eq!(may_choose_ids(&grant, &of), expected, "{}", vector.name);
        }
    }
}

#[test]
fn a_restriction_names_all_types_only_when_its_rule_does() {
    let grant = grant_of(&json!({"client": "a", "rules": [
        {"types": ["*"], "actions": ["search"], "within": "own"}]}));
    let Decision::AllowWithin(restriction) = decide(&grant, &Interaction::SearchSystem) else {
        panic!("a restriction");
    };
    assert_eq!(restriction.clauses[0].types, Types::All);
}

#[derive(Deserialize)]
struct Headers {
    stripped: Vec<String>,
    kept: Vec<String>,
    versions: Vec<VersionVector>,
    costs: Vec<CostVector>,
}

#[derive(Deserialize)]
struct VersionVector {
    header: String,
    spoken: Option<u32>,
}

#[derive(Deserialize)]
struct CostVector {
    header: String,
    rows: Option<u32>,
    micros: Option<u32>,
}

#[test]
fn headers_that_name_a_caller_or_another_request_are_stripped_in_any_spelling() {
    // GW-025
    let headers: Headers = vectors("headers.json");
    for name in headers.stripped {
        assert!(header::must_be_stripped(&name), "{name}");
    }
    for name in headers.kept {
        assert!(!header::must_be_stripped(&name), "{name}");
    }
    for name in [header::CONTRACT, header::CHANNEL, header::GRANT, header::NONCE, header::COST] {
        assert!(name.starts_with(header::PREFIX) && header::must_be_stripped(name));
    }
}

#[test]
fn versions_and_costs_have_one_form() {
    let headers: Headers = vectors("headers.json");
    for vector in headers.versions {
        let read = header::spoken_version(&vector.header);
        assert_eq!(read, vector.spoken, "{:?}", vector.header);
    }
    for vector in headers.costs {
        let cost = vector.rows.zip(vector.micros);
        let cost = cost.map(|(rows, micros)| Cost { rows, micros });
        assert_eq!(Cost::from_header(&vector.header), cost, "{}", vector.header);
        assert!(cost.is_none_or(|cost| cost.to_header() == vector.header));
    }
}

#[test]
fn the_existence_table_is_as_the_vectors_say() {
    // LEAK-26 LEAK-29
    let expected: Vec<Value> = vectors("existence.json");
    assert_eq!(expected.len(), EXISTENCE.len());
    for (expected, (situation, status, reveals)) in expected.iter().zip(EXISTENCE) {
        let row = json!({"situation": format!("{situation:?}"), "status": status,
            "reveals": format!("{reveals:?}")});
        assert_eq!(row, *expected);
        assert_eq!(situation.status(), status, "{situation:?}");
        assert_eq!(situation.reveals(), reveals, "{situation:?}");
    }
}

#[derive(Deserialize)]
struct RenewalVector {
    name: String,
    authorization: String,
    now: String,
    answer: String,
}

#[test]
fn a_renewed_grant_is_for_that_authorization_and_five_seconds() {
    let mut all: BTreeMap<String, Vec<RenewalVector>> = vectors("renewals.json");
    for (expected, vectors) in [
        ("accepted", all.remove("accepted").unwrap()),
        ("gone", all.remove("gone").unwrap()),
        ("refused", all.remove("refused").unwrap()),
    ] {
        for vector in vectors {
            let now: Instant = vector.now.parse().unwrap();
            let answer: RenewalAnswer = serde_json::from_str(&vector.answer).unwrap();
            assert_eq!(serde_json::to_string(&answer).unwrap(), vector.answer);
            let asked = Renewal { authorization: vector.authorization };
            let outcome = match asked.accept(&answer, now) {
                Ok(Some(_)) => "accepted",
                Ok(None) => "gone",
                Err(_) => "refused",
            };
            assert_eq!(outcome, expected, "{}", vector.name);
        }
    }
}

#[test]
fn a_nonce_matches_its_own_header_alone() {
    let nonce: Nonce = "AAECAwQFBgcICQoLDA0ODw".parse().unwrap();
    assert!(nonce.matches(&nonce.to_header()));
    for other in ["", "AAECAwQFBgcICQoLDA0ODg", "AAECAwQFBgcICQoLDA0ODw==", "AAEC"] {
        assert!(!nonce.matches(other), "{other}");
    }
}
