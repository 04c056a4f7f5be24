//! The server from start to stop.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::handler::Handler as _;
use contract::{ChannelSecret, Clock, Ids, TenantName};
use database::{Database, IndexedBy};
use fhir_search::Zone;
use tokio::sync::{oneshot, watch};

use crate::exchange::exchange;
use crate::holding::{Holding, Pace};
use crate::interactions::capabilities::Statement;
use crate::large::LaneTurns;
use crate::listener::OwnUserListener;
use crate::metrics::Metrics;
use crate::writing::Writing;
use crate::{
    PackagesError, Server, ServerConfig, Validation, audit, channel, link_doors, operator,
};

/// Both sockets are bound: requests that come from now on are answered.
#[derive(Debug)]
pub struct Ready {
    /// Where the operator is answered, if anywhere.
    pub admin: Option<SocketAddr>,
}

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A socket could not be bound.
    #[error("the socket {} cannot be bound", path.display())]
    Bind {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The packages of a tenant cannot be used: what it asks of what is written cannot be held.
    #[error(
        "the FHIR packages of the tenant {tenant} cannot be used; while no server runs, `hearthgate packages remove NAME#VERSION` takes one out"
    )]
    Packages {
        /// The tenant.
        tenant: TenantName,
        /// Why.
        #[source]
        source: Box<PackagesError>,
    },
    /// There is no thread for a tenant's search index.
    #[error("the search index of a tenant has no thread")]
    Index(#[source] io::Error),
    /// There are no threads for what is written.
    #[error("there are no threads for what is written")]
    Writing(#[source] io::Error),
    /// A port of the link cannot be listened on.
    #[error(
        "cannot listen on {address} for gateways on other hosts; choose an address of this host that is free"
    )]
    BindLink {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The operator's port cannot be listened on.
    #[error(
        "cannot listen on {address} for the server's metrics and readiness; choose another `server.admin_listen`, or leave it out"
    )]
    BindOperator {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Metrics cannot be counted.
    #[error("the server's metrics cannot be registered")]
    Metrics(#[source] prometheus::Error),
    /// The certificates of the link cannot be used.
    #[error(transparent)]
    Link(Box<link::FilesError>),
    /// Serving ended by an error.
    #[error("the server stopped")]
    Serve(#[source] io::Error),
}

/// Answers on both sockets, and on the ports of the link where there are any, until `shutdown` turns
/// true, then ends what is in flight. Databases stay open: they are the caller's. Each comes with
/// what is asked of what is written to it, whose packages are loaded before the first request.
///
/// # Errors
/// [`RunError`] when packages cannot be used or a socket cannot be bound.
pub async fn run(
    config: ServerConfig,
    databases: BTreeMap<TenantName, (Arc<Database>, Arc<Validation>)>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    ready: oneshot::Sender<Ready>,
    shutdown: watch::Receiver<bool>,
) -> Result<(), RunError> {
    for (tenant, (database, validation)) in &databases {
        let loaded = validation.load(database).await;
        loaded.map_err(|source| RunError::Packages {
            tenant: tenant.clone(),
            source: Box::new(source),
        })?;
        validation.warn_of_unknown_profiles();
        if let Some(current) = validation.current() {
            let extractor = Arc::clone(&current.extractor);
            let base = Arc::from(config.public_base.as_str());
            let by = IndexedBy { extractor, base, zone: Zone::UTC };
            database.index_by(by).map_err(RunError::Index)?;
        }
    }
    let validations = databases
        .iter()
        .map(|(tenant, (_, validation))| (tenant.clone(), Arc::clone(validation)))
        .collect();
    let databases: BTreeMap<_, _> =
        databases.into_iter().map(|(tenant, (database, _))| (tenant, database)).collect();
    let server = Arc::new(Server {
        capabilities: databases
            .iter()
            .map(|(tenant, database)| {
                let statement = Statement::new(
                    (&config.public_base, &config.limits, &config.not_deletable),
                    clock.now(),
                    database.schema(),
                );
                (tenant.clone(), statement)
            })
            .collect(),
        base: config.public_base,
        audit: config.audit,
        audit_readers: audit::Readers::default(),
        handed_over: audit::HandedOver::since(clock.now()),
        not_deletable: config.not_deletable,
        groups: Default::default(),
        shown: Default::default(),
        limits: config.limits,
        denials: config.denials,
        revocations: Arc::default(),
        holding: Holding::new(
            config.limits.held_bytes,
            Pace { grace: config.limits.body_grace, rate: config.limits.body_rate },
        ),
        validations,
        large: LaneTurns::new(),
        writing: Writing::start(Arc::clone(&clock)).map_err(RunError::Writing)?,
        tracer: config.tracer,
        metrics: Metrics::new().map_err(RunError::Metrics)?,
        databases,
        secret: ChannelSecret::generate(&*ids),
        page_key: config.page_key,
        clock,
        ids,
    });
    let bind = |path: PathBuf| {
        OwnUserListener::bind(&path).map_err(|source| RunError::Bind { path, source })
    };
    let requests = bind(config.socket.clone())?;
    let channel = bind(config.channel_socket.clone())?;
    let link = match config.link {
        Some(doors) => Some(doors.bind().await?),
        None => None,
    };
    let operator = match config.admin_listen {
        Some(address) => Some(operator::bind(address).await?),
        None => None,
    };
    // Nobody may be waiting for the word: then serving is all the same.
    drop(ready.send(Ready { admin: operator.as_ref().map(|(_, address)| *address) }));
    // One way for every request: no router between.
    let answered = exchange.with_state(Arc::clone(&server));
    let told = channel::router(Arc::clone(&server));
    let watched = operator::router(server);
    let stop = || asked_to_stop(shutdown.clone());
    let mut identity = None;
    let over_link = link.map(|bound| {
        identity = bound.identity;
        let requests = axum::serve(bound.requests, answered.clone()).with_graceful_shutdown(stop());
        let channel = axum::serve(bound.channel, told.clone()).with_graceful_shutdown(stop());
        (requests.into_future(), channel.into_future())
    });
    let over_link = async {
        match over_link {
            Some((requests, channel)) => tokio::try_join!(requests, channel).map(|_| ()),
            None => Ok(()),
        }
    };
    let requests = axum::serve(requests, answered.clone()).with_graceful_shutdown(stop());
    let channel = axum::serve(channel, told.clone()).with_graceful_shutdown(stop());
    let (requests, channel) = (requests.into_future(), channel.into_future());
    // Until the end: how the draining goes is told too.
    let for_operator = async {
        match operator {
            Some((listener, _)) => axum::serve(listener, watched).await,
            None => std::future::pending().await,
        }
    };
    let drained = async { tokio::try_join!(requests, channel, over_link).map(|_| ()) };
    let result = tokio::select! {
        result = drained => result.map_err(RunError::Serve),
        () = link_doors::keep_current(identity.clone()) => Ok(()),
        result = for_operator => result.map_err(RunError::Serve),
        () = overdue(shutdown, config.limits.drain) => {
            tracing::warn!("requests were still in flight when the time to drain was over");
            Ok(())
        }
    };
    for path in [config.socket, config.channel_socket] {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(%error, path = %path.display(), "a socket's file could not be removed");
        }
    }
    result
}

async fn asked_to_stop(mut shutdown: watch::Receiver<bool>) {
    // An owner that is gone cannot ask any more: it counts as having asked.
    drop(shutdown.wait_for(|stop| *stop).await);
}

async fn overdue(shutdown: watch::Receiver<bool>, drain: std::time::Duration) {
    asked_to_stop(shutdown).await;
    tokio::time::sleep(drain).await;
}
