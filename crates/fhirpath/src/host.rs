//! What an evaluation cannot know by itself and asks its caller: other resources, terminology,
//! profiles, variables, the time. The engine itself has no clock and prints nothing.

use std::borrow::Cow;

use fhir_core::json::Value;

use crate::temporal::DateTime;
use crate::value::{FhirValue, Item};

/// What `resolve()` found.
#[derive(Clone, Debug)]
pub enum Resolved<'a> {
    /// The resource.
    Resource(Value<'a>),
    /// Its type alone, from the text of the reference: enough for `resolve() is Patient`.
    Type(Cow<'a, str>),
    /// Nothing.
    Nothing,
}

/// What cannot be answered, and why.
pub type Unavailable = Cow<'static, str>;

const NOT_HERE: Unavailable = Cow::Borrowed("not available here");

/// The caller's side of an evaluation. What a caller does not answer is an error of the
/// evaluation, or nothing found.
pub trait Host<'a> {
    /// The target of a reference that is not within the resource. What `#…` names there is found
    /// without asking.
    fn resolve(&self, _reference: &str) -> Resolved<'a> {
        Resolved::Nothing
    }

    /// Whether a code, Coding or CodeableConcept is in a value set; `None` for empty.
    ///
    /// # Errors
    /// Why nobody can tell.
    fn member_of(&self, _item: &Item<'a>, _value_set: &str) -> Result<Option<bool>, Unavailable> {
        Err(NOT_HERE)
    }

    /// Whether the code of `subsuming` subsumes the code of `subsumed`; `None` for empty.
    ///
    /// # Errors
    /// Why nobody can tell.
    fn subsumes(
        &self,
        _subsuming: &Item<'a>,
        _subsumed: &Item<'a>,
    ) -> Result<Option<bool>, Unavailable> {
        Err(NOT_HERE)
    }

    /// Whether something conforms to a profile; `None` for empty.
    ///
    /// # Errors
    /// Why nobody can tell, for example since there is no such profile.
    fn conforms_to(
        &self,
        _value: &FhirValue<'a>,
        _profile: &str,
    ) -> Result<Option<bool>, Unavailable> {
        Err(NOT_HERE)
    }

    /// Whether the XHTML of a narrative keeps to FHIR's rules.
    ///
    /// # Errors
    /// Why nobody can tell.
    fn html_checks(&self, _xhtml: &str) -> Result<bool, Unavailable> {
        Err(NOT_HERE)
    }

    /// Whether an element belongs to a slice that a profile names.
    ///
    /// # Errors
    /// Why nobody can tell.
    fn is_in_slice(
        &self,
        _value: &FhirValue<'a>,
        _profile: &str,
        _slice: &str,
    ) -> Result<bool, Unavailable> {
        Err(NOT_HERE)
    }

    /// The ElementDefinition of an element, if there is one.
    ///
    /// # Errors
    /// Why nobody can tell.
    fn element_definition(&self, _value: &FhirValue<'a>) -> Result<Option<Item<'a>>, Unavailable> {
        Err(NOT_HERE)
    }

    /// The value of `%name`, for names that the language does not have.
    fn variable(&self, _name: &str) -> Option<Vec<Item<'a>>> {
        None
    }

    /// The time at which the evaluation is taken to happen, to the millisecond with an offset.
    fn now(&self) -> Option<DateTime> {
        None
    }

    /// Told what passes a `trace()`.
    fn trace(&self, _name: &str, _items: &[Item<'a>]) {}
}

/// A host that answers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHost;

impl<'a> Host<'a> for NoHost {}

/// A host that knows of each reference the type which its text names, and nothing else. It is
/// what an index needs, which has one resource at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReferenceTypes;

impl<'a> Host<'a> for ReferenceTypes {
    fn resolve(&self, reference: &str) -> Resolved<'a> {
        let path = reference.split_once("/_history/").map_or(reference, |(path, _)| path);
        let mut parts = path.rsplit('/');
        match (parts.next(), parts.next()) {
            (Some(_), Some(name)) if name.starts_with(|first: char| first.is_ascii_uppercase()) => {
                Resolved::Type(Cow::Owned(name.to_owned()))
            }
            _ => Resolved::Nothing,
        }
    }
}
