//! A private PostgreSQL cluster: begun once for the tests, a database a test, gone with this
//! process however that ends.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use fhir_core::{Clock, Instant, Redacted};
use store::suite::fixture::tenant;
use store_postgres::{OpenError, PostgresOptions, PostgresStore, Takeover, Transport};

const PASSWORD: &str = "correct horse";
/// Set where the tests must not be skipped.
const REQUIRED: &str = "HEARTHGATE_REQUIRE_POSTGRES";

/// A running cluster, with TLS by an authority of its own on loopback.
pub(crate) struct Cluster {
    directory: PathBuf,
    binaries: PathBuf,
    pub(crate) port: u16,
    databases: AtomicUsize,
    /// While it is open, the cluster runs.
    _alive: ChildStdin,
}

/// A database of one test.
pub(crate) struct Database {
    pub(crate) cluster: &'static Cluster,
    pub(crate) name: String,
}

/// A fresh database, or `None` (and why) when PostgreSQL is not installed.
pub(crate) fn database() -> Option<Database> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(Cluster::begin).as_ref();
    if cluster.is_none() {
        println!("skipped: /usr/lib/postgresql has no PostgreSQL (package postgresql)");
    }
    let cluster = cluster?;
    let name = format!("test_{}", cluster.databases.fetch_add(1, Ordering::Relaxed));
    cluster.psql("postgres", &format!("CREATE DATABASE {name}"));
    Some(Database { cluster, name })
}

/// The system's clocks.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is a door of time, for tests")]
    fn now(&self) -> Instant {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Instant::from_micros(i64::try_from(since.as_micros()).unwrap())
    }

    #[expect(clippy::disallowed_methods, reason = "this is a door of time, for tests")]
    fn monotonic(&self) -> Duration {
        static START: OnceLock<std::time::Instant> = OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let limit = SystemClock.monotonic() + Duration::from_secs(30);
    while !condition() {
        assert!(SystemClock.monotonic() < limit, "waited in vain: {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

impl Database {
    /// Over the Unix socket.
    pub(crate) fn options(&self) -> PostgresOptions {
        let directory = self.cluster.directory.display();
        let port = self.cluster.port;
        self.options_at(&format!("host={directory} port={port}"), Transport::Local)
    }

    /// At another place.
    pub(crate) fn options_at(&self, place: &str, transport: Transport) -> PostgresOptions {
        let connection = format!("{place} user=hearthgate dbname={}", self.name);
        let password = Some(Redacted::new(PASSWORD.to_owned()));
        let holder = "clinic.example, process 7".to_owned();
        PostgresOptions::new(&connection, password, transport, holder).unwrap()
    }

    pub(crate) fn open(&self) -> PostgresStore {
        open(self.options()).unwrap()
    }

    /// As after a crash: the one before did not give its lease back.
    pub(crate) fn take_over(&self) -> PostgresStore {
        let mut options = self.options();
        options.takeover = Takeover::AtOnce;
        open(options).unwrap()
    }

    /// What SQL answers, as the superuser.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.cluster.psql(&self.name, sql)
    }

    /// Keeps everybody from a table until it is opened.
    pub(crate) fn lock(&self, table: &str) -> Gate {
        let mut session = self.cluster.session_command(&self.name);
        let mut session = session.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stdin = session.stdin.as_mut().unwrap();
        writeln!(stdin, "BEGIN; LOCK TABLE {table};").unwrap();
        wait_until("the table is locked", || {
            let held = format!(
                "SELECT count(*) FROM pg_locks WHERE relation = '{table}'::regclass \
                 AND mode = 'AccessExclusiveLock' AND granted"
            );
            self.sql(&held) == "1"
        });
        Gate(session)
    }

    /// The certificate of the authority that signed the server's.
    pub(crate) fn authority(&self) -> Vec<u8> {
        fs::read(self.cluster.directory.join("ca.pem")).unwrap()
    }

    /// A certificate of an authority that signed nothing.
    pub(crate) fn other_authority(&self) -> Vec<u8> {
        fs::read(self.cluster.directory.join("other.pem")).unwrap()
    }
}

/// A locked table.
pub(crate) struct Gate(Child);

impl Gate {
    pub(crate) fn open(mut self) {
        // The session ends with its input, and the lock with the session.
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

pub(crate) fn open(options: PostgresOptions) -> Result<PostgresStore, OpenError> {
    PostgresStore::open(tenant().as_str(), options, Arc::new(SystemClock))
}

impl Cluster {
    fn begin() -> Option<Self> {
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
        let alive = begin_guarded(&binaries, &directory, port);
        let cluster =
            Self { directory, binaries, port, databases: AtomicUsize::new(0), _alive: alive };
        wait_until("PostgreSQL takes connections", || {
            let asked = cluster.psql_command("postgres", "SELECT 1").output().unwrap();
            asked.status.success()
        });
        let role = format!("CREATE ROLE hearthgate SUPERUSER LOGIN PASSWORD '{PASSWORD}'");
        cluster.psql("postgres", &role);
        Some(cluster)
    }

    /// What takes SQL from its input.
    fn session_command(&self, database: &str) -> Command {
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

    fn psql(&self, database: &str, sql: &str) -> String {
        run(&mut self.psql_command(database, sql))
    }
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
