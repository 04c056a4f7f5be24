//! The operator's listener: `/metrics`, `/livez`, `/readyz`. It never carries clients' requests,
//! and gives nobody the channel's secret.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{StatusCode, header};
use tokio::net::TcpListener;

use crate::run::RunError;
use crate::{Server, channel};

/// Listens for the operator, and says where.
///
/// # Errors
/// When that address cannot be listened on.
pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), RunError> {
    let failed = |source| RunError::BindOperator { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    if !bound.ip().is_loopback() {
        tracing::warn!(address = %bound, "the server's metrics leave this machine in clear text");
    }
    Ok((listener, bound))
}

pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(channel::ready))
        .fallback(async || (StatusCode::NOT_FOUND, "/metrics, /livez, /readyz\n"))
        .with_state(server)
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4"), (header::CACHE_CONTROL, "no-store")];
    (headers, server.metrics.render(&server)).into_response()
}
