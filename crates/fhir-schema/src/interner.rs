//! One copy of each text and of each list that many elements share.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use crate::structure::{Constraint, ElementDefinition, TypeReference};

/// Gives the same `Arc` for the same value.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    texts: HashSet<Arc<str>>,
    constraints: HashSet<Arc<Constraint>>,
    constraint_lists: HashSet<Arc<[Arc<Constraint>]>>,
    type_lists: HashSet<Arc<[TypeReference]>>,
}

impl Interner {
    pub(crate) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(found) = self.texts.get(text) {
            return Arc::clone(found);
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }

    pub(crate) fn constraint(&mut self, constraint: Constraint) -> Arc<Constraint> {
        shared(&mut self.constraints, Arc::new(constraint))
    }

    pub(crate) fn constraint_list(&mut self, list: Vec<Arc<Constraint>>) -> Arc<[Arc<Constraint>]> {
        shared(&mut self.constraint_lists, list.into())
    }

    pub(crate) fn type_list(&mut self, list: Vec<TypeReference>) -> Arc<[TypeReference]> {
        shared(&mut self.type_lists, list.into())
    }

    /// Replaces what an element has of its own by what is shared.
    pub(crate) fn adopt(&mut self, element: &mut ElementDefinition) {
        element.id = self.text(&element.id);
        element.path = self.text(&element.path);
        element.types = shared(&mut self.type_lists, Arc::clone(&element.types));
        element.constraints = shared(&mut self.constraint_lists, Arc::clone(&element.constraints));
    }
}

fn shared<T: Hash + Eq + ?Sized>(known: &mut HashSet<Arc<T>>, value: Arc<T>) -> Arc<T> {
    if let Some(found) = known.get(&value) {
        return Arc::clone(found);
    }
    known.insert(Arc::clone(&value));
    value
}
