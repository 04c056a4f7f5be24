//! What is refused before anything else is asked: a request whose bytes could be read in two
//! ways, or that is larger than allowed (RFC 9112, sections 3.2, 5 and 6).
//!
//! pingora parses leniently (bare line feeds, Content-Length beside Transfer-Encoding, a missing
//! Host), so the head is judged here a second time, over its bytes as they came. Bodies are
//! bounded in `proxy`, as they pass.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};
use pingora::http::RequestHeader;

use crate::config::Limits;
use crate::errors::Refusal;

/// How long a request's body will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// As declared; zero when nothing is.
    Known(u64),
    /// Told piece by piece.
    Chunked,
}

/// Judges a request's head: `raw` are its bytes, `target` its request target.
pub(crate) fn judge_head(
    raw: &[u8],
    target: &[u8],
    headers: &HeaderMap<HeaderValue>,
    limits: &Limits,
) -> Result<BodyLength, Refusal> {
    if target.len() > limits.uri_bytes {
        return Err(Refusal::UriTooLong);
    }
    if raw.len() > limits.header_bytes || headers.len() > limits.header_count {
        return Err(Refusal::HeadTooLarge);
    }
    judge_lines(raw)?;
    // A fragment is no part of a target (RFC 9112, section 3.2). What was parsed has none any more,
    // but whoever stands before us may have judged the path with it.
    let first = memchr::memchr(b'\n', raw).unwrap_or(raw.len());
    if memchr::memchr(b'#', &raw[..first]).is_some() {
        return Err(Refusal::UnsupportedTarget);
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => {}
        _ => return Err(Refusal::AmbiguousHost),
    }
    judge_body_framing(raw, headers)
}

/// Judges a request's head in HTTP/2, whose frames tell where it and its body end: `raw` is it as
/// it would be in HTTP/1.1, `has_body` whether a body follows.
pub(crate) fn judge_http2_head(
    raw: &[u8],
    head: &RequestHeader,
    has_body: bool,
    limits: &Limits,
) -> Result<BodyLength, Refusal> {
    if head.raw_path().len() > limits.uri_bytes {
        return Err(Refusal::UriTooLong);
    }
    if raw.len() > limits.header_bytes || head.headers.len() > limits.header_count {
        return Err(Refusal::HeadTooLarge);
    }
    judge_lines(raw)?;
    // One that names no authority but has a Host is as good (RFC 9113, section 8.3.1).
    if head.uri.authority().is_none() && head.headers.get_all(HOST).iter().count() != 1 {
        return Err(Refusal::AmbiguousHost);
    }
    if head.headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refusal::AmbiguousFraming);
    }
    let length = judge_body_framing(raw, &head.headers)?;
    match length {
        BodyLength::Known(0) if has_body => Ok(BodyLength::Chunked),
        length => Ok(length),
    }
}

/// Every line ends in CR LF, has no other CR, and none continues the one before.
fn judge_lines(raw: &[u8]) -> Result<(), Refusal> {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', raw) {
        let line = &raw[start..end];
        let Some(line) = line.strip_suffix(b"\r") else {
            return Err(Refusal::AmbiguousFraming);
        };
        let folded = start > 0 && matches!(line.first(), Some(b' ' | b'\t'));
        if folded || memchr::memchr2(b'\r', 0, line).is_some() {
            return Err(Refusal::AmbiguousFraming);
        }
        start = end + 1;
    }
    Ok(())
}

/// One way, and one way only, to tell where the body ends.
fn judge_body_framing(raw: &[u8], headers: &HeaderMap<HeaderValue>) -> Result<BodyLength, Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        // pingora has already dropped a Content-Length that stood beside it.
        if !chunked || codings.next().is_some() || has_field(raw, b"content-length") {
            return Err(Refusal::AmbiguousFraming);
        }
        return Ok(BodyLength::Chunked);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(BodyLength::Known(0));
    };
    let length = length.as_bytes();
    let digits = !length.is_empty() && length.len() <= 18 && length.iter().all(u8::is_ascii_digit);
    if !digits || lengths.next().is_some() {
        return Err(Refusal::AmbiguousFraming);
    }
    let number = length.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Ok(BodyLength::Known(number))
}

/// Whether the head, as it came, has a field of this (lower-case) name.
fn has_field(raw: &[u8], name: &[u8]) -> bool {
    raw.split(|byte| *byte == b'\n').skip(1).any(|line| {
        line.iter()
            .position(|byte| *byte == b':')
            .is_some_and(|colon| line[..colon].trim_ascii().eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses nothing: takes the fields as given and writes the head they would come from.
    fn judge(fields: &[(&str, &str)]) -> Result<BodyLength, Refusal> {
        let mut raw = b"GET /fhir HTTP/1.1\r\n".to_vec();
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            raw.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            headers.append(
                http::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
            );
        }
        raw.extend_from_slice(b"\r\n");
        if headers.contains_key(TRANSFER_ENCODING) {
            headers.remove(CONTENT_LENGTH);
        }
        judge_head(&raw, b"/fhir", &headers, &Limits::default())
    }

    fn check(fields: &[(&str, &str)], expected: Result<BodyLength, Refusal>) {
        assert_eq!(judge(fields), expected, "{fields:?}");
    }

    #[test]
    fn one_host_and_one_length_pass() {
        check(&[("Host", "a")], Ok(BodyLength::Known(0)));
        check(&[("Host", "a"), ("Content-Length", "12")], Ok(BodyLength::Known(12)));
        check(&[("Host", "a"), ("Transfer-Encoding", "Chunked")], Ok(BodyLength::Chunked));
    }

    #[test]
    fn no_host_and_two_hosts_are_refused() {
        check(&[], Err(Refusal::AmbiguousHost));
        check(&[("Host", "a"), ("host", "a")], Err(Refusal::AmbiguousHost));
    }

    // GW-023
    #[test]
    fn every_second_way_to_read_a_body_length_is_refused() {
        for fields in [
            [("Content-Length", "3"), ("Transfer-Encoding", "chunked")],
            [("Content-Length", "3"), ("Content-Length", "3")],
            [("Content-Length", "3"), ("Content-Length", "4")],
            [("Content-Length", "3, 3"), ("X", "y")],
            [("Content-Length", "+3"), ("X", "y")],
            [("Content-Length", ""), ("X", "y")],
            [("Content-Length", "9999999999999999999"), ("X", "y")],
            [("Transfer-Encoding", "gzip, chunked"), ("X", "y")],
            [("Transfer-Encoding", "identity"), ("X", "y")],
            [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
        ] {
            check(&[&[("Host", "a")], &fields[..]].concat(), Err(Refusal::AmbiguousFraming));
        }
    }

    #[test]
    fn bare_line_ends_nul_and_folded_lines_are_refused() {
        for raw in [
            &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
        ] {
            assert_eq!(judge_lines(raw), Err(Refusal::AmbiguousFraming), "{}", raw.escape_ascii());
        }
    }

    proptest::proptest! {
        /// The scan against its definition, over texts that are mostly line ends.
        #[test]
        fn lines_are_judged_as_they_are_defined(raw in "[\\r\\n a\\t\\x00]{0,12}") {
            let raw = raw.as_bytes();
            let bare_feed = (0..raw.len())
                .any(|at| raw[at] == b'\n' && (at == 0 || raw[at - 1] != b'\r'));
            let whole = raw.iter().rposition(|byte| *byte == b'\n').map_or(&raw[..0], |at| &raw[..at]);
            let bare_return = (0..whole.len())
                .any(|at| whole[at] == b'\r' && at + 1 < whole.len() && whole[at + 1] != b'\n');
            let folded = (1..whole.len())
                .any(|at| whole[at - 1] == b'\n' && matches!(whole[at], b' ' | b'\t'));
            let nul = whole.contains(&0);
            let ambiguous = bare_feed || bare_return || folded || nul;
            proptest::prop_assert_eq!(judge_lines(raw).is_err(), ambiguous);
        }
    }

    // GW-024
    #[test]
    fn a_target_with_a_fragment_is_refused_and_a_value_with_that_sign_is_not() {
        let judged = |first: &str, value: &str| {
            let raw = format!("{first}\r\nHost: a\r\nX: {value}\r\n\r\n");
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("a"))]);
            judge_head(raw.as_bytes(), b"/fhir", &headers, &Limits::default())
        };
        assert_eq!(judged("GET /fhir#x HTTP/1.1", "y"), Err(Refusal::UnsupportedTarget));
        assert_eq!(judged("GET /fhir HTTP/1.1", "#y"), Ok(BodyLength::Known(0)));
    }

    #[test]
    fn what_is_too_large_is_named() {
        let long = "x".repeat(33 * 1024);
        check(&[("Host", "a"), ("X", &long)], Err(Refusal::HeadTooLarge));
        let many: Vec<(String, &str)> = (0..90).map(|n| (format!("x-{n}"), "y")).collect();
        let mut fields: Vec<(&str, &str)> = vec![("Host", "a")];
        fields.extend(many.iter().map(|(name, value)| (name.as_str(), *value)));
        check(&fields, Err(Refusal::HeadTooLarge));
        let headers = HeaderMap::new();
        let target = vec![b'a'; 16 * 1024 + 1];
        let judged = judge_head(b"", &target, &headers, &Limits::default());
        assert_eq!(judged, Err(Refusal::UriTooLong));
    }
}
