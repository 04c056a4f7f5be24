//! Where an upstream's endpoints are: addresses as they are written, and those that names stand
//! for, asked again while the gateway runs.
//!
//! The servers of DNS are asked, those that are named or else the system's, with `/etc/hosts` before
//! them. Each time both are read anew, so that a change of them counts. A name that they do not know
//! is asked of the system in its own way, where no servers are named: it may know names that are in
//! no DNS. It does not say for how long its answer holds.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::Upstream;
use super::written::Endpoint;

/// Between two questions for a name, where its answer holds longer or does not say.
const AGAIN: Duration = Duration::from_secs(15);
/// The same where it holds for less, or nobody knew the name.
const SOON: Duration = Duration::from_secs(1);
/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Endpoints with what is known of each: addresses with weights.
pub(crate) type Addresses = Vec<(SocketAddr, u32)>;

/// The endpoints that are written as addresses.
pub(crate) fn written_addresses(endpoints: &[Endpoint]) -> Addresses {
    let written = endpoints.iter().filter_map(|endpoint| {
        let address: IpAddr = endpoint.host.parse().ok()?;
        Some((SocketAddr::new(address, endpoint.port), endpoint.weight))
    });
    written.collect()
}

/// Whether any endpoint is a name.
pub(crate) fn has_names(endpoints: &[Endpoint]) -> bool {
    endpoints.iter().any(|endpoint| endpoint.host.parse::<IpAddr>().is_err())
}

/// Asks for the names, again and again. A name that nobody knows any more keeps its addresses.
pub(crate) async fn keep_resolving(upstream: Arc<Upstream>) {
    let endpoints = upstream.config.endpoints.clone();
    let mut known: Vec<Vec<SocketAddr>> = vec![Vec::new(); endpoints.len()];
    loop {
        let mut pause = AGAIN;
        let mut missing = false;
        for (endpoint, known) in endpoints.iter().zip(&mut known) {
            match addresses_of(endpoint, &upstream.resolvers).await {
                Some((mut found, holds)) if !found.is_empty() => {
                    found.sort_unstable();
                    found.dedup();
                    *known = found;
                    pause = pause.min(holds.max(SOON));
                }
                _ => missing = true,
            }
        }
        if missing {
            tracing::warn!(upstream = &*upstream.name, "an endpoint's name stands for no address");
            pause = SOON;
        }
        let weighted = endpoints
            .iter()
            .zip(&known)
            .flat_map(|(endpoint, known)| known.iter().map(|address| (*address, endpoint.weight)));
        upstream.is_at(&weighted.collect::<Addresses>());
        tokio::time::sleep(pause).await;
    }
}

/// The addresses of an endpoint, and for how long they hold.
async fn addresses_of(
    endpoint: &Endpoint,
    resolvers: &[SocketAddr],
) -> Option<(Vec<SocketAddr>, Duration)> {
    let Endpoint { host, port, .. } = endpoint;
    if let Ok(address) = host.parse() {
        return Some((vec![SocketAddr::new(address, *port)], AGAIN));
    }
    if let Ok((found, holds)) = by_dns(host, resolvers).await {
        let at = |address| SocketAddr::new(address, *port);
        return Some((found.into_iter().map(at).collect(), holds));
    }
    if !resolvers.is_empty() {
        return None;
    }
    let found = tokio::net::lookup_host((host.as_str(), *port)).await.ok()?;
    Some((found.collect(), AGAIN))
}

async fn by_dns(host: &str, resolvers: &[SocketAddr]) -> Result<(Vec<IpAddr>, Duration), NetError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = match resolvers {
        [] => TokioResolver::builder(provider)?,
        named => {
            let servers = named.iter().map(|at| {
                let mut by = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                by.iter_mut().for_each(|one| one.port = at.port());
                NameServerConfig::new(at.ip(), true, by.into())
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(config, provider)
        }
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = PATIENCE;
    options.attempts = 2;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let found = builder.build()?.lookup_ip(host).await?;
    let holds = found.as_lookup().answers().iter().map(|record| record.ttl).min();
    let holds = holds.map_or(AGAIN, |seconds| Duration::from_secs(seconds.into()));
    Ok((found.iter().collect(), holds))
}
