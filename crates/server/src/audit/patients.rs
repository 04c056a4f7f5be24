//! Which patients a resource names: by references as they are stored, without reading it as JSON,
//! since this is done of everything that is shown.
//!
//! Every string counts that begins as a reference to a Patient of this server does. That is more
//! than the compartment (FHIR R4, CompartmentDefinition patient) where a resource refers to a
//! patient in another role, and never less.

use std::borrow::Cow;

use fhir_core::ResourceId;

const PATIENT: &str = "Patient/";

/// Tells the ids of the patients that a resource's JSON refers to.
pub(super) fn each_patient(json: &[u8], base: &str, tell: &mut impl FnMut(&str)) {
    // What is stored is UTF-8.
    let Ok(text) = std::str::from_utf8(json) else { return };
    let text = without_escapes(text);
    let mut rest = &*text;
    while let Some(at) = rest.find(PATIENT) {
        let (before, after) = (&rest[..at], &rest[at + PATIENT.len()..]);
        let before =
            before.strip_suffix('/').and_then(|it| it.strip_suffix(base)).unwrap_or(before);
        let end = after.bytes().position(|byte| !is_of_id(byte)).unwrap_or(after.len());
        let begins = before.ends_with('"') && !before.ends_with("\\\"");
        let id = &after[..end];
        if begins && ResourceId::is_valid(id) {
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
fn without_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains("\\/") && !text.contains("\\u00") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escaped = &rest[at + 1..];
        let number = escaped.strip_prefix("u00").and_then(|hex| hex.get(..2));
        let plain = number.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let plain = plain.filter(|byte| byte.is_ascii_alphanumeric() || b"/-.:".contains(byte));
        rest = match plain {
            Some(byte) => {
                out.push(char::from(byte));
                &escaped[5..]
            }
            None if escaped.starts_with('/') => escaped,
            None => {
                let end = escaped.chars().next().map_or(0, char::len_utf8);
                out.push('\\');
                out.push_str(&escaped[..end]);
                &escaped[end..]
            }
        };
    }
    out.push_str(rest);
    Cow::Owned(out)
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
