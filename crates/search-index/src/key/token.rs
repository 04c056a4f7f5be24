//! Codes and identifiers: by code without regard to case, then by system, then as they are
//! written. What else belongs to a token has views of its own.

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
    let writer = match &token.code {
        Some(code) => code_prefix(writer, code),
        None => writer.byte(0),
    };
    let exact = token.code.as_deref().filter(|code| *code != code.to_lowercase());
    writer
        .optional(token.system.as_deref())
        .byte(u8::try_from(from).unwrap_or_default())
        .optional(exact)
}

/// What the keys of a code begin with, in whatever case it is written.
pub(crate) fn code_prefix(writer: Writer, code: &str) -> Writer {
    writer.byte(1).text(&code.to_lowercase())
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
