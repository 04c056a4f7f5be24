//! docs/storage.md names the tests of each guarantee: they are there.

use std::fs;
use std::path::Path;

#[test]
fn every_test_that_the_storage_document_names_is_there() {
    let document = include_str!("../../../../docs/storage.md");
    let (_, guarantees) = document.split_once("## Guarantees").unwrap();
    let guarantees = guarantees.split("\n## ").next().unwrap();
    let sources = sources();
    let is_test = |text: &str| text.contains('_') && !text.contains(['/', '.', ' ']);
    let named: Vec<_> =
        guarantees.split('`').skip(1).step_by(2).filter(|text| is_test(text)).collect();
    assert!(named.len() > 25, "{named:?}");
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "{name}");
    }
}

/// The sources of the crates that hold the guarantees, tests among them.
fn sources() -> String {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = |name: &str| own.parent().unwrap().join(name);
    let mut folders = vec![own.to_owned(), beside("../integration-tests")];
    folders.extend(["store", "database", "server", "hearthgate"].map(beside));
    let mut sources = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources += &fs::read_to_string(path).unwrap();
            }
        }
    }
    sources
}
