//! Profiles made here: how they follow from their bases, and what no profile may do.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::structure::ElementDefinition;
use fhir_schema::{DefinitionSet, SchemaError};
use serde_json::{Value, json};

const PATIENT: &str = "http://hl7.org/fhir/StructureDefinition/Patient";

/// A profile with the URL `http://example.org/NAME`; a base without a colon is one of these too.
fn profile(name: &str, type_name: &str, base: &str, elements: &Value) -> Value {
    let url = |name: &str| match name.contains(':') {
        true => name.to_owned(),
        false => format!("http://example.org/{name}"),
    };
    let kind = if type_name == "Extension" { "complex-type" } else { "resource" };
    json!({
        "resourceType": "StructureDefinition", "url": url(name), "version": "1.0.0",
        "name": name, "kind": kind, "abstract": false, "type": type_name,
        "baseDefinition": url(base), "derivation": "constraint",
        "differential": {"element": elements},
    })
}

fn package(name: &str, dependencies: &Value, profiles: &[Value]) -> Package {
    let manifest = json!({
        "name": name, "version": "1.0.0", "fhirVersions": ["4.0.1"], "dependencies": dependencies,
    });
    let mut files = vec![("package.json".to_owned(), manifest)];
    for (at, profile) in profiles.iter().enumerate() {
        files.push((format!("{at}.json"), profile.clone()));
    }
    let files = files.into_iter().map(|(name, json)| Ok((name, json.to_string().into_bytes())));
    Package::from_files(files, PackageLimits::default()).unwrap()
}

fn set(profiles: &[Value]) -> Result<DefinitionSet, SchemaError> {
    DefinitionSet::r4().with_packages(vec![package("p", &json!({}), profiles)])
}

fn element(set: &DefinitionSet, profile: &str, id: &str) -> ElementDefinition {
    let profile = set.structure(&format!("http://example.org/{profile}")).unwrap();
    profile.element(id).unwrap_or_else(|| panic!("{id} is not there")).clone()
}

/// A chain of profiles, each of the one before, with snapshots so that none needs another's.
fn chain(length: usize) -> Vec<Value> {
    let one = |at: usize| {
        let base = if at == 0 { PATIENT.to_owned() } else { format!("P{}", at - 1) };
        let mut profile = profile(&format!("P{at}"), "Patient", &base, &json!([]));
        profile["snapshot"] = json!({"element": [{"path": "Patient", "min": 0, "max": "*"}]});
        profile
    };
    // The last first, so that each is met before its base.
    (0..length).rev().map(one).collect()
}

#[test]
fn chains_of_bases_are_followed_once_and_may_not_be_long() {
    assert!(set(&chain(50)).is_ok());
    for length in [70, 3_000] {
        let error = set(&chain(length)).unwrap_err().to_string();
        assert_eq!(
            error, "the package has more than 64 definitions that derive from each other",
            "{length}"
        );
    }
}

#[test]
fn a_constraint_of_the_base_stays_when_a_profile_gives_its_key_to_another() {
    let constraint = |expression: &str, source: Option<&str>| {
        let mut constraint =
            json!({"key": "x-1", "severity": "error", "human": "h", "expression": expression});
        if let Some(source) = source {
            constraint["source"] = json!(source);
        }
        json!([{"path": "Patient.name", "constraint": [constraint]}])
    };
    let one = "http://example.org/One";
    let set = set(&[
        profile("One", "Patient", PATIENT, &constraint("family.exists()", None)),
        profile("Other", "Patient", "One", &constraint("true", None)),
        profile("Repeated", "Patient", "One", &constraint("family.exists()", None)),
        profile("Claimed", "Patient", "One", &constraint("true", Some(one))),
    ])
    .unwrap();
    let expressions = |profile: &str| -> Vec<String> {
        let element = element(&set, profile, "Patient.name");
        let constraints = element.constraints.iter().filter(|it| &*it.key == "x-1");
        constraints.map(|it| it.expression.as_deref().unwrap().to_owned()).collect()
    };
    assert_eq!(expressions("Other"), ["family.exists()", "true"]);
    assert_eq!(expressions("Repeated"), ["family.exists()"]);
    assert_eq!(expressions("Claimed"), ["family.exists()"], "it cannot be replaced by name");
}

#[test]
fn a_profile_that_would_allow_more_than_its_base_is_refused() {
    let base = json!([{"path": "Patient.name.family", "maxLength": 10}]);
    for (element, problem) in [
        (
            json!({"path": "Patient.deceased[x]", "type": [{"code": "string"}]}),
            "Patient.deceased[x] has the type string, which its base does not have",
        ),
        (
            json!({"path": "Patient.contact.name", "type": [{"code": "HumanName"}, {"code": "Foo"}]}),
            "Patient.contact.name has the type Foo, which its base does not have",
        ),
        (
            json!({"path": "Patient.name.family", "maxLength": 11}),
            "Patient.name.family has maxLength 11, more than 10 of its base",
        ),
    ] {
        let profiles = [
            profile("Base", "Patient", PATIENT, &base),
            profile("One", "Patient", "Base", &json!([element])),
        ];
        let error = set(&profiles).unwrap_err().to_string();
        assert_eq!(error, format!("http://example.org/One|1.0.0: {problem}"));
    }
}

#[test]
fn a_profile_may_name_derived_types_stronger_bindings_and_shorter_texts() {
    let elements = json!([
        {"path": "Patient.id", "type": [{"code": "string"}]},
        {"path": "Patient.contained", "type": [{"code": "Organization"}, {"code": "DomainResource"}]},
        {"path": "Patient.maritalStatus", "binding": {"strength": "required"}},
        {"path": "Patient.name.family", "maxLength": 9},
        {"path": "Patient.deceased[x]", "type": [{"code": "dateTime"}]},
    ]);
    let set = set(&[profile("One", "Patient", PATIENT, &elements)]).unwrap();
    assert_eq!(element(&set, "One", "Patient.name.family").max_length, Some(9));
    assert_eq!(element(&set, "One", "Patient.contained").types.len(), 2);
    let binding = element(&set, "One", "Patient.maritalStatus").binding.unwrap();
    assert_eq!(&*binding.strength, "required");
    assert!(binding.value_set.is_some(), "that of the base");
}

#[test]
fn a_weaker_binding_leaves_that_of_the_base_as_it_is() {
    let binding = json!({"strength": "extensible", "valueSet": "http://example.org/v"});
    let elements = json!([{"path": "Patient.gender", "binding": binding}]);
    let set = set(&[profile("One", "Patient", PATIENT, &elements)]).unwrap();
    let base = DefinitionSet::r4().structure(PATIENT).unwrap();
    let own = element(&set, "One", "Patient.gender").binding;
    assert_eq!(own, base.element("Patient.gender").unwrap().binding);
}

#[test]
fn a_choice_that_a_profile_states_itself_stays_open_beside_an_alternative() {
    const OBSERVATION: &str = "http://hl7.org/fhir/StructureDefinition/Observation";
    let alternative = json!({"path": "Observation.valueQuantity", "mustSupport": true});
    let choice = json!({"path": "Observation.value[x]", "min": 1});
    let set = set(&[
        profile("Stated", "Observation", OBSERVATION, &json!([choice, alternative])),
        profile("Named", "Observation", OBSERVATION, &json!([alternative])),
    ])
    .unwrap();
    let stated = element(&set, "Stated", "Observation.value[x]");
    assert_eq!(stated.types.len(), 11, "all that R4 has");
    assert_eq!(stated.min, 1);
    assert_eq!(&*stated.slicing.unwrap().rules, "open");
    let slice = element(&set, "Stated", "Observation.value[x]:valueQuantity");
    assert!(slice.flags.must_support && slice.types.len() == 1);
    assert_eq!(element(&set, "Named", "Observation.value[x]").types.len(), 1);
}

#[test]
fn an_exact_version_in_two_packages_is_that_of_the_nearer() {
    let definition = |min: u32| {
        profile("One", "Patient", PATIENT, &json!([{"path": "Patient.name", "min": min}]))
    };
    let user = profile("User", "Patient", "http://example.org/One|1.0.0", &json!([]));
    let set = DefinitionSet::r4()
        .with_packages(vec![
            package("a", &json!({}), &[definition(1)]),
            package("b", &json!({}), &[definition(2)]),
            package("c", &json!({"b": "1.0.0"}), &[user]),
        ])
        .unwrap();
    assert_eq!(element(&set, "User", "Patient.name").min, 2);
    let user = set.structure("http://example.org/User").unwrap();
    let meant = set.structure_from(user, "http://example.org/One|1.0.0").unwrap();
    assert_eq!(&*set.package(meant).unwrap().name, "b");
}

#[test]
fn an_extension_may_stand_within_itself() {
    const EXTENSION: &str = "http://hl7.org/fhir/StructureDefinition/Extension";
    let holding = |other: &str| {
        json!([
            {"path": "Extension", "mustSupport": true},
            {"path": "Extension.extension", "sliceName": "inner", "max": "3",
                "type": [{"code": "Extension", "profile": [format!("http://example.org/{other}")]}]},
        ])
    };
    let set = set(&[
        profile("Tree", "Extension", EXTENSION, &holding("Tree")),
        profile("One", "Extension", EXTENSION, &holding("Two")),
        profile("Two", "Extension", EXTENSION, &holding("One")),
    ])
    .unwrap();
    for name in ["Tree", "One", "Two"] {
        let inner = element(&set, name, "Extension.extension:inner");
        assert_eq!(inner.types[0].profiles.len(), 1);
    }
}
