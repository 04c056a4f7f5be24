//! Starting the gateway, and stopping it: listeners first, so that an address in use is said
//! before anything else happens; at the end the requests first, and what serves them last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use contract::{Clock, Ids};
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::access_log;
use crate::acme::AcmeKeeper;
use crate::admin::{self, Admin};
use crate::api::Api;
use crate::audited_denials;
use crate::authorizer::Verdicts;
use crate::callers::Callers;
use crate::channel::ChannelKeeper;
use crate::config::GatewayConfig;
use crate::connections::{Connections, Door, MalformedHeads};
use crate::errors::{GatewayError, Refusal};
use crate::guard::Guard;
use crate::lanes::Lanes;
use crate::metrics::Metrics;
use crate::mirror::Mirrors;
use crate::proxy::Gateway;
use crate::readiness::Watched;
use crate::redirect;
use crate::reload::{Reload, Reloading, tell_of_clients};
use crate::renewal::{self, RenewalSocket, Renewals};
use crate::second_look::KnownAsOf;
use crate::server_link::{Link, ServerWay};
use crate::snapshot::{Current, Snapshot};
use crate::socket_client::ChannelPlace;
use crate::tls::Acceptor;
use crate::tokens::{self, Tokens};
use crate::told_revocations::ToldRevocations;
use crate::upstreams::Upstreams;

/// Idle connections to the server that are kept.
const KEPT_CONNECTIONS: usize = 1024;

/// How long clients wait in the queue of a socket that was handed over for the server to be found.
const LONGEST_QUEUE: std::time::Duration = std::time::Duration::from_secs(30);

/// Where the gateway listens, port 0 resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/livez` and `/readyz` are.
    pub admin_listen: SocketAddr,
    /// Where plain HTTP is sent on to HTTPS.
    pub redirect_listen: Option<SocketAddr>,
}

/// Runs the gateway until `shutdown` says so, then drains it.
///
/// `started` is told once both listeners are bound; the server need not be there yet. What comes
/// over `reloads` is put into force while requests pass, or refused. All tasks
/// that were begun have ended when this returns.
///
/// # Errors
/// [`GatewayError`] when it cannot begin: an address in use, a path that cannot be a socket's.
pub async fn run(
    mut config: GatewayConfig,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    started: oneshot::Sender<Bound>,
    reloads: mpsc::Receiver<Reload>,
    shutdown: watch::Receiver<bool>,
) -> Result<(), GatewayError> {
    config.check()?;
    let serves_server = config.serves_server;
    let mut queue_waits = false;
    let mut stopping = shutdown.clone();
    let listener = match config.listener.take() {
        Some(listener) => {
            queue_waits = config.serves_server;
            handed_over(listener, config.listen)?
        }
        None => listen(config.listen, "clients").await?,
    };
    let admin_listener = listen(config.admin_listen, "the admin listener").await?;
    let redirect_listener = match config.redirect_listen {
        Some(address) => Some(listen(address, "redirects to HTTPS").await?),
        None => None,
    };
    let renewal_socket =
        config.serves_server.then(|| RenewalSocket::bind(&config.renewal_socket)).transpose()?;
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
        redirect_listen: redirect_listener.as_ref().and_then(|bound| bound.local_addr().ok()),
    };
    let link = match config.link.take() {
        Some(to) => Some(Arc::new(
            Link::load(to, config.upstream).map_err(|error| GatewayError::Link(Box::new(error)))?,
        )),
        None => None,
    };
    let server = match &link {
        Some(link) => ServerWay::Link(link.clone()),
        None => ServerWay::socket(&config.server_socket, config.upstream)?,
    };
    let place = match &link {
        Some(link) => ChannelPlace::Link(link.clone()),
        None => ChannelPlace::Socket(config.channel_socket.clone()),
    };
    let metrics = Arc::new(Metrics::new().map_err(GatewayError::Metrics)?);
    let acme = config.acme.take();
    let acme =
        acme.map(|acme| AcmeKeeper::open(acme, clock.clone(), metrics.clone())).transpose()?;
    let acme = acme.map(Arc::new);
    let challenges = acme.as_ref().map(|acme| acme.challenges()).unwrap_or_default();
    let loading =
        config.tls.clone().map(|tls| Acceptor::load(tls, metrics.clone(), challenges.clone()));
    let tls = loading.transpose()?;
    let tls = tls.map(Arc::new);
    let admin_tls = config.admin_tls.take().map(Acceptor::for_operators).transpose()?;
    let admin_tls = admin_tls.map(Arc::new);
    let channel =
        Arc::new(ChannelKeeper::new(place.clone(), clock.clone(), metrics.channel_fetches.clone()));
    tell_of_clients(&registry, &config.roles, &config.limiting.plans());
    let tokens = Arc::new(Tokens::open(&config, registry.clone(), clock.clone(), &metrics)?);
    let guard = Arc::new(Guard::new(&metrics));
    let callers = Callers::new(registry.clone(), ids.clone(), &config, tokens, guard)
        .map_err(GatewayError::PublicGrant)?;
    let upstreams = Upstreams::start(&config, &metrics.upstreams, clock.clone(), ids.clone());
    let upstreams = upstreams.map_err(GatewayError::Upstream)?;
    let current = Arc::new(Current::new(Snapshot::new(&config, callers, upstreams)?));
    // Dropped last, when nobody writes a line any more.
    let (lines, _log_thread) =
        access_log::start(config.access_log).map_err(GatewayError::AccessLog)?;

    let watched = Arc::new(Watched {
        current: current.clone(),
        clock: clock.clone(),
        registry: registry.clone(),
        channel: config.serves_server.then(|| channel.clone()),
        untold: metrics.registry.untold.clone(),
        limiting: config.limiting.clone(),
        acme: acme.clone(),
        shutdown: shutdown.clone(),
    });
    let api = Arc::new(Api {
        registry: registry.clone(),
        current: current.clone(),
        limiting: config.limiting.clone(),
        denials: config.denials.clone(),
        guard: Guard::new(&metrics),
        clock: clock.clone(),
        watched: watched.clone(),
        reconfigure: config.reconfigure.take(),
    });
    // Another with each start: the registry may be another one by then.
    let feed: Arc<str> = format!("{:032x}", ids.next()).into();
    let told_revocations = ToldRevocations {
        registry: registry.clone(),
        channel: channel.clone(),
        place: place.clone(),
        feed: feed.clone(),
        clock: clock.clone(),
        untold: metrics.registry.untold.clone(),
    };
    let renewals = Arc::new(Renewals {
        registry: registry.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        tenant: config.tenant.clone(),
        default_budget: config.default_budget,
        current: current.clone(),
    });
    let admin = Arc::new(Admin {
        current: current.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        lines: lines.clone(),
        registry,
        tracer: config.tracer.clone(),
        watched,
        api,
        tls: admin_tls.clone(),
    });
    let malformed = Arc::new(MalformedHeads {
        answer: Refusal::malformed_head_answer(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        lines: lines.clone(),
    });
    let (audited, handing) =
        audited_denials::towards(place, metrics.denials_not_audited.clone(), clock.clone());
    let issuers = current.clone();
    let limiting = config.limiting;
    let lanes = Arc::new(Lanes::new(config.lanes, &metrics.lanes));
    let reloading = Reloading {
        current: current.clone(),
        limiting: limiting.clone(),
        lanes: lanes.clone(),
        tls: tls.clone(),
        metrics: metrics.clone(),
    };
    let gateway = Gateway {
        current: current.clone(),
        turn: AtomicU64::new(0),
        mirrors: Mirrors::default(),
        verdicts: Verdicts::default(),
        denials: config.denials,
        audited,
        tenant: config.tenant,
        limiting: limiting.clone(),
        lanes,
        channel: channel.clone(),
        known_as_of: KnownAsOf::new(feed),
        clock: clock.clone(),
        ids: ids.clone(),
        metrics: metrics.clone(),
        lines,
        tracer: config.tracer,
        server,
        shutdown: shutdown.clone(),
    };
    let mut proxy = http_proxy(&Arc::new(pingora_conf()), gateway);
    // Judged and refused like every other method, not by pingora without a word.
    let mut options = pingora::apps::HttpServerOptions::default();
    options.allow_connect_method_proxying = true;
    proxy.server_options = Some(options);
    let proxy = Arc::new(proxy);
    let answer_within = config.upstream.read;
    let door = Door {
        proxy,
        current,
        answer_within,
        tls: tls.clone(),
        malformed,
        by_address: Arc::default(),
    };
    let connections = Connections::new(listener, door, config.drain, shutdown);

    for (address, what, is_plain) in [
        (bound.listen, "keys and patients' data", tls.is_none()),
        (bound.admin_listen, "metrics and operators' tokens", admin_tls.is_none()),
    ] {
        if is_plain && !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "{what} leave this machine in clear text; listen on loopback, or name certificates"
            );
        }
    }
    // Nobody waiting for it is no reason not to run.
    let _ = started.send(bound);
    tracing::info!(listen = %bound.listen, admin = %bound.admin_listen, "the gateway listens");
    let redirects = async {
        match redirect_listener {
            Some(listener) => redirect::serve(listener, bound.listen.port(), challenges).await,
            None => std::future::pending().await,
        }
    };
    let certificates = async {
        match tls {
            Some(tls) => tls.keep_current().await,
            None => std::future::pending().await,
        }
    };
    let operators_certificates = async {
        match &admin_tls {
            Some(tls) => tls.keep_current().await,
            None => std::future::pending().await,
        }
    };
    let ordered = async {
        match acme {
            Some(keeper) => keeper.keep_current().await,
            None => std::future::pending().await,
        }
    };
    let link = async {
        match &link {
            Some(link) => link.keep_current().await,
            None => std::future::pending().await,
        }
    };
    let beside = async {
        // What is between the two halves, where there are two.
        let halves = async {
            if let Some(renewal_socket) = renewal_socket {
                tokio::join!(
                    channel.keep_current(),
                    renewal::serve(renewal_socket, renewals),
                    handing.hand_over(),
                    told_revocations.keep_told(),
                );
            }
        };
        tokio::join!(
            certificates,
            operators_certificates,
            ordered,
            redirects,
            link,
            reloading.serve(reloads),
            halves,
            admin::serve(admin_listener, admin),
            tokens::keep_current(&issuers),
            limiting.clone().tend(clock.as_ref(), ids.as_ref(), &metrics),
        )
    };
    let serving = async {
        if queue_waits && serves_server {
            // Of a process before this one, or for this one to begin: better answered late than
            // told that the server is not there.
            tokio::select! {
                () = async { drop(stopping.wait_for(|stop| *stop).await) } => {}
                () = channel.until_current() => {}
                () = tokio::time::sleep(LONGEST_QUEUE) => {}
            }
        }
        connections.serve().await;
    };
    tokio::select! {
        () = serving => {}
        _ = beside => {}
    }
    handing.hand_over_last().await;
    limiting.keep_beside(clock.as_ref(), &metrics).await;
    tracing::info!("the gateway has stopped");
    Ok(())
}

async fn listen(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, GatewayError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => GatewayError::AddressInUse { address, purpose },
        _ => GatewayError::Listen { address, purpose, source },
    })
}

/// A socket that somebody else made to listen.
fn handed_over(
    listener: std::net::TcpListener,
    address: SocketAddr,
) -> Result<TcpListener, GatewayError> {
    let ours = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
    ours.map_err(|source| GatewayError::Listen { address, purpose: "clients", source })
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
