//! Callers by tokens of an issuer.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use contract::{Action, Clock as _, Grant, Renewal, Revoked, Types, Within};
use gateway::{GatewayConfig, WrittenIssuer};
use registry::WhichTokens;
use serde_json::{Value, json};

use crate::harness::{Answer, Running, actor, request, start_with};
use crate::issuer::{AUDIENCE, Issuer};
use crate::renewals::renew;
use crate::stub::Stub;

/// Accepts the issuer's tokens.
pub(crate) fn accept(
    issuer: &Issuer,
    more: &Value,
    keys: &Path,
) -> impl FnOnce(&mut GatewayConfig) + use<> {
    let mut written = json!({
        "issuer": issuer.url(), "audience": AUDIENCE, "algorithms": ["EdDSA"],
        "clients": {
            "app": {"role": "reader"}, "phone": {"role": "patient"},
            "full": {"role": "all"}, "ours": {"client": "lab"},
        },
    });
    written.as_object_mut().expect("an issuer").extend(more.as_object().expect("keys").clone());
    let written: WrittenIssuer = serde_json::from_value(written).expect("an issuer");
    let keys = keys.to_owned();
    move |config| {
        let checked = written.check("hospital", &config.roles).expect("an issuer");
        config.issuers = vec![checked];
        config.issuer_keys = keys;
        config.public_base = AUDIENCE.to_owned();
    }
}

async fn started(issuer: &Issuer) -> (Running, Stub, tempfile::TempDir) {
    let keys = tempfile::tempdir().expect("a directory");
    let (running, stub) = start_with(accept(issuer, &json!({}), keys.path())).await;
    (running, stub, keys)
}

/// An introspection at the issuer, whose secret is in `dir`.
fn introspection(issuer: &Issuer, dir: &tempfile::TempDir) -> Value {
    let secret_file = dir.path().join("secret");
    std::fs::write(&secret_file, "a secret\n").expect("a file");
    let rights = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&secret_file, rights).expect("our file");
    let url = format!("{}/introspect", issuer.url());
    json!({"introspection": {"url": url, "client_id": "gate", "secret_file": secret_file}})
}

/// What an issuer says of a token that is worth something.
fn active(issuer: &Issuer, more: &Value) -> Value {
    let mut claims = issuer.claims(more);
    claims["active"] = json!(true);
    claims
}

async fn ask(running: &Running, token: &str, method: &str, target: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    running.send(&request(method, target, &[("Authorization", &authorization)], "")).await
}

async fn read(running: &Running, token: &str) -> Answer {
    ask(running, token, "GET", "/fhir/Patient/1").await
}

async fn renewed(running: &Running, authorization: &str) -> Option<Grant> {
    let renewal = Renewal { authorization: authorization.to_owned() };
    let answer = renew(running, &renewal).await;
    renewal.accept(&answer, running.clock.now()).expect("usable")
}

fn challenge(answer: &Answer) -> &str {
    answer.field("www-authenticate").expect("a challenge")
}

// GW-030, LEAK-28
#[tokio::test]
async fn a_token_is_a_caller_who_may_what_its_scopes_and_its_role_both_say() {
    let issuer = Issuer::start().await;
    let (running, stub, _keys) = started(&issuer).await;
    let token = issuer.token(&json!({
        "scope": "openid profile user/Patient.cruds email",
        "fhirUser": format!("{AUDIENCE}/Practitioner/7"),
    }));
    let answer = read(&running, &token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let grant = stub.only().grant;
    assert_eq!(grant.client.as_deref(), Some("hospital.app"));
    assert_eq!(grant.user.as_deref(), Some("hospital/u-1"));
    assert_eq!(grant.fhir_user.as_ref().expect("a person").to_string(), "Practitioner/7");
    assert!(grant.authorization.as_deref().is_some_and(|id| id.starts_with("token:")));
    let rule = &grant.rules[0];
    assert_eq!((grant.rules.len(), &rule.within), (1, &Within::All));
    assert!(rule.actions.contains(&Action::Read) && !rule.actions.contains(&Action::Update));
    assert!(matches!(&rule.types, Types::Only(types) if types.len() == 1));
    // By the role, not; by the scopes, not. What is there is not asked.
    for (method, target, scope) in [
        ("PUT", "/fhir/Patient/1", "user/Patient.u"),
        ("GET", "/fhir/Observation/1", "user/Observation.r"),
        ("GET", "/fhir/Observation", "user/Observation.s"),
    ] {
        let answer = ask(&running, &token, method, target).await;
        answer.is_refusal(403);
        let expected = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
        assert_eq!(challenge(&answer), expected);
    }
    assert_eq!(stub.seen().len(), 1);
}

// GW-030, LEAK-24
#[tokio::test]
async fn what_a_token_does_not_say_or_says_of_others_gives_nothing() {
    let issuer = Issuer::start().await;
    let (running, stub, _keys) = started(&issuer).await;
    let fixed = |client: &mut registry::NewClient| {
        client.patient = Some(contract::ResourceId::new("p-1").expect("an id"));
    };
    running.client_with("lab", "patient", fixed);
    for (more, reason) in [
        (json!({"azp": "stranger"}), "token-client-unknown"),
        (json!({"azp": "lab"}), "token-client-unknown"),
        (json!({"azp": 7}), "token-client-unknown"),
        (json!({"azp": "phone", "scope": "patient/*.rs"}), "role-without-patient"),
        (json!({"scope": "patient/*.rs"}), "scope-without-patient"),
        (json!({"sub": "app"}), "scope-without-user"),
        (json!({"patient": "no id"}), "token-patient-malformed"),
        (json!({"azp": "ours", "patient": "p-2"}), "token-for-another"),
        (json!({"scope": ""}), "no-rule-for-type"),
        (json!({"scope": "openid user/*.read,write"}), "no-rule-for-type"),
        (json!({"scope": 7}), "no-rule-for-type"),
    ] {
        let answer = read(&running, &issuer.token(&more)).await;
        answer.is_refusal(403);
        let id = answer.field("x-request-id").expect("an id").to_owned();
        let denials = running.denials.of_request(&id);
        assert_eq!(denials[0].reason, reason, "{more}");
    }
    assert!(stub.seen().is_empty());
    let own = issuer.token(&json!({"azp": "phone", "patient": "p-9", "scope": "patient/*.rs"}));
    assert_eq!(read(&running, &own).await.status, 200);
    let ours = issuer.token(&json!({"azp": "ours", "scope": "patient/*.rs"}));
    assert_eq!(read(&running, &ours).await.status, 200);
    let grants = stub.seen();
    let of = |at: usize| {
        let grant = &grants[at].grant;
        (grant.client.clone(), grant.rules[0].within.to_string())
    };
    let compartment = |id: &str| format!("compartment(Patient/{id})");
    assert_eq!(of(0), (Some("hospital.phone".to_owned()), compartment("p-9")));
    assert_eq!(of(1), (Some("lab".to_owned()), compartment("p-1")));
    // By scopes that are the client's own, without a person.
    let system = issuer.token(&json!({"azp": "full", "sub": "full", "scope": "system/*.cruds"}));
    assert_eq!(ask(&running, &system, "DELETE", "/fhir/Patient/1").await.status, 200);
}

#[tokio::test]
async fn a_token_takes_no_break_glass_and_uses_none_that_its_clients_key_took() {
    let issuer = Issuer::start().await;
    let (running, stub, _keys) = started(&issuer).await;
    let key = running.client_with("lab", "ward", |client| {
        client.fhir_user = Some("Practitioner/7".parse().expect("a reference"));
    });
    let body = r#"{"patient":"p-9","reason":"unconscious in the emergency room"}"#;
    let take = async |credentials: &str| {
        let authorization = format!("Bearer {credentials}");
        let fields = [("Authorization", authorization.as_str())];
        running.send(&request("POST", "/break-glass", &fields, body)).await
    };
    let taken = take(&key).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    let token = issuer.token(&json!({"azp": "ours"}));
    take(&token).await.is_refusal(403);
    let authorization = format!("Bearer {token}");
    let id = taken.json()["id"].as_str().expect("an id").to_owned();
    let fields = [("Authorization", authorization.as_str()), ("Break-Glass", id.as_str())];
    running.send(&request("GET", "/fhir/Patient/p-9", &fields, "")).await.is_refusal(403);
    assert!(stub.seen().is_empty());
}

// GW-032
#[tokio::test]
async fn a_token_that_is_not_believed_is_401_and_says_why() {
    let issuer = Issuer::start().await;
    let (running, stub, _keys) = started(&issuer).await;
    let now = crate::harness::HandClock::START / 1_000_000;
    let good = issuer.token(&json!({}));
    let (signed, _) = good.rsplit_once('.').expect("a signature");
    let other = Issuer::start().await;
    for (token, says) in [
        (issuer.token(&json!({"exp": now - 30})), "it has expired"),
        (issuer.token(&json!({"nbf": now + 31})), "it is not valid yet"),
        (issuer.token(&json!({"aud": "https://other"})), "it is for another audience"),
        (other.token(&json!({})), "its issuer is not one whose tokens are accepted"),
        (other.token(&json!({"iss": issuer.url()})), "its signature is wrong"),
        (format!("{signed}."), "its signature is wrong"),
        ("no-token".to_owned(), "it has not the form of a signed token"),
    ] {
        let answer = read(&running, &token).await;
        answer.is_refusal(401);
        let expected = format!("Bearer error=\"invalid_token\", error_description=\"{says}\"");
        assert_eq!(challenge(&answer), expected);
        assert!(!answer.body.contains(says));
    }
    assert!(stub.seen().is_empty());
    assert_eq!(read(&running, &good).await.status, 200);
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
}

// GW-030, GW-033
#[tokio::test]
async fn known_keys_stay_while_the_issuer_is_away_also_over_a_restart() {
    let issuer = Issuer::start().await;
    let (running, _stub, keys) = started(&issuer).await;
    let (first, second) = (issuer.token(&json!({})), issuer.token(&json!({"jti": "t-2"})));
    assert_eq!(read(&running, &first).await.status, 200);
    issuer.is_away(true);
    running.clock.advance(Duration::from_secs(3000));
    for token in [&first, &second] {
        assert_eq!(read(&running, token).await.status, 200);
    }
    running.stop().await;
    let (running, _stub) = start_with(accept(&issuer, &json!({}), keys.path())).await;
    assert_eq!(read(&running, &first).await.status, 200);
    assert!(
        running.metric("hearthgate_gateway_issuer_key_fetches_total{issuer=\"hospital\"").await
            >= 1.0
    );
    // Whether another key is the issuer's cannot be known now.
    issuer.rotate("second");
    let unknown = issuer.token(&json!({}));
    let answer = read(&running, &unknown).await;
    answer.is_refusal(503);
    assert_eq!(answer.field("retry-after"), Some("5"));
    // Keys of another issuer than the configuration's are not taken from the disk.
    running.stop().await;
    let other = Issuer::start().await;
    other.is_away(true);
    let (running, _stub) = start_with(accept(&other, &json!({}), keys.path())).await;
    read(&running, &other.token(&json!({}))).await.is_refusal(503);
}

// GW-030, LEAK-28
#[tokio::test]
async fn another_key_is_asked_for_once_in_an_interval_and_replaces_the_one_before() {
    let issuer = Issuer::start().await;
    let (running, _stub, _keys) = started(&issuer).await;
    let old = issuer.token(&json!({}));
    assert_eq!(read(&running, &old).await.status, 200);
    issuer.rotate("second");
    let new = issuer.token(&json!({}));
    for _ in 0..5 {
        read(&running, &new).await.is_refusal(401);
    }
    assert_eq!(issuer.asked("/keys"), 1);
    running.clock.advance(Duration::from_secs(60));
    for _ in 0..5 {
        assert_eq!(read(&running, &new).await.status, 200);
    }
    assert_eq!(issuer.asked("/keys"), 2);
    // What was believed by a key that is shown no more is believed no more.
    read(&running, &old).await.is_refusal(401);
}

// GW-034
#[tokio::test]
async fn a_revoked_token_is_refused_at_once_and_its_work_ends() {
    let issuer = Issuer::start().await;
    let (running, stub, _keys) = started(&issuer).await;
    let token = issuer.token(&json!({}));
    for _ in 0..3 {
        assert_eq!(read(&running, &token).await.status, 200);
    }
    assert!(running.metric("hearthgate_gateway_token_checks_total{result=\"kept\"}").await >= 2.0);
    let grant = stub.seen()[0].grant.clone();
    let authorization = grant.authorization.clone().expect("an authorization");
    let again = renewed(&running, &authorization).await.expect("a grant");
    assert_eq!((&again.rules, &again.user), (&grant.rules, &grant.user));
    let before = running.registry.revocations(0, 100).cursor;
    let revoke = |which| running.registry.revoke_tokens(which, &actor()).expect("a revocation");
    revoke(WhichTokens::Authorization(authorization.clone()));
    let answer = read(&running, &token).await;
    answer.is_refusal(401);
    assert!(challenge(&answer).contains("it was revoked"));
    assert!(renewed(&running, &authorization).await.is_none());
    let told = running.registry.revocations(before, 100).entries;
    assert!(told[0].ends(&grant) && told[0].kind == Revoked::Authorization);
    // By client and by user: what was issued up to now.
    for which in [
        WhichTokens::Client("hospital.app".to_owned()),
        WhichTokens::User("hospital/u-1".to_owned()),
    ] {
        let now = running.clock.now().as_seconds();
        let token = issuer.token(&json!({"jti": "t-3", "iat": now}));
        assert_eq!(read(&running, &token).await.status, 200);
        revoke(which);
        read(&running, &token).await.is_refusal(401);
        running.clock.advance(Duration::from_secs(62));
        let issued_since = issuer.token(&json!({"jti": "t-4", "iat": now + 62}));
        assert_eq!(read(&running, &issued_since).await.status, 200);
    }
}

// GW-031
#[tokio::test]
async fn whoever_guesses_tokens_has_no_issuer_asked_without_end() {
    let issuer = Issuer::start().await;
    let keys = tempfile::tempdir().expect("a directory");
    let more = introspection(&issuer, &keys);
    let (running, _stub) = start_with(accept(&issuer, &more, keys.path())).await;
    issuer.says_of("good", active(&issuer, &json!({})));
    issuer.says_of("other", active(&issuer, &json!({"jti": "t-2"})));
    assert_eq!(read(&running, "good").await.status, 200);
    for number in 0..40 {
        let status = read(&running, &format!("guess{number}")).await.status;
        assert_eq!(status, if number < 20 { 401 } else { 429 }, "{number}");
    }
    assert_eq!(issuer.asked("/introspect"), 21);
    assert_eq!(read(&running, "good").await.status, 200);
    assert_eq!(read(&running, "other").await.status, 429);
    running.clock.advance(Duration::from_secs(2));
    assert_eq!(read(&running, "other").await.status, 200);
}

// GW-061
#[tokio::test]
async fn a_reload_adds_issuers_and_takes_them_away_and_others_keep_what_is_believed() {
    let issuer = Issuer::start().await;
    let (running, _stub) = start_with(|_| {}).await;
    let token = issuer.token(&json!({}));
    read(&running, &token).await.is_refusal(401);
    let keys = tempfile::tempdir().expect("a directory");
    let with_issuer = || accept(&issuer, &json!({}), keys.path());
    running.reload(with_issuer()).await.expect("it can be put into force");
    assert_eq!(read(&running, &token).await.status, 200);
    issuer.is_away(true);
    let also = |config: &mut GatewayConfig| {
        with_issuer()(config);
        config.limits.uri_bytes = 1000;
    };
    running.reload(also).await.expect("it can be put into force");
    assert_eq!(read(&running, &token).await.status, 200);
    assert_eq!(running.metric("hearthgate_gateway_token_checks_total{result=\"kept\"}").await, 1.0);
    running.reload(|_| {}).await.expect("it can be put into force");
    read(&running, &token).await.is_refusal(401);
}

// GW-034
#[tokio::test]
async fn under_load_no_request_passes_that_began_after_the_revocation() {
    let issuer = Issuer::start().await;
    let (running, _stub, _keys) = started(&issuer).await;
    let token = issuer.token(&json!({}));
    let (asked, is_revoked) = (AtomicUsize::new(0), AtomicBool::new(false));
    let load = async || {
        let mut refused = 0;
        while refused < 5 {
            let began_after = is_revoked.load(Ordering::SeqCst);
            let status = read(&running, &token).await.status;
            asked.fetch_add(1, Ordering::SeqCst);
            match status {
                200 => assert!(!began_after, "a revoked token passed"),
                // And then its address sent too many.
                401 | 429 => refused += 1,
                other => panic!("{other}"),
            }
        }
    };
    let revoke = async {
        while asked.load(Ordering::SeqCst) < 100 {
            tokio::task::yield_now().await;
        }
        let which = WhichTokens::Client("hospital.app".to_owned());
        running.registry.revoke_tokens(which, &actor()).expect("a revocation");
        is_revoked.store(true, Ordering::SeqCst);
    };
    tokio::join!(load(), load(), load(), load(), revoke);
}

// GW-031, GW-033
#[tokio::test]
async fn a_token_that_says_nothing_is_asked_about_and_stays_believed_while_nobody_answers() {
    let issuer = Issuer::start().await;
    let keys = tempfile::tempdir().expect("a directory");
    let more = introspection(&issuer, &keys);
    let (running, stub) = start_with(accept(&issuer, &more, keys.path())).await;
    issuer.says_of("one", active(&issuer, &json!({})));
    issuer.says_of("foreign", active(&issuer, &json!({"aud": "https://other"})));
    // A secret that others may read is none.
    let rights = |mode| {
        let rights = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(keys.path().join("secret"), rights).expect("our file");
    };
    rights(0o644);
    read(&running, "one").await.is_refusal(503);
    assert_eq!(issuer.asked("/introspect"), 0);
    rights(0o600);
    for _ in 0..3 {
        assert_eq!(read(&running, "one").await.status, 200);
    }
    assert_eq!(issuer.asked("/introspect"), 1);
    assert_eq!(stub.seen()[0].grant.user.as_deref(), Some("hospital/u-1"));
    for _ in 0..3 {
        let answer = read(&running, "none").await;
        answer.is_refusal(401);
        assert!(challenge(&answer).contains("not active"));
    }
    assert_eq!(issuer.asked("/introspect"), 2);
    read(&running, "foreign").await.is_refusal(401);

    issuer.is_away(true);
    running.clock.advance(Duration::from_secs(120));
    for _ in 0..3 {
        assert_eq!(read(&running, "one").await.status, 200);
    }
    let answer = read(&running, "two").await;
    answer.is_refusal(503);
    assert_eq!(answer.field("retry-after"), Some("5"));
    assert!(
        running
            .metric("hearthgate_gateway_token_checks_total{result=\"issuer-unreachable\"}")
            .await
            >= 2.0
    );

    issuer.is_away(false);
    issuer.says_of("one", json!({"active": false}));
    running.clock.advance(Duration::from_secs(60));
    read(&running, "one").await.is_refusal(401);
    // Until it expires, and no longer.
    issuer.says_of("three", active(&issuer, &json!({"jti": "t-9"})));
    assert_eq!(read(&running, "three").await.status, 200);
    issuer.is_away(true);
    running.clock.advance(Duration::from_secs(3600));
    read(&running, "three").await.is_refusal(503);
}

// GW-034, GW-061
#[tokio::test]
async fn work_of_a_good_token_goes_on_over_other_keys_and_reloads_and_ends_with_its_key() {
    let issuer = Issuer::start().await;
    let (running, stub, keys) = started(&issuer).await;
    let token = issuer.token(&json!({}));
    assert_eq!(read(&running, &token).await.status, 200);
    let authorization = stub.only().grant.authorization.clone().expect("an authorization");
    let with_new_key = async |number: u32| {
        running.clock.advance(Duration::from_secs(60));
        let jti = format!("new-{number}");
        assert_eq!(read(&running, &issuer.token(&json!({"jti": jti}))).await.status, 200);
    };
    issuer.adds("second");
    with_new_key(1).await;
    assert!(renewed(&running, &authorization).await.is_some());
    assert_eq!(read(&running, &token).await.status, 200);
    // By what is decided then.
    let other = |config: &mut GatewayConfig| {
        accept(&issuer, &json!({"clients": {"app": {"role": "patient"}}}), keys.path())(config);
    };
    running.reload(other).await.expect("it can be put into force");
    assert!(renewed(&running, &authorization).await.is_none(), "its role gives it nothing");
    let budget = |config: &mut GatewayConfig| {
        accept(&issuer, &json!({}), keys.path())(config);
        config.default_budget = 7;
    };
    running.reload(budget).await.expect("it can be put into force");
    let grant = renewed(&running, &authorization).await.expect("a grant");
    assert_eq!(grant.budget, 7);
    issuer.rotate("third");
    with_new_key(2).await;
    assert!(renewed(&running, &authorization).await.is_none());
    read(&running, &token).await.is_refusal(401);
}

// GW-033, GW-034
#[tokio::test]
async fn a_token_that_its_issuer_is_asked_about_passes_over_a_reload_and_its_work_ends_with_it() {
    let issuer = Issuer::start().await;
    let keys = tempfile::tempdir().expect("a directory");
    let more = introspection(&issuer, &keys);
    let (running, stub) = start_with(accept(&issuer, &more, keys.path())).await;
    issuer.says_of("one", active(&issuer, &json!({})));
    assert_eq!(read(&running, "one").await.status, 200);
    let authorization = stub.only().grant.authorization.clone().expect("an authorization");
    issuer.is_away(true);
    let slower = |config: &mut GatewayConfig| {
        accept(&issuer, &more, keys.path())(config);
        config.default_budget = 7;
    };
    running.reload(slower).await.expect("it can be put into force");
    assert_eq!(read(&running, "one").await.status, 200);
    assert_eq!(stub.seen()[1].grant.budget, 7);
    running.clock.advance(Duration::from_secs(61));
    assert!(renewed(&running, &authorization).await.is_some(), "nobody says otherwise");
    issuer.is_away(false);
    running.clock.advance(Duration::from_secs(61));
    let asked = issuer.asked("/introspect");
    assert!(renewed(&running, &authorization).await.is_some());
    assert!(renewed(&running, &authorization).await.is_some());
    assert_eq!(issuer.asked("/introspect"), asked + 1);
    issuer.says_of("one", json!({"active": false}));
    running.clock.advance(Duration::from_secs(61));
    assert!(renewed(&running, &authorization).await.is_none());
    read(&running, "one").await.is_refusal(401);
}
