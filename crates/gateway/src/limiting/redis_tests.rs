//! Several gateways at a Redis that is there, in real time.

#[path = "../../tests/redis_server/mod.rs"]
mod redis_server;

use std::sync::atomic::AtomicU32;

use contract::{Clock, Ids};
use redis_server::{ABSENT, RedisServer};
use tokio::task::JoinSet;

use super::tests::{ask, client, plans};
use super::*;

/// How long three gateways are asked. The bound holds for any time.
const TIME: Duration = Duration::from_secs(4);
/// How long what was asked may take to be known to all.
const PATIENCE: Duration = Duration::from_secs(20);

/// The machine's own time.
struct RealClock(std::time::Instant);

impl RealClock {
    fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "what is tested is tested in real time")]
        let now = std::time::Instant::now();
        Self(now)
    }
}

impl Clock for RealClock {
    fn now(&self) -> Instant {
        let passed = i64::try_from(self.0.elapsed().as_micros()).expect("a short time");
        Instant::from_micros(1_790_000_000_000_000 + passed)
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Each number once.
#[derive(Default)]
struct CountedIds(AtomicU32);

impl Ids for CountedIds {
    fn next(&self) -> u128 {
        u128::from(self.0.fetch_add(7919, Ordering::SeqCst)) << 64
    }
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

// GW-042
#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_at_one_redis_and_1000_a_second_keep_to_the_rate_and_to_a_quota() {
    let folder = tempfile::tempdir().expect("a directory");
    let Some(redis) = RedisServer::begin(folder.path()) else {
        return eprintln!("skipped: {ABSENT}");
    };
    let plan = serde_json::json!({
        "rates": [{ "per_second": 1000, "burst": 1000 }],
        "quotas": [{ "of": "requests", "most": 1_000_000, "per": "day", "window": "rolling" }],
    });
    let clock = Arc::new(RealClock::start());
    let ids = Arc::new(CountedIds::default());
    let metrics = Arc::new(Metrics::new().expect("the names are valid"));
    let mut tending = JoinSet::new();
    let gateways: Vec<Arc<Limiting>> = (0..3)
        .map(|_| {
            let store = RedisStore::new(&redis.url(), None).expect("a URL");
            let limiting = Limiting::in_memory(plans(plan.clone())).sharing(Arc::new(store), 3);
            let limiting = Arc::new(limiting);
            let (tended, clock) = (limiting.clone(), clock.clone());
            let (ids, metrics) = (ids.clone(), metrics.clone());
            tending.spawn(async move { tended.tend(&*clock, &*ids, &metrics).await });
            limiting
        })
        .collect();
    while gateways.iter().any(|gateway| gateway.mode() != Mode::Shared { gateways: 3 }) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let app = client("app");
    let began = clock.monotonic();
    let (mut admitted, mut asked) = (0_u64, 0_u64);
    while clock.monotonic() - began < TIME {
        // As many to each as are due by now: 1,000 a second.
        let due = u64::try_from((clock.monotonic() - began).as_millis()).expect("a short time");
        while asked < due {
            asked += 1;
            for gateway in &gateways {
                admitted += u64::from(ask(gateway, &app, &*clock, &metrics).is_ok());
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let theory = 1000.0 + 1000.0 * (clock.monotonic() - began).as_secs_f64();
    let share = admitted as f64 / theory;
    eprintln!("{admitted} of {} admitted, {share:.4} of {theory:.0}", 3 * asked);
    assert!(share <= 1.01, "{admitted} of {}, {share} of {theory}", 3 * asked);
    assert!(share >= 0.9, "{admitted} of {}, {share} of {theory}", 3 * asked);
    // What the others used is known to each.
    let begun = clock.monotonic();
    loop {
        admitted += u64::from(ask(&gateways[0], &app, &*clock, &metrics).is_ok());
        let shown = gateways[0].show(&app, clock.now(), clock.monotonic());
        let used = 1_000_000 - shown.limits[1].remaining.expect("it is counted");
        if used.abs_diff(admitted) <= admitted / 100 + 10 {
            break;
        }
        assert!(clock.monotonic() - begun < PATIENCE, "{used}, not {admitted}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
