//! Harm in HTTPS, on a gateway alone at its edge: connections that stay idle, and in frames of
//! HTTP/2 requests that are another thing in HTTP/1.1, and requests that are left as soon as they
//! are made.

use contract::Clock as _;
use hearthgate::doors::SystemClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::{Plan, Seen};
use crate::answering::{Answering, PLANTED};
use crate::edge::{Edge, NAME, READ, Secured};
use crate::frames::{Outcome, beginning, head, last_data, outcome, reset};
use crate::readers::{Ask as _, Readers};
use crate::waiting::{SOON, within};

/// Requests that are made and left together, and on one connection at most.
const TOGETHER: u32 = 50;
const LEFT_AT_MOST: u32 = 100_000;

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    /// Connections that asked once.
    Idle,
    /// Requests that hide others.
    Hidden,
    /// Requests that are left at once.
    Left,
}

/// A request: what is changed of a good one, and its body.
struct Odd {
    /// Fields that take the place of those of the same name, pseudo-fields first.
    instead: Vec<(&'static str, String)>,
    /// Fields behind those.
    more: Vec<(&'static str, String)>,
    body: Option<String>,
}

impl Plan {
    /// Makes each of these attacks.
    pub(super) async fn at_the_edge(self) -> Vec<Seen> {
        let edge = Edge::start().await;
        assert_eq!(ask(&edge, &Odd::good()).await, Outcome::Good, "a good request is answered");
        let readers = Readers::of((0..self.readers).map(|_| edge.reader()));
        let mut seen = Vec::new();
        // Idle connections first: memory that another left behind would be taken for theirs.
        for attack in [Attack::Idle, Attack::Hidden, Attack::Left] {
            drop(readers.take());
            tokio::time::sleep(self.phase).await;
            let (before, memory) = (readers.take(), edge.process().resident());
            let mut held = Vec::new();
            let (name, made) = match attack {
                Attack::Idle => {
                    held = self.hold(&edge).await;
                    ("idle connections in TLS", self.idle)
                }
                Attack::Hidden => ("hidden requests in HTTP/2", self.hide(&edge).await),
                Attack::Left => ("requests left at once in HTTP/2", self.leave(&edge).await),
            };
            let (meanwhile, most) = (readers.take(), edge.process().resident());
            drop(held);
            tokio::time::sleep(self.phase).await;
            seen.push(Seen {
                name,
                reads: [before, meanwhile, readers.take()],
                memory: [memory, most, edge.process().resident()],
                made,
                stay: attack == Attack::Idle,
            });
        }
        readers.end().await;
        seen
    }

    /// Connections that asked once.
    async fn hold(self, edge: &Edge) -> Vec<Secured> {
        let mut held = Vec::new();
        for _ in 0..self.idle {
            let mut reader = edge.reader();
            assert_eq!(reader.ask().await, Ok(200), "{} held (see `ulimit -n`)", held.len());
            held.push(reader);
        }
        tokio::time::sleep(self.phase).await;
        held
    }

    /// Hides requests until the phase is over, each at least once; how many.
    async fn hide(self, edge: &Edge) -> u32 {
        let clock = SystemClock::start();
        let began = clock.monotonic();
        let mut sent = 0;
        loop {
            for odd in odd() {
                // Whatever it comes to: what counts is what the endpoints were asked.
                let _ = ask(edge, &odd).await;
                let planted: u64 = edge.endpoints.iter().map(Answering::planted).sum();
                assert_eq!(planted, 0, "{:?} {:?} {:?}", odd.instead, odd.more, odd.body);
                sent += 1;
            }
            if clock.monotonic().saturating_sub(began) >= self.phase {
                return sent;
            }
        }
    }

    /// Makes requests and leaves them, on connection after connection; how many.
    async fn leave(self, edge: &Edge) -> u32 {
        let clock = SystemClock::start();
        let began = clock.monotonic();
        let mut left = 0;
        while clock.monotonic().saturating_sub(began) < self.phase {
            let (mut reading, mut writing) = tokio::io::split(edge.http2().await);
            let mut answers = JoinSet::new();
            answers.spawn(async move {
                let mut bytes = vec![0; 64 << 10];
                while reading.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
            });
            let authorization = edge.authorization();
            let fields = Odd::good().fields(&authorization);
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
            let mut open = writing.write_all(&beginning()).await.is_ok();
            let mut number = 0;
            while open && answers.try_join_next().is_none() {
                assert!(number < LEFT_AT_MOST, "nobody minds {number} requests left");
                let some = (number..number + TOGETHER).map(|number| {
                    let stream = 2 * number + 1;
                    [head(stream, &fields, true), reset(stream)].concat()
                });
                open = writing.write_all(&some.collect::<Vec<_>>().concat()).await.is_ok();
                number += TOGETHER;
            }
            left += number;
        }
        left
    }
}

/// Sends it on a connection of its own.
async fn ask(edge: &Edge, odd: &Odd) -> Outcome {
    let mut stream = edge.http2().await;
    let fields = odd.fields(&edge.authorization());
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
    let mut bytes = [beginning(), head(1, &fields, odd.body.is_none())].concat();
    bytes.extend(odd.body.iter().flat_map(|body| last_data(1, body.as_bytes())));
    // It may have closed before it read everything.
    let _ = stream.write_all(&bytes).await;
    within(&format!("{:?} {:?} comes to something", odd.instead, odd.more), SOON, async {
        outcome(&mut stream, 1).await
    })
    .await
}

impl Odd {
    fn good() -> Self {
        Self { instead: Vec::new(), more: Vec::new(), body: None }
    }

    fn fields(&self, authorization: &str) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            (":method", "GET".to_owned()),
            (":scheme", "https".to_owned()),
            (":authority", NAME.to_owned()),
            (":path", READ.to_owned()),
            ("authorization", authorization.to_owned()),
        ];
        for (name, value) in &self.instead {
            for field in fields.iter_mut().filter(|field| field.0 == *name) {
                field.1.clone_from(value);
            }
        }
        fields.extend(self.more.iter().cloned());
        fields
    }
}

/// Requests of which each would be two in HTTP/1.1, or one with a line of its sender's, for whoever
/// passed it on as it is.
fn odd() -> Vec<Odd> {
    let line = format!("a\r\n{PLANTED}: 1");
    let request = format!("GET /{PLANTED} HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
    let chunks = format!("0\r\n\r\n{request}");
    let instead = |name, value: String| Odd { instead: vec![(name, value)], ..Odd::good() };
    let more = |name, value: &str, body: Option<&String>| Odd {
        more: vec![(name, value.to_owned())],
        body: body.cloned(),
        ..Odd::good()
    };
    let twice = |one: &str, other: &str| Odd {
        more: vec![("content-length", one.to_owned()), ("content-length", other.to_owned())],
        body: Some(request.clone()),
        ..Odd::good()
    };
    vec![
        instead(":path", format!("{READ} HTTP/1.1\r\n{PLANTED}: 1\r\nx: y")),
        instead(":path", format!("{READ} HTTP/1.1\r\nhost: {NAME}\r\n\r\n{request}")),
        instead(":path", format!("{READ}\n{PLANTED}: 1")),
        instead(":method", format!("GET /{PLANTED} HTTP/1.1\r\nhost: {NAME}\r\n\r\nGET")),
        instead(":method", format!("GET /{PLANTED} HTTP/1.1\r\nx:")),
        instead(":authority", line.clone()),
        instead(":scheme", line.clone()),
        more(":path", &format!("/{PLANTED}"), None),
        more("x", &line, None),
        more("x", &format!("a\n{PLANTED}: 1"), None),
        more("x", &format!("a\r{PLANTED}: 1"), None),
        more("x", &format!("a\0\r\n{PLANTED}: 1"), None),
        more("x: y\r\nplanted", "1", None),
        more("x\nplanted", "1", None),
        more("transfer-encoding", "chunked", Some(&chunks)),
        more("Transfer-Encoding", "chunked", Some(&chunks)),
        more("transfer-encoding ", "chunked", Some(&chunks)),
        more("transfer_encoding", "chunked", Some(&chunks)),
        more("connection", "transfer-encoding, host", Some(&chunks)),
        more("connection", "content-length", Some(&request)),
        more("keep-alive", "timeout=5", Some(&request)),
        more("upgrade", "h2c", Some(&request)),
        more("te", "chunked", Some(&chunks)),
        more("content-length", "0", Some(&request)),
        more("content-length", "5", Some(&request)),
        more("content-length", "+5", Some(&request)),
        more("content-length", "5, 0", Some(&request)),
        more("content-length", "1000", Some(&request)),
        more("host", &line, None),
        more("expect", "100-continue", Some(&request)),
        twice("0", "5"),
        twice("5", "5"),
    ]
}
