//! Which patients a resource names: by references as they are stored, without reading it as JSON,
//! since this is done of everything that is shown.
//!
//! Every string counts that begins as a reference to a Patient of this server does. That is more
//! than the compartment (FHIR R4, CompartmentDefinition patient) where a resource refers to a
//! patient in another role, and never less.

use std::borrow::Cow;
use std::sync::LazyLock;

use fhir_core::ResourceId;
use memchr::memmem::{Finder, find};

const PATIENT: &str = "Patient/";

/// Looks for it many bytes at a time.
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(PATIENT));

/// Tells the ids of the patients that a resource's JSON refers to.
pub(super) fn each_patient(json: &[u8], base: &str, tell: &mut impl FnMut(&str)) {
    let text = without_escapes(json);
    let mut rest = &*text;
    while let Some(at) = FINDER.find(rest) {
        let (before, after) = (&rest[..at], &rest[at + PATIENT.len()..]);
        let before = before
            .strip_suffix(b"/")
            .and_then(|it| it.strip_suffix(base.as_bytes()))
            .unwrap_or(before);
        let end = after.iter().position(|byte| !is_of_id(*byte)).unwrap_or(after.len());
        let begins = before.ends_with(b"\"") && !before.ends_with(b"\\\"");
        if begins
            && let Ok(id) = std::str::from_utf8(&after[..end])
            && ResourceId::is_valid(id)
        {
            tell(id);
        }
        rest = &after[end..];
    }
}

fn is_of_id(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')
}

/// The text with escapes of plain characters resolved, where it has any: JSON may write `/` as
/// `\/`, and any letter by its number.
fn without_escapes(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'\\', text) else { return Cow::Borrowed(text) };
    let escaped = &text[first..];
    if find(escaped, b"\\/").is_none() && find(escaped, b"\\u00").is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let escaped = &rest[at + 1..];
        rest = match (numbered(escaped), escaped.split_first()) {
            (Some(byte), _) => {
                out.push(byte);
                &escaped[5..]
            }
            (None, Some((b'/', _)) | None) => escaped,
            (None, Some((first, after))) => {
                out.extend_from_slice(&[b'\\', *first]);
                after
            }
        };
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// The plain character whose number stands here.
fn numbered(escaped: &[u8]) -> Option<u8> {
    let hex = escaped.strip_prefix(b"u00")?.get(..2)?;
    let byte = u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?;
    (byte.is_ascii_alphanumeric() || b"/-.:".contains(&byte)).then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::each_patient;

    fn check(json: &str, expected: &[&str]) {
        let mut found = Vec::new();
        let base = "http://clinic.example/fhir";
        each_patient(json.as_bytes(), base, &mut |id| found.push(id.to_owned()));
        assert_eq!(found, expected, "{json}");
    }

    #[test]
    fn references_to_patients_are_found_however_they_are_written() {
        check(r#"{"subject":{"reference":"Patient/7"}}"#, &["7"]);
        check(r#"{"reference" : "Patient/a-b.c/_history/2"}"#, &["a-b.c"]);
        check(r#"{"reference":"http://clinic.example/fhir/Patient/7"}"#, &["7"]);
        check(r#"{"reference":"Patient\/7"}"#, &["7"]);
        check(r#"{"reference":"P\u0061tient\u002F7"}"#, &["7"]);
        check(r#"["Patient/1","Patient/2"]"#, &["1", "2"]);
    }

    #[test]
    fn what_is_no_reference_to_a_patient_here_is_none() {
        check(r#"{"reference":"http://other.example/fhir/Patient/7"}"#, &[]);
        check(r#"{"reference":"InPatient/7","text":"see Patient/8"}"#, &[]);
        check(r#"{"text":"he wrote \"Patient/9\" here"}"#, &[]);
        check(r#"{"reference":"Patient/?identifier=1"}"#, &[]);
        check(r#"{"text":"a\\/b \\u0050 ä Patient"}"#, &[]);
    }
}
