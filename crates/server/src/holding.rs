//! How many bytes of request bodies are held at once: each is bounded by itself, and so is their
//! sum. Bytes count when they came, not when they were announced: who sends slowly takes no room
//! from others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use crate::error::ServerError;

/// What all requests hold together.
#[derive(Debug)]
pub(crate) struct Holding {
    held: AtomicUsize,
    limit: usize,
}

impl Holding {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), limit })
    }

    /// Reads a body of at most `longest` bytes.
    ///
    /// # Errors
    /// When it is longer, ends early, or others hold too much for it.
    pub(crate) async fn read(
        self: &Arc<Self>,
        mut body: Body,
        longest: usize,
    ) -> Result<HeldBody, ServerError> {
        let mut share = Share { holding: Arc::clone(self), bytes: 0 };
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ServerError::BodyUnreadable)?;
            let Ok(data) = frame.into_data() else { continue };
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
struct Share {
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
}

impl Drop for Share {
    fn drop(&mut self) {
        self.holding.held.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::Holding;
    use crate::error::ServerError;
    use axum::body::Body;
    use bytes::Bytes;
    use futures_util::stream;

    fn in_pieces(pieces: &'static [&'static str]) -> Body {
        let pieces = pieces.iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from(*piece)));
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_comes_whole_in_any_pieces() {
        let holding = Holding::new(100);
        for pieces in [&["abcdef"] as &[_], &["", "abc", "", "def", ""], &["a", "b", "c", "def"]] {
            let body = holding.read(in_pieces(pieces), 6).await.unwrap();
            assert_eq!(body.bytes, "abcdef");
        }
        let too_long = holding.read(in_pieces(&["abc", "defg"]), 6).await;
        assert!(matches!(too_long, Err(ServerError::BodyTooLong { limit: 6 })));
        assert!(holding.read(in_pieces(&[]), 6).await.unwrap().bytes.is_empty());
    }

    #[tokio::test]
    async fn what_is_held_together_is_bounded_and_given_back() {
        let holding = Holding::new(10);
        let first = holding.read(in_pieces(&["abcd", "ef"]), 8).await.unwrap();
        let refused = holding.read(in_pieces(&["abc", "de"]), 8).await;
        assert!(matches!(refused, Err(ServerError::TooMuchHeld)));
        let fits = holding.read(in_pieces(&["abcd"]), 8).await.unwrap();
        drop((first, fits));
        holding.read(in_pieces(&["abcdefgh"]), 8).await.unwrap();
    }
}
