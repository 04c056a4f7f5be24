//! Formats, media types and FHIR versions.

use crate::support::{Answer, Site};

async fn site() -> Site {
    let site = Site::start().await;
    site.put("Patient/1", r#"{"resourceType":"Patient","id":"1","name":[{"given":["A"]}]}"#)
        .await
        .is(201);
    site
}

async fn read(site: &Site, accept: &str, query: &str) -> Answer {
    let target = format!("Patient/1{query}");
    site.ask("GET", &target).header("accept", accept).send().await
}

#[tokio::test]
async fn accept_is_honoured_with_its_qualities() {
    // HTTP-009, HTTP-013, HTTP-014
    let site = site().await;
    let check = async |accept: &str, media_type: &str| {
        let answer = read(&site, accept, "").await.is(200);
        assert_eq!(answer.header("content-type"), Some(media_type), "{accept}");
    };
    check("*/*", "application/fhir+json").await;
    check("application/*", "application/fhir+json").await;
    check("application/json", "application/json").await;
    check("application/fhir+turtle, application/json;q=0.5", "application/json").await;
    check("application/fhir+xml, application/json;q=0.5", "application/fhir+xml").await;
    check("text/xml", "text/xml").await;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    check(browser, "application/xml").await;
    check(";;;, application/fhir+json", "application/fhir+json").await;
    for accept in
        ["application/pdf", "application/fhir+turtle", "text/html", "application/fhir+xml;q=0"]
    {
        let refused = read(&site, accept, "").await.is(406);
        assert_eq!(refused.header("content-type"), Some("application/fhir+json"), "{accept}");
        assert_eq!(refused.expressions(), ["http.Accept"]);
    }
}

#[tokio::test]
async fn the_format_parameter_wins_over_accept() {
    // HTTP-010, HTTP-011, HTTP-012
    let site = site().await;
    for format in [
        "json",
        "application/json",
        "application/fhir+json",
        "application/fhir%2Bjson",
        "application/fhir%20json",
    ] {
        let answer = read(&site, "application/fhir+xml", &format!("?_format={format}")).await;
        assert!(answer.is(200).body.starts_with(b"{"), "{format}");
    }
    for format in ["xml", "application/xml", "text/xml", "application/fhir%2Bxml"] {
        let answer = read(&site, "application/fhir+json", &format!("?_format={format}")).await;
        assert!(answer.is(200).body.starts_with(b"<"), "{format}");
    }
    for format in ["ttl", "html", ""] {
        read(&site, "application/fhir+json", &format!("?_format={format}")).await.is(406);
    }
    // It never says how the body is read.
    let xml = "<Patient xmlns=\"http://hl7.org/fhir\"/>";
    let ask = site.ask("POST", "Patient?_format=json").bytes("application/fhir+xml", xml);
    assert!(ask.send().await.is(201).body.starts_with(b"{"));
}

#[tokio::test]
async fn bodies_come_as_json_by_any_of_its_names() {
    // HTTP-007, HTTP-008
    let site = site().await;
    let body = r#"{"resourceType":"Patient"}"#;
    let post =
        async |media_type: &str| site.ask("POST", "Patient").bytes(media_type, body).send().await;
    for media_type in [
        "application/fhir+json",
        "application/json",
        "text/json",
        "application/fhir+json; charset=utf-8",
        "application/json+fhir",
        "",
    ] {
        post(media_type).await.is(201);
    }
    let position = site.position();
    for media_type in
        ["text/csv", "application/xhtml+xml", "application/x-www-form-urlencoded", "json"]
    {
        assert_eq!(
            post(media_type).await.is(415).expressions(),
            ["http.Content-Type"],
            "{media_type}"
        );
    }
    site.ask("POST", "Patient").bytes("", "%PDF").send().await.is(415);
    let ask = site.ask("POST", "Patient").header("content-encoding", "gzip").body(body);
    ask.send().await.is(415);
    assert_eq!(site.position(), position);
}

#[tokio::test]
async fn only_fhir_version_4_is_spoken() {
    // HTTP-015, HTTP-017
    let site = site().await;
    let version = |of: &str| format!("application/fhir+json; fhirVersion={of}");
    for of in ["4.0", "4.0.1", "\"4.0\""] {
        read(&site, &version(of), "").await.is(200);
    }
    for of in ["3.0", "5.0", "4.3", "x"] {
        read(&site, &version(of), "").await.is(406);
    }
    let post = async |sent: &str, asked: &str| {
        let ask = site.ask("POST", "Patient").header("accept", asked);
        ask.bytes(sent, r#"{"resourceType":"Patient"}"#).send().await
    };
    post(&version("4.0"), &version("4.0.1")).await.is(201);
    post(&version("4.0"), "*/*").await.is(201);
    let both = format!("{}, {}", version("3.0"), version("4.0"));
    post(&version("4.0"), &both).await.is(201);
    let position = site.position();
    post(&version("3.0"), "*/*").await.is(415);
    post(&version("3.0"), &version("3.0")).await.is(406);
    post(&version("4.0"), &version("3.0")).await.is(400);
    post(&version("3.0"), &version("4.0")).await.is(400);
    assert_eq!(site.position(), position);
}

#[tokio::test]
async fn pretty_changes_the_white_space_alone() {
    // HTTP-018
    let site = site().await;
    for target in ["Patient/1", "Patient/1/_history", "metadata", "Patient/2", "Foo/1"] {
        let plain = site.get(&format!("{target}?_pretty=false")).await;
        let pretty = site.get(&format!("{target}?_pretty=true")).await.is(plain.status);
        assert!(pretty.text().lines().count() > 3, "{target}");
        assert_eq!(plain.text().lines().count(), 1, "{target}");
        if target != "Patient/1/_history" {
            assert_eq!(pretty.json(), plain.json());
        }
    }
}

#[tokio::test]
async fn a_charset_asked_for_changes_nothing() {
    // HTTP-020
    let site = site().await;
    let ask = site.ask("GET", "Patient/1").header("accept-charset", "iso-8859-1");
    assert_eq!(ask.send().await.is(200).body, site.get("Patient/1").await.body);
}

#[tokio::test]
async fn links_are_built_on_the_configured_base_whatever_the_host_says() {
    // HTTP-055: every request of these tests says "host: evil.example"
    let site = site().await;
    for target in ["Patient/1/_history?_count=1", "metadata"] {
        let ask = site.ask("GET", target).header("x-forwarded-host", "evil.example");
        assert!(!ask.send().await.text().contains("evil"), "{target}");
    }
    let ask = site.ask("POST", "Patient").header("forwarded", "host=evil.example");
    let created = ask.body(r#"{"resourceType":"Patient"}"#).send().await.is(201);
    assert!(created.header("location").unwrap().starts_with("http://clinic.example/fhir/"));
}

#[tokio::test]
async fn a_fhir_version_that_is_named_is_named_back() {
    // HTTP-016
    let site = site().await;
    let named = |media_type: &str| Some(format!("{media_type}; fhirVersion=4.0"));
    for (accept, query, expected) in [
        ("application/fhir+json; fhirVersion=4.0", "", named("application/fhir+json")),
        ("application/json;FHIRVERSION=\"4.0.1\"", "", named("application/json")),
        ("*/*", "?_format=text/json;fhirVersion=4.0", named("text/json")),
        ("application/json", "", Some("application/json".to_owned())),
    ] {
        let answer = read(&site, accept, query).await;
        assert_eq!(answer.header("content-type"), expected.as_deref(), "{accept} {query}");
    }
    let sent = site.ask("POST", "Patient").body(r#"{"resourceType":"Patient"}"#);
    let sent = sent.header("content-type", "application/fhir+json; fhirVersion=4.0");
    let expected = named("application/fhir+json");
    assert_eq!(sent.send().await.is(201).header("content-type"), expected.as_deref());
}

#[tokio::test]
async fn a_preference_that_is_followed_is_named() {
    let site = site().await;
    let post = async |prefer: &str| {
        let ask = site.ask("POST", "Patient").header("prefer", prefer);
        ask.body(r#"{"resourceType":"Patient"}"#).send().await.is(201)
    };
    for of in ["return=minimal", "return=representation", "return=OperationOutcome"] {
        assert_eq!(post(of).await.header("preference-applied"), Some(of));
    }
    assert_eq!(post("return=other").await.header("preference-applied"), None);
    let read = site.ask("GET", "Patient/1").header("prefer", "return=minimal").send().await;
    assert_eq!(read.is(200).header("preference-applied"), None);
    let bundle = r#"{"resourceType":"Bundle","type":"batch"}"#;
    let batch = site.ask("POST", "").header("prefer", "return=OperationOutcome").body(bundle);
    assert_eq!(batch.send().await.is(200).header("preference-applied"), None);
}
