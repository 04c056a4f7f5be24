//! Connections between two requests: whose bytes are whose, and how long one waits.

use std::time::Duration;

use crate::harness::{Connection, Running, start, start_with};
use crate::stub::Script;
use crate::tls::{Client, Site};

/// Requests without a body, with one of a length, and with one in chunks.
fn of_each_framing(running: &Running) -> [String; 3] {
    let chunked = [("Transfer-Encoding", "chunked")];
    [
        running.request("GET", "/fhir/Patient/1", &[], ""),
        running.request("PUT", "/fhir/Patient/1", &[], "{}"),
        running.request("POST", "/fhir/Patient", &chunked, "2\r\n{}\r\n0\r\n\r\n"),
    ]
}

async fn is_answered(connection: &mut Connection, what: &str) {
    assert_eq!(connection.read_answer().await.status, 200, "{what}");
}

// RFC 9112, 9.3.2
#[tokio::test]
async fn what_came_of_the_next_request_with_one_is_its_beginning() {
    let (running, _stub) = start().await;
    let requests = of_each_framing(&running);
    for (first, second) in
        requests.iter().flat_map(|one| requests.iter().map(move |two| (one, two)))
    {
        let third = running.request("GET", "/fhir/Basic/1", &[], "");
        let both = second.len() + third.len();
        let all = [first.as_str(), second, &third].concat();
        // A byte of the second, as many as the third has, all but one of it, all, and one of the
        // third.
        let places =
            [0, 1, third.len(), second.len() - 1, second.len(), second.len() + 1, both - 1, both];
        for more in places {
            let (at_once, later) = all.split_at(first.len() + more);
            let what = format!("{at_once:?}, then {later:?}");
            let mut connection = running.connect().await;
            connection.write(at_once.as_bytes()).await;
            let whole = 1 + usize::from(more >= second.len()) + usize::from(more >= both);
            for _ in 0..whole {
                is_answered(&mut connection, &what).await;
            }
            connection.write(later.as_bytes()).await;
            for _ in whole..3 {
                is_answered(&mut connection, &what).await;
            }
        }
    }
}

/// pingora escapes what a target may not have, and calls the request longer than it came.
// RFC 9112, 9.3.2
#[tokio::test]
async fn what_followed_a_request_that_was_escaped_is_answered_too() {
    let (running, _stub) = start().await;
    let next = ["/fhir/Basic/1", "/fhir/Basic/12"]
        .map(|target| running.request("GET", target, &[], ""))
        .into_iter()
        .find(|next| next.len() % 2 == 0)
        .expect("one of an even length");
    // Two bytes more each: as many as a request has.
    for spaces in [1, next.len() / 2] {
        let target = format!("/fhir/Patient?name={}", " ".repeat(spaces) + "x");
        let escaped = running.request("GET", &target, &[], "");
        let mut connection = running.connect().await;
        connection.write(escaped.as_bytes()).await;
        is_answered(&mut connection, &escaped).await;
        // The last two come together, and after the first of them nothing more does.
        connection.write([next.as_str(), &next].concat().as_bytes()).await;
        for _ in 0..2 {
            is_answered(&mut connection, &format!("after {spaces} spaces")).await;
        }
    }
}

// RFC 9112, 9.3.2
#[tokio::test]
async fn a_request_that_came_while_another_was_answered_is_answered_next() {
    let (running, stub) = start().await;
    for (first, second) in
        of_each_framing(&running).iter().zip(of_each_framing(&running).iter().rev())
    {
        let mut connection = running.connect().await;
        stub.script([Script::AfterGo]);
        connection.write(first.as_bytes()).await;
        stub.until_begun().await;
        connection.write(second.as_bytes()).await;
        stub.go();
        is_answered(&mut connection, first).await;
        is_answered(&mut connection, second).await;
        stub.until_begun().await;
    }
}

/// Requests of which the first ends at any place of whatever is read at once: what TLS has
/// deciphered by then the system tells nobody of.
// GW-020
#[tokio::test]
async fn what_tls_has_deciphered_is_not_waited_for() {
    let site = Site::new();
    let (running, _stub) = site.start(|_, _| {}).await;
    let second = running.request("GET", "/fhir/Patient/2", &[], "");
    let empty = running.request("PUT", "/fhir/Patient/1", &[], &"x".repeat(1000)).len() - 1000;
    for length in [1000, 1024, 2048, 4096, 8192].into_iter().flat_map(|at| at - 1..=at + 1) {
        let body = "x".repeat(length - empty);
        let first = running.request("PUT", "/fhir/Patient/1", &[], &body);
        let both = first + &second;
        let client = Client::of(&site.authority);
        let stream = client.connect(&running, "a.example").await.expect("a handshake");
        let mut connection = Connection::over(stream);
        connection.write(both.as_bytes()).await;
        is_answered(&mut connection, &format!("the first of {length} bytes")).await;
        is_answered(&mut connection, &format!("what follows {length} bytes")).await;
    }
}

// GW-022
#[tokio::test]
async fn a_connection_that_stays_silent_is_closed_by_the_limit_that_is_in_force() {
    let within_a_second = Duration::from_secs(1);
    let (running, _stub) = start_with(|config| config.limits.idle = within_a_second).await;
    for request in of_each_framing(&running) {
        let mut connection = running.connect().await;
        connection.write(request.as_bytes()).await;
        is_answered(&mut connection, &request).await;
        let early = tokio::time::timeout(within_a_second / 2, connection.is_closed()).await;
        assert!(early.is_err(), "closed early after {request}");
        assert!(connection.is_closed().await, "{request}");
    }
    let mut connection = running.connect().await;
    let [request, ..] = of_each_framing(&running);
    connection.write(request.as_bytes()).await;
    is_answered(&mut connection, "the first").await;
    running.reload(|_| {}).await.expect("the defaults are good");
    connection.write(request.as_bytes()).await;
    is_answered(&mut connection, "the next").await;
    // By now it may be silent for longer.
    tokio::time::sleep(2 * within_a_second).await;
    connection.write(request.as_bytes()).await;
    is_answered(&mut connection, "the last").await;
}
