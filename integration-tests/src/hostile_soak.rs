//! Clients that mean harm, one kind after the other, while others read: whether these feel it, what
//! the gateway keeps in memory for it, and whether a hidden request is ever carried out.

mod edge;
mod slow;
mod streams;

use std::time::Duration;

use contract::{Clock as _, header};
use hearthgate::doors::SystemClock;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::client::Client;
use crate::malformed::{changed, malformed};
use crate::raw::{exchange, exchange_and_end};
use crate::readers::{Readers, Reads};
use crate::site::{Deployment, First, Site};
use crate::smuggling::{BETWEEN, FRAMINGS, TARGETS, head, strays};
use crate::socket::{Request, channel_secret, everything};
use slow::Slow;

/// What is read meanwhile.
const READ: &str = "/Patient/read";
/// Requests of people that are worked on at once: more than one kind of slow clients makes, and
/// less than two.
const PLACES: u32 = 256;
/// What the gateway and the server bear of slow clients: little, so that their end is seen.
const LIMITS: &str = "header_seconds = 2\nbody_grace_seconds = 1\nanswer_grace_seconds = 1\n\
                      answer_bytes_per_second = 1048576\n";
/// Fields of a head that has too many.
const FIELDS: usize = 100_000;
/// Such heads at a time.
const HEADS: usize = 8;
/// Requests with changed bytes beside each set of malformed ones.
const CHANGED: usize = 100;
/// Bytes that one idle connection may take.
pub const IDLE_WANTED: u64 = 50 << 10;

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    /// Sends requests that carry a perfect grant: behind others, and as if for somebody else.
    Smuggling,
    /// Sends what is no request, or one in which chance changed some bytes.
    Malformed,
    /// Sends heads of a hundred thousand fields.
    Fields,
    /// Sends heads that never end.
    Slowloris,
    /// Sends bodies that hardly move.
    SlowBody,
    /// Takes answers in drops.
    SlowRead,
    /// Opens connections, asks once and stays.
    Idle,
}

impl Attack {
    /// Idle connections first: memory that another left behind would be taken for theirs.
    const ALL: [Self; 7] = [
        Self::Idle,
        Self::Smuggling,
        Self::Malformed,
        Self::Fields,
        Self::Slowloris,
        Self::SlowBody,
        Self::SlowRead,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Smuggling => "hidden requests",
            Self::Malformed => "malformed requests",
            Self::Fields => "100,000 headers",
            Self::Slowloris => "heads that never end",
            Self::SlowBody => "bodies that hardly move",
            Self::SlowRead => "answers taken in drops",
            Self::Idle => "idle connections",
        }
    }
}

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Who reads meanwhile.
    pub readers: usize,
    /// How long before, meanwhile and after each.
    pub phase: Duration,
    /// Connections that stay idle.
    pub idle: u32,
}

/// What became of one attack.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What was done.
    pub name: &'static str,
    /// What the others were answered before, meanwhile and after.
    pub reads: [Reads; 3],
    /// Bytes of the gateway in memory before, at the end of it, and after.
    pub memory: [u64; 3],
    /// What it came to, in numbers.
    pub made: u32,
    /// Whether what was made stays to its end.
    pub stay: bool,
}

impl Seen {
    /// Bytes that each of what was made takes, where that stays.
    #[must_use]
    pub fn each(&self) -> Option<u64> {
        let made = Some(self.made).filter(|made| *made > 0 && self.stay)?;
        Some(self.memory[1].saturating_sub(self.memory[0]) / u64::from(made))
    }
}

impl Plan {
    /// Makes each attack: on gateway and server as two processes, and in HTTPS on a gateway
    /// alone.
    ///
    /// # Panics
    /// When a hidden request is answered or carried out, something else is answered as it must not
    /// be, a client that is slow on purpose is not ended, or the place does not start.
    pub async fn run(self) -> Vec<Seen> {
        let mut site = Site::prepare(Deployment::TwoProcesses);
        // All clients here have one address, which may have more connections than by default.
        site.configure(&format!(
            "[gateway]\nconnections_per_address = {}\n{LIMITS}[lanes]\ninteractive = {PLACES}\n\
             [server]\nbody_grace_seconds = 1\n",
            self.idle + 2_000
        ));
        site.launch(First::Gateway).await;
        let patient = r#"{"resourceType":"Patient","id":"read"}"#;
        let _ = site.owner().put(READ, patient).await.is(201);
        let _ = site.owner().put(slow::LARGE, slow::large()).await.is(201);
        let reader = site.new_client("bedside", &["--role", "reader"]);
        let readers = Readers::start(&reader, READ, self.readers);
        let mut seen = Vec::new();
        for attack in Attack::ALL {
            drop(readers.take());
            tokio::time::sleep(self.phase).await;
            let (before, memory) = (readers.take(), site.front().resident());
            let (made, held) = self.attack(attack, &site).await;
            let (meanwhile, most) = (readers.take(), site.front().resident());
            drop(held);
            tokio::time::sleep(self.phase).await;
            seen.push(Seen {
                name: attack.name(),
                reads: [before, meanwhile, readers.take()],
                memory: [memory, most, site.front().resident()],
                made,
                stay: attack == Attack::Idle,
            });
        }
        readers.end().await;
        drop(site);
        seen.extend(self.at_the_edge().await);
        seen.push(self.in_streams().await);
        seen
    }

    /// Makes it for a phase; how much of it there was, and the connections that still stand.
    async fn attack(self, attack: Attack, site: &Site) -> (u32, Vec<TcpStream>) {
        let made = match attack {
            Attack::Smuggling => self.smuggle(site).await,
            Attack::Malformed => self.malformed(site).await,
            Attack::Fields => self.fields(site).await,
            Attack::Slowloris => self.slow(site, Slow::Head).await,
            Attack::SlowBody => self.slow(site, Slow::Body).await,
            Attack::SlowRead => self.slow(site, Slow::Answer).await,
            Attack::Idle => {
                let held = self.idle(site).await;
                return (self.idle, held);
            }
        };
        (made, Vec::new())
    }

    /// Hides requests until the phase is over, each beginning at least once; how many.
    async fn smuggle(self, site: &Site) -> u32 {
        let clock = SystemClock::start();
        let began = clock.monotonic();
        let (secret, owner) = (channel_secret(site).await, site.owner());
        let mut sent = 0;
        loop {
            let mut asked = JoinSet::new();
            for stray in 0..strays("", "").len() {
                let path = format!("/fhir/Patient/planted-{sent}");
                let head = strays("PUT", &path).swap_remove(stray);
                let bytes = planted(sent, &secret).bytes_behind(&head);
                let stream = connect(site).await;
                asked.spawn(async move { (head, exchange(stream, &bytes).await) });
                sent += 1;
            }
            for target in TARGETS {
                for (framing, between) in
                    FRAMINGS.iter().flat_map(|framing| BETWEEN.map(|between| (*framing, between)))
                {
                    let head = head(target, owner.key(), framing, between);
                    let hidden = planted(sent, &secret).bytes();
                    let bytes = [head.as_bytes(), &hidden[..]].concat();
                    let stream = connect(site).await;
                    asked.spawn(async move { (head, exchange(stream, &bytes).await) });
                    sent += 1;
                }
            }
            for (head, answer) in asked.join_all().await {
                let all = format!("{}\r\n\r\n{}", answer.head, answer.text());
                assert!(!all.contains("HTTP/1.1 201"), "{head:?}: {all}");
                assert!(!all.contains("hearthgate-"), "{head:?}: {all}");
            }
            if clock.monotonic().saturating_sub(began) >= self.phase {
                break;
            }
        }
        // Each would have made a patient of its own; there is the one that is read.
        assert_eq!(patients(&owner).await, 1, "of {sent} hidden requests some were carried out");
        sent
    }

    /// Sends malformed requests until the phase is over, each at least once; how many.
    async fn malformed(self, site: &Site) -> u32 {
        let clock = SystemClock::start();
        let began = clock.monotonic();
        let (owner, path) = (site.owner(), format!("/fhir{READ}"));
        let seed = began.as_nanos() ^ u128::from(site.front().id());
        let mut chance = Chance::new(u64::try_from(seed).unwrap_or_default());
        let mut sent = 0;
        loop {
            let mut asked = JoinSet::new();
            let broken = malformed(&path, owner.key()).into_iter();
            let changed = (0..CHANGED).map(|_| changed(&path, owner.key(), &mut chance));
            // What chance changed may be good still.
            let all = broken.map(|bytes| (400, bytes)).chain(changed.map(|bytes| (200, bytes)));
            for (least, bytes) in all {
                let stream = connect(site).await;
                asked.spawn(async move {
                    let answer = exchange_and_end(stream, &bytes).await;
                    let is_right = match answer.status() {
                        // The others, 501 and 505, are for codings and versions that are none of ours.
                        Some(500 | 502..=504 | 506..) => false,
                        Some(status) => status >= least,
                        None => true,
                    };
                    (!is_right).then(|| {
                        format!("{}: {} {}", bytes.escape_ascii(), answer.head, answer.text())
                    })
                });
                sent += 1;
            }
            let wrong: Vec<String> = asked.join_all().await.into_iter().flatten().collect();
            assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
            if clock.monotonic().saturating_sub(began) >= self.phase {
                break;
            }
        }
        assert_eq!(patients(&owner).await, 1, "of {sent} malformed requests some were carried out");
        sent
    }

    /// Sends heads with too many fields until the phase is over; how many.
    async fn fields(self, site: &Site) -> u32 {
        let clock = SystemClock::start();
        let began = clock.monotonic();
        let mut head = String::from("GET /fhir/Patient/read HTTP/1.1\r\nHost: a\r\n");
        for number in 0..FIELDS {
            head.push_str(&format!("x-{number}: y\r\n"));
        }
        head.push_str("\r\n");
        let mut sent = 0;
        while clock.monotonic().saturating_sub(began) < self.phase {
            let mut asked = JoinSet::new();
            for _ in 0..HEADS {
                let (stream, head) = (connect(site).await, head.clone());
                asked.spawn(async move { exchange(stream, head.as_bytes()).await });
                sent += 1;
            }
            for answer in asked.join_all().await {
                // The answer is lost where the connection was reset behind it.
                assert!(matches!(answer.status(), None | Some(400..=499)), "{answer:?}");
            }
        }
        sent
    }

    /// Connections that asked once.
    async fn idle(self, site: &Site) -> Vec<TcpStream> {
        let key = site.owner().key().to_owned();
        let request = format!(
            "GET /fhir/Patient/read HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n"
        );
        let mut held = Vec::new();
        let mut answer = [0; 4096];
        for _ in 0..self.idle {
            let mut stream = connect(site).await;
            stream.write_all(request.as_bytes()).await.expect("an open connection takes a request");
            let read = stream.read(&mut answer).await.expect("an open connection is answered");
            assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{} held", held.len());
            held.push(stream);
        }
        tokio::time::sleep(self.phase).await;
        held
    }
}

async fn connect(site: &Site) -> TcpStream {
    let stream = TcpStream::connect(site.address()).await;
    stream.unwrap_or_else(|error| {
        panic!(
            "the gateway takes no connection: {error} (`ulimit -n` says how many files may be open)"
        )
    })
}

/// A request for the server itself that lacks nothing, to make the patient of this number.
fn planted(number: u32, secret: &str) -> Request {
    let path = format!("/fhir/Patient/planted-{number}");
    let body = format!(r#"{{"resourceType":"Patient","id":"planted-{number}"}}"#);
    let request = Request::new("PUT", &path).with_body(&body).granted(everything());
    request.with(header::CHANNEL, secret)
}

/// How many patients there are.
async fn patients(owner: &Client) -> u64 {
    let answer: Value = owner.get("/Patient?_summary=count").await.is(200).json();
    answer["total"].as_u64().expect("a count has a total")
}
