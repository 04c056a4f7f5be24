//! Which resources match.

use database::{Expect, Purge, SearchError};
use fhir_search::CodesError;
use store::CommitId;

use super::{asked, check, coded, names, only, query, refers, search, write};
use crate::support::{Clinic, at_once, block_on, delete, put};

over_each_backend! {
    the_newest_version_of_each_resource_counts_as_of_the_snapshot
    resources_are_found_by_what_they_refer_to_and_by_what_refers_to_them
    what_is_not_seen_does_not_exist
    a_search_that_costs_too_much_is_refused_whole
    a_question_without_an_answer_is_refused_whatever_there_is
    others_run_while_many_resources_are_looked_at
    large_resources_are_found_like_small_ones
    a_chain_may_lead_to_more_resources_than_are_kept
}

/// SRCH-245, SRCH-242, SRCH-031
fn the_newest_version_of_each_resource_counts_as_of_the_snapshot(clinic: &mut Clinic) {
    write(clinic, "Patient/1", "\"gender\":\"male\"");
    write(clinic, "Patient/2", "\"gender\":\"male\"");
    write(clinic, "Observation/1", "");
    let before = clinic.snapshot();
    clinic.clock.set(1_900_000_000_000_000);
    write(clinic, "Patient/1", "\"gender\":\"female\"");
    clinic.write(delete("Patient/2", Expect::Any));
    write(clinic, "Patient/3", "\"gender\":\"male\"");
    check(
        &before,
        &[("Patient?gender=male", "Patient/1 Patient/2"), ("Patient?gender=female", "")],
    );
    drop(before);
    for _ in 0..2 {
        check(
            &clinic.snapshot(),
            &[
                ("Patient?gender=male", "Patient/3"),
                ("Patient?gender=female", "Patient/1/2"),
                ("Patient?_id=1,2,3", "Patient/1/2 Patient/3"),
                ("Patient?_lastUpdated=gt2029", "Patient/1/2 Patient/3"),
                ("?_type=Patient,Observation", "Observation/1 Patient/1/2 Patient/3"),
                ("Patient?_content=female", "Patient/1/2"),
            ],
        );
        clinic.reopen();
    }
}

/// SRCH-164, SRCH-160, SRCH-037, SRCH-038, SRCH-007
fn resources_are_found_by_what_they_refer_to_and_by_what_refers_to_them(clinic: &mut Clinic) {
    write(clinic, "Organization/o", "\"name\":\"Acme\"");
    for (id, gender) in [("1", "male"), ("2", "female"), ("3", "male")] {
        let organization = refers("managingOrganization", "Organization/o");
        write(clinic, &format!("Patient/{id}"), &format!("\"gender\":\"{gender}\",{organization}"));
        write(clinic, &format!("Observation/{id}"), &coded("x", &format!("Patient/{id}")));
    }
    write(clinic, "Observation/4", &coded("y", "Patient/1"));
    write(clinic, "Location/a", &refers("partOf", "Location/b"));
    write(clinic, "Location/b", &refers("partOf", "Location/c"));
    write(clinic, "List/l", "\"entry\":[{\"item\":{\"reference\":\"Patient/2\"}}]");
    clinic.write(delete("Patient/3", Expect::Any));
    check(
        &clinic.snapshot(),
        &[
            ("Observation?patient=3", "Observation/3"),
            ("Observation?patient.gender=male", "Observation/1 Observation/4"),
            ("Observation?patient.organization.name=acme&code=x", "Observation/1 Observation/2"),
            ("Patient?_has:Observation:patient:code=x", "Patient/1 Patient/2"),
            ("Patient?_has:Observation:patient:code=y", "Patient/1"),
            (
                "Organization?_has:Patient:organization:_has:Observation:patient:code=y",
                "Organization/o",
            ),
            ("Patient/1/Observation", "Observation/1 Observation/4"),
            ("Location?partof:below=c", "Location/a Location/b"),
            ("Patient?_list=l", "Patient/2"),
        ],
    );
}

/// SRCH-252, SRCH-164, SRCH-253
fn what_is_not_seen_does_not_exist(clinic: &mut Clinic) {
    for id in ["1", "2"] {
        let link = format!("\"link\":[{{{}}}]", refers("other", "Patient/2"));
        write(clinic, &format!("Patient/{id}"), &format!("\"gender\":\"male\",{link}"));
        write(clinic, &format!("Observation/{id}"), &coded("x", &format!("Patient/{id}")));
    }
    write(clinic, "List/l", "\"entry\":[{\"item\":{\"reference\":\"Patient/1\"}}]");
    let cases = [
        ("Patient?gender=male", "Patient/1 Patient/2", "Patient/1"),
        ("Patient?link=2", "Patient/1 Patient/2", "Patient/1"),
        ("Patient?link:Patient.gender=male", "Patient/1 Patient/2", ""),
        ("Patient?_has:Observation:patient:code=x", "Patient/1 Patient/2", ""),
        ("Patient?_has:Patient:link:gender=male", "Patient/2", ""),
        ("Patient?_list=l", "Patient/1", ""),
        ("Observation", "Observation/1 Observation/2", ""),
        (
            "Patient?_include=Patient:link&_revinclude=Observation:patient&_id=1",
            "Patient/1 | Patient/2 Observation/1",
            "Patient/1",
        ),
    ];
    check(&clinic.snapshot(), &cases.map(|(request, all, _)| (request, all)));
    check(&only(clinic, "Patient/1"), &cases.map(|(request, _, seen)| (request, seen)));
}

/// SRCH-250
fn a_search_that_costs_too_much_is_refused_whole(clinic: &mut Clinic) {
    for id in 0..10 {
        write(clinic, &format!("Patient/{id}"), "");
        write(clinic, &format!("Observation/{id}"), &coded("x", &format!("Patient/{id}")));
    }
    let snapshot = clinic.snapshot();
    // Others need not be looked at.
    let few = database::Asked { budget: 2, ..asked() };
    let found = block_on(snapshot.search(&query("Patient?_id=3,5,3&active:missing=true"), &few));
    assert_eq!(names(&found.unwrap().matches), "Patient/3 Patient/5");
    for (request, costs) in [
        ("Patient", 10),
        ("Observation?patient.active:missing=true", 20),
        ("Patient?_has:Observation:patient:code=x", 20),
        ("Patient?_has:Observation:patient:patient.active:missing=true", 30),
        ("Patient?_revinclude=Observation:patient", 20),
        ("Observation?_include=Observation:patient", 20),
    ] {
        let query = query(request);
        let search = |budget| {
            let asked = database::Asked { budget, ..asked() };
            block_on(snapshot.search(&query, &asked))
        };
        assert_eq!(search(costs).unwrap().matches.len(), 10, "{request}");
        let refused = search(costs - 1);
        assert!(
            matches!(refused, Err(SearchError::TooCostly { budget, .. }) if budget == costs - 1),
            "{request}"
        );
    }
}

/// SRCH-107
fn a_question_without_an_answer_is_refused_whatever_there_is(clinic: &mut Clinic) {
    // Nothing.
    let snapshot = clinic.snapshot();
    let unknown = search(&snapshot, "Observation?code:in=http://a.example/vs");
    let Err(SearchError::Codes(CodesError::UnknownValueSet(value_set))) = unknown else {
        panic!("{unknown:?}");
    };
    assert_eq!(&*value_set, "http://a.example/vs");
    let invalid = database::Asked { after: Some(b"no position"), ..asked() };
    let refused = block_on(snapshot.search(&query("Patient"), &invalid));
    assert!(matches!(refused, Err(SearchError::Cursor(_))));
}

fn others_run_while_many_resources_are_looked_at(clinic: &mut Clinic) {
    let text = "x".repeat(2000);
    for id in 0..50 {
        write(clinic, &format!("Patient/{id}"), &format!("\"name\":[{{\"text\":\"{text}\"}}]"));
    }
    let snapshot = clinic.snapshot();
    // It may go from thread to thread.
    let tasks = [0, 1].map(|_| {
        let snapshot = snapshot.clone();
        async move {
            let query = query("Patient?name=x");
            let asked = asked();
            let mut search = Box::pin(snapshot.search(&query, &asked));
            let mut waits = 0;
            std::future::poll_fn(|context| {
                let polled = search.as_mut().poll(context);
                waits += usize::from(polled.is_pending());
                polled.map(|found| found.unwrap().matches.len())
            })
            .await;
            waits
        }
    });
    for waits in at_once(tasks) {
        assert!(waits >= 4, "{waits}");
    }
}

/// SRCH-091
fn large_resources_are_found_like_small_ones(clinic: &mut Clinic) {
    for length in [30_000, 100_000, 300_000] {
        let text = "y".repeat(length);
        let name = format!("\"name\":[{{\"text\":\"x {text} end\"}}]");
        write(clinic, &format!("Patient/{length}"), &name);
    }
    let snapshot = clinic.snapshot();
    let task = async move {
        let mut found = Vec::new();
        for request in ["Patient?name=x", "Patient?name:contains=y%20end", "Patient?_content=end"] {
            let matches = snapshot.search(&query(request), &asked()).await.unwrap().matches;
            found.push(names(&matches));
        }
        found
    };
    let all = "Patient/30000 Patient/100000 Patient/300000";
    assert_eq!(at_once([task]), [[all; 3]]);
}

fn a_chain_may_lead_to_more_resources_than_are_kept(clinic: &mut Clinic) {
    let of_one = |id: usize| {
        let gender = if id.is_multiple_of(3) { "male" } else { "female" };
        let patient = format!("{{\"resourceType\":\"Patient\",\"gender\":\"{gender}\"}}");
        let subject = refers("subject", &format!("Patient/{id}"));
        let observation = format!("{{\"resourceType\":\"Observation\",{subject}}}");
        [
            put(&format!("Patient/{id}"), &patient, Expect::Any),
            put(&format!("Observation/{id}"), &observation, Expect::Any),
        ]
    };
    clinic.commit((0..2100).flat_map(of_one).collect()).unwrap();
    let snapshot = clinic.snapshot();
    for request in
        ["Observation?patient.gender=male", "Patient?_has:Observation:patient:patient.gender=male"]
    {
        assert_eq!(search(&snapshot, request).unwrap().total, Some(700), "{request}");
    }
}

#[test]
fn who_was_purged_is_found_by_nothing() {
    let clinic = Clinic::over_sled();
    for id in ["1", "2"] {
        write(&clinic, &format!("Patient/{id}"), "\"gender\":\"male\"");
        write(&clinic, &format!("Observation/{id}"), &coded("x", &format!("Patient/{id}")));
    }
    let purge = Purge {
        patient: "1".parse().unwrap(),
        reason: "asked for by letter".to_owned(),
        by: "uid 1000".to_owned(),
        commit: CommitId(u128::MAX - 7),
    };
    let before = clinic.snapshot();
    block_on(clinic.database().purge(purge)).unwrap();
    for snapshot in [before, clinic.snapshot()] {
        for (request, expected) in [
            ("Patient?gender=male", "Patient/2"),
            ("Observation?patient.gender=male", "Observation/2"),
            ("Patient?_has:Observation:patient:code=x", "Patient/2"),
        ] {
            assert_eq!(names(&search(&snapshot, request).unwrap().matches), expected, "{request}");
        }
    }
}
