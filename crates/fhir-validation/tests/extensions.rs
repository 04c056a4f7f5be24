//! Extensions: those of other FHIR versions, those that nobody knows, and where known ones stand.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

mod support;

use fhir_core::Severity;
use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, Schema};
use fhir_terminology::Terminology;
use fhir_validation::{Options, UnknownExtensions, Validator};

const URL: &str = "http://example.com/StructureDefinition/e";

fn patient(members: &str) -> String {
    format!(r#"{{"resourceType":"Patient",{members}}}"#)
}

/// The issues of a rule, with severity and place.
fn told(json: &str, rule: &str, options: &Options<'_>) -> Vec<(Severity, String)> {
    let issues = support::r4().validate_json(json.as_bytes(), options);
    let of_rule = issues.into_iter().filter(|it| it.rule == rule);
    of_rule.map(|it| (it.severity, it.expression)).collect()
}

/// What is told of extensions across versions, with the texts.
fn told_across_versions(json: &str) -> Vec<(Severity, String, String)> {
    let issues = support::r4().validate_json(json.as_bytes(), &Options::default());
    let of_rule = issues.into_iter().filter(|it| it.rule == "extension-cross-version");
    of_rule.map(|it| (it.severity, it.expression, it.text)).collect()
}

fn url(version: &str, path: &str) -> String {
    format!("http://hl7.org/fhir/{version}/StructureDefinition/extension-{path}")
}

#[test]
fn extensions_across_versions_name_an_element_of_their_version() {
    // VAL-154
    let check = |version: &str, path: &str, expected: Option<(Severity, &str)>| {
        let url = url(version, path);
        let json = patient(&format!(r#""extension":[{{"url":"{url}","valueString":"x"}}]"#));
        let found = told_across_versions(&json);
        let expected =
            expected.map(|(it, text)| (it, "Patient.extension[0]".to_owned(), text.to_owned()));
        assert_eq!(found, Vec::from_iter(expected), "{version} {path}");
        let options =
            Options { unknown_extensions: UnknownExtensions::Refuse, ..Options::default() };
        assert_eq!(told(&json, "extension-unknown", &options), [], "{version} {path}");
    };
    let error = |text| Some((Severity::Error, text));
    let warning = |text| Some((Severity::Warning, text));
    check("5.0", "Device.availabilityStatus", None);
    check("3.0", "Patient.animal", None);
    check("1.0", "Patient.animal", None);
    check("4.3", "Patient.animal", error("FHIR 4.3 has no element 'Patient.animal'"));
    check("4.0", "Patient.animal", error("FHIR 4.0 has no element 'Patient.animal'"));
    check(
        "4.0",
        "Patient.active",
        warning("'Patient.active' is an element of this very version; write it as that"),
    );
    check(
        "5.0",
        "Patient.active",
        warning(
            "'Patient.active' is an element of this version too; write as that what it can hold",
        ),
    );
    check(
        "6.7",
        "Patient.animal",
        error("there is no FHIR version '6.7'; take 1.0, 3.0, 4.0, 4.3 or 5.0"),
    );
    check("5.0", "nothing", error("'nothing' is no path of an element"));
}

#[test]
fn an_element_carries_at_itself_what_only_another_version_lets_it_hold() {
    // VAL-154
    let url = url("5.0", "Patient.gender");
    let json = patient(&format!(
        r#""gender":"other","_gender":{{"extension":[{{"url":"{url}","valueCode":"x"}}]}}"#
    ));
    assert_eq!(told_across_versions(&json), []);
}

#[test]
fn what_stands_in_an_extension_across_versions_is_an_element_of_the_one_it_carries() {
    // VAL-154
    let check = |version: &str, path: &str, parts: &str, expected: &[(&str, &str)]| {
        let url = url(version, path);
        let json = patient(&format!(r#""extension":[{{"url":"{url}","extension":[{parts}]}}]"#));
        let found = told_across_versions(&json);
        let found: Vec<(&str, &str)> =
            found.iter().map(|(_, expression, text)| (&**expression, &**text)).collect();
        assert_eq!(found, expected, "{version} {path} {parts}");
    };
    let part = |name: &str| format!(r#"{{"url":"{name}","valueString":"x"}}"#);
    let within = |name: &str, parts: &str| format!(r#"{{"url":"{name}","extension":[{parts}]}}"#);

    let all = ["species", "breed", "genderStatus"].map(part).join(",");
    check("1.0", "Patient.animal", &all, &[]);
    check("3.0", "Patient.animal", &all, &[]);
    let wrong = [part("species"), part("colour")].join(",");
    check(
        "1.0",
        "Patient.animal",
        &wrong,
        &[(
            "Patient.extension[0].extension[1]",
            "'Patient.animal' of FHIR 1.0 has no element 'colour', but: breed, genderStatus, species",
        )],
    );
    // What is in a datatype is not looked at, nor an extension with a definition of its own.
    check("1.0", "Patient.careProvider", &part("colour"), &[]);
    check("1.0", "Patient.animal", &part("http://example.com/colour"), &[]);
    // An element in an element, also one that has the content of another, and a choice.
    let characteristic = |name: &str| within("characteristic", &part(name));
    check("5.0", "EvidenceReport.subject", &characteristic("value"), &[]);
    check("5.0", "EvidenceReport.subject", &characteristic("value[x]"), &[]);
    check(
        "5.0",
        "EvidenceReport.subject",
        &characteristic("valueRange"),
        &[(
            "Patient.extension[0].extension[0].extension[0]",
            "'EvidenceReport.subject.characteristic' of FHIR 5.0 has no element 'valueRange', but: code, exclude, period, value",
        )],
    );
    let section = |name: &str| within("section", &within("section", &part(name)));
    check("5.0", "EvidenceReport.section", &section("title"), &[]);
    check(
        "5.0",
        "EvidenceReport.section",
        &section("colour"),
        &[(
            "Patient.extension[0].extension[0].extension[0].extension[0]",
            "'EvidenceReport.section.section' of FHIR 5.0 has no element 'colour', but: author, emptyReason, entryClassifier, entryQuantity, entryReference, focus, focusReference, mode, orderedBy, section, text, title",
        )],
    );
}

#[test]
fn extensions_that_nobody_knows_are_as_bad_as_the_caller_says() {
    // VAL-148
    let plain = patient(r#""extension":[{"url":"http://a/b","valueString":"x"}]"#);
    let modifier = plain.replace("extension", "modifierExtension");
    let check = |unknown_extensions, expected: [Severity; 2]| {
        let options = Options { unknown_extensions, ..Options::default() };
        for (json, expected) in [&plain, &modifier].into_iter().zip(expected) {
            let found = told(json, "extension-unknown", &options);
            assert_eq!(found.first().map(|it| it.0), Some(expected), "{unknown_extensions:?}");
        }
    };
    check(UnknownExtensions::Refuse, [Severity::Error, Severity::Error]);
    check(UnknownExtensions::RefuseModifiers, [Severity::Information, Severity::Error]);
    check(UnknownExtensions::Warn, [Severity::Information, Severity::Warning]);
    let options = Options {
        unknown_extensions: UnknownExtensions::Refuse,
        extension_domains: &["http://a/"],
        ..Options::default()
    };
    let found = told(&plain, "extension-unknown", &options);
    assert_eq!(found.first().map(|it| it.0), Some(Severity::Information));
}

/// A validator that knows an extension with a string, of these contexts.
fn with_extension(members: &str) -> Validator<'static> {
    let manifest = r#"{"name":"example.test","version":"1.0.0","fhirVersions":["4.0.1"]}"#;
    let extension = format!(
        r#"{{"resourceType":"StructureDefinition","url":"{URL}","name":"E","status":"draft","kind":"complex-type","abstract":false,"type":"Extension","baseDefinition":"http://hl7.org/fhir/StructureDefinition/Extension","derivation":"constraint",{members},"differential":{{"element":[{{"id":"Extension","path":"Extension"}},{{"id":"Extension.url","path":"Extension.url","fixedUri":"{URL}"}},{{"id":"Extension.value[x]","path":"Extension.value[x]","type":[{{"code":"string"}}]}}]}}}}"#
    );
    let files = [("package.json", manifest.to_owned()), ("e.json", extension)];
    let files = files.into_iter().map(|(name, text)| Ok((name.to_owned(), text.into_bytes())));
    let package = Package::from_files(files, PackageLimits::default()).unwrap();
    let definitions = DefinitionSet::r4().with_packages(vec![package]).unwrap();
    Validator::new(Schema::r4(), definitions, Terminology::r4())
}

fn assert_context(definition: &str, cases: &[(&str, bool)]) {
    let validator = with_extension(definition);
    let extension = format!(r#""extension":[{{"url":"{URL}","valueString":"x"}}]"#);
    for (members, is_allowed) in cases {
        let json = patient(&members.replace("EXTENSION", &extension));
        let issues = validator.validate_json(json.as_bytes(), &Options::default());
        let refused = issues.iter().any(|it| it.is_error() && it.rule == "extension-context");
        assert_eq!(!refused, *is_allowed, "{json}: {issues:?}");
    }
}

#[test]
fn an_extension_stands_where_its_contexts_say() {
    // VAL-149
    let context = |kind: &str, expression: &str| {
        format!(r#""context":[{{"type":"{kind}","expression":"{expression}"}}]"#)
    };
    let name = r#""name":[{"family":"a",EXTENSION}]"#;
    let given = r#""name":[{"family":"a","_family":{EXTENSION}}]"#;
    assert_context(
        &context("element", "Patient.name"),
        &[(name, true), (given, false), ("EXTENSION", false)],
    );
    assert_context(&context("element", "HumanName"), &[(name, true), ("EXTENSION", false)]);
    assert_context(&context("element", "Patient.name.family"), &[(given, true), (name, false)]);
    assert_context(&context("element", "DomainResource"), &[("EXTENSION", true), (name, false)]);
    assert_context(&context("element", "CanonicalResource"), &[("EXTENSION", true)]);
    assert_context(
        &context("fhirpath", "Patient.name.where(use = 'official')"),
        &[
            (r#""name":[{"use":"official",EXTENSION}]"#, true),
            (r#""name":[{"use":"official"},{"use":"usual",EXTENSION}]"#, false),
        ],
    );
    let inside = |url: &str| format!(r#""extension":[{{"url":"{url}",EXTENSION}}]"#);
    assert_context(
        &context("extension", "http://a/b"),
        &[(&inside("http://a/b"), true), (&inside("http://a/c"), false), ("EXTENSION", false)],
    );
}

#[test]
fn context_invariants_hold_of_what_an_extension_stands_in() {
    // VAL-149
    let definition = r#""context":[{"type":"element","expression":"HumanName"}],"contextInvariant":["family.exists()"]"#;
    assert_context(
        definition,
        &[
            (r#""name":[{"family":"a",EXTENSION}]"#, true),
            (r#""name":[{"text":"a",EXTENSION}]"#, false),
        ],
    );
}
