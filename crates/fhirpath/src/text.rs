//! The work of the string functions (N1 5.6, and those of 2.1 that the R4 suite knows): plain
//! functions from text to text.

/// From the character `start`, so many characters or all. `None` when it begins outside.
pub(crate) fn substring(text: &str, start: i64, length: Option<i64>) -> Option<&str> {
    let start = usize::try_from(start).ok()?;
    let rest = match text.char_indices().nth(start) {
        Some((at, _)) => &text[at..],
        None => return None,
    };
    let Some(length) = length else {
        return Some(rest);
    };
    let length = usize::try_from(length).unwrap_or(0);
    Some(rest.char_indices().nth(length).map_or(rest, |(at, _)| &rest[..at]))
}

/// The index, in characters, of where `part` first stands, or -1.
pub(crate) fn index_of(text: &str, found: Option<usize>) -> i64 {
    found.and_then(|at| i64::try_from(text[..at].chars().count()).ok()).unwrap_or(-1)
}

/// An encoding of `encode()` and `decode()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Hex,
    Base64,
    UrlBase64,
}

impl Encoding {
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "hex" => Self::Hex,
            "base64" => Self::Base64,
            "urlbase64" => Self::UrlBase64,
            _ => return None,
        })
    }

    fn alphabet(self) -> &'static [u8; 64] {
        match self {
            Self::UrlBase64 => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
            Self::Hex | Self::Base64 => {
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
            }
        }
    }

    pub(crate) fn encode(self, text: &str) -> String {
        if self == Self::Hex {
            return text.bytes().map(|byte| format!("{byte:02x}")).collect();
        }
        let alphabet = self.alphabet();
        let mut encoded = String::with_capacity(text.len().div_ceil(3) * 4);
        for chunk in text.as_bytes().chunks(3) {
            let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for index in 0..4 {
                if index <= chunk.len() {
                    let sextet = bits >> (18 - 6 * index) & 63;
                    encoded.push(char::from(alphabet[sextet as usize]));
                } else {
                    encoded.push('=');
                }
            }
        }
        encoded
    }

    pub(crate) fn decode(self, text: &str) -> Option<String> {
        let bytes = if self == Self::Hex { hex_bytes(text)? } else { self.base64_bytes(text)? };
        String::from_utf8(bytes).ok()
    }

    fn base64_bytes(self, text: &str) -> Option<Vec<u8>> {
        let digits = text.trim_end_matches('=');
        let alphabet = self.alphabet();
        let (mut bits, mut count) = (0_u32, 0);
        let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
        for digit in digits.bytes() {
            let value = alphabet.iter().position(|it| *it == digit)?;
            bits = bits << 6 | u32::try_from(value).ok()?;
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push(u8::try_from(bits >> count & 255).ok()?);
            }
        }
        (digits.len() % 4 != 1).then_some(bytes)
    }
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes =
        pairs.iter().map(|[high, low]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok());
    rest.is_empty().then(|| bytes.collect()).flatten()
}

/// What `escape('html')` does.
pub(crate) fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Bytes of `&#1114111;` and of the like with noughts before them.
const LONGEST_ENTITY: usize = 11;

/// And back.
pub(crate) fn unescape_html(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        // No entity is longer, and looking further for each ampersand would look at all of it.
        let end = rest.bytes().take(LONGEST_ENTITY).position(|byte| byte == b';');
        let entity = end.and_then(|end| {
            let character = match &rest[1..end] {
                "lt" => '<',
                "gt" => '>',
                "amp" => '&',
                "quot" => '"',
                "apos" => '\'',
                name => {
                    let number = name.strip_prefix('#')?;
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                        None => number.parse().ok()?,
                    };
                    char::from_u32(code)?
                }
            };
            Some((character, end + 1))
        });
        let (character, length) = entity.unwrap_or(('&', 1));
        plain.push(character);
        rest = &rest[length..];
    }
    plain.push_str(rest);
    plain
}

/// What `escape('json')` does.
pub(crate) fn escape_json(text: &str) -> String {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    fhir_core::json::write_string(text, &mut quoted);
    let inside = quoted[1..quoted.len() - 1].to_vec();
    String::from_utf8(inside).expect("escapes are ASCII")
}

/// And back; `None` when an escape is none.
pub(crate) fn unescape_json(text: &str) -> Option<String> {
    // Quotes that are not escaped stay.
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    let mut is_escaped = false;
    for character in text.chars() {
        if character == '"' && !is_escaped {
            quoted.push('\\');
        }
        is_escaped = character == '\\' && !is_escaped;
        quoted.push(character);
    }
    quoted.push('"');
    let document = fhir_core::json::Document::parse(quoted.as_bytes()).ok()?;
    document.root().as_str().map(std::borrow::Cow::into_owned)
}

/// Equal but for case and white space (N1 6.1.2).
pub(crate) fn equivalent(left: &str, right: &str) -> bool {
    let normal = |text: &str| {
        let words = text.split_whitespace().map(str::to_lowercase);
        words.collect::<Vec<_>>().join(" ")
    };
    left == right || normal(left) == normal(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_go_there_and_back() {
        for (encoding, encoded) in [
            (Encoding::Base64, "c3ViamVjdHM/X2Q="),
            (Encoding::UrlBase64, "c3ViamVjdHM_X2Q="),
            (Encoding::Hex, "7375626a656374733f5f64"),
        ] {
            assert_eq!(encoding.encode("subjects?_d"), encoded);
            assert_eq!(encoding.decode(encoded).as_deref(), Some("subjects?_d"));
        }
        for encoding in [Encoding::Base64, Encoding::Hex] {
            assert_eq!(encoding.decode("abc!d"), None);
            assert_eq!(encoding.decode("_w"), None, "not UTF-8, or not of the alphabet");
        }
    }

    #[test]
    fn html_and_json_are_escaped_there_and_back() {
        let text = "\"1 < 2\" & 'x'\n";
        assert_eq!(unescape_html(&escape_html(text)), text);
        assert_eq!(unescape_json(&escape_json(text)).as_deref(), Some(text));
        assert_eq!(unescape_html("&nope; &#x41;&#66; &"), "&nope; AB &");
        assert_eq!(unescape_json("\\q"), None);
        assert_eq!(unescape_json("\"1<2\"").as_deref(), Some("\"1<2\""));
    }

    #[test]
    fn many_ampersands_take_linear_time() {
        let text = "&".repeat(4 << 20);
        assert_eq!(unescape_html(&text), text);
    }

    #[test]
    fn parts_of_a_text_are_counted_in_characters() {
        assert_eq!(substring("äöü", 1, Some(1)), Some("ö"));
        assert_eq!(substring("äöü", 1, Some(9)), Some("öü"));
        assert_eq!(substring("äöü", 3, None), None);
        assert_eq!(substring("äöü", -1, None), None);
        assert_eq!(index_of("äöü", "äöü".find('ü')), 2);
    }
}
