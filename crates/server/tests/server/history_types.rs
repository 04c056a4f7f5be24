//! history of a type and of everything.

use std::time::Duration;

use serde_json::Value;

use crate::support::bundle::transaction;
use crate::support::{Access, BASE, Site, rule};

fn resource(of: &str, id: &str, language: &str) -> String {
    format!(r#"{{"resourceType":"{of}","id":"{id}","language":"{language}"}}"#)
}

/// `Type/id.version` of each entry, and what its request was.
fn entries(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = |entry: &Value| {
        let url = entry["fullUrl"].as_str().unwrap();
        let name = url.strip_prefix(BASE).unwrap().strip_prefix('/').unwrap();
        let etag = entry["response"]["etag"].as_str().unwrap();
        let method = entry["request"]["method"].as_str().unwrap();
        let status = entry["response"]["status"].as_str().unwrap();
        assert_eq!(entry.get("resource").is_some(), method != "DELETE", "{entry}");
        let resource = &entry["resource"];
        if method != "DELETE" {
            let reference = format!(
                "{}/{}",
                resource["resourceType"].as_str().unwrap(),
                resource["id"].as_str().unwrap()
            );
            assert_eq!(reference, name);
            assert_eq!(resource["meta"]["lastUpdated"], entry["response"]["lastModified"]);
        }
        format!("{name}.{} {method} {status}", &etag[3..etag.len() - 1])
    };
    entries.iter().map(shown).collect()
}

/// Every minute one: Patient/1 and Observation/1 together, Patient/2, Patient/1 anew,
/// Patient/2 deleted, Patient/2 anew.
async fn site(site: Site) -> Site {
    let later = || site.clock.advance(Duration::from_secs(60));
    let both = transaction([
        serde_json::json!({
            "request": { "method": "PUT", "url": "Patient/1" },
            "resource": { "resourceType": "Patient", "id": "1" }
        }),
        serde_json::json!({
            "request": { "method": "PUT", "url": "Observation/1" },
            "resource": { "resourceType": "Observation", "id": "1" }
        }),
    ]);
    site.post("", both).await.is(200);
    later();
    site.put("Patient/2", resource("Patient", "2", "en")).await.is(201);
    later();
    site.put("Patient/1", resource("Patient", "1", "de")).await.is(200);
    later();
    site.delete("Patient/2").await.is(204);
    later();
    site.put("Patient/2", resource("Patient", "2", "fr")).await.is(201);
    site
}

const ALL: [&str; 6] = [
    "Patient/2.3 PUT 201",
    "Patient/2.2 DELETE 204",
    "Patient/1.2 PUT 200",
    "Patient/2.1 PUT 201",
    "Observation/1.1 PUT 201",
    "Patient/1.1 PUT 201",
];

fn patients() -> Vec<&'static str> {
    ALL.into_iter().filter(|entry| entry.starts_with("Patient")).collect()
}

#[tokio::test]
async fn the_history_of_everything_has_each_version_the_newest_first() {
    // HTTP-143, HTTP-144, HTTP-145, HTTP-147, HTTP-157
    for site in [site(Site::start().await).await, site(Site::on_disk().await).await.restart().await]
    {
        let bundle = site.get("_history").await.is(200).json();
        assert_eq!(
            (&bundle["resourceType"], &bundle["type"]),
            (&"Bundle".into(), &"history".into())
        );
        assert_eq!(entries(&bundle), ALL);
        assert_eq!(bundle["total"], 6);
        assert_eq!(bundle["link"][0]["relation"], "self");
        assert_eq!(bundle["link"][0]["url"], format!("{BASE}/_history"));
    }
}

#[tokio::test]
async fn the_history_of_a_type_has_the_versions_of_that_type() {
    // HTTP-143, HTTP-153
    for site in [site(Site::start().await).await, site(Site::on_disk().await).await.restart().await]
    {
        let bundle = site.get("Patient/_history").await.is(200).json();
        assert_eq!(entries(&bundle), patients());
        assert_eq!(bundle["total"], 5);
        let bundle = site.get("Observation/_history").await.is(200).json();
        assert_eq!(entries(&bundle), ["Observation/1.1 PUT 201"]);
        // A type of which there is nothing has a history of nothing.
        let bundle = site.get("Device/_history").await.is(200).json();
        assert_eq!((&bundle["total"], entries(&bundle).len()), (&0.into(), 0));
        assert_eq!(site.get("Foo/_history").await.is(404).code(), "not-supported");
    }
}

#[tokio::test]
async fn a_version_made_by_create_is_shown_as_post_to_its_type() {
    // HTTP-146
    let site = Site::start().await;
    site.post("Patient", r#"{"resourceType":"Patient"}"#).await.is(201);
    let bundle = site.get("_history").await.is(200).json();
    let request = &bundle["entry"][0]["request"];
    assert_eq!((&request["method"], &request["url"]), (&"POST".into(), &"Patient".into()));
    assert_eq!(bundle["entry"][0]["response"]["status"], "201");
}

#[tokio::test]
async fn since_begins_with_its_own_instant() {
    // HTTP-149
    let site = site(Site::start().await).await;
    let check = async |query: &str, expected: &[&str]| {
        let bundle = site.get(&format!("_history?_since={query}")).await.is(200).json();
        assert_eq!(entries(&bundle), expected, "{query}");
        assert_eq!(bundle["total"], expected.len(), "{query}");
    };
    check("2026-01-02T03:06:05.678901Z", &ALL[..3]).await;
    check("2026-01-02T03:06:05.678902Z", &ALL[..2]).await;
    check("2026-01-02T03:04:05.678901Z", &ALL).await;
    check("2027-01-01T00:00:00Z", &[]).await;
}

#[tokio::test]
async fn at_shows_what_was_current_in_that_time() {
    // HTTP-150
    let site = site(Site::start().await).await;
    let check = async |target: &str, expected: &[&str]| {
        let bundle = site.get(target).await.is(200).json();
        assert_eq!(entries(&bundle), expected, "{target}");
    };
    // At one instant each resource has one version, and a deletion is one.
    check("_history?_at=2026-01-02T03:04:05.678900Z", &[]).await;
    check("_history?_at=2026-01-02T03:04:05.678901Z", &ALL[4..]).await;
    check("_history?_at=2026-01-02T03:06:30.000000Z", &ALL[2..5]).await;
    check("_history?_at=2026-01-02T03:07:30.000000Z", &[ALL[1], ALL[2], ALL[4]]).await;
    check("Patient/_history?_at=2026-01-02T03:07:30.000000Z", &ALL[1..3]).await;
    check("Patient/2/_history?_at=2026-01-02T03:06:30.000000Z", &ALL[3..4]).await;
    // Within a second something may begin and something end.
    check("Patient/_history?_at=2026-01-02T03:06:05Z", &[ALL[2], ALL[3], ALL[5]]).await;
    check("Patient/2/_history?_at=2026-01-02T03:07:05Z", &[ALL[1], ALL[3]]).await;
    check("_history?_at=2026-01-02", &ALL).await;
    check("_history?_at=2026-01-01", &[]).await;
    check("_history?_at=2027", &[ALL[0], ALL[2], ALL[4]]).await;
    check("_history?_at=2026&_since=2026-01-02T03:07:00Z", &ALL[..2]).await;
}

#[tokio::test]
async fn who_sees_one_patient_sees_that_patients_versions_and_counts_no_others() {
    // HTTP-154
    let site = site(Site::start().await).await;
    let own = Access::of_patient("1");
    let ask = async |target: &str| site.ask("GET", target).by(&own).send().await;
    let bundle = ask("Patient/_history").await.is(200).json();
    assert_eq!(entries(&bundle), [ALL[2], ALL[5]]);
    assert_eq!(bundle["total"], 2);
    let first = ask("Patient/_history?_count=1").await.is(200).json();
    assert_eq!((entries(&first), &first["total"]), (vec![ALL[2].to_owned()], &2.into()));
    let next = first["link"][1]["url"].as_str().unwrap().strip_prefix(BASE).unwrap();
    let second = ask(next).await.is(200).json();
    assert_eq!((entries(&second), &second["total"]), (vec![ALL[5].to_owned()], &2.into()));
    let at = ask("Patient/_history?_at=2026-01-02T03:07:30.000000Z").await.is(200).json();
    assert_eq!(entries(&at), [ALL[2]]);
    let other = ask("Observation/_history").await.is(200).json();
    assert_eq!((entries(&other).len(), &other["total"]), (0, &0.into()));
    let whole = ask("_history").await.is(200).json();
    assert_eq!((entries(&whole), &whole["total"]), (vec![ALL[2].into(), ALL[5].into()], &2.into()));
    let of_type = Access::of(vec![rule(&["Patient"], &["history", "search"], "all")]);
    let bundle = site.ask("GET", "Patient/_history").by(&of_type).send().await.is(200).json();
    assert_eq!(entries(&bundle), patients());
    site.ask("GET", "Observation/_history").by(&of_type).send().await.is(403);
    site.ask("GET", "_history").by(&of_type).send().await.is(403);
    // Listing takes more than reading one after the other.
    let reader = Access::of(vec![rule(&["*"], &["read"], "all")]);
    site.ask("GET", "Patient/_history").by(&reader).send().await.is(403);
    let elsewhere = Access::owner().in_tenant("other");
    let bundle = site.ask("GET", "_history").by(&elsewhere).send().await.is(200).json();
    assert_eq!((&bundle["total"], entries(&bundle).len()), (&0.into(), 0));
}
