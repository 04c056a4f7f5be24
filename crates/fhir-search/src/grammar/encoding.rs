//! Names and values as they stand in a URL's query or a form (HTML 4.01, 17.13.4; RFC 3986, 2.1).

/// A query or form that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedForm {
    /// A percent sign without two hexadecimal digits.
    #[error("a percent sign at byte {0} without two hexadecimal digits; write %25 for one")]
    Percent(usize),
    /// What is decoded is no UTF-8.
    #[error("the parameter at byte {0} is no UTF-8 when it is decoded")]
    Utf8(usize),
}

/// The names and values of a URL's query (without its question mark) or of a form, decoded once:
/// `%41` is `A`, and `+` is a space.
///
/// # Errors
/// [`MalformedForm`], with the place in `text`.
pub fn decode_form(text: &[u8]) -> Result<Vec<(String, String)>, MalformedForm> {
    let mut parameters = Vec::new();
    let mut at = 0;
    for part in text.split(|byte| *byte == b'&') {
        if !part.is_empty() {
            let equals = part.iter().position(|byte| *byte == b'=');
            let (name, value) = match equals {
                Some(equals) => (&part[..equals], decode(&part[equals + 1..], at + equals + 1)?),
                None => (part, String::new()),
            };
            parameters.push((decode(name, at)?, value));
        }
        at += part.len() + 1;
    }
    Ok(parameters)
}

fn decode(text: &[u8], start: usize) -> Result<String, MalformedForm> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'+' => plain.push(b' '),
            b'%' => {
                let digit = |place| text.get(place).and_then(|byte| char::from(*byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
                    return Err(MalformedForm::Percent(start + at));
                };
                plain.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 2;
            }
            _ => plain.push(*byte),
        }
        at += 1;
    }
    String::from_utf8(plain).map_err(|_| MalformedForm::Utf8(start))
}

/// Names and values as a URL's query: what [`decode_form`] reads again.
pub fn encode_form<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        encode(name, &mut text);
        text.push('=');
        encode(value, &mut text);
    }
    text
}

/// What may stand in a query as it is is left as it is, so that links can be read; what a form
/// would understand differently is not.
fn encode(plain: &str, text: &mut String) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    for byte in plain.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/,$*()!@?".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}
