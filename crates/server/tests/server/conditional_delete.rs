//! delete by criteria: alone, in a batch and in a transaction.

use serde_json::{Value, json};
use server::Limits;

use crate::support::bundle::{batch, entry, transaction, when};
use crate::support::{Access, Site, rule};

fn patient(id: &str, family: &str) -> Value {
    json!({ "resourceType": "Patient", "id": id, "name": [{ "family": family }] })
}

async fn clinic(conditional_deletes: usize) -> Site {
    let site = Site::limited(Limits { conditional_deletes, ..Limits::default() }).await;
    for (id, family) in [("1", "Lovelace"), ("2", "Byron"), ("3", "Byron"), ("4", "Byron")] {
        site.put(&format!("Patient/{id}"), patient(id, family)).await.is(201);
    }
    site
}

fn by(family: &str) -> String {
    format!("Patient?family={family}")
}

#[tokio::test]
async fn one_match_is_deleted_none_is_done_and_several_are_refused() {
    // HTTP-136
    let site = clinic(1).await;
    let position = site.position();
    assert_eq!(site.delete(&by("Babbage")).await.is(204).header("etag"), None);
    let several = site.delete(&by("Byron")).await.is(412);
    assert_eq!(several.code(), "multiple-matches");
    assert_eq!(site.position(), position);
    let deleted = site.delete(&by("Lovelace")).await.is(204);
    assert!(deleted.body.is_empty());
    assert_eq!(deleted.header("etag"), Some("W/\"2\""));
    site.get("Patient/1").await.is(410);
    assert_eq!(site.delete(&by("Lovelace")).await.is(204).header("etag"), None);
    assert_eq!(site.position(), position + 1);
}

#[tokio::test]
async fn several_are_deleted_together_where_the_configuration_says_so() {
    // HTTP-137
    let site = clinic(2).await;
    let position = site.position();
    let refused = site.delete(&by("Byron")).await.is(412);
    assert!(refused.text().contains("more than 2"), "{}", refused.text());
    assert_eq!(site.position(), position);
    // A version is that of one resource.
    let byron = by("Byron");
    site.ask("DELETE", &byron).header("if-match", "W/\"1\"").send().await.is(412);
    site.delete("Patient/4").await.is(204);
    site.delete(&by("Byron")).await.is(204);
    for id in ["2", "3"] {
        site.get(&format!("Patient/{id}")).await.is(410);
    }
    // All in one commit.
    assert_eq!(site.position(), position + 2);
    let statement = site.get("metadata").await.text();
    assert!(statement.contains(r#""conditionalDelete":"multiple""#));
    let statement = clinic(1).await.get("metadata").await.text();
    assert!(statement.contains(r#""conditionalDelete":"single""#));
}

#[tokio::test]
async fn without_usable_criteria_nothing_is_deleted() {
    // HTTP-138, SRCH-026
    let site = clinic(100).await;
    let position = site.position();
    let all = site.post("", batch([entry("DELETE", "Patient", Value::Null)])).await.is(200);
    assert_eq!(all.statuses(), [405]);
    for criteria in ["bogus=x", "_format=json", "family=", "family=Byron&_count=1", "_type=Patient"]
    {
        let target = format!("Patient?{criteria}");
        site.delete(&target).await.is(400);
        let entries = || [entry("DELETE", &target, Value::Null)];
        site.post("", transaction(entries())).await.is(400);
        assert_eq!(site.post("", batch(entries())).await.is(200).statuses(), [400], "{criteria}");
    }
    assert_eq!(site.position(), position);
}

#[tokio::test]
async fn entries_delete_what_their_criteria_match() {
    // HTTP-136, HTTP-137
    for bundle in [batch as fn(_) -> Value, transaction as fn(_) -> Value] {
        let site = clinic(3).await;
        let entries = vec![
            entry("DELETE", &by("Lovelace"), Value::Null),
            entry("DELETE", &by("Byron"), Value::Null),
            entry("DELETE", &by("Babbage"), Value::Null),
        ];
        let answer = site.post("", bundle(entries)).await.is(200);
        assert_eq!(answer.statuses(), [204, 204, 204]);
        assert_eq!(answer.entry(0)["etag"], "W/\"2\"");
        assert_eq!(site.get("Patient").await.json()["total"], 0);
    }
    // Of a transaction all or nothing.
    let site = clinic(1).await;
    let position = site.position();
    let entries =
        [entry("DELETE", &by("Lovelace"), Value::Null), entry("DELETE", &by("Byron"), Value::Null)];
    site.post("", transaction(entries)).await.is(412);
    let stale = when(entry("DELETE", &by("Lovelace"), Value::Null), "ifMatch", "W/\"7\"");
    site.post("", transaction([stale])).await.is(412);
    assert_eq!(site.position(), position);
}

#[tokio::test]
async fn it_takes_the_right_to_delete_and_to_search() {
    // LEAK-12
    let site = clinic(1).await;
    let position = site.position();
    for actions in [&["delete", "read"][..], &["search", "read", "update"]] {
        let access = Access::of(vec![rule(&["Patient"], actions, "all")]);
        let delete = async |family: &str| {
            site.ask("DELETE", &by(family)).by(&access).send().await.is(403).body
        };
        assert_eq!(delete("Lovelace").await, delete("Babbage").await);
        for family in ["Lovelace", "Babbage"] {
            let bundle = transaction([entry("DELETE", &by(family), Value::Null)]);
            site.ask("POST", "").by(&access).body(bundle).send().await.is(403);
        }
    }
    assert_eq!(site.position(), position);
}

#[tokio::test]
async fn sent_again_by_its_name_it_is_done_once() {
    let site = clinic(3).await;
    let position = site.position();
    for (key, family) in [("a", "Lovelace"), ("b", "Byron"), ("c", "Babbage")] {
        let (mut etags, target) = (Vec::new(), by(family));
        for _ in 0..2 {
            let ask = site.ask("DELETE", &target);
            let answer = ask.header("idempotency-key", key).send().await.is(204);
            etags.push(answer.header("etag").map(str::to_owned));
        }
        assert_eq!(etags[0], etags[1], "{family}");
    }
    assert_eq!(site.position(), position + 3);
}
