//! What is included with the matches.

use database::{Asked, Expect, SearchError, Visibility};
use store::T;

use super::differential::index;
use super::{asked, check, names, query, refers, search, write};
use crate::support::{Clinic, block_on, delete};

over_each_backend! {
    what_matches_refer_to_and_what_refers_to_them_is_added
    included_resources_lead_on_where_that_is_asked_and_a_cycle_ends
    every_reference_of_a_type_or_of_all_is_followed
    a_reference_to_a_version_includes_that_version
    a_version_that_the_index_dropped_is_included_all_the_same
    what_is_not_there_is_left_out
    each_page_has_what_its_own_matches_include
    no_more_is_included_than_may_be
}

/// SRCH-170, SRCH-171, SRCH-172, SRCH-174, SRCH-182
fn what_matches_refer_to_and_what_refers_to_them_is_added(clinic: &mut Clinic) {
    write(clinic, "Patient/1", "");
    write(clinic, "Group/1", "");
    write(clinic, "Observation/1", &refers("subject", "Patient/1"));
    write(clinic, "Observation/2", &refers("subject", "Group/1"));
    let member = "\"hasMember\":[{\"reference\":\"Observation/1\"}]";
    write(clinic, "Observation/3", &format!("{},{member}", refers("subject", "Patient/1")));
    let all = "Observation/1 Observation/2 Observation/3";
    check(
        &clinic.snapshot(),
        &[
            ("Observation?_include=Observation:subject", &format!("{all} | Patient/1 Group/1")),
            ("Observation?_include=Observation:subject:Patient", &format!("{all} | Patient/1")),
            ("Observation?_include=Observation:has-member", all),
            ("Observation?_id=3&_include=Observation:has-member", "Observation/3 | Observation/1"),
            ("Patient?_include=Observation:subject", "Patient/1"),
            ("Patient?_revinclude=Observation:subject", "Patient/1 | Observation/1 Observation/3"),
            ("Group?_revinclude=Observation:subject:Patient", "Group/1"),
            (
                "Observation?_id=1,3&_revinclude=Observation:has-member",
                "Observation/1 Observation/3",
            ),
        ],
    );
}

/// SRCH-175
fn included_resources_lead_on_where_that_is_asked_and_a_cycle_ends(clinic: &mut Clinic) {
    for (id, part_of) in [("1", "2"), ("2", "3"), ("3", "1")] {
        write(
            clinic,
            &format!("Organization/{id}"),
            &refers("partOf", &format!("Organization/{part_of}")),
        );
    }
    write(clinic, "Patient/1", &refers("managingOrganization", "Organization/1"));
    check(
        &clinic.snapshot(),
        &[
            ("Patient?_include=Patient:organization", "Patient/1 | Organization/1"),
            (
                "Patient?_include=Patient:organization&_include=Organization:partof",
                "Patient/1 | Organization/1",
            ),
            (
                "Patient?_include=Patient:organization&_include:iterate=Organization:partof",
                "Patient/1 | Organization/1 Organization/2 Organization/3",
            ),
            (
                "Organization?_id=3&_revinclude:iterate=Organization:partof",
                "Organization/3 | Organization/2 Organization/1",
            ),
            (
                "Organization?_id=3&_revinclude:iterate=Organization:partof\
                 &_revinclude:iterate=Patient:organization",
                "Organization/3 | Organization/2 Organization/1 Patient/1",
            ),
        ],
    );
}

/// SRCH-176
fn every_reference_of_a_type_or_of_all_is_followed(clinic: &mut Clinic) {
    write(clinic, "Patient/1", &refers("managingOrganization", "Organization/1"));
    write(clinic, "Organization/1", "");
    write(clinic, "Encounter/1", &refers("subject", "Patient/1"));
    let both = format!("{},{}", refers("subject", "Patient/1"), refers("encounter", "Encounter/1"));
    write(clinic, "Observation/1", &both);
    let included = "Observation/1 | Encounter/1 Patient/1";
    check(
        &clinic.snapshot(),
        &[
            ("Observation?_include=*", included),
            ("Observation?_include=Observation:*", included),
            ("Observation?_include=Patient:*", "Observation/1"),
            ("Observation?_include:iterate=*", &format!("{included} Organization/1")),
            ("Patient?_revinclude=*", "Patient/1 | Encounter/1 Observation/1"),
            ("Patient?_revinclude=Encounter:*", "Patient/1 | Encounter/1"),
        ],
    );
}

/// SRCH-179
fn a_reference_to_a_version_includes_that_version(clinic: &mut Clinic) {
    write(clinic, "Patient/1", "\"gender\":\"male\"");
    write(clinic, "Patient/1", "\"gender\":\"female\"");
    for version in 1..=3 {
        let to = format!("Patient/1/_history/{version}");
        write(clinic, &format!("Observation/{version}"), &refers("subject", &to));
    }
    check(
        &clinic.snapshot(),
        &[
            ("Observation?_id=1&_include=Observation:subject", "Observation/1 | Patient/1"),
            ("Observation?_id=2&_include=Observation:subject", "Observation/2 | Patient/1/2"),
            ("Observation?_id=3&_include=Observation:subject", "Observation/3"),
        ],
    );
}

/// SRCH-183
fn what_is_not_there_is_left_out(clinic: &mut Clinic) {
    write(clinic, "Patient/gone", "");
    clinic.write(delete("Patient/gone", Expect::Any));
    let references = ["Patient/gone", "Patient/never", "#p", "https://other.example/Patient/1"];
    for (id, to) in references.iter().enumerate() {
        let contained = "\"contained\":[{\"resourceType\":\"Patient\",\"id\":\"p\"}]";
        let members = format!("{contained},{}", refers("subject", to));
        write(clinic, &format!("Observation/{id}"), &members);
    }
    let all = "Observation/0 Observation/1 Observation/2 Observation/3";
    check(&clinic.snapshot(), &[("Observation?_include=Observation:subject", all)]);
}

/// SRCH-173
fn each_page_has_what_its_own_matches_include(clinic: &mut Clinic) {
    write(clinic, "Patient/1", "");
    for id in 0..4 {
        write(clinic, &format!("Observation/{id}"), &refers("subject", "Patient/1"));
    }
    let (snapshot, query) = (clinic.snapshot(), query("Observation?_include=Observation:subject"));
    let mut after = None;
    for _ in 0..2 {
        let asked = Asked { most: 2, after: after.as_deref(), ..asked() };
        let found = block_on(snapshot.search(&query, &asked)).unwrap();
        assert_eq!((found.matches.len(), &*names(&found.included)), (2, "Patient/1"));
        assert_eq!(found.total, Some(4));
        after = found.next;
    }
}

/// SRCH-177
fn no_more_is_included_than_may_be(clinic: &mut Clinic) {
    write(clinic, "Patient/1", "");
    for id in 0..4 {
        write(clinic, &format!("Observation/{id}"), &refers("subject", "Patient/1"));
    }
    let (snapshot, query) = (clinic.snapshot(), query("Patient?_revinclude=Observation:subject"));
    for (most_included, cut) in [(3, true), (4, false), (0, true)] {
        let asked = Asked { most_included, ..asked() };
        let found = block_on(snapshot.search(&query, &asked)).unwrap();
        assert_eq!((found.included.len(), found.included_cut), (most_included, cut));
        assert_eq!(found.matches.len(), 1);
    }
    assert!(search(&snapshot, "Patient").unwrap().included.is_empty());
}

/// SRCH-179: the index drops what was replaced more than a day ago, and the store has it.
fn a_version_that_the_index_dropped_is_included_all_the_same(clinic: &mut Clinic) {
    const DAY: i64 = 24 * 3600 * 1_000_000;
    index(clinic.database());
    write(clinic, "Organization/1", "");
    write(clinic, "Patient/1", &refers("managingOrganization", "Organization/1"));
    write(clinic, "Patient/1", "\"birthDate\":\"1970-01-01\"");
    write(clinic, "Observation/1", &refers("subject", "Patient/1/_history/1"));
    let instant = clinic.write(delete("Patient/2", Expect::Any)).instant;
    clinic.clock.set(instant.as_micros() + DAY);
    clinic.database().settle_index();
    let before = clinic.database().snapshot_at(T::new(2), Visibility::everything());
    assert!(matches!(search(&before, "Patient"), Err(SearchError::BeforeHorizon)));
    check(
        &clinic.snapshot(),
        &[
            ("Observation?_include=Observation:subject", "Observation/1 | Patient/1"),
            (
                "Observation?_include=Observation:subject&_include:iterate=Patient:organization",
                "Observation/1 | Patient/1 Organization/1",
            ),
            ("Patient?_revinclude=Observation:subject", "Patient/1/2 | Observation/1"),
        ],
    );
}
