//! By whom a limit counts.

use std::fmt;
use std::net::IpAddr;

use registry::ClientId;
use serde::{Deserialize, Serialize};

use crate::network::{provider_network, wide_network};
use crate::plans::By;

/// Whoever asks, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'request> {
    pub(crate) client: Option<&'request ClientId>,
    pub(crate) user: Option<&'request str>,
    /// The address, or the network that counts as one.
    pub(crate) address: IpAddr,
    pub(crate) route: &'request str,
}

/// Whose counter it is: what the limit counts by, and nothing else. Requests without a client or a
/// user share one counter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<ClientId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    route: Option<String>,
}

impl Asking<'_> {
    /// The key of the counter.
    pub(crate) fn key(&self, by: By) -> Key {
        Key {
            client: self.client.filter(|_| by.client).cloned(),
            user: self.user.filter(|_| by.user).map(str::to_owned),
            address: by.address.then_some(self.address),
            route: by.route.then(|| self.route.to_owned()),
        }
    }
}

impl Key {
    /// The network that its address is in, where it counts by address and that is one of IPv6.
    pub(crate) fn network(&self) -> Option<IpAddr> {
        wide_network(self.address?)
    }

    /// The network of a whole provider that its address is in, in the same way.
    pub(crate) fn provider(&self) -> Option<IpAddr> {
        provider_network(self.address?)
    }

    /// The same for all addresses of a network together.
    pub(crate) fn of_network(self, network: IpAddr) -> Self {
        Self { address: Some(network), ..self }
    }

    /// Whether the counter is this client's, among others or alone.
    pub(crate) fn is_of(&self, client: &ClientId) -> bool {
        self.client.as_ref() == Some(client)
    }
}

/// What else than the client it is counted by, for an operator.
impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        let mut part = |name: &str, value: Option<&dyn fmt::Display>| match value {
            Some(value) => {
                let written = write!(formatter, "{between}{name} {value}");
                between = ", ";
                written
            }
            None => Ok(()),
        };
        part("client", self.client.as_ref().map(|client| client as _))?;
        part("user", self.user.as_ref().map(|user| user as _))?;
        part("address", self.address.as_ref().map(|address| address as _))?;
        part("route", self.route.as_ref().map(|route| route as _))
    }
}
