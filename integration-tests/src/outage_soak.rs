//! What the gateway leans on goes away and comes back while others ask: whether they feel it, and
//! what the gateway keeps in memory for it. And what changes meanwhile: its configuration, many
//! times, its certificate, and its own program.

mod edge;

use std::time::Duration;

use hearthgate::control;

use crate::answering::Answering;
use crate::client::Client;
use crate::limited::counted;
use crate::readers::{Readers, Reads};
use crate::redis::Redis;
use crate::site::{Deployment, First, Site};
use crate::waiting::{SOON, until};

/// What is read of the server of ours.
const READ: &str = "/fhir/Patient/read";
/// What is read of two upstreams of others.
const OTHERS: &str = "/pair/read";

/// What goes away, or changes, before gateway and server.
#[derive(Debug, Clone, Copy)]
enum Outage {
    /// The store of counters that gateways share.
    Counters,
    /// The collector of traces.
    Collector,
    /// One of two endpoints of an upstream.
    Endpoint,
    /// The configuration, again and again.
    Reloads,
}

impl Outage {
    const ALL: [Self; 4] = [Self::Counters, Self::Collector, Self::Endpoint, Self::Reloads];

    fn name(self) -> &'static str {
        match self {
            Self::Counters => "the store of counters stops and starts",
            Self::Collector => "the collector of traces stops and starts",
            Self::Endpoint => "one of two endpoints stops and starts",
            Self::Reloads => "reloads",
        }
    }
}

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Who reads meanwhile, of each of the two upstreams.
    pub readers: usize,
    /// How long before, meanwhile and after each.
    pub phase: Duration,
    /// Reloads.
    pub reloads: u32,
}

/// What became of one of them.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What happened.
    pub name: &'static str,
    /// What was answered before, meanwhile and after.
    pub reads: [Reads; 3],
    /// Bytes of the gateway in memory before and after.
    pub memory: [u64; 2],
}

/// Everything that can go away.
struct Place {
    site: Site,
    counters: Redis,
    collector: Answering,
    endpoints: [Answering; 2],
}

impl Plan {
    /// Takes each away and gives it back: first what gateway and server lean on as two processes,
    /// then what a gateway alone does. `None`, said, where there is no store of counters.
    ///
    /// # Panics
    /// When the place does not start, or does not become itself again.
    pub async fn run(self) -> Option<Vec<Seen>> {
        let folder = tempfile::tempdir().expect("the system gives a folder");
        let counters = Redis::start(folder.path())?;
        let collector = Answering::start("application/x-protobuf", "").await;
        let endpoints = [
            Answering::start("text/plain", "read").await,
            Answering::start("text/plain", "read").await,
        ];
        let mut site = Site::prepare(Deployment::TwoProcesses);
        let mut place = {
            site.configure(&configuration(&counters, &collector, &endpoints, 1000));
            site.launch(First::Gateway).await;
            Place { site, counters, collector, endpoints }
        };
        let patient = r#"{"resourceType":"Patient","id":"read"}"#;
        let _ = place.site.owner().put("/Patient/read", patient).await.is(201);
        let reader = place.site.new_client("app", &["--role", "reader", "--plan", "app"]);
        let reader = Client::new(&format!("http://{}", place.site.address()), Some(reader.key()));
        let ours = Readers::start(&reader, READ, self.readers);
        let others = Readers::start(&reader, OTHERS, self.readers);
        let take = || ours.take().with(others.take());
        let mut seen = Vec::new();
        for outage in Outage::ALL {
            drop(take());
            tokio::time::sleep(self.phase).await;
            let (before, memory) = (take(), place.site.front().resident());
            self.happen(outage, &mut place).await;
            let meanwhile = take();
            tokio::time::sleep(self.phase).await;
            seen.push(Seen {
                name: outage.name(),
                reads: [before, meanwhile, take()],
                memory: [memory, place.site.front().resident()],
            });
        }
        ours.end().await;
        others.end().await;
        drop(place);
        seen.extend(self.at_the_edge().await);
        Some(seen)
    }

    /// Lets it happen, for a phase or as often as was asked.
    async fn happen(self, outage: Outage, place: &mut Place) {
        match outage {
            Outage::Counters => {
                place.counters.kill();
                counted(&place.site, "local-shares").await;
                tokio::time::sleep(self.phase).await;
                place.counters.start_again();
                counted(&place.site, "shared").await;
            }
            Outage::Collector => {
                let taken = place.collector.answered();
                place.collector.stop().await;
                tokio::time::sleep(self.phase).await;
                place.collector.start_again().await;
                asked_again("the collector", &place.collector, taken).await;
            }
            Outage::Endpoint => {
                let [first, _] = &mut place.endpoints;
                let taken = first.answered();
                first.stop().await;
                tokio::time::sleep(self.phase).await;
                first.start_again().await;
                asked_again("the endpoint", first, taken).await;
            }
            Outage::Reloads => {
                for number in 0..self.reloads {
                    // What is the same as before would not be taken up anew.
                    let uri_bytes = 1000 + number % 2;
                    let Place { counters, collector, endpoints, .. } = &*place;
                    let text = configuration(counters, collector, endpoints, uri_bytes);
                    place.site.configure(&text);
                    let answer = control::ask(place.site.data(), &control::Request::Reload).await;
                    assert!(
                        matches!(answer, Ok(control::Answer::Reloaded(_))),
                        "reload {number}: {answer:?}"
                    );
                }
            }
        }
    }
}

fn configuration(
    counters: &Redis,
    collector: &Answering,
    endpoints: &[Answering; 2],
    uri_bytes: u32,
) -> String {
    let [one, two] = endpoints.each_ref().map(Answering::address);
    format!(
        "[counters]\nredis = \"{}\"\ngateways = 1\n\
         [traces]\nendpoint = \"http://{}/v1/traces\"\nsample = 1\n\
         [gateway]\nuri_bytes = {uri_bytes}\n\
         [[gateway.routes]]\nname = \"ours\"\npath = \"/fhir\"\nupstream = \"server\"\n\
         [[gateway.routes]]\nname = \"pair\"\npath = \"/pair\"\nupstream = \"pair\"\n\
         content = \"other\"\n\
         [gateway.upstreams.pair]\nenforces = \"none\"\n\
         endpoints = [{{ address = \"{one}\" }}, {{ address = \"{two}\" }}]\n\
         [plans.app]\nsays = \"For apps.\"\n\
         rates = [{{ per_second = 1000000, burst = 1000000 }}]\n",
        counters.url(),
        collector.address(),
    )
}

/// Waits until it has answered more than before it stopped.
async fn asked_again(what: &str, answering: &Answering, before: u64) {
    until(&format!("{what} is asked again"), 3 * SOON, async || {
        let answered = answering.answered();
        (answered > before).then_some(()).ok_or_else(|| format!("{answered}, {before} before"))
    })
    .await;
}
