//! Where an upstream's endpoints are: addresses as they are written, and those that names stand
//! for, asked again while the gateway runs.
//!
//! The system's own resolver is asked, so that `/etc/hosts` and whatever else it knows counts. It
//! does not say for how long an answer holds, so that it is asked every [`AGAIN`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Upstream;
use super::written::Endpoint;

/// Between two questions for a name.
const AGAIN: Duration = Duration::from_secs(15);
/// Before asking again for a name that nobody knew.
const SOON: Duration = Duration::from_secs(1);

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
        let mut missing = false;
        for (endpoint, known) in endpoints.iter().zip(&mut known) {
            let place = (endpoint.host.as_str(), endpoint.port);
            let found = tokio::net::lookup_host(place).await.map(Iterator::collect::<Vec<_>>);
            match found {
                Ok(mut found) if !found.is_empty() => {
                    found.sort_unstable();
                    found.dedup();
                    *known = found;
                }
                _ => missing = true,
            }
        }
        if missing {
            tracing::warn!(upstream = &*upstream.name, "an endpoint's name stands for no address");
        }
        let weighted = endpoints
            .iter()
            .zip(&known)
            .flat_map(|(endpoint, known)| known.iter().map(|address| (*address, endpoint.weight)));
        upstream.is_at(&weighted.collect::<Addresses>());
        tokio::time::sleep(if missing { SOON } else { AGAIN }).await;
    }
}
