//! history of a type (FHIR R4, 3.1.0.9): all versions of all its resources.

use fhir_core::ResourceType;

use super::{Of, history};
use crate::call::{Answer, Call};
use crate::error::ServerError;

pub(crate) async fn history_type(
    call: &Call<'_>,
    of: &ResourceType,
) -> Result<Answer, ServerError> {
    history(call, Of::Type(of)).await
}
