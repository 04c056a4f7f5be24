//! Where in the XML each value of the JSON came from, so that whoever finds fault with the JSON
//! can name the line of the text that its sender has.

use std::borrow::Cow;

use fhir_core::json::Value;
use fhir_core::{Lines, Position};

/// Which byte of the JSON began at which byte of the XML.
pub(crate) type Place = (u32, u32);

/// The way back from JSON to the XML that it was made from.
#[derive(Debug, Clone)]
pub struct Places<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Sorted by the byte of the JSON.
    pub(crate) places: Vec<Place>,
    /// Boxed: a refusal has this too, and is given back by value.
    pub(crate) lines: Box<Lines>,
}

impl Places<'_> {
    /// Line and column (in characters, both from 1) of the element or
    /// attribute that a value of the JSON was made from.
    #[must_use]
    pub fn position(&self, value: Value<'_>) -> (usize, usize) {
        self.position_of(value.offset())
    }

    /// The same for a byte of the JSON: of the value that begins there or before.
    #[must_use]
    pub fn position_of(&self, json_offset: usize) -> (usize, usize) {
        let after = self.places.partition_point(|(json, _)| *json as usize <= json_offset);
        let xml = after.checked_sub(1).map_or(0, |at| self.places[at].1);
        let Position { line, column } = self.lines.position(self.text.as_bytes(), xml as usize);
        (line, column)
    }
}
