//! Connections by the address that they come from, and by the networks that it is in, each counted
//! for as long as it is open.
//!
//! Whoever has a network of IPv6 has more addresses than there are connections: without a bound
//! for the network, one customer could take the places of all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Limits;
use crate::network::{network, provider_network, wide_network};

/// How many addresses' worth of connections a /48 of IPv6 has, if that is no more than its part of
/// all.
const OF_A_NETWORK: usize = 16;

/// How many connections each address and each network has.
#[derive(Debug, Default)]
pub(crate) struct PerAddress(Mutex<HashMap<Place, usize>>);

/// What connections are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// An address of IPv4, or a /64 of IPv6.
    Address(IpAddr),
    /// A /48 of IPv6.
    Customer(IpAddr),
    /// A /32 of IPv6.
    Provider(IpAddr),
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Most {
    address: usize,
    customer: usize,
    provider: usize,
}

/// One connection of an address, until it is dropped.
#[derive(Debug)]
pub(crate) struct OfAddress {
    all: Arc<PerAddress>,
    places: [Option<Place>; 3],
}

impl Most {
    /// Of a proxy that is trusted: as many as its clients have together.
    pub(crate) const ANY: Self =
        Self { address: usize::MAX, customer: usize::MAX, provider: usize::MAX };

    /// What these limits say: a /48 has 16 addresses' worth, but no more than a quarter of all
    /// connections, and a /32 half of all; both at least as many as one address.
    pub(crate) fn of(limits: &Limits) -> Self {
        let address = limits.connections_per_address;
        let quarter = (limits.connections / 4).max(address);
        let customer = address.saturating_mul(OF_A_NETWORK).min(quarter);
        Self { address, customer, provider: (limits.connections / 2).max(customer) }
    }

    const fn at(&self, place: Place) -> usize {
        match place {
            Place::Address(_) => self.address,
            Place::Customer(_) => self.customer,
            Place::Provider(_) => self.provider,
        }
    }
}

impl PerAddress {
    /// Counts a connection.
    ///
    /// # Errors
    /// The reason, as a label, when its address or a network that it is in has as many already.
    pub(crate) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        most: &Most,
    ) -> Result<OfAddress, &'static str> {
        let places = [
            Some(Place::Address(network(address))),
            wide_network(address).map(Place::Customer),
            provider_network(address).map(Place::Provider),
        ];
        let mut counts = self.0.lock();
        let has = |place: &Place| counts.get(place).copied().unwrap_or_default();
        if let Some(full) = places.iter().flatten().find(|place| has(place) >= most.at(**place)) {
            return Err(match full {
                Place::Address(_) => "too-many-from-address",
                Place::Customer(_) | Place::Provider(_) => "too-many-from-network",
            });
        }
        for place in places.into_iter().flatten() {
            *counts.entry(place).or_default() += 1;
        }
        Ok(OfAddress { all: self.clone(), places })
    }
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let counts = &mut *self.all.0.lock();
        for place in self.places.into_iter().flatten() {
            if let Some(count) = counts.get_mut(&place) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&place);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn most(address: usize) -> Most {
        Most { address, customer: 3, provider: 5 }
    }

    #[test]
    fn an_address_has_its_place_back_when_a_connection_ends_however_it_ends() {
        let all = Arc::new(PerAddress::default());
        let first = all.enter(at("2001:db8::1"), &most(1));
        assert!(first.is_ok());
        let refused = all.enter(at("2001:db8::2"), &most(1));
        assert_eq!(refused.expect_err("of one network"), "too-many-from-address");
        assert!(all.enter(at("2001:db8:0:1::1"), &most(1)).is_ok());
        drop(first);
        assert!(all.0.lock().is_empty());
        assert!(all.enter(at("2001:db8::2"), &most(0)).is_err());
        assert!(all.0.lock().is_empty());
    }

    // GW-022
    #[test]
    fn a_network_of_many_addresses_does_not_take_every_place() {
        let all = Arc::new(PerAddress::default());
        let enter = |text: &str| all.enter(at(text), &most(1));
        let of_one = ["2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1"].map(enter);
        assert!(of_one.iter().all(Result::is_ok));
        assert_eq!(enter("2001:db8:1:4::1").expect_err("its /48"), "too-many-from-network");
        let of_others = ["2001:db8:2::1", "2001:db8:3::1"].map(enter);
        assert!(of_others.iter().all(Result::is_ok));
        assert_eq!(enter("2001:db8:4::1").expect_err("its /32"), "too-many-from-network");
        assert!(enter("2001:db9::1").is_ok(), "another provider");
        // Addresses of IPv4 are counted by themselves.
        let neighbours: Vec<_> = (1..20).map(|last| enter(&format!("192.0.2.{last}"))).collect();
        assert!(neighbours.iter().all(Result::is_ok));
        drop((of_one, of_others, neighbours));
        assert!(all.0.lock().is_empty());
    }

    #[test]
    fn networks_have_their_part_of_all_and_never_less_than_one_address() {
        let of = |address, all| {
            let limits =
                Limits { connections_per_address: address, connections: all, ..Limits::default() };
            let Most { address, customer, provider } = Most::of(&limits);
            (address, customer, provider)
        };
        assert_eq!(of(1024, 16 * 1024), (1024, 4096, 8192));
        assert_eq!(of(10, 16 * 1024), (10, 160, 8192));
        assert_eq!(of(1000, 1000), (1000, 1000, 1000));
    }
}
