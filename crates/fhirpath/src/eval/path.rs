//! Steps from an element to those inside it: by name, by the name of a choice of types, to all
//! children, to all descendants. What stands under `x` and `_x` in JSON is one element.

use std::borrow::Cow;

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_schema::{Element, Node};
use smallvec::SmallVec;

use super::siblings::Siblings;
use super::{Flow, Run, Sink, Stop};
use crate::model::NodeType;
use crate::program::Step;
use crate::value::{FhirValue, Item};

/// Takes a name, the value under it, what stands beside that, and the node that has the name.
type EachChild<'s, 'a> =
    &'s mut dyn FnMut(&str, Option<Value<'a>>, Option<Value<'a>>, Option<Node>) -> Flow;

impl<'a> Run<'a, '_> {
    /// The elements with the name of `step` inside an item.
    pub(super) fn step_into(
        &self,
        item: &Item<'a>,
        step: &'a Step,
        at: u32,
        sink: Sink<'_, 'a>,
    ) -> Flow {
        match item {
            Item::Fhir(value) => self.named_children(value, step, at, sink),
            Item::Type(info) => match &*step.name {
                "namespace" => sink(Item::String(Cow::Borrowed(info.namespace))),
                "name" => sink(Item::String(Cow::Owned(info.name.clone()))),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn named_children(
        &self,
        value: &FhirValue<'a>,
        step: &'a Step,
        at: u32,
        sink: Sink<'_, 'a>,
    ) -> Flow {
        let is_primitive = value.has_primitive_value() || value.node_type().is_primitive();
        if is_primitive && &*step.name == "value" {
            return match value.to_system(self.schema) {
                Some(system) => sink(system),
                None => Ok(()),
            };
        }
        let Some(object) = value.object() else {
            return Ok(());
        };
        let node =
            if is_primitive { self.schema.datatype("Element") } else { value.node_type().node() };
        let Some(node) = node else {
            return self.named(object, step, NodeType::Unknown, at, sink);
        };
        if let Some((_, element)) = step.known.iter().find(|(known, _)| *known == node) {
            return self.named(object, step, NodeType::Element(*element), at, sink);
        }
        match self.schema.element(node, &step.name) {
            Some(element) if !step.name.starts_with('_') => {
                self.named(object, step, NodeType::Element(element), at, sink)
            }
            _ => self.chosen(object, node, step, at, sink),
        }
    }

    /// What stands under this very name.
    fn named(
        &self,
        object: Value<'a>,
        step: &'a Step,
        node_type: NodeType,
        at: u32,
        sink: Sink<'_, 'a>,
    ) -> Flow {
        let may_have_sibling = node_type.is_primitive() || node_type == NodeType::Unknown;
        if !may_have_sibling {
            return match self.member(object, &step.name, at)? {
                Some(value) => self.hand_out(Some(value), None, node_type, at, sink),
                None => Ok(()),
            };
        }
        let (mut value, mut sibling) = (None, None);
        for (name, member) in object.named_members() {
            if name.is_string(&step.name) {
                value = Some(member);
            } else if name.is_string(&step.sibling_name) {
                sibling = Some(member);
            }
        }
        self.spend_on_members(object, 1, at)?;
        if value.is_none() && sibling.is_none() {
            return Ok(());
        }
        self.hand_out(value, sibling, node_type, at, sink)
    }

    /// The member of an object with a name.
    pub(super) fn member(
        &self,
        object: Value<'a>,
        name: &str,
        at: u32,
    ) -> Result<Option<Value<'a>>, Stop> {
        self.spend_on_members(object, 1, at)?;
        Ok(object.get(name))
    }

    /// Pays for going through the members of an object so many times. Elements have few, for which
    /// the step to one of them is enough.
    #[inline]
    fn spend_on_members(&self, object: Value<'a>, times: usize, at: u32) -> Flow {
        /// Bytes of an object that has too few members to count them.
        const SMALL: usize = 4096;
        // Most documents are small themselves, which is known at once.
        if object.document_text().len() < SMALL || object.raw().len() < SMALL {
            return Ok(());
        }
        self.spend_on_many(object, times, at)
    }

    #[inline(never)]
    fn spend_on_many(&self, object: Value<'a>, times: usize, at: u32) -> Flow {
        const OF_A_STEP: usize = 16;
        let count = object.named_members().count();
        self.spend((count.saturating_mul(times) / OF_A_STEP) as u64, at)
    }

    /// What stands under the name of a choice of types: `valueQuantity` for `value`.
    fn chosen(
        &self,
        object: Value<'a>,
        node: Node,
        step: &'a Step,
        at: u32,
        sink: Sink<'_, 'a>,
    ) -> Flow {
        let mut found: SmallVec<[(Cow<'a, str>, Element); 1]> = SmallVec::new();
        for (name, _) in object.members() {
            let bare = name.strip_prefix('_').unwrap_or(&name);
            let type_part = bare.strip_prefix(&*step.name);
            if !type_part.is_some_and(|it| it.starts_with(|first: char| first.is_ascii_uppercase()))
            {
                continue;
            }
            let is_new = !found.iter().any(|(other, _)| other == bare);
            if let Some(element) = self.schema.element(node, bare)
                && element.is_choice
                && is_new
            {
                let bare = match &name {
                    Cow::Borrowed(name) => Cow::Borrowed(name.strip_prefix('_').unwrap_or(name)),
                    Cow::Owned(_) => Cow::Owned(bare.to_owned()),
                };
                found.push((bare, element));
            }
        }
        // Once for their names, and twice for each that is found.
        self.spend_on_members(object, 1 + 2 * found.len(), at)?;
        if found.is_empty() {
            // The schema has no such element; the data may have it all the same.
            return match self.member(object, &step.name, at)? {
                Some(value) => self.hand_out(Some(value), None, NodeType::Unknown, at, sink),
                None => Ok(()),
            };
        }
        for (name, element) in found {
            let sibling = sibling_of(object, &name);
            let node_type = NodeType::Element(element);
            self.hand_out(object.get(&name), sibling, node_type, at, sink)?;
        }
        Ok(())
    }

    /// The items of an array, or the one value; each with what stands beside it.
    fn hand_out(
        &self,
        value: Option<Value<'a>>,
        sibling: Option<Value<'a>>,
        node_type: NodeType,
        at: u32,
        sink: Sink<'_, 'a>,
    ) -> Flow {
        let is_array = |it: &Option<Value<'a>>| it.is_some_and(|it| it.kind() == JsonKind::Array);
        if !is_array(&value) && !is_array(&sibling) {
            return self.hand_out_one(value, sibling, node_type, at, sink);
        }
        let mut values = value.into_iter().flat_map(|it| it.each());
        let mut siblings = sibling.into_iter().flat_map(|it| it.each());
        loop {
            let (value, sibling) = (values.next(), siblings.next());
            if value.is_none() && sibling.is_none() {
                return Ok(());
            }
            self.hand_out_one(value, sibling, node_type, at, sink)?;
        }
    }

    fn hand_out_one(
        &self,
        value: Option<Value<'a>>,
        sibling: Option<Value<'a>>,
        node_type: NodeType,
        at: u32,
        sink: Sink<'_, 'a>,
    ) -> Flow {
        self.spend(1, at)?;
        let item = match node_type {
            NodeType::Element(element) => FhirValue::element(self.schema, element, value, sibling),
            other => FhirValue::of_type(other, value, sibling),
        };
        item.map_or(Ok(()), |item| sink(Item::Fhir(item)))
    }

    /// All elements inside an item.
    pub(super) fn children(&self, item: &Item<'a>, at: u32, sink: Sink<'_, 'a>) -> Flow {
        let Some(object) = item.as_fhir().and_then(FhirValue::object) else {
            return Ok(());
        };
        self.each_child(item, object, at, &mut |name, value, sibling, node| {
            let element = node.and_then(|node| self.schema.element(node, name));
            let node_type = element.map_or(NodeType::Unknown, NodeType::Element);
            self.hand_out(value, sibling, node_type, at, sink)
        })
    }

    /// How many elements there are inside an item, counted no further than to `most`.
    pub(super) fn count_children(
        &self,
        item: &Item<'a>,
        most: usize,
        at: u32,
    ) -> Result<usize, Stop> {
        let Some(object) = item.as_fhir().and_then(FhirValue::object) else {
            return Ok(0);
        };
        let mut count = 0;
        // Looked for when the first member asks for them: often the first is enough.
        let mut siblings: Option<Siblings<'a>> = None;
        for (name, value) in object.named_members() {
            self.spend(1, at)?;
            if name.is_string("resourceType") && self.is_type_marker(item) {
                continue;
            }
            let is_sibling = name.raw().starts_with("\"_");
            let needs_siblings = is_sibling || value.kind() == JsonKind::Array;
            let beside = match &siblings {
                Some(siblings) => Some(siblings),
                None if needs_siblings => {
                    self.spend_on_members(object, 2, at)?;
                    Some(&*siblings.insert(Siblings::of(object)))
                }
                None => None,
            };
            let text = if needs_siblings { name.as_str() } else { None };
            // What stands beside a value is counted with it.
            if let (true, Some(name), Some(beside)) = (is_sibling, &text, beside)
                && beside.has_value(&name[1..])
            {
                continue;
            }
            match value.kind() {
                JsonKind::Array if !is_sibling => {
                    let sibling = text.zip(beside).and_then(|(name, it)| it.beside(&name));
                    count += count_items(value, sibling);
                }
                JsonKind::Array => {
                    let is_there = |it: &Value<'a>| it.kind() == JsonKind::Object;
                    count += value.items().filter(is_there).count();
                }
                JsonKind::Null => {}
                _ => count += 1,
            }
            if count >= most {
                return Ok(most);
            }
        }
        Ok(count)
    }

    /// Whether `resourceType` is no element of this, but says what it is.
    fn is_type_marker(&self, item: &Item<'a>) -> bool {
        let node = item.as_fhir().and_then(|parent| parent.node_type().node());
        node.is_none_or(|node| self.schema.element(node, "resourceType").is_none())
    }

    /// Each name inside an object, with its value and what stands beside it.
    fn each_child(
        &self,
        item: &Item<'a>,
        object: Value<'a>,
        at: u32,
        visit: EachChild<'_, 'a>,
    ) -> Flow {
        let Some(parent) = item.as_fhir() else {
            return Ok(());
        };
        let node = if parent.has_primitive_value() || parent.node_type().is_primitive() {
            self.schema.datatype("Element")
        } else {
            parent.node_type().node()
        };
        self.spend_on_members(object, 2, at)?;
        let siblings = Siblings::of(object);
        for (name, value) in object.members() {
            if name == "resourceType"
                && node.is_none_or(|node| self.schema.element(node, &name).is_none())
            {
                continue;
            }
            match name.strip_prefix('_') {
                Some(bare) if siblings.has_value(bare) => {}
                Some(bare) => visit(bare, None, Some(value), node)?,
                None => visit(&name, Some(value), siblings.beside(&name), node)?,
            }
        }
        Ok(())
    }

    /// All elements inside an item, those inside these, and so on.
    pub(super) fn descendants(&self, item: &Item<'a>, at: u32, sink: Sink<'_, 'a>) -> Flow {
        // What is still to come is listed, not waited for by a call: who takes an item may ask
        // for descendants again, and that for every level of the JSON.
        let mut to_come = Vec::new();
        let mut current = item.clone();
        loop {
            let first = to_come.len();
            self.children(&current, at, &mut |child| {
                to_come.push(child);
                Ok(())
            })?;
            to_come[first..].reverse();
            let Some(next) = to_come.pop() else {
                return Ok(());
            };
            sink(next.clone())?;
            current = next;
        }
    }
}

/// How many elements an array holds, those that have extensions alone among them.
fn count_items(array: Value<'_>, sibling: Option<Value<'_>>) -> usize {
    let count = array.items().filter(|it| it.kind() != JsonKind::Null).count();
    let is_whole = array.items().all(|it| it.kind() != JsonKind::Null);
    match sibling {
        None => count,
        Some(sibling) if is_whole && sibling.items().count() <= count => count,
        Some(sibling) => {
            let mut values = array.items();
            let mut siblings = sibling.items();
            let mut count = 0;
            loop {
                let (value, sibling) = (values.next(), siblings.next());
                if value.is_none() && sibling.is_none() {
                    return count;
                }
                let item = FhirValue::of_type(NodeType::Unknown, value, sibling);
                count += usize::from(item.is_some());
            }
        }
    }
}

/// What stands under a name with an underscore before it.
fn sibling_of<'a>(object: Value<'a>, name: &str) -> Option<Value<'a>> {
    let is_sibling = |key: &str| key.strip_prefix('_') == Some(name);
    object.members().find(|(key, _)| is_sibling(key)).map(|(_, value)| value)
}
