//! A value set as its resource defines it (FHIR R4, 4.9.5): what is included and excluded. What
//! that comes to is [`crate::resolved`]'s.

use std::sync::Arc;

use fhir_core::json::Value;

use crate::code_system::Naming;
use crate::error::TerminologyError;
use crate::read_code_system::{boxed, malformed, naming};

/// A value set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueSet {
    /// What it is called by.
    pub naming: Naming,
    /// `compose.include`, or the stored expansion where there is no compose.
    pub include: Vec<Include>,
    /// `compose.exclude`
    pub exclude: Vec<Include>,
    /// `compose.inactive`
    pub inactive: Option<bool>,
    /// `compose.lockedDate`
    pub locked_date: Option<Box<str>>,
    /// Supplements that it needs (extension valueset-supplement).
    pub supplements: Vec<Box<str>>,
    /// Value sets contained in it, by their ids.
    pub contained: Vec<(Box<str>, ValueSet)>,
    /// `compose` as it was written, for whoever asks for it.
    pub compose: Option<Box<str>>,
}

/// `compose.include` or `compose.exclude`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Include {
    /// The code system.
    pub system: Option<Box<str>>,
    /// Its version.
    pub version: Option<Box<str>>,
    /// The codes, where they are listed.
    pub concepts: Vec<ListedConcept>,
    /// Filters that must all hold.
    pub filters: Vec<Filter>,
    /// Value sets that must all hold a code.
    pub value_sets: Vec<Box<str>>,
}

/// `include.concept`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedConcept {
    /// The code.
    pub code: Box<str>,
    /// The display that this value set prefers.
    pub display: Option<Box<str>>,
    /// The language of that, which is the value set's; empty where it names none.
    pub language: Arc<str>,
    /// Further names.
    pub designations: Vec<ListedDesignation>,
}

/// `include.concept.designation`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDesignation {
    /// The language; empty where none is named.
    pub language: Box<str>,
    /// The system of its use; empty where none is named.
    pub use_system: Box<str>,
    /// What it is used for; empty where nothing is named.
    pub use_code: Box<str>,
    /// The name.
    pub value: Box<str>,
}

/// `include.filter`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The property.
    pub property: Box<str>,
    /// The operator.
    pub op: Box<str>,
    /// What it is compared with.
    pub value: Box<str>,
}

/// The extension by which a value set names supplements that it needs.
const SUPPLEMENT: &str = "http://hl7.org/fhir/StructureDefinition/valueset-supplement";

fn each<'a>(of: Value<'a>, name: &str) -> impl Iterator<Item = Value<'a>> + use<'a> {
    of.get(name).into_iter().flat_map(|list| list.items())
}

/// Reads a ValueSet.
///
/// # Errors
/// [`TerminologyError::Malformed`] where it breaks the rules that give it a meaning (vsd-1, vsd-2,
/// vsd-3), and where it says of no code that it is in it.
pub fn read_value_set(resource: Value<'_>) -> Result<ValueSet, TerminologyError> {
    read(resource, Nesting::Outermost)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Nesting {
    Outermost,
    Contained,
}

fn read(resource: Value<'_>, nesting: Nesting) -> Result<ValueSet, TerminologyError> {
    let mut set = ValueSet {
        naming: naming(resource),
        include: Vec::new(),
        exclude: Vec::new(),
        inactive: None,
        locked_date: None,
        supplements: each(resource, "extension")
            .filter(|extension| extension.get_str("url").as_deref() == Some(SUPPLEMENT))
            .filter_map(|extension| boxed(extension, "valueCanonical"))
            .collect(),
        contained: Vec::new(),
        compose: None,
    };
    let language: Arc<str> = set.naming.language.as_deref().unwrap_or_default().into();
    if let Some(compose) = resource.get("compose") {
        set.inactive = compose.get("inactive").and_then(|it| it.as_bool());
        set.locked_date = boxed(compose, "lockedDate");
        set.compose = Some(compose.raw().into());
        for (list, into) in [("include", &mut set.include), ("exclude", &mut set.exclude)] {
            for (at, include) in each(compose, list).enumerate() {
                let path = format!("ValueSet.compose.{list}[{at}]");
                into.push(read_include(include, &language, &path)?);
            }
        }
        if set.include.is_empty() {
            return Err(malformed("ValueSet.compose", "compose needs at least one include"));
        }
    } else if let Some(expansion) = resource.get("expansion") {
        set.include = read_expansion(expansion, &language);
    } else {
        let problem = "has neither compose nor expansion, so which codes are in it is not said";
        return Err(malformed("ValueSet", problem));
    }
    if nesting == Nesting::Outermost {
        for contained in each(resource, "contained") {
            if contained.get_str("resourceType").as_deref() == Some("ValueSet") {
                let id = boxed(contained, "id").unwrap_or_default();
                set.contained.push((id, read(contained, Nesting::Contained)?));
            }
        }
    }
    Ok(set)
}

fn read_include(
    include: Value<'_>,
    language: &Arc<str>,
    path: &str,
) -> Result<Include, TerminologyError> {
    let read = Include {
        system: boxed(include, "system"),
        version: boxed(include, "version"),
        concepts: each(include, "concept")
            .map(|concept| {
                read_listed(concept, boxed(concept, "code").unwrap_or_default(), language)
            })
            .collect(),
        filters: each(include, "filter")
            .map(|filter| Filter {
                property: boxed(filter, "property").unwrap_or_default(),
                op: boxed(filter, "op").unwrap_or_default(),
                value: boxed(filter, "value").unwrap_or_default(),
            })
            .collect(),
        value_sets: each(include, "valueSet")
            .filter_map(|canonical| canonical.as_str())
            .map(|canonical| canonical.into_owned().into_boxed_str())
            .collect(),
    };
    if read.system.is_none() && read.value_sets.is_empty() {
        return Err(malformed(path, "names neither a system nor a value set (vsd-1)"));
    }
    if read.system.is_none() && !(read.concepts.is_empty() && read.filters.is_empty()) {
        return Err(malformed(path, "has concepts or filters without a system (vsd-2)"));
    }
    if !read.concepts.is_empty() && !read.filters.is_empty() {
        return Err(malformed(path, "has both concepts and filters (vsd-3)"));
    }
    if read.concepts.iter().any(|concept| concept.code.is_empty()) {
        return Err(malformed(format!("{path}.concept"), "has a concept without a code"));
    }
    Ok(read)
}

fn read_listed(concept: Value<'_>, code: Box<str>, language: &Arc<str>) -> ListedConcept {
    ListedConcept {
        code,
        display: boxed(concept, "display"),
        language: Arc::clone(language),
        designations: each(concept, "designation").map(read_designation).collect(),
    }
}

fn read_designation(designation: Value<'_>) -> ListedDesignation {
    let usage = designation.get("use");
    let of_use = |name| usage.and_then(|usage| boxed(usage, name)).unwrap_or_default();
    ListedDesignation {
        language: boxed(designation, "language").unwrap_or_default(),
        use_system: of_use("system"),
        use_code: of_use("code"),
        value: boxed(designation, "value").unwrap_or_default(),
    }
}

/// A stored expansion as lists of codes: runs of one system and version, in the order of the
/// expansion; what is nested follows what it is nested in.
fn read_expansion(expansion: Value<'_>, language: &Arc<str>) -> Vec<Include> {
    let mut includes: Vec<Include> = Vec::new();
    let mut open = vec![each(expansion, "contains").collect::<Vec<_>>().into_iter()];
    while let Some(items) = open.last_mut() {
        let Some(item) = items.next() else {
            open.pop();
            continue;
        };
        let is_abstract = item.get("abstract").and_then(|it| it.as_bool()) == Some(true);
        if let (Some(system), Some(code)) = (boxed(item, "system"), boxed(item, "code"))
            && !is_abstract
        {
            let version = boxed(item, "version");
            let concept = read_listed(item, code, language);
            match includes.last_mut() {
                Some(last) if last.system.as_ref() == Some(&system) && last.version == version => {
                    last.concepts.push(concept);
                }
                _ => includes.push(Include {
                    system: Some(system),
                    version,
                    concepts: vec![concept],
                    ..Include::default()
                }),
            }
        }
        open.push(each(item, "contains").collect::<Vec<_>>().into_iter());
    }
    includes
}
