//! The Unix sockets: their files, and who may connect.

use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
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
    /// Binds `path` (mode 0600, in a directory of mode 0700 that is made when missing), removing
    /// a socket on which no one answers any more.
    ///
    /// # Errors
    /// When another process answers there, the path is too long or something else than a socket,
    /// others may enter the directory, or the file system refuses.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() > MAX_PATH {
            let text = format!(
                "the path of a socket has at most {MAX_PATH} bytes; choose a shorter directory"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if let Some(directory) = path.parent() {
            own_directory(directory)?;
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) if !path.symlink_metadata()?.file_type().is_socket() => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Err(_) => std::fs::remove_file(path)?,
        }
        let inner = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let uid = std::fs::metadata(path)?.uid();
        Ok(Self { inner, uid })
    }
}

/// Makes the directory of a socket. One that is there already may be somebody's: its mode is not
/// ours to change.
fn own_directory(directory: &Path) -> io::Result<()> {
    if directory.as_os_str().is_empty() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    if std::fs::metadata(directory)?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let text = format!(
        "others may enter {}; choose a directory of its own for the socket, or take their rights \
         with chmod 0700",
        directory.display()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
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

#[cfg(test)]
mod tests {
    use super::OwnUserListener;
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt as _;

    #[tokio::test]
    async fn a_directory_that_others_may_enter_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let shared = folder.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = OwnUserListener::bind(&shared.join("s")).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        assert!(refused.to_string().contains("chmod 0700"), "{refused}");
        assert_eq!(fs::metadata(&shared).unwrap().permissions().mode() & 0o777, 0o755);
        let own = folder.path().join("own");
        OwnUserListener::bind(&own.join("s")).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_removed_and_a_dead_socket_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own/s");
        fs::create_dir(folder.path().join("own")).unwrap();
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(folder.path().join("own"), private).unwrap();
        fs::write(&path, "somebody's").unwrap();
        let refused = OwnUserListener::bind(&path).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"somebody's");
        fs::remove_file(&path).unwrap();
        drop(OwnUserListener::bind(&path).unwrap());
        let alive = OwnUserListener::bind(&path).unwrap();
        let refused = OwnUserListener::bind(&path).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        drop(alive);
    }
}
