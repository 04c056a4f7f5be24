//! The channel, on its socket and its port: the secret of this link, the server's readiness, and
//! what the gateway denied and what was revoked there, for the gateway's side alone. It never
//! carries clients' requests, and nothing here is on the other socket.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use contract::{ChannelDocument, Versions, negotiate};
use http::{StatusCode, header};

use crate::Server;
use crate::audit::take_denials;
use crate::revocations::hear_aside;

/// The longest page of a feed: it has all that one change revoked, some hundred thousand keys.
const LONGEST_PAGE: usize = 64 << 20;

pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/channel", get(channel))
        .route("/ready", get(ready))
        .route("/denials", post(denials))
        .route("/revocations", post(revocations).layer(DefaultBodyLimit::max(LONGEST_PAGE)))
        .with_state(server)
}

/// What the gateway denied to callers that it knows, for the tenants' audit logs. It is told of
/// each whether it is to come again, or never can be written.
async fn denials(State(server): State<Arc<Server>>, body: Bytes) -> Response {
    match take_denials(&server, &body).await {
        Some(taken) => json(StatusCode::OK, &taken),
        None => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
    }
}

/// What was revoked at a gateway: what was begun under it ends.
async fn revocations(State(server): State<Arc<Server>>, body: Bytes) -> Response {
    match hear_aside(&server.revocations, body, server.clock.now()).await {
        Ok(Some(asked)) => json(StatusCode::OK, &asked),
        Ok(None) => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
        // It is told again.
        Err(error) => {
            tracing::error!(%error, "what was revoked could not be heard");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn channel(State(server): State<Arc<Server>>, RawQuery(query): RawQuery) -> Response {
    // Which of them is spoken a gateway decides; where it is none, both say so.
    if let Some(theirs) = query.as_deref().and_then(versions)
        && let Err(error) = negotiate(Versions::HERE, theirs)
    {
        tracing::error!(%error, "a gateway cannot be spoken to; upgrade the older side");
    }
    let document = ChannelDocument { secret: server.secret.clone(), versions: Versions::HERE };
    json(StatusCode::OK, &document)
}

/// The versions that a gateway says it speaks: `newest=2&oldest=1`.
fn versions(query: &str) -> Option<Versions> {
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(of, _)| *of == name)?.1.parse().ok()
    };
    Some(Versions { newest: value("newest")?, oldest: value("oldest")? })
}

pub(crate) async fn ready(State(server): State<Arc<Server>>) -> Response {
    let failed: Vec<&str> = server
        .databases
        .iter()
        .filter(|(_, database)| !database.takes_commits())
        .map(|(tenant, _)| tenant.as_str())
        .collect();
    let audit = server.audit.trouble();
    let status = if failed.is_empty() && audit.is_none() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    // Also for whoever looks after the gateway: no more than its operator may know.
    let mut reasons = server.databases.values().filter_map(|database| database.clock_behind());
    let reason = reasons.next().map(|error| format!("{error}; set the server's clock right"));
    let reason = reason.or_else(|| server.databases.values().find_map(|it| it.trouble()));
    let reason = reason.or_else(|| audit.as_ref().map(|(_, why)| why.to_string()));
    let parts = serde_json::json!({
        "audit": if audit.is_none() { "ready" } else { "cannot be written" },
        "database": if failed.is_empty() { "ready" } else { "takes no writes" },
        "failed": failed,
        "reason": reason,
        // By which a gateway sees whether the clocks agree.
        "time": server.clock.now().to_string(),
    });
    json(status, &parts)
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            tracing::error!(%error, "a document of the channel could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
