//! What every backend guarantees of large bodies.

use bytes::Bytes;

use super::fixture::{append, commit, content, put, read, with_blob};
use super::{Harm, StoreUnderTest};
use crate::{
    AppendError, BLOB_CHUNK, BlobFlaw, BlobId, BlobReference, MalformedGroup, ReadError, Store, T,
};

/// Bytes that differ from place to place.
fn blob(length: usize) -> Bytes {
    (0..length).map(|at| ((at / 3) ^ (at >> 11)) as u8).collect::<Vec<_>>().into()
}

/// Lengths around a chunk's.
const LENGTHS: [usize; 5] = [1, BLOB_CHUNK - 1, BLOB_CHUNK, BLOB_CHUNK + 1, 3 * BLOB_CHUNK + 5];

/// Commits with a blob each, at 1 and on.
fn append_blobs(store: &dyn Store) -> Vec<(BlobReference, Bytes)> {
    let mut blobs = Vec::new();
    for (t, length) in (1..).zip(LENGTHS) {
        let (id, bytes) = (BlobId(u128::from(t) << 90 | 7), blob(length));
        store.write_blob(id, &bytes).expect("there is room");
        let reference = BlobReference::of(id, &bytes);
        let version = with_blob(put(&format!("Binary/{t}"), 1, ""), &reference);
        append(store, &[commit(t, vec![version, put(&format!("Patient/{t}"), 1, "beside it")])]);
        blobs.push((reference, bytes));
    }
    blobs
}

async fn blobs_are_there(store: &dyn Store, blobs: &[(BlobReference, Bytes)]) {
    for (t, (reference, bytes)) in (1..).zip(blobs) {
        let (entry, body) = read(store, &format!("Binary/{t}"), t).await.expect("it is there");
        assert!(entry.flags.is_blob());
        assert_eq!(BlobReference::from_bytes(&body), Some(*reference));
        let found = store.blob(reference).await.expect("the blob is whole");
        assert!(found == bytes, "the blob of {t} differs");
        let beside = content(store, &format!("Patient/{t}"), t).await;
        assert_eq!(beside.as_deref(), Some("beside it"));
    }
    let mut listed = store.blobs().expect("blobs are listed");
    listed.sort_unstable();
    let mut ids: Vec<_> = blobs.iter().map(|(reference, _)| reference.id).collect();
    ids.sort_unstable();
    assert_eq!(listed, ids);
}

/// G2.
pub async fn blobs_of_acknowledged_commits_are_there_after_a_restart_and_a_crash(
    under_test: &mut dyn StoreUnderTest,
) {
    let blobs = append_blobs(under_test.store());
    blobs_are_there(under_test.store(), &blobs).await;
    under_test.crash();
    blobs_are_there(under_test.store(), &blobs).await;
    under_test.restart();
    blobs_are_there(under_test.store(), &blobs).await;
}

/// G6: an error that names the blob, never a part of it.
pub async fn a_blob_that_was_harmed_is_named_and_never_given_in_part(
    under_test: &mut dyn StoreUnderTest,
) {
    let blobs = append_blobs(under_test.store());
    for (at, (reference, _)) in blobs.iter().enumerate() {
        let id = reference.id;
        let (harm, last) = match at {
            0 => (Harm::Flipped(0), false),
            1 => (Harm::Cut, false),
            2 => (Harm::Lost, false),
            3 => (Harm::Flipped(BLOB_CHUNK as u64), false),
            _ => (Harm::LastChunkLost, true),
        };
        under_test.harm_blob(id, harm);
        let found = under_test.store().blob(reference).await;
        let flaw = match found.expect_err("it was harmed") {
            ReadError::Blob { id: named, source } if named == id => source,
            other => panic!("{harm:?} gives {other:?}"),
        };
        let length = reference.length;
        let expected = match harm {
            Harm::Flipped(_) => BlobFlaw::Hash,
            Harm::Cut => BlobFlaw::Length { expected: length, found: length - 1 },
            Harm::Lost => BlobFlaw::Missing,
            Harm::LastChunkLost => {
                BlobFlaw::Length { expected: length, found: length - length % BLOB_CHUNK as u64 }
            }
        };
        assert_eq!(flaw, expected, "{harm:?}");
        assert_eq!(last, at + 1 == blobs.len());
        let beside = content(under_test.store(), &format!("Patient/{}", at + 1), u64::MAX).await;
        assert_eq!(beside.as_deref(), Some("beside it"));
    }
}

/// G6: each reference gives its own blob.
pub async fn a_blob_is_not_given_under_another_name(under_test: &mut dyn StoreUnderTest) {
    let store = under_test.store();
    let [one, other] = [1, 2].map(|id| {
        let bytes = Bytes::from(vec![id as u8; 300_000]);
        store.write_blob(BlobId(id), &bytes).expect("there is room");
        BlobReference::of(BlobId(id), &bytes)
    });
    let crossed = BlobReference { id: other.id, ..one };
    let found = store.blob(&crossed).await.expect_err("it is another");
    assert!(matches!(found, ReadError::Blob { id, source: BlobFlaw::Hash } if id == other.id));
    let again = store.write_blob(BlobId(1), &Bytes::from_static(b"another"));
    assert!(again.is_err(), "a blob was written over");
    assert!(store.blob(&one).await.is_ok());
}

/// G2: a reference to nothing never comes into the log.
pub async fn a_commit_that_names_a_blob_that_is_not_there_is_refused(
    under_test: &mut dyn StoreUnderTest,
) {
    let store = under_test.store();
    let bytes = blob(BLOB_CHUNK + 9);
    let id = BlobId(77);
    let reference = BlobReference::of(id, &bytes);
    let named = |reference| vec![with_blob(put("Binary/1", 1, ""), reference)];
    let refused = |group| match store.append(group) {
        Err(AppendError::Malformed(MalformedGroup::BlobMissing { t, blob })) => {
            assert_eq!((t, blob), (T::new(2), id));
            assert_eq!(store.head().t, T::ZERO);
        }
        other => panic!("{other:?}"),
    };
    let group = [commit(1, vec![put("Patient/1", 1, "first")]), commit(2, named(&reference))];
    refused(&group);
    store.write_blob(id, &bytes).expect("there is room");
    let longer = BlobReference { length: reference.length + 1, ..reference };
    refused(&[group[0].clone(), commit(2, named(&longer))]);
    append(store, &group);
}

/// Orphans are listed and go.
pub async fn a_blob_that_is_removed_is_gone_and_the_others_stay(
    under_test: &mut dyn StoreUnderTest,
) {
    let blobs = append_blobs(under_test.store());
    let (orphan, bytes) = (BlobId(5), blob(400_000));
    under_test.store().write_blob(orphan, &bytes).expect("there is room");
    assert!(under_test.store().blobs().expect("listed").contains(&orphan));
    assert!(under_test.store().remove_blob(orphan).expect("removed"));
    assert!(!under_test.store().remove_blob(orphan).expect("nothing to remove"));
    blobs_are_there(under_test.store(), &blobs).await;
    under_test.crash();
    blobs_are_there(under_test.store(), &blobs).await;
    let reference = BlobReference::of(orphan, &bytes);
    let found = under_test.store().blob(&reference).await;
    assert!(matches!(found, Err(ReadError::Blob { source: BlobFlaw::Missing, .. })));
}

/// What a blob holds is derived from when the log is replayed.
pub async fn identifiers_in_a_blob_are_found(under_test: &mut dyn StoreUnderTest) {
    let bytes = Bytes::from(format!("urn:s|large\n{}", "x".repeat(300_000)));
    under_test.store().write_blob(BlobId(3), &bytes).expect("there is room");
    let reference = BlobReference::of(BlobId(3), &bytes);
    let mut version = with_blob(put("Binary/1", 1, ""), &reference);
    version.length = u32::try_from(bytes.len()).expect("a small blob");
    version.identifiers = vec![crate::IdentifierKey::new(Some("urn:s"), "large")];
    append(under_test.store(), &[commit(1, vec![version])]);
    for _ in 0..2 {
        let found =
            super::fixture::identified(under_test.store(), "Binary", ("urn:s", "large"), 1).await;
        assert_eq!(found, ["1"]);
        under_test.crash();
    }
}
