//! Purging a patient, a server running or not: nobody can read their data any more, also after a
//! restart and a restore, and everybody else's can be read.

use std::fs;
use std::path::{Path, PathBuf};

use integration_tests::binary;
use integration_tests::client::Client;
use integration_tests::process::Process;
use integration_tests::site::{Deployment, First, Site};
use serde_json::Value;

use crate::waiting::{SOON, until};

// Over the embedded store, whose backup it restores; tests/product/postgres.rs purges over PostgreSQL.
for_both_deployments! {
    a_purged_patient_is_gone_at_once_and_after_every_restart_and_restore,
}

/// Found nowhere else.
const FAMILY: &str = "Quillfeather";
const CITY: &str = "Umberleigh";
const NUMBER: &str = "nr-77310-41";

pub(crate) fn person(id: &str, born: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient","id":"{id}","identifier":[{{"system":"urn:clinic","value":"{NUMBER}-{id}"}}],"name":[{{"family":"{FAMILY}"}}],"birthDate":"{born}","address":[{{"city":"{CITY}"}}]}}"#
    )
}

fn observation(id: &str, others: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"text":"{FAMILY}'s pulse"}}{others}}}"#
    )
}

fn of(patient: &str) -> String {
    format!(r#","subject":{{"reference":"{patient}"}}"#)
}

/// Two patients, each with two versions and an observation; one resource of nobody.
pub(crate) async fn two_patients(client: &Client) {
    for id in ["gone", "kept"] {
        for (born, status) in [("1971-01-01", 201), ("1972-02-02", 200)] {
            let _ = client.put(&format!("/Patient/{id}"), person(id, born)).await.is(status);
        }
        let text = observation(&format!("of-{id}"), &of(&format!("Patient/{id}")));
        let _ = client.put(&format!("/Observation/of-{id}"), text).await.is(201);
    }
    let text = r#"{"resourceType":"Organization","id":"o","name":"the practice"}"#;
    let _ = client.put("/Organization/o", text).await.is(201);
}

/// `hearthgate purge` of this patient.
fn purge(folder: &Path, data: &Path, patient: &str, more: &[&str]) -> std::process::Output {
    let data = data.to_str().unwrap();
    let mut arguments = vec!["purge", patient, "--reason", "asked for by letter", "--data", data];
    arguments.extend(more);
    binary::run(folder, &arguments)
}

pub(crate) fn succeeds(output: &std::process::Output) -> String {
    assert!(output.status.success(), "{output:?}");
    binary::text(&output.stdout)
}

/// Entries of a history as method, status and whether a resource stands there.
fn entries(bundle: &Value) -> Vec<(&str, &str, bool)> {
    bundle["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry["request"]["method"].as_str().unwrap(),
                entry["response"]["status"].as_str().unwrap(),
                entry.get("resource").is_some(),
            )
        })
        .collect()
}

/// `gone` cannot be read in any way, and `kept` as before.
pub(crate) async fn check_gone(client: &Client) {
    for path in ["/Patient/gone", "/Patient/gone/_history/1", "/Patient/gone/_history/2"] {
        client.get(path).await.is_outcome(410, "deleted");
    }
    client.get("/Observation/of-gone").await.is_outcome(410, "deleted");
    client.get("/Observation/of-gone/_history/1").await.is_outcome(410, "deleted");
    let history = client.get("/Observation/of-gone/_history").await.is(200).json();
    assert_eq!(entries(&history), [("DELETE", "410", false)]);
    assert_eq!(history["entry"][0]["response"]["etag"], "W/\"1\"");
    for path in ["/_history", "/Patient/_history", "/Observation/_history"] {
        let bundle = client.get(path).await.is(200).json();
        let text = bundle.to_string();
        assert!(text.contains("Observation/of-kept") || text.contains("Patient/kept"), "{text}");
        for entry in bundle["entry"].as_array().unwrap() {
            let url = entry["fullUrl"].as_str().unwrap();
            let method = entry["request"]["method"].as_str().unwrap();
            let gone = url.ends_with("gone");
            assert_eq!(entry.get("resource").is_none(), gone, "{entry}");
            assert_eq!(method == "DELETE", gone, "{entry}");
        }
    }
    let kept = client.get("/Patient/kept").await.is(200).json();
    assert_eq!(kept["birthDate"], "1972-02-02");
    assert_eq!(
        client.get("/Patient/kept/_history/1").await.is(200).json()["birthDate"],
        "1971-01-01"
    );
    let _ = client.get("/Observation/of-kept").await.is(200);
    // Nothing more of theirs is stored.
    client
        .put("/Patient/gone", person("gone", "1973-03-03"))
        .await
        .is_outcome(422, "business-rule");
    let later = observation("later", &of("Patient/gone"));
    client.put("/Observation/later", later).await.is_outcome(422, "business-rule");
    assert_eq!(client.get("/Observation/later").await.status, 404);
}

/// Gives a restored data directory the tenant's key of another.
pub(crate) fn give_tenant_key(from: &Path, to: &Path) {
    let key = "tenant-keys/default";
    fs::create_dir_all(to.join("tenant-keys")).unwrap();
    fs::copy(from.join(key), to.join(key)).unwrap();
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// G10: a backup of before the purge, restored with the keys as they are now, or with keys of
/// before it and the ledger, does not bring the patient back.
async fn a_purged_patient_is_gone_at_once_and_after_every_restart_and_restore(
    deployment: Deployment,
) {
    let mut site = Site::start(deployment).await;
    let (owner, folder) = (site.owner(), site.folder().to_owned());
    two_patients(&owner).await;
    let data = site.data().to_owned();
    let at = data.to_str().unwrap();
    let made = binary::run(&folder, &["backup", "--data", at, "--to", "b", "--keys-to", "keys"]);
    assert!(succeeds(&made).contains("Keys of tenant default in "), "{made:?}");
    // Carried away by hand.
    copy_folder(&folder.join("keys"), &folder.join("stick"));
    let text = succeeds(&purge(&folder, &data, "Patient/gone", &[]));
    for said in [
        "Patient/gone of tenant default is purged",
        "asked for by letter",
        "2 versions of Patient",
        "1 versions of Observation",
        "the key is destroyed in these copies of the keys too",
        folder.join("keys").canonicalize().unwrap().to_str().unwrap(),
        "state/ of the tenant",
        "exports",
    ] {
        assert!(text.contains(said), "{said} is missing: {text}");
    }
    check_gone(&owner).await;
    site.stop().await;
    let verified = succeeds(&binary::run(&folder, &["verify", "--data", at]));
    assert!(verified.contains("log and derived state are whole"), "{verified}");
    site.launch(First::Gateway).await;
    check_gone(&site.owner()).await;
    let key = owner.key().to_owned();
    site.stop().await;
    restores_with_the_tenants_key(&folder, &data);

    for (keys, purges) in [("keys", None), ("stick", Some(at)), ("stick", Some("keys"))] {
        let mut restored = Site::prepare(deployment);
        let place = restored.folder().join("restored");
        let within = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (from, keys) = (within("b"), within(keys));
        let to = place.to_str().unwrap();
        let mut arguments = vec!["restore", "--from", &from, "--data", to, "--keys-from", &keys];
        let purges = purges.map(within);
        if let Some(purges) = &purges {
            arguments.extend(["--purges-from", purges]);
        }
        let said = succeeds(&binary::run(restored.folder(), &arguments));
        assert!(said.contains("1 purges are kept"), "{said}");
        give_tenant_key(&data, &place);
        restored.settle(&place, Vec::new());
        restored.launch(First::Gateway).await;
        let confirmed = restored.keys(&["confirm", key.split('_').nth(1).unwrap()]);
        assert!(confirmed.status.success(), "{confirmed:?}");
        check_gone(&restored.client(&key)).await;
        restored.stop().await;
        succeeds(&binary::run(restored.folder(), &["verify", "--data", to]));
    }
}

/// With the tenant's key named, a restore opens the keys: what was purged is destroyed in them at
/// once, and a key that is another's makes no data directory.
fn restores_with_the_tenants_key(folder: &Path, data: &Path) {
    let at = data.to_str().unwrap();
    let own = format!("file:{}", data.join("tenant-keys/default").display());
    let restore = |source: &str| {
        let rest = ["--keys-from", "stick", "--purges-from", at, "--tenant-key", source];
        binary::run(folder, &[&["restore", "--from", "b", "--data", "tried"], &rest[..]].concat())
    };
    fs::copy(data.join("tenant-keys/default"), folder.join("other")).unwrap();
    fs::write(folder.join("other"), "23".repeat(32)).unwrap();
    let line = binary::failure(&restore("file:other"), 1);
    assert!(line.contains("not the one it was wrapped with"), "{line}");
    assert!(!folder.join("tried").exists() && !folder.join("tried.restoring").exists());
    succeeds(&restore(&own));
    let tree = |place: &str| fs::read(folder.join(place)).unwrap();
    let (whole, punctured) = (tree("stick/default/tree"), tree("tried/tenants/default/keys/tree"));
    assert!(punctured.len() > whole.len(), "the key was taken out of the tree");
    let verified =
        succeeds(&binary::run(folder, &["verify", "--data", "tried", "--tenant-key", &own]));
    assert!(verified.contains("log and derived state are whole"), "{verified}");
}

/// A site that has two patients and was stopped.
async fn stopped() -> Site {
    let mut site = Site::start(Deployment::OneProcess).await;
    two_patients(&site.owner()).await;
    site.stop().await;
    site
}

#[tokio::test]
async fn without_a_server_the_command_purges_itself_and_lets_the_old_state_go() {
    let mut site = stopped().await;
    let (folder, data) = (site.folder().to_owned(), site.data().to_owned());
    let json = succeeds(&purge(&folder, &data, "Patient/gone", &["--json"]));
    let certificate: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(certificate["patient"], "Patient/gone");
    assert_eq!(certificate["reason"], "asked for by letter");
    assert_eq!(certificate["versions"], serde_json::json!({"Patient": 2, "Observation": 1}));
    assert!(certificate["sealedBytesInLog"].as_u64().unwrap() > 0);
    assert!(!data.join("tenants/default/state").exists());
    assert!(!json.contains("state/"), "{json}");
    let again = purge(&folder, &data, "Patient/gone", &[]);
    assert!(binary::failure(&again, 1).contains("Patient/gone was purged at "), "{again:?}");
    let unknown = purge(&folder, &data, "Patient/never", &[]);
    assert!(binary::failure(&unknown, 1).contains("compare the id"), "{unknown:?}");
    let wordless =
        [&["purge", "Patient/kept", "--reason", " ", "--data"], &[data.to_str().unwrap()][..]];
    let wordless = binary::run(&folder, &wordless.concat());
    assert!(binary::failure(&wordless, 1).contains("reason is empty"), "{wordless:?}");
    let wrong = purge(&folder, &data, "Observation/of-kept", &[]);
    assert!(binary::failure(&wrong, 1).contains("names no patient"), "{wrong:?}");
    let nowhere = purge(&folder, &folder.join("nowhere"), "Patient/gone", &[]);
    assert!(binary::failure(&nowhere, 1).contains("--data"), "{nowhere:?}");
    assert!(!folder.join("nowhere").exists());
    site.launch(First::Gateway).await;
    check_gone(&site.owner()).await;
    site.stop().await;
}

/// Destroying the key would leave readable what another key, or a URL, keeps.
#[tokio::test]
async fn a_patient_whose_data_is_not_theirs_alone_is_refused_with_the_list() {
    let mut site = Site::start(Deployment::OneProcess).await;
    let owner = site.owner();
    two_patients(&owner).await;
    let both = format!(r#"{},"performer":[{{"reference":"Patient/kept"}}]"#, of("Patient/gone"));
    let _ = owner.put("/Observation/both", observation("both", &both)).await.is(201);
    // A later version that names one alone does not make the earlier one unreadable.
    let _ = owner.put("/Observation/both", observation("both", &of("Patient/kept"))).await.is(200);
    let by_url = of("http://elsewhere.example/fhir/Patient/gone");
    let _ = owner.put("/Observation/by-url", observation("by-url", &by_url)).await.is(201);
    let refused = |site: &Site| {
        let output = purge(site.folder(), site.data(), "Patient/gone", &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        binary::text(&output.stderr)
    };
    let said = refused(&site);
    for named in [
        "Patient/gone was not purged and nothing was changed: 2 versions",
        "Observation/both version 1: it stands also in the compartment of Patient/kept",
        "Observation/by-url version 1: it names a patient by a URL",
        "import what may be kept",
    ] {
        assert!(said.contains(named), "{named} is missing: {said}");
    }
    let _ = owner.get("/Patient/gone").await.is(200);
    let _ = owner.put("/Patient/gone", person("gone", "1974-04-04")).await.is(200);
    assert!(!site.data().join("tenants/default/state.forget").exists());
    site.stop().await;
    assert_eq!(refused(&site), said);
    site.launch(First::Gateway).await;
    assert_eq!(site.owner().get("/Patient/gone").await.is(200).json()["birthDate"], "1974-04-04");
    site.stop().await;
}

/// Once the ledger says that it has begun, a purge is finished, by the next start if need be.
#[tokio::test]
async fn a_purge_cut_off_by_a_kill_is_finished_by_the_next_start() {
    let mut site = Site::start(Deployment::OneProcess).await;
    let ledger = site.data().join("tenants/default/keys/purges");
    for round in 0..6 {
        let id = format!("p{round}");
        let owner = site.owner();
        let _ = owner.put(&format!("/Patient/{id}"), person(&id, "1971-01-01")).await.is(201);
        let before = fs::read(&ledger).unwrap();
        let mut command = std::process::Command::new(binary::hearthgate());
        command.args(["purge", &format!("Patient/{id}"), "--reason", "a test", "--data"]);
        command.arg(site.data()).stdout(std::process::Stdio::null());
        let mut purging = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        until("the purge begins", SOON, async || {
            let begun = fs::read(&ledger).unwrap() != before;
            begun.then_some(()).ok_or_else(|| "nothing in the ledger".to_owned())
        })
        .await;
        site.kill().await;
        purging.wait().unwrap();
        site.launch(First::Gateway).await;
        let owner = site.owner();
        for path in [format!("/Patient/{id}"), format!("/Patient/{id}/_history/1")] {
            owner.get(&path).await.is_outcome(410, "deleted");
        }
        let history = owner.get(&format!("/Patient/{id}/_history")).await.is(200).json();
        assert_eq!(entries(&history), [("DELETE", "204", false), ("DELETE", "410", false)]);
    }
    site.stop().await;
    site.launch(First::Gateway).await;
    assert_eq!(files_with(site.data(), NUMBER), [] as [PathBuf; 0]);
    site.stop().await;
}

/// Files under `folder` in which `text` stands, by their path within it.
fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && fs::read(&path).unwrap().windows(text.len()).any(|at| at == text.as_bytes())
            {
                found.push(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found
}

/// What the data directory and the backup show without keys: no body; identifiers in `state/`.
#[tokio::test]
async fn nothing_of_a_body_stands_readable_in_the_data_or_its_backup() {
    let mut site = stopped().await;
    let (folder, data) = (site.folder().to_owned(), site.data().to_owned());
    let at = data.to_str().unwrap();
    succeeds(&binary::run(&folder, &["backup", "--data", at, "--to", "b", "--keys-to", "keys"]));
    for planted in [FAMILY, CITY, "1971-01-01", "1972-02-02", "pulse", "the practice"] {
        assert_eq!(files_with(&folder, planted), [] as [PathBuf; 0], "{planted}");
    }
    // Nor what opens them: neither the tree, which this begins, nor the tenant's key.
    let tenant_key = fs::read_to_string(data.join("tenant-keys/default")).unwrap();
    for (secret, at) in [
        ("HGATEKEY", ["data/tenants/default/keys/tree", "keys/default/tree"].as_slice()),
        (tenant_key.trim(), &["data/tenant-keys/default"]),
    ] {
        let mut found = files_with(&folder, secret);
        found.sort();
        assert_eq!(found, at.iter().map(PathBuf::from).collect::<Vec<_>>());
    }
    // Ids stand in the log, identifiers in what is derived from it; not in keys or backup.
    let with_number = files_with(&folder, NUMBER);
    assert!(!with_number.is_empty());
    for path in with_number {
        assert!(path.starts_with("data/tenants/default/state"), "{path:?}");
    }
    assert!(files_with(&folder, "of-gone").iter().all(|path| !path.starts_with("keys")));
    // Once purged and started again, the identifiers of the purged patient are gone from it, too.
    let gone = format!("{NUMBER}-gone");
    assert!(!files_with(&data, &gone).is_empty());
    site.launch(First::Gateway).await;
    succeeds(&purge(&folder, &data, "Patient/gone", &[]));
    site.stop().await;
    site.launch(First::Gateway).await;
    check_gone(&site.owner()).await;
    site.stop().await;
    assert_eq!(files_with(&data, &gone), [] as [PathBuf; 0]);
    assert!(!files_with(&data, &format!("{NUMBER}-kept")).is_empty());
}

/// What the server's half says when it does not start.
async fn refused_start(site: &Site) -> String {
    let mut process = Process::start(site.command("server"), site.folder(), "refused");
    let status = process.ended().await;
    assert_eq!(status.code(), Some(1), "{}", process.stderr());
    process.stderr()
}

/// A start without the right key says so in one line, changes nothing, and works again with it.
#[tokio::test]
async fn a_start_without_the_tenants_key_is_refused_and_makes_no_new_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut site = stopped().await;
    let (folder, data) = (site.folder().to_owned(), site.data().to_owned());
    let key = data.join("tenant-keys/default");
    let aside = folder.join("aside");
    fs::rename(&key, &aside).unwrap();
    let line = refused_start(&site).await;
    assert!(line.contains(key.to_str().unwrap()) && line.contains("from its copy"), "{line}");
    assert!(!key.exists());
    fs::write(&key, format!("{}\n", "17".repeat(32))).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o604)).unwrap();
    assert!(refused_start(&site).await.contains("chmod o="));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(refused_start(&site).await.contains("not the one it was wrapped with"));
    // Checksums are compared without a key, and it is said.
    fs::remove_file(&key).unwrap();
    let verified = succeeds(&binary::run(&folder, &["verify", "--data", data.to_str().unwrap()]));
    assert!(verified.contains("only checksums are compared"), "{verified}");
    fs::rename(&aside, &key).unwrap();
    let (keys, keys_aside) = (data.join("tenants/default/keys"), folder.join("keys-aside"));
    fs::rename(&keys, &keys_aside).unwrap();
    let line = refused_start(&site).await;
    assert!(line.contains("are missing from") && line.contains("--keys-to"), "{line}");
    assert!(!keys.exists());
    fs::rename(&keys_aside, &keys).unwrap();
    site.launch(First::Gateway).await;
    let _ = site.owner().get("/Patient/gone").await.is(200);
    site.stop().await;
}

/// The tenant's key from a file elsewhere, from the environment, from a systemd credential: other
/// commands find it where the server did.
#[tokio::test]
async fn the_tenants_key_comes_from_where_the_configuration_says() {
    let given = "5a".repeat(32);
    let credentials = tempfile::tempdir().unwrap();
    fs::write(credentials.path().join("clinic"), &given).unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o440);
    fs::set_permissions(credentials.path().join("clinic"), mode).unwrap();
    let directory = format!("CREDENTIALS_DIRECTORY={}", credentials.path().display());
    let environment = format!("CLINIC_KEY={given}");
    for (source, variable) in [
        ("file:apart/key", ""),
        ("env:CLINIC_KEY", &environment),
        ("credential:clinic", &directory),
    ] {
        let mut site = Site::prepare(Deployment::OneProcess);
        let data = site.data().to_owned();
        let launcher = if variable.is_empty() { vec![] } else { vec!["env", variable] };
        site.settle(&data, launcher.iter().map(|word| (*word).to_owned()).collect());
        site.configure(&format!("tenant_key = \"{source}\"\n"));
        site.launch(First::Gateway).await;
        let _ = site.owner().put("/Patient/gone", person("gone", "1971-01-01")).await.is(201);
        site.stop().await;
        assert!(!data.join("tenant-keys").exists(), "{source}");
        let verify = ["verify", "--data", data.to_str().unwrap()];
        let mut command = match launcher.as_slice() {
            [] => std::process::Command::new(binary::hearthgate()),
            words => {
                let mut command = std::process::Command::new(words[0]);
                command.args(&words[1..]).arg(binary::hearthgate());
                command
            }
        };
        let verified = succeeds(&command.args(verify).current_dir("/").output().unwrap());
        assert!(verified.contains("log and derived state are whole"), "{source}: {verified}");
        if variable.is_empty() {
            assert!(
                site.everything_written().contains("The tenant's key was made: apart/key"),
                "{source}"
            );
        } else {
            let verified = succeeds(&binary::run(site.folder(), &verify));
            assert!(verified.contains("only checksums are compared"), "{source}: {verified}");
        }
        // Another key than the one that the keys are wrapped with is refused, and none is made.
        site.configure("tenant_key = \"\"\n");
        let line = refused_start(&site).await;
        assert!(line.contains("is not in") && !data.join("tenant-keys").exists(), "{line}");
    }
}
