//! Many at once over HTTP: of those that may not all be done, one is (guarantee G3).

use http::Method;
use integration_tests::client::{Answer, Client, sent};
use integration_tests::site::{Deployment, Site};
use tokio::task::JoinSet;

for_every_deployment! {
    of_64_conditional_creates_at_once_one_makes_the_resource,
    of_64_updates_of_one_version_at_once_one_wins,
}

const CLIENTS: usize = 64;

/// Sends one request of each of 64 clients at once, and gives their answers.
async fn at_once(
    site: &Site,
    request: impl Fn(&Client, usize) -> reqwest::RequestBuilder,
) -> Vec<Answer> {
    let mut sending = JoinSet::new();
    for number in 0..CLIENTS {
        let request = request(&site.owner(), number);
        sending.spawn(async move { (number, sent(request).await) });
    }
    let mut answers = sending.join_all().await;
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

async fn of_64_conditional_creates_at_once_one_makes_the_resource(deployment: Deployment) {
    let mut site = Site::start(deployment).await;
    for round in 0..3 {
        let answers = at_once(&site, |client, number| {
            let body = format!(
                r#"{{"resourceType":"Patient","identifier":[{{"system":"urn:s","value":"{round}"}}],"multipleBirthInteger":{number}}}"#
            );
            let criteria = format!("identifier=urn:s|{round}");
            client.with_body(Method::POST, "/Patient", body).header("if-none-exist", criteria)
        })
        .await;
        let made: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
        assert_eq!(made.len(), 1, "round {round}");
        let location = made[0].created_at();
        for answer in &answers {
            assert!(matches!(answer.status, 200 | 201), "{answer:?}");
            assert_eq!(answer.created_at(), location);
        }
    }
    let history = site.owner().get("/Patient/_history").await.is(200).json();
    assert_eq!(history["total"], 3);
    site.stop().await;
}

async fn of_64_updates_of_one_version_at_once_one_wins(deployment: Deployment) {
    let mut site = Site::start(deployment).await;
    let body = |number: usize| {
        format!(r#"{{"resourceType":"Patient","id":"p","multipleBirthInteger":{number}}}"#)
    };
    let _ = site.owner().put("/Patient/p", body(CLIENTS)).await.is(201);
    for version in 1..=3 {
        let answers = at_once(&site, |client, number| {
            let request = client.with_body(Method::PUT, "/Patient/p", body(number));
            request.header("if-match", format!("W/\"{version}\""))
        })
        .await;
        let winners = answers.iter().filter(|answer| answer.status == 200).count();
        let refused = answers.iter().filter(|answer| answer.status == 412).count();
        assert_eq!((winners, refused), (1, CLIENTS - 1), "version {version}");
    }
    let history = site.owner().get("/Patient/p/_history").await.is(200).json();
    assert_eq!(history["total"], 4);
    site.stop().await;
}
