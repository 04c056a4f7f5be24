//! Codes, identifiers and the like against what is asked of them (FHIR R4, 3.1.1.4.12).

use super::codes::case_counts;
use super::{Codes, CodesError};
use crate::{Token, TokenFrom, TokenTest};

/// Whether a test holds of a token, whose text is given folded.
pub(super) fn holds(
    test: &TokenTest,
    token: &Token<'_>,
    text: Option<&str>,
    codes: &dyn Codes,
) -> Result<bool, CodesError> {
    let (system, code) = (token.system.as_deref(), token.code.as_deref());
    if let TokenTest::Text(wanted) = test {
        return Ok(text.is_some_and(|text| text.starts_with(&**wanted)));
    }
    // What is a text alone is found by `:text` alone.
    let Some(code) = code else { return Ok(false) };
    let is = |wanted: &str| is_code(token, code, wanted, codes);
    Ok(match test {
        TokenTest::Code { system: wanted, code } => wanted.holds(system) && is(code),
        TokenTest::System(wanted) => system == Some(wanted),
        TokenTest::Text(_) => false,
        TokenTest::In(value_set) => codes.is_member(value_set, system, code)?,
        TokenTest::Below { system: wanted, code: above } => {
            system == Some(wanted) && (is(above) || codes.subsumes(wanted, above, code)?)
        }
        TokenTest::Above { system: wanted, code: below } => {
            system == Some(wanted) && (is(below) || codes.subsumes(wanted, code, below)?)
        }
        TokenTest::MimeBelow(wanted) => is_mime_below(code, wanted),
        TokenTest::OfType { system, code, value } => {
            let is_type = |(of, name): &(_, _)| **system == *of && **code == *name;
            token.identifier_types.iter().any(is_type) && is(value)
        }
    })
}

/// Whether a token's code is this one. Case counts in URIs and ids, and in systems that are known
/// to tell codes apart by it: that is asked only where it makes a difference.
fn is_code(token: &Token<'_>, code: &str, wanted: &str, codes: &dyn Codes) -> bool {
    if code == wanted {
        return true;
    }
    match token.from {
        TokenFrom::Uri => false,
        TokenFrom::Code | TokenFrom::Identifier => {
            is_same_but_for_case(code, wanted) && !case_counts(token.system.as_deref(), codes)
        }
        TokenFrom::ContactPoint | TokenFrom::Boolean | TokenFrom::String => {
            is_same_but_for_case(code, wanted)
        }
    }
}

fn is_same_but_for_case(one: &str, other: &str) -> bool {
    match one.is_ascii() && other.is_ascii() {
        true => one.eq_ignore_ascii_case(other),
        false => one.to_lowercase() == other.to_lowercase(),
    }
}

/// Whether a MIME type is this one without its parameters, or with `text/` any of that kind.
fn is_mime_below(code: &str, wanted: &str) -> bool {
    let name = code.split_once(';').map_or(code, |(name, _)| name).trim().to_lowercase();
    let wanted = wanted.to_lowercase();
    if wanted.ends_with('/') { name.starts_with(&wanted) } else { name == wanted }
}
