//! The log in its order.

use std::ops::Range;

use fhir_core::Instant;

use super::StoreUnderTest;
use super::fixture::{append, commit, content, delete, put, resource_type};
use crate::model::ModelStore;
use crate::{HistoryOrder, HistoryVersion, Place, Store, T, places};

/// Names and places of the versions in `range`.
async fn history(
    store: &dyn Store,
    of: Option<&str>,
    range: Range<Place>,
    order: HistoryOrder,
    most: usize,
) -> Vec<String> {
    let of = of.map(resource_type);
    let found = store.history(of.as_ref(), range, order, most).await;
    let found = found.expect("the history is known");
    let named = |HistoryVersion { place, entry }: &HistoryVersion| {
        assert_eq!(place.t, entry.t);
        let (of, id) = (&entry.resource_type, &entry.id);
        format!("{}.{} {of}/{id} {}", place.t, place.ordinal, entry.version)
    };
    found.iter().map(named).collect()
}

fn everything() -> Range<Place> {
    places(T::ZERO, T::new(u64::MAX - 1))
}

/// Commit 1 has three versions, 2 none, 3 two of which one is a deletion, 4 one.
fn append_four(store: &dyn Store) {
    let first = vec![put("Patient/a", 1, "a"), put("Group/g", 1, "g"), put("Patient/b", 1, "b")];
    append(store, &[commit(1, first), commit(2, vec![])]);
    append(store, &[commit(3, vec![delete("Patient/b", 2), put("Patient/a", 2, "aa")])]);
    append(store, &[commit(4, vec![put("Group/g", 2, "gg")])]);
}

/// G4: histories have every version once, deletions too, in the order of the log, whatever was
/// restarted or lost in between.
pub async fn histories_follow_the_order_of_the_log(under_test: &mut dyn StoreUnderTest) {
    append_four(under_test.store());
    for crash in [false, true] {
        if crash {
            under_test.crash();
        }
        let store = under_test.store();
        let newest = HistoryOrder::NewestFirst;
        let all = history(store, None, everything(), newest, 100).await;
        let expected = [
            "4.0 Group/g 2",
            "3.1 Patient/a 2",
            "3.0 Patient/b 2",
            "1.2 Patient/b 1",
            "1.1 Group/g 1",
            "1.0 Patient/a 1",
        ];
        assert_eq!(all, expected);
        let mut oldest = history(store, None, everything(), HistoryOrder::OldestFirst, 100).await;
        oldest.reverse();
        assert_eq!(oldest, expected);
        let of_type = history(store, Some("Patient"), everything(), newest, 100).await;
        let expected = ["3.1 Patient/a 2", "3.0 Patient/b 2", "1.2 Patient/b 1", "1.0 Patient/a 1"];
        assert_eq!(of_type, expected);
        let none = history(store, Some("Device"), everything(), newest, 100).await;
        assert!(none.is_empty());
    }
}

/// G4: any part of a history, from either end, at most so many.
pub async fn a_history_is_read_in_parts(under_test: &mut dyn StoreUnderTest) {
    append_four(under_test.store());
    let store = under_test.store();
    let place = |t, ordinal| Place { t: T::new(t), ordinal };
    let (newest, oldest) = (HistoryOrder::NewestFirst, HistoryOrder::OldestFirst);
    let check = async |of, range: Range<Place>, order, most, expected: &[&str]| {
        let found = history(store, of, range.clone(), order, most).await;
        assert_eq!(found, expected, "{of:?} in {range:?}, {order:?}, {most}");
    };
    check(None, places(T::ZERO, T::new(3)), newest, 1, &["3.1 Patient/a 2"]).await;
    check(
        None,
        place(1, 1)..place(3, 1),
        newest,
        9,
        &["3.0 Patient/b 2", "1.2 Patient/b 1", "1.1 Group/g 1"],
    )
    .await;
    check(None, place(1, 1)..place(3, 1), oldest, 2, &["1.1 Group/g 1", "1.2 Patient/b 1"]).await;
    check(
        Some("Patient"),
        place(1, 1)..place(3, 1),
        newest,
        9,
        &["3.0 Patient/b 2", "1.2 Patient/b 1"],
    )
    .await;
    check(Some("Group"), place(1, 2)..place(9, 9), oldest, 9, &["4.0 Group/g 2"]).await;
    check(None, place(2, 0)..place(3, 0), newest, 9, &[]).await;
    check(None, place(3, 9)..place(4, 0), newest, 9, &[]).await;
    check(None, place(4, 0)..place(1, 0), newest, 9, &[]).await;
    check(None, everything(), newest, 0, &[]).await;
    for (of, range, expected) in [
        (None, everything(), 6),
        (Some("Patient"), everything(), 4),
        (Some("Patient"), place(1, 1)..place(3, 1), 2),
        (None, place(4, 0)..place(1, 0), 0),
        (Some("Device"), everything(), 0),
    ] {
        let of = of.map(resource_type);
        let count = store.count_history(of.as_ref(), range.clone()).await;
        assert_eq!(count.ok(), Some(expected), "{of:?} in {range:?}");
    }
}

/// G4: an instant is the position of the last commit at or before it, and what is read there is
/// what there was at that instant.
pub async fn an_instant_leads_to_what_there_was_then(under_test: &mut dyn StoreUnderTest) {
    append_four(under_test.store());
    under_test.restart();
    append(under_test.store(), &[commit(5, vec![put("Patient/a", 3, "aaa")])]);
    let store = under_test.store();
    let instant = |t: u64| commit(t, vec![]).instant.as_micros();
    for (micros, expected) in [
        (instant(1) - 1, 0),
        (instant(1), 1),
        (instant(2) - 1, 1),
        (instant(3), 3),
        (instant(4) + 1, 4),
        (instant(5), 5),
        (instant(9), 5),
    ] {
        let found = store.position_at(Instant::from_micros(micros)).await;
        assert_eq!(found.ok(), Some(T::new(expected)), "{micros}");
    }
    for (t, expected) in [(1, "a"), (2, "a"), (3, "aa"), (4, "aa"), (5, "aaa")] {
        let at = store.position_at(Instant::from_micros(instant(t))).await;
        let at = at.expect("the position is known");
        let found = content(store, "Patient/a", at.get()).await;
        assert_eq!(found.as_deref(), Some(expected), "at commit {t}");
    }
}

/// Compares all histories with the model's.
pub(super) async fn compare_histories(
    store: &dyn Store,
    model: &ModelStore,
    (from, to): (u64, u64),
    most: usize,
    place: &str,
) {
    let range = Place { t: T::new(from), ordinal: 1 }..Place { t: T::new(to), ordinal: 2 };
    for of in [None, Some("Patient"), Some("PatientX"), Some("Group")] {
        for order in [HistoryOrder::NewestFirst, HistoryOrder::OldestFirst] {
            let expected = history(model, of, range.clone(), order, most).await;
            let found = history(store, of, range.clone(), order, most).await;
            assert_eq!(found, expected, "{place}: {of:?} in {range:?}, {order:?}");
        }
        let of = of.map(resource_type);
        let expected = model.count_history(of.as_ref(), range.clone()).await.ok();
        let found = store.count_history(of.as_ref(), range.clone()).await.ok();
        assert_eq!(found, expected, "{place}: count of {of:?} in {range:?}");
    }
    let instant = commit(from, vec![]).instant;
    let (found, expected) = (store.position_at(instant).await, model.position_at(instant).await);
    assert_eq!(found.ok(), expected.ok(), "{place}: at {instant}");
}
