//! The record from outside: what is written comes back, what is changed is noticed, and nothing
//! panics.

use bytes::Bytes;
use fhir_core::{Instant, ResourceId, ResourceType, VersionId};
use proptest::prelude::*;
use store::record::{self, Condition, EncodeError, Format};
use store::{
    BlobId, BlobReference, BodyCoding, Commit, CommitHash, CommitId, CommitKind, ContentHash,
    FhirVersion, Idempotency, Method, OwnerKeyId, T, TenantText, Version, VersionFlags,
};

fn version() -> impl Strategy<Value = Version> {
    let method = prop_oneof![
        Just(Method::Post),
        Just(Method::Put),
        Just(Method::Patch),
        Just(Method::Delete)
    ];
    let id = prop_oneof![
        "[A-Za-z0-9.-]{1,64}".prop_map(|text| ResourceId::new(&text).unwrap()),
        any::<u128>().prop_map(ResourceId::from_uuid),
    ];
    let names = ("[A-Z][A-Za-z]{0,63}", id, 1..u64::MAX);
    let numbers = any::<(u64, u32, u32)>();
    let body = proptest::collection::vec(any::<u8>(), 0..60);
    let blob = proptest::option::of((any::<u128>(), 1..u64::MAX, any::<[u8; 32]>()));
    (names, method, numbers, body, blob).prop_map(|(names, method, numbers, body, blob)| {
        let deleted = method == Method::Delete;
        let blob = blob.filter(|_| !deleted);
        let reference =
            blob.map(|(id, length, sha256)| BlobReference { id: BlobId(id), length, sha256 });
        let body = match reference {
            Some(reference) => reference.to_bytes().to_vec(),
            None if deleted => Vec::new(),
            None => body,
        };
        let flags = VersionFlags::of(method);
        let flags = if reference.is_some() { flags.with_blob() } else { flags };
        Version {
            resource_type: ResourceType::new(&names.0).unwrap(),
            id: names.1,
            version: VersionId::new(names.2).unwrap(),
            flags,
            owner: OwnerKeyId(numbers.0),
            dictionary: BodyCoding(numbers.1),
            content_hash: ContentHash::of(&body),
            length: if deleted { 0 } else { numbers.2 },
            body: Bytes::from(body),
            identifiers: Vec::new(),
        }
    })
}

fn idempotency() -> impl Strategy<Value = Idempotency> {
    ("[a-zä]{0,9}", "[ -~]{0,40}", any::<[u8; 32]>()).prop_map(|(client, key, digest)| {
        Idempotency { client: client.into(), key: key.into(), digest }
    })
}

fn commit() -> impl Strategy<Value = Commit> {
    (
        any::<(u64, u128)>(),
        -62_135_596_800_000_000..=253_402_300_799_999_999_i64,
        proptest::option::of(idempotency()),
        "[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}",
        proptest::collection::vec(version(), 0..4),
    )
        .prop_map(|((t, id), micros, idempotency, tenant, versions)| Commit {
            t: T::new(t),
            instant: Instant::from_micros(micros),
            id: CommitId(id),
            idempotency,
            tenant: TenantText::new(&tenant).unwrap(),
            fhir_version: FhirVersion::R4,
            kind: CommitKind::Resources,
            versions,
        })
}

fn encode(commit: &Commit, previous: &CommitHash) -> (Vec<u8>, CommitHash) {
    encode_in(Format::NEWEST, commit, previous)
}

fn encode_in(format: Format, commit: &Commit, previous: &CommitHash) -> (Vec<u8>, CommitHash) {
    let (mut bytes, mut blocks) = (Vec::new(), Vec::new());
    let hash = record::encode_in(format, commit, previous, &mut bytes, &mut blocks).unwrap();
    (bytes, hash)
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::One), Just(Format::Two)]
}

/// Makes the checksum of the one block of a record, and of the record, right again.
fn mend(bytes: &mut [u8], block: std::ops::Range<usize>, commit: &Commit) {
    let tenant = commit.tenant.as_str();
    let seed = crc32c::crc32c(&[u8::try_from(tenant.len()).unwrap()]);
    let seed = crc32c::crc32c_append(seed, tenant.as_bytes());
    let seed = crc32c::crc32c_append(seed, &commit.t.get().to_le_bytes());
    for (seed, framed) in [(seed, block), (0, 0..bytes.len())] {
        let framed = &mut bytes[framed];
        let length = u32::try_from(framed.len() - record::FRAME_HEADER).unwrap();
        framed[..4].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &framed[..4]);
        let crc = crc32c::crc32c_append(crc, &framed[record::FRAME_HEADER..]);
        framed[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

proptest! {
    #[test]
    fn every_commit_survives_its_record(commit in commit(), previous in any::<[u8; 32]>()) {
        let previous = CommitHash(previous);
        let (mut bytes, mut blocks) = (vec![7; 5], Vec::new());
        let hash = record::encode(&commit, &previous, &mut bytes, &mut blocks).unwrap();
        prop_assert_eq!(bytes.len() - 5, record::length(&commit));
        let blocks: Vec<_> = blocks.iter().map(|block| block.start - 5..block.end - 5).collect();
        let own = Bytes::from(bytes).slice(5..);
        let decoded = record::decode(&own).unwrap();
        prop_assert_eq!(&decoded.commit, &commit);
        prop_assert_eq!((decoded.previous, decoded.hash), (previous, hash));
        prop_assert_eq!(decoded.length, own.len());
        prop_assert_eq!(&decoded.blocks, &blocks);
        let checked = record::check(&own).unwrap();
        prop_assert_eq!((checked.t, checked.hash), (commit.t, hash));
        for (version, block) in commit.versions.iter().zip(blocks) {
            let read = record::decode_block(&own.slice(block), commit.tenant.as_str(), commit.t);
            prop_assert_eq!(&read.unwrap(), version);
        }
    }

    /// A chain does not depend on how its records are written, and each format's come out again.
    #[test]
    fn a_record_of_before_uuids_were_packed_is_read_and_hashes_equal(commit in commit()) {
        let (old, hash) = encode_in(Format::One, &commit, &CommitHash::ZERO);
        let decoded = record::decode(&Bytes::from(old.clone())).unwrap();
        prop_assert_eq!((decoded.format, &decoded.commit), (Format::One, &commit));
        prop_assert_eq!(decoded.hash, hash);
        prop_assert_eq!(encode(&commit, &CommitHash::ZERO).1, hash);
        prop_assert_eq!(encode_in(Format::One, &decoded.commit, &decoded.previous).0, old.clone());
        let tenant = commit.tenant.as_str();
        let old = Bytes::from(old);
        for (version, block) in commit.versions.iter().zip(decoded.blocks) {
            let read = record::decode_block(&old.slice(block), tenant, commit.t);
            prop_assert_eq!(&read.unwrap(), version);
        }
    }

    #[test]
    fn every_changed_byte_of_a_record_is_noticed(
        commit in commit(),
        format in format(),
        place in any::<proptest::sample::Index>(),
        change in 1..=255_u8,
    ) {
        let (mut bytes, _) = encode_in(format, &commit, &CommitHash::ZERO);
        let at = place.index(bytes.len());
        bytes[at] ^= change;
        let error = record::decode(&Bytes::from(bytes.clone())).unwrap_err();
        prop_assert!(error.offset <= bytes.len() && !error.field.is_empty());
        prop_assert!(record::check(&bytes).is_err());
    }

    #[test]
    fn every_cut_record_is_noticed(commit in commit(), place in any::<proptest::sample::Index>()) {
        let (bytes, _) = encode(&commit, &CommitHash::ZERO);
        let cut = &bytes[..place.index(bytes.len())];
        let error = record::check(cut).unwrap_err();
        let short = matches!(error.condition, Condition::Short { .. });
        prop_assert!(short, "{}", error);
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(
        head in proptest::option::of(commit()),
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut all = head.map_or_else(Vec::new, |commit| encode(&commit, &CommitHash::ZERO).0);
        all.splice(all.len().saturating_sub(bytes.len()).., bytes);
        let all = Bytes::from(all);
        if let Ok(decoded) = record::decode(&all) {
            let (again, hash) = encode_in(decoded.format, &decoded.commit, &decoded.previous);
            prop_assert_eq!((again, hash), (all[..decoded.length].to_vec(), decoded.hash));
        }
        prop_assert_eq!(record::decode(&all).is_ok(), record::check(&all).is_ok());
        let _ = record::decode_block(&all, "clinic", T::new(1)).is_ok();
    }

    #[test]
    fn a_block_is_of_its_tenant_and_position_alone(commit in commit(), version in version()) {
        let commit = Commit { versions: vec![version], ..commit };
        let (mut bytes, mut blocks) = (Vec::new(), Vec::new());
        record::encode(&commit, &CommitHash::ZERO, &mut bytes, &mut blocks).unwrap();
        let block = Bytes::from(bytes).slice(blocks[0].clone());
        let tenant = commit.tenant.as_str();
        prop_assert!(record::decode_block(&block, tenant, commit.t.next()).is_err()
            || commit.t.next() == commit.t);
        prop_assert!(record::decode_block(&block, &tenant[1..], commit.t).is_err());
        let longer = format!("{tenant}x");
        prop_assert!(record::decode_block(&block, &longer, commit.t).is_err());
    }
}

fn small() -> Commit {
    let body = Bytes::from_static(br#"{"resourceType":"Patient"}"#);
    Commit {
        t: T::new(7),
        instant: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
        id: CommitId(0x0192_0000_0000_7000_8000_0000_0000_00ff),
        idempotency: None,
        tenant: TenantText::new("default").unwrap(),
        fhir_version: FhirVersion::R4,
        kind: CommitKind::Resources,
        versions: vec![Version {
            resource_type: ResourceType::new("Patient").unwrap(),
            id: ResourceId::new("example").unwrap(),
            version: VersionId::new(2).unwrap(),
            flags: VersionFlags::of(Method::Put),
            owner: OwnerKeyId::NONE,
            dictionary: BodyCoding::AS_IS,
            content_hash: ContentHash::of(&body),
            length: 26,
            body,
            identifiers: Vec::new(),
        }],
    }
}

#[test]
fn the_hash_depends_on_everything_but_on_the_body_by_its_content_hash() {
    let base = encode(&small(), &CommitHash::ZERO).1;
    let changed = |change: fn(&mut Commit)| {
        let mut commit = small();
        change(&mut commit);
        encode(&commit, &CommitHash::ZERO).1
    };
    let changes: [fn(&mut Commit); 9] = [
        |commit| commit.t = T::new(8),
        |commit| commit.instant = Instant::from_micros(0),
        |commit| commit.id = CommitId(1),
        |commit| commit.tenant = TenantText::new("other").unwrap(),
        |commit| {
            commit.idempotency =
                Some(Idempotency { client: "app".into(), key: "1".into(), digest: [0; 32] });
        },
        |commit| commit.versions.clear(),
        |commit| commit.versions[0].version = VersionId::FIRST,
        |commit| commit.versions[0].owner = OwnerKeyId(1),
        |commit| commit.versions[0].content_hash = ContentHash([0; 32]),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_ne!(changed(change), base, "change {number}");
    }
    assert_ne!(encode(&small(), &CommitHash([1; 32])).1, base);
    let same_hash = changed(|commit| {
        commit.versions[0].body = Bytes::from_static(br#"{"resourceType":"PATIENT"}"#);
    });
    assert_eq!(same_hash, base);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let mut commit = small();
    commit.idempotency =
        Some(Idempotency { client: "app".into(), key: "k".repeat(65_536).into(), digest: [0; 32] });
    let (mut bytes, mut blocks) = (vec![1], Vec::new());
    let refused = record::encode(&commit, &CommitHash::ZERO, &mut bytes, &mut blocks);
    let expected =
        EncodeError::FieldTooLong { field: "idempotency key", length: 65_536, limit: 65_535 };
    assert_eq!(refused, Err(expected));
    assert_eq!((bytes.len(), blocks.len()), (1, 0));
}

#[test]
fn a_uuid_takes_its_bytes_and_every_other_id_its_text() {
    let length = |id: &str| {
        let mut commit = small();
        commit.versions[0].id = ResourceId::new(id).unwrap();
        encode(&commit, &CommitHash::ZERO).0.len() - encode(&small(), &CommitHash::ZERO).0.len()
    };
    let uuid = "01920000-0000-7000-8000-0000000000ff";
    assert_eq!(length(uuid), 16 - "example".len());
    assert_eq!(length(&uuid.to_uppercase()), 36 - "example".len());
}

/// There is one way to write a record of a format: what the other one has is refused.
#[test]
fn an_id_written_as_another_format_has_it_is_refused() {
    let mut commit = small();
    commit.versions[0].id = ResourceId::from_uuid(0x0192_0000_0000_7000_8000_0000_0000_00ff);
    for (format, other) in [(Format::One, 2), (Format::Two, 1)] {
        let (mut bytes, _) = encode_in(format, &commit, &CommitHash::ZERO);
        let block = record::decode(&Bytes::from(bytes.clone())).unwrap().blocks[0].clone();
        bytes[8] = other;
        mend(&mut bytes, block, &commit);
        let error = record::check(&bytes).unwrap_err();
        assert_eq!((error.field, error.condition), ("id", Condition::Malformed));
    }
}

#[test]
fn a_version_with_a_blob_has_a_reference_to_it_and_nothing_else() {
    let reference = BlobReference { id: BlobId(5), length: 9, sha256: [3; 32] }.to_bytes();
    let with_body = |body: &[u8]| {
        let mut commit = small();
        let version = &mut commit.versions[0];
        version.flags = version.flags.with_blob();
        version.body = Bytes::copy_from_slice(body);
        commit
    };
    let (mut bytes, mut blocks) = (Vec::new(), Vec::new());
    for wrong in [&reference[1..], b"", &[&reference[..], &[0]].concat()] {
        let refused = record::encode(&with_body(wrong), &CommitHash::ZERO, &mut bytes, &mut blocks);
        assert_eq!(refused, Err(EncodeError::NoBlobReference));
    }
    let (bytes, _) = encode(&with_body(&reference), &CommitHash::ZERO);
    let decoded = record::decode(&Bytes::from(bytes)).unwrap();
    assert_eq!(decoded.commit.versions[0].blob().unwrap().id, BlobId(5));
}

#[test]
fn an_unknown_format_is_named() {
    let (mut bytes, _) = encode(&small(), &CommitHash::ZERO);
    bytes[8] = 3;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    let error = record::check(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "format at byte 8 of the record: 3 is not known");
}

/// The worked example of docs/storage.md: lines of offset, bytes and meaning.
#[test]
fn the_documented_record_is_what_is_written() {
    let document = include_str!("../../../../docs/storage.md");
    let (_, example) = document.split_once("```record\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let mut documented = Vec::new();
    for line in example.lines() {
        let (offset, rest) = line.split_once("  ").unwrap();
        assert_eq!(offset.trim().parse(), Ok(documented.len()), "{line}");
        let (bytes, _) = rest.trim_start().split_once("  ").unwrap();
        for byte in bytes.split(' ') {
            documented.push(u8::from_str_radix(byte, 16).unwrap());
        }
    }
    let previous = CommitHash(std::array::from_fn(|at| u8::try_from(at).unwrap()));
    let mut commit = small();
    commit.versions[0].id = ResourceId::from_uuid(0x0192_abcd_ef00_7123_8456_789a_bcde_f012);
    let (written, _) = encode(&commit, &previous);
    let hexadecimal =
        |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    assert_eq!(hexadecimal(&documented), hexadecimal(&written));
}
