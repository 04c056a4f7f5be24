//! Gateways that share one registry in PostgreSQL, before one server.

use std::fs;
use std::process::Output;
use std::time::Duration;

use integration_tests::binary::{failure, run};
use integration_tests::client::Client;
use integration_tests::postgres::{Database, Postgres};
use integration_tests::process::Process;
use integration_tests::site::free_address;
use integration_tests::split::{Gateway, Split};

use crate::site::{Deployment, First, Site};
use crate::waiting::{SOON, until};

/// By when each gateway knows what another changed.
const PROMISED: Duration = Duration::from_secs(5);

fn named(database: &Database) -> String {
    format!("registry.postgres = \"{}\"\n", database.connection())
}

/// Two gateways before a server; the first start was the first one's.
async fn two_gateways(database: &Database) -> Split {
    let mut split = Split::prepare(2, (free_address(), free_address()), Vec::new());
    for gateway in &split.gateways {
        let file = gateway.folder().join("hearthgate.toml");
        let before = fs::read_to_string(&file).unwrap();
        fs::write(&file, named(database) + &before).unwrap();
    }
    split.start_server().await;
    for gateway in &mut split.gateways {
        gateway.start();
        gateway.becomes_ready().await;
    }
    split
}

/// A command for the gateway that runs there.
fn command(gateway: &Gateway, arguments: &[&str]) -> Output {
    run(gateway.folder(), &[arguments, &["--data", "data"]].concat())
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A key of the owner, made there.
fn made(gateway: &Gateway) -> String {
    let output = command(gateway, &["keys", "create", "--client", "owner", "--print-key"]);
    said(&output).trim_end().to_owned()
}

fn id_of(key: &str) -> &str {
    &key[3..19]
}

async fn answers(gateway: &Gateway, key: &str, status: u16) {
    let base = format!("http://{}/fhir", gateway.address());
    until("the answer", PROMISED, async || {
        let answer = Client::new(&base, Some(key)).get("/Patient?_count=0").await.status;
        (answer == status).then_some(()).ok_or_else(|| answer.to_string())
    })
    .await;
}

async fn standing_becomes(gateway: &Gateway, word: &str) {
    until("the registry's standing", SOON, async || {
        let told = gateway.readiness_becomes(200).await.json();
        (told["registry"] == word && told["parts"]["registry"] == true)
            .then_some(())
            .ok_or_else(|| told.to_string())
    })
    .await;
}

// GW-064
#[tokio::test]
async fn a_key_made_at_one_gateway_is_good_at_the_other_and_refused_there_once_revoked() {
    let Some(postgres) = Postgres::own() else { return };
    let database = postgres.database();
    let split = two_gateways(&database).await;
    let [one, other] = split.gateways.as_slice() else { panic!("there are two") };
    let owner = one.owner().await.key().to_owned();
    answers(other, &owner, 200).await;
    assert!(!other.folder().join("owner.key").exists(), "there is one first start");
    let key = made(one);
    answers(other, &key, 200).await;
    assert!(said(&command(other, &["keys", "list"])).contains(id_of(&key)));
    assert_eq!(said(&command(other, &["keys", "revoke", id_of(&key)])).lines().count(), 1);
    answers(one, &key, 401).await;
    answers(other, &key, 401).await;

    // Without PostgreSQL: who is known goes on, nothing is changed, and it is said.
    postgres.stop();
    for gateway in [one, other] {
        standing_becomes(gateway, "away").await;
        answers(gateway, &owner, 200).await;
        answers(gateway, &key, 401).await;
        let create = ["keys", "create", "--client", "owner", "--print-key"];
        let told = failure(&command(gateway, &create), 1);
        assert!(told.contains("PostgreSQL") && told.contains("nothing was changed"), "{told}");
        let known = command(gateway, &["keys", "list"]);
        assert!(said(&known).contains(id_of(&owner)));
        let told = String::from_utf8_lossy(&known.stderr);
        assert!(told.contains("As this gateway knows them: PostgreSQL"), "{told}");
        let metrics = gateway.metrics().await;
        assert!(metrics.contains("\nhearthgate_gateway_registry_current 0\n"), "{metrics}");
        assert!(gateway.process().stderr().contains("does not answer"));
    }
    postgres.start();
    for gateway in [one, other] {
        standing_becomes(gateway, "current").await;
    }
    let key = made(other);
    answers(one, &key, 200).await;
    let metrics = one.metrics().await;
    assert!(metrics.contains("\nhearthgate_gateway_registry_changes 4\n"), "{metrics}");
}

/// `hearthgate serve`, which must not come up.
async fn refused(site: &Site, name: &str) -> String {
    let mut process = Process::start(site.command("serve"), site.folder(), name);
    let status = process.ended().await;
    assert_eq!(status.code(), Some(1), "{}", process.stderr());
    process.stderr()
}

// GW-064
#[tokio::test]
async fn a_registry_that_is_moved_is_used_from_there_alone_also_by_commands() {
    let Some(postgres) = Postgres::shared() else { return };
    let database = postgres.database();
    let mut site = Site::start(Deployment::OneProcess).await;
    let owner = site.owner().key().to_owned();
    site.stop().await;
    site.configure(&named(&database));
    let command = |arguments: &[&str]| {
        let (data, config) = (site.data().to_str().unwrap(), site.config().to_str().unwrap());
        run(site.folder(), &[arguments, &["--data", data, "--config", config]].concat())
    };
    let told = refused(&site, "not-moved").await;
    assert!(told.contains("hearthgate registry move"), "{told}");
    assert!(said(&command(&["registry", "move"])).contains("1 changes are there now"));
    // With no gateway here, by the configuration; without it, it is said where the registry is.
    assert!(said(&command(&["keys", "list"])).contains(id_of(&owner)));
    let without = site.keys(&["list"]);
    assert!(failure(&without, 1).contains("says that the registry is in PostgreSQL"));
    let create = ["keys", "create", "--client", "owner", "--print-key"];
    let key = said(&command(&create)).trim_end().to_owned();
    let whole = said(&command(&["verify"]));
    assert!(whole.contains("Registry: 2 changes in PostgreSQL are whole"), "{whole}");
    let data = site.data().to_str().unwrap();
    let backup = said(&run(site.folder(), &["backup", "--data", data, "--to", "backup"]));
    assert!(backup.contains("The registry is in PostgreSQL"), "{backup}");
    site.launch(First::Gateway).await;
    let _ = site.client(&owner).get("/metadata").await.is(200);
    let _ = site.client(&key).get("/Patient?_count=0").await.is(200);
    site.stop().await;
    // Nor does a start that names no PostgreSQL begin another.
    site.configure("");
    let told = refused(&site, "unnamed").await;
    assert!(told.contains("says that the registry is in PostgreSQL"), "{told}");
}
