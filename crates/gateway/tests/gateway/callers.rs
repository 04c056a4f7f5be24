//! Who is calling, how often, and what they may never do.

use std::time::Duration;

use contract::ResourceId;
use gateway::Rate;
use registry::{ClientId, RateLimit};

use crate::harness::{Answer, Running, actor, request, start, start_with};

async fn get_with(running: &Running, fields: &[(&str, &str)]) -> Answer {
    running.send(&request("GET", "/fhir/Patient/1", fields, "")).await
}

async fn get_as(running: &Running, key: &str, target: &str) -> Answer {
    let authorization = format!("Bearer {key}");
    let fields = [("Authorization", authorization.as_str())];
    running.send(&request("GET", target, &fields, "")).await
}

#[tokio::test]
async fn a_key_of_the_registry_is_a_caller() {
    let (running, stub) = start().await;
    let answer = running.get("/fhir/Patient/1").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let grant = stub.only().grant;
    assert_eq!(grant.client.as_deref(), Some("owner"));
    assert!(grant.authorization.as_deref().is_some_and(|id| id.starts_with("key:")));
    assert_eq!(grant.interaction, "read");
    assert_eq!(grant.tenant.as_str(), "default");
    assert!(grant.powers.is_empty());
}

// GW-032
#[tokio::test]
async fn without_credentials_all_but_capabilities_is_401() {
    let (running, stub) = start().await;
    for (target, method) in
        [("/fhir/Patient/1", "GET"), ("/fhir/Patient", "GET"), ("/fhir", "POST")]
    {
        let answer = running.send(&request(method, target, &[], "")).await;
        answer.is_refusal(401);
        assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
    }
    assert!(stub.seen().is_empty());
    let answer = running.send(&request("GET", "/fhir/metadata", &[], "")).await;
    assert_eq!(answer.status, 200);
    assert!(stub.only().grant.is_public());
}

#[tokio::test]
async fn what_is_open_to_nobody_is_configured() {
    let (running, stub) = start_with(|config| config.public_open.clear()).await;
    running.send(&request("GET", "/fhir/metadata", &[], "")).await.is_refusal(401);
    assert!(stub.seen().is_empty());
}

// GW-032
#[tokio::test]
async fn wrong_credentials_are_401_and_say_what_is_wrong_with_them_alone() {
    let (running, stub) = start().await;
    let other = running.owner_key.replace("hg_", "hg-");
    let changed = format!("{}x", &running.owner_key[..running.owner_key.len() - 1]);
    for (credentials, error) in [
        (format!("Bearer {other}"), "invalid_token"),
        (format!("Bearer {changed}"), "invalid_token"),
        (format!("Basic {}", running.owner_key), "invalid_request"),
        ("Bearer".to_owned(), "invalid_request"),
    ] {
        let answer = get_with(&running, &[("Authorization", &credentials)]).await;
        answer.is_refusal(401);
        let challenge = answer.field("www-authenticate").expect("a challenge");
        assert_eq!(challenge, format!("Bearer error=\"{error}\""));
    }
    let good = format!("Bearer {}", running.owner_key);
    let twice = [("Authorization", good.as_str()), ("authorization", good.as_str())];
    get_with(&running, &twice).await.is_refusal(401);
    // Wrong credentials are wrong even where none are needed.
    let bad = request("GET", "/fhir/metadata", &[("Authorization", "Bearer x")], "");
    running.send(&bad).await.is_refusal(401);
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once() {
    let (running, stub) = start().await;
    let owner = ClientId::new("owner").expect("an id");
    let (id, key) = running.key_of(&owner);
    assert_eq!(get_as(&running, &key, "/fhir/Patient/1").await.status, 200);
    running.registry.revoke_key(&id, &actor()).expect("a key");
    get_as(&running, &key, "/fhir/Patient/1").await.is_refusal(401);
    assert_eq!(stub.seen().len(), 1);
}

// GW-032
#[tokio::test]
async fn what_a_client_may_never_do_is_403_and_does_not_reach_the_server() {
    let (running, stub) = start().await;
    let key = running.client("reader", "reader", None);
    assert_eq!(get_as(&running, &key, "/fhir/Patient/1").await.status, 200);
    let authorization = format!("Bearer {key}");
    let fields = [("Authorization", authorization.as_str())];
    for (method, target) in [
        ("PUT", "/fhir/Patient/1"),
        ("DELETE", "/fhir/Patient/1"),
        ("POST", "/fhir/Patient"),
        ("POST", "/fhir/$reindex"),
    ] {
        let answer = running.send(&request(method, target, &fields, "")).await;
        answer.is_refusal(403);
        let challenge = answer.field("www-authenticate").expect("a challenge");
        assert!(challenge.contains("insufficient_scope"));
    }
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn a_patients_rules_reach_the_server_with_their_patient() {
    let (running, stub) = start().await;
    let patient = ResourceId::new("p-1").expect("an id");
    let key =
        running.client_with("portal", "patient", |client| client.patient = Some(patient.clone()));
    // Whose record it is, the server decides: another patient's id passes here.
    assert_eq!(get_as(&running, &key, "/fhir/Patient/p-2").await.status, 200);
    let grant = stub.only().grant;
    assert_eq!(grant.patient.as_ref(), Some(&patient));
    assert_eq!(grant.rules.len(), 1);
}

// GW-043
#[tokio::test]
async fn a_clients_limit_is_kept_to_and_told() {
    let (running, stub) = start().await;
    let limit = RateLimit { per_second: 2, burst: 3 };
    let key = running.client("app", "all", Some(limit));
    let ask = || get_as(&running, &key, "/fhir/Patient/1");
    for left in ["2;t=1", "1;t=1", "0;t=2"] {
        let answer = ask().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.field("ratelimit-policy"), Some("\"client\";q=3;w=2"));
        assert_eq!(answer.field("ratelimit"), Some(format!("\"client\";r={left}").as_str()));
    }
    let answer = ask().await;
    answer.is_refusal(429);
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!(answer.field("ratelimit"), Some("\"client\";r=0;t=1"));
    running.clock.advance(Duration::from_millis(500));
    assert_eq!(ask().await.status, 200);
    ask().await.is_refusal(429);
    assert_eq!(stub.seen().len(), 4);
    // Another client is not touched by it.
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
}

#[tokio::test]
async fn two_keys_of_a_client_share_its_limit() {
    let (running, _stub) = start_with(|config| config.limits.client = Rate::new(1, 1)).await;
    let owner = ClientId::new("owner").expect("an id");
    let (_, second) = running.key_of(&owner);
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    get_as(&running, &second, "/fhir/Patient/1").await.is_refusal(429);
}

#[tokio::test]
async fn failures_of_an_address_are_bounded_and_leave_valid_keys_alone() {
    let change = |config: &mut gateway::GatewayConfig| {
        config.limits.failed_authentications = Rate::new(1, 3).expect("a rate");
    };
    let (running, _stub) = start_with(change).await;
    for _ in 0..3 {
        get_as(&running, "hg_wrong", "/fhir/Patient/1").await.is_refusal(401);
    }
    let answer = get_as(&running, "hg_wrong", "/fhir/Patient/1").await;
    answer.is_refusal(429);
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    running.clock.advance(Duration::from_secs(1));
    get_as(&running, "hg_wrong", "/fhir/Patient/1").await.is_refusal(401);
}

#[tokio::test]
async fn an_address_without_credentials_has_a_limit_of_its_own() {
    let change = |config: &mut gateway::GatewayConfig| {
        config.limits.public = Rate::new(1, 2).expect("a rate");
    };
    let (running, _stub) = start_with(change).await;
    let bytes = request("GET", "/fhir/metadata", &[], "");
    for _ in 0..2 {
        assert_eq!(running.send(&bytes).await.status, 200);
    }
    running.send(&bytes).await.is_refusal(429);
    assert_eq!(running.get("/fhir/metadata").await.status, 200);
}

// GW-028
#[tokio::test]
async fn a_thousand_wrong_secrets_lock_out_whoever_sends_them_and_no_good_caller() {
    let (running, stub) = start().await;
    let owner = ClientId::new("owner").expect("an id");
    let (_, unused) = running.key_of(&owner);
    let (_, attacked) = running.key_of(&owner);
    assert_eq!(get_as(&running, &running.owner_key, "/fhir/Patient/1").await.status, 200);
    // The id of a key that there is, with secrets that are not its.
    let guess = |number: u32| {
        let mut parts = attacked.splitn(3, '_');
        let mut part = || parts.next().expect("a prefix, an id and a secret");
        let (prefix, id, secret) = (part(), part(), part());
        format!("{prefix}_{id}_{number:04}{}", &secret[4..])
    };
    let mut connection = running.connect().await;
    let mut statuses = std::collections::BTreeMap::new();
    let mut last = None;
    for number in 0..1000 {
        let authorization = format!("Bearer {}", guess(number));
        let fields = [("Authorization", authorization.as_str())];
        connection.write(request("GET", "/fhir/Patient/1", &fields, "").as_bytes()).await;
        let answer = connection.read_answer().await;
        *statuses.entry(answer.status).or_insert(0) += 1;
        last = Some(answer);
    }
    assert_eq!(statuses, [(401, 10), (429, 990)].into());
    let last = last.expect("an answer");
    assert_eq!(last.field("retry-after"), Some("1"));
    let id = last.field("x-request-id").expect("an id");
    let denials = running.denials.of_request(id);
    assert_eq!(denials[0].reason, "too-many-failed-authentications");
    assert!(denials[0].decided.contains("gateway.failures_"), "{denials:?}");
    // The account that was guessed at waits here, whatever is right; others do not.
    get_as(&running, &attacked, "/fhir/Patient/1").await.is_refusal(429);
    for good in [&running.owner_key, &unused] {
        assert_eq!(get_as(&running, good, "/fhir/Patient/1").await.status, 200);
    }
    assert_eq!(running.metric("hearthgate_gateway_lockouts_total{of=\"account\"}").await, 1.0);
    assert_eq!(
        running.metric("hearthgate_gateway_failed_authentications_total{of=\"key\"}").await,
        1000.0
    );
    // Each wrong one after the wait doubles it, and a reload forgets nothing.
    for wait in [2, 4, 8] {
        running.clock.advance(Duration::from_secs(wait / 2));
        get_as(&running, &guess(1), "/fhir/Patient/1").await.is_refusal(401);
        running.reload(|config| config.limits.uri_bytes = 1000).await.expect("in force");
        let answer = get_as(&running, &attacked, "/fhir/Patient/1").await;
        assert_eq!(answer.field("retry-after"), Some(wait.to_string().as_str()));
    }
    running.clock.advance(Duration::from_secs(8));
    assert_eq!(get_as(&running, &attacked, "/fhir/Patient/1").await.status, 200);
    assert_eq!(stub.seen().len(), 4);
}
