//! One server and its gateways as on hosts of their own: each with a data directory, a
//! configuration and certificates of its own, and nothing between them but TCP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::binary;
use crate::client::{Answer, Client, try_send};
use crate::process::{Process, Signal};
use crate::site::free_address;
use crate::waiting::{SOON, until};

/// The server and its gateways. Their processes end with it.
#[derive(Debug)]
pub struct Split {
    folder: TempDir,
    requests: SocketAddr,
    channel: SocketAddr,
    server_admin: SocketAddr,
    launcher: Vec<String>,
    server: Option<Process>,
    starts: u32,
    /// The gateways.
    pub gateways: Vec<Gateway>,
}

/// A gateway.
#[derive(Debug)]
pub struct Gateway {
    folder: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
    process: Option<Process>,
}

/// Where the server's own keys begin in its configuration.
const SERVER: &str = "[server]\n";
/// The FHIR base as all halves are told it.
const BASE: &str = "http://fhir.example.org/fhir";

impl Split {
    /// So many gateways before a server that is to listen at these addresses, started through
    /// `launcher`. Nothing runs yet.
    ///
    /// # Panics
    /// When the system gives no folder, or the program makes no certificates.
    #[must_use]
    pub fn prepare(
        gateways: usize,
        (requests, channel): (SocketAddr, SocketAddr),
        launcher: Vec<String>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("the system gives a folder");
        let count = gateways.to_string();
        let made = binary::run(folder.path(), &["link", "create", "link", "--gateways", &count]);
        assert!(made.status.success(), "{made:?}");
        let all = (1..=gateways).map(|number| {
            let name =
                if gateways == 1 { "gateway".to_owned() } else { format!("gateway-{number}") };
            Gateway {
                folder: folder.path().join("link").join(name),
                listen: free_address(),
                admin: free_address(),
                process: None,
            }
        });
        let gateways: Vec<_> = all.collect();
        let server_admin = SocketAddr::new(requests.ip(), free_address().port());
        let split = Self {
            gateways,
            folder,
            requests,
            channel,
            server_admin,
            launcher,
            server: None,
            starts: 0,
        };
        let place = split.server_folder();
        let text = format!(
            "public_base_url = \"{BASE}\"\n{SERVER}admin_listen = \"{server_admin}\"\n\
             [server.link]\nlisten = \"{requests}\"\n\
             channel_listen = \"{channel}\"\n{}",
            files(&place, "gateways")
        );
        write(&place, &text);
        for gateway in &split.gateways {
            let text = format!(
                "public_base_url = \"{BASE}\"\n[gateway.link]\nserver = \"{requests}\"\n\
                 channel = \"{channel}\"\n{}",
                files(&gateway.folder, "servers")
            );
            write(&gateway.folder, &text);
        }
        split
    }

    /// So many gateways before a server, all of which answer.
    ///
    /// # Panics
    /// When it does not come to that.
    pub async fn start(gateways: usize) -> Self {
        let mut split = Self::prepare(gateways, (free_address(), free_address()), Vec::new());
        split.start_server().await;
        split.start_gateways().await;
        split
    }

    /// The directory of the server's certificates, configuration and data.
    #[must_use]
    pub fn server_folder(&self) -> PathBuf {
        self.folder.path().join("link/server")
    }

    /// Where the server takes requests, and where it has its channel.
    #[must_use]
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.requests, self.channel)
    }

    /// Adds lines to `[server]` in the server's configuration, for its next start.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure_server(&self, lines: &str) {
        let place = self.server_folder();
        let text = std::fs::read_to_string(place.join("hearthgate.toml")).expect("it was written");
        write(&place, &text.replace(SERVER, &format!("{SERVER}{lines}")));
    }

    /// What the server's `/metrics` says.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn server_metrics(&self) -> String {
        let admin = Client::new(&format!("http://{}", self.server_admin), None);
        admin.get("/metrics").await.is(200).text().to_owned()
    }

    /// The server's process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn server(&self) -> &Process {
        self.server.as_ref().expect("the server was started")
    }

    /// Starts the server and waits for the line that says it answers.
    ///
    /// # Panics
    /// When the line does not come.
    pub async fn start_server(&mut self) {
        self.starts += 1;
        let command = command(&self.launcher, "server", &self.server_folder());
        let name = format!("server-{}", self.starts);
        let mut process = Process::start(command, self.folder.path(), &name);
        until("the server answers", SOON, async || {
            let (said, ended) = (process.stderr(), process.end_so_far());
            assert!(ended.is_none(), "the server ended: {said}");
            said.contains("Hearthgate's server answers").then_some(()).ok_or(said)
        })
        .await;
        self.server = Some(process);
    }

    /// Starts all gateways and waits until they are ready.
    ///
    /// # Panics
    /// When one is not.
    pub async fn start_gateways(&mut self) {
        for gateway in &mut self.gateways {
            gateway.start();
        }
        for gateway in &self.gateways {
            gateway.becomes_ready().await;
        }
    }

    /// Ends the server as `signal` does.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn end_server(&mut self, signal: Signal) {
        let mut server = self.server.take().expect("the server was started");
        server.signal(signal);
        server.ended().await;
    }
}

impl Gateway {
    /// The directory of its certificates, configuration and data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the gateway was started")
    }

    /// Starts it, without waiting.
    pub fn start(&mut self) {
        let mut command = command(&[], "gateway", &self.folder);
        command.args(["--listen", &self.listen.to_string(), "--admin", &self.admin.to_string()]);
        command.arg("--owner-key-file").arg(self.folder.join("owner.key"));
        self.process = Some(Process::start(command, &self.folder, "gateway"));
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not.
    pub async fn becomes_ready(&self) {
        self.readiness_becomes(200).await;
    }

    /// Waits until `/readyz` answers with this status.
    ///
    /// # Panics
    /// When it does not.
    pub async fn readiness_becomes(&self, status: u16) -> Answer {
        until("the gateway's readiness", SOON, async || {
            let admin = Client::new(&format!("http://{}", self.admin), None);
            let answer = try_send(admin.request(http::Method::GET, "/readyz")).await?;
            let text = answer.text().to_owned();
            (answer.status == status).then_some(answer).ok_or(text)
        })
        .await
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// What `/metrics` says.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn metrics(&self) -> String {
        let admin = Client::new(&format!("http://{}", self.admin), None);
        admin.get("/metrics").await.is(200).text().to_owned()
    }

    /// Runs `hearthgate keys` on its data; what that prints.
    ///
    /// # Panics
    /// When it is refused.
    pub fn keys(&self, arguments: &[&str]) -> String {
        let all = [&["keys"], arguments, &["--data", "data"]].concat();
        let output = binary::run(&self.folder, &all);
        assert!(output.status.success(), "{output:?}");
        binary::text(&output.stdout).to_owned()
    }

    /// A client of this id that may read everything.
    #[must_use]
    pub fn new_client(&self, id: &str) -> Client {
        let key = self.keys(&["create", "--client", id, "--role", "reader", "--print-key"]);
        Client::new(&format!("http://{}/fhir", self.listen), Some(key.trim_end()))
    }

    /// Revokes a key: its id stands in it.
    pub fn revoke(&self, key: &str) {
        self.keys(&["revoke", &key[3..19]]);
    }

    /// Its owner, whose key's file may come a moment after the gateway is ready.
    ///
    /// # Panics
    /// When the key's file cannot be read.
    pub async fn owner(&self) -> Client {
        let file = self.folder.join("owner.key");
        let key = until("its first start", SOON, async || {
            std::fs::read_to_string(&file).map_err(|error| error.to_string())
        });
        let key = key.await;
        Client::new(&format!("http://{}/fhir", self.listen), Some(key.trim_end()))
    }
}

/// How long a request may take whatever happens to the network: two connections that are tried,
/// and what it takes to notice that two are lost.
pub const DEADLINE: Duration = Duration::from_secs(15);

fn command(launcher: &[String], verb: &str, folder: &Path) -> Command {
    let program = binary::hearthgate();
    let mut command = match launcher.split_first() {
        None => Command::new(program),
        Some((launcher, arguments)) => {
            let mut command = Command::new(launcher);
            command.args(arguments).arg(program);
            command
        }
    };
    command.current_dir(folder).arg(verb);
    command.args(["--config", "hearthgate.toml", "--data", "data"]);
    command
}

fn files(folder: &Path, peers: &str) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let (certificate, key) = (path("link.crt"), path("link.key"));
    let held = path(&format!("{peers}.crt"));
    format!(
        "certificate_file = \"{certificate}\"\nkey_file = \"{key}\"\n{peers}_file = \"{held}\"\n"
    )
}

fn write(folder: &Path, text: &str) {
    std::fs::write(folder.join("hearthgate.toml"), text).expect("the test's folder takes files");
}
