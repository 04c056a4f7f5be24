//! The operations of the quarantine, at the system level: `$quarantine` and `$quarantine-defects`
//! tell, `$quarantine-release` and `$quarantine-discard` change, and so take a body. They show
//! what anybody sent, and so take a rule without restriction over all types.

mod change;
mod defects;
mod list;

use contract::{Level, OperationName};
use serde_json::{Value, json};

use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::validation;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    List,
    Defects,
    Release,
    Discard,
}

/// All of them with their names in URLs and grants.
pub(crate) const OPERATIONS: [(Operation, &str); 4] = [
    (Operation::List, "$quarantine"),
    (Operation::Defects, "$quarantine-defects"),
    (Operation::Release, "$quarantine-release"),
    (Operation::Discard, "$quarantine-discard"),
];

/// What the canonicals of their definitions begin with.
pub(crate) const DEFINITIONS: &str = "urn:hearthgate:operation:";

impl Operation {
    /// Whether it changes what is stored.
    pub(crate) fn changes_data(self) -> bool {
        matches!(self, Self::Release | Self::Discard)
    }
}

/// The operation of this name, which the system alone has.
pub(crate) fn operation(name: &OperationName, level: &Level) -> Option<Operation> {
    let of = OPERATIONS.iter().find(|(_, known)| *known == name.as_str());
    of.filter(|_| *level == Level::System).map(|(operation, _)| *operation)
}

pub(crate) async fn invoke(call: &Call<'_>, operation: Operation) -> Result<Answer, ServerError> {
    call.unrestricted()?;
    if call.server.validations[&call.grant.tenant].current().is_none() {
        return Err(ServerError::NotThereYet("the quarantine of this FHIR version"));
    }
    match operation {
        Operation::List => list::list(call).await,
        Operation::Defects => defects::defects(call).await,
        Operation::Release => change::release(call).await,
        Operation::Discard => change::discard(call).await,
    }
}

/// A Parameters resource of these.
fn parameters(parameters: Vec<Value>) -> Value {
    match parameters.is_empty() {
        true => json!({ "resourceType": "Parameters" }),
        false => json!({ "resourceType": "Parameters", "parameter": parameters }),
    }
}

/// A text that a sender may have written, as the value of a parameter.
fn text(name: &str, text: &str) -> Option<Value> {
    let text = text.replace(|char| !fhir_xml::is_allowed(char), "\u{fffd}");
    (!text.is_empty()).then(|| json!({ "name": name, "valueString": text }))
}

/// An outcome of these issues, as a parameter.
fn issues(issues: &[fhir_core::Issue]) -> Option<Value> {
    if issues.is_empty() {
        return None;
    }
    let outcome: Value = serde_json::from_slice(&validation::outcome(issues.to_vec())).ok()?;
    Some(json!({ "name": "issues", "resource": outcome }))
}
