//! Operators, and clients that are disabled.

use super::*;
use registry::{CertificateDigest, Credential, KnownBy, OperatorName, OperatorRole};

fn name(text: &str) -> OperatorName {
    OperatorName::new(text).unwrap()
}

fn certificate(der: &[u8]) -> CertificateDigest {
    CertificateDigest::of(der)
}

fn token_of(opened: &Opened, operator: &str, role: OperatorRole) -> String {
    let made = opened.registry.create_operator(&name(operator), role, Credential::Token, &actor());
    made.unwrap().unwrap().secret.into_inner()
}

// GW-063
#[test]
fn an_operators_token_is_no_key_and_a_key_is_no_operators_token() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    let key = registry.owner(&actor()).unwrap().unwrap().secret.into_inner();
    let token = token_of(&opened, "anna", OperatorRole::Viewer);
    let found = registry.authenticate_operator(&token).unwrap();
    assert_eq!((found.name, found.role), (name("anna"), OperatorRole::Viewer));
    assert!(registry.authenticate(&token).is_none());
    assert!(registry.authenticate_operator(&key).is_none());
    // Nor with the beginnings exchanged: the other registry of ids does not have them.
    let disguised = token.replacen("hgo_", "hg_", 1);
    assert!(registry.authenticate(&disguised).is_none());
    let disguised = key.replacen("hg_", "hgo_", 1);
    assert!(registry.authenticate_operator(&disguised).is_none());
    // Whatever is written like one is kept from others.
    assert!(registry::is_key(&token) && registry::is_operator_token(&token));
    assert!(registry::is_key(&key) && !registry::is_operator_token(&key));
}

// GW-063
#[test]
fn operators_come_back_after_a_reopen_and_their_secrets_are_in_no_file() {
    let place = Place::new();
    let token = {
        let opened = place.open();
        opened.registry.owner(&actor()).unwrap();
        let shown = certificate(b"a certificate");
        let by_certificate = Credential::Certificate(shown);
        let made = opened.registry.create_operator(
            &name("bert"),
            OperatorRole::Administrator,
            by_certificate,
            &actor(),
        );
        assert!(made.unwrap().is_none());
        token_of(&opened, "anna", OperatorRole::Operator)
    };
    let opened = place.open();
    let registry = &opened.registry;
    assert_eq!(registry.authenticate_operator(&token).unwrap().name, name("anna"));
    let bert = registry.operator_of_certificate(&certificate(b"a certificate")).unwrap();
    assert_eq!((bert.name, bert.role), (name("bert"), OperatorRole::Administrator));
    assert!(registry.operator_of_certificate(&certificate(b"another")).is_none());
    let secret = token.rsplit_once('_').unwrap().1;
    for file in files_below(&place.path()) {
        assert!(!contains(&fs::read(&file).unwrap(), secret.as_bytes()), "{file:?}");
    }
    let changes = registry.changes(None, 0, 10).unwrap();
    let told: Vec<_> = changes.iter().map(|change| change.summary.as_str()).collect();
    assert_eq!(
        told[1..],
        ["create operator bert, administrator", "create operator anna, operator"]
    );
}

// GW-063
#[test]
fn what_is_not_the_whole_token_of_a_standing_operator_is_nobody() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    let token = token_of(&opened, "anna", OperatorRole::Viewer);
    let (start, last) = token.split_at(token.len() - 1);
    let other = if last == "A" { "E" } else { "A" };
    for wrong in ["", "hgo_", start, &format!("{token}A"), &format!("{start}{other}"), "Bearer x"] {
        assert!(registry.authenticate_operator(wrong).is_none(), "{wrong}");
    }
    let before = token;
    let drawn = registry.rotate_operator(&name("anna"), Credential::Token, &actor());
    let token = drawn.unwrap().unwrap().secret.into_inner();
    assert!(registry.authenticate_operator(&before).is_none());
    assert!(registry.authenticate_operator(&token).is_some());
    registry.revoke_operator(&name("anna"), &actor()).unwrap();
    assert!(registry.authenticate_operator(&token).is_none());
    assert!(registry.operator(&name("anna")).unwrap().revoked.is_some());
}

#[test]
fn a_name_and_a_certificate_are_given_once() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    let with = |operator: &str, credential| {
        registry.create_operator(&name(operator), OperatorRole::Viewer, credential, &actor())
    };
    let shown = || Credential::Certificate(certificate(b"one"));
    with("anna", shown()).unwrap();
    assert_eq!(refused(with("bert", shown())), CannotFollow::CredentialTaken(name("anna")));
    registry.revoke_operator(&name("anna"), &actor()).unwrap();
    assert_eq!(refused(with("bert", shown())), CannotFollow::CredentialTaken(name("anna")));
    assert!(registry.operator_of_certificate(&certificate(b"one")).is_none());
    let again = with("anna", Credential::Token);
    assert_eq!(refused(again), CannotFollow::OperatorExists(name("anna")));
    let of_revoked = registry.rotate_operator(&name("anna"), Credential::Token, &actor());
    assert_eq!(refused(of_revoked), CannotFollow::OperatorRevoked(name("anna")));
    let unknown = registry.revoke_operator(&name("carl"), &actor());
    assert_eq!(refused(unknown), CannotFollow::UnknownOperator(name("carl")));
}

// GW-063
#[test]
fn a_restore_makes_operators_stand_still_until_they_are_confirmed() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    registry.owner(&actor()).unwrap();
    let token = token_of(&opened, "anna", OperatorRole::Viewer);
    let not_yet = registry.confirm_operator(&name("anna"), &actor());
    assert_eq!(refused(not_yet), CannotFollow::OperatorNotSuspended(name("anna")));
    registry.suspend_keys(&actor()).unwrap();
    assert!(registry.authenticate_operator(&token).is_none());
    assert!(registry.operator(&name("anna")).unwrap().suspended.is_some());
    registry.confirm_operator(&name("anna"), &actor()).unwrap();
    let found = registry.authenticate_operator(&token).unwrap();
    assert!(matches!(found.known_by, KnownBy::Token(_)));
}

#[test]
fn fingerprints_are_read_as_openssl_prints_them() {
    let plain = "ab".repeat(32);
    let printed = vec!["AB"; 32].join(":");
    let digest: CertificateDigest = printed.parse().unwrap();
    assert_eq!(digest.as_str(), plain);
    assert_eq!(plain.parse::<CertificateDigest>().unwrap(), digest);
    for wrong in ["", "ab", &"xy".repeat(32), &"ab".repeat(33)] {
        assert!(wrong.parse::<CertificateDigest>().is_err(), "{wrong}");
    }
}

// GW-063
#[test]
fn nothing_of_a_disabled_client_stands_until_it_is_enabled() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    registry.owner(&actor()).unwrap();
    let id = client_id("app");
    registry.create_client(reader("app"), &actor()).unwrap();
    let key = registry.create_key(&id, "", &actor()).unwrap();
    let secret = key.secret.expose().clone();
    let cursor = registry.revocations(0, 100).cursor;
    registry.disable_client(&id, &actor()).unwrap();
    assert!(registry.authenticate(&secret).is_none());
    assert!(registry.why_not(&secret).contains("app of the key"), "{}", registry.why_not(&secret));
    assert!(matches!(registry.renew(&key.key_id.authorization()), Renewed::Gone));
    assert!(registry.client(&id).unwrap().disabled.is_some());
    let told = registry.revocations(cursor, 100);
    assert_eq!(told.entries.len(), 1);
    assert_eq!(told.entries[0].id, "app");
    let again = registry.disable_client(&id, &actor());
    assert_eq!(refused(again), CannotFollow::DisabledAlready(id.clone()));
    // A key made meanwhile is worth nothing either.
    let another = registry.create_key(&id, "", &actor()).unwrap();
    assert!(registry.authenticate(another.secret.expose()).is_none());
    let reopened = {
        drop(opened);
        place.open()
    };
    let registry = &reopened.registry;
    assert!(registry.authenticate(&secret).is_none());
    registry.enable_client(&id, &actor()).unwrap();
    assert!(registry.authenticate(&secret).is_some());
    let again = registry.enable_client(&id, &actor());
    assert_eq!(refused(again), CannotFollow::NotDisabled(id.clone()));
    let unknown = registry.disable_client(&client_id("none"), &actor());
    assert_eq!(refused(unknown), CannotFollow::UnknownClient(client_id("none")));
}
