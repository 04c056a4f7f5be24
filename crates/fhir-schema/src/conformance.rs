//! SearchParameter, CompartmentDefinition and OperationDefinition, as far as a server acts on
//! them (FHIR R4 3.1, 5.5 and 5.4). Expressions are text; who evaluates them compiles them.

use std::sync::Arc;

use fhir_core::json::Value;

use crate::SchemaError;
use crate::interner::Interner;
use crate::parse::Parser;

/// SearchParameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchParameter {
    /// The canonical URL.
    pub url: Arc<str>,
    /// The business version.
    pub version: Option<Arc<str>>,
    /// The name in a query.
    pub code: Arc<str>,
    /// The resource types it is for.
    pub base: Vec<Arc<str>>,
    /// `token`, `reference`, ….
    pub kind: Arc<str>,
    /// FHIRPath; a union when it is for several types.
    pub expression: Option<Arc<str>>,
    /// The resource types that a reference may point to.
    pub targets: Vec<Arc<str>>,
    /// The parts of a composite.
    pub components: Vec<SearchComponent>,
    /// Modifiers that may be used.
    pub modifiers: Vec<Arc<str>>,
    /// Comparators that may be used.
    pub comparators: Vec<Arc<str>>,
    /// `draft`, `active`, `retired` or `unknown`.
    pub status: Option<Arc<str>>,
    /// The canonical of the definition that this one replaces.
    pub derived_from: Option<Arc<str>>,
    /// Whether several values may be given with commas between them.
    pub multiple_or: Option<bool>,
    /// Whether it may be given several times.
    pub multiple_and: Option<bool>,
    /// Parameters of the target that may stand after it in a chain; any if there is none.
    pub chains: Vec<Arc<str>>,
    /// How the expression is meant: `normal`, `phonetic`, `nearby`, `distance` or `other`.
    pub usage: Option<Arc<str>>,
}

impl SearchParameter {
    /// That of a resource. Members that are not needed are passed over.
    ///
    /// # Errors
    /// [`SchemaError::NotFhir`], naming `file`, when a member that is needed is missing or is not
    /// what FHIR says.
    pub fn read(resource: Value<'_>, file: &str) -> Result<Self, SchemaError> {
        let mut interner = Interner::default();
        Parser { file, interner: &mut interner }.search_parameter(resource)
    }
}

/// `SearchParameter.component`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchComponent {
    /// The canonical URL of the part's search parameter.
    pub definition: Arc<str>,
    /// FHIRPath from what the composite's expression gives.
    pub expression: Arc<str>,
}

/// CompartmentDefinition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompartmentDefinition {
    /// The canonical URL.
    pub url: Arc<str>,
    /// `Patient`, `Encounter`, ….
    pub code: Arc<str>,
    /// Every resource type, with what puts it into the compartment.
    pub resources: Vec<CompartmentResource>,
}

/// `CompartmentDefinition.resource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompartmentResource {
    /// The resource type.
    pub code: Arc<str>,
    /// Codes of its search parameters.
    pub params: Vec<Arc<str>>,
}

/// OperationDefinition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationDefinition {
    /// The canonical URL.
    pub url: Arc<str>,
    /// The business version.
    pub version: Option<Arc<str>>,
    /// The name in a URL, without `$`.
    pub code: Arc<str>,
    /// `operation` or `query`.
    pub kind: Arc<str>,
    /// The resource types it is for.
    pub resources: Vec<Arc<str>>,
    /// Whether it may change something.
    pub affects_state: bool,
    /// Whether it is for the whole system.
    pub system: bool,
    /// Whether it is for a type.
    pub on_type: bool,
    /// Whether it is for an instance.
    pub instance: bool,
    /// What goes in and comes out.
    pub parameters: Vec<OperationParameter>,
}

/// `OperationDefinition.parameter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationParameter {
    /// The name.
    pub name: Arc<str>,
    /// `in` or `out`.
    pub direction: Arc<str>,
    /// The least number of occurrences.
    pub min: u32,
    /// The greatest number; `None` for `*`.
    pub max: Option<u32>,
    /// The type; none where it has parts.
    pub type_name: Option<Arc<str>>,
    /// The parts.
    pub parts: Vec<OperationParameter>,
}
