//! Extensions that carry an element of another FHIR version (R4, "Extensions for converting
//! between versions"): `http://hl7.org/fhir/[version]/StructureDefinition/extension-[Path]`.
//!
//! They are judged by the paths that the elements of that version have. What type the value has
//! there, and whether the element modifies, is not known here.

use fhir_schema::version::fhir_release;
use fhir_schema::{DefinitionSet, VersionElements, version_elements};

/// What such a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CrossVersion<'u> {
    pub(crate) version: &'u str,
    /// Of the element: `Patient.animal`.
    pub(crate) path: &'u str,
}

/// What is known of such a URL.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// No version of FHIR is written so.
    NoSuchVersion,
    /// The path is none.
    NoPath,
    /// That version has no such element.
    NoSuchElement,
    /// It is an element of the version that is validated, so there is nothing to carry.
    OwnElement,
    /// The version that is validated has an element with the same path.
    InBoth,
    /// That version alone has this element.
    InThatVersion,
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
        let Some(elements) = self.elements() else { return Known::NoSuchVersion };
        if !is_path(self.path) {
            return Known::NoPath;
        }
        if !elements.has(self.path) {
            return Known::NoSuchElement;
        }
        if fhir_release(definitions.fhir_version()) == self.version {
            return Known::OwnElement;
        }
        let type_name = self.path.split('.').next().unwrap_or_default();
        let structure = definitions.type_structure(type_name);
        let is_in_both = structure.is_some_and(|it| {
            it.elements.iter().any(|element| plain(&element.path) == self.plain_path())
        });
        if is_in_both { Known::InBoth } else { Known::InThatVersion }
    }

    /// The elements of that version.
    pub(crate) fn elements(&self) -> Option<&'static VersionElements> {
        version_elements::of_release(self.version)
    }

    /// The path of the element, a choice without `[x]`.
    pub(crate) fn plain_path(&self) -> &'u str {
        plain(self.path)
    }
}

/// A path or name without the `[x]` of a choice.
pub(crate) fn plain(path: &str) -> &str {
    path.strip_suffix("[x]").unwrap_or(path)
}

/// Whether a text can be the path of an element: a type's name and at least one element's.
fn is_path(text: &str) -> bool {
    let mut names = plain(text).split('.');
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

    fn judge(rest: &str) -> Option<Known> {
        let url = format!("http://hl7.org/fhir/{rest}");
        CrossVersion::parse(&url).map(|it| it.judge(DefinitionSet::r4()))
    }

    #[test]
    fn the_form_the_version_and_the_path_are_known() {
        // VAL-154
        assert_eq!(judge("StructureDefinition/patient-birthTime"), None);
        assert_eq!(judge("us/core/StructureDefinition/extension-x"), None);
        let animal = |version: &str| {
            judge(&format!("{version}/StructureDefinition/extension-Patient.animal"))
        };
        assert_eq!(animal("2.0"), Some(Known::NoSuchVersion));
        for (path, expected) in [
            ("Patient", Known::NoPath),
            ("Patient.a-b", Known::NoPath),
            ("Patient.animal", Known::NoSuchElement),
            ("Patient.deceased", Known::OwnElement),
            ("Patient.deceased[x]", Known::OwnElement),
        ] {
            let rest = format!("4.0/StructureDefinition/extension-{path}");
            assert_eq!(judge(&rest), Some(expected), "{path}");
        }
    }

    #[test]
    fn each_version_has_its_own_elements() {
        // VAL-154
        use Known::{InBoth, InThatVersion, NoSuchElement};
        for (version, path, expected) in [
            ("1.0", "Patient.animal", InThatVersion),
            ("1.0", "Patient.animal.breed", InThatVersion),
            ("1.0", "Patient.careProvider", InThatVersion),
            ("1.0", "Patient.generalPractitioner", NoSuchElement),
            ("1.0", "MedicationOrder.medication[x]", InThatVersion),
            ("3.0", "Patient.animal", InThatVersion),
            ("3.0", "Patient.careProvider", NoSuchElement),
            ("3.0", "Patient.generalPractitioner", InBoth),
            ("3.0", "Nothing.animal", NoSuchElement),
            ("4.3", "Patient.animal", NoSuchElement),
            ("4.3", "Citation.url", InThatVersion),
            ("4.3", "Evidence.statistic.quantity", InThatVersion),
            ("5.0", "Device.availabilityStatus", InThatVersion),
            ("5.0", "Attachment.height", InThatVersion),
            ("5.0", "Device.availability", NoSuchElement),
            ("5.0", "Patient.deceased", InBoth),
            ("5.0", "Patient.deceased[x]", InBoth),
            ("5.0", "Patient.active[x]", NoSuchElement),
            ("5.0", "Patient.deceasedBoolean", NoSuchElement),
            ("5.0", "Patient.name.family", NoSuchElement),
        ] {
            let rest = format!("{version}/StructureDefinition/extension-{path}");
            assert_eq!(judge(&rest), Some(expected), "{version} {path}");
        }
    }
}
