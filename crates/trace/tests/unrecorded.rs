//! What is not recorded costs no allocation. Alone in its binary, whose allocator counts.

use std::alloc::System;
use std::future::Future as _;
use std::sync::Arc;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use fhir_core::{Clock, Ids, Instant};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use trace::{Context, Kind, Sample, Tracer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

struct Fixed;

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

// GW-051
#[test]
fn a_request_that_is_not_recorded_allocates_nothing_for_that() {
    let none = Tracer::new(Sample::NONE, Arc::new(Fixed), &Fixed);
    let off = Tracer::off();
    let mut work = trace::under(None, Box::pin(std::future::ready(())));
    let mut context = TaskContext::from_waker(Waker::noop());
    // What a thread makes once.
    assert!(trace::scope().is_none());

    let region = Region::new(ALLOCATOR);
    let given = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let from = Context::parse(given);
    assert!(from.is_some());
    for tracer in [&none, &off] {
        assert!(tracer.begin(Kind::Server, from.as_ref(), false).is_none());
        assert!(tracer.begin(Kind::Server, None, false).is_none());
    }
    assert!(trace::child("read").is_none());
    assert!(trace::scope().is_none());
    assert!(trace::together(std::iter::empty()).is_none());
    assert!(std::pin::Pin::new(&mut work).poll(&mut context).is_ready());
    let made = region.change();
    assert_eq!((made.allocations, made.reallocations), (0, 0));

    // It does count.
    let all = Tracer::new(Sample::ALL, Arc::new(Fixed), &Fixed);
    let region = Region::new(ALLOCATOR);
    assert!(all.begin(Kind::Server, None, false).is_some());
    assert!(region.change().allocations > 0);
}
