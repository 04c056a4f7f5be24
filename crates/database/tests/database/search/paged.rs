//! Pages of matches.

use database::{Asked, Expect, Found, Snapshot, Visibility};

use super::differential::index;
use super::{asked, names, query, search, write};
use crate::support::{Clinic, block_on, delete, put};

over_each_backend! {
    following_pages_to_the_end_gives_every_match_once_in_order
    the_last_page_has_no_next_and_a_count_has_no_page
    pages_go_on_where_they_were_whatever_changes_meanwhile
    pages_lead_on_in_an_index_made_anew_after_commits_that_delete
}

fn page(snapshot: &Snapshot, request: &str, most: usize, after: Option<&[u8]>) -> Found {
    let asked = Asked { most, after, ..asked() };
    block_on(snapshot.search(&query(request), &asked)).unwrap()
}

/// SRCH-203, SRCH-207, SRCH-209, SRCH-190, SRCH-193
fn following_pages_to_the_end_gives_every_match_once_in_order(clinic: &mut Clinic) {
    for id in 0..23 {
        let born = format!("\"birthDate\":\"20{:02}-01-01\"", id % 5);
        let members = if id % 7 == 0 { String::new() } else { born };
        write(clinic, &format!("Patient/{id:02}"), &members);
        write(clinic, &format!("Group/{id:02}"), "");
    }
    let snapshot = clinic.snapshot();
    for request in [
        "Patient",
        "Patient?_sort=birthdate",
        "Patient?_sort=-birthdate",
        "Patient?_sort=-birthdate,-_id",
        "?_type=Patient,Group",
    ] {
        let whole = search(&snapshot, request).unwrap();
        for most in [1, 2, 5, 22, 23, 46, 47] {
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let found = page(&snapshot, request, most, after.as_deref());
                assert!(!found.matches.is_empty() && found.matches.len() <= most);
                assert_eq!(found.total, Some(whole.matches.len() as u64));
                all.extend(found.matches);
                after = found.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(all, whole.matches, "{request} by {most}");
        }
    }
}

/// SRCH-211, SRCH-201
fn the_last_page_has_no_next_and_a_count_has_no_page(clinic: &mut Clinic) {
    for id in 0..20 {
        write(clinic, &format!("Patient/{id:02}"), "");
    }
    let snapshot = clinic.snapshot();
    let first = page(&snapshot, "Patient", 10, None);
    let last = page(&snapshot, "Patient", 10, Some(&first.next.unwrap()));
    assert_eq!((last.matches.len(), last.next), (10, None));
    let count = page(&snapshot, "Patient", 0, None);
    assert_eq!((count.matches.len(), count.total, count.next), (0, Some(20), None));
    let uncounted = Asked { count: false, ..asked() };
    let uncounted = block_on(snapshot.search(&query("Patient"), &uncounted)).unwrap();
    assert_eq!((uncounted.matches.len(), uncounted.total), (20, None));
}

/// SRCH-205: as of one position nothing changes; as of the newest what stays is there once.
fn pages_go_on_where_they_were_whatever_changes_meanwhile(clinic: &mut Clinic) {
    for id in ["b", "d", "f", "h"] {
        write(clinic, &format!("Patient/{id}"), "");
    }
    let before = clinic.snapshot();
    let first = page(&before, "Patient", 2, None);
    assert_eq!(names(&first.matches), "Patient/b Patient/d");
    write(clinic, "Patient/a", "");
    write(clinic, "Patient/e", "");
    clinic.write(delete("Patient/d", Expect::Any));
    clinic.write(delete("Patient/h", Expect::Any));
    let next = first.next.unwrap();
    let of_before = page(&before, "Patient", 9, Some(&next));
    assert_eq!(names(&of_before.matches), "Patient/f Patient/h");
    let of_now = page(&clinic.snapshot(), "Patient", 9, Some(&next));
    assert_eq!(names(&of_now.matches), "Patient/f Patient/a Patient/e");
}

/// SRCH-205: where a version stands in its commit is the same however it came to the index.
fn pages_lead_on_in_an_index_made_anew_after_commits_that_delete(clinic: &mut Clinic) {
    index(clinic.database());
    for id in 0..3 {
        write(clinic, &format!("Patient/gone{id}"), "");
    }
    let changes = (0..3).flat_map(|id| {
        let patient = "{\"resourceType\":\"Patient\"}";
        [
            delete(&format!("Patient/gone{id}"), Expect::Any),
            put(&format!("Patient/{id}"), patient, Expect::Any),
        ]
    });
    clinic.commit(changes.collect()).unwrap();
    let at = clinic.snapshot().at();
    let mut after = None;
    for id in 0..3 {
        let snapshot = clinic.database().snapshot_at(at, Visibility::everything());
        let found = page(&snapshot, "Patient", 1, after.as_deref());
        assert_eq!(names(&found.matches), format!("Patient/{id}"));
        after = found.next;
        drop(snapshot);
        clinic.reopen();
        index(clinic.database());
    }
    assert_eq!(after, None);
}
