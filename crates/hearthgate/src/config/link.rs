//! The keys of `[gateway.link]` and `[server.link]`: the two halves on two hosts (docs/split.md).

use std::net::SocketAddr;
use std::path::PathBuf;

use ::link::{Address, LinkFiles};
use toml::de::DeValue;

use super::Config;
use super::setting::{Setting, quoted};

/// The keys of `[gateway.link]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it of each key, for the operator too")]
pub struct GatewayLink {
    pub server: Option<Address>,
    pub channel: Option<Address>,
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub servers_file: Option<PathBuf>,
}

/// The keys of `[server.link]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says it of each key, for the operator too")]
pub struct ServerLinkKeys {
    pub listen: Option<SocketAddr>,
    pub channel_listen: Option<SocketAddr>,
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub gateways_file: Option<PathBuf>,
}

impl Setting for Option<Address> {
    const TAKES: &'static str =
        "a host and a port like \"fhir.internal.example.org:9443\", or \"\" for none";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        }
    }

    fn write(&self) -> String {
        quoted(&self.as_ref().map(ToString::to_string).unwrap_or_default())
    }
}

/// The three files, where all are named.
fn files(named: [&Option<PathBuf>; 3]) -> Option<LinkFiles> {
    let [certificate, key, peers] = named.map(Clone::clone);
    Some(LinkFiles { certificate: certificate?, key: key?, peers: peers? })
}

impl GatewayLink {
    fn named(&self) -> [&Option<PathBuf>; 3] {
        [&self.certificate_file, &self.key_file, &self.servers_file]
    }

    /// What the gateway is told; nothing where the server is on its own host.
    pub(crate) fn told(&self) -> Option<gateway::ServerLink> {
        let (requests, channel) = (self.server.clone()?, self.channel.clone()?);
        Some(gateway::ServerLink { requests, channel, files: files(self.named()) })
    }
}

impl ServerLinkKeys {
    fn named(&self) -> [&Option<PathBuf>; 3] {
        [&self.certificate_file, &self.key_file, &self.gateways_file]
    }

    /// What the server is told; nothing where no gateway is on another host.
    pub(crate) fn told(&self) -> Option<server::LinkDoors> {
        let (requests, channel) = (self.listen?, self.channel_listen?);
        Some(server::LinkDoors { requests, channel, files: files(self.named()) })
    }
}

/// What the keys of the link cannot say together.
pub(super) fn contradiction(config: &Config) -> Option<&'static str> {
    let (gateway, server) = (&config.gateway.link, &config.server.link);
    let is_linked = [gateway.server.is_some(), server.listen.is_some()];
    let sides = [gateway.named(), server.named()];
    let some = sides.map(|named| named.iter().any(|file| file.is_some()));
    let all = sides.map(|named| named.iter().all(|file| file.is_some()));
    if gateway.server.is_some() != gateway.channel.is_some()
        || server.listen.is_some() != server.channel_listen.is_some()
    {
        Some(
            "`gateway.link.server` and `gateway.link.channel` go together, and so do \
             `server.link.listen` and `server.link.channel_listen`: name both or neither",
        )
    } else if (gateway.server.is_some() && gateway.server == gateway.channel)
        || (server.listen.is_some() && server.listen == server.channel_listen)
    {
        Some(
            "the link's port for requests and its port for the channel are one: no client's request \
             may reach the channel, so name another port for it",
        )
    } else if some != all || (0..2).any(|side| some[side] && !is_linked[side]) {
        Some(
            "the three files of `[gateway.link]` and of `[server.link]` go together, and with the \
             addresses there: `hearthgate link create` makes them; name all or none",
        )
    } else if gateway.server.is_some() && !config.gateway.server {
        Some(
            "`gateway.link` says where the server of ours is, and `gateway.server` that there is \
             none: leave one of them out",
        )
    } else if is_linked.contains(&true) && config.public_base_url.is_none() {
        Some(
            "with the halves on two hosts both must know the FHIR base as clients see it: name \
             `public_base_url`, the same on both",
        )
    } else if !config.insecure_plain_link && (0..2).any(|side| is_linked[side] && !all[side]) {
        Some(
            "the link has no certificates, and patients' data and the channel's secret would pass \
             in clear text: `hearthgate link create` makes them, name the three files; to go without \
             on a network that nobody else is on, start with --insecure-plain-link",
        )
    } else if config.insecure_plain_link && (0..2).any(|side| is_linked[side] && all[side]) {
        Some(
            "`--insecure-plain-link` is given, and the link has certificates: leave the one or the \
             other out",
        )
    } else {
        None
    }
}
