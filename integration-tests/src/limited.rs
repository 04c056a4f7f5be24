//! Places whose clients have plans, and clients who ask more than these let them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use contract::Clock as _;
use hearthgate::doors::SystemClock;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::redis::Redis;
use crate::site::{Deployment, First, Site};
use crate::waiting::{SOON, until};

/// Requests on their way to one gateway at a time.
const IN_FLIGHT: usize = 8;

/// A place with this configuration, and a client of a role that may read everything, with the
/// plan `app`.
///
/// # Panics
/// When it does not start.
pub async fn site_with(configuration: &str) -> (Site, Client) {
    let mut site = Site::prepare(Deployment::OneProcess);
    site.configure(configuration);
    site.launch(First::Gateway).await;
    let client = site.new_client("app", &["--role", "reader", "--plan", "app"]);
    (site, client)
}

/// What one limit says is left, of the answer's headers.
///
/// # Panics
/// When the client has no such limit.
pub async fn left(client: &Client, limit: &str) -> (u16, u64) {
    let answer = client.get("/metadata").await;
    let state = answer.header("ratelimit").expect("the client has a plan").to_owned();
    let members = state.split(", ");
    let start = format!("\"{limit}\";r=");
    let member = members.filter_map(|one| one.strip_prefix(&start)).next().expect("the limit");
    let number = member.split(';').next().expect("a number").parse();
    (answer.status, number.expect("a number"))
}

/// Sends as many requests as fit into `time`, and says how many were admitted of how many, and how
/// long it took. Every answer is 200 or 429.
///
/// # Panics
/// When one is not.
pub async fn flood(clients: &[Client], time: Duration) -> (Vec<u32>, u32, Duration) {
    let clock = SystemClock::start();
    let (sent, over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let admitted: Vec<_> = clients.iter().map(|_| Arc::new(AtomicU32::new(0))).collect();
    let began = clock.monotonic();
    let mut tasks = JoinSet::new();
    for (client, admitted) in clients.iter().zip(&admitted) {
        for _ in 0..IN_FLIGHT {
            let (client, admitted) = (client.clone(), admitted.clone());
            let (sent, over) = (sent.clone(), over.clone());
            tasks.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let status = client.get("/metadata").await.status;
                    sent.fetch_add(1, Ordering::Relaxed);
                    match status {
                        200 => drop(admitted.fetch_add(1, Ordering::Relaxed)),
                        other => assert_eq!(other, 429),
                    }
                }
            });
        }
    }
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    let took = clock.monotonic().saturating_sub(began);
    let admitted = admitted.iter().map(|one| one.load(Ordering::Relaxed)).collect();
    (admitted, sent.load(Ordering::Relaxed), took)
}

/// Three places whose clients are the same, all of which share what they count. The plan `app` has
/// these keys.
///
/// # Panics
/// When one does not start, or does not see the others.
pub async fn three_places(redis: &Redis, plan: &str) -> (Vec<Site>, Vec<Client>) {
    let configuration = format!(
        "[counters]\nredis = \"{}\"\ngateways = 3\n[plans.app]\nsays = \"For apps.\"\n{plan}\n",
        redis.url()
    );
    let (mut first, app) = site_with(&configuration).await;
    let key = app.key().to_owned();
    first.stop().await;
    let mut sites = vec![first];
    for _ in 0..2 {
        let mut site = Site::prepare(Deployment::OneProcess);
        site.configure(&configuration);
        std::fs::create_dir_all(site.data()).expect("our own folder");
        copy(&sites[0].data().join("registry"), &site.data().join("registry"));
        sites.push(site);
    }
    for site in &mut sites {
        site.launch(First::Gateway).await;
    }
    for site in &sites {
        counted(site, "shared").await;
        gateways(site, 3).await;
    }
    let clients = sites.iter().map(|site| site.client(&key)).collect();
    (sites, clients)
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "{} is copied", from.display());
}

/// Waits until readiness says that limits are counted so.
///
/// # Panics
/// When it never does.
pub async fn counted(site: &Site, how: &str) {
    until("the counters change hands", SOON, async || {
        let answer = site.readiness().await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let said = answer.text().to_owned();
        if said.contains(&format!("\"counters\":\"{how}\"")) { Ok(()) } else { Err(said) }
    })
    .await;
}

/// Waits until the place knows of so many gateways.
///
/// # Panics
/// When it never does.
pub async fn gateways(site: &Site, number: u32) {
    let line = format!("hearthgate_gateway_counter_gateways {number}\n");
    until("the gateways see each other", SOON, async || {
        let metrics = site.admin().get("/metrics").await.text().to_owned();
        if metrics.contains(&line) { Ok(()) } else { Err(metrics) }
    })
    .await;
}
