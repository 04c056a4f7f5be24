//! Search parameters that a tenant defines by resources of its own.

use serde_json::{Value, json};

use crate::support::{Access, Answer, Fault, Site};

const URL: &str = "http://own.example/SearchParameter/own";

fn definition(code: &str, expression: &str) -> Value {
    json!({
        "resourceType": "SearchParameter", "id": code, "url": URL, "name": "Own",
        "status": "active", "description": "own", "code": code, "base": ["Patient"],
        "type": "token", "expression": expression,
    })
}

async fn put(site: &Site, id: &str, code: &str) {
    let patient = json!({
        "resourceType": "Patient", "id": id, "gender": "other",
        "maritalStatus": { "coding": [{ "code": code }] },
    });
    site.put(&format!("Patient/{id}"), patient).await.is(201);
}

async fn strict(site: &Site, query: &str) -> Answer {
    site.ask("GET", query).header("prefer", "handling=strict").send().await
}

/// Ids of the matches.
async fn found(site: &Site, query: &str) -> Vec<String> {
    let bundle = strict(site, query).await.is(200).json();
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    let matches = entries.iter().filter(|entry| entry["search"]["mode"] == "match");
    matches.map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

/// What the CapabilityStatement says of a parameter of patients.
async fn stated(site: &Site, code: &str) -> Option<Value> {
    let statement = site.get("metadata").await.is(200).json();
    let types = statement["rest"][0]["resource"].as_array().unwrap();
    let patient = types.iter().find(|it| it["type"] == "Patient").unwrap();
    let parameters = patient["searchParam"].as_array().unwrap();
    parameters.iter().find(|it| it["name"] == code).cloned()
}

#[tokio::test]
async fn a_posted_parameter_counts_from_its_answer_on_until_it_is_deleted() {
    // SRCH-237, SRCH-240
    let site = Site::on_disk().await;
    put(&site, "1", "M").await;
    put(&site, "2", "S").await;
    strict(&site, "Patient?own=M").await.is(400);
    site.put("SearchParameter/own", definition("own", "Patient.maritalStatus")).await.is(201);
    assert_eq!(found(&site, "Patient?own=M").await, ["1"]);
    assert_eq!(stated(&site, "own").await.unwrap()["definition"], URL);
    let other = Access::owner().in_tenant("other");
    let ask = site.ask("GET", "Patient?own=M").by(&other).header("prefer", "handling=strict");
    ask.send().await.is(400);
    put(&site, "3", "M").await;
    assert_eq!(found(&site, "Patient?own=M").await, ["1", "3"]);
    let site = site.restart().await;
    assert_eq!(found(&site, "Patient?own=M").await, ["1", "3"]);
    // Its code may be changed, and what it finds.
    site.put("SearchParameter/own", definition("own", "Patient.gender")).await.is(200);
    assert_eq!(found(&site, "Patient?own=other").await, ["1", "2", "3"]);
    assert_eq!(found(&site, "Patient?own=M").await, Vec::<String>::new());
    site.delete("SearchParameter/own").await.is(204);
    strict(&site, "Patient?own=other").await.is(400);
    assert_eq!(stated(&site, "own").await, None);
}

#[tokio::test]
async fn only_an_active_definition_counts() {
    // SRCH-238
    let site = Site::start().await;
    put(&site, "1", "M").await;
    let mut own = definition("own", "Patient.maritalStatus");
    for status in ["draft", "retired", "unknown"] {
        own["status"] = status.into();
        assert!(site.put("SearchParameter/own", &own).await.status < 300);
        strict(&site, "Patient?own=M").await.is(400);
    }
    own["status"] = "active".into();
    site.put("SearchParameter/own", &own).await.is(200);
    assert_eq!(found(&site, "Patient?own=M").await, ["1"]);
    own["status"] = "retired".into();
    site.put("SearchParameter/own", &own).await.is(200);
    strict(&site, "Patient?own=M").await.is(400);
    own["status"] = "active".into();
    site.put("SearchParameter?code=own", &own).await.is(200);
    assert_eq!(found(&site, "Patient?own=M").await, ["1"]);
    site.delete("SearchParameter?code=own").await.is(204);
    strict(&site, "Patient?own=M").await.is(400);
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_the_reason_and_not_written() {
    // SRCH-238, SRCH-239
    let site = Site::start().await;
    let check = async |definition: Value, code: &str, expression: &str, reason: &str| {
        let outcome = site.put("SearchParameter/own", definition).await.is(422).json();
        let issue = &outcome["issue"][0];
        assert_eq!((&issue["code"], &issue["expression"][0]), (&json!(code), &json!(expression)));
        let told = issue["diagnostics"].as_str().unwrap();
        assert!(told.contains(reason), "{told}");
        site.get("SearchParameter/own").await.is(404);
    };
    let of = |expression: &str| definition("own", expression);
    let at = "SearchParameter.expression";
    check(of("Patient.name.where("), "invalid", at, "cannot be used on Patient").await;
    check(of("Patient.nothing"), "invalid", at, "no element 'nothing'").await;
    let away = "Patient.descendants().select(%resource.descendants()).count().toString()";
    check(of(away), "invalid", at, "stopped after 100000 steps").await;
    let mut taken = of("Patient.maritalStatus");
    taken["code"] = "active".into();
    let core = "http://hl7.org/fhir/SearchParameter/Patient-active";
    check(taken, "duplicate", "SearchParameter.code", core).await;
    let mut without = of("Patient.gender");
    without.as_object_mut().unwrap().remove("expression");
    check(without, "invalid", at, "there is no expression").await;
    strict(&site, "Patient?own=M").await.is(400);
}

#[tokio::test]
async fn in_a_transaction_one_that_cannot_be_used_fails_all_and_is_named() {
    // SRCH-239
    let site = Site::start().await;
    put(&site, "1", "M").await;
    let bundle = |own: Value| {
        let put = |url: &str, resource: Value| json!({ "resource": resource, "request": { "method": "PUT", "url": url } });
        let patient = json!({ "resourceType": "Patient", "id": "new" });
        let entries = [put("Patient/new", patient), put("SearchParameter/own", own)];
        json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries })
    };
    let refused = site.post("", bundle(definition("own", "Patient.nothing"))).await.is(422);
    let expression = refused.json()["issue"][0]["expression"][0].as_str().unwrap().to_owned();
    assert!(expression.starts_with("Bundle.entry[1]"), "{expression}");
    site.get("Patient/new").await.is(404);
    site.post("", bundle(definition("own", "Patient.maritalStatus"))).await.is(200);
    assert_eq!(found(&site, "Patient?own=M").await, ["1"]);
    let mut batch = bundle(definition("own", "Patient.gender"));
    batch["type"] = "batch".into();
    site.post("", batch).await.is(200);
    assert_eq!(found(&site, "Patient?own=other").await, ["1"]);
}

#[tokio::test]
async fn of_many_at_once_that_want_one_code_one_is_written() {
    // SRCH-238
    let site = Site::start().await;
    let one = |id: usize| {
        let mut own = definition("own", "Patient.maritalStatus");
        own["id"] = format!("own-{id}").into();
        own["url"] = format!("{URL}-{id}").into();
        own
    };
    let puts = (0..8).map(|id| {
        let site = &site;
        async move { site.put(&format!("SearchParameter/own-{id}"), one(id)).await.status }
    });
    let mut answers = futures_util::future::join_all(puts).await;
    answers.sort_unstable();
    assert_eq!(answers, [201, 422, 422, 422, 422, 422, 422, 422]);
}

#[tokio::test]
async fn a_page_of_a_parameter_that_is_another_now_is_gone() {
    // SRCH-240
    let site = Site::start().await;
    for id in ["1", "2", "3"] {
        put(&site, id, "M").await;
    }
    site.put("SearchParameter/own", definition("own", "Patient.maritalStatus")).await.is(201);
    let first = strict(&site, "Patient?own=M&_count=1").await.is(200).json();
    let links = first["link"].as_array().unwrap();
    let next = links.iter().find(|link| link["relation"] == "next").unwrap();
    let next = next["url"].as_str().unwrap().split_once("/fhir/").unwrap().1;
    site.get(next).await.is(200);
    site.put("SearchParameter/own", definition("own", "Patient.gender")).await.is(200);
    let gone = site.get(next).await.is(410).json();
    assert_eq!(gone["issue"][0]["code"], "expired");
}

#[tokio::test]
async fn one_that_cannot_be_read_does_not_count_and_keeps_no_server_from_starting() {
    let site = Site::start().await;
    let mut lost = definition("lost", "Patient.gender");
    lost["url"] = "http://own.example/SearchParameter/lost".into();
    site.put("SearchParameter/lost", lost).await.is(201);
    site.put("SearchParameter/own", definition("own", "Patient.maritalStatus")).await.is(201);
    put(&site, "1", "M").await;
    assert_eq!(found(&site, "Patient?lost=other").await, ["1"]);
    site.fail(Fault::NotGivenAt(1));
    site.load().await.unwrap();
    site.fail(Fault::None);
    assert_eq!(found(&site, "Patient?own=M").await, ["1"]);
    strict(&site, "Patient?lost=other").await.is(400);
}

#[tokio::test]
async fn the_steps_of_all_of_a_types_own_parameters_together_are_bounded() {
    let site = Site::start().await;
    let own = |at: usize, base: &str, expression: &str| {
        let mut own = definition(&format!("own-{at}"), expression);
        own["url"] = format!("{URL}-{at}").into();
        own["base"] = json!([base]);
        own["type"] = "string".into();
        own
    };
    let put = async |at: usize, base: &str, expression: &str| {
        site.put(&format!("SearchParameter/own-{at}"), own(at, base, expression)).await
    };
    // Each of them may take 100,000 steps, and all together 2,000,000.
    const EVALUATED: &str = "Patient.name.select(family.substring(0, 1))";
    for at in 0..20 {
        put(at, "Patient", EVALUATED).await.is(201);
    }
    let refused = put(20, "Patient", EVALUATED).await.is(422).json();
    let issue = &refused["issue"][0];
    assert_eq!(issue["code"], "too-costly");
    assert_eq!(issue["expression"][0], "SearchParameter.expression");
    let told = issue["diagnostics"].as_str().unwrap();
    for part in ["2000000 steps", "of Patient may take 2000000", "this one 100000 more"] {
        assert!(told.contains(part), "{told}");
    }
    site.get("SearchParameter/own-20").await.is(404);
    // A path takes none, and other types have steps of their own.
    put(21, "Patient", "Patient.name.family").await.is(201);
    put(22, "Practitioner", "Practitioner.name.select(family.substring(0, 1))").await.is(201);
    // What counts already may be changed, and what goes makes room.
    put(3, "Patient", "Patient.name.given.select(substring(0, 1))").await.is(200);
    put(21, "Patient", EVALUATED).await.is(422);
    site.delete("SearchParameter/own-4").await.is(204);
    put(20, "Patient", EVALUATED).await.is(201);
    site.load().await.unwrap();
    strict(&site, "Patient?own-20=x").await.is(200);
}
