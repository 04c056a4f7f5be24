//! A clock that jumps by hours, under a running server and between two: instants grow, writes are
//! refused while it is far behind the data, reads go on, and what has a term keeps it.

use std::time::Duration;

use crate::support::{Answer, BASE, Site};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const PATIENT: &str = r#"{"resourceType":"Patient","id":"a"}"#;

/// A version of the patient; returns its instant.
async fn written(site: &Site, language: &str) -> String {
    let answer = put(site, language).await;
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    answer.json()["meta"]["lastUpdated"].as_str().unwrap().to_owned()
}

async fn put(site: &Site, language: &str) -> Answer {
    let body = format!(r#"{{"resourceType":"Patient","id":"a","language":"{language}"}}"#);
    site.put("Patient/a", body).await
}

/// Writes get 503 and say why; what is there is read.
async fn refuses_writes_and_reads(site: &Site, newest: &str) {
    let refused = put(site, "de").await.is(503);
    assert!(refused.text().contains("transient"), "{}", refused.text());
    let read = site.get("Patient/a").await.is(200);
    assert_eq!(read.json()["meta"]["lastUpdated"], *newest);
    site.get("Patient/a/_history").await.is(200);
}

#[tokio::test]
async fn a_clock_that_jumps_by_hours_leaves_instants_growing_and_reads_going() {
    let site = Site::on_disk().await;
    let first = written(&site, "en").await;
    // Forward: nothing is wrong with that, as far as anybody can tell.
    site.clock.advance(5 * HOUR);
    let second = written(&site, "fr").await;
    assert!(second > first && second.contains("T08:04:05"), "{second}");
    // Back to what is true: until then, nothing is written, also by a server that starts anew.
    site.clock.back(5 * HOUR);
    refuses_writes_and_reads(&site, &second).await;
    let site = site.restart().await;
    refuses_writes_and_reads(&site, &second).await;
    // A minute behind is not far.
    site.clock.advance(5 * HOUR - Duration::from_secs(60));
    let third = written(&site, "it").await;
    assert!(third > second, "{third} {second}");
    let site = site.restart().await;
    site.clock.advance(Duration::from_secs(1));
    let fourth = written(&site, "es").await;
    assert!(fourth > third, "{fourth} {third}");
    let history = site.get("Patient/a/_history").await.is(200).json();
    let instants = history["entry"].as_array().unwrap().iter();
    let instants: Vec<&str> =
        instants.map(|entry| entry["resource"]["meta"]["lastUpdated"].as_str().unwrap()).collect();
    assert_eq!(instants, [&*fourth, &*third, &*second, &*first]);
}

/// A repetition is answered for 7 days of the clock, and while it is behind the request.
#[tokio::test]
async fn a_named_request_is_known_for_its_days_whichever_way_the_clock_jumps() {
    let site = Site::on_disk().await;
    let send = async |site: &Site| {
        let ask = site.ask("POST", "Patient").header("idempotency-key", "k");
        ask.body(PATIENT.to_owned()).send().await
    };
    let first = send(&site).await.is(201).reference();
    site.clock.advance(6 * DAY);
    assert_eq!(send(&site).await.is(201).reference(), first);
    site.clock.back(12 * DAY);
    assert_eq!(send(&site).await.is(201).reference(), first);
    assert_eq!(site.position(), 1);
    // What is not known is not done while the clock is wrong.
    put(&site, "en").await.is(503);
    site.clock.advance(14 * DAY);
    assert_ne!(send(&site).await.is(201).reference(), first);
    assert_eq!(site.position(), 2);
}

/// Links live a day of the clock. One that was made by a clock that ran ahead is refused once the
/// clock is right, and others are made.
#[tokio::test]
async fn a_page_link_keeps_its_day_when_the_clock_jumps_by_hours() {
    let site = Site::on_disk().await;
    for language in ["en", "fr", "it"] {
        written(&site, language).await;
    }
    let link = async || {
        let page = site.get("Patient/a/_history?_count=1").await.is(200).json();
        let mut links = page["link"].as_array().unwrap().iter();
        let next = links.find(|link| link["relation"] == "next").unwrap();
        let url = next["url"].as_str().unwrap().to_owned();
        url.strip_prefix(BASE).unwrap().trim_start_matches('/').to_owned()
    };
    let early = link().await;
    site.clock.advance(5 * HOUR);
    site.get(&early).await.is(200);
    let ahead = link().await;
    site.clock.back(5 * HOUR);
    site.get(&early).await.is(200);
    site.get(&ahead).await.is(410);
    let made_anew = link().await;
    site.get(&made_anew).await.is(200);
    site.clock.advance(DAY + HOUR);
    for link in [&early, &made_anew] {
        site.get(link).await.is(410);
    }
}
