//! Denials that wait to be handed over, of each tenant in their order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::{Clock, TenantName};
use parking_lot::Mutex;
use prometheus::IntCounterVec;
use tokio::sync::Notify;

use super::DeniedRequest;

/// Denials of one tenant that wait.
const MOST_WAITING: usize = 4096;
/// How long one waits for a log that takes nothing.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Why a denial does not come into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// Too many of its tenant wait.
    QueueFull,
    /// The server refused it.
    Refused,
    /// It waited for a day.
    TooOld,
    /// The gateway stopped.
    Stopped,
}

impl Lost {
    /// The label in metrics.
    fn reason(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::Refused => "refused",
            Self::TooOld => "too-old",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Debug)]
struct Waiting {
    denied: Arc<DeniedRequest>,
    /// By the clock that never goes back.
    since: Duration,
}

/// What waits of each tenant; `None` once it is closed, when nothing is handed over any more.
type OfTenants = Option<BTreeMap<TenantName, VecDeque<Waiting>>>;

/// What waits. One hands over at a time; what comes meanwhile stands behind.
pub(super) struct Queues {
    of_tenants: Mutex<OfTenants>,
    came: Notify,
    lost: IntCounterVec,
    /// What was lost and not told in the log yet.
    untold: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Queues")
    }
}

impl Queues {
    pub(super) fn new(lost: IntCounterVec, clock: Arc<dyn Clock>) -> Self {
        let (came, untold) = Default::default();
        let of_tenants = Mutex::new(Some(BTreeMap::new()));
        Self { of_tenants, came, lost, untold, clock }
    }

    /// Adds a denial, unless too many of its tenant wait, or nothing is handed over any more: then
    /// it is lost.
    pub(super) fn add(&self, denied: DeniedRequest) {
        match self.queued(denied) {
            Ok(()) => self.came.notify_one(),
            Err(Lost::Stopped) => {
                self.lose(Lost::Stopped, 1);
                // Nobody else tells of it any more.
                self.tell_of_lost();
            }
            Err(why) => self.lose(why, 1),
        }
    }

    fn queued(&self, denied: DeniedRequest) -> Result<(), Lost> {
        let (denied, since) = (Arc::new(denied), self.clock.monotonic());
        let mut of_tenants = self.of_tenants.lock();
        let of_tenants = of_tenants.as_mut().ok_or(Lost::Stopped)?;
        let queue = match of_tenants.get_mut(&denied.tenant) {
            Some(queue) => queue,
            None => of_tenants.entry(denied.tenant.clone()).or_default(),
        };
        if queue.len() >= MOST_WAITING {
            return Err(Lost::QueueFull);
        }
        queue.push_back(Waiting { denied, since });
        Ok(())
    }

    /// Waits until one has come since this was last asked.
    pub(super) async fn some(&self) {
        self.came.notified().await;
    }

    /// The tenants of which some wait.
    pub(super) fn tenants(&self) -> Vec<TenantName> {
        let of_tenants = self.of_tenants.lock();
        let waiting = of_tenants.iter().flatten().filter(|(_, queue)| !queue.is_empty());
        waiting.map(|(tenant, _)| tenant.clone()).collect()
    }

    /// The first so many of a tenant, which stay until they are settled. What has waited too long
    /// is lost.
    pub(super) fn first(&self, tenant: &TenantName, most: usize) -> Vec<Arc<DeniedRequest>> {
        let now = self.clock.monotonic();
        let mut of_tenants = self.of_tenants.lock();
        let queue = of_tenants.as_mut().and_then(|queues| queues.get_mut(tenant));
        let Some(queue) = queue else { return Vec::new() };
        let is_old = |waiting: &&Waiting| now.saturating_sub(waiting.since) > LONGEST;
        let old = queue.iter().take_while(is_old).count();
        queue.drain(..old);
        let first = queue.iter().take(most).map(|waiting| Arc::clone(&waiting.denied)).collect();
        drop(of_tenants);
        self.lose(Lost::TooOld, old);
        first
    }

    /// Takes out the first so many of a tenant, of which so many were refused, but for those that
    /// stand at these places: they are to be handed over again.
    pub(super) fn settle(
        &self,
        tenant: &TenantName,
        (handed_over, refused): (usize, usize),
        later: &[usize],
    ) {
        let mut of_tenants = self.of_tenants.lock();
        if let Some(queue) = of_tenants.as_mut().and_then(|queues| queues.get_mut(tenant)) {
            let some: Vec<_> = queue.drain(..handed_over.min(queue.len())).collect();
            let left = some.into_iter().enumerate().filter(|(at, _)| later.contains(at));
            for (_, waiting) in left.collect::<Vec<_>>().into_iter().rev() {
                queue.push_front(waiting);
            }
        }
        drop(of_tenants);
        self.lose(Lost::Refused, refused);
    }

    /// What waits still is lost, and so is what comes from now on.
    pub(super) fn close(&self) {
        let left = self.of_tenants.lock().take().unwrap_or_default();
        self.lose(Lost::Stopped, left.values().map(VecDeque::len).sum());
    }

    fn lose(&self, why: Lost, count: usize) {
        if count > 0 {
            let count = count as u64;
            self.lost.with_label_values(&[why.reason()]).inc_by(count);
            self.untold.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Says in the log how many were lost since it last did.
    pub(super) fn tell_of_lost(&self) {
        let lost = self.untold.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::error!(lost, "denials of the gateway are not in the audit log");
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::Interaction;

    use super::*;
    use crate::metrics::Metrics;

    /// A clock that somebody moves.
    #[derive(Default)]
    struct Moved(Mutex<Duration>);

    impl Clock for Moved {
        fn now(&self) -> contract::Instant {
            contract::Instant::from_micros(0)
        }

        fn monotonic(&self) -> Duration {
            *self.0.lock()
        }
    }

    struct Site {
        queues: Queues,
        clock: Arc<Moved>,
    }

    impl Site {
        fn new() -> Self {
            let metrics = Metrics::new().unwrap();
            let clock = Arc::new(Moved::default());
            let queues = Queues::new(metrics.denials_not_audited.clone(), clock.clone());
            Self { queues, clock }
        }

        fn add(&self, tenant: &str, requests: impl IntoIterator<Item = usize>) {
            for request in requests {
                self.queues.add(denied(tenant, request));
            }
        }

        fn waiting(&self, tenant: &str) -> Vec<String> {
            let first = self.queues.first(&tenant.parse().unwrap(), usize::MAX);
            first.iter().map(|denied| denied.request_id.clone()).collect()
        }

        fn lost(&self, why: Lost) -> u64 {
            self.queues.lost.with_label_values(&[why.reason()]).get()
        }
    }

    fn denied(tenant: &str, request: usize) -> DeniedRequest {
        let interaction = Interaction::classify("GET", "/Patient/7", None).unwrap();
        let tenant = tenant.parse().unwrap();
        let denied = DeniedRequest::of(("ward", None), None, &interaction, &tenant);
        DeniedRequest { request_id: request.to_string(), ..denied }
    }

    #[test]
    fn no_denial_makes_anyone_wait_and_what_is_too_much_of_one_tenant_is_counted() {
        let site = Site::new();
        site.add("one", 0..MOST_WAITING + 3);
        site.add("other", [0]);
        assert_eq!(site.lost(Lost::QueueFull), 3);
        assert_eq!(site.waiting("one").len(), MOST_WAITING);
        assert_eq!(site.waiting("other"), ["0"]);
    }

    #[test]
    fn what_is_to_be_handed_over_again_stays_in_its_place() {
        let site = Site::new();
        site.add("one", 0..4);
        let tenant = "one".parse().unwrap();
        assert_eq!(site.queues.first(&tenant, 3).len(), 3);
        // One came while they were handed over.
        site.add("one", [4]);
        site.queues.settle(&tenant, (3, 1), &[0, 2]);
        assert_eq!(site.waiting("one"), ["0", "2", "3", "4"]);
        assert_eq!(site.lost(Lost::Refused), 1);
        site.queues.close();
        assert_eq!((site.waiting("one").len(), site.lost(Lost::Stopped)), (0, 4));
    }

    #[test]
    fn what_comes_when_nothing_is_handed_over_any_more_is_counted_and_told() {
        let site = Site::new();
        site.add("one", [0]);
        site.queues.close();
        site.add("one", [1]);
        site.add("other", [2]);
        assert_eq!((site.lost(Lost::Stopped), site.queues.tenants().len()), (3, 0));
        site.queues.close();
        assert_eq!(site.lost(Lost::Stopped), 3);
        assert_eq!(site.queues.untold.load(Ordering::Relaxed), 0, "the log does not say it");
    }

    #[test]
    fn what_has_waited_for_a_day_waits_no_more_and_is_counted() {
        let site = Site::new();
        site.add("one", 0..2);
        *site.clock.0.lock() = LONGEST;
        site.add("one", [2]);
        assert_eq!(site.waiting("one"), ["0", "1", "2"]);
        *site.clock.0.lock() = LONGEST + Duration::from_secs(1);
        assert_eq!(site.waiting("one"), ["2"]);
        assert_eq!(site.lost(Lost::TooOld), 2);
    }

    #[test]
    fn a_denial_says_what_was_asked_of_whom() {
        let told = serde_json::to_value(denied("one", 1)).unwrap();
        let of = (&told["interaction"], &told["resourceType"], &told["id"], &told["client"]);
        assert_eq!(of, (&"read".into(), &"Patient".into(), &"7".into(), &"ward".into()));
        assert_eq!(told["tenant"], "one");
    }
}
