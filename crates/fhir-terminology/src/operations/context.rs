//! `context` of `$expand` and `$validate-code`: the value set that an element is bound to, named
//! as `[StructureDefinition URL]#[path or id of the element]` (FHIR R4, 4.9.18.1).

use fhir_core::IssueCode;
use fhir_schema::DefinitionSet;
use fhir_schema::structure::{ElementDefinition, StructureDefinition};

use super::input::{Input, refuse};
use crate::error::TerminologyError;

/// The canonical of the value set that `context` leads to; `None` without such a parameter.
///
/// # Errors
/// When it names no element here, or one that is bound to no value set.
pub(super) fn bound(
    definitions: &DefinitionSet,
    input: &Input<'_>,
) -> Result<Option<String>, TerminologyError> {
    let direction = input.text("contextDirection")?;
    if direction.is_some_and(|it| !matches!(&*it, "incoming" | "outgoing")) {
        let problem = "the parameter contextDirection is incoming or outgoing";
        return Err(refuse(IssueCode::Value, input.expression("contextDirection"), problem));
    }
    let Some(context) = input.text("context")? else { return Ok(None) };
    let expression = || input.expression("context");
    let Some((url, path)) = context.split_once('#') else {
        let problem = "the parameter context is the URL of a StructureDefinition, #, and the path \
                       of an element: \
                       http://hl7.org/fhir/StructureDefinition/Patient#Patient.gender";
        return Err(refuse(IssueCode::Value, expression(), problem));
    };
    let structure = definitions.structure(url).ok_or_else(|| {
        let problem = format!("there is no StructureDefinition {url} here");
        refuse(IssueCode::NotFound, expression(), problem)
    })?;
    let element = find(definitions, structure, path).ok_or_else(|| {
        let problem = format!("{url} has no element {path}");
        refuse(IssueCode::NotFound, expression(), problem)
    })?;
    let binding = element.binding.as_ref().and_then(|binding| binding.value_set.as_deref());
    let value_set = binding.ok_or_else(|| {
        let problem = format!("the element {path} is bound to no value set");
        refuse(IssueCode::NotFound, expression(), problem)
    })?;
    Ok(Some(value_set.to_owned()))
}

/// The element at a path, also where the path goes on into the element's datatype.
fn find<'a>(
    definitions: &'a DefinitionSet,
    structure: &'a StructureDefinition,
    path: &str,
) -> Option<&'a ElementDefinition> {
    let mut structure = structure;
    let mut path = path.to_owned();
    // Each turn leaves fewer parts of the path.
    loop {
        let own = structure.elements.iter().find(|element| *element.path == *path);
        if let Some(element) = structure.element(&path).or(own) {
            return Some(element);
        }
        let mut outer = path.as_str();
        let (element, rest) = loop {
            let at = outer.rfind('.')?;
            outer = &path[..at];
            let own = structure.elements.iter().find(|element| *element.path == *outer);
            if let Some(element) = structure.element(outer).or(own) {
                break (element, &path[at..]);
            }
        };
        let [of] = &*element.types else { return None };
        let next = match of.profiles.first() {
            Some(profile) => definitions.structure(profile)?,
            None => definitions.type_structure(&of.code)?,
        };
        // The root of a datatype says nothing about what is inside of it.
        if !outer.contains('.') {
            return None;
        }
        let root = next.elements.first()?;
        path = format!("{}{rest}", root.path);
        structure = next;
    }
}
