//! From bytes to text: UTF-8, UTF-16 and ISO-8859-1, known by a byte order mark or by the XML
//! declaration (XML 1.0, 4.3.3 and appendix F). Other encodings are refused, and so are
//! characters that XML cannot hold (XML 1.0, 2.2).

use std::borrow::Cow;

use crate::error::{Found, XmlProblem, found};

/// The text of a document without its byte order mark. Offsets of issues are those of the text.
pub(crate) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, Found> {
    let text = match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest)?,
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0, b'<', ..] => utf16(bytes, u16::from_be_bytes)?,
        [b'<', 0, ..] => utf16(bytes, u16::from_le_bytes)?,
        _ => match declared(bytes) {
            None => utf8(bytes)?,
            Some(name) => by_name(bytes, &name)?,
        },
    };
    if text.trim_ascii().is_empty() {
        return found(0, XmlProblem::Empty);
    }
    match forbidden(&text) {
        None => Ok(text),
        Some((at, character)) => found(at, XmlProblem::ForbiddenCharacter(character)),
    }
}

/// The encoding that the XML declaration names.
fn declared(bytes: &[u8]) -> Option<String> {
    let declaration = bytes.strip_prefix(b"<?xml")?;
    let end = declaration.iter().take(200).position(|&byte| byte == b'>')?;
    let declaration = std::str::from_utf8(&declaration[..end]).ok()?;
    let (_, after) = declaration.split_once("encoding")?;
    let after = after.trim_start().strip_prefix('=')?.trim_start();
    let quote = after.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let (name, _) = after[1..].split_once(quote)?;
    Some(name.to_owned())
}

fn by_name<'a>(bytes: &'a [u8], name: &str) -> Result<Cow<'a, str>, Found> {
    if name.eq_ignore_ascii_case("UTF-8") {
        return utf8(bytes);
    }
    if name.eq_ignore_ascii_case("US-ASCII") {
        return match bytes.iter().position(|byte| !byte.is_ascii()) {
            None => utf8(bytes),
            Some(at) => found(at, XmlProblem::NotInEncoding("ASCII")),
        };
    }
    if name.eq_ignore_ascii_case("ISO-8859-1") {
        return Ok(bytes.iter().map(|&byte| char::from(byte)).collect::<String>().into());
    }
    found(0, XmlProblem::UnknownEncoding(crate::error::beginning(name)))
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, Found> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(error) => found(error.valid_up_to(), XmlProblem::NotInEncoding("UTF-8")),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<Cow<'_, str>, Found> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len());
    for character in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        match character {
            Ok(character) => text.push(character),
            Err(_) => return found(text.len(), XmlProblem::NotInEncoding("UTF-16")),
        }
    }
    if !rest.is_empty() {
        return found(text.len(), XmlProblem::NotInEncoding("UTF-16"));
    }
    Ok(text.into())
}

/// The first character that XML cannot hold, and where it stands.
pub(crate) fn forbidden(text: &str) -> Option<(usize, char)> {
    const BLOCK: usize = 64;
    for (count, block) in text.as_bytes().chunks(BLOCK).enumerate() {
        // Without branches inside, so that the compiler looks at many bytes at a time.
        let suspicious =
            block.iter().fold(false, |any, &byte| any | (byte < 0x20) | (byte == 0xEF));
        if suspicious && let Some(found) = forbidden_after(text, count * BLOCK, block.len()) {
            return Some(found);
        }
    }
    None
}

/// The first such character that begins within `length` bytes of `start`.
fn forbidden_after(text: &str, start: usize, length: usize) -> Option<(usize, char)> {
    let bytes = text.as_bytes();
    (start..start + length)
        .find(|&at| match bytes[at] {
            b'\t' | b'\n' | b'\r' => false,
            0..0x20 => true,
            0xEF => matches!(bytes[at..], [_, 0xBF, 0xBE | 0xBF, ..]),
            _ => false,
        })
        .map(|at| (at, text[at..].chars().next().expect("a character begins here")))
}

/// Whether XML can hold this character (XML 1.0, 2.2).
#[must_use]
pub fn is_allowed(character: char) -> bool {
    !matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::{decode, forbidden, is_allowed};
    use proptest::prelude::*;

    fn bytes_of(text: &str, unit: fn(u16) -> [u8; 2], mark: bool) -> Vec<u8> {
        let mark = mark.then_some(0xFEFF);
        mark.into_iter().chain(text.encode_utf16()).flat_map(unit).collect()
    }

    #[test]
    fn texts_are_read_in_the_encoding_they_name() {
        // XML-022
        let text = "<?xml version=\"1.0\"?><a b=\"é𝄞\"/>";
        let check = |bytes: &[u8]| assert_eq!(decode(bytes).ok().as_deref(), Some(text));
        check(text.as_bytes());
        check(format!("\u{feff}{text}").as_bytes());
        for mark in [true, false] {
            check(&bytes_of(text, u16::to_be_bytes, mark));
            check(&bytes_of(text, u16::to_le_bytes, mark));
        }
        let latin = b"<?xml version='1.0' encoding='iso-8859-1'?><a b='\xE9'/>";
        assert!(decode(latin).is_ok_and(|text| text.ends_with("<a b='é'/>")));
    }

    #[test]
    fn texts_that_are_not_in_their_encoding_are_refused() {
        // XML-022
        let check = |bytes: &[u8], reason: &str| {
            let error = decode(bytes).unwrap_err().problem.to_string();
            assert!(error.contains(reason), "{error}");
        };
        check(b"<a b='\xE9'/>", "not UTF-8");
        check(b"\xFE\xFF\xD8\x00\x00<", "not UTF-16");
        check(b"\xFE\xFF\x00<\x00", "not UTF-16");
        check(b"<?xml version='1.0' encoding='US-ASCII'?><a b='\xC3\xA9'/>", "not ASCII");
        check(b"<?xml version=\"1.0\" encoding = \"EBCDIC\"?><a/>", "\"EBCDIC\" is not read");
        check(b"<?xml version='1.0' encoding='UTF-16'?><a/>", "\"UTF-16\" is not read");
        check(b" \n", "no content");
        check(b"", "no content");
    }

    proptest! {
        #[test]
        fn the_first_forbidden_character_is_found_wherever_it_stands(
            text in "([ -~\t\n\r]|\u{fffd}|\u{ffef}|[\u{fffe}\u{ffff}\u{1}\u{1f}]{0,1}){0,200}"
        ) {
            let slowly = text.char_indices().find(|(_, character)| !is_allowed(*character));
            prop_assert_eq!(forbidden(&text), slowly);
        }
    }
}
