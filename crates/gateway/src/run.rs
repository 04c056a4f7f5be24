//! Starting the gateway, and stopping it: listeners first, so that an address in use is said
//! before anything else happens; at the end the requests first, and what serves them last.

use std::net::SocketAddr;
use std::sync::Arc;

use contract::{Clock, Ids};
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::access_log;
use crate::admin::{self, Admin};
use crate::callers::Callers;
use crate::channel::ChannelKeeper;
use crate::config::GatewayConfig;
use crate::connections::{Connections, MalformedHeads};
use crate::errors::{GatewayError, Refusal};
use crate::metrics::Metrics;
use crate::proxy::Gateway;
use crate::renewal::{self, RenewalSocket, Renewals};
use crate::tokens::Tokens;

/// Idle connections to the server that are kept.
const KEPT_CONNECTIONS: usize = 1024;
/// How long such a connection is kept; the server keeps them longer.
const KEPT_FOR: std::time::Duration = std::time::Duration::from_secs(30);

/// Where the gateway listens, port 0 resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/livez` and `/readyz` are.
    pub admin_listen: SocketAddr,
}

/// Runs the gateway until `shutdown` says so, then drains it.
///
/// `started` is told once both listeners are bound; the server need not be there yet. All tasks
/// that were begun have ended when this returns.
///
/// # Errors
/// [`GatewayError`] when it cannot begin: an address in use, a path that cannot be a socket's.
pub async fn run(
    config: GatewayConfig,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    started: oneshot::Sender<Bound>,
    shutdown: watch::Receiver<bool>,
) -> Result<(), GatewayError> {
    config.check()?;
    let listener = listen(config.listen, "clients").await?;
    let admin_listener = listen(config.admin_listen, "the admin listener").await?;
    let renewal_socket = RenewalSocket::bind(&config.renewal_socket)?;
    let bound = Bound {
        listen: listener.local_addr().map_err(|source| GatewayError::Listen {
            address: config.listen,
            purpose: "clients",
            source,
        })?,
        admin_listen: admin_listener.local_addr().map_err(|source| GatewayError::Listen {
            address: config.admin_listen,
            purpose: "the admin listener",
            source,
        })?,
    };
    let peer = server_peer(&config)?;
    let metrics = Arc::new(Metrics::new().map_err(GatewayError::Metrics)?);
    let channel = Arc::new(ChannelKeeper::new(
        config.channel_socket.clone(),
        metrics.channel_fetches.clone(),
    ));
    for client in registry.clients() {
        if let Err(problem) = config.roles.rights_of(&client) {
            tracing::warn!(
                client = client.id.as_str(),
                error = &problem as &dyn std::error::Error,
                "keys of the client are refused"
            );
        }
    }
    let tokens = Tokens::open(&config, registry.clone(), clock.clone(), &metrics)?.map(Arc::new);
    let callers = Callers::new(registry.clone(), ids.clone(), &config, tokens.clone())
        .map_err(GatewayError::PublicGrant)?;
    // Dropped last, when nobody writes a line any more.
    let (lines, _log_thread) =
        access_log::start(config.access_log).map_err(GatewayError::AccessLog)?;

    let renewals = Arc::new(Renewals {
        registry,
        clock: clock.clone(),
        ids: ids.clone(),
        tenant: config.tenant.clone(),
        default_budget: config.default_budget,
        roles: config.roles.clone(),
        tokens: tokens.clone(),
    });
    let admin = Arc::new(Admin {
        metrics: metrics.clone(),
        lines: lines.clone(),
        channel: channel.clone(),
        shutdown: shutdown.clone(),
    });
    let malformed = Arc::new(MalformedHeads {
        answer: Refusal::malformed_head_answer(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        lines: lines.clone(),
    });
    let limits = config.limits.clone();
    let gateway = Gateway {
        base_path: config.base_path,
        public_open: config.public_open,
        limits: config.limits,
        cors: config.cors,
        callers,
        break_glass_minutes: config.break_glass_minutes,
        denials: config.denials,
        channel: channel.clone(),
        clock,
        ids,
        metrics,
        lines,
        peer,
    };
    let mut proxy = http_proxy(&Arc::new(pingora_conf()), gateway);
    // Judged and refused like every other method, not by pingora without a word.
    let mut options = pingora::apps::HttpServerOptions::default();
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    let connections =
        Connections::new(listener, Arc::new(proxy), limits, config.drain, malformed, shutdown);

    for (address, what) in
        [(bound.listen, "keys and patients' data"), (bound.admin_listen, "metrics")]
    {
        if !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "{what} leave this machine in clear text; listen on loopback behind a proxy with TLS"
            );
        }
    }
    // Nobody waiting for it is no reason not to run.
    let _ = started.send(bound);
    tracing::info!(listen = %bound.listen, admin = %bound.admin_listen, "the gateway listens");
    let beside = async {
        tokio::join!(
            channel.keep_current(),
            admin::serve(admin_listener, admin),
            renewal::serve(renewal_socket, renewals),
            async {
                match &tokens {
                    Some(tokens) => tokens.keep_current().await,
                    None => std::future::pending().await,
                }
            },
        )
    };
    tokio::select! {
        () = connections.serve() => {}
        _ = beside => {}
    }
    tracing::info!("the gateway has stopped");
    Ok(())
}

async fn listen(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, GatewayError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => GatewayError::AddressInUse { address, purpose },
        _ => GatewayError::Listen { address, purpose, source },
    })
}

fn server_peer(config: &GatewayConfig) -> Result<HttpPeer, GatewayError> {
    let unusable = || GatewayError::SocketPath(config.server_socket.clone());
    let path = config.server_socket.to_str().ok_or_else(unusable)?;
    let mut peer = HttpPeer::new_uds(path, false, String::new()).map_err(|_| unusable())?;
    peer.options.connection_timeout = Some(config.upstream.connect);
    peer.options.total_connection_timeout = Some(config.upstream.connect);
    peer.options.read_timeout = Some(config.upstream.read);
    peer.options.write_timeout = Some(config.upstream.read);
    peer.options.idle_timeout = Some(KEPT_FOR);
    Ok(peer)
}

fn pingora_conf() -> ServerConf {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    ServerConf {
        threads,
        upstream_keepalive_pool_size: KEPT_CONNECTIONS.div_ceil(threads),
        // The first try counts.
        max_retries: 2,
        ..ServerConf::default()
    }
}
