//! Lanes: how many requests the server works on at once, of bulk, of interactive use, and of other
//! systems. Each has its own places, so that an export never takes a bedside's.
//!
//! What finds no place waits for one, in the order of coming, and gets 503 when none was there in
//! time. Which lane a request has, its client's plan says, or the client's role; what is made for
//! bulk by its nature is bulk whoever asks.

use std::sync::Arc;
use std::time::Duration;

use contract::{Interaction, Lane};
use parking_lot::Mutex;
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

impl LaneSizes {
    /// Places of the lanes in their order.
    fn places(self) -> [usize; 3] {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let bulk = self.bulk.unwrap_or(processors / 2);
        [self.interactive, self.system, bulk].map(|size| size.clamp(1, Semaphore::MAX_PERMITS))
    }
}

/// The lanes.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: [Places; 3],
    wait: Mutex<Duration>,
}

#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    size: Arc<Mutex<Size>>,
    in_flight: IntGauge,
    waiting: IntGauge,
}

/// How many places a lane has.
#[derive(Debug)]
struct Size {
    places: usize,
    /// Those that were taken when the lane became smaller, and are gone once they are left.
    owed: usize,
}

/// A place, until the request has ended.
#[derive(Debug)]
pub(crate) struct Place {
    in_flight: IntGauge,
    size: Arc<Mutex<Size>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.dec();
        let size = &mut *self.size.lock();
        if size.owed > 0
            && let Some(permit) = self.permit.take()
        {
            size.owed -= 1;
            permit.forget();
        }
    }
}

impl Places {
    /// Makes the lane as large as this. Nobody in a place is driven out; where fewer are to be
    /// left than are taken, those that become free are gone until it is so.
    fn resize(&self, places: usize) {
        let size = &mut *self.size.lock();
        if places >= size.places {
            let more = places - size.places;
            let kept = more.min(size.owed);
            size.owed -= kept;
            self.free.add_permits(more - kept);
        } else {
            let fewer = size.places - places;
            size.owed += fewer - self.free.forget_permits(fewer);
        }
        size.places = places;
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
        let places = |places: usize, lane: &str| Places {
            free: Arc::new(Semaphore::new(places)),
            size: Arc::new(Mutex::new(Size { places, owed: 0 })),
            in_flight: metrics.in_flight.with_label_values(&[lane]),
            waiting: metrics.waiting.with_label_values(&[lane]),
        };
        let [interactive, system, bulk] = sizes.places();
        let lanes =
            [places(interactive, "interactive"), places(system, "system"), places(bulk, "bulk")];
        Self { lanes, wait: Mutex::new(sizes.wait) }
    }

    /// Puts other sizes into force: for whoever comes from now on, and for whoever waits.
    pub(crate) fn put(&self, sizes: LaneSizes) {
        for (lane, places) in self.lanes.iter().zip(sizes.places()) {
            lane.resize(places);
        }
        *self.wait.lock() = sizes.wait;
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
                let wait = *self.wait.lock();
                tokio::time::timeout(wait, acquired).await.ok()?.ok()?
            }
        };
        places.in_flight.inc();
        let (in_flight, size) = (places.in_flight.clone(), places.size.clone());
        Some(Place { in_flight, size, permit: Some(permit) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn sizes(interactive: usize, wait: Duration) -> LaneSizes {
        LaneSizes { interactive, wait, ..LaneSizes::default() }
    }

    /// How many places the interactive lane gives without waiting.
    async fn free(lanes: &Lanes) -> usize {
        let mut taken = Vec::new();
        while let Some(place) = lanes.enter(Lane::Interactive).await {
            taken.push(place);
        }
        taken.len()
    }

    // GW-061 GW-044
    #[tokio::test(start_paused = true)]
    async fn a_lane_that_changes_its_size_drives_nobody_out_and_ends_at_its_new_size() {
        let metrics = Metrics::new().expect("metrics");
        let lanes = Lanes::new(sizes(4, Duration::ZERO), &metrics.lanes);
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(lanes.enter(Lane::Interactive).await.expect("a place"));
        }
        // One of them is free and goes at once; two more go as they are left.
        lanes.put(sizes(1, Duration::ZERO));
        assert_eq!(free(&lanes).await, 0);
        taken.pop();
        assert_eq!(free(&lanes).await, 0);
        // What is owed is taken off what comes back.
        lanes.put(sizes(3, Duration::ZERO));
        assert_eq!(free(&lanes).await, 1);
        taken.clear();
        assert_eq!(free(&lanes).await, 3);
        lanes.put(sizes(2, Duration::ZERO));
        assert_eq!(free(&lanes).await, 2);
        // Whoever waits gets the place that a larger lane has.
        let held = [lanes.enter(Lane::Interactive).await, lanes.enter(Lane::Interactive).await];
        lanes.put(sizes(2, Duration::from_secs(60)));
        let grows = async {
            tokio::task::yield_now().await;
            lanes.put(sizes(3, Duration::from_secs(60)));
        };
        let (place, ()) = tokio::join!(lanes.enter(Lane::Interactive), grows);
        assert!(place.is_some() && held.iter().all(Option::is_some));
    }
}
