//! JSON as FHIR needs it read (RFC 8259, I-JSON's unique names, FHIR R4 2.6.2): strictly, in one
//! pass, without losing a digit.
//!
//! [`Document::parse`] refuses duplicate names, more than [`MAX_DEPTH`] levels, invalid UTF-8,
//! lone surrogates, control characters in strings, and bytes after the value. Numbers and
//! strings stay the text they were: a [`Value`] is a place in that text. What FHIR asks beyond
//! JSON (no empty objects, nulls only in arrays) is validation, not syntax, and not done here.

mod error;
mod parse;
mod value;
mod write;

pub use error::{JsonError, JsonProblem};
pub use parse::MAX_DEPTH;
pub use value::{Document, Items, Kind, Members, Value};
pub use write::{Replacements, pretty, write_string};
