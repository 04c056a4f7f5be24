//! Large bodies: whole at both ends, and never in the gateway's memory.

use std::time::Duration;

use bytes::Bytes;
use integration_tests::site::{Deployment, Site};

use crate::waiting::within;

for_every_deployment! {
    a_large_body_goes_through_in_pieces,
    a_body_beyond_the_limit_is_413_whether_its_length_is_said_or_not,
}

/// More than everything else the gateway holds.
const LENGTH: usize = 24 << 20;
/// What a gateway may take for two such bodies that it only passes on.
const GROWTH: u64 = 12 << 20;
/// A debug build reads and writes it all.
const LONG: Duration = Duration::from_secs(60);

/// Letters that look like base64 and do not repeat.
fn letters(length: usize) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = 1_u64;
    let letter = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(alphabet[usize::try_from(state >> 58).unwrap()])
    };
    (0..length).map(letter).collect()
}

async fn a_large_body_goes_through_in_pieces(deployment: Deployment) {
    // GW-011
    let site = Site::start(deployment).await;
    let owner = site.owner();
    let _ = owner.get("/metadata").await.is(200);
    let before = site.front().most_resident();
    let data = letters(LENGTH);
    let body = format!(
        r#"{{"resourceType":"Binary","id":"large","contentType":"application/pdf","data":"{data}"}}"#
    );
    let created = within("the upload ends", LONG, owner.put("/Binary/large", body)).await;
    assert_eq!(created.status, 201);
    let read = within("the download ends", LONG, owner.get("/Binary/large")).await.is(200);
    assert!(read.json()["data"] == data.as_str(), "the data came back changed");
    if deployment == Deployment::TwoProcesses {
        // The kernel counts pages by processor and adds them up later: the most may seem to fall.
        let grown = site.front().most_resident().saturating_sub(before);
        assert!(grown < GROWTH, "the gateway grew by {grown} bytes");
    }
}

async fn a_body_beyond_the_limit_is_413_whether_its_length_is_said_or_not(deployment: Deployment) {
    let mut site = Site::prepare(deployment);
    site.configure("[gateway]\nbody_bytes = 100_000\n");
    site.launch(integration_tests::site::First::Gateway).await;
    let owner = site.owner();
    let body = |length: usize| {
        let text = "x".repeat(length);
        format!(r#"{{"resourceType":"Patient","id":"p","name":[{{"text":"{text}"}}]}}"#)
    };
    let _ = owner.put("/Patient/p", body(90_000)).await.is(201);
    owner.put("/Patient/p", body(100_000)).await.is_outcome(413, "too-long");
    let chunked = |length: usize| {
        let pieces: Vec<Result<Bytes, std::io::Error>> = body(length)
            .into_bytes()
            .chunks(8192)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let stream = futures_util::stream::iter(pieces);
        let request = owner.request(http::Method::PUT, "/Patient/p");
        let request = request.header("content-type", "application/fhir+json");
        crate::client::sent(request.body(reqwest::Body::wrap_stream(stream)))
    };
    assert_eq!(chunked(90_000).await.status, 200);
    chunked(100_000).await.is_outcome(413, "too-long");
    assert_eq!(owner.get("/Patient/p").await.is(200).header("etag"), Some("W/\"2\""));
}
