//! Waiting for conditions, with a limit that says what was seen last.

use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// How long anything may take that should take an instant: machines stall.
pub const SOON: Duration = Duration::from_secs(20);

/// Looks until the condition holds; `look` says `Err` with what it saw instead.
///
/// # Panics
/// After `limit`, with what was seen last.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let mut last = "nothing yet".to_owned();
    let looking = async {
        loop {
            match look().await {
                Ok(seen) => return seen,
                Err(state) => last = state,
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(limit, looking).await {
        Ok(seen) => seen,
        Err(_) => panic!("{what}: not within {limit:?}; last seen: {last}"),
    }
}

/// What `future` comes to.
///
/// # Panics
/// After `limit`.
pub async fn within<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}
