//! Faults of our own: what the client learns when the store fails.

use std::time::Duration;

use crate::support::bundle::{entry, patient, transaction};
use crate::support::{Answer, Fault, Site, TROUBLE, raw};

async fn writes(site: &Site) -> [Answer; 3] {
    [
        site.put("Patient/1", patient("1")).await,
        site.delete("Patient/2").await,
        site.post("", transaction([entry("PUT", "Patient/3", patient("3"))])).await,
    ]
}

async fn is_ready(site: &Site) -> bool {
    let request = "GET /ready HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    let answer = raw(&site.channel_socket, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 503 "));
    answer.starts_with("HTTP/1.1 200 ")
}

#[tokio::test]
async fn a_full_disk_is_503_until_there_is_room_again() {
    // HTTP-206
    let site = Site::start().await;
    site.put("Patient/2", patient("2")).await.is(201);
    site.fail(Fault::DiskFull);
    for answer in writes(&site).await {
        let answer = answer.is(503);
        assert_eq!(
            (answer.code().as_str(), answer.header("retry-after")),
            ("transient", Some("1"))
        );
        assert!(answer.text().contains("disk is full"), "{}", answer.text());
    }
    assert_eq!(site.position(), 1);
    site.get("Patient/2").await.is(200);
    site.get("Patient/1").await.is(404);
    assert!(is_ready(&site).await);
    site.fail(Fault::None);
    assert_eq!(writes(&site).await.map(|answer| answer.status), [201, 204, 200]);
}

#[tokio::test]
async fn a_clock_behind_the_data_is_503_that_says_so_until_it_is_right() {
    // HTTP-206
    let site = Site::start().await;
    site.put("Patient/2", patient("2")).await.is(201);
    site.clock.back(Duration::from_secs(61));
    let (now, newest) = ("2026-01-02T03:03:04.678901Z", "2026-01-02T03:04:05.678901Z");
    for answer in writes(&site).await {
        let answer = answer.is(503);
        assert_eq!(
            (answer.code().as_str(), answer.header("retry-after")),
            ("transient", Some("1"))
        );
        let text = answer.text();
        assert!(text.contains(now) && text.contains(newest) && text.contains("clock"), "{text}");
    }
    let request = "GET /ready HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    let ready = raw(&site.channel_socket, request.as_bytes()).await;
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains(newest), "{ready}");
    site.get("Patient/2").await.is(200);
    site.get("Patient/1").await.is(404);
    site.clock.advance(Duration::from_secs(61));
    assert!(is_ready(&site).await);
    assert_eq!(writes(&site).await.map(|answer| answer.status), [201, 204, 200]);
}

#[tokio::test]
async fn a_store_that_takes_no_more_is_503_and_not_ready_and_still_read() {
    let site = Site::start().await;
    site.put("Patient/2", patient("2")).await.is(201);
    assert!(is_ready(&site).await);
    site.fail(Fault::Poisoned);
    for answer in writes(&site).await {
        answer.is(503);
    }
    let request = "GET /ready HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    let ready = raw(&site.channel_socket, request.as_bytes()).await;
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains(TROUBLE), "{ready}");
    site.get("Patient/2").await.is(200);
}

#[tokio::test]
async fn a_disk_that_became_read_only_is_503_and_read_until_it_takes_writes_again() {
    // HTTP-206
    let site = Site::start().await;
    site.put("Patient/2", patient("2")).await.is(201);
    site.fail(Fault::ReadOnly);
    for answer in writes(&site).await {
        let answer = answer.is(503);
        assert_eq!(
            (answer.code().as_str(), answer.header("retry-after")),
            ("transient", Some("1"))
        );
    }
    assert_eq!(site.position(), 1);
    site.get("Patient/2").await.is(200);
    site.get("Patient/1").await.is(404);
    site.fail(Fault::None);
    assert_eq!(writes(&site).await.map(|answer| answer.status), [201, 204, 200]);
}

#[tokio::test]
async fn a_read_that_the_disk_fails_is_an_error_of_that_request_alone() {
    // HTTP-204, HTTP-206
    let site = Site::start().await;
    for id in ["2", "4"] {
        site.put(&format!("Patient/{id}"), patient(id)).await.is(201);
    }
    site.fail(Fault::NotGivenAt(1));
    let answer = site.get("Patient/2").await.is(500);
    assert_eq!(answer.code(), "exception");
    assert!(!answer.text().contains("/srv") && !answer.text().contains("4096"));
    site.get("Patient/4").await.is(200);
    site.put("Patient/5", patient("5")).await.is(201);
    assert!(is_ready(&site).await);
    site.fail(Fault::None);
    site.get("Patient/2").await.is(200);
}

#[tokio::test]
async fn a_store_that_is_putting_itself_right_is_503_and_not_ready_until_it_has() {
    // HTTP-206
    let site = Site::start().await;
    site.put("Patient/2", patient("2")).await.is(201);
    site.fail(Fault::StateFailed);
    assert!(!is_ready(&site).await);
    let read = [site.get("Patient/2").await];
    for answer in read.into_iter().chain(writes(&site).await) {
        let answer = answer.is(503);
        assert_eq!(
            (answer.code().as_str(), answer.header("retry-after")),
            ("transient", Some("1"))
        );
        assert!(!answer.text().contains("/srv"), "{}", answer.text());
    }
    site.fail(Fault::None);
    assert!(is_ready(&site).await);
    site.get("Patient/2").await.is(200);
    assert_eq!(writes(&site).await.map(|answer| answer.status), [201, 204, 200]);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_500_and_tells_nothing_of_the_inside() {
    // HTTP-204, HTTP-206
    let site = Site::start().await;
    site.put("Patient/2", patient("2")).await.is(201);
    site.fail(Fault::BodiesUnreadable);
    for target in ["Patient/2", "Patient/2/_history/1", "Patient/2/_history"] {
        let answer = site.get(target).await.is(500);
        assert_eq!(answer.code(), "exception");
        assert!(!answer.text().contains("/srv") && !answer.text().contains("type and id"));
    }
}
