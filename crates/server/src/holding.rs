//! How many bytes of request bodies are held at once: each is bounded by itself, and so is their
//! sum. Bytes count when they came, not when they were announced, and who sends on too slowly
//! gives back the room that others wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use contract::Clock;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::error::ServerError;

/// What all requests hold together.
#[derive(Debug)]
pub(crate) struct Holding {
    held: AtomicUsize,
    limit: usize,
    pace: Pace,
}

/// How slowly a body may come: each `grace` it is short of `rate` uses up a part of that grace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) grace: Duration,
    /// Bytes a second.
    pub(crate) rate: u32,
}

impl Holding {
    pub(crate) fn new(limit: usize, pace: Pace) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), limit, pace })
    }

    /// Bytes that are held now.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Makes room for bytes that no body brings: of a resource that a patch makes.
    ///
    /// # Errors
    /// When others hold too much for them.
    pub(crate) fn room(self: &Arc<Self>, bytes: usize) -> Result<Share, ServerError> {
        let mut share = Share { holding: Arc::clone(self), bytes: 0 };
        share.grow(bytes)?;
        Ok(share)
    }

    /// Reads a body of at most `longest` bytes.
    ///
    /// # Errors
    /// When it is longer, ends early, comes too slowly, or others hold too much for it.
    pub(crate) async fn read(
        self: &Arc<Self>,
        mut body: Body,
        longest: usize,
        clock: &dyn Clock,
    ) -> Result<HeldBody, ServerError> {
        let mut deadline = clock.monotonic() + self.pace.grace;
        let mut share = Share { holding: Arc::clone(self), bytes: 0 };
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        loop {
            let left = deadline.saturating_sub(clock.monotonic());
            let frame = timeout(left, body.frame()).await;
            let Some(frame) = frame.map_err(|_| ServerError::BodyTooSlow)? else { break };
            let frame = frame.map_err(|_| ServerError::BodyUnreadable)?;
            let Ok(data) = frame.into_data() else { continue };
            deadline = self.pace.after(data.len(), deadline, clock.monotonic());
            if share.bytes + data.len() > longest {
                return Err(ServerError::BodyTooLong { limit: longest });
            }
            share.grow(data.len())?;
            // Most bodies come as one piece and are not copied.
            if first.is_empty() && rest.is_empty() {
                first = data;
                continue;
            }
            if rest.is_empty() {
                let hint = usize::try_from(body.size_hint().lower()).unwrap_or(0);
                rest.reserve(first.len() + data.len() + hint.min(RESERVED));
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&data);
        }
        let bytes = if rest.is_empty() { first } else { rest.freeze() };
        Ok(HeldBody { bytes, _share: share })
    }
}

impl Pace {
    /// Until when more must come, once so many bytes have.
    fn after(self, bytes: usize, deadline: Duration, now: Duration) -> Duration {
        let earned = Duration::from_secs_f64(bytes as f64 / f64::from(self.rate));
        (deadline + earned).min(now + self.grace)
    }
}

/// At most this much room is made for bytes that are only announced.
const RESERVED: usize = 1 << 20;

/// A body that is held until this goes.
#[derive(Debug)]
pub(crate) struct HeldBody {
    pub(crate) bytes: Bytes,
    _share: Share,
}

/// The bytes of one request among all that are held.
#[derive(Debug)]
pub(crate) struct Share {
    holding: Arc<Holding>,
    bytes: usize,
}

impl Share {
    fn grow(&mut self, by: usize) -> Result<(), ServerError> {
        self.bytes += by;
        let before = self.holding.held.fetch_add(by, Ordering::AcqRel);
        if before + by > self.holding.limit {
            return Err(ServerError::TooMuchHeld);
        }
        Ok(())
    }

    /// Gives back what is beyond so many bytes.
    pub(crate) fn shrink(&mut self, to: usize) {
        let beyond = self.bytes.saturating_sub(to);
        self.bytes -= beyond;
        self.holding.held.fetch_sub(beyond, Ordering::AcqRel);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.holding.held.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::{Holding, Pace};
    use crate::error::ServerError;
    use axum::body::Body;
    use bytes::Bytes;
    use contract::{Clock, Instant};
    use futures_util::{StreamExt as _, stream};
    use std::time::Duration;

    const PACE: Pace = Pace { grace: Duration::from_secs(30), rate: 1000 };

    /// A clock that stands.
    #[derive(Debug)]
    struct Standing;

    impl Clock for Standing {
        fn now(&self) -> Instant {
            Instant::from_micros(0)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(100)
        }
    }

    fn in_pieces(pieces: &'static [&'static str]) -> Body {
        let pieces = pieces.iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from(*piece)));
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_comes_whole_in_any_pieces() {
        let holding = Holding::new(100, PACE);
        for pieces in [&["abcdef"] as &[_], &["", "abc", "", "def", ""], &["a", "b", "c", "def"]] {
            let body = holding.read(in_pieces(pieces), 6, &Standing).await.unwrap();
            assert_eq!(body.bytes, "abcdef");
        }
        let too_long = holding.read(in_pieces(&["abc", "defg"]), 6, &Standing).await;
        assert!(matches!(too_long, Err(ServerError::BodyTooLong { limit: 6 })));
        assert!(holding.read(in_pieces(&[]), 6, &Standing).await.unwrap().bytes.is_empty());
    }

    #[tokio::test]
    async fn what_is_held_together_is_bounded_and_given_back() {
        let holding = Holding::new(10, PACE);
        let first = holding.read(in_pieces(&["abcd", "ef"]), 8, &Standing).await.unwrap();
        let refused = holding.read(in_pieces(&["abc", "de"]), 8, &Standing).await;
        assert!(matches!(refused, Err(ServerError::TooMuchHeld)));
        let fits = holding.read(in_pieces(&["abcd"]), 8, &Standing).await.unwrap();
        drop((first, fits));
        let mut room = holding.room(9).unwrap();
        assert!(matches!(holding.room(2), Err(ServerError::TooMuchHeld)));
        room.shrink(4);
        drop(holding.room(6).unwrap());
        drop(room);
        holding.read(in_pieces(&["abcdefgh"]), 8, &Standing).await.unwrap();
    }

    /// A body that stops in the midst gives its room back.
    #[tokio::test]
    async fn a_body_that_comes_too_slowly_is_given_up() {
        let pace = Pace { grace: Duration::from_millis(20), rate: 1000 };
        let holding = Holding::new(10, pace);
        let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"abcdefgh"))]);
        let body = Body::from_stream(begun.chain(stream::pending()));
        let slow = holding.read(body, 10, &Standing).await;
        assert!(matches!(slow, Err(ServerError::BodyTooSlow)));
        holding.read(in_pieces(&["abcdefgh"]), 8, &Standing).await.unwrap();
    }

    #[test]
    fn bytes_earn_time_and_never_more_than_the_grace() {
        let [second, now] = [1, 50].map(Duration::from_secs);
        let after = |bytes, deadline: u32| PACE.after(bytes, second * deadline, now);
        assert_eq!(after(1000, 51), second * 52);
        assert_eq!(after(0, 51), second * 51);
        assert_eq!(after(1_000_000, 51), second * 80);
    }
}
