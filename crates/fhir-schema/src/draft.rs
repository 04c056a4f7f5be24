//! A StructureDefinition as a package has it, before its snapshot is known to be whole.

use std::collections::HashMap;
use std::sync::Arc;

use crate::SchemaError;
use crate::interner::Interner;
use crate::structure::{
    Binding, Constraint, ElementDefinition, Flags, Slicing, StructureDefinition, StructureKind,
    TypeReference, TypedValue,
};

/// Elements below each other; published ones have ten.
pub(crate) const MAX_DEPTH: usize = 48;

/// A StructureDefinition of a package: its elements are still to come from one of two views.
#[derive(Debug, Clone)]
pub struct StructureSource {
    /// All but the elements.
    pub structure: StructureDefinition,
    /// `snapshot.element`, if it has any.
    pub snapshot: Option<Vec<ElementDraft>>,
    /// `differential.element`.
    pub differential: Vec<ElementDraft>,
}

/// ElementDefinition as it is written: what is `None` is not said.
#[derive(Debug, Clone, Default)]
pub struct ElementDraft {
    pub(crate) id: Option<Arc<str>>,
    pub(crate) path: Arc<str>,
    pub(crate) slice_name: Option<Arc<str>>,
    pub(crate) slicing: Option<Arc<Slicing>>,
    pub(crate) min: Option<u32>,
    /// Within: a number, or `None` for `*`.
    pub(crate) max: Option<Option<u32>>,
    pub(crate) types: Option<Arc<[TypeReference]>>,
    pub(crate) content_reference: Option<Arc<str>>,
    pub(crate) fixed: Option<Arc<TypedValue>>,
    pub(crate) pattern: Option<Arc<TypedValue>>,
    pub(crate) min_value: Option<Arc<TypedValue>>,
    pub(crate) max_value: Option<Arc<TypedValue>>,
    pub(crate) max_length: Option<u32>,
    pub(crate) binding: Option<Arc<Binding>>,
    pub(crate) constraints: Vec<Arc<Constraint>>,
    pub(crate) must_support: Option<bool>,
    pub(crate) is_modifier: Option<bool>,
    pub(crate) is_summary: Option<bool>,
    pub(crate) is_attribute: bool,
}

impl ElementDraft {
    /// The element, if it says all that a snapshot must say.
    pub(crate) fn whole(
        self,
        id: Arc<str>,
        interner: &mut Interner,
    ) -> Result<ElementDefinition, &'static str> {
        Ok(ElementDefinition {
            id,
            path: self.path,
            slice_name: self.slice_name,
            slicing: self.slicing,
            min: self.min.ok_or("has no min")?,
            max: self.max.ok_or("has no max")?,
            types: self.types.unwrap_or_else(|| interner.type_list(Vec::new())),
            content_reference: self.content_reference,
            fixed: self.fixed,
            pattern: self.pattern,
            min_value: self.min_value,
            max_value: self.max_value,
            max_length: self.max_length,
            binding: self.binding,
            constraints: interner.constraint_list(self.constraints),
            flags: Flags {
                must_support: self.must_support.unwrap_or_default(),
                is_modifier: self.is_modifier.unwrap_or_default(),
                is_summary: self.is_summary.unwrap_or_default(),
                is_attribute: self.is_attribute,
            },
        })
    }
}

/// Makes the elements of a published snapshot, having checked that they are one: the root is the
/// type, each element stands among the children of its parent, no element twice.
pub(crate) fn published_elements(
    structure: &StructureDefinition,
    drafts: Vec<ElementDraft>,
    interner: &mut Interner,
) -> Result<Vec<ElementDefinition>, SchemaError> {
    let root = root_name(structure);
    let mut elements = Vec::with_capacity(drafts.len());
    // The id of each element that is still open, and where what has stood in it is counted.
    let mut open: Vec<Arc<str>> = Vec::new();
    let mut seen: HashMap<Arc<str>, usize> = HashMap::with_capacity(drafts.len());
    for (at, mut draft) in drafts.into_iter().enumerate() {
        let path = Arc::clone(&draft.path);
        let invalid = |problem: &str| SchemaError::Snapshot {
            profile: structure.canonical(),
            element: path.to_string(),
            problem: problem.to_owned(),
        };
        let depth = path.bytes().filter(|byte| *byte == b'.').count();
        if depth > MAX_DEPTH {
            return Err(invalid("stands too deep"));
        }
        if at == 0 {
            if &*path != root {
                return Err(invalid("is the root, and not the type that is defined"));
            }
            if depth > 0 {
                return Err(invalid("is the root, and a root's name has no dot"));
            }
        } else if depth == 0 {
            return Err(invalid("is a second root"));
        } else if depth > open.len() {
            return Err(invalid("has no parent before it"));
        }
        let parent_path = path.rsplit_once('.').map_or("", |(parent, _)| parent);
        if depth > 0 && elements_path(&elements, &seen, &open[depth - 1]) != parent_path {
            return Err(invalid("does not stand among the elements of its parent"));
        }
        let parent_id = if depth > 0 { Some(Arc::clone(&open[depth - 1])) } else { None };
        open.truncate(depth);
        let name = path.rsplit_once('.').map_or(&*path, |(_, name)| name);
        // HL7 itself publishes names of slices where nothing is sliced: a mere label.
        let unsliced = element_id(parent_id.as_deref(), name, None);
        if !seen.contains_key(&*unsliced) {
            draft.slice_name = None;
        }
        let id = element_id(parent_id.as_deref(), name, draft.slice_name.as_deref());
        let id = interner.text(&id);
        if seen.insert(Arc::clone(&id), elements.len()).is_some() {
            return Err(invalid("stands there twice"));
        }
        open.push(Arc::clone(&id));
        elements.push(draft.whole(id, interner).map_err(invalid)?);
    }
    Ok(elements)
}

/// The path of a definition's root. The type of a logical model may be a URL.
pub(crate) fn root_name(structure: &StructureDefinition) -> &str {
    match structure.kind {
        StructureKind::Logical => structure.type_name.rsplit('/').next().unwrap_or_default(),
        StructureKind::Type(_) => &structure.type_name,
    }
}

fn elements_path<'a>(
    elements: &'a [ElementDefinition],
    seen: &HashMap<Arc<str>, usize>,
    id: &str,
) -> &'a str {
    seen.get(id).map_or("", |at| &elements[*at].path)
}

/// The id of an element: the path with the names of slices.
pub(crate) fn element_id(parent: Option<&str>, name: &str, slice: Option<&str>) -> String {
    let mut id = String::with_capacity(parent.map_or(0, str::len) + name.len() + 16);
    if let Some(parent) = parent {
        id.push_str(parent);
        id.push('.');
    }
    id.push_str(name);
    if let Some(slice) = slice {
        id.push(':');
        id.push_str(slice);
    }
    id
}
