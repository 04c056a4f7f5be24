//! What holds wherever the registry is kept: these tests run over files and over PostgreSQL.

use super::*;

#[test]
fn the_first_start_makes_the_owner_and_its_key_once() {
    let place = Place::new();
    let opened = place.open();
    assert!(opened.first_start);
    let created = opened.registry.owner(&Actor::first_start()).unwrap().unwrap();
    let caller = opened.registry.authenticate(created.secret.expose()).unwrap();
    assert_eq!(caller.client.id.as_str(), "owner");
    assert!(caller.client.powers.is_empty());
    assert_eq!(caller.authorization, format!("key:{}", created.key_id));
    assert!(opened.registry.owner(&actor()).unwrap().is_none());
    drop(opened);

    let reopened = place.open();
    assert!(!reopened.first_start);
    assert!(reopened.registry.owner(&actor()).unwrap().is_none());
    assert_eq!(reopened.registry.keys().len(), 1);
    let caller = reopened.registry.authenticate(created.secret.expose()).unwrap();
    assert_eq!(caller.key, created.key_id);
}

#[test]
fn a_plan_that_is_given_or_taken_is_the_clients_for_all_its_keys_also_after_a_reopen() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    registry.create_client(reader("lab"), &actor()).unwrap();
    let key = registry.create_key(&client_id("lab"), "", &actor()).unwrap();
    let plan: registry::PlanName = "standard".parse().unwrap();
    let check = |registry: &Registry, expected: Option<&registry::PlanName>| {
        let caller = registry.authenticate(key.secret.expose()).unwrap();
        assert_eq!(caller.client.plan.as_ref(), expected);
        assert_eq!(registry.client(&client_id("lab")).unwrap().plan.as_ref(), expected);
    };
    check(registry, None);
    registry.set_plan(&client_id("lab"), Some(plan.clone()), &actor()).unwrap();
    check(registry, Some(&plan));
    let none = refused(registry.set_plan(&client_id("absent"), None, &actor()));
    assert_eq!(none, CannotFollow::UnknownClient(client_id("absent")));
    let changes = registry.changes(Some(&Subject::Client(client_id("lab"))), 0, 9).unwrap();
    assert_eq!(changes.last().unwrap().summary, "give client lab the plan standard");
    drop(opened);
    let opened = place.open();
    check(&opened.registry, Some(&plan));
    opened.registry.set_plan(&client_id("lab"), None, &actor()).unwrap();
    check(&opened.registry, None);
    drop(opened);
    check(&place.open().registry, None);
}

// GW-031
// GW-034
#[test]
fn only_the_whole_key_authenticates() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    registry.create_client(reader("lab"), &actor()).unwrap();
    let one = registry.create_key(&client_id("lab"), "", &actor()).unwrap();
    let two = registry.create_key(&client_id("lab"), "", &actor()).unwrap();
    let text = one.secret.expose().as_str();
    let crossed = text.replace(one.key_id.as_str(), two.key_id.as_str());
    assert_ne!(crossed, text);
    for wrong in ["", "hg_", &text[..text.len() - 1], &crossed, &text.to_uppercase()] {
        assert!(registry.authenticate(wrong).is_none(), "{wrong}");
    }
    // Every character counts.
    for at in 0..text.len() {
        let mut changed = text.as_bytes().to_vec();
        changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(registry.authenticate(&changed).is_none(), "{changed}");
    }
    for gone in ["", "key:", "key:0000000000000000", "owner"] {
        assert!(matches!(registry.renew(gone), Renewed::Gone), "{gone}");
    }
}

#[test]
fn what_cannot_follow_is_refused_and_writes_nothing() {
    let place = Place::new();
    let opened = place.open();
    let registry = &opened.registry;
    registry.create_client(reader("lab"), &actor()).unwrap();
    let before = place.written();

    assert_eq!(
        refused(registry.create_client(reader("lab"), &actor())),
        CannotFollow::ClientExists(client_id("lab"))
    );
    assert_eq!(
        refused(registry.create_key(&client_id("nobody"), "", &actor())),
        CannotFollow::UnknownClient(client_id("nobody"))
    );
    let unknown = KeyId::new("0123456789abcdef").unwrap();
    assert_eq!(
        refused(registry.revoke_key(&unknown, &actor())),
        CannotFollow::UnknownKey(unknown.clone())
    );
    assert_eq!(
        refused(registry.create_key(&client_id("lab"), "two\nlines", &actor())),
        CannotFollow::Label
    );
    let invalid = |change: &dyn Fn(&mut NewClient)| {
        let mut client = reader("other");
        change(&mut client);
        match refused(registry.create_client(client, &actor())) {
            CannotFollow::InvalidClient(reason) => reason,
            other => panic!("{other}"),
        }
    };
    assert_eq!(invalid(&|client| client.name.clear()), InvalidClient::Name);
    let limit = RateLimit { per_second: 0, burst: 5 };
    assert_eq!(invalid(&|client| client.limit = Some(limit)), InvalidClient::Limit);
    let within = Within::Compartment("Patient/1".parse().unwrap());
    match invalid(&|client| client.rules[0].within = within.clone()) {
        InvalidClient::Grant(why) => assert!(why.contains("names no patient"), "{why}"),
        other => panic!("{other}"),
    }
    let role: RoleName = "clinician".parse().unwrap();
    let both = invalid(&|client| client.role = Some(role.clone()));
    assert_eq!(both, InvalidClient::RoleAndRules);
    for rules in [64, 1000] {
        let long = |client: &mut NewClient| client.rules = vec![client.rules[0].clone(); rules];
        assert_eq!(invalid(&long), InvalidClient::TooLong, "{rules} rules");
    }

    assert_eq!(place.written(), before);
    assert_eq!(registry.clients().len(), 1);
}

#[test]
fn a_client_survives_a_reopen_with_everything_it_has() {
    let place = Place::new();
    let opened = place.open();
    let role = "patient".parse().unwrap();
    let mut client = NewClient::of_role(client_id("phone"), "Phone", role);
    client.patient = Some(ResourceId::new("p-1").unwrap());
    client.fhir_user = Some("Practitioner/7".parse().unwrap());
    client.limit = Some(RateLimit { per_second: 3, burst: 9 });
    client.budget = Some(1000);
    let made = opened.registry.create_client(client.clone(), &actor()).unwrap();
    assert_eq!((&made.role, &made.fhir_user), (&client.role, &client.fhir_user));
    drop(opened);
    let found = place.open().registry.client(&client_id("phone")).unwrap();
    assert_eq!(found, made);
}

#[test]
fn a_break_glass_is_in_force_for_its_client_and_its_minutes_also_after_a_reopen() {
    let place = Place::new();
    let registry = place.open().registry;
    let _ = registry.create_client(reader("ward"), &actor()).unwrap();
    let _ = registry.create_client(reader("other"), &actor()).unwrap();
    let key = registry.create_key(&client_id("ward"), "", &actor()).unwrap();
    let caller = registry.authenticate(key.secret.expose()).unwrap();
    let patient = ResourceId::new("p-1").unwrap();
    for short in ["", "emergency", "a reason with a line\nbreak in its middle"] {
        let refused = refused(registry.break_glass(&caller, &patient, short, 60));
        assert_eq!(refused, CannotFollow::Reason, "{short:?}");
    }
    let reason = "unconscious in the emergency room";
    let given = registry.break_glass(&caller, &patient, reason, 60).unwrap();
    let over = registry.break_glass(&caller, &patient, reason, 0).unwrap();
    assert_eq!(given.patient, patient);
    assert!(!format!("{given:?}").contains("p-1"));
    assert!(registry.break_glass_in_force(&over.id, &client_id("ward")).is_none());
    drop(registry);
    let registry = place.open().registry;
    let in_force = |id: &str, client: &str| {
        registry.break_glass_in_force(id, &client_id(client)).map(|found| (*found).clone())
    };
    assert_eq!(in_force(&given.id, "ward").as_ref(), Some(&*given));
    assert_eq!(in_force(&given.id, "other"), None);
    assert_eq!(in_force("0123456789abcdef", "ward"), None);
    let told = registry.changes(Some(&Subject::BreakGlass), 0, 10).unwrap();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].actor, format!("key:{}", key.key_id));
    for part in [given.id.as_str(), "client ward", "Patient/p-1", "60 minutes", reason] {
        assert!(told[0].summary.contains(part), "{}", told[0].summary);
    }
}

#[test]
fn whoever_is_revoked_once_it_was_asked_takes_no_break_glass() {
    let place = Place::new();
    let registry = place.open().registry;
    let _ = registry.create_client(reader("ward"), &actor()).unwrap();
    let patient = ResourceId::new("p-1").unwrap();
    let caller = || {
        let key = registry.create_key(&client_id("ward"), "", &actor()).unwrap();
        registry.authenticate(key.secret.expose()).unwrap()
    };
    let (revoked, disabled) = (caller(), caller());
    registry.revoke_key(&revoked.key, &actor()).unwrap();
    registry.disable_client(&client_id("ward"), &actor()).unwrap();
    for caller in [revoked, disabled] {
        let taken = registry.break_glass(&caller, &patient, "a reason that is long enough", 60);
        assert_eq!(refused(taken), CannotFollow::NotGood(caller.key));
    }
    assert!(registry.changes(Some(&Subject::BreakGlass), 0, 10).unwrap().is_empty());
}

#[test]
fn a_client_has_no_endless_break_glasses_in_force() {
    let place = Place::new();
    let registry = place.open().registry;
    let key = registry.owner(&actor()).unwrap().unwrap();
    let caller = registry.authenticate(key.secret.expose()).unwrap();
    let patient = ResourceId::new("p-1").unwrap();
    let take = || registry.break_glass(&caller, &patient, "a reason that is long enough", 60);
    for _ in 0..20 {
        let _ = take().unwrap();
    }
    assert!(matches!(refused(take()), CannotFollow::TooManyBreakGlasses(_)));
}

#[test]
fn an_operator_is_told_why_a_key_is_refused() {
    let place = Place::new();
    let registry = place.open().registry;
    let owner = registry.owner(&actor()).unwrap().unwrap();
    let second = registry.create_key(&client_id("owner"), "", &actor()).unwrap();
    let (first, second) = (owner.secret.expose(), second.secret.expose());
    // `hg_`, sixteen digits, `_`.
    let (start, _) = first.split_at(20);
    let (_, secret) = second.split_at(20);
    let other = format!("{start}{secret}");
    registry.suspend_keys(&actor()).unwrap();
    for (presented, part) in
        [("nonsense", "form"), (other.as_str(), "secret"), (first.as_str(), "suspended")]
    {
        let why = registry.why_not(presented);
        assert!(why.contains(part) && !why.contains(secret), "{why}");
    }
    registry.revoke_key(&owner.key_id, &actor()).unwrap();
    assert!(registry.why_not(first).contains("revoked"));
}
