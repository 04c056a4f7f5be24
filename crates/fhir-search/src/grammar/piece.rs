//! Parts of a value and their escapes (FHIR R4, 3.1.1.4.5).

use std::borrow::Cow;

use super::Fault;
use crate::{Handling, QueryProblem};

/// A part of a name or value, and where it begins in that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl<'a> Piece<'a> {
    pub(super) fn new(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// The parts between separators before which no backslash stands; at least one.
    pub(super) fn split(self, separator: u8) -> impl Iterator<Item = Piece<'a>> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let piece = rest?;
            match find_unescaped(piece.text.as_bytes(), separator) {
                Some(at) => {
                    rest = Some(Piece::new(&piece.text[at + 1..], piece.at + at + 1));
                    Some(Piece::new(&piece.text[..at], piece.at))
                }
                None => rest.take(),
            }
        })
    }

    /// The text without its escapes. A backslash before another character than those that need
    /// one is itself with lenient handling.
    pub(super) fn unescape(self, handling: Handling) -> Result<Cow<'a, str>, Fault> {
        if !self.text.contains('\\') {
            return Ok(Cow::Borrowed(self.text));
        }
        let mut plain = String::with_capacity(self.text.len());
        let mut characters = self.text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            if character != '\\' {
                plain.push(character);
                continue;
            }
            match characters.next_if(|(_, next)| matches!(next, ',' | '$' | '|' | '\\')) {
                Some((_, escaped)) => plain.push(escaped),
                None if handling == Handling::Lenient => plain.push('\\'),
                None => return Err(Fault::in_value(self.at + at, QueryProblem::InvalidEscape)),
            }
        }
        Ok(Cow::Owned(plain))
    }

    /// How many conditions it counts as: a long one is more work than a short one, and may have to
    /// be read for many types.
    pub(super) fn cost(self) -> usize {
        1 + self.text.len() / 64
    }

    /// What follows after so many bytes.
    pub(super) fn after(self, bytes: usize) -> Self {
        let bytes = bytes.min(self.text.len());
        Self::new(&self.text[bytes..], self.at + bytes)
    }

    /// Something wrong where this begins in a value.
    pub(super) fn fault(self, problem: QueryProblem) -> Fault {
        Fault::in_value(self.at, problem)
    }

    /// Something wrong where this begins in a name.
    pub(super) fn fault_in_name(self, problem: QueryProblem) -> Fault {
        Fault::in_name(self.at, problem)
    }
}

fn find_unescaped(text: &[u8], separator: u8) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match *byte {
            b'\\' => at += 2,
            byte if byte == separator => return Some(at),
            _ => at += 1,
        }
    }
    None
}
