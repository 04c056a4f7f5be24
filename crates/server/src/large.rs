//! Where the work on a body is done: on a small one where its request is, on others off the
//! threads that answer requests, and on large ones a few at a time (ADR 0020).
//!
//! A large body has its turn while it uses a processor. While it waits, for its commit, a read or
//! the disk, another has it: a turn is never held by who needs none.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use contract::Lane;
use database::Abandoned;
use fhir_core::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::error::ServerError;

/// Bodies up to this many bytes are worked on where their request is: in about half a
/// millisecond. Larger ones leave the asynchronous threads.
pub(crate) const SMALL: usize = 32 << 10;

/// Larger ones are worked on a few at a time: together they would keep every processor from the
/// small ones.
pub(crate) const LARGE: usize = 1 << 20;

/// So many bodies leave the asynchronous threads at once, and so many larger ones: half of the
/// threads that there are for it (512), since the work on one may wait for another of them.
const ASIDE: usize = 176;
const LARGE_ASIDE: usize = 48;
/// The same of bulk.
const BULK_ASIDE: usize = 16;
const LARGE_BULK_ASIDE: usize = 16;

/// How long a large body waits for its first turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// The turns of each lane: what is bulk has its own, so that nobody who waits for an answer stands
/// behind it.
#[derive(Debug)]
pub(crate) struct LaneTurns {
    /// Of people and systems that wait.
    waited_for: Turns,
    bulk: Turns,
}

impl LaneTurns {
    /// As many at once as there are processors but one; of bulk half as many, and at least one.
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let of = |at_once: usize, aside| Turns::with((at_once.max(1), aside), PATIENCE);
        Self {
            waited_for: of(processors - 1, (ASIDE, LARGE_ASIDE)),
            bulk: of((processors - 1) / 2, (BULK_ASIDE, LARGE_BULK_ASIDE)),
        }
    }

    /// Those of a lane.
    pub(crate) fn of(&self, lane: Lane) -> &Turns {
        match lane {
            Lane::Interactive | Lane::System => &self.waited_for,
            Lane::Bulk => &self.bulk,
        }
    }
}

/// The turns of large bodies.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    /// One of those that had none yet waits among those that had: who is nearly done does not
    /// stand behind all who came meanwhile.
    door: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    /// Threads, of bodies that need no turn and of those that do: these wait with theirs.
    aside: Arc<Semaphore>,
    large_aside: Arc<Semaphore>,
    patience: Duration,
}

impl Turns {
    #[cfg(test)]
    pub(crate) fn of(at_once: usize, patience: Duration) -> Self {
        Self::with((at_once, (ASIDE, LARGE_ASIDE)), patience)
    }

    fn with((at_once, (aside, large_aside)): (usize, (usize, usize)), patience: Duration) -> Self {
        let [door, turns, aside, large_aside] =
            [1, at_once, aside, large_aside].map(|permits| Arc::new(Semaphore::new(permits)));
        Self { door, turns, aside, large_aside, patience }
    }

    /// The first turn of a body, and its thread: nothing was done with it before.
    async fn first(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), ServerError> {
        let first = async {
            // The thread first: whoever has one may wait for a turn, and not the other way round.
            let aside = acquired(&self.large_aside).await;
            let _door = self.door.acquire().await;
            (self.next().await, aside)
        };
        timeout(self.patience, first).await.map_err(|_| ServerError::TooManyLarge)
    }

    async fn next(&self) -> OwnedSemaphorePermit {
        acquired(&self.turns).await
    }

    /// Does the work, from its first turn on, a turn at a time.
    async fn in_turns<W: Future>(&self, first: OwnedSemaphorePermit, work: W) -> W::Output {
        let mut work = pin!(work);
        let mut turn = first;
        loop {
            let done = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
            drop(turn);
            if let Poll::Ready(done) = done {
                return done;
            }
            until_woken().await;
            turn = self.next().await;
        }
    }
}

async fn acquired(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(permits).acquire_owned().await.expect("nobody closes the turns")
}

/// Waits until whatever this task waits for wakes it.
async fn until_woken() {
    let mut woken = false;
    poll_fn(|_| if std::mem::replace(&mut woken, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

/// Does the work on a body of `length` bytes.
pub(crate) async fn where_it_belongs<D: Send + 'static>(
    length: usize,
    turns: &Turns,
    work: impl Future<Output = Result<D, ServerError>> + Send + 'static,
) -> Result<D, ServerError> {
    if length <= SMALL {
        return work.await;
    }
    let (turn, aside) = if length > LARGE {
        let (first, aside) = turns.first().await?;
        (Some((turns.clone(), first)), aside)
    } else {
        let aside = timeout(turns.patience, acquired(&turns.aside)).await;
        (None, aside.map_err(|_| ServerError::TooManyLarge)?)
    };
    let runtime = tokio::runtime::Handle::current();
    let work = tokio::task::spawn_blocking(move || {
        // Whoever asked may be gone; the work goes on, and so it counts.
        let _aside = aside;
        match turn {
            Some((turns, first)) => runtime.block_on(turns.in_turns(first, work)),
            None => runtime.block_on(work),
        }
    });
    work.await.unwrap_or_else(|error| {
        tracing::error!(%error, "the work on a body ended early");
        Err(ServerError::Interrupted)
    })
}

/// Of work of which something ends when nobody waits for its answer any more: how it is told, and
/// how the log is.
pub(crate) struct Waited {
    /// What it looks at while it does not let others run.
    pub(crate) abandoned: Abandoned,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) request_id: String,
}

/// Who waits. Dropped before the answer came, it says so.
struct Waiting {
    waited: Arc<Waited>,
    /// When it was dropped so.
    left: Arc<OnceLock<Duration>>,
    is_answered: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_answered {
            let _ = self.left.set(self.waited.clock.monotonic());
            self.waited.abandoned.set();
        }
    }
}

impl Waiting {
    fn new(waited: Waited) -> Self {
        Self { waited: Arc::new(waited), left: Arc::default(), is_answered: false }
    }
}

/// Work where its request is that goes on by itself, once it has begun, when nobody waits for it
/// any more: what is committed is written down then with what it was.
struct GoesOn<W>
where
    W: Future + Send + Unpin + 'static,
    W::Output: Send,
{
    work: Option<W>,
    has_begun: bool,
}

impl<W> Future for GoesOn<W>
where
    W: Future + Send + Unpin + 'static,
    W::Output: Send,
{
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<W::Output> {
        self.has_begun = true;
        let work = self.work.as_mut().expect("nobody polls what has ended");
        let done = ready!(Pin::new(work).poll(context));
        self.work = None;
        Poll::Ready(done)
    }
}

impl<W> Drop for GoesOn<W>
where
    W: Future + Send + Unpin + 'static,
    W::Output: Send,
{
    fn drop(&mut self) {
        let Some(work) = self.work.take().filter(|_| self.has_begun) else { return };
        // What panicked has ended; and a runtime that ends takes nothing on.
        if !std::thread::panicking()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { drop(work.await) });
        }
    }
}

/// As [`where_it_belongs`], with work that may change something: it goes on when nobody waits for
/// its answer any more, and is told, so that it need not look for what nobody asks for.
pub(crate) async fn whoever_waits_for_it<D: Send + 'static>(
    length: usize,
    turns: &Turns,
    waited: Waited,
    work: impl Future<Output = Result<D, ServerError>> + Send + Unpin + 'static,
) -> Result<D, ServerError> {
    told_who_left(waited, async {
        where_it_belongs(length, turns, GoesOn { work: Some(work), has_begun: false }).await
    })
    .await
}

/// Waits for work that goes on wherever it is done, and tells it when nobody waits any more.
pub(crate) async fn told_who_left<D>(waited: Waited, work: impl Future<Output = D>) -> D {
    let mut waiting = Waiting::new(waited);
    let done = work.await;
    waiting.is_answered = true;
    done
}

/// As [`where_it_belongs`], with work that changes nothing: it ends when nobody waits for its answer
/// any more.
pub(crate) async fn while_it_is_waited_for<D: Send + 'static>(
    length: usize,
    turns: &Turns,
    waited: Waited,
    work: impl Future<Output = Result<D, ServerError>> + Send + 'static,
) -> Result<D, ServerError> {
    let (waits, gone) = oneshot::channel::<()>();
    let mut waiting = Waiting::new(waited);
    let (waited, left) = (Arc::clone(&waiting.waited), Arc::clone(&waiting.left));
    let work = async move {
        let done = tokio::select! {
            done = work => done,
            _ = gone => Err(ServerError::Interrupted),
        };
        if let Some(left) = left.get() {
            let micros = waited.clock.monotonic().saturating_sub(*left).as_micros();
            let micros = u64::try_from(micros).unwrap_or(u64::MAX);
            let request_id = &*waited.request_id;
            tracing::info!(
                request_id,
                micros,
                "a search or history ended after its client had left"
            );
        }
        done
    };
    let done = where_it_belongs(length, turns, work).await;
    waiting.is_answered = true;
    drop(waits);
    done
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;
    use crate::error_answer::ErrorAnswer;

    const LONG: Duration = Duration::from_secs(20);

    /// A clock that stands.
    struct Still;

    impl Clock for Still {
        fn now(&self) -> fhir_core::Instant {
            fhir_core::Instant::from_micros(0)
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// Works on bodies of that length, all at once; the most that were worked on at a time.
    async fn most_at_once(length: usize, bodies: usize) -> usize {
        let turns = Turns::of(1, LONG);
        let [now, most] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let works = (0..bodies).map(|_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            let work = async move {
                for _ in 0..3 {
                    let at_once = now.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(at_once, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                    now.fetch_sub(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
                Ok(())
            };
            where_it_belongs(length, &turns, work)
        });
        let works: Vec<_> = works.collect();
        join_all(works).await.into_iter().for_each(|done| done.unwrap());
        most.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn large_bodies_are_worked_on_a_few_at_a_time_and_others_are_not_kept_waiting() {
        assert_eq!(most_at_once(LARGE + 1, 4).await, 1);
        assert_eq!(most_at_once(LARGE, 4).await, 4);
        let processors = std::thread::available_parallelism().unwrap().get();
        let turns = LaneTurns::new();
        let of = |lane| turns.of(lane).turns.available_permits();
        assert!(of(Lane::Interactive) < processors.max(2) && of(Lane::Bulk) <= of(Lane::System));
    }

    /// So many works on bodies of that length, each of which waits for a thread, with as many
    /// threads as the product has.
    fn all_are_done(length: usize, works: usize) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .max_blocking_threads(512)
            .build()
            .unwrap();
        let turns = Turns::of(1, LONG);
        let works = (0..works).map(|_| {
            let turns = turns.clone();
            runtime.spawn(async move {
                let nested = async {
                    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1)))
                        .await
                        .map_err(|_| ServerError::Interrupted)
                };
                where_it_belongs(length, &turns, nested).await
            })
        });
        let all = join_all(works.collect::<Vec<_>>());
        let all = runtime.block_on(async { timeout(LONG, all).await });
        all.expect("they wait for each other").into_iter().for_each(|one| one.unwrap().unwrap());
    }

    #[test]
    fn works_that_wait_for_a_thread_each_get_one() {
        all_are_done(LARGE, 1000);
        all_are_done(LARGE + 1, 1000);
        const { assert!(ASIDE + LARGE_ASIDE <= 256) };
    }

    #[tokio::test]
    async fn a_large_body_that_waits_for_its_commit_keeps_no_other_waiting() {
        let turns = Turns::of(1, LONG);
        let (commit, committed) = oneshot::channel();
        let (begun, begins) = oneshot::channel();
        let waits = where_it_belongs(LARGE + 1, &turns, async move {
            begun.send(()).unwrap();
            committed.await.map_err(|_| ServerError::Interrupted)
        });
        let other = async {
            begins.await.unwrap();
            let other = where_it_belongs(LARGE + 1, &turns, async { Ok(2) });
            let other = timeout(LONG, other).await;
            commit.send(1).unwrap();
            other
        };
        let (first, other) = tokio::join!(waits, other);
        assert_eq!(other.expect("it waits for the commit of another").unwrap(), 2);
        assert_eq!(first.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_only_reads_ends_when_nobody_waits_for_it() {
        let turns = Turns::of(1, LONG);
        let (begun, begins) = oneshot::channel();
        let (alive, ended) = oneshot::channel::<()>();
        let work = async move {
            let _alive = alive;
            begun.send(()).unwrap();
            loop {
                tokio::task::yield_now().await;
            }
        };
        let abandoned = Abandoned::default();
        let waited = || Waited {
            abandoned: abandoned.clone(),
            clock: Arc::new(Still),
            request_id: String::new(),
        };
        let mut asked = Box::pin(while_it_is_waited_for::<()>(LARGE + 1, &turns, waited(), work));
        tokio::select! {
            _ = &mut asked => unreachable!("it has no end of its own"),
            begins = begins => begins.unwrap(),
        }
        drop(asked);
        timeout(LONG, ended).await.expect("it goes on").unwrap_err();
        assert!(abandoned.is_set());
        let answered = Abandoned::default();
        let waited = Waited { abandoned: answered.clone(), ..waited() };
        assert_eq!(
            while_it_is_waited_for(LARGE + 1, &turns, waited, async { Ok(1) }).await.unwrap(),
            1
        );
        assert!(!answered.is_set());
    }

    #[tokio::test]
    async fn what_may_write_goes_on_when_nobody_waits_for_it_and_is_told() {
        for length in [0, SMALL, SMALL + 1, LARGE + 1] {
            goes_on_and_is_told(length).await;
        }
    }

    async fn goes_on_and_is_told(length: usize) {
        let turns = Turns::of(1, LONG);
        let abandoned = Abandoned::default();
        let waited = Waited {
            abandoned: abandoned.clone(),
            clock: Arc::new(Still),
            request_id: String::new(),
        };
        let (begun, begins) = oneshot::channel();
        let (done, ends) = oneshot::channel();
        let work = async move {
            begun.send(()).unwrap();
            while !abandoned.is_set() {
                tokio::task::yield_now().await;
            }
            done.send(()).unwrap();
            Ok(())
        };
        let work = Box::pin(work);
        let mut asked = Box::pin(whoever_waits_for_it(length, &turns, waited, work));
        tokio::select! {
            _ = &mut asked => unreachable!("it goes on until it is told"),
            begins = begins => begins.unwrap(),
        }
        drop(asked);
        timeout(LONG, ends).await.expect("it ends, or is not told").unwrap();
    }

    #[tokio::test]
    async fn a_large_body_whose_turn_does_not_come_is_503_and_may_be_sent_again() {
        let turns = Turns::of(1, Duration::from_millis(50));
        let held = turns.first().await.unwrap();
        let refused = timeout(LONG, where_it_belongs(LARGE + 1, &turns, async { Ok(()) })).await;
        let refused = refused.expect("it waits for ever").unwrap_err();
        let answer = ErrorAnswer::of(&refused);
        assert_eq!((answer.status.as_u16(), answer.retry_after), (503, Some(1)));
        // What had its first turn is done, however long the next does not come.
        let (commit, committed) = oneshot::channel();
        let (begun, begins) = oneshot::channel();
        drop(held);
        let work = where_it_belongs(LARGE + 1, &turns, async move {
            begun.send(()).unwrap();
            committed.await.map_err(|_| ServerError::Interrupted)
        });
        let meanwhile = async {
            begins.await.unwrap();
            let held = turns.next().await;
            commit.send(()).unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
            drop(held);
        };
        let (done, ()) = tokio::join!(work, meanwhile);
        done.unwrap();
    }
}
