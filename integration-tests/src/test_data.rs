//! The folder of larger test data, and how to read it.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The variable that names the folder.
const VARIABLE: &str = "HEARTHGATE_TEST_DATA";

/// The folder; `None`, said aloud, where nobody named one: the test has nothing to work with.
///
/// # Panics
/// When the folder that was named is not there.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where tests learn where their data is"
    )]
    let named = std::env::var_os(VARIABLE);
    let Some(named) = named.filter(|named| !named.is_empty()) else {
        say(&format!("skipped: {VARIABLE} names no folder of test data"));
        return None;
    };
    let folder = PathBuf::from(named);
    assert!(folder.is_dir(), "{VARIABLE} names {}, which is no folder", folder.display());
    // Children run elsewhere.
    Some(folder.canonicalize().expect("a folder has a path"))
}

/// The documents of a file: one of `.json`, one a line of `.ndjson`; each also as `.zst`.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn documents(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = path.to_str().expect("a plain path");
    let (name, text) = match name.strip_suffix(".zst") {
        Some(name) => {
            let mut text = String::new();
            let mut reader = zstd::stream::read::Decoder::new(&bytes[..]).expect("a zstd frame");
            reader.read_to_string(&mut text).expect("a whole zstd file of text");
            (name, text)
        }
        None => (name, String::from_utf8(bytes).expect("text")),
    };
    if name.ends_with(".ndjson") {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        return lines.map(str::to_owned).collect();
    }
    vec![text]
}

/// A line for whoever reads the test's output.
#[expect(clippy::print_stdout, reason = "the output of a test is what this is for")]
pub fn say(line: &str) {
    println!("{line}");
}
