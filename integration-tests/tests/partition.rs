//! Gateway and server in two network namespaces with a router between them that loses packets, is
//! slow, and for ten seconds passes nothing on: no request hangs, nothing that was acknowledged is
//! lost, and nothing is written twice.
//!
//! It takes root, to make namespaces; where that is missing it says so and does nothing. Delay and
//! loss take the kernel's `netem`; where that is missing it says so and goes on without.

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contract::Clock as _;
use hearthgate::doors::SystemClock;
use http::Method;
use integration_tests::client::{Client, try_send};
use integration_tests::split::{DEADLINE, Split};
use integration_tests::test_data::say;
use integration_tests::waiting::until;
use tokio::task::JoinSet;

const WRITERS: usize = 4;
const BEFORE: Duration = Duration::from_secs(4);
const AWAY: Duration = Duration::from_secs(10);
/// Within so much a revocation is known at the server.
const HEARD: Duration = Duration::from_secs(5);
/// After the network is back an answer comes within so much.
const BACK: Duration = Duration::from_secs(2);

/// A router and the server's namespace behind it. They go with it.
struct Network {
    router: String,
    server: String,
    address: String,
}

fn done(line: &str) -> Result<(), String> {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{line}: {error}")),
    }
}

impl Network {
    /// The `number`th of this process.
    fn make(number: u32) -> Result<Self, String> {
        let process = std::process::id();
        let id = format!("{process}{number}");
        let (router, server) = (format!("hgr{id}"), format!("hgs{id}"));
        // The range that is kept for tests of networks (RFC 2544).
        let block = format!("198.{}.{}", 18 + number, process % 250);
        let network =
            Self { router: router.clone(), server: server.clone(), address: format!("{block}.6") };
        let (ours, theirs) = (format!("hga{id}"), format!("hgb{id}"));
        let lines = [
            format!("ip netns add {router}"),
            format!("ip netns add {server}"),
            format!("ip link add {ours} type veth peer name front netns {router}"),
            format!("ip -n {router} link add back type veth peer name {theirs} netns {server}"),
            format!("ip addr add {block}.1/30 dev {ours}"),
            format!("ip -n {router} addr add {block}.2/30 dev front"),
            format!("ip -n {router} addr add {block}.5/30 dev back"),
            format!("ip -n {server} addr add {block}.6/30 dev {theirs}"),
            format!("ip link set {ours} up"),
            format!("ip -n {router} link set front up"),
            format!("ip -n {router} link set back up"),
            format!("ip -n {server} link set {theirs} up"),
            format!("ip -n {server} link set lo up"),
            format!("ip route add {block}.4/30 via {block}.2"),
            format!("ip -n {server} route add default via {block}.5"),
        ];
        lines.iter().try_for_each(|line| done(line))?;
        network.passes_on(true)?;
        for device in ["front", "back"] {
            let line = format!(
                "ip netns exec {router} tc qdisc add dev {device} root netem delay 20ms loss 2%"
            );
            if let Err(why) = done(&line) {
                say(&format!("without delay and loss: {why}"));
            }
        }
        Ok(network)
    }

    /// Whether the router passes packets on; if not, they vanish without a word.
    fn passes_on(&self, on: bool) -> Result<(), String> {
        let script = format!("echo {} > /proc/sys/net/ipv4/ip_forward", u8::from(on));
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.router, "sh", "-c", &script]);
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("{script}: {other:?}")),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in [&self.router, &self.server] {
            // One that was not made cannot go.
            let _ = done(&format!("ip netns del {namespace}"));
        }
    }
}

/// What came of the writes of one writer.
#[derive(Default)]
struct Written {
    acknowledged: Vec<String>,
    unknown: Vec<String>,
    away: usize,
    longest: Duration,
}

async fn write(
    client: Client,
    writer: usize,
    clock: Arc<SystemClock>,
    stop: Arc<AtomicBool>,
) -> Written {
    let mut written = Written::default();
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let identifier = format!("{writer}-{number}");
        let body = format!(
            r#"{{"resourceType":"Patient","identifier":[{{"system":"urn:test","value":"{identifier}"}}]}}"#
        );
        let began = clock.monotonic();
        let request = client.with_body(Method::POST, "/Patient", body);
        let answer = try_send(request).await.expect("the gateway always answers");
        written.longest = written.longest.max(clock.monotonic() - began);
        match answer.status {
            201 => written.acknowledged.push(identifier),
            503 | 504 => {
                let code = if answer.status == 503 { "transient" } else { "timeout" };
                answer.is_outcome(answer.status, code);
                assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
                written.away += 1;
                written.unknown.push(identifier);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => panic!("{other} {}", answer.text()),
        }
    }
    written
}

async fn count(client: &Client, search: &str) -> u64 {
    let answer = client.get(&format!("/Patient?{search}_summary=count")).await.is(200);
    answer.json()["total"].as_u64().unwrap()
}

/// The `number`th network of this process; `None`, and it is said, where the system makes none.
fn network(number: u32) -> Option<Network> {
    if !rustix::process::geteuid().is_root() {
        say("skipped: making network namespaces takes root");
        return None;
    }
    match Network::make(number) {
        Ok(network) => Some(network),
        Err(why) => {
            say(&format!("skipped: this system makes no network of a test's own: {why}"));
            None
        }
    }
}

/// A gateway on this side of the network and a server on the other.
async fn split_by(network: &Network) -> Split {
    let listen = |port: u16| format!("{}:{port}", network.address).parse().unwrap();
    let launcher = ["ip", "netns", "exec", network.server.as_str()].map(str::to_owned).into();
    let mut split = Split::prepare(1, (listen(9443), listen(9444)), launcher);
    split.start_server().await;
    split.start_gateways().await;
    split
}

#[tokio::test]
async fn ten_seconds_without_a_network_lose_and_double_no_write_and_make_nobody_wait() {
    let Some(network) = network(0) else { return };
    let split = split_by(&network).await;
    let client = split.gateways[0].owner().await;
    let (clock, stop) = (Arc::new(SystemClock::start()), Arc::new(AtomicBool::new(false)));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(client.clone(), writer, clock.clone(), stop.clone()));
    }
    tokio::time::sleep(BEFORE).await;
    network.passes_on(false).unwrap();
    tokio::time::sleep(AWAY).await;
    let told = split.gateways[0].readiness_becomes(503).await.json();
    assert_eq!(told["parts"]["gateway"], true, "{told}");
    network.passes_on(true).unwrap();
    let healed = clock.monotonic();
    // A request of before may still be waiting to be given up: a new one is not.
    while try_send(client.request(Method::GET, "/metadata")).await.unwrap().status != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let back = clock.monotonic() - healed;
    tokio::time::sleep(BEFORE).await;
    stop.store(true, Ordering::Release);
    let all = writers.join_all().await;
    let mut total = 0;
    for written in &all {
        assert!(written.away > 0, "a writer noticed nothing");
        assert!(written.longest < DEADLINE, "{:?}", written.longest);
        for identifier in &written.acknowledged {
            let found = count(&client, &format!("identifier=urn:test|{identifier}&")).await;
            assert_eq!(found, 1, "{identifier} was acknowledged");
            total += found;
        }
        for identifier in &written.unknown {
            let found = count(&client, &format!("identifier=urn:test|{identifier}&")).await;
            assert!(found <= 1, "{identifier} was written twice");
            total += found;
        }
    }
    assert_eq!(count(&client, "").await, total);
    let acknowledged: usize = all.iter().map(|written| written.acknowledged.len()).sum();
    let away: usize = all.iter().map(|written| written.away).sum();
    let longest = all.iter().map(|written| written.longest).max().unwrap();
    say(&format!(
        "{acknowledged} writes acknowledged, {away} told to try again, {total} there; the longest \
         request took {longest:?}; an answer {back:?} after the network was back"
    ));
    assert!(back < BACK, "{back:?}");
}

#[tokio::test]
async fn what_is_revoked_while_the_network_is_away_reaches_the_server_once_it_is_back() {
    // GW-034
    let Some(network) = network(1) else { return };
    let split = split_by(&network).await;
    let gateway = &split.gateways[0];
    let clients = ["before", "away"].map(|id| gateway.new_client(id));
    for client in &clients {
        let _ = client.get("/Patient").await.is(200);
    }
    let heard = || split.server().stderr().matches("revocations were heard").count();
    let hears = async |count: usize, limit| {
        until("the server hears of it", limit, async || {
            (heard() == count).then_some(()).ok_or_else(|| format!("{} times", heard()))
        })
        .await;
    };
    gateway.revoke(clients[0].key());
    hears(1, HEARD).await;
    network.passes_on(false).unwrap();
    gateway.revoke(clients[1].key());
    tokio::time::sleep(AWAY).await;
    assert_eq!(heard(), 1, "nothing passes");
    network.passes_on(true).unwrap();
    // A question of before may still be waiting to be given up.
    hears(2, HEARD).await;
    let said = gateway.process().stderr();
    assert_eq!(said.matches("the server is not told what was revoked").count(), 1, "{said}");
}
