//! The `hearthgate` program under test: where it is, and runs of it that end by themselves.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program, beside the executable that asks.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn hearthgate() -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let mut folder = own.parent().expect("a program stands in a folder");
    if folder.ends_with("deps") {
        folder = folder.parent().expect("cargo's `deps` stands in a folder");
    }
    let program = folder.join("hearthgate");
    assert!(
        program.is_file(),
        "{} is not there: run `cargo build -p hearthgate` first, in the same profile \
         (integration-tests/run.sh does)",
        program.display()
    );
    program
}

/// Runs the program in `folder` to its end.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(hearthgate()).current_dir(folder).args(arguments).output();
    output.expect("the program can be started")
}

/// What a command wrote to one of its outputs.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one line that a command which failed with `status` wrote: to stderr, and nothing else.
///
/// # Panics
/// When it ended in another way.
#[must_use]
pub fn failure(output: &Output, status: i32) -> String {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("hearthgate: "), "{stderr}");
    stderr
}
