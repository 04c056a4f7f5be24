//! Requests whose bytes could be read in two ways, that are too large, or that never end.

use std::time::Duration;

use gateway::GatewayConfig;

use crate::harness::{request, start, start_with};

/// A request that must not be seen by the server, hidden behind others.
const HIDDEN: &str = "GET /fhir/Patient/hidden HTTP/1.1\r\nHost: a\r\n\r\n";

// GW-023
#[tokio::test]
async fn smuggled_requests_are_refused_and_the_connection_closed() {
    let (running, stub) = start().await;
    let key = format!("Authorization: Bearer {}\r\n", running.owner_key);
    let hidden = HIDDEN.replace("\r\n\r\n", &format!("\r\n{key}\r\n"));
    let heads = [
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nX: y\r\n Transfer-Encoding: chunked\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 5\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\nContent-Length: 5\r\n",
        "POST /fhir/Patient HTTP/1.1\nHost: a\r\n",
        "POST /fhir/Patient HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
        "POST /fhir/Patient HTTP/1.1\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nX\0: y\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nX: y\0\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\n: y\r\n",
        "POST /fhir/Patient HTTP/9.9\r\nHost: a\r\n",
    ];
    for head in heads {
        let mut connection = running.connect().await;
        let bytes = format!("{head}{key}\r\n0\r\n\r\n{hidden}");
        connection.write(bytes.as_bytes()).await;
        let answer = connection.read_answer().await;
        assert_eq!(answer.status, 400, "{head:?}: {answer:?}");
        answer.is_refusal(400);
        assert_eq!(answer.field("connection"), Some("close"), "{head:?}");
        assert!(connection.is_closed().await, "{head:?}");
    }
    assert!(stub.seen().is_empty(), "{:?}", stub.seen());
}

#[tokio::test]
async fn a_broken_chunk_ends_the_request() {
    let (running, stub) = start().await;
    let fields = [("Transfer-Encoding", "chunked")];
    for body in ["zz\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "-1\r\n\r\n"] {
        let bytes = running.request("POST", "/fhir/Patient", &fields, body);
        let mut connection = running.connect().await;
        connection.write(bytes.as_bytes()).await;
        connection.read_answer().await.is_refusal(400);
        assert!(connection.is_closed().await, "{body:?}");
    }
    assert!(stub.seen().is_empty());
}

// GW-022
#[tokio::test]
async fn what_is_too_large_is_refused_by_its_name() {
    let (running, stub) = start().await;
    let query = format!("/fhir/Patient?name={}", "x".repeat(16 * 1024));
    running.get(&query).await.is_refusal(414);
    let long = "x".repeat(32 * 1024);
    let bytes = running.request("GET", "/fhir/Patient/1", &[("X", &long)], "");
    running.send(&bytes).await.is_refusal(431);
    let names: Vec<String> = (0..90).map(|number| format!("x-{number}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "y")).collect();
    let bytes = running.request("GET", "/fhir/Patient/1", &fields, "");
    running.send(&bytes).await.is_refusal(431);
    // More than pingora itself can read.
    let names: Vec<String> = (0..400).map(|number| format!("x-{number}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "y")).collect();
    let bytes = running.request("GET", "/fhir/Patient/1", &fields, "");
    running.send(&bytes).await.is_refusal(400);
    assert!(stub.seen().is_empty());
}

// GW-022
#[tokio::test]
async fn a_hundred_thousand_headers_are_refused_while_others_are_served() {
    let (running, stub) = start().await;
    let mut hostile = running.connect().await;
    let mut head = String::from("GET /fhir/Patient/1 HTTP/1.1\r\nHost: a\r\n");
    for number in 0..100_000 {
        head.push_str(&format!("x-{number}: y\r\n"));
    }
    let (half, rest) = head.split_at(head.len() / 2);
    // It may have been refused and closed before all was read.
    hostile.try_write(half.as_bytes()).await;
    assert_eq!(running.get("/fhir/Patient/2").await.status, 200);
    hostile.try_write(rest.as_bytes()).await;
    hostile.try_write(b"\r\n").await;
    hostile.drain().await;
    assert_eq!(running.get("/fhir/Patient/2").await.status, 200);
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn as_many_headers_as_are_allowed_reach_the_server() {
    let (running, stub) = start().await;
    // Host and Authorization are the other two.
    let names: Vec<String> = (0..88).map(|number| format!("x-{number}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "y")).collect();
    let bytes = running.request("GET", "/fhir/Patient/1", &fields, "");
    assert_eq!(running.send(&bytes).await.status, 200);
    assert!(names.iter().all(|name| stub.only().headers.contains_key(name)));
}

// GW-022
#[tokio::test]
async fn a_head_that_drips_is_cut_off_while_others_are_served() {
    let quick = |config: &mut GatewayConfig| {
        config.limits.header_timeout = Duration::from_millis(50);
    };
    let (running, stub) = start_with(quick).await;
    let mut slow = running.connect().await;
    slow.write(b"GET /fhir/Patient/1 HTTP/1.1\r\n").await;
    let dripping = async {
        // Each byte would restart a timer that is not for the whole head.
        while slow.try_write(b"X").await {
            tokio::task::yield_now().await;
        }
    };
    crate::harness::within("the end of a dripping head", dripping).await;
    assert_eq!(running.get("/fhir/Patient/1").await.status, 200);
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn two_requests_sent_at_once_are_answered_in_order() {
    let (running, stub) = start().await;
    let mut connection = running.connect().await;
    let first = running.request("POST", "/fhir/Patient", &[], "{}");
    let second = running.request("GET", "/fhir/Patient/2", &[], "");
    connection.write((first + &second).as_bytes()).await;
    assert_eq!(connection.read_answer().await.body, "POST /fhir/Patient 2");
    assert_eq!(connection.read_answer().await.body, "GET /fhir/Patient/2 0");
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn refusals_of_the_first_line_have_the_same_form_as_all_others() {
    let (running, _stub) = start().await;
    for bytes in ["\u{1}\u{2}\u{3}\r\n\r\n", "GET\r\n\r\n", "GET /fhir HTTP/2.0\r\n\r\n"] {
        running.send(bytes).await.is_refusal(400);
    }
    let options = request("OPTIONS", "*", &[], "");
    running.send(&options).await.is_refusal(400);
    let refused = "hearthgate_gateway_refusals_total{reason=\"malformed-head\"}";
    assert_eq!(running.metric(refused).await, 3.0);
}
