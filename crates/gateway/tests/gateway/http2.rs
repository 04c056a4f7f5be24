//! HTTP/2: requests in both directions, their bounds, and connections that end.

use std::time::Duration;

use bytes::Bytes;
use gateway::GatewayConfig;
use h2::client::SendRequest;
use http::{Request, Response, StatusCode};
use tokio::task::JoinSet;

use crate::harness::{Running, within};
use crate::stub::{Script, Stub};
use crate::tls::{Client, Site};

/// A client's connection of HTTP/2, driven until it is dropped.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Bytes>,
    driver: JoinSet<Result<(), h2::Error>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(site: &Site, running: &Running) -> Self {
        let client = Client { alpn: &[b"h2"], ..Client::of(&site.authority) };
        let stream = client.connect(running, "a.example").await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let begun = within("the preface", h2::client::handshake(stream)).await;
        let (sender, connection) = begun.expect("HTTP/2");
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Self { sender, driver }
    }

    pub(crate) async fn ask(
        &mut self,
        request: Request<()>,
        body: &[&[u8]],
    ) -> Result<Answer, h2::Error> {
        self.sender = within("a free stream", self.sender.clone().ready()).await?;
        let (answer, mut sending) = self.sender.send_request(request, body.is_empty())?;
        for (at, piece) in body.iter().enumerate() {
            let sent = sending.send_data(Bytes::copy_from_slice(piece), at + 1 == body.len());
            if sent.is_err() {
                break;
            }
        }
        let answer = within("an answer", answer).await?;
        let (head, mut reading) = answer.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = within("a body", reading.data()).await {
            let piece = piece?;
            reading.flow_control().release_capacity(piece.len())?;
            body.extend_from_slice(&piece);
        }
        Ok(Answer { head: Response::from_parts(head, ()), body })
    }

    /// How the connection ended.
    async fn ended(&mut self) -> Result<(), h2::Error> {
        let ended = within("the connection's end", self.driver.join_next()).await;
        ended.expect("one driver").expect("no panic")
    }
}

pub(crate) fn request(running: &Running, method: &str, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("https://a.example{path}"))
        .header("authorization", format!("Bearer {}", running.owner_key))
        .body(())
        .expect("a request")
}

pub(crate) async fn start(change: impl FnOnce(&mut GatewayConfig)) -> (Site, Running, Stub) {
    let site = Site::new();
    let (running, stub) = site.start(|_, config| change(config)).await;
    (site, running, stub)
}

// GW-020
#[tokio::test]
async fn requests_and_bodies_of_known_and_unknown_length_reach_the_server() {
    let (site, running, stub) = start(|_| {}).await;
    let mut connection = Connection::open(&site, &running).await;
    let answer = connection.ask(request(&running, "GET", "/fhir/Patient/1"), &[]).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.head.status(), StatusCode::OK);
    assert_eq!(answer.body, b"GET /fhir/Patient/1 0");
    assert!(answer.head.headers().contains_key("x-request-id"));
    assert_eq!(answer.head.headers()["strict-transport-security"], "max-age=60");
    let unknown = request(&running, "POST", "/fhir/Patient");
    let answer = connection.ask(unknown, &[b"{\"a\":", b"1}"]).await.expect("an answer");
    assert_eq!(answer.body, b"POST /fhir/Patient 7");
    let mut known = request(&running, "POST", "/fhir/Patient");
    known.headers_mut().insert("content-length", "2".parse().expect("a number"));
    let answer = connection.ask(known, &[b"{}"]).await.expect("an answer");
    assert_eq!(answer.body, b"POST /fhir/Patient 2");
    for seen in stub.seen() {
        assert_eq!(seen.headers["host"], "a.example");
        assert_eq!(seen.headers["forwarded"], "for=127.0.0.1;proto=https");
        assert!(!seen.headers.contains_key("authorization"));
    }
}

// GW-022 GW-025
#[tokio::test]
async fn limits_and_forged_headers_are_as_in_http_1() {
    let (site, running, stub) = start(|config| config.limits.body_bytes = 10).await;
    let mut connection = Connection::open(&site, &running).await;
    let long = request(&running, "POST", "/fhir/Patient");
    let answer = connection.ask(long, &[b"12345678", b"90ab"]).await.expect("an answer");
    assert_eq!(answer.head.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let mut declared = request(&running, "POST", "/fhir/Patient");
    declared.headers_mut().insert("content-length", "11".parse().expect("a number"));
    let answer = connection.ask(declared, &[b"1234567890a"]).await.expect("an answer");
    assert_eq!(answer.head.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let mut many = request(&running, "GET", "/fhir/Patient/1");
    for number in 0..90 {
        let name = http::HeaderName::try_from(format!("x-{number}")).expect("a name");
        many.headers_mut().insert(name, "y".parse().expect("a value"));
    }
    let answer = connection.ask(many, &[]).await.expect("an answer");
    assert_eq!(answer.head.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let mut large = request(&running, "GET", "/fhir/Patient/1");
    large.headers_mut().insert("x", "y".repeat(40_000).parse().expect("a value"));
    let refused = connection.ask(large, &[]).await;
    let refused = refused.map(|answer| answer.head.status());
    assert!(
        matches!(refused, Ok(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) | Err(_)),
        "{refused:?}"
    );
    stub.forget();
    let mut forged = request(&running, "GET", "/fhir/Patient/1");
    for name in ["forwarded", "x-forwarded-for", "hearthgate-grant", "x_forwarded_for"] {
        forged.headers_mut().insert(name, "for=192.0.2.1".parse().expect("a value"));
    }
    let mut connection = Connection::open(&site, &running).await;
    let answer = connection.ask(forged, &[]).await.expect("an answer");
    assert_eq!(answer.head.status(), StatusCode::OK);
    let seen = stub.only();
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
    assert_ne!(seen.headers["hearthgate-grant"], "for=192.0.2.1");
    assert!(!seen.headers.contains_key("x_forwarded_for"));
}

// GW-022
#[tokio::test]
async fn a_connection_without_requests_ends_after_a_while_and_an_old_one_too() {
    let quick = Duration::from_millis(200);
    let long = Duration::from_secs(600);
    for (idle, age, reason) in [(quick, long, "unused"), (long, quick, "old")] {
        let (site, running, _stub) = start(|config| {
            config.limits.idle = idle;
            config.limits.http2_age = age;
        })
        .await;
        let mut connection = Connection::open(&site, &running).await;
        let answer = connection.ask(request(&running, "GET", "/fhir/Patient/1"), &[]).await;
        assert_eq!(answer.expect("an answer").head.status(), StatusCode::OK);
        connection.ended().await.expect("an end in order");
        let ended = format!("hearthgate_gateway_http2_ended_total{{reason=\"{reason}\"}}");
        assert_eq!(running.metric(&ended).await, 1.0, "{reason}");
    }
}

// GW-022
#[tokio::test]
async fn a_connection_has_so_many_requests_at_a_time_and_in_all() {
    let (site, running, _stub) = start(|config| {
        config.limits.http2_streams = 3;
        config.limits.requests_per_connection = 5;
    })
    .await;
    let mut connection = Connection::open(&site, &running).await;
    for _ in 0..5 {
        let answer = connection.ask(request(&running, "GET", "/fhir/Patient/1"), &[]).await;
        assert_eq!(answer.expect("an answer").head.status(), StatusCode::OK);
    }
    assert_eq!(connection.sender.current_max_send_streams(), 3);
    connection.ended().await.expect("an end in order");
}

// GW-022
#[tokio::test]
async fn whoever_opens_requests_and_leaves_them_is_shown_out_while_others_are_served() {
    let (site, running, stub) = start(|_| {}).await;
    let mut hostile = Connection::open(&site, &running).await;
    let mut other = Connection::open(&site, &running).await;
    stub.script(std::iter::repeat_n(Script::AfterGo, 400));
    let mut left = 0;
    while let Ok(ready) = within("a free stream", hostile.sender.clone().ready()).await {
        hostile.sender = ready;
        let head = request(&running, "GET", "/fhir/Patient/1");
        let Ok((answer, mut stream)) = hostile.sender.send_request(head, true) else { break };
        // Taken up first, so that leaving it costs the gateway most.
        stub.until_begun().await;
        stream.send_reset(h2::Reason::CANCEL);
        drop(answer);
        left += 1;
        assert!(left < 400, "nobody minds");
    }
    hostile.ended().await.expect_err("it is told why");
    stub.forget();
    let answer = other.ask(request(&running, "GET", "/fhir/Patient/2"), &[]).await;
    assert_eq!(answer.expect("an answer").head.status(), StatusCode::OK);
    let ended = "hearthgate_gateway_http2_ended_total{reason=\"abandoned\"}";
    assert_eq!(running.metric(ended).await, 1.0);
}

// GW-062
#[tokio::test]
async fn stopping_finishes_what_is_in_flight() {
    let (site, running, stub) = start(|_| {}).await;
    let mut connection = Connection::open(&site, &running).await;
    stub.script([Script::AfterGo]);
    let asked = connection.ask(request(&running, "GET", "/fhir/Patient/1"), &[]);
    let stop = async {
        stub.until_begun().await;
        running.tell_to_stop();
        tokio::task::yield_now().await;
        stub.go();
    };
    let (answer, ()) = tokio::join!(asked, stop);
    assert_eq!(answer.expect("an answer").head.status(), StatusCode::OK);
    connection.ended().await.expect("an end in order");
    running.until_stopped().await;
}
