//! Who is calling: keys, and nobody.

use integration_tests::binary::{failure, text};
use integration_tests::site::{Deployment, Site};

for_both_deployments! {
    without_a_key_or_with_a_wrong_one_it_is_401,
    a_revoked_key_is_refused_at_once,
    a_reader_may_not_write,
    a_role_within_a_patient_needs_the_patient,
}

async fn without_a_key_or_with_a_wrong_one_it_is_401(deployment: Deployment) {
    // GW-032
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let _ = owner.put("/Patient/there", r#"{"resourceType":"Patient","id":"there"}"#).await.is(201);
    let nobody = site.anyone();
    for path in ["/Patient/there", "/Patient/absent"] {
        let answer = nobody.get(path).await;
        answer.is_outcome(401, "login");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    nobody.post("/Patient", r#"{"resourceType":"Patient"}"#).await.is_outcome(401, "login");

    let key = owner.key();
    let mut altered = key.to_owned();
    let last = altered.pop().unwrap();
    altered.push(if last == 'A' { 'B' } else { 'A' });
    for wrong in [&altered, &key[..key.len() - 1], "nonsense"] {
        let answer = site.client(wrong).get("/Patient/there").await;
        assert_eq!(answer.status, 401, "{wrong}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert_eq!(challenge, "Bearer error=\"invalid_token\"", "{wrong}");
    }
    assert_eq!(owner.get("/Patient/there").await.status, 200);
}

async fn a_revoked_key_is_refused_at_once(deployment: Deployment) {
    // GW-034
    let site = Site::start(deployment).await;
    let reader = site.new_client("ward", &["--role", "reader", "--label", "ward 3"]);
    let _ = site.owner().put("/Patient/1", r#"{"resourceType":"Patient","id":"1"}"#).await.is(201);
    assert_eq!(reader.get("/Patient/1").await.status, 200);
    let listed = text(&site.keys(&["list"]).stdout);
    let line = listed.lines().find(|line| line.contains("ward 3")).unwrap();
    let id = line.split_whitespace().next().unwrap();
    assert!(site.keys(&["revoke", id]).status.success());
    // Twice: not only the first request may see it.
    assert_eq!(reader.get("/Patient/1").await.status, 401);
    assert_eq!(reader.get("/Patient/1").await.status, 401);
    assert_eq!(site.owner().get("/Patient/1").await.status, 200);
}

async fn a_reader_may_not_write(deployment: Deployment) {
    // GW-032
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let reader = site.new_client("ward", &["--role", "reader"]);
    let body = r#"{"resourceType":"Patient","id":"1"}"#;
    let _ = owner.put("/Patient/1", body).await.is(201);
    let refused = reader.put("/Patient/1", body).await;
    refused.is_outcome(403, "forbidden");
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains("insufficient_scope"), "{challenge}");
    reader.put("/Patient/absent", body).await.is_outcome(403, "forbidden");
    assert_eq!(reader.post("/Patient", body).await.status, 403);
    assert_eq!(reader.delete("/Patient/1").await.status, 403);
    // A transaction may be sent by anyone with a key; what is in it may not.
    let entry = r#"{"resource":{"resourceType":"Patient","id":"1"},"request":{"method":"PUT","url":"Patient/1"}}"#;
    let bundle = integration_tests::bundle::transaction(&[entry.to_owned()]);
    assert_eq!(reader.post("", bundle).await.status, 403);
    assert_eq!(owner.get("/Patient/1").await.is(200).header("etag"), Some("W/\"1\""));
}

async fn a_role_within_a_patient_needs_the_patient(deployment: Deployment) {
    // LEAK-24
    let site = Site::start(deployment).await;
    let refused = site.keys(&["create", "--client", "phone", "--role", "patient", "--print-key"]);
    assert!(failure(&refused, 1).contains("--patient"));
    let refused = site.keys(&["create", "--client", "phone", "--print-key"]);
    assert!(failure(&refused, 1).contains("--role"));
    let listed = text(&site.keys(&["list"]).stdout);
    assert!(!listed.contains("phone"), "{listed}");
}
