//! The buckets of clients that have a limit: one for each, shared by all its keys and tokens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use registry::ClientId;

use crate::limiter::{Bucket, Rate};

/// Buckets that are kept at a time. Clients of an issuer have names of its own, without end.
const MOST: usize = 64 * 1024;

/// Buckets by client, over reloads.
#[derive(Debug, Default)]
pub(crate) struct ClientBuckets(Mutex<HashMap<ClientId, (Arc<Bucket>, Rate)>>);

impl ClientBuckets {
    /// The client's bucket. Those that are full and in nobody's hands make room for others; where
    /// that is not enough a new one is kept by its caller alone.
    pub(crate) fn of(&self, client: &ClientId, rate: Rate, now: Duration) -> Arc<Bucket> {
        self.of_at_most(MOST, client, rate, now)
    }

    fn of_at_most(&self, most: usize, client: &ClientId, rate: Rate, now: Duration) -> Arc<Bucket> {
        let buckets = &mut *self.0.lock();
        if let Some((bucket, known)) = buckets.get_mut(client) {
            *known = rate;
            return bucket.clone();
        }
        if buckets.len() >= most {
            buckets.retain(|_, (bucket, rate)| {
                Arc::strong_count(bucket) > 1 || !bucket.is_full(*rate, now)
            });
        }
        let bucket = Arc::new(Bucket::full(rate, now));
        if buckets.len() < most {
            buckets.insert(client.clone(), (bucket.clone(), rate));
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::Taken;

    #[test]
    fn clients_are_bounded_and_none_that_is_held_to_its_limit_is_forgotten() {
        let rate = Rate::new(1, 1).expect("a rate");
        let buckets = ClientBuckets::default();
        let id = |number: u32| ClientId::new(&format!("hospital.{number}")).expect("an id");
        let of = |number, now| buckets.of_at_most(4, &id(number), rate, now);
        let busy = of(0, Duration::ZERO);
        assert!(matches!(busy.take(rate, Duration::ZERO), Taken::Admitted { .. }));
        drop(busy);
        for number in 1..100 {
            of(number, Duration::ZERO);
            assert!(buckets.0.lock().len() <= 4);
        }
        assert!(matches!(of(0, Duration::ZERO).take(rate, Duration::ZERO), Taken::Refused { .. }));
        // Full again, it goes.
        let later = Duration::from_secs(1);
        for number in 100..110 {
            of(number, later);
        }
        assert!(!buckets.0.lock().contains_key(&id(0)));
    }
}
