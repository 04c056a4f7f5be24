//! What the gateway's edge leans on: the issuer of tokens, the certificate, and its own program.

use std::path::Path;

use contract::Clock as _;
use hearthgate::doors::SystemClock;

use super::{Asking, Plan, Seen, asked_again};
use crate::edge::{Edge, READ};
use crate::readers::Readers;
use crate::wrk::Wrk;

/// What goes away, or changes.
#[derive(Debug, Clone, Copy)]
enum Outage {
    /// The issuer of tokens.
    Issuer,
    /// The certificate, again and again.
    Certificate,
    /// The gateway's program, replaced and started again and again on a socket that is handed over.
    Program,
}

impl Outage {
    const ALL: [Self; 3] = [Self::Issuer, Self::Certificate, Self::Program];

    fn name(self) -> &'static str {
        match self {
            Self::Issuer => "the issuer of tokens stops and starts",
            Self::Certificate => "other certificates",
            Self::Program => "other programs on a socket that is handed over",
        }
    }
}

impl Plan {
    /// Takes each away and gives it back, on a gateway alone.
    pub(super) async fn at_the_edge(self, folder: &Path) -> Vec<Seen> {
        let mut edge = Edge::start().await;
        let readers = [Readers::of((0..self.readers).map(|_| edge.reader()))];
        let (base, authorization) = (edge.base(), edge.authorization());
        let asking = Asking {
            readers: &readers,
            wrk: Wrk {
                base: &base,
                paths: &[READ],
                authorization: Some(&authorization),
                posted: None,
                connections: self.connections,
            },
            folder,
        };
        let mut seen = Vec::new();
        for outage in Outage::ALL {
            let (before, ()) = asking.during(tokio::time::sleep(self.phase)).await;
            let memory = edge.process().resident();
            let (meanwhile, times) =
                asking.during(self.happen_at_the_edge(outage, &mut edge)).await;
            let (after, ()) = asking.during(tokio::time::sleep(self.phase)).await;
            seen.push(Seen {
                name: outage.name(),
                times,
                asked: [before, meanwhile, after],
                memory: [memory, edge.process().resident()],
            });
        }
        for some in readers {
            some.end().await;
        }
        seen
    }

    /// Lets it happen for a phase; how often.
    async fn happen_at_the_edge(self, outage: Outage, edge: &mut Edge) -> u32 {
        let clock = SystemClock::start();
        let began = clock.monotonic();
        let over = || clock.monotonic().saturating_sub(began) >= self.phase;
        let mut times = 0;
        match outage {
            Outage::Issuer => {
                edge.issuer.stop().await;
                let taken = edge.issuer.answered();
                tokio::time::sleep(self.phase).await;
                edge.issuer.start_again().await;
                asked_again("the issuer", &edge.issuer, taken).await;
                times = 1;
            }
            Outage::Certificate => {
                while !over() {
                    edge.change_certificate().await;
                    times += 1;
                }
            }
            Outage::Program => {
                while !over() {
                    edge.upgrade().await;
                    times += 1;
                }
            }
        }
        times
    }
}
