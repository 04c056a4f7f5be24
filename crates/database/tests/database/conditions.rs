//! G3 on criteria of every kind: what a transaction was prepared on still holds when it is
//! committed, or it is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use database::{
    CommitError, Condition, Criteria, Database, Expect, IndexedBy, SearchCriteria, Seen,
    Transaction, Visibility,
};
use fhir_core::ResourceId;
use fhir_search::{NoCodes, Zone};

use crate::differential::BASE;
use crate::search::{EXTRACTOR, query};
use crate::support::{
    Clinic, at_once, block_on, commit, create, delete, everything, put, transaction,
};

over_each_backend! {
    of_64_creates_at_once_by_any_criteria_one_is_done
    criteria_hold_until_something_comes_to_match_or_matches_no_more
    criteria_hold_until_what_a_chain_leads_to_is_touched
    what_its_caller_does_not_see_changes_no_condition
    criteria_older_than_what_is_remembered_are_asked_again
    of_upserts_and_deletes_at_once_never_two_match
    criteria_that_are_much_work_are_asked_again
    what_took_too_much_room_to_remember_is_asked_again
}

const ADA: &str =
    r#"{"resourceType":"Patient","name":[{"family":"Lovelace"}],"birthDate":"1815-12-10"}"#;

fn by() -> IndexedBy {
    IndexedBy { extractor: Arc::clone(&EXTRACTOR), base: BASE.into(), zone: Zone::UTC }
}

fn criteria_for(request: &str, visibility: Visibility) -> Criteria {
    let search =
        SearchCriteria::new(query(request), by(), Arc::new(NoCodes), visibility, 1_000_000);
    Criteria::Search(Arc::new(search))
}

fn criteria(request: &str) -> Criteria {
    criteria_for(request, Visibility::everything())
}

/// What a request's criteria find now, as the condition that they find it still.
async fn asked(database: &Database, criteria: &Criteria) -> (store::T, Condition) {
    let (snapshot, of) = (everything(database), "Patient".parse().unwrap());
    let found = database.matching(&snapshot, (&of, criteria), (100, u64::MAX)).await.unwrap();
    (snapshot.at(), Condition { resource_type: of, criteria: criteria.clone(), found })
}

/// Creates `name` unless something matches, preparing again when raced, as the server does:
/// whether it did, and how often it was raced.
async fn create_if_none(
    database: &Database,
    criteria: &Criteria,
    name: &str,
    json: &str,
) -> (bool, usize) {
    for tries in 0.. {
        let (at, condition) = asked(database, criteria).await;
        if !condition.found.is_empty() {
            return (false, tries);
        }
        let change = create(name, json);
        let transaction =
            Transaction { conditions: vec![condition], ..transaction(at, vec![change]) };
        match database.commit(transaction).await {
            Ok(_) => return (true, tries),
            Err(CommitError::Raced) => {}
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!("it goes on")
}

/// G3, HTTP-086.
fn of_64_creates_at_once_by_any_criteria_one_is_done(clinic: &mut Clinic) {
    let organization = r#"{"resourceType":"Organization","name":"North"}"#;
    clinic.write(create("Organization/o", organization));
    let member = r#"{"resourceType":"Patient","active":true,"gender":"male","name":[{"family":"Lovelace"}],"birthDate":"1815-12-10","managingOrganization":{"reference":"Organization/o"}}"#;
    for (round, request) in [
        "Patient?family=Lovelace&birthdate=1815-12-10",
        "Patient?organization.name=North",
        "Patient?active=true&gender=male",
        "Patient?family:exact=Lovelace&gender:not=female",
        "Patient?birthdate=gt1800&birthdate=lt1900",
    ]
    .into_iter()
    .enumerate()
    {
        let barrier = Arc::new(tokio::sync::Barrier::new(64));
        let tasks = (0..64).map(|task| {
            let (database, barrier) = (Arc::clone(clinic.database()), Arc::clone(&barrier));
            async move {
                let criteria = criteria(request);
                barrier.wait().await;
                let name = format!("Patient/p{round}-{task}");
                create_if_none(&database, &criteria, &name, member).await.0
            }
        });
        let created = at_once(tasks).into_iter().filter(|created| *created).count();
        assert_eq!(created, 1, "{request}");
        let (_, condition) = block_on(asked(clinic.database(), &criteria(request)));
        assert_eq!(condition.found.len(), 1, "{request}");
        clinic.write(delete(&format!("Patient/{}", condition.found[0]), Expect::Any));
    }
}

/// Whether criteria that were asked before `between` still hold after it.
fn holds(clinic: &Clinic, criteria: &Criteria, between: impl FnOnce()) -> bool {
    let (at, condition) = block_on(asked(clinic.database(), criteria));
    between();
    let change = put("Basic/new", r#"{"resourceType":"Basic"}"#, Expect::Any);
    let transaction = Transaction { conditions: vec![condition], ..transaction(at, vec![change]) };
    match block_on(clinic.database().commit(transaction)) {
        Ok(_) => true,
        Err(CommitError::Raced) => false,
        Err(other) => panic!("{other}"),
    }
}

fn criteria_hold_until_something_comes_to_match_or_matches_no_more(clinic: &mut Clinic) {
    let other = ADA.replace("Lovelace", "Byron");
    let of_ada = criteria("Patient?family=Lovelace&birthdate=1815-12-10");
    let write = |name: &str, json: &str| {
        clinic.write(put(name, json, Expect::Any));
    };
    // The first is asked when nothing is remembered yet.
    assert!(holds(clinic, &of_ada, || {}));
    assert!(holds(clinic, &of_ada, || write("Patient/1", &other)));
    assert!(!holds(clinic, &of_ada, || write("Patient/2", ADA)));
    // It matches, and goes on to.
    assert!(holds(clinic, &of_ada, || write("Patient/2", ADA)));
    assert!(holds(clinic, &of_ada, || write("Patient/1", &other)));
    assert!(holds(clinic, &of_ada, || write("Observation/1", r#"{"resourceType":"Observation"}"#)));
    assert!(!holds(clinic, &of_ada, || write("Patient/1", ADA)));
    assert!(!holds(clinic, &of_ada, || write("Patient/1", &other)));
    assert!(!holds(clinic, &of_ada, || {
        clinic.write(delete("Patient/2", Expect::Any));
    }));
    assert!(holds(clinic, &of_ada, || {
        clinic.write(delete("Patient/1", Expect::Any));
    }));
    // What depends on when it was written, or on its words, no value tells beforehand.
    for request in ["Patient?_lastUpdated=gt2000", "Patient?_content=Byron"] {
        let of = criteria(request);
        assert!(!holds(clinic, &of, || write("Patient/3", &other)), "{request}");
        assert!(
            holds(clinic, &of, || write("Basic/3", r#"{"resourceType":"Basic"}"#)),
            "{request}"
        );
    }
}

fn criteria_hold_until_what_a_chain_leads_to_is_touched(clinic: &mut Clinic) {
    let write = |name: &str, json: &str| {
        clinic.write(put(name, json, Expect::Any));
    };
    let north = r#"{"resourceType":"Organization","name":"North"}"#;
    let south = north.replace("North", "South");
    let member =
        r#"{"resourceType":"Patient","managingOrganization":{"reference":"Organization/o"}}"#;
    let about =
        r#"{"resourceType":"Observation","status":"final","subject":{"reference":"Patient/1"}}"#;
    write("Organization/o", &south);
    write("Patient/1", member);
    let chain = criteria("Patient?organization.name=North");
    assert!(!holds(clinic, &chain, || write("Organization/o", north)));
    assert!(!holds(clinic, &chain, || write("Organization/o", &south)));
    assert!(holds(clinic, &chain, || write("Observation/1", about)));
    // Another member: whether it matches, its own values do not tell.
    assert!(!holds(clinic, &chain, || write("Patient/2", member)));
    let has = criteria("Patient?_has:Observation:subject:status=final");
    assert!(!holds(clinic, &has, || write("Observation/2", about)));
    assert!(holds(clinic, &has, || write("Organization/o", &south)));
    // What fails by its own values needs no chain to be followed.
    let both = criteria("Patient?family=Lovelace&organization.name=South");
    assert!(holds(clinic, &both, || write("Patient/3", member)));
}

/// LEAK-13
fn what_its_caller_does_not_see_changes_no_condition(clinic: &mut Clinic) {
    let write = |name: &str, json: &str| {
        clinic.write(put(name, json, Expect::Any));
    };
    let patients = Visibility::of_types(["Patient".parse().unwrap()].into());
    let chain = criteria_for("Patient?organization.name=North", patients);
    let north = r#"{"resourceType":"Organization","name":"North"}"#;
    assert!(holds(clinic, &chain, || write("Organization/o", north)));
    let own = Seen::within_patients(["1".parse().unwrap()]);
    let own = Visibility::of_parts([("Patient".parse().unwrap(), vec![own])].into());
    let of_ada = criteria_for("Patient?family=Lovelace", own);
    assert!(holds(clinic, &of_ada, || write("Patient/2", ADA)));
    assert!(!holds(clinic, &of_ada, || write("Patient/1", ADA)));
    let (_, condition) = block_on(asked(clinic.database(), &of_ada));
    assert_eq!(condition.found, ["1".parse::<ResourceId>().unwrap()]);
}

fn criteria_older_than_what_is_remembered_are_asked_again(clinic: &mut Clinic) {
    let of_ada = criteria("Patient?family=Lovelace");
    let (at, condition) = block_on(asked(clinic.database(), &of_ada));
    clinic.write(put("Basic/1", r#"{"resourceType":"Basic"}"#, Expect::Any));
    // What the writer remembers ends with its process.
    clinic.reopen();
    let change = create("Patient/1", ADA);
    let old = Transaction { conditions: vec![condition], ..transaction(at, vec![change]) };
    let answer = block_on(clinic.database().commit(old));
    assert!(matches!(answer, Err(CommitError::Raced)));
    let (created, _) = block_on(create_if_none(clinic.database(), &of_ada, "Patient/1", ADA));
    assert!(created);
}

/// A patient with so many names, none of which is Lovelace.
fn of_names(many: usize) -> String {
    let names = vec![r#"{"family":"Byron"}"#; many].join(",");
    format!(r#"{{"resourceType":"Patient","name":[{names}]}}"#)
}

fn criteria_that_are_much_work_are_asked_again(clinic: &mut Clinic) {
    let families = |letter: &str| {
        let families: Vec<_> = (0..1_000).map(|it| format!("{letter}{it}")).collect();
        format!("family={}", families.join(","))
    };
    let much = criteria(&format!("Patient?{}&{}", families("x"), families("y")));
    let write = |names: usize| {
        clinic.write(put("Patient/1", &of_names(names), Expect::Any));
    };
    // Nothing matches, before and after. Two thousand tests of six hundred names are too many.
    assert!(holds(clinic, &much, || write(1)));
    assert!(holds(clinic, &much, || write(100)));
    assert!(!holds(clinic, &much, || write(600)));
    assert!(holds(clinic, &criteria("Patient?family=x0"), || write(600)));
}

fn what_took_too_much_room_to_remember_is_asked_again(clinic: &mut Clinic) {
    let of_ada = criteria("Patient?family=Lovelace");
    let (small, large, too_large) = (of_names(1), of_names(1_000), of_names(5_000));
    let write = |json: &str| {
        clinic.write(put("Patient/1", json, Expect::Any));
    };
    assert!(holds(clinic, &of_ada, || write(&small)));
    assert!(holds(clinic, &of_ada, || (0..3).for_each(|_| write(&large))));
    assert!(!holds(clinic, &of_ada, || write(&too_large)));
    // What is forgotten with its values is no longer known at all.
    assert!(!holds(clinic, &of_ada, || (0..64).for_each(|_| write(&large))));
    assert!(holds(clinic, &of_ada, || write(&small)));
}

#[test]
fn what_a_purge_takes_away_is_asked_again() {
    let clinic = &Clinic::over_sled();
    clinic.write(create("Patient/1", ADA));
    let of_ada = criteria("Patient?family=Lovelace");
    let (at, condition) = block_on(asked(clinic.database(), &of_ada));
    crate::purge::purge(clinic, "1").unwrap();
    let change = put("Basic/1", r#"{"resourceType":"Basic"}"#, Expect::Any);
    let old = Transaction { conditions: vec![condition], ..transaction(at, vec![change]) };
    assert!(matches!(block_on(clinic.database().commit(old)), Err(CommitError::Raced)));
}

/// Whoever finds one of that name takes it away, whoever finds none makes one: at every moment
/// there is one at most, and nothing but that is committed.
fn of_upserts_and_deletes_at_once_never_two_match(clinic: &mut Clinic) {
    let raced = Arc::new(AtomicUsize::new(0));
    let tasks = (0..16).map(|task| {
        let (database, raced) = (Arc::clone(clinic.database()), Arc::clone(&raced));
        async move {
            let of_ada = criteria("Patient?family=Lovelace&birthdate=1815-12-10");
            for turn in 0..8 {
                let (at, condition) = asked(&database, &of_ada).await;
                assert!(condition.found.len() <= 1, "{:?}", condition.found);
                let changes = match condition.found.first() {
                    Some(id) => vec![delete(&format!("Patient/{id}"), Expect::Exists)],
                    None => vec![create(&format!("Patient/t{task}-{turn}"), ADA)],
                };
                let transaction =
                    Transaction { conditions: vec![condition], ..transaction(at, changes) };
                match database.commit(transaction).await {
                    Ok(_) => {}
                    Err(CommitError::Raced) => drop(raced.fetch_add(1, Ordering::Relaxed)),
                    Err(other) => panic!("{other}"),
                }
                // Others of the type and of other types are of no concern.
                let name = format!("Patient/other{task}-{turn}");
                commit(&database, vec![create(&name, r#"{"resourceType":"Patient"}"#)])
                    .await
                    .unwrap();
            }
        }
    });
    at_once(tasks);
    let (_, condition) = block_on(asked(
        clinic.database(),
        &criteria("Patient?family=Lovelace&birthdate=1815-12-10"),
    ));
    assert!(condition.found.len() <= 1);
}
