//! Which endpoint of an upstream takes a request.
//!
//! All three ways pass over endpoints that are not available and the one that is excepted, so
//! that they are counted as if they were not there.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::target::Target;

/// How endpoints are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balancing {
    /// One after the other, as often as each one's weight says.
    #[default]
    RoundRobin,
    /// Of two by chance the one with fewer requests in flight for its weight.
    LeastRequests,
    /// By a header's value: the same value goes to the same endpoint.
    Hash,
}

/// Points of an endpoint on the ring, for each unit of its weight.
const POINTS: u32 = 128;

/// The endpoints of an upstream, as they are known, and the ways to choose among them.
#[derive(Debug)]
pub(crate) struct Balancer {
    balancing: Balancing,
    targets: Vec<Arc<Target>>,
    /// Positions in `targets`, each as often as its weight, spread evenly.
    schedule: Vec<usize>,
    /// Points in order, each with a position in `targets`.
    ring: Vec<(u64, usize)>,
    turn: AtomicUsize,
}

impl Balancer {
    /// A balancer among these.
    pub(crate) fn new(balancing: Balancing, targets: Vec<Arc<Target>>) -> Self {
        let ring = match balancing {
            Balancing::Hash => ring(&targets),
            Balancing::RoundRobin | Balancing::LeastRequests => Vec::new(),
        };
        let weights: Vec<u32> = targets.iter().map(|target| target.weight).collect();
        Self { balancing, schedule: schedule(&weights), targets, ring, turn: AtomicUsize::new(0) }
    }

    /// All endpoints.
    pub(crate) fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// An available endpoint other than `except`; none when there is none. `key` is what the
    /// consistent hash is of; without one the turn goes round.
    pub(crate) fn choose(
        &self,
        key: Option<&[u8]>,
        now: Duration,
        except: Option<&Target>,
    ) -> Option<&Arc<Target>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let usable = |target: &Arc<Target>| {
            target.is_available(now) && except.is_none_or(|except| !std::ptr::eq(except, &**target))
        };
        match (self.balancing, key) {
            (Balancing::Hash, Some(key)) => {
                let at = self.ring.partition_point(|(point, _)| *point < hash(key));
                let round = self.ring[at..].iter().chain(&self.ring[..at]);
                round.map(|(_, position)| &self.targets[*position]).find(|target| usable(target))
            }
            (Balancing::LeastRequests, _) => {
                let usable: Vec<&Arc<Target>> =
                    self.targets.iter().filter(|target| usable(target)).collect();
                let count = usable.len() as u64;
                let (one, rest) = (scatter(turn as u64), scatter(turn as u64 ^ u64::MAX));
                let first = *usable.get(usize::try_from(one.checked_rem(count)?).ok()?)?;
                let Some(step) = rest.checked_rem(count - 1) else { return Some(first) };
                let second = usable[usize::try_from((one % count + 1 + step) % count).ok()?];
                Some(if second.load() < first.load() { second } else { first })
            }
            (Balancing::RoundRobin | Balancing::Hash, _) => {
                let at = turn.checked_rem(self.schedule.len())?;
                let round = self.schedule[at..].iter().chain(&self.schedule[..at]);
                round.map(|position| &self.targets[*position]).find(|target| usable(target))
            }
        }
    }
}

/// Positions, each as often as its weight, the heavy ones between the light ones: always the one
/// that is furthest behind what its weight gives it.
pub(crate) fn schedule(weights: &[u32]) -> Vec<usize> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let weights: Vec<i64> = weights.iter().map(|weight| i64::from(weight / divisor)).collect();
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0; weights.len()];
    let mut schedule = Vec::new();
    for _ in 0..total {
        for (credit, weight) in credit.iter_mut().zip(&weights) {
            *credit += weight;
        }
        // The first of several.
        let next = (0..credit.len()).rev().max_by_key(|at| credit[*at]);
        if let Some(next) = next {
            credit[next] -= total;
            schedule.push(next);
        }
    }
    schedule
}

fn greatest_common_divisor(one: u32, two: u32) -> u32 {
    if two == 0 { one } else { greatest_common_divisor(two, one % two) }
}

fn ring(targets: &[Arc<Target>]) -> Vec<(u64, usize)> {
    let mut taken = HashSet::new();
    let mut ring = Vec::new();
    for (position, target) in targets.iter().enumerate() {
        let own = hash(target.address.to_string().as_bytes());
        for point in 0..target.weight * POINTS {
            let point = scatter(own ^ scatter(u64::from(point)));
            if taken.insert(point) {
                ring.push((point, position));
            }
        }
    }
    ring.sort_unstable();
    ring
}

/// A number for bytes, the same on every machine and in every process: FNV-1a, scattered.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let number = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    scatter(number)
}

/// SplitMix64: neighbouring numbers give numbers far apart.
pub(crate) fn scatter(number: u64) -> u64 {
    let mut word = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn targets(weights: &[u32]) -> Vec<Arc<Target>> {
        let address = |at: usize| format!("127.0.0.{}:80", at + 1).parse().expect("an address");
        weights
            .iter()
            .enumerate()
            .map(|(at, weight)| Arc::new(Target::for_test(address(at), *weight)))
            .collect()
    }

    /// How many of 10,000 requests each endpoint takes.
    fn taken(balancer: &Balancer) -> Vec<u32> {
        let mut taken = vec![0; balancer.targets().len()];
        for number in 0..10_000_u32 {
            let key = number.to_string();
            let target = balancer.choose(Some(key.as_bytes()), NOW, None).expect("one is there");
            let at = balancer.targets().iter().position(|other| Arc::ptr_eq(other, target));
            taken[at.expect("one of these")] += 1;
        }
        taken
    }

    // GW-004
    #[test]
    fn round_robin_gives_ten_thousand_requests_exactly_by_weight() {
        assert_eq!(
            taken(&Balancer::new(Balancing::RoundRobin, targets(&[1, 1, 2]))),
            [2500, 2500, 5000]
        );
        assert_eq!(schedule(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(schedule(&[10, 10]), [0, 1]);
    }

    // GW-004
    #[test]
    fn of_two_by_chance_the_one_with_fewer_requests_is_taken() {
        let balancer = Balancer::new(Balancing::LeastRequests, targets(&[1, 1, 1, 1]));
        let mut held = Vec::new();
        for _ in 0..10_000 {
            held.push(balancer.choose(None, NOW, None).expect("one is there").begin());
        }
        // They are never told more than two apart for long: power of two choices.
        let loads: Vec<u32> = balancer.targets().iter().map(|target| target.in_flight()).collect();
        assert!(loads.iter().all(|load| (2490..=2510).contains(load)), "{loads:?}");
        drop(held);
        assert!(balancer.targets().iter().all(|target| target.in_flight() == 0));
        let alone = Balancer::new(Balancing::LeastRequests, targets(&[1]));
        assert!(alone.choose(None, NOW, None).is_some());
        assert!(
            Balancer::new(Balancing::LeastRequests, Vec::new()).choose(None, NOW, None).is_none()
        );
    }

    // GW-004
    #[test]
    fn a_consistent_hash_moves_only_the_keys_of_the_endpoint_that_leaves() {
        let all = targets(&[1, 1, 1, 1, 1]);
        let whole = Balancer::new(Balancing::Hash, all.clone());
        let without = Balancer::new(Balancing::Hash, all[..4].to_vec());
        let mut moved = 0;
        for number in 0..10_000_u32 {
            let key = number.to_string();
            let before = whole.choose(Some(key.as_bytes()), NOW, None).expect("one is there");
            let after = without.choose(Some(key.as_bytes()), NOW, None).expect("one is there");
            if Arc::ptr_eq(before, &all[4]) {
                moved += 1;
            } else {
                assert!(Arc::ptr_eq(before, after), "{key} moved though its endpoint stayed");
            }
        }
        assert!((1_600..2_400).contains(&moved), "{moved} of 10,000 keys were the fifth's");
        let taken = taken(&whole);
        assert!(taken.iter().all(|taken| (1_600..2_400).contains(taken)), "{taken:?}");
    }

    #[test]
    fn what_is_excepted_or_not_available_is_passed_over() {
        for balancing in [Balancing::RoundRobin, Balancing::LeastRequests, Balancing::Hash] {
            let all = targets(&[1, 1]);
            let balancer = Balancer::new(balancing, all.clone());
            for _ in 0..10 {
                let chosen = balancer.choose(Some(b"k"), NOW, Some(&all[0])).expect("the other");
                assert!(Arc::ptr_eq(chosen, &all[1]));
            }
            all[1].checked(false, 1, 1);
            assert!(balancer.choose(Some(b"k"), NOW, Some(&all[0])).is_none());
            assert!(balancer.choose(None, NOW, None).is_some_and(|one| Arc::ptr_eq(one, &all[0])));
        }
    }
}
