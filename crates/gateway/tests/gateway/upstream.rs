//! An upstream of others: it reads requests, keeps what it saw, and answers as told, byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// The time that passes whatever a test does to its clock.
#[expect(clippy::disallowed_methods, reason = "how long an answer really takes is what is tested")]
pub(crate) fn real_now() -> Instant {
    Instant::now()
}

/// How it answers.
#[derive(Debug, Clone)]
pub(crate) enum Play {
    /// 200 with method, target and length of the body.
    Echo,
    /// These very bytes.
    Bytes(Vec<u8>),
    /// Like `Echo`, once told to go on.
    AfterGo,
    /// The connection ends without an answer.
    Drop,
    /// Nothing comes, ever.
    Silence,
    /// A head and three of ten bytes, and nothing more.
    Stuck,
    /// A byte of a body each 20 ms, without an end.
    Drip,
    /// 101, and then every byte comes back.
    Mirror,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// All values of a header.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let named = fields.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim()).collect()
    }
}

#[derive(Debug)]
struct State {
    play: Mutex<Play>,
    seen: Mutex<Vec<Seen>>,
    go: Notify,
}

/// An upstream and its tasks. Dropped, it is gone as if killed.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    pub(crate) async fn start(play: Play) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), play).await
    }

    /// The same at an address, as a restart does.
    pub(crate) async fn start_at(address: SocketAddr, play: Play) -> Self {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let address = listener.local_addr().expect("an address");
        let (seen, go) = (Mutex::default(), Notify::new());
        let state = Arc::new(State { play: Mutex::new(play), seen, go });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, state.clone()));
        Self { address, state, _tasks: tasks }
    }

    pub(crate) fn play(&self, play: Play) {
        *self.state.play.lock().expect("no panic") = play;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().expect("no panic").clone()
    }

    /// The one request that was seen.
    pub(crate) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }

    /// Lets all that wait go on.
    pub(crate) fn go(&self) {
        self.state.go.notify_waiters();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut open = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let state = state.clone();
        open.spawn(async move {
            // Whoever leaves in the middle ends the connection.
            let _ = answer_all(stream, &state).await;
        });
    }
}

async fn answer_all(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let rest = read.split_off(end);
        let head = String::from_utf8(std::mem::replace(&mut read, rest)).expect("text");
        let mut seen = Seen { head, body: Vec::new() };
        let length = seen
            .values("content-length")
            .first()
            .map_or(0, |text| text.parse::<usize>().expect("a length"));
        while read.len() < length {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        let rest = read.split_off(length);
        seen.body = std::mem::replace(&mut read, rest);
        let echo = format!("{} {}", seen.line(), seen.body.len());
        let play = state.play.lock().expect("no panic").clone();
        // Made before it is seen, so that no `go` is missed.
        let go = state.go.notified();
        state.seen.lock().expect("no panic").push(seen);
        match play {
            Play::Echo => {}
            Play::AfterGo => go.await,
            Play::Bytes(bytes) => {
                stream.write_all(&bytes).await?;
                continue;
            }
            Play::Drop => return Ok(()),
            Play::Silence => std::future::pending().await,
            Play::Stuck => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await?;
                std::future::pending().await
            }
            Play::Drip => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await?;
                loop {
                    stream.write_all(b"x").await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Play::Mirror => {
                let upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                                Upgrade: websocket\r\n\r\n";
                stream.write_all(upgraded.as_bytes()).await?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await?;
                return Ok(());
            }
        }
        let length = echo.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{echo}");
        stream.write_all(answer.as_bytes()).await?;
    }
}
