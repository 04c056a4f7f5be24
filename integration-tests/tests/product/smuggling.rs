//! Requests hidden behind others: through the gateway and the server as they are, none is ever
//! answered as a request of its own, though it carries a grant that could not be better.

use contract::header;
use integration_tests::raw::exchange;
use integration_tests::site::{Deployment, Site};
use integration_tests::smuggling::{BETWEEN, FRAMINGS, TARGETS, head, strays};
use integration_tests::socket::{Request, channel_secret, everything};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

for_both_deployments! {
    a_hidden_request_with_a_perfect_grant_is_never_answered,
    a_perfect_grant_of_a_client_is_worth_nothing_whatever_host_is_named,
}

const BODY: &str = r#"{"resourceType":"Patient","id":"planted"}"#;

// GW-023
async fn a_hidden_request_with_a_perfect_grant_is_never_answered(deployment: Deployment) {
    let site = Site::start(deployment).await;
    let secret = channel_secret(&site).await;
    let hidden = Request::new("PUT", "/fhir/Patient/planted").with_body(BODY);
    let hidden = hidden.granted(everything()).with(header::CHANNEL, secret).bytes();
    let key = site.owner().key().to_owned();
    // At once: what is refused is read for a while yet.
    let mut asked = JoinSet::new();
    for target in TARGETS {
        for framing in FRAMINGS {
            for between in BETWEEN {
                let head = head(target, &key, framing, between);
                let bytes = [head.as_bytes(), &hidden[..]].concat();
                let stream = TcpStream::connect(site.address()).await.unwrap();
                asked.spawn(async move { (head, exchange(stream, &bytes).await) });
            }
        }
    }
    while let Some(answered) = asked.join_next().await {
        let (head, answer) = answered.unwrap();
        let all = format!("{}\r\n\r\n{}", answer.head, answer.text());
        assert!(!all.contains("HTTP/1.1 201"), "{head:?}: {all}");
        assert!(!all.contains("hearthgate-"), "{head:?}: {all}");
    }
    assert_eq!(site.owner().get("/Patient/planted").await.status, 404);
    // The same bytes by themselves would have been good enough for the server.
    let answer = Request::new("PUT", "/fhir/Patient/planted").with_body(BODY);
    let secret = channel_secret(&site).await;
    let answer = answer.granted(everything()).with(header::CHANNEL, secret).send(&site).await;
    assert_eq!(answer.status(), Some(201), "{answer:?}");
}

// GW-023
async fn a_perfect_grant_of_a_client_is_worth_nothing_whatever_host_is_named(
    deployment: Deployment,
) {
    let site = Site::start(deployment).await;
    let secret = channel_secret(&site).await;
    let planted = Request::new("PUT", "/fhir/Patient/planted").with_body(BODY);
    let planted = planted.granted(everything()).with(header::CHANNEL, secret);
    for head in strays("PUT", "/fhir/Patient/planted") {
        let stream = TcpStream::connect(site.address()).await.unwrap();
        let answer = exchange(stream, &planted.bytes_behind(&head)).await;
        assert!(matches!(answer.status(), Some(400..=499 | 505)), "{head:?}: {answer:?}");
        assert!(!answer.head.contains("hearthgate-"), "{head:?}: {answer:?}");
    }
    assert_eq!(site.owner().get("/Patient/planted").await.status, 404);
    // By itself, where only the gateway may knock, the same would have been good enough.
    assert_eq!(planted.send(&site).await.status(), Some(201));
}
