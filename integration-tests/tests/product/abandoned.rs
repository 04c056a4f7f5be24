//! A search whose client has left ends soon, wherever the client was.

use std::time::Duration;

use http::Method;
use integration_tests::client::{sent, try_send};
use integration_tests::site::{Deployment, First, Site};
use integration_tests::slow;
use integration_tests::waiting::{SOON, until};
use tokio::time::timeout;

for_both_deployments! {
    a_search_ends_when_its_client_leaves_the_gateway,
}

/// What the server's log says of each.
const ENDED: &str = "a search or history ended after its client had left";
/// The searches here take longer than this, by far.
const LONG: Duration = Duration::from_secs(2);

/// So many searches were left and have ended.
fn ended(site: &Site) -> usize {
    site.everything_written().matches(ENDED).count()
}

async fn a_search_ends_when_its_client_leaves_the_gateway(deployment: Deployment) {
    // SRCH-250
    let mut site = Site::prepare(deployment);
    site.configure(&format!("[server]\n{}", slow::LETS_SEARCH));
    site.launch(First::Gateway).await;
    let owner = site.owner();
    slow::fill(&owner).await;
    let search = || slow::search(&owner, 1);
    let mut soon = 0;
    for (before, stays) in [LONG, LONG / 10, LONG / 10, LONG / 7, LONG / 7].into_iter().enumerate()
    {
        let asked = timeout(stays, try_send(search())).await;
        assert!(asked.is_err(), "it is answered too soon to be left: {asked:?}");
        let has_ended = until("the search ends", SOON, async || match ended(&site) {
            ended if ended > before => Ok(()),
            ended => Err(format!("{ended} have ended")),
        });
        let mut has_ended = Box::pin(has_ended);
        // A machine may stall, but not each time.
        match timeout(Duration::from_millis(100), &mut has_ended).await {
            Ok(()) => soon += 1,
            Err(_) => has_ended.await,
        }
    }
    assert!(soon >= 3, "only {soon} of 5 ended within 100 ms of their client's leaving");
    // Nobody else is kept waiting by what nobody waits for.
    let _ = sent(owner.request(Method::GET, "/Patient?_id=p1")).await.is(200);
}
