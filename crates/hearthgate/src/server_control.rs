//! The control socket of the server's half, `DATA/control.sock`: what it can be asked is a purge.
//! The registry has a socket of its own (`control`).

use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::command_socket::{self, CommandSocket, CommandSocketError, Commands};
use crate::purge::{Certificate, PurgeRequest, Tenant, by, carry_out};

/// What came of it: the certificate, or why not.
type Answer = Result<Certificate, String>;

/// Where the socket is.
#[must_use]
pub fn socket_path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// The bound socket. Its file goes with it.
#[derive(Debug)]
pub(crate) struct ServerControl(CommandSocket);

impl ServerControl {
    /// Binds the socket. The caller holds the server half's lock, so that a socket file that is
    /// there already was left behind.
    pub(crate) fn bind(data: &Path) -> Result<Self, CommandSocketError> {
        CommandSocket::bind(socket_path(data)).map(Self)
    }

    /// Answers until `shutdown` says true; a purge that has begun is finished at the next start.
    pub(crate) async fn serve(self, tenant: Tenant, shutdown: watch::Receiver<bool>) {
        self.0.serve(tenant, shutdown).await;
    }
}

impl Commands for Tenant {
    type Request = PurgeRequest;
    type Answer = Answer;

    async fn carry_out(&self, request: PurgeRequest, uid: u32) -> io::Result<Answer> {
        if request.tenant != self.name.as_str() {
            return Ok(Err(format!("this server has no tenant {}", request.tenant)));
        }
        Ok(carry_out(self, request, by(uid)).await)
    }

    fn refused(why: &str) -> Answer {
        Err(why.to_owned())
    }
}

/// Asks a running server half, or one that is starting.
///
/// # Errors
/// What the system says when nobody answers or the answer is none.
pub(crate) async fn ask(data: &Path, request: &PurgeRequest) -> io::Result<Answer> {
    command_socket::ask_once_there(&socket_path(data), request).await
}
