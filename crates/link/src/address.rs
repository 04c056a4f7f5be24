//! Where the other half is: a name or an address, and a port.

use std::fmt;
use std::str::FromStr;

/// `HOST:PORT`, of which HOST is a name that is looked up for each connection, an IPv4 address, or
/// an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// The text is no `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an address is a host and a port, like fhir.example.org:9443 or [2001:db8::2]:9443")]
pub struct InvalidAddress;

impl Address {
    /// The name or the address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidAddress)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(InvalidAddress)?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_sound = match inner {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                !host.is_empty() && host.len() <= 253 && host.bytes().all(of_name)
            }
        };
        let host = inner.unwrap_or(host).to_owned();
        is_sound.then_some(Self { host, port }).ok_or(InvalidAddress)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(formatter, "[{}]:{}", self.host, self.port),
            false => write!(formatter, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["fhir.example.org:9443", "192.0.2.7:1", "[2001:db8::2]:9443"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in ["", ":9443", "host", "host:", "host:0", "2001:db8::2:9443", "a b:1", "[x]:1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
