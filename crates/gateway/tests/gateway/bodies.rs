//! Bodies: bounded to the byte, streamed both ways, never held.

use std::fmt::Write as _;

use bytes::Bytes;
use gateway::GatewayConfig;

use crate::harness::{start, start_with, within};
use crate::stub::Script;

fn small(config: &mut GatewayConfig) {
    config.limits.body_bytes = 1000;
}

fn chunks(lengths: &[usize]) -> String {
    let mut body = String::new();
    for length in lengths {
        write!(body, "{length:x}\r\n{}\r\n", "x".repeat(*length)).expect("text");
    }
    body + "0\r\n\r\n"
}

// GW-022
#[tokio::test]
async fn a_declared_length_over_the_limit_is_413_before_a_byte_of_it_is_read() {
    let (running, stub) = start_with(small).await;
    let whole = running.request("POST", "/fhir/Patient", &[], &"x".repeat(1000));
    assert_eq!(running.send(&whole).await.status, 200);
    assert_eq!(stub.only().body.len(), 1000);
    let fields = [("Content-Length", "1001")];
    let head = running.request("POST", "/fhir/Patient", &fields, "");
    running.send(&head).await.is_refusal(413);
    assert_eq!(stub.seen().len(), 1);
}

// GW-022
#[tokio::test]
async fn a_chunked_body_may_reach_the_limit_and_not_pass_it() {
    let (running, stub) = start_with(small).await;
    let fields = [("Transfer-Encoding", "chunked")];
    let request =
        |lengths: &[usize]| running.request("POST", "/fhir/Patient", &fields, &chunks(lengths));
    assert_eq!(running.send(&request(&[400, 400, 200])).await.status, 200);
    assert_eq!(stub.only().body.len(), 1000);
    running.send(&request(&[400, 400, 201])).await.is_refusal(413);
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn a_client_that_goes_on_sending_still_gets_to_read_why_not() {
    let (running, _stub) = start_with(small).await;
    let fields = [("Content-Length", "200000")];
    let mut connection = running.connect().await;
    let head = running.request("POST", "/fhir/Patient", &fields, "");
    connection.write(head.as_bytes()).await;
    assert!(connection.try_write(&[b'x'; 200_000]).await);
    connection.read_answer().await.is_refusal(413);
    assert!(connection.is_closed().await);
}

#[tokio::test]
async fn a_client_that_is_refused_in_the_middle_of_a_large_body_reads_why() {
    let (running, _stub) = start().await;
    let mut connection = running.connect().await;
    let body = vec![b'x'; 16 * 1024 * 1024];
    let head = format!(
        "POST /fhir/Patient HTTP/1.1\r\nHost: hearthgate.example\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.write(head.as_bytes()).await;
    connection.write(&body).await;
    connection.read_answer().await.is_refusal(401);
}

// GW-011
#[tokio::test]
async fn a_request_body_passes_while_it_is_still_being_sent() {
    let (running, mut stub) = start().await;
    let mut connection = running.connect().await;
    let piece = [b'x'; 256 * 1024];
    let pieces = 8;
    let length = (piece.len() * pieces).to_string();
    let fields = [("Content-Length", length.as_str())];
    let head = running.request("POST", "/fhir/Patient", &fields, "");
    connection.write(head.as_bytes()).await;
    for _ in 0..pieces {
        connection.write(&piece).await;
        // No more is sent before all of this piece is at the server.
        let mut arrived = 0;
        while arrived < piece.len() {
            arrived += within("the piece at the server", stub.arrivals.recv())
                .await
                .expect("the stub is there");
        }
    }
    assert_eq!(connection.read_answer().await.status, 200);
    assert_eq!(stub.only().body.len(), piece.len() * pieces);
}

// GW-011
#[tokio::test]
async fn an_answer_passes_while_it_is_still_being_made() {
    let (running, stub) = start().await;
    stub.script([Script::Pieces]);
    let mut connection = running.connect().await;
    let request = running.request("GET", "/fhir/Patient", &[], "");
    connection.write(request.as_bytes()).await;
    stub.pieces.send(Bytes::from_static(b"first")).expect("the stub is there");
    let head = connection.read_head().await;
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    assert_eq!(connection.read_exact(10).await, "5\r\nfirst\r\n");
    // The server has not made the second piece yet: it is made only now.
    stub.pieces.send(Bytes::from_static(b"then")).expect("the stub is there");
    assert_eq!(connection.read_exact(9).await, "4\r\nthen\r\n");
}

#[tokio::test]
async fn bytes_both_ways_are_counted() {
    let (running, _stub) = start().await;
    let bytes = running.request("POST", "/fhir/Patient", &[], "{\"a\": 1}");
    let answer = running.send(&bytes).await;
    let sent = answer.body.len();
    assert_eq!(running.metric("hearthgate_gateway_request_body_bytes_total").await, 8.0);
    let log = running.stop().await.text();
    let line: serde_json::Value = serde_json::from_str(log.trim_end()).expect("one line");
    assert_eq!(line["bytesIn"], 8);
    assert_eq!(line["bytesOut"], sent);
    assert_eq!(line["cost"], serde_json::json!({"rows": 3, "micros": 40}));
    assert_eq!(line["interaction"], "create");
    assert_eq!(line["client"], "owner");
    assert_eq!(line["status"], 200);
    assert_eq!(line["refusal"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_to_go_on_is_told() {
    let (running, stub) = start().await;
    let fields = [("Expect", "100-continue"), ("Content-Length", "2")];
    let mut connection = running.connect().await;
    let head = running.request("POST", "/fhir/Patient", &fields, "");
    connection.write(head.as_bytes()).await;
    let go_on = connection.read_head().await;
    assert_eq!(go_on.status, 100);
    connection.write(b"{}").await;
    assert_eq!(connection.read_answer().await.status, 200);
    assert_eq!(stub.only().body, b"{}");
}
