//! Texts that people read: folded, so that those that begin alike stand together, then as they
//! are written.

use std::borrow::Cow;

use fhir_search::{fold, from_words};

use super::{Reader, Writer};

/// So many bytes are kept of what is left of a text from one of its words on.
pub(crate) const LONGEST_WORDS: usize = 96;

/// The key of a text that has been folded.
pub(crate) fn string_key(folded: &str, text: &str) -> Vec<u8> {
    Writer::default().text(folded).optional((folded != text).then_some(text)).finish()
}

/// A text, folded and as it is written.
pub(crate) fn read_string<'k>(reader: &mut Reader<'k>) -> Option<(Cow<'k, str>, Cow<'k, str>)> {
    let folded = reader.text()?;
    let text = reader.optional()?.unwrap_or_else(|| folded.clone());
    Some((folded, text))
}

/// What the keys of texts begin with that begin with a folded one.
pub(crate) fn string_prefix(folded: &str) -> Vec<u8> {
    Writer::default().open_text(folded).finish()
}

/// The keys of what is left of a folded text from each of its words but the first. Cut where they
/// would be long: whoever asks for more than is kept must look at the whole texts.
pub(crate) fn word_keys(folded: &str) -> impl Iterator<Item = Vec<u8>> + '_ {
    from_words(folded).map(|rest| {
        let end = rest.floor_char_boundary(LONGEST_WORDS);
        string_prefix(&rest[..end])
    })
}

/// The key of a text that `:text` searches: folded, and nothing else.
pub(crate) fn folded_key(text: &str) -> Vec<u8> {
    string_prefix(&fold(text))
}
