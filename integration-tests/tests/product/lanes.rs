//! Bulk keeps to its lane, and a bedside gets through beside it.
//!
//! Nothing here is timed: bulk is searches that do not end by themselves while the bedside is
//! answered, so that whoever had to wait for one would wait for the whole test.

use http::Method;
use integration_tests::client::{Client, try_send};
use integration_tests::site::{Deployment, First, Site};
use integration_tests::slow;
use integration_tests::waiting::{SOON, until, within};
use tokio::task::JoinSet;

for_both_deployments! {
    a_bedside_is_answered_while_bulk_fills_its_lane_and_waits_there,
}

/// Bulk that comes at once, and places that it has.
const COME: usize = 5;
const PLACES: usize = 2;
/// How long each goes on: for most of a minute.
const LONG: usize = 19;

/// Requests of a lane that are worked on, and that wait.
async fn lane(site: &Site, lane: &str) -> (usize, usize) {
    let metrics = site.admin().get("/metrics").await.is(200);
    let of = |what: &str| {
        let start = format!("hearthgate_gateway_lane_{what}{{lane=\"{lane}\"}} ");
        let value = metrics.text().lines().find_map(|line| line.strip_prefix(&start));
        value.and_then(|value| value.parse().ok()).expect("the lane is counted")
    };
    (of("in_flight"), of("waiting"))
}

async fn becomes(site: &Site, expected: (usize, usize)) {
    until("the lane of bulk", SOON, async || {
        let seen = lane(site, "bulk").await;
        (seen == expected).then_some(()).ok_or_else(|| format!("{seen:?}"))
    })
    .await;
}

/// Everything that a bedside does: it reads, searches and writes.
async fn at_the_bedside(nurse: &Client, round: usize) {
    let id = format!("/Patient/bed{round}");
    let body = format!(r#"{{"resourceType":"Patient","id":"bed{round}"}}"#);
    let requests = [
        (201, nurse.with_body(Method::PUT, &id, body)),
        (200, nurse.request(Method::GET, &id)),
        (200, nurse.request(Method::GET, &format!("/Patient?_id=bed{round}"))),
        (200, nurse.request(Method::GET, &format!("{id}/_history"))),
    ];
    for (what, (status, request)) in
        ["a write", "a read", "a search", "a history"].iter().zip(requests)
    {
        let asked = within(&format!("{what} at the bedside"), SOON, try_send(request)).await;
        let _ = asked.expect("an answer").is(status);
    }
}

async fn a_bedside_is_answered_while_bulk_fills_its_lane_and_waits_there(deployment: Deployment) {
    // GW-044
    let mut site = Site::prepare(deployment);
    site.configure(&format!(
        "[plans.study]\nsays = \"For a study.\"\nlane = \"bulk\"\n\
         [lanes]\nbulk = {PLACES}\nwait_seconds = 600\n[server]\n{}",
        slow::LETS_SEARCH
    ));
    site.launch(First::Gateway).await;
    let nurse = site.owner();
    slow::fill(&nurse).await;
    let study = site.new_client("study", &["--role", "reader", "--plan", "study"]);
    let mut bulk = JoinSet::new();
    for _ in 0..COME {
        let search = slow::search(&study, LONG);
        bulk.spawn(async move { try_send(search).await.map(|answer| answer.status) });
    }
    becomes(&site, (PLACES, COME - PLACES)).await;
    for round in 0..10 {
        at_the_bedside(&nurse, round).await;
        let ended = bulk.try_join_next();
        assert!(ended.is_none(), "bulk ended, and shows nothing: {ended:?}");
        assert_eq!(lane(&site, "bulk").await, (PLACES, COME - PLACES));
    }
}
