//! What every backend guarantees, one test each.

use std::collections::BTreeSet;

use fhir_core::Instant;

use super::StoreUnderTest;
use super::fixture::{
    append, commit, content, delete, identified, put, put_identified, read, resource_id,
    resource_type, tenant, version_id,
};
use crate::{
    AppendError, CommitHash, Head, MalformedGroup, Method, Store, T, TenantText, VersionEntry,
    record,
};

/// Commits 1 to 20, in groups of different sizes: commit n puts `Patient/n` and a version of
/// `Patient/all`.
fn append_twenty(store: &dyn Store) {
    let commits: Vec<_> = (1..=20)
        .map(|n| {
            let own = put(&format!("Patient/{n}"), 1, &format!("own {n}"));
            let shared = put("Patient/all", n, &format!("shared {n}"));
            commit(n, vec![own, shared])
        })
        .collect();
    for group in [&commits[..1], &commits[1..12], &commits[12..]] {
        append(store, group);
    }
}

async fn twenty_are_there(store: &dyn Store) {
    assert_eq!(store.head().t, T::new(20));
    for n in 1..=20 {
        let own = content(store, &format!("Patient/{n}"), 20).await;
        assert_eq!(own, Some(format!("own {n}")));
        let shared = content(store, "Patient/all", n).await;
        assert_eq!(shared, Some(format!("shared {n}")));
    }
}

/// G2.
pub async fn acknowledged_commits_are_there_after_a_restart(under_test: &mut dyn StoreUnderTest) {
    append_twenty(under_test.store());
    let head = under_test.store().head();
    under_test.restart();
    assert_eq!(under_test.store().head(), head);
    twenty_are_there(under_test.store()).await;
    append(under_test.store(), &[commit(21, vec![])]);
    under_test.restart();
    assert_eq!(under_test.store().head().t, T::new(21));
}

/// G2.
pub async fn acknowledged_commits_are_there_after_a_crash(under_test: &mut dyn StoreUnderTest) {
    append_twenty(under_test.store());
    let head = under_test.store().head();
    under_test.crash();
    assert_eq!(under_test.store().head(), head);
    twenty_are_there(under_test.store()).await;
    append(under_test.store(), &[commit(21, vec![])]);
    under_test.crash();
    assert_eq!(under_test.store().head().t, T::new(21));
}

/// G1.
pub async fn a_commit_of_many_resources_is_whole_after_a_crash(
    under_test: &mut dyn StoreUnderTest,
) {
    let names: Vec<_> = (0..1000).map(|n| format!("Observation/{n}")).collect();
    let versions = names.iter().map(|name| put(name, 1, name)).collect();
    append(under_test.store(), &[commit(1, versions)]);
    under_test.crash();
    for name in &names {
        assert_eq!(content(under_test.store(), name, 0).await, None);
        let found = content(under_test.store(), name, 1).await;
        assert_eq!(found.as_ref(), Some(name));
    }
}

/// G1, G11: nothing of a refused group is visible, neither now nor after a crash.
pub async fn a_refused_group_changes_nothing(under_test: &mut dyn StoreUnderTest) {
    append(under_test.store(), &[commit(1, vec![put("Patient/a", 1, "before")])]);
    let head = under_test.store().head();
    let next = |t| commit(t, vec![put("Patient/a", t, "refused"), put("Patient/b", 1, "")]);
    let mut early = next(2);
    early.instant = head.instant;
    let mut foreign = next(2);
    foreign.tenant = TenantText::new("another").expect("a tenant's name");
    let mut twice = next(2);
    twice.versions.push(put("Patient/a", 3, "refused"));
    let mut bodied = next(3);
    bodied.versions[1].flags = delete("Patient/b", 1).flags;
    bodied.versions[1].length = 1;

    let cases = [
        ("not after the head", vec![next(1)], "head moved"),
        ("beyond the head", vec![next(3)], "head moved"),
        ("with a gap", vec![next(2), next(4)], "not consecutive"),
        ("no later", vec![early], "instant not after"),
        ("another tenant's", vec![foreign], "other tenant"),
        ("one resource twice", vec![twice], "resource twice"),
        ("a deletion with a body", vec![next(2), bodied], "unencodable"),
    ];
    for (case, group, expected) in &cases {
        let error = under_test.store().append(group).err();
        assert_eq!(error.as_ref().map(condition), Some(*expected), "{case}: {error:?}");
        assert_eq!(under_test.store().head(), head, "{case}");
    }
    for crash in [false, true] {
        if crash {
            under_test.crash();
        }
        assert_eq!(under_test.store().head(), head);
        let before = content(under_test.store(), "Patient/a", u64::MAX).await;
        assert_eq!(before.as_deref(), Some("before"));
        let refused = content(under_test.store(), "Patient/b", u64::MAX).await;
        assert_eq!(refused, None);
    }
    append(under_test.store(), &[next(2)]);
}

fn condition(error: &AppendError) -> &'static str {
    match error {
        AppendError::HeadMoved { .. } => "head moved",
        AppendError::Malformed(malformed) => match malformed {
            MalformedGroup::NotConsecutive { .. } => "not consecutive",
            MalformedGroup::InstantNotAfter { .. } => "instant not after",
            MalformedGroup::OtherTenant { .. } => "other tenant",
            MalformedGroup::ResourceTwice { .. } => "resource twice",
            MalformedGroup::BlobMissing { .. } => "blob missing",
            MalformedGroup::Unencodable { .. } => "unencodable",
        },
        _ => "something else",
    }
}

/// G1.
pub async fn an_empty_group_changes_nothing(under_test: &mut dyn StoreUnderTest) {
    let head = under_test.store().append(&[]);
    assert_eq!(head.ok(), Some(Head::EMPTY));
    under_test.restart();
    assert_eq!(under_test.store().head(), Head::EMPTY);
}

/// G4's part in the store, G11: a read sees the commits up to its position, at once.
pub async fn a_commit_is_visible_from_its_position_on(under_test: &mut dyn StoreUnderTest) {
    let store = under_test.store();
    append(
        store,
        &[
            commit(1, vec![put("Patient/a", 1, "one")]),
            commit(2, vec![]),
            commit(3, vec![put("Patient/a", 2, "three")]),
        ],
    );
    for (at, expected) in [
        (0, None),
        (1, Some("one")),
        (2, Some("one")),
        (3, Some("three")),
        (u64::MAX, Some("three")),
    ] {
        let found = content(store, "Patient/a", at).await;
        assert_eq!(found.as_deref(), expected, "at {at}");
    }
}

async fn versions(store: &dyn Store, at: u64) -> Vec<VersionEntry> {
    let (patient, id) = (resource_type("Patient"), resource_id("all"));
    let entries = store.versions(&patient, &id, T::new(at)).await;
    entries.expect("versions are known")
}

/// G4's part in the store.
pub async fn versions_come_newest_first_and_by_number(under_test: &mut dyn StoreUnderTest) {
    append_twenty(under_test.store());
    for opened in ["first", "again", "after a crash"] {
        match opened {
            "again" => under_test.restart(),
            "after a crash" => under_test.crash(),
            _ => {}
        }
        let store = under_test.store();
        for at in [0, 1, 7, 20, 100] {
            let entries = versions(store, at).await;
            let numbers = entries.iter().map(|entry| entry.version.get());
            let expected = (1..=at.min(20)).rev();
            assert!(numbers.eq(expected), "opened {opened}, at {at}");
        }
        let (patient, id) = (resource_type("Patient"), resource_id("all"));
        for (number, at, found) in [(7, 20, true), (7, 7, true), (7, 6, false), (21, 20, false)] {
            let entry = store.version(&patient, &id, version_id(number), T::new(at)).await;
            let entry = entry.expect("a version is known");
            assert_eq!(entry.is_some(), found, "opened {opened}: {number} at {at}");
            if let Some(entry) = entry {
                assert_eq!((entry.version, entry.t), (version_id(number), T::new(7)));
                assert_eq!(entry.instant, commit(7, vec![]).instant);
            }
        }
    }
}

/// A deletion stands in the history and has no body; the resource can come back.
pub async fn a_deletion_is_a_version_without_a_body(under_test: &mut dyn StoreUnderTest) {
    let group = [
        commit(1, vec![put("Patient/a", 1, "here")]),
        commit(2, vec![delete("Patient/a", 2)]),
        commit(3, vec![put("Patient/a", 3, "back")]),
    ];
    append(under_test.store(), &group);
    under_test.crash();
    let store = under_test.store();
    let (entry, body) = read(store, "Patient/a", 2).await.expect("a version");
    assert!(entry.flags.is_deleted());
    assert_eq!(entry.flags.method(), Method::Delete);
    assert!(body.is_empty());
    let back = content(store, "Patient/a", 3).await;
    assert_eq!(back.as_deref(), Some("back"));
}

/// Types and ids that begin alike, or end where another begins, are different resources.
pub async fn resources_with_like_names_are_apart(under_test: &mut dyn StoreUnderTest) {
    let names = [
        "Patient/a",
        "Patient/aa",
        "Patient/a.",
        "Patient/A",
        "PatientA/a",
        "Patien/a",
        "Patien/ta",
    ];
    let versions = names.iter().map(|name| put(name, 1, name)).collect();
    append(under_test.store(), &[commit(1, versions)]);
    for again in [false, true] {
        if again {
            under_test.restart();
        }
        for name in names {
            let found = content(under_test.store(), name, 1).await;
            assert_eq!(found.as_deref(), Some(name));
        }
        for missing in ["Patient/aaa", "Patient/b", "P/a", "PatientA/aa"] {
            assert_eq!(content(under_test.store(), missing, 1).await, None);
        }
    }
}

/// Bodies come back byte for byte, small and large.
pub async fn bodies_of_all_sizes_come_back(under_test: &mut dyn StoreUnderTest) {
    let sizes = [0, 1, 4095, 4096, 4097, 70_000, 3_000_000];
    let text = |size: usize| "0123456789abcdef".repeat(size / 16 + 1)[..size].to_owned();
    let group: Vec<_> = (1..)
        .zip(sizes)
        .map(|(t, size)| commit(t, vec![put(&format!("Binary/{size}"), 1, &text(size))]))
        .collect();
    append(under_test.store(), &group);
    for again in [false, true] {
        if again {
            under_test.crash();
        }
        for size in sizes {
            let found = content(under_test.store(), &format!("Binary/{size}"), 100).await;
            assert!(found == Some(text(size)), "{size}");
        }
    }
}

/// G6: a pointer that leads to another version is noticed, not followed.
pub async fn a_body_is_not_given_under_another_name(under_test: &mut dyn StoreUnderTest) {
    let store = under_test.store();
    let both = vec![put("Patient/a", 1, "a"), put("Patient/b", 1, "b")];
    append(store, &[commit(1, both), commit(2, vec![put("Patient/a", 2, "a")])]);
    let (entry, _) = read(store, "Patient/a", 1).await.expect("a version");
    let (other, _) = read(store, "Patient/b", 1).await.expect("a version");
    let wrong = [
        VersionEntry { id: resource_id("b"), ..entry.clone() },
        VersionEntry { resource_type: resource_type("Person"), ..entry.clone() },
        VersionEntry { version: version_id(2), ..entry.clone() },
        VersionEntry { t: T::new(2), ..entry.clone() },
        VersionEntry { location: other.location, ..entry.clone() },
    ];
    for wrong in wrong {
        assert!(store.body(&wrong).await.is_err(), "{wrong:?}");
    }
    assert!(store.body(&entry).await.is_ok());
}

/// Identifiers find candidates: whoever bears one or bore it up to the position.
pub async fn identifiers_find_everyone_who_ever_bore_them(under_test: &mut dyn StoreUnderTest) {
    let mrn = ("urn:mrn", "1");
    let group = [
        commit(1, vec![put_identified("Patient/b", 1, &[mrn, mrn], "")]),
        commit(2, vec![put_identified("Patient/b", 2, &[("urn:mrn", "2")], "")]),
        commit(
            3,
            vec![
                put_identified("Patient/a", 1, &[mrn, ("urn:other", "1")], ""),
                put_identified("Person/a", 1, &[mrn], ""),
            ],
        ),
        commit(4, vec![delete("Patient/a", 2)]),
        commit(5, vec![put_identified("Patient/b", 3, &[mrn], "")]),
    ];
    append(under_test.store(), &group);
    for opened in ["first", "again", "after a crash"] {
        match opened {
            "again" => under_test.restart(),
            "after a crash" => under_test.crash(),
            _ => {}
        }
        let store = under_test.store();
        for (type_name, identifier, at, expected) in [
            ("Patient", mrn, 0, vec![]),
            ("Patient", mrn, 1, vec!["b"]),
            ("Patient", mrn, 2, vec!["b"]),
            ("Patient", mrn, 3, vec!["a", "b"]),
            ("Patient", mrn, 5, vec!["a", "b"]),
            ("Patient", ("urn:mrn", "2"), 1, vec![]),
            ("Patient", ("urn:mrn", "2"), 5, vec!["b"]),
            ("Patient", ("urn:other", "1"), 5, vec!["a"]),
            ("Patient", ("urn:mr", "n1"), 5, vec![]),
            ("Person", mrn, 5, vec!["a"]),
            ("Practitioner", mrn, 5, vec![]),
        ] {
            let found = identified(store, type_name, identifier, at).await;
            assert_eq!(found, expected, "opened {opened}: {type_name} at {at}");
        }
    }
}

/// The head is the last commit's, and its hash depends on every commit before it.
pub async fn the_head_chains_the_commits(under_test: &mut dyn StoreUnderTest) {
    assert_eq!(under_test.store().head(), Head::EMPTY);
    let group: Vec<_> = (1..=3).map(|t| commit(t, vec![put("Patient/a", t, "")])).collect();
    let mut expected = CommitHash::ZERO;
    let mut hashes = BTreeSet::from([expected]);
    for commit in &group {
        let hash = record::encode(commit, &expected, &mut Vec::new(), &mut Vec::new());
        expected = hash.expect("the commit can be written down");
        assert!(hashes.insert(expected));
    }
    append(under_test.store(), &group[..1]);
    append(under_test.store(), &group[1..]);
    under_test.restart();
    let head = under_test.store().head();
    let instant: Instant = group[2].instant;
    assert_eq!((head.t, head.instant, head.hash), (T::new(3), instant, expected));
    assert_eq!(group[0].tenant, tenant());
}

/// Closing twice is closing once.
pub async fn a_closed_store_reads_and_takes_no_commits(under_test: &mut dyn StoreUnderTest) {
    append_twenty(under_test.store());
    let store = under_test.store();
    for _ in 0..2 {
        assert!(store.close().is_ok());
        let refused = store.append(&[commit(21, vec![])]);
        assert!(matches!(refused, Err(AppendError::Closed)), "{refused:?}");
        twenty_are_there(store).await;
    }
    under_test.restart();
    append(under_test.store(), &[commit(21, vec![])]);
}
