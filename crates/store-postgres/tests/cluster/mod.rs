//! A private PostgreSQL cluster from Debian's packages: begun for tests, gone with this process
//! however that ends. The tests of other crates take this file by its path.

#![allow(dead_code, reason = "not every test uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// The password of the role `hearthgate`.
pub(crate) const PASSWORD: &str = "correct horse";
/// Set where the tests must not be skipped.
const REQUIRED: &str = "HEARTHGATE_REQUIRE_POSTGRES";

/// Why tests are skipped where there is no cluster.
pub(crate) const ABSENT: &str = "/usr/lib/postgresql has no PostgreSQL (package postgresql)";

/// A running cluster, with TLS by an authority of its own on loopback.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) directory: PathBuf,
    binaries: PathBuf,
    pub(crate) port: u16,
    databases: AtomicUsize,
    /// While one is open, the server begun with it runs.
    alive: Mutex<Vec<ChildStdin>>,
}

impl Cluster {
    /// A cluster that runs; `None` where PostgreSQL is not installed and need not be.
    pub(crate) fn begin() -> Option<Self> {
        let Some(binaries) = binaries() else {
            #[expect(clippy::disallowed_methods, reason = "it says whether tests may be skipped")]
            let required = std::env::var_os(REQUIRED).is_some();
            assert!(!required, "PostgreSQL is not installed, and {REQUIRED} is set");
            return None;
        };
        let directory = tempfile::Builder::new().prefix("hearthgate-pg").tempdir().unwrap().keep();
        make_certificates(&directory);
        fs::write(directory.join("password"), PASSWORD).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        if is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(&directory));
        }
        let data = directory.join("data");
        run(as_postgres(&binaries.join("initdb"))
            .args(["--username=postgres", "--auth-host=scram-sha-256", "--auth-local=trust"])
            .args(["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--pgdata"])
            .arg(&data));
        // Free now; what takes it in between would be seen as a cluster that does not begin.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let alive = Mutex::default();
        let cluster = Self { directory, binaries, port, databases: AtomicUsize::new(0), alive };
        cluster.start();
        let role = format!("CREATE ROLE hearthgate SUPERUSER LOGIN PASSWORD '{PASSWORD}'");
        cluster.psql("postgres", &role);
        Some(cluster)
    }

    /// Starts it, also after it was stopped.
    pub(crate) fn start(&self) {
        let alive = begin_guarded(&self.binaries, &self.directory, self.port);
        self.alive.lock().unwrap().push(alive);
        let takes = || self.psql_command("postgres", "SELECT 1").output().unwrap().status.success();
        assert!((0..3000).any(|_| takes() || pause()), "PostgreSQL takes no connections");
    }

    /// Stops it as a machine does that is switched off.
    pub(crate) fn stop(&self) {
        let mut stop = as_postgres(&self.binaries.join("pg_ctl"));
        run(stop
            .args(["-m", "immediate", "-w", "-D"])
            .arg(self.directory.join("data"))
            .arg("stop"));
    }

    /// A new database, by its name.
    pub(crate) fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Everything that a database holds.
    pub(crate) fn dump(&self, database: &str) -> String {
        let mut dump = Command::new(self.binaries.join("pg_dump"));
        dump.args(["-U", "postgres", "-h"]).arg(&self.directory);
        run(dump.args(["-p", &self.port.to_string(), database]))
    }

    /// Gives a dump to an empty database.
    pub(crate) fn load(&self, database: &str, dump: &str) {
        let mut session = self.session_command(database);
        let mut session = session.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        session.stdin.take().unwrap().write_all(dump.as_bytes()).unwrap();
        assert!(session.wait().unwrap().success());
    }

    /// What takes SQL from its input.
    pub(crate) fn session_command(&self, database: &str) -> Command {
        let mut command = Command::new(self.binaries.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres"]);
        command.arg("-h").arg(&self.directory).args(["-p", &self.port.to_string()]);
        command.args(["-d", database]);
        command
    }

    fn psql_command(&self, database: &str, sql: &str) -> Command {
        let mut command = self.session_command(database);
        command.args(["-c", sql]);
        command
    }

    /// What SQL answers, as the superuser.
    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        run(&mut self.psql_command(database, sql))
    }
}

/// Waits a little. Never true.
fn pause() -> bool {
    thread::park_timeout(Duration::from_millis(10));
    false
}

/// The newest PostgreSQL of Debian's packages.
fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.flatten().map(|entry| entry.path()).max_by_key(|path| number(path))?;
    let binaries = newest.join("bin");
    binaries.join("initdb").exists().then_some(binaries)
}

/// The server, by a shell that ends it and removes its files when this process is gone.
fn begin_guarded(binaries: &Path, directory: &Path, port: u16) -> ChildStdin {
    let server = as_postgres(&binaries.join("postgres"));
    let script = r#"directory=$1; shift
        "$@" </dev/null & server=$!
        cat >/dev/null
        kill -QUIT $server; wait $server; rm -rf -- "$directory""#;
    let log = fs::File::create(directory.join("log")).unwrap();
    let mut guard = Command::new("sh");
    guard.args(["-c", script, "sh"]).arg(directory);
    guard.arg(server.get_program()).args(server.get_args());
    guard.arg("-D").arg(directory.join("data")).args(["-p", &port.to_string()]);
    guard.arg("-k").arg(directory);
    let file = |name: &str| directory.join(name).display().to_string();
    for setting in [
        "listen_addresses=127.0.0.1".to_owned(),
        "max_connections=200".to_owned(),
        "shared_buffers=32MB".to_owned(),
        // The tests end the server's processes, never the machine.
        "fsync=off".to_owned(),
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", file("server.pem")),
        format!("ssl_key_file={}", file("server.key")),
    ] {
        guard.args(["-c", &setting]);
    }
    guard.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
    guard.spawn().unwrap().stdin.take().unwrap()
}

/// An authority, a certificate by it for 127.0.0.1 and localhost, and an authority of no one.
fn make_certificates(directory: &Path) {
    fs::write(
        directory.join("server.ext"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    let openssl = |arguments: &str| {
        run(Command::new("openssl").args(arguments.split(' ')).current_dir(directory));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for name in ["ca", "other"] {
        openssl(&format!(
            "req -x509 {key} -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        ));
    }
    openssl(&format!("req {key} -subj /CN=server -keyout server.key -out server.csr"));
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
         -extfile server.ext -out server.pem",
    );
    fs::set_permissions(directory.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// PostgreSQL refuses root: then as the account of its package.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command.current_dir("/");
    command
}

/// Runs a command, which must succeed, and gives what it printed.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
