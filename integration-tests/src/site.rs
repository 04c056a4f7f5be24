//! A place where the product runs: a data directory, one process or two, and how to reach them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

use crate::binary;
use crate::client::{Answer, Client};
use crate::postgres::{Database, Postgres};
use crate::process::{Process, Signal};
use crate::waiting::{SOON, until, within};

/// How the product is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployment {
    /// `hearthgate serve`
    OneProcess,
    /// `hearthgate gateway` and `hearthgate server`
    TwoProcesses,
    /// `hearthgate serve` over PostgreSQL
    OverPostgres,
}

/// Which of two processes is started before the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The gateway.
    Gateway,
    /// The server.
    Server,
}

/// How a start ended.
enum Launched {
    Answers,
    /// Somebody else had the port.
    PortTaken,
}

/// How long a start waits for a lease in PostgreSQL that nobody renews, and the machine's stalls.
const LEASE: Duration = Duration::from_secs(40);

/// How often another port is tried where the system gave the first away meanwhile.
const PORTS_TRIED: u32 = 5;

/// The place. Its processes end with it.
#[derive(Debug)]
pub struct Site {
    deployment: Deployment,
    folder: TempDir,
    data: PathBuf,
    config: Option<PathBuf>,
    database: Option<Database>,
    launcher: Vec<String>,
    starts: u32,
    listen: SocketAddr,
    /// `serve` or `gateway`.
    front: Option<Process>,
    /// `server`, where there are two.
    back: Option<Process>,
    base: String,
    admin: String,
}

impl Site {
    /// A new place that answers.
    ///
    /// # Panics
    /// When it does not come to that.
    pub async fn start(deployment: Deployment) -> Self {
        let mut site = Self::prepare(deployment);
        site.launch(First::Gateway).await;
        site
    }

    /// A new place where nothing runs yet.
    ///
    /// # Panics
    /// When the system gives no folder, or there is no PostgreSQL where it is to be.
    #[must_use]
    pub fn prepare(deployment: Deployment) -> Self {
        let database = (deployment == Deployment::OverPostgres)
            .then(|| Postgres::shared().expect("the test was skipped without").database());
        Self::over(deployment, database)
    }

    /// The same over this database.
    ///
    /// # Panics
    /// When the system gives no folder.
    #[must_use]
    pub fn over(deployment: Deployment, database: Option<Database>) -> Self {
        let folder = tempfile::tempdir().expect("the system gives a folder");
        let data = folder.path().join("data");
        let mut site = Self {
            deployment,
            folder,
            data,
            config: None,
            database,
            launcher: Vec::new(),
            starts: 0,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            front: None,
            back: None,
            base: String::new(),
            admin: String::new(),
        };
        if site.database.is_some() {
            site.configure("");
        }
        site
    }

    /// Writes a configuration file for the next start.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&mut self, text: &str) {
        let path = self.folder.path().join("hearthgate.toml");
        let storage = self.database.as_ref().map(Database::configuration).unwrap_or_default();
        std::fs::write(&path, storage + text).expect("the test's folder takes files");
        self.config = Some(path);
    }

    /// The database that holds the tenant.
    ///
    /// # Panics
    /// When it is the data directory that does.
    #[must_use]
    pub fn database(&self) -> &Database {
        self.database.as_ref().expect("the site is over PostgreSQL")
    }

    /// The configuration file.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn config(&self) -> &Path {
        self.config.as_deref().expect("the site was configured")
    }

    /// Keeps the data elsewhere, and starts processes through `launcher`.
    pub fn settle(&mut self, data: &Path, launcher: Vec<String>) {
        data.clone_into(&mut self.data);
        self.launcher = launcher;
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A folder beside the data, for the test's own files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the first start writes the owner's key.
    #[must_use]
    pub fn owner_key_file(&self) -> PathBuf {
        self.folder.path().join("owner.key")
    }

    /// Starts whatever this deployment has and waits until it is ready.
    ///
    /// # Panics
    /// When it does not come to that.
    pub async fn launch(&mut self, first: First) {
        let mut ports = 0;
        let launching = async {
            loop {
                match self.try_to_launch(first).await {
                    Launched::Answers => break,
                    Launched::PortTaken => {
                        ports += 1;
                        assert!(ports < PORTS_TRIED, "no port stayed free");
                    }
                }
            }
        };
        within("the site starts", LEASE, launching).await;
        self.becomes_ready().await;
    }

    /// Starts what there is.
    async fn try_to_launch(&mut self, first: First) -> Launched {
        match self.deployment {
            Deployment::OneProcess | Deployment::OverPostgres => {
                self.front = Some(self.spawn("serve"));
                self.front_answers().await
            }
            Deployment::TwoProcesses => {
                // The server builds links with the gateway's address: it has to be known before.
                self.listen = free_address();
                if first == First::Server {
                    self.start_server().await;
                }
                self.front = Some(self.spawn("gateway"));
                let launched = self.front_answers().await;
                if !matches!(launched, Launched::Answers) {
                    self.back = None;
                } else if first == First::Gateway {
                    self.start_server().await;
                }
                launched
            }
        }
    }

    /// The start of the server's half, to the line that says it answers.
    ///
    /// # Panics
    /// When the line does not come.
    pub async fn start_server(&mut self) {
        let process = self.spawn("server");
        let patience = self.patience();
        said(process, &mut self.back, "Hearthgate's server answers", patience)
            .await
            .expect("the server starts");
    }

    /// How long it takes at most to its start.
    fn patience(&self) -> Duration {
        if self.deployment == Deployment::OverPostgres { LEASE } else { SOON }
    }

    async fn front_answers(&mut self) -> Launched {
        let process = self.front.take().expect("it was just started");
        let patience = self.patience();
        match said(process, &mut self.front, "Hearthgate answers at ", patience).await {
            Ok(line) => {
                let mut urls =
                    line.split(['(', ')', ' ']).filter(|word| word.starts_with("http://"));
                let mut url = || urls.next().expect("the line has two addresses").to_owned();
                (self.base, self.admin) = (url(), url());
                Launched::Answers
            }
            Err(stderr) if stderr.contains("in use") => Launched::PortTaken,
            Err(stderr) => panic!("it ended at its start: {stderr}"),
        }
    }

    fn spawn(&mut self, verb: &str) -> Process {
        self.starts += 1;
        let name = format!("{}-{verb}", self.starts);
        Process::start(self.command(verb), self.folder.path(), &name)
    }

    /// The command that starts a half, or both.
    #[must_use]
    pub fn command(&self, verb: &str) -> Command {
        let program = binary::hearthgate();
        let mut command = match self.launcher.split_first() {
            None => Command::new(program),
            Some((launcher, arguments)) => {
                let mut command = Command::new(launcher);
                command.args(arguments).arg(program);
                command
            }
        };
        command.current_dir(self.folder.path()).arg(verb);
        command.arg("--data").arg(&self.data);
        command.args(["--listen", &self.listen.to_string(), "--admin", "127.0.0.1:0"]);
        command.arg("--owner-key-file").arg(self.owner_key_file());
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command
    }

    /// Waits until the place says that it is ready.
    ///
    /// # Panics
    /// When it does not.
    pub async fn becomes_ready(&mut self) {
        until("the site is ready", self.patience(), async || {
            if let Some(status) = self.front.as_mut().and_then(Process::end_so_far) {
                return Err(format!("the front ended with {status}: {}", self.front().stderr()));
            }
            let answer = self.readiness().await?;
            (answer.status == 200).then_some(()).ok_or_else(|| answer.text().to_owned())
        })
        .await;
    }

    /// What `/readyz` says.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn readiness(&self) -> Result<Answer, String> {
        crate::client::try_send(self.admin().request(http::Method::GET, "/readyz")).await
    }

    /// The process that clients reach.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn front(&self) -> &Process {
        self.front.as_ref().expect("the front was started")
    }

    /// The server's own process.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn back(&self) -> &Process {
        self.back.as_ref().expect("the server was started by itself")
    }

    /// The address that clients connect to, `host:port`.
    ///
    /// # Panics
    /// When it was never started.
    #[must_use]
    pub fn address(&self) -> &str {
        host(&self.base)
    }

    /// The address of the admin listener, `host:port`.
    ///
    /// # Panics
    /// When it was never started.
    #[must_use]
    pub fn admin_address(&self) -> &str {
        host(&self.admin)
    }

    /// A client without a key.
    #[must_use]
    pub fn anyone(&self) -> Client {
        Client::new(&self.base, None)
    }

    /// A client with this key.
    #[must_use]
    pub fn client(&self, key: &str) -> Client {
        Client::new(&self.base, Some(key))
    }

    /// The owner, with the key of the first start.
    ///
    /// # Panics
    /// When the key's file cannot be read.
    #[must_use]
    pub fn owner(&self) -> Client {
        let key = std::fs::read_to_string(self.owner_key_file()).expect("the first start wrote it");
        self.client(key.trim_end())
    }

    /// A client of the admin listener.
    #[must_use]
    pub fn admin(&self) -> Client {
        Client::new(&self.admin, None)
    }

    /// Runs `hearthgate keys` on this place's data.
    #[must_use]
    pub fn keys(&self, arguments: &[&str]) -> Output {
        let data = self.data.to_str().expect("a plain path");
        let (verb, rest) = arguments.split_first().expect("a verb of `keys`");
        let mut all = vec!["keys", verb, "--data", data];
        all.extend(rest);
        binary::run(self.folder.path(), &all)
    }

    /// A client with a new key of a role: `["--role", "reader"]`.
    ///
    /// # Panics
    /// When the key is not made.
    #[must_use]
    pub fn new_client(&self, id: &str, role: &[&str]) -> Client {
        let mut arguments = vec!["create", "--client", id, "--print-key"];
        arguments.extend(role);
        let created = self.keys(&arguments);
        assert!(created.status.success(), "{created:?}");
        self.client(binary::text(&created.stdout).trim_end())
    }

    /// Tells every process to stop and waits until all have ended in order.
    ///
    /// # Panics
    /// When one ends otherwise.
    pub async fn stop(&mut self) {
        for signalled in self.processes() {
            signalled.signal(Signal::Terminate);
        }
        self.end_in_order().await;
    }

    /// Waits until every process, told to stop, has ended with status 0.
    ///
    /// # Panics
    /// When one ends otherwise.
    pub async fn end_in_order(&mut self) {
        for mut process in self.front.take().into_iter().chain(self.back.take()) {
            let status = process.ended().await;
            assert_eq!(status.code(), Some(0), "{}", process.stderr());
        }
    }

    /// Every process that runs.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.front.iter().chain(&self.back)
    }

    /// Ends every process as `kill -9` does.
    pub async fn kill(&mut self) {
        for process in self.processes() {
            process.signal(Signal::Kill);
        }
        for mut process in self.front.take().into_iter().chain(self.back.take()) {
            process.ended().await;
        }
    }

    /// Ends the server's own process as `signal` does; unless killed, it ends in order.
    ///
    /// # Panics
    /// When there is none, or it ends otherwise.
    pub async fn end_server(&mut self, signal: Signal) {
        let mut server = self.back.take().expect("the server was started by itself");
        server.signal(signal);
        let status = server.ended().await;
        assert!(signal == Signal::Kill || status.success(), "{}", server.stderr());
    }

    /// Everything that any process wrote so far.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn everything_written(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.folder.path()).expect("the test's folder") {
            let path = entry.expect("an entry of the test's folder").path();
            if path.extension().is_some_and(|extension| extension == "out" || extension == "err") {
                let bytes = std::fs::read(&path).expect("what a child writes can be read");
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        text
    }
}

/// Keeps `process` in `slot` and waits for the line of its stderr that begins so; `Err` has all
/// of stderr when it ended instead.
async fn said(
    process: Process,
    slot: &mut Option<Process>,
    beginning: &str,
    patience: Duration,
) -> Result<String, String> {
    let process = slot.insert(process);
    until("the process says that it answers", patience, async || {
        let ended = process.end_so_far();
        let stderr = process.stderr();
        if let Some(line) = stderr.lines().find(|line| line.starts_with(beginning)) {
            return Ok(Ok(line.to_owned()));
        }
        match ended {
            Some(_) => Ok(Err(stderr)),
            None => Err(stderr),
        }
    })
    .await
}

fn host(url: &str) -> &str {
    let rest = url.strip_prefix("http://").expect("an address that the product told");
    rest.split('/').next().expect("a split has a first part")
}

/// An address that was free a moment ago.
///
/// # Panics
/// When the system has none.
#[must_use]
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound listener has an address")
}
