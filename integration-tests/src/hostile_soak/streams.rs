//! Requests of HTTP/2 that never end, on the whole product in one process, more of them than it
//! works on at once.

use std::collections::BTreeSet;

use contract::Clock as _;
use hearthgate::doors::SystemClock;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use super::{Plan, Seen};
use crate::edge::NAME;
use crate::frames::{Outcome, head, next, wide_beginning};
use crate::readers::Readers;
use crate::served::Served;
use crate::waiting::{SOON, within};

/// Requests that are worked on at once.
const PLACES: usize = 32;
/// Connections, and requests on each at a time.
const CONNECTIONS: usize = 4;
const TOGETHER: usize = 50;
/// What is asked for: anybody may.
const PATH: &str = "/fhir/metadata";

impl Plan {
    /// Makes them, while others read.
    pub(super) async fn in_streams(self) -> Seen {
        let places = format!("[lanes]\ninteractive = {PLACES}\nwait_seconds = 1\n");
        let served = Served::start(&places).await;
        let readers = Readers::of((0..self.readers).map(|_| served.reader(PATH)));
        drop(readers.take());
        tokio::time::sleep(self.phase).await;
        let (before, memory) = (readers.take(), served.process().resident());
        let made = self.never_end(&served).await;
        let (meanwhile, most) = (readers.take(), served.process().resident());
        tokio::time::sleep(self.phase).await;
        let reads = [before, meanwhile, readers.take()];
        let memory = [memory, most, served.process().resident()];
        readers.end().await;
        Seen { name: "requests that never end in HTTP/2", reads, memory, made, stay: false }
    }

    /// Makes them until the phase is over; how many, of which each was answered and ended.
    async fn never_end(self, served: &Served) -> u32 {
        let clock = SystemClock::start();
        let until = clock.monotonic() + self.phase;
        let authorization = served.authorization();
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (mut stream, authorization) = (served.http2().await, authorization.clone());
            connections.spawn(async move {
                let clock = SystemClock::start();
                let fields = [
                    (":method", "GET"),
                    (":scheme", "https"),
                    (":authority", NAME),
                    (":path", PATH),
                    ("authorization", &*authorization),
                ];
                stream.write_all(&wide_beginning()).await.expect("it takes a beginning");
                let (mut under_way, mut answered) = (BTreeSet::new(), BTreeSet::new());
                let mut made: u32 = 0;
                loop {
                    while clock.monotonic() < until && under_way.len() < TOGETHER {
                        let number = 2 * made + 1;
                        let bytes = head(number, &fields, false);
                        stream.write_all(&bytes).await.expect("it takes a request");
                        under_way.insert(number);
                        made += 1;
                    }
                    if under_way.is_empty() {
                        return made;
                    }
                    let next = within("a request is answered or ended", SOON, next(&mut stream));
                    match next.await {
                        (_, Outcome::GoneAway) => panic!("the connection ended"),
                        (number, Outcome::Reset) => {
                            assert!(answered.remove(&number), "{number} was not answered");
                            under_way.remove(&number);
                        }
                        (number, Outcome::Good) => assert!(answered.insert(number)),
                        (number, Outcome::Refused) => panic!("{number} was refused"),
                    }
                }
            });
        }
        connections.join_all().await.into_iter().sum()
    }
}
