//! Clients that are slow on purpose, at the real program: what they hold, and how they end.

use std::time::Duration;

use integration_tests::edge::NAME;
use integration_tests::frames::{Outcome, data, head, next, outcome, wide_beginning};
use integration_tests::raw::rest;
use integration_tests::readers::Ask as _;
use integration_tests::served::Served;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::waiting::{SOON, within};

/// Requests that never end, of somebody without a key.
const ENDLESS: u32 = 50;

// GW-020 GW-022 GW-044
#[tokio::test]
async fn requests_that_never_end_take_no_place_of_others_and_are_ended() {
    let served = Served::start("[lanes]\ninteractive = 2\nwait_seconds = 1\n").await;
    let mut stream = served.http2().await;
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", NAME),
        (":path", "/fhir/metadata"),
    ];
    let asked = (0..ENDLESS).map(|number| head(2 * number + 1, &fields, false));
    let bytes = [wide_beginning(), asked.collect::<Vec<_>>().concat()].concat();
    stream.write_all(&bytes).await.unwrap();
    let (mut answered, mut ended) = (0, 0);
    let mut reader = served.reader("/fhir/Patient?_summary=count");
    while ended < ENDLESS {
        match within("an answer or an end", SOON, next(&mut stream)).await {
            (_, Outcome::Good) => answered += 1,
            (_, Outcome::Reset) => ended += 1,
            other => panic!("{other:?}"),
        }
        if answered == ENDLESS {
            assert_eq!(reader.ask().await, Ok(200), "{ended} of them are ended");
        }
    }
    assert_eq!(answered, ENDLESS);
}

// GW-020 GW-022
#[tokio::test]
async fn a_body_that_trickles_is_ended_in_http_1_and_in_http_2() {
    let served = Served::start("[server]\nbody_grace_seconds = 1\n").await;
    let authorization = served.authorization();
    let asked = format!(
        "POST /fhir/Patient HTTP/1.1\r\nhost: {NAME}\r\nauthorization: {authorization}\r\n\
         content-type: application/fhir+json\r\ncontent-length: 8192\r\n\r\n"
    );
    let stream = served.http1().await;
    let answer = trickle(stream, asked.into_bytes(), b" ", async |stream| rest(stream).await).await;
    assert_eq!(answer.status(), Some(408), "{answer:?}");

    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", NAME),
        (":path", "/fhir/Patient"),
        ("authorization", &*authorization),
        ("content-type", "application/fhir+json"),
    ];
    let asked = [wide_beginning(), head(1, &fields, false)].concat();
    let stream = served.http2().await;
    let ends = async |mut stream| {
        let first = outcome(&mut stream, 1).await;
        (first, outcome(&mut stream, 1).await)
    };
    let ended = within("its end", SOON, trickle(stream, asked, &data(1, b" "), ends)).await;
    assert_eq!(ended, (Outcome::Refused, Outcome::Reset));
}

/// Sends `first`, and then `more` again and again, until what is read came to something.
async fn trickle<S: AsyncRead + AsyncWrite, T>(
    stream: S,
    first: Vec<u8>,
    more: &[u8],
    read: impl AsyncFnOnce(tokio::io::ReadHalf<S>) -> T,
) -> T {
    let (reading, mut writing) = tokio::io::split(stream);
    let sending = async {
        let _ = writing.write_all(&first).await;
        while writing.write_all(more).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        read = read(reading) => read,
        () = sending => unreachable!("it pends when it has ended"),
    }
}
