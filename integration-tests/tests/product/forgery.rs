//! What comes from outside the contract: forged headers through the gateway, and requests written
//! straight to the server's socket.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::header;
use integration_tests::site::{Deployment, Site};
use integration_tests::socket::{NONCE, Request, channel_secret, everything};
use serde_json::json;

use crate::Method;
use crate::client::sent;

for_both_deployments! {
    forged_headers_from_outside_change_nothing,
    a_perfect_grant_without_the_channels_secret_is_refused,
    a_request_with_two_grants_is_refused,
    a_grant_within_a_patient_that_names_no_patient_is_refused,
    a_grant_is_good_for_its_own_request_alone,
    sockets_and_secrets_are_for_this_account_alone,
}

const BODY: &str = r#"{"resourceType":"Patient","id":"planted"}"#;

fn put() -> Request {
    Request::new("PUT", "/fhir/Patient/planted").with_body(BODY)
}

async fn nothing_was_made(site: &Site) {
    assert_eq!(site.owner().get("/Patient/planted").await.status, 404);
}

async fn forged_headers_from_outside_change_nothing(deployment: Deployment) {
    // GW-025, LEAK-30
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let _ = owner.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.is(201);
    let reader = site.new_client("ward", &["--role", "reader"]);
    let phone = site.new_client("phone", &["--role", "patient", "--patient", "own"]);
    // Everything that the gateway itself would send, secret included.
    let secret = channel_secret(&site).await;
    let grant_of = |request: Request| request.grant(everything());
    let write = grant_of(put());
    let read = grant_of(Request::new("GET", "/fhir/Patient/p"));
    let spellings = [
        [header::GRANT, header::CHANNEL, header::CONTRACT, header::NONCE],
        ["Hearthgate-Grant", "Hearthgate-Channel", "Hearthgate-Contract", "Hearthgate-Nonce"],
        ["hearthgate_grant", "hearthgate_channel", "hearthgate_contract", "hearthgate_nonce"],
    ];
    for names in spellings {
        let forge = |request: reqwest::RequestBuilder, grant: &str| {
            let values = [grant, &secret, "1", NONCE];
            let mut request = request.header("forwarded", "for=10.0.0.1;proto=https");
            for (name, value) in names.into_iter().zip(values) {
                request = request.header(name, value);
            }
            request
        };
        let nobody = forge(site.anyone().with_body(Method::PUT, "/Patient/planted", BODY), &write);
        assert_eq!(sent(nobody).await.status, 401, "{names:?}");
        let reading = forge(reader.with_body(Method::PUT, "/Patient/planted", BODY), &write);
        assert_eq!(sent(reading).await.status, 403, "{names:?}");
        let other = forge(phone.request(Method::GET, "/Patient/p"), &read);
        assert_eq!(sent(other).await.status, 404, "{names:?}");
        // And a good request stays good, and brings nothing of the contract back.
        let good = sent(forge(owner.request(Method::GET, "/Patient/p"), "nonsense")).await.is(200);
        let told = good.headers.keys().find(|name| name.as_str().starts_with("hearthgate"));
        assert_eq!(told, None, "{names:?}");
    }
    nothing_was_made(&site).await;
}

async fn a_perfect_grant_without_the_channels_secret_is_refused(deployment: Deployment) {
    // LEAK-30
    let site = Site::start(deployment).await;
    let mut wrong = channel_secret(&site).await;
    let first = wrong.remove(0);
    wrong.insert(0, if first == 'A' { 'B' } else { 'A' });
    for request in [
        put().granted(everything()),
        put().granted(everything()).with(header::CHANNEL, wrong),
        put().granted(everything()).with(header::CHANNEL, ""),
    ] {
        let answer = request.send(&site).await;
        assert_eq!(answer.status(), Some(421), "{request:?}: {answer:?}");
        assert_eq!(answer.header(header::NONCE), None);
        nothing_was_made(&site).await;
    }
    // With the secret it is perfect indeed.
    let secret = channel_secret(&site).await;
    let answer = put().granted(everything()).with(header::CHANNEL, secret).send(&site).await;
    assert_eq!(answer.status(), Some(201), "{answer:?}");
    assert_eq!(answer.header(header::NONCE), Some(NONCE));
    assert_eq!(site.owner().get("/Patient/planted").await.status, 200);
    let line = site.everything_written();
    assert!(line.contains("a request without the gateway's word was refused"), "{line}");
}

async fn a_request_with_two_grants_is_refused(deployment: Deployment) {
    // LEAK-30
    let site = Site::start(deployment).await;
    let secret = channel_secret(&site).await;
    let good = put().granted(everything()).with(header::CHANNEL, secret.clone());
    let again = good.grant(everything());
    for request in [
        good.clone().with(header::GRANT, again),
        good.clone().with(header::GRANT, ""),
        good.clone().with(header::CONTRACT, "1"),
        put().with(header::CHANNEL, secret.clone()).with(header::CONTRACT, "1"),
        put().with(header::CHANNEL, secret).with(header::GRANT, put().grant(everything())),
    ] {
        let answer = request.send(&site).await;
        assert_eq!(answer.status(), Some(400), "{request:?}: {answer:?}");
        nothing_was_made(&site).await;
    }
    let twice = good.clone().with(header::CHANNEL, channel_secret(&site).await);
    assert_eq!(twice.send(&site).await.status(), Some(421));
    nothing_was_made(&site).await;
    assert_eq!(good.send(&site).await.status(), Some(201));
}

async fn a_grant_within_a_patient_that_names_no_patient_is_refused(deployment: Deployment) {
    // LEAK-24
    let site = Site::start(deployment).await;
    let _ = site.owner().put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.is(201);
    let rules = json!([{"types": ["*"], "actions": ["*"], "within": "compartment(Patient/p)"}]);
    let secret = channel_secret(&site).await;
    let read = Request::new("GET", "/fhir/Patient/p").with(header::CHANNEL, secret);
    for (members, status) in [
        (json!({"client": "phone", "rules": rules}), 400),
        (json!({"client": "phone", "patient": "q", "rules": rules}), 400),
        (json!({"rules": rules}), 400),
        (json!({"client": "phone", "rules": rules, "critical": ["unheard-of"]}), 400),
        (json!({"client": "phone", "patient": "p", "rules": rules}), 200),
    ] {
        let answer = read.clone().granted(members.clone()).send(&site).await;
        assert_eq!(answer.status(), Some(status), "{members}: {answer:?}");
    }
}

async fn a_grant_is_good_for_its_own_request_alone(deployment: Deployment) {
    // LEAK-30
    let site = Site::start(deployment).await;
    let secret = channel_secret(&site).await;
    let with_grant_of = |other: &Request| {
        let request = put().with(header::CHANNEL, secret.clone()).with(header::CONTRACT, "1");
        request.with(header::GRANT, other.grant(everything()))
    };
    for other in [
        Request::new("GET", "/fhir/Patient/planted"),
        Request::new("PUT", "/fhir/Patient/another"),
        Request::new("PUT", "/fhir/Patient/planted?_pretty=true"),
    ] {
        let answer = with_grant_of(&other).send(&site).await;
        assert_eq!(answer.status(), Some(400), "{other:?}: {answer:?}");
    }
    let mut expired = everything();
    expired["notAfter"] = json!("2020-01-01T00:00:00.000000Z");
    let late = put().granted(expired).with(header::CHANNEL, secret.clone());
    // It is the gateway's own, and came too late: no alarm.
    assert_eq!(late.send(&site).await.status(), Some(503));
    let cut = URL_SAFE_NO_PAD.encode("{\"tenant\":\"default\"");
    let broken = put().with(header::CHANNEL, secret.clone()).with(header::CONTRACT, "1");
    assert_eq!(broken.with(header::GRANT, cut).send(&site).await.status(), Some(400));
    nothing_was_made(&site).await;
    assert_eq!(with_grant_of(&put()).send(&site).await.status(), Some(201));
}

async fn sockets_and_secrets_are_for_this_account_alone(deployment: Deployment) {
    let site = Site::start(deployment).await;
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .permissions()
            .mode()
            & 0o7777
    };
    let data = site.data();
    for directory in [".", "run", "registry", "tenants/default"] {
        assert_eq!(mode(&data.join(directory)), 0o700, "{directory}");
    }
    for file in [
        "run/server.sock",
        "run/channel.sock",
        "run/renewal.sock",
        "registry/control.sock",
        "registry/changes.log",
        "tenants/default/format",
        "tenants/default/log/0000000000000001.log",
    ] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&site.owner_key_file()), 0o600);
    let key = std::fs::read_to_string(site.owner_key_file()).unwrap();
    let secret = &key.trim_end()[key.trim_end().len() - 43..];
    let log = std::fs::read(data.join("registry/changes.log")).unwrap();
    assert!(!String::from_utf8_lossy(&log).contains(secret), "keys are kept as digests");
}
