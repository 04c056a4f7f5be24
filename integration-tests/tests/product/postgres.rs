//! What is PostgreSQL's own: keys beside the database, purge and `verify` over it, outages of it,
//! and servers that meet on it. What holds wherever the data is, the other files run over it too.

use std::fs;
use std::process::Output;

use integration_tests::binary;
use integration_tests::client::{Client, try_send};
use integration_tests::kills::{Plan, run};
use integration_tests::postgres::Postgres;
use integration_tests::process::Process;
use integration_tests::site::{Deployment, First, Site};
use integration_tests::test_data::{documents, folder};
use serde_json::Value;

use crate::purge::{check_gone, copy_folder, give_tenant_key, person, succeeds, two_patients};
use crate::waiting::{SOON, until};

/// Found nowhere else.
const NUMBER: &str = "nr-77310-41";

async fn start() -> Option<Site> {
    Postgres::shared()?;
    Some(Site::start(Deployment::OverPostgres).await)
}

/// A command on the site's data, which reaches PostgreSQL as the site's configuration says.
fn command(site: &Site, arguments: &[&str]) -> Output {
    let data = site.data().to_str().unwrap();
    let config = site.config().to_str().unwrap();
    binary::run(site.folder(), &[arguments, &["--data", data, "--config", config]].concat())
}

fn purge(site: &Site) -> Output {
    command(site, &["purge", "Patient/gone", "--reason", "asked for by letter"])
}

/// `hearthgate serve`, which must not come up.
async fn refused(site: &Site, name: &str) -> String {
    let mut process = Process::start(site.command("serve"), site.folder(), name);
    let status = process.ended().await;
    assert_eq!(status.code(), Some(1), "{}", process.stderr());
    process.stderr()
}

/// The identifier as the table has it.
fn identifiers(site: &Site, patient: &str) -> String {
    site.database().sql(&format!(
        "SELECT count(*) FROM hearthgate.identifiers \
         WHERE position('{NUMBER}-{patient}'::bytea IN identifier) > 0"
    ))
}

#[tokio::test]
async fn a_dump_tells_no_patients_data_and_opens_nothing_without_the_keys() {
    let Some(mut site) = start().await else { return };
    two_patients(&site.owner()).await;
    succeeds(&command_of_backup(&site, "b", "keys"));
    // Once it is stopped: a dump of a running server's database has its lease, too.
    site.stop().await;
    let dump = site.database().dump();
    let hexadecimal =
        |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    for told in ["Quillfeather", "Umberleigh", "1971-01-01", "the practice"] {
        assert!(!dump.contains(told) && !dump.contains(&hexadecimal(told)), "{told}");
    }
    assert!(dump.contains(&hexadecimal(NUMBER)), "identifiers are found by their texts");
    let tree = fs::read(site.data().join("tenants/default/keys/tree")).unwrap();
    let key = fs::read_to_string(site.data().join("tenant-keys/default")).unwrap();
    let tree: String = tree.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!dump.contains(&tree) && !dump.contains(key.trim()));
    let unsealed = "SELECT count(*) FROM hearthgate.versions WHERE owner = 0 AND length > 0";
    assert_eq!(site.database().sql(unsealed), "0");

    // The dump in another place: with the keys all of it, without them nothing, and none are made.
    let keys = site.folder().join("keys");
    let restored = Site::over(Deployment::OverPostgres, Some(site.database().restored(&dump)));
    // A registry begins empty beside no tenant with data: it is restored too.
    copy_folder(&site.data().join("registry"), &restored.data().join("registry"));
    give_tenant_key(site.data(), restored.data());
    let stderr = refused(&restored, "without-keys").await;
    assert!(stderr.contains("missing from") && stderr.contains("restore"), "{stderr}");
    assert!(!restored.data().join("tenants/default/keys").exists());
    let other = Site::start(Deployment::OverPostgres).await;
    copy_folder(&other.data().join("tenants"), &restored.data().join("tenants"));
    copy_folder(&other.data().join("tenant-keys"), &restored.data().join("tenant-keys"));
    let stderr = refused(&restored, "with-others-keys").await;
    assert!(stderr.contains("do not open what is sealed"), "{stderr}");
    copy_folder(&keys.join("default"), &restored.data().join("tenants/default/keys"));
    give_tenant_key(site.data(), restored.data());
    let mut restored = restored;
    restored.launch(First::Gateway).await;
    let owner = restored.client(site.owner().key());
    assert_eq!(owner.get("/Patient/kept").await.is(200).json()["birthDate"], "1972-02-02");
    restored.stop().await;
}

fn command_of_backup(site: &Site, to: &str, keys_to: &str) -> Output {
    let data = site.data().to_str().unwrap();
    binary::run(site.folder(), &["backup", "--data", data, "--to", to, "--keys-to", keys_to])
}

#[tokio::test]
async fn a_database_where_nothing_is_sealed_yet_gets_keys_and_seals_from_then_on() {
    let Some(mut site) = start().await else { return };
    let _ = site
        .owner()
        .put("/Basic/x", r#"{"resourceType":"Basic","id":"x","code":{"text":"x"}}"#)
        .await
        .is(201);
    let _ = site.owner().delete("/Basic/x").await.is(204);
    site.stop().await;
    let without_keys = || {
        fs::remove_dir_all(site.data().join("tenants")).unwrap();
        fs::remove_dir_all(site.data().join("tenant-keys")).unwrap();
    };
    without_keys();
    let stderr = refused(&site, "sealed").await;
    assert!(stderr.contains("is not in") && stderr.contains("put it back"), "{stderr}");
    // As a release left it that sealed nothing: the row says that no key is needed.
    let _ = site.database().sql("UPDATE hearthgate.versions SET owner = 0");
    site.launch(First::Gateway).await;
    assert!(site.data().join("tenants/default/keys/tree").exists());
    let _ = site
        .owner()
        .put("/Basic/y", r#"{"resourceType":"Basic","id":"y","code":{"text":"y"}}"#)
        .await
        .is(201);
    let sealed = "SELECT string_agg(id, ',') FROM hearthgate.versions WHERE owner <> 0";
    assert_eq!(site.database().sql(sealed), "y");
    site.stop().await;
}

#[tokio::test]
async fn a_purge_beside_the_server_takes_data_identifiers_and_copies_of_the_key() {
    let Some(mut site) = start().await else { return };
    let owner = site.owner();
    two_patients(&owner).await;
    succeeds(&command_of_backup(&site, "b", "keys"));
    let before = site.database().dump();
    assert_eq!((identifiers(&site, "gone"), identifiers(&site, "kept")), ("1".into(), "1".into()));
    // Without the configuration: the server is asked.
    let data = site.data().to_str().unwrap();
    let arguments = ["purge", "Patient/gone", "--reason", "asked for by letter", "--data", data];
    let text = succeeds(&binary::run(site.folder(), &arguments));
    for said in [
        "Patient/gone of tenant default is purged",
        "2 versions of Patient",
        "1 versions of Observation",
        "the key is destroyed in these copies of the keys too",
        "its WAL, its standbys and every dump of it",
        "VACUUM FULL",
    ] {
        assert!(text.contains(said), "{said} is missing: {text}");
    }
    assert!(!text.contains("state/"), "{text}");
    check_gone(&owner).await;
    assert_eq!((identifiers(&site, "gone"), identifiers(&site, "kept")), ("0".into(), "1".into()));
    let verified = succeeds(&command(&site, &["verify"]));
    assert!(verified.contains("identifiers are whole in PostgreSQL"), "{verified}");
    site.stop().await;
    site.launch(First::Gateway).await;
    check_gone(&site.owner()).await;
    let key = owner.key().to_owned();
    site.stop().await;

    // A dump of before, with the keys as they are now: the data stays unreadable, and the start
    // deletes the identifiers that came back.
    let restored = Site::over(Deployment::OverPostgres, Some(site.database().restored(&before)));
    copy_folder(site.data(), restored.data());
    // Its sockets are for this account alone, which a copy is not.
    fs::remove_dir_all(restored.data().join("run")).unwrap();
    assert_eq!(identifiers(&restored, "gone"), "1");
    let failed = binary::failure(&command(&restored, &["verify"]), 1);
    assert!(failed.contains("1 identifiers are borne by no version"), "{failed}");
    let mut restored = restored;
    restored.launch(First::Gateway).await;
    assert_eq!(restored.client(&key).get("/Patient/gone/_history/1").await.status, 410);
    assert_eq!(restored.client(&key).get("/Patient/kept").await.status, 200);
    assert_eq!(identifiers(&restored, "gone"), "0");
    succeeds(&command(&restored, &["verify"]));
    restored.stop().await;
}

#[tokio::test]
async fn a_purge_without_a_server_takes_the_lease_and_what_it_left_is_finished_by_a_start() {
    let Some(mut site) = start().await else { return };
    two_patients(&site.owner()).await;
    let data = site.data().to_str().unwrap().to_owned();
    site.stop().await;
    let arguments = ["purge", "Patient/gone", "--reason", "why", "--data", &data];
    let line = binary::failure(&binary::run(site.folder(), &arguments), 1);
    assert!(line.contains("say with --config FILE"), "{line}");
    // Identifiers that cannot be deleted now stay, and it is said.
    let _ = site.database().sql(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$; \
         CREATE TRIGGER no BEFORE DELETE ON hearthgate.identifiers FOR EACH ROW EXECUTE FUNCTION no()",
    );
    let text = succeeds(&purge(&site));
    assert!(text.contains("until the next start of the server deletes them"), "{text}");
    assert_eq!(identifiers(&site, "gone"), "1");
    let failed = binary::failure(&command(&site, &["verify"]), 1);
    assert!(failed.contains("1 identifiers are borne by no version"), "{failed}");
    let _ = site.database().sql("DROP TRIGGER no ON hearthgate.identifiers");
    site.launch(First::Gateway).await;
    check_gone(&site.owner()).await;
    assert_eq!(identifiers(&site, "gone"), "0");
    site.stop().await;
    let again = binary::failure(&purge(&site), 1);
    assert!(again.contains("Patient/gone was purged at "), "{again}");
    succeeds(&command(&site, &["verify"]));
}

#[tokio::test]
async fn a_purge_that_cannot_be_noted_destroys_nothing() {
    let Some(mut site) = start().await else { return };
    two_patients(&site.owner()).await;
    // A name that leads to where nothing can be made, also by root.
    let note = site.data().join("tenants/default/identifiers.forget");
    std::os::unix::fs::symlink(site.folder().join("missing/note"), &note).unwrap();
    let refused = |output| {
        let failed = binary::failure(&output, 1);
        let said = failed.contains("nothing is purged now") && failed.contains("cannot write");
        assert!(said, "{failed}");
    };
    refused(purge(&site));
    assert_eq!(site.owner().get("/Patient/gone").await.status, 200);
    site.stop().await;
    refused(purge(&site));
    assert_eq!(identifiers(&site, "gone"), "1");
    fs::remove_file(&note).unwrap();
    site.launch(First::Gateway).await;
    assert_eq!(site.owner().get("/Patient/gone").await.status, 200);
    succeeds(&purge(&site));
    check_gone(&site.owner()).await;
    assert_eq!(identifiers(&site, "gone"), "0");
    site.stop().await;
}

#[tokio::test]
async fn verify_finds_a_flipped_bit_and_says_what_it_cannot_read() {
    let Some(mut site) = start().await else { return };
    two_patients(&site.owner()).await;
    let whole = succeeds(&command(&site, &["verify"]));
    assert!(whole.contains("7 versions up to commit 7 and 2 identifiers are whole"), "{whole}");
    let data = site.data().to_str().unwrap();
    let unread = succeeds(&binary::run(site.folder(), &["verify", "--data", data]));
    assert!(unread.contains("was not read; `hearthgate verify --config"), "{unread}");
    site.stop().await;
    let _ = site.database().sql(
        "UPDATE hearthgate.versions SET body = set_byte(body, 3, 255 - get_byte(body, 3)) \
         WHERE id = 'kept' AND version = 1",
    );
    let failed = binary::failure(&command(&site, &["verify"]), 1);
    assert!(failed.contains("the body of Patient/kept"), "{failed}");
    let moved = site.folder().join("tenant-key");
    fs::rename(site.data().join("tenant-keys/default"), &moved).unwrap();
    let failed = binary::failure(&command(&site, &["verify"]), 1);
    assert!(failed.contains("the body of Patient/kept"), "{failed}");
}

async fn writes(owner: &Client, id: &str) -> Result<u16, String> {
    let body = format!(r#"{{"resourceType":"Basic","id":"{id}","code":{{"text":"x"}}}}"#);
    let request = owner.with_body(http::Method::PUT, &format!("/Basic/{id}"), body);
    let answer = try_send(request).await?;
    if answer.status == 503 {
        assert!(answer.header("retry-after").is_some(), "{}", answer.text());
    }
    Ok(answer.status)
}

#[tokio::test]
async fn while_postgresql_is_away_nothing_is_acknowledged_and_it_comes_back_by_itself() {
    let Some(postgres) = Postgres::own() else { return };
    let mut site = Site::over(Deployment::OverPostgres, Some(postgres.database()));
    site.launch(First::Gateway).await;
    let owner = site.owner();
    assert_eq!(writes(&owner, "before").await, Ok(201));
    postgres.stop();
    until("it is not ready", SOON, async || {
        let answer = site.readiness().await?;
        (answer.status == 503).then_some(()).ok_or_else(|| answer.text().to_owned())
    })
    .await;
    assert_eq!(site.admin().get("/livez").await.status, 200);
    let away = writes(&owner, "away").await.unwrap();
    assert_eq!(away, 503);
    postgres.start();
    site.becomes_ready().await;
    until("writes are taken", SOON, async || match writes(&owner, "after").await? {
        200 | 201 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    assert_eq!(owner.get("/Basic/before").await.status, 200);
    assert_eq!(owner.get("/Basic/after").await.status, 200);
    site.stop().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_database_is_refused_and_told_by_whom() {
    let Some(site) = start().await else { return };
    let second = Site::over(Deployment::OverPostgres, Some(site.database().clone()));
    let stderr = refused(&second, "second").await;
    assert!(stderr.contains("holds tenant default"), "{stderr}");
    assert!(!second.data().join("tenants").exists(), "it has made no keys");
    assert_eq!(writes(&site.owner(), "still").await, Ok(201));
}

#[tokio::test]
async fn over_tls_the_password_must_be_right_and_is_told_nowhere() {
    let Some(postgres) = Postgres::shared() else { return };
    let database = postgres.database();
    let mut site = Site::prepare(Deployment::OneProcess);
    let password = site.folder().join("password");
    let write = |text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(&password, text).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    };
    site.configure(&database.configuration_over_tls(password.to_str().unwrap()));
    write("not the one\n");
    let stderr = refused(&site, "wrong").await;
    assert!(stderr.contains("password authentication failed"), "{stderr}");
    assert!(!stderr.contains("not the one"), "{stderr}");
    write(database.password());
    site.launch(First::Gateway).await;
    assert_eq!(writes(&site.owner(), "x").await, Ok(201));
    let sessions = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                    WHERE application_name = 'hearthgate' AND datname = current_database()";
    assert_eq!(database.sql(sessions), "t");
    site.stop().await;
    assert!(!site.everything_written().contains(database.password()));
}

#[tokio::test]
async fn after_kill_9_what_was_acknowledged_is_whole_once_the_lease_is_waited_out() {
    if Postgres::shared().is_none() {
        return;
    }
    let Some(data) = folder() else { return };
    let bundles = documents(&data.join("synthea/bundles.ndjson.zst"));
    let plan = Plan { rounds: 1, seed: 7, deployment: Deployment::OverPostgres };
    let report = run(plan, &bundles).await;
    assert!(report.acknowledged + report.whole + report.absent > 0, "{report:?}");
}

#[tokio::test]
async fn a_certificate_as_json_says_what_is_left() {
    let Some(mut site) = start().await else { return };
    let _ = site.owner().put("/Patient/gone", person("gone", "1971-01-01")).await.is(201);
    site.stop().await;
    let output = command(&site, &["purge", "Patient/gone", "--reason", "why", "--json"]);
    let certificate: Value = serde_json::from_str(&succeeds(&output)).unwrap();
    assert_eq!(certificate["versions"], serde_json::json!({"Patient": 1}));
    assert!(certificate["sealedBytesInLog"].as_u64().unwrap() > 0);
    assert_eq!(certificate["left"].as_array().unwrap().len(), 3);
}
