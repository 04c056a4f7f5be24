//! What the tenant's policy sets apart instead of refusing it.

mod emptied;
mod seen;
mod set_apart;

use serde_json::{Value, json};
use server::{Action, Depth, Policy, WritePolicy};

use crate::support::{Answer, Site, check_issues};

fn quarantining() -> WritePolicy {
    let default = Policy { depth: Depth::Base, action: Action::Quarantine };
    WritePolicy { default, ..WritePolicy::default() }
}

/// A patient with something that R4 has no name for.
fn invalid(id: &str) -> String {
    format!("{{ \"resourceType\": \"Patient\",\n  \"id\": \"{id}\", \"colour\": \"red\" }}")
}

/// The item that an answer says its resource is quarantined as.
#[track_caller]
fn item_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text());
    let outcome = answer.json();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    check_issues(&outcome);
    assert_eq!(outcome["issue"][0]["severity"], "information");
    let location = answer.header("location").unwrap();
    location.split_once("$quarantine?item=").unwrap().1.to_owned()
}

/// The parts or parameters of this name.
fn values<'v>(list: &'v Value, name: &str) -> Vec<&'v Value> {
    let list = list.as_array().into_iter().flatten();
    let named = list.filter(|part| part["name"] == name);
    let value = |part: &'v Value| {
        let members = part.as_object().unwrap().iter();
        members.filter(|(name, _)| *name != "name").map(|(_, value)| value).next().unwrap()
    };
    named.map(value).collect()
}

async fn items(site: &Site, query: &str) -> Vec<String> {
    let bundle = site.get(&format!("$quarantine{query}")).await.is(200).json();
    let entries = bundle["entry"].as_array().into_iter().flatten();
    let id = |entry: &Value| {
        values(&entry["resource"]["parameter"], "item")[0].as_str().unwrap().to_owned()
    };
    entries.map(id).collect()
}

fn named(items: &[&str]) -> Value {
    let items: Vec<_> = items.iter().map(|id| json!({ "name": "item", "valueId": id })).collect();
    json!({ "resourceType": "Parameters", "parameter": items })
}

/// What became of each item, with where it is or why it is not.
async fn done(site: &Site, operation: &str, items: &[&str]) -> Vec<(String, String)> {
    let answer = site.post(operation, named(items)).await.is(200).json();
    let result = |part: &Value| {
        let part = &part["part"];
        let outcome = values(part, "outcome")[0].as_str().unwrap().to_owned();
        let place = values(part, "location").first().map(|it| it.as_str().unwrap().to_owned());
        let why = values(part, "issues").first().map(|outcome| {
            check_issues(outcome);
            outcome["issue"][0]["code"].as_str().unwrap().to_owned()
        });
        (outcome, place.or(why).unwrap_or_default())
    };
    answer["parameter"].as_array().unwrap().iter().map(result).collect()
}

async fn released(site: &Site, items: &[&str]) -> Vec<(String, String)> {
    done(site, "$quarantine-release", items).await
}

fn outcome(outcome: &str, detail: &str) -> (String, String) {
    (outcome.to_owned(), detail.to_owned())
}
