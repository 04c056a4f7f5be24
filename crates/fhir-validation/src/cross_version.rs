//! Extensions that carry an element of another FHIR version (R4, "Extensions for converting
//! between versions"): `http://hl7.org/fhir/[version]/StructureDefinition/extension-[Path]`.
//!
//! They are defined by that form alone. Paths are known of the version that is validated; of
//! others there are no definitions here.

use fhir_schema::DefinitionSet;
use fhir_schema::version::fhir_release;

/// Versions that have such extensions, as they are written in the URL: DSTU2, STU3, R4, R4B, R5.
const VERSIONS: &[&str] = &["1.0", "3.0", "4.0", "4.3", "5.0"];

/// What such a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CrossVersion<'u> {
    pub(crate) version: &'u str,
    /// Of the element: `Patient.animal`.
    pub(crate) path: &'u str,
}

/// What is wrong with such a URL, or what is not known of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// No version of FHIR is written so.
    NoSuchVersion,
    /// The path is none.
    NoPath,
    /// The version that is validated has no such element.
    NoSuchElement,
    /// The version that is validated has this element, so there is nothing to carry.
    OwnElement,
    /// The definitions of that version are not here.
    OtherVersion,
}

impl<'u> CrossVersion<'u> {
    /// Reads a URL, if it is of this form.
    pub(crate) fn parse(url: &'u str) -> Option<Self> {
        let rest = url.strip_prefix("http://hl7.org/fhir/")?;
        let (version, path) = rest.split_once("/StructureDefinition/extension-")?;
        let is_version = version.starts_with(|it: char| it.is_ascii_digit())
            && version.bytes().all(|it| it.is_ascii_digit() || it == b'.');
        is_version.then_some(Self { version, path })
    }

    /// What can be told of it.
    pub(crate) fn judge(&self, definitions: &DefinitionSet) -> Known {
        if !VERSIONS.contains(&self.version) {
            return Known::NoSuchVersion;
        }
        if !is_path(self.path) {
            return Known::NoPath;
        }
        if fhir_release(definitions.fhir_version()) != self.version {
            return Known::OtherVersion;
        }
        let type_name = self.path.split('.').next().unwrap_or_default();
        let structure = definitions.type_structure(type_name);
        let has = |path: &str| {
            structure.is_some_and(|it| it.elements.iter().any(|element| &*element.path == path))
        };
        match has(self.path) || has(&format!("{}[x]", self.path)) {
            true => Known::OwnElement,
            false => Known::NoSuchElement,
        }
    }
}

/// Whether a text can be the path of an element: a type's name and at least one element's.
fn is_path(text: &str) -> bool {
    let mut names = text.strip_suffix("[x]").unwrap_or(text).split('.');
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|it| it.is_ascii_alphanumeric());
    names
        .next()
        .is_some_and(|it| is_name(it) && it.starts_with(|it: char| it.is_ascii_alphabetic()))
        && text.contains('.')
        && names.all(|it| is_name(it) && it.starts_with(|it: char| it.is_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_the_version_and_the_path_are_known() {
        // VAL-154
        let base = |rest: &str| format!("http://hl7.org/fhir/{rest}");
        let judge =
            |rest: &str| CrossVersion::parse(&base(rest)).map(|it| it.judge(DefinitionSet::r4()));
        assert_eq!(judge("StructureDefinition/patient-birthTime"), None);
        assert_eq!(judge("us/core/StructureDefinition/extension-x"), None);
        let other = "5.0/StructureDefinition/extension-Device.availabilityStatus";
        assert_eq!(judge(other), Some(Known::OtherVersion));
        assert_eq!(
            judge("2.0/StructureDefinition/extension-Patient.animal"),
            Some(Known::NoSuchVersion)
        );
        assert_eq!(judge("5.0/StructureDefinition/extension-Patient"), Some(Known::NoPath));
        assert_eq!(judge("5.0/StructureDefinition/extension-Patient.a-b"), Some(Known::NoPath));
        let own = |path: &str| judge(&format!("4.0/StructureDefinition/extension-{path}"));
        assert_eq!(own("Patient.animal"), Some(Known::NoSuchElement));
        assert_eq!(own("Patient.deceased"), Some(Known::OwnElement));
        assert_eq!(own("Patient.deceased[x]"), Some(Known::OwnElement));
    }
}
