//! A process with few descriptors under more connections than it has: who is answered is answered
//! rightly, nothing acknowledged is lost, and all is well once connections end.

use std::time::Duration;

use integration_tests::binary;
use integration_tests::client::try_send;
use integration_tests::site::{Deployment, First, Site};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::waiting::{SOON, until};

const FEW: &str = "110";
/// More than there are descriptors.
const IDLE: usize = 200;
const WRITERS: usize = 40;
/// How long a client waits that may not be accepted at all.
const PATIENCE: Duration = Duration::from_secs(3);

fn with_few_descriptors() -> Vec<String> {
    let words = ["sh", "-c", "ulimit -n \"$0\" && exec \"$@\"", FEW];
    words.map(str::to_owned).to_vec()
}

#[tokio::test]
async fn a_process_out_of_descriptors_loses_nothing_and_goes_on_when_there_are_some() {
    let mut site = Site::prepare(Deployment::OneProcess);
    let data = site.data().to_owned();
    site.settle(&data, with_few_descriptors());
    site.launch(First::Gateway).await;
    let said = site.front().stderr();
    assert!(said.contains(&format!("may have {FEW} at a time")), "{said}");

    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(site.address()).await.unwrap());
    }
    let mut writers = JoinSet::new();
    for id in 0..WRITERS {
        let owner = site.owner();
        writers.spawn(async move {
            let body = format!(r#"{{"resourceType":"Patient","id":"p{id}"}}"#);
            let request = owner.with_body(http::Method::PUT, &format!("/Patient/p{id}"), body);
            (id, try_send(request.timeout(PATIENCE)).await)
        });
    }
    let mut acknowledged = Vec::new();
    while let Some(done) = writers.join_next().await {
        match done.unwrap() {
            (id, Ok(answer)) if answer.status == 201 => acknowledged.push(id),
            // In order, and by the standard; never as if something were not there.
            (id, Ok(answer)) => {
                assert!(matches!(answer.status, 429 | 500..=504), "{id}: {answer:?}");
                assert_eq!(answer.json()["resourceType"], "OperationOutcome", "{id}");
            }
            // Never accepted, or cut off.
            (_, Err(_)) => {}
        }
    }
    assert!(acknowledged.len() < WRITERS, "the descriptors sufficed");

    drop(idle);
    let owner = site.owner();
    until("ten writes in a row succeed", SOON, async || {
        for id in 1000..1010 {
            let body = format!(r#"{{"resourceType":"Patient","id":"p{id}"}}"#);
            let request = owner.with_body(http::Method::PUT, &format!("/Patient/p{id}"), body);
            let answer = try_send(request.timeout(PATIENCE)).await?;
            if !matches!(answer.status, 200 | 201) {
                return Err(answer.text().to_owned());
            }
        }
        Ok(())
    })
    .await;
    acknowledged.extend(1000..1010);
    site.becomes_ready().await;
    for start in [false, true] {
        if start {
            site.kill().await;
            site.launch(First::Gateway).await;
        }
        for id in &acknowledged {
            let _ = site.owner().get(&format!("/Patient/p{id}")).await.is(200);
        }
    }
    site.stop().await;
    let damaged = data.join("tenants/default/state.damaged-1");
    assert!(!damaged.exists(), "{}", site.everything_written());
    let verified = binary::run(site.folder(), &["verify", "--data", data.to_str().unwrap()]);
    assert!(verified.status.success(), "{verified:?}");
    assert!(!site.everything_written().contains("panicked"), "{}", site.everything_written());
}
