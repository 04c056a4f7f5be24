//! Ctrl-C and SIGTERM: what was accepted is answered, and then the process ends with status 0.

use integration_tests::process::Signal;
use integration_tests::raw::{read_head, rest};
use integration_tests::site::{Deployment, First, Site};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::waiting::{SOON, until, within};

for_every_deployment! {
    ctrl_c_answers_what_was_accepted_and_ends_in_order,
    sigterm_answers_what_was_accepted_and_ends_in_order,
    an_idle_connection_does_not_hold_the_stop_up,
}

async fn ctrl_c_answers_what_was_accepted_and_ends_in_order(deployment: Deployment) {
    // GW-062
    stop_in_the_middle_of_a_request(deployment, Signal::Interrupt).await;
}

async fn sigterm_answers_what_was_accepted_and_ends_in_order(deployment: Deployment) {
    // GW-062
    stop_in_the_middle_of_a_request(deployment, Signal::Terminate).await;
}

async fn stop_in_the_middle_of_a_request(deployment: Deployment, signal: Signal) {
    let mut site = Site::start(deployment).await;
    let body = format!(
        r#"{{"resourceType":"Patient","id":"late","name":[{{"text":"{}"}}]}}"#,
        "x".repeat(100_000)
    );
    let (begun, left) = body.split_at(body.len() / 2);
    let mut stream = TcpStream::connect(site.address()).await.unwrap();
    let head = format!(
        "PUT /fhir/Patient/late HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-type: application/fhir+json\r\ncontent-length: {}\r\n\
         expect: 100-continue\r\n\r\n",
        site.address(),
        site.owner().key(),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Said by the server once it reads the body: both halves have the request in hand.
    let go_on = within("the server asks for the body", SOON, read_head(&mut stream)).await;
    assert!(go_on.starts_with("HTTP/1.1 100 "), "{go_on}");
    stream.write_all(begun.as_bytes()).await.unwrap();
    for process in site.processes() {
        process.signal(signal);
    }
    until("no more connections are accepted", SOON, async || {
        match TcpStream::connect(site.address()).await {
            Ok(_) => Err("one was accepted".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
    stream.write_all(left.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert_eq!(answer.status(), Some(201), "{answer:?}");
    site.end_in_order().await;
    site.launch(First::Gateway).await;
    assert_eq!(site.owner().get("/Patient/late").await.status, 200);
}

async fn an_idle_connection_does_not_hold_the_stop_up(deployment: Deployment) {
    let mut site = Site::start(deployment).await;
    // Kept open by the client's pool, and one that never said anything.
    let owner = site.owner();
    let _ = owner.get("/metadata").await.is(200);
    let _silent = TcpStream::connect(site.address()).await.unwrap();
    // `stop` waits for less than the 30 s that a drain may take.
    site.stop().await;
    assert!(TcpStream::connect(site.address()).await.is_err());
}
