//! What is taken from a FHIR package: every base type with all of its elements, and the plain
//! paths of identifiers and of the patient compartment. Plain data, in the words of
//! StructureDefinition; [`crate::Schema`] is made from it.

use std::collections::BTreeMap;
use std::fmt;

/// The base definitions of one FHIR version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Definitions {
    /// Where they come from.
    pub source: Source,
    /// Resource types, complex and primitive datatypes, sorted by name.
    pub types: Vec<TypeDefinition>,
    /// By resource type: what its search parameter `identifier` covers.
    pub identifiers: BTreeMap<Box<str>, Vec<PlainPath>>,
    /// By resource type: the references which put a resource into the compartment of the patient
    /// they point to. Types which the compartment does not name have no entry.
    pub patient_compartment: BTreeMap<Box<str>, Vec<PlainPath>>,
    /// Expressions of the two maps above which are not plain paths.
    pub unresolved: Vec<UnresolvedExpression>,
}

/// The package that definitions were compiled from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// The package's name: `hl7.fhir.r4.core`.
    pub package: Box<str>,
    /// The package's version: `4.0.1`.
    pub version: Box<str>,
    /// The SPDX name of its licence: `CC0-1.0`.
    pub licence: Box<str>,
    /// The FHIR version it defines: `4.0.1`.
    pub fhir_version: Box<str>,
}

/// One base type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeDefinition {
    /// `Patient`, `Quantity`, `dateTime`.
    pub name: Box<str>,
    /// Resource or datatype.
    pub kind: TypeKind,
    /// Whether no instance can be of exactly this type.
    pub is_abstract: bool,
    /// The type it specializes, if any.
    pub base: Option<Box<str>>,
    /// Its elements without the root, each after its parent, in the definition's order.
    pub elements: Vec<ElementDefinition>,
}

/// `StructureDefinition.kind`, but for logical models, which are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeKind {
    /// A resource type.
    Resource,
    /// A datatype with elements.
    Complex,
    /// A datatype with a value.
    Primitive,
}

/// One element of a type's snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementDefinition {
    /// The whole path, a choice as the definition writes it: `Observation.value[x]`.
    pub path: Box<str>,
    /// The least number of occurrences.
    pub min: u32,
    /// The greatest number of occurrences; `None` where the definition says `*`.
    pub max: Option<u32>,
    /// The type codes; several for a choice, none with a content reference.
    pub types: Vec<Box<str>>,
    /// The path of the element whose children are this one's too.
    pub content_reference: Option<Box<str>>,
    /// Where the type is a FHIRPath system type: the FHIR type that it stands for.
    pub fhir_type: Option<Box<str>>,
    /// Whether it is an attribute in XML.
    pub xml: XmlForm,
}

/// `ElementDefinition.representation`, as far as it matters in instances of FHIR types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XmlForm {
    /// An element, as nearly everything.
    #[default]
    Element,
    /// `xmlAttr`: the id of an element, the url of an extension.
    Attribute,
}

impl ElementDefinition {
    /// The path of the element that holds this one: `Patient` for `Patient.name`.
    #[must_use]
    pub fn parent(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }

    /// The last part of the path: `name` for `Patient.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit_once('.').map_or(&*self.path, |(_, name)| name)
    }

    /// The name before `[x]` if the element is a choice of types.
    #[must_use]
    pub fn choice_name(&self) -> Option<&str> {
        self.name().strip_suffix("[x]")
    }
}

/// JSON names from a resource's root, a choice already expanded: `medicationReference`. Where an
/// element on the way is an array, the path goes through each of its entries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlainPath {
    /// The names, outermost first.
    pub steps: Vec<Box<str>>,
}

impl fmt::Display for PlainPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.steps.join("."))
    }
}

/// A part of a search parameter's expression which is not a plain path of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnresolvedExpression {
    /// The resource type it was read for.
    pub resource_type: Box<str>,
    /// The search parameter's code.
    pub search_param: Box<str>,
    /// The text that was not understood; empty when no such search parameter exists.
    pub expression: Box<str>,
}

/// The JSON name of a choice element when it has this type: `value` and `dateTime` give
/// `valueDateTime`.
#[must_use]
pub(crate) fn choice_json_name(choice_name: &str, type_code: &str) -> String {
    let mut name = String::with_capacity(choice_name.len() + type_code.len());
    name.push_str(choice_name);
    let mut letters = type_code.chars();
    name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
    name.push_str(letters.as_str());
    name
}
