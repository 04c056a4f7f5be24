//! The address that clients are counted by, and the networks around it: limits would be worth
//! nothing where one client has more addresses than it can use.

use std::net::IpAddr;

/// Bits of the network of IPv6 that counts as one address: one customer has at least that.
const ADDRESS: u32 = 64;
/// Bits of the network that one customer has at most.
const CUSTOMER: u32 = 48;
/// Bits of the network that a provider has at least, of which anyone may be one.
const PROVIDER: u32 = 32;

/// The network an address counts for: one customer has at least a /64 of IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    let canonical = address.to_canonical();
    around(canonical, ADDRESS).unwrap_or(canonical)
}

/// The network that an IPv6 network is in, of which one customer has all at most (a /48); `None` of
/// IPv4.
pub(crate) fn wide_network(address: IpAddr) -> Option<IpAddr> {
    around(address, CUSTOMER)
}

/// The network that a whole provider may have (a /32); `None` of IPv4, where nobody has so many
/// addresses that one more is for nothing.
pub(crate) fn provider_network(address: IpAddr) -> Option<IpAddr> {
    around(address, PROVIDER)
}

/// The network of so many bits around an address of IPv6.
fn around(address: IpAddr, bits: u32) -> Option<IpAddr> {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !(u128::MAX >> bits);
            Some(IpAddr::V6(network.into()))
        }
        IpAddr::V4(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let network = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:0:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        let wide = |text: &str| wide_network(text.parse().expect("an address"));
        assert_eq!(wide("2001:db8:1:2::3"), wide("2001:db8:1:ffff::1"));
        assert_ne!(wide("2001:db8:1::1"), wide("2001:db8:2::1"));
        assert_eq!(wide("192.0.2.1"), None);
        let provider = |text: &str| provider_network(text.parse().expect("an address"));
        assert_eq!(provider("2001:db8:1::1"), provider("2001:db8:ffff::1"));
        assert_ne!(provider("2001:db8:1::1"), provider("2001:db9:1::1"));
        assert_eq!(provider("::ffff:192.0.2.1"), None);
    }
}
