//! What memory one idle connection takes: many are opened, each asks once and then stays.

use std::net::SocketAddr;

use super::proxies::Proxy;
use super::workload;
use crate::bench::figures::print;
use crate::bench::http::{Address, Connection, Requests};
use crate::bench::{Failure, tree};

/// Connections to a proxy beside those that are held.
const OTHERS: u32 = 50;

/// Prints it for each, one after the other.
pub(crate) fn measure(proxies: &[Proxy], connections: u32) -> Result<(), Failure> {
    print("\nIdle connections, plain\n")?;
    for proxy in proxies.iter().filter(|proxy| proxy.kind.is_measured_idle()) {
        let connections = connections.min(proxy.most.saturating_sub(OTHERS)).max(1);
        let grown = hold(proxy, connections)?;
        let name = proxy.kind.name();
        print(&format!("  {name:<44}{connections:>8}, each {grown:.1} KiB\n"))?;
    }
    Ok(())
}

/// How many kibibytes the proxy grows by for each.
fn hold(proxy: &Proxy, connections: u32) -> Result<f64, Failure> {
    let request = workload::small_request(proxy);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let _first = asked(proxy.address, &request).await?;
        let before = tree::resident(proxy.id())?;
        let mut held = Vec::new();
        for _ in 0..connections {
            let opened = asked(proxy.address, &request).await;
            held.push(opened.map_err(|error| {
                format!(
                    "{}: connection {} of {connections}: {error} (as many files must be allowed: \
                     `ulimit -n`)",
                    proxy.kind.name(),
                    held.len() + 1
                )
            })?);
        }
        let after = tree::resident(proxy.id())?;
        let grown = i32::try_from(after)? - i32::try_from(before)?;
        Ok(f64::from(grown) / f64::from(connections))
    })
}

async fn asked(address: SocketAddr, request: &[u8]) -> Result<Connection, Failure> {
    let none = Requests::Repeated(std::sync::Arc::new([]));
    let mut connection = Connection::open(&Address::Tcp(address), none, "HTTP/1.1 200").await?;
    connection.ask(request).await?;
    Ok(connection)
}
