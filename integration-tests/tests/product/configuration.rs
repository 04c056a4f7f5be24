//! The configuration file, as an operator meets it.

use integration_tests::binary::{failure, run, text};

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    // GW-060
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("site.toml");
    std::fs::write(&file, "tenant = \"default\"\n\n[gateway]\nlisten_on = \"127.0.0.1:80\"\n")
        .unwrap();
    for verb in ["check-config", "serve", "gateway", "server"] {
        let line = failure(&run(folder.path(), &[verb, "--config", "site.toml"]), 2);
        for part in ["site.toml line 4", "`gateway.listen_on`", "gateway.listen"] {
            assert!(line.contains(part), "{verb}: {line}");
        }
        assert!(!folder.path().join("data").exists(), "{verb} made something");
    }
}

#[test]
fn what_check_config_prints_is_a_file_that_decides_the_same() {
    // GW-060
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.toml"), "[gateway]\nbody_bytes = 77_000\n").unwrap();
    let printed =
        run(folder.path(), &["check-config", "--config", "a.toml", "--listen", "127.0.0.1:81"]);
    assert!(printed.status.success(), "{printed:?}");
    let printed = text(&printed.stdout);
    assert!(printed.contains("77000") && printed.contains("127.0.0.1:81"), "{printed}");
    std::fs::write(folder.path().join("b.toml"), &printed).unwrap();
    let again = run(folder.path(), &["check-config", "--config", "b.toml"]);
    assert_eq!(text(&again.stdout), printed);
}
