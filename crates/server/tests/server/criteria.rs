//! What criteria of conditional interactions may say, for whom, and what they tell.

use std::sync::Arc;

use serde_json::{Value, json};
use server::{Action, Depth, Policy, WritePolicy};
use tokio::task::JoinSet;

use crate::support::bundle::{creation, entry, observation, transaction, when};
use crate::support::{Access, Answer, Site, rule};

fn patient(id: &str, family: &str, organization: &str) -> Value {
    json!({
        "resourceType": "Patient",
        "id": id,
        "active": true,
        "name": [{ "family": family }],
        "birthDate": "1815-12-10",
        "identifier": [{ "system": "urn:mrn", "value": format!("MRN-{id}") }],
        "managingOrganization": { "reference": organization },
    })
}

async fn clinic() -> Site {
    let site = Site::on_disk().await;
    let organization = json!({ "resourceType": "Organization", "id": "o", "name": "North" });
    site.put("Organization/o", organization).await.is(201);
    site.put("Patient/ada", patient("ada", "Lovelace", "Organization/o")).await.is(201);
    let mut about = observation("Patient/ada");
    about["id"] = "b".into();
    about["code"] = json!({ "coding": [{ "system": "http://loinc.org", "code": "4548-4" }] });
    site.put("Observation/b", about).await.is(201);
    site
}

/// Criteria of many kinds, each of which Ada alone matches.
const OF_ADA: [&str; 7] = [
    "family=Lovelace&birthdate=1815-12-10",
    "organization.name=North",
    "_has:Observation:patient:code=http://loinc.org|4548-4",
    "identifier=urn:mrn|MRN-ada",
    // Case counts no more than in a search.
    "identifier=urn:mrn|mrn-ADA",
    "identifier=MRN-ada&active=true",
    "_id=ada",
];

async fn create(site: &Site, criteria: &str, access: &Access) -> Answer {
    let ask = site.ask("POST", "Patient").by(access).header("if-none-exist", criteria);
    ask.body(patient("x", "Lovelace", "Organization/o")).send().await
}

#[tokio::test]
async fn a_create_looks_by_any_criteria() {
    // HTTP-082
    let site = clinic().await;
    let position = site.position();
    for criteria in OF_ADA {
        let found = create(&site, criteria, &Access::owner()).await.is(200);
        assert_eq!(found.reference(), "Patient/ada", "{criteria}");
        let entry = creation("urn:uuid:1", patient("x", "Lovelace", "Organization/o"));
        let bundle = transaction([when(entry, "ifNoneExist", criteria)]);
        let found = site.post("", bundle).await.is(200);
        assert_eq!(found.entry_reference(0), "Patient/ada", "{criteria}");
    }
    assert_eq!(site.position(), position);
    create(&site, "family=Byron", &Access::owner()).await.is(201);
}

#[tokio::test]
async fn a_conditional_reference_is_resolved_by_any_criteria() {
    // HTTP-183
    let site = clinic().await;
    for criteria in OF_ADA {
        let reference = format!("Patient?{criteria}");
        let basic = json!({ "resourceType": "Basic", "subject": { "reference": reference } });
        let answer = site.post("", transaction([entry("POST", "Basic", basic)])).await.is(200);
        let written = site.get(&answer.entry_reference(0)).await.json();
        assert_eq!(written["subject"]["reference"], "Patient/ada", "{criteria}");
    }
    for (criteria, status) in
        [("family=Byron", 400), ("family=Lovelace&bogus=1", 400), ("_count=1", 400)]
    {
        let reference = format!("Patient?{criteria}");
        let bundle = transaction([entry("POST", "Observation", observation(&reference))]);
        let refused = site.post("", bundle).await.is(status);
        let at = ["Bundle.entry[0].resource.subject.reference"];
        assert_eq!(refused.expressions(), at, "{criteria}");
    }
}

#[tokio::test]
async fn a_conditional_reference_finds_what_its_transaction_writes() {
    // HTTP-184
    let site = clinic().await;
    let refer =
        |criteria: &str| entry("POST", "Observation", observation(&format!("Patient?{criteria}")));
    let subject = async |answer: &Answer| {
        let written = site.get(&answer.entry_reference(0)).await.json();
        written["subject"]["reference"].as_str().unwrap().to_owned()
    };
    let byron = creation("urn:uuid:1", patient("x", "Byron", "Organization/o"));
    let entries = [refer("family=Byron&birthdate=1815-12-10"), byron];
    let created = site.post("", transaction(entries)).await.is(200);
    assert_eq!(subject(&created).await, created.entry_reference(1));
    // One that was there and one that comes are two; what loses the name is none.
    let lovelace = || creation("urn:uuid:1", patient("x", "Lovelace", "Organization/o"));
    let of_lovelace = "family=Lovelace";
    site.post("", transaction([refer(of_lovelace), lovelace()])).await.is(412);
    let renamed = entry("PUT", "Patient/ada", patient("ada", "King", "Organization/o"));
    site.post("", transaction([refer(of_lovelace), renamed.clone()])).await.is(400);
    let replaced = site.post("", transaction([refer(of_lovelace), renamed, lovelace()])).await;
    assert_eq!(subject(&replaced.clone().is(200)).await, replaced.entry_reference(2));
    // What depends on others that are written at once cannot be told before they are.
    let north = json!({ "resourceType": "Organization", "name": "South" });
    let entries = [refer("organization.name=South"), creation("urn:uuid:o", north)];
    let refused = site.post("", transaction(entries)).await.is(400);
    assert_eq!(refused.expressions(), ["Bundle.entry[0].resource.subject.reference"]);
}

#[tokio::test]
async fn what_the_caller_may_not_see_is_no_match() {
    // HTTP-087, LEAK-13
    let site = clinic().await;
    let narrow = Access::of(vec![
        rule(&["Patient"], &["create", "read"], "all"),
        rule(&["Patient"], &["search"], "compartment(Patient/eve)"),
    ])
    .launched_for("eve");
    // Ada is there, and not for this caller: the same as if she was not.
    for criteria in ["family=Lovelace&birthdate=1815-12-10", "identifier=MRN-ada", "_id=ada"] {
        create(&site, criteria, &narrow).await.is(201);
    }
    let created = create(&site, "family=Nobody", &narrow).await.is(201);
    assert_eq!(created.header("etag"), Some("W/\"1\""));
}

#[tokio::test]
async fn criteria_by_what_the_caller_may_not_search_are_refused() {
    // LEAK-12
    let site = clinic().await;
    let position = site.position();
    let access = Access::of(vec![rule(&["Patient"], &["*"], "all")]);
    for (there, not_there) in [
        ("organization.name=North", "organization.name=South"),
        (
            "_has:Observation:patient:code=http://loinc.org|4548-4",
            "_has:Observation:patient:code=http://loinc.org|0",
        ),
        ("_list=1", "_list=2"),
    ] {
        let (one, none) =
            (create(&site, there, &access).await, create(&site, not_there, &access).await);
        assert_eq!((one.status, none.status), (403, 403), "{there}");
        assert_eq!(one.body, none.body);
        let target = format!("Patient?{there}");
        let body = patient("ada", "Lovelace", "Organization/o");
        site.ask("PUT", &target).by(&access).body(body).send().await.is(403);
        site.ask("DELETE", &target).by(&access).send().await.is(403);
    }
    assert_eq!(site.position(), position);
    create(&site, "family=Lovelace", &access).await.is(200);
}

#[tokio::test]
async fn several_matches_are_told_by_no_name() {
    let site = clinic().await;
    site.put("Patient/secret", patient("secret", "Lovelace", "Organization/o")).await.is(201);
    let refused = create(&site, "family=Lovelace", &Access::owner()).await.is(412);
    assert!(!refused.text().contains("secret"), "{}", refused.text());
    assert_eq!(refused.expressions(), ["http.If-None-Exist"]);
    let put = site.put("Patient?family=Lovelace", patient("ada", "Lovelace", "Organization/o"));
    assert!(!put.await.is(412).text().contains("secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_creates_at_once_by_each_kind_of_criteria_one_is_done() {
    // HTTP-086
    let site = Arc::new(clinic().await);
    let born = json!({
        "resourceType": "Patient",
        "name": [{ "family": "Byron" }],
        "birthDate": "1788-01-22",
        "gender": "male",
        "managingOrganization": { "reference": "Organization/p" },
    });
    let organization = json!({ "resourceType": "Organization", "id": "p", "name": "South" });
    site.put("Organization/p", organization).await.is(201);
    for criteria in ["family=Byron&birthdate=1788-01-22", "organization.name=South", "gender=male"]
    {
        let mut creates = JoinSet::new();
        for _ in 0..64 {
            let (site, born) = (Arc::clone(&site), born.clone());
            creates.spawn(async move {
                let ask = site.ask("POST", "Patient").header("if-none-exist", criteria);
                ask.body(born).send().await
            });
        }
        let answers = creates.join_all().await;
        let created: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
        let found = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!((created.len(), found), (1, 63), "{criteria}");
        site.delete(&created[0].reference()).await.is(204);
    }
}

/// A value set of some administrative genders.
async fn define_genders(site: &Site) {
    let genders = json!({
        "resourceType": "ValueSet", "id": "genders", "url": "http://x/ValueSet/genders",
        "status": "active",
        "compose": { "include": [{ "system": "http://hl7.org/fhir/administrative-gender",
            "concept": [{ "code": "male" }, { "code": "other" }] }] },
    });
    site.put("ValueSet/genders", genders).await.is(201);
}

/// Creates 64 patients at once, each by criteria of its own.
async fn of_64_at_once(site: &Arc<Site>, criteria: impl Fn(usize) -> String) -> Vec<u16> {
    let mut creates = JoinSet::new();
    for at in 0..64 {
        let (site, criteria) = (Arc::clone(site), criteria(at));
        creates.spawn(async move {
            let body = json!({ "resourceType": "Patient", "gender": "other", "identifier": [
                { "system": "urn:n", "value": at.to_string() }, { "value": "shared" },
            ] });
            let ask = site.ask("POST", "Patient").header("if-none-exist", criteria);
            ask.body(body).send().await.status
        });
    }
    let mut statuses = creates.join_all().await;
    statuses.sort_unstable();
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_creates_at_once_by_what_codes_mean_none_is_refused_for_the_others() {
    // HTTP-086
    let site = Arc::new(clinic().await);
    define_genders(&site).await;
    // Each has a match of its own to look for, and each looks at what the others write.
    let in_set = "gender:in=http://x/ValueSet/genders";
    let own = of_64_at_once(&site, |at| format!("{in_set}&identifier=urn:n|{at}")).await;
    assert_eq!(own, [201; 64]);
    // All look for the same, in letters that differ by case alone from what they write.
    let site = Arc::new(clinic().await);
    let statuses = of_64_at_once(&site, |_| "identifier=sharEd".to_owned()).await;
    assert_eq!((statuses[62], statuses[63]), (200, 201), "{statuses:?}");
}

#[tokio::test]
async fn an_identifier_is_what_the_tenants_own_parameter_says() {
    // SRCH-238
    let site = clinic().await;
    let mut eve = patient("eve", "Lovelace", "Organization/o");
    eve["identifier"] = json!([{ "use": "official", "system": "urn:mrn", "value": "47" }]);
    site.put("Patient/eve", eve).await.is(201);
    let mut own = json!({
        "resourceType": "SearchParameter", "id": "own", "name": "Own", "status": "active",
        "url": "http://own.example/SearchParameter/old", "description": "own",
        "code": "identifier", "base": ["Patient"], "type": "token",
        "expression": "Patient.identifier.where(use = 'old')",
        "derivedFrom": "http://hl7.org/fhir/SearchParameter/Patient-identifier",
    });
    let position = site.position();
    let found = create(&site, "identifier=urn:mrn|47", &Access::owner()).await.is(200);
    assert_eq!((found.reference().as_str(), site.position()), ("Patient/eve", position));
    site.put("SearchParameter/own", &own).await.is(201);
    create(&site, "identifier=urn:mrn|47", &Access::owner()).await.is(201);
    own["expression"] = "Patient.identifier.where(use = 'official')".into();
    site.put("SearchParameter/own", &own).await.is(200);
    create(&site, "identifier=urn:mrn|47", &Access::owner()).await.is(200);
}

#[tokio::test]
async fn criteria_look_at_no_more_rows_than_their_caller_may_read() {
    // SRCH-250
    let site = clinic().await;
    let position = site.position();
    let ada = patient("ada", "Lovelace", "Organization/o");
    let of_ada = ["family:contains=lovel", "_content=Lovelace", "identifier=|7"];
    for criteria in of_ada {
        let none = Access::owner().reading(0);
        let refused = create(&site, criteria, &none).await.is(400);
        assert_eq!(refused.code(), "too-costly", "{criteria}");
        assert_eq!(refused.expressions(), ["http.If-None-Exist"], "{criteria}");
        let target = format!("Patient?{criteria}");
        for (method, body) in [("PUT", Some(&ada)), ("DELETE", None)] {
            let ask = site.ask(method, &target).by(&none);
            let ask = if let Some(body) = body { ask.body(body) } else { ask };
            assert_eq!(ask.send().await.is(400).code(), "too-costly", "{method} {target}");
        }
        let patch = r#"[{"op":"add","path":"/gender","value":"female"}]"#;
        let ask = site.ask("PATCH", &target).by(&none);
        let patched = ask.bytes("application/json-patch+json", patch.to_owned()).send().await;
        assert_eq!(patched.is(400).code(), "too-costly", "{target}");
        let basic = json!({ "resourceType": "Basic", "subject": { "reference": target } });
        let bundle = transaction([entry("POST", "Basic", basic)]);
        let refused = site.ask("POST", "").by(&none).body(bundle).send().await.is(400);
        assert_eq!(refused.code(), "too-costly", "{target}");
    }
    // The entries of a Bundle look from one budget.
    let creation = |at: usize| {
        let entry = creation(&format!("urn:uuid:{at}"), patient("x", "Byron", "Organization/o"));
        when(entry, "ifNoneExist", &format!("_content=word{at}"))
    };
    let send = async |budget| {
        let by = Access::owner().reading(budget);
        let bundle = transaction((0..4).map(creation));
        site.ask("POST", "").by(&by).body(bundle).send().await
    };
    let refused = send(3).await.is(400);
    assert_eq!((refused.code().as_str(), site.position()), ("too-costly", position));
    assert_eq!(refused.expressions(), ["Bundle.entry[3].request.ifNoneExist"]);
    let created = send(4).await.is(200);
    let cost = created.header(contract::header::COST).and_then(contract::Cost::from_header);
    assert_eq!((cost.unwrap().rows, site.position()), (4, position + 1));
}

#[tokio::test]
async fn what_is_invalid_is_of_no_concern_where_it_is_there() {
    // HTTP-082
    let default = Policy { depth: Depth::Base, action: Action::Quarantine };
    let policies =
        [(WritePolicy { default, ..WritePolicy::default() }, 202), (WritePolicy::default(), 422)];
    for (policy, without_match) in policies {
        let site = Site::asking(policy).await;
        let ada = json!({ "resourceType": "Patient", "id": "ada", "name": [{ "family": "A" }] });
        site.put("Patient/ada", &ada).await.is(201);
        let position = site.position();
        let invalid = json!({ "resourceType": "Patient", "colour": "red" });
        let send = async |criteria: &str| {
            let ask = site.ask("POST", "Patient").header("if-none-exist", criteria);
            ask.body(&invalid).send().await
        };
        assert_eq!(send("family=A").await.is(200).reference(), "Patient/ada");
        assert_eq!(site.position(), position);
        send("family=B").await.is(without_match);
        // An update by criteria is set apart as the create that it is without a match.
        site.put("Patient?family=B", &invalid).await.is(without_match);
        site.put("Patient?family=A", &invalid).await.is(without_match);
    }
}
