//! The architecture, held over `cargo metadata`: this workspace keeps to the table of crates, and
//! workspaces with a violation planted into a copy of its manifests do not.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]
#![expect(clippy::print_stdout, reason = "the path of a violation is what this test is for")]

use std::fs;
use std::path::Path;

use cargo_metadata::MetadataCommand;
use integration_tests::architecture::rules::{ROWS, WIDENINGS, is_confined, row};
use integration_tests::architecture::violations;
use integration_tests::architecture::workspace::{Dependency, Purpose, Workspace};
use tempfile::TempDir;
use toml::{Table, Value};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn lines(workspace: &Workspace) -> Vec<String> {
    violations(workspace).iter().map(ToString::to_string).collect()
}

#[test]
fn this_workspace_keeps_to_the_table_of_crates() {
    let workspace = Workspace::read(root()).unwrap();
    assert!(workspace.crates.contains_key("server"));
    assert!(workspace.locked.len() > 100, "the lock file was read");
    let violations = lines(&workspace);
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn rows_and_widenings_name_what_the_table_knows() {
    for name in ROWS.iter().map(|row| row.name) {
        assert_eq!(ROWS.iter().filter(|row| row.name == name).count(), 1, "{name}");
    }
    for widening in WIDENINGS {
        assert!(row(widening.crate_name).is_some(), "{widening:?}");
        assert!(!widening.reason.is_empty(), "{widening:?}");
    }
    assert!(is_confined("pingora"));
    assert!(is_confined("pingora-core"));
    assert!(!is_confined("pingoras"));
    assert!(!is_confined("serde"));
}

/// The manifests of this workspace with empty sources, in a folder of their own.
struct PlantedWorkspace {
    folder: TempDir,
}

impl PlantedWorkspace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metadata = MetadataCommand::new()
            .current_dir(root())
            .no_deps()
            .other_options(["--offline".to_owned()])
            .exec()
            .unwrap();
        let planted = |path: &Path| {
            let path = folder.path().join(path.strip_prefix(root()).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        for file in ["Cargo.toml", "Cargo.lock"] {
            fs::copy(root().join(file), planted(&root().join(file))).unwrap();
        }
        for package in &metadata.packages {
            let manifest = package.manifest_path.as_std_path();
            fs::copy(manifest, planted(manifest)).unwrap();
            for target in &package.targets {
                fs::write(planted(target.src_path.as_std_path()), "").unwrap();
            }
        }
        Self { folder }
    }

    fn manifest(&self, crate_name: &str) -> std::path::PathBuf {
        self.folder.path().join("crates").join(crate_name).join("Cargo.toml")
    }

    /// Adds dependencies to `table` of a crate's manifest, given as TOML.
    fn plant(self, crate_name: &str, table: &[&str], entries: &str) -> Self {
        let manifest = self.manifest(crate_name);
        let mut document: Table = fs::read_to_string(&manifest).unwrap().parse().unwrap();
        let mut place = &mut document;
        for name in table {
            place = place
                .entry(*name)
                .or_insert_with(|| Value::Table(Table::new()))
                .as_table_mut()
                .unwrap();
        }
        place.extend(entries.parse::<Table>().unwrap());
        fs::write(&manifest, toml::to_string(&document).unwrap()).unwrap();
        self
    }

    fn add_crate(self, crate_name: &str, manifest: &str) -> Self {
        let path = self.manifest(crate_name);
        fs::create_dir_all(path.parent().unwrap().join("src")).unwrap();
        fs::write(path.with_file_name("src").join("lib.rs"), "").unwrap();
        fs::write(&path, manifest).unwrap();
        self
    }

    /// The violations are these, each found by its path and printed.
    #[track_caller]
    fn check(self, expected: &[&str]) {
        let found = violations(&Workspace::read(self.folder.path()).unwrap());
        for violation in &found {
            println!("{violation}");
        }
        let paths: Vec<&str> = found.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, expected);
    }
}

#[test]
fn a_copy_with_nothing_planted_has_no_violation() {
    PlantedWorkspace::new().check(&[]);
}

#[test]
fn a_forbidden_crate_edge_is_found() {
    PlantedWorkspace::new()
        .plant("gateway", &["dependencies"], "server.workspace = true")
        .check(&["gateway -> server"]);
    PlantedWorkspace::new()
        .plant("store", &["build-dependencies"], "contract.workspace = true")
        .check(&["store -> contract (build)"]);
}

#[test]
fn jsonwebtoken_in_the_server_is_found() {
    PlantedWorkspace::new()
        .plant("server", &["dependencies"], "jsonwebtoken = '9'")
        .check(&["server -> jsonwebtoken"]);
}

#[test]
fn jsonwebtoken_in_the_server_behind_an_optional_feature_is_found() {
    PlantedWorkspace::new()
        .plant("server", &["dependencies"], "jsonwebtoken = { version = '9', optional = true }")
        .plant("server", &["features"], "tokens = ['dep:jsonwebtoken']")
        .check(&["server -> jsonwebtoken (optional, feature \"tokens\")"]);
    // Without a feature of another name, its own is the one that turns it on.
    PlantedWorkspace::new()
        .plant(
            "database",
            &["dependencies"],
            "tokens = { package = 'jsonwebtoken', version = '9', optional = true }",
        )
        .check(&["database -> jsonwebtoken (optional, feature \"tokens\", as tokens)"]);
}

#[test]
fn axum_in_a_fhir_library_is_found() {
    PlantedWorkspace::new()
        .plant("fhir-core", &["dependencies"], "axum.workspace = true")
        .check(&["fhir-core -> axum"]);
}

#[test]
fn sled_in_the_gateway_for_one_target_only_is_found() {
    PlantedWorkspace::new()
        .plant("gateway", &["target", "cfg(windows)", "dependencies"], "sled.workspace = true")
        .check(&["gateway -> sled (only for cfg(windows))"]);
}

#[test]
fn an_unregistered_crate_is_found() {
    PlantedWorkspace::new()
        .add_crate("shortcuts", "[package]\nname = 'shortcuts'\nversion = '0.1.0'\n")
        .plant("server", &["dependencies"], "shortcuts = { path = '../shortcuts' }")
        .check(&["server -> shortcuts", "shortcuts"]);
}

#[test]
fn tests_of_the_gateway_may_not_name_the_server_and_those_of_the_server_may_name_their_side() {
    PlantedWorkspace::new()
        .plant("gateway", &["dev-dependencies"], "database.workspace = true")
        .check(&["gateway -> database (dev)"]);
    PlantedWorkspace::new()
        .plant("server", &["dev-dependencies"], "hearthgate.workspace = true")
        .check(&["server -> hearthgate (dev)"]);
    PlantedWorkspace::new()
        .plant(
            "server",
            &["dev-dependencies"],
            "store-sled.workspace = true\nsled.workspace = true",
        )
        .check(&[]);
}

/// A workspace of crates and plain dependencies, and a lock file with no versions.
fn small_workspace(crates: &[(&str, &[&str])], locked: &[(&str, &[&str])]) -> Workspace {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Workspace {
        crates: crates
            .iter()
            .map(|(name, dependencies)| {
                let dependencies = dependencies.iter().copied().map(Dependency::library);
                ((*name).to_owned(), dependencies.collect())
            })
            .collect(),
        locked: crates
            .iter()
            .chain(locked)
            .map(|(name, dependencies)| ((*name).to_owned(), names(dependencies)))
            .collect(),
    }
}

#[test]
fn a_runtime_behind_a_library_is_found_by_its_path() {
    let workspace = small_workspace(
        &[("fhir-core", &["quiet"]), ("fhir-schema", &["fhir-core"])],
        &[("quiet", &["client"]), ("client", &["tokio"]), ("tokio", &[])],
    );
    assert_eq!(
        lines(&workspace),
        ["fhir-core -> quiet -> client -> tokio: the FHIR libraries are plain functions of \
             their inputs: no runtime, no network"]
    );
}

#[test]
fn tokens_behind_a_crate_or_a_library_of_the_server_are_found() {
    let workspace = small_workspace(
        &[("server", &["smart"]), ("smart", &["jsonwebtoken"])],
        &[("jsonwebtoken", &[])],
    );
    let paths: Vec<String> = violations(&workspace).into_iter().map(|it| it.path).collect();
    assert_eq!(paths, ["server -> smart", "server -> smart -> jsonwebtoken"]);

    let workspace = small_workspace(
        &[("store", &["signing"])],
        &[("signing", &["jsonwebtoken"]), ("jsonwebtoken", &[])],
    );
    let paths: Vec<String> = violations(&workspace).into_iter().map(|it| it.path).collect();
    assert_eq!(paths, ["store -> signing -> jsonwebtoken"]);
}

#[test]
fn what_only_tests_use_is_not_followed() {
    let mut workspace = small_workspace(&[("fhir-core", &["tokio"])], &[("tokio", &[])]);
    assert_eq!(violations(&workspace).len(), 1);
    for dependency in workspace.crates.get_mut("fhir-core").unwrap() {
        dependency.purpose = Purpose::Development;
    }
    assert_eq!(lines(&workspace), [""; 0]);
}

/// G2, G8: what is crashed at each of its calls to the disk makes no others.
#[test]
fn the_embedded_store_changes_files_through_one_door() {
    const CHANGING: [&str; 13] = [
        "File::options",
        "OpenOptions",
        "DirBuilder",
        "File::create",
        "fs::write",
        "fs::rename",
        "fs::remove",
        "fs::create_dir",
        "fs::copy",
        "fs::set_permissions",
        "FileExt::write",
        "set_permissions(",
        "hard_link",
    ];
    let sources = root().join("crates/store-sled/src");
    let (mut folders, mut read) = (vec![sources.clone()], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(&sources).unwrap().display().to_string();
            read += 1;
            // The door, tests, and the folder that sled fills, which is derived.
            if ["disk.rs", "faults.rs", "scan/tests.rs", "audit/tests.rs"].contains(&name.as_str())
            {
                continue;
            }
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let found: Vec<_> = CHANGING.iter().filter(|call| code.contains(**call)).collect();
            let of_sled: &[&&str] = if name == "state.rs" { &[&"DirBuilder"] } else { &[] };
            assert_eq!(found, of_sled, "{name}");
        }
    }
    assert!(read > 20, "{read}");
}
