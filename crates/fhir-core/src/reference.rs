//! `Reference.reference` and friends: what a reference's text points at (FHIR R4, 2.3.0).

use std::fmt;

use crate::{ResourceId, ResourceType, VersionId};

/// What the text of a reference points at. Borrows the text it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference<'a> {
    /// `#id`: a resource contained in the same one (`#` alone: the container).
    Contained(&'a str),
    /// `Type/id`, with `/_history/version` or without.
    Relative(Target<'a>),
    /// An absolute URL that ends like a relative reference: base (without its last slash), target.
    Absolute(&'a str, Target<'a>),
    /// `Type?criteria`: a conditional reference (3.1.0.11.2), to be resolved in a transaction.
    Conditional(ResourceType, &'a str),
    /// `urn:…`, or an absolute URL of another form: opaque.
    Other(&'a str),
}

/// Type, id and version named by a literal reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// The type.
    pub resource_type: ResourceType,
    /// The id.
    pub id: ResourceId,
    /// The version, as written, when the reference is version-specific.
    pub version: Option<&'a str>,
}

impl Target<'_> {
    /// The version as a number of this server, when it is one.
    #[must_use]
    pub fn version_id(&self) -> Option<VersionId> {
        self.version.and_then(|text| text.parse().ok())
    }
}

/// The text is no reference of any form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a reference is Type/id, an absolute URL, urn:…, #id or, in a transaction, Type?criteria")]
pub struct InvalidReference;

impl<'a> Reference<'a> {
    /// Reads the text of a reference.
    ///
    /// # Errors
    /// [`InvalidReference`] when it has none of the forms above.
    pub fn parse(text: &'a str) -> Result<Self, InvalidReference> {
        if let Some(id) = text.strip_prefix('#') {
            return Ok(Self::Contained(id));
        }
        if has_scheme(text) {
            return Ok(match split_target(text) {
                Some((base, target)) if base.contains("://") => Self::Absolute(base, target),
                _ => Self::Other(text),
            });
        }
        if let Some((resource_type, criteria)) = text.split_once('?') {
            let resource_type = ResourceType::new(resource_type).map_err(|_| InvalidReference)?;
            return Ok(Self::Conditional(resource_type, criteria));
        }
        match split_target(text) {
            Some(("", target)) if !text.starts_with('/') => Ok(Self::Relative(target)),
            _ => Err(InvalidReference),
        }
    }
}

/// Whether the text begins with a URL scheme (RFC 3986, 3.1).
fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// Splits `base/Type/id[/_history/version]` into base and target.
fn split_target(text: &str) -> Option<(&str, Target<'_>)> {
    let (rest, version) = match text.rsplit_once("/_history/") {
        Some((rest, version)) => (rest, Some(version)),
        None => (text, None),
    };
    if version.is_some_and(|version| !ResourceId::is_valid(version)) {
        return None;
    }
    let (rest, id) = rest.rsplit_once('/')?;
    let (base, resource_type) = rest.rsplit_once('/').unwrap_or(("", rest));
    let target = Target {
        resource_type: ResourceType::new(resource_type).ok()?,
        id: ResourceId::new(id).ok()?,
        version,
    };
    Some((base, target))
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.resource_type, self.id)?;
        match self.version {
            Some(version) => write!(formatter, "/_history/{version}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reference;

    fn check(text: &str, expected: &str) {
        let read = match Reference::parse(text) {
            Ok(Reference::Contained(id)) => format!("contained {id}"),
            Ok(Reference::Relative(target)) => format!("relative {target}"),
            Ok(Reference::Absolute(base, target)) => format!("absolute {base} {target}"),
            Ok(Reference::Conditional(of, criteria)) => format!("conditional {of} {criteria}"),
            Ok(Reference::Other(text)) => format!("other {text}"),
            Err(_) => "invalid".to_owned(),
        };
        assert_eq!(read, expected, "{text}");
    }

    #[test]
    fn every_form_of_reference_is_told_apart() {
        check("#p1", "contained p1");
        check("#", "contained ");
        check("Patient/1", "relative Patient/1");
        check("Patient/1/_history/3", "relative Patient/1/_history/3");
        check("http://a.example/fhir/Patient/1", "absolute http://a.example/fhir Patient/1");
        check("https://a/Patient/1/_history/x", "absolute https://a Patient/1/_history/x");
        check("Patient?identifier=a|b", "conditional Patient identifier=a|b");
        check(
            "urn:uuid:d98ae128-2a42-4c85-b9aa-cebdf6bddb1d",
            "other urn:uuid:d98ae128-2a42-4c85-b9aa-cebdf6bddb1d",
        );
        check("urn:oid:1.2.3", "other urn:oid:1.2.3");
        check("http://example.org/anything", "other http://example.org/anything");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for bad in [
            "",
            "patient/1",
            "Patient",
            "Patient/",
            "/Patient/1",
            "a/Patient/1",
            "Patient/a_b",
            "patient?x=1",
            "Patient/1/_history/",
        ] {
            check(bad, "invalid");
        }
    }
}
