//! What the search index finds and what looking at every resource finds, over both stores, while
//! the data changes, restarts and is indexed anew (`cargo xtask soak search` does it for as many
//! pairs of data and query as one likes).

use integration_tests::postgres::Postgres;
use integration_tests::search_soak::{Backend, Run, Seen};

/// Pairs over each store.
const PAIRS: u64 = 1000;

fn compare(backend: Backend, seed: u64, index_memory: Option<usize>) -> Seen {
    let run = Run { seed, pairs: PAIRS, backend, index_memory };
    let seen = run.make().unwrap_or_else(|difference| panic!("{difference}"));
    assert_eq!(seen.pairs, PAIRS);
    assert!(seen.finding > PAIRS / 5, "{seen}");
    seen
}

/// SRCH-193, SRCH-205, SRCH-240, SRCH-242, SRCH-245
#[test]
fn the_index_finds_what_looking_at_every_resource_finds_whatever_happens_to_the_data() {
    let seen = compare(Backend::Sled, 1, None);
    // A run in which one of these never came shows less than it says.
    let (kinds, happened) = (&seen.kinds, &seen.happened);
    for (what, count) in [
        ("chains", kinds.chains),
        ("_has", kinds.reverse_chains),
        ("_filter", kinds.filters),
        ("composites", kinds.composites),
        (":of-type", kinds.of_type),
        (":iterate", kinds.iterated),
        ("three sort keys", kinds.sorted_by_three),
        ("older positions", seen.older),
        ("restarts", happened.closed + happened.dropped),
        ("merges", happened.settled),
        ("other parameters", happened.parameters),
        ("changes between pages", happened.between_pages),
    ] {
        assert!(count > 0, "no {what}: {seen}");
    }
}

/// SRCH-205, SRCH-242, SRCH-245
#[test]
fn with_little_memory_the_index_finds_what_looking_at_every_resource_finds() {
    // Nothing stays that can be read again, and a part of it.
    for (seed, bytes) in [(3, 0), (4, 100_000)] {
        let seen = compare(Backend::Sled, seed, Some(bytes));
        let happened = &seen.happened;
        for (what, count) in [
            ("purges", happened.purges),
            ("restarts", happened.closed + happened.dropped),
            ("merges", happened.settled),
        ] {
            assert!(count > 0, "no {what}: {seen}");
        }
    }
}

/// SRCH-205, SRCH-245
#[test]
fn over_postgresql_the_index_finds_what_looking_at_every_resource_finds() {
    if Postgres::shared().is_some() {
        compare(Backend::Postgres, 2, None);
    }
}
