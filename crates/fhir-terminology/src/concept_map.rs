//! A concept map as its resource defines it (FHIR R4, 4.10).

use fhir_core::json::Value;

use crate::code_system::Naming;
use crate::error::TerminologyError;
use crate::read_code_system::{boxed, malformed, naming};

/// A concept map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConceptMap {
    /// What it is called by.
    pub naming: Naming,
    /// `source[x]`: the value set mapped from.
    pub source: Option<Box<str>>,
    /// `target[x]`: the value set mapped to.
    pub target: Option<Box<str>>,
    /// Its groups.
    pub groups: Vec<Group>,
}

/// `ConceptMap.group`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The code system mapped from.
    pub source: Option<Box<str>>,
    /// Its version.
    pub source_version: Option<Box<str>>,
    /// The code system mapped to.
    pub target: Option<Box<str>>,
    /// Its version.
    pub target_version: Option<Box<str>>,
    /// The mappings.
    pub elements: Vec<Element>,
    /// What holds for codes without a mapping.
    pub unmapped: Option<Unmapped>,
}

/// `group.element`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The code mapped from.
    pub code: Box<str>,
    /// Its display.
    pub display: Option<Box<str>>,
    /// What it is mapped to.
    pub targets: Vec<Target>,
}

/// `element.target`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The code mapped to.
    pub code: Option<Box<str>>,
    /// Its display.
    pub display: Option<Box<str>>,
    /// How they relate.
    pub equivalence: Box<str>,
    /// What must hold besides.
    pub depends_on: Vec<Dependency>,
    /// What comes with it.
    pub product: Vec<Dependency>,
}

/// `target.dependsOn` or `target.product`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The element.
    pub property: Box<str>,
    /// Its code system.
    pub system: Option<Box<str>>,
    /// Its value.
    pub value: Box<str>,
    /// The value's display.
    pub display: Option<Box<str>>,
}

/// `group.unmapped`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmapped {
    /// The code itself.
    Provided,
    /// Always this code.
    Fixed {
        /// The code.
        code: Box<str>,
        /// Its display.
        display: Option<Box<str>>,
    },
    /// As another map says.
    OtherMap(Box<str>),
}

fn each<'a>(of: Value<'a>, name: &str) -> impl Iterator<Item = Value<'a>> + use<'a> {
    of.get(name).into_iter().flat_map(|list| list.items())
}

/// Reads a ConceptMap.
///
/// # Errors
/// [`TerminologyError::Malformed`] where `group.unmapped` says what it does not explain.
pub fn read_concept_map(resource: Value<'_>) -> Result<ConceptMap, TerminologyError> {
    let either = |uri, canonical| boxed(resource, uri).or_else(|| boxed(resource, canonical));
    Ok(ConceptMap {
        naming: naming(resource),
        source: either("sourceUri", "sourceCanonical"),
        target: either("targetUri", "targetCanonical"),
        groups: each(resource, "group").map(read_group).collect::<Result<_, _>>()?,
    })
}

fn read_group(group: Value<'_>) -> Result<Group, TerminologyError> {
    Ok(Group {
        source: boxed(group, "source"),
        source_version: boxed(group, "sourceVersion"),
        target: boxed(group, "target"),
        target_version: boxed(group, "targetVersion"),
        elements: each(group, "element").map(read_element).collect(),
        unmapped: group.get("unmapped").map(read_unmapped).transpose()?,
    })
}

fn read_element(element: Value<'_>) -> Element {
    let dependency = |of: Value<'_>| Dependency {
        property: boxed(of, "property").unwrap_or_default(),
        system: boxed(of, "system"),
        value: boxed(of, "value").unwrap_or_default(),
        display: boxed(of, "display"),
    };
    Element {
        code: boxed(element, "code").unwrap_or_default(),
        display: boxed(element, "display"),
        targets: each(element, "target")
            .map(|target| Target {
                code: boxed(target, "code"),
                display: boxed(target, "display"),
                equivalence: boxed(target, "equivalence").unwrap_or_else(|| "equivalent".into()),
                depends_on: each(target, "dependsOn").map(dependency).collect(),
                product: each(target, "product").map(dependency).collect(),
            })
            .collect(),
    }
}

fn read_unmapped(unmapped: Value<'_>) -> Result<Unmapped, TerminologyError> {
    let missing = |what| malformed("ConceptMap.group.unmapped", what);
    match unmapped.get_str("mode").as_deref() {
        Some("provided") => Ok(Unmapped::Provided),
        Some("fixed") => Ok(Unmapped::Fixed {
            code: boxed(unmapped, "code").ok_or_else(|| missing("mode fixed needs a code"))?,
            display: boxed(unmapped, "display"),
        }),
        Some("other-map") => Ok(Unmapped::OtherMap(
            boxed(unmapped, "url").ok_or_else(|| missing("mode other-map needs a url"))?,
        )),
        _ => Err(missing("mode must be provided, fixed or other-map")),
    }
}
