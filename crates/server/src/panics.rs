//! Panics in the work on a request. They are faults of ours; without this one would take its
//! connection with it, and every other request that waits there, without an answer.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use crate::error::ServerError;

/// Does the work on a request.
///
/// # Errors
/// [`ServerError::Interrupted`] where it panics. What it had begun stays as it is: what is shared
/// is never left half changed, or is locked by those who take a poisoned lock as it is.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, ServerError> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
        // What it says and where, the process's hook has told.
        ServerError::Interrupted
    })
}

#[cfg(test)]
mod tests {
    use super::caught;
    use crate::error::ServerError;
    use crate::error_answer::ErrorAnswer;

    #[tokio::test]
    async fn a_panic_is_500_and_the_work_of_others_goes_on() {
        let refused: Result<(), ServerError> = caught(async { panic!("by a test") }).await;
        let answer = ErrorAnswer::of(&refused.unwrap_err());
        assert_eq!(answer.status, http::StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(caught(async { 1 }).await.unwrap(), 1);
    }
}
