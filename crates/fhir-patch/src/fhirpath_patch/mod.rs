//! FHIRPath Patch (FHIR R4, fhirpatch.html): operations in a Parameters resource, on the elements
//! that FHIRPath expressions find.

mod elements;
mod read;
mod value;

use std::collections::HashSet;

use fhir_core::json::{Document, Value};
use fhir_schema::{Element, Kind, Node as SchemaNode, Schema};
use fhirpath::{Context, Expression, FhirValue, Item, Options};

use crate::Limits;
use crate::error::{PatchError, PatchProblem};
use crate::tree::Node;
use elements::Place;
use read::{Change, Operation};

pub use read::FhirPathPatch;

/// So many steps all expressions of one patch may take together.
const MAX_STEPS: u64 = 10_000_000;

/// So many bytes may be read again for all expressions of one patch: each sees the resource as
/// the operation before it left it.
const MAX_REREAD: usize = 256 << 20;
/// To find where an item of a list stands, so many bytes are read again for each item before it.
const BYTES_OF_ITEM: usize = 16;
const TOO_LONG: &str = "the patch takes too long; send it in parts";

impl FhirPathPatch<'_> {
    /// The resource with all operations applied in their order.
    ///
    /// # Errors
    /// The first operation that cannot be applied: then none is.
    pub fn apply(
        &self,
        schema: &Schema,
        target: Value<'_>,
        limits: &Limits,
    ) -> Result<Vec<u8>, PatchError> {
        let of = target.get_str("resourceType").unwrap_or_default().into_owned();
        let mut root = Node::of(target);
        let mut json = root.to_json();
        let budget = MAX_STEPS / self.operations.len().max(1) as u64;
        let mut reread = 0;
        for (index, operation) in self.operations.iter().enumerate() {
            reread += json.len();
            let done = if reread > MAX_REREAD {
                Err(PatchProblem::too_costly(TOO_LONG))
            } else {
                let reread = &mut reread;
                Work { schema, root: &mut root, resource_type: &of, reread }
                    .perform(operation, &json, budget)
            };
            let done = done.and_then(|()| {
                json = root.to_json();
                let too_long = "the result would be longer than a resource may be";
                if json.len() > limits.bytes {
                    return Err(PatchProblem::too_costly(too_long));
                }
                let text = |error| format!("the result is no JSON that can be stored: {error}");
                Document::parse(&json)
                    .map(drop)
                    .map_err(|error| PatchProblem::inapplicable(text(error)))
            });
            done.map_err(|problem| operation.failed(index, problem))?;
        }
        Ok(json)
    }
}

/// A resource while one operation is applied to it.
struct Work<'w, 's, 'a> {
    schema: &'s Schema,
    root: &'w mut Node<'a>,
    resource_type: &'w str,
    /// Bytes that were read again.
    reread: &'w mut usize,
}

impl<'a> Work<'_, '_, 'a> {
    /// `json` is the resource as it is now.
    fn perform(
        &mut self,
        operation: &Operation<'a>,
        json: &[u8],
        budget: u64,
    ) -> Result<(), PatchProblem> {
        let of_list = matches!(operation.change, Change::Insert { .. } | Change::Move { .. });
        let found = self.find(&operation.path, json, budget, of_list)?;
        match &operation.change {
            Change::Add { name, value } => self.add(&one(found)?, name, *value),
            Change::Insert { index, value } => {
                let (place, length) = self.list(found)?;
                if *index > length {
                    return Err(no_index("index", *index));
                }
                let (_, element) = self.element(&place)?;
                let content = value::content(self.schema, *value, element)?;
                elements::insert(self.root, &place, *index, content)
            }
            Change::Delete => match found.len() {
                0 => Ok(()),
                _ => elements::remove(self.root, &one(found)?),
            },
            Change::Replace { value } => self.replace(&one(found)?, *value),
            Change::Move { source, destination } => {
                let (place, length) = self.list(found)?;
                for (name, index) in [("source", *source), ("destination", *destination)] {
                    if index >= length {
                        return Err(no_index(name, index));
                    }
                }
                elements::reorder(self.root, &place, *source, *destination)
            }
        }
    }

    /// The elements that an expression finds, each by its place: the items of a list, or one at
    /// most.
    fn find(
        &mut self,
        path: &str,
        json: &[u8],
        budget: u64,
        of_list: bool,
    ) -> Result<Vec<Place>, PatchProblem> {
        let expression =
            Expression::compile(path, self.schema, self.resource_type, Options::default())
                .map_err(|error| PatchProblem::Malformed(format!("its path is wrong: {error}")))?;
        let unreadable = |error| PatchProblem::inapplicable(format!("it cannot be read: {error}"));
        let document = Document::parse(json).map_err(unreadable)?;
        let resource = FhirValue::resource(self.schema, document.root());
        let context = Context::new(self.schema).with_resource(resource).with_budget(budget);
        let items = expression
            .evaluate(&context, &Item::Fhir(resource))
            .map_err(|error| PatchProblem::Inapplicable(format!("its path fails: {error}")))?;
        let no_element = || {
            let text = "its path finds a value that is no element of the resource";
            PatchProblem::inapplicable(text)
        };
        // An element that is found twice is one.
        let (mut known, mut elements) = (HashSet::new(), Vec::new());
        for item in &items {
            let value = item.as_fhir().ok_or_else(no_element)?;
            let anchor = value.value().or_else(|| value.sibling()).ok_or_else(no_element)?;
            if known.insert((anchor.document_text().as_ptr(), anchor.place())) {
                elements.push(value);
            }
        }
        let count = elements.len();
        if of_list {
            // Where each stands is found by going through those before it.
            *self.reread = self.reread.saturating_add(count * count * BYTES_OF_ITEM);
            if *self.reread > MAX_REREAD {
                return Err(PatchProblem::too_costly(TOO_LONG));
            }
        } else if count > 1 {
            return Err(PatchProblem::Inapplicable(format!(
                "its path finds {count} elements, and it must find one"
            )));
        }
        let place = |value: &&FhirValue<'_>| Place::of(document.root(), value);
        elements.iter().map(|value| place(value).ok_or_else(no_element)).collect()
    }

    /// The node whose elements stand in the object at these steps.
    fn node_at(&self, place: &Place) -> Option<SchemaNode> {
        let mut at: &Node<'_> = self.root;
        let mut node = self.schema.resource(self.resource_type)?;
        for step in place.steps() {
            if let Some(name) = step.name() {
                let kind = self.schema.element(node, name)?.kind;
                node = match kind {
                    Kind::Resource => {
                        let inner = step.follow(at).and_then(|it| place.item_after(step, it))?;
                        self.schema.resource(&inner.get("resourceType")?.as_str()?)?
                    }
                    // XHTML has no extensions.
                    Kind::Xhtml => return None,
                    kind => kind.node().or_else(|| self.schema.datatype("Element"))?,
                };
            }
            // What has extensions alone has no value to follow, nor anything within it.
            match step.follow(at) {
                Some(next) => at = next,
                None => continue,
            }
        }
        Some(node)
    }

    /// The node that an element stands in, and its definition.
    fn element(&self, place: &Place) -> Result<(SchemaNode, Element), PatchProblem> {
        let found = place.parent().zip(place.name()).and_then(|(parent, name)| {
            let node = self.node_at(&parent)?;
            Some((node, self.schema.element(node, name)?))
        });
        found.ok_or_else(|| {
            PatchProblem::inapplicable("what its path finds is no element that can be changed")
        })
    }

    fn add(&mut self, at: &Place, name: &str, value: Value<'a>) -> Result<(), PatchProblem> {
        let node = self.node_at(at).ok_or_else(|| {
            PatchProblem::inapplicable("what its path finds can hold no elements")
        })?;
        let is_primitive = at.name().is_some()
            && self.element(at)?.1.kind.node().is_none()
            && self.element(at)?.1.kind != Kind::Resource;
        let (json_name, element) = value::named(self.schema, node, name, value)?;
        let content = value::content(self.schema, value, element)?;
        let object = elements::object_mut(self.root, at, is_primitive).ok_or_else(|| {
            PatchProblem::inapplicable("what its path finds can hold no elements")
        })?;
        let there = |name: &str| {
            object.iter().any(|(it, _)| it == name || it.strip_prefix('_') == Some(name))
        };
        if element.is_array {
            return elements::push(object, &json_name, content);
        }
        let choice = element.choice_name(&json_name);
        let is_there = match choice {
            Some(choice) => self.schema.choice(node, choice).any(|(name, _)| there(name)),
            None => there(&json_name),
        };
        if is_there {
            let text =
                format!("there is a {name} already, and it can stand there once; replace it");
            return Err(PatchProblem::Inapplicable(text));
        }
        elements::set(object, &json_name, content);
        Ok(())
    }

    fn replace(&mut self, place: &Place, value: Value<'a>) -> Result<(), PatchProblem> {
        let (node, element) = self.element(place)?;
        let name = place.name().unwrap_or_default();
        let (new_name, element) = match element.choice_name(name) {
            Some(choice) => value::named(self.schema, node, choice, value)?,
            None => (name.to_owned(), element),
        };
        let content = value::content(self.schema, value, element)?;
        elements::replace(self.root, place, &new_name, content)
    }

    /// The one list whose items all of these are, by the place of its first, and its length.
    fn list(&self, found: Vec<Place>) -> Result<(Place, usize), PatchProblem> {
        let count = found.len();
        let none = "its path finds nothing, and a list that is empty has no place; use add";
        let first = found.into_iter().enumerate().try_fold(None, |list, (at, place)| {
            let same = list.is_none_or(|list: Place| place.is_beside(&list));
            if place.index() == Some(at) && same { Ok(Some(place)) } else { Err(()) }
        });
        let no_list = "its path must find a list: all of its items and nothing else";
        let last = first.map_err(|()| PatchProblem::inapplicable(no_list))?;
        let last = last.ok_or_else(|| PatchProblem::inapplicable(none))?;
        match elements::length(self.root, &last) {
            Some(length) if length == count => Ok((last, length)),
            _ => Err(PatchProblem::inapplicable(no_list)),
        }
    }
}

/// The element that was found.
fn one(found: Vec<Place>) -> Result<Place, PatchProblem> {
    let place = found.into_iter().next();
    place.ok_or_else(|| PatchProblem::inapplicable("its path finds no element"))
}

fn no_index(name: &str, index: usize) -> PatchProblem {
    PatchProblem::Inapplicable(format!("the list there has no {name} {index}"))
}
