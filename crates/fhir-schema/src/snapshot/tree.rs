//! The elements of a structure as a tree, from a snapshot and back to one. What a differential
//! does to it is not here.

use std::sync::Arc;

use crate::draft::element_id;
use crate::interner::Interner;
use crate::merge;
use crate::structure::ElementDefinition;

/// An element with those under it. Slices stand beside what they slice, after it.
#[derive(Clone)]
pub(super) struct Tree {
    pub(super) name: String,
    pub(super) slice: Option<Arc<str>>,
    pub(super) element: ElementDefinition,
    /// Whether it is a choice of which nobody said that it is sliced by type.
    pub(super) is_sliced_by_use: bool,
    /// Whether the differential has an element for this itself.
    pub(super) is_stated: bool,
    pub(super) children: Vec<Tree>,
}

/// A snapshot as a tree. That each element stands among its parent's was checked when it was read.
pub(super) fn tree_of(elements: &[ElementDefinition]) -> Tree {
    let mut open: Vec<Tree> = Vec::new();
    let close = |open: &mut Vec<Tree>, depth: usize| {
        while open.len() > depth.max(1) {
            let done = open.pop().expect("there are more than one");
            open.last_mut().expect("the root is open").children.push(done);
        }
    };
    for element in elements {
        close(&mut open, element.depth());
        open.push(Tree {
            name: element.name().to_owned(),
            slice: element.slice_name.clone(),
            element: element.clone(),
            is_sliced_by_use: false,
            is_stated: false,
            children: Vec::new(),
        });
    }
    close(&mut open, 1);
    open.pop().expect("a whole definition has a root")
}

/// What a definition says of itself names no source; where it is inherited it does.
pub(super) fn name_sources(tree: &mut Tree, source: &Arc<str>, interner: &mut Interner) {
    tree.element.constraints = merge::with_source(&tree.element.constraints, source, interner);
    for child in &mut tree.children {
        name_sources(child, source, interner);
    }
}

/// The elements of a tree in a snapshot's order, with the ids and paths of their places.
pub(super) fn flatten(
    tree: Tree,
    parent_id: Option<&str>,
    parent_path: Option<&str>,
    interner: &mut Interner,
    elements: &mut Vec<ElementDefinition>,
) {
    let id = interner.text(&element_id(parent_id, &tree.name, tree.slice.as_deref()));
    let path = interner.text(&element_id(parent_path, &tree.name, None));
    let mut element = tree.element;
    element.id = Arc::clone(&id);
    element.path = Arc::clone(&path);
    element.slice_name = tree.slice;
    elements.push(element);
    for child in tree.children {
        flatten(child, Some(&id), Some(&path), interner, elements);
    }
}

/// How many elements a tree has.
pub(super) fn count(tree: &Tree) -> usize {
    1 + tree.children.iter().map(count).sum::<usize>()
}

/// The element with this id in a tree.
pub(super) fn descend<'t>(tree: &'t Tree, id: &str) -> Option<&'t Tree> {
    let mut current = tree;
    for part in id.split('.').skip(1) {
        let (name, slice) =
            part.split_once(':').map_or((part, None), |(name, slice)| (name, Some(slice)));
        current =
            current.children.iter().find(|it| it.name == name && it.slice.as_deref() == slice)?;
    }
    Some(current)
}
