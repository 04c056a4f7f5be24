//! Comments in JSON, for those who take them: each becomes as much white space, so that no place
//! moves.

use std::borrow::Cow;

/// The text with white space where comments were. What is in a string is none; one without an end
/// stays, and is told as what it is.
pub(crate) fn pass_over(json: &[u8]) -> Cow<'_, [u8]> {
    if !json.windows(2).any(|it| it == b"/*" || it == b"//") {
        return Cow::Borrowed(json);
    }
    let mut text = json.to_vec();
    let mut at = 0;
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            (b'"', _) => at = string_end(&text, at),
            (b'/', Some(b'/')) => {
                let rest = text[at..].iter().position(|it| matches!(it, b'\n' | b'\r'));
                let end = rest.map_or(text.len(), |it| at + it);
                text[at..end].fill(b' ');
                at = end;
            }
            (b'/', Some(b'*')) => {
                let Some(rest) = text[at + 2..].windows(2).position(|it| it == b"*/") else {
                    break;
                };
                let end = at + rest + 4;
                for byte in &mut text[at..end] {
                    if !matches!(byte, b'\n' | b'\r') {
                        *byte = b' ';
                    }
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    Cow::Owned(text)
}

/// Where a string that begins here has ended.
fn string_end(text: &[u8], begin: usize) -> usize {
    let mut at = begin + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_white_space_and_strings_stay() {
        let cases = [
            ("{}", "{}"),
            ("{/* a */}", "{       }"),
            ("[1, // b\n2]", "[1,     \n2]"),
            (r#"{"a":"//","b":"\"/*"}"#, r#"{"a":"//","b":"\"/*"}"#),
            ("[/*\n*/1]", "[  \n  1]"),
            ("[1 /* no end", "[1 /* no end"),
        ];
        for (text, expected) in cases {
            assert_eq!(String::from_utf8_lossy(&pass_over(text.as_bytes())), expected, "{text}");
        }
    }
}
