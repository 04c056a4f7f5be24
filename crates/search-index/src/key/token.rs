//! Codes and identifiers: by code without regard to case, then by system, then as they are
//! written. What else belongs to a token has views of its own.

use std::borrow::Cow;

use fhir_search::{Token, TokenFrom};

use super::{Reader, Writer};

const FROM: [TokenFrom; 6] = [
    TokenFrom::Code,
    TokenFrom::Identifier,
    TokenFrom::ContactPoint,
    TokenFrom::Boolean,
    TokenFrom::Uri,
    TokenFrom::String,
];

/// Adds a token to a key.
pub(crate) fn token_key(writer: Writer, token: &Token<'_>) -> Writer {
    let from = FROM.iter().position(|it| *it == token.from).unwrap_or_default();
    let (writer, exact) = match token.code.as_deref() {
        Some(code) => {
            let lower = lower(code);
            (writer.byte(1).text(&lower), Some(code).filter(|code| *code != lower))
        }
        None => (writer.byte(0), None),
    };
    writer
        .optional(token.system.as_deref())
        .byte(u8::try_from(from).unwrap_or_default())
        .optional(exact)
}

/// What the keys of a code begin with, in whatever case it is written.
pub(crate) fn code_prefix(writer: Writer, code: &str) -> Writer {
    writer.byte(1).text(&lower(code))
}

/// A code in lower case, as most are.
fn lower(code: &str) -> Cow<'_, str> {
    let is_lower = code.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { Cow::Borrowed(code) } else { Cow::Owned(code.to_lowercase()) }
}

/// The token of a key.
pub(crate) fn read_token<'k>(reader: &mut Reader<'k>) -> Option<Token<'k>> {
    let lower = reader.optional()?;
    let system = reader.optional()?;
    let from = *FROM.get(usize::from(reader.byte()?))?;
    let exact = reader.optional()?;
    Some(Token { from, system, code: exact.or(lower), text: None, identifier_types: Vec::new() })
}

/// What the keys of identifiers of a type begin with; the token follows.
pub(crate) fn typed_key(system: &str, code: &str) -> Writer {
    Writer::default().text(system).text(code)
}

/// The token of a key of an identifier of a type.
pub(crate) fn read_typed<'k>(reader: &mut Reader<'k>) -> Option<Token<'k>> {
    reader.text()?;
    reader.text()?;
    read_token(reader)
}
