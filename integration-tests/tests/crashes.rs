//! The embedded store on a disk that forgets, at each kind of its calls (`cargo xtask soak store`
//! does it for as many seeds as one likes).

use integration_tests::crashes::{Hits, crash};

/// G1, G2, G11: nothing acknowledged or seen is lost, and no group is there in part, whichever of
/// its calls a crash comes at and whatever of the rest the disk kept.
#[test]
fn a_crash_at_any_call_leaves_everything_acknowledged_and_no_group_in_part() {
    let mut hits = Hits::default();
    for seed in 0..50 {
        hits.add(&crash(seed, 4).unwrap_or_else(|found| panic!("{found}")));
    }
    for point in [
        "log/segment.write",
        "log/segment.write-zeros",
        "log/segment.sync",
        "log/segment.set-length",
        "log/new-segment.write",
        "log/new-segment.sync",
        "log/new-segment.rename",
        "log.sync-directory",
        "keys/file.rename",
        "keys.sync-directory",
        "format.rename",
        "history/run.write",
    ] {
        assert!(hits.has(point), "no crash came at {point}:\n{}", hits.table());
    }
}
