//! What characters are written as in the two formats: an attribute's value becomes the content
//! of a JSON string (XML 1.0, 3.3.3: white space that is not a reference is a space), and a
//! JSON string's content becomes an attribute's value.

use std::borrow::Cow;

use crate::encoding::is_allowed;
use crate::error::{Found, XmlProblem, beginning, found, ill_formed};

/// A table of the bytes at which a run of plain text ends.
const fn stops(these: &[u8], controls: bool) -> [bool; 256] {
    let mut stops = [false; 256];
    let mut at = 0;
    while controls && at < 0x20 {
        stops[at] = true;
        at += 1;
    }
    at = 0;
    while at < these.len() {
        stops[these[at] as usize] = true;
        at += 1;
    }
    stops
}

static ATTRIBUTE: [bool; 256] = stops(b"&<\"\\", true);
static JSON: [bool; 256] = stops(b"\"\\", true);
static XML: [bool; 256] = stops(b"&<>\"\xEF", true);

/// The next byte from `at` on at which a run of plain text ends.
fn stop(bytes: &[u8], at: usize, stops: &[bool; 256]) -> Option<usize> {
    bytes[at..].iter().position(|&byte| stops[usize::from(byte)]).map(|run| at + run)
}

/// What an attribute's value means; `at` is where it stands in the whole text.
pub(crate) fn attribute_text(value: &str, at: usize) -> Result<Cow<'_, str>, Found> {
    if !value.bytes().any(|byte| matches!(byte, b'&' | b'<' | b'\t' | b'\n' | b'\r')) {
        return Ok(Cow::Borrowed(value));
    }
    let mut text = String::with_capacity(value.len());
    let mut done = 0;
    while let Some(next) = stop(value.as_bytes(), done, &ATTRIBUTE) {
        text.push_str(&value[done..next]);
        let (character, length) = attribute_character(value, next, at)?;
        text.push(character);
        done = next + length;
    }
    text.push_str(&value[done..]);
    Ok(Cow::Owned(text))
}

/// Appends what an attribute's value means as the content of a JSON string, without quotes.
pub(crate) fn attribute_to_json(value: &str, at: usize, out: &mut Vec<u8>) -> Result<(), Found> {
    let bytes = value.as_bytes();
    let mut done = 0;
    while let Some(next) = stop(bytes, done, &ATTRIBUTE) {
        out.extend_from_slice(&bytes[done..next]);
        let (character, length) = attribute_character(value, next, at)?;
        json_character(character, out);
        done = next + length;
    }
    out.extend_from_slice(&bytes[done..]);
    Ok(())
}

/// The character at which a run of an attribute's value ended, and how long it is there.
fn attribute_character(value: &str, next: usize, at: usize) -> Result<(char, usize), Found> {
    let rest = &value.as_bytes()[next..];
    Ok(match rest[0] {
        b'&' => {
            let Some(end) = rest.iter().take(40).position(|&byte| byte == b';') else {
                return ill_formed(at + next, "'&' that begins no reference; write &amp;");
            };
            (reference(&value[next + 1..next + end], at + next)?, end + 1)
        }
        b'<' => return ill_formed(at + next, "'<' in an attribute; write &lt;"),
        b'\r' if rest.get(1) == Some(&b'\n') => (' ', 2),
        b'\t' | b'\n' | b'\r' => (' ', 1),
        other => (char::from(other), 1),
    })
}

/// The character that a reference stands for; `name` is what stands between `&` and `;`.
pub(crate) fn reference(name: &str, at: usize) -> Result<char, Found> {
    let Some(digits) = name.strip_prefix('#') else {
        return match name {
            "amp" => Ok('&'),
            "lt" => Ok('<'),
            "gt" => Ok('>'),
            "quot" => Ok('"'),
            "apos" => Ok('\''),
            _ => found(at, XmlProblem::UnknownEntity(beginning(name))),
        };
    };
    let (digits, radix) = match digits.strip_prefix('x') {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    // `from_str_radix` would take a sign.
    let code = if digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        u32::from_str_radix(digits, radix).ok().and_then(char::from_u32)
    } else {
        None
    };
    match code {
        Some(character) if is_allowed(character) => Ok(character),
        Some(character) => found(at, XmlProblem::ForbiddenCharacter(character)),
        None => ill_formed(at, "a reference to a character that there is not"),
    }
}

fn json_character(character: char, out: &mut Vec<u8>) {
    let mut buffer = [0; 4];
    let escape: &[u8] = match character {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        _ => character.encode_utf8(&mut buffer).as_bytes(),
    };
    out.extend_from_slice(escape);
}

/// Appends text, in which no character is forbidden, as the content of a JSON string.
pub(crate) fn text_to_json(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut done = 0;
    while let Some(next) = stop(bytes, done, &JSON) {
        out.extend_from_slice(&bytes[done..next]);
        json_character(char::from(bytes[next]), out);
        done = next + 1;
    }
    out.extend_from_slice(&bytes[done..]);
}

/// Appends text as an attribute's value, without quotes, such that a reader gets it back as it
/// is (XML 1.0, 3.3.3). A character that XML cannot hold is given back.
pub(crate) fn text_to_attribute(text: &str, out: &mut Vec<u8>) -> Result<(), char> {
    let bytes = text.as_bytes();
    let mut done = 0;
    while let Some(next) = stop(bytes, done, &XML) {
        out.extend_from_slice(&bytes[done..next]);
        done = next + 1;
        out.extend_from_slice(match bytes[next] {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'"' => b"&quot;",
            b'\n' => b"&#10;",
            b'\r' => b"&#13;",
            b'\t' => b"&#9;",
            0xEF if matches!(bytes[next..], [_, 0xBF, 0xBE, ..]) => return Err('\u{fffe}'),
            0xEF if matches!(bytes[next..], [_, 0xBF, 0xBF, ..]) => return Err('\u{ffff}'),
            0xEF => b"\xEF",
            control => return Err(char::from(control)),
        });
    }
    out.extend_from_slice(&bytes[done..]);
    Ok(())
}

/// Appends text as text between tags.
pub(crate) fn text_to_content(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{attribute_text, attribute_to_json, text_to_attribute, text_to_json};
    use crate::encoding::is_allowed;
    use fhir_core::json::{Document, write_string};
    use proptest::prelude::*;

    fn meaning(value: &str) -> Result<String, String> {
        let text = attribute_text(value, 0).map_err(|found| found.problem.to_string())?;
        let mut json = b"\"".to_vec();
        attribute_to_json(value, 0, &mut json).map_err(|found| found.problem.to_string())?;
        json.push(b'"');
        let document = Document::parse(&json).map_err(|error| error.to_string())?;
        assert_eq!(document.root().as_str().as_deref(), Some(&*text));
        Ok(text.into_owned())
    }

    #[test]
    fn references_and_white_space_of_attributes_mean_what_xml_says() {
        // XML-019, XML-021
        let check = |value: &str, expected: &str| {
            assert_eq!(meaning(value).as_deref(), Ok(expected), "{value}");
        };
        check("a&amp;b&lt;&gt;&quot;&apos;", "a&b<>\"'");
        check("&#10;&#x9;&#13;", "\n\t\r");
        check("a\nb\tc\r\nd\re", "a b c d e");
        check("&#128512;\u{1F600}\\\"", "\u{1F600}\u{1F600}\\\"");
    }

    #[test]
    fn references_to_what_is_not_there_are_refused() {
        // XML-020, XML-023
        let check = |value: &str, reason: &str| {
            let error = meaning(value).unwrap_err();
            assert!(error.contains(reason), "{value}: {error}");
        };
        check("&nbsp;", "\"&nbsp;\" is not known");
        check("&#1;", "U+0001 cannot");
        check("&#xFFFE;", "U+FFFE cannot");
        check("&#xD800;", "there is not");
        check("&#+65;", "there is not");
        check("&#;", "there is not");
        check("&#x110000;", "there is not");
        check("a & b", "write &amp;");
        check("a<b", "write &lt;");
    }

    #[test]
    fn what_xml_cannot_hold_is_given_back() {
        // XML-020
        for character in ['\0', '\u{1}', '\u{1f}', '\u{fffe}', '\u{ffff}'] {
            assert_eq!(
                text_to_attribute(&format!("a{character}b"), &mut Vec::new()),
                Err(character)
            );
        }
    }

    proptest! {
        #[test]
        fn every_text_that_xml_can_hold_comes_back_from_an_attribute(text in any::<String>()) {
            let mut value = Vec::new();
            match text_to_attribute(&text, &mut value) {
                Ok(()) => {
                    let value = String::from_utf8(value).unwrap();
                    prop_assert_eq!(meaning(&value), Ok(text));
                }
                Err(character) => prop_assert!(!is_allowed(character)),
            }
        }

        #[test]
        fn json_strings_are_written_as_the_core_writes_them(
            text in "[^\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}]*"
        ) {
            let mut expected = Vec::new();
            write_string(&text, &mut expected);
            let mut ours = b"\"".to_vec();
            text_to_json(&text, &mut ours);
            ours.push(b'"');
            prop_assert_eq!(ours, expected);
        }
    }
}
