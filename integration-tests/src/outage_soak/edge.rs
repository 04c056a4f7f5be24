//! What the gateway's edge leans on: the issuer of tokens, the certificate, and its own program.

use contract::Clock as _;
use hearthgate::doors::SystemClock;

use super::{Plan, Seen, asked_again};
use crate::edge::Edge;
use crate::readers::Readers;

/// What goes away, or changes.
#[derive(Debug, Clone, Copy)]
enum Outage {
    /// The issuer of tokens.
    Issuer,
    /// The certificate, again and again.
    Certificate,
    /// The gateway's program, again and again, on a socket that is handed over.
    Program,
}

impl Outage {
    const ALL: [Self; 3] = [Self::Issuer, Self::Certificate, Self::Program];

    fn name(self) -> &'static str {
        match self {
            Self::Issuer => "the issuer of tokens stops and starts",
            Self::Certificate => "other certificates",
            Self::Program => "one gateway after another on a socket that is handed over",
        }
    }
}

impl Plan {
    /// Takes each away and gives it back, on a gateway alone.
    pub(super) async fn at_the_edge(self) -> Vec<Seen> {
        let mut edge = Edge::start().await;
        let readers = Readers::of((0..self.readers).map(|_| edge.reader()));
        let mut seen = Vec::new();
        for outage in Outage::ALL {
            drop(readers.take());
            tokio::time::sleep(self.phase).await;
            let (before, memory) = (readers.take(), edge.process().resident());
            self.happen_at_the_edge(outage, &mut edge).await;
            let meanwhile = readers.take();
            tokio::time::sleep(self.phase).await;
            seen.push(Seen {
                name: outage.name(),
                reads: [before, meanwhile, readers.take()],
                memory: [memory, edge.process().resident()],
            });
        }
        readers.end().await;
        seen
    }

    async fn happen_at_the_edge(self, outage: Outage, edge: &mut Edge) {
        let clock = SystemClock::start();
        let began = clock.monotonic();
        let over = || clock.monotonic().saturating_sub(began) >= self.phase;
        match outage {
            Outage::Issuer => {
                edge.issuer.stop().await;
                let taken = edge.issuer.answered();
                tokio::time::sleep(self.phase).await;
                edge.issuer.start_again().await;
                asked_again("the issuer", &edge.issuer, taken).await;
            }
            Outage::Certificate => {
                while !over() {
                    edge.change_certificate().await;
                }
            }
            Outage::Program => {
                while !over() {
                    edge.upgrade().await;
                }
            }
        }
    }
}
