//! What is built in, packages side by side, and other FHIR versions from their definitions, where
//! the folders that the environment names have them.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

mod support;

use std::fs;

use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{
    DefinitionSet, Kind, SchemaError, TypeKind, VersionElements, compile, structures_file,
    version_elements,
};
use support::{TEST_DATA, folder, read};

static R4_FILE: &[u8] = include_bytes!("../definitions/r4-structures.zst");

#[test]
fn all_of_r4_is_built_in_and_small() {
    assert!(R4_FILE.len() < 200_000, "{}", R4_FILE.len());
    let set = DefinitionSet::r4();
    assert_eq!(set.fhir_version(), "4.0.1");
    assert_eq!(set.structures().count(), 655);
    assert_eq!(set.search_parameters().count(), 1_400);
    assert_eq!(set.operations().count(), 47);
    let patient = set.compartments().find(|it| &*it.code == "Patient").unwrap();
    assert!(patient.resources.iter().any(|it| &*it.code == "Observation"));

    let vital_signs = set.structure("http://hl7.org/fhir/StructureDefinition/vitalsigns").unwrap();
    let category = vital_signs.element("Observation.category:VSCat.coding.code").unwrap();
    assert_eq!(category.fixed.as_ref().map(|it| &*it.json), Some("\"vital-signs\""));
    let observation = set.type_structure("Observation").unwrap();
    let status = observation.element("Observation.status").unwrap();
    let binding = status.binding.as_ref().unwrap();
    assert_eq!(&*binding.strength, "required");
    assert_eq!(
        binding.value_set.as_deref(),
        Some("http://hl7.org/fhir/ValueSet/observation-status|4.0.1")
    );
    let code = set.type_structure("code").unwrap();
    let regex = code.element("code.value").unwrap().types[0].regex.as_deref();
    assert_eq!(regex, Some("[^\\s]+(\\s[^\\s]+)*"));
    let expression = set
        .search_parameter("http://hl7.org/fhir/SearchParameter/Patient-active")
        .and_then(|it| it.expression.clone());
    assert_eq!(expression.as_deref(), Some("Patient.active"));
}

#[test]
fn a_search_parameter_says_how_it_may_be_used() {
    let set = DefinitionSet::r4();
    let core = |id: &str| {
        set.search_parameter(&format!("http://hl7.org/fhir/SearchParameter/{id}")).unwrap()
    };
    let composite = core("Observation-code-value-quantity");
    assert_eq!((composite.multiple_or, composite.multiple_and), (Some(false), None));
    assert_eq!(composite.status.as_deref(), Some("draft"));
    assert_eq!(core("individual-phonetic").usage.as_deref(), Some("phonetic"));
    let chains: Vec<&str> = core("example-reference").chains.iter().map(|it| &**it).collect();
    assert_eq!(chains, ["name", "identifier"]);
    let original = "http://hl7.org/fhir/SearchParameter/Resource-id";
    assert_eq!(core("example").derived_from.as_deref(), Some(original));
}

#[test]
fn the_built_in_file_is_what_encoding_it_again_gives_and_gives_the_built_in_schema() {
    let structures = structures_file::decode(R4_FILE).unwrap();
    assert_eq!(structures_file::encode(&structures).unwrap(), R4_FILE);
    let definitions = compile::compile(&structures).unwrap();
    let built_in = include_bytes!("../definitions/r4.zst");
    assert_eq!(fhir_schema::compiled::encode(&definitions).unwrap(), built_in);
}

#[test]
fn a_file_cut_short_or_changed_is_damaged() {
    for length in (0..R4_FILE.len()).step_by(997) {
        let error = structures_file::decode(&R4_FILE[..length]).unwrap_err();
        assert!(matches!(error, SchemaError::Damaged(_)), "{length}: {error}");
    }
    let mut file = R4_FILE.to_vec();
    let at = file.len() / 2;
    file[at] ^= 1;
    assert!(matches!(structures_file::decode(&file), Err(SchemaError::Damaged(_))));
}

#[test]
fn two_versions_of_a_package_stand_side_by_side() {
    let Some(folder) = folder(TEST_DATA) else { return };
    let package = |version: &str| {
        read(&folder.join("packages").join(format!("hl7.fhir.us.core-{version}.tgz")))
    };
    const PATIENT: &str = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient";
    const RACE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race";
    for order in [["3.1.1", "6.1.0"], ["6.1.0", "3.1.1"]] {
        let set = DefinitionSet::r4().with_packages(order.map(package).into()).unwrap();
        let version = |canonical: &str| set.structure(canonical).unwrap().version.clone().unwrap();
        assert_eq!(&*version(PATIENT), "6.1.0", "the latest");
        assert_eq!(&*version(&format!("{PATIENT}|3.1.1")), "3.1.1");
        assert_eq!(&*version(&format!("{PATIENT}|6.1")), "6.1.0");
        assert!(set.structure(&format!("{PATIENT}|5.0.0")).is_none());
        let old = set.structure(&format!("{PATIENT}|3.1.1")).unwrap();
        let meant = set.structure_from(old, RACE).unwrap();
        assert_eq!(meant.version.as_deref(), Some("3.1.1"), "that of its own package");
        assert_eq!(&*set.package(old).unwrap().version, "3.1.1");
        assert!(set.unmet_dependencies().iter().any(|it| &*it.name == "us.nlm.vsac"));
    }
}

#[test]
fn a_package_of_another_release_is_refused() {
    let Some(folder) = folder(TEST_DATA) else { return };
    let Some(r5) = other_version("R5", "5.0.0") else { return };
    let package = read(&folder.join("packages/hl7.fhir.us.core-6.1.0.tgz"));
    let error = r5.with_packages(vec![package]).unwrap_err();
    assert!(matches!(error, SchemaError::OtherFhirVersion { .. }), "{error}");
}

/// The base types of another FHIR version, from a folder with a file for each.
fn other_version(release: &str, version: &str) -> Option<DefinitionSet> {
    let entries = folder("HEARTHGATE_FHIR_PACKAGES")?.join("definitions").join(release);
    if !entries.is_dir() {
        println!("skipped: {} is not there", entries.display());
        return None;
    }
    let manifest = format!(
        r#"{{"name": "definitions", "version": "{version}", "license": "CC0-1.0",
            "fhirVersions": ["{version}"]}}"#
    );
    let mut files = vec![Ok(("package.json".to_owned(), manifest.into_bytes()))];
    for entry in fs::read_dir(entries.join("entries")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.push(fs::read(path).map(|bytes| (name, bytes)));
    }
    let package = Package::from_files(files, PackageLimits::default()).unwrap();
    Some(DefinitionSet::new(compile::structures(package).unwrap()))
}

#[test]
fn a_fhir_version_is_data() {
    let Some(r5) = other_version("R5", "5.0.0") else { return };
    let schema = r5.schema().unwrap();
    assert_eq!(schema.fhir_version(), "5.0.0");
    assert!(schema.is_resource_type("ActorDefinition"));
    assert!(!schema.is_resource_type("DeviceUseStatement"), "gone since R4");
    assert_eq!(schema.type_kind("integer64"), Some(TypeKind::Primitive));
    assert_eq!(schema.base_type("BackboneType"), Some("DataType"));
    let node = schema.resource("Observation").unwrap();
    let trigger = schema.element(node, "triggeredBy").unwrap();
    assert!(trigger.is_array && matches!(trigger.kind, Kind::Complex(_)));
    let node = schema.datatype("CodeableReference").unwrap();
    assert!(matches!(schema.element(node, "reference").unwrap().kind, Kind::Reference(_)));
    assert_eq!(schema.type_name(schema.element(node, "id").unwrap()), "id", "a string in R4");

    let Some(r4b) = other_version("R4B", "4.3.0") else { return };
    let schema = r4b.schema().unwrap();
    assert!(schema.is_resource_type("SubscriptionStatus"));
    assert!(!schema.is_resource_type("ActorDefinition"));
}

#[test]
fn the_elements_built_in_of_other_versions_are_those_of_their_definitions() {
    for (name, version, release) in [("R4B", "4.3.0", "4.3"), ("R5", "5.0.0", "5.0")] {
        let Some(set) = other_version(name, version) else { return };
        let core = set.core();
        let types = compile::base_types(core.source, &core.structures).unwrap().types;
        let elements = VersionElements::new(release, &types).unwrap();
        assert_eq!(version_elements::of_release(release), Some(&elements));
    }
}
