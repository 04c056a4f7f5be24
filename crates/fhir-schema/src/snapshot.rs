//! Snapshots from differentials (FHIR R4 5.1.0.13 and ElementDefinition 2.31.0.1): the base's
//! elements as a tree, into which each element of the differential is merged in its place.
//!
//! On the way to a place, what the base does not spell out is brought in: the elements of a
//! datatype or of its profile, those of a content reference, and a slice as a copy of what it
//! slices. Texts for readers are not merged, since nothing here has them. The tree itself is in
//! `tree`, slices are in `slices`.

mod slices;
mod tree;

use std::sync::Arc;

use self::slices::choice_of;
use self::tree::{Tree, count, descend, flatten, name_sources, tree_of};
use crate::SchemaError;
use crate::draft::{ElementDraft, MAX_DEPTH, StructureSource, root_name};
use crate::interner::Interner;
use crate::merge;
use crate::structure::{Derivation, ElementDefinition, StructureDefinition, TypeReference};

/// How the URLs of FHIRPath's system types begin.
const SYSTEM_TYPES: &str = "http://hl7.org/fhirpath/System.";

/// Elements of one snapshot; published ones have some hundreds.
const MAX_ELEMENTS: usize = 20_000;

/// Finds the whole definition behind a canonical URL or a type's name; an error where it cannot
/// be made, `None` where it is not known.
pub(crate) type Find<'f> =
    &'f mut dyn FnMut(&str, Need) -> Result<Option<Arc<StructureDefinition>>, SchemaError>;

/// What is needed of a definition that is still being made itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// All of it: an error then.
    Whole,
    /// Nothing then.
    IfMade,
}

/// Makes the elements of a structure from its base's and its differential.
pub(crate) fn generate(
    source: &StructureSource,
    base: &StructureDefinition,
    interner: &mut Interner,
    find: Find<'_>,
) -> Result<Vec<ElementDefinition>, SchemaError> {
    let structure = &source.structure;
    let mut tree = tree_of(&base.elements);
    root_name(structure).clone_into(&mut tree.name);
    name_sources(&mut tree, &base.url, interner);
    let mut generator = Generator { structure, interner, find, elements: base.elements.len() };
    let mut stood_at: Vec<(Arc<str>, Vec<Segment>)> = Vec::new();
    for draft in &source.differential {
        let segments = generator.segments(draft, &stood_at)?;
        generator.merge(&mut tree, &segments, draft)?;
        stood_at.push((Arc::clone(&draft.path), segments));
    }
    generator.close_choices(&mut tree);
    let mut elements = Vec::with_capacity(generator.elements);
    flatten(tree, None, None, generator.interner, &mut elements);
    Ok(elements)
}

/// One step on the way to an element.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    name: String,
    slice: Option<Arc<str>>,
}

struct Generator<'g> {
    structure: &'g StructureDefinition,
    interner: &'g mut Interner,
    find: Find<'g>,
    /// How many there are so far.
    elements: usize,
}

impl Generator<'_> {
    fn error(&self, element: &str, problem: impl Into<String>) -> SchemaError {
        SchemaError::Snapshot {
            profile: self.structure.canonical(),
            element: element.to_owned(),
            problem: problem.into(),
        }
    }

    /// The way to an element of the differential: by its id where that fits its path, otherwise
    /// by its path, below the nearest element before it that is its parent.
    fn segments(
        &self,
        draft: &ElementDraft,
        stood_at: &[(Arc<str>, Vec<Segment>)],
    ) -> Result<Vec<Segment>, SchemaError> {
        let names: Vec<&str> = draft.path.split('.').collect();
        if names.len() > MAX_DEPTH || names.iter().any(|name| name.is_empty()) {
            return Err(self.error(&draft.path, "has no path that can be followed"));
        }
        if let Some(segments) = draft.id.as_deref().and_then(|id| by_id(id, &names, draft)) {
            return Ok(segments);
        }
        let last =
            Segment { name: names[names.len() - 1].to_owned(), slice: draft.slice_name.clone() };
        let parent = draft.path.rsplit_once('.').map_or("", |(parent, _)| parent);
        let mut segments = match stood_at.iter().rev().find(|(path, _)| &**path == parent) {
            Some((_, segments)) => segments.clone(),
            None => names[..names.len() - 1]
                .iter()
                .map(|name| Segment { name: (*name).to_owned(), slice: None })
                .collect(),
        };
        segments.push(last);
        Ok(segments)
    }

    fn merge(
        &mut self,
        tree: &mut Tree,
        segments: &[Segment],
        draft: &ElementDraft,
    ) -> Result<(), SchemaError> {
        if segments[0].name != tree.name {
            return Err(self.error(&draft.path, format!("does not begin with {}", tree.name)));
        }
        let mut current = tree;
        for (at, segment) in segments.iter().enumerate().skip(1) {
            self.expand(current, &draft.path)?;
            let is_last = at + 1 == segments.len();
            let place = self.place(current, segment, is_last.then_some(draft), &draft.path)?;
            current = &mut current.children[place];
        }
        current.is_stated = true;
        if self.structure.is_profile() {
            self.check_types(&current.element, draft)?;
        }
        merge::into(&mut current.element, draft, self.structure, self.interner)
            .map_err(|problem| self.error(&draft.path, problem))
    }

    /// A profile may leave types out, or name one that is derived from one of its base's.
    fn check_types(
        &mut self,
        element: &ElementDefinition,
        draft: &ElementDraft,
    ) -> Result<(), SchemaError> {
        // Where the base has no types, there is a root or the content of another element.
        let Some(types) = draft.types.as_deref().filter(|_| !element.types.is_empty()) else {
            return Ok(());
        };
        for own in types {
            let mut is_allowed = false;
            for base in element.types.iter() {
                is_allowed = is_allowed || self.is_type_or_derived(own, base)?;
            }
            if !is_allowed {
                let problem = format!("has the type {}, which its base does not have", own.code);
                return Err(self.error(&draft.path, problem));
            }
        }
        Ok(())
    }

    fn is_type_or_derived(
        &mut self,
        own: &TypeReference,
        base: &TypeReference,
    ) -> Result<bool, SchemaError> {
        // How a system type is written differs: as its URL, or as the FHIR type that it stands for.
        let is_system = |it: &TypeReference| it.code.starts_with(SYSTEM_TYPES);
        if own.code == base.code || is_system(own) || is_system(base) {
            return Ok(true);
        }
        let mut name = Arc::clone(&own.code);
        for _ in 0..MAX_DEPTH {
            let Some(definition) = (self.find)(&name, Need::IfMade)? else { return Ok(false) };
            let Some(above) = &definition.base else { return Ok(false) };
            let above = above.rsplit('/').next().unwrap_or_default();
            if *above == *base.code {
                return Ok(true);
            }
            name = Arc::from(above);
        }
        Ok(false)
    }

    /// The child that a step leads to, made where it is a slice that is not there yet.
    fn place(
        &mut self,
        parent: &mut Tree,
        segment: &Segment,
        draft: Option<&ElementDraft>,
        path: &str,
    ) -> Result<usize, SchemaError> {
        let mut name = segment.name.clone();
        let mut slice = segment.slice.clone();
        if !parent.children.iter().any(|child| child.name == name) {
            if let Some(choice) = choice_of(parent, &name) {
                // `valueQuantity` is short for the slice of `value[x]` that has this name.
                slice = slice.or_else(|| Some(self.interner.text(&name)));
                name = choice;
            } else if let (Derivation::Specialization, Some(draft)) =
                (self.structure.derivation, draft)
            {
                return self.new_element(parent, segment, draft);
            } else {
                return Err(self.error(path, format!("is not defined: the base has no {name}")));
            }
        }
        let found =
            parent.children.iter().position(|child| child.name == name && child.slice == slice);
        match (found, slice) {
            (Some(place), _) => Ok(place),
            (None, Some(slice)) => self.new_slice(parent, &name, &slice, draft, path),
            (None, None) => Err(self.error(path, "has slices and is not itself defined")),
        }
    }

    /// An element which a specialization adds to its base.
    fn new_element(
        &mut self,
        parent: &mut Tree,
        segment: &Segment,
        draft: &ElementDraft,
    ) -> Result<usize, SchemaError> {
        self.grow(1, &draft.path)?;
        let element = draft
            .clone()
            .whole(Arc::clone(&draft.path), self.interner)
            .map_err(|problem| self.error(&draft.path, problem))?;
        parent.children.push(Tree {
            name: segment.name.clone(),
            slice: None,
            element,
            is_sliced_by_use: false,
            is_stated: true,
            children: Vec::new(),
        });
        Ok(parent.children.len() - 1)
    }

    /// Brings in the elements under an element, where they are defined elsewhere.
    fn expand(&mut self, tree: &mut Tree, path: &str) -> Result<(), SchemaError> {
        if !tree.children.is_empty() {
            return Ok(());
        }
        if let Some(id) = tree.element.content_reference.clone() {
            let root = id.split(['.', ':']).next().unwrap_or_default().to_owned();
            let definition = self.known(&root, path)?;
            let whole = tree_of(&definition.elements);
            let target = descend(&whole, &id)
                .ok_or_else(|| self.error(path, format!("{id} is not defined")))?;
            self.grow(count(target), path)?;
            tree.children = target.children.clone();
            return Ok(());
        }
        let (first, others) = match &*tree.element.types {
            [first, others @ ..] => (first.clone(), !others.is_empty()),
            [] => return Err(self.error(path, "is under an element without a type")),
        };
        // Under a choice of several types stand the elements that all have: id and extensions.
        let type_name = match others {
            true => "Element",
            false => first.fhir_type.as_deref().unwrap_or(&first.code),
        };
        let profile = match &first.profiles[..] {
            [only] if !others => (self.find)(only, Need::Whole)?,
            _ => None,
        };
        let definition = match profile {
            Some(profile) => profile,
            None => self.known(type_name, path)?,
        };
        let elements = tree_of(&definition.elements);
        self.grow(count(&elements), path)?;
        tree.children = elements.children;
        for child in &mut tree.children {
            name_sources(child, &definition.url, self.interner);
        }
        Ok(())
    }

    fn known(&mut self, name: &str, path: &str) -> Result<Arc<StructureDefinition>, SchemaError> {
        (self.find)(name, Need::Whole)?
            .ok_or_else(|| self.error(path, format!("{name} is not defined")))
    }

    fn grow(&mut self, by: usize, path: &str) -> Result<(), SchemaError> {
        self.elements += by;
        if self.elements > MAX_ELEMENTS {
            return Err(self.error(path, format!("makes more than {MAX_ELEMENTS} elements")));
        }
        Ok(())
    }
}

/// An id's parts, if they are the path's with names of slices.
fn by_id(id: &str, names: &[&str], draft: &ElementDraft) -> Option<Vec<Segment>> {
    // A slice's name may have a dot in it, a path's part may not.
    let parts: Vec<&str> = id.split('.').collect();
    if parts.len() != names.len() {
        return None;
    }
    let mut segments = Vec::with_capacity(parts.len());
    for (part, name) in parts.iter().zip(names) {
        let (own, slice) = part.split_once(':').map_or((*part, None), |(own, it)| (own, Some(it)));
        let is_short = own.strip_suffix("[x]").is_some_and(|choice| name.starts_with(choice));
        if own != *name && !is_short {
            return None;
        }
        segments.push(Segment { name: own.to_owned(), slice: slice.map(Arc::from) });
    }
    let last = segments.last_mut()?;
    if let Some(slice) = &draft.slice_name {
        last.slice = Some(Arc::clone(slice));
    }
    Some(segments)
}
