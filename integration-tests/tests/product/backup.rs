//! Backups made while the product is written to, restored to instants; what is wrong is noticed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::purge::give_tenant_key;
use integration_tests::binary;
use integration_tests::client::Client;
use integration_tests::site::{Deployment, First, Site};

// A backup is of the embedded store's files.
for_both_deployments! {
    a_backup_made_under_load_is_restored_to_any_instant_equal,
}

/// How many versions the patient gets while backups are made.
const VERSIONS: usize = 120;
/// How many others write meanwhile.
const OTHERS: usize = 3;

fn patient(number: usize) -> String {
    format!(r#"{{"resourceType":"Patient","id":"p","multipleBirthInteger":{number}}}"#)
}

/// Puts one version and returns its instant.
async fn put(client: &Client, number: usize) -> String {
    let answer = client.put("/Patient/p", patient(number)).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    answer.json()["meta"]["lastUpdated"].as_str().unwrap().to_owned()
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    binary::run(folder, arguments)
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    binary::text(&output.stdout).to_owned()
}

/// The one line that a failed command says.
fn fails(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    binary::text(&output.stderr).trim_end().to_owned()
}

/// G10: one `t`, whatever goes on; to any instant in range; keys stand still until confirmed.
async fn a_backup_made_under_load_is_restored_to_any_instant_equal(deployment: Deployment) {
    let mut site = Site::start(deployment).await;
    let (owner, folder) = (site.owner(), site.folder().to_owned());
    let data = site.data().to_str().unwrap().to_owned();
    let mut instants = vec![put(&owner, 1).await];
    // Others write beside, each a patient of its own.
    let (end, ending) = tokio::sync::watch::channel(false);
    let mut others = tokio::task::JoinSet::new();
    for other in 0..OTHERS {
        let (client, ending) = (site.owner(), ending.clone());
        others.spawn(async move {
            let mut acknowledged = Vec::new();
            while !*ending.borrow() {
                let body = format!(r#"{{"resourceType":"Patient","id":"other{other}"}}"#);
                let answer = client.put(&format!("/Patient/other{other}"), body).await;
                let instant = answer.json()["meta"]["lastUpdated"].as_str().unwrap().to_owned();
                acknowledged.push(instant);
            }
            (other, acknowledged)
        });
    }
    let (backups, told) = std::sync::mpsc::channel();
    let maker = std::thread::Builder::new().spawn({
        let (folder, data) = (folder.clone(), data.clone());
        move || {
            for _ in 0..3 {
                let made = run(&folder, &["backup", "--data", &data, "--to", "backup"]);
                backups.send(made).unwrap();
            }
        }
    });
    let mut made = Vec::new();
    let mut number = 2;
    // Goes on until all backups are made, so that they were made meanwhile.
    while made.len() < 3 || number <= VERSIONS {
        instants.push(put(&owner, number).await);
        number += 1;
        made.extend(told.try_recv());
    }
    maker.unwrap().join().unwrap();
    end.send_replace(true);
    let others = others.join_all().await;
    for output in &made {
        succeeds(output);
    }
    let with_keys = ["backup", "--data", &data, "--to", "backup", "--keys-to", "keys"];
    let last = succeeds(&run(&folder, &with_keys));
    assert!(last.starts_with("Backup 4 "), "{last}");
    let verified = succeeds(&run(&folder, &["verify", "--backup", "backup"]));
    assert_eq!(verified.lines().count(), 4, "{verified}");
    let _ = owner.put("/Patient/later", r#"{"resourceType":"Patient","id":"later"}"#).await;
    let key = owner.key().to_owned();
    site.stop().await;

    for kept in [instants.len(), 1, instants.len() / 2] {
        let mut restored = Site::prepare(deployment);
        let place = restored.folder().join("restored");
        let to = place.to_str().unwrap();
        let at = &instants[kept - 1];
        let from = folder.join("backup");
        let (from, keys) = (from.to_str().unwrap(), folder.join("keys"));
        let keys = ["--keys-from", keys.to_str().unwrap()];
        let arguments = [&["restore", "--from", from, "--data", to, "--at", at], &keys[..]];
        succeeds(&run(restored.folder(), &arguments.concat()));
        give_tenant_key(site.data(), &place);
        succeeds(&run(restored.folder(), &["verify", "--data", to]));
        restored.settle(&place, Vec::new());
        restored.launch(First::Gateway).await;
        let client = restored.client(&key);
        assert_eq!(client.get("/Patient/p").await.status, 401);
        let id = key.split('_').nth(1).unwrap();
        let confirmed = succeeds(&restored.keys(&["confirm", id]));
        assert!(confirmed.contains("good again"), "{confirmed}");
        let newest = client.get("/Patient/p").await.is(200).json();
        assert_eq!(newest["multipleBirthInteger"], kept);
        assert_eq!(newest["meta"]["lastUpdated"], at.as_str());
        let history = client.get("/Patient/p/_history?_count=1").await.is(200).json();
        assert_eq!(history["total"], kept);
        for (other, acknowledged) in &others {
            let by_then = acknowledged.iter().filter(|instant| *instant <= at).count();
            let history = client.get(&format!("/Patient/other{other}/_history?_count=0")).await;
            if by_then == 0 {
                assert_eq!(history.status, 404);
            } else {
                assert_eq!(history.is(200).json()["total"], by_then, "other {other} at {at}");
            }
        }
        assert_eq!(client.get("/Patient/later").await.status, 404);
        let next = put(&client, kept + 1).await;
        assert!(&next > at);
        restored.stop().await;
    }
}

/// A site that was backed up and stopped: its folder, the data and the backup in it.
async fn backed_up() -> (Site, PathBuf, PathBuf) {
    let mut site = Site::start(Deployment::OneProcess).await;
    let owner = site.owner();
    for number in 1..=5 {
        put(&owner, number).await;
    }
    site.stop().await;
    let (data, backup) = (site.data().to_owned(), site.folder().join("backup"));
    let (from, to) = (data.to_str().unwrap(), backup.to_str().unwrap());
    succeeds(&run(site.folder(), &["backup", "--data", from, "--to", to]));
    (site, data, backup)
}

/// The first segment of the log; a file of the audit log has the same name.
fn segment_of(data: &Path) -> PathBuf {
    data.join("tenants/default/log/0000000000000001.log")
}

/// The one file under `folder` of a name that begins so.
fn file_under(folder: &Path, beginning: &str) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap().to_str().unwrap().starts_with(beginning) {
                return path;
            }
        }
    }
    panic!("no {beginning}");
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// G6, G10: what is wrong in a backup is said, and nothing half restored stays.
#[tokio::test]
async fn a_damaged_backup_is_named_and_not_restored() {
    let (site, data, backup) = backed_up().await;
    let (folder, from) = (site.folder(), backup.to_str().unwrap());
    let restore = ["restore", "--from", from, "--data", "new"];
    let at = data.to_str().unwrap();
    let occupied = ["restore", "--from", from, "--data", data.to_str().unwrap()];
    assert!(fails(&run(folder, &occupied)).contains("there already"));
    for beginning in ["000000000000-", "changes-"] {
        let path = file_under(&backup, beginning);
        let whole = fs::read(&path).unwrap();
        flip(&path);
        for arguments in [&restore[..], &["verify", "--backup", from]] {
            let line = fails(&run(folder, arguments));
            assert!(line.contains(path.file_name().unwrap().to_str().unwrap()), "{line}");
            assert!(!folder.join("new").exists());
        }
        fs::write(path, whole).unwrap();
    }
    for (arguments, said) in [
        (&["restore", "--from", from, "--data", "new", "--at", "yesterday"][..], "no instant"),
        (&["restore", "--from", from, "--data", "new", "--at", "2999-01-01T00:00:00Z"], "ends at"),
        (&["restore", "--from", from, "--data", "new", "--backup", "7"], "numbers are 1"),
        (&["restore", "--from", "nowhere", "--data", "new"], "no backup"),
        (&["restore", "--from", from, "--data", "new", "--keys-from", "nowhere"], "has no keys"),
        (&["backup", "--data", at, "--to", from, "--keys-to", "backup/keys"], "is in the backup"),
        (&["backup", "--data", at, "--to", from, "--keys-to", "."], "is in the backup"),
        (&["backup", "--data", "nowhere", "--to", "other"], "no tenant"),
    ] {
        let line = fails(&run(folder, arguments));
        assert!(line.contains(said) && !line.contains('\n'), "{line}");
    }
    // What an earlier try left is not removed unasked.
    let left = folder.join("new.restoring");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("kept"), "kept").unwrap();
    let line = fails(&run(folder, &restore));
    assert!(line.contains("new.restoring") && line.contains("remove it"), "{line}");
    assert!(left.join("kept").exists() && !folder.join("new").exists());
    fs::remove_dir_all(&left).unwrap();
    succeeds(&run(folder, &restore));
    assert!(!left.exists());
}

/// G6, G10: what an earlier time copied is read again by `verify`, however many times followed.
#[tokio::test]
async fn an_earlier_piece_that_is_damaged_is_named_after_later_backups() {
    let (mut site, data, backup) = backed_up().await;
    let (from, to) = (data.to_str().unwrap().to_owned(), backup.to_str().unwrap().to_owned());
    let first = file_under(&backup, "000000000000-");
    site.launch(First::Gateway).await;
    let owner = site.owner();
    for number in 6..9 {
        put(&owner, number).await;
        succeeds(&run(site.folder(), &["backup", "--data", &from, "--to", &to]));
    }
    site.stop().await;
    let verify = ["verify", "--backup", &to];
    let text = succeeds(&run(site.folder(), &verify));
    assert_eq!(text.lines().filter(|line| line.contains("are whole")).count(), 4, "{text}");
    let last = text.lines().last().unwrap().split(": ").last().unwrap();
    let pieces: usize = last.split(' ').next().unwrap().parse().unwrap();
    // Four of the log, one of the registry, and of the audit log as many as its writing made.
    assert!((6..=9).contains(&pieces), "{text}");
    flip(&first);
    let line = fails(&run(site.folder(), &verify));
    assert!(line.contains(first.file_name().unwrap().to_str().unwrap()), "{line}");
    let restore = ["restore", "--from", &to, "--data", "new"];
    let line = fails(&run(site.folder(), &restore));
    assert!(line.contains(first.file_name().unwrap().to_str().unwrap()), "{line}");
}

/// What a crash left of a group is no damage, and said.
#[tokio::test]
async fn a_torn_tail_is_said_by_verify_and_is_no_failure() {
    let (site, data, _) = backed_up().await;
    let arguments = ["verify", "--data", data.to_str().unwrap()];
    let log = segment_of(&data);
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend_from_slice(b"HGG1\x01\x00\x00\x00half");
    fs::write(&log, bytes).unwrap();
    let text = succeeds(&run(site.folder(), &arguments));
    assert!(text.contains("12 bytes of an unfinished group") && text.contains("cut-5"), "{text}");
    assert!(text.contains("5 versions up to commit 5: log and derived state are whole"), "{text}");
    assert_eq!(succeeds(&run(site.folder(), &arguments)).lines().count(), 2);
}

/// Room that holds nothing any more is given back, and nothing else goes.
#[tokio::test]
async fn compact_gives_back_what_was_set_aside_and_loses_nothing() {
    let (mut site, data, _) = backed_up().await;
    let folder = site.folder().to_owned();
    let compact = ["compact", "--data", data.to_str().unwrap()];
    let tenant = data.join("tenants/default");
    let set_aside = || {
        fs::write(tenant.join("log/cut-3"), vec![1; 1000]).unwrap();
        fs::create_dir(tenant.join("state.damaged-1")).unwrap();
        fs::write(tenant.join("state.damaged-1/db"), vec![1; 500]).unwrap();
    };
    let is_gone = || {
        !tenant.join("log/cut-3").exists()
            && !tenant.join("state.damaged-1").exists()
            && !tenant.join("state.replaced").exists()
    };
    let log = fs::read(tenant.join("log/0000000000000001.log")).unwrap();
    set_aside();
    // A start that died while the state was written anew left the old one aside.
    fs::rename(tenant.join("state"), tenant.join("state.replaced")).unwrap();
    let text = succeeds(&run(&folder, &compact));
    for said in ["log/cut-3: 1000 bytes", "state.damaged-1: 500 bytes", "written anew"] {
        assert!(text.contains(said), "{text}");
    }
    assert!(is_gone());
    site.launch(First::Gateway).await;
    set_aside();
    let text = succeeds(&run(&folder, &compact));
    assert!(text.contains("cut-3") && text.contains("state: left as it is, pid"), "{text}");
    assert!(is_gone());
    let owner = site.owner();
    put(&owner, 6).await;
    let history = owner.get("/Patient/p/_history").await.is(200).json();
    assert_eq!(history["total"], 6);
    site.stop().await;
    succeeds(&run(&folder, &["verify", "--data", data.to_str().unwrap()]));
    let now = fs::read(tenant.join("log/0000000000000001.log")).unwrap();
    assert!(now.starts_with(&log) && now.len() > log.len());
    // Beside what is not whole nothing is removed.
    set_aside();
    flip(&segment_of(&data));
    let line = fails(&run(&folder, &compact));
    assert!(line.contains("nothing was removed") && line.contains("segment 1"), "{line}");
    assert!(tenant.join("log/cut-3").exists() && tenant.join("state.damaged-1").exists());
}

/// G10: a log that is not the one backed up before is not mixed with it.
#[tokio::test]
async fn another_log_is_not_added_to_a_backup() {
    let (site, _, backup) = backed_up().await;
    let (other, other_data, _) = backed_up().await;
    let before = fs::read_dir(&backup).unwrap().count();
    let (from, to) = (other_data.to_str().unwrap(), backup.to_str().unwrap());
    let line = fails(&run(site.folder(), &["backup", "--data", from, "--to", to]));
    assert!(line.contains("backed up before"), "{line}");
    assert_eq!(fs::read_dir(&backup).unwrap().count(), before);
    drop(other);
}

/// A gateway's own directory, and what must not be left out of a later backup without a word.
#[tokio::test]
async fn what_was_backed_up_before_is_not_left_out_and_a_registry_alone_is_enough() {
    let (site, data, backup) = backed_up().await;
    let folder = site.folder();
    let (from, to) = (data.to_str().unwrap(), backup.to_str().unwrap());
    let again = ["backup", "--data", from, "--to", to];
    let (tenants, aside) = (data.join("tenants"), data.join("aside"));
    fs::rename(&tenants, &aside).unwrap();
    assert!(fails(&run(folder, &again)).contains("tenant default"));
    let gateways = ["backup", "--data", from, "--to", "gateways"];
    assert!(succeeds(&run(folder, &gateways)).contains("registry: "));
    succeeds(&run(folder, &["restore", "--from", "gateways", "--data", "gateway/"]));
    assert!(folder.join("gateway/registry/changes.log").exists());
    fs::rename(&aside, &tenants).unwrap();
    fs::rename(data.join("registry"), data.join("aside")).unwrap();
    assert!(fails(&run(folder, &again)).contains("the registry"));
    fs::rename(folder.join("gateway/registry"), data.join("registry")).unwrap();
    succeeds(&run(folder, &again));
    fs::remove_dir_all(data.join("registry")).unwrap();
    fs::rename(data.join("aside"), data.join("registry")).unwrap();
    assert!(fails(&run(folder, &again)).contains("not the registry"));
}

/// A manifest is not trusted with other files.
#[tokio::test]
async fn a_manifest_that_names_files_elsewhere_is_refused() {
    let (site, _, backup) = backed_up().await;
    let manifest = backup.join("backup-000001.json");
    let whole = fs::read_to_string(&manifest).unwrap();
    fs::write(site.folder().join("secret"), "secret").unwrap();
    for elsewhere in ["/etc/passwd", "../secret", "."] {
        let text = whole.replace("registry/changes-000001", elsewhere);
        assert_ne!(text, whole);
        fs::write(&manifest, text).unwrap();
        let line = fails(&run(site.folder(), &["verify", "--backup", backup.to_str().unwrap()]));
        assert!(line.contains("no file of the backup"), "{line}");
    }
}

/// G6: `verify` reads everything, with a server running or not.
#[tokio::test]
async fn verify_says_what_is_whole_and_names_what_is_not() {
    let (mut site, data, _) = backed_up().await;
    let arguments = ["verify", "--data", data.to_str().unwrap()];
    let text = succeeds(&run(site.folder(), &arguments));
    assert!(text.contains("5 versions") && text.contains("log and derived state"), "{text}");
    site.launch(First::Gateway).await;
    let text = succeeds(&run(site.folder(), &arguments));
    assert!(text.contains("5 versions") && text.contains("not read"), "{text}");
    site.stop().await;
    fs::write(data.join("tenants/default/state/db"), vec![0xaa; 100_000]).unwrap();
    let line = fails(&run(site.folder(), &arguments));
    assert!(line.contains("rebuilt"), "{line}");
    succeeds(&run(site.folder(), &arguments));
    flip(&segment_of(&data));
    let line = fails(&run(site.folder(), &arguments));
    assert!(line.contains("0000000000000001") || line.contains("segment 1"), "{line}");
}

/// What the data stands on is looked at, beside a running server too.
#[tokio::test]
async fn doctor_looks_at_a_running_site_and_finds_nothing_bad() {
    let (mut site, data, _) = backed_up().await;
    let arguments = ["doctor", "--data", data.to_str().unwrap()];
    for _ in 0..2 {
        let text = succeeds(&run(site.folder(), &arguments));
        assert!(text.contains("the newest data is of 20") && !text.contains("BAD"), "{text}");
        assert!(text.contains("in the data directory: keep a copy") && text.contains("--keys-to"));
        if site.processes().next().is_none() {
            site.launch(First::Gateway).await;
        }
    }
    site.stop().await;
    fs::remove_file(data.join("tenant-keys/default")).unwrap();
    let found = run(site.folder(), &arguments);
    let text = binary::text(&found.stdout);
    assert!(!found.status.success() && text.contains("BAD   keys: the key of tenant"), "{text}");
    assert!(fails(&run(site.folder(), &["doctor", "--data", "nowhere"])).contains("--data"));
}
