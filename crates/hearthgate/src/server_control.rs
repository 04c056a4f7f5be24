//! The control socket of the server's half: `DATA/control.sock` (0600), one JSON request a line,
//! one JSON answer a line. Only this account and root are heard. What it can be asked is a purge;
//! the registry has a socket of its own (`control`).

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::control::{ControlSocketError, own_uid};
use crate::purge::{Certificate, PurgeRequest, Tenant, by, carry_out};

/// The longest request, in bytes.
const LONGEST_REQUEST: u64 = 64 << 10;
/// Connections at a time; more wait.
const CONNECTIONS: usize = 4;

/// How long a process that has the data is waited for to answer.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// What came of it: the certificate, or why not.
type Answer = Result<Certificate, String>;

/// Where the socket is.
#[must_use]
pub fn socket_path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// The bound socket. Its file goes with it.
#[derive(Debug)]
pub(crate) struct ServerControl {
    listener: UnixListener,
    path: PathBuf,
    own_uid: u32,
}

impl ServerControl {
    /// Binds the socket. The caller holds the server half's lock, so that a socket file that is
    /// there already was left behind.
    pub(crate) fn bind(data: &Path) -> Result<Self, ControlSocketError> {
        let path = socket_path(data);
        if std::os::unix::net::SocketAddr::from_pathname(&path).is_err() {
            return Err(ControlSocketError::PathTooLong(path));
        }
        let bound = (|| {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            Ok((listener, own_uid()?))
        })();
        match bound {
            Ok((listener, own_uid)) => Ok(Self { listener, path, own_uid }),
            Err(source) => Err(ControlSocketError::Io { path, source }),
        }
    }

    /// Answers until `shutdown` says true; a purge that has begun is finished at the next start.
    pub(crate) async fn serve(self, tenant: Tenant, mut shutdown: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            let free = connections.len() < CONNECTIONS;
            let accepted = tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept(), if free => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (tenant, own_uid) = (tenant.clone(), self.own_uid);
                    connections.spawn(async move {
                        if let Err(error) = converse(stream, own_uid, &tenant).await {
                            tracing::debug!(%error, "a conversation on the control socket broke off");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket does not accept");
                    // Out of descriptors: they come back when connections end.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
        connections.shutdown().await;
    }
}

impl Drop for ServerControl {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse(mut stream: UnixStream, own_uid: u32, tenant: &Tenant) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    if uid != own_uid && uid != 0 {
        tracing::warn!(uid, "another account called the control socket");
        let refused: Answer = Err("this account may not command the server".to_owned());
        return stream.write_all(&line_of(&refused)?).await;
    }
    let (read, mut write) = stream.split();
    let mut line = Vec::new();
    BufReader::new(read.take(LONGEST_REQUEST)).read_until(b'\n', &mut line).await?;
    let answer: Answer = match serde_json::from_slice::<PurgeRequest>(&line) {
        Ok(request) if request.tenant == tenant.name.as_str() => {
            carry_out(tenant, request, by(uid)).await
        }
        Ok(request) => Err(format!("this server has no tenant {}", request.tenant)),
        Err(_) => Err("the request is none that this release knows".to_owned()),
    };
    write.write_all(&line_of(&answer)?).await
}

fn line_of(answer: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(line)
}

/// Asks a running server half.
///
/// # Errors
/// What the system says when nobody answers or the answer is none.
pub(crate) async fn ask(data: &Path, request: &PurgeRequest) -> io::Result<Answer> {
    let mut attempt = 1;
    let mut stream = loop {
        match UnixStream::connect(socket_path(data)).await {
            Ok(stream) => break stream,
            // Whoever has the data may be starting.
            Err(error)
                if attempt < ATTEMPTS
                    && matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                    ) =>
            {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    };
    stream.write_all(&line_of(request)?).await?;
    let mut line = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut line).await?;
    serde_json::from_slice(&line).map_err(io::Error::other)
}
