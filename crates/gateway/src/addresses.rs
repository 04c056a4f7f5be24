//! Who may connect, and whom the gateway believes about whom it stands for.
//!
//! A proxy in front hides its clients' addresses and says them in a header (RFC 7239) or before
//! the first byte (the PROXY protocol). Anybody can say such things, so they are read from the
//! proxies that are named and from nobody else, and in the one way that is named: a proxy that
//! adds the one header passes the other on as its client sent it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::{HeaderMap, HeaderValue, header};

/// What an operator decides about addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Who may connect; everybody when empty.
    pub allow: Vec<AddressBlock>,
    /// Who may not, allowed or not.
    pub deny: Vec<AddressBlock>,
    /// Proxies that say truly who their clients are.
    pub trusted_proxies: Vec<AddressBlock>,
    /// How they say it.
    pub told_by: ToldBy,
}

/// How trusted proxies say who their clients are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ToldBy {
    /// Not at all.
    #[default]
    Nothing,
    /// `X-Forwarded-For`, with `X-Forwarded-Proto`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// The PROXY protocol, version 1 or 2, at the start of each connection.
    ProxyProtocol,
}

/// Addresses that begin with the same bits, as `192.0.2.0/24`; a single one without a slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressBlock {
    first: IpAddr,
    bits: u8,
}

/// A text that is no block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address, and no block of addresses like 192.0.2.0/24 or 2001:db8::/32")]
pub struct InvalidAddressBlock(String);

impl FromStr for AddressBlock {
    type Err = InvalidAddressBlock;

    /// Reads a block. Its address has no bit set beyond those that count.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidAddressBlock(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| invalid())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| invalid())?
            }
            Some(_) => return Err(invalid()),
        };
        let block = Self { first, bits };
        if bits > most || block.masked(first) != Some(number(first)) {
            return Err(invalid());
        }
        Ok(block)
    }
}

impl fmt::Display for AddressBlock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.first, self.bits)
    }
}

/// The address as a number of 128 bits, those of an IPv4 address first.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

impl AddressBlock {
    /// Whether the address is in the block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.masked(address.to_canonical()) == Some(number(self.first))
    }

    /// The bits of the address that count, when it is of the block's family.
    fn masked(&self, address: IpAddr) -> Option<u128> {
        if address.is_ipv4() != self.first.is_ipv4() {
            return None;
        }
        let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
        Some(number(address) & mask)
    }
}

/// Who asks by way of a trusted proxy, and what is passed on about them.
#[derive(Debug)]
pub(crate) struct Behind {
    address: IpAddr,
    forwarded: HeaderValue,
    forwarded_for: HeaderValue,
}

impl Behind {
    fn new(address: IpAddr, scheme: &str) -> Self {
        let (forwarded, forwarded_for) = forwarded_values(address, scheme);
        Self { address, forwarded, forwarded_for }
    }

    /// The client's address.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// The values of `Forwarded` and `X-Forwarded-For` for what is passed on.
    pub(crate) fn forwarded(&self) -> (&HeaderValue, &HeaderValue) {
        (&self.forwarded, &self.forwarded_for)
    }
}

/// The values of `Forwarded` and `X-Forwarded-For` about a client.
pub(crate) fn forwarded_values(address: IpAddr, scheme: &str) -> (HeaderValue, HeaderValue) {
    let address = address.to_canonical();
    let forwarded = match address.is_ipv6() {
        true => format!("for=\"[{address}]\";proto={scheme}"),
        false => format!("for={address};proto={scheme}"),
    };
    let value = |text: String| {
        HeaderValue::try_from(text).expect("an address is written in visible ASCII alone")
    };
    (value(forwarded), value(address.to_string()))
}

impl Addresses {
    /// Whether somebody from there is served.
    pub(crate) fn admits(&self, address: IpAddr) -> bool {
        let is_in = |blocks: &[AddressBlock]| blocks.iter().any(|block| block.contains(address));
        (self.allow.is_empty() || is_in(&self.allow)) && !is_in(&self.deny)
    }

    /// Whether the address is a trusted proxy's.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|block| block.contains(address))
    }

    /// Who asks, where `peer` is a trusted proxy that says so in a header: going back from the
    /// gateway, the first that is none itself.
    pub(crate) fn behind(&self, peer: IpAddr, headers: &HeaderMap) -> Option<Behind> {
        let by_header = match self.told_by {
            ToldBy::XForwardedFor => x_forwarded_for,
            ToldBy::Forwarded => forwarded,
            ToldBy::Nothing | ToldBy::ProxyProtocol => return None,
        };
        if self.trusted_proxies.is_empty() || !self.trusts(peer) {
            return None;
        }
        let Told { hops, is_https } = by_header(headers);
        let mut address = peer;
        for hop in hops.into_iter().rev() {
            // What cannot be read was said by somebody, and nobody knows by whom.
            let Some(hop) = hop else { break };
            address = hop;
            if !self.trusts(hop) {
                break;
            }
        }
        Some(Behind::new(address, if is_https { "https" } else { "http" }))
    }
}

/// What a header says: who asked whom, the client first, and how the last proxy was asked.
struct Told {
    hops: Vec<Option<IpAddr>>,
    is_https: bool,
}

fn x_forwarded_for(headers: &HeaderMap) -> Told {
    let hops = elements(headers, "x-forwarded-for").map(address_of_node).collect();
    let scheme = elements(headers, "x-forwarded-proto").last();
    Told { hops, is_https: scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")) }
}

fn forwarded(headers: &HeaderMap) -> Told {
    let parameter = |element: &str, name: &str| {
        element.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let value = value.trim().trim_matches('"');
            key.trim().eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let hops = elements(headers, header::FORWARDED.as_str())
        .map(|element| address_of_node(&parameter(element, "for")?))
        .collect();
    let last = elements(headers, header::FORWARDED.as_str()).last();
    let scheme = last.and_then(|element| parameter(element, "proto"));
    Told { hops, is_https: scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")) }
}

/// The elements of a header that is a list, over all its lines. One that is no text is one that
/// cannot be read.
fn elements<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|line| line.to_str().unwrap_or("?").split(',').map(str::trim))
}

/// The address of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`.
fn address_of_node(node: &str) -> Option<IpAddr> {
    let bare = node.strip_prefix('[').and_then(|node| node.strip_suffix(']')).unwrap_or(node);
    let with_port = || node.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> AddressBlock {
        text.parse().expect("a block")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_block_holds_the_addresses_that_begin_like_it() {
        for (text, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("192.0.2.0/24", "::ffff:192.0.2.1", "::ffff:192.0.3.1"),
        ] {
            assert!(block(text).contains(address(inside)), "{text} {inside}");
            assert!(!block(text).contains(address(outside)), "{text} {outside}");
            assert_eq!(block(&block(text).to_string()), block(text));
        }
        for text in ["", "192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/+8", "a", "::1/8"]
        {
            assert!(text.parse::<AddressBlock>().is_err(), "{text}");
        }
    }

    #[test]
    fn who_is_denied_is_not_served_allowed_or_not() {
        let addresses = Addresses {
            allow: vec![block("192.0.2.0/24")],
            deny: vec![block("192.0.2.8/29")],
            ..Addresses::default()
        };
        assert!(addresses.admits(address("192.0.2.1")));
        assert!(!addresses.admits(address("192.0.2.9")));
        assert!(!addresses.admits(address("198.51.100.1")));
        assert!(Addresses::default().admits(address("198.51.100.1")));
    }

    fn check(told_by: ToldBy, peer: &str, fields: &[(&str, &str)], expected: Option<(&str, &str)>) {
        let trusted_proxies = vec![block("10.0.0.0/8"), block("2001:db8::/32")];
        let addresses = Addresses { trusted_proxies, told_by, ..Addresses::default() };
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = http::HeaderName::try_from(*name).expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        let behind = addresses.behind(address(peer), &headers);
        let found = behind.map(|behind| {
            let forwarded = behind.forwarded().0.to_str().expect("text").to_owned();
            (behind.address().to_string(), forwarded)
        });
        let expected = expected.map(|(address, all)| (address.to_owned(), all.to_owned()));
        assert_eq!(found, expected, "{told_by:?} {peer} {fields:?}");
    }

    // GW-027
    #[test]
    fn the_client_is_the_first_before_the_trusted_proxies_whatever_it_says_of_itself() {
        use ToldBy::{Forwarded, Nothing, XForwardedFor};
        let far = ("x-forwarded-for", "203.0.113.9, 192.0.2.1, 10.1.1.1");
        let client = Some(("192.0.2.1", "for=192.0.2.1;proto=http"));
        check(XForwardedFor, "10.0.0.1", &[far], client);
        let lines = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "10.1.1.1")];
        check(XForwardedFor, "10.0.0.1", &lines, client);
        let ported = [("x-forwarded-for", "192.0.2.1:4711"), ("x-forwarded-proto", "https")];
        check(XForwardedFor, "10.0.0.1", &ported, Some(("192.0.2.1", "for=192.0.2.1;proto=https")));
        // From anybody else it is nothing, and in another header neither.
        check(XForwardedFor, "192.0.2.7", &[far], None);
        check(Nothing, "10.0.0.1", &[far], None);
        let proxy = Some(("10.0.0.1", "for=10.0.0.1;proto=http"));
        check(Forwarded, "10.0.0.1", &[far], proxy);
        check(XForwardedFor, "10.0.0.1", &[("forwarded", "for=192.0.2.1")], proxy);
        check(XForwardedFor, "10.0.0.1", &[], proxy);
        // What cannot be read ends the way back.
        let unread = [("x-forwarded-for", "192.0.2.1, unknown, 10.1.1.1")];
        check(XForwardedFor, "10.0.0.1", &unread, Some(("10.1.1.1", "for=10.1.1.1;proto=http")));
        let forwarded = [
            ("forwarded", "for=203.0.113.9;proto=http"),
            ("forwarded", "For=\"[2001:db9::1]:80\";Proto=https, for=10.1.1.1;proto=https;by=x"),
        ];
        let client = Some(("2001:db9::1", "for=\"[2001:db9::1]\";proto=https"));
        check(Forwarded, "10.0.0.1", &forwarded, client);
    }
}
