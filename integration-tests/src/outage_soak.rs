//! What the gateway leans on goes away and comes back while others ask: whether they feel it, and
//! what the gateway keeps in memory for it. And what changes meanwhile: its configuration, many
//! times, its certificate, and its own program.
//!
//! Two kinds ask: wrk, which never waits between two requests and asks none of them twice, and
//! readers of ours, who pause and do as HTTP has it where a connection ended in between.

mod edge;

use std::path::Path;
use std::time::Duration;

use hearthgate::control;

use crate::answering::Answering;
use crate::client::Client;
use crate::limited::counted;
use crate::readers::{Readers, Reads};
use crate::redis::Redis;
use crate::site::{Deployment, First, Site};
use crate::tools::{Absent, Tool};
use crate::waiting::{SOON, until};
use crate::wrk::{Load, Wrk};

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
    /// Connections over which wrk asks meanwhile.
    pub connections: u32,
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
    /// How often.
    pub times: u32,
    /// What was answered before, meanwhile and after.
    pub asked: [Asked; 3],
    /// Bytes of the gateway in memory before and after.
    pub memory: [u64; 2],
}

/// What was answered in some time.
#[derive(Debug, Clone)]
pub struct Asked {
    /// To the readers.
    pub reads: Reads,
    /// To wrk.
    pub load: Load,
}

impl Asked {
    /// How many requests failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.reads.failed + self.load.failed.sum() as usize
    }

    /// What is known of why.
    #[must_use]
    pub fn why(&self) -> String {
        let why = self.reads.why.as_deref().unwrap_or("none of the readers'");
        format!("{why}; of wrk's {:?}", self.load.failed)
    }
}

/// Who asks.
struct Asking<'a> {
    readers: &'a [Readers],
    wrk: Wrk<'a>,
    /// For wrk's files.
    folder: &'a Path,
}

impl Asking<'_> {
    /// Asks while something happens; what it came to.
    async fn during<T>(&self, happening: impl Future<Output = T>) -> (Asked, T) {
        let take = || {
            let all = self.readers.iter().map(Readers::take);
            all.fold(Reads::default(), Reads::with)
        };
        drop(take());
        let wrk = self.wrk.start(self.folder);
        let happened = happening.await;
        let load = wrk.end().await;
        (Asked { reads: take(), load }, happened)
    }
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
    /// then what a gateway alone does.
    ///
    /// # Errors
    /// [`Absent`] where there is no wrk or no store of counters.
    ///
    /// # Panics
    /// When the place does not start, or does not become itself again.
    pub async fn run(self) -> Result<Vec<Seen>, Absent> {
        let _ = Tool::Wrk.path()?;
        let folder = tempfile::tempdir().expect("the system gives a folder");
        let mut place = Place::start(folder.path()).await?;
        let patient = r#"{"resourceType":"Patient","id":"read"}"#;
        let _ = place.site.owner().put("/Patient/read", patient).await.is(201);
        let app = place.site.new_client("app", &["--role", "reader", "--plan", "app"]);
        let base = format!("http://{}", place.site.address());
        let reader = Client::new(&base, Some(app.key()));
        let readers = [READ, OTHERS].map(|path| Readers::start(&reader, path, self.readers));
        let authorization = format!("Bearer {}", app.key());
        let asking = Asking {
            readers: &readers,
            wrk: Wrk {
                base: &base,
                paths: &[READ, OTHERS],
                authorization: Some(&authorization),
                posted: None,
                connections: self.connections,
            },
            folder: folder.path(),
        };
        let mut seen = Vec::new();
        for outage in Outage::ALL {
            let (before, ()) = asking.during(tokio::time::sleep(self.phase)).await;
            let memory = place.site.front().resident();
            let (meanwhile, times) = asking.during(self.happen(outage, &mut place)).await;
            let (after, ()) = asking.during(tokio::time::sleep(self.phase)).await;
            seen.push(Seen {
                name: outage.name(),
                times,
                asked: [before, meanwhile, after],
                memory: [memory, place.site.front().resident()],
            });
        }
        for some in readers {
            some.end().await;
        }
        drop(place);
        seen.extend(self.at_the_edge(folder.path()).await);
        Ok(seen)
    }

    /// Lets it happen, for a phase or as often as was asked; how often.
    async fn happen(self, outage: Outage, place: &mut Place) -> u32 {
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
                    place.configure(1000 + number % 2);
                    let answer = control::ask(place.site.data(), &control::Request::Reload).await;
                    assert!(
                        matches!(answer, Ok(control::Answer::Reloaded(_))),
                        "reload {number}: {answer:?}"
                    );
                }
                return self.reloads;
            }
        }
        1
    }
}

impl Place {
    /// A new one that answers.
    async fn start(folder: &Path) -> Result<Self, Absent> {
        let counters = Redis::start(folder).ok_or(Absent(Tool::Redis))?;
        let collector = Answering::start("application/x-protobuf", "").await;
        let endpoints = [
            Answering::start("text/plain", "read").await,
            Answering::start("text/plain", "read").await,
        ];
        let site = Site::prepare(Deployment::TwoProcesses);
        let mut place = Self { site, counters, collector, endpoints };
        place.configure(1000);
        place.site.launch(First::Gateway).await;
        Ok(place)
    }

    fn configure(&mut self, uri_bytes: u32) {
        let [one, two] = self.endpoints.each_ref().map(Answering::address);
        self.site.configure(&format!(
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
            self.counters.url(),
            self.collector.address(),
        ));
    }
}

/// Waits until it has answered more than before it stopped.
async fn asked_again(what: &str, answering: &Answering, before: u64) {
    until(&format!("{what} is asked again"), 3 * SOON, async || {
        let answered = answering.answered();
        (answered > before).then_some(()).ok_or_else(|| format!("{answered}, {before} before"))
    })
    .await;
}
