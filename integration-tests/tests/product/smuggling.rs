//! Requests hidden behind others: through the gateway and the server as they are, none is ever
//! answered as a request of its own, though it carries a grant that could not be better.

use contract::header;
use integration_tests::raw::exchange;
use integration_tests::site::{Deployment, Site};
use integration_tests::socket::{Request, channel_secret, everything};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

for_both_deployments! {
    a_hidden_request_with_a_perfect_grant_is_never_answered,
}

const BODY: &str = r#"{"resourceType":"Patient","id":"planted"}"#;

/// Ways to say how long a body is, of which one reader may believe one half and another the other.
const FRAMINGS: [&str; 24] = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\ncontent-length: 0\r\n",
    "Content-Length: 5\r\nContent-Length: 0\r\n",
    "Content-Length: 0\r\nContent-Length: 5\r\n",
    "Content-Length: 5, 0\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 5 \r\nTransfer-Encoding : chunked\r\n",
    "Content-Length: 5\r\n Transfer-Encoding: chunked\r\n",
    "Content-Length: 5\nTransfer-Encoding: chunked\r\n",
    "Content-Length: 5\rTransfer-Encoding: chunked\r\n",
    "Content_Length: 5\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity, chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding:\x0bchunked\r\n",
    "Transfer-Encoding: chunked\x00\r\n",
    "Transfer_Encoding: chunked\r\n",
    "X: y\r\n\tTransfer-Encoding: chunked\r\n",
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Connection: Content-Length\r\nContent-Length: 5\r\n",
    "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
];

/// What comes between a head and the hidden request: the end of a chunked body, or what one would
/// read as one.
const BETWEEN: [&str; 4] = ["0\r\n\r\n", "0\r\n\r", "5;a=\"\r\n\"\r\n12345\r\n0\r\n\r\n", ""];

// GW-023
async fn a_hidden_request_with_a_perfect_grant_is_never_answered(deployment: Deployment) {
    let site = Site::start(deployment).await;
    let secret = channel_secret(&site).await;
    let hidden = Request::new("PUT", "/fhir/Patient/planted").with_body(BODY);
    let hidden = hidden.granted(everything()).with(header::CHANNEL, secret).bytes();
    let key = site.owner().key().to_owned();
    // At once: what is refused is read for a while yet.
    let mut asked = JoinSet::new();
    for (method, target) in [("POST", "/fhir/Patient/_search"), ("GET", "/fhir/metadata")] {
        for framing in FRAMINGS {
            for between in BETWEEN {
                let head = format!(
                    "{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\
                     Content-Type: application/x-www-form-urlencoded\r\n{framing}\r\n{between}"
                );
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
