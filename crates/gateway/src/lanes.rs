//! Lanes: how many requests the server works on at once, of bulk, of interactive use, and of other
//! systems. Each has its own places, so that an export never takes a bedside's.
//!
//! What finds no place waits for one, in the order of coming, and gets 503 when none was there in
//! time. Which lane a request has, its client's plan says, or the client's role; what is made for
//! bulk by its nature is bulk whoever asks.

use std::sync::Arc;
use std::time::Duration;

use contract::{Interaction, Lane};
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limiting::Admission;
use crate::metrics::LaneMetrics;

/// Operations that are bulk by their nature.
const BULK: [&str; 3] = ["$export", "$import", "$reindex"];

/// How many requests of each lane the server works on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneSizes {
    /// Of people who wait.
    pub interactive: usize,
    /// Of other systems.
    pub system: usize,
    /// Of bulk; half of the processors, and at least one, where absent.
    pub bulk: Option<usize>,
    /// How long a request waits for a place.
    pub wait: Duration,
}

impl Default for LaneSizes {
    fn default() -> Self {
        Self { interactive: 1024, system: 256, bulk: None, wait: Duration::from_secs(10) }
    }
}

/// The lanes.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: [Places; 3],
    wait: Duration,
}

#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    in_flight: IntGauge,
    waiting: IntGauge,
}

/// A place, until the request has ended.
#[derive(Debug)]
pub(crate) struct Place {
    in_flight: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

/// Counts one that waits, however its waiting ends.
struct Waiting<'lane>(&'lane IntGauge);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The lane of a request, whose client's role says `of_role`.
pub(crate) fn lane_of(
    of_role: Lane,
    admission: Option<&Admission>,
    interaction: &Interaction,
) -> Lane {
    if let Interaction::Operation(name, _) = interaction
        && BULK.contains(&name.as_str())
    {
        return Lane::Bulk;
    }
    admission.and_then(|admission| admission.plan.lane).unwrap_or(of_role)
}

impl Lanes {
    pub(crate) fn new(sizes: LaneSizes, metrics: &LaneMetrics) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let bulk = sizes.bulk.unwrap_or(processors / 2).max(1);
        let places = |size: usize, lane: &str| Places {
            free: Arc::new(Semaphore::new(size.clamp(1, Semaphore::MAX_PERMITS))),
            in_flight: metrics.in_flight.with_label_values(&[lane]),
            waiting: metrics.waiting.with_label_values(&[lane]),
        };
        let lanes = [
            places(sizes.interactive, "interactive"),
            places(sizes.system, "system"),
            places(bulk, "bulk"),
        ];
        Self { lanes, wait: sizes.wait }
    }

    /// A place in the lane; `None` when there was none in time.
    pub(crate) async fn enter(&self, lane: Lane) -> Option<Place> {
        let places = match lane {
            Lane::Interactive => &self.lanes[0],
            Lane::System => &self.lanes[1],
            Lane::Bulk => &self.lanes[2],
        };
        let permit = match places.free.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                places.waiting.inc();
                let _waiting = Waiting(&places.waiting);
                let acquired = places.free.clone().acquire_owned();
                // Never closed: an error is the time that ran out.
                tokio::time::timeout(self.wait, acquired).await.ok()?.ok()?
            }
        };
        places.in_flight.inc();
        Some(Place { in_flight: places.in_flight.clone(), _permit: permit })
    }
}
