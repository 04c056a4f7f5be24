//! The address that clients are counted by: limits would be worth nothing where one client has
//! more addresses than it can use.

use std::net::IpAddr;

/// The network an address counts for: one customer has at least a /64 of IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        canonical @ IpAddr::V4(_) => canonical,
    }
}

/// The network that an IPv6 network is in, of which one customer has all at most (a /48); `None` of
/// IPv4.
pub(crate) fn wide_network(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let wide = u128::from(address) & !(u128::MAX >> 48);
            Some(IpAddr::V6(wide.into()))
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
    }
}
