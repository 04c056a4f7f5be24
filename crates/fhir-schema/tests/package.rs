//! Packages, small ones made here: what is taken from them, and what hostile ones cannot do.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

use std::io::Write as _;

use fhir_schema::package::{Package, PackageLimits};
use fhir_schema::{Schema, SchemaError, compile};
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

fn structure(name: &str, kind: &str, derivation: Option<&str>, elements: &[Value]) -> Value {
    let mut all = vec![json!({"path": name, "min": 0, "max": "*"})];
    all.extend_from_slice(elements);
    json!({
        "resourceType": "StructureDefinition",
        "type": name,
        "kind": kind,
        "abstract": false,
        "derivation": derivation,
        "baseDefinition": "http://example.org/Base",
        "snapshot": {"element": all},
    })
}

fn element(path: &str, max: &str, code: &str) -> Value {
    json!({"path": path, "min": 0, "max": max, "type": [{"code": code}]})
}

fn search_param(code: &str, base: &[&str], expression: &str) -> Value {
    json!({
        "resourceType": "SearchParameter",
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
    let schema = Schema::new(&compile::compile(&package).unwrap()).unwrap();

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
        compile::compile(&archive.read().unwrap()).unwrap()
    };
    assert_eq!(names(&first, &last), names(&last, &first));
}

#[test]
fn only_regular_json_files_directly_in_the_folder_are_read() {
    let broken = &b"{"[..];
    let mut archive = clinic();
    for name in [
        "package/../package/x.json",
        "../package/x.json",
        "/package/x.json",
        "package/folder/x.json",
        "package/..\\x.json",
        "other/x.json",
        "package/x.txt",
    ] {
        archive = archive.entry(name, tar::EntryType::Regular, broken);
    }
    let archive = archive.entry("package/link.json", tar::EntryType::Symlink, b"").entry(
        "package/hard.json",
        tar::EntryType::Link,
        b"",
    );
    let package = Package::read(&archive.tgz()[..], PackageLimits::default()).unwrap();
    assert_eq!(package.structure_definitions.len(), 5);
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
        "x.json is not valid",
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
    let error = compile::compile(&package).unwrap_err();
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
    bare["snapshot"] = Value::Null;
    check_not_compiled(
        clinic().file("package/x.json", &bare),
        "the definition of Bare has no snapshot",
    );
    for (member, value, problem) in [
        ("max", json!("many"), "has a max that is neither a number nor *"),
        ("max", Value::Null, "has no max"),
        ("min", Value::Null, "has no min"),
        ("sliceName", json!("a"), "is sliced in a base type"),
        ("contentReference", json!("Odd"), "has a content reference without #"),
    ] {
        let mut odd = element("Odd.x", "1", "string");
        odd[member] = value;
        check_not_compiled(
            clinic().file("package/x.json", &structure("Odd", "complex-type", None, &[odd])),
            &format!("Odd.x {problem}"),
        );
    }
}
