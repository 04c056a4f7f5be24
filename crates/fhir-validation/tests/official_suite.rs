//! The official validator cases, as a test: what differs is exactly what the list says.

mod official;
mod support;

#[test]
fn the_official_cases_differ_only_where_the_list_says_so_with_a_reason() {
    let Some(folder) = support::folder("HEARTHGATE_TEST_DATA") else { return };
    let cases = official::run(&folder.join("validator")).unwrap();
    let surprises = official::surprises(&cases);
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert!(cases.len() >= 94, "there are {} cases", cases.len());
    let paths: Vec<bool> = cases.iter().filter_map(official::Case::path_agrees).collect();
    assert!(!paths.is_empty());
}
