//! Keys and tokens that are good no more, or not for now, and who is told.

use super::*;

#[test]
fn a_revoked_key_authenticates_nobody_and_its_authorization_is_gone_also_after_a_reopen() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    registry.create_client(reader("lab"), &actor()).unwrap();
    let old = registry.create_key(&client_id("lab"), "old", &actor()).unwrap();
    let new = registry.create_key(&client_id("lab"), "new", &actor()).unwrap();
    let authorization = format!("key:{}", old.key_id);
    assert!(matches!(registry.renew(&authorization), Renewed::Standing(_)));

    registry.revoke_key(&old.key_id, &actor()).unwrap();
    let check = |registry: &Registry| {
        assert!(registry.authenticate(old.secret.expose()).is_none());
        assert!(registry.authenticate(new.secret.expose()).is_some());
        assert!(matches!(registry.renew(&authorization), Renewed::Gone));
        let revoked: Vec<bool> = registry.keys().iter().map(|key| key.revoked.is_some()).collect();
        assert_eq!(revoked, [true, false]);
    };
    check(registry);
    assert_eq!(
        refused(registry.revoke_key(&old.key_id, &actor())),
        CannotFollow::RevokedAlready(old.key_id.clone())
    );
    drop(opened);
    check(&place.open().registry);
}

#[test]
fn suspended_keys_authenticate_nobody_until_each_is_confirmed_also_after_a_reopen() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    registry.create_client(reader("lab"), &actor()).unwrap();
    let [gone, kept, waiting] = ["gone", "kept", "waiting"]
        .map(|label| registry.create_key(&client_id("lab"), label, &actor()).unwrap());
    registry.revoke_key(&gone.key_id, &actor()).unwrap();
    let before = registry.revocations(0, 100).cursor;
    registry.suspend_keys(&actor()).unwrap();
    for key in [&gone, &kept, &waiting] {
        assert!(registry.authenticate(key.secret.expose()).is_none());
        assert!(matches!(registry.renew(&format!("key:{}", key.key_id)), Renewed::Gone));
    }
    // However small the page, all that one change ended is told.
    let told = registry.revocations(before, 1);
    assert_eq!((told.entries.len(), registry.revocations(told.cursor, 1).entries.len()), (2, 0));
    let later = registry.create_key(&client_id("lab"), "later", &actor()).unwrap();
    registry.confirm_key(&kept.key_id, &actor()).unwrap();
    let check = |registry: &Registry| {
        let good = [&gone, &kept, &waiting, &later]
            .map(|key| registry.authenticate(key.secret.expose()).is_some());
        assert_eq!(good, [false, true, false, true]);
        let suspended = registry.keys().iter().filter(|key| key.suspended.is_some()).count();
        assert_eq!(suspended, 1);
    };
    check(registry);
    assert_eq!(
        refused(registry.confirm_key(&kept.key_id, &actor())),
        CannotFollow::NotSuspended(kept.key_id.clone())
    );
    assert_eq!(
        refused(registry.confirm_key(&gone.key_id, &actor())),
        CannotFollow::RevokedAlready(gone.key_id.clone())
    );
    drop(opened);
    check(&place.open().registry);
}

#[test]
fn a_key_and_the_one_in_its_place_are_good_together_for_the_overlap_alone() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    registry.create_client(reader("lab"), &actor()).unwrap();
    let old = registry.create_key(&client_id("lab"), "nightly", &actor()).unwrap();
    let new = registry.rotate_key(&old.key_id, 1, &actor()).unwrap();
    let good = |registry: &Registry, key: &registry::CreatedKey| {
        registry.authenticate(key.secret.expose()).is_some()
    };
    assert!(good(registry, &old) && good(registry, &new));
    let listed = registry.keys();
    let of = |id: &KeyId| listed.iter().find(|key| key.id == *id).unwrap();
    assert_eq!(of(&new.key_id).label, "nightly");
    let expires = of(&old.key_id).expires.unwrap();
    assert_eq!(expires.as_micros() - of(&new.key_id).created.as_micros(), 3_600_000_000);
    // Without an overlap, at once; and no key twice.
    let newest = registry.rotate_key(&new.key_id, 0, &actor()).unwrap();
    assert!(good(registry, &newest) && !good(registry, &new));
    assert!(matches!(registry.renew(&format!("key:{}", new.key_id)), Renewed::Gone));
    assert_eq!(
        refused(registry.rotate_key(&new.key_id, 1, &actor()).map(drop)),
        CannotFollow::NotGood(new.key_id.clone())
    );
    assert_eq!(
        refused(registry.rotate_key(&newest.key_id, 8761, &actor()).map(drop)),
        CannotFollow::Overlap
    );
    drop(opened);
    let registry = &place.open().registry;
    assert!(good(registry, &old) && !good(registry, &new) && good(registry, &newest));
    // The clock of these tests goes on a second each time it is asked.
    (0..3600).for_each(|_| drop(registry.authenticate(old.secret.expose())));
    assert!(!good(registry, &old));
    assert!(registry.why_not(old.secret.expose()).contains("has taken the place"));
}

#[test]
fn revoked_tokens_stay_revoked_after_a_reopen_and_later_ones_stand() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    registry.owner(&actor()).unwrap();
    let id = token_authorization("hospital", TokenIdentity::Jti("7"));
    assert!(id.len() == 38 && id != token_authorization("hospital", TokenIdentity::Text("7")));
    assert_ne!(id, token_authorization("other", TokenIdentity::Jti("7")));
    let other = token_authorization("hospital", TokenIdentity::Jti("8"));
    let token = |authorization, client, user, issued: Option<i64>| TokenFacts {
        authorization,
        client,
        user,
        issued: issued.map(Instant::from_micros),
    };
    let before = registry.revocations(0, 100).cursor;
    for which in [
        WhichTokens::Authorization(id.clone()),
        WhichTokens::Client("app".to_owned()),
        WhichTokens::User("hospital/u-1".to_owned()),
    ] {
        registry.revoke_tokens(which, &actor()).unwrap();
    }
    for which in [
        WhichTokens::Authorization("key:0123456789abcdef".to_owned()),
        WhichTokens::Client(String::new()),
        WhichTokens::User("a\nb".to_owned()),
    ] {
        assert_eq!(refused(registry.revoke_tokens(which, &actor())), CannotFollow::NoTokens);
    }
    let listed = registry.token_revocations();
    let named: Vec<_> = listed.iter().map(|revoked| revoked.which.clone()).collect();
    let expected = [
        WhichTokens::Client("app".to_owned()),
        WhichTokens::User("hospital/u-1".to_owned()),
        WhichTokens::Authorization(id.clone()),
    ];
    assert_eq!(named, expected.map(Some));
    let bounded: Vec<_> = listed.iter().map(|revoked| revoked.issued_up_to.is_some()).collect();
    assert_eq!(bounded, [true, true, false]);
    let told = registry.revocations(before, 100).entries;
    let told: Vec<_> = told.iter().map(|entry| (entry.kind, entry.id.as_str())).collect();
    assert_eq!(
        told,
        [
            (contract::Revoked::Authorization, id.as_str()),
            (contract::Revoked::Client, "app"),
            (contract::Revoked::User, "hospital/u-1"),
        ]
    );
    let start = place.start;
    let (now, later) = (Some(start), Some(start + 120_000_000));
    let check = |registry: &Registry| {
        assert!(registry.is_revoked(&token(&id, "x", None, later)));
        assert!(registry.is_revoked(&token(&other, "app", None, now)));
        assert!(registry.is_revoked(&token(&other, "app", None, None)));
        assert!(registry.is_revoked(&token(&other, "x", Some("hospital/u-1"), now)));
        assert!(!registry.is_revoked(&token(&other, "app", Some("hospital/u-1"), later)));
        assert!(!registry.is_revoked(&token(&other, "x", Some("other/u-1"), None)));
    };
    check(registry);
    drop(opened);
    let opened = place.open();
    check(&opened.registry);
    // A restore knows nothing of what was revoked since its backup.
    opened.registry.suspend_keys(&actor()).unwrap();
    assert!(opened.registry.is_revoked(&token(&other, "x", None, now)));
}

#[test]
fn the_revocation_feed_tells_each_revocation_once_to_whoever_follows_its_cursor() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    registry.create_client(reader("lab"), &actor()).unwrap();
    let keys: Vec<KeyId> = (0..5)
        .map(|_| registry.create_key(&client_id("lab"), "", &actor()).unwrap().key_id)
        .collect();
    assert_eq!(registry.revocations(0, 10).entries, []);
    for key in &keys {
        registry.revoke_key(key, &actor()).unwrap();
    }
    drop(opened);
    let opened = place.open();
    let registry = &opened.registry;

    let mut heard = Vec::new();
    let mut cursor = 0;
    loop {
        let feed = registry.revocations(cursor, 2);
        heard.extend(feed.since(cursor).unwrap().iter().map(|entry| entry.id.clone()));
        if feed.cursor == cursor {
            break;
        }
        cursor = feed.cursor;
    }
    let expected: Vec<String> = keys.iter().map(KeyId::authorization).collect();
    assert_eq!(heard, expected);

    // A page of nothing promises nothing.
    let nothing = registry.revocations(0, 0);
    assert_eq!((nothing.cursor, nothing.entries.len()), (0, 0));
    // A cursor of another registry is noticed by its asker.
    assert!(registry.revocations(cursor + 1, 2).since(cursor + 1).is_err());
    assert!(registry.revocations(cursor, 2).since(cursor).unwrap().is_empty());
}
