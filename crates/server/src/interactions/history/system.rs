//! history of the whole system (FHIR R4, 3.1.0.9): all versions of all resources.

use database::Visibility;

use super::{Of, history};
use crate::call::{Answer, Call};
use crate::error::ServerError;

pub(crate) async fn history_system(call: &Call<'_>) -> Result<Answer, ServerError> {
    // A part of everything is not shown as if it were all there is.
    call.unrestricted()?;
    history(call, Visibility::everything(), Of::Everything).await
}
