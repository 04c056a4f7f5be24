//! A tracer, a clock and ids for unit tests.

use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, Ids, Instant};
use trace::{Sample, Tracer};

/// No time passes, and chance is known.
pub(crate) struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Instant {
        Instant::from_micros(0)
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

impl Ids for Fixed {
    fn next(&self) -> u128 {
        7
    }
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// One that records this part of the requests.
pub(crate) fn tracer(sample: Sample) -> Tracer {
    Tracer::new(sample, Arc::new(Fixed), &Fixed)
}
