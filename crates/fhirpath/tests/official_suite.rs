//! The official suite, as a test: what differs is exactly what the list says.

mod official;

use std::path::PathBuf;

#[test]
fn the_official_suite_differs_only_where_the_list_says_so_with_a_reason() {
    #[expect(clippy::disallowed_methods, reason = "where tests learn where their data is")]
    let folder = std::env::var_os("HEARTHGATE_TEST_DATA");
    let Some(folder) = folder.filter(|it| !it.is_empty()) else {
        println!("skipped: HEARTHGATE_TEST_DATA names no folder of test data");
        return;
    };
    let outcome = official::run(&PathBuf::from(folder).join("fhirpath")).unwrap();
    let differing = outcome.disagreements.len();
    println!("{} of {} agree", outcome.total - differing, outcome.total);
    let surprises = outcome.surprises();
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert!(outcome.total >= 935, "the suite has {} tests", outcome.total);
}
