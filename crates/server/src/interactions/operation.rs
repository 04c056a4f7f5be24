//! operation (FHIR R4, 3.2): `$validate`, and those of the terminology service (4.7.2), on types
//! and instances; those of the quarantine, on the system.

use std::time::Duration;

use contract::{Interaction, Level, OperationName};
use fhir_core::Instance;
use fhir_core::json::Document;
use fhir_schema::DefinitionSet;
use fhir_terminology::operations::{Input, Operation, Surroundings, operation, perform};

use super::quarantine;
use crate::audit;
use crate::call::{Answer, Call, Conditions};
use crate::error::ServerError;
use crate::negotiation::parameters;
use crate::{table, terminology};

/// From this on an operation is worth a line in the log.
const LONG: Duration = Duration::from_secs(1);

/// The operation that an interaction invokes, if there is one.
fn of_interaction(name: &OperationName, level: &Level) -> Option<&'static Operation> {
    match level {
        Level::Type(of) => operation(of.as_str(), name.as_str()),
        Level::Instance(of) => operation(of.resource_type.as_str(), name.as_str())
            .filter(|operation| operation.on_instances),
        Level::System | Level::Version(..) => None,
    }
}

/// Whether an interaction invokes an operation that reads bodies as long as a request's may be.
pub(crate) fn reads_bodies(interaction: &Interaction) -> bool {
    matches!(interaction, Interaction::Operation(name, level)
        if quarantine::operation(name, level).is_some())
}

/// Whether an interaction invokes an operation that changes what is stored.
pub(crate) fn changes_data(interaction: &Interaction) -> bool {
    match interaction {
        Interaction::Operation(name, level) => {
            quarantine::operation(name, level).is_some_and(|operation| operation.changes_data())
        }
        _ => false,
    }
}

pub(crate) async fn invoke(
    call: &Call<'_>,
    name: &OperationName,
    level: &Level,
) -> Result<Answer, ServerError> {
    // What is not in the table is asked by no test of who may do it, and so is not there.
    if !table::has_operation(name, level) {
        return Err(ServerError::NotThereYet("this operation"));
    }
    if name.as_str() == super::validate::NAME {
        return super::validate::validate(call, level).await;
    }
    if let (true, Level::Instance(patient)) = (audit::is_access_log(&call.interaction), level) {
        return audit::access_log(call, patient).await;
    }
    if let Some(operation) = quarantine::operation(name, level) {
        return quarantine::invoke(call, operation).await;
    }
    let operation =
        of_interaction(name, level).ok_or(ServerError::NotThereYet("this operation"))?;
    call.unrestricted()?;
    let input = match &call.resource {
        // What stands in the URL beside a body counts like what stands in it.
        Some(resource) => {
            Input::from_parameters(resource.value())?.and_query(parameters(call.query))
        }
        None => Input::from_query(parameters(call.query)),
    };
    let input = input.accepting(call.accept_language);
    let state = terminology::current(call).await?;
    let terminology = state.seen(|kind| terminology::sees(call, kind));

    let json;
    let document;
    let input = match level {
        Level::Instance(instance) => {
            json = read(call, instance).await?;
            document = Document::parse(&json).map_err(ServerError::InvalidJson)?;
            input.on(document.root())
        }
        _ => input,
    };
    let timestamp = call.server.clock.now().to_string();
    let identifier = urn(call.server.ids.next());
    let surroundings = Surroundings {
        timestamp: &timestamp,
        identifier: &identifier,
        structures: DefinitionSet::r4(),
    };
    let started = call.server.clock.monotonic();
    let answer = perform(operation, &terminology, &input, surroundings)?;
    if call.server.clock.monotonic().saturating_sub(started) > LONG {
        tracing::warn!(operation = operation.name, "an operation took more than a second");
    }
    Ok(Answer::of(answer))
}

/// The resource that an operation is invoked on, as a read would give it.
async fn read(call: &Call<'_>, instance: &Instance) -> Result<bytes::Bytes, ServerError> {
    let interaction = Interaction::Read(instance.clone());
    // Conditions are about the answer of the operation, not about what it is invoked on.
    let conditions = Conditions::default();
    let call = Call { interaction, conditions, resource: None, ..call.clone() };
    let version = super::read::read(&call, instance).await?;
    version.body.ok_or(ServerError::NotFound)
}

/// An identifier as a URI (RFC 9562).
fn urn(id: u128) -> String {
    let text = format!("{id:032x}");
    let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
    format!("urn:uuid:{}", parts.join("-"))
}
