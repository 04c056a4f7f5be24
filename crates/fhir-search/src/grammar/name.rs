//! Names of parameters with chains, `_has` and modifiers (FHIR R4, 3.1.1.4.6, 3.1.1.4.17 and
//! 3.1.1.4.18).

use super::{Fault, Piece};
use crate::QueryProblem;

/// A name, taken apart: where the search goes on, and what is asked there.
#[derive(Debug)]
pub(super) struct Name<'a> {
    pub(super) steps: Vec<Step<'a>>,
    pub(super) code: Piece<'a>,
    pub(super) modifier: Option<Piece<'a>>,
}

/// One reference that the search goes along.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// `code.` or `code:Type.`
    Chain { code: Piece<'a>, target: Option<Piece<'a>> },
    /// `_has:Type:code:`
    Has { resource_type: Piece<'a>, reference: Piece<'a> },
}

impl<'a> Name<'a> {
    pub(super) fn parse(text: &'a str, depth: usize) -> Result<Self, Fault> {
        let mut steps = Vec::new();
        let mut rest = Piece::new(text, 0);
        loop {
            if let Some(after) = strip(rest, "_has:") {
                let (resource_type, after) = word(after, ':')?;
                let (reference, after) = word(after, ':')?;
                steps.push(Step::Has { resource_type, reference });
                rest = after;
            } else if rest.text.contains('.') {
                let (link, after) = word(rest, '.')?;
                let (code, target) = code_and_modifier(link)?;
                steps.push(Step::Chain { code, target });
                rest = after;
            } else {
                let (code, modifier) = code_and_modifier(rest)?;
                return Ok(Self { steps, code, modifier });
            }
            if steps.len() > depth {
                let what = "references in one chain";
                return Err(rest.fault_in_name(QueryProblem::TooMany { what, limit: depth }));
            }
        }
    }
}

fn strip<'a>(piece: Piece<'a>, start: &str) -> Option<Piece<'a>> {
    piece.text.starts_with(start).then(|| piece.after(start.len()))
}

/// What stands before the end and what after it.
fn word(piece: Piece<'_>, end: char) -> Result<(Piece<'_>, Piece<'_>), Fault> {
    match piece.text.split_once(end) {
        Some((word, _)) if !word.is_empty() => {
            Ok((Piece::new(word, piece.at), piece.after(word.len() + 1)))
        }
        _ => Err(piece.fault_in_name(QueryProblem::MissingName)),
    }
}

fn code_and_modifier(piece: Piece<'_>) -> Result<(Piece<'_>, Option<Piece<'_>>), Fault> {
    let (code, modifier) = if piece.text.contains(':') {
        let (code, modifier) = word(piece, ':')?;
        (code, Some(modifier))
    } else {
        (piece, None)
    };
    match modifier.unwrap_or(code) {
        last if last.text.is_empty() => Err(last.fault_in_name(QueryProblem::MissingName)),
        _ => Ok((code, modifier)),
    }
}
