//! The operations of the terminology service over the socket.

use serde_json::{Value, json};

use crate::support::{Access, Site, rule};

const GENDER: &str = "http://hl7.org/fhir/administrative-gender";
const GENDERS: &str = "http://hl7.org/fhir/ValueSet/administrative-gender";

/// The value of a parameter of an answer.
fn value(answer: &Value, name: &str) -> Value {
    let list = answer["parameter"].as_array().expect("Parameters");
    let parameter = list.iter().find(|it| it["name"] == name);
    let fields = parameter.and_then(Value::as_object).into_iter().flatten();
    let mut values = fields.filter(|(name, _)| name.starts_with("value"));
    values.next().map_or(Value::Null, |(_, value)| value.clone())
}

fn colours(code: &str) -> String {
    json!({
        "resourceType": "CodeSystem", "id": "colours", "url": "http://x/colours",
        "valueSet": "http://x/vs", "status": "active", "content": "complete",
        "concept": [{ "code": code, "display": code.to_uppercase() }],
    })
    .to_string()
}

#[tokio::test]
async fn a_code_is_validated_the_same_by_get_and_by_post() {
    // TERM-001, TERM-080, TERM-084
    let site = Site::start().await;
    let query = format!("ValueSet/$validate-code?url={GENDERS}&system={GENDER}&code=female");
    let got = site.get(&query).await.is(200).json();
    assert_eq!(value(&got, "result"), true);
    assert_eq!(value(&got, "display"), "Female");
    let parameters = json!({ "resourceType": "Parameters", "parameter": [
        { "name": "url", "valueUri": GENDERS },
        { "name": "system", "valueUri": GENDER },
        { "name": "code", "valueCode": "female" },
    ]});
    let posted = site.ask("POST", "ValueSet/$validate-code").body(&parameters).send().await;
    assert_eq!(posted.is(200).json(), got);
    let query = format!("CodeSystem/$validate-code?url={GENDER}&code=none");
    let got = site.get(&query).await.is(200).json();
    assert_eq!(value(&got, "result"), false);
}

#[tokio::test]
async fn what_is_written_counts_at_once_and_what_is_deleted_no_more() {
    // TERM-012, TERM-024, TERM-060
    let site = Site::start().await;
    let ask = "CodeSystem/$lookup?system=http://x/colours&code=";
    site.get(&format!("{ask}red")).await.is(404);
    site.ask("PUT", "CodeSystem/colours").body(colours("red")).send().await.is(201);
    let found = site.get(&format!("{ask}red")).await.is(200).json();
    assert_eq!(value(&found, "display"), "RED");
    let expanded = site.get("ValueSet/$expand?url=http://x/vs").await.is(200).json();
    assert_eq!(expanded["expansion"]["contains"][0]["code"], "red");
    site.ask("PUT", "CodeSystem/colours").body(colours("blue")).send().await.is(200);
    site.get(&format!("{ask}red")).await.is(404);
    let expanded = site.get("ValueSet/$expand?url=http://x/vs").await.is(200).json();
    assert_eq!(expanded["expansion"]["contains"][0]["code"], "blue");
    let own = "CodeSystem/colours/$validate-code?code=blue";
    assert_eq!(value(&site.get(own).await.is(200).json(), "result"), true);
    site.ask("DELETE", "CodeSystem/colours").send().await;
    site.get(&format!("{ask}blue")).await.is(404);
    site.get(own).await.is(410);
}

#[tokio::test]
async fn definitions_are_their_tenants_alone_and_those_who_may_read_them() {
    let site = Site::start().await;
    site.ask("PUT", "CodeSystem/colours").body(colours("red")).send().await.is(201);
    let ask = "CodeSystem/$lookup?system=http://x/colours&code=red";
    let other = Access::owner().in_tenant("other");
    site.ask("GET", ask).by(&other).send().await.is(404);
    let blind = Access::of(vec![rule(&["CodeSystem"], &["operation:$lookup"], "all")]);
    site.ask("GET", ask).by(&blind).send().await.is(404);
    let built_in = format!("CodeSystem/$lookup?system={GENDER}&code=male");
    site.ask("GET", &built_in).by(&blind).send().await.is(200);
    let sees = Access::of(vec![rule(&["CodeSystem"], &["operation:$lookup", "read"], "all")]);
    site.ask("GET", ask).by(&sees).send().await.is(200);
    let denied = "CodeSystem/$validate-code?url=http://x/colours&code=red";
    site.ask("GET", denied).by(&sees).send().await.is(403);
}

#[tokio::test]
async fn questions_without_an_answer_say_why() {
    // TERM-003, TERM-002, TERM-065, TERM-097, TERM-040
    let site = Site::start().await;
    let check = async |target: &str, status: u16, code: &str| {
        let answer = site.get(target).await.is(status);
        assert_eq!(answer.code(), code, "{target}: {}", answer.text());
        answer.expressions()
    };
    check("ValueSet/$expand?url=http://nowhere", 404, "not-found").await;
    check("ValueSet/$expand?url=http://hl7.org/fhir/ValueSet/all-languages", 422, "too-costly")
        .await;
    check(&format!("CodeSystem/$lookup?system={GENDER}&code=none"), 404, "not-found").await;
    let versions = format!("ValueSet/$expand?url={GENDERS}|1&valueSetVersion=2");
    assert_eq!(check(&versions, 400, "invalid").await, ["http.valueSetVersion"]);
    let unknown = format!("ValueSet/$expand?url={GENDERS}&colour=red");
    assert_eq!(check(&unknown, 400, "not-supported").await, ["http.colour"]);
    assert_eq!(check("ValueSet/$expand", 400, "required").await, ["http.url"]);
    let count = format!("ValueSet/$expand?url={GENDERS}&count=many");
    assert_eq!(check(&count, 400, "value").await, ["http.count"]);
    check("ValueSet/$explode", 501, "not-supported").await;
    check("CodeSystem/$subsumes?system=http://snomed.info/sct&codeA=1&codeB=2", 404, "not-found")
        .await;
}

#[tokio::test]
async fn codes_are_translated_and_compared() {
    // TERM-099, TERM-105, TERM-109
    let site = Site::start().await;
    let translate = format!(
        "ConceptMap/$translate?system={GENDER}&code=male&targetsystem=http://terminology.hl7.org/CodeSystem/v3-AdministrativeGender"
    );
    let answer = site.get(&translate).await.is(200).json();
    assert_eq!(value(&answer, "result"), true, "{answer}");
    let subsumes = "CodeSystem/$subsumes?system=http://terminology.hl7.org/CodeSystem/v3-ActCode&codeA=_ActAccountCode&codeB=AE";
    let answer = site.get(subsumes).await.is(200).json();
    assert_eq!(value(&answer, "outcome"), "subsumes");
}

#[tokio::test]
async fn an_operation_on_an_instance_is_about_that_one_whatever_the_client_has_of_it() {
    // TERM-084, TERM-100
    let site = Site::start().await;
    site.ask("PUT", "CodeSystem/colours").body(colours("red")).send().await.is(201);
    let ask = "CodeSystem/colours/$validate-code?code=red";
    let answer = site.ask("GET", ask).header("if-none-match", "W/\"1\"").send().await.is(200);
    assert_eq!(value(&answer.json(), "result"), true);
    let same = site.get(&format!("{ask}&url=http://x/colours")).await.is(200);
    assert_eq!(value(&same.json(), "result"), true);
    let other = site.get(&format!("{ask}&url=http://other")).await.is(400);
    assert_eq!(
        (other.code(), other.expressions()),
        ("invalid".into(), vec!["http.url".to_owned()])
    );
}

#[tokio::test]
async fn parameters_count_in_the_url_beside_a_body_and_in_the_entries_of_a_bundle() {
    // TERM-001, TERM-080, TERM-089
    let site = Site::start().await;
    let parameters = |code: &str| {
        json!({ "resourceType": "Parameters", "parameter": [
            { "name": "coding", "valueCoding": { "system": GENDER, "code": code } },
        ]})
    };
    let target = format!("ValueSet/$validate-code?url={GENDERS}");
    for (code, expected) in [("male", true), ("none", false)] {
        let answer = site.ask("POST", &target).body(parameters(code)).send().await.is(200);
        assert_eq!(value(&answer.json(), "result"), expected);
        for kind in ["batch", "transaction"] {
            let entry = json!({
                "resource": parameters(code), "request": { "method": "POST", "url": target },
            });
            let bundle = json!({ "resourceType": "Bundle", "type": kind, "entry": [entry] });
            let answer = site.ask("POST", "").body(&bundle).send().await.is(200).json();
            assert_eq!(value(&answer["entry"][0]["resource"], "result"), expected, "{answer}");
        }
    }
    let twice = format!("{target}&coding={GENDER}|male");
    let refused = site.ask("POST", &twice).body(parameters("male")).send().await.is(400);
    assert_eq!(refused.expressions(), ["http.coding"]);
}

#[tokio::test]
async fn an_expansion_of_many_levels_is_there_in_xml() {
    // XML-034, TERM-064
    let site = Site::start().await;
    let concepts: Vec<Value> = (0..50)
        .map(|n| match n {
            0 => json!({ "code": "c0" }),
            n => json!({
                "code": format!("c{n}"),
                "designation": [{ "use": { "system": "http://u", "code": "u" }, "value": "n" }],
                "property": [{ "code": "parent", "valueCode": format!("c{}", n - 1) }],
            }),
        })
        .collect();
    let chain = json!({
        "resourceType": "CodeSystem", "id": "chain", "url": "http://x/chain",
        "valueSet": "http://x/vs/chain", "status": "active", "content": "complete",
        "concept": concepts,
    });
    site.ask("PUT", "CodeSystem/chain").body(&chain).send().await.is(201);
    let ask = "ValueSet/$expand?url=http://x/vs/chain&excludeNested=false&includeDesignations=true";
    let xml = site.ask("GET", ask).header("accept", "application/fhir+xml").send().await.is(200);
    assert!(xml.body.starts_with(b"<?xml"), "{}", xml.text());
    assert_eq!(xml.text().matches("<code value=\"c").count(), 50);
    let (mut depth, mut expansion) = (0, &xml.json()["expansion"]);
    while let Some(first) = expansion["contains"].get(0) {
        (depth, expansion) = (depth + 1, first);
    }
    assert_eq!(depth, 50);
}

#[tokio::test]
async fn displays_are_in_the_language_that_is_accepted() {
    // TERM-009, TERM-007
    let site = Site::start().await;
    let colours = json!({
        "resourceType": "CodeSystem", "id": "colours", "url": "http://x/colours", "language": "en",
        "valueSet": "http://x/vs", "status": "active", "content": "complete",
        "concept": [{ "code": "red", "display": "Red", "designation": [
            { "language": "de", "value": "Rot" },
        ] }],
    });
    let french = json!({
        "resourceType": "CodeSystem", "id": "fr", "url": "http://x/fr", "language": "fr",
        "status": "active", "content": "supplement", "supplements": "http://x/colours",
        "concept": [{ "code": "red", "display": "Rouge" }],
    });
    site.put("CodeSystem/colours", colours).await.is(201);
    site.put("CodeSystem/fr", french).await.is(201);
    let expand = "ValueSet/$expand?url=http://x/vs";
    let shown = async |query: &str, accepted: &str| {
        let ask = site.ask("GET", query).header("accept-language", accepted);
        let answer = ask.send().await.is(200);
        assert!(answer.header("vary").unwrap().contains("Accept-Language"));
        answer.json()["expansion"]["contains"][0]["display"].as_str().unwrap().to_owned()
    };
    assert_eq!(shown(expand, "de-CH, en;q=0.5").await, "Rot");
    assert_eq!(shown(expand, "fr, en;q=0.5").await, "Red");
    assert_eq!(shown(&format!("{expand}&useSupplement=http://x/fr"), "fr").await, "Rouge");
    assert_eq!(shown(&format!("{expand}&displayLanguage=en"), "de").await, "Red");
    site.get(&format!("{expand}&useSupplement=http://x/none")).await.is(404);
    let bundle =
        crate::support::bundle::batch([crate::support::bundle::entry("GET", expand, Value::Null)]);
    let ask = site.ask("POST", "").header("accept-language", "de").body(bundle);
    let answer = ask.send().await.is(200).json();
    let contains = &answer["entry"][0]["resource"]["expansion"]["contains"];
    assert_eq!(contains[0]["display"], "Rot");
}

#[tokio::test]
async fn an_element_names_its_value_set() {
    // TERM-060
    let site = Site::start().await;
    let context = "http://hl7.org/fhir/StructureDefinition/Patient%23Patient.gender";
    let answer = site.get(&format!("ValueSet/$expand?context={context}")).await.is(200).json();
    assert_eq!((&answer["url"], &answer["expansion"]["total"]), (&GENDERS.into(), &4.into()));
    let none = site.get("ValueSet/$expand?context=http://x").await.is(400);
    assert_eq!(none.expressions(), ["http.context"]);
}
