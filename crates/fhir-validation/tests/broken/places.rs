//! Where an element of a profile stands in a resource, found apart from the validator: by names,
//! and by values, patterns, types and extension URLs where it is sliced.

use fhir_schema::structure::{ElementDefinition, Slicing, StructureDefinition};
use serde_json::Value;

/// A step down into JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// The member's name: `valueQuantity`.
    pub(crate) key: String,
    /// The element's name: `value`.
    name: String,
    /// The position, in an array.
    pub(crate) index: Option<usize>,
}

/// Steps from the root.
pub(crate) type Place = Vec<Step>;

/// The place as simple FHIRPath.
pub(crate) fn expression(type_name: &str, place: &[Step]) -> String {
    let mut text = type_name.to_owned();
    for Step { name, index, .. } in place {
        text.push_str(&format!(".{name}"));
        if let Some(index) = index {
            text.push_str(&format!("[{index}]"));
        }
    }
    text
}

/// The value at a place.
pub(crate) fn at<'v>(root: &'v Value, place: &[Step]) -> Option<&'v Value> {
    place.iter().try_fold(root, |value, Step { key, index, .. }| {
        let value = value.get(key)?;
        index.map_or(Some(value), |index| value.get(index))
    })
}

/// The same, to change it.
pub(crate) fn at_mut<'v>(root: &'v mut Value, place: &[Step]) -> Option<&'v mut Value> {
    place.iter().try_fold(root, |value, Step { key, index, .. }| {
        let value = value.get_mut(key)?;
        match index {
            Some(index) => value.get_mut(*index),
            None => Some(value),
        }
    })
}

/// A slice on the way to an element: its definition, how it is told, and how many steps lead to
/// its occurrences.
pub(crate) struct Slice<'s> {
    pub(crate) definition: &'s ElementDefinition,
    slicing: &'s Slicing,
    pub(crate) steps: usize,
}

/// Everything on the way to an element.
pub(crate) struct Way<'s> {
    structure: &'s StructureDefinition,
    segments: Vec<(&'s ElementDefinition, String)>,
    pub(crate) slices: Vec<Slice<'s>>,
}

impl<'s> Way<'s> {
    /// The way to an element; `None` where it leads through what this cannot follow.
    pub(crate) fn to(
        structure: &'s StructureDefinition,
        element: &'s ElementDefinition,
    ) -> Option<Self> {
        let mut way = Self { structure, segments: Vec::new(), slices: Vec::new() };
        let mut segments = element.id.split('.');
        let mut id = segments.next()?.to_owned();
        for (at, segment) in segments.enumerate() {
            let (name, slice) = segment
                .split_once(':')
                .map_or((segment, None), |(name, slice)| (name, Some(slice)));
            let sliced = format!("{id}.{name}");
            id = format!("{id}.{segment}");
            let definition = structure.element(&id)?;
            if slice.is_some() {
                let slicing = structure.element(&sliced)?.slicing.as_deref()?;
                way.slices.push(Slice { definition, slicing, steps: at + 1 });
            }
            way.segments.push((definition, name.to_owned()));
        }
        Some(way)
    }

    /// Where the element stands in a resource.
    pub(crate) fn places(&self, root: &Value) -> Vec<Place> {
        let mut places = vec![Place::new()];
        for (at, (definition, name)) in self.segments.iter().enumerate() {
            let mut next = Vec::new();
            for place in &places {
                for step in at_steps(root, place, definition, name) {
                    let mut place = place.clone();
                    place.push(step);
                    let slice = self.slices.iter().find(|it| it.steps == at + 1);
                    if slice.is_none_or(|it| self.is_in(it, root, &place) == Some(true)) {
                        next.push(place);
                    }
                }
            }
            places = next;
        }
        places
    }

    /// Whether what stands at a place is of a slice; `None` where this cannot tell.
    pub(crate) fn is_in(&self, slice: &Slice<'_>, root: &Value, place: &[Step]) -> Option<bool> {
        let item = at(root, place)?;
        let mut is_in = true;
        for discriminator in &slice.slicing.discriminators {
            let path = &*discriminator.path;
            is_in &= match &*discriminator.kind {
                "type" if path == "$this" => {
                    let types = &slice.definition.types;
                    types.iter().any(|it| {
                        place.last().is_some_and(|step| {
                            step.key.len() == step.name.len() + it.code.len()
                                && step.key[step.name.len()..].eq_ignore_ascii_case(&it.code)
                        })
                    })
                }
                "value" | "pattern" => {
                    let expected = self.expected(slice.definition, path)?;
                    values(item, path).iter().any(|value| contains(value, &expected))
                }
                _ => return None,
            };
        }
        Some(is_in)
    }

    /// The value that tells a slice at the end of a discriminator's path.
    fn expected(&self, slice: &ElementDefinition, path: &str) -> Option<Value> {
        if path == "$this" {
            return template(slice);
        }
        let url = slice.types.first().and_then(|it| it.profiles.first());
        if let (Some(url), "url") = (url, path) {
            return Some(Value::from(url.split('|').next()?));
        }
        let names: Vec<&str> = path.split('.').collect();
        for known in (0..=names.len()).rev() {
            let id = [&[&*slice.id], &names[..known]].concat().join(".");
            let Some(found) = self.structure.element(&id).and_then(template) else { continue };
            let rest = names[known..].join(".");
            let rest = if rest.is_empty() { "$this" } else { &rest };
            return values(&found, rest).first().map(|it| (*it).clone());
        }
        None
    }
}

/// The fixed value or pattern of an element.
pub(crate) fn template(element: &ElementDefinition) -> Option<Value> {
    let typed = element.fixed.as_ref().or(element.pattern.as_ref())?;
    serde_json::from_str(&typed.json).ok()
}

/// The steps from a place to an element's occurrences.
fn at_steps(root: &Value, place: &[Step], definition: &ElementDefinition, name: &str) -> Vec<Step> {
    let Some(members) = at(root, place).and_then(Value::as_object) else { return Vec::new() };
    let plain = name.trim_end_matches("[x]");
    let mut steps = Vec::new();
    for (key, value) in members {
        let is_it = match name.ends_with("[x]") {
            false => key == name,
            true => definition.types.iter().any(|it| {
                key.strip_prefix(plain).is_some_and(|rest| rest.eq_ignore_ascii_case(&it.code))
            }),
        };
        if !is_it {
            continue;
        }
        let step = |index| Step { key: key.clone(), name: plain.to_owned(), index };
        match value.as_array() {
            Some(items) => steps.extend((0..items.len()).map(|index| step(Some(index)))),
            None => steps.push(step(None)),
        }
    }
    steps
}

/// The values at the end of a path of names.
fn values<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut values = vec![value];
    for name in path.split('.').filter(|it| *it != "$this") {
        values = values.into_iter().filter_map(|it| it.get(name)).flat_map(each).collect();
    }
    values
}

fn each(value: &Value) -> Vec<&Value> {
    match value.as_array() {
        Some(items) => items.iter().collect(),
        None => vec![value],
    }
}

/// Whether a value has at least what a pattern has.
fn contains(value: &Value, pattern: &Value) -> bool {
    match (value, pattern) {
        (Value::Object(value), Value::Object(pattern)) => pattern
            .iter()
            .all(|(name, pattern)| value.get(name).is_some_and(|it| contains(it, pattern))),
        (Value::Array(value), Value::Array(pattern)) => {
            pattern.iter().all(|pattern| value.iter().any(|it| contains(it, pattern)))
        }
        _ => value == pattern,
    }
}
