//! How much may be asked without credentials: by address, and by the networks of IPv6 that it is
//! in, since whoever has such a network has more addresses than there are places to count by.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderValue;

use super::policy;
use crate::limiter::{Buckets, Rate, Taken};
use crate::network::{network, provider_network, wide_network};

/// Addresses whose buckets are kept at a time, and as many networks of each width.
const MOST: usize = 64 * 1024;
/// How many addresses' worth a /48 has.
const OF_A_CUSTOMER: NonZeroU32 = NonZeroU32::new(16).expect("more than none");
/// How many addresses' worth a /32 has.
const OF_A_PROVIDER: NonZeroU32 = NonZeroU32::new(256).expect("more than none");

/// The buckets of whoever asks without credentials.
#[derive(Debug)]
pub(super) struct PublicRequests {
    addresses: Buckets<IpAddr>,
    customers: Buckets<IpAddr>,
    providers: Buckets<IpAddr>,
    address_policy: HeaderValue,
    customer_policy: HeaderValue,
    provider_policy: HeaderValue,
}

/// What became of a request, by which limit, and what its answer says of it.
pub(super) struct Counted<'buckets> {
    pub(super) name: &'static str,
    pub(super) policy: &'buckets HeaderValue,
    pub(super) taken: Taken,
}

fn times(rate: Rate, times: NonZeroU32) -> Rate {
    let (count, burst) = (rate.count.saturating_mul(times), rate.burst.saturating_mul(times));
    Rate { count, burst, ..rate }
}

impl PublicRequests {
    /// Buckets of this rate for an address.
    pub(super) fn new(rate: Rate) -> Self {
        let (customer, provider) = (times(rate, OF_A_CUSTOMER), times(rate, OF_A_PROVIDER));
        Self {
            addresses: Buckets::new(rate, MOST),
            customers: Buckets::new(customer, MOST),
            providers: Buckets::new(provider, MOST),
            address_policy: policy("address", rate),
            customer_policy: policy("network-48", customer),
            provider_policy: policy("network-32", provider),
        }
    }

    /// The rate that each address is held to.
    pub(super) fn rate(&self) -> Rate {
        self.addresses.rate()
    }

    /// Counts one request. The widest network first: what it refuses takes no place among those
    /// of the narrower ones.
    pub(super) fn take(&self, address: IpAddr, now: Duration) -> Counted<'_> {
        let provider = provider_network(address);
        let customer = wide_network(address);
        let wide = [
            (&self.providers, provider, "network-32", &self.provider_policy),
            (&self.customers, customer, "network-48", &self.customer_policy),
        ];
        for (number, (buckets, network, name, policy)) in wide.iter().enumerate() {
            let Some(network) = network else { continue };
            let taken = buckets.take(*network, now);
            if matches!(taken, Taken::Refused { .. }) {
                give_back(&wide[..number]);
                return Counted { name, policy, taken };
            }
        }
        let taken = self.addresses.take(network(address), now);
        if matches!(taken, Taken::Refused { .. }) {
            give_back(&wide);
        }
        Counted { name: "address", policy: &self.address_policy, taken }
    }

    /// Puts one back that came to nothing.
    pub(super) fn give_back(&self, address: IpAddr) {
        self.addresses.give_back(&network(address));
        for (buckets, network) in
            [(&self.customers, wide_network(address)), (&self.providers, provider_network(address))]
        {
            if let Some(network) = network {
                buckets.give_back(&network);
            }
        }
    }
}

/// A network's buckets, which network, and what they are called.
type Wide<'buckets> =
    (&'buckets Buckets<IpAddr>, Option<IpAddr>, &'static str, &'buckets HeaderValue);

fn give_back(wide: &[Wide<'_>]) {
    for (buckets, network, ..) in wide {
        if let Some(network) = network {
            buckets.give_back(network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of one instant, each from the address that its number makes, until one is
    /// refused: how many were admitted, and by which limit that one was refused.
    fn until_refused(
        requests: &PublicRequests,
        address: impl Fn(u32) -> String,
    ) -> (u32, &'static str) {
        for number in 0.. {
            let address = address(number).parse().expect("an address");
            let counted = requests.take(address, Duration::ZERO);
            if matches!(counted.taken, Taken::Refused { .. }) {
                return (number, counted.name);
            }
        }
        unreachable!("numbers do not end before")
    }

    fn requests() -> PublicRequests {
        PublicRequests::new(Rate::new(1, 2).expect("a rate"))
    }

    // GW-040
    #[test]
    fn a_network_has_its_share_whatever_address_of_it_asks() {
        let fresh = requests();
        assert_eq!(until_refused(&fresh, |_| "2001:db8::1".to_owned()), (2, "address"));
        // What is refused counts for no network.
        for number in 1..17 {
            let address = format!("2001:db8:0:{number:x}::1");
            assert_eq!(
                until_refused(&fresh, |_| address.clone()).0,
                if number < 16 { 2 } else { 0 }
            );
        }
        let fresh = requests();
        let of_48 = |number| format!("2001:db8:7:{number:x}::1");
        assert_eq!(until_refused(&fresh, of_48), (32, "network-48"));
        let of_32 = |number| format!("2001:db8:{:x}:1::1", number + 8);
        assert_eq!(until_refused(&fresh, of_32), (512 - 32, "network-32"));
        assert_eq!(until_refused(&fresh, |_| "2001:db9::1".to_owned()).0, 2, "another provider");
        // Neighbours in IPv4 have nothing to do with each other.
        let neighbour = |number| format!("192.0.{}.{}", number / 250, number % 250);
        for number in 0..1000 {
            let neighbour = neighbour(number).parse().expect("an address");
            let counted = fresh.take(neighbour, Duration::ZERO);
            assert!(matches!(counted.taken, Taken::Admitted { .. }), "{number}");
        }
    }

    #[test]
    fn what_is_given_back_was_never_taken_of_any_network() {
        let fresh = requests();
        let address = "2001:db8::1".parse().expect("an address");
        for _ in 0..100_000 {
            let counted = fresh.take(address, Duration::ZERO);
            assert!(matches!(counted.taken, Taken::Admitted { .. }));
            fresh.give_back(address);
        }
    }
}
