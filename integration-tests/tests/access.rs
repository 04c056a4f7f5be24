//! What a server shows to who may see a part of its data, against what the rules say of all of it
//! (`cargo xtask soak access` asks as much as one likes).

use integration_tests::access_soak::{Backend, Run};

/// Requests over each store.
const REQUESTS: u64 = 500;

/// LEAK-01, LEAK-05, LEAK-08, LEAK-12, LEAK-16
#[test]
fn a_server_answers_as_one_that_has_nothing_but_what_may_be_seen() {
    for (seed, backend) in [(1, Backend::Sled), (2, Backend::Memory)] {
        let run = Run { seed, requests: REQUESTS, backend };
        let seen = run.make().unwrap_or_else(|difference| panic!("{difference}"));
        // A run in which one of these never came shows less than it says.
        for (what, count) in [
            ("hidden resources", seen.hidden),
            ("versions", seen.reads),
            ("histories", seen.histories),
            ("searches with matches", seen.finding),
            ("includes", seen.included),
            ("pages", seen.paged),
            ("links of others", seen.links),
            ("refused writes", seen.outside),
            ("Bundles", seen.bundles),
        ] {
            assert!(count > 0, "no {what}: {seen}");
        }
    }
}
