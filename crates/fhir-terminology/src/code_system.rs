//! A code system laid out for questions: concepts in the order of the resource, found by code,
//! with their hierarchy in both directions (FHIR R4, 4.8).

use std::borrow::Cow;
use std::cmp::Ordering;

/// `CodeSystem.content`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The concepts are elsewhere.
    NotPresent,
    /// A few to show what it is like.
    Example,
    /// A part.
    Fragment,
    /// All.
    Complete,
    /// Additions to another code system.
    Supplement,
}

/// `CodeSystem.hierarchyMeaning`, or what it means where it is missing: is-a.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// A child is a kind of its parent.
    IsA,
    /// Any other meaning: no subsumption follows from it.
    Grouping,
}

/// The status of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// `draft` or `unknown`.
    Draft,
    /// `retired`
    Retired,
    /// `active`
    Active,
}

impl Status {
    /// Reads the code; what is none counts as a draft.
    #[must_use]
    pub fn parse(code: &str) -> Self {
        match code {
            "active" => Self::Active,
            "retired" => Self::Retired,
            _ => Self::Draft,
        }
    }

    /// The code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Retired => "retired",
            Self::Active => "active",
        }
    }
}

/// What code systems, value sets and concept maps are called by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// The canonical URL.
    pub url: Box<str>,
    /// The business version.
    pub version: Option<Box<str>>,
    /// The name for machines.
    pub name: Option<Box<str>>,
    /// The name for people.
    pub title: Option<Box<str>>,
    /// The language of what it says.
    pub language: Option<Box<str>>,
    /// Its status.
    pub status: Status,
    /// When it changed last, as written.
    pub date: Option<Box<str>>,
}

impl Naming {
    /// `url|version`, or the URL alone.
    #[must_use]
    pub fn canonical(&self) -> String {
        match &self.version {
            Some(version) => format!("{}|{version}", self.url),
            None => self.url.to_string(),
        }
    }

    /// The name to show: name, title or URL.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.name.as_deref().or(self.title.as_deref()).unwrap_or(&self.url)
    }
}

/// `CodeSystem.property`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyDefinition {
    /// The code that concepts use.
    pub code: Box<str>,
    /// Its formal identity.
    pub uri: Option<Box<str>>,
    /// What it says.
    pub description: Option<Box<str>>,
}

/// A piece of the code system's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A concept: its number in the code system.
pub type ConceptIndex = u32;

#[derive(Debug, Clone)]
pub(crate) struct ConceptRow {
    pub(crate) code: Span,
    pub(crate) display: Span,
    pub(crate) definition: Span,
    pub(crate) designations: (u32, u32),
    pub(crate) values: (u32, u32),
    pub(crate) is_abstract: bool,
    pub(crate) is_inactive: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct DesignationRow {
    pub(crate) language: Span,
    pub(crate) use_system: Span,
    pub(crate) use_code: Span,
    pub(crate) value: Span,
}

#[derive(Debug, Clone)]
pub(crate) struct ValueRow {
    pub(crate) property: Span,
    pub(crate) value: ValueSpan,
}

#[derive(Debug, Clone)]
pub(crate) enum ValueSpan {
    Code(Span),
    Coding { system: Span, version: Span, code: Span, display: Span },
    String(Span),
    Integer(Span),
    Boolean(bool),
    DateTime(Span),
    Decimal(Span),
}

/// The value of a concept's property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the FHIR type of its name")]
pub enum PropertyValue<'a> {
    Code(&'a str),
    Coding { system: &'a str, version: &'a str, code: &'a str, display: &'a str },
    String(&'a str),
    Integer(&'a str),
    Boolean(bool),
    DateTime(&'a str),
    Decimal(&'a str),
}

impl<'a> PropertyValue<'a> {
    /// The value as a filter compares it: of a Coding its code.
    #[must_use]
    pub fn as_text(&self) -> &'a str {
        match *self {
            Self::Code(text)
            | Self::String(text)
            | Self::Integer(text)
            | Self::DateTime(text)
            | Self::Decimal(text)
            | Self::Coding { code: text, .. } => text,
            Self::Boolean(true) => "true",
            Self::Boolean(false) => "false",
        }
    }
}

/// A further name of a concept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Designation<'a> {
    /// The language; empty where none is named.
    pub language: &'a str,
    /// The system of its use; empty where none is named.
    pub use_system: &'a str,
    /// What it is used for; empty where nothing is named.
    pub use_code: &'a str,
    /// The name.
    pub value: &'a str,
}

/// Neighbours of each concept, one list after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edges {
    pub(crate) starts: Vec<u32>,
    pub(crate) to: Vec<ConceptIndex>,
}

impl Edges {
    /// From pairs of (from, to), each list in the pairs' order.
    pub(crate) fn new(count: usize, pairs: &[(ConceptIndex, ConceptIndex)]) -> Self {
        if pairs.is_empty() {
            return Self::default();
        }
        let mut starts = vec![0_u32; count + 1];
        for (from, _) in pairs {
            starts[*from as usize + 1] += 1;
        }
        for at in 0..count {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut to = vec![0; pairs.len()];
        for (from, target) in pairs {
            let place = &mut next[*from as usize];
            to[*place as usize] = *target;
            *place += 1;
        }
        Self { starts, to }
    }

    fn of(&self, concept: ConceptIndex) -> &[ConceptIndex] {
        let at = concept as usize;
        match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(&start), Some(&end)) => &self.to[start as usize..end as usize],
            _ => &[],
        }
    }
}

/// A code system.
#[derive(Debug, Clone)]
pub struct CodeSystem {
    /// What it is called by.
    pub naming: Naming,
    /// How much of it is here.
    pub content: Content,
    /// Whether `a` and `A` are different codes.
    pub case_sensitive: bool,
    /// What its hierarchy means.
    pub hierarchy: Hierarchy,
    /// The value set of all its codes.
    pub value_set: Option<Box<str>>,
    /// What it adds to, if it is a supplement.
    pub supplements: Option<Box<str>>,
    /// Its properties.
    pub properties: Vec<PropertyDefinition>,
    /// Codes that stand in it twice; the first counts.
    pub duplicates: Vec<Box<str>>,
    /// The rows of those, in order.
    pub(crate) repeated: Vec<ConceptIndex>,
    pub(crate) text: Box<str>,
    pub(crate) concepts: Vec<ConceptRow>,
    pub(crate) designations: Vec<DesignationRow>,
    pub(crate) values: Vec<ValueRow>,
    /// Concepts in the order of their codes.
    pub(crate) by_code: Vec<ConceptIndex>,
    pub(crate) parents: Edges,
    pub(crate) children: Edges,
}

/// Compares codes without regard to case.
fn compare_folded(one: &str, other: &str) -> Ordering {
    let fold = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
    if one.is_ascii() && other.is_ascii() {
        let lower = |byte: u8| byte.to_ascii_lowercase();
        return one.bytes().map(lower).cmp(other.bytes().map(lower));
    }
    fold(one).cmp(&fold(other))
}

impl CodeSystem {
    pub(crate) fn at(&self, span: Span) -> &str {
        &self.text[span.start as usize..span.end as usize]
    }

    fn row(&self, concept: ConceptIndex) -> &ConceptRow {
        &self.concepts[concept as usize]
    }

    /// Orders codes as this code system tells them apart.
    pub(crate) fn compare(&self, one: &str, other: &str) -> Ordering {
        if self.case_sensitive { one.cmp(other) } else { compare_folded(one, other) }
    }

    /// A code as it is found by: two that this code system does not tell apart have the same.
    pub(crate) fn key<'c>(&self, code: &'c str) -> Cow<'c, str> {
        match self.case_sensitive {
            true => Cow::Borrowed(code),
            false => code.chars().flat_map(char::to_lowercase).collect::<String>().into(),
        }
    }

    /// How much there is to go through, for what is counted in steps.
    pub(crate) fn size(&self) -> usize {
        self.concepts.len() + self.values.len() + self.parents.to.len()
    }

    /// How many concepts are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.concepts.len()
    }

    /// Whether no concept is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.concepts.is_empty()
    }

    /// Whether a code that is not here does not exist.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.content == Content::Complete
    }

    /// The concept with this code.
    #[must_use]
    pub fn find(&self, code: &str) -> Option<ConceptIndex> {
        let found = self
            .by_code
            .binary_search_by(|&concept| self.compare(self.code(concept), code))
            .ok()?;
        Some(self.by_code[found])
    }

    /// All concepts in the resource's order, each code once.
    pub fn concepts(&self) -> impl Iterator<Item = ConceptIndex> + '_ {
        let all = 0..u32::try_from(self.concepts.len()).expect("concepts are counted by u32");
        all.filter(|concept| self.repeated.binary_search(concept).is_err())
    }

    /// The code of a concept.
    #[must_use]
    pub fn code(&self, concept: ConceptIndex) -> &str {
        self.at(self.row(concept).code)
    }

    /// Its display; the code where it has none.
    #[must_use]
    pub fn display(&self, concept: ConceptIndex) -> &str {
        match self.at(self.row(concept).display) {
            "" => self.code(concept),
            display => display,
        }
    }

    /// Its definition; empty where it has none.
    #[must_use]
    pub fn definition(&self, concept: ConceptIndex) -> &str {
        self.at(self.row(concept).definition)
    }

    /// Whether it is for grouping alone.
    #[must_use]
    pub fn is_abstract(&self, concept: ConceptIndex) -> bool {
        self.row(concept).is_abstract
    }

    /// Whether it is retired.
    #[must_use]
    pub fn is_inactive(&self, concept: ConceptIndex) -> bool {
        self.row(concept).is_inactive
    }

    /// Its further names.
    pub fn designations(&self, concept: ConceptIndex) -> impl Iterator<Item = Designation<'_>> {
        let (start, end) = self.row(concept).designations;
        self.designations[start as usize..end as usize].iter().map(|row| Designation {
            language: self.at(row.language),
            use_system: self.at(row.use_system),
            use_code: self.at(row.use_code),
            value: self.at(row.value),
        })
    }

    /// Its properties, by their codes.
    pub fn values(
        &self,
        concept: ConceptIndex,
    ) -> impl Iterator<Item = (&str, PropertyValue<'_>)> + Clone {
        let (start, end) = self.row(concept).values;
        self.values[start as usize..end as usize]
            .iter()
            .map(|row| (self.at(row.property), self.value(&row.value)))
    }

    fn value(&self, value: &ValueSpan) -> PropertyValue<'_> {
        match *value {
            ValueSpan::Code(text) => PropertyValue::Code(self.at(text)),
            ValueSpan::String(text) => PropertyValue::String(self.at(text)),
            ValueSpan::Integer(text) => PropertyValue::Integer(self.at(text)),
            ValueSpan::DateTime(text) => PropertyValue::DateTime(self.at(text)),
            ValueSpan::Decimal(text) => PropertyValue::Decimal(self.at(text)),
            ValueSpan::Boolean(value) => PropertyValue::Boolean(value),
            ValueSpan::Coding { system, version, code, display } => PropertyValue::Coding {
                system: self.at(system),
                version: self.at(version),
                code: self.at(code),
                display: self.at(display),
            },
        }
    }

    /// The definition of a property.
    #[must_use]
    pub fn property(&self, code: &str) -> Option<&PropertyDefinition> {
        self.properties.iter().find(|property| &*property.code == code)
    }

    /// The concepts directly above.
    #[must_use]
    pub fn parents(&self, concept: ConceptIndex) -> &[ConceptIndex] {
        self.parents.of(concept)
    }

    /// The concepts directly below.
    #[must_use]
    pub fn children(&self, concept: ConceptIndex) -> &[ConceptIndex] {
        self.children.of(concept)
    }

    /// Whether `above` is `below` or one of its ancestors, by a hierarchy that means is-a.
    #[must_use]
    pub fn subsumes(&self, above: ConceptIndex, below: ConceptIndex) -> bool {
        if above == below {
            return true;
        }
        if self.hierarchy != Hierarchy::IsA {
            return false;
        }
        let mut found = false;
        self.walk(below, Self::parents, |ancestor| found |= ancestor == above);
        found
    }

    /// Visits `start` and everything that `next` leads to, each once.
    pub(crate) fn walk(
        &self,
        start: ConceptIndex,
        next: impl Fn(&Self, ConceptIndex) -> &[ConceptIndex],
        mut visit: impl FnMut(ConceptIndex),
    ) {
        let mut seen = std::collections::HashSet::from([start]);
        let mut open = vec![start];
        while let Some(concept) = open.pop() {
            visit(concept);
            open.extend(next(self, concept).iter().copied().filter(|&near| seen.insert(near)));
        }
    }
}
