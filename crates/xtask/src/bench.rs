//! `cargo xtask bench`: the product's rates as ratios to those of peers that do the least that
//! could do, since absolute figures of a shared machine mean little.
//!
//! Product and peers run as processes of this same program, in turns within one run, so that a
//! slow minute of the machine slows both. docs/performance.md has the figures and what they say.

mod access_timing;
mod audit;
mod backed_up;
mod child;
mod copies;
mod directory;
mod figures;
mod gateway;
mod http;
mod indexer;
mod ingest;
mod knowledge;
mod load;
mod patient;
mod peers;
mod product;
mod raw_log;
mod read;
mod search;
mod stall;
mod store;
mod synthea;
mod traced;
mod tree;
mod turns;
mod write;

use std::error::Error;
use std::time::Duration;

/// What can be measured.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// Reads of one resource: the server against a bare handler that answers the same bytes.
    Read(Rounds),
    /// Durable creates: the database and the server against a raw log.
    Write(Rounds),
    /// The embedded store and the database over it: commits, bulk, reads, what opening costs.
    Store(store::Sizes),
    /// Large transactions beside small writes and reads: how long those wait.
    Stall(stall::Sizes),
    /// The gateway beside nginx, HAProxy and a bare proxy of its own kind, before one upstream; and
    /// its whole chain before a stub of the server.
    Gateway(gateway::Gateway),
    /// Searches among a million resources: the server against a bare handler that answers the same
    /// bytes.
    Search(search::Sizes),
    /// What comes in through REST, validated: transactions, single creates, and what one resource
    /// costs step by step.
    Ingest(ingest::Sizes),
    /// Answers about what a caller may not see, beside those about what is not there: whether the
    /// clock tells them apart.
    AccessTiming(access_timing::Samples),
    /// What writing an event of the audit log down costs.
    Audit(audit::Events),
    /// Synthea's resources copied to as many as are wanted, as NDJSON.
    Copies(copies::Sizes),
    /// What knowing FHIR costs on one core: FHIRPath, XML, validation.
    Knowledge(knowledge::Moments),
    /// A process under test or a peer; ends when its standard input does.
    #[command(hide = true, subcommand)]
    Child(child::Child),
}

/// How long to measure.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Rounds {
    /// Rounds; each measures every target once.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds that a target is measured in each round.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    seconds: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 0.5, value_name = "SECONDS")]
    warm_up: f64,
}

impl Rounds {
    fn window(self) -> load::Window {
        load::Window {
            warm_up: Duration::from_secs_f64(self.warm_up),
            measured: Duration::from_secs_f64(self.seconds),
        }
    }
}

/// What can go wrong here is told to the developer in one line.
type Failure = Box<dyn Error + Send + Sync>;

impl Bench {
    /// Measures and prints, or plays a child's part.
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        let done = match self {
            Self::Read(rounds) => read::run(rounds),
            Self::Write(rounds) => write::run(rounds),
            Self::Store(sizes) => store::run(&sizes),
            Self::Stall(sizes) => stall::run(sizes),
            Self::Gateway(gateway) => gateway::run(gateway),
            Self::Search(sizes) => search::run(&sizes),
            Self::Ingest(sizes) => ingest::run(&sizes),
            Self::AccessTiming(samples) => access_timing::run(&samples),
            Self::Audit(events) => audit::run(&events),
            Self::Copies(sizes) => copies::run(&sizes),
            Self::Knowledge(rounds) => knowledge::run(rounds),
            Self::Child(child) => child.run(),
        };
        done.map_err(|failure| failure as Box<dyn Error>)
    }
}

/// A runtime as the product's: a thread for each processor.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
