//! The tests of the workspace and the ids that they carry: in their names, in the comments
//! directly above them and in those within them. They are read line by line, as rustfmt lays them
//! out: a test ends with a brace as far in as it begins. A function that a macro makes a test of,
//! as one of a list of names (`for_every_deployment! { … }`), is a test too.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::Path;

use super::id::{self, Id};

/// Folders of the workspace that have tests.
const FOLDERS: [&str; 2] = ["crates", "integration-tests"];

/// A test.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TestFunction {
    /// The file, from the root of the workspace.
    pub(super) file: String,
    /// The line of its name, from 1.
    pub(super) line: usize,
    /// Its name.
    pub(super) name: String,
    /// The ids that it carries, each once.
    pub(super) ids: Vec<Id>,
    /// First ids of ranges, none of which counts.
    pub(super) ranges: Vec<Id>,
}

impl fmt::Display for TestFunction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{} {}", self.file, self.line, self.name)
    }
}

/// The tests of all Rust files of the workspace, in the order of the files' names.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn of_workspace(root: &Path) -> io::Result<Vec<TestFunction>> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut tests = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        tests.extend(of_file(&name, &std::fs::read_to_string(&file)?));
    }
    Ok(tests)
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The tests of one file.
pub(super) fn of_file(file: &str, source: &str) -> Vec<TestFunction> {
    let mut tests = Vec::new();
    let listed = names_in_macros(source);
    // Comments and attributes since the last line that was neither.
    let (mut above, mut is_test) = (Vec::new(), false);
    let mut lines = source.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let text = line.trim_start();
        if let Some(comment) = comment(text) {
            above.push(comment);
            continue;
        }
        if text.starts_with("#[") {
            is_test |= is_test_attribute(text);
            continue;
        }
        if let Some(name) = function_name(text).filter(|it| is_test || listed.contains(it)) {
            let end = format!("{}}}", &line[..line.len() - text.len()]);
            let is_whole = line.ends_with('}');
            let within = lines.by_ref().take_while(|(_, line)| !is_whole && *line != end);
            let comments = within.filter_map(|(_, line)| comment(line.trim_start()));
            above.extend(comments);
            tests.push(test(file, at + 1, name, &above));
        }
        // An attribute may go over several lines; nothing else stands before its function.
        if !(is_test && text.ends_with([',', ']', '('])) {
            above.clear();
            is_test = false;
        }
    }
    tests
}

fn test(file: &str, line: usize, name: &str, comments: &[&str]) -> TestFunction {
    let (mut ids, mut ranges) = (id::in_name(name), Vec::new());
    for comment in comments {
        let named = id::in_comment(comment);
        ids.extend(named.ids);
        ranges.extend(named.ranges);
    }
    ids.sort();
    ids.dedup();
    TestFunction { file: file.to_owned(), line, name: name.to_owned(), ids, ranges }
}

/// The text of a line that is a comment; what a file says of itself is none of its tests'.
fn comment(text: &str) -> Option<&str> {
    let text = text.strip_prefix("//")?;
    (!text.starts_with('!')).then(|| text.trim_start_matches('/'))
}

/// The names in each call of a macro over names alone.
fn names_in_macros(source: &str) -> HashSet<&str> {
    let is_name = |text: &&str| {
        let is_of_it =
            |byte: u8| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !text.is_empty() && text.bytes().all(is_of_it)
    };
    let mut names = HashSet::new();
    for call in source.split("! {").skip(1) {
        let body = call.split('}').next().unwrap_or(call);
        let words: Vec<&str> = body.split([' ', ',', '\n']).filter(|it| !it.is_empty()).collect();
        if words.iter().all(is_name) {
            names.extend(words);
        }
    }
    names
}

/// `#[test]`, `#[tokio::test]`, `#[tokio::test(flavor = …)]`.
fn is_test_attribute(text: &str) -> bool {
    let path = text.trim_start_matches("#[");
    let path = &path[..path.find([']', '(']).unwrap_or(path.len())];
    path.rsplit("::").next() == Some("test")
}

fn function_name(text: &str) -> Option<&str> {
    let text = text.strip_prefix("pub ").unwrap_or(text);
    let text = text.strip_prefix("async ").unwrap_or(text).strip_prefix("fn ")?;
    text.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::of_file;

    /// Each test as its name and ids.
    fn check(source: &str, expected: &[&str]) {
        let found: Vec<String> = of_file("a.rs", source)
            .iter()
            .map(|it| {
                let ids = it.ids.iter().map(|id| format!(" {id}"));
                format!("{}:{}{}", it.line, it.name, ids.collect::<String>())
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_test_has_the_ids_directly_above_it_and_within_it() {
        check(
            "\
// AB-001 is said of nothing
const A: u8 = 1;

/// AB-002
#[tokio::test(flavor = \"multi_thread\")]
async fn above() {
    // AB-003
    let _ = \"AB-004\"; // AB-005
}

mod tests {
    #[test]
    #[expect(clippy::print_stdout)]
    fn within() {
        {
            // AB-006, AB-006
        }
    }

    // AB-007
    fn no_test() {
        // AB-008
    }

    #[test]
    fn ab_009_short() {}

    // AB-010
    #[test]
    fn last() {
        //
    }
}
",
            &[
                "6:above AB-002 AB-003",
                "14:within AB-006",
                "26:ab_009_short AB-009",
                "30:last AB-010",
            ],
        );
    }

    #[test]
    fn a_function_that_a_macro_makes_a_test_of_is_a_test() {
        check(
            "\
over_each! {
    one
    two,
}
/// AB-001
async fn two(deployment: u8) {
    vec! { 1 }
}
/// AB-002
fn three() {}
",
            &["6:two AB-001"],
        );
    }

    #[test]
    fn what_stands_outside_of_tests_counts_for_none() {
        check(
            "\
//! AB-001
// AB-002
#[cfg(test)]
fn no_test() {
    // AB-003
}
#[test]
fn a() {
    // nothing
}
// AB-004
",
            &["8:a"],
        );
    }
}
