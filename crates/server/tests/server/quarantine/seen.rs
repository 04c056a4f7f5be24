//! What is shown of the items, and to whom.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{invalid, item_of, items, named, quarantining, values};
use crate::support::{Access, Site, rule};

#[tokio::test]
async fn an_item_says_who_sent_what_and_has_its_body_byte_for_byte() {
    let site = Site::asking(quarantining()).await;
    let sender = Access::owner().sent_by("lab-feed");
    let ask = site.ask("PUT", "Patient/1").by(&sender).header("x-request-id", "r-77");
    let item = item_of(&ask.body(invalid("1")).send().await);
    let xml = "<Patient xmlns='http://hl7.org/fhir'>\n<birthDate value='someday'/></Patient>";
    let ask = site.ask("POST", "Patient").bytes("application/fhir+xml", xml);
    let answer = ask.send().await;
    assert_eq!((answer.status, &*answer.expressions()[0]), (202, "Patient.birthDate"));
    let shown = site.get(&format!("$quarantine?item={item}")).await.is(200).json();
    let shown = &shown["parameter"];
    for (name, expected) in [
        ("item", json!(item)),
        ("sender", json!("lab-feed")),
        ("request-id", json!("r-77")),
        ("request", json!("PUT Patient/1")),
        ("format", json!("application/fhir+json")),
        ("bytes", json!(invalid("1").len())),
        ("body", json!(STANDARD.encode(invalid("1")))),
    ] {
        assert_eq!(values(shown, name), [&expected], "{name}");
    }
    let issue = &values(shown, "issues")[0]["issue"][0];
    assert_eq!(issue["expression"], json!(["Patient.colour"]));
    assert_eq!(issue["details"]["coding"][0]["code"], "unknown-property");
    let lines = issue["extension"].as_array().unwrap();
    assert_eq!(lines[0]["valueInteger"], 2);
    let other = items(&site, "?sender=clinic-app").await;
    let shown = site.get(&format!("$quarantine?item={}", other[0])).await.is(200).json();
    assert_eq!(values(&shown["parameter"], "body"), [&json!(STANDARD.encode(xml))]);
    assert_eq!(values(&shown["parameter"], "format"), [&json!("application/fhir+xml")]);
    assert_eq!(values(&shown["parameter"], "request"), [&json!("POST Patient")]);
    let in_xml = site.get(&format!("$quarantine?item={item}&_format=xml")).await.is(200);
    assert_eq!(values(&in_xml.json()["parameter"], "sender"), [&json!("lab-feed")]);
    site.get("$quarantine?item=unknown").await.is(404);
    site.get("$quarantine?item=no%20id").await.is(400);
}

#[tokio::test]
async fn items_are_listed_by_sender_and_type_page_by_page_the_newest_first() {
    let site = Site::asking(quarantining()).await;
    let lab = Access::owner().sent_by("lab-feed");
    let mut sent = Vec::new();
    for number in 0..5 {
        let of = if number == 3 { "Basic" } else { "Patient" };
        let body = invalid(&number.to_string()).replace("Patient", of);
        let target = format!("{of}/{number}");
        let ask = site.ask("PUT", &target);
        let ask = if number % 2 == 0 { ask.by(&lab) } else { ask };
        sent.push(item_of(&ask.body(body).send().await));
    }
    let of = |numbers: &[usize]| numbers.iter().map(|at| sent[*at].clone()).collect::<Vec<_>>();
    assert_eq!(items(&site, "").await, of(&[4, 3, 2, 1, 0]));
    assert_eq!(items(&site, "?sender=lab-feed").await, of(&[4, 2, 0]));
    assert_eq!(items(&site, "?type=Basic").await, of(&[3]));
    assert_eq!(items(&site, "?type=Basic&sender=lab-feed").await, of(&[]));
    let (mut seen, mut query) = (Vec::new(), "?_count=2&sender=lab-feed".to_owned());
    loop {
        seen.push(items(&site, &query).await);
        let bundle = site.get(&format!("$quarantine{query}")).await.json();
        let links = bundle["link"].as_array().unwrap();
        let Some(next) = links.iter().find(|link| link["relation"] == "next") else { break };
        let (_, next) = next["url"].as_str().unwrap().split_once("$quarantine").unwrap();
        query = next.to_owned();
        // It is for whoever got it.
        let stranger = Access::owner().sent_by("stranger");
        let target = format!("$quarantine{query}");
        site.ask("GET", &target).by(&stranger).send().await.is(400);
    }
    assert_eq!(seen.concat(), of(&[4, 2, 0]));
    for query in ["?_count=0", "?_count=x", "?colour=red", "?_page=x"] {
        site.get(&format!("$quarantine{query}")).await.is(400);
    }
    let other = Access::owner().in_tenant("other");
    let elsewhere = site.ask("GET", "$quarantine").by(&other).send().await.is(200).json();
    assert_eq!(elsewhere.get("entry"), None);
}

#[tokio::test]
async fn the_commonest_defects_are_counted_with_who_sent_them() {
    let site = Site::asking(quarantining()).await;
    let lab = Access::owner().sent_by("lab-feed");
    let names = json!([{ "family": "a", "shade": 1 }, { "family": "b", "shade": 2 }]);
    for number in 0..3 {
        let body = json!({ "resourceType": "Patient", "colour": "red", "name": names });
        let ask = site.ask("POST", "Patient").body(body);
        item_of(&if number == 0 { ask.by(&lab) } else { ask }.send().await);
    }
    let last = item_of(&site.post("Patient", invalid("1")).await);
    let shown = site.get("$quarantine-defects").await.is(200).json();
    assert_eq!(values(&shown["parameter"], "items"), [4]);
    let defects = values(&shown["parameter"], "defect");
    let of = |defect: &Value| {
        let text = |name: &str| values(defect, name)[0].as_str().unwrap().to_owned();
        let senders = values(defect, "sender").len();
        (text("rule"), text("expression"), values(defect, "items")[0].as_u64().unwrap(), senders)
    };
    let unknown = "unknown-property".to_owned();
    assert_eq!(of(defects[0]), (unknown.clone(), "Patient.colour".to_owned(), 4, 2));
    assert_eq!(of(defects[1]), (unknown, "Patient.name.shade".to_owned(), 3, 2));
    assert_eq!(values(defects[0], "example"), [&json!(last)]);
    let one = site.get("$quarantine-defects?sender=lab-feed&_count=1").await.is(200).json();
    let one = values(&one["parameter"], "defect");
    assert_eq!((one.len(), of(one[0]).2), (1, 1));
}

#[tokio::test]
async fn whoever_may_not_see_everything_sees_nothing_of_the_quarantine() {
    let site = Site::asking(quarantining()).await;
    let item = item_of(&site.put("Patient/1", invalid("1")).await);
    let (shown, unknown) = (format!("$quarantine?item={item}"), "$quarantine?item=unknown");
    let everyone = [
        Access::of_patient("1"),
        Access::of(vec![rule(&["*"], &["read", "search", "history"], "all")]),
        Access::of(vec![rule(&["Patient"], &["*"], "all")]),
        Access::of(vec![rule(&["*"], &["operation:$quarantine"], "compartment(Patient/1)")])
            .launched_for("1"),
    ];
    for access in &everyone {
        let ask = async |target: &str| site.ask("GET", target).by(access).send().await;
        let refused = ask(&shown).await.is(403);
        assert_eq!(refused.text(), ask(unknown).await.is(403).text());
        for target in ["$quarantine", "$quarantine-defects"] {
            ask(target).await.is(403);
        }
        for target in ["$quarantine-release", "$quarantine-discard"] {
            let ask = site.ask("POST", target).by(access).body(named(&[&item]));
            ask.send().await.is(403);
        }
    }
    site.ask("GET", "$quarantine").by(&Access::nobody()).send().await.is(403);
    assert_eq!(items(&site, "").await, std::slice::from_ref(&item));
    // Who may operate it and not write, releases nothing.
    let operator = Access::of(vec![rule(&["*"], &["operation:*"], "all")]);
    let ask = site.ask("POST", "$quarantine-release").by(&operator).body(named(&[&item]));
    let answer = ask.send().await.is(200).json();
    let part = &answer["parameter"][0]["part"];
    assert_eq!(values(part, "outcome"), ["kept"]);
    assert_eq!(values(part, "issues")[0]["issue"][0]["code"], "forbidden");
    site.get("Patient/1").await.is(404);
}
