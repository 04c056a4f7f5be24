//! Searches while commits are applied and segments made see whole commits, and the same ones
//! however often they look.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fhir_core::Instant;
use search_index::{Index, Settled, Visible};
use store::T;

use crate::support::{Act, CONTEXT, change, instant, keep, new_index, query};

/// Each commit replaces the same ten resources, and all of one commit say the same.
const TOGETHER: u64 = 10;

fn commit(index: &Index, t: u64) {
    let acts = (0..TOGETHER).map(|at| {
        Act::Put(format!(
            r#"{{"resourceType":"Observation","id":"o{at}","status":"final",
                "code":{{"coding":[{{"code":"c{t}"}},{{"code":"all"}}]}}}}"#
        ))
    });
    let changes = acts.map(|act| change(index, T::new(t), act)).collect();
    index.apply(T::new(t), instant(t), changes).unwrap();
}

#[test]
fn totals_are_never_torn_while_commits_are_applied_and_segments_made() {
    // SRCH-205
    let index = new_index();
    let (head, is_done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for t in 1..=1500 {
                commit(&index, t);
                head.store(t, Ordering::Release);
                if t % 100 == 0 {
                    index.close_tail();
                }
            }
            is_done.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                keep(&index);
                if index.settle(Instant::MIN) == Settled::Nothing {
                    std::thread::yield_now();
                }
            }
        });
        for reader in 0..2 {
            let (index, head, is_done) = (&index, &head, &is_done);
            scope.spawn(move || {
                let mut looked = 0_u64;
                while !is_done.load(Ordering::Acquire) || looked < 10 {
                    let now = head.load(Ordering::Acquire);
                    let t = if reader == 0 { now } else { now / 2 };
                    looked += 1;
                    let search = index.search(T::new(t), &Visible::Everything, CONTEXT).unwrap();
                    let total = |url: &str| {
                        let query = query(url);
                        let found = search.find(&query).unwrap();
                        let page = found.page(None, 100).unwrap();
                        assert_eq!(page.hits.len() as u64, found.total());
                        assert!(page.hits.iter().all(|hit| hit.t == T::new(t)), "{url} at {t}");
                        found.total()
                    };
                    let expected = if t == 0 { 0 } else { TOGETHER };
                    assert_eq!(total("Observation?code=all"), expected, "at {t}");
                    assert_eq!(total(&format!("Observation?code=c{t}")), expected, "at {t}");
                    assert_eq!(total("Observation?code:not=all"), 0, "at {t}");
                }
            });
        }
    });
    assert_eq!(index.size().documents, 1500 * TOGETHER);
}
