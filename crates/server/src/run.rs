//! The server from start to stop.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::handler::Handler as _;
use contract::{ChannelSecret, Clock, Ids, TenantName};
use database::Database;
use tokio::sync::{oneshot, watch};

use crate::exchange::exchange;
use crate::holding::{Holding, Pace};
use crate::interactions::capabilities::Statement;
use crate::large::Turns;
use crate::listener::OwnUserListener;
use crate::{Server, ServerConfig, channel};

/// Both sockets are bound: requests that come from now on are answered.
#[derive(Debug)]
pub struct Ready;

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
    /// Serving ended by an error.
    #[error("the server stopped")]
    Serve(#[source] io::Error),
}

/// Answers on both sockets until `shutdown` turns true, then ends what is in flight. Databases
/// stay open: they are the caller's.
///
/// # Errors
/// [`RunError`] when a socket cannot be bound.
pub async fn run(
    config: ServerConfig,
    databases: BTreeMap<TenantName, Arc<Database>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    ready: oneshot::Sender<Ready>,
    shutdown: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let server = Arc::new(Server {
        capabilities: databases
            .iter()
            .map(|(tenant, database)| {
                let statement = Statement::new(&config.public_base, clock.now(), database.schema());
                (tenant.clone(), statement)
            })
            .collect(),
        base: config.public_base,
        limits: config.limits,
        holding: Holding::new(
            config.limits.held_bytes,
            Pace { grace: config.limits.body_grace, rate: config.limits.body_rate },
        ),
        terminologies: databases
            .iter()
            .map(|(tenant, database)| {
                let version = database.schema().fhir_version();
                (tenant.clone(), crate::terminology::Definitions::of(version))
            })
            .collect(),
        large: Turns::new(),
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
    // Nobody may be waiting for the word: then serving is all the same.
    drop(ready.send(Ready));
    // One way for every request: no router between.
    let requests = axum::serve(requests, exchange.with_state(Arc::clone(&server)))
        .with_graceful_shutdown(asked_to_stop(shutdown.clone()));
    let channel = axum::serve(channel, channel::router(server))
        .with_graceful_shutdown(asked_to_stop(shutdown.clone()));
    let (requests, channel) = (requests.into_future(), channel.into_future());
    let drained = async { tokio::try_join!(requests, channel).map(|_| ()) };
    let result = tokio::select! {
        result = drained => result.map_err(RunError::Serve),
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
