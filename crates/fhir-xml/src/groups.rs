//! The JSON text while it is written, and the repeats of one element in it.

use fhir_schema::Element;

use crate::places::Place;

/// JSON text with the places of its values.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub(crate) json: Vec<u8>,
    pub(crate) places: Vec<Place>,
}

/// A length of [`Out`] to go back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    json: usize,
    places: usize,
}

impl Out {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.json.extend_from_slice(bytes);
    }

    /// A comma, unless this is the first in its object or array.
    pub(crate) fn comma(&mut self) {
        if !matches!(self.json.last(), Some(b'{' | b'[') | None) {
            self.json.push(b',');
        }
    }

    /// Begins a member; `underscore` is what stands before its name.
    pub(crate) fn member(&mut self, underscore: &str, name: &str) {
        self.comma();
        self.json.push(b'"');
        self.push(underscore.as_bytes());
        self.push(name.as_bytes());
        self.push(b"\":");
    }

    /// The value that is written next came from this byte of the XML.
    pub(crate) fn place(&mut self, xml: usize) {
        self.places.push((narrow(self.json.len()), narrow(xml)));
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { json: self.json.len(), places: self.places.len() }
    }

    pub(crate) fn back_to(&mut self, mark: Mark) {
        self.json.truncate(mark.json);
        self.places.truncate(mark.places);
    }

    /// Appends another text with its places.
    fn append(&mut self, other: &Self) {
        let base = narrow(self.json.len());
        self.places.extend(other.places.iter().map(|(json, xml)| (base + json, *xml)));
        self.push(&other.json);
    }
}

/// Lengths are checked against u32 when the conversion begins; JSON is at most a few times as
/// long as the XML it is made from.
fn narrow(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Elements of one name that follow each other: a member of the object.
#[derive(Debug)]
pub(crate) struct Group<'s> {
    pub(crate) name: &'s str,
    pub(crate) element: Element,
    /// How many there were.
    pub(crate) count: usize,
    /// Where the first stands in the XML.
    at: usize,
    /// What stood before the member.
    start: Mark,
    /// Whether a value is not null.
    pub(crate) has_value: bool,
    /// The member `_name` of an array, from the first item that calls for it.
    pub(crate) sibling: Option<Out>,
}

impl<'s> Group<'s> {
    /// Begins a group, in `out` too where it is an array.
    pub(crate) fn begin(name: &'s str, element: Element, at: usize, out: &mut Out) -> Self {
        let start = out.mark();
        if element.is_array {
            out.member("", name);
            out.place(at);
            out.json.push(b'[');
        }
        Self { name, element, count: 0, at, start, has_value: false, sibling: None }
    }

    /// Ends it.
    pub(crate) fn end(self, out: &mut Out) {
        if !self.element.is_array {
            return;
        }
        if self.has_value {
            out.json.push(b']');
        } else {
            out.back_to(self.start);
        }
        if let Some(sibling) = self.sibling {
            out.member("_", self.name);
            out.place(self.at);
            out.append(&sibling);
            out.json.push(b']');
        }
    }

    /// The text of `_name`, begun with a null for each item before the one that is read.
    pub(crate) fn begin_sibling(&mut self) -> Out {
        self.sibling.take().unwrap_or_else(|| {
            let mut out = Out::default();
            out.json.push(b'[');
            for _ in 0..self.count {
                out.comma();
                out.push(b"null");
            }
            out
        })
    }
}
