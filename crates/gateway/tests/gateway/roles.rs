//! Keys by role, break-glass, and what an operator is told of denials.

use contract::Within;
use gateway::Denial;
use registry::{ClientId, Subject};

use crate::harness::{Answer, Running, actor, request, start, start_with, within};

async fn send(
    running: &Running,
    key: &str,
    (method, target): (&str, &str),
    more: &[(&str, &str)],
    body: &str,
) -> Answer {
    let authorization = format!("Bearer {key}");
    let mut fields = vec![("Authorization", authorization.as_str())];
    fields.extend_from_slice(more);
    running.send(&request(method, target, &fields, body)).await
}

fn ward(running: &Running) -> String {
    running.client_with("ward", "ward", |client| {
        client.fhir_user = Some("Practitioner/7".parse().expect("a reference"));
    })
}

const REASON: &str = r#"{"patient":"p-9","reason":"unconscious in the emergency room"}"#;

#[tokio::test]
async fn a_clients_person_is_in_its_grants() {
    let (running, stub) = start().await;
    let key = ward(&running);
    assert_eq!(send(&running, &key, ("GET", "/fhir/Patient/1"), &[], "").await.status, 200);
    let grant = stub.only().grant;
    assert_eq!(
        grant.fhir_user.as_ref().map(ToString::to_string).as_deref(),
        Some("Practitioner/7")
    );
    assert_eq!(grant.rules[0].within, Within::CareTeamOf);
    assert_eq!(grant.break_glass, None);
}

// LEAK-24
#[tokio::test]
async fn a_role_that_is_gone_or_lacks_its_patient_permits_nothing() {
    let (running, stub) = start().await;
    for (id, role, reason) in [
        ("gone", "no-such-role", "role-unknown"),
        ("phone", "patient", "role-without-patient"),
        ("nurse", "ward", "role-without-user"),
    ] {
        let key = running.client(id, role, None);
        let answer = send(&running, &key, ("GET", "/fhir/Patient/1"), &[], "").await;
        answer.is_refusal(403);
        assert!(!answer.body.contains(role), "{answer:?}");
        let denial = only(&running, &answer);
        assert_eq!((denial.reason.as_str(), denial.client.as_deref()), (reason, Some(id)));
        assert!(denial.decided.contains(role), "{denial:?}");
    }
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn a_break_glass_is_recorded_before_it_widens_a_grant_for_its_patient() {
    let (running, stub) = start_with(|config| config.break_glass_minutes = 10).await;
    let key = ward(&running);
    let answer = send(&running, &key, ("POST", "/break-glass"), &[], REASON).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let said = answer.json();
    let id = said["id"].as_str().expect("an id").to_owned();
    assert_eq!(said["patient"], "p-9");
    let told = running.registry.changes(Some(&Subject::BreakGlass), 0, 9).expect("an audit");
    assert!(told.len() == 1 && told[0].summary.contains(&id) && told[0].summary.contains("p-9"));
    assert!(stub.seen().is_empty());

    let read = ("GET", "/fhir/Observation/1");
    send(&running, &key, read, &[], "").await.is_refusal(403);
    let answer = send(&running, &key, read, &[("Break-Glass", &id)], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = stub.only();
    assert_eq!(seen.grant.break_glass.as_deref(), Some(id.as_str()));
    assert_eq!(seen.grant.purpose.as_deref(), Some("BTG"));
    let within = seen.grant.rules.last().map(|rule| rule.within.to_string());
    assert_eq!(within.as_deref(), Some("compartment(Patient/p-9)"));

    // Nobody else's, and not for ever.
    let other = running.client_with("other", "ward", |client| {
        client.fhir_user = Some("Practitioner/8".parse().expect("a reference"));
    });
    send(&running, &other, read, &[("Break-Glass", &id)], "").await.is_refusal(403);
    send(&running, &key, read, &[("Break-Glass", "0123456789abcdef")], "").await.is_refusal(403);
    running.clock.advance(std::time::Duration::from_secs(601));
    let answer = send(&running, &key, read, &[("Break-Glass", &id)], "").await;
    answer.is_refusal(403);
    assert_eq!(only(&running, &answer).reason, "break-glass-invalid");
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn what_is_no_break_glass_records_nothing() {
    let (running, _stub) = start().await;
    let (ward, reader) = (ward(&running), running.client("reader", "reader", None));
    let post = ("POST", "/break-glass");
    let long = format!(r#"{{"patient":"p-9","reason":"{}"}}"#, "x".repeat(9000));
    for (key, method, body, status) in [
        (&reader, post, REASON, 403),
        (&ward, post, "", 400),
        (&ward, post, r#"{"patient":"p-9","reason":"short"}"#, 400),
        (&ward, post, r#"{"patient":"p/9","reason":"unconscious in the emergency room"}"#, 400),
        (&ward, post, long.as_str(), 413),
        (&ward, ("GET", "/break-glass"), "", 405),
    ] {
        send(&running, key, method, &[], body).await.is_refusal(status);
    }
    running.send(&request("POST", "/break-glass", &[], REASON)).await.is_refusal(401);
    let told = running.registry.changes(Some(&Subject::BreakGlass), 0, 9).expect("an audit");
    assert!(told.is_empty());
}

// A caller that is revoked while its body is waited for is refused as it is elsewhere.
#[tokio::test]
async fn whoever_is_revoked_while_its_body_comes_takes_no_break_glass() {
    let (running, _stub) = start().await;
    let key = ward(&running);
    let id = running.registry.authenticate(&key).expect("a good key").key;
    let authorization = format!("Bearer {key}");
    let bytes = request("POST", "/break-glass", &[("Authorization", &authorization)], REASON);
    let (begun, rest) = bytes.split_at(bytes.len() - 5);
    let mut connection = running.connect().await;
    connection.write(begun.as_bytes()).await;
    // Its caller is known, and the rest of the body is waited for.
    let waits = "hearthgate_gateway_requests_in_flight";
    within("the request", async { while running.metric(waits).await < 1.0 {} }).await;
    running.registry.revoke_key(&id, &actor()).expect("a key");
    connection.write(rest.as_bytes()).await;
    connection.read_answer().await.is_refusal(401);
    let told = running.registry.changes(Some(&Subject::BreakGlass), 0, 9).expect("an audit");
    assert!(told.is_empty());
}

fn only(running: &Running, answer: &Answer) -> Denial {
    let id = answer.field("x-request-id").expect("an id");
    let mut found = running.denials.of_request(id);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

// GW-055
#[tokio::test]
async fn each_denial_is_explained_to_an_operator_and_to_nobody_else() {
    let (running, _stub) = start_with(|config| {
        config.limits.client = gateway::Rate::new(1, 3);
    })
    .await;
    let check = |answer: &Answer, status: u16, reason: &str, decided: &str| {
        answer.is_refusal(status);
        let denial = only(&running, answer);
        assert_eq!((denial.status, denial.reason.as_str()), (status, reason));
        assert!(denial.decided.contains(decided), "{denial:?}");
        assert!(!denial.mend.is_empty() && !answer.body.contains(&denial.decided));
        let all = format!("{denial:?}");
        assert!(!all.contains("planted") && !all.contains("hg_"), "{all}");
    };
    let nobody = running.send(&request("GET", "/fhir/Patient/planted", &[], "")).await;
    check(&nobody, 401, "credentials-missing", "without credentials");
    let reader = running.client("reader", "reader", None);
    let put = send(&running, &reader, ("PUT", "/fhir/Patient/planted"), &[], "{}").await;
    check(&put, 403, "no-rule-for-action", "the role reader");
    let purge = ("POST", "/fhir/Patient/planted/$expunge");
    let purge = send(&running, &reader, purge, &[], "{}").await;
    check(&purge, 403, "power-missing", "power expunge");
    let _ = send(&running, &reader, ("GET", "/fhir/Patient/1"), &[], "").await;
    let limited = send(&running, &reader, ("GET", "/fhir/Patient/planted"), &[], "").await;
    check(&limited, 429, "rate-limited", "gateway.client_per_second");

    let id = ClientId::new("reader").expect("an id");
    let (key_id, key) = running.key_of(&id);
    running.registry.revoke_key(&key_id, &actor()).expect("a key");
    let revoked = send(&running, &key, ("GET", "/fhir/Patient/planted"), &[], "").await;
    check(&revoked, 401, "credentials-invalid", "is revoked");
    let ambiguous = [("Authorization", "Basic planted")];
    let ambiguous = running.send(&request("GET", "/fhir/Patient/1", &ambiguous, "")).await;
    check(&ambiguous, 401, "credentials-ambiguous", "Bearer KEY");
}
