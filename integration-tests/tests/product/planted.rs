//! What was planted in requests, and in files that the configuration names, is looked for in all
//! that the product writes, shows and sends: both logs at their most talkative, the metrics, and
//! the spans of every request.

use std::os::unix::fs::PermissionsExt as _;

use integration_tests::binary::{run, text};
use integration_tests::site::{Deployment, First, Site, free_address};
use reqwest::RequestBuilder;

use crate::Method;
use crate::access_log::server_admin;
use crate::client::{Client, sent, try_send};
use crate::collector::Collector;
use crate::waiting::{SOON, until};

for_both_deployments! {
    what_was_planted_is_in_no_log_no_metric_and_no_span,
}

/// Stands in everything that was planted, in one of these spellings.
const PLANTED: [&str; 3] = ["planted", "Planted", "PLANTED"];
/// Its digits stand in numbers that were planted.
const NUMBER: &str = "790801135792468";

/// A private file with a secret.
fn secret(site: &Site, name: &str, text: &str) -> String {
    let path = site.folder().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn configuration(site: &Site, collector: &Collector) -> String {
    let headers = secret(site, "headers", "Authorization: Bearer planted-collector-token\n");
    let upstream = secret(site, "upstream", "planted-upstream-token");
    let gone = free_address();
    format!(
        "[log]\nlevel = \"trace\"\n[server]\nadmin_listen = \"127.0.0.1:0\"\n{}headers_file = \"{headers}\"\n\
         [validation]\naction = \"quarantine\"\n\
         [[gateway.routes]]\nname = \"lab\"\npath = \"/lab\"\nupstream = \"lab\"\n\
         content = \"other\"\ncallers = \"public\"\n\
         [gateway.upstreams.lab]\nendpoints = [{{ address = \"{gone}\" }}]\nenforces = \"none\"\n\
         credentials = {{ file = \"{upstream}\" }}\n",
        collector.configuration()
    )
}

/// With something planted in each header that a client may send.
fn dressed(request: RequestBuilder) -> RequestBuilder {
    let mut request = request;
    for (name, value) in [
        ("user-agent", "planted-agent"),
        ("referer", "http://planted.example/Patient/planted-referer"),
        ("cookie", "session=planted-cookie"),
        ("tracestate", "planted=planted-state"),
        ("baggage", "patient=planted-baggage"),
        ("traceparent", "00-planted"),
        ("x-forwarded-for", "planted-address"),
        ("x-planted", "planted-header"),
        ("if-none-exist", "identifier=planted-system|planted-value"),
        ("hearthgate-grant", "planted-grant"),
        ("accept-language", "planted-language"),
        ("origin", "http://planted.example"),
    ] {
        request = request.header(name, value);
    }
    request
}

fn patient(id: &str, more: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient","id":"{id}","identifier":[{{"system":"urn:planted","value":"{NUMBER}"}}],
        "name":[{{"family":"PlantedFamily","given":["PlantedGiven"]}}],"birthDate":"1979-08-01"{more}}}"#
    )
}

/// Requests that end well, and those that fail at each stage.
async fn ask_everything(site: &Site, owner: &Client, reader: &Client) {
    let json = "application/fhir+json";
    let bundle = |kind: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"{kind}","entry":[
            {{"fullUrl":"urn:uuid:planted","request":{{"method":"PUT","url":"Patient/planted-b"}},"resource":{}}},
            {{"request":{{"method":"GET","url":"Patient?family=PlantedFamily"}}}},
            {{"request":{{"method":"DELETE","url":"Patient?identifier=urn:planted|planted-none"}}}}]}}"#,
            patient("planted-b", "")
        )
    };
    let writes = [
        (Method::PUT, "/Patient/planted-id".to_owned(), patient("planted-id", "")),
        (Method::PUT, "/Patient/planted-id".to_owned(), patient("planted-other", "")),
        (Method::PUT, "/Patient/planted-id".to_owned(), patient("planted-id", r#","planted":1"#)),
        (
            Method::PUT,
            "/Patient/planted-id".to_owned(),
            patient("planted-id", r#","gender":"planted""#),
        ),
        (Method::PUT, "/Patient?identifier=urn:planted|planted".to_owned(), patient("p", "")),
        (Method::POST, "/Patient".to_owned(), patient("x", "")),
        (Method::POST, "/Patient".to_owned(), "{\"planted\":".to_owned()),
        (Method::POST, "/Patient".to_owned(), "<Patient planted".to_owned()),
        (Method::POST, "/PlantedType".to_owned(), patient("x", "")),
        (Method::POST, String::new(), bundle("transaction")),
        (Method::POST, String::new(), bundle("batch")),
        (Method::POST, "/Patient/$validate".to_owned(), patient("planted", r#","planted":1"#)),
        (Method::POST, "/Patient/$planted-operation".to_owned(), patient("planted", "")),
    ];
    for (method, path, body) in writes {
        for client in [owner, reader] {
            let request = dressed(client.request(method.clone(), &path));
            sent(request.header("content-type", json).body(body.clone())).await;
        }
    }
    let form = "family=PlantedFamily&identifier=urn:planted|planted-value";
    let form = dressed(owner.request(Method::POST, "/Patient/_search")).body(form);
    sent(form.header("content-type", "application/x-www-form-urlencoded")).await;
    for path in [
        "/Patient/planted-id",
        "/Patient/planted-id/_history",
        "/Patient/planted-id/_history/1",
        "/Patient/planted-id/_history/planted",
        "/Patient/planted-absent",
        "/Patient?family=PlantedFamily&_total=accurate",
        "/Patient?planted=planted-value",
        "/Patient?birthdate=planted",
        "/Patient?_cursor=planted",
        "/Patient?general-practitioner.name=planted",
        "/Patient/planted-id/Observation?code=planted",
        "/Patient/planted-id/$everything?planted=planted",
        "/PlantedType/planted-id",
        "/planted/planted/planted/planted",
        "/Patient/planted_not_an_id",
        "/../planted",
        "/metadata?planted=planted",
    ] {
        for client in [owner, reader, &site.client("hg_planted-key_planted-key")] {
            sent(dressed(client.request(Method::GET, path))).await;
        }
        let request = dressed(site.anyone().request(Method::GET, path));
        sent(request.header("authorization", "Bearer planted.planted.planted")).await;
    }
    sent(dressed(owner.request(Method::DELETE, "/Patient/planted-id"))).await;
    let base = site.anyone().base().trim_end_matches("/fhir").to_owned();
    let lab = Client::new(&base, None);
    for path in ["/lab/planted-path?planted=planted", "/planted-route", "/lab/%2e%2e/planted"] {
        // Some of these no answer is owed to.
        let _ = try_send(dressed(lab.request(Method::GET, path))).await;
    }
    let own_method = Method::from_bytes(b"PLANTED-METHOD").unwrap();
    sent(dressed(owner.request(own_method, "/Patient/planted-id"))).await;
}

/// What operators ask for, and what whoever is none presents.
async fn ask_as_operator(site: &Site) -> String {
    let data = site.data().to_str().unwrap();
    let create = ["operators", "create", "anna", "--role", "administrator", "--print-token"];
    let made = run(site.folder(), &[&create[..], &["--data", data]].concat());
    let token = text(&made.stdout).trim_end().to_owned();
    let base = format!("http://{}/admin/v1", site.admin_address());
    let anna = Client::new(&base, Some(&token));
    let nobody = Client::new(&base, Some("hgo_0123456789abcdef_planted-token"));
    let whole = format!("/keys/{token}/revoke");
    for (path, body) in [
        ("/clients", r#"{"id":"planted-id","role":"planted-role"}"#),
        ("/clients", r#"{"planted":"#),
        ("/clients/planted-client/keys", r#"{"label":"planted-label"}"#),
        ("/token-revocations", r#"{"kind":"jti","id":"planted-jti","issuer":"planted"}"#),
        ("/keys/planted-key/revoke", ""),
        (&whole, ""),
        ("/operators/planted-operator/rotate", "{}"),
        ("/planted?planted=planted", ""),
    ] {
        for client in [&anna, &nobody] {
            let request = dressed(client.request(Method::POST, path)).body(body);
            sent(request.header("content-type", "application/json")).await;
            let request = client.request(Method::POST, path).body(body);
            sent(request.header("content-type", "application/json")).await;
        }
        sent(dressed(anna.request(Method::GET, path))).await;
    }
    token
}

async fn what_was_planted_is_in_no_log_no_metric_and_no_span(deployment: Deployment) {
    // GW-052, GW-051, GW-050
    let collector = Collector::start().await;
    let mut site = Site::prepare(deployment);
    let text = configuration(&site, &collector);
    site.configure(&text);
    site.launch(First::Gateway).await;
    let owner = site.owner();
    let reader = site.new_client("ward", &["--role", "reader"]);
    let patient = site.new_client("phone", &["--role", "patient", "--patient", "planted-own"]);
    ask_everything(&site, &owner, &reader).await;
    for path in ["/Patient/planted-own", "/Patient/planted-id", "/Observation?code=planted"] {
        sent(dressed(patient.request(Method::GET, path))).await;
    }
    let token = ask_as_operator(&site).await;
    let last = owner.request(Method::GET, "/Patient?_summary=count").header("x-request-id", "last");
    let _ = sent(last).await.is(200);
    until("the last span came", SOON, async || {
        let spans = collector.spans();
        let is_last = |id: Option<&String>| id.is_some_and(|id| id == "last");
        let came = spans.iter().any(|span| is_last(span.attributes.get("hearthgate.request_id")));
        came.then_some(()).ok_or_else(|| format!("{} spans", spans.len()))
    })
    .await;
    let mut metrics = site.admin().get("/metrics").await.is(200).text().to_owned();
    metrics += server_admin(&site).get("/metrics").await.is(200).text();
    assert!(metrics.contains("hearthgate_server_"), "{metrics}");
    site.stop().await;

    let sent = collector.bodies();
    let written = site.everything_written();
    let keys: Vec<String> =
        [&owner, &reader, &patient].map(|client| client.key().to_owned()).into();
    // The owner's is shown once, and by a line that says so.
    let written = written.replacen(&keys[0], "", 1);
    assert!(written.lines().count() > 100, "there is something to look through");
    assert!(collector.spans().len() > 100, "there is something to look through");
    assert!(collector.heads()[0].contains("planted-collector-token"), "the collector is shown it");
    for (what, text) in [("a log", &written), ("the metrics", &metrics), ("a span", &sent)] {
        let secrets = keys.iter().chain([&token]).map(|key| &key[key.len() - 43..]);
        for planted in PLANTED.into_iter().chain([NUMBER, "1979-08-01"]).chain(secrets) {
            let line = text.lines().find(|line| line.contains(planted));
            assert_eq!(line, None, "{planted} is in {what}");
        }
    }
}
