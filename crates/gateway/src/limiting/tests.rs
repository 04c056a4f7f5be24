//! What is admitted and counted, by a clock that is moved by hand: against theory, against a model
//! of several gateways, and over kills.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicI64;

use contract::Clock;
use parking_lot::Mutex;
use proptest::prelude::*;
use registry::{ClientId, NewClient, PlanName};

use super::tables::{MOST_OF_NETWORK, MOST_OF_PROVIDER};
use super::*;
use crate::plans::WrittenPlan;

/// Time that a test moves, in microseconds.
struct HandClock(AtomicI64);

/// 2026-09-21T14:13:20Z: no window of a test ends by chance.
const START: i64 = 1_790_000_000_000_000;

impl HandClock {
    fn new() -> Self {
        Self(AtomicI64::new(0))
    }
    fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).expect("a short time");
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Instant {
        Instant::from_micros(START + self.0.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}

pub(super) fn plans(plan: serde_json::Value) -> Plans {
    let mut plan = plan;
    plan["says"] = "For a test.".into();
    plan["default"] = true.into();
    let written: WrittenPlan = serde_json::from_value(plan).expect("a plan's text");
    let name: PlanName = "test".parse().expect("a plan's name");
    Plans::new(&BTreeMap::from([(name, written)])).expect("a plan")
}

pub(super) fn client(id: &str) -> Client {
    let id = ClientId::new(id).expect("an id");
    let role = "reader".parse().expect("a role");
    NewClient::of_role(id, "An app", role).into_client(Instant::from_micros(0))
}

/// Asks for one client from one address.
pub(super) fn ask(
    limiting: &Limiting,
    client: &Client,
    clock: &dyn Clock,
    metrics: &Metrics,
) -> Result<Admission, NotAdmitted> {
    let address = "203.0.113.7".parse().expect("an address");
    let now = sync::now(clock);
    let admitted = limiting.admit(Some(client), || None, address, "fhir", &now, metrics)?;
    Ok(admitted.expect("there is a default plan"))
}

fn retry_after(result: Result<Admission, NotAdmitted>) -> u32 {
    match result.expect_err("a refusal").refusal {
        Refusal::Exceeded(exceeded) => exceeded.retry_after,
        other => panic!("refused otherwise: {other:?}"),
    }
}

fn state(result: Result<Admission, NotAdmitted>) -> String {
    let told = match result {
        Ok(admission) => admission.told.clone(),
        Err(refused) => refused.told,
    };
    told.state.to_str().expect("ASCII").to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    // GW-040
    #[test]
    fn of_10000_requests_however_they_come_as_many_are_admitted_as_theory_has(
        gaps in proptest::collection::vec(1_u64..3_000, 10_000),
    ) {
        let rate = serde_json::json!({ "rates": [{ "per_second": 100, "burst": 20 }] });
        let limiting = Limiting::in_memory(plans(rate));
        let (clock, app) = (HandClock::new(), client("app"));
        let metrics = Metrics::new().expect("the names are valid");
        let (mut admitted, mut tokens) = (0_u32, 20.0_f64);
        let mut theory = 0_u32;
        for gap in gaps {
            clock.advance(Duration::from_micros(gap));
            tokens = (tokens + gap as f64 * 100.0 / 1e6).min(20.0);
            if tokens >= 1.0 {
                tokens -= 1.0;
                theory += 1;
            }
            admitted += u32::from(ask(&limiting, &app, &clock, &metrics).is_ok());
        }
        prop_assert!(theory > 1000, "{theory}");
        prop_assert!(admitted.abs_diff(theory) * 100 <= theory, "{admitted} of {theory}");
    }
}

#[test]
fn a_limit_counts_by_what_it_says_and_by_nothing_else() {
    let rates = |by: &[&str]| serde_json::json!({ "rates": [{ "by": by, "per_minute": 1 }] });
    let metrics = Metrics::new().expect("the names are valid");
    let check = |by: &[&str], others: [bool; 4]| {
        let limiting = Limiting::in_memory(plans(rates(by)));
        let now = sync::now(&HandClock::new());
        let first = ["app", "Practitioner/1", "203.0.113.7", "fhir"];
        let second = ["other", "Practitioner/2", "203.0.113.8", "break-glass"];
        let ask = |asked: [&'static str; 4]| {
            let (client, user) = (client(asked[0]), asked[1].to_owned());
            let address = asked[2].parse().expect("an address");
            let user = move || Some(user);
            limiting.admit(Some(&client), user, address, asked[3], &now, &metrics).is_ok()
        };
        assert!(ask(first), "{by:?}");
        assert!(!ask(first), "{by:?}");
        for (at, admitted) in others.into_iter().enumerate() {
            let mut asked = first;
            asked[at] = second[at];
            assert_eq!(ask(asked), admitted, "{by:?} {asked:?}");
        }
    };
    check(&["client"], [true, false, false, false]);
    check(&["user"], [false, true, false, false]);
    check(&["address"], [false, false, true, false]);
    check(&["route"], [false, false, false, true]);
    check(&["client", "address"], [true, false, true, false]);
}

#[test]
fn what_one_limit_refuses_takes_nothing_from_the_others() {
    let limiting = Limiting::in_memory(plans(serde_json::json!({
        "rates": [{ "per_second": 1, "burst": 5 }],
        "quotas": [{ "of": "requests", "most": 2, "per": "day" }],
    })));
    let (clock, app) = (HandClock::new(), client("app"));
    let metrics = Metrics::new().expect("the names are valid");
    for left in [1, 0] {
        let told = state(ask(&limiting, &app, &clock, &metrics));
        assert!(told.contains(&format!("\"requests-per-day\";r={left};t=")), "{told}");
    }
    for _ in 0..10 {
        assert!(retry_after(ask(&limiting, &app, &clock, &metrics)) > 3600);
    }
    let shown = limiting.show(&app, clock.now(), clock.monotonic());
    assert_eq!(shown.limits[0].remaining, Some(3), "{shown:?}");
    assert_eq!(shown.limits[1].remaining, Some(0), "{shown:?}");
}

// GW-040
#[test]
fn requests_that_have_not_ended_are_counted_until_they_have() {
    let at_once = serde_json::json!({ "at_once": [{ "most": 2 }] });
    let limiting = Limiting::in_memory(plans(at_once));
    let (clock, app) = (HandClock::new(), client("app"));
    let metrics = Metrics::new().expect("the names are valid");
    let first = ask(&limiting, &app, &clock, &metrics).expect("one");
    let second = ask(&limiting, &app, &clock, &metrics).expect("two");
    assert_eq!(second.told.state, "\"client-at-once\";r=0");
    assert_eq!(retry_after(ask(&limiting, &app, &clock, &metrics)), 1);
    drop(first);
    let again = ask(&limiting, &app, &clock, &metrics).expect("two again");
    assert!(ask(&limiting, &app, &clock, &metrics).is_err());
    drop((second, again));
    assert!(ask(&limiting, &app, &clock, &metrics).is_ok());
}

// GW-041
#[test]
fn bytes_and_cost_are_charged_when_they_are_known() {
    let limiting = Limiting::in_memory(plans(serde_json::json!({
        "quotas": [
            { "of": "bytes", "most": 1000, "per": "hour" },
            { "of": "cost", "most": 50, "per": "hour" },
        ],
    })));
    let (clock, app) = (HandClock::new(), client("app"));
    let metrics = Metrics::new().expect("the names are valid");
    let admission = ask(&limiting, &app, &clock, &metrics).expect("nothing is used");
    // 30 rows and 1.5 ms, of which a part counts as a whole.
    limiting.charge(&admission, 400, Some(Cost { rows: 30, micros: 1500 }), clock.now());
    let told = state(ask(&limiting, &app, &clock, &metrics));
    assert!(told.starts_with("\"bytes-per-hour\";r=600;t="), "{told}");
    assert!(told.contains("\"cost-per-hour\";r=18;t="), "{told}");
    limiting.charge(&admission, 5000, None, clock.now());
    let seconds = retry_after(ask(&limiting, &app, &clock, &metrics));
    clock.advance(Duration::from_secs(u64::from(seconds) - 1));
    assert!(ask(&limiting, &app, &clock, &metrics).is_err());
    clock.advance(Duration::from_secs(1));
    assert!(ask(&limiting, &app, &clock, &metrics).is_ok());
}

// GW-041, GW-064
#[test]
fn what_was_written_down_counts_after_a_restart_and_only_what_came_after_is_lost() {
    let quotas = || {
        plans(serde_json::json!({
            "quotas": [
                { "of": "requests", "most": 10, "per": "month" },
                { "of": "requests", "most": 8, "per": "day", "window": "rolling" },
            ],
        }))
    };
    let dir = tempfile::tempdir().expect("a directory");
    let (clock, app) = (HandClock::new(), client("app"));
    let metrics = Metrics::new().expect("the names are valid");
    let open = || Limiting::open(quotas(), dir.path(), clock.now()).expect("it opens");
    let remaining = |limiting: &Limiting| {
        let shown = limiting.show(&app, clock.now(), clock.monotonic()).limits;
        shown.iter().map(|limit| limit.remaining).collect::<Vec<_>>()
    };
    let limiting = open();
    for _ in 0..5 {
        assert!(ask(&limiting, &app, &clock, &metrics).is_ok());
    }
    limiting.keep(clock.now()).expect("it is written");
    for _ in 0..2 {
        assert!(ask(&limiting, &app, &clock, &metrics).is_ok());
    }
    // Two were never written, as by a kill.
    drop(limiting);
    let limiting = open();
    assert_eq!(remaining(&limiting), [Some(5), Some(3)]);
    assert!(ask(&limiting, &app, &clock, &metrics).is_ok());
    limiting.keep(clock.now()).expect("it is written");
    drop(limiting);
    // Written anew at each start, and no worse for it.
    assert_eq!(remaining(&open()), [Some(4), Some(2)]);
    assert_eq!(remaining(&open()), [Some(4), Some(2)]);
}

/// What a store does, in memory.
#[derive(Debug, Default)]
struct MemoryStore {
    buckets: Mutex<HashMap<String, (f64, Duration)>>,
    quotas: Mutex<HashMap<String, (i64, i64)>>,
    now: Mutex<Duration>,
    gateways: u32,
    is_lost: std::sync::atomic::AtomicBool,
}

#[async_trait::async_trait]
impl CounterStore for MemoryStore {
    async fn exchange(&self, _: &str, reports: &[Report]) -> Result<Exchanged, StoreError> {
        if self.is_lost.load(Ordering::SeqCst) {
            return Err(StoreError("lost".to_owned()));
        }
        let now = *self.now.lock();
        let granted = reports.iter().map(|report| match report.of {
            Reported::Rate(rate) => {
                let burst = f64::from(rate.burst.get());
                let mut buckets = self.buckets.lock();
                let (level, at) = buckets.entry(report.key.clone()).or_insert((burst, now));
                let grown = now.saturating_sub(*at).as_secs_f64() * f64::from(rate.count.get())
                    / rate.per.as_secs_f64();
                *level = (*level + grown).min(burst);
                *at = now;
                *level = (*level + report.give as f64).min(burst);
                let given = (report.want as f64).min(level.floor()).max(0.0);
                *level -= given;
                Granted { tokens: given as u64, left: level.floor() as i64 }
            }
            Reported::Quota { most, slice, used, .. } => {
                let mut quotas = self.quotas.lock();
                let most = i64::try_from(most).expect("a small quota");
                let known = i64::try_from(used).expect("a small quota");
                let kept = quotas.entry(report.key.clone()).or_insert((slice, known));
                if kept.0 < slice {
                    *kept = (slice, 0);
                }
                kept.1 -= report.give;
                let want = i64::try_from(report.want).unwrap_or(i64::MAX);
                let given = want.min(most - kept.1).max(0);
                kept.1 += given;
                Granted { tokens: given.unsigned_abs(), left: most - kept.1 }
            }
        });
        Ok(Exchanged { gateways: self.gateways, granted: granted.collect() })
    }
}

/// Several gateways at one store.
struct Several {
    gateways: Vec<Limiting>,
    store: Arc<MemoryStore>,
    clock: HandClock,
    metrics: Metrics,
}

impl Several {
    fn of(number: u32, plan: &serde_json::Value) -> Self {
        let store = Arc::new(MemoryStore { gateways: number, ..MemoryStore::default() });
        let gateway = |_| {
            let shared: Arc<dyn CounterStore> = store.clone();
            Limiting::in_memory(plans(plan.clone())).sharing(shared, number)
        };
        let gateways = (0..number).map(gateway).collect();
        let metrics = Metrics::new().expect("the names are valid");
        Self { gateways, store, clock: HandClock::new(), metrics }
    }

    async fn exchange(&self, at: usize) {
        *self.store.now.lock() = self.clock.monotonic();
        let sharing = self.gateways[at].sharing.as_ref().expect("it shares");
        if sharing.exchange("g", &self.clock).await.is_err() {
            sharing.is_lost();
        }
    }

    /// Sends requests to each gateway, so many each millisecond, and says how many each admits.
    async fn admitted(&self, time: Duration, each: &[u32]) -> Vec<u32> {
        let app = client("app");
        let mut admitted = vec![0; each.len()];
        for millisecond in 0..time.as_millis() {
            self.clock.advance(Duration::from_millis(1));
            for (at, requests) in each.iter().enumerate() {
                for _ in 0..*requests {
                    let asked = ask(&self.gateways[at], &app, &self.clock, &self.metrics);
                    admitted[at] += u32::from(asked.is_ok());
                }
                // Each at moments of its own.
                if (millisecond + 37 * at as u128).is_multiple_of(100) {
                    self.exchange(at).await;
                }
            }
        }
        admitted
    }
}

// GW-042
#[tokio::test]
async fn three_gateways_at_1000_a_second_for_60_s_admit_no_more_than_a_hundredth_too_many() {
    let plan = serde_json::json!({ "rates": [{ "per_second": 1000, "burst": 100 }] });
    // The whole minute once; less of it where one gateway has all requests, or half of them.
    for (each, seconds) in [([1, 1, 1], 60), ([3, 0, 0], 20), ([2, 1, 1], 20)] {
        let several = Several::of(3, &plan);
        let admitted = several.admitted(Duration::from_secs(seconds), &each).await;
        let all = u64::from(admitted.iter().sum::<u32>());
        let theory = 1000 * seconds + 100;
        let fits = (theory * 96 / 100..=theory * 101 / 100).contains(&all);
        assert!(fits, "{each:?}: {admitted:?}");
    }
}

// GW-042
#[tokio::test]
async fn three_gateways_pass_a_quota_by_no_more_than_a_hundredth() {
    let plan = serde_json::json!({ "quotas": [{ "of": "requests", "most": 5000, "per": "day" }] });
    let several = Several::of(3, &plan);
    let admitted = several.admitted(Duration::from_secs(10), &[1, 1, 1]).await;
    let all: u32 = admitted.iter().sum();
    assert!((4990..=5050).contains(&all), "{admitted:?}");
    // One that starts anew knows nothing, and gets next to nothing.
    let shared: Arc<dyn CounterStore> = several.store.clone();
    let new = Limiting::in_memory(plans(plan)).sharing(shared, 3);
    let several = Several { gateways: vec![new], ..several };
    assert!(several.admitted(Duration::from_secs(1), &[1]).await[0] <= 17);
}

// GW-042, GW-033
#[tokio::test]
async fn without_the_store_each_gateway_goes_on_with_its_share() {
    let plan = serde_json::json!({
        "rates": [{ "per_second": 300, "burst": 30 }],
        "quotas": [{ "of": "requests", "most": 100_000, "per": "day" }],
    });
    let several = Several::of(3, &plan);
    several.admitted(Duration::from_secs(2), &[1, 1, 1]).await;
    several.store.is_lost.store(true, Ordering::SeqCst);
    several.admitted(Duration::from_secs(1), &[1, 1, 1]).await;
    for gateway in &several.gateways {
        assert_eq!(gateway.counting().word(), "local-shares");
    }
    let admitted = several.admitted(Duration::from_secs(10), &[1, 1, 1]).await;
    for one in &admitted {
        assert!((990..=1010).contains(one), "{admitted:?}");
    }
    several.store.is_lost.store(false, Ordering::SeqCst);
    several.admitted(Duration::from_secs(1), &[1, 1, 1]).await;
    let admitted = several.admitted(Duration::from_secs(10), &[1, 1, 1]).await;
    let all: u32 = admitted.iter().sum();
    assert!((2900..=3030).contains(&all), "{admitted:?}");
    // What was used meanwhile was told.
    let used = several.store.quotas.lock().values().next().expect("a quota").1;
    assert!((7000..=7800).contains(&used), "{used}");
}

#[test]
fn the_addresses_of_one_network_do_not_take_the_places_of_all_others() {
    let plan = serde_json::json!({
        "quotas": [{ "by": ["address"], "of": "requests", "most": 2, "per": "month" }],
    });
    let limiting = Limiting::in_memory(plans(plan));
    let (metrics, app) = (Metrics::new().expect("the names are valid"), client("app"));
    let now = sync::now(&HandClock::new());
    let ask = |address: std::net::IpAddr| {
        limiting.admit(Some(&app), || None, address, "fhir", &now, &metrics).is_ok()
    };
    let of = |number: u128| {
        std::net::Ipv6Addr::from((0x2001_0db8_0001_u128 << 80) | (number << 64) | 1).into()
    };
    // As many networks as one customer has, a request each.
    let admitted = (0..65_536).filter(|number| ask(of(*number))).count();
    // Each of the first has its own quota, and all the others one together.
    assert_eq!(admitted, MOST_OF_NETWORK + 2 - 1);
    for number in 0..4000_u32 {
        assert!(ask(std::net::Ipv4Addr::from(number).into()), "{number}");
        assert!(
            ask(std::net::Ipv6Addr::from(0x2001_0db8_0002_u128 << 80 | 7).into()) || number > 1
        );
    }
}

#[test]
fn a_providers_networks_do_not_take_the_places_of_all_others() {
    let plan = serde_json::json!({
        "quotas": [{ "by": ["address"], "of": "requests", "most": 2, "per": "month" }],
    });
    let limiting = Limiting::in_memory(plans(plan));
    let (metrics, app) = (Metrics::new().expect("the names are valid"), client("app"));
    let now = sync::now(&HandClock::new());
    let ask = |address: u128| {
        let address = std::net::Ipv6Addr::from(address).into();
        limiting.admit(Some(&app), || None, address, "fhir", &now, &metrics).is_ok()
    };
    // A request from each /48 of one /32.
    let admitted = (0..65_536).filter(|number| ask(0x2001_0db8_u128 << 96 | number << 80)).count();
    // One more than those that have their own: the first has the address by which all others count.
    assert_eq!(admitted, MOST_OF_PROVIDER + 1);
    let others = (0..30_000).filter(|number| ask(0x2a00_u128 << 112 | number << 96)).count();
    assert_eq!(others, 30_000);
}

#[test]
fn what_a_quota_counted_is_given_back_once_for_a_request_that_came_to_nothing() {
    let plan = serde_json::json!({
        "quotas": [{ "of": "requests", "most": 2, "per": "day" }],
        "rates": [{ "per_minute": 1, "burst": 4 }],
    });
    let limiting = Limiting::in_memory(plans(plan));
    let (metrics, app, clock) =
        (Metrics::new().expect("the names are valid"), client("app"), HandClock::new());
    let mut first = ask(&limiting, &app, &clock, &metrics).expect("admitted");
    limiting.give_back(&mut first);
    limiting.give_back(&mut first);
    assert!(ask(&limiting, &app, &clock, &metrics).is_ok());
    assert!(ask(&limiting, &app, &clock, &metrics).is_ok());
    assert!(state(ask(&limiting, &app, &clock, &metrics)).contains("requests-per-day"));
}

// GW-033, GW-042
#[tokio::test]
async fn a_rolling_quota_comes_back_while_the_store_is_silent_and_is_told_when_it_is_not() {
    let plan = serde_json::json!({
        "quotas": [{ "of": "requests", "most": 300, "per": "minute", "window": "rolling" }],
    });
    let several = Several::of(3, &plan);
    // All of it, and then the store is lost.
    let admitted = several.admitted(Duration::from_secs(1), &[1, 1, 1]).await;
    assert!((297..=309).contains(&admitted.iter().sum::<u32>()), "{admitted:?}");
    several.store.is_lost.store(true, Ordering::SeqCst);
    assert_eq!(several.admitted(Duration::from_secs(1), &[1, 1, 1]).await, [0, 0, 0]);
    // What was used goes out of the window, and each gateway has a third of it.
    several.clock.advance(Duration::from_secs(62));
    for _ in 0..3 {
        let admitted = several.admitted(Duration::from_secs(1), &[1, 1, 1]).await;
        assert_eq!(admitted, [100, 100, 100]);
        assert_eq!(several.admitted(Duration::from_secs(2), &[1, 1, 1]).await, [0, 0, 0]);
        several.clock.advance(Duration::from_secs(62));
    }
    // What counts when the store is back is told, and nothing else.
    assert_eq!(several.admitted(Duration::from_millis(50), &[1, 1, 1]).await, [50, 50, 50]);
    several.store.is_lost.store(false, Ordering::SeqCst);
    for at in 0..3 {
        several.exchange(at).await;
    }
    let used = several.store.quotas.lock().values().next().expect("a quota").1;
    // And what was given ahead.
    assert!((150..=300).contains(&used), "{used}");
    // Within a slice, for the store of this test has no other.
    let admitted = several.admitted(Duration::from_millis(900), &[1, 1, 1]).await;
    assert!((140..=160).contains(&admitted.iter().sum::<u32>()), "{admitted:?}");
}

#[test]
fn a_rolling_quota_that_was_written_down_beside_others_comes_back_slice_by_slice() {
    let dir = tempfile::tempdir().expect("a directory");
    let plan = serde_json::json!({
        "quotas": [{ "of": "requests", "most": 10, "per": "minute", "window": "rolling" }],
    });
    let (clock, app) = (HandClock::new(), client("app"));
    let metrics = Metrics::new().expect("the names are valid");
    let open = || {
        let lost = MemoryStore { gateways: 1, ..MemoryStore::default() };
        let limiting = Limiting::open(plans(plan.clone()), dir.path(), clock.now());
        limiting.expect("it opens").sharing(Arc::new(lost), 1)
    };
    // Written down again and again, as a running gateway does.
    let limiting = open();
    for _ in 0..10 {
        assert!(ask(&limiting, &app, &clock, &metrics).is_ok());
        clock.advance(Duration::from_secs(5));
        limiting.keep(clock.now()).expect("it is kept");
    }
    assert!(ask(&limiting, &app, &clock, &metrics).is_err());
    drop(limiting);
    let limiting = open();
    assert!(ask(&limiting, &app, &clock, &metrics).is_err());
    clock.advance(Duration::from_secs(12));
    assert!(ask(&limiting, &app, &clock, &metrics).is_ok(), "the first went out of the window");
    assert!(ask(&limiting, &app, &clock, &metrics).is_err());
}
