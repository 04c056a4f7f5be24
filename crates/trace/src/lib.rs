//! What a request did and how long each part took, as spans of one tree (OpenTelemetry).
//!
//! Whether a request is recorded is decided before anything of a span is built ([`Tracer`]); of
//! one that is not, nothing is allocated. A span that ended waits in a bounded queue for whoever
//! sends it ([`Tracer::take`]), in the form that [`otlp`] writes. Which request a piece of work is
//! for goes along with the work ([`under`], [`enter`]), so that what stores data need not know
//! what a request is.
//!
//! Deliberately absent: I/O and threads (the binary sends), metrics and logs, and any attribute
//! that a caller chooses: names and texts are the program's own or the configuration's.

mod context;
mod current;
pub mod otlp;
mod span;
mod tracer;

pub use context::{Context, SpanId, TRACEPARENT, TRACESTATE, TraceId};
pub use current::{Entered, Scope, Under, child, enter, scope, together, under};
pub use span::{Finished, Kind, Span, Value};
pub use tracer::{Counts, InvalidSample, Sample, Tracer};

#[cfg(test)]
mod testing;
