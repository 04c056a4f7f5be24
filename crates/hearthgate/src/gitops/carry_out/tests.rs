//! All or nothing: whoever refuses, everything is as before.

use std::fs;
use std::path::PathBuf;

use gateway::{GatewayError, Reload};
use registry::{Beside, ClientId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::files::ClientText;
use super::*;
use crate::config::Flags;
use crate::doors::{SystemClock, SystemIds};

const BEFORE: &str = "[gateway]\npublic_burst = 7\n";
const AFTER: &str = "# With a word of its own.\n[gateway]\npublic_burst = 8\n";

/// How the gateway answers.
#[derive(Clone, Copy)]
enum Gateway {
    /// As one does that can be put onto every configuration.
    Takes,
    /// So does this, and meanwhile somebody disables the owner.
    TakesLate,
    Refuses,
}

struct Site {
    dir: tempfile::TempDir,
    registry: Arc<Registry>,
    reloader: Reloader,
    _gateway: JoinSet<()>,
}

fn site(gateway: Gateway) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let (clock, ids) = (Arc::new(SystemClock::start()), Arc::new(SystemIds::open().unwrap()));
    let opened = Registry::open(&dir.path().join("registry"), Beside::NoTenant, clock, ids);
    let registry = Arc::new(opened.unwrap().registry);
    registry.owner(&Actor::first_start()).unwrap();
    let path = dir.path().join("site.toml");
    fs::write(&path, BEFORE).unwrap();
    let flags = Flags { config: Some(path), ..Flags::default() };
    let (shared, hand) = (registry.clone(), Actor::new("hand").unwrap());
    let (sender, mut reloads) = mpsc::channel::<Reload>(1);
    let reloader = Reloader::new(flags.clone(), Config::resolve(&flags).unwrap(), sender);
    let mut running = JoinSet::new();
    running.spawn(async move {
        while let Some(Reload { then, done, .. }) = reloads.recv().await {
            let outcome = match (gateway, then) {
                (Gateway::Refuses, _) => Err(GatewayError::TlsNeedsRestart),
                (_, Then::PutAfter(first)) => {
                    if matches!(gateway, Gateway::TakesLate) {
                        shared.disable_client(&ClientId::new("owner").unwrap(), &hand).unwrap();
                    }
                    first().map_err(GatewayError::NotDoneFirst)
                }
                (_, _) => Ok(()),
            };
            drop(done.send(outcome));
        }
    });
    Site { dir, registry, reloader, _gateway: running }
}

fn files(configuration: Option<&str>, clients: &[(&str, &str)]) -> Files {
    let configuration = configuration.map(|text| {
        let (path, place) = (PathBuf::from("dir/hearthgate.toml"), PathBuf::from("/dir/h.toml"));
        ConfigurationText { path, place, text: text.to_owned() }
    });
    let client = |(stem, text): &(&str, &str)| ClientText {
        path: PathBuf::from(format!("dir/clients/{stem}.toml")),
        stem: (*stem).to_owned(),
        text: (*text).to_owned(),
    };
    Files { configuration, clients: Some(clients.iter().map(client).collect()), prune: false }
}

impl Site {
    async fn asked(&self, asked: Asked) -> Result<Answered, String> {
        let by = Actor::new("test").unwrap();
        carry_out(self.registry.clone(), &self.reloader, asked, by).await
    }

    async fn differs(&self, asked: Asked) -> Result<bool, String> {
        match self.asked(asked).await? {
            Answered::Differs(difference) => Ok(!difference.is_none()),
            other => panic!("{other:?}"),
        }
    }

    fn has(&self, id: &str) -> bool {
        self.registry.client(&ClientId::new(id).unwrap()).is_some()
    }

    /// The file, the configuration in force and the clients.
    async fn is_as_before(&self) {
        assert_eq!(fs::read_to_string(self.dir.path().join("site.toml")).unwrap(), BEFORE);
        assert_eq!(self.reloader.take_turn().await.config().gateway.public_burst, 7);
        assert_eq!(self.registry.clients().len(), 1);
        let left: Vec<_> = fs::read_dir(self.dir.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}

const APP: (&str, &str) = ("app", "role = \"reader\"\n");

// GW-061
#[tokio::test]
async fn what_is_taken_is_in_force_in_the_file_and_in_the_registry_and_taken_once() {
    let site = site(Gateway::Takes);
    let both = || files(Some(AFTER), &[APP]);
    assert!(site.differs(Asked::Diff(both())).await.unwrap());
    assert!(site.differs(Asked::TryOut(both())).await.unwrap());
    site.is_as_before().await;
    assert!(site.differs(Asked::Apply(both())).await.unwrap());
    assert_eq!(fs::read_to_string(site.dir.path().join("site.toml")).unwrap(), AFTER);
    assert_eq!(site.reloader.take_turn().await.config().gateway.public_burst, 8);
    assert!(site.has("app"));
    let changes = site.registry.changes(None, 0, 10).unwrap();
    assert_eq!(changes.last().unwrap().summary, "from files: put client app");
    // Again: nothing is left to be done, and nothing is.
    assert!(!site.differs(Asked::Diff(both())).await.unwrap());
    assert!(!site.differs(Asked::Apply(both())).await.unwrap());
    assert_eq!(site.registry.changes(None, 0, 10).unwrap().len(), changes.len());
    // What it has is what it was given.
    let Answered::Has(exported) = site.asked(Asked::Export).await.unwrap() else { panic!() };
    assert_eq!(exported.configuration.as_deref(), Some(AFTER));
    let clients: Vec<_> = exported.clients.iter().map(|(id, text)| (&**id, &**text)).collect();
    assert!(!site.differs(Asked::Diff(files(Some(AFTER), &clients))).await.unwrap());
    assert_eq!(clients.len(), 2);
}

// GW-061
#[tokio::test]
async fn whoever_refuses_nothing_changes() {
    let wrong_client = files(Some(AFTER), &[APP, ("b", "role = \"raeder\"")]);
    let wrong_file = files(Some("[gateway]\npublic_burts = 8\n"), &[APP]);
    let restart = files(Some("[gateway]\npublic_burst = 8\nlisten = \"127.0.0.1:1\"\n"), &[APP]);
    let role_gone = files(Some(AFTER), &[APP, ("c", "role = \"lab\"")]);
    for (asked, parts) in [
        (wrong_client, &["dir/clients/b.toml line 1", "did you mean reader?"][..]),
        (wrong_file, &["dir/hearthgate.toml line 2", "public_burst"]),
        (restart, &["`gateway.listen`", "needs a restart"]),
        (role_gone, &["dir/clients/c.toml line 1", "no role lab"]),
    ] {
        let site = site(Gateway::Takes);
        let why = site.differs(Asked::Apply(asked)).await.unwrap_err();
        assert!(parts.iter().all(|part| why.contains(part)), "{why}");
        site.is_as_before().await;
    }
    let site = site(Gateway::Refuses);
    for asked in [Asked::Apply(files(Some(AFTER), &[APP])), Asked::TryOut(files(Some(AFTER), &[]))]
    {
        let why = site.differs(asked).await.unwrap_err();
        assert!(why.contains("gateway.tls.certificates"), "{why}");
        site.is_as_before().await;
    }
}

// GW-061
#[tokio::test]
async fn a_registry_that_takes_nothing_leaves_the_configuration_as_it_was() {
    let site = site(Gateway::Takes);
    // A change is 1 MiB at most.
    let long = "x".repeat(190);
    let many: Vec<(String, String)> = (0..5000)
        .map(|number| (format!("app-{number}"), format!("name = \"{long}\"\nrole = \"reader\"")))
        .collect();
    let many: Vec<_> = many.iter().map(|(id, text)| (&**id, &**text)).collect();
    let why = site.differs(Asked::Apply(files(Some(AFTER), &many))).await.unwrap_err();
    assert!(why.contains("longer than 1 MiB"), "{why}");
    site.is_as_before().await;
}

// GW-061
#[tokio::test]
async fn what_somebody_else_changes_while_files_are_applied_is_not_overwritten() {
    let site = site(Gateway::TakesLate);
    let why = site.differs(Asked::Apply(files(Some(AFTER), &[APP]))).await.unwrap_err();
    assert!(why.contains("the client owner meanwhile") && why.contains("config diff"), "{why}");
    site.is_as_before().await;
    let owner = site.registry.client(&ClientId::new("owner").unwrap()).unwrap();
    assert!(owner.disabled.is_some() && !site.has("app"));
}

// GW-060
#[tokio::test]
async fn pruning_everything_is_refused() {
    let site = site(Gateway::Takes);
    for (clients, part) in [
        (None, "would disable every client"),
        (Some(Vec::new()), "would disable every client"),
        (files(None, &[("app", "role = \"reader\"\nenabled = false")]).clients, "nobody could ask"),
    ] {
        let asked = Files { prune: true, clients, ..files(Some(AFTER), &[]) };
        let why = site.differs(Asked::Apply(asked)).await.unwrap_err();
        assert!(why.contains(part), "{why}");
        site.is_as_before().await;
    }
    let asked = Files { prune: true, ..files(None, &[APP]) };
    assert!(site.differs(Asked::Apply(asked)).await.unwrap());
    let owner = site.registry.client(&ClientId::new("owner").unwrap()).unwrap();
    assert!(owner.disabled.is_some() && site.has("app"));
}
