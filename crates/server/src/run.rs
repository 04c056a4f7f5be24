//! The server from start to stop.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use contract::{ChannelSecret, Clock, Ids, TenantName};
use database::Database;
use tokio::sync::{oneshot, watch};

use crate::interactions::capabilities::Statement;
use crate::listener::OwnUserListener;
use crate::{Server, ServerConfig, channel, exchange};

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
        capabilities: Statement::new(&config.public_base, clock.now()),
        base: config.public_base,
        limits: config.limits,
        databases,
        secret: ChannelSecret::generate(&*ids),
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
    let requests = serve(requests, exchange::router(Arc::clone(&server)), shutdown.clone());
    let channel = serve(channel, channel::router(server), shutdown.clone());
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

async fn serve(
    listener: OwnUserListener,
    router: Router,
    shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(asked_to_stop(shutdown)).await
}

async fn asked_to_stop(mut shutdown: watch::Receiver<bool>) {
    // An owner that is gone cannot ask any more: it counts as having asked.
    drop(shutdown.wait_for(|stop| *stop).await);
}

async fn overdue(shutdown: watch::Receiver<bool>, drain: std::time::Duration) {
    asked_to_stop(shutdown).await;
    tokio::time::sleep(drain).await;
}
