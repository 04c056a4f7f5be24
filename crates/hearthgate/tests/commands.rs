//! The commands that need no server, from outside: what they print, where, and their status.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use contract::Clock as _;

use hearthgate::control::{ControlSocket, Site};
use hearthgate::doors::{SystemClock, SystemIds};
use hearthgate::lock::{Half, Lock};
use registry::{Actor, Beside, Registry};
use tokio::sync::watch;
use tokio::task::JoinSet;

fn hearthgate(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hearthgate"))
        .current_dir(dir)
        .args(arguments)
        .output()
        .unwrap()
}

fn open(data: &Path) -> Registry {
    let clock = Arc::new(SystemClock::start());
    let ids = Arc::new(SystemIds::open().unwrap());
    let opened = Registry::open(&data.join("registry"), Beside::NoTenant, clock, ids).unwrap();
    opened.registry
}

/// A directory in which the first start has been.
fn started() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let registry = open(&dir.path().join("data"));
    registry.owner(&Actor::first_start()).unwrap().unwrap();
    dir
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The one line on stderr of a command that failed with `status`.
fn failure(output: &Output, status: i32) -> String {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("hearthgate: "), "{stderr}");
    stderr
}

/// A process that ends with the test, whatever comes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearthgate"));
        command.current_dir(dir).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn tell_to_stop(&self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Ends within seconds, and well.
    fn ends(&mut self) {
        until("the process to end", || self.0.try_wait().unwrap().is_some());
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let clock = SystemClock::start();
    while !condition() {
        assert!(clock.monotonic() < Duration::from_secs(10), "waited too long for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_server_that_is_told_to_stop_while_it_opens_its_data_stops() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("data/tenant-keys");
    fs::create_dir_all(&keys).unwrap();
    // Whoever reads this waits for ever.
    let pipe = keys.join("default");
    let made = Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap();
    assert!(made.success());
    let mut running = Running::start(dir.path(), &["server"]);
    // Opens only once the server reads it, too.
    let _writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    running.tell_to_stop();
    running.ends();
}

#[test]
fn listening_beyond_this_machine_without_tls_is_warned_of() {
    for (listen, warned) in [("127.0.0.1:0", false), ("[::1]:0", false), ("0.0.0.0:0", true)] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("site.toml"), "gateway.insecure_http = \"anywhere\"").unwrap();
        let config = ["--config", "site.toml", "--listen", listen, "--admin", "127.0.0.1:0"];
        let arguments = [&["gateway"], &config[..]].concat();
        let mut running = Running::start(dir.path(), &arguments);
        let lines = BufReader::new(running.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        let until_up: Vec<String> =
            lines.take_while(|line| !line.contains("answers at http://")).collect();
        let found = until_up.iter().any(|line| line.contains("clear text"));
        assert_eq!(found, warned, "{listen}: {until_up:?}");
    }
}

#[test]
fn a_process_that_is_told_to_stop_twice_waits_for_no_request() {
    let dir = tempfile::tempdir().unwrap();
    let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let arguments = [&["serve", "--owner-key-file", "key"], &ports[..]].concat();
    let mut running = Running::start(dir.path(), &arguments);
    let mut lines = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let address = loop {
        let line = lines.next().unwrap().unwrap();
        if let Some((_, rest)) = line.split_once("answers at http://") {
            break rest.split_once('/').unwrap().0.to_owned();
        }
    };
    let key = fs::read_to_string(dir.path().join("key")).unwrap();
    until("the halves to find each other", || {
        let mut client = TcpStream::connect(&address).unwrap();
        client.write_all(b"GET /fhir/metadata HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
    });
    let mut client = TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST /fhir/Patient HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/fhir+json\r\nContent-Length: 100\r\n\
         Expect: 100-continue\r\n\r\n",
        key.trim_end()
    );
    client.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 12];
    client.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100");
    running.tell_to_stop();
    until("the listener to close", || TcpStream::connect(&address).is_err());
    assert!(running.0.try_wait().unwrap().is_none(), "the request is waited for");
    running.tell_to_stop();
    running.ends();
}

#[test]
fn keys_are_made_listed_and_revoked_while_nothing_runs() {
    let dir = started();
    let run = |arguments: &[&str]| hearthgate(dir.path(), arguments);
    let created = run(&[
        "keys",
        "create",
        "--client",
        "phone",
        "--role",
        "patient",
        "--patient",
        "p1",
        "--label",
        "my phone",
        "--print-key",
    ]);
    assert!(created.status.success(), "{created:?}");
    let stdout = text(&created.stdout);
    assert_eq!(stdout.lines().count(), 1, "the key alone: {stdout}");
    let key = stdout.trim_end();
    let registry = open(&dir.path().join("data"));
    let caller = registry.authenticate(key).unwrap();
    assert_eq!(caller.client.patient.as_ref().unwrap().as_str(), "p1");
    drop(registry);

    let listed = text(&run(&["keys", "list"]).stdout);
    assert!(listed.contains(caller.key.as_str()) && listed.contains("my phone"), "{listed}");
    let secret = &key[key.len() - 43..];
    assert!(!listed.contains(secret), "{listed}");

    let revoked = run(&["keys", "revoke", caller.key.as_str()]);
    assert!(revoked.status.success(), "{revoked:?}");
    assert!(open(&dir.path().join("data")).authenticate(key).is_none());
}

#[test]
fn without_print_key_the_key_is_shown_once_among_words() {
    let dir = started();
    let created = hearthgate(dir.path(), &["keys", "create", "--client", "owner"]);
    assert!(created.status.success(), "{created:?}");
    let stdout = text(&created.stdout);
    let key = stdout.lines().last().unwrap();
    assert!(stdout.contains("shown this once"), "{stdout}");
    assert!(open(&dir.path().join("data")).authenticate(key).is_some());
}

#[test]
fn keys_go_through_the_socket_of_the_process_that_has_the_registry() {
    let dir = started();
    let data = dir.path().join("data");
    let lock = Lock::take(&data, Half::Gateway, "gateway").unwrap();
    let registry = Arc::new(open(&data));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    runtime.block_on(async {
        let socket = ControlSocket::bind(&data).unwrap();
        let roles = hearthgate::config::Config::default().roles;
        let site = Site {
            roles,
            denials: Some(Arc::default()),
            plans: Arc::default(),
            counted: None,
            reloader: None,
        };
        tasks.spawn(socket.serve(registry.clone(), site, stopped));
    });
    let create = ["keys", "create", "--client", "lab", "--role", "reader", "--print-key"];
    let created = hearthgate(dir.path(), &create);
    assert!(created.status.success(), "{created:?}");
    let key = text(&created.stdout).trim_end().to_owned();
    // The running process knows the key at once.
    let id = registry.authenticate(&key).unwrap().key;
    let revoked = hearthgate(dir.path(), &["keys", "revoke", id.as_str()]);
    assert!(revoked.status.success(), "{revoked:?}");
    assert!(registry.authenticate(&key).is_none());
    // What it refuses is refused.
    let refused = hearthgate(dir.path(), &["keys", "create", "--client", "nobody"]);
    assert!(failure(&refused, 1).contains("--role"));

    stop.send(true).unwrap();
    runtime.block_on(async { while tasks.join_next().await.is_some() {} });
    // It has the lock still and answers no more: said, with who it is.
    let silent = hearthgate(dir.path(), &["keys", "list"]);
    let line = failure(&silent, 1);
    assert!(line.contains(&format!("pid {} (gateway)", std::process::id())), "{line}");
    drop(lock);
    assert!(hearthgate(dir.path(), &["keys", "list"]).status.success());
}

#[test]
fn serve_says_in_one_line_why_it_cannot_start_and_makes_no_data() {
    let dir = started();
    let data = dir.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = || {
        let any = "127.0.0.1:0";
        failure(&hearthgate(dir.path(), &["serve", "--listen", &address, "--admin", any]), 1)
    };
    let line = serve();
    assert!(line.contains(&address) && line.contains("in use"), "{line}");

    // Also where it would be the first start: the key is for a start that comes to something.
    let fresh = ["serve", "--data", "fresh", "--listen", &address, "--admin", "127.0.0.1:0"];
    let line = failure(&hearthgate(dir.path(), &fresh), 1);
    assert!(line.contains("in use"), "{line}");
    assert!(!dir.path().join("fresh/tenants").exists());

    for half in [Half::Server, Half::Gateway] {
        let lock = Lock::take(&data, half, "serve").unwrap();
        let line = serve();
        let holder = format!("is held by pid {} (serve); stop", std::process::id());
        assert!(line.contains(&holder), "{line}");
        drop(lock);
    }

    fs::write(data.join("registry/format"), "hearthgate registry 9\n").unwrap();
    let line = serve();
    assert!(line.contains("has format 9") && line.contains("start the release"), "{line}");
    assert!(!data.join("tenants").exists());

    fs::create_dir_all(data.join("tenants/default/state")).unwrap();
    fs::remove_dir_all(data.join("registry")).unwrap();
    let line = serve();
    assert!(line.contains("missing or empty although") && !line.contains("hg_"), "{line}");
}

#[test]
fn keys_make_no_registry_and_no_owner() {
    let dir = tempfile::tempdir().unwrap();
    let create = ["keys", "create", "--client", "a", "--role", "owner"];
    assert!(failure(&hearthgate(dir.path(), &create), 1).contains("--data"));
    fs::create_dir_all(dir.path().join("data/registry")).unwrap();
    assert!(failure(&hearthgate(dir.path(), &create), 1).contains("start the server once"));
    fs::create_dir_all(dir.path().join("data/tenants/default/state")).unwrap();
    let line = failure(&hearthgate(dir.path(), &create), 1);
    assert!(line.contains("missing or empty although") && line.contains("backup"), "{line}");
}

#[test]
fn a_wrong_configuration_is_refused_in_one_line_with_status_2() {
    // GW-060
    let dir = tempfile::tempdir().unwrap();
    let check = |content: &str| {
        fs::write(dir.path().join("hg.toml"), content).unwrap();
        hearthgate(dir.path(), &["check-config", "--config", "hg.toml"])
    };
    let line = failure(&check("[gateway]\nlisten_adress = \"x\"\n"), 2);
    assert!(line.contains("hg.toml line 2: there is no key `gateway.listen_adress`"), "{line}");
    assert!(line.contains("did you mean `gateway.listen`?"), "{line}");
    failure(&check("data = \n"), 2);
    let good = check("data = \"/srv\"\n");
    assert!(good.status.success());
    assert!(text(&good.stdout).starts_with("data = \"/srv\"\n"));
    let missing = hearthgate(dir.path(), &["check-config", "--config", "absent.toml"]);
    assert!(failure(&missing, 2).contains("absent.toml"));
}

#[test]
fn check_config_shows_no_key_that_lies_beside_the_data() {
    let dir = started();
    let created = hearthgate(dir.path(), &["keys", "create", "--client", "owner", "--print-key"]);
    let key = text(&created.stdout);
    fs::write(dir.path().join("owner.key"), &key).unwrap();
    let checked = hearthgate(
        dir.path(),
        &["check-config", "--data", "data", "--owner-key-file", "owner.key"],
    );
    assert!(checked.status.success(), "{checked:?}");
    let printed = text(&checked.stdout);
    assert!(printed.contains("owner_key_file = \"owner.key\""), "{printed}");
    assert!(!printed.contains(key.trim_end()), "{printed}");
}

#[test]
fn demo_data_is_the_same_on_stdout_and_in_a_file_and_ends_quietly_when_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let printed = hearthgate(dir.path(), &["demo-data", "--patients", "4"]);
    assert!(printed.status.success());
    let to_file = ["demo-data", "--patients", "4", "--out", "demo.ndjson"];
    assert!(hearthgate(dir.path(), &to_file).status.success());
    let written = fs::read(dir.path().join("demo.ndjson")).unwrap();
    assert_eq!(text(&written).lines().count(), 4);
    assert!(written == printed.stdout);
    let nowhere = hearthgate(dir.path(), &["demo-data", "--out", "absent/x"]);
    assert!(failure(&nowhere, 1).contains("absent/x"));
    let full = hearthgate(dir.path(), &["demo-data", "--out", "/dev/full"]);
    assert!(failure(&full, 1).contains("the disk is full: free space"));
}
