//! Configuration and clients as files: compared with a running gateway, and applied.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use integration_tests::binary::{failure, run, text};
use integration_tests::client::Client;
use integration_tests::site::{Deployment, First, Site};
use tokio::task::JoinSet;

/// How often files are applied under load.
const APPLIES: u32 = 40;

fn config(burst: u32) -> String {
    format!(
        "[plans.app]\nsays = \"For apps.\"\nrates = [{{ per_second = 1, burst = {burst} }}]\n\
         quotas = [{{ of = \"requests\", most = 1000, per = \"month\" }}]\n"
    )
}

/// A gateway, and a directory that says what it has.
struct Kept {
    site: Site,
}

impl Kept {
    async fn start(deployment: Deployment) -> Self {
        let mut site = Site::prepare(deployment);
        site.configure(&config(3));
        site.launch(First::Gateway).await;
        let kept = Self { site };
        let exported = kept.run(&["export"], &[]);
        assert!(exported.status.success(), "{exported:?}");
        kept
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.site.folder().join("kept").join(path), text).unwrap();
    }

    fn run(&self, verb: &[&str], flags: &[&str]) -> Output {
        let data = self.site.data().to_str().unwrap();
        let all = [&["config"], verb, &["kept", "--data", data], flags].concat();
        run(self.site.folder(), &all)
    }

    /// What `config diff` says, and its status.
    fn diff(&self, flags: &[&str]) -> (i32, String) {
        let output = self.run(&["diff"], flags);
        let status = output.status.code().unwrap();
        assert!(status != 1 && output.stderr.is_empty(), "{output:?}");
        (status, text(&output.stdout))
    }

    fn apply(&self, flags: &[&str]) -> String {
        let output = self.run(&["apply"], flags);
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    }

    fn refused(&self, verb: &str) -> String {
        failure(&self.run(&[verb], &[]), 1)
    }

    fn key_of(&self, client: &str) -> Client {
        self.site.new_client(client, &[])
    }
}

/// The burst that the client's plan has, as its answers tell.
async fn burst(client: &Client) -> Option<u32> {
    let answer = client.get("/metadata?_elements=url").await;
    let policy = answer.header("ratelimit-policy")?.to_owned();
    let rest = policy.split_once("\"client-per-second\";q=")?.1;
    rest.split(';').next()?.parse().ok()
}

for_both_deployments! {
    files_are_compared_applied_and_then_say_nothing,
    whatever_is_refused_changes_neither_clients_nor_configuration,
}

// GW-060 GW-061
async fn files_are_compared_applied_and_then_say_nothing(deployment: Deployment) {
    let kept = Kept::start(deployment).await;
    assert_eq!(kept.diff(&[]), (0, "Nothing differs.\n".to_owned()));

    kept.write("hearthgate.toml", &config(5));
    kept.write("clients/app.toml", "role = \"reader\"\nplan = \"app\"\n");
    let (status, words) = kept.diff(&[]);
    assert_eq!(status, 2);
    assert!(words.contains("~ plans.app.rates") && words.contains("burst = 5"), "{words}");
    assert!(words.contains("+ client app\n    + name = \"app\"\n"), "{words}");
    let (status, json) = kept.diff(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, &json["differs"]), (2, &true.into()));
    assert_eq!(json["clients"][0]["id"], "app");

    // To try it out changes nothing.
    assert!(kept.apply(&["--dry-run"]).contains("would be changed"));
    assert_eq!(kept.diff(&[]).0, 2);
    assert!(kept.apply(&[]).contains("1 setting and 1 client are changed"));
    assert_eq!(kept.diff(&[]), (0, "Nothing differs.\n".to_owned()));
    assert_eq!(kept.apply(&[]), "Nothing differs.\n");
    assert_eq!(fs::read_to_string(kept.site.config()).unwrap(), config(5));
    let app = kept.key_of("app");
    assert_eq!(burst(&app).await, Some(5));

    // A hand that changes a client is seen, and mended.
    let data = kept.site.data().to_str().unwrap();
    let by_hand =
        run(kept.site.folder(), &["clients", "set-plan", "app", "--none", "--data", data]);
    assert!(by_hand.status.success(), "{by_hand:?}");
    assert_eq!(burst(&app).await, None);
    let (status, words) = kept.diff(&[]);
    assert!(status == 2 && words.contains("~ client app\n    + plan = \"app\"\n"), "{words}");
    kept.apply(&[]);
    assert_eq!(burst(&app).await, Some(5));

    // And a file that says so disables a client; another gives it back.
    kept.write("clients/app.toml", "role = \"reader\"\nplan = \"app\"\nenabled = false\n");
    kept.apply(&[]);
    let _ = app.get("/metadata").await.is(401);
    kept.write("clients/app.toml", "role = \"reader\"\nplan = \"app\"\n");
    kept.apply(&[]);
    let _ = app.get("/metadata").await.is(200);
}

// GW-061
async fn whatever_is_refused_changes_neither_clients_nor_configuration(deployment: Deployment) {
    let kept = Kept::start(deployment).await;
    kept.write("clients/app.toml", "role = \"reader\"\nplan = \"app\"\n");
    kept.apply(&[]);
    let app = kept.key_of("app");
    let route = "[gateway.upstreams.lab]\nendpoints = [{ address = \"127.0.0.1:9\" }]\n\
                 enforces = \"none\"\n[[gateway.routes]]\nname = \"lab\"\npath = \"/lab\"\n\
                 content = \"other\"\nupstream = \"lba\"\n";
    let good = "name = \"Another\"\nrole = \"reader\"\nplan = \"app\"\n";
    for (configuration, client, parts) in [
        (
            config(7),
            "role = \"raeder\"\n",
            &["clients/app.toml line 1", "did you mean reader?"][..],
        ),
        (config(7), "role = \"reader\"\nplan = \"ap\"\n", &["app.toml line 2", "no plan ap"]),
        (config(7) + route, good, &["hearthgate.toml line", "lba"]),
        (config(7) + "[gateway]\ndrain_seconds = 3\n", good, &["drain_seconds", "restart"]),
        (
            config(7) + "[gateway.tls]\nclient_authority_file = \"none.pem\"\n",
            good,
            &["gateway.tls"],
        ),
    ] {
        kept.write("hearthgate.toml", &configuration);
        kept.write("clients/app.toml", client);
        let why = kept.refused("apply");
        assert!(parts.iter().all(|part| why.contains(part)), "{why}");
        // Both are as before: the plan, its file, and the client.
        assert_eq!(burst(&app).await, Some(3));
        assert_eq!(fs::read_to_string(kept.site.config()).unwrap(), config(3));
        kept.write("hearthgate.toml", &config(3));
        kept.write("clients/app.toml", "role = \"reader\"\nplan = \"app\"\n");
        assert_eq!(kept.diff(&[]), (0, "Nothing differs.\n".to_owned()));
    }
}

// GW-060
#[tokio::test]
async fn clients_that_no_file_names_are_told_and_only_pruned_when_that_is_asked_for() {
    let kept = Kept::start(Deployment::OneProcess).await;
    let hand = kept.site.new_client("hand", &["--role", "reader"]);
    let (status, words) = kept.diff(&[]);
    assert_eq!(status, 0, "{words}");
    assert!(words.contains("Clients that no file names, left as they are: hand\n"), "{words}");
    kept.apply(&[]);
    let _ = hand.get("/metadata").await.is(200);

    let (status, words) = kept.diff(&["--prune"]);
    assert!(status == 2 && words.contains("- client hand: no file names it"), "{words}");
    kept.apply(&["--prune"]);
    let _ = hand.get("/metadata").await.is(401);
    assert_eq!(kept.diff(&["--prune"]).0, 0);

    // Nothing is pruned by files that are not there.
    let clients = kept.site.folder().join("kept/clients");
    fs::remove_file(clients.join("owner.toml")).unwrap();
    let refused = kept.run(&["apply"], &["--prune"]);
    assert!(failure(&refused, 1).contains("would disable every client"), "{refused:?}");
    fs::remove_dir(&clients).unwrap();
    let refused = kept.run(&["apply"], &["--prune"]);
    assert!(failure(&refused, 1).contains("would disable every client"), "{refused:?}");
    let _ = kept.site.owner().get("/metadata").await.is(200);
}

// GW-060
#[tokio::test]
async fn whoever_has_no_files_no_gateway_or_no_sense_is_told_so_and_gets_1() {
    let mut site = Site::prepare(Deployment::OneProcess);
    site.configure("");
    site.launch(First::Gateway).await;
    let kept = Kept { site };
    let told = |arguments: &[&str]| {
        let data = kept.site.data().to_str().unwrap();
        run(kept.site.folder(), &[arguments, &["--data", data]].concat())
    };
    assert!(failure(&told(&["config", "diff", "none"]), 1).contains("cannot read none"));
    fs::create_dir(kept.site.folder().join("empty")).unwrap();
    assert!(failure(&told(&["config", "apply", "empty"]), 1).contains("config export"));
    let usage = told(&["config", "diff", "empty", "--jsn"]);
    assert_eq!(usage.status.code(), Some(1), "{usage:?}");
    assert_eq!(told(&["config", "apply", "empty", "--jsn"]).status.code(), Some(2));
    assert!(told(&["config", "export", "kept"]).status.success());
    assert!(failure(&told(&["config", "export", "kept"]), 1).contains("not empty"));

    let Kept { mut site } = kept;
    site.stop().await;
    let kept = Kept { site };
    for verb in ["diff", "apply"] {
        assert!(kept.refused(verb).contains("no gateway runs here"), "{verb}");
    }
}

// GW-061
#[tokio::test]
async fn files_that_are_applied_under_load_fail_no_request_and_are_in_force_at_the_next() {
    let kept = Kept::start(Deployment::TwoProcesses).await;
    kept.write("clients/app.toml", "role = \"reader\"\nplan = \"app\"\n");
    kept.apply(&[]);
    let app = kept.key_of("app");
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (owner, told) = (kept.site.owner(), stop.clone());
        load.spawn(async move {
            let mut answered = 0_u32;
            while !told.load(Ordering::SeqCst) {
                let _ = owner.get("/metadata?_elements=url").await.is(200);
                answered += 1;
            }
            answered
        });
    }
    let wide = "[roles.lab]\nsays = \"A lab.\"\nrules = [{ types = [\"Patient\"], \
                actions = [\"search\"], within = \"all\" }]\n";
    for number in 0..APPLIES {
        let expected = 100 + number;
        let lanes = format!("[lanes]\nsystem = {}\n", 10 + number % 2);
        kept.write("hearthgate.toml", &format!("{lanes}{}{wide}", config(expected)));
        let role = if number % 2 == 0 { "reader" } else { "lab" };
        kept.write("clients/app.toml", &format!("role = \"{role}\"\nplan = \"app\"\n"));
        kept.apply(&[]);
        assert_eq!(burst(&app).await, Some(expected));
        let may_read = app.get("/Patient/none").await.status;
        assert_eq!(may_read, if role == "reader" { 404 } else { 403 }, "{role}");
    }
    stop.store(true, Ordering::SeqCst);
    let answered: Vec<u32> = load.join_all().await;
    assert!(answered.iter().all(|count| *count > 10), "{answered:?}");
}

// GW-060
#[tokio::test]
async fn the_example_of_a_directory_can_be_applied() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/gitops");
    let example = example.canonicalize().unwrap();
    let mut site = Site::prepare(Deployment::OneProcess);
    site.configure("");
    site.launch(First::Gateway).await;
    let (data, example) = (site.data().to_str().unwrap(), example.to_str().unwrap());
    let asked = |verb: &str| run(site.folder(), &["config", verb, example, "--data", data]);
    assert_eq!(asked("diff").status.code(), Some(2));
    let applied = asked("apply");
    assert!(applied.status.success(), "{applied:?}");
    assert_eq!(asked("diff").status.code(), Some(0));
}
