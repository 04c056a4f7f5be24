//! Clients with a good key that are slow on purpose: in sending a head, in sending a body, in taking
//! an answer. Each has to be ended, and then comes again until the phase is over.

use std::time::Duration;

use contract::Clock as _;
use hearthgate::doors::SystemClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::Plan;
use crate::raw::read_head;
use crate::site::Site;
use crate::waiting::{SOON, within};

/// Clients at a time: fewer than there are places.
const TOGETHER: usize = 200;
/// Between two that come: the system keeps no more than some hundred waiting at the server's door.
const APART: Duration = Duration::from_millis(5);
/// Between two bytes.
const PAUSE: Duration = Duration::from_millis(500);
/// What is read by who takes it in drops.
pub(super) const LARGE: &str = "/Binary/large";
/// Bytes of it: more than all buffers on the way take.
const BYTES: usize = 4 << 20;
/// Bytes of a client's buffer, and how many it takes of them at a time.
const BUFFER: u32 = 4 << 10;
const DROP: usize = 512;

/// In what somebody is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slow {
    Head,
    Body,
    Answer,
}

/// A resource that is large.
pub(super) fn large() -> String {
    let data = "QUFB".repeat(BYTES / 4);
    format!(
        r#"{{"resourceType":"Binary","id":"large","contentType":"text/plain","data":"{data}"}}"#
    )
}

impl Plan {
    /// Is so until the phase is over, many at a time; how many there were, of which each was ended.
    pub(super) async fn slow(self, site: &Site, kind: Slow) -> u32 {
        let clock = SystemClock::start();
        let until = clock.monotonic() + self.phase;
        let key = site.owner().key().to_owned();
        let address = site.address().parse().expect("an address");
        let mut clients = JoinSet::new();
        for _ in 0..TOGETHER {
            tokio::time::sleep(APART).await;
            let head = kind.head(&key);
            clients.spawn(async move {
                let clock = SystemClock::start();
                let mut ended = 0;
                while ended == 0 || clock.monotonic() < until {
                    let socket = TcpSocket::new_v4().expect("a socket");
                    socket.set_recv_buffer_size(BUFFER).expect("the system takes a size");
                    let mut stream = socket
                        .connect(address)
                        .await
                        .expect("a connection (`ulimit -n` says how many files may be open)");
                    stream.write_all(head.as_bytes()).await.expect("it takes a head");
                    within("a slow client is ended", SOON, kind.go_on(&mut stream)).await;
                    ended += 1;
                }
                ended
            });
        }
        clients.join_all().await.into_iter().sum()
    }
}

impl Slow {
    /// What it begins with.
    fn head(self, key: &str) -> String {
        let asks = match self {
            Self::Head => "GET /fhir/Patient/read HTTP/1.1",
            Self::Body => "POST /fhir/Patient HTTP/1.1",
            Self::Answer => "GET /fhir/Binary/large HTTP/1.1",
        };
        let more = match self {
            Self::Head => "",
            Self::Body => "Content-Type: application/fhir+json\r\nContent-Length: 8192\r\n\r\n{",
            Self::Answer => "Accept: application/fhir+json\r\n\r\n",
        };
        format!("{asks}\r\nHost: a\r\nAuthorization: Bearer {key}\r\n{more}")
    }

    /// Goes on until it is ended, and looks whether it was ended for what it did.
    async fn go_on(self, stream: &mut TcpStream) {
        match self {
            Self::Head | Self::Body => {
                let (mut reading, mut writing) = stream.split();
                let more = if self == Self::Head { "x: y\r\n" } else { " " };
                let sending = async {
                    // It closes when it has had enough.
                    while writing.write_all(more.as_bytes()).await.is_ok() {
                        tokio::time::sleep(PAUSE).await;
                    }
                    std::future::pending().await
                };
                let mut answer = Vec::new();
                tokio::select! {
                    () = sending => {}
                    _ = reading.read_to_end(&mut answer) => {}
                }
                let answer = String::from_utf8_lossy(&answer);
                let line = answer.lines().next().unwrap_or_default();
                let is_right = match self {
                    Self::Body => line.starts_with("HTTP/1.1 408"),
                    _ => !line.starts_with("HTTP/1.1 2"),
                };
                assert!(is_right, "{self:?}: {answer}");
            }
            Self::Answer => {
                let head = read_head(&mut *stream).await;
                assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                let (mut drop, mut taken) = ([0; DROP], 0);
                while let Ok(read @ 1..) = stream.read(&mut drop).await {
                    taken += read;
                    tokio::time::sleep(PAUSE).await;
                }
                assert!(taken < BYTES, "it got all");
            }
        }
    }
}
