//! A socket on which a running half takes commands: 0600, one JSON request a line, one JSON answer
//! a line. Only this account and root are heard. What can be asked is said by whoever answers.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The longest request, in bytes, where nothing else is said.
pub(crate) const LONGEST_REQUEST: u64 = 64 << 10;
/// Connections at a time; more wait.
const CONNECTIONS: usize = 16;
/// How often a process that is starting is asked, and what is waited between two times.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// The bound socket. Its file goes with it.
#[derive(Debug)]
pub(crate) struct CommandSocket {
    listener: UnixListener,
    path: PathBuf,
    own_uid: u32,
}

/// Why a socket for commands could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CommandSocketError {
    /// No system takes the path for a socket.
    #[error("the path {} is too long for a socket; name a data directory with a shorter one", .0.display())]
    PathTooLong(PathBuf),
    /// The file system refused.
    #[error("cannot make the control socket {}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// Whoever carries commands out.
pub(crate) trait Commands: Clone + Send + Sync + 'static {
    type Request: DeserializeOwned + Send;
    type Answer: Serialize + Send;

    /// The longest request, in bytes.
    const LONGEST: u64 = LONGEST_REQUEST;

    /// Carries a command of the account `uid` out.
    fn carry_out(
        &self,
        request: Self::Request,
        uid: u32,
    ) -> impl Future<Output = io::Result<Self::Answer>> + Send;

    /// The answer to what is no command of this release, or of an account that may give none.
    fn refused(why: &str) -> Self::Answer;
}

impl CommandSocket {
    /// Binds the socket. The caller holds its half's lock, so that a socket file that is there
    /// already was left behind.
    pub(crate) fn bind(path: PathBuf) -> Result<Self, CommandSocketError> {
        if std::os::unix::net::SocketAddr::from_pathname(&path).is_err() {
            return Err(CommandSocketError::PathTooLong(path));
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
            Err(source) => Err(CommandSocketError::Io { path, source }),
        }
    }

    /// Answers until `shutdown` says true; connections that are open then are closed.
    pub(crate) async fn serve(self, commands: impl Commands, mut shutdown: watch::Receiver<bool>) {
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
                    let (commands, own_uid) = (commands.clone(), self.own_uid);
                    connections.spawn(async move {
                        if let Err(error) = converse(stream, own_uid, &commands).await {
                            tracing::debug!(%error, "a conversation on the control socket broke off");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket does not accept");
                    // Out of descriptors: they come back when connections end.
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        connections.shutdown().await;
    }
}

impl Drop for CommandSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The account of this process.
///
/// # Errors
/// What the system says when it makes no pair of sockets.
pub fn own_uid() -> io::Result<u32> {
    let (stream, _other) = UnixStream::pair()?;
    stream.peer_cred().map(|peer| peer.uid())
}

async fn converse<C: Commands>(
    mut stream: UnixStream,
    own_uid: u32,
    commands: &C,
) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    if uid != own_uid && uid != 0 {
        tracing::warn!(uid, "another account called the control socket");
        let refused = C::refused("this account may not command it");
        return stream.write_all(&line_of(&refused)?).await;
    }
    let (read, mut write) = stream.split();
    let mut reader = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(C::LONGEST);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let answer = match serde_json::from_slice(&line) {
            Ok(request) => commands.carry_out(request, uid).await?,
            Err(_) => C::refused("the request is none that this release knows"),
        };
        write.write_all(&line_of(&answer)?).await?;
        if !line.ends_with(b"\n") {
            // Too long or cut off: what follows would not be a request.
            return Ok(());
        }
    }
}

fn line_of<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Asks once whoever answers on the socket at `path`.
///
/// # Errors
/// What the system says when nobody answers or the answer is none.
pub(crate) async fn ask<A: DeserializeOwned>(
    path: &Path,
    request: &impl Serialize,
) -> io::Result<A> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(&line_of(request)?).await?;
    let mut line = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut line).await?;
    serde_json::from_slice(&line).map_err(io::Error::other)
}

/// As [`ask`], of a process that may still be starting: it holds the lock, and its socket is not
/// there yet.
///
/// # Errors
/// As [`ask`]; one that [`is_not_there`] when its socket did not come within two seconds.
pub(crate) async fn ask_once_there<A: DeserializeOwned>(
    path: &Path,
    request: &impl Serialize,
) -> io::Result<A> {
    let mut attempt = 1;
    loop {
        match ask(path, request).await {
            // Anything later may have carried the command out.
            Err(error) if attempt < ATTEMPTS && is_not_there(&error) => {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

/// Whether nobody listens on a socket.
pub(crate) fn is_not_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
