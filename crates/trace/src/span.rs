//! A span: from its beginning until it is dropped.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::current::{Scope, ScopeOf};
use crate::tracer::{Allowance, Recorder};
use crate::{Context, SpanId, TraceId};

/// Which part of an exchange a span is (OpenTelemetry: `SpanKind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Work within a process.
    Internal,
    /// Answering a request.
    Server,
    /// Sending one.
    Client,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text of the program's own, or of the configuration's.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A span that ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The span that it is a part of; none for the first of a trace.
    pub parent: Option<SpanId>,
    /// Whether the parent is another process's, or may be.
    pub parent_is_remote: bool,
    /// What was done, in words that many requests have in common.
    pub name: Cow<'static, str>,
    /// Which part of an exchange it is.
    pub kind: Kind,
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// What else is said of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it failed.
    pub failed: bool,
}

/// Where a span stands in a trace. Work that is done for several requests at once stands in the
/// trace of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) trace: TraceId,
    pub(crate) id: SpanId,
    pub(crate) parent: Option<SpanId>,
}

/// A span that is not over. It ends when it is dropped.
#[derive(Debug)]
pub struct Span(Box<Open>);

#[derive(Debug)]
struct Open {
    recorder: Arc<Recorder>,
    allowance: Allowance,
    places: Vec<Place>,
    parent_is_remote: bool,
    name: Cow<'static, str>,
    kind: Kind,
    start: u64,
    started: Duration,
    attributes: Vec<(&'static str, Value)>,
    failed: bool,
}

impl Span {
    /// Begins one in a trace of its own, or in the one that a request belongs to.
    pub(crate) fn root(recorder: Arc<Recorder>, kind: Kind, remote: Option<&Context>) -> Self {
        let trace = remote.map_or_else(|| recorder.trace_id(), |context| context.trace);
        let parent = remote.map(|context| context.span);
        let place = Place { trace, id: recorder.span_id(), parent };
        let allowance = Allowance::default();
        let mut span = Self::open(recorder, allowance, vec![place], kind, Cow::Borrowed("request"));
        span.0.parent_is_remote = parent.is_some();
        span
    }

    pub(crate) fn open(
        recorder: Arc<Recorder>,
        allowance: Allowance,
        places: Vec<Place>,
        kind: Kind,
        name: Cow<'static, str>,
    ) -> Self {
        let (start, started) = recorder.now();
        Self(Box::new(Open {
            recorder,
            allowance,
            places,
            parent_is_remote: false,
            name,
            kind,
            start,
            started,
            attributes: Vec::new(),
            failed: false,
        }))
    }

    /// What is sent along with a request that is made in this span.
    #[must_use]
    pub fn context(&self) -> Context {
        let Place { trace, id, .. } = self.0.places[0];
        Context { trace, span: id, is_sampled: true }
    }

    /// Begins a part of it.
    #[must_use]
    pub fn child(&self, kind: Kind, name: &'static str) -> Self {
        let Open { recorder, allowance, places, .. } = &*self.0;
        let places = recorder.below(places);
        Self::open(recorder.clone(), allowance.clone(), places, kind, Cow::Borrowed(name))
    }

    /// What is done from now on for this span.
    #[must_use]
    pub fn scope(&self) -> Scope {
        let Open { recorder, allowance, places, .. } = &*self.0;
        Scope::new(vec![ScopeOf::new(recorder.clone(), allowance.clone(), places.clone())])
    }

    /// Calls it otherwise.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        self.0.name = name.into();
    }

    /// Says something of it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.attributes.push((name, value.into()));
    }

    /// Says that it failed.
    pub fn fail(&mut self) {
        self.0.failed = true;
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let open = &mut *self.0;
        let taken = open.recorder.monotonic().saturating_sub(open.started);
        let end = open.start.saturating_add(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
        let mut attributes = std::mem::take(&mut open.attributes);
        if open.kind == Kind::Server && open.allowance.left_out() > 0 {
            attributes.push(("hearthgate.spans.left_out", open.allowance.left_out().into()));
        }
        let name = std::mem::take(&mut open.name);
        for place in &open.places {
            open.recorder.keep(Finished {
                trace: place.trace,
                id: place.id,
                parent: place.parent,
                parent_is_remote: open.parent_is_remote,
                name: name.clone(),
                kind: open.kind,
                start: open.start,
                end,
                attributes: attributes.clone(),
                failed: open.failed,
            });
        }
    }
}
