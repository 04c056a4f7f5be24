//! Denials of known callers go to the server for the tenant's audit log: each until it is taken.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Running, request, start, start_alone};
use crate::stub::{Denials, Stub};

/// What it may not do is asked by a client, once for each of these ids.
async fn denied(running: &Running, key: &str, ids: &[&str]) {
    let authorization = format!("Bearer {key}");
    let fields = [("Authorization", authorization.as_str())];
    for id in ids {
        let target = format!("/fhir/Patient/{id}");
        running.send(&request("DELETE", &target, &fields, "")).await.is_refusal(403);
    }
}

/// The ids of the resources in a list of denials.
fn ids(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter().map(|denied| denied["id"].as_str().expect("an id")).collect()
}

const NOT_AUDITED: &str = "hearthgate_gateway_denials_not_audited_total";

/// The last list that was told, once there are so many.
async fn last(stub: &Stub, lists: usize) -> Value {
    let mut denials = stub.denials(lists).await;
    assert_eq!(denials.len(), lists, "{denials:?}");
    denials.remove(lists - 1)
}

#[tokio::test]
async fn a_denial_is_handed_over_until_it_is_taken_with_its_own_time_and_id() {
    let (running, stub) = start().await;
    let key = running.client("reader", "reader", None);
    stub.answers_denials([
        Denials::Hangup,
        Denials::Says("what?"),
        Denials::Says(r#"{"refused":[],"later":[0]}"#),
    ]);
    denied(&running, &key, &["a"]).await;
    running.clock.advance(Duration::from_secs(60));
    let first = last(&stub, 1).await;
    let one = &first[0];
    let asked = json!([one["interaction"], one["resourceType"], one["id"], one["client"]]);
    assert_eq!(asked, json!(["delete", "Patient", "a", "reader"]));
    // The same denial each time, by its id and as of when it was denied.
    let again = stub.denials(4).await;
    assert!(again.iter().all(|list| *list == first), "{again:?}");
    denied(&running, &key, &["b"]).await;
    let other = last(&stub, 5).await;
    assert_eq!(ids(&other), ["b"]);
    assert_ne!(other[0]["denial"], one["denial"]);
    let [earlier, later] = [one, &other[0]].map(|it| it["time"].as_str().unwrap());
    assert!(earlier < later, "{earlier} {later}");
    assert_eq!(running.metric(NOT_AUDITED).await, 0.0);
}

#[tokio::test]
async fn of_a_list_what_is_refused_goes_is_counted_and_keeps_nothing_back() {
    let running = start_alone(|_| {}).await;
    let key = running.client("reader", "reader", None);
    // They wait until there is a server.
    denied(&running, &key, &["a", "b", "c", "d"]).await;
    let stub = Stub::start(&running.dir);
    stub.answers_denials([Denials::Says(
        r#"{"refused":[{"entry":1,"reason":"`interaction` is none"}],"later":[2]}"#,
    )]);
    let list = last(&stub, 1).await;
    assert_eq!(ids(&list), ["a", "b", "c", "d"]);
    assert_eq!(ids(&last(&stub, 2).await), ["c"]);
    let refused = format!("{NOT_AUDITED}{{reason=\"refused\"}}");
    assert_eq!(running.metric(&refused).await, 1.0);
}
