//! Clients that create patients, half as fast as they can. They stand for other machines: while
//! searches are measured, whoever searches and the server go before them for a processor.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use database::priority::{BEHIND_ALL, give_way};
use fhir_core::Clock;
use hearthgate::doors::SystemClock;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::bench::Failure;
use crate::bench::http::{Address, Connection, Requests};
use crate::bench::load::{Client as _, Window, measure};
use crate::bench::patient::patient;
use crate::bench::product::{Caller, server_socket};

/// How many.
const CLIENTS: usize = 64;

/// They write until they are ended.
pub(super) struct Writers {
    most: f64,
    written: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    begun: Duration,
    clock: Arc<dyn Clock>,
    writing: JoinHandle<Result<(), Failure>>,
}

/// What they wrote, a second.
pub(super) struct Done {
    pub(super) most: f64,
    pub(super) now: f64,
}

impl Writers {
    /// Finds out how much they can write, and starts them.
    pub(super) fn start(path: &Path, caller: &Caller, window: Window) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let minimal = "prefer: return=minimal\r\n";
        let requests =
            Requests::numbered(caller.request("POST", "Patient", minimal, &patient())?);
        let address = Address::Unix(server_socket(path));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let open = || Connection::open_all(CLIENTS, &address, &requests, "HTTP/1.1 201");
        let round = runtime
            .block_on(async { measure(open().await?, window, &clock, || Ok(None)).await })?;
        let connections = runtime.block_on(open())?;
        let (written, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let every = Duration::from_secs_f64(CLIENTS as f64 / (round.rate / 2.0));
        let own = (Arc::clone(&written), Arc::clone(&over));
        let writing = std::thread::Builder::new().name("writers".to_owned()).spawn(move || {
            give_way(BEHIND_ALL);
            runtime.block_on(write(connections, every, own))
        })?;
        let begun = clock.monotonic();
        Ok(Self { most: round.rate, written, over, begun, clock, writing })
    }

    /// Ends them.
    pub(super) fn end(self) -> Result<Done, Failure> {
        let elapsed = (self.clock.monotonic() - self.begun).as_secs_f64();
        let now = self.written.load(Ordering::Relaxed) as f64 / elapsed;
        self.over.store(true, Ordering::Relaxed);
        self.writing.join().map_err(|_| "the writers panicked")??;
        Ok(Done { most: self.most, now })
    }
}

/// Each writes once in every so long.
async fn write(
    connections: Vec<Connection>,
    every: Duration,
    (written, over): (Arc<AtomicU64>, Arc<AtomicBool>),
) -> Result<(), Failure> {
    let mut writing = JoinSet::new();
    for (number, mut connection) in (0_u32..).zip(connections) {
        let (written, over) = (Arc::clone(&written), Arc::clone(&over));
        writing.spawn(async move {
            // They do not all begin at once.
            tokio::time::sleep(every * number / CLIENTS as u32).await;
            let mut turn = tokio::time::interval(every);
            turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !over.load(Ordering::Relaxed) {
                turn.tick().await;
                connection.once().await?;
                written.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = writing.join_next().await {
        done??;
    }
    Ok(())
}
