//! What is seen from outside of a request: its id, its line in the access log, the metrics.

use integration_tests::binary::{self, failure, text};
use integration_tests::process::Process;
use integration_tests::site::{Deployment, First, Site};
use serde_json::Value;

use crate::Method;
use crate::client::{Answer, Client, sent};
use crate::waiting::{SOON, until};

for_both_deployments! {
    a_request_id_goes_through_and_comes_back,
    no_log_tells_ids_queries_keys_or_bodies,
    metrics_count_what_was_asked,
    the_servers_half_tells_its_operator_of_itself,
    a_subject_keeps_its_pseudonym_over_restarts_and_an_operator_is_told_it,
}

pub(crate) async fn line_of(front: &Process, request_id: &str) -> Value {
    until("the access log has the request's line", SOON, async || {
        let stdout = front.stdout();
        // The last line may not be whole yet.
        let whole = stdout.rfind('\n').map_or("", |end| &stdout[..end]);
        let lines = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut lines = lines.filter(|line| line["requestId"] == request_id);
        lines.next().ok_or_else(|| stdout.clone())
    })
    .await
}

/// A client of the listener of the server's operator, as the server says where it is.
pub(crate) fn server_admin(site: &Site) -> Client {
    let written = site.everything_written();
    let said = written.split("The server's metrics and readiness: ").nth(1).unwrap();
    Client::new(said.lines().next().unwrap(), None)
}

async fn a_request_id_goes_through_and_comes_back(deployment: Deployment) {
    // GW-053, HTTP-024
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let ask = async |id: Option<&str>, path: &str| -> Answer {
        let request = owner.request(Method::GET, path);
        sent(match id {
            Some(id) => request.header("x-request-id", id),
            None => request,
        })
        .await
    };
    for (path, status) in
        [("/metadata", 200), ("/Patient/absent", 404), ("/Patient?birthdate=y", 400)]
    {
        let id = format!("ward-3.{status}");
        let answer = ask(Some(&id), path).await.is(status);
        assert_eq!(answer.header("x-request-id"), Some(id.as_str()));
        let line = line_of(site.front(), &id).await;
        assert_eq!(line["status"], status);
        assert_eq!(line["client"], "owner");
    }
    let made = ask(None, "/metadata").await.header("x-request-id").unwrap().to_owned();
    assert!(made.len() >= 16, "{made}");
    line_of(site.front(), &made).await;
    let replaced = ask(Some("a b\"}"), "/metadata").await;
    assert_ne!(replaced.header("x-request-id"), Some("a b\"}"));
    // The gateway's own refusals have one as well.
    let refused =
        sent(site.anyone().request(Method::GET, "/Patient/1").header("x-request-id", "r-1"));
    assert_eq!(refused.await.is(401).header("x-request-id"), Some("r-1"));
    line_of(site.front(), "r-1").await;
}

async fn no_log_tells_ids_queries_keys_or_bodies(deployment: Deployment) {
    // GW-052
    let mut site = Site::prepare(deployment);
    site.configure("[log]\nlevel = \"trace\"\n");
    site.launch(First::Gateway).await;
    let owner = site.owner();
    let body = |id: &str| {
        format!(r#"{{"resourceType":"Patient","id":"{id}","name":[{{"family":"PlantedName"}}]}}"#)
    };
    let _ = owner.put("/Patient/planted-id", body("planted-id")).await.is(201);
    let _ = owner.put("/Patient/planted-id", body("another-planted-id")).await.is(400);
    let _ = owner.get("/Patient/planted-id?_format=json&note=planted-query").await.is(200);
    let _ = owner.get("/Patient?family=planted-query").await.is(200);
    let _ = owner.get("/Patient/planted-id/_history").await.is(200);
    let _ = owner.post("", r#"{"resourceType":"Bundle","type":"transaction","entry":[
        {"request":{"method":"PUT","url":"Patient/planted-id"},"resource":{"resourceType":"Patient","id":"planted-id","name":[{"family":"PlantedName"}]}},
        {"request":{"method":"DELETE","url":"Patient/planted-id"}}]}"#).await;
    let _ = owner.post("/Patient", "{\"resourceType\":\"PlantedName\"").await.is(400);
    let _ = owner.get("/planted-id/planted-query").await.is(404);
    let _ = site.client("hg_planted-key_planted-key").get("/Patient/planted-id").await.is(401);
    let last = owner.request(Method::DELETE, "/Patient/planted-id").header("x-request-id", "last");
    assert!(sent(last).await.status < 300);
    let line = line_of(site.front(), "last").await;
    let members: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(members.contains(&"durationMicros") && members.contains(&"interaction"), "{line}");
    assert_eq!(line["interaction"], "delete");

    let key = owner.key().to_owned();
    let secret = key[key.len() - 43..].to_owned();
    site.stop().await;
    let written = site.everything_written();
    assert!(written.lines().count() > 10, "there is something to look through");
    let shown = written.replacen(&key, "", 1);
    assert_ne!(shown, written, "the owner's key is shown once");
    for planted in ["planted", "PlantedName", &secret] {
        let found = shown.lines().find(|line| line.contains(planted));
        assert_eq!(found, None, "{planted}");
    }
}

async fn metrics_count_what_was_asked(deployment: Deployment) {
    // GW-050
    let site = Site::start(deployment).await;
    let owner = site.owner();
    for id in 0..20 {
        owner.get(&format!("/Patient/absent-{id}")).await.is_outcome(404, "not-found");
    }
    let admin = site.admin();
    let counted = until("the requests are counted", SOON, async || {
        let metrics = admin.get("/metrics").await.is(200).text().to_owned();
        let line = metrics.lines().find(|line| {
            line.starts_with("hearthgate_gateway_requests_total")
                && line.contains("interaction=\"read\"")
                && line.ends_with(" 20")
        });
        line.map(|_| metrics.clone()).ok_or(metrics.clone())
    })
    .await;
    assert!(!counted.contains("absent"), "{counted}");
    // Not where clients are.
    assert_eq!(owner.get("/../metrics").await.status, 404);
    assert_eq!(admin.get("/fhir/metadata").await.status, 404);
}

async fn the_servers_half_tells_its_operator_of_itself(deployment: Deployment) {
    // GW-050, GW-054
    let mut site = Site::prepare(deployment);
    site.configure("[server]\nadmin_listen = \"127.0.0.1:0\"\n");
    site.launch(First::Gateway).await;
    let _ = site.owner().put("/Patient/1", r#"{"resourceType":"Patient","id":"1"}"#).await.is(201);
    let admin = server_admin(&site);
    let _ = admin.get("/readyz").await.is(200);
    let metrics = admin.get("/metrics").await.is(200).text().to_owned();
    for line in [
        "hearthgate_server_requests_total{interaction=\"update\",status=\"2xx\"} 1",
        "hearthgate_server_position{tenant=\"default\"} 1",
        "hearthgate_server_audit_ready{tenant=\"default\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in {metrics}");
    }
    let _ = admin.get("/fhir/metadata").await.is(404);
    assert!(!site.admin().get("/metrics").await.text().contains("hearthgate_server_"));
}

async fn a_subject_keeps_its_pseudonym_over_restarts_and_an_operator_is_told_it(
    deployment: Deployment,
) {
    // GW-052
    let mut site = Site::start(deployment).await;
    let phone = site.new_client("phone", &["--role", "patient", "--patient", "own"]);
    let pseudonym = async |site: &Site, id: &str| {
        let asked = phone.request(Method::GET, "/Patient/own").header("x-request-id", id);
        let _ = sent(asked).await.is(404);
        line_of(site.front(), id).await["subject"].as_str().unwrap().to_owned()
    };
    let before = pseudonym(&site, "before").await;
    site.stop().await;
    let data = site.data().to_str().unwrap().to_owned();
    let told = binary::run(site.folder(), &["pseudonym", "--data", &data, "Patient/own"]);
    assert_eq!(text(&told.stdout), format!("{before}\n"), "{told:?}");
    let nobody = binary::run(site.folder(), &["pseudonym", "--data", &data, "own"]);
    assert!(failure(&nobody, 1).contains("`own` is no subject"), "{nobody:?}");
    let elsewhere = binary::run(site.folder(), &["pseudonym", "--data", "none", "Patient/own"]);
    assert!(failure(&elsewhere, 1).contains("no gateway has run"), "{elsewhere:?}");
    site.launch(First::Gateway).await;
    let client = site.client(phone.key());
    let asked = client.request(Method::GET, "/Patient/own").header("x-request-id", "after");
    let _ = sent(asked).await.is(404);
    assert_eq!(line_of(site.front(), "after").await["subject"], before);
}
