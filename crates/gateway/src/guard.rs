//! The guard against guessed credentials: who sent too many wrong ones waits, longer each time.
//!
//! Wrong credentials are counted by address, by the network that the address is in, and by the
//! account that they name, of that address alone: whoever guesses at an account elsewhere locks
//! nobody out but themselves. While a wait lasts nothing more is looked at, but for two things. An
//! account that came with good credentials from this address before is looked at all the same, and
//! so is a key that nobody was wrong about here: its 256 bits are not guessed, and one broken
//! program must not lock out its neighbours behind the same address.
//!
//! Time is given by the caller. What is remembered is bounded.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use prometheus::IntCounterVec;
use registry::KeyId;

use crate::config::Limits;
use crate::limiter::{Rate, whole_seconds};
use crate::metrics::Metrics;
use crate::network::{network, wide_network};

/// Addresses, and accounts of addresses, that are remembered at a time.
const MOST: usize = 64 * 1024;
/// How many addresses' worth of wrong credentials a network of many addresses has.
const OF_A_NETWORK: u32 = 16;
/// The first wait.
const FIRST: Duration = Duration::from_secs(1);
/// How long the places that a sweep left taken stay taken.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(1);

/// What credentials say that they are of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Account {
    /// A key that there is.
    Key(KeyId),
    /// An issuer whose tokens are accepted, by its name.
    Issuer(Arc<str>),
}

impl Account {
    /// The label for what was wrong.
    const fn word(account: Option<&Self>) -> &'static str {
        match account {
            Some(Self::Key(_)) => "key",
            Some(Self::Issuer(_)) => "issuer",
            None => "unknown",
        }
    }
}

/// Who has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// The address.
    Address,
    /// All addresses of its network.
    Network,
    /// The account, at this address.
    Account,
}

impl Waiter {
    const fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Network => "network",
            Self::Account => "account",
        }
    }

    /// Who it is, for an operator.
    pub(crate) const fn says(self) -> &'static str {
        match self {
            Self::Address => "the address sent more wrong credentials than gateway.failures_burst",
            Self::Network => {
                "the addresses of one network (/48) sent sixteen times as many wrong credentials \
                 as gateway.failures_burst"
            }
            Self::Account => {
                "the address was wrong about this account more often than \
                 gateway.failures_per_account"
            }
        }
    }
}

/// Credentials are not looked at now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lockout {
    pub(crate) of: Waiter,
    /// In seconds, at least 1.
    pub(crate) retry_after: u32,
}

/// What an operator decides about wrong credentials.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    address: Allowance,
    network: Allowance,
    account: Allowance,
}

/// How many wrong credentials cost nothing, how fast they are forgiven, and the longest wait.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    rate: Rate,
    free: u32,
    longest: Duration,
}

impl Patience {
    pub(crate) fn of(limits: &Limits) -> Self {
        let rate = limits.failed_authentications;
        let (free, longest) = (rate.burst.get(), limits.lockout);
        let wide = Rate { count: rate.count.saturating_mul(OF_A_NETWORK_COUNT), ..rate };
        Self {
            address: Allowance { rate, free, longest },
            network: Allowance { rate: wide, free: free.saturating_mul(OF_A_NETWORK), longest },
            account: Allowance { rate, free: limits.failures_per_account.max(1), longest },
        }
    }
}

const OF_A_NETWORK_COUNT: std::num::NonZeroU32 =
    std::num::NonZeroU32::new(OF_A_NETWORK).expect("a network has addresses");

/// The wrong credentials of one address, network or account.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    failures: u32,
    /// When the last was, less what was forgiven since.
    at: Duration,
    until: Duration,
}

impl Record {
    /// Forgives what is forgiven by now: so many a second until a wait began, all of it once the
    /// longest wait has passed after the last one.
    fn settle(&mut self, allowance: &Allowance, now: Duration) {
        if self.failures >= allowance.free {
            if now >= self.until.saturating_add(allowance.longest) {
                *self = Self::default();
            }
            return;
        }
        let forgiven = allowance.rate.grown_in(now.saturating_sub(self.at));
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX).min(self.failures);
        self.failures -= forgiven;
        self.at += allowance.rate.time_for(forgiven.into());
    }

    /// Counts one, and says how long the wait is that it begins.
    fn fail(&mut self, allowance: &Allowance, now: Duration) -> Option<Duration> {
        self.settle(allowance, now);
        if self.failures == 0 {
            self.at = now;
        }
        self.failures = self.failures.saturating_add(1);
        let beyond = self.failures.checked_sub(allowance.free)?;
        let wait = FIRST.saturating_mul(1 << beyond.min(20)).min(allowance.longest);
        self.until = now + wait;
        Some(wait)
    }

    fn waits(&self, now: Duration) -> Option<u32> {
        let left = self.until.saturating_sub(now);
        (!left.is_zero()).then(|| whole_seconds(left))
    }
}

/// The records of one kind.
#[derive(Debug)]
struct Records<Key> {
    by_key: HashMap<Key, Record>,
    swept: Option<Duration>,
}

impl<Key> Default for Records<Key> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), swept: None }
    }
}

impl<Key: Eq + Hash> Records<Key> {
    fn waits(&self, key: &Key, now: Duration) -> Option<u32> {
        self.by_key.get(key)?.waits(now)
    }

    /// Counts one. Where every place is taken by what is not forgiven yet, it waits for a place:
    /// whoever comes from that many addresses must not push the others' records out.
    fn fail(&mut self, key: Key, allowance: &Allowance, now: Duration) -> Option<Duration> {
        if self.by_key.len() >= MOST && !self.by_key.contains_key(&key) {
            if self.swept.is_none_or(|swept| now.saturating_sub(swept) >= BETWEEN_SWEEPS) {
                self.swept = Some(now);
                self.by_key.retain(|_, record| {
                    record.settle(allowance, now);
                    record.failures > 0
                });
            }
            if self.by_key.len() >= MOST {
                return Some(FIRST);
            }
        }
        self.by_key.entry(key).or_default().fail(allowance, now)
    }
}

/// Accounts that were good at an address, in two generations: what is used stays.
#[derive(Debug, Default)]
struct Good {
    young: HashSet<(Account, IpAddr)>,
    old: HashSet<(Account, IpAddr)>,
}

/// The guard of one gateway.
#[derive(Debug)]
pub(crate) struct Guard {
    addresses: Mutex<Records<IpAddr>>,
    networks: Mutex<Records<IpAddr>>,
    accounts: Mutex<Records<(Account, IpAddr)>>,
    good: RwLock<Good>,
    failures: IntCounterVec,
    lockouts: IntCounterVec,
}

impl Guard {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            addresses: Mutex::default(),
            networks: Mutex::default(),
            accounts: Mutex::default(),
            good: RwLock::default(),
            failures: metrics.failed_authentications.clone(),
            lockouts: metrics.lockouts.clone(),
        }
    }

    /// Whether credentials of this account are to be looked at, when they come from there.
    pub(crate) fn admits(
        &self,
        account: Option<&Account>,
        address: IpAddr,
        now: Duration,
    ) -> Result<(), Lockout> {
        let address = network(address);
        if let Some(account) = account {
            let of_address = (account.clone(), address);
            let waits = self.accounts.lock().waits(&of_address, now);
            if waits.is_some() || !matches!(account, Account::Key(_)) {
                if self.was_good(&of_address) {
                    return Ok(());
                }
                if let Some(retry_after) = waits {
                    return Err(Lockout { of: Waiter::Account, retry_after });
                }
            }
            if matches!(account, Account::Key(_)) {
                return Ok(());
            }
        }
        self.address_waits(address, now).map_or(Ok(()), Err)
    }

    fn address_waits(&self, address: IpAddr, now: Duration) -> Option<Lockout> {
        if let Some(retry_after) = self.addresses.lock().waits(&address, now) {
            return Some(Lockout { of: Waiter::Address, retry_after });
        }
        let wide = wide_network(address)?;
        let retry_after = self.networks.lock().waits(&wide, now)?;
        Some(Lockout { of: Waiter::Network, retry_after })
    }

    /// Counts wrong credentials. Whoever had to wait already learns nothing by them, but for how
    /// long.
    pub(crate) fn failed(
        &self,
        account: Option<Account>,
        address: IpAddr,
        patience: &Patience,
        now: Duration,
    ) -> Option<Lockout> {
        let address = network(address);
        self.failures.with_label_values(&[Account::word(account.as_ref())]).inc();
        let address_waited = self.address_waits(address, now);
        let mut waited = address_waited;
        if let Some(account) = account {
            let mut accounts = self.accounts.lock();
            let of_address = (account, address);
            if let Some(retry_after) = accounts.waits(&of_address, now) {
                waited.get_or_insert(Lockout { of: Waiter::Account, retry_after });
            } else {
                let begun = accounts.fail(of_address, &patience.account, now);
                drop(accounts);
                self.begins(Waiter::Account, address, begun);
            }
        }
        if address_waited.is_some() {
            return waited;
        }
        let begun = self.addresses.lock().fail(address, &patience.address, now);
        self.begins(Waiter::Address, address, begun);
        if let Some(wide) = wide_network(address) {
            let begun = self.networks.lock().fail(wide, &patience.network, now);
            self.begins(Waiter::Network, wide, begun);
        }
        waited
    }

    fn begins(&self, of: Waiter, address: IpAddr, wait: Option<Duration>) {
        let Some(wait) = wait else { return };
        self.lockouts.with_label_values(&[of.word()]).inc();
        // Once of each that goes on: what follows is counted.
        if wait == FIRST {
            tracing::warn!(%address, of = of.word(), "security: too many wrong credentials");
        }
    }

    /// Credentials of this account were good. What it was wrong about is forgiven; its address is
    /// not, for whoever has one good account guesses at others.
    pub(crate) fn succeeded(&self, account: &Account, address: IpAddr) {
        let of_address = (account.clone(), network(address));
        if self.good.read().young.contains(&of_address) {
            return;
        }
        self.accounts.lock().by_key.remove(&of_address);
        let good = &mut *self.good.write();
        if good.young.len() >= MOST / 2 {
            good.old = std::mem::take(&mut good.young);
        }
        good.young.insert(of_address);
    }

    fn was_good(&self, of_address: &(Account, IpAddr)) -> bool {
        let good = self.good.read();
        good.young.contains(of_address) || good.old.contains(of_address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> (Guard, Patience) {
        let limits = Limits { lockout: Duration::from_secs(60), ..Limits::default() };
        (Guard::new(&Metrics::new().expect("names are valid")), Patience::of(&limits))
    }

    fn at(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn key() -> Account {
        Account::Key(KeyId::new("0123456789abcdef").expect("a key's id"))
    }

    const START: Duration = Duration::from_secs(100);

    // GW-028
    #[test]
    fn of_a_thousand_wrong_ones_twenty_are_looked_at_and_then_one_each_time_a_growing_wait_ends() {
        let (guard, patience) = guard();
        let address = at("192.0.2.1");
        let mut looked_at = 0;
        for _ in 0..1000 {
            if guard.admits(None, address, START).is_ok() {
                looked_at += 1;
                assert_eq!(guard.failed(None, address, &patience, START), None);
            }
        }
        assert_eq!(looked_at, 20);
        let mut now = START;
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            let lockout = guard.admits(None, address, now).expect_err("it waits");
            assert_eq!(lockout, Lockout { of: Waiter::Address, retry_after: wait });
            now += Duration::from_secs(wait.into());
            assert_eq!(guard.admits(None, address, now), Ok(()));
            assert_eq!(guard.failed(None, address, &patience, now), None);
        }
        // Whoever stops begins anew once the longest wait is over twice.
        now += Duration::from_secs(60 + 60);
        assert_eq!(guard.failed(None, address, &patience, now), None);
        assert_eq!(guard.admits(None, address, now), Ok(()));
        assert_eq!(guard.admits(None, at("192.0.2.2"), START), Ok(()));
    }

    // GW-028
    #[test]
    fn an_account_waits_where_it_was_wrong_and_nowhere_else() {
        let (guard, patience) = guard();
        let (attacker, home, office) = (at("192.0.2.1"), at("198.51.100.1"), at("198.51.100.2"));
        guard.succeeded(&key(), home);
        for address in [attacker, home] {
            for _ in 0..1000 {
                guard.failed(Some(key()), address, &patience, START);
            }
        }
        let lockout = guard.admits(Some(&key()), attacker, START).expect_err("it waits");
        assert_eq!(lockout.of, Waiter::Account);
        // Its own address has a good record, and another one no record at all.
        assert_eq!(guard.admits(Some(&key()), home, START), Ok(()));
        assert_eq!(guard.admits(Some(&key()), office, START), Ok(()));
        // Another key passes from where the address has to wait; a token of an issuer that was
        // never good there does not, and one that was does.
        let other = Account::Key(KeyId::new("fedcba9876543210").expect("a key's id"));
        assert_eq!(guard.admits(Some(&other), attacker, START), Ok(()));
        let issuer = Account::Issuer("hospital".into());
        assert!(guard.admits(Some(&issuer), attacker, START).is_err());
        guard.succeeded(&issuer, attacker);
        assert_eq!(guard.admits(Some(&issuer), attacker, START), Ok(()));
        assert!(guard.admits(None, attacker, START).is_err());
    }

    // GW-028
    #[test]
    fn the_networks_of_one_customer_wait_together() {
        let (guard, patience) = guard();
        let of = |number: u32| at(&format!("2001:db8:0:{number:x}::1"));
        let mut looked_at = 0;
        for number in 0..1000 {
            for _ in 0..2 {
                if guard.admits(None, of(number), START).is_ok() {
                    looked_at += 1;
                    guard.failed(None, of(number), &patience, START);
                }
            }
        }
        assert_eq!(looked_at, 20 * OF_A_NETWORK);
        let lockout = guard.admits(None, of(60_000), START).expect_err("it waits");
        assert_eq!(lockout.of, Waiter::Network);
        assert_eq!(guard.admits(None, at("2001:db8:1::1"), START), Ok(()));
    }

    // GW-028
    #[test]
    fn what_is_remembered_is_bounded_and_nobody_is_pushed_out() {
        let (guard, patience) = guard();
        let first = at("10.0.0.0");
        for _ in 0..30 {
            guard.failed(None, first, &patience, START);
        }
        for number in 0..70_000_u32 {
            guard.failed(
                None,
                std::net::Ipv4Addr::from(0x0b00_0000 + number).into(),
                &patience,
                START,
            );
        }
        assert_eq!(guard.addresses.lock().by_key.len(), MOST);
        assert!(guard.admits(None, first, START).is_err());
        for number in 0..200_000_u32 {
            guard.succeeded(&key(), std::net::Ipv4Addr::from(number).into());
        }
        let good = guard.good.read();
        assert!(good.young.len() + good.old.len() <= MOST);
    }
}
