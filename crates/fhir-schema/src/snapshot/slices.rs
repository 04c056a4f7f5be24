//! Slices in a tree of elements (FHIR R4, 5.1.0.14): made as copies of what they slice, and the
//! types that a choice is left with. Where a slice is needed, the way through a differential says.

use std::sync::Arc;

use super::tree::{Tree, count};
use super::{Generator, Need};
use crate::SchemaError;
use crate::draft::ElementDraft;
use crate::merge;
use crate::structure::{Discriminator, ElementDefinition, Slicing, TypeReference};

impl Generator<'_> {
    /// A slice begins as a copy of what it slices, and is optional unless it says otherwise.
    pub(super) fn new_slice(
        &mut self,
        parent: &mut Tree,
        name: &str,
        slice: &Arc<str>,
        draft: Option<&ElementDraft>,
        path: &str,
    ) -> Result<usize, SchemaError> {
        let sliced_name = slice.rsplit_once('/').map(|(sliced, _)| sliced);
        let of_this_name = |of: Option<&str>| {
            parent.children.iter().position(|it| it.name == name && it.slice.as_deref() == of)
        };
        let sliced = of_this_name(sliced_name)
            .or_else(|| of_this_name(None))
            .ok_or_else(|| self.error(path, "is a slice of what is not defined"))?;
        let mut copy = parent.children[sliced].clone();
        self.grow(count(&copy), path)?;

        if parent.children[sliced].element.slicing.is_none() {
            parent.children[sliced].element.slicing = self.implied_slicing(name);
            parent.children[sliced].is_sliced_by_use = name.ends_with("[x]");
        }
        copy.slice = Some(Arc::clone(slice));
        copy.element.slicing = None;
        copy.is_sliced_by_use = false;
        copy.is_stated = false;
        copy.element.min = 0;
        if let Some(choice) = name.strip_suffix("[x]") {
            self.narrow_to_alternative(&mut copy.element, choice, slice);
        }
        if let Some(draft) = draft {
            self.take_from_extension(&mut copy.element, draft)?;
        }
        // After the last of what is sliced: its slices, and theirs.
        let belongs = |it: &Tree| {
            it.name == name
                && match (sliced_name, it.slice.as_deref()) {
                    (None, _) => true,
                    (Some(sliced), Some(own)) => {
                        own == sliced
                            || own.strip_prefix(sliced).is_some_and(|rest| rest.starts_with('/'))
                    }
                    (Some(_), None) => false,
                }
        };
        let at =
            parent.children.iter().rposition(belongs).map_or(sliced, |last| last.max(sliced)) + 1;
        parent.children.insert(at, copy);
        Ok(at)
    }

    /// How extensions and choices are sliced where nobody says it.
    fn implied_slicing(&mut self, name: &str) -> Option<Arc<Slicing>> {
        let (kind, path) = match name {
            "extension" | "modifierExtension" => ("value", "url"),
            _ if name.ends_with("[x]") => ("type", "$this"),
            _ => return None,
        };
        Some(Arc::new(Slicing {
            discriminators: vec![Discriminator {
                kind: self.interner.text(kind),
                path: self.interner.text(path),
            }],
            rules: self.interner.text("open"),
            ordered: false,
        }))
    }

    /// A choice of which a differential speaks by its alternatives alone (`valueQuantity`) has
    /// these types and no others.
    pub(super) fn close_choices(&mut self, parent: &mut Tree) {
        for at in 0..parent.children.len() {
            self.close_choices(&mut parent.children[at]);
            // What the differential says of the choice itself says which types it has.
            if !parent.children[at].is_sliced_by_use || parent.children[at].is_stated {
                continue;
            }
            let name = parent.children[at].name.clone();
            let slices: Vec<&ElementDefinition> = parent
                .children
                .iter()
                .filter(|it| it.name == name && it.slice.is_some())
                .map(|it| &it.element)
                .collect();
            let is_used = |code: &str| {
                slices.iter().any(|slice| slice.types.iter().any(|it| &*it.code == code))
            };
            let types: Vec<TypeReference> = parent.children[at]
                .element
                .types
                .iter()
                .filter(|it| is_used(&it.code))
                .cloned()
                .collect();
            let least = if let [only] = slices[..] { only.min } else { 0 };
            let closed = self.interner.text("closed");
            let types = self.interner.type_list(types);
            let choice = &mut parent.children[at].element;
            choice.types = types;
            choice.min = choice.min.max(least);
            if let Some(slicing) = &choice.slicing {
                choice.slicing =
                    Some(Arc::new(Slicing { rules: closed, ..Slicing::clone(slicing) }));
            }
        }
    }

    /// A slice of a choice that is named as one alternative has that type alone.
    fn narrow_to_alternative(
        &mut self,
        element: &mut ElementDefinition,
        choice: &str,
        slice: &str,
    ) {
        let own: Vec<TypeReference> = element
            .types
            .iter()
            .filter(|it| is_alternative(slice, choice, &it.code))
            .cloned()
            .collect();
        if !own.is_empty() {
            element.types = self.interner.type_list(own);
        }
    }

    /// What the root of an extension says holds where the extension is used.
    fn take_from_extension(
        &mut self,
        element: &mut ElementDefinition,
        draft: &ElementDraft,
    ) -> Result<(), SchemaError> {
        let Some([only]) = draft.types.as_deref() else { return Ok(()) };
        let [profile] = &only.profiles[..] else { return Ok(()) };
        if &*only.code != "Extension" {
            return Ok(());
        }
        // An extension may stand within itself. What its root says is then said by the extension
        // alone, which holds for what is inside it as well.
        let Some(extension) = (self.find)(profile, Need::IfMade)? else { return Ok(()) };
        let Some(root) = extension.elements.first() else { return Ok(()) };
        if &*extension.type_name != "Extension" {
            return Err(self.error(&draft.path, format!("{profile} is no extension")));
        }
        element.min = root.min;
        element.max = root.max;
        element.flags.is_modifier = root.flags.is_modifier;
        element.constraints =
            merge::all_constraints(&element.constraints, &root.constraints, self.interner);
        Ok(())
    }
}

/// The choice under an element that has a name like `valueQuantity` as an alternative.
pub(super) fn choice_of(parent: &Tree, name: &str) -> Option<String> {
    let choice = parent.children.iter().find(|child| {
        child.slice.is_none()
            && child.name.strip_suffix("[x]").is_some_and(|choice| {
                child.element.types.iter().any(|it| is_alternative(name, choice, &it.code))
            })
    })?;
    Some(choice.name.clone())
}

fn is_alternative(name: &str, choice: &str, type_code: &str) -> bool {
    name.strip_prefix(choice).is_some_and(|rest| {
        let mut letters = type_code.chars();
        let mut own = rest.chars();
        letters.next().map(|first| first.to_ascii_uppercase()) == own.next()
            && letters.as_str() == own.as_str()
    })
}
