//! The renewal socket: where the server asks whether work that outlives its request may go on,
//! and what was revoked meanwhile. Answered from the registry as it is at that moment.
//!
//! `POST /renew` takes a `Renewal`; `GET /revocations?after=CURSOR` gives the feed. Only processes
//! of our own user may ask.

use std::convert::Infallible;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::{
    Clock, Grant, GrantError, GrantFields, Ids, Interaction, Nonce, Renewal, RenewalAnswer,
    TenantName,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use registry::{Registry, Renewed};
use tokio::net::{UnixListener, UnixStream};

use crate::callers::fields_of;
use crate::errors::GatewayError;
use crate::small_server::{SmallServer, answer};
use crate::snapshot::Current;

/// The longest question.
const LONGEST_QUESTION: usize = 4 * 1024;
/// How long a question's head may take.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Entries of the revocation feed in one answer.
const PAGE: usize = 1000;
/// How long a renewed grant is good: less than [`Renewal::MAX_LIFE`] by what two clocks may differ.
const LIFE: Duration = Duration::from_secs(4);

/// What renewals are answered from.
pub(crate) struct Renewals {
    pub(crate) registry: Arc<Registry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) tenant: TenantName,
    pub(crate) default_budget: u64,
    pub(crate) current: Arc<Current>,
}

/// The socket, and its path to take away again.
#[derive(Debug)]
pub(crate) struct RenewalSocket {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
}

impl Drop for RenewalSocket {
    fn drop(&mut self) {
        // A path left behind is taken over by the next start.
        if is_socket(&self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl RenewalSocket {
    /// Makes the socket, for our own user alone. One that nobody listens on is taken over;
    /// anything else that stands there is somebody's and stays.
    pub(crate) fn bind(path: &Path) -> Result<Self, GatewayError> {
        let failed = |source| GatewayError::RenewalSocket { path: path.to_owned(), source };
        if is_socket(path) {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(GatewayError::RenewalSocketInUse(path.to_owned()));
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, private).map_err(failed)?;
        let owner = std::fs::metadata(path).map_err(failed)?.uid();
        Ok(Self { listener, path: path.to_owned(), owner })
    }

    fn is_ours(&self, stream: &UnixStream) -> bool {
        stream.peer_cred().is_ok_and(|peer| peer.uid() == self.owner)
    }
}

/// Whether a socket itself, not a link to one, stands at `path`.
fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket())
}

/// Serves the renewal socket for as long as it is polled.
pub(crate) async fn serve(socket: RenewalSocket, renewals: Arc<Renewals>) {
    let mut server = SmallServer::new(HEAD_LIMIT);
    loop {
        match server.tend(socket.listener.accept()).await {
            Ok((stream, _)) if socket.is_ours(&stream) => {
                let renewals = renewals.clone();
                server.begin(stream, move |request| {
                    let renewals = renewals.clone();
                    async move { Ok::<_, Infallible>(renewals.answer(request).await) }
                });
            }
            Ok(_) => tracing::warn!("security: another user asked on the renewal socket"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Renewals {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let uri = request.uri().clone();
        match (request.method(), uri.path()) {
            (&Method::POST, "/renew") => self.renew(request.into_body()).await,
            (&Method::GET, "/revocations") => self.revocations(uri.query()),
            _ => said(StatusCode::NOT_FOUND, "POST /renew, GET /revocations"),
        }
    }

    async fn renew(&self, body: Incoming) -> Response<Full<Bytes>> {
        let Ok(body) = Limited::new(body, LONGEST_QUESTION).collect().await else {
            return said(StatusCode::PAYLOAD_TOO_LARGE, "the question is too long");
        };
        let Ok(renewal) = serde_json::from_slice::<Renewal>(&body.to_bytes()) else {
            return said(StatusCode::BAD_REQUEST, "not a renewal");
        };
        match self.renewed(&renewal).await {
            Ok(answered) => json(&answered),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "no grant can be renewed for the authorization"
                );
                said(StatusCode::INTERNAL_SERVER_ERROR, "no grant can be made")
            }
        }
    }

    /// What the authorization is worth now.
    async fn renewed(&self, renewal: &Renewal) -> Result<RenewalAnswer, GrantError> {
        if registry::is_token_authorization(&renewal.authorization) {
            return self.renewed_token(renewal).await;
        }
        let callers = &self.current.take().callers;
        let request = self.request(renewal);
        if let Some(fields) = callers.renewed_certificate(&renewal.authorization, request) {
            return renewed_as(fields);
        }
        let caller = match self.registry.renew(&renewal.authorization) {
            Renewed::Standing(caller) => caller,
            Renewed::Gone => return Ok(RenewalAnswer::Gone),
        };
        let request = self.request(renewal);
        // A role that gives nothing any more is worth as much as a key that is revoked.
        let Ok(fields) =
            fields_of(&caller, &self.current.take().roles, self.default_budget, request)
        else {
            return Ok(RenewalAnswer::Gone);
        };
        renewed_as(fields)
    }

    /// The same of a token, for as long as it is believed.
    async fn renewed_token(&self, renewal: &Renewal) -> Result<RenewalAnswer, GrantError> {
        let callers = self.current.take().callers.clone();
        let now = self.clock.monotonic();
        let Some(known) = callers.renewed_token(&renewal.authorization, now).await else {
            return Ok(RenewalAnswer::Gone);
        };
        let GrantFields { digest, nonce, not_after, .. } = self.request(renewal);
        let grant = (**known.template.grant()).clone();
        renewed_as(GrantFields { digest, nonce, not_after, ..grant })
    }

    /// What a renewed grant has instead of a request's members.
    fn request(&self, renewal: &Renewal) -> GrantFields {
        GrantFields::of_request(
            self.tenant.clone(),
            &Interaction::Capabilities,
            renewal.digest(),
            Nonce::generate(self.ids.as_ref()),
            crate::later(self.clock.now(), LIFE),
        )
    }

    fn revocations(&self, query: Option<&str>) -> Response<Full<Bytes>> {
        let cursor = query
            .and_then(|query| query.strip_prefix("after="))
            .and_then(|cursor| cursor.parse().ok());
        match cursor {
            Some(cursor) => json(&self.registry.revocations(cursor, PAGE)),
            None => said(StatusCode::BAD_REQUEST, "after=CURSOR is missing"),
        }
    }
}

/// The answer with a grant of these members.
fn renewed_as(fields: GrantFields) -> Result<RenewalAnswer, GrantError> {
    let fields = GrantFields { interaction: Renewal::INTERACTION.to_owned(), ..fields };
    Ok(RenewalAnswer::Grant(Grant::new(fields)?.encode()?))
}

fn json(document: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(document) {
        Ok(body) => answer(StatusCode::OK, "application/json", body),
        Err(_) => said(StatusCode::INTERNAL_SERVER_ERROR, "the answer has no text"),
    }
}

fn said(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    answer(status, "text/plain", text)
}

#[cfg(test)]
mod tests {
    use super::RenewalSocket;
    use crate::errors::GatewayError;
    use std::fs;

    #[tokio::test]
    async fn what_is_no_socket_is_not_removed_and_a_dead_socket_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("renewal.sock");
        fs::write(&path, "somebody's").unwrap();
        let refused = RenewalSocket::bind(&path).unwrap_err();
        assert!(matches!(refused, GatewayError::RenewalSocket { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"somebody's");
        fs::remove_file(&path).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let alive = RenewalSocket::bind(&path).unwrap();
        let refused = RenewalSocket::bind(&path).unwrap_err();
        assert!(matches!(refused, GatewayError::RenewalSocketInUse(_)), "{refused}");
        // What was put in the socket's place is not ours to remove.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "somebody's").unwrap();
        drop(alive);
        assert_eq!(fs::read(&path).unwrap(), b"somebody's");
    }

    #[tokio::test]
    async fn a_link_is_not_followed_and_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, nowhere) = (folder.path().join("renewal.sock"), folder.path().join("nowhere"));
        std::os::unix::fs::symlink(&nowhere, &path).unwrap();
        assert!(RenewalSocket::bind(&path).is_err());
        assert!(path.symlink_metadata().unwrap().is_symlink());
    }
}
