//! Limits against what they should come to: a rate of one gateway, a rate that three share, and
//! quotas after kills.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use contract::Clock as _;
use hearthgate::doors::SystemClock;
use http::Method;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::client::{Client, try_send};
use crate::limited::{flood, left, site_with, three_places};
use crate::redis::Redis;
use crate::site::First;
use crate::tools::{Absent, Tool};

/// What is asked for.
const READ: &str = "/metadata";
/// Requests on their way to one gateway at a time.
const IN_FLIGHT: u32 = 8;
/// The tokens of one gateway's rate: in a second, and at once.
const ONE: [u32; 2] = [100, 20];
/// Hundredths by which a rate may be passed, and that of one gateway missed.
pub const WANTED: f64 = 1.0;
/// Tokens that were growing when it began and when it ended.
const GROWING: f64 = 2.0;
/// By when that of one gateway is whole again, whatever was taken.
const FULL_AGAIN: Duration = Duration::from_secs(1);
/// How many times a rate is asked for.
const TIMES: u32 = 10;
/// What of a quota a kill may lose.
const LOST_AT_MOST: Duration = Duration::from_secs(1);

/// Requests that a rate let pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Admitted {
    /// All that were sent.
    pub sent: u32,
    /// Those that were let pass.
    pub admitted: u32,
    /// Those that the rate allows in that time.
    pub theory: f64,
}

impl Admitted {
    /// Whether every request was let pass: then too few were sent to see a limit.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.admitted == self.sent
    }

    /// Whether more were let pass than a hundredth beyond theory.
    #[must_use]
    pub fn is_too_many(&self) -> bool {
        f64::from(self.admitted) - self.theory > self.allowed()
    }

    /// Whether fewer were let pass than a hundredth below theory.
    #[must_use]
    pub fn is_too_few(&self) -> bool {
        self.theory - f64::from(self.admitted) > self.allowed()
    }

    fn allowed(&self) -> f64 {
        (self.theory * WANTED / 100.0).max(GROWING)
    }

    /// How many hundredths more than in theory; below nothing where there were fewer.
    #[must_use]
    pub fn beyond(&self) -> f64 {
        100.0 * (f64::from(self.admitted) / self.theory - 1.0)
    }
}

/// What a kill made of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Killed {
    /// Requests that were let pass.
    pub admitted: u32,
    /// Those of the last second before the kill.
    pub lately: u32,
    /// Those that were on their way at the kill: they may have been counted.
    pub unanswered: u32,
    /// Those that the quota has still counted after it.
    pub counted: u64,
}

impl Killed {
    /// Those that it has forgotten.
    #[must_use]
    pub fn lost(&self) -> u64 {
        u64::from(self.admitted).saturating_sub(self.counted)
    }

    /// Whether it has forgotten more than those of the last second, or counted some that nobody
    /// asked.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        let asked = u64::from(self.admitted) + u64::from(self.unanswered);
        self.lost() > u64::from(self.lately) || self.counted > asked
    }
}

/// Sends so many requests to a gateway whose client has a rate, ten times as often as it allows,
/// and takes as many tokens of a bucket of its own.
///
/// # Panics
/// When an answer is neither 200 nor 429.
pub async fn one_gateway(requests: u32) -> Admitted {
    let [per_second, _] = ONE;
    let (_site, app) =
        site_with(&format!("[plans.app]\nsays = \"For apps.\"\n{}", rate(ONE))).await;
    // Whoever asks first waits for connections and for what is made once, and tokens that grow
    // meanwhile find a full bucket: that is not to be measured.
    let mut first = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let app = app.clone();
        first.spawn(async move { app.get(READ).await.is(200) });
    }
    drop(first.join_all().await);
    tokio::time::sleep(FULL_AGAIN).await;
    let mut ticks =
        tokio::time::interval(Duration::from_secs(1) * IN_FLIGHT / (TIMES * per_second));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let clock = SystemClock::start();
    let mut bucket = Bucket::full(ONE, clock.monotonic());
    let (mut sent, mut admitted, mut theory) = (0, 0, 0.0);
    while sent < requests {
        ticks.tick().await;
        theory += f64::from(bucket.take(IN_FLIGHT.min(requests - sent), clock.monotonic()));
        let mut asked = JoinSet::new();
        for _ in 0..IN_FLIGHT.min(requests - sent) {
            let app = app.clone();
            asked.spawn(async move { app.get(READ).await.status });
            sent += 1;
        }
        for status in asked.join_all().await {
            assert!(matches!(status, 200 | 429), "{status}");
            admitted += u32::from(status == 200);
        }
    }
    Admitted { sent, admitted, theory }
}

/// Asks three gateways that share one store and this rate, a second's worth at once, as often as
/// they answer.
///
/// # Errors
/// [`Absent`] where there is no store.
///
/// # Panics
/// When an answer is neither 200 nor 429.
pub async fn three_gateways(per_second: u32, time: Duration) -> Result<Admitted, Absent> {
    let folder = tempfile::tempdir().expect("the system gives a folder");
    let redis = Redis::start(folder.path()).ok_or(Absent(Tool::Redis))?;
    let (_sites, clients) = three_places(&redis, &rate([per_second; 2])).await;
    let (admitted, sent, took) = flood(&clients, time).await;
    let admitted = admitted.iter().sum();
    // Asked all the time, so that no token is lost because the bucket is full.
    let theory = f64::from(per_second) * (1.0 + took.as_secs_f64());
    Ok(Admitted { sent, admitted, theory })
}

/// Asks a gateway whose client has a quota for `time`, kills it meanwhile, starts it again, and
/// looks what the quota has counted; so often.
///
/// # Panics
/// When an answer is not 200, or the gateway does not start again.
pub async fn kills(rounds: u32, time: Duration) -> Vec<Killed> {
    let quota = "quotas = [{ of = \"requests\", most = 100000000, per = \"month\" }]\n";
    let (mut site, mut app) =
        site_with(&format!("[plans.app]\nsays = \"For apps.\"\n{quota}")).await;
    let mut seen = Vec::new();
    for _ in 0..rounds {
        let before = left(&app, "requests-per-month").await.1;
        let clock = Arc::new(SystemClock::start());
        let unanswered = Arc::new(AtomicU32::new(0));
        let mut asking = JoinSet::new();
        for _ in 0..IN_FLIGHT {
            asking.spawn(ask_to_the_end(app.clone(), clock.clone(), unanswered.clone()));
        }
        tokio::time::sleep(time).await;
        let killed = clock.monotonic();
        site.kill().await;
        let answered: Vec<Duration> = asking.join_all().await.into_iter().flatten().collect();
        let lately = answered.iter().filter(|at| **at + LOST_AT_MOST >= killed).count();
        site.launch(First::Gateway).await;
        app = site.client(app.key());
        let after = left(&app, "requests-per-month").await.1;
        let number = |count: usize| u32::try_from(count).expect("requests of some seconds");
        seen.push(Killed {
            admitted: number(answered.len()),
            lately: number(lately),
            unanswered: unanswered.load(Ordering::Relaxed),
            // The question itself was counted.
            counted: (before - after).saturating_sub(1),
        });
    }
    seen
}

/// Asks until nobody answers; when each answer came.
async fn ask_to_the_end(
    app: Client,
    clock: Arc<SystemClock>,
    unanswered: Arc<AtomicU32>,
) -> Vec<Duration> {
    let mut answered = Vec::new();
    loop {
        match try_send(app.request(Method::GET, READ)).await {
            Ok(answer) => assert_eq!(answer.status, 200, "{answer:?}"),
            Err(_) => {
                unanswered.fetch_add(1, Ordering::Relaxed);
                return answered;
            }
        }
        answered.push(clock.monotonic());
    }
}

fn rate([per_second, burst]: [u32; 2]) -> String {
    format!("rates = [{{ per_second = {per_second}, burst = {burst} }}]\n")
}

/// A bucket of tokens, as limits are meant (docs/limits.md): it counts a machine that stands still
/// as the gateway's does, whose bucket is then full.
struct Bucket {
    per_second: f64,
    most: f64,
    tokens: f64,
    at: Duration,
}

impl Bucket {
    fn full([per_second, burst]: [u32; 2], at: Duration) -> Self {
        let most = f64::from(burst);
        Self { per_second: f64::from(per_second), most, tokens: most, at }
    }

    /// Takes a token for each of these requests, as far as there are some; how many.
    fn take(&mut self, requests: u32, now: Duration) -> u32 {
        let grown = self.per_second * now.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + grown).min(self.most);
        self.at = now;
        let mut taken = 0;
        while taken < requests && self.tokens >= 1.0 {
            self.tokens -= 1.0;
            taken += 1;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Admitted, Bucket, Killed};

    #[test]
    fn what_is_beyond_a_rate_is_told_in_hundredths() {
        let admitted = |admitted| Admitted { sent: 10_000, admitted, theory: 1000.0 };
        assert_eq!([1010, 1000, 900].map(|it| admitted(it).beyond().round()), [1.0, 0.0, -10.0]);
        let many = [1011, 1010, 990].map(|it| admitted(it).is_too_many());
        assert_eq!(many, [true, false, false]);
        assert_eq!([990, 989].map(|it| admitted(it).is_too_few()), [false, true]);
        let few = Admitted { sent: 500, admitted: 68, theory: 70.0 };
        assert!(!few.is_too_few() && few.admitted < 69, "the tokens that were growing");
    }

    #[test]
    fn a_bucket_gives_what_it_has_and_holds_no_more_than_it_may() {
        let mut bucket = Bucket::full([100, 20], Duration::ZERO);
        assert_eq!(bucket.take(25, Duration::ZERO), 20);
        assert_eq!(bucket.take(8, Duration::from_millis(55)), 5);
        // The half of a token that was left has grown to one.
        assert_eq!(bucket.take(8, Duration::from_millis(60)), 1);
        assert_eq!(bucket.take(100, Duration::from_secs(9)), 20);
    }

    #[test]
    fn a_quota_may_forget_the_last_second_and_count_what_was_on_its_way_and_no_more() {
        let killed =
            |counted| Killed { admitted: 100, lately: 10, unanswered: 2, counted }.is_wrong();
        assert_eq!([89, 90, 100, 102, 103].map(killed), [true, false, false, false, true]);
    }
}
