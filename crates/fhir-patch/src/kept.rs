//! What no patch changes: which resource it is, and what the server alone says of its version.

use fhir_core::json::{Kind, Value};

use crate::error::{PatchError, PatchProblem};

/// Checks that a patched resource is still the same one: `resourceType` and `id` as before, and
/// `meta.versionId` and `meta.lastUpdated` as before or left out.
///
/// # Errors
/// [`PatchProblem::Inapplicable`] with the element that was changed.
pub fn check_kept(before: Value<'_>, after: Value<'_>) -> Result<(), PatchError> {
    let of = before.get_str("resourceType").unwrap_or_default();
    let changed = |element: &str, why: &str| {
        let text = format!("a patch must not change {element}: {why}");
        let expression = match element {
            "resourceType" => element.to_owned(),
            element => format!("{of}.{element}"),
        };
        Err(PatchError::whole(PatchProblem::inapplicable(text), expression))
    };
    if after.kind() != Kind::Object {
        return changed("resourceType", "what it leaves is no resource");
    }
    for name in ["resourceType", "id"] {
        if before.get_str(name) != after.get_str(name) {
            return changed(name, "it says which resource this is");
        }
    }
    let Some(after) = meta(after) else { return Ok(()) };
    for name in ["versionId", "lastUpdated"] {
        let was = meta(before).and_then(|meta| meta.get_str(name));
        if after.get(name).is_some() && after.get_str(name) != was {
            return changed(&format!("meta.{name}"), "the server gives it");
        }
    }
    Ok(())
}

fn meta(of: Value<'_>) -> Option<Value<'_>> {
    of.get("meta").filter(|meta| meta.kind() == Kind::Object)
}

#[cfg(test)]
mod tests {
    use super::check_kept;
    use fhir_core::json::Document;

    #[test]
    fn what_says_which_resource_it_is_stays() {
        // HTTP-123
        let before = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"3","lastUpdated":"2026-01-02T03:04:05Z"}}"#;
        let check = |after: &str, expected: Option<&str>| {
            let [before, after] =
                [before, after].map(|text| Document::parse(text.as_bytes()).unwrap());
            let found = check_kept(before.root(), after.root()).err();
            assert_eq!(found.map(|it| it.expression).as_deref(), expected);
        };
        check(before, None);
        check(r#"{"resourceType":"Patient","id":"1","meta":{"tag":[]},"active":true}"#, None);
        check(r#"{"resourceType":"Patient","id":"1"}"#, None);
        check(r#"{"resourceType":"Patient","id":"2"}"#, Some("Patient.id"));
        check(r#"{"resourceType":"Patient"}"#, Some("Patient.id"));
        check(r#"{"resourceType":"Person","id":"1"}"#, Some("resourceType"));
        check("[]", Some("resourceType"));
        let meta = |meta: &str| format!(r#"{{"resourceType":"Patient","id":"1","meta":{meta}}}"#);
        check(&meta(r#"{"versionId":"4"}"#), Some("Patient.meta.versionId"));
        check(&meta(r#"{"lastUpdated":1}"#), Some("Patient.meta.lastUpdated"));
    }
}
