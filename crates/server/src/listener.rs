//! The Unix sockets: their files, and who may connect.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use axum::serve::Listener;
use tokio::net::{UnixListener, UnixStream};

/// The longest path of a socket that every system takes, in bytes.
const MAX_PATH: usize = 100;

/// Takes connections of this process's own user alone.
pub(crate) struct OwnUserListener {
    inner: UnixListener,
    uid: u32,
}

impl OwnUserListener {
    /// Binds `path` (mode 0600, in a directory of mode 0700 that is made when missing), putting
    /// a socket aside that no one answers on any more.
    ///
    /// # Errors
    /// When another process answers there, the path is too long, or the file system refuses.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() > MAX_PATH {
            let text = format!(
                "the path of a socket has at most {MAX_PATH} bytes; choose a shorter directory"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => std::fs::remove_file(path)?,
        }
        let inner = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let uid = std::fs::metadata(path)?.uid();
        Ok(Self { inner, uid })
    }
}

impl Listener for OwnUserListener {
    type Io = UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.inner).await;
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == self.uid => return (stream, address),
                Ok(peer) => tracing::warn!(
                    target: "hearthgate::security",
                    uid = peer.uid(),
                    "a connection of another user was refused"
                ),
                Err(error) => {
                    tracing::warn!(%error, "a connection without a known user was refused")
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}
