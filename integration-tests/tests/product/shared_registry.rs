//! Gateways that share one registry in PostgreSQL, before one server.

use std::fs;
use std::process::Output;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use integration_tests::binary::{failure, run, text};
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
        let trail = said(&command(gateway, &["changes", "list"]));
        let last = trail.lines().last().unwrap();
        assert!(last.contains("keys.create client owner: refused"), "{trail}");
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
    let doctor = text(&command(&["doctor"]).stdout);
    assert!(doctor.contains("registry in PostgreSQL: version "), "{doctor}");
    assert!(doctor.contains("format 1; the newest change is 2 of 20"), "{doctor}");
    // The tests' PostgreSQL is quick and loses what it answered.
    assert!(doctor.contains("; fsync is off: what was answered may be lost"), "{doctor}");
    let _ = database.sql("UPDATE hearthgate_registry.format SET version = 9");
    let doctor = command(&["doctor"]);
    let told = text(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(1), "{told}");
    assert!(told.contains("BAD   registry in PostgreSQL: the registry in PostgreSQL has format 9"));
    let _ = database.sql("UPDATE hearthgate_registry.format SET version = 1");
    site.launch(First::Gateway).await;
    let _ = site.client(&owner).get("/metadata").await.is(200);
    let _ = site.client(&key).get("/Patient?_count=0").await.is(200);
    site.stop().await;
    // Nor does a start that names no PostgreSQL begin another.
    site.configure("");
    let told = refused(&site, "unnamed").await;
    assert!(told.contains("says that the registry is in PostgreSQL"), "{told}");
}

/// Holds every change of the registry up until it is let go.
struct HeldUp<'a> {
    database: &'a Database,
    holding: JoinHandle<String>,
}

impl<'a> HeldUp<'a> {
    async fn begin(database: &'a Database) -> Self {
        let own = database.clone();
        let hold = "BEGIN; LOCK TABLE hearthgate_registry.changes IN EXCLUSIVE MODE; \
                    DO $$ BEGIN LOOP EXIT WHEN EXISTS (SELECT FROM pg_class WHERE relname = 'let_go'); \
                    PERFORM pg_sleep(0.02); END LOOP; END $$; COMMIT";
        let holding = Builder::new().name("holds-up".to_owned());
        let holding = holding.spawn(move || own.sql(hold)).unwrap();
        let held = "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND granted \
                    AND relation = 'hearthgate_registry.changes'::regclass";
        until("changes are held up", SOON, async || {
            let count = database.sql(held);
            if count == "1" { Ok(()) } else { Err(count) }
        })
        .await;
        Self { database, holding }
    }

    /// Ends what waits, as a database does that finds nobody there any more, and lets go.
    async fn end(self) {
        let of_gateways = "FROM pg_stat_activity WHERE datname = current_database() \
                           AND application_name = 'hearthgate registry'";
        let _ = self.database.sql(&format!("SELECT pg_terminate_backend(pid) {of_gateways}"));
        until("nobody waits", SOON, async || {
            let count = self.database.sql(&format!("SELECT count(*) {of_gateways}"));
            if count == "0" { Ok(()) } else { Err(count) }
        })
        .await;
        let _ = self.database.sql("CREATE TABLE public.let_go ()");
        self.holding.join().unwrap();
    }
}

// GW-061
#[tokio::test]
async fn killed_between_file_and_registry_a_gateway_says_what_is_left_of_an_apply_and_takes_it() {
    let Some(postgres) = Postgres::shared() else { return };
    let database = postgres.database();
    let mut site = Site::prepare(Deployment::OneProcess);
    site.configure(&named(&database));
    site.launch(First::Gateway).await;
    let folder = site.folder().to_owned();
    let data = site.data().to_str().unwrap().to_owned();
    let config = move |verb: &str| run(&folder, &["config", verb, "kept", "--data", &data]);
    said(&config("export"));
    let kept = site.folder().join("kept");
    let wanted = named(&database) + "[plans.app]\nsays = \"For apps.\"\n";
    fs::write(kept.join("hearthgate.toml"), &wanted).unwrap();
    fs::write(kept.join("clients/app.toml"), "role = \"reader\"\nplan = \"app\"\n").unwrap();

    let held = HeldUp::begin(&database).await;
    let asking = config.clone();
    let applying = Builder::new().name("applies".to_owned());
    let applying = applying.spawn(move || asking("apply")).unwrap();
    until("the file is in its place", SOON, async || {
        let found = fs::read_to_string(site.config()).unwrap();
        if found == wanted { Ok(()) } else { Err(found) }
    })
    .await;
    site.kill().await;
    assert!(!applying.join().unwrap().status.success());
    held.end().await;

    site.launch(First::Gateway).await;
    let differs = config("diff");
    let words = text(&differs.stdout);
    assert_eq!(differs.status.code(), Some(2), "{differs:?}");
    assert!(words.contains("+ client app") && words.contains("0 settings and 1 client"), "{words}");
    let trail =
        said(&run(site.folder(), &["changes", "list", "--data", site.data().to_str().unwrap()]));
    let applies: Vec<_> = trail.lines().filter(|line| line.contains("config.apply")).collect();
    assert!(applies.len() == 1 && applies[0].contains("begun"), "{trail}");
    assert!(said(&config("apply")).contains("0 settings and 1 client are changed"));
    assert_eq!(said(&config("diff")), "Nothing differs.\n");
    site.stop().await;
}
