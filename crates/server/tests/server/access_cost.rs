//! What is looked at to judge whether something may be seen costs nothing: it would tell what is
//! hidden.

use contract::header;
use serde_json::json;

use crate::support::{Access, Answer};
use crate::within::{care_team, clinic, get, group};

/// The rows that an answer cost.
fn rows(answer: &Answer) -> u32 {
    let cost = answer.header(header::COST).and_then(contract::Cost::from_header);
    cost.expect("a cost").rows
}

#[tokio::test]
async fn whose_members_are_looked_up_costs_nothing() {
    // LEAK-18, LEAK-26
    let site = clinic().await;
    let owner = Access::owner();
    let whole = rows(&get(&site, &owner, "Observation/both").await.is(200));
    let hidden = json!({ "resourceType": "Binary", "id": "hidden", "contentType": "text/plain",
        "securityContext": { "reference": "DocumentReference/never" } });
    site.put("Binary/hidden", hidden).await.is(201);
    for access in [Access::of_patient("1"), group(), care_team()] {
        let part = get(&site, &access, "Observation/both").await.is(200);
        assert_eq!(rows(&part), whole, "{access:?}");
        let [hidden, absent] = ["Binary/hidden", "Binary/absent"].map(|it| get(&site, &access, it));
        let (hidden, absent) = (hidden.await.is(404), absent.await.is(404));
        assert_eq!(rows(&hidden), rows(&absent), "{access:?}");
    }
}
