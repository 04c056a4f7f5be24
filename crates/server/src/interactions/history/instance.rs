//! history of an instance (FHIR R4, 3.1.0.9): all its versions.

use contract::Instance;

use super::{Of, history};
use crate::call::{Answer, Call};
use crate::error::ServerError;

pub(crate) async fn history_instance(
    call: &Call<'_>,
    instance: &Instance,
) -> Result<Answer, ServerError> {
    history(call, Of::Instance(instance)).await
}
