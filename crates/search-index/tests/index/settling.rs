//! Segments, and the log that they come from.

use search_index::{ApplyError, Index, Visible};
use store::T;

use crate::support::{Act, CONTEXT, Site, change, instant, query};

fn patient(at: u64) -> String {
    format!(
        r#"{{"resourceType":"Patient","id":"p{}","name":[{{"family":"Family{}"}}],
            "generalPractitioner":[{{"reference":"Practitioner/d{}"}}]}}"#,
        at % 40,
        at % 7,
        at % 3
    )
}

#[test]
fn small_segments_are_merged_until_few_are_left() {
    let mut site = Site::default();
    for at in 0..100 {
        site.put(&patient(at));
        site.settle();
        assert!(site.index.size().segments <= 4, "{:?}", site.index.size());
    }
    assert_eq!(site.index.size().documents, 100);
    assert_eq!(site.find("Patient?").len(), 40);
}

#[test]
fn the_log_applied_again_gives_the_same_answers_however_it_was_settled() {
    // G7
    let log: Vec<String> = (0..120).map(patient).collect();
    let sites = [1, 7, 1000].map(|often| {
        let mut site = Site::default();
        for (at, resource) in (1..).zip(&log) {
            match at % 11 {
                0 => site.delete("Patient", &format!("p{}", at % 40)),
                _ => site.put(resource),
            };
            if at % often == 0 {
                site.settle();
            }
        }
        site
    });
    for url in ["Patient?", "Patient?family=family3&_sort=-_id", "Patient?general-practitioner=d1"]
    {
        let query = query(url);
        for t in [1, 60, 119, 120] {
            let pages = sites.each_ref().map(|site| {
                let search = site.index.search(T::new(t), &Visible::Everything, CONTEXT).unwrap();
                search.find(&query).unwrap().page(None, 1000).unwrap()
            });
            assert!(!pages[0].hits.is_empty() || t == 1, "{url} at {t}");
            assert_eq!(pages[0], pages[1], "{url} at {t}");
            assert_eq!(pages[0], pages[2], "{url} at {t}");
        }
    }
}

#[test]
fn a_commit_out_of_order_is_refused_and_changes_nothing() {
    let index = Index::default();
    let put = |t| vec![change(&index, T::new(t), Act::Put(patient(t)))];
    index.apply(T::new(5), instant(5), put(5)).unwrap();
    for (t, at) in [(5, 6), (4, 6), (6, 5), (6, 4)] {
        let refused = index.apply(T::new(t), instant(at), put(t));
        assert_eq!(refused, Err(ApplyError::OutOfOrder { t: T::new(t), head: T::new(5) }));
    }
    assert_eq!((index.head(), index.size().documents), (T::new(5), 1));
    index.apply(T::new(9), instant(9), put(9)).unwrap();
    assert_eq!(index.head(), T::new(9));
}
