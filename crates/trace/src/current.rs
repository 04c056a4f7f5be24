//! For which requests the work at hand is done: it goes along with a future from poll to poll
//! ([`under`]), and with a thread for a while ([`enter`]).

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use crate::span::Place;
use crate::tracer::{Allowance, Recorder};
use crate::{Kind, Span};

thread_local! {
    static CURRENT: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// The spans that work is done for.
#[derive(Debug, Clone)]
pub struct Scope(Arc<Vec<ScopeOf>>);

/// A span that work is done for.
#[derive(Debug, Clone)]
pub(crate) struct ScopeOf {
    recorder: Arc<Recorder>,
    allowance: Allowance,
    places: Vec<Place>,
}

impl ScopeOf {
    pub(crate) fn new(recorder: Arc<Recorder>, allowance: Allowance, places: Vec<Place>) -> Self {
        Self { recorder, allowance, places }
    }
}

impl Scope {
    pub(crate) fn new(of: Vec<ScopeOf>) -> Self {
        Self(Arc::new(of))
    }
}

/// The work at hand is for these spans until this is dropped. For a thread, not for a future.
#[derive(Debug)]
#[must_use = "what was current before is current again once this is dropped"]
pub struct Entered {
    before: Option<Scope>,
    /// It stays on its thread.
    _here: std::marker::PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// Does what follows on this thread for these spans.
pub fn enter(scope: Scope) -> Entered {
    let before = CURRENT.replace(Some(scope));
    Entered { before, _here: std::marker::PhantomData }
}

/// For whom the work at hand is done.
#[must_use]
pub fn scope() -> Option<Scope> {
    CURRENT.with_borrow(Clone::clone)
}

/// All of these together; `None` when there is none.
#[must_use]
pub fn together(scopes: impl Iterator<Item = Scope>) -> Option<Scope> {
    let all: Vec<ScopeOf> = scopes.flat_map(|scope| scope.0.to_vec()).collect();
    (!all.is_empty()).then(|| Scope::new(all))
}

/// Begins a part of the work at hand; `None` when nobody records it, or a trace has spans enough.
#[must_use]
pub fn child(name: &'static str) -> Option<Span> {
    CURRENT.with_borrow(|current| {
        let of = &current.as_ref()?.0;
        let allowed = of.iter().filter(|of| of.allowance.take());
        let places = allowed.flat_map(|of| of.recorder.below(&of.places)).collect::<Vec<_>>();
        let first = of.first().filter(|_| !places.is_empty())?;
        let (recorder, allowance) = (first.recorder.clone(), first.allowance.clone());
        Some(Span::open(recorder, allowance, places, Kind::Internal, Cow::Borrowed(name)))
    })
}

/// A future whose work is done for a scope.
#[derive(Debug)]
pub struct Under<F> {
    scope: Option<Scope>,
    future: Pin<Box<F>>,
}

/// Does a future's work for a scope, wherever it is done; without one as it would be done anyway.
pub fn under<F: Future>(scope: Option<Scope>, future: Pin<Box<F>>) -> Under<F> {
    Under { scope, future }
}

impl<F: Future> Future for Under<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<F::Output> {
        let _entered = self.scope.clone().map(enter);
        self.future.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ended, tracer};
    use crate::{Sample, Tracer};

    fn root(tracer: &Tracer) -> Span {
        tracer.begin(Kind::Server, None, false).expect("all are recorded")
    }

    #[test]
    fn work_is_a_part_of_what_it_is_done_for() {
        let tracer = tracer(Sample::ALL);
        assert!(child("nobody's").is_none());
        let span = root(&tracer);
        let work = async {
            let _search = child("search");
            std::future::ready(()).await;
        };
        let mut work = under(Some(span.scope()), Box::pin(work));
        let mut context = TaskContext::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut work).poll(&mut context).is_ready());
        assert!(child("nobody's").is_none(), "the scope ends with the poll");
        drop(span);
        let [search, request] = ended(&tracer).try_into().expect("two spans");
        assert_eq!((search.trace, search.parent), (request.trace, Some(request.id)));
        assert_eq!(request.parent, None);
        assert_eq!(search.name, "search");
        assert!(search.start >= request.start && search.end <= request.end);
    }

    #[test]
    fn work_for_several_requests_stands_in_the_trace_of_each() {
        let tracer = tracer(Sample::ALL);
        let (one, other) = (root(&tracer), root(&tracer));
        let scopes = [one.scope(), other.scope()].into_iter();
        {
            let _entered = enter(together(scopes).expect("two scopes"));
            let append = child("append").expect("it is recorded");
            let _for_both = enter(append.scope());
            let _sync = child("sync");
        }
        let of_both = ended(&tracer);
        let names: Vec<_> = of_both.iter().map(|span| (&*span.name, span.trace)).collect();
        let traces = [one.context().trace, other.context().trace];
        for name in ["append", "sync"] {
            for trace in traces {
                assert!(names.contains(&(name, trace)), "{names:?}");
            }
        }
        for sync in of_both.iter().filter(|span| span.name == "sync") {
            let parent = of_both.iter().find(|span| Some(span.id) == sync.parent);
            let parent = parent.expect("its parent is there");
            assert_eq!((&*parent.name, parent.trace), ("append", sync.trace));
        }
        assert!(together(std::iter::empty()).is_none());
    }

    #[test]
    fn a_trace_has_no_more_spans_than_it_may_and_says_what_is_missing() {
        let tracer = tracer(Sample::ALL);
        let span = root(&tracer);
        {
            let _entered = enter(span.scope());
            for _ in 0..200 {
                drop(child("read"));
            }
        }
        drop(span);
        let ended = ended(&tracer);
        assert_eq!(ended.len(), 1 + 100);
        let request = ended.last().expect("the request");
        assert_eq!(request.attributes, [("hearthgate.spans.left_out", 100_u64.into())]);
    }
}
