//! Packages, small ones made here: what is taken from them, and what hostile ones cannot do.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

use std::io::Write as _;

use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{DefinitionSet, Definitions, Schema, SchemaError, compile};
use flate2::write::GzEncoder;
use serde_json::{Value, json};

const LIMITS: PackageLimits =
    PackageLimits { entries: 20, file_bytes: 4096, total_bytes: 64 * 1024 };

/// A tgz of entries with names as given, whatever they are.
#[derive(Default)]
struct Archive {
    tar: Vec<u8>,
}

impl Archive {
    fn entry(mut self, name: &str, entry_type: tar::EntryType, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        // Not `set_path`, which refuses the names that matter here.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_entry_type(entry_type);
        header.set_mode(0o644);
        header.set_cksum();
        self.tar.extend_from_slice(header.as_bytes());
        self.tar.extend_from_slice(content);
        self.tar.resize(self.tar.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &Value) -> Self {
        let content = content.to_string();
        self.entry(name, tar::EntryType::Regular, content.as_bytes())
    }

    fn manifest(self) -> Self {
        self.file(
            "package/package.json",
            &json!({"name": "x", "version": "1", "license": "CC0-1.0", "fhirVersions": ["4.0.1"]}),
        )
    }

    fn tgz(mut self) -> Vec<u8> {
        self.tar.extend_from_slice(&[0; 1024]);
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&self.tar).unwrap();
        encoder.finish().unwrap()
    }

    fn read(self) -> Result<Package, SchemaError> {
        Package::read(&self.tgz()[..], LIMITS)
    }
}

fn compiled(package: Package) -> Result<Definitions, SchemaError> {
    compile::compile(&compile::structures(package)?)
}

fn structure(name: &str, kind: &str, derivation: Option<&str>, elements: &[Value]) -> Value {
    let mut all = vec![json!({"path": name, "min": 0, "max": "*"})];
    all.extend_from_slice(elements);
    let mut structure = json!({
        "resourceType": "StructureDefinition",
        "url": format!("http://example.org/{name}/{kind}/{derivation:?}"),
        "type": name,
        "kind": kind,
        "abstract": false,
        "baseDefinition": "http://example.org/Base",
        "snapshot": {"element": all},
    });
    if let Some(derivation) = derivation {
        structure["derivation"] = json!(derivation);
    }
    structure
}

fn element(path: &str, max: &str, code: &str) -> Value {
    json!({"path": path, "min": 0, "max": max, "type": [{"code": code}]})
}

fn search_param(code: &str, base: &[&str], expression: &str) -> Value {
    json!({
        "resourceType": "SearchParameter",
        "url": format!("http://example.org/SearchParameter/{code}"),
        "type": "reference",
        "code": code,
        "base": base,
        "expression": expression,
    })
}

/// A FHIR version with one resource type.
fn clinic() -> Archive {
    let compartment = json!({
        "resourceType": "CompartmentDefinition",
        "url": "http://hl7.org/fhir/CompartmentDefinition/patient",
        "code": "Patient",
        "resource": [
            {"code": "Visit", "param": ["who", "twice", "filtered", "missing"]},
            {"code": "Other"},
        ],
    });
    let visit = [
        element("Visit.identifier", "1", "Identifier"),
        element("Visit.party", "*", "BackboneElement"),
        element("Visit.party.who", "1", "Reference"),
    ];
    Archive::default()
        .manifest()
        .file("package/a.json", &structure("Element", "complex-type", None, &[]))
        .file("package/b.json", &structure("BackboneElement", "complex-type", None, &[]))
        .file("package/c.json", &structure("Reference", "complex-type", None, &[]))
        .file("package/d.json", &structure("Identifier", "complex-type", None, &[]))
        .file("package/e.json", &structure("Visit", "resource", Some("specialization"), &visit))
        .file("package/f.json", &search_param("identifier", &["Visit"], "Visit.identifier"))
        .file("package/g.json", &search_param("who", &["Visit"], "Visit.party.who"))
        .file("package/h.json", &search_param("twice", &["Visit"], "Visit.party.who"))
        .file("package/i.json", &search_param("filtered", &["Visit"], "Visit.party[0].who"))
        .file("package/j.json", &compartment)
}

#[test]
fn a_package_becomes_a_schema() {
    let package = clinic()
        // Profiles and logical models of the same name change nothing.
        .file("package/p.json", &structure("Visit", "resource", Some("constraint"), &[]))
        .file("package/q.json", &structure("Visit", "logical", None, &[]))
        .read()
        .unwrap();
    let schema = Schema::new(&compiled(package).unwrap()).unwrap();

    assert_eq!(schema.resource_types().collect::<Vec<_>>(), ["Visit"]);
    assert_eq!(schema.identifier_paths("Visit")[0].to_string(), "identifier");
    let paths = schema.patient_compartment("Visit");
    assert_eq!(paths.len(), 1, "the same path twice is one path");
    assert_eq!(paths[0].to_string(), "party.who");
    assert!(!schema.in_patient_compartment("Other"));

    let unresolved: Vec<_> = schema
        .unresolved_expressions()
        .iter()
        .map(|it| (&*it.search_param, &*it.expression))
        .collect();
    assert_eq!(unresolved, [("filtered", "Visit.party[0].who"), ("missing", "")]);
}

#[test]
fn the_order_of_the_files_changes_nothing() {
    let first = structure("Aa", "complex-type", None, &[]);
    let last = structure("Zz", "complex-type", None, &[]);
    let names = |one: &Value, other: &Value| {
        let archive = clinic().file("package/y.json", one).file("package/z.json", other);
        compiled(archive.read().unwrap()).unwrap()
    };
    assert_eq!(names(&first, &last), names(&last, &first));
}

#[test]
fn only_regular_json_files_directly_in_the_folder_are_read() {
    let broken = &b"{"[..];
    let mut archive = clinic();
    for name in ["package/folder/x.json", "other/x.json", "package/x.txt", "package/.index.json"] {
        archive = archive.entry(name, tar::EntryType::Regular, broken);
    }
    let package = Package::read(&archive.tgz()[..], PackageLimits::default()).unwrap();
    assert_eq!(package.structure_definitions.len(), 5);
}

#[test]
fn names_that_lead_elsewhere_and_links_are_refused_by_name() {
    for (name, problem) in [
        ("package/../package/x.json", "leads out of the package"),
        ("../package/x.json", "leads out of the package"),
        ("/package/x.json", "is an absolute path or one of another system"),
        ("package/..\\x.json", "is an absolute path or one of another system"),
        ("C:/x.json", "is an absolute path or one of another system"),
    ] {
        check_refused(
            clinic().entry(name, tar::EntryType::Regular, b"{}"),
            &format!("the package's entry {name:?} {problem}"),
        );
    }
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link] {
        check_refused(
            clinic().entry("package/l.json", kind, b""),
            "the package's entry \"package/l.json\" is a link",
        );
    }
}

#[test]
fn the_files_of_a_folder_are_a_package_too() {
    let manifest = r#"{"name": "x", "version": "1"}"#;
    let file = |name: &str, text: &str| Ok((name.to_owned(), text.as_bytes().to_vec()));
    let value_set = "\u{feff}{\"resourceType\": \"ValueSet\", \"url\": \"http://example.org/v\"}";
    let files = vec![file("package.json", manifest), file("v.json", value_set), file("a.txt", "-")];
    let package = Package::from_files(files, LIMITS).unwrap();
    assert_eq!(&*package.manifest.name, "x");
    assert_eq!(package.resources[0].url.as_deref(), Some("http://example.org/v"));
    let error = Package::from_files([file("../x.json", "{}")], LIMITS).unwrap_err();
    assert!(matches!(error, SchemaError::UnsafeEntry { .. }), "{error}");
}

#[track_caller]
fn check_refused(archive: Archive, expected: &str) {
    assert_eq!(archive.read().unwrap_err().to_string(), expected);
}

#[test]
fn an_archive_that_holds_too_much_is_refused() {
    let big = vec![b' '; 5000];
    check_refused(
        Archive::default().entry("package/x.json", tar::EntryType::Regular, &big),
        "the package has more than 4096 bytes in one file",
    );
    let bomb = vec![0; 1 << 20];
    check_refused(
        Archive::default().entry("other/zeros", tar::EntryType::Regular, &bomb),
        "the package has more than 65536 unpacked bytes",
    );
    check_refused(
        Archive::default().entry("././@LongLink", tar::EntryType::GNULongName, &bomb),
        "the package has more than 65536 unpacked bytes",
    );
    let mut many = Archive::default();
    for _ in 0..21 {
        many = many.entry("other/x", tar::EntryType::Regular, b"");
    }
    check_refused(many, "the package has more than 20 entries");
}

#[test]
fn an_archive_that_is_not_a_package_is_refused() {
    check_refused(clinic().file("package/a.json", &json!({})), "the package holds a.json twice");
    check_refused(
        Archive::default().entry("package/x.json", tar::EntryType::Regular, b"{"),
        "x.json is not valid",
    );
    check_refused(
        Archive::default().file("package/x.json", &json!({"resourceType": "SearchParameter"})),
        "x.json line 1: url is missing",
    );
    check_refused(Archive::default(), "the package has no package.json");

    let cut = clinic().tgz();
    let error = Package::read(&cut[..cut.len() / 2], LIMITS).unwrap_err();
    assert!(matches!(error, SchemaError::Archive(_)));
    let error = Package::read(&b"not gzip"[..], LIMITS).unwrap_err();
    assert!(matches!(error, SchemaError::Archive(_)));
}

#[track_caller]
fn check_not_compiled(archive: Archive, expected: &str) {
    let package = archive.read().unwrap();
    let error = compiled(package).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_package_that_cannot_be_a_fhir_version_is_refused() {
    check_not_compiled(
        Archive::default()
            .manifest()
            .file("package/a.json", &structure("Element", "complex-type", None, &[])),
        "the package has no definition of the patient compartment",
    );
    check_not_compiled(
        clinic().file("package/x.json", &structure("Visit", "resource", None, &[])),
        "Visit is defined twice",
    );
    check_not_compiled(
        clinic().file("package/x.json", &structure("a/b", "resource", None, &[])),
        "a/b is not the name of a resource type",
    );
    let mut bare = structure("Bare", "complex-type", None, &[]);
    bare.as_object_mut().unwrap().remove("snapshot");
    bare.as_object_mut().unwrap().remove("baseDefinition");
    check_not_compiled(
        clinic().file("package/x.json", &bare),
        "the definition of http://example.org/Bare/complex-type/None has no snapshot",
    );
    for (member, problem) in [("max", "has no max"), ("min", "has no min")] {
        let mut odd = element("Odd.x", "1", "string");
        odd.as_object_mut().unwrap().remove(member);
        check_not_compiled(
            clinic().file("package/x.json", &structure("Odd", "complex-type", None, &[odd])),
            &format!("http://example.org/Odd/complex-type/None: Odd.x {problem}"),
        );
    }
    for (member, value, problem) in [
        ("max", json!("many"), "max is neither a number nor *"),
        ("contentReference", json!("Odd"), "Odd.x has a content reference without #"),
        ("min", json!("0"), "min is not a whole number within its bounds"),
        ("type", json!({}), "type is not an array"),
        ("path", json!(7), "path is not a string"),
    ] {
        let mut odd = element("Odd.x", "1", "string");
        odd[member] = value;
        check_refused(
            clinic().file("package/x.json", &structure("Odd", "complex-type", None, &[odd])),
            &format!("x.json line 1: {problem}"),
        );
    }
}

/// A package of R4 with these profiles of Patient: names, bases and elements of the differential.
fn profiles(package: &str, members: &Value, profiles: &[(&str, &str, Value)]) -> Package {
    let mut manifest = json!({"name": package, "version": "1.0.0", "fhirVersions": ["4.0.1"]});
    for (name, value) in members.as_object().unwrap() {
        manifest[name] = value.clone();
    }
    let mut archive = Archive::default().file("package/package.json", &manifest);
    for (at, (name, base, elements)) in profiles.iter().enumerate() {
        let url = |name: &str| match name {
            "Patient" => "http://hl7.org/fhir/StructureDefinition/Patient".to_owned(),
            name => format!("http://example.org/{name}"),
        };
        let profile = json!({
            "resourceType": "StructureDefinition", "url": url(name), "version": "1.0.0",
            "name": name, "kind": "resource", "abstract": false, "type": "Patient",
            "baseDefinition": url(base), "derivation": "constraint",
            "differential": {"element": elements},
        });
        archive = archive.file(&format!("package/{at}.json"), &profile);
    }
    archive.read().unwrap()
}

#[track_caller]
fn check_set_refused(packages: Vec<Package>, expected: &str) {
    let error = DefinitionSet::r4().with_packages(packages).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn packages_that_cannot_stand_together_are_refused() {
    let none = json!({});
    check_set_refused(
        vec![profiles("p", &json!({"fhirVersions": ["5.0.0"]}), &[])],
        "p#1.0.0 is for FHIR R5, and what it is used with for R4: the two cannot be mixed",
    );
    check_set_refused(
        vec![profiles("p", &json!({"dependencies": {"hl7.fhir.r4b.core": "4.3.0"}}), &[])],
        "p#1.0.0 is for FHIR R4B, and what it is used with for R4: the two cannot be mixed",
    );
    check_set_refused(
        vec![profiles("p", &none, &[]), profiles("p", &none, &[])],
        "the package p#1.0.0 is given twice",
    );
    check_set_refused(
        vec![
            profiles("a", &json!({"dependencies": {"b": "1.0.x"}}), &[]),
            profiles("b", &json!({"dependencies": {"a": "current"}}), &[]),
        ],
        "packages depend on each other in a circle: a#1.0.0 → b#1.0.0 → a#1.0.0",
    );
    check_set_refused(
        vec![profiles("p", &none, &[("One", "Two", json!([])), ("Two", "One", json!([]))])],
        "definitions go round in a circle: http://example.org/One|1.0.0 → \
         http://example.org/Two|1.0.0 → http://example.org/One|1.0.0",
    );
    check_set_refused(
        vec![profiles("p", &none, &[("One", "Patient", json!([])), ("One", "Patient", json!([]))])],
        "p#1.0.0 defines http://example.org/One twice",
    );
    check_set_refused(
        vec![profiles("p", &none, &[("One", "Elsewhere", json!([]))])],
        "http://example.org/One|1.0.0 derives from http://example.org/Elsewhere, \
         which no package has",
    );
}

#[test]
fn a_differential_that_does_not_fit_is_refused_with_profile_and_element() {
    for (element, problem) in [
        (json!({"path": "Patient.nose"}), "Patient.nose is not defined: the base has no nose"),
        (json!({"path": "Person.name"}), "Person.name does not begin with Patient"),
        (
            json!({"path": "Patient.gender", "max": "2"}),
            "Patient.gender has a max greater than that of its base",
        ),
        (json!({"path": "Patient.gender", "min": 2}), "Patient.gender has min 2 and a lesser max"),
        (
            json!({"path": "Patient.link.other", "min": 0}),
            "Patient.link.other has min 0, less than 1 of its base",
        ),
        (
            json!({"path": "Patient.deceased[x].coding", "min": 1}),
            "Patient.deceased[x].coding is not defined: the base has no coding",
        ),
    ] {
        check_set_refused(
            vec![profiles("p", &json!({}), &[("One", "Patient", json!([element]))])],
            &format!("http://example.org/One|1.0.0: {problem}"),
        );
    }
}

#[test]
fn a_differential_is_merged_with_slices_choices_datatypes_and_constraints() {
    let constraint = json!({"key": "x-1", "severity": "error", "human": "h", "expression": "true"});
    let elements = json!([
        {"path": "Patient", "constraint": [constraint]},
        {"path": "Patient.identifier", "min": 1, "slicing": {
            "discriminator": [{"type": "value", "path": "system"}], "rules": "open"}},
        {"path": "Patient.identifier", "sliceName": "mrn", "min": 1, "max": "1"},
        {"path": "Patient.identifier.system", "min": 1, "fixedUri": "urn:mrn"},
        {"path": "Patient.identifier", "sliceName": "mrn/old", "max": "1"},
        {"path": "Patient.name.family", "min": 1, "mustSupport": true},
        {"path": "Patient.deceasedBoolean", "min": 1},
    ]);
    let package = profiles("p", &json!({}), &[("One", "Patient", elements)]);
    let set = DefinitionSet::r4().with_packages(vec![package]).unwrap();
    let profile = set.structure("http://example.org/One|1.0.0").unwrap();
    let element = |id: &str| profile.element(id).unwrap_or_else(|| panic!("{id} is not there"));

    assert!(
        element("Patient")
            .constraints
            .iter()
            .any(|it| &*it.key == "x-1" && it.source.as_deref() == Some("http://example.org/One"))
    );
    assert!(element("Patient").constraints.iter().any(|it| &*it.key == "dom-2"));
    assert_eq!(element("Patient.identifier").min, 1);
    assert_eq!(element("Patient.identifier:mrn").max, Some(1));
    let system = element("Patient.identifier:mrn.system");
    assert_eq!(system.fixed.as_ref().map(|it| &*it.json), Some("\"urn:mrn\""));
    assert!(element("Patient.identifier:mrn/old.system").fixed.is_some(), "a reslice has it too");
    assert!(element("Patient.name.family").flags.must_support);
    assert_eq!(element("Patient.deceased[x]:deceasedBoolean").min, 1);
    let codes: Vec<&str> =
        element("Patient.deceased[x]").types.iter().map(|it| &*it.code).collect();
    assert_eq!(codes, ["boolean"]);
    let ids: Vec<&str> = profile.elements.iter().map(|it| &*it.id).collect();
    let place = |id: &str| ids.iter().position(|it| *it == id).unwrap();
    assert!(place("Patient.identifier") < place("Patient.identifier:mrn"));
    assert!(place("Patient.identifier:mrn.system") < place("Patient.identifier:mrn/old"));
    assert!(place("Patient.identifier:mrn/old") < place("Patient.active"));
}

#[test]
fn a_published_snapshot_that_is_none_is_refused_with_profile_and_element() {
    for (elements, problem) in [
        (&["Person"][..], "Person is the root, and not the type that is defined"),
        (&["Patient", "Patient"], "Patient is a second root"),
        (&["Patient", "Patient.link.other"], "Patient.link.other has no parent before it"),
        (
            &["Patient", "Patient.name", "Patient.link.other"],
            "Patient.link.other does not stand among the elements of its parent",
        ),
        (&["Patient", "Patient.id", "Patient.id"], "Patient.id stands there twice"),
        (
            &["Patient", "Patient.name", "Patient.id"],
            "Patient.id stands after Patient.name, which its type has later",
        ),
    ] {
        let elements: Vec<Value> =
            elements.iter().map(|path| json!({"path": path, "min": 0, "max": "1"})).collect();
        let profile = json!({
            "resourceType": "StructureDefinition", "url": "http://example.org/One",
            "kind": "resource", "abstract": false, "type": "Patient",
            "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Patient",
            "derivation": "constraint", "snapshot": {"element": elements},
        });
        let package = Archive::default().manifest().file("package/a.json", &profile);
        check_set_refused(
            vec![package.read().unwrap()],
            &format!("http://example.org/One: {problem}"),
        );
    }
}

#[test]
fn a_root_with_a_dot_in_its_name_is_refused() {
    let structure = json!({
        "resourceType": "StructureDefinition", "url": "http://example.org/One",
        "kind": "logical", "abstract": false, "type": "Patient.name",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Element",
        "derivation": "specialization",
        "snapshot": {"element": [{"path": "Patient.name", "min": 0, "max": "1"}]},
    });
    let package = Archive::default().manifest().file("package/a.json", &structure);
    check_set_refused(
        vec![package.read().unwrap()],
        "http://example.org/One: Patient.name is the root, and a root's name has no dot",
    );
}
