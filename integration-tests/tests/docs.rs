//! The documents, held to what they speak of: tests that are named exist, tables agree with the
//! code, links lead somewhere, and examples do what is said of them.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

#[path = "docs/examples.rs"]
mod examples;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use integration_tests::architecture::rules::{Library, MayName, ROWS, Side, WIDENINGS};
use integration_tests::binary;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file with this extension below `folder`, but for what is built.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with(".git") {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
}

/// README, CHANGELOG and all below docs.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    files(&root().join("docs"), "md", &mut found);
    found.sort();
    found
}

/// The cells of each row of each table in a document, heads among them.
fn rows(document: &str) -> Vec<Vec<String>> {
    let rows = document.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What stands between backticks, in order.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Macros that make tests of the functions they list.
const MAKERS: [&str; 3] =
    ["for_both_deployments! {", "for_every_deployment! {", "over_each_backend! {"];

/// Functions that are tests: marked so, made so by a macro, or of the suite that stores are run
/// against.
fn tests() -> BTreeSet<String> {
    let mut sources = Vec::new();
    for folder in ["crates", "integration-tests"] {
        files(&root().join(folder), "rs", &mut sources);
    }
    let mut names = BTreeSet::new();
    for path in sources {
        let in_suite = path.components().any(|part| part.as_os_str() == "suite");
        let source = fs::read_to_string(&path).unwrap();
        let mut is_marked = false;
        let mut is_listed = false;
        for line in source.lines().map(str::trim) {
            if is_listed {
                names.insert(line.trim_end_matches(',').to_owned());
            }
            is_listed = MAKERS.contains(&line) || is_listed && line != "}";
            let is_attribute = line.starts_with("#[");
            is_marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let Some((_, after)) = line.split_once("fn ").filter(|_| !line.starts_with("//"))
            else {
                // Between the mark and the function stand attributes and comments alone.
                is_marked &= is_attribute || line.starts_with("//") || line.is_empty();
                continue;
            };
            let name = after.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
            if is_marked || in_suite {
                names.extend(name.map(str::to_owned));
            }
            is_marked = false;
        }
    }
    names
}

/// Checks the numbered rows of a document's table: each names tests, and all that it names exist.
fn check_numbered(path: &str, letter: char) -> Vec<usize> {
    let tests = tests();
    let mut numbers = Vec::new();
    for row in rows(&read(path)) {
        let number = row[0].strip_prefix(letter).and_then(|digits| digits.parse().ok());
        let Some(number) = number else { continue };
        numbers.push(number);
        let named = quoted(row.last().unwrap());
        assert!(!named.is_empty(), "{path}: {letter}{number} names no test");
        for name in named {
            assert!(tests.contains(name), "{path}: {letter}{number}: there is no test {name}");
        }
    }
    numbers
}

#[test]
fn every_invariant_has_its_number_and_tests_that_exist() {
    let numbers = check_numbered("docs/ARCHITECTURE.md", 'I');
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
    assert!(numbers.len() > 20);
}

#[test]
fn every_guarantee_of_storage_names_tests_that_exist() {
    let numbers = check_numbered("docs/storage.md", 'G');
    assert!(numbers.is_sorted() && numbers.len() > 5, "{numbers:?}");
}

/// What is not there leaks nothing, and has no test: the row says so.
#[test]
fn every_class_of_leak_names_tests_that_exist() {
    let (path, tests) = ("docs/security.md", tests());
    let mut numbers = Vec::new();
    for row in rows(&read(path)) {
        let Some(number) = row[0].strip_prefix("LEAK-") else { continue };
        numbers.push(number.parse::<usize>().unwrap());
        let named = quoted(row.last().unwrap());
        assert!(!named.is_empty() || row[1].ends_with(": not there"), "LEAK-{number}");
        for name in named {
            assert!(tests.contains(name), "{path}: LEAK-{number}: there is no test {name}");
        }
    }
    assert_eq!(numbers, (1..=30).collect::<Vec<_>>());
}

#[test]
fn every_dependency_has_its_line_and_no_other_is_spoken_of() {
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let declared = manifest["workspace"]["dependencies"].as_table().unwrap();
    let is_ours = |value: &toml::Value| value.get("path").is_some();
    let declared: BTreeSet<&str> = declared
        .iter()
        .filter(|(_, value)| !is_ours(value))
        .map(|(name, _)| name.as_str())
        .collect();
    let document = read("docs/dependencies.md");
    let lines = rows(&document);
    let lines: Vec<&Vec<String>> = lines.iter().filter(|row| row[0].starts_with('`')).collect();
    for line in &lines {
        assert!(line.len() == 5 && line.iter().all(|cell| !cell.is_empty()), "{line:?}");
    }
    let spoken_of: BTreeSet<&str> = lines.iter().map(|line| quoted(&line[0])[0]).collect();
    assert_eq!(spoken_of, declared);
}

/// A library as the document writes it: a star stands for its family.
fn written(library: &Library) -> Vec<String> {
    match library {
        Library::Named(name) => vec![(*name).to_owned()],
        Library::Family(name) => vec![format!("{name}*")],
        Library::Group(members) => members.iter().flat_map(written).collect(),
    }
}

fn set(cell: &str) -> BTreeSet<String> {
    quoted(cell).into_iter().map(str::to_owned).collect()
}

#[test]
fn the_table_of_crates_is_the_one_that_is_held() {
    let document = read("docs/ARCHITECTURE.md");
    let start = document.find("## Which crate may name which").unwrap();
    let end = start + document[start..].find("## Invariants").unwrap();
    let found = rows(&document[start..end]);
    let of_width = |width: usize| -> BTreeMap<String, Vec<String>> {
        let rows = found.iter().filter(|row| row.len() == width && row[0].starts_with('`'));
        rows.map(|row| (quoted(&row[0])[0].to_owned(), row.clone())).collect()
    };
    let table = of_width(4);
    assert_eq!(table.len(), ROWS.len(), "as many rows as rules");
    for row in ROWS {
        let cells = table.get(row.name).unwrap_or_else(|| panic!("no row for {}", row.name));
        let side = match row.side {
            Side::Gateway => "gateway",
            Side::Server => "server",
            Side::Shared => "shared",
            Side::Whole => "whole",
        };
        assert_eq!(cells[1], side, "{}", row.name);
        match row.may_name {
            MayName::All => assert_eq!(cells[2], "all", "{}", row.name),
            MayName::These(names) => {
                let names = names.iter().map(|name| (*name).to_owned()).collect();
                assert_eq!(set(&cells[2]), names, "{}", row.name);
            }
        }
        let libraries = row.libraries.iter().flat_map(written).collect();
        assert_eq!(set(&cells[3]), libraries, "{}", row.name);
    }
    let widened = of_width(3);
    assert_eq!(widened.len(), WIDENINGS.len(), "as many rows as widenings");
    for widening in WIDENINGS {
        let cells = &widened[widening.crate_name];
        let libraries = widening.libraries.iter().flat_map(written).collect();
        assert_eq!(set(&cells[1]), libraries, "{}", widening.crate_name);
        assert_eq!(cells[2], widening.reason, "{}", widening.crate_name);
    }
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut links = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link} leads nowhere", path.display());
            if !heading.is_empty() {
                let target = fs::read_to_string(&target).unwrap();
                let headings = target.lines().filter_map(|line| line.strip_prefix('#'));
                let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#')));
                assert!(anchors.any(|own| own == heading), "{}: no heading {link}", path.display());
            }
        }
    }
    assert!(links > 20, "links are read");
}

/// A heading as links name it.
fn anchor(heading: &str) -> String {
    let words = heading.trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_readme_gives_two_commands_that_can_be_run() {
    let readme = read("README.md");
    for script in ["deploy/quickstart.sh", "integration-tests/run.sh", ".ci/run"] {
        let mode = fs::metadata(root().join(script)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is executable");
    }
    for command in ["\n./deploy/quickstart.sh\n", "\n./integration-tests/run.sh\n"] {
        assert!(readme.contains(command), "{command}");
    }
    assert!(read(".ci/run").contains("./integration-tests/run.sh"));
    assert!(read("integration-tests/run.sh").contains("deploy/quickstart.sh --check"));
}

#[tokio::test]
async fn every_example_does_what_is_said_of_it() {
    let mut count = 0;
    for path in documents() {
        count += examples::run(&path).await;
    }
    assert!(count > 10, "examples are found");
}

/// The blocks marked `toml config`, without their indent: each with the line of its fence.
fn configurations_of(document: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = document.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(indent) = line.strip_suffix("```toml config") else { continue };
        let block = lines.by_ref().map(|(_, line)| line.strip_prefix(indent).unwrap_or(line));
        let block: Vec<&str> = block.take_while(|line| *line != "```").collect();
        found.push((index + 1, block.join("\n")));
    }
    found
}

#[test]
fn configurations_that_are_whole_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hearthgate.toml");
    let mut count = 0;
    for path in documents() {
        for (line, text) in configurations_of(&fs::read_to_string(&path).unwrap()) {
            fs::write(&file, text).unwrap();
            let arguments = ["check-config", "--config", file.to_str().unwrap()];
            let output = binary::run(folder.path(), &arguments);
            let said = binary::text(&output.stderr);
            assert!(output.status.success(), "{} line {line}: {said}", path.display());
            count += 1;
        }
    }
    assert!(count >= 3, "configurations are found");
}

#[test]
fn examples_are_found_with_what_they_print() {
    let document = "a\n```sh run\necho 1\n```\n\n```text\n1\n```\n```sh\nno\n```\n```sh run\nb\n```\nx\n```text\nn\n```\n";
    let found = format!("{:?}", examples::examples_of(document));
    assert!(found.contains(r#"line: 2, script: "echo 1\n", prints: Some("1\n")"#), "{found}");
    assert!(found.contains(r#"script: "b\n", prints: None"#), "{found}");
    assert!(!found.contains("no\\n"), "{found}");
}

#[test]
fn what_is_printed_is_compared_to_the_letter_but_for_what_is_left_open() {
    let is = examples::is_as_said;
    assert!(is("a…c\n", "abc\n") && is("a…c…", "a\nbcd") && is("abc", " abc\n") && is("…b", "ab"));
    assert!(!is("a…c", "abcd") && !is("ab", "abc") && !is("a…b", "ba") && !is("aa…a", "aa"));
}
