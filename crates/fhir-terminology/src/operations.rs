//! The operations from Parameters to Parameters, as the API offers them: GET and POST, on a type
//! and on an instance (FHIR R4, 4.7.2). What the time is and how an expansion is called are given.
//!
//! A parameter that an operation does not know is refused, never passed over.

mod asked;
mod context;
mod expand;
mod input;
mod lookup;
mod output;
mod subsumes;
mod translate;
mod validate_code;

use std::sync::Arc;

use asked::Asked;
pub use expand::PARAMETERS as EXPANSION_PARAMETERS;
pub use input::Input;

use crate::canonical::Canonical;
use crate::error::TerminologyError;
use crate::kept::CANONICAL_BYTES;
use crate::layer::{Kind, Layer};
use crate::resolved::{Pins, ResolvedSet};
use crate::terminology::Terminology;
use crate::text::Languages;
use fhir_core::IssueCode;
use fhir_schema::DefinitionSet;

/// An operation of the terminology service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// The resource type that it is invoked on.
    pub kind: Kind,
    /// Its name with the `$`.
    pub name: &'static str,
    /// The canonical of its definition.
    pub definition: &'static str,
    /// Whether it can be invoked on an instance.
    pub on_instances: bool,
}

/// Every operation.
pub const OPERATIONS: [Operation; 6] = [
    Operation {
        kind: Kind::CodeSystem,
        name: "$lookup",
        definition: "http://hl7.org/fhir/OperationDefinition/CodeSystem-lookup",
        on_instances: false,
    },
    Operation {
        kind: Kind::CodeSystem,
        name: "$validate-code",
        definition: "http://hl7.org/fhir/OperationDefinition/CodeSystem-validate-code",
        on_instances: true,
    },
    Operation {
        kind: Kind::CodeSystem,
        name: "$subsumes",
        definition: "http://hl7.org/fhir/OperationDefinition/CodeSystem-subsumes",
        on_instances: true,
    },
    Operation {
        kind: Kind::ValueSet,
        name: "$expand",
        definition: "http://hl7.org/fhir/OperationDefinition/ValueSet-expand",
        on_instances: true,
    },
    Operation {
        kind: Kind::ValueSet,
        name: "$validate-code",
        definition: "http://hl7.org/fhir/OperationDefinition/ValueSet-validate-code",
        on_instances: true,
    },
    Operation {
        kind: Kind::ConceptMap,
        name: "$translate",
        definition: "http://hl7.org/fhir/OperationDefinition/ConceptMap-translate",
        on_instances: true,
    },
];

/// What an operation cannot know by itself.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The instant, as FHIR writes it.
    pub timestamp: &'a str,
    /// What this expansion is called: a URI that is no other's.
    pub identifier: &'a str,
    /// The structures whose elements are bound to value sets, for `context`.
    pub structures: &'a DefinitionSet,
}

/// The operation of this name on this resource type.
#[must_use]
pub fn operation(resource_type: &str, name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|it| it.kind.as_str() == resource_type && it.name == name)
}

/// Carries an operation out; the answer is JSON of a resource.
///
/// # Errors
/// [`TerminologyError`] says what is wrong with the question, or what is not known.
pub fn perform(
    operation: &Operation,
    terminology: &Terminology,
    input: &Input<'_>,
    surroundings: Surroundings<'_>,
) -> Result<Vec<u8>, TerminologyError> {
    // Definitions that come with a request lie on top of all others, for it alone.
    let with_theirs;
    let definitions = input.definitions()?;
    let terminology = if definitions.is_empty() {
        terminology
    } else {
        let mut layer = Layer::new();
        definitions.into_iter().for_each(|entry| layer.add(entry));
        with_theirs = terminology.with(layer);
        &with_theirs
    };
    match (operation.kind, operation.name) {
        (Kind::CodeSystem, "$lookup") => lookup::perform(terminology, input),
        (Kind::CodeSystem, "$subsumes") => subsumes::perform(terminology, input),
        (Kind::CodeSystem, _) => validate_code::in_code_system(terminology, input),
        (Kind::ValueSet, "$expand") => expand::perform(terminology, input, surroundings),
        (Kind::ValueSet, _) => validate_code::in_value_set(terminology, input, surroundings),
        (Kind::ConceptMap, _) => translate::perform(terminology, input),
    }
}

fn languages(input: &Input<'_>) -> Result<Languages, TerminologyError> {
    let asked = input.text("displayLanguage")?;
    Ok(asked
        .as_deref()
        .or(input.accept_language.as_deref())
        .map(Languages::parse)
        .unwrap_or_default())
}

/// The canonical that a parameter and its version parameter name together.
fn canonical(
    input: &Input<'_>,
    name: &str,
    version_name: &str,
) -> Result<Option<String>, TerminologyError> {
    let Some(text) = input.text(name)? else { return Ok(None) };
    if text.len() > CANONICAL_BYTES {
        let problem = format!("{name} is a URL of at most {CANONICAL_BYTES} bytes");
        return Err(input::refuse(IssueCode::TooLong, format!("http.{name}"), problem));
    }
    let own = Canonical::parse(&text);
    let named = input.text(version_name)?;
    if let (Some(own), Some(named)) = (own.version, named.as_deref())
        && own != named
    {
        let problem = format!("{name} names version {own}, and {version_name} is {named}");
        return Err(input::refuse(IssueCode::Invalid, format!("http.{version_name}"), problem));
    }
    let version = named.as_deref().or(own.version);
    Ok(Some(Canonical { url: own.url, version }.to_string()))
}

fn pins(input: &Input<'_>) -> Result<Pins, TerminologyError> {
    Ok(Pins {
        default: input.versions("system-version")?,
        force: input.versions("force-system-version")?,
        check: input.versions("check-system-version")?,
        exclude: input.texts("exclude-system")?,
        supplements: input.texts("useSupplement")?,
        date: input.text("date")?.map(|date| date.into_owned()),
    })
}

/// The value set that an operation is about: the instance, the one in a parameter, one by URL, or
/// the one that an element is bound to.
fn value_set(
    terminology: &Terminology,
    input: &Input<'_>,
    structures: &DefinitionSet,
) -> Result<Arc<ResolvedSet>, TerminologyError> {
    let pins = pins(input)?;
    let at_hand = match input.instance {
        Some(instance) => Some(crate::layer::Entry::new(instance)?),
        None => input.resource("valueSet", Kind::ValueSet)?,
    };
    let named = canonical(input, "url", "valueSetVersion")?;
    if let Some(entry) = at_hand {
        let set = entry.value_set()?;
        let mut asked = Asked::of(named.as_deref());
        asked.agree_with(&set.naming, "http.url")?;
        return ResolvedSet::new(terminology, &set, &pins).map(Arc::new);
    }
    let named = match named {
        Some(canonical) => Some(canonical),
        None => context::bound(structures, input)?,
    };
    let Some(canonical) = named else {
        let problem = "say which value set: url, context, or valueSet with the resource";
        return Err(input::refuse(IssueCode::Required, "http.url", problem));
    };
    if pins.is_empty() {
        return terminology.resolve(&canonical);
    }
    let set = terminology.value_set(Canonical::parse(&canonical), pins.date.as_deref())?;
    ResolvedSet::new(terminology, &set, &pins).map(Arc::new)
}
