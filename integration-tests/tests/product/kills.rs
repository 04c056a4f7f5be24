//! `kill -9` in the middle of an import.

use std::time::Duration;

use contract::Ids as _;
use hearthgate::doors::SystemIds;
use integration_tests::kills::{Plan, run};
use integration_tests::site::Deployment;
use integration_tests::test_data::{documents, folder};

/// More rounds: `cargo xtask soak kills --rounds 20`.
const ROUNDS: u32 = 3;
/// What a start may take on a machine that stalls; `soak` says what it takes on one that does not.
const LONGEST_START: Duration = Duration::from_secs(10);

for_both_deployments! {
    after_kill_9_what_was_acknowledged_is_whole_and_nothing_is_partly_there,
}

async fn after_kill_9_what_was_acknowledged_is_whole_and_nothing_is_partly_there(
    deployment: Deployment,
) {
    let Some(data) = folder() else { return };
    let bundles = documents(&data.join("synthea/bundles.ndjson.zst"));
    let seed = u64::try_from(SystemIds::open().unwrap().next() & u128::from(u64::MAX)).unwrap();
    let report = run(Plan { rounds: ROUNDS, seed, deployment }, &bundles).await;
    assert!(report.acknowledged + report.whole + report.absent > 0, "{report:?}");
    assert!(report.slowest_start < LONGEST_START, "{report:?}");
}
