//! The compiled form: what is written is read, and nothing else is.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

use std::sync::LazyLock;

use fhir_schema::definitions::{Definitions, ElementDefinition, TypeDefinition, TypeKind, XmlForm};
use fhir_schema::{Schema, SchemaError, compiled};
use proptest::prelude::{Just, ProptestConfig, any, prop_oneof, proptest};

static R4_FILE: &[u8] = include_bytes!("../definitions/r4.zst");

static R4: LazyLock<Definitions> = LazyLock::new(|| compiled::decode(R4_FILE).unwrap());

/// The built-in definitions without most types, so that many damaged copies are read quickly.
fn small() -> Definitions {
    let mut definitions = R4.clone();
    definitions
        .types
        .retain(|it| matches!(&*it.name, "Patient" | "Element" | "Extension" | "string"));
    definitions
}

#[test]
fn what_is_written_is_read_and_written_the_same_again() {
    let file = compiled::encode(&R4).unwrap();
    assert_eq!(compiled::decode(&file).unwrap(), *R4);
    assert_eq!(compiled::encode(&R4).unwrap(), file);
}

#[test]
fn another_format_is_refused_by_its_number() {
    let mut file = R4_FILE.to_vec();
    file[8] = 9;
    for error in [compiled::decode(&file).unwrap_err(), compiled::header(&file).unwrap_err()] {
        assert!(matches!(error, SchemaError::UnknownFormat { found: 9, known: 2 }));
    }
}

#[test]
fn a_file_cut_short_anywhere_is_damaged() {
    let file = compiled::encode(&small()).unwrap();
    for length in 0..file.len() {
        let error = compiled::decode(&file[..length]).unwrap_err();
        assert!(matches!(error, SchemaError::Damaged(_)), "{length}: {error}");
    }
}

#[test]
fn a_length_that_asks_for_too_much_memory_is_refused() {
    let mut file = b"HGSCHEMA\x02\x00".to_vec();
    file.extend([0; 4]);
    file.extend([0xff, 0xff, 0xff, 0x7f]);
    let error = compiled::decode(&file).unwrap_err();
    assert_eq!(error.to_string(), "the compiled definitions are damaged: its body is too long");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The frame's checksum finds what changes in the body.
    #[test]
    fn a_changed_byte_is_found_or_is_in_the_source_names(
        (at, bits) in (0..1000_usize, 1..=255_u8),
    ) {
        static FILE: LazyLock<Vec<u8>> =
            LazyLock::new(|| compiled::encode(&small()).unwrap());
        let mut file = FILE.clone();
        let at = at % file.len();
        file[at] ^= bits;
        if let Ok(found) = compiled::decode(&file) {
            let expected = Definitions { source: found.source.clone(), ..small() };
            assert_eq!(found, expected);
        }
    }

    /// A body that unpacks but was not written by `encode` is refused without harm.
    #[test]
    fn any_body_is_read_or_refused(
        body in proptest::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..64),
        strings in prop_oneof![Just(&b""[..]), Just(&b"\x03\x01a\x01b\x01c"[..])],
    ) {
        let body = [strings, &body].concat();
        let mut file = b"HGSCHEMA\x02\x00\x00\x00\x00\x00".to_vec();
        file.push(body.len() as u8);
        file.extend(zstd::bulk::compress(&body, 1).unwrap());
        if let Ok(found) = compiled::decode(&file) {
            // Whatever was understood is written so that it is understood the same.
            let written = compiled::encode(&found).unwrap();
            assert_eq!(compiled::decode(&written).unwrap(), found);
            let _ = Schema::new(&found);
        }
    }
}

#[track_caller]
fn check_refused(element: ElementDefinition, expected: &str) {
    let mut definitions = small();
    definitions.types.retain(|it| &*it.name == "string");
    let other = ElementDefinition {
        path: "Thing.other".into(),
        min: 0,
        max: None,
        types: vec!["string".into()],
        content_reference: None,
        fhir_type: None,
        xml: XmlForm::Element,
    };
    for (name, elements) in [("Element", vec![]), ("Thing", vec![other, element])] {
        definitions.types.push(TypeDefinition {
            name: name.into(),
            kind: TypeKind::Complex,
            is_abstract: false,
            base: None,
            elements,
        });
    }
    let error = Schema::new(&definitions).err().map(|it| it.to_string());
    assert_eq!(error.as_deref(), Some(expected));
}

#[test]
fn definitions_that_contradict_themselves_are_refused() {
    let element = |path: &str, types: &[&str], content_reference: Option<&str>| ElementDefinition {
        path: path.into(),
        min: 0,
        max: Some(1),
        types: types.iter().map(|code| Box::from(*code)).collect(),
        content_reference: content_reference.map(Box::from),
        fhir_type: None,
        xml: XmlForm::Element,
    };
    check_refused(element("Thing.other", &["string"], None), "Thing.other is defined twice");
    check_refused(element("Thing.a.b", &["string"], None), "Thing.a.b has no parent");
    check_refused(element("Thing.a", &["Missing"], None), "Thing.a has a type that is not there");
    check_refused(
        element("Thing.a", &["string", "Thing"], None),
        "Thing.a is no choice and has not one type",
    );
    check_refused(
        element("Thing.a", &[], Some("Thing.b")),
        "Thing.a has the content of an element that is not there",
    );
}
