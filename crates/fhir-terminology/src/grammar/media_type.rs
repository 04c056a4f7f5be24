//! BCP 13 (RFC 6838): a registered top level, a well-formed subtype (4.2) and parameters (4.3).
//! Whether a subtype is registered is not asked. Nor is what a parameter's value looks like: for
//! that "there is no defined syntax" (4.3), but that of each type. A transport may be stricter, as
//! RFC 2045 is for mail and RFC 9110 for HTTP, which put all but tokens into quotes.
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

fn is_parameter(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let inner = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'));
    let is_value = inner.is_some_and(|it| !it.bytes().any(|byte| byte.is_ascii_control()));
    let is_quoted = value.starts_with('"');
    is_restricted_name(name) && !value.is_empty() && is_value && (is_quoted || !value.contains('"'))
}
