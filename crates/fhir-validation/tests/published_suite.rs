//! A sample of what others published: every error in it is on the list, with its reason.
//! `cargo xtask conformance packages` validates all of it.

mod published;
mod support;

use published::{SUITES, surprises};

#[test]
fn a_sample_of_published_examples_has_only_the_errors_on_the_list() {
    // VAL-051, VAL-149
    let Some(folder) = support::folder("HEARTHGATE_TEST_DATA") else { return };
    for suite in &SUITES {
        let outcome = suite.run(&folder, suite.sample()).unwrap();
        let surprises = surprises(suite, suite.sample(), &outcome);
        assert!(surprises.is_empty(), "{}", surprises.join("\n"));
        // Each of Synthea's newer Bundles has codes that their code system cannot have.
        let has_good_ones = !suite.name.starts_with("synthea-newer");
        let good = outcome.without_error;
        assert!(outcome.total > 0 && (good > 0) == has_good_ones, "{}: {outcome:?}", suite.name);
    }
}

#[test]
fn the_list_names_suites_that_are_there_and_gives_reasons() {
    let known = published::known();
    assert!(!known.is_empty() && known.len() <= MOST_KNOWN, "the list may only shrink");
    for ((suite, error), reason) in known {
        assert!(SUITES.iter().any(|it| it.name == suite), "{suite} {error}");
        assert!(error.contains(' ') && reason.len() > 20, "{suite} {error}: {reason}");
    }
}

/// How long the list was last.
const MOST_KNOWN: usize = 13;
