//! The operations that a Parameters resource holds.

use fhir_core::Resource;
use fhir_core::json::{Kind, Value};

use crate::error::{PatchError, PatchProblem};

/// So many operations a patch may have.
const MAX_OPERATIONS: usize = 1_000;

/// A FHIRPath Patch that was read.
#[derive(Debug)]
pub struct FhirPathPatch<'a> {
    pub(super) operations: Vec<Operation<'a>>,
}

#[derive(Debug)]
pub(super) struct Operation<'a> {
    pub(super) path: String,
    pub(super) change: Change<'a>,
}

/// What is done; a value is the part named `value`, whole.
#[derive(Debug)]
pub(super) enum Change<'a> {
    Add { name: String, value: Value<'a> },
    Insert { index: usize, value: Value<'a> },
    Delete,
    Replace { value: Value<'a> },
    Move { source: usize, destination: usize },
}

impl Operation<'_> {
    /// The error of this operation, the one with this index.
    pub(super) fn failed(&self, index: usize, problem: PatchProblem) -> PatchError {
        let expression = match &problem {
            PatchProblem::Malformed(_) => format!("Parameters.parameter[{index}]"),
            _ => self.path.clone(),
        };
        PatchError { problem, operation: Some(index), path: self.path.clone(), expression }
    }
}

impl<'a> FhirPathPatch<'a> {
    /// Reads a Parameters resource.
    ///
    /// # Errors
    /// [`PatchProblem::Malformed`] or [`PatchProblem::TooCostly`].
    pub fn read(parameters: &Resource<'a>) -> Result<Self, PatchError> {
        let of = parameters.resource_type();
        if of.as_str() != "Parameters" {
            let text = format!("a FHIRPath Patch is a Parameters resource; this is a {of}");
            return Err(PatchError::whole(PatchProblem::Malformed(text), "resourceType"));
        }
        let Some(list) = parameters.value().get("parameter") else {
            return Ok(Self { operations: Vec::new() });
        };
        if list.kind() != Kind::Array {
            let problem = PatchProblem::malformed("must be an array");
            return Err(PatchError::whole(problem, "Parameters.parameter"));
        }
        let count = list.items().count();
        if count > MAX_OPERATIONS {
            let text = format!("a patch has at most {MAX_OPERATIONS} operations, this has {count}");
            let problem = PatchProblem::TooCostly(text);
            return Err(PatchError::whole(problem, "Parameters.parameter"));
        }
        let read = list.items().enumerate().map(|(index, parameter)| {
            let expression = format!("Parameters.parameter[{index}]");
            operation(parameter).map_err(|text| PatchError {
                problem: PatchProblem::Malformed(text),
                operation: Some(index),
                path: String::new(),
                expression,
            })
        });
        Ok(Self { operations: read.collect::<Result<_, _>>()? })
    }
}

fn operation(parameter: Value<'_>) -> Result<Operation<'_>, String> {
    let is_operation = parameter.kind() == Kind::Object
        && parameter.get("name").is_some_and(|name| name.is_string("operation"));
    if !is_operation {
        return Err("each parameter of a patch is named \"operation\"".to_owned());
    }
    let parts = Parts::read(parameter)?;
    let path = parts.text("path")?;
    let change = match parts.text("type")?.as_str() {
        "add" => Change::Add { name: parts.text("name")?, value: parts.needed("value")? },
        "insert" => Change::Insert { index: parts.index("index")?, value: parts.needed("value")? },
        "delete" => Change::Delete,
        "replace" => Change::Replace { value: parts.needed("value")? },
        "move" => Change::Move {
            source: parts.index("source")?,
            destination: parts.index("destination")?,
        },
        other => {
            return Err(format!(
                "the type \"{other}\" is not one of add, insert, delete, replace, move"
            ));
        }
    };
    Ok(Operation { path, change })
}

/// The parts that an operation may have.
const NAMES: [&str; 7] = ["type", "path", "name", "value", "index", "source", "destination"];

/// The parts of one operation, in the order of [`NAMES`].
struct Parts<'a>([Option<Value<'a>>; NAMES.len()]);

impl<'a> Parts<'a> {
    fn read(parameter: Value<'a>) -> Result<Self, String> {
        let mut parts = [None; NAMES.len()];
        let list = parameter.get("part");
        for part in list.into_iter().flat_map(|list| list.items()) {
            if part.kind() != Kind::Object {
                return Err("a part is an object".to_owned());
            }
            let name = part.get_str("name").unwrap_or_default();
            let Some(at) = NAMES.iter().position(|it| *it == name) else {
                return Err(format!("the part \"{name}\" is not one of {}", NAMES.join(", ")));
            };
            if parts[at].replace(part).is_some() {
                return Err(format!("the part \"{name}\" stands twice"));
            }
        }
        Ok(Self(parts))
    }

    fn needed(&self, name: &str) -> Result<Value<'a>, String> {
        let part = NAMES.iter().zip(self.0).find(|(it, _)| **it == name);
        part.and_then(|(_, part)| part).ok_or_else(|| format!("the part \"{name}\" is missing"))
    }

    /// A part that is a string or a code.
    fn text(&self, name: &str) -> Result<String, String> {
        let part = self.needed(name)?;
        let text = ["valueString", "valueCode"].iter().find_map(|value| part.get_str(value));
        let text = text.map(|text| text.into_owned());
        text.ok_or_else(|| format!("the part \"{name}\" needs a valueString"))
    }

    /// A part that is a whole number from nought.
    fn index(&self, name: &str) -> Result<usize, String> {
        let part = self.needed(name)?;
        let number = ["valueInteger", "valueUnsignedInt", "valuePositiveInt"]
            .iter()
            .find_map(|value| part.get(value)?.as_number());
        let number = number.and_then(|number| number.parse().ok());
        number.ok_or_else(|| format!("the part \"{name}\" needs a valueInteger from 0"))
    }
}
