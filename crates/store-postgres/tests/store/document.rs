//! docs/postgresql.md names the tests that hold its guarantees: they are there.

use std::fs;
use std::path::Path;

#[test]
fn every_test_that_the_document_names_is_there() {
    let document = include_str!("../../../../docs/postgresql.md");
    let (_, guarantees) = document.split_once("## Tests").unwrap();
    let is_test = |text: &str| text.matches('_').count() >= 4;
    let named: Vec<_> =
        guarantees.split('`').skip(1).step_by(2).filter(|text| is_test(text)).collect();
    assert!(named.len() >= 12, "{named:?}");
    // Its own tests, and the suite that every store passes.
    let folders = ["tests/store", "../store/src/suite"];
    let files = folders
        .map(|folder| fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap());
    let read = |entry: std::io::Result<fs::DirEntry>| fs::read_to_string(entry.unwrap().path());
    let sources: String = files.into_iter().flatten().map(|entry| read(entry).unwrap()).collect();
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "{name}");
    }
}
