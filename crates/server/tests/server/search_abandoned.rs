//! A search or history whose client has left ends soon: nobody pays for what nobody reads.

use std::time::Duration;

use serde_json::json;
use server::Limits;
use tokio::time::{sleep, timeout};

use crate::support::bundle::{batch, entry, transaction, when};
use crate::support::{Access, PATIENCE, Site, rule};

/// Within this the work has ended.
const SOON: Duration = Duration::from_millis(100);
/// The searches here take longer than this, by far.
const LONG: Duration = Duration::from_millis(800);

/// Many patients with many names, and searches that may look at all of them.
async fn many() -> Site {
    let limits = Limits { search_versions: u64::MAX, ..Limits::default() };
    let site = Site::limited(limits).await;
    for hundred in 0..20 {
        let entries = (0..100).map(|one| {
            let id = hundred * 100 + one;
            let given: Vec<String> = (0..20).map(|name| format!("Given{id}x{name}")).collect();
            let patient = json!({ "resourceType": "Patient", "id": format!("p{id}"),
                "name": [{ "given": given }] });
            entry("PUT", &format!("Patient/p{id}"), patient)
        });
        site.post("", transaction(entries)).await.is(200);
    }
    site.is_indexed().await;
    site
}

/// Asks, leaves before there is an answer, and sees within what time nobody works on it any more.
async fn check<A: Future>(site: &Site, what: &str, ask: impl Fn() -> A) {
    let rests = site.holders();
    let mut soon = 0;
    for stays in [LONG, LONG / 4, LONG / 4, LONG / 3, LONG / 3] {
        let asked = timeout(stays, ask()).await;
        assert!(asked.is_err(), "it is answered too soon to be left: {what:.80}");
        let ended = async {
            while site.holders() > rests {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let mut ended = Box::pin(ended);
        // A machine may stall, but not each time.
        match timeout(SOON, &mut ended).await {
            Ok(()) => soon += 1,
            Err(_) => timeout(PATIENCE, ended).await.expect("the work goes on without anyone"),
        }
    }
    assert!(soon >= 3, "only {soon} of 5 ended within {SOON:?}: {what:.80}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_of_the_index_ends_when_its_client_leaves() {
    // SRCH-250
    let site = many().await;
    let parts: Vec<String> = (0..1000).map(|part| format!("zz{part}")).collect();
    let target = format!("Patient?given:contains={}", parts.join(","));
    check(&site, &target, || site.get(&target)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_of_every_resource_ends_when_its_client_leaves() {
    // SRCH-250
    let site = many().await;
    let words: Vec<String> = (0..1000).map(|word| format!("zz{word}")).collect();
    let target = format!("Patient?_content={}", words.join(","));
    check(&site, &target, || site.get(&target)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_looks_for_nothing_and_writes_nothing_when_its_client_leaves() {
    // SRCH-250
    let site = many().await;
    let position = site.position();
    let creation = |at: usize| {
        let words: Vec<String> = (0..1000).map(|word| format!("zz{at}x{word}")).collect();
        let created = entry("POST", "Patient", json!({ "resourceType": "Patient" }));
        when(created, "ifNoneExist", &format!("_content={}", words.join(",")))
    };
    let bundle = transaction((0..10).map(creation)).to_string();
    check(&site, "a transaction", || site.post("", &bundle)).await;
    assert_eq!(site.position(), position);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conditional_create_looks_for_nothing_and_writes_nothing_when_its_client_leaves() {
    // SRCH-250
    let site = many().await;
    let position = site.position();
    let words: Vec<String> = (0..1000).map(|word| format!("zz{word}")).collect();
    let criteria = format!("_content={}", words.join(","));
    let create = || {
        let ask = site.ask("POST", "Patient").header("if-none-exist", &criteria);
        ask.body(r#"{"resourceType":"Patient"}"#).send()
    };
    check(&site, "a conditional create", create).await;
    assert_eq!(site.position(), position);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_in_a_short_batch_ends_when_its_client_leaves() {
    // SRCH-250
    let site = many().await;
    let parts: Vec<String> = (0..1000).map(|part| format!("zz{part}")).collect();
    let search = format!("Patient?given:contains={}", parts.join(","));
    let bundle = batch([entry("GET", &search, json!(null))]).to_string();
    assert!(bundle.len() < 32 << 10, "it is worked on where its request is");
    check(&site, "a batch", || site.post("", &bundle)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_of_a_part_of_the_data_ends_when_its_client_leaves() {
    let site = many().await;
    // Each version is judged by what it says, by one rule after the other.
    let rules = (0..12).map(|at| {
        let words: Vec<String> = (0..40).map(|word| format!("z{at}{word}")).collect();
        let mut of = rule(&["Patient"], &["history", "search", "read"], "all");
        of.filter = Some(format!("name:contains={}", words.join(",")));
        of
    });
    let access = Access::of(rules.collect());
    check(&site, "a history", || site.ask("GET", "Patient/_history").by(&access).send()).await;
}
