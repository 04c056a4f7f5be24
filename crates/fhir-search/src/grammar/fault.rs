//! What is wrong, before it is known in which parameter.

use crate::{Place, QueryError, QueryProblem};

/// What is wrong at a place, which counts bytes here.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) place: Place,
    pub(super) problem: QueryProblem,
}

impl Fault {
    pub(super) fn in_name(at: usize, problem: QueryProblem) -> Self {
        Self { place: Place::Name(at), problem }
    }

    pub(super) fn in_value(at: usize, problem: QueryProblem) -> Self {
        Self { place: Place::Value(at), problem }
    }

    /// The same for those who read it, counted in characters.
    pub(super) fn into_error(self, name: &str, value: &str) -> QueryError {
        let place = match self.place {
            Place::Name(at) => Place::Name(characters_before(name, at)),
            Place::Value(at) => Place::Value(characters_before(value, at)),
        };
        QueryError { parameter: name.into(), place, problem: self.problem }
    }
}

fn characters_before(text: &str, at: usize) -> usize {
    text.char_indices().take_while(|(offset, _)| *offset < at).count()
}

/// What an error quotes of a request, which may be long.
pub(super) fn quoted(text: &str) -> Box<str> {
    const MOST: usize = 64;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
