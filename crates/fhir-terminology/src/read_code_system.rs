//! From a CodeSystem resource to [`CodeSystem`].

use fhir_core::json::Value;

use crate::code_system::{
    CodeSystem, ConceptIndex, ConceptRow, Content, DesignationRow, Edges, Hierarchy, Naming,
    PropertyDefinition, Span, Status, ValueRow, ValueSpan,
};
use crate::error::TerminologyError;

/// The URIs of FHIR's standard concept properties begin so (FHIR R4, 4.8.10).
const STANDARD: &str = "http://hl7.org/fhir/concept-properties#";

pub(crate) fn malformed(path: impl Into<String>, problem: impl Into<String>) -> TerminologyError {
    TerminologyError::Malformed { path: path.into(), problem: problem.into() }
}

pub(crate) fn boxed(value: Value<'_>, name: &str) -> Option<Box<str>> {
    value.get_str(name).map(|text| text.into_owned().into_boxed_str())
}

/// Reads what all three kinds of resource are called by.
pub(crate) fn naming(resource: Value<'_>) -> Naming {
    Naming {
        url: boxed(resource, "url").unwrap_or_default(),
        version: boxed(resource, "version"),
        name: boxed(resource, "name"),
        title: boxed(resource, "title"),
        language: boxed(resource, "language"),
        status: Status::parse(&resource.get_str("status").unwrap_or_default()),
        date: boxed(resource, "date"),
    }
}

/// Reads a CodeSystem.
///
/// # Errors
/// [`TerminologyError::Malformed`] where an element that is needed is missing or another kind of
/// JSON.
pub fn read_code_system(resource: Value<'_>) -> Result<CodeSystem, TerminologyError> {
    let content = match resource.get_str("content").as_deref() {
        Some("complete") => Content::Complete,
        Some("fragment") => Content::Fragment,
        Some("example") => Content::Example,
        Some("supplement") => Content::Supplement,
        Some("not-present") => Content::NotPresent,
        _ => {
            return Err(malformed(
                "CodeSystem.content",
                "content must be complete, fragment, example, supplement or not-present",
            ));
        }
    };
    let properties: Vec<PropertyDefinition> = resource
        .get("property")
        .into_iter()
        .flat_map(|list| list.items())
        .map(|property| PropertyDefinition {
            code: boxed(property, "code").unwrap_or_default(),
            uri: boxed(property, "uri"),
            description: boxed(property, "description"),
        })
        .collect();
    let hierarchy = match resource.get_str("hierarchyMeaning").as_deref() {
        None | Some("is-a") => Hierarchy::IsA,
        Some(_) => Hierarchy::Grouping,
    };
    let mut builder = Builder { roles: Roles::of(&properties), ..Builder::default() };
    if let Some(concepts) = resource.get("concept") {
        builder.concepts(concepts)?;
    }
    let system = CodeSystem {
        naming: naming(resource),
        content,
        case_sensitive: resource.get("caseSensitive").and_then(|it| it.as_bool()).unwrap_or(true),
        hierarchy,
        value_set: boxed(resource, "valueSet"),
        supplements: boxed(resource, "supplements"),
        properties,
        duplicates: Vec::new(),
        repeated: Vec::new(),
        text: builder.text.into_boxed_str(),
        concepts: builder.rows,
        designations: builder.designations,
        values: builder.values,
        by_code: Vec::new(),
        parents: Edges::default(),
        children: Edges::default(),
    };
    Ok(finish(system, builder.nested, &builder.roles))
}

/// Which properties of this code system mean what the standard ones mean.
#[derive(Debug, Default)]
struct Roles {
    not_selectable: Vec<Box<str>>,
    status: Vec<Box<str>>,
    inactive: Vec<Box<str>>,
    parent: Vec<Box<str>>,
    child: Vec<Box<str>>,
}

impl Roles {
    fn of(properties: &[PropertyDefinition]) -> Self {
        // A property is known by its URI; by its code where it has none that says otherwise.
        let with = |uris: &[&str], codes: &[&str]| {
            let standard =
                |uri: &str| uri.strip_prefix(STANDARD).is_some_and(|it| uris.contains(&it));
            let mut found: Vec<Box<str>> = properties
                .iter()
                .filter(|property| match property.uri.as_deref() {
                    Some(uri) => standard(uri),
                    None => codes.contains(&&*property.code),
                })
                .map(|property| property.code.clone())
                .collect();
            let declared = |code: &str| properties.iter().any(|property| &*property.code == code);
            found.extend(codes.iter().filter(|code| !declared(code)).map(|&code| code.into()));
            found
        };
        Self {
            not_selectable: with(&["notSelectable"], &["notSelectable", "abstract"]),
            status: with(&["status"], &["status"]),
            inactive: with(&["inactive"], &["inactive"]),
            parent: with(&["parent"], &["parent", "subsumedBy"]),
            child: with(&["child"], &["child"]),
        }
    }
}

fn names(role: &[Box<str>], code: &str) -> bool {
    role.iter().any(|name| &**name == code)
}

#[derive(Default)]
struct Builder {
    roles: Roles,
    text: String,
    rows: Vec<ConceptRow>,
    designations: Vec<DesignationRow>,
    values: Vec<ValueRow>,
    /// (parent, child) by nesting.
    nested: Vec<(ConceptIndex, ConceptIndex)>,
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a document is shorter than 4 GiB, and so is what it holds")
}

impl Builder {
    fn keep(&mut self, value: Value<'_>, name: &str) -> Span {
        let Some(text) = value.get_str(name) else { return Span::default() };
        let start = count(self.text.len());
        self.text.push_str(&text);
        Span { start, end: count(self.text.len()) }
    }

    fn keep_text(&mut self, text: &str) -> Span {
        let start = count(self.text.len());
        self.text.push_str(text);
        Span { start, end: count(self.text.len()) }
    }

    /// Reads a list of concepts and what is nested in them, without recursion: the reader of JSON
    /// bounds the depth, a stack of our own bounds nothing else.
    fn concepts(&mut self, list: Value<'_>) -> Result<(), TerminologyError> {
        let mut open = vec![(list.items(), None)];
        while let Some((items, parent)) = open.last_mut() {
            let Some(concept) = items.next() else {
                open.pop();
                continue;
            };
            let parent = *parent;
            let index = self.concept(concept)?;
            if let Some(parent) = parent {
                self.nested.push((parent, index));
            }
            if let Some(children) = concept.get("concept") {
                open.push((children.items(), Some(index)));
            }
        }
        Ok(())
    }

    fn concept(&mut self, concept: Value<'_>) -> Result<ConceptIndex, TerminologyError> {
        let code = self.keep(concept, "code");
        if code.start == code.end {
            return Err(malformed("CodeSystem.concept.code", "a concept without a code"));
        }
        let display = self.keep(concept, "display");
        let definition = self.keep(concept, "definition");
        let first_designation = count(self.designations.len());
        for designation in concept.get("designation").into_iter().flat_map(|list| list.items()) {
            let language = self.keep(designation, "language");
            let usage = designation.get("use");
            let use_system = usage.map(|it| self.keep(it, "system")).unwrap_or_default();
            let use_code = usage.map(|it| self.keep(it, "code")).unwrap_or_default();
            let value = self.keep(designation, "value");
            self.designations.push(DesignationRow { language, use_system, use_code, value });
        }
        let first_value = count(self.values.len());
        let (mut is_abstract, mut is_inactive) = (false, false);
        for property in concept.get("property").into_iter().flat_map(|list| list.items()) {
            let Some(value) = self.value(property) else { continue };
            let code = property.get_str("code").unwrap_or_default();
            match &value {
                ValueSpan::Boolean(true) if names(&self.roles.not_selectable, &code) => {
                    is_abstract = true;
                }
                ValueSpan::Boolean(true) if names(&self.roles.inactive, &code) => {
                    is_inactive = true;
                }
                ValueSpan::Code(span) | ValueSpan::String(span)
                    if names(&self.roles.status, &code) =>
                {
                    let status = &self.text[span.start as usize..span.end as usize];
                    is_inactive |= matches!(status, "retired" | "deprecated" | "inactive");
                }
                _ => {}
            }
            let property = self.keep_text(&code);
            self.values.push(ValueRow { property, value });
        }
        let index = count(self.rows.len());
        self.rows.push(ConceptRow {
            code,
            display,
            definition,
            designations: (first_designation, count(self.designations.len())),
            values: (first_value, count(self.values.len())),
            is_abstract,
            is_inactive,
        });
        Ok(index)
    }

    fn value(&mut self, property: Value<'_>) -> Option<ValueSpan> {
        let (name, value) = property.members().find(|(name, _)| name.starts_with("value"))?;
        let number = |builder: &mut Self| value.as_number().map(|text| builder.keep_text(text));
        Some(match &*name {
            "valueCode" => ValueSpan::Code(self.keep(property, "valueCode")),
            "valueString" => ValueSpan::String(self.keep(property, "valueString")),
            "valueDateTime" => ValueSpan::DateTime(self.keep(property, "valueDateTime")),
            "valueInteger" => ValueSpan::Integer(number(self)?),
            "valueDecimal" => ValueSpan::Decimal(number(self)?),
            "valueBoolean" => ValueSpan::Boolean(value.as_bool()?),
            "valueCoding" => ValueSpan::Coding {
                system: self.keep(value, "system"),
                version: self.keep(value, "version"),
                code: self.keep(value, "code"),
                display: self.keep(value, "display"),
            },
            _ => return None,
        })
    }
}

/// Sorts the codes, and adds to the nesting what properties say of the hierarchy.
fn finish(
    mut system: CodeSystem,
    nested: Vec<(ConceptIndex, ConceptIndex)>,
    roles: &Roles,
) -> CodeSystem {
    let mut by_code: Vec<ConceptIndex> = system.concepts().collect();
    by_code.sort_by(|&one, &other| {
        system.compare(system.code(one), system.code(other)).then(one.cmp(&other))
    });
    let (mut duplicates, mut repeated) = (Vec::new(), Vec::new());
    by_code.dedup_by(|later, first| {
        let same = system.compare(system.code(*later), system.code(*first)).is_eq();
        if same {
            duplicates.push(system.code(*later).into());
            repeated.push(*later);
        }
        same
    });
    system.by_code = by_code;
    repeated.sort_unstable();
    system.duplicates = duplicates;
    system.repeated = repeated;

    let mut pairs = nested;
    for concept in system.concepts() {
        for (property, value) in system.values(concept) {
            let other = || system.find(value.as_text());
            if names(&roles.child, property) {
                pairs.extend(other().map(|child| (concept, child)));
            } else if names(&roles.parent, property) {
                pairs.extend(other().map(|parent| (parent, concept)));
            }
        }
    }
    if !system.repeated.is_empty() {
        // What is nested in a repeated code is nested in its first.
        let first = |concept| system.find(system.code(concept)).unwrap_or(concept);
        pairs.iter_mut().for_each(|(one, other)| (*one, *other) = (first(*one), first(*other)));
    }
    let mut seen = std::collections::HashSet::new();
    pairs.retain(|pair| pair.0 != pair.1 && seen.insert(*pair));
    let upwards: Vec<_> = pairs.iter().map(|&(parent, child)| (child, parent)).collect();
    system.children = Edges::new(system.concepts.len(), &pairs);
    system.parents = Edges::new(system.concepts.len(), &upwards);
    system
}
