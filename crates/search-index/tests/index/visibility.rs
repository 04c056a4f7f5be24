//! What may not be seen is as if it were not there, in every step of a search.

use fhir_core::{ResourceId, ResourceType};
use store::T;

use crate::support::{CONTEXT, Site, query};
use search_index::{SearchError, Settled, Visible, VisiblePart, VisibleTypes, VisibleWithin};

fn of(name: &str) -> ResourceType {
    ResourceType::new(name).unwrap()
}

pub(crate) fn of_types(types: &[&str]) -> Visible {
    let types: Vec<_> = types.iter().map(|name| (of(name), Vec::new())).collect();
    Visible::Any(vec![VisiblePart {
        types: VisibleTypes::These(types.into()),
        within: VisibleWithin::Anywhere,
    }])
}

pub(crate) fn of_patients(ids: &[&str]) -> Visible {
    let about = ids.iter().map(|id| (of("Patient"), ResourceId::new(id).unwrap())).collect();
    Visible::Any(vec![VisiblePart {
        types: VisibleTypes::All,
        within: VisibleWithin::Compartments(about),
    }])
}

/// Observations of which a condition holds, and all patients.
fn filtered(url: &str) -> Visible {
    let clauses = query(url).types.remove(0).clauses;
    Visible::Any(vec![VisiblePart {
        types: VisibleTypes::These([(of("Observation"), clauses), (of("Patient"), vec![])].into()),
        within: VisibleWithin::Anywhere,
    }])
}

fn check_at(site: &Site, t: T, visible: &Visible, expected: &[(&str, &[&str])]) {
    for (url, found) in expected {
        assert_eq!(site.find_at(t, visible, url).unwrap(), *found, "{url}");
    }
}

const RESOURCES: &[&str] = &[
    r#"{"resourceType":"Patient","id":"a","name":[{"family":"Open"}]}"#,
    r#"{"resourceType":"Patient","id":"b","name":[{"family":"Closed"}]}"#,
    r#"{"resourceType":"Observation","id":"1","status":"final","code":{"coding":[{"code":"x"}]},"subject":{"reference":"Patient/a"}}"#,
    r#"{"resourceType":"Observation","id":"2","status":"final","code":{"coding":[{"code":"x"}]},"subject":{"reference":"Patient/b"}}"#,
    r#"{"resourceType":"Observation","id":"3","status":"final","code":{"coding":[{"code":"y"}]},"subject":{"reference":"Patient/b"}}"#,
];

#[test]
fn hits_totals_chains_and_reverse_chains_are_within_what_may_be_seen() {
    // SRCH-164, SRCH-252, LEAK-05, LEAK-16
    let site = Site::with(RESOURCES);
    for _ in 0..2 {
        check_at(
            &site,
            site.t(),
            &of_patients(&["a"]),
            &[
                ("Observation?code=x", &["Observation/1"]),
                ("Observation?code:not=x", &[]),
                ("Observation?subject:missing=false", &["Observation/1"]),
                ("Patient?", &["Patient/a"]),
                ("Patient?_id=b", &[]),
                ("Patient?_sort=-family", &["Patient/a"]),
            ],
        );
        check_at(
            &site,
            site.t(),
            &of_types(&["Observation"]),
            &[
                ("Observation?subject:Patient.name=open", &[]),
                ("Observation?subject=Patient/a", &["Observation/1"]),
            ],
        );
        check_at(
            &site,
            site.t(),
            &of_types(&["Patient"]),
            &[
                ("Patient?_has:Observation:subject:code=x", &[]),
                ("Patient?name=closed", &["Patient/b"]),
            ],
        );
        check_at(&site, site.t(), &Visible::Any(Vec::new()), &[("Patient?", &[])]);
        check_at(
            &site,
            site.t(),
            &filtered("Observation?code=x"),
            &[
                ("Observation?", &["Observation/1", "Observation/2"]),
                ("Patient?_has:Observation:subject:code=y", &[]),
            ],
        );
        let chained = filtered("Observation?subject:Patient.name=closed");
        check_at(
            &site,
            site.t(),
            &chained,
            &[("Observation?", &["Observation/2", "Observation/3"])],
        );
        site.settle();
    }
}

#[test]
fn an_older_version_is_shown_only_if_the_newest_may_be_seen_too() {
    // LEAK-08, LEAK-17
    let observation = |id: &str, patient: &str| {
        format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{}},
                "subject":{{"reference":"Patient/{patient}"}}}}"#
        )
    };
    let mut site = Site::default();
    for id in ["moved", "deleted", "same"] {
        site.put(&observation(id, "a"));
    }
    let before = site.t();
    site.put(&observation("moved", "b"));
    site.put(&observation("same", "a"));
    site.delete("Observation", "deleted");
    for _ in 0..2 {
        check_at(
            &site,
            before,
            &Visible::Everything,
            &[("Observation?", &["Observation/moved", "Observation/deleted", "Observation/same"])],
        );
        check_at(
            &site,
            before,
            &of_patients(&["a"]),
            &[("Observation?", &["Observation/deleted", "Observation/same"])],
        );
        check_at(&site, before, &of_patients(&["b"]), &[("Observation?", &[])]);
        check_at(
            &site,
            site.t(),
            &of_patients(&["b"]),
            &[("Observation?", &["Observation/moved"])],
        );
        site.settle();
    }
}

#[test]
fn what_is_contained_is_judged_with_its_container() {
    let site = Site::with(&[
        r##"{"resourceType":"MedicationRequest","id":"r","status":"active","intent":"order",
            "contained":[{"resourceType":"Medication","id":"m","code":{"coding":[{"code":"abc"}]}}],
            "medicationReference":{"reference":"#m"},"subject":{"reference":"Patient/a"}}"##,
    ]);
    let url = "MedicationRequest?medication.code=abc";
    for _ in 0..2 {
        check_at(&site, site.t(), &of_patients(&["a"]), &[(url, &["MedicationRequest/r"])]);
        check_at(&site, site.t(), &of_patients(&["b"]), &[(url, &[])]);
        site.settle();
    }
}

#[test]
fn what_is_ahead_or_before_the_horizon_is_refused() {
    // G4 holds as far back as the horizon.
    let mut site = Site::default();
    for active in [true, false, true] {
        site.put(&format!(r#"{{"resourceType":"Patient","id":"a","active":{active}}}"#));
    }
    let search = |t| site.index.search(T::new(t), &Visible::Everything, CONTEXT).map(|_| ());
    assert_eq!(search(4), Err(SearchError::Ahead { t: T::new(4) }));
    assert_eq!(search(1), Ok(()));
    site.index.close_tail();
    // What ended with the second commit goes, what ended with the third stays.
    site.index.settle(crate::support::instant(2));
    let before = SearchError::BeforeHorizon { oldest: T::new(2) };
    assert_eq!(search(1), Err(before));
    check_at(&site, T::new(2), &Visible::Everything, &[("Patient?active=false", &["Patient/a"])]);
    assert_eq!(site.index.size().documents, 2);
}

#[test]
fn a_segment_of_versions_that_ended_long_ago_is_written_anew() {
    let mut site = Site::default();
    let put = |site: &mut Site, id: &str| {
        for _ in 0..3 {
            site.put(&format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#));
        }
    };
    put(&mut site, "a");
    site.settle();
    assert_eq!(site.index.size().documents, 3);
    put(&mut site, "b");
    let settle = |t| while site.index.settle(crate::support::instant(t)) != Settled::Nothing {};
    settle(1);
    assert_eq!(site.index.size().documents, 6);
    settle(3);
    // Those of the tail are still there.
    assert_eq!(site.index.size().documents, 4);
    assert_eq!(site.find("Patient?"), ["Patient/a", "Patient/b"]);
}

#[test]
fn what_may_not_be_seen_adds_no_cost() {
    // SRCH-253
    let mut site = Site::with(RESOURCES);
    let cost = |site: &Site| {
        let query =
            query("Patient?_has:Observation:patient:code=x&_has:Observation:subject:code=y");
        let search = site.index.search(site.t(), &of_types(&["Patient"]), CONTEXT).unwrap();
        assert_eq!(search.find(&query).unwrap().total(), 0);
        search.cost()
    };
    let before = cost(&site);
    for id in 10..300 {
        site.put(&format!(
            r#"{{"resourceType":"Observation","id":"{id}","code":{{"coding":[{{"code":"x"}}]}},"subject":{{"reference":"Patient/a"}}}}"#
        ));
    }
    assert!(cost(&site) <= before, "{} {before}", cost(&site));
}
