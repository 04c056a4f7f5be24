//! Whose handshake may go on: so many at a time, and of one address a quarter of them, so that
//! whoever reaches the port without a certificate does not keep the other half away.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Handshakes at a time.
pub(crate) const MOST: usize = 128;
/// Of one address.
const SHARE: usize = MOST / 4;
/// Connections that wait for their turn; more wait to be accepted.
pub(crate) const MOST_WAITING: usize = 1024;
/// Of one address; more are closed.
const WAITING_SHARE: usize = MOST_WAITING / 4;

/// Who has handshakes under way.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    shares: HashMap<IpAddr, Arc<Semaphore>>,
    is_full: bool,
}

/// A connection's place; it is given back with it.
#[derive(Debug)]
pub(crate) struct Turn {
    share: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

/// As many connections of its address wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShareTaken;

impl Turns {
    pub(crate) fn new() -> Self {
        let all = Arc::new(Semaphore::new(MOST));
        Self { all, shares: HashMap::new(), is_full: false }
    }

    /// A place for a connection of this address.
    pub(crate) fn take(&mut self, address: IpAddr) -> Result<Turn, ShareTaken> {
        // One that is nobody's any more is held here alone.
        self.shares.retain(|_, share| Arc::strong_count(share) > 1);
        let share = self.shares.entry(network(address));
        let share = share.or_insert_with(|| Arc::new(Semaphore::new(SHARE)));
        if Arc::strong_count(share) > SHARE + WAITING_SHARE {
            return Err(ShareTaken);
        }
        Ok(Turn { share: share.clone(), all: self.all.clone() })
    }

    /// Whether all are taken since this was asked last.
    pub(crate) fn became_full(&mut self) -> bool {
        let before = self.is_full;
        let free = self.all.available_permits();
        // Full for as long as not half of them are free again, so that it is said once.
        self.is_full = free == 0 || (before && free < MOST / 2);
        self.is_full && !before
    }
}

impl Turn {
    /// Waits for the turn.
    pub(crate) async fn comes(&self) -> (SemaphorePermit<'_>, SemaphorePermit<'_>) {
        let share = self.share.acquire().await.expect("nobody closes it");
        (share, self.all.acquire().await.expect("nobody closes it"))
    }
}

/// What one machine has: an address of IPv4, a /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn come<'turn>(
        turns: &'turn [Turn],
    ) -> Vec<(SemaphorePermit<'turn>, SemaphorePermit<'turn>)> {
        let mut come = Vec::new();
        for turn in turns {
            come.push(turn.comes().await);
        }
        come
    }

    #[tokio::test]
    async fn four_addresses_fill_it_which_is_said_once_until_half_is_free() {
        let mut turns = Turns::new();
        let mut taken = Vec::new();
        for number in 1..=4 {
            let address = address(&format!("10.0.0.{number}"));
            taken.extend((0..SHARE).map(|_| turns.take(address).unwrap()));
        }
        let (few, rest) = taken.split_at(SHARE);
        let few = come(few).await;
        assert!(!turns.became_full());
        let rest = come(rest).await;
        assert!(turns.became_full());
        assert!(!turns.became_full());
        drop(few);
        assert!(!turns.became_full());
        drop(rest);
        assert!(!turns.became_full());
        let _all = come(&taken).await;
        assert!(turns.became_full());
    }

    #[tokio::test]
    async fn one_address_has_its_share_and_no_place_more_than_wait() {
        let mut turns = Turns::new();
        let one: Vec<_> =
            (0..SHARE + WAITING_SHARE).map(|_| turns.take(address("10.0.0.1")).unwrap()).collect();
        let _under_way = come(&one[..SHARE]).await;
        let waits = tokio::time::timeout(std::time::Duration::from_millis(20), one[SHARE].comes());
        assert!(waits.await.is_err(), "its share is taken");
        assert_eq!(turns.take(address("10.0.0.1")).unwrap_err(), ShareTaken);
        assert_eq!(turns.take(address("::ffff:10.0.0.1")).unwrap_err(), ShareTaken);
        let other = turns.take(address("10.0.0.2")).unwrap();
        let _its_turn = other.comes().await;
    }

    #[test]
    fn what_was_given_back_is_free_and_forgotten() {
        let mut turns = Turns::new();
        let first = turns.take(address("2001:db8:0:1::1")).unwrap();
        let second = turns.take(address("2001:db8:0:1::2")).unwrap();
        assert_eq!(turns.shares.len(), 1, "they are of one /64");
        drop((first, second));
        let _other = turns.take(address("10.0.0.1")).unwrap();
        assert_eq!(turns.shares.len(), 1);
    }
}
