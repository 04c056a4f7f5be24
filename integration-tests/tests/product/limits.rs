//! Plans and quotas, with real time, real kills, and several gateways.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use contract::Clock as _;
use hearthgate::doors::SystemClock;
use integration_tests::binary::{failure, run, text};
use integration_tests::client::Client;
use integration_tests::redis::Redis;
use integration_tests::site::{Deployment, First, Site};
use integration_tests::waiting::{SOON, until};
use tokio::task::JoinSet;

/// Requests on their way to one gateway at a time.
const IN_FLIGHT: usize = 8;

/// A place with this configuration, and a client of a role that may read everything.
async fn site_with(configuration: &str) -> (Site, Client) {
    let mut site = Site::prepare(Deployment::OneProcess);
    site.configure(configuration);
    site.launch(First::Gateway).await;
    let client = site.new_client("app", &["--role", "reader", "--plan", "app"]);
    (site, client)
}

/// What one limit says is left, of the answer's headers.
async fn left(client: &Client, limit: &str) -> (u16, u64) {
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
async fn flood(clients: &[Client], time: Duration) -> (Vec<u32>, u32, Duration) {
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

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

#[tokio::test]
async fn a_client_gets_a_plan_and_its_operator_sees_what_is_left() {
    // GW-041, GW-043, GW-055
    let (site, app) = site_with(
        "[plans.app]\nsays = \"For apps.\"\nquotas = [{ of = \"requests\", most = 3, per = \"month\" }]\n\
         [plans.partner]\nsays = \"For partners.\"\nrates = [{ per_second = 1000, burst = 1000 }]\n",
    )
    .await;
    let data = site.data().to_str().unwrap();
    let hearthgate = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--data", data]);
        run(site.folder(), &all)
    };
    for expected in [2, 1, 0] {
        assert_eq!(left(&app, "requests-per-month").await, (200, expected));
    }
    let refused = app.get("/metadata").await;
    refused.is_outcome(429, "throttled");
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    let id = refused.header("x-request-id").unwrap();
    let denial = text(&hearthgate(&["denials", "show", id]).stdout);
    assert!(denial.contains("requests-per-month of the plan app"), "{denial}");

    let shown = text(&hearthgate(&["limits", "show", "app"]).stdout);
    assert!(shown.contains("plan app") && shown.contains("requests-per-month"), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("0 ")), "{shown}");
    let wrong = hearthgate(&["clients", "set-plan", "app", "parnter"]);
    assert!(failure(&wrong, 1).contains("app, partner"), "{wrong:?}");
    let wrong = hearthgate(&["clients", "set-plan", "nobody", "partner"]);
    assert!(failure(&wrong, 1).contains("no client nobody"), "{wrong:?}");
    assert!(hearthgate(&["clients", "set-plan", "app", "partner"]).status.success());
    assert_eq!(app.get("/metadata").await.status, 200);
    assert!(hearthgate(&["clients", "set-plan", "app", "--none"]).status.success());
    assert_eq!(app.get("/metadata").await.header("ratelimit"), None);
}

#[tokio::test]
async fn as_many_are_admitted_as_time_went_by() {
    // GW-040
    let (_site, app) =
        site_with("[plans.app]\nsays = \"For apps.\"\nrates = [{ per_second = 50, burst = 50 }]\n")
            .await;
    // From the first refusal on the bucket is empty. A machine that stands still for less than a
    // second loses no token.
    while app.get("/metadata").await.status == 200 {}
    let clock = SystemClock::start();
    let (mut admitted, mut sent) = (0_u32, 0_u32);
    while clock.monotonic() < Duration::from_secs(4) {
        sent += 1;
        admitted += u32::from(app.get("/metadata").await.status == 200);
    }
    let theory = 50.0 * seconds(clock.monotonic());
    // A hundredth, and the token that was growing when it began.
    let most = 1.01 * theory + 1.0;
    let fits = (0.985 * theory..=most).contains(&f64::from(admitted));
    assert!(fits, "{admitted} of {sent}, not {theory}");
}

#[tokio::test]
async fn after_kill_9_a_quota_goes_on_from_the_last_second() {
    // GW-041, GW-064
    let (mut site, mut app) = site_with(
        "[plans.app]\nsays = \"For apps.\"\nquotas = [{ of = \"requests\", most = 100000, per = \"month\" }]\n",
    )
    .await;
    for round in 0..2_u32 {
        let (_, before) = left(&app, "requests-per-month").await;
        let (admitted, ..) = flood(std::slice::from_ref(&app), Duration::from_secs(1)).await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        // Written by now; of these the kill may take all.
        let (_, kept) = left(&app, "requests-per-month").await;
        assert_eq!(kept, before - u64::from(admitted[0]) - 1);
        let key = app.key().to_owned();
        site.kill().await;
        site.launch(First::Gateway).await;
        app = site.client(&key);
        let (_, after) = left(&app, "requests-per-month").await;
        assert!((kept - 1..=kept).contains(&after), "round {round}: {kept}, then {after}");
    }
}

/// Three places whose clients are the same, all of which share what they count.
async fn three_places(redis: &Redis, plan: &str) -> (Vec<Site>, Vec<Client>) {
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
        std::fs::create_dir_all(site.data()).unwrap();
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
    assert!(copied.unwrap().success());
}

/// Waits until readiness says that limits are counted so.
async fn counted(site: &Site, how: &str) {
    until("the counters change hands", SOON, async || {
        let answer = site.readiness().await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let said = answer.text().to_owned();
        if said.contains(&format!("\"counters\":\"{how}\"")) { Ok(()) } else { Err(said) }
    })
    .await;
}

/// Waits until the place knows of so many.
async fn gateways(site: &Site, number: u32) {
    let line = format!("hearthgate_gateway_counter_gateways {number}\n");
    until("the gateways see each other", SOON, async || {
        let metrics = site.admin().get("/metrics").await.text().to_owned();
        if metrics.contains(&line) { Ok(()) } else { Err(metrics) }
    })
    .await;
}

#[tokio::test]
async fn three_gateways_keep_to_one_limit_and_go_on_when_their_store_is_killed() {
    // GW-033, GW-042
    let folder = tempfile::tempdir().unwrap();
    let Some(mut redis) = Redis::start(folder.path()) else { return };
    let plan = "rates = [{ per_second = 60, burst = 60 }]\n\
                quotas = [{ of = \"requests\", most = 800, per = \"month\", window = \"rolling\" }]";
    let (sites, clients) = three_places(&redis, plan).await;
    let (admitted, sent, took) = flood(&clients, Duration::from_secs(5)).await;
    let all: u32 = admitted.iter().sum();
    let theory = 60.0 + 60.0 * seconds(took);
    assert!(f64::from(all) <= 1.01 * theory, "{admitted:?} of {sent}, not {theory}");
    // On a busy machine leases go unused; how exact it is where it is not, the gateway's own test of
    // a real Redis shows.
    assert!(f64::from(all) >= 0.75 * theory, "{admitted:?} of {sent}, not {theory}");

    redis.kill();
    for site in &sites {
        counted(site, "local-shares").await;
    }
    let (alone, sent, took) = flood(&clients, Duration::from_secs(3)).await;
    for one in &alone {
        let theory = 20.0 + 20.0 * seconds(took);
        assert!(f64::from(*one) <= 1.01 * theory + 1.0, "{alone:?} of {sent}, not {theory}");
        assert!(f64::from(*one) >= 0.75 * theory, "{alone:?} of {sent}, not {theory}");
    }

    // It comes back with nothing in it, and hears what was used.
    redis.start_again();
    for site in &sites {
        counted(site, "shared").await;
        gateways(site, 3).await;
    }
    let mut total = all + alone.iter().sum::<u32>();
    while total < 790 {
        let (more, sent, _) = flood(&clients, Duration::from_secs(1)).await;
        let more = more.iter().sum::<u32>();
        total += more;
        assert!(more > 0, "{total} of {sent}: the quota holds too much");
    }
    let (more, ..) = flood(&clients, Duration::from_millis(500)).await;
    total += more.iter().sum::<u32>();
    // What was told to the store that died, and to no other gateway since, is lost.
    assert!(total <= 830, "{total}");
}
