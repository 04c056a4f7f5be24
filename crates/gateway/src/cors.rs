//! Cross-origin requests of web pages (Fetch standard, section 3.2): off unless origins are named.
//!
//! Credentials in a browser's sense (cookies) are allowed only where that is said; a page sends its
//! key itself.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Method, header};
use pingora::http::ResponseHeader;

use crate::config::Cors;

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const ALLOWED_HEADERS: &str = "accept, authorization, content-type, idempotency-key, if-match, \
                               if-modified-since, if-none-exist, if-none-match, prefer, \
                               x-request-id";
const EXPOSED_HEADERS: &str = "etag, location, content-location, last-modified, x-request-id, \
                               ratelimit, ratelimit-policy, retry-after";

/// The request's origin, when it is one of those named.
pub(crate) fn allowed_origin(cors: Option<&Cors>, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    cors?
        .origins
        .iter()
        .any(|allowed| is_origin(allowed.as_bytes(), origin.as_bytes()))
        .then(|| origin.clone())
}

/// Whether an origin is one of those that `allowed` stands for. A `*` there is one label, the
/// first of a host: `https://*.example.org`.
fn is_origin(allowed: &[u8], origin: &[u8]) -> bool {
    let Some(star) = allowed.windows(4).position(|part| part == b"//*.") else {
        return allowed == origin;
    };
    let (scheme, rest) = (&allowed[..star + 2], &allowed[star + 3..]);
    let label = origin.strip_prefix(scheme).and_then(|host| host.strip_suffix(rest));
    let of_label = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    label.is_some_and(|label| !label.is_empty() && label.iter().all(of_label))
}

/// Whether a browser asks for leave rather than for a resource.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The method that a request is about: of a preflight, the one that it asks leave for.
pub(crate) fn asked_method<'a>(method: &'a Method, headers: &HeaderMap) -> Cow<'a, Method> {
    let asked = is_preflight(method, headers)
        .then(|| headers.get(header::ACCESS_CONTROL_REQUEST_METHOD))
        .flatten()
        .and_then(|asked| Method::from_bytes(asked.as_bytes()).ok());
    asked.map_or(Cow::Borrowed(method), Cow::Owned)
}

/// Adds to an answer that a page of `origin` may read it.
pub(crate) fn allow(
    head: &mut ResponseHeader,
    origin: &HeaderValue,
    cors: Option<&Cors>,
) -> pingora::Result<()> {
    head.insert_header(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)?;
    head.insert_header(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS)?;
    if let Some(cors) = cors {
        for name in &cors.exposed {
            head.append_header(header::ACCESS_CONTROL_EXPOSE_HEADERS, name.as_str())?;
        }
        if cors.credentials {
            head.insert_header(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true")?;
        }
    }
    head.append_header(header::VARY, "origin")?;
    Ok(())
}

/// The answer to a preflight.
pub(crate) fn preflight_answer() -> pingora::Result<Box<ResponseHeader>> {
    let mut head = ResponseHeader::build_no_case(204, Some(8))?;
    head.insert_header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)?;
    head.insert_header(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS)?;
    head.insert_header(header::ACCESS_CONTROL_MAX_AGE, "600")?;
    Ok(Box::new(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    // GW-026
    #[test]
    fn a_star_stands_for_one_label_of_a_host_and_nothing_else() {
        for (allowed, origin, expected) in [
            ("https://app.example.org", "https://app.example.org", true),
            ("https://app.example.org", "https://app.example.org.evil", false),
            ("https://*.example.org", "https://app.example.org", true),
            ("https://*.example.org:8443", "https://app.example.org:8443", true),
            ("https://*.example.org", "https://example.org", false),
            ("https://*.example.org", "https://.example.org", false),
            ("https://*.example.org", "https://a.b.example.org", false),
            ("https://*.example.org", "http://app.example.org", false),
            ("https://*.example.org", "https://app.example.org:444", false),
            ("https://*.example.org", "https://evil/.example.org", false),
            ("https://*.example.org", "null", false),
            ("*", "https://app.example.org", false),
        ] {
            let found = is_origin(allowed.as_bytes(), origin.as_bytes());
            assert_eq!(found, expected, "{allowed} {origin}");
        }
    }
}
