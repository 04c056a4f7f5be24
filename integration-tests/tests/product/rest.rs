//! FHIR's interactions with single resources, through the gateway.

use http::header::{IF_MATCH, IF_NONE_MATCH};
use integration_tests::document::Document;
use integration_tests::raw::exchange;
use integration_tests::site::{Deployment, Site};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Method;
use crate::client::sent;

for_every_deployment! {
    anyone_reads_what_the_server_can_do,
    a_resource_lives_from_create_to_delete_and_back,
    a_stale_if_match_is_412_and_changes_nothing,
    what_is_not_there_yet_says_so,
    numbers_keep_every_digit,
    head_answers_like_get_without_the_body,
    nonsense_is_refused_with_an_outcome,
}

async fn anyone_reads_what_the_server_can_do(deployment: Deployment) {
    let site = Site::start(deployment).await;
    let statement = site.anyone().get("/metadata").await.is(200).json();
    assert_eq!(statement["resourceType"], "CapabilityStatement");
    assert_eq!(statement["fhirVersion"], "4.0.1");
    assert_eq!(statement["implementation"]["url"], site.anyone().base());
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    let interactions = resources[0]["interaction"].as_array().unwrap();
    let codes: Vec<&str> = interactions.iter().map(|of| of["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"read") && codes.contains(&"search-type"), "{codes:?}");
    assert!(resources[0]["searchParam"].is_array());
}

async fn a_resource_lives_from_create_to_delete_and_back(deployment: Deployment) {
    // HTTP-056, HTTP-057, HTTP-064, HTTP-073, HTTP-094
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let created = owner.post("/Patient", r#"{"resourceType":"Patient","gender":"other"}"#).await;
    let created = created.is(201);
    assert_eq!(created.header("etag"), Some("W/\"1\""));
    let patient = created.created_at();
    let location = format!("{}/{patient}/_history/1", owner.base());
    assert_eq!(created.header("location"), Some(location.as_str()));
    let path = format!("/{patient}");
    let id = patient.strip_prefix("Patient/").unwrap();

    let first = owner.get(&path).await.is(200);
    assert_eq!(first.header("content-type"), Some("application/fhir+json"));
    assert_eq!(first.header("etag"), Some("W/\"1\""));
    assert_eq!(first.json()["id"], id);
    assert_eq!(first.json()["meta"]["versionId"], "1");
    let conditional = owner.request(Method::GET, &path).header(IF_NONE_MATCH, "W/\"1\"");
    assert!(sent(conditional).await.is(304).body.is_empty());

    let second = format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"female"}}"#);
    let updated = owner.put(&path, second.clone()).await.is(200);
    assert_eq!(updated.header("etag"), Some("W/\"2\""));
    assert_eq!(owner.get(&path).await.is(200).json()["gender"], "female");
    let version = |number: u32| format!("{path}/_history/{number}");
    assert_eq!(owner.get(&version(1)).await.is(200).body, first.body);
    assert_eq!(owner.get(&version(2)).await.is(200).json()["gender"], "female");

    assert!(matches!(owner.delete(&path).await.status, 200 | 204));
    owner.get(&path).await.is_outcome(410, "deleted");
    owner.get("/Patient/never").await.is_outcome(404, "not-found");
    assert_eq!(owner.get(&version(9)).await.status, 404);
    assert_eq!(owner.get(&version(3)).await.status, 410);
    assert_eq!(owner.get(&version(2)).await.status, 200);
    assert_eq!(owner.put(&path, second).await.is(201).header("etag"), Some("W/\"4\""));

    let history = owner.get(&format!("{path}/_history")).await.is(200).json();
    assert_eq!(history["type"], "history");
    assert_eq!(history["total"], 4);
    let entries = history["entry"].as_array().unwrap();
    let methods: Vec<&Value> = entries.iter().map(|entry| &entry["request"]["method"]).collect();
    assert_eq!(methods, ["PUT", "DELETE", "PUT", "POST"]);
    let resources: Vec<&Value> = entries.iter().map(|entry| &entry["resource"]["gender"]).collect();
    assert_eq!(resources, [&"female".into(), &Value::Null, &"female".into(), &"other".into()]);
}

async fn a_stale_if_match_is_412_and_changes_nothing(deployment: Deployment) {
    // HTTP-034, HTTP-093
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let body =
        |gender: &str| format!(r#"{{"resourceType":"Patient","id":"chosen","gender":"{gender}"}}"#);
    let created = owner.put("/Patient/chosen", body("male")).await.is(201);
    assert_eq!(created.created_at(), "Patient/chosen");
    let current = owner.with_body(Method::PUT, "/Patient/chosen", body("female"));
    assert_eq!(sent(current.header(IF_MATCH, "W/\"1\"")).await.status, 200);
    let stale = owner.with_body(Method::PUT, "/Patient/chosen", body("unknown"));
    assert_eq!(sent(stale.header(IF_MATCH, "W/\"1\"")).await.status, 412);
    let now = owner.get("/Patient/chosen").await.is(200);
    assert_eq!(now.json()["gender"], "female");
    assert_eq!(now.header("etag"), Some("W/\"2\""));
}

async fn what_is_not_there_yet_says_so(deployment: Deployment) {
    let site = Site::start(deployment).await;
    let owner = site.owner();
    owner.get("/Patient/1/$everything").await.is_outcome(501, "not-supported");
}

/// Numbers that a reader which makes floats of them would change.
const NUMBERS: [&str; 9] = [
    "1.0",
    "0.010",
    "1e3",
    "-0.0",
    "100",
    "1.50E-7",
    "123456789012345678901234567890",
    "0.1234567890123456789012345678901",
    "98765432109876543210.00",
];

async fn numbers_keep_every_digit(deployment: Deployment) {
    // HTTP-079
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let components: Vec<String> = NUMBERS
        .iter()
        .map(|number| format!(r#"{{"code":{{"text":"n"}},"valueQuantity":{{"value":{number}}}}}"#))
        .collect();
    let rest = format!(
        r#""status":"final","code":{{"text":"é \u00e9 𝛼"}},"component":[{}]}}"#,
        components.join(",")
    );
    let posted = format!(r#"{{"resourceType":"Observation",{rest}"#);
    let expected = Document::read(&posted);
    let check = |found: &str| {
        let found = Document::read(found).without_what_servers_set();
        assert_eq!(expected.differences(&found), [""; 0]);
    };

    let created = owner.with_body(Method::POST, "/Observation", posted.clone());
    let created = sent(created.header("prefer", "return=representation")).await.is(201);
    check(created.text());
    let path = format!("/{}", created.created_at());
    check(owner.get(&path).await.is(200).text());
    check(owner.get(&format!("{path}/_history/1")).await.is(200).text());
    let history = owner.get(&format!("{path}/_history")).await.is(200);
    for number in NUMBERS {
        assert!(history.text().contains(&format!("\"value\":{number}}}")), "{number}");
    }

    let updated = format!(r#"{{"resourceType":"Observation","id":"digits",{rest}"#);
    let _ = owner.put("/Observation/digits", updated).await.is(201);
    check(owner.get("/Observation/digits").await.is(200).text());
    let entry =
        format!(r#"{{"resource":{posted},"request":{{"method":"POST","url":"Observation"}}}}"#);
    let answer = owner.post("", integration_tests::bundle::transaction(&[entry])).await.is(200);
    let location = answer.json()["entry"][0]["response"]["location"].as_str().unwrap().to_owned();
    let path = format!("/{}", integration_tests::client::instance(&location));
    check(owner.get(&path).await.is(200).text());
}

async fn head_answers_like_get_without_the_body(deployment: Deployment) {
    // HTTP-067
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let _ = owner.put("/Patient/head", r#"{"resourceType":"Patient","id":"head"}"#).await.is(201);
    for (path, status) in [
        ("/Patient/head", 200),
        ("/Patient/head/_history/1", 200),
        ("/Patient/head/_history", 200),
        ("/metadata", 200),
        ("/Patient/absent", 404),
        ("/Patient", 200),
        ("/Patient?birthdate=x", 400),
    ] {
        let mut answers = Vec::new();
        for method in ["GET", "HEAD"] {
            let request = format!(
                "{method} /fhir{path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
                 connection: close\r\n\r\n",
                site.address(),
                owner.key()
            );
            let stream = TcpStream::connect(site.address()).await.unwrap();
            answers.push(exchange(stream, request.as_bytes()).await);
        }
        let [get, head] = &answers[..] else { panic!("two answers") };
        assert_eq!(head.status(), Some(status), "{path} {head:?}");
        assert_eq!(get.status(), Some(status), "{path} {get:?}");
        assert_eq!(head.header_names(), get.header_names(), "{path}");
        for name in ["content-type", "content-length", "etag", "last-modified", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
        assert!(head.body.is_empty() && !get.body.is_empty(), "{path}");
    }
}

async fn nonsense_is_refused_with_an_outcome(deployment: Deployment) {
    // HTTP-002, HTTP-003, HTTP-075, HTTP-076, HTTP-091
    let site = Site::start(deployment).await;
    let owner = site.owner();
    for (path, status) in [
        ("/Foo/1", 404),
        ("/patient/1", 404),
        ("/Patient/a_b", 400),
        ("/Patient/1/_history/2/3", 404),
    ] {
        let answer = owner.get(path).await.is(status);
        assert_eq!(answer.json()["resourceType"], "OperationOutcome", "{path}");
    }
    for (path, body, status) in [
        ("/Patient", "{", 400),
        ("/Patient", "", 400),
        ("/Patient", r#"{"resourceType":"Patient","gender":"male","gender":"female"}"#, 400),
        ("/Patient", r#"{"resourceType":"Patient"} x"#, 400),
        ("/Patient", r#"{"resourceType":"Observation"}"#, 400),
        ("/Patient", "{\"resourceType\":\"Patient\",\"active\":tru}", 400),
    ] {
        let answer = owner.post(path, body).await.is(status);
        assert_eq!(answer.json()["resourceType"], "OperationOutcome", "{body}");
    }
    for body in [r#"{"resourceType":"Patient","id":"b"}"#, r#"{"resourceType":"Patient"}"#] {
        let answer = owner.put("/Patient/a", body).await.is(400);
        assert_eq!(answer.json()["resourceType"], "OperationOutcome");
    }
    assert_eq!(owner.get("/Patient/a").await.status, 404);
    assert_eq!(owner.get("/Patient/b").await.status, 404);
}
