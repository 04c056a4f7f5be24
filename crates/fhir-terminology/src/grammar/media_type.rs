//! BCP 13 (RFC 6838, 4.2, and RFC 9110, 8.3.1 for parameters): a registered top level, a
//! well-formed subtype and parameters. Whether a subtype is registered is not asked.
//!
//! FHIR's own short forms `xml`, `json` and `ttl` count: CapabilityStatement.format is defined to
//! take them, and is bound to the value set of all media types.

/// The top levels that IANA lists, and `chemical`, which is in wide use without being listed.
const TOP_LEVELS: &[&str] = &[
    "application",
    "audio",
    "chemical",
    "example",
    "font",
    "haptics",
    "image",
    "message",
    "model",
    "multipart",
    "text",
    "video",
];

pub(super) fn is_media_type(code: &str) -> bool {
    if matches!(code, "xml" | "json" | "ttl") {
        return true;
    }
    let mut parts = split_parameters(code).into_iter();
    let Some((top, sub)) = parts.next().and_then(|name| name.trim_end().split_once('/')) else {
        return false;
    };
    let known = TOP_LEVELS.contains(&&*top.to_ascii_lowercase());
    let subtype = is_restricted_name(sub) || sub == "*";
    known && subtype && parts.all(|parameter| is_parameter(parameter.trim()))
}

/// At semicolons outside of quotes.
fn split_parameters(code: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => {
                parts.push(&code[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&code[start..]);
    parts
}

fn is_restricted_name(name: &str) -> bool {
    name.len() <= 127
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_parameter(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
    // FHIR's own example of a parameter is a URL without quotes (R4, Signature.targetFormat).
    let is_plain_url = value.split(['/', ':']).all(|part| part.is_empty() || is_token(part));
    is_token(name) && !value.is_empty() && (is_plain_url || quoted)
}
