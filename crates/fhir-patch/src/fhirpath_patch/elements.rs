//! Elements of a resource by their places in JSON. A primitive is one element and two members:
//! its value under `x`, its id and extensions under `_x`; in a list, `null` stands where one of
//! the two is not there (FHIR R4, 2.6.2).

use std::borrow::Cow;

use fhir_core::json::{Kind, Value};
use fhirpath::FhirValue;

use crate::error::PatchProblem;
use crate::tree::{Member, Node};

/// A step from a JSON value to one inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    Index(usize),
}

impl Step {
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Index(_) => None,
        }
    }

    /// What is one step further.
    pub(super) fn follow<'n, 'a>(&self, node: &'n Node<'a>) -> Option<&'n Node<'a>> {
        match (self, node) {
            (Self::Name(name), node) => node.get(name),
            (Self::Index(index), Node::Array(items)) => items.get(*index),
            (Self::Index(_), _) => None,
        }
    }

    fn follow_mut<'n, 'a>(&self, node: &'n mut Node<'a>) -> Option<&'n mut Node<'a>> {
        match (self, node) {
            (Self::Name(name), Node::Object(members)) => {
                members.iter_mut().find(|(it, _)| it == name).map(|(_, value)| value)
            }
            (Self::Index(index), Node::Array(items)) => items.get_mut(*index),
            _ => None,
        }
    }
}

/// Where an element stands: the steps to its value, be there one or only what stands beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(Vec<Step>);

impl Place {
    /// Where an element of this document stands; `None` for one of another, or of none.
    pub(super) fn of(root: Value<'_>, element: &FhirValue<'_>) -> Option<Self> {
        let anchor = element.value().or_else(|| element.sibling())?;
        if !std::ptr::eq(anchor.document_text(), root.document_text()) {
            return None;
        }
        let mut steps = Vec::new();
        let mut at = root;
        while at.place() != anchor.place() {
            let before = |it: &Value<'_>| it.place() <= anchor.place();
            let (step, next) = match at.kind() {
                Kind::Object => {
                    let inner = at.members().take_while(|(_, value)| before(value)).last()?;
                    (Step::Name(inner.0.into_owned()), inner.1)
                }
                Kind::Array => {
                    let inner = at.items().take_while(before).enumerate().last()?;
                    (Step::Index(inner.0), inner.1)
                }
                _ => return None,
            };
            steps.push(step);
            at = next;
        }
        let mut place = Self(steps);
        if element.value().is_none() {
            let at = place.name_at()?;
            let Step::Name(name) = &mut place.0[at] else { return None };
            *name = name.strip_prefix('_')?.to_owned();
        }
        Some(place)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    fn name_at(&self) -> Option<usize> {
        self.0.iter().rposition(|step| step.name().is_some())
    }

    /// The element's name in JSON; `None` for the whole resource.
    pub(super) fn name(&self) -> Option<&str> {
        self.0[self.name_at()?].name()
    }

    /// Its index, if it is an item of an array.
    pub(super) fn index(&self) -> Option<usize> {
        match self.0.last()? {
            Step::Index(index) => Some(*index),
            Step::Name(_) => None,
        }
    }

    /// Where the object stands that the element is in.
    pub(super) fn parent(&self) -> Option<Self> {
        Some(Self(self.0[..self.name_at()?].to_vec()))
    }

    /// Whether both are items of one list.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.0.split_last().map(|it| it.1) == other.0.split_last().map(|it| it.1)
    }

    /// Of an array that `step` of this place leads to, the item that the next step does; else
    /// what it leads to itself.
    pub(super) fn item_after<'n, 'a>(
        &self,
        step: &Step,
        node: &'n Node<'a>,
    ) -> Option<&'n Node<'a>> {
        let at = self.0.iter().position(|it| std::ptr::eq(it, step))?;
        match self.0.get(at + 1) {
            Some(next @ Step::Index(_)) => next.follow(node),
            _ => Some(node),
        }
    }

    fn find_mut<'n, 'a>(&self, root: &'n mut Node<'a>) -> Option<&'n mut Node<'a>> {
        self.0.iter().try_fold(root, |node, step| step.follow_mut(node))
    }
}

/// What an element is: its value, and what stands beside it under `_x`. Null where there is none.
#[derive(Debug)]
pub(super) struct Content<'a> {
    pub(super) value: Node<'a>,
    pub(super) sibling: Node<'a>,
}

impl<'a> Content<'a> {
    /// A value alone.
    pub(super) fn of(value: Node<'a>) -> Self {
        Self { value, sibling: Node::Null }
    }
}

/// The members of an object.
type Members<'a> = Vec<Member<'a>>;

fn beside(name: &str) -> String {
    format!("_{name}")
}

fn position(members: &[Member<'_>], name: &str) -> Option<usize> {
    members.iter().position(|(it, _)| it == name)
}

/// Whether an element with this name is in the object.
pub(super) fn is_there(members: &[Member<'_>], name: &str) -> bool {
    members.iter().any(|(it, _)| it == name || it.strip_prefix('_') == Some(name))
}

/// Puts what stands under a name in its place, or at the end; null takes it away.
fn put<'a>(members: &mut Members<'a>, name: String, node: Node<'a>) {
    match (position(members, &name), node.is_null()) {
        (Some(at), true) => drop(members.remove(at)),
        (Some(at), false) => members[at].1 = node,
        (None, true) => {}
        (None, false) => members.push((Cow::Owned(name), node)),
    }
}

/// Makes the content that of the element with this name, which is no list.
pub(super) fn set<'a>(members: &mut Members<'a>, name: &str, content: Content<'a>) {
    put(members, name.to_owned(), content.value);
    put(members, beside(name), content.sibling);
}

/// Takes what a list holds out of an object, of every item its value and what stands beside it;
/// empty when there is no such list.
fn take_list<'a>(members: &mut Members<'a>, name: &str) -> Result<Vec<Content<'a>>, PatchProblem> {
    let mut items = |name: &str| match position(members, name) {
        None => Ok(Vec::new()),
        Some(at) => match std::mem::replace(&mut members[at].1, Node::Null) {
            Node::Array(items) => Ok(items),
            _ => Err(PatchProblem::inapplicable("what stands there is no array")),
        },
    };
    let (mut values, mut siblings) = (items(name)?, items(&beside(name))?);
    let length = values.len().max(siblings.len());
    values.resize(length, Node::Null);
    siblings.resize(length, Node::Null);
    let both = values.into_iter().zip(siblings);
    Ok(both.map(|(value, sibling)| Content { value, sibling }).collect())
}

/// Writes a list into an object; one that is empty is not written.
fn put_list<'a>(members: &mut Members<'a>, name: &str, list: Vec<Content<'a>>) {
    let (values, siblings): (Vec<_>, Vec<_>) =
        list.into_iter().map(|content| (content.value, content.sibling)).unzip();
    for (name, items) in [(name.to_owned(), values), (beside(name), siblings)] {
        let is_empty = items.iter().all(Node::is_null);
        put(members, name, if is_empty { Node::Null } else { Node::Array(items) });
    }
}

/// Changes the list that a place is an item of.
fn change_list<'a>(
    root: &mut Node<'a>,
    place: &Place,
    change: impl FnOnce(&mut Vec<Content<'a>>),
) -> Result<(), PatchProblem> {
    let gone = || PatchProblem::inapplicable("what its path finds cannot be changed");
    let name = place.name().ok_or_else(gone)?;
    let parent = place.parent().ok_or_else(gone)?;
    let members = parent.find_mut(root).and_then(Node::members_mut).ok_or_else(gone)?;
    let mut list = take_list(members, name)?;
    change(&mut list);
    put_list(members, name, list);
    Ok(())
}

/// How many items the list has that a place is in.
pub(super) fn length(root: &Node<'_>, place: &Place) -> Option<usize> {
    let parent = place.parent()?;
    let object = parent.0.iter().try_fold(root, |node, step| step.follow(node))?;
    let count = |name: &str| match object.get(name) {
        Some(Node::Array(items)) => Some(items.len()),
        Some(_) => None,
        None => Some(0),
    };
    let name = place.name()?;
    Some(count(name)?.max(count(&beside(name))?))
}

/// The members of the object at a place; of a primitive, those of what stands beside it, which is
/// made when there is none.
pub(super) fn object_mut<'n, 'a>(
    root: &'n mut Node<'a>,
    place: &Place,
    is_primitive: bool,
) -> Option<&'n mut Members<'a>> {
    if !is_primitive {
        return place.find_mut(root)?.members_mut();
    }
    let name = place.name()?;
    let members = place.parent()?.find_mut(root)?.members_mut()?;
    let sibling = beside(name);
    let Some(index) = place.index() else {
        if position(members, &sibling).is_none() {
            members.push((Cow::Owned(sibling.clone()), Node::Object(Vec::new())));
        }
        let at = position(members, &sibling)?;
        return members[at].1.members_mut();
    };
    let mut list = take_list(members, name).ok()?;
    let item = list.get_mut(index)?;
    if item.sibling.is_null() {
        item.sibling = Node::Object(Vec::new());
    }
    put_list(members, name, list);
    let at = position(members, &sibling)?;
    match &mut members[at].1 {
        Node::Array(items) => items.get_mut(index)?.members_mut(),
        _ => None,
    }
}

/// Adds an item to the end of the list with this name.
pub(super) fn push<'a>(
    members: &mut Members<'a>,
    name: &str,
    content: Content<'a>,
) -> Result<(), PatchProblem> {
    let mut list = take_list(members, name)?;
    list.push(content);
    put_list(members, name, list);
    Ok(())
}

/// Adds an item to the list that a place is in, before the one with this index.
pub(super) fn insert<'a>(
    root: &mut Node<'a>,
    place: &Place,
    index: usize,
    content: Content<'a>,
) -> Result<(), PatchProblem> {
    change_list(root, place, |list| list.insert(index.min(list.len()), content))
}

/// Takes the item at `source` out of its list and puts it where `destination` then is.
pub(super) fn reorder(
    root: &mut Node<'_>,
    place: &Place,
    source: usize,
    destination: usize,
) -> Result<(), PatchProblem> {
    change_list(root, place, |list| {
        if source < list.len() {
            let moved = list.remove(source);
            list.insert(destination.min(list.len()), moved);
        }
    })
}

/// Puts the content in the place of an element; `new_name` differs from the name that it has when
/// it becomes another type of a choice.
pub(super) fn replace<'a>(
    root: &mut Node<'a>,
    place: &Place,
    new_name: &str,
    content: Content<'a>,
) -> Result<(), PatchProblem> {
    if let Some(index) = place.index() {
        return change_list(root, place, |list| {
            if let Some(item) = list.get_mut(index) {
                *item = content;
            }
        });
    }
    let gone = || PatchProblem::inapplicable("what its path finds cannot be changed");
    let name = place.name().ok_or_else(gone)?;
    let parent = place.parent().ok_or_else(gone)?;
    let members = parent.find_mut(root).and_then(Node::members_mut).ok_or_else(gone)?;
    if name != new_name {
        for (old, new) in [(name.to_owned(), new_name.to_owned()), (beside(name), beside(new_name))]
        {
            if let Some(at) = position(members, &old) {
                members[at].0 = Cow::Owned(new);
            }
        }
    }
    set(members, new_name, content);
    Ok(())
}

/// Takes an element away, and what would be left without content around it.
pub(super) fn remove(root: &mut Node<'_>, place: &Place) -> Result<(), PatchProblem> {
    let gone = || PatchProblem::inapplicable("the whole resource cannot be deleted by a patch");
    let name = place.name().ok_or_else(gone)?;
    let parent = place.parent().ok_or_else(gone)?;
    match place.index() {
        Some(index) => change_list(root, place, |list| {
            if index < list.len() {
                list.remove(index);
            }
        })?,
        None => {
            let members = parent.find_mut(root).and_then(Node::members_mut).ok_or_else(gone)?;
            members.retain(|(it, _)| it != name && it.strip_prefix('_') != Some(name));
        }
    }
    let is_empty = |node: &mut Node<'_>| node.members_mut().is_some_and(|it| it.is_empty());
    match parent.name() {
        Some(name) if parent.find_mut(root).is_some_and(is_empty) => match name.strip_prefix('_') {
            Some(_) => remove_beside(root, &parent),
            None => remove(root, &parent),
        },
        _ => Ok(()),
    }
}

/// Takes away what stands beside a value, at a place with an underscore before its name; an
/// element that has no value either goes with it.
fn remove_beside(root: &mut Node<'_>, place: &Place) -> Result<(), PatchProblem> {
    let mut element = place.clone();
    if let Some(at) = element.name_at()
        && let Step::Name(name) = &mut element.0[at]
        && let Some(bare) = name.strip_prefix('_')
    {
        *name = bare.to_owned();
    }
    match element.find_mut(root) {
        Some(value) if !value.is_null() => match place.index() {
            Some(index) => change_list(root, &element, |list| {
                if let Some(item) = list.get_mut(index) {
                    item.sibling = Node::Null;
                }
            }),
            None => remove(root, place),
        },
        _ => remove(root, &element),
    }
}
