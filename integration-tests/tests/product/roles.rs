//! Keys by role, break-glass, and why a request was denied: from the command line to the server.

use integration_tests::binary::{failure, run, text};
use integration_tests::client::{Answer, Client};
use integration_tests::site::{Deployment, Site};

use crate::Method;
use crate::client::sent;
use crate::site::First;

for_both_deployments! {
    each_role_does_what_it_says_and_no_more,
    a_role_of_the_configuration_counts_from_the_next_start_on,
    a_break_glass_is_recorded_and_its_grant_reaches_the_server,
    an_operator_is_told_why_a_request_was_denied,
}

const PATIENT: &str = r#"{"resourceType":"Patient","id":"own"}"#;

/// A resource in nobody's compartment.
const ORGANIZATION: &str = r#"{"resourceType":"Organization","id":"one","name":"x"}"#;

/// Runs a command on the site's data.
fn command(site: &Site, words: &[&str]) -> std::process::Output {
    let data = site.data().to_str().unwrap();
    let mut all = words.to_vec();
    all.extend(["--data", data]);
    run(site.folder(), &all)
}

async fn each_role_does_what_it_says_and_no_more(deployment: Deployment) {
    // LEAK-20, LEAK-24
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let _ = owner.put("/Patient/own", PATIENT).await.is(201);
    let _ = owner.put("/Organization/one", ORGANIZATION).await.is(201);
    // Who may read and search which type: 200, or what stands there.
    let check = |client: Client, expected: [(&'static str, u16); 4]| async move {
        for (path, status) in expected {
            assert_eq!(client.get(path).await.status, status, "{path}");
        }
        client
    };
    let by = |role: &str| site.new_client(role, &["--role", role]);
    let clinical = "/Observation?code=x";
    let all = [("/Patient/own", 200), (clinical, 200), ("/Slot", 200), ("/Patient", 200)];
    for role in ["clinician", "system", "reader", "admin"] {
        let _ = check(by(role), all).await;
    }
    let front_desk = [("/Patient/own", 200), (clinical, 403), ("/Slot", 200), ("/Condition", 403)];
    let front_desk = check(by("front-desk"), front_desk).await;
    assert_eq!(front_desk.put("/Patient/own", PATIENT).await.status, 200);
    assert_eq!(front_desk.delete("/Patient/own").await.status, 403);
    let auditor = [("/Patient/own", 403), (clinical, 403), ("/Slot", 403), ("/AuditEvent", 200)];
    let _ = check(by("auditor"), auditor).await;
    let researcher = by("researcher");
    assert_eq!(researcher.get("/Patient/own").await.status, 403);
    let clinician = site.new_client("clinician", &["--role", "clinician"]);
    assert_eq!(clinician.delete("/Patient/own").await.status, 403);
    let system = site.new_client("system", &["--role", "system"]);
    assert_eq!(system.post("/Patient/$expunge", "{}").await.status, 403);
    // What belongs to nobody is read with what is one's own.
    let phone = site.new_client("phone", &["--role", "patient", "--patient", "own"]);
    assert_eq!(phone.get("/Patient/own").await.status, 200);
    assert_eq!(phone.get("/Organization/one").await.status, 200);
    assert_eq!(phone.put("/Organization/one", ORGANIZATION).await.status, 403);

    let listed = text(&site.keys(&["list"]).stdout);
    for role in ["clinician", "front-desk", "patient", "(rules of its own)"] {
        assert!(listed.contains(role), "{listed}");
    }
    for (role, part) in [("patient", "--patient ID"), ("care-team", "--user REF"), ("x", "roles")] {
        let refused = site.keys(&["create", "--client", "new", "--role", role]);
        assert!(failure(&refused, 1).contains(part));
    }
}

async fn a_role_of_the_configuration_counts_from_the_next_start_on(deployment: Deployment) {
    let role = |types: &str| {
        format!(
            "[roles.lab]\nsays = \"A lab.\"\n\
             rules = [{{ types = [\"{types}\"], actions = [\"read\", \"search\"], within = \"all\" }}]\n"
        )
    };
    let mut site = Site::prepare(deployment);
    site.configure(&role("Observation"));
    site.launch(First::Gateway).await;
    let lab = site.new_client("lab", &["--role", "lab"]).key().to_owned();
    assert_eq!(site.client(&lab).get("/Observation").await.status, 200);
    assert_eq!(site.client(&lab).get("/Patient").await.status, 403);
    site.stop().await;
    let config = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), config.replace("\"Observation\"", "\"Patient\"")).unwrap();
    site.launch(First::Gateway).await;
    assert_eq!(site.client(&lab).get("/Observation").await.status, 403);
    assert_eq!(site.client(&lab).get("/Patient").await.status, 200);
}

async fn a_break_glass_is_recorded_and_its_grant_reaches_the_server(deployment: Deployment) {
    let site = Site::start(deployment).await;
    let _ = site.owner().put("/Patient/own", PATIENT).await.is(201);
    let ward = site.new_client("ward", &["--role", "care-team", "--user", "Practitioner/7"]);
    let asked = r#"{"patient":"own","reason":"unconscious in the emergency room"}"#;
    let at = ward.base().replace("/fhir", "/break-glass");
    let gate = Client::new(&at, Some(ward.key()));
    let taken = gate.post("", asked).await.is(201).json();
    let id = taken["id"].as_str().unwrap();
    let read = ward.request(Method::GET, "/Patient/own").header("break-glass", id);
    assert_eq!(sent(read).await.status, 200);
    // What outlives it is not made with it.
    let team = r#"{"resourceType":"CareTeam","subject":{"reference":"Patient/own"},"participant":[{"member":{"reference":"Practitioner/7"}}]}"#;
    let join = ward.with_body(Method::POST, "/CareTeam", team.to_owned());
    assert_eq!(sent(join.header("break-glass", id)).await.status, 403);
    assert_eq!(ward.get("/Patient/own").await.status, 404);
    let listed = text(&command(&site, &["break-glass"]).stdout);
    for part in [id, "client ward", "Patient/own", "unconscious"] {
        assert!(listed.contains(part), "{listed}");
    }
    let refused = site.new_client("reader", &["--role", "reader"]);
    let gate = Client::new(&at, Some(refused.key()));
    assert_eq!(gate.post("", asked).await.status, 403);
}

async fn an_operator_is_told_why_a_request_was_denied(deployment: Deployment) {
    // LEAK-29
    let site = Site::start(deployment).await;
    let told = |answer: &Answer| {
        let id = answer.header("x-request-id").unwrap();
        let shown = command(&site, &["denials", "show", id]);
        assert!(shown.status.success(), "{shown:?}");
        text(&shown.stdout)
    };
    let reader = site.new_client("ward", &["--role", "reader"]);
    let refused = reader.delete("/Patient/planted").await;
    assert_eq!(refused.status, 403);
    let said = told(&refused);
    for part in ["by the gateway: 403", "client ward", "role reader", "delete in one rule"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("planted") && !refused.text().contains("rule for"), "{said}");

    let phone = site.new_client("phone", &["--role", "patient", "--patient", "own"]);
    let absent = phone.get("/Patient/planted").await;
    assert_eq!(absent.status, 404);
    let said = told(&absent);
    for part in ["by the server: 404", "client phone", "the compartment of the grant's Patient"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("planted"), "{said}");
    let fine = site.owner().get("/metadata").await.is(200);
    assert!(told(&fine).contains("No denial of a request"));
}
