//! Health, and what clients see while a half is away.

use http::Method;
use integration_tests::client::{Answer, sent};
use integration_tests::process::Signal;
use integration_tests::site::{Deployment, First, Site};

use crate::waiting::{SOON, until};

for_every_deployment! {
    a_running_site_is_alive_and_ready,
    what_was_written_is_there_after_a_restart,
}

async fn a_running_site_is_alive_and_ready(deployment: Deployment) {
    // GW-054
    let site = Site::start(deployment).await;
    assert_eq!(site.admin().get("/livez").await.status, 200);
    let ready = site.admin().get("/readyz").await.is(200).json();
    assert_eq!(ready["ready"], true);
    for part in ["gateway", "channel", "server"] {
        assert_eq!(ready["parts"][part], true, "{ready}");
    }
}

async fn what_was_written_is_there_after_a_restart(deployment: Deployment) {
    let mut site = Site::start(deployment).await;
    let body = r#"{"resourceType":"Patient","id":"kept","gender":"other"}"#;
    let _ = site.owner().put("/Patient/kept", body).await.is(201);
    let before = site.owner().get("/Patient/kept").await.is(200);
    let written = site.front().stderr();
    assert!(written.contains("The owner's key"), "{written}");
    for kill in [false, true] {
        if kill {
            site.kill().await;
        } else {
            site.stop().await;
        }
        site.launch(First::Gateway).await;
        assert_eq!(site.owner().get("/Patient/kept").await.is(200).body, before.body);
        // The key is the first start's: none is made again.
        let written = site.front().stderr();
        assert!(!written.contains("The owner's key"), "{written}");
    }
}

/// The answer to a request while the server may be away: done, or 503 with a time to come back.
#[track_caller]
fn is_there_or_says_when(answer: &Answer) {
    if answer.status == 503 {
        answer.is_outcome(503, "transient");
        assert_eq!(answer.header("retry-after"), Some("1"));
    } else {
        assert!(matches!(answer.status, 200 | 201), "{} {}", answer.status, answer.text());
    }
}

#[tokio::test]
async fn two_processes_start_in_either_order() {
    for first in [First::Gateway, First::Server] {
        let mut site = Site::prepare(Deployment::TwoProcesses);
        site.launch(first).await;
        let owner = site.owner();
        let _ = owner.put("/Patient/1", r#"{"resourceType":"Patient","id":"1"}"#).await.is(201);
        // And again, now that there is data.
        site.stop().await;
        let other = if first == First::Gateway { First::Server } else { First::Gateway };
        site.launch(other).await;
        assert_eq!(site.owner().get("/Patient/1").await.status, 200, "{first:?}");
    }
}

#[tokio::test]
async fn without_its_server_a_gateway_is_not_ready_and_says_when_to_come_back() {
    // GW-054
    let mut site = Site::start(Deployment::TwoProcesses).await;
    let owner = site.owner();
    let _ = owner.put("/Patient/1", r#"{"resourceType":"Patient","id":"1"}"#).await.is(201);
    site.end_server(Signal::Kill).await;
    let readiness = site.readiness().await.unwrap().is(503).json();
    assert_eq!(readiness["ready"], false);
    assert_eq!(readiness["parts"]["server"], false);
    assert_eq!(readiness["parts"]["gateway"], true);
    assert_eq!(site.admin().get("/livez").await.status, 200);
    for _ in 0..3 {
        let answer = owner.get("/Patient/1").await.is(503);
        is_there_or_says_when(&answer);
    }
    assert_eq!(site.anyone().get("/Patient/1").await.status, 401);
    site.start_server().await;
    site.becomes_ready().await;
    assert_eq!(owner.get("/Patient/1").await.status, 200);
}

#[tokio::test]
async fn a_gateway_outlives_its_server_and_learns_the_new_secret() {
    // GW-007
    let mut site = Site::start(Deployment::TwoProcesses).await;
    let owner = site.owner();
    let body = |id: usize| format!(r#"{{"resourceType":"Patient","id":"p{id}"}}"#);
    let put = async |id: usize| owner.put(&format!("/Patient/p{id}"), body(id)).await;
    let _ = put(0).await.is(201);
    let ends = [Signal::Kill, Signal::Terminate, Signal::Interrupt, Signal::Kill];
    for (round, signal) in (1..).zip(ends) {
        // Reading goes on all the while, from a task of its own.
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let reader = owner.clone();
        let mut reading = tokio::task::JoinSet::new();
        reading.spawn(async move {
            let mut answers = Vec::new();
            while !*stopped.borrow_and_update() {
                answers.push(sent(reader.request(Method::GET, "/Patient/p0")).await);
                tokio::task::yield_now().await;
            }
            answers
        });
        site.end_server(signal).await;
        until("a client is told that the server is away", SOON, async || {
            match owner.get("/Patient/p0").await.status {
                503 => Ok(()),
                other => Err(other.to_string()),
            }
        })
        .await;
        site.start_server().await;
        // The first request of all may be one with a body, which is never sent twice.
        let first = put(round).await;
        is_there_or_says_when(&first);
        until("the server is there again", SOON, async || {
            let answer = owner.get("/Patient/p0").await;
            is_there_or_says_when(&answer);
            (answer.status == 200).then_some(()).ok_or_else(|| answer.status.to_string())
        })
        .await;
        assert!(matches!(put(round).await.status, 200 | 201));
        stop.send(true).unwrap();
        let answers = reading.join_all().await.concat();
        assert!(!answers.is_empty());
        for answer in &answers {
            is_there_or_says_when(answer);
        }
    }
}

#[tokio::test]
async fn the_first_read_after_a_servers_restart_is_answered() {
    let mut site = Site::start(Deployment::TwoProcesses).await;
    let owner = site.owner();
    let _ = owner.put("/Patient/1", r#"{"resourceType":"Patient","id":"1"}"#).await.is(201);
    site.end_server(Signal::Kill).await;
    // Nothing is asked while it is away: the gateway still has the old secret.
    site.start_server().await;
    assert_eq!(owner.get("/Patient/1").await.status, 200);
    let metrics = site.admin().get("/metrics").await.is(200);
    let fetched = "hearthgate_gateway_channel_fetches_total{result=\"read\"} 2";
    assert!(metrics.text().contains(fetched), "{}", metrics.text());
}
