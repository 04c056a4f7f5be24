//! Formats and preferences (FHIR R4, 3.1.0.1.9 to 3.1.0.1.11 and 3.1.0.6): JSON and XML, in
//! and out. `Prefer` is in `prefer`, a query's parameters in `parameters`.

mod parameters;
mod prefer;

pub(crate) use parameters::parameters;
pub(crate) use prefer::{Handling, Return, preference};

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use crate::error::ServerError;

/// The FHIR version that is spoken: that of the tenant's definitions, like `4.0.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spoken(pub(crate) &'static str);

impl Spoken {
    /// As media types name it: `4.0`.
    pub(crate) fn release(self) -> &'static str {
        release(self.0)
    }

    /// Whether this version is the one; another is given back.
    fn is(self, version: Option<&str>) -> Result<(), String> {
        match version {
            Some(version) if version != self.0 && version != self.release() => {
                Err(version.to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// How to write the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    /// The media type to name.
    pub(crate) media_type: &'static str,
    pub(crate) pretty: bool,
}

impl Default for Format {
    fn default() -> Self {
        Self { media_type: FHIR_JSON, pretty: false }
    }
}

pub(crate) const FHIR_JSON: &str = "application/fhir+json";
pub(crate) const FHIR_XML: &str = "application/fhir+xml";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";

/// FHIR's formats that are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Xml,
}

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SentAs {
    /// A resource.
    Resource(Encoding),
    /// A JSON Patch (RFC 6902).
    JsonPatch,
}

impl Encoding {
    /// The format that a known media type means.
    fn of(media_type: &str) -> Self {
        if media_type.contains("xml") { Self::Xml } else { Self::Json }
    }
}

impl Format {
    /// The format that its media type means.
    pub(crate) fn encoding(self) -> Encoding {
        Encoding::of(self.media_type)
    }

    /// The same format, its media type naming the FHIR version when the request names one
    /// (HTTP-016).
    pub(crate) fn named_as_in(self, spoken: Spoken, headers: &HeaderMap, query: &str) -> Self {
        let mut values = [ACCEPT, CONTENT_TYPE].into_iter().flat_map(|name| headers.get_all(name));
        if !values.any(|value| names_version(value.as_bytes())) && !names_version(query.as_bytes())
        {
            return self;
        }
        let named = WITH_VERSION.iter().find(|(release, media_types)| {
            *release == spoken.release() && media_types.iter().any(|(it, _)| *it == self.media_type)
        });
        let named = named.and_then(|(_, media_types)| named_in(media_types, self.media_type));
        Self { media_type: named.unwrap_or(self.media_type), ..self }
    }
}

/// The media types of an answer, with the same naming the version.
macro_rules! with_version {
    ($release:literal) => {
        (
            $release,
            [
                (FHIR_JSON, concat!("application/fhir+json; fhirVersion=", $release)),
                ("application/json", concat!("application/json; fhirVersion=", $release)),
                ("text/json", concat!("text/json; fhirVersion=", $release)),
                (FHIR_XML, concat!("application/fhir+xml; fhirVersion=", $release)),
                ("application/xml", concat!("application/xml; fhirVersion=", $release)),
                ("text/xml", concat!("text/xml; fhirVersion=", $release)),
            ],
        )
    };
}

/// Of each FHIR version that a tenant may have.
const WITH_VERSION: [(&str, [(&str, &str); 6]); 3] =
    [with_version!("4.0"), with_version!("4.3"), with_version!("5.0")];

fn names_version(text: &[u8]) -> bool {
    const NAME: &[u8] = b"fhirVersion";
    text.windows(NAME.len()).any(|part| part.eq_ignore_ascii_case(NAME))
}

/// Media types that are spoken, with the type the answer names.
const MEDIA_TYPES: [(&str, &str); 8] = [
    (FHIR_JSON, FHIR_JSON),
    ("application/json", "application/json"),
    ("text/json", "text/json"),
    ("application/json+fhir", FHIR_JSON),
    (FHIR_XML, FHIR_XML),
    ("application/xml", "application/xml"),
    ("text/xml", "text/xml"),
    ("application/xml+fhir", FHIR_XML),
];

/// What `_format` may say beside a media type. An unescaped plus sign arrives as a space.
const SHORT: [(&str, &str); 4] = [
    ("json", FHIR_JSON),
    ("application/fhir json", FHIR_JSON),
    ("xml", FHIR_XML),
    ("application/fhir xml", FHIR_XML),
];

/// The answer to a media type, whatever its letters' case.
fn spoken_type(name: &str) -> Option<&'static str> {
    named_in(&MEDIA_TYPES, name)
}

fn named_in(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    let known = table.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    known.map(|(_, answer)| *answer)
}

/// Reads `_format`, `_pretty` and `Accept`; `_format` wins.
pub(crate) fn format(
    spoken: Spoken,
    headers: &HeaderMap,
    query: &str,
) -> Result<Format, ServerError> {
    let mut pretty = false;
    let mut named = None;
    for (name, value) in parameters(query) {
        match name.as_str() {
            "_pretty" => pretty = value == "true",
            "_format" => named = Some(value),
            _ => {}
        }
    }
    let media_type = match named {
        Some(value) => {
            let (name, version) = media_type(&value);
            spoken.is(version).map_err(|version| not_answered(version, spoken))?;
            let media_type = named_in(&SHORT, name).or_else(|| spoken_type(name));
            media_type.ok_or(ServerError::FormatNotSupported { asked: value })?
        }
        None => accepted(spoken, headers)?,
    };
    Ok(Format { media_type, pretty })
}

/// Checks that a body is not sent in one FHIR version and its answer asked for in another
/// (HTTP-015).
///
/// # Errors
/// [`ServerError::FhirVersionsDiffer`].
pub(crate) fn check_one_version(
    spoken: Spoken,
    headers: &HeaderMap,
    query: &str,
) -> Result<(), ServerError> {
    fn text(value: &http::HeaderValue) -> Cow<'_, str> {
        String::from_utf8_lossy(value.as_bytes())
    }
    let content_type = headers.get(CONTENT_TYPE).map(text).unwrap_or_default();
    let Some(sent) = media_type(&content_type).1 else {
        return Ok(());
    };
    let named = parameters(query).filter(|(name, _)| name == "_format").last();
    let asked: Vec<Cow<'_, str>> = match named {
        Some((_, value)) => vec![value.into()],
        None => headers.get_all(ACCEPT).iter().map(text).collect(),
    };
    // Whoever takes any version as well asks for none.
    let asked = asked.iter().flat_map(|line| line.split(',')).map(|text| media_type(text).1);
    let asked: Option<Vec<&str>> = asked.collect();
    match asked {
        Some(asked) if !asked.is_empty() && asked.iter().all(|it| release(it) != release(sent)) => {
            let (sent, asked) = (sent.to_owned(), asked.join(", "));
            Err(ServerError::FhirVersionsDiffer { sent, asked, spoken })
        }
        _ => Ok(()),
    }
}

/// `4.0` of `4.0.1`: publication and major version.
fn release(version: &str) -> &str {
    let mut dots = version.match_indices('.');
    dots.nth(1).map_or(version, |(at, _)| &version[..at])
}

/// A media type's name and its `fhirVersion`.
fn media_type(text: &str) -> (&str, Option<&str>) {
    let mut parts = text.split(';');
    let name = parts.next().unwrap_or_default().trim();
    let version = parts.filter_map(|part| part.split_once('=')).find_map(|(key, value)| {
        key.trim().eq_ignore_ascii_case("fhirVersion").then(|| value.trim().trim_matches('"'))
    });
    (name, version)
}

fn not_answered(version: String, spoken: Spoken) -> ServerError {
    ServerError::FhirVersionNotAnswered { version, spoken }
}

/// The best type that `Accept` takes (RFC 9110, 12.5.1).
fn accepted(spoken: Spoken, headers: &HeaderMap) -> Result<&'static str, ServerError> {
    let mut best: Option<(u32, &'static str)> = None;
    let mut asked = Vec::new();
    let mut refused_version = None;
    for line in headers.get_all(ACCEPT) {
        let Ok(line) = line.to_str() else { continue };
        for range in line.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            asked.push(range);
            let (name, version) = media_type(range);
            let any = ["*/*", "application/*"];
            let any = any.iter().any(|any| name.eq_ignore_ascii_case(any));
            let answer = if any { Some(FHIR_JSON) } else { spoken_type(name) };
            let Some(answer) = answer else { continue };
            if let Err(version) = spoken.is(version) {
                refused_version = Some(not_answered(version, spoken));
                continue;
            }
            let quality = quality(range);
            if quality > 0 && best.is_none_or(|(known, _)| quality > known) {
                best = Some((quality, answer));
            }
        }
    }
    match (best, refused_version) {
        (Some((_, answer)), _) => Ok(answer),
        (None, Some(error)) => Err(error),
        (None, None) if asked.is_empty() => Ok(FHIR_JSON),
        (None, None) => Err(ServerError::FormatNotSupported { asked: asked.join(", ") }),
    }
}

/// The `q` of a media range in thousandths; a malformed one counts as 1.
fn quality(range: &str) -> u32 {
    let value = range.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    match value.map(str::parse::<f32>) {
        // Between 0 and 1, so thousandths fit.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        Some(Ok(value)) => (value.clamp(0.0, 1.0) * 1000.0) as u32,
        _ => 1000,
    }
}

/// The format of a body by its `Content-Type`; `begins` is its first byte, by which a body
/// without a type is known.
pub(crate) fn content_encoding(
    spoken: Spoken,
    headers: &HeaderMap,
    begins: Option<u8>,
) -> Result<Encoding, ServerError> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return match begins {
            Some(b'{' | b' ' | b'\n' | b'\r' | b'\t') | None => Ok(Encoding::Json),
            Some(b'<') => Ok(Encoding::Xml),
            Some(_) => Err(ServerError::ContentTypeNotSupported { given: None }),
        };
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let (name, version) = media_type(&text);
    let Some(known) = spoken_type(name) else {
        let given = Some(text.into_owned());
        return Err(ServerError::ContentTypeNotSupported { given });
    };
    let not_taken = |version| ServerError::FhirVersionNotTaken { version, spoken };
    spoken.is(version).map_err(not_taken)?;
    Ok(Encoding::of(known))
}

/// Whether a `Content-Type` is that of a form (HTML 4.01, 17.13.4.1), whatever its parameters.
pub(crate) fn is_form(content_type: &str) -> bool {
    media_type(content_type).0.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// What the body of a PATCH is by its `Content-Type`: a JSON Patch, or a resource as anywhere else.
pub(crate) fn patch_sent(
    spoken: Spoken,
    headers: &HeaderMap,
    begins: Option<u8>,
) -> Result<SentAs, ServerError> {
    let given = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let is_json_patch =
        given.is_some_and(|given| media_type(&given).0.eq_ignore_ascii_case(JSON_PATCH));
    match is_json_patch {
        true => Ok(SentAs::JsonPatch),
        false => content_encoding(spoken, headers, begins).map(SentAs::Resource),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Encoding, Spoken, check_one_version, content_encoding, format, parameters, preference,
    };
    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    use crate::error::ServerError;

    const R4: Spoken = Spoken("4.0.1");

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn accept(line: &str, query: &str) -> Option<&'static str> {
        let lines = [("accept", line)];
        let lines = if line.is_empty() { &lines[..0] } else { &lines[..] };
        format(R4, &headers(lines), query).ok().map(|format| format.media_type)
    }

    #[test]
    fn accept_is_read_with_qualities_and_wildcards() {
        // HTTP-006, HTTP-009, HTTP-013, HTTP-014
        let fhir = Some("application/fhir+json");
        assert_eq!(accept("", ""), fhir);
        assert_eq!(accept("*/*", ""), fhir);
        assert_eq!(accept("application/json", ""), Some("application/json"));
        let xml = Some("application/fhir+xml");
        assert_eq!(accept("application/fhir+xml", ""), xml);
        assert_eq!(accept("application/fhir+json;q=0.5, application/fhir+xml", ""), xml);
        assert_eq!(accept("application/fhir+xml;q=0.5, application/fhir+json", ""), fhir);
        assert_eq!(
            accept("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", ""),
            Some("application/xml")
        );
        assert_eq!(accept("application/json;q=0.1, application/fhir+json", ""), fhir);
        assert_eq!(accept("application/pdf", ""), None);
        assert_eq!(accept("application/fhir+json;q=0", ""), None);
        assert_eq!(accept(",, ;q=x,application/fhir+json;q=abc", ""), fhir);
    }

    #[test]
    fn the_format_parameter_beats_accept() {
        // HTTP-010, HTTP-011, HTTP-012
        let fhir = Some("application/fhir+json");
        for value in ["json", "application/fhir+json", "application/fhir%2Bjson"] {
            assert_eq!(accept("application/fhir+xml", &format!("_format={value}")), fhir);
        }
        assert_eq!(accept("", "_format=application/json"), Some("application/json"));
        for value in ["xml", "application/fhir+xml", "application/fhir%2Bxml"] {
            let answer = accept("application/fhir+json", &format!("_format={value}"));
            assert_eq!(answer, Some("application/fhir+xml"));
        }
        assert_eq!(accept("", "_format=text/xml"), Some("text/xml"));
        assert_eq!(accept("", "_format=ttl"), None);
    }

    #[test]
    fn another_fhir_version_is_refused() {
        // HTTP-015, HTTP-017
        assert!(accept("application/fhir+json; fhirVersion=4.0", "").is_some());
        assert!(accept("application/json;fhirVersion=\"4.0.1\"", "").is_some());
        assert!(accept("application/fhir+json; fhirVersion=3.0", "").is_none());
        let sent = |value| content_encoding(R4, &headers(&[("content-type", value)]), Some(b'{'));
        assert!(sent("application/fhir+json; fhirVersion=4.0").is_ok());
        assert!(sent("application/fhir+json; fhirVersion=5.0").is_err());
        // A tenant of R5 speaks that, and names it.
        let r5 = Spoken("5.0.0");
        let asked = headers(&[("accept", "application/fhir+json; fhirVersion=5.0")]);
        assert!(format(R4, &asked, "").is_err());
        let answered = format(r5, &asked, "").unwrap().named_as_in(r5, &asked, "");
        assert_eq!(answered.media_type, "application/fhir+json; fhirVersion=5.0");
        let sent = headers(&[("content-type", "text/xml; fhirVersion=4.0")]);
        let refused = content_encoding(r5, &sent, Some(b'<')).unwrap_err();
        assert!(matches!(refused, ServerError::FhirVersionNotTaken { spoken, .. } if spoken == r5));
    }

    #[test]
    fn bodies_are_taken_as_what_their_type_says() {
        // HTTP-007, HTTP-008, XML-032
        let sent =
            |value| content_encoding(R4, &headers(&[("content-type", value)]), Some(b'{')).ok();
        for (name, encoding) in [
            ("application/fhir+json", Encoding::Json),
            ("application/json; charset=utf-8", Encoding::Json),
            ("text/json", Encoding::Json),
            ("application/json+fhir", Encoding::Json),
            ("application/fhir+xml", Encoding::Xml),
            ("Application/XML;charset=utf-8", Encoding::Xml),
            ("text/xml", Encoding::Xml),
            ("application/xml+fhir; fhirVersion=4.0", Encoding::Xml),
        ] {
            assert_eq!(sent(name), Some(encoding), "{name}");
        }
        for name in ["text/csv", "application/xhtml+xml", ""] {
            assert_eq!(sent(name), None, "{name}");
        }
        let begins = |byte| content_encoding(R4, &headers(&[]), Some(byte)).ok();
        assert_eq!(begins(b'{'), Some(Encoding::Json));
        assert_eq!(begins(b'<'), Some(Encoding::Xml));
        assert_eq!(begins(b'a'), None);
    }

    proptest! {
        #[test]
        fn any_header_and_query_are_read_or_refused(
            accept in "[a-z/*;=,.+q0-9 \\\"]{0,40}",
            sent in "(application/(fhir\\+)?json)?[a-zV;=\\\"., 0-9-]{0,24}",
            prefer in "(return=|handling=)?[a-zO,;= \\\"]{0,24}",
            query in r"(_format=|_pretty=)?[a-z/%+&=é0-9]{0,32}",
        ) {
            let headers = headers(&[("accept", &accept), ("content-type", &sent), ("prefer", &prefer)]);
            drop(format(R4, &headers, &query));
            drop(check_one_version(R4, &headers, &query));
            drop(content_encoding(R4, &headers, Some(b'{')));
            preference(&headers);
            let decoded: usize = parameters(&query).map(|(name, value)| name.len() + value.len()).sum();
            // A byte that is no UTF-8 becomes a character of three.
            prop_assert!(decoded <= 3 * query.len());
        }
    }
}
