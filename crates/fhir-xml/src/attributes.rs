//! The attributes of a start tag (XML 1.0, 3.1): `name="value"` with space before each.

use crate::error::{Found, ill_formed};
use crate::tokens::{Tag, is_name};

/// More than any element of a resource has.
const MOST: usize = 64;

/// One attribute as written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute<'a> {
    /// Its name, prefix and all.
    pub(crate) name: &'a str,
    /// What stands between the quotes.
    pub(crate) value: &'a str,
    /// Where the name begins.
    pub(crate) at: usize,
    /// Where the value begins.
    pub(crate) value_at: usize,
}

/// Reads the attributes of a tag into `into`, which is emptied first.
pub(crate) fn read<'a>(tag: &Tag<'a>, into: &mut Vec<Attribute<'a>>) -> Result<(), Found> {
    into.clear();
    let text = tag.attributes;
    let bytes = text.as_bytes();
    let base = tag.name_end();
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let after_space = |at: usize| {
        at + bytes[at..].iter().position(|byte| !is_space(byte)).unwrap_or(bytes.len() - at)
    };
    let mut at = 0;
    loop {
        let start = after_space(at);
        if start == bytes.len() {
            return Ok(());
        }
        if start == at {
            return ill_formed(base + at, "an attribute without a space before it");
        }
        let Some(length) = bytes[start..].iter().position(|byte| *byte == b'=' || is_space(byte))
        else {
            return ill_formed(base + start, "an attribute without a value");
        };
        let name = &text[start..start + length];
        let equals = after_space(start + length);
        if bytes.get(equals) != Some(&b'=') {
            return ill_formed(base + start, "an attribute without a value");
        }
        let quote_at = after_space(equals + 1);
        let Some(&quote @ (b'"' | b'\'')) = bytes.get(quote_at) else {
            return ill_formed(base + start, "an attribute whose value is not in quotes");
        };
        let value_at = quote_at + 1;
        let Some(length) = bytes[value_at..].iter().position(|byte| *byte == quote) else {
            return ill_formed(base + start, "an attribute whose value does not end");
        };
        if !is_name(name) {
            return ill_formed(base + start, "an attribute whose name is no name");
        }
        if into.iter().any(|other| other.name == name) {
            return ill_formed(base + start, "an attribute that stands twice in one tag");
        }
        if into.len() == MOST {
            return ill_formed(base + start, "more than 64 attributes in one tag");
        }
        into.push(Attribute {
            name,
            value: &text[value_at..value_at + length],
            at: base + start,
            value_at: base + value_at,
        });
        at = value_at + length + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::tokens::Tag;

    fn names_and_values(attributes: &str) -> Result<String, String> {
        let mut into = Vec::new();
        read(&Tag { at: 0, name: "a", attributes }, &mut into)
            .map(|()| into.iter().map(|it| format!("[{}|{}]", it.name, it.value)).collect())
            .map_err(|found| format!("{} at {}", found.problem, found.offset))
    }

    #[test]
    fn attributes_are_read_with_either_quote_and_any_space() {
        let check = |text: &str, expected: &str| {
            assert_eq!(names_and_values(text).as_deref(), Ok(expected), "{text}");
        };
        check("", "");
        check(" \n", "");
        check(" a='1'\n\tb = \"'2'\" ", "[a|1][b|'2']");
        check(" f:a=''", "[f:a|]");
    }

    #[test]
    fn attributes_that_are_not_xml_are_refused_where_they_stand() {
        let check = |text: &str, reason: &str| {
            let error = names_and_values(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        };
        check(" a", "without a value at 3");
        check(" a b='1'", "without a value at 3");
        check(" a=1", "not in quotes");
        check(" a='1", "does not end");
        check(" a='1'b='2'", "without a space before it at 8");
        check(" a='1' a='2'", "twice");
        check(" 1a='1'", "no name");
        check(" ='1'", "no name");
        check(" a:b:c='1'", "no name");
        let many: String = (0..65).map(|count| format!(" a{count}=''")).collect();
        check(&many, "more than 64");
    }
}
