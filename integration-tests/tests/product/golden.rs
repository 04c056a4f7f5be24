//! Data directories that earlier releases wrote, one for each format: each opens, reads equal to
//! what the release answered that wrote it, passes `verify` and goes on (`golden/README.md`).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use integration_tests::binary;
use integration_tests::client::Client;
use integration_tests::site::{Deployment, First, Site};
use serde::Deserialize;

use crate::purge::copy_folder;

/// What was answered.
#[derive(Deserialize)]
struct Expected {
    /// How many versions the history of everything has.
    total: u64,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    /// Below the base.
    path: String,
    status: u16,
    body: Option<String>,
}

fn golden(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/format-{format}"))
}

fn expected(format: u32) -> Expected {
    let text = fs::read_to_string(golden(format).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Gives back what a checkout does not keep: files are their owner's alone.
fn close_to_others(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            close_to_others(&path);
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// G9, of the format's directory.
async fn opens_and_reads_equal(format: u32) {
    let mut site = Site::prepare(Deployment::OneProcess);
    copy_folder(&golden(format).join("data"), site.data());
    close_to_others(site.data());
    let expected = expected(format);
    site.launch(First::Gateway).await;
    let reader = site.new_client("successor", &["--role", "owner"]);
    reads_equal(&reader, &expected, 0).await;
    // What its clients named, and what bears an identifier, is found.
    let again = r#"{"resourceType":"Patient","identifier":[{"system":"urn:clinic","value":"nr-assigned"}],"name":[{"family":"Golden","given":["x"]}]}"#;
    let again = reader.with_body(http::Method::POST, "/Patient", again);
    let again = again.header("if-none-exist", "identifier=urn:clinic|nr-assigned");
    let _ = integration_tests::client::sent(again).await.is(200);
    // It is written to, and read by the next start; so is what is derived anew from it.
    let text = r#"{"resourceType":"Patient","id":"example","birthDate":"1972-02-02"}"#;
    assert!(reader.put("/Patient/example", text).await.is(200).text().contains("\"3\""));
    site.stop().await;
    verifies(&site);
    fs::remove_dir_all(site.data().join("tenants/default/state")).unwrap();
    verifies(&site);
    site.launch(First::Gateway).await;
    reads_equal(&site.client(reader.key()), &expected, 1).await;
}

async fn reads_equal(reader: &Client, expected: &Expected, more: u64) {
    assert!(expected.versions.len() > 10);
    for version in &expected.versions {
        let answer = reader.get(&version.path).await;
        assert_eq!(answer.status, version.status, "{}: {}", version.path, answer.text());
        if let Some(body) = &version.body {
            assert_eq!(answer.text(), body, "{}", version.path);
        }
    }
    let history = reader.get("/_history?_count=100").await.is(200).json();
    assert_eq!(history["total"], expected.total + more);
}

fn verifies(site: &Site) {
    let data = site.data().to_str().unwrap();
    let output = binary::run(site.folder(), &["verify", "--data", data]);
    assert!(output.status.success(), "{output:?}");
    let said = binary::text(&output.stdout);
    assert!(said.contains("log and derived state are whole"), "{said}");
}

#[tokio::test]
async fn a_directory_of_format_1_opens_reads_equal_and_verifies() {
    opens_and_reads_equal(1).await;
}

#[tokio::test]
async fn a_directory_of_format_2_opens_reads_equal_and_verifies() {
    opens_and_reads_equal(2).await;
}
