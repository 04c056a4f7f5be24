//! A tracer whose time and chance a test knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fhir_core::{Clock, Ids, Instant};

use crate::{Finished, Sample, Tracer};

/// Goes on by a microsecond whenever it is asked.
#[derive(Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Instant {
        Instant::from_micros(1_700_000_000_000_000 + self.monotonic().as_micros() as i64)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

struct Fixed;

impl Ids for Fixed {
    fn next(&self) -> u128 {
        7
    }
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

pub(crate) fn tracer(sample: Sample) -> Tracer {
    Tracer::new(sample, Arc::new(Ticking::default()), &Fixed)
}

pub(crate) fn ended(tracer: &Tracer) -> Vec<Finished> {
    tracer.take(usize::MAX)
}
