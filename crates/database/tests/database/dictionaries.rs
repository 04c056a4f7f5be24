//! A dictionary that was shipped stays as it is, and every body that was ever coded is read.

use std::collections::BTreeMap;

use bytes::Bytes;
use database::dictionary::{Dictionary, FIRST_NUMBER, code, decode, encode, expand, shipped};
use database::{Expect, Method, ReadError};
use proptest::prelude::*;
use store::suite::fixture;
use store::{BodyCoding, ContentHash, Store};

use crate::support::{Clinic, block_on, json, put, resource};

/// Number, type (`*`: all that have none of their own), SHA-256. Lines are added and never
/// changed: bodies of other people's data cannot be read without these bytes.
const SHIPPED: &[(u32, &str, &str)] = &[
    (2, "*", "9f19cb77d3bf9a66bacf724b12f959fb2badb2618c38a3552071f0727b1c8839"),
    (3, "Claim", "d02d2d21798eb35c8ca41b1f9d2086171d294bf0f709490ea49c2b75edf17388"),
    (4, "Condition", "6e08c4ccaace319d3704a354e9ff9dabe4e3c024e2ce4133038bba0089679eff"),
    (5, "DiagnosticReport", "b031056aeab02415d7b595cbaf5d2a057070f5f145622500b2c3da711c4a0b19"),
    (6, "DocumentReference", "ae3db2960f792228b5ba588acf4a9ca71dbb0f3188fbc2a91bb7384e8e53b48d"),
    (7, "Encounter", "7dcc7b16a7e62943c27cb53fd279efaa5a666e05f859bc2d85ff97507799250b"),
    (8, "ExplanationOfBenefit", "53ad08c0ae9a7f8689eca3100108f5ff70a5fc3742716d4cf1d85643924f84b4"),
    (9, "Immunization", "7d159848fbcc2af941cb47767ce78760eaa09f48f9f19f4dc83fbb8ea44f94cd"),
    (10, "MedicationRequest", "6ecb31a6ab83df8403765f9752257072b174bc1e9c3a9393ab329f3d47a99467"),
    (11, "Observation", "d04677e5b57de10cd2ec2a20ac324e2c5fb940e1705f1d838e79458318d9cec1"),
    (12, "Procedure", "0f38b8b96dd3e6b77561eaeb66b3b1303b27bc8a9688f4bda7085861dd7d21bb"),
];

/// `number coded-in-hexadecimal JSON` on each line.
const GOLDEN: &str = include_str!("../../dictionaries/golden.txt");

const MANIFEST: &str = include_str!("../../dictionaries/manifest.txt");

fn name(dictionary: &Dictionary) -> &str {
    if dictionary.resource_type.is_empty() { "*" } else { &dictionary.resource_type }
}

fn hash(bytes: &[u8]) -> String {
    ContentHash::of(bytes).0.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_dictionary_is_the_one_that_was_shipped_under_its_number() {
    let found: Vec<_> = shipped().map(|it| (it.number, name(it), hash(&it.bytes))).collect();
    let expected: Vec<_> =
        SHIPPED.iter().map(|(number, name, hash)| (*number, *name, (*hash).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_manifest_says_what_is_shipped() {
    let lines = MANIFEST.lines().filter(|line| !line.starts_with('#'));
    let expected = shipped()
        .map(|it| format!("{} {} {} {}", it.number, name(it), it.bytes.len(), hash(&it.bytes)));
    assert_eq!(lines.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

/// Number, coded, JSON.
fn golden() -> Vec<(u32, Vec<u8>, &'static str)> {
    let line = |line: &'static str| {
        let (number, rest) = line.split_once(' ').unwrap();
        let (coded, json) = rest.split_once(' ').unwrap();
        let byte = |at: usize| u8::from_str_radix(&coded[at..at + 2], 16).unwrap();
        let coded = (0..coded.len()).step_by(2).map(byte).collect();
        (number.parse().unwrap(), coded, json)
    };
    GOLDEN.lines().map(line).collect()
}

#[test]
fn every_number_reads_a_body_that_was_coded_when_it_was_shipped() {
    let golden = golden();
    let numbers: Vec<_> = golden.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, shipped().map(|it| it.number).collect::<Vec<_>>());
    for (number, coded, json) in golden {
        assert_eq!(&*expand_as(number, json.len(), &coded).unwrap(), json.as_bytes(), "{number}");
    }
}

fn expand_as(number: u32, length: usize, coded: &[u8]) -> Result<Vec<u8>, ReadError> {
    let expanded = expand(BodyCoding(number), u32::try_from(length).unwrap(), coded)?;
    Ok(expanded.into_owned())
}

#[test]
fn a_body_is_read_with_the_dictionary_that_coded_it_and_no_other() {
    let plain = golden()[0].2;
    let without = zstd::bulk::compress(plain.as_bytes(), 1).unwrap();
    let mut bodies = golden();
    bodies.push((BodyCoding::ZSTD.0, without, plain));
    for (number, coded, json) in &bodies {
        for (other, ..) in bodies.iter().filter(|(other, ..)| other != number) {
            let found = expand_as(*other, json.len(), coded);
            let Err(ReadError::UnreadableBody { reason }) = found else {
                panic!("{number} read as {other}: {found:?}");
            };
            let named = if *number == BodyCoding::ZSTD.0 { 0 } else { *number };
            assert!(reason.contains(&format!("names dictionary {named} ")), "{reason}");
        }
    }
}

#[test]
fn a_coding_that_is_not_known_is_named() {
    let last = FIRST_NUMBER + u32::try_from(shipped().count()).unwrap() - 1;
    for number in [last + 1, 4711, u32::MAX] {
        let Err(ReadError::UnreadableBody { reason }) = expand_as(number, 3, b"abc") else {
            panic!("{number} is not known");
        };
        assert!(reason.contains(&format!("coding {number} is not known")), "{reason}");
        assert!(reason.contains(&format!("up to {last}")), "{reason}");
    }
}

#[test]
fn no_more_is_made_of_a_body_than_was_stored() {
    let zeros = vec![0; 64 << 20];
    let said = zstd::bulk::compress(&zeros, 1).unwrap();
    let unsaid = zstd::stream::encode_all(&zeros[..], 1).unwrap();
    let twice = [zstd::bulk::compress(b"abc", 1).unwrap(), said.clone()].concat();
    for (coded, length) in [(&said, 10), (&said, u32::MAX), (&unsaid, 64 << 20), (&twice, 3)] {
        let found = expand(BodyCoding::ZSTD, length, coded);
        assert!(matches!(found, Err(ReadError::UnreadableBody { .. })), "{length}");
    }
}

#[test]
fn what_was_coded_expands_to_the_same_bytes() {
    let mut types: Vec<_> = shipped().map(|it| it.resource_type.clone()).collect();
    types.push("Unheard".to_owned());
    // Pieces of real bodies, which the dictionaries know, between what they do not.
    let pieces: Vec<String> = golden().iter().map(|(.., json)| (*json).to_owned()).collect();
    let piece = (any::<prop::sample::Index>(), 0usize..2000, 0usize..600).prop_map(
        move |(which, from, length)| {
            let bytes = which.get(&pieces).as_bytes();
            let from = from.min(bytes.len());
            bytes[from..(from + length).min(bytes.len())].to_vec()
        },
    );
    let noise = prop::collection::vec(any::<u8>(), 0..80);
    let text = prop::collection::vec(prop_oneof![piece, noise], 0..12);
    proptest!(|(parts in text, which in any::<prop::sample::Index>())| {
        let (json, of) = (parts.concat(), which.get(&types));
        let (coding, coded) = code(of, &json).unwrap_or((BodyCoding::AS_IS, json.clone()));
        prop_assert!(coded.len() <= json.len());
        let expanded = expand(coding, u32::try_from(json.len()).unwrap(), &coded).unwrap();
        prop_assert_eq!(&*expanded, &json[..]);
    });
}

#[test]
fn a_body_is_coded_with_the_newest_dictionary_of_its_type() {
    let newest: BTreeMap<_, _> = shipped().map(|it| (name(it), it.number)).collect();
    let text = "{\"resourceType\":\"Basic\",\"status\":\"final\"}".repeat(3);
    for (of, expected) in newest.iter().chain([(&"Unheard", &newest["*"])]) {
        let (coding, coded) = code(of, text.as_bytes()).unwrap();
        assert_eq!(coding, BodyCoding(*expected), "{of}");
        assert!(coded.len() < text.len());
    }
}

#[test]
fn a_file_of_dictionaries_is_read_as_it_was_written_and_not_otherwise() {
    let dictionary =
        |number| Dictionary { number, resource_type: "Basic".to_owned(), bytes: vec![7; 300] };
    let two = [dictionary(FIRST_NUMBER), dictionary(FIRST_NUMBER + 1)];
    let file = encode(&two).unwrap();
    assert_eq!(decode(&file).unwrap(), two);
    assert_eq!(decode(&encode(&[dictionary(FIRST_NUMBER + 1)]).unwrap()), None, "a gap");
    for length in 0..file.len() {
        assert_eq!(decode(&file[..length]), None, "{length} bytes");
    }
    let plain = zstd::bulk::decompress(&file, 1 << 20).unwrap();
    let cut = zstd::bulk::compress(&plain[..plain.len() - 1], 1).unwrap();
    assert_eq!(decode(&cut), None);
}

/// As data directories have them that were written before there were dictionaries.
#[test]
fn a_log_of_bodies_coded_without_dictionary_is_read_and_written_on() {
    let filler = "ab ".repeat(200);
    let plain = format!(
        "{{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":{{}},\
         \"identifier\":[{{\"system\":\"urn:n\",\"value\":\"n\"}}],\"gender\":\"{filler}\"}}"
    );
    let coded = Bytes::from(zstd::bulk::compress(plain.as_bytes(), 1).unwrap());
    let mut clinic = Clinic::over_sled();
    let mut version = fixture::put("Patient/1", 1, "");
    version.dictionary = BodyCoding::ZSTD;
    version.length = u32::try_from(plain.len()).unwrap();
    version.content_hash = ContentHash::of(&coded);
    version.body = coded;
    version.identifiers = vec![crate::support::key("n")];
    let mut commit = fixture::commit(1, vec![version]);
    commit.tenant = crate::support::tenant();
    clinic.gate().append(&[commit]).unwrap();

    clinic.reopen_without_derived_data();
    let read = |clinic: &Clinic, name| block_on(json(&clinic.snapshot(), name)).unwrap();
    let rest = format!(
        "\"identifier\":[{{\"system\":\"urn:n\",\"value\":\"n\"}}],\"gender\":\"{filler}\"}}"
    );
    assert!(read(&clinic, "Patient/1").ends_with(&rest));
    let (of, id) = resource("Patient/1");
    let newest = |clinic: &Clinic| block_on(clinic.snapshot().newest(&of, &id)).unwrap().unwrap();
    assert_eq!(newest(&clinic).dictionary, BodyCoding::ZSTD);
    let found = block_on(clinic.snapshot().identified(&of, &crate::support::key("n"))).unwrap();
    assert_eq!(found.len(), 1);

    clinic.write(put("Patient/1", &plain.replace("ab ", "cd "), Expect::Any));
    clinic.reopen_without_derived_data();
    assert!(read(&clinic, "Patient/1").ends_with(&rest.replace("ab ", "cd ")));
    assert!(newest(&clinic).dictionary.0 >= FIRST_NUMBER);
    assert_eq!(newest(&clinic).flags.method(), Method::Put);
}
