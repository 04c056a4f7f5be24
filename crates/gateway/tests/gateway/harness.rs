//! A gateway on free ports with a stub behind it, and a client that writes bytes.

use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::{Clock, Ids, Instant};
use gateway::{
    AccessLog, Bound, Denials, GatewayConfig, GatewayError, Reload, Roles, Then, WrittenRole,
    WrittenRule,
};
use registry::{Actor, Beside, ClientId, KeyId, NewClient, RateLimit, Registry};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::stub::Stub;

/// Nothing here takes longer, unless it hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits for something that must happen.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen within {LIMIT:?}"))
}

/// Time that a test moves.
#[derive(Default)]
pub(crate) struct HandClock(AtomicU64);

impl HandClock {
    pub(crate) const START: i64 = 1_790_000_000_000_000;

    pub(crate) fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).expect("a short time");
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Instant {
        let passed = i64::try_from(self.0.load(Ordering::SeqCst)).expect("a short time");
        Instant::from_micros(Self::START + passed)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Ids that never repeat and look as if drawn.
#[derive(Default)]
pub(crate) struct CountedIds(AtomicU64);

impl Ids for CountedIds {
    fn next(&self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_be_bytes(bytes)
    }
    fn fill(&self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            // SplitMix64: every number gives another.
            let mut word =
                self.0.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            piece.copy_from_slice(&word.to_be_bytes()[..piece.len()]);
        }
    }
}

/// A log that can be read back.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().expect("no writer panicked").clone();
        String::from_utf8(bytes).expect("a log is text")
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no writer panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A gateway under test.
pub(crate) struct Running {
    pub(crate) bound: Bound,
    pub(crate) registry: Arc<Registry>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) log: Kept,
    pub(crate) denials: Arc<Denials>,
    pub(crate) owner_key: String,
    pub(crate) dir: TempDir,
    reloads: mpsc::Sender<Reload>,
    shutdown: watch::Sender<bool>,
    tasks: JoinSet<Result<(), GatewayError>>,
}

/// The sockets' paths under a directory.
pub(crate) fn socket(dir: &TempDir, name: &str) -> PathBuf {
    dir.path().join(name)
}

/// A gateway with its stub, both up.
pub(crate) async fn start() -> (Running, Stub) {
    start_with(|_| {}).await
}

/// The same with a changed configuration.
pub(crate) async fn start_with(change: impl FnOnce(&mut GatewayConfig)) -> (Running, Stub) {
    let running = start_alone(change).await;
    let stub = Stub::start(&running.dir);
    running.until_ready().await;
    (running, stub)
}

/// Why a gateway with this configuration does not start.
pub(crate) async fn refused_start(change: impl FnOnce(&mut GatewayConfig)) -> GatewayError {
    let dir = tempfile::tempdir().expect("a directory");
    let (clock, ids) = (Arc::new(HandClock::default()), Arc::new(CountedIds::default()));
    let registry = dir.path().join("registry");
    let opened = Registry::open(&registry, Beside::NoTenant, clock.clone(), ids.clone());
    let registry = Arc::new(opened.expect("a registry opens").registry);
    let any_port = "127.0.0.1:0".parse().expect("an address");
    let mut config = GatewayConfig {
        listen: any_port,
        admin_listen: any_port,
        renewal_socket: socket(&dir, "renewal.sock"),
        ..GatewayConfig::default()
    };
    change(&mut config);
    let (_shutdown, stopped) = watch::channel(false);
    let (started, _bound) = oneshot::channel();
    let (_reloads, reload) = mpsc::channel(1);
    let run = gateway::run(config, registry, clock, ids, started, reload, stopped);
    within("the refusal", run).await.expect_err("it does not start")
}

/// A gateway whose server is not there.
pub(crate) async fn start_alone(change: impl FnOnce(&mut GatewayConfig)) -> Running {
    crate::secrets::capture_logs();
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(HandClock::default());
    let ids = Arc::new(CountedIds::default());
    let opened =
        Registry::open(&dir.path().join("registry"), Beside::NoTenant, clock.clone(), ids.clone())
            .expect("a registry opens");
    let registry = Arc::new(opened.registry);
    let owner = registry.owner(&actor()).expect("an owner is made");
    let owner_key = owner.expect("a first start").secret.expose().clone();
    let log = Kept::default();
    let any_port = "127.0.0.1:0".parse().expect("an address");
    let denials = Arc::new(Denials::default());
    let mut config = GatewayConfig {
        roles: Arc::new(roles()),
        denials: denials.clone(),
        listen: any_port,
        admin_listen: any_port,
        server_socket: socket(&dir, "server.sock"),
        channel_socket: socket(&dir, "channel.sock"),
        renewal_socket: socket(&dir, "renewal.sock"),
        access_log: AccessLog::Writer(Box::new(log.clone())),
        ..GatewayConfig::default()
    };
    change(&mut config);
    let (shutdown, stopped) = watch::channel(false);
    let (started, bound) = oneshot::channel();
    let (reloads, reload) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    let run = gateway::run(config, registry.clone(), clock.clone(), ids, started, reload, stopped);
    tasks.spawn(run);
    let bound = within("the start", bound).await.expect("the gateway starts");
    Running { bound, registry, clock, log, denials, owner_key, dir, reloads, shutdown, tasks }
}

/// The roles of the gateway under test.
fn roles() -> Roles {
    let rule = |actions: &[&str], within: &str| WrittenRule {
        types: vec!["*".to_owned()],
        actions: actions.iter().map(ToString::to_string).collect(),
        within: within.to_owned(),
        filter: None,
        without_labels: Vec::new(),
    };
    let role = |rule| WrittenRole {
        says: "For a test.".to_owned(),
        lane: None,
        budget: None,
        powers: Vec::new(),
        shared: Vec::new(),
        rules: vec![rule],
        break_glass: Vec::new(),
    };
    let look = ["read", "search", "history"];
    let mut ward = role(rule(&look, "careTeamOf(user)"));
    ward.rules[0].types = vec!["Patient".to_owned()];
    ward.break_glass = vec![rule(&look, "compartment(patient)")];
    let mut roles = Roles::default();
    for (name, written) in [
        ("all", role(rule(&["*"], "all"))),
        ("reader", role(rule(&look, "all"))),
        ("patient", role(rule(&look, "compartment(patient)"))),
        ("ward", ward),
    ] {
        let name = name.parse().expect("a role's name");
        let checked = written.check(&name).expect("a role");
        roles.define(name, checked);
    }
    roles
}

pub(crate) fn actor() -> Actor {
    Actor::new("test").expect("an actor")
}

impl Running {
    /// Makes a client with a role and a limit, and gives its key.
    pub(crate) fn client(&self, id: &str, role: &str, limit: Option<RateLimit>) -> String {
        self.client_with(id, role, |client| client.limit = limit)
    }

    /// Makes a client with a role and whatever is changed of it, and gives its key.
    pub(crate) fn client_with(
        &self,
        id: &str,
        role: &str,
        change: impl FnOnce(&mut NewClient),
    ) -> String {
        let id = ClientId::new(id).expect("a client's id");
        let role = role.parse().expect("a role's name");
        let mut client = NewClient::of_role(id.clone(), "A client", role);
        change(&mut client);
        self.registry.create_client(client, &actor()).expect("a new client");
        self.key_of(&id).1
    }

    /// Makes another key.
    pub(crate) fn key_of(&self, id: &ClientId) -> (KeyId, String) {
        let key = self.registry.create_key(id, "", &actor()).expect("a key");
        (key.key_id, key.secret.expose().clone())
    }

    /// `GET target` as the owner.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(&self.request("GET", target, &[], "")).await
    }

    /// A request's bytes, as the owner.
    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> String {
        let authorization = format!("Bearer {}", self.owner_key);
        let mut all = vec![("Authorization", authorization.as_str())];
        all.extend_from_slice(fields);
        request(method, target, &all, body)
    }

    /// Sends bytes on a connection of their own and reads one answer.
    pub(crate) async fn send(&self, bytes: &str) -> Answer {
        let mut connection = self.connect().await;
        connection.write(bytes.as_bytes()).await;
        connection.read_answer_to(bytes).await
    }

    pub(crate) async fn connect(&self) -> Connection {
        connect(self.bound.listen).await
    }

    /// `GET target` on the admin listener.
    pub(crate) async fn admin(&self, target: &str) -> Answer {
        let mut connection = connect(self.bound.admin_listen).await;
        let bytes = request("GET", target, &[], "");
        connection.write(bytes.as_bytes()).await;
        connection.read_answer_to(&bytes).await
    }

    /// The value of a metric's line that begins like this; 0 when there is none.
    pub(crate) async fn metric(&self, line: &str) -> f64 {
        let metrics = self.admin("/metrics").await.body;
        let found = metrics.lines().find(|other| other.starts_with(line));
        let value = found.and_then(|found| found.rsplit(' ').next()?.parse().ok());
        value.unwrap_or(0.0)
    }

    /// Puts the defaults with this change into force.
    pub(crate) async fn reload(
        &self,
        change: impl FnOnce(&mut GatewayConfig),
    ) -> Result<(), GatewayError> {
        self.reload_then(Then::Put, change).await
    }

    /// The same, with something else to be done first, or instead.
    pub(crate) async fn reload_then(
        &self,
        then: Then,
        change: impl FnOnce(&mut GatewayConfig),
    ) -> Result<(), GatewayError> {
        let roles = Arc::new(roles());
        let mut config = GatewayConfig { roles, ..GatewayConfig::default() };
        change(&mut config);
        let (done, outcome) = oneshot::channel();
        self.reloads.send(Reload { config, then, done }).await.expect("the gateway runs");
        within("the reload", outcome).await.expect("the gateway says what came of it")
    }

    pub(crate) async fn until_ready(&self) {
        self.until_readyz(200).await;
    }

    /// Waits until `/readyz` answers with this status.
    pub(crate) async fn until_readyz(&self, status: u16) -> Answer {
        within("readiness to change", async {
            loop {
                let answer = self.admin("/readyz").await;
                if answer.status == status {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Tells the gateway to stop, without waiting.
    pub(crate) fn tell_to_stop(&self) {
        self.shutdown.send_replace(true);
    }

    /// Waits for the gateway's end, after which its log is whole.
    pub(crate) async fn until_stopped(mut self) -> Kept {
        let ended = within("the end", self.tasks.join_next()).await;
        ended.expect("one task").expect("no panic").expect("no error");
        self.log
    }

    /// The same, looking at something while the directory is still there.
    pub(crate) async fn until_stopped_in_place(mut self, look: impl FnOnce()) {
        within("the end", self.tasks.join_next()).await;
        look();
    }

    pub(crate) async fn stop(self) -> Kept {
        self.tell_to_stop();
        self.until_stopped().await
    }
}

/// A request's bytes. A body gets its length unless the fields say how long it is.
pub(crate) fn request(method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in fields {
        write!(text, "{name}: {value}\r\n").expect("a String takes every text");
    }
    let framed = fields.iter().any(|(name, _)| {
        name.eq_ignore_ascii_case("content-length")
            || name.eq_ignore_ascii_case("transfer-encoding")
    });
    if !body.is_empty() && !framed {
        write!(text, "Content-Length: {}\r\n", body.len()).expect("a String takes every text");
    }
    text + "\r\n" + body
}

/// A client's connection.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

/// What carries a connection's bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(crate) async fn connect(address: SocketAddr) -> Connection {
    let stream = within("a connection", TcpStream::connect(address)).await;
    Connection::over(stream.expect("the gateway listens"))
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(other, _)| other == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} stands twice: {self:?}");
        value
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that this is an answer of the gateway's own, in the form they all have.
    pub(crate) fn is_refusal(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.field("content-type"), Some("application/fhir+json"));
        assert_eq!(self.json()["resourceType"], "OperationOutcome", "{self:?}");
    }
}

impl Connection {
    /// One that stands already.
    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), read: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        within("writing", self.stream.write_all(bytes)).await.expect("the gateway reads");
    }

    /// Writes as far as the gateway reads; whether all was taken.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> bool {
        within("writing", self.stream.write_all(bytes)).await.is_ok()
    }

    /// Reads an answer's head: what stands in `read` after it belongs to the body.
    pub(crate) async fn read_head(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                break at;
            }
            assert!(self.read_more().await, "no answer but {}", self.read.escape_ascii());
        };
        let rest = self.read.split_off(end + 4);
        let head = String::from_utf8(std::mem::replace(&mut self.read, rest)).expect("text");
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().expect("a status line");
        let status = status_line.split(' ').nth(1).expect("a status");
        Answer {
            status: status.parse().expect("a status"),
            fields: lines
                .map(|line| {
                    let (name, value) = line.split_once(':').expect("a field");
                    (name.to_ascii_lowercase(), value.trim().to_owned())
                })
                .collect(),
            body: String::new(),
        }
    }

    /// Reads a whole answer, 100 Continue left out.
    pub(crate) async fn read_answer(&mut self) -> Answer {
        self.read_answer_to("GET").await
    }

    /// The same for a request that may have been HEAD.
    pub(crate) async fn read_answer_to(&mut self, request: &str) -> Answer {
        let mut answer = self.read_head().await;
        while answer.status == 100 {
            answer = self.read_head().await;
        }
        if request.starts_with("HEAD") || matches!(answer.status, 204 | 304) {
            return answer;
        }
        let chunked = answer.field("transfer-encoding") == Some("chunked");
        let length = answer.field("content-length").map(str::to_owned);
        answer.body = match length {
            _ if chunked => self.read_chunks().await,
            Some(length) => self.read_exact(length.parse().expect("a length")).await,
            None => {
                while self.read_more().await {}
                String::from_utf8(std::mem::take(&mut self.read)).expect("text")
            }
        };
        answer
    }

    async fn read_chunks(&mut self) -> String {
        let mut body = String::new();
        loop {
            let at = loop {
                if let Some(at) = find(&self.read, b"\r\n") {
                    break at;
                }
                assert!(self.read_more().await, "the body broke off");
            };
            let line = self.read_exact(at + 2).await;
            let length = usize::from_str_radix(line.trim_end(), 16).expect("a length");
            body += self.read_exact(length + 2).await.strip_suffix("\r\n").expect("an end");
            if length == 0 {
                return body;
            }
        }
    }

    /// Reads so many bytes of a body.
    pub(crate) async fn read_exact(&mut self, length: usize) -> String {
        while self.read.len() < length {
            assert!(self.read_more().await, "the body broke off");
        }
        let rest = self.read.split_off(length);
        String::from_utf8(std::mem::replace(&mut self.read, rest)).expect("text")
    }

    /// Reads and forgets so many bytes; false once the gateway has closed the connection.
    pub(crate) async fn try_read_exact(&mut self, length: usize) -> bool {
        while self.read.len() < length {
            if !self.read_more().await {
                return false;
            }
        }
        self.read.drain(..length);
        true
    }

    /// Reads until the gateway closes the connection, whatever it says.
    pub(crate) async fn drain(&mut self) {
        while self.read_more().await {}
    }

    /// Whether the gateway closed the connection, with nothing more to say.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.read.is_empty() && !self.read_more().await
    }

    /// Reads on; whether it ends by a reset.
    pub(crate) async fn ends_by_reset(&mut self) -> bool {
        loop {
            self.read.clear();
            match within("reading", self.stream.read_buf(&mut self.read)).await {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    async fn read_more(&mut self) -> bool {
        let read = within("reading", self.stream.read_buf(&mut self.read)).await;
        // A reset is an end too.
        read.is_ok_and(|length| length > 0)
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
