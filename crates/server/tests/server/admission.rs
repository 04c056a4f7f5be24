//! Only the gateway's side is answered: channel, grant, digest, classification.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::{Bytes, Clock as _, Grant, Ids as _, header};
use serde_json::{Value, json};

use crate::support::{Ask, CountingIds, Site, raw};

const PATIENT: &str = r#"{"resourceType":"Patient","id":"1"}"#;

/// A grant's JSON as a header.
fn encoded(grant: &Value) -> String {
    URL_SAFE_NO_PAD.encode(grant.to_string())
}

fn json_of(ask: &Ask<'_>) -> Value {
    serde_json::to_value(ask.grant()).unwrap()
}

/// The head of `PUT Patient/1` for the owner, and its grant.
fn put(site: &Site) -> (Ask<'_>, String) {
    let ask = site.ask("PUT", "Patient/1");
    let grant = Grant::new(ask.grant()).unwrap().encode().unwrap();
    (ask, grant)
}

/// Sends `head`, which announces a body that never comes: the answer has `status`, the connection
/// is closed, and nothing is written.
async fn refused(site: &Site, head: &str, status: u16) {
    let answer = raw(&site.socket, head.as_bytes()).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}\n{answer}");
    let lower = answer.to_ascii_lowercase();
    assert!(lower.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(!lower.contains("\r\nhearthgate-"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let outcome: Value = serde_json::from_str(body).unwrap();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    assert_eq!(site.position(), 0);
}

const BODY_TO_COME: &str = "content-type: application/fhir+json\r\ncontent-length: 1000\r\n";

#[tokio::test]
async fn without_the_channels_secret_a_perfect_grant_is_worth_nothing() {
    // LEAK-30
    let site = Site::start().await;
    let (ask, grant) = put(&site);
    let head = ask.head(&grant, BODY_TO_COME);
    let ids = CountingIds::default();
    // Those of the server begin one earlier.
    ids.next();
    let other = Bytes::<32>::generate(&ids);
    let secret = site.secret.as_str();
    let line = format!("{}: {secret}\r\n", header::CHANNEL);
    assert!(head.contains(&line));
    for channel in [
        String::new(),
        format!("{}: \r\n", header::CHANNEL),
        format!("{}: {other}\r\n", header::CHANNEL),
        format!("{}: {}\r\n", header::CHANNEL, &secret[1..]),
        format!("{}: {secret}=\r\n", header::CHANNEL),
        format!("{line}{line}"),
        format!("{}: {other}\r\n{line}", header::CHANNEL),
    ] {
        refused(&site, &head.replace(&line, &channel), 421).await;
    }
}

#[tokio::test]
async fn a_request_behind_a_refused_one_is_never_carried_out() {
    // LEAK-30
    let site = Site::start().await;
    let (ask, grant) = put(&site);
    let lines =
        format!("content-type: application/fhir+json\r\ncontent-length: {}\r\n", PATIENT.len());
    let good = format!("{}{PATIENT}", ask.head(&grant, &lines));
    let bad = good.replace(&site.secret, "x");
    let answer = raw(&site.socket, format!("{bad}{good}").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(site.position(), 0);
}

#[tokio::test]
async fn there_is_exactly_one_grant_of_a_known_version() {
    // LEAK-30
    let site = Site::start().await;
    let (ask, grant) = put(&site);
    let head = ask.head(&grant, BODY_TO_COME);
    let line = format!("{}: {grant}\r\n", header::GRANT);
    let version = format!("{}: 1\r\n", header::CONTRACT);
    assert!(head.contains(&line) && head.contains(&version));
    for replaced in [
        head.replace(&line, ""),
        head.replace(&line, &format!("{line}{line}")),
        head.replace(&line, &format!("{}: e30\r\n{line}", header::GRANT)),
        head.replace(&line, &format!("{}: {grant}, {grant}\r\n", header::GRANT)),
        head.replace(&line, &format!("{}: {grant}=\r\n", header::GRANT)),
        head.replace(&version, ""),
        head.replace(&version, &format!("{version}{version}")),
        head.replace(&version, &format!("{}: 99\r\n", header::CONTRACT)),
        head.replace(&version, &format!("{}: 0\r\n", header::CONTRACT)),
        head.replace(&version, &format!("{}: one\r\n", header::CONTRACT)),
    ] {
        refused(&site, &replaced, 400).await;
    }
}

#[tokio::test]
async fn a_grant_is_good_for_its_one_request() {
    // LEAK-30
    let site = Site::start().await;
    let (ask, grant) = put(&site);
    let head = ask.head(&grant, BODY_TO_COME);
    for request in [
        "PUT /fhir/Patient/2 ",
        "PUT /fhir/Patient/1?x=y ",
        "PUT /fhir/Patient/1? ",
        "PUT /fhir//Patient/1 ",
        "PUT /fhir/Patient/%31 ",
        "DELETE /fhir/Patient/1 ",
        "GET /fhir/Patient/1 ",
        "PUT /other/Patient/1 ",
        "PUT /fhirx/Patient/1 ",
        "PUT /Patient/1 ",
        "BREW /fhir/Patient/1 ",
    ] {
        let changed = head.replacen("PUT /fhir/Patient/1 ", request, 1);
        assert_ne!(changed, head);
        refused(&site, &changed, 400).await;
    }
}

#[tokio::test]
async fn a_grant_that_contradicts_itself_or_the_request_is_refused() {
    // LEAK-24, LEAK-30
    let site = Site::start().await;
    let (ask, _) = put(&site);
    let check = async |change: &dyn Fn(&mut Value), status: u16| {
        let mut grant = json_of(&ask);
        change(&mut grant);
        refused(&site, &ask.head(&encoded(&grant), BODY_TO_COME), status).await;
    };
    let set =
        |name: &'static str, value: Value| move |grant: &mut Value| grant[name] = value.clone();
    check(&set("interaction", json!("read")), 400).await;
    check(&set("interaction", json!("create")), 400).await;
    check(&set("critical", json!(["surprise"])), 400).await;
    check(&set("tenant", json!("unknown")), 400).await;
    check(&set("tenant", json!("../default")), 400).await;
    check(&set("digest", json!("AAAA")), 400).await;
    let rule = |within: &str| json!([{ "types": ["*"], "actions": ["*"], "within": within }]);
    // A rule within a patient's compartment without a patient, or with another's.
    check(&set("rules", rule("compartment(Patient/1)")), 400).await;
    check(
        &|grant| {
            grant["rules"] = rule("compartment(Patient/1)");
            grant["patient"] = json!("2");
        },
        400,
    )
    .await;
    let unknown = json!([{ "types": ["*"], "actions": ["*"], "within": "all", "except": "x" }]);
    check(&set("rules", unknown), 400).await;
    check(&|grant| drop(grant.as_object_mut().unwrap().remove("nonce")), 400).await;
    check(&|grant| drop(grant.as_object_mut().unwrap().remove("notAfter")), 400).await;
}

#[tokio::test]
async fn a_grant_ends_at_its_instant() {
    let site = Site::start().await;
    let ask = site.ask("GET", "metadata");
    let grant = Grant::new(ask.grant()).unwrap().encode().unwrap();
    let head = ask.head(&grant, "connection: close\r\n");
    assert_eq!(ask.grant().not_after, site.clock.now());
    let answer = raw(&site.socket, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    site.clock.advance(std::time::Duration::from_micros(1));
    // It is the gateway's request all the same, and the gateway is to know whose answer this is.
    let answer = raw(&site.socket, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let nonce = format!("\r\n{}: {}\r\n", header::NONCE, ask.grant().nonce.to_header());
    assert!(answer.contains(&nonce) && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.contains("\"transient\"") && answer.contains("clocks"), "{answer}");
    // Whose channel, or whose request, it is not, gets no nonce.
    refused(&site, &head.replace(&site.secret, "x"), 421).await;
    refused(&site, &head.replace("metadata", "Patient/1"), 400).await;
}

#[tokio::test]
async fn the_socket_of_requests_does_not_give_the_secret_away() {
    // LEAK-30
    let site = Site::start().await;
    for path in ["/channel", "/fhir/channel", "/ready", "/", "*"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n");
        let answer = raw(&site.socket, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(!answer.contains(&site.secret), "{answer}");
    }
    // And the socket of the channel answers no request of a client.
    let (ask, grant) = put(&site);
    let lines = format!("connection: close\r\ncontent-length: {}\r\n", PATIENT.len());
    let request = format!("{}{PATIENT}", ask.head(&grant, &lines));
    let answer = raw(&site.channel_socket, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert_eq!(site.position(), 0);
}

#[tokio::test]
async fn sockets_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::start().await;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&site.socket), 0o600);
    assert_eq!(mode(&site.channel_socket), 0o600);
    assert_eq!(mode(site.socket.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn the_channel_says_whether_the_server_is_ready() {
    let site = Site::start().await;
    let request = "GET /ready HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    let answer = raw(&site.channel_socket, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // 256 bits in base64url.
    assert_eq!(site.secret.len(), 43);
}
