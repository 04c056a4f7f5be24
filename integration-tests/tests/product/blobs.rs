//! Documents of several megabytes, through the whole product: kill, backup, restore, purge.

use std::fs;
use std::path::{Path, PathBuf};

use integration_tests::binary;
use integration_tests::client::Client;
use integration_tests::postgres::Postgres;
use integration_tests::site::{Deployment, First, Site};

use crate::purge::{give_tenant_key, person};

/// Found nowhere else.
const PLANTED: &str = "UXVpbGxmZWF0aGVyIG9mIFVtYmVybGVpZ2g";

/// An attachment that hardly compresses.
fn attachment(length: usize, seed: u64) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        char::from(ALPHABET[(state >> 58) as usize])
    };
    let mut data: String = (0..length / 4 * 4).map(next).collect();
    data.replace_range(length / 8 * 4..length / 8 * 4 + PLANTED.len(), PLANTED);
    data
}

async fn put(client: &Client, id: &str, patient: &str, data: &str) {
    let text = format!(
        r#"{{"resourceType":"DocumentReference","id":"{id}","status":"current","subject":{{"reference":"Patient/{patient}"}},"content":[{{"attachment":{{"contentType":"application/pdf","data":"{data}"}}}}]}}"#
    );
    let _ = client.put(&format!("/DocumentReference/{id}"), text).await.is(201);
}

async fn check(client: &Client, id: &str, data: &str) {
    let found = client.get(&format!("/DocumentReference/{id}")).await.is(200).json();
    let found = found["content"][0]["attachment"]["data"].as_str().unwrap();
    assert!(found == data, "the attachment of {id} differs");
}

fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = binary::run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    binary::text(&output.stdout)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

fn blobs(data: &Path) -> Vec<PathBuf> {
    files(&data.join("tenants/default/blobs"))
}

fn restore(folder: &Path, to: &str, more: &[&str], data: &Path) -> PathBuf {
    let restore = ["restore", "--from", "b", "--keys-from", "keys", "--data", to];
    run(folder, &[&restore[..], more].concat());
    give_tenant_key(data, &folder.join(to));
    folder.join(to)
}

#[tokio::test]
async fn large_documents_survive_a_kill_and_a_restore_and_go_with_their_patient() {
    let mut site = Site::start(Deployment::OneProcess).await;
    let (owner, folder, data) = (site.owner(), site.folder().to_owned(), site.data().to_owned());
    let at = data.to_str().unwrap();
    let [large, small] = [(8 << 20, 1), (1 << 20, 2)].map(|(size, seed)| attachment(size, seed));
    for id in ["gone", "kept"] {
        let _ = owner.put(&format!("/Patient/{id}"), person(id, "1971-01-01")).await.is(201);
    }
    put(&owner, "large", "gone", &large).await;
    site.kill().await;
    site.launch(First::Gateway).await;
    let owner = site.owner();
    check(&owner, "large", &large).await;
    run(&folder, &["backup", "--data", at, "--to", "b", "--keys-to", "keys"]);
    let before = owner.get("/_history?_count=1").await.is(200).json();
    let before = before["entry"][0]["resource"]["meta"]["lastUpdated"].as_str().unwrap().to_owned();
    put(&owner, "small", "kept", &small).await;
    let said = run(&folder, &["backup", "--data", at, "--to", "b", "--keys-to", "keys"]);
    // What the first backup has is not copied again.
    let copied = said.split("copied now: ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(copied.parse::<u64>().unwrap() < 2 << 20, "{said}");
    assert_eq!(blobs(&data).len(), 2);
    for file in files(&data).into_iter().chain(files(&folder.join("b"))) {
        let bytes = fs::read(&file).unwrap();
        let found = bytes.windows(PLANTED.len()).any(|window| window == PLANTED.as_bytes());
        assert!(!found, "{} has it readable", file.display());
    }

    // To the end, and to before the second document.
    let whole = restore(&folder, "whole", &[], &data);
    assert_eq!(blobs(&whole).len(), 2);
    let verified = run(&folder, &["verify", "--data", "whole"]);
    assert!(verified.contains("2 blobs of ") && verified.contains("state are whole"), "{verified}");
    let earlier = restore(&folder, "earlier", &["--at", &before], &data);
    assert_eq!(blobs(&earlier).len(), 1);
    run(&folder, &["verify", "--data", "earlier"]);
    harmed_and_orphaned(&folder, &whole);

    let certificate =
        run(&folder, &["purge", "Patient/gone", "--reason", "asked for by letter", "--data", at]);
    assert!(certificate.contains("1 blobs of "), "{certificate}");
    assert_eq!(blobs(&data).len(), 1);
    owner.get("/DocumentReference/large").await.is_outcome(410, "deleted");
    check(&owner, "small", &small).await;
    site.stop().await;
    run(&folder, &["verify", "--data", at]);
    // A later backup does without it, and an earlier one brings it back for nobody.
    run(&folder, &["backup", "--data", at, "--to", "b", "--keys-to", "keys"]);
    run(&folder, &["verify", "--backup", "b"]);
    for (to, more) in [("second", ["--backup", "2"]), ("third", ["--backup", "3"])] {
        assert_eq!(blobs(&restore(&folder, to, &more, &data)).len(), 1, "{to}");
        run(&folder, &["verify", "--data", to]);
    }
}

/// The newest body that is sealed is a large one: harmed, it says nothing of the keys.
#[tokio::test]
async fn a_document_harmed_in_postgresql_stops_no_start() {
    if Postgres::shared().is_none() {
        return;
    }
    let mut site = Site::start(Deployment::OverPostgres).await;
    let _ = site.owner().put("/Patient/7", person("7", "1971-01-01")).await.is(201);
    put(&site.owner(), "x", "7", &attachment(1 << 20, 7)).await;
    site.stop().await;
    let harm = "UPDATE hearthgate.blobs SET bytes = set_byte(bytes, 0, get_byte(bytes, 0) # 1)";
    let _ = site.database().sql(harm);
    let sealed = "SELECT flags & 8 FROM hearthgate.versions ORDER BY t DESC LIMIT 1";
    assert_eq!(site.database().sql(sealed), "8");
    site.launch(First::Gateway).await;
    let _ = site.owner().get("/DocumentReference/x").await.is(500);
    let _ = site.owner().get("/Patient/7").await.is(200);
    site.stop().await;
}

#[tokio::test]
async fn large_documents_in_postgresql_are_whole_tell_nothing_and_go_with_their_patient() {
    if Postgres::shared().is_none() {
        return;
    }
    let mut site = Site::start(Deployment::OverPostgres).await;
    let owner = site.owner();
    let [large, small] = [(8 << 20, 1), (1 << 20, 2)].map(|(size, seed)| attachment(size, seed));
    for id in ["gone", "kept"] {
        let _ = owner.put(&format!("/Patient/{id}"), person(id, "1971-01-01")).await.is(201);
    }
    put(&owner, "large", "gone", &large).await;
    put(&owner, "small", "kept", &small).await;
    site.stop().await;
    let _ = site.database().sql(
        "INSERT INTO hearthgate.blobs \
         VALUES ('default', substr(sha256('left'), 1, 16), 0, 'by a crash')",
    );
    let blobs =
        |site: &Site| site.database().sql("SELECT count(DISTINCT id) FROM hearthgate.blobs");
    assert_eq!(blobs(&site), "3");
    let dump = site.database().dump();
    let planted: String = PLANTED.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(dump.len() > 2 * (6 << 20) && !dump.contains(&planted) && !dump.contains(PLANTED));
    site.launch(First::Gateway).await;
    assert_eq!(blobs(&site), "2", "what no version names goes at the start");
    let owner = site.owner();
    check(&owner, "large", &large).await;
    check(&owner, "small", &small).await;
    let folder = site.folder().to_owned();
    let (data, config) = (site.data().to_owned(), site.config().to_owned());
    let at = ["--data", data.to_str().unwrap(), "--config", config.to_str().unwrap()];
    run(&folder, &[&["verify"], &at[..]].concat());
    let purge = ["purge", "Patient/gone", "--reason", "asked for by letter"];
    let certificate = run(&folder, &[&purge, &at[..]].concat());
    assert!(certificate.contains("1 blobs of "), "{certificate}");
    assert_eq!(blobs(&site), "1");
    owner.get("/DocumentReference/large").await.is_outcome(410, "deleted");
    check(&owner, "small", &small).await;
    run(&folder, &[&["verify"], &at[..]].concat());
    site.stop().await;
    let _ = site.database().sql(
        "UPDATE hearthgate.blobs SET bytes = set_byte(bytes, 9, 255 - get_byte(bytes, 9)) \
         WHERE number = 0",
    );
    let line = binary::failure(&binary::run(&folder, &[&["verify"], &at[..]].concat()), 1);
    assert!(line.contains("DocumentReference/small"), "{line}");
}

/// A blob that is harmed or missing is named, in the data and in the backup; one that nothing
/// names is no error, and goes by `compact`.
fn harmed_and_orphaned(folder: &Path, data: &Path) {
    let at = data.to_str().unwrap();
    let orphan = data.join("tenants/default/blobs").join("0".repeat(31) + "1");
    fs::write(&orphan, "left by a crash").unwrap();
    let verified = run(folder, &["verify", "--data", at]);
    assert!(verified.contains("names 1 blobs"), "{verified}");
    let compacted = run(folder, &["compact", "--data", at]);
    assert!(compacted.contains("blobs: 1 that nothing names, 15 bytes given back"), "{compacted}");
    assert!(!orphan.exists() && blobs(data).len() == 2);
    for blob in blobs(data).into_iter().chain(files(&folder.join("b/tenants/default/blobs"))) {
        let bytes = fs::read(&blob).unwrap();
        let in_backup = blob.starts_with(folder.join("b"));
        let target = if in_backup { ["--backup", "b"] } else { ["--data", at] };
        let verify = || binary::run(folder, &["verify", target[0], target[1]]);
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        fs::write(&blob, flipped).unwrap();
        let name = blob.file_name().unwrap().to_str().unwrap();
        let line = binary::failure(&verify(), 1);
        assert!(line.contains(name), "{line}");
        fs::remove_file(&blob).unwrap();
        let line = binary::failure(&verify(), 1);
        assert!(line.contains(name), "{line}");
        fs::write(&blob, bytes).unwrap();
        assert!(verify().status.success());
    }
}

/// What the disk does not give is an error of whoever asked for it, for as long as that is so.
#[tokio::test]
async fn a_document_that_cannot_be_read_is_500_of_that_request_alone() {
    let mut site = Site::start(Deployment::OneProcess).await;
    let owner = site.owner();
    let data = attachment(600_000, 3);
    let _ = owner.put("/Patient/beside", r#"{"resourceType":"Patient","id":"beside"}"#).await;
    put(&owner, "large", "beside", &data).await;
    // Nothing of it is in memory.
    site.stop().await;
    site.launch(First::Gateway).await;
    let owner = site.owner();
    let [blob] = &blobs(site.data())[..] else { panic!("there is one blob") };
    let aside = blob.with_extension("aside");
    fs::rename(blob, &aside).unwrap();
    fs::create_dir(blob).unwrap();
    for _ in 0..2 {
        let answer = owner.get("/DocumentReference/large").await;
        answer.is_outcome(500, "exception");
        assert!(!answer.text().contains("blobs"), "{}", answer.text());
        let _ = owner.get("/Patient/beside").await.is(200);
    }
    let _ = site.admin().get("/readyz").await.is(200);
    let said = site.front().stderr();
    assert!(said.contains("cannot be read"), "{said}");
    fs::remove_dir(blob).unwrap();
    fs::rename(&aside, blob).unwrap();
    check(&owner, "large", &data).await;
}
