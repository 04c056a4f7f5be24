//! Clients as files say them: many in one change, and nothing in part.

use registry::PutClient;

use super::*;

fn put(client: NewClient, disabled: bool) -> PutClient {
    PutClient { client, disabled }
}

#[test]
fn clients_are_put_and_disabled_in_one_change_and_keep_their_keys_also_after_a_reopen() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    for id in ["changed", "pruned"] {
        registry.create_client(reader(id), &actor()).unwrap();
    }
    let key = |id: &str| registry.create_key(&client_id(id), "", &actor()).unwrap();
    let (changed, pruned) = (key("changed"), key("pruned"));
    let made = registry.client(&client_id("changed")).unwrap().created;
    let cursor = registry.revocations(0, 100).cursor;
    let before = registry.changes(None, 0, 100).unwrap().len();

    let other = NewClient { budget: Some(7), ..reader("changed") };
    let all = vec![put(other.clone(), false), put(reader("new"), true)];
    registry.put_clients(all, vec![client_id("pruned")], &actor()).unwrap();
    let changes = registry.changes(None, 0, 100).unwrap();
    assert_eq!(changes.len(), before + 1);
    assert_eq!(
        changes.last().unwrap().summary,
        "from files: put client changed, put and disable client new, disable client pruned, \
         which no file names"
    );
    let told = registry.revocations(cursor, 100).entries;
    let told: Vec<_> = told.iter().map(|one| (one.kind, one.id.as_str())).collect();
    assert_eq!(told, [(contract::Revoked::Client, "new"), (contract::Revoked::Client, "pruned")]);
    let check = |registry: &Registry| {
        let client = registry.client(&client_id("changed")).unwrap();
        assert_eq!((client.to_new(), client.created), (other.clone(), made));
        let caller = registry.authenticate(changed.secret.expose()).unwrap();
        assert_eq!(caller.client.budget, Some(7));
        assert!(registry.authenticate(pruned.secret.expose()).is_none());
        assert!(registry.why_not(pruned.secret.expose()).contains("pruned"));
        assert!(registry.client(&client_id("new")).unwrap().disabled.is_some());
        let about = registry.changes(Some(&Subject::Client(client_id("pruned"))), 0, 9).unwrap();
        assert!(about.last().unwrap().summary.contains("disable client pruned"));
    };
    check(registry);
    drop(opened);
    let opened = place.open();
    check(&opened.registry);

    // Put without, it is enabled again, with its key.
    opened.registry.put_clients(vec![put(reader("pruned"), false)], vec![], &actor()).unwrap();
    assert!(opened.registry.authenticate(pruned.secret.expose()).is_some());
}

#[test]
fn one_client_that_is_refused_changes_none() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    registry.create_client(reader("stands"), &actor()).unwrap();
    let before = registry.changes(None, 0, 100).unwrap().len();
    let nameless = NewClient { name: String::new(), ..reader("wrong") };
    let (good, other) = (|| put(reader("good"), false), || put(reader("stands"), true));
    for (all, disable) in [
        (vec![good(), put(nameless, false)], vec![]),
        (vec![good(), other()], vec![client_id("nobody")]),
        (vec![good(), other(), good()], vec![]),
        (vec![other()], vec![client_id("stands")]),
    ] {
        assert!(registry.put_clients(all, disable, &actor()).is_err());
        assert!(registry.client(&client_id("good")).is_none());
        assert!(registry.client(&client_id("stands")).unwrap().disabled.is_none());
    }
    assert_eq!(registry.changes(None, 0, 100).unwrap().len(), before);
}

#[test]
fn a_disabled_client_keeps_since_when_it_is() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    let put_off = |name: &str| {
        let client = NewClient { name: name.to_owned(), ..reader("app") };
        registry.put_clients(vec![put(client, true)], vec![], &actor()).unwrap();
        registry.client(&client_id("app")).unwrap().disabled
    };
    let since = put_off("One");
    assert!(since.is_some());
    assert_eq!(put_off("Another"), since);
    registry.put_clients(vec![], vec![client_id("app")], &actor()).unwrap();
    assert_eq!(registry.client(&client_id("app")).unwrap().disabled, since);
    // Told once.
    assert_eq!(registry.revocations(0, 100).entries.len(), 1);
}

// GW-064
#[test]
fn clients_that_were_judged_are_put_only_while_nobody_else_changed_one() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    for id in ["one", "two"] {
        registry.create_client(reader(id), &actor()).unwrap();
    }
    let other = || vec![put(NewClient { budget: Some(7), ..reader("one") }, false)];
    let hands: [(&str, &dyn Fn()); 4] = [
        ("two", &|| registry.disable_client(&client_id("two"), &actor()).unwrap()),
        ("one", &|| registry.set_plan(&client_id("one"), "p".parse().ok(), &actor()).unwrap()),
        ("three", &|| drop(registry.create_client(reader("three"), &actor()).unwrap())),
        ("two", &|| registry.enable_client(&client_id("two"), &actor()).unwrap()),
    ];
    for (changed, by_hand) in hands {
        let judged = registry.clients();
        by_hand();
        let before = (registry.clients(), registry.sequence());
        let refused = registry.put_clients_as_judged(other(), vec![], &judged, &actor());
        let expected = CannotFollow::ClientChangedMeanwhile(client_id(changed));
        assert!(
            matches!(&refused, Err(ChangeError::Refused(why)) if *why == expected),
            "{refused:?}"
        );
        assert_eq!((registry.clients(), registry.sequence()), before);
    }
    // Keys are no matter of files.
    let judged = registry.clients();
    registry.create_key(&client_id("one"), "", &actor()).unwrap();
    registry.put_clients_as_judged(other(), vec![], &judged, &actor()).unwrap();
    assert_eq!(registry.client(&client_id("one")).unwrap().budget, Some(7));
}
