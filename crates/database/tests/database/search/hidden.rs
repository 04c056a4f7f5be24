//! What a search costs whoever sees a part of the data, and whether it is refused, tells nothing of
//! the rest.

use database::{Action, Asked, Author, Expect, Rows, SearchError, Seen, SeenWithin, Visibility};

use super::kept::index;
use super::{asked, coded, names, query, write};
use crate::support::{Clinic, block_on, put};

/// Two observations of one patient, and of another as many as are hidden.
fn clinic(hidden: usize) -> Clinic {
    let clinic = Clinic::over_the_model();
    write(&clinic, "Patient/seen", r#""active":true"#);
    write(&clinic, "Observation/first", &coded("a", "Patient/seen"));
    for at in 0..hidden {
        write(&clinic, &format!("Observation/hidden{at}"), &coded("a", "Patient/hidden"));
        write(&clinic, &format!("Patient/hidden{at}"), r#""active":true,"gender":"male""#);
    }
    write(&clinic, "Observation/second", &coded("b", "Patient/seen"));
    clinic
}

/// What is found and the rows of that; of so many that may be looked at.
fn told(clinic: &Clinic, request: &str, budget: u64) -> (Option<String>, u64) {
    let seen = || vec![Seen::within_patients(["seen".parse().unwrap()])];
    let types = ["Patient", "Observation"].map(|of| (of.parse().unwrap(), seen()));
    let rows = Rows::default();
    let snapshot = clinic.database().snapshot(Visibility::of_parts(types.into())).counted(&rows);
    let asked = Asked { budget, ..asked() };
    let found = match block_on(snapshot.search(&query(request), &asked)) {
        Ok(found) => Some(format!("{} | {}", names(&found.matches), names(&found.included))),
        Err(SearchError::TooCostly { .. }) => None,
        Err(error) => panic!("{request}: {error}"),
    };
    (found, rows.get())
}

#[test]
fn what_a_search_costs_tells_nothing_of_what_is_hidden() {
    // SRCH-253, LEAK-05
    let (few, many) = (clinic(1), clinic(150));
    for is_indexed in [false, true] {
        if is_indexed {
            index(&few);
            index(&many);
        }
        for request in [
            "Observation?code=a",
            "Observation?code:not=a&_sort=date",
            "Observation?subject:Patient.active=true&_include=Observation:subject",
            "Patient?_has:Observation:subject:code=a&_revinclude=Observation:subject",
            "Patient?gender:missing=true",
            "Patient?gender=male&name:contains=a",
        ] {
            for budget in [0, 1, 2, 3, 5, 1_000_000] {
                let (one, other) = (told(&few, request, budget), told(&many, request, budget));
                assert_eq!(one, other, "{request} of {budget}, with an index: {is_indexed}");
            }
        }
    }
}

#[test]
fn what_somebody_made_is_found_by_an_index_that_was_kept() {
    let mut clinic = Clinic::over_sled_with_a_kept_index();
    let [ada, bob] = ["ada", "bob"].map(|user| Author::of("app", Some(user)));
    for (name, author) in [("Basic/a", ada), ("Basic/b", bob), ("Basic/c", ada)] {
        let mut change = put(name, r#"{"resourceType":"Basic"}"#, Expect::Any);
        if let Action::Write { body, .. } = &mut change.action {
            **body = body.as_ref().clone().written_by(author);
        }
        clinic.write(change);
    }
    for round in 0..3 {
        index(&clinic);
        assert_eq!(clinic.was_restored(), round > 0, "round {round}");
        for (author, expected) in [(ada, 2), (bob, 1)] {
            let within = SeenWithin::Compartments([author.as_compartment()].into());
            let own = vec![Seen { within, filter: None }];
            let visibility = Visibility::of_parts([("Basic".parse().unwrap(), own)].into());
            let snapshot = clinic.database().snapshot(visibility);
            let found = block_on(snapshot.search(&query("Basic"), &asked())).unwrap();
            assert_eq!(found.matches.len(), expected, "round {round}");
        }
        clinic.reopen();
    }
}
