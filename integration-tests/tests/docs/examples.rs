//! The examples in the documents: every shell block marked `sh run` is run by bash, the blocks of
//! one document in order against one fresh clinic, and must print the `text` block that follows
//! it. `…` there stands for anything.

use std::path::Path;
use std::process::Command;

use integration_tests::binary;
use integration_tests::site::{Deployment, Site};

/// A block to run, and what it must print.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Example {
    /// Where it begins, counted from 1.
    line: usize,
    script: String,
    prints: Option<String>,
}

/// The examples of a document.
pub(crate) fn examples_of(document: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    // The block that is open: its info string, the line of its fence, its text.
    let mut open: Option<(&str, usize, String)> = None;
    // Whether nothing but empty lines stands between here and the example before.
    let mut follows = false;
    for (index, line) in document.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => open = Some((info.trim(), index + 1, String::new())),
            (None, None) => follows &= line.is_empty(),
            (Some((_, _, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (Some(_), Some(_)) => {
                let Some((info, line, text)) = open.take() else { continue };
                match info {
                    "sh run" => {
                        examples.push(Example { line, script: text, prints: None });
                        follows = true;
                    }
                    "text" if follows => {
                        if let Some(example) = examples.last_mut() {
                            example.prints = Some(text);
                        }
                        follows = false;
                    }
                    _ => follows = false,
                }
            }
        }
    }
    assert!(open.is_none(), "a block is not closed");
    examples
}

/// Whether `printed` is what `pattern` says.
pub(crate) fn is_as_said(pattern: &str, printed: &str) -> bool {
    let mut rest = printed.trim();
    let mut parts = pattern.trim().split('…').peekable();
    let mut is_first = true;
    while let Some(part) = parts.next() {
        let at = match (is_first, parts.peek()) {
            (true, _) => rest.starts_with(part).then_some(0),
            (false, None) => rest.ends_with(part).then(|| rest.len() - part.len()),
            (false, Some(_)) => rest.find(part),
        };
        let Some(at) = at else { return false };
        rest = &rest[at + part.len()..];
        is_first = false;
    }
    rest.is_empty()
}

/// Runs the examples of the document at `path` on a clinic of its own; how many there were.
pub(crate) async fn run(path: &Path) -> usize {
    let document = std::fs::read_to_string(path).unwrap();
    let examples = examples_of(&document);
    if examples.is_empty() {
        return 0;
    }
    let clinic = Site::start(Deployment::OneProcess).await;
    let base = format!("http://{}/fhir", clinic.address());
    let key = std::fs::read_to_string(clinic.owner_key_file()).unwrap();
    for arguments in [
        &["demo-data", "--patients", "3", "--out", "demo.ndjson"][..],
        &["import", "--url", &base, "--key-file", "owner.key", "demo.ndjson"],
    ] {
        let output = binary::run(clinic.folder(), arguments);
        assert!(output.status.success(), "{output:?}");
    }
    let program = binary::hearthgate();
    let programs = format!("{}:/usr/local/bin:/usr/bin:/bin", program.parent().unwrap().display());
    for example in &examples {
        let place = format!("{}:{}", path.display(), example.line);
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &example.script])
            .current_dir(clinic.folder())
            .env("PATH", &programs)
            .env("BASE", &base)
            .env("KEY", key.trim())
            .env("ADMIN", format!("http://{}", clinic.admin_address()))
            .env("DATA", clinic.data())
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{place} failed: {output:?}");
        if let Some(prints) = &example.prints {
            assert!(is_as_said(prints, &printed), "{place} says\n{prints}\nand prints\n{printed}");
        }
    }
    examples.len()
}
