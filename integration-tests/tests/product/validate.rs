//! `hearthgate validate`, as someone meets it who has files and no server.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use integration_tests::binary::{failure, hearthgate, run, text};
use integration_tests::test_data::folder;
use serde_json::Value;
use tempfile::TempDir;

const GOOD: &str = r#"{"resourceType":"Basic","id":"g","code":{"text":"x"}}"#;
const BAD: &str = r#"{"resourceType":"Basic","id":"b","code":{"text":7}}"#;
const BAD_XML: &str =
    "<Basic xmlns=\"http://hl7.org/fhir\">\n <code><text value=\"x\"/></code>\n <foo/>\n</Basic>";

/// A folder with a file of each form: one bad resource in each, but for `good.json`.
fn mixed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let lines = format!("{GOOD}\n\n{BAD}\n{GOOD}\n");
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"resource":{GOOD}}},{{"resource":{BAD}}}]}}"#
    );
    write("good.json", GOOD.as_bytes());
    write("bad.json", BAD.as_bytes());
    write("bad.xml", BAD_XML.as_bytes());
    write("broken.json", b"{\"resourceType\":");
    write("below/bundle.json", bundle.as_bytes());
    write("below/lines.ndjson", lines.as_bytes());
    write("below/packed.ndjson.zst", &zstd::encode_all(lines.as_bytes(), 1).unwrap());
    write("notes.txt", b"not FHIR");
    folder
}

fn validate(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(folder, &[&["validate"], arguments].concat());
    (output.status.code(), text(&output.stdout))
}

/// The issues that are errors: file, line and element.
fn errors(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let (_, printed) = validate(folder, &[&["--format", "json"], arguments].concat());
    let json: Value = serde_json::from_str(&printed).unwrap();
    let mut errors = Vec::new();
    for result in json["results"].as_array().unwrap() {
        for issue in result["issues"].as_array().unwrap() {
            if ["error", "fatal"].contains(&issue["severity"].as_str().unwrap()) {
                let text = |name: &str| issue[name].as_str().unwrap();
                let file = result["file"].as_str().unwrap().trim_start_matches("./");
                errors.push(format!("{file}:{} {}", issue["line"], text("expression")));
            }
        }
    }
    errors
}

#[test]
fn a_folder_of_all_forms_is_validated_whole_though_files_in_it_are_broken() {
    let folder = mixed();
    let found = errors(folder.path(), &["."]);
    let expected = [
        "bad.json:1 Basic.code.text",
        "bad.xml:3 Basic",
        "below/bundle.json:1 Bundle.entry[1].resource.code.text",
        "below/lines.ndjson:3 Basic.code.text",
        "below/packed.ndjson.zst:3 Basic.code.text",
        "broken.json:1 ",
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}, and not {expected}");
    }
    let (status, printed) = validate(folder.path(), &["."]);
    assert_eq!(status, Some(1));
    assert!(printed.contains("left out in the folders: 1 other file\n"), "{printed}");
    assert!(printed.contains("11 resources, 6 with errors"), "{printed}");
    assert!(!folder.path().join("data").exists(), "it made something");
}

#[test]
fn the_exit_status_says_whether_anything_is_wrong() {
    let folder = mixed();
    let status = |arguments: &[&str]| validate(folder.path(), arguments).0;
    assert_eq!(status(&["good.json"]), Some(0));
    // A resource without a narrative is a warning.
    assert_eq!(status(&["good.json", "--fail-on", "warning"]), Some(1));
    assert_eq!(status(&["good.json", "--fail-on", "warning", "--depth", "base"]), Some(0));
    assert_eq!(status(&["good.json", "bad.json"]), Some(1));
    assert_eq!(status(&["broken.json"]), Some(1));
    assert_eq!(status(&["good.json", "--depth", "deeper"]), Some(2));
    assert_eq!(validate(folder.path(), &["--quiet", "good.json"]), (Some(0), String::new()));
}

#[test]
fn what_it_cannot_do_is_said_in_one_line_with_the_mend() {
    let folder = mixed();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let check = |arguments: &[&str], part: &str| {
        let line = failure(&run(folder.path(), &[&["validate"], arguments].concat()), 2);
        assert!(line.contains(part), "{line}");
    };
    check(&["absent.json"], "absent.json");
    check(&["empty"], "there is no .json, .xml or .ndjson file in empty");
    check(&["good.json", "--package", "absent.tgz"], "absent.tgz");
    check(&["good.json", "--package", "good.json"], "not a readable tgz archive");
    check(&["good.json", "--package", "empty"], "there is no package in empty");
    let near = "http://hl7.org/fhir/StructureDefinition/Basics";
    check(&["good.json", "--profile", near], "did you mean");
}

#[test]
fn a_package_that_would_unpack_without_end_is_refused_before_it_did() {
    let folder = mixed();
    // A gigabyte of one byte, as gzip: a tar header that says so would be refused as well.
    let mut pack = Command::new("sh");
    pack.args(["-c", "head -c 1000000000 /dev/zero | gzip -1 > bomb.tgz"]);
    assert!(pack.current_dir(folder.path()).status().unwrap().success());
    let output = run(folder.path(), &["validate", "good.json", "--package", "bomb.tgz"]);
    let line = failure(&output, 2);
    assert!(line.contains("cannot use the package bomb.tgz"), "{line}");
}

/// Runs it with this on its standard input.
fn fed(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(hearthgate());
    command.current_dir(folder).arg("validate").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input).unwrap();
    process.wait_with_output().unwrap()
}

#[test]
fn the_standard_input_is_read_in_each_form() {
    let folder = tempfile::tempdir().unwrap();
    let lines = format!("{GOOD}\n{BAD}\n");
    let over_lines = BAD.replace(',', ",\n");
    for (input, place) in [(&*lines, "-:2:"), (BAD_XML, "-:3:"), (&over_lines, "-:3:")] {
        let output = fed(folder.path(), &["--quiet", "-"], input.as_bytes());
        let printed = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(printed.starts_with(place) && printed.lines().count() == 1, "{printed}");
    }
}

#[test]
fn outcomes_are_resources_one_a_line_that_are_valid_themselves() {
    let folder = mixed();
    let (status, printed) = validate(folder.path(), &["--format", "outcome", "."]);
    assert_eq!((status, printed.lines().count()), (Some(1), 11));
    let output = fed(folder.path(), &["--quiet", "-"], printed.as_bytes());
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), String::new()));
}

#[test]
fn lines_without_end_are_validated_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    // 180 MB in lines of 4 KiB: what is resident at most is less than that.
    let line = format!("{}{}\n", GOOD, " ".repeat(4_000));
    let mut packed = zstd::stream::write::Encoder::new(
        fs::File::create(folder.path().join("many.ndjson.zst")).unwrap(),
        1,
    )
    .unwrap();
    for _ in 0..45_000 {
        packed.write_all(line.as_bytes()).unwrap();
    }
    packed.finish().unwrap();
    let script = format!(
        "{} validate --quiet --depth base --jobs 2 many.ndjson.zst & wait_for=$!; peak=0; \
         while read -r _ now _ < <(grep VmHWM /proc/$wait_for/status 2>/dev/null); do \
         peak=$now; sleep 0.05; done; wait $wait_for || exit 9; echo $peak",
        hearthgate().display()
    );
    let output = Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let peak: u64 = text(&output.stdout).trim().parse().unwrap();
    assert!(peak > 0 && peak < 120_000, "{peak} KiB resident at most");
}

#[test]
fn a_published_package_is_read_as_archive_and_unpacked_and_says_what_it_lacks() {
    let Some(data) = folder() else { return };
    let archive = data.join("packages/hl7.fhir.us.core-6.1.0.tgz");
    let folder = tempfile::tempdir().unwrap();
    let unpack = Command::new("tar").arg("xzf").arg(&archive).current_dir(folder.path()).status();
    assert!(unpack.unwrap().success());
    let patient = r#"{"resourceType":"Patient","meta":{"profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"]},"gender":"other"}"#;
    fs::write(folder.path().join("patient.json"), patient).unwrap();
    for package in [archive.to_str().unwrap(), "."] {
        let arguments = ["validate", "patient.json", "--package", package];
        let output = run(folder.path(), &arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let printed = text(&output.stdout);
        assert!(printed.contains("2 errors"), "name and identifier are missing: {printed}");
        let notes = text(&output.stderr);
        assert!(notes.contains("us.nlm.vsac#0.10.0") && notes.lines().count() == 1, "{notes}");
    }
}
