//! The examples of configurations and systemd units that `deploy/` has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::binary::{hearthgate, run};
use integration_tests::test_data::say;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").canonicalize().unwrap()
}

#[test]
fn every_example_of_a_configuration_can_be_started_with() {
    let mut count = 0;
    for entry in fs::read_dir(deploy().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        // A directory of files is applied by a test of its own.
        if path.is_dir() {
            continue;
        }
        let checked = run(&deploy(), &["check-config", "--config", path.to_str().unwrap()]);
        assert!(checked.status.success(), "{}: {checked:?}", path.display());
        count += 1;
    }
    assert_eq!(count, 4);
}

#[test]
fn every_unit_is_one_that_systemd_takes() {
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for entry in fs::read_dir(deploy().join("systemd")).unwrap() {
        let path = entry.unwrap().path();
        let program = hearthgate().display().to_string();
        let text =
            fs::read_to_string(&path).unwrap().replace("/usr/local/bin/hearthgate", &program);
        let unit = folder.path().join(path.file_name().unwrap());
        fs::write(&unit, text).unwrap();
        units.push(unit);
    }
    assert_eq!(units.len(), 4);
    let verified = Command::new("systemd-analyze").arg("verify").args(&units).output();
    match verified {
        Ok(output) => {
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        }
        Err(error) => say(&format!("skipped: there is no systemd-analyze here: {error}")),
    }
}
