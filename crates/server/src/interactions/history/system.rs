//! history of the whole system (FHIR R4, 3.1.0.9): all versions of all resources.

use super::{Of, history};
use crate::call::{Answer, Call};
use crate::error::ServerError;

pub(crate) async fn history_system(call: &Call<'_>) -> Result<Answer, ServerError> {
    history(call, Of::Everything).await
}
