//! StructureDefinition with its whole snapshot, as far as it says something about instances (FHIR
//! R4 5.3 and ElementDefinition, 2.31): what a validator and a walker of profiles need. Texts for
//! readers (short, definition, comments, mappings, examples) are left out.
//!
//! Texts are shared: one string, however many elements say it.

use std::fmt;
use std::sync::Arc;

use crate::TypeKind;

/// A base type, a profile, an extension or a logical model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StructureDefinition {
    /// The canonical URL, without a version.
    pub url: Arc<str>,
    /// The business version.
    pub version: Option<Arc<str>>,
    /// The name for machines.
    pub name: Arc<str>,
    /// The type that is defined or constrained: `Patient`, `Extension`.
    pub type_name: Arc<str>,
    /// Resource, datatype or logical model.
    pub kind: StructureKind,
    /// Whether no instance can be of exactly this.
    pub is_abstract: bool,
    /// How it follows from its base.
    pub derivation: Derivation,
    /// The canonical URL of the base.
    pub base: Option<Arc<str>>,
    /// The FHIR version that it is written for.
    pub fhir_version: Option<Arc<str>>,
    /// Where an extension may stand.
    pub contexts: Vec<ExtensionContext>,
    /// FHIRPath that must hold where an extension stands.
    pub context_invariants: Vec<Arc<str>>,
    /// The snapshot, the root first, each element after its parent, slices after what they slice.
    pub elements: Vec<ElementDefinition>,
}

/// `StructureDefinition.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StructureKind {
    /// A type of FHIR, or a profile of one.
    Type(TypeKind),
    /// A model of something that is no FHIR resource.
    Logical,
}

/// `StructureDefinition.derivation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derivation {
    /// It has no base: `Element`, `Resource`.
    Root,
    /// It defines a type with more than the base has.
    Specialization,
    /// It is a profile: it constrains the type of its base.
    Constraint,
}

/// `StructureDefinition.context`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionContext {
    /// `fhirpath`, `element` or `extension`.
    pub kind: Arc<str>,
    /// What that kind calls for: `Patient.contact`, a URL.
    pub expression: Arc<str>,
}

impl StructureDefinition {
    /// `url|version`, or the URL alone where there is no version.
    #[must_use]
    pub fn canonical(&self) -> String {
        match &self.version {
            Some(version) => format!("{}|{version}", self.url),
            None => self.url.to_string(),
        }
    }

    /// Whether it constrains a type instead of defining one.
    #[must_use]
    pub fn is_profile(&self) -> bool {
        self.derivation == Derivation::Constraint
    }

    /// The element with this id: `Patient.extension:race.url`.
    #[must_use]
    pub fn element(&self, id: &str) -> Option<&ElementDefinition> {
        self.elements.iter().find(|element| &*element.id == id)
    }
}

/// ElementDefinition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementDefinition {
    /// The path with the names of slices, made from these two: `Patient.extension:race.url`.
    pub id: Arc<str>,
    /// The path: `Patient.extension.url`, a choice with `[x]`.
    pub path: Arc<str>,
    /// The name of the slice that this is.
    pub slice_name: Option<Arc<str>>,
    /// How this element is sliced.
    pub slicing: Option<Arc<Slicing>>,
    /// The least number of occurrences.
    pub min: u32,
    /// The greatest number; `None` for `*`.
    pub max: Option<u32>,
    /// The types; none at a root and where there is a content reference.
    pub types: Arc<[TypeReference]>,
    /// The id of the element that has the content, without `#`.
    pub content_reference: Option<Arc<str>>,
    /// `fixed[x]`: the value is exactly this.
    pub fixed: Option<Arc<TypedValue>>,
    /// `pattern[x]`: the value has at least this.
    pub pattern: Option<Arc<TypedValue>>,
    /// `minValue[x]`.
    pub min_value: Option<Arc<TypedValue>>,
    /// `maxValue[x]`.
    pub max_value: Option<Arc<TypedValue>>,
    /// The greatest number of characters.
    pub max_length: Option<u32>,
    /// The value set that codes come from.
    pub binding: Option<Arc<Binding>>,
    /// Invariants, those of the base among them.
    pub constraints: Arc<[Arc<Constraint>]>,
    /// Yes-or-no members.
    pub flags: Flags,
}

/// The yes-or-no members of an element, and what says how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// `mustSupport`.
    pub must_support: bool,
    /// `isModifier`.
    pub is_modifier: bool,
    /// `isSummary`.
    pub is_summary: bool,
    /// `representation` has `xmlAttr`.
    pub is_attribute: bool,
}

/// `ElementDefinition.type`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TypeReference {
    /// The type's name, or the URL of a FHIRPath system type.
    pub code: Arc<str>,
    /// The FHIR type that a system type stands for.
    pub fhir_type: Option<Arc<str>>,
    /// What the text of a primitive matches.
    pub regex: Option<Arc<str>>,
    /// Canonical URLs of profiles; the value meets one of them.
    pub profiles: Vec<Arc<str>>,
    /// Canonical URLs of profiles; what is referred to meets one of them.
    pub target_profiles: Vec<Arc<str>>,
    /// `contained`, `referenced`, `bundled`; any if there is none.
    pub aggregation: Vec<Arc<str>>,
    /// `either`, `independent` or `specific`.
    pub versioning: Option<Arc<str>>,
}

/// `ElementDefinition.slicing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slicing {
    /// What tells the slices apart, all together.
    pub discriminators: Vec<Discriminator>,
    /// `open`, `closed` or `openAtEnd`.
    pub rules: Arc<str>,
    /// Whether slices stand in the order of their definitions.
    pub ordered: bool,
}

/// `ElementDefinition.slicing.discriminator`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discriminator {
    /// `value`, `exists`, `pattern`, `type` or `profile` (R5 adds `position`).
    pub kind: Arc<str>,
    /// Restricted FHIRPath from the sliced element.
    pub path: Arc<str>,
}

/// A value in a definition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TypedValue {
    /// What stands for `[x]`, first letter as the definition's member has it: `CodeableConcept`,
    /// `Code`.
    pub type_name: Arc<str>,
    /// The value as JSON without white space.
    pub json: Arc<str>,
}

/// `ElementDefinition.binding`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// `required`, `extensible`, `preferred` or `example`.
    pub strength: Arc<str>,
    /// The canonical URL of the value set.
    pub value_set: Option<Arc<str>>,
    /// The canonical URL of the value set that codes must not leave, from the extension
    /// elementdefinition-maxValueSet.
    pub max_value_set: Option<Arc<str>>,
}

/// `ElementDefinition.constraint`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Constraint {
    /// `ele-1`.
    pub key: Arc<str>,
    /// `error` or `warning`.
    pub severity: Arc<str>,
    /// What it means.
    pub human: Arc<str>,
    /// FHIRPath; some have none.
    pub expression: Option<Arc<str>>,
    /// The canonical URL of the definition that brought it.
    pub source: Option<Arc<str>>,
    /// Whether it is a recommendation, by the extension elementdefinition-bestpractice.
    pub is_best_practice: bool,
}

impl ElementDefinition {
    /// The last part of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit_once('.').map_or(&*self.path, |(_, name)| name)
    }

    /// The path of the parent; empty for the root.
    #[must_use]
    pub fn parent(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }

    /// How many elements stand above it.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.path.bytes().filter(|byte| *byte == b'.').count()
    }
}

impl fmt::Display for Discriminator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.kind, self.path)
    }
}
