//! `cargo xtask conformance packages`: published examples against their profiles, and Synthea's
//! Bundles, with each distinct error and how often it stands.

#[path = "../../../fhir-validation/tests/published/mod.rs"]
mod published;

use std::collections::BTreeMap;
use std::error::Error;

use integration_tests::test_data;
use published::{Extent, Found, SUITES};

/// Kinds of warnings printed of each suite, the most frequent first.
const WARNINGS: usize = 5;

/// Validates all of it; an error when something is found that the list does not have, or the list
/// has what is not found.
pub(super) fn run() -> Result<(), Box<dyn Error>> {
    let Some(folder) = test_data::folder() else {
        return Ok(());
    };
    let known = published::known();
    let mut surprises = Vec::new();
    for suite in &SUITES {
        let outcome = suite.run(&folder, Extent::Whole).map_err(|error| error.to_string())?;
        let errors: usize = outcome.errors.values().map(|it| it.count).sum();
        test_data::say(&format!(
            "{}: {} of {} without an error; {errors} errors of {} kinds, {} warnings of {}; {} \
             profiles",
            suite.name,
            outcome.without_error,
            outcome.total,
            outcome.errors.len(),
            outcome.warnings,
            outcome.remarks.len(),
            outcome.profiles.len(),
        ));
        if !outcome.missing.is_empty() {
            test_data::say(&format!("  not there: {}", outcome.missing.join(", ")));
        }
        for (error, found) in most_frequent(&outcome.errors) {
            let reason = known.get(&(suite.name, error)).copied().unwrap_or("not on the list");
            test_data::say(&format!("  {} times {error}: {reason}", found.count));
        }
        for (warning, found) in most_frequent(&outcome.remarks).into_iter().take(WARNINGS) {
            test_data::say(&format!("  {} times, a warning, {warning}", found.count));
        }
        surprises.extend(published::surprises(suite, Extent::Whole, &outcome));
    }
    if surprises.is_empty() {
        return Ok(());
    }
    Err(format!("not as the list says: {}", surprises.join("; ")).into())
}

fn most_frequent(found: &BTreeMap<String, Found>) -> Vec<(&str, &Found)> {
    let mut found: Vec<(&str, &Found)> = found.iter().map(|(name, it)| (&**name, it)).collect();
    found.sort_by_key(|(_, found)| std::cmp::Reverse(found.count));
    found
}
