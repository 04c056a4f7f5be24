//! Searches, through the gateway.

use http::Method;
use integration_tests::client::{Answer, Client, sent};
use integration_tests::site::{Deployment, First, Site};

for_every_deployment! {
    what_was_written_is_found_at_once_and_after_a_restart,
    pages_lead_from_one_to_the_next_whichever_way_the_search_was_asked,
}

fn ids(answer: &Answer) -> Vec<String> {
    let bundle = answer.json();
    assert_eq!(bundle["type"], "searchset");
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    let matches = entries.iter().filter(|entry| entry["search"]["mode"] == "match");
    matches.map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

async fn put(owner: &Client, id: usize) {
    let body = format!(
        r#"{{"resourceType":"Patient","id":"p{id}","name":[{{"family":"Sample","given":["N{id}"]}}]}}"#
    );
    let _ = owner.put(&format!("/Patient/p{id}"), body).await.is(201);
}

async fn what_was_written_is_found_at_once_and_after_a_restart(deployment: Deployment) {
    // SRCH-242, SRCH-245, HTTP-231
    let mut site = Site::start(deployment).await;
    let owner = site.owner();
    for id in 1..=3 {
        put(&owner, id).await;
        let found = owner.get("/Patient?family=sample&_sort=_id").await.is(200);
        assert_eq!(ids(&found), (1..=id).map(|id| format!("p{id}")).collect::<Vec<_>>());
    }
    let _ = owner.delete("/Patient/p2").await.is(204);
    let renamed = r#"{"resourceType":"Patient","id":"p3","name":[{"family":"Other"}]}"#;
    let _ = owner.put("/Patient/p3", renamed).await.is(200);
    assert_eq!(ids(&owner.get("/Patient?family=sample").await.is(200)), ["p1"]);
    let observation = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/p1"}}"#;
    let _ = owner.put("/Observation/o", observation).await.is(201);
    assert_eq!(ids(&owner.get("/Patient/p1/Observation").await.is(200)), ["o"]);
    assert_eq!(ids(&owner.get("/Observation?patient.family=sample").await.is(200)), ["o"]);
    owner.get("/Patient?birthdate=soon").await.is_outcome(400, "value");
    site.anyone().get("/Patient?family=sample").await.is_outcome(401, "login");
    site.kill().await;
    site.launch(First::Gateway).await;
    assert_eq!(ids(&site.owner().get("/Patient?family=sample").await.is(200)), ["p1"]);
}

async fn pages_lead_from_one_to_the_next_whichever_way_the_search_was_asked(
    deployment: Deployment,
) {
    // SRCH-002, SRCH-203, SRCH-204, SRCH-212
    let site = Site::start(deployment).await;
    let owner = site.owner();
    for id in 1..=5 {
        put(&owner, id).await;
    }
    let query = "family=sample&_count=2&_sort=_id";
    let form = owner
        .request(Method::POST, "/Patient/_search")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(query);
    let firsts = [owner.get(&format!("/Patient?{query}")).await.is(200), sent(form).await.is(200)];
    for first in firsts {
        let mut page = first;
        let mut found = ids(&page);
        loop {
            let bundle = page.json();
            let links = bundle["link"].as_array().unwrap();
            let Some(next) = links.iter().find(|link| link["relation"] == "next") else { break };
            let url = next["url"].as_str().unwrap();
            assert!(!url.contains("sample"), "{url}");
            let path = url.strip_prefix(owner.base()).expect("under the public base");
            page = owner.get(path).await.is(200);
            found.extend(ids(&page));
        }
        assert_eq!(found, ["p1", "p2", "p3", "p4", "p5"]);
    }
}
