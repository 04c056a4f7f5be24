//! `kill -9` in the middle of an import.

use std::time::Duration;

use contract::Ids as _;
use hearthgate::doors::SystemIds;
use integration_tests::bundle::{Chosen, under_chosen_ids};
use integration_tests::kills::{Plan, There, run, there};
use integration_tests::site::{Deployment, Site};
use integration_tests::test_data::{documents, folder};

/// More rounds: `cargo xtask soak kills --rounds 20`.
const ROUNDS: u32 = 3;
/// What a start may take on a machine that stalls; `soak` says what it takes on one that does not.
const LONGEST_START: Duration = Duration::from_secs(10);

// Over PostgreSQL each round waits a lease out: once, in tests/product/postgres.rs.
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

/// The eye that looks after a kill is good: it tells a part from the whole.
#[tokio::test]
async fn a_bundle_that_is_partly_there_is_noticed() {
    let site = Site::start(Deployment::OneProcess).await;
    let owner = site.owner();
    let entry = |id: u32| {
        format!(
            r#"{{"fullUrl":"urn:uuid:{id}","resource":{{"resourceType":"Patient","id":"{id}"}},
            "request":{{"method":"POST","url":"Patient"}}}}"#
        )
    };
    let bundle = integration_tests::bundle::transaction(&[entry(1), entry(2), entry(3)]);
    let Chosen { body, instances } = under_chosen_ids(&bundle, "x");
    assert_eq!(instances, ["Patient/x-1", "Patient/x-2", "Patient/x-3"]);
    assert_eq!(there(&owner, &instances).await, There::Absent);
    let _ = owner.put("/Patient/x-2", r#"{"resourceType":"Patient","id":"x-2"}"#).await.is(201);
    assert_eq!(there(&owner, &instances).await, There::Partly { present: 1, of: 3 });
    let _ = owner.post("", body).await.is(200);
    assert_eq!(there(&owner, &instances).await, There::Whole);
}
