//! What an operator sees and does: readiness, metrics, stopping, limits of connections.

use std::cell::Cell;
use std::path::Path;
use std::sync::mpsc as channels;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::{Clock, Instant};
use gateway::{GatewayConfig, GatewayError};
use registry::{Beside, Registry};
use tokio::sync::{mpsc, oneshot, watch};

use crate::harness::{
    CountedIds, HandClock, connect, request, start, start_alone, start_with, within,
};
use crate::stub::{Script, Stub};

// GW-054
#[tokio::test]
async fn readiness_follows_the_server_and_names_what_is_missing() {
    let running = start_alone(|_| {}).await;
    let answer = running.until_readyz(503).await;
    let parts = answer.json()["parts"].clone();
    assert_eq!(parts, serde_json::json!({"gateway": true, "channel": false, "server": false}));
    let stub = Stub::start(&running.dir);
    let answer = running.until_readyz(200).await;
    assert_eq!(answer.json()["ready"], true);
    assert_eq!(answer.json().get("reason"), None);
    stub.is_unready("the clock is wrong");
    let answer = running.until_readyz(503).await;
    assert_eq!(answer.json()["reason"], "the clock is wrong");
    drop(stub);
    let answer = running.until_readyz(503).await;
    assert_eq!(answer.json()["parts"]["server"], false);
    assert_eq!(running.admin("/livez").await.status, 200);
}

// GW-054
#[tokio::test]
async fn clocks_that_differ_are_told_and_by_more_than_grants_bear_it_is_not_ready() {
    let (running, stub) = start().await;
    let says = |seconds: i64| {
        let now = running.clock.now().as_micros();
        stub.says_time(contract::Instant::from_micros(now + seconds * 1_000_000));
    };
    // Told once both agree nothing.
    says(2);
    let answer = running.until_readyz(200).await.json();
    assert_eq!((answer.get("clocks_differ_seconds"), answer["parts"].get("clocks")), (None, None));
    for (seconds, side) in [(20, "20 s ahead of"), (-20, "20 s behind")] {
        says(seconds);
        let answer = running.until_readyz(200).await.json();
        assert_eq!(answer["clocks_differ_seconds"], 20);
        assert_eq!(answer["parts"]["clocks"], true);
        let reason = answer["reason"].as_str().expect("a reason");
        assert!(reason.contains(side) && reason.contains("NTP"), "{reason}");
    }
    for seconds in [61, -61] {
        says(seconds);
        let answer = running.until_readyz(503).await.json();
        assert_eq!(
            (&answer["parts"]["clocks"], &answer["parts"]["server"]),
            (&false.into(), &true.into())
        );
        says(0);
        running.until_ready().await;
    }
}

// GW-050
#[tokio::test]
async fn distinct_paths_make_no_series() {
    let (running, _stub) = start().await;
    let series = async || running.admin("/metrics").await.body.lines().count();
    let requests = |number: usize| {
        [
            running.request("GET", &format!("/fhir/Patient/{number}"), &[], ""),
            running.request("GET", &format!("/nowhere/{number}"), &[], ""),
            running.request(&format!("M{number}"), "/fhir/Patient/1", &[], ""),
        ]
    };
    let mut connection = running.connect().await;
    let mut before = 0;
    for number in 0..300 {
        for bytes in requests(number) {
            connection.write(bytes.as_bytes()).await;
            connection.read_answer().await;
        }
        if number == 0 {
            before = series().await;
        }
    }
    assert_eq!(series().await, before);
    let line = "hearthgate_gateway_requests_total{interaction=\"read\",method=\"GET\",\
                route=\"fhir\",status=\"2xx\",upstream=\"server\"}";
    assert_eq!(running.metric(line).await, 300.0);
}

#[tokio::test]
async fn what_is_refused_is_counted_by_its_reason() {
    let (running, _stub) = start().await;
    running.get("/nowhere").await;
    running.get("/fhir/patient").await;
    let reason = |reason: &str| format!("hearthgate_gateway_refusals_total{{reason=\"{reason}\"}}");
    assert_eq!(running.metric(&reason("no-route")).await, 1.0);
    assert_eq!(running.metric(&reason("no-such-url")).await, 1.0);
    assert_eq!(running.metric("hearthgate_gateway_requests_in_flight").await, 0.0);
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight_and_closes_what_is_idle() {
    let (running, stub) = start().await;
    let mut idle = running.connect().await;
    idle.write(running.request("GET", "/fhir/Patient/1", &[], "").as_bytes()).await;
    assert_eq!(idle.read_answer().await.status, 200);
    stub.until_begun().await;
    stub.script([Script::AfterGo]);
    let mut busy = running.connect().await;
    busy.write(running.request("GET", "/fhir/Patient/2", &[], "").as_bytes()).await;
    stub.until_begun().await;

    running.tell_to_stop();
    assert!(idle.is_closed().await);
    let answer = running.until_readyz(503).await;
    assert_eq!(answer.json()["parts"]["gateway"], false);
    let refused = within("the listener's end", async {
        while tokio::net::TcpStream::connect(running.bound.listen).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    refused.await;
    stub.go();
    let answer = busy.read_answer().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(busy.is_closed().await);
    let log = running.until_stopped().await.text();
    assert_eq!(log.lines().count(), 2, "{log}");
}

// GW-062
#[tokio::test]
async fn a_connection_that_was_just_accepted_gets_its_first_request_answered() {
    let (running, stub) = start().await;
    let opened = "hearthgate_gateway_connections_open";
    let mut fresh = running.connect().await;
    within("the connection's begin", async {
        while running.metric(opened).await < 1.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    running.tell_to_stop();
    running.until_readyz(503).await;
    fresh.write(running.request("GET", "/fhir/Patient/1", &[], "").as_bytes()).await;
    let answer = fresh.read_answer().await;
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    assert!(fresh.is_closed().await);
    assert_eq!(stub.seen().len(), 1);
    running.until_stopped().await;
}

// GW-062
#[tokio::test]
async fn a_request_that_was_on_its_way_at_a_stop_is_answered_on_a_connection_that_was_used() {
    let (running, stub) = start().await;
    let mut used = running.connect().await;
    used.write(running.request("GET", "/fhir/Patient/1", &[], "").as_bytes()).await;
    assert_eq!(used.read_answer().await.status, 200);
    running.tell_to_stop();
    running.until_readyz(503).await;
    used.write(running.request("GET", "/fhir/Patient/2", &[], "").as_bytes()).await;
    let answer = used.read_answer().await;
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    assert!(used.is_closed().await);
    assert_eq!(stub.seen().len(), 2);
    running.until_stopped().await;
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off() {
    let (running, stub) = start_with(|config| config.drain = std::time::Duration::ZERO).await;
    stub.script([Script::AfterGo]);
    let mut busy = running.connect().await;
    busy.write(running.request("GET", "/fhir/Patient/2", &[], "").as_bytes()).await;
    stub.until_begun().await;
    running.stop().await;
    assert!(busy.is_closed().await);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let two = |config: &mut GatewayConfig| config.limits.connections_per_address = 2;
    let (running, _stub) = start_with(two).await;
    let request = running.request("GET", "/fhir/Patient/1", &[], "");
    let mut open = [running.connect().await, running.connect().await];
    for connection in &mut open {
        connection.write(request.as_bytes()).await;
        assert_eq!(connection.read_answer().await.status, 200);
    }
    assert!(running.connect().await.is_closed().await);
    let refused = "hearthgate_gateway_connections_refused_total{reason=\"too-many-from-address\"}";
    assert_eq!(running.metric(refused).await, 1.0);
    drop(open);
    let served = async {
        loop {
            let mut connection = running.connect().await;
            if connection.try_write(request.as_bytes()).await && !connection.is_closed().await {
                return;
            }
        }
    };
    within("a place for another connection", served).await;
}

// GW-022
#[tokio::test]
async fn a_connection_is_closed_in_order_after_so_many_requests() {
    let three = |config: &mut GatewayConfig| config.limits.requests_per_connection = 3;
    let (running, stub) = start_with(three).await;
    let request = running.request("GET", "/fhir/Patient/1", &[], "");
    let mut connection = running.connect().await;
    for number in 1..=3 {
        connection.write(request.as_bytes()).await;
        let answer = connection.read_answer().await;
        assert_eq!(answer.status, 200);
        let closes = answer.field("connection") == Some("close");
        assert_eq!(closes, number == 3, "{number}: {answer:?}");
    }
    assert!(connection.is_closed().await);
    assert_eq!(stub.seen().len(), 3);
}

#[tokio::test]
async fn an_address_in_use_is_said_in_one_line_with_what_to_do() {
    let (running, _stub) = start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let config = GatewayConfig {
        listen: running.bound.listen,
        renewal_socket: dir.path().join("renewal.sock"),
        ..GatewayConfig::default()
    };
    let (started, _bound) = oneshot::channel();
    let (_reload, reloads) = mpsc::channel(1);
    let (_shutdown, stopped) = watch::channel(false);
    let run = gateway::run(
        config,
        running.registry.clone(),
        Arc::new(HandClock::default()),
        Arc::new(CountedIds::default()),
        started,
        reloads,
        stopped,
    );
    let error = within("the refusal", run).await.expect_err("the address is in use");
    assert!(matches!(error, GatewayError::AddressInUse { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&running.bound.listen.to_string()), "{text}");
    assert!(!text.contains('\n') && text.contains("choose another"), "{text}");
}

#[tokio::test]
async fn an_owner_that_is_gone_stops_the_gateway() {
    let dir = tempfile::tempdir().expect("a directory");
    let (running, _stub) = start().await;
    let config = on_free_ports(dir.path());
    let (started, _bound) = oneshot::channel();
    let (_reload, reloads) = mpsc::channel(1);
    let (shutdown, stopped) = watch::channel(false);
    drop(shutdown);
    let run = gateway::run(
        config,
        running.registry.clone(),
        Arc::new(HandClock::default()),
        Arc::new(CountedIds::default()),
        started,
        reloads,
        stopped,
    );
    within("the end", run).await.expect("no error");
}

/// A configuration of a gateway of its own in this directory.
fn on_free_ports(dir: &Path) -> GatewayConfig {
    let any_port = "127.0.0.1:0".parse().expect("an address");
    GatewayConfig {
        listen: any_port,
        admin_listen: any_port,
        renewal_socket: dir.join("renewal.sock"),
        ..GatewayConfig::default()
    }
}

thread_local! {
    /// Whether this thread is the one that hangs while it has the trail.
    static HANGS: Cell<bool> = const { Cell::new(false) };
}

/// A clock at which one thread hangs until it is told to go on.
struct Hanging {
    clock: HandClock,
    hangs: channels::Sender<()>,
    go_on: Mutex<channels::Receiver<()>>,
}

impl Clock for Hanging {
    fn now(&self) -> Instant {
        self.clock.now()
    }
    fn monotonic(&self) -> Duration {
        if HANGS.get() {
            self.hangs.send(()).expect("the test waits");
            // An end of the test is a word to go on too.
            let _ = self.go_on.lock().expect("no panic").recv();
        }
        self.clock.monotonic()
    }
}

// GW-054
#[tokio::test]
async fn the_admin_listener_answers_while_the_disk_of_the_trail_hangs() {
    let dir = tempfile::tempdir().expect("a directory");
    let (hangs, hanging) = channels::channel();
    let (go_on, told) = channels::channel::<()>();
    let clock = Arc::new(Hanging { clock: HandClock::default(), hangs, go_on: Mutex::new(told) });
    let ids = Arc::new(CountedIds::default());
    let place = dir.path().join("registry");
    let opened = Registry::open(&place, Beside::NoTenant, clock, ids.clone());
    let registry = Arc::new(opened.expect("a registry opens").registry);
    let held = registry.clone();
    let holder = std::thread::Builder::new().name("holder".to_owned()).spawn(move || {
        HANGS.set(true);
        // It asks for the time with the trail in its hands.
        held.trail().tell_refused()
    });
    let holder = holder.expect("a thread");
    hanging.recv_timeout(Duration::from_secs(20)).expect("the trail is held");

    let config = on_free_ports(dir.path());
    let (started, bound) = oneshot::channel();
    let (_reload, reloads) = mpsc::channel(1);
    let (shutdown, stopped) = watch::channel(false);
    let clock = Arc::new(HandClock::default());
    let run = gateway::run(config, registry, clock, ids, started, reloads, stopped);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(run);
    let address = within("the start", bound).await.expect("it starts").admin_listen;
    // The first of them may be accepted before it is looked what is to be told.
    for (target, status) in [("/livez", 200), ("/metrics", 200), ("/readyz", 503), ("/livez", 200)]
    {
        let mut connection = connect(address).await;
        connection.write(request("GET", target, &[], "").as_bytes()).await;
        let answer = within(target, connection.read_answer()).await;
        assert_eq!(answer.status, status, "{target}");
    }
    go_on.send(()).expect("it hangs");
    holder.join().expect("no panic").expect("nothing to tell");
    shutdown.send_replace(true);
    within("the end", tasks.join_next()).await.expect("one").expect("no panic").expect("no error");
}
