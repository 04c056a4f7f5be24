//! create with `If-None-Exist`.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::support::bundle::{entry, identified, transaction, when};
use crate::support::{Access, Answer, Site, rule};

fn patient(value: &str, language: &str) -> String {
    format!(
        r#"{{"resourceType":"Patient","identifier":[{{"system":"urn:mrn","value":"{value}"}}],"language":"{language}"}}"#
    )
}

async fn create(site: &Site, criteria: &str) -> Answer {
    let ask = site.ask("POST", "Patient").header("if-none-exist", criteria);
    ask.body(patient("47", "new")).send().await
}

#[tokio::test]
async fn no_match_creates() {
    // HTTP-081
    let site = Site::on_disk().await;
    let created = create(&site, "identifier=urn:mrn|47").await.is(201);
    site.get(&created.reference()).await.is(200);
}

#[tokio::test]
async fn one_match_answers_with_it_and_writes_nothing() {
    // HTTP-082, HTTP-084
    let site = Site::on_disk().await;
    let existing = site.post("Patient", patient("47", "old")).await.is(201).reference();
    let position = site.position();
    for criteria in
        ["identifier=urn:mrn|47", "?identifier=urn:mrn|47", "Patient?identifier=urn%3Amrn%7C47"]
    {
        let found = create(&site, criteria).await.is(200);
        assert_eq!(found.reference(), existing, "{criteria}");
        assert_eq!(found.header("etag"), Some("W/\"1\""));
        assert_eq!(found.json()["language"], "old");
    }
    let ask = site.ask("POST", "Patient").header("if-none-exist", "identifier=urn:mrn|47");
    let ask = ask.header("prefer", "return=minimal").body(patient("47", "new"));
    assert!(ask.send().await.is(200).body.is_empty());
    assert_eq!(site.position(), position);
}

#[tokio::test]
async fn several_matches_are_refused() {
    // HTTP-083
    let site = Site::start().await;
    site.post("Patient", patient("47", "a")).await.is(201);
    site.post("Patient", patient("47", "b")).await.is(201);
    let refused = create(&site, "identifier=urn:mrn|47").await.is(412);
    assert_eq!(refused.code(), "multiple-matches");
    assert_eq!(refused.expressions(), ["http.If-None-Exist"]);
    assert_eq!(site.position(), 2);
}

#[tokio::test]
async fn criteria_that_say_nothing_are_refused() {
    // HTTP-085
    let site = Site::start().await;
    for criteria in
        ["", "?", "foo=bar", "_format=json", "identifier=", "identifier=urn:mrn|47&foo=bar"]
    {
        let refused = create(&site, criteria).await.is(400);
        assert_eq!(refused.expressions(), ["http.If-None-Exist"], "{criteria}");
    }
    // A type that has no identifiers could never match, and would be created each time.
    let ask = site.ask("POST", "Provenance").header("if-none-exist", "identifier=urn:mrn|47");
    ask.body(r#"{"resourceType":"Provenance"}"#).send().await.is(400);
    assert_eq!(site.position(), 0);
}

#[tokio::test]
async fn what_is_deleted_or_bears_it_no_longer_is_no_match() {
    let site = Site::on_disk().await;
    let first = site.post("Patient", patient("47", "a")).await.is(201).reference();
    site.delete(&first).await.is(204);
    let second = create(&site, "identifier=urn:mrn|47").await.is(201).reference();
    let body = format!(
        r#"{{"resourceType":"Patient","id":"{}","identifier":[{{"system":"urn:mrn","value":"48"}}]}}"#,
        &second["Patient/".len()..]
    );
    site.put(&second, body).await.is(200);
    let third = create(&site, "identifier=urn:mrn|47").await.is(201).reference();
    assert_eq!(create(&site, "identifier=urn:mrn|47").await.is(200).reference(), third);
    // An identifier's system counts, as does having none.
    create(&site, "identifier=urn:other|47").await.is(201);
    create(&site, "identifier=|47").await.is(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_at_once_one_creates_and_all_get_the_same_resource() {
    // HTTP-086, HTTP-232
    let site = Arc::new(Site::on_disk().await);
    let mut creates = JoinSet::new();
    for _ in 0..64 {
        let site = Arc::clone(&site);
        creates.spawn(async move { create(&site, "identifier=urn:mrn|47").await });
    }
    let answers = creates.join_all().await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    let found = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((created, found), (1, 63));
    let references: BTreeSet<_> = answers.iter().map(Answer::reference).collect();
    assert_eq!(references.len(), 1);
    assert_eq!(site.position(), 1);
}

#[tokio::test]
async fn a_condition_takes_the_right_to_search() {
    // LEAK-12, LEAK-13
    let site = Site::start().await;
    site.post("Patient", patient("47", "a")).await.is(201);
    let access = Access::of(vec![rule(&["Patient"], &["create", "read"], "all")]);
    let ask = async |value: &str| {
        let criteria = format!("identifier=urn:mrn|{value}");
        let ask = site.ask("POST", "Patient").by(&access).header("if-none-exist", criteria);
        ask.body(patient(value, "b")).send().await.is(403)
    };
    // The answer does not tell whether there is a match.
    let (one, none) = (ask("47").await, ask("48").await);
    assert_eq!(one.body, none.body);
    assert_eq!((one.header("etag"), one.header("location")), (None, None));
    assert_eq!(site.position(), 1);
}

#[tokio::test]
async fn whoever_may_not_read_the_match_learns_nothing_of_it() {
    // LEAK-13
    let site = Site::start().await;
    site.post("Patient", patient("47", "secret")).await.is(201);
    let access = Access::of(vec![rule(&["Patient"], &["create", "search"], "all")]);
    let criteria = "identifier=urn:mrn|47";
    let ask = site.ask("POST", "Patient").by(&access).header("if-none-exist", criteria);
    let found = ask.body(patient("47", "new")).send().await.is(200);
    assert!(found.body.is_empty());
    for name in ["location", "etag", "last-modified", "content-location"] {
        assert_eq!(found.header(name), None, "{name}");
    }
    let create = when(entry("POST", "Patient", identified("47")), "ifNoneExist", criteria);
    let ask = site.ask("POST", "").by(&access).header("prefer", "return=representation");
    let found = ask.body(transaction([create])).send().await.is(200);
    let expected = r#"{"resourceType":"Bundle","type":"transaction-response","entry":[{"response":{"status":"200 OK"}}]}"#;
    assert_eq!(found.text(), expected);
}
