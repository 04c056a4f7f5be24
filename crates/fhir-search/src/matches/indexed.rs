//! A resource as a search sees it.

use fhir_core::json::Value;

use super::value::text_of;
use super::weight::heap_bytes;
use super::words::{self, Words};
use crate::{ExtractOptions, Extractor, IndexValue, ParameterId, Reference, fold};

/// What is indexed of a resource, and of those that it contains.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexedResource {
    resource_type: Box<str>,
    id: Box<str>,
    /// Sorted by parameter.
    values: Vec<Indexed>,
    narrative: Vec<Words>,
    content: Vec<Words>,
    contained: Vec<IndexedResource>,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Indexed {
    parameter: ParameterId,
    pub(super) value: IndexValue<'static>,
    /// Its text as texts are compared, where it has one: folded once, however often it is compared.
    pub(super) folded: Option<Box<str>>,
}

impl Indexed {
    fn new(parameter: ParameterId, value: IndexValue<'static>) -> Self {
        let folded = text_of(&value).map(|text| fold(text).into());
        Self { parameter, value, folded }
    }
}

impl IndexedResource {
    /// That of a resource. What is no resource has no type and no values.
    #[must_use]
    pub fn of(
        resource: Value<'_>,
        extractor: &Extractor<'_>,
        options: &ExtractOptions<'_>,
    ) -> Self {
        let contained = resource.get("contained").into_iter().flat_map(|it| it.items());
        // Whatever it says of when it was written: it is not a resource of its own.
        let inner = ExtractOptions { last_updated: None, ..*options };
        Self {
            contained: contained.map(|it| Self::of_one(it, extractor, &inner)).collect(),
            ..Self::of_one(resource, extractor, options)
        }
    }

    fn of_one(
        resource: Value<'_>,
        extractor: &Extractor<'_>,
        options: &ExtractOptions<'_>,
    ) -> Self {
        let text = |name| resource.get_str(name).unwrap_or_default().into();
        let extracted = extractor.extract(resource, options);
        let values =
            extracted.iter().map(|(id, value)| Indexed::new(id, value.clone().into_owned()));
        Self { values: values.collect(), ..Self::new(text("resourceType"), text("id")) }
    }

    fn new(resource_type: Box<str>, id: Box<str>) -> Self {
        let (values, contained) = (Vec::new(), Vec::new());
        let (narrative, content) = (Vec::new(), Vec::new());
        Self { resource_type, id, values, narrative, content, contained }
    }

    /// The same with its words, which `_text` and `_content` search.
    #[must_use]
    pub fn with_words(mut self, resource: Value<'_>) -> Self {
        let contained = resource.get("contained").into_iter().flat_map(|it| it.items());
        for (inner, value) in self.contained.iter_mut().zip(contained) {
            (inner.narrative, inner.content) =
                (words::of_narrative(value).into_iter().collect(), words::of_content(value));
        }
        self.narrative = words::of_narrative(resource).into_iter().collect();
        self.content = words::of_content(resource);
        self
    }

    /// Its type.
    #[must_use]
    pub fn resource_type(&self) -> &str {
        &self.resource_type
    }

    /// Its id; of a contained one that within its container.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The values that a parameter has in it, with what goes with them.
    pub(super) fn indexed(&self, parameter: ParameterId) -> impl Iterator<Item = &Indexed> {
        let from = self.values.partition_point(|it| it.parameter < parameter);
        self.values[from..].iter().take_while(move |it| it.parameter == parameter)
    }

    /// The values that a parameter has in it.
    pub fn values(&self, parameter: ParameterId) -> impl Iterator<Item = &IndexValue<'static>> {
        self.indexed(parameter).map(|it| &it.value)
    }

    /// The references that a parameter has in it.
    pub fn references(&self, parameter: ParameterId) -> impl Iterator<Item = &Reference<'static>> {
        self.values(parameter).filter_map(|value| match value {
            IndexValue::Reference(reference) => Some(reference),
            _ => None,
        })
    }

    /// How many bytes of memory it takes, about: its words aside.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of_value = |it: &Indexed| {
            size_of::<Indexed>() + heap_bytes(&it.value) + it.folded.as_deref().map_or(0, str::len)
        };
        let values = self.values.iter().map(of_value).sum::<usize>();
        size_of::<Self>() + values + self.contained.iter().map(Self::bytes).sum::<usize>()
    }

    /// The resources that it contains.
    #[must_use]
    pub fn contained(&self) -> &[IndexedResource] {
        &self.contained
    }

    /// What `#id` refers to within it: `#` alone is itself.
    pub(super) fn contained_by_id(&self, id: &str) -> Option<&Self> {
        if id.is_empty() {
            return Some(self);
        }
        self.contained.iter().find(|it| *it.id == *id)
    }

    pub(super) fn narrative(&self) -> &[Words] {
        &self.narrative
    }

    pub(super) fn content(&self) -> &[Words] {
        &self.content
    }
}
