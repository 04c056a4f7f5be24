//! Links between pages of a search: whoever changes one, has another's, or comes too late with it
//! gets no page, and the server keeps nothing of them.

use std::time::Duration;

use serde_json::json;

use super::search::{ids, link, put};
use crate::support::{Access, Site};

/// A site over files, and the link from the first of its pages to the next.
async fn three() -> (Site, String) {
    let site = Site::on_disk().await;
    for id in ["1", "2", "3"] {
        put(&site, json!({ "resourceType": "Patient", "id": id })).await;
    }
    let first = site.get("Patient?_count=1&_sort=_id").await.is(200).json();
    assert_eq!(ids(&first, "match"), ["1"]);
    (site, link(&first, "next").unwrap())
}

async fn refused(site: &Site, target: &str, access: &Access, status: u16) {
    let answer = site.ask("GET", target).by(access).send().await.is(status);
    assert_eq!(answer.expressions(), ["http._page"], "{target}");
}

#[tokio::test]
async fn a_link_changed_in_any_of_its_bytes_opens_nothing() {
    // SRCH-206, LEAK-17
    let (site, next) = three().await;
    let owner = Access::owner();
    let (path, sealed) = next.split_once("_page=").unwrap();
    assert!(sealed.len() > 40 && sealed.is_ascii(), "{sealed}");
    for at in 0..sealed.len() {
        let (before, rest) = sealed.split_at(at);
        let (byte, after) = rest.split_at(1);
        let other = if byte == "A" { "B" } else { "A" };
        refused(&site, &format!("{path}_page={before}{other}{after}"), &owner, 400).await;
        refused(&site, &format!("{path}_page={before}{after}"), &owner, 400).await;
        refused(&site, &format!("{path}_page={before}"), &owner, 400).await;
    }
    for more in ["A", "%00", "=", "."] {
        refused(&site, &format!("{next}{more}"), &owner, 400).await;
    }
    // None of that took anything from the one that is whole.
    assert_eq!(ids(&site.get(&next).await.is(200).json(), "match"), ["2"]);
}

#[tokio::test]
async fn a_link_opens_for_its_user_and_its_kind_of_page_alone() {
    // SRCH-206
    let (site, next) = three().await;
    let owner = Access::owner();
    refused(&site, &next, &owner.clone().used_by("Practitioner/1"), 400).await;
    refused(&site, &next, &owner.clone().launched_for("1"), 400).await;
    refused(&site, &next, &owner.clone().being("Practitioner/1"), 400).await;
    refused(&site, &next, &owner.clone().within_encounter("1"), 400).await;
    let first = site.ask("GET", "Patient?_count=1").by(&owner.clone().used_by("Practitioner/1"));
    let of_user = link(&first.send().await.is(200).json(), "next").unwrap();
    refused(&site, &of_user, &owner.clone().used_by("Practitioner/2"), 400).await;
    refused(&site, &of_user, &owner, 400).await;
    // Nor is one of a history one of a search, and the other way round.
    let history = site.get("Patient/_history?_count=1").await.is(200).json();
    let of_history = link(&history, "next").unwrap();
    refused(&site, &of_history.replace("/_history", ""), &owner, 400).await;
    refused(&site, &next.replace("Patient?", "Patient/_history?"), &owner, 400).await;
}

#[tokio::test]
async fn a_link_outlives_a_restart_and_lives_a_day() {
    // SRCH-205, SRCH-206: what it leads to is in the link, and nothing is kept of it.
    let (site, next) = three().await;
    let site = site.restart().await;
    for id in ["1", "2", "3"] {
        site.delete(&format!("Patient/{id}")).await.is(204);
    }
    site.is_indexed().await;
    site.clock.advance(Duration::from_secs(24 * 3600));
    // As often as one likes.
    for _ in 0..2 {
        let second = site.get(&next).await.is(200).json();
        assert_eq!(ids(&second, "match"), ["2"]);
        assert_eq!(second["total"], 3);
    }
    let second = site.get(&next).await.is(200).json();
    site.clock.advance(Duration::from_micros(1));
    refused(&site, &next, &Access::owner(), 410).await;
    // Each page has a link of its own age.
    let last = site.get(&link(&second, "next").unwrap()).await.is(200).json();
    assert_eq!(ids(&last, "match"), ["3"]);
}
