//! The control socket: commands for the registry while a gateway half runs.
//!
//! `DATA/registry/control.sock` (0600, in a directory of 0700): one JSON request a line, one JSON
//! answer a line. Only this account and root are heard. The same commands run without the socket
//! when nothing runs (`keys`): what a command does is said once, here.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::ResourceId;
use registry::{
    Actor, CannotFollow, ChangeError, ClientId, InvalidClientId, KeyId, NewClient, Registry, Role,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The longest request, in bytes.
const LONGEST_REQUEST: u64 = 64 << 10;
/// Connections at a time; more wait.
const CONNECTIONS: usize = 16;

/// A command for the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Request {
    /// Make a key, and its client where a role says how.
    CreateKey(CreateKey),
    /// List the keys.
    ListKeys,
    /// Revoke the key of this id.
    RevokeKey(String),
    /// Confirm the key of this id, which a restore suspended.
    ConfirmKey(String),
}

/// What `keys create` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CreateKey {
    /// The client's id.
    pub client: String,
    /// What the key is for.
    pub label: String,
    /// The role of a client that is to be made.
    pub role: Option<RoleName>,
    /// The patient of the role `patient`.
    pub patient: Option<String>,
}

/// A role by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum RoleName {
    /// All interactions on all types; no powers
    Owner,
    /// Read, search and history of all types
    Reader,
    /// Read and history within one patient's compartment (--patient)
    Patient,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// A key was made. Its text is in this answer alone.
    Created {
        /// The key's id.
        key: String,
        /// The whole key.
        secret: String,
        /// Its client was made too.
        with_client: bool,
    },
    /// The keys, oldest first.
    Keys(Vec<ListedKey>),
    /// The key is revoked.
    Revoked,
    /// The key is good again.
    Confirmed,
    /// It was not done; why, and the mend.
    Refused(String),
}

/// A key in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedKey {
    /// Its id.
    pub id: String,
    /// Its client.
    pub client: String,
    /// What it is for.
    pub label: String,
    /// When it was made.
    pub created: String,
    /// When it was revoked.
    pub revoked: Option<String>,
    /// Since when it waits to be confirmed.
    #[serde(default)]
    pub suspended: Option<String>,
}

/// Why a command could not be followed.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Client(#[from] InvalidClientId),
    #[error("there is no client {0}; --role owner, reader or patient makes it")]
    UnknownClient(ClientId),
    #[error(
        "the client {0} has other rules than the role {1}; leave --role out to use it as it is, or name another client"
    )]
    OtherRules(ClientId, &'static str),
    #[error("the role patient needs the patient; add --patient ID")]
    PatientMissing,
    #[error("--patient belongs to the role patient; add --role patient or leave it out")]
    PatientWithoutRole,
    #[error("{0} is no resource id; an id has 1 to 64 characters of A-Z a-z 0-9 - and .")]
    Patient(String),
    #[error("{0} is no key id; `hearthgate keys list` shows the ids")]
    KeyId(String),
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// Does what `request` says.
#[must_use]
pub fn execute(registry: &Registry, request: Request, by: &Actor) -> Answer {
    let done = match request {
        Request::CreateKey(request) => create(registry, &request, by),
        Request::ListKeys => Ok(list(registry)),
        Request::RevokeKey(id) => revoke(registry, &id, by),
        Request::ConfirmKey(id) => confirm(registry, &id, by),
    };
    done.unwrap_or_else(|refusal| Answer::Refused(crate::failure::one_line(&refusal)))
}

fn create(registry: &Registry, request: &CreateKey, by: &Actor) -> Result<Answer, Refusal> {
    let client = ClientId::new(&request.client)?;
    let role = role(request)?;
    let with_client = match (registry.client(&client), role) {
        (None, None) => return Err(Refusal::UnknownClient(client)),
        (None, Some(role)) => {
            let new = NewClient::with_role(client.clone(), client.as_str(), &role);
            registry.create_client(new, by)?;
            true
        }
        (Some(_), None) => false,
        (Some(standing), Some(role)) => {
            let new = NewClient::with_role(client.clone(), client.as_str(), &role);
            if !new.permits_the_same_as(&standing) {
                return Err(Refusal::OtherRules(client, role.word()));
            }
            false
        }
    };
    let created = registry.create_key(&client, &request.label, by)?;
    Ok(Answer::Created {
        key: created.key_id.to_string(),
        secret: created.secret.into_inner(),
        with_client,
    })
}

fn role(request: &CreateKey) -> Result<Option<Role>, Refusal> {
    match (request.role, &request.patient) {
        (Some(RoleName::Patient), Some(patient)) => match ResourceId::new(patient) {
            Ok(patient) => Ok(Some(Role::Patient(patient))),
            Err(_) => Err(Refusal::Patient(patient.clone())),
        },
        (Some(RoleName::Patient), None) => Err(Refusal::PatientMissing),
        (_, Some(_)) => Err(Refusal::PatientWithoutRole),
        (Some(RoleName::Owner), None) => Ok(Some(Role::Owner)),
        (Some(RoleName::Reader), None) => Ok(Some(Role::Reader)),
        (None, None) => Ok(None),
    }
}

fn list(registry: &Registry) -> Answer {
    let keys = registry.keys().into_iter();
    Answer::Keys(
        keys.map(|key| ListedKey {
            id: key.id.to_string(),
            client: key.client.to_string(),
            label: key.label,
            created: key.created.to_string(),
            revoked: key.revoked.map(|instant| instant.to_string()),
            suspended: key.suspended.map(|instant| instant.to_string()),
        })
        .collect(),
    )
}

fn revoke(registry: &Registry, id: &str, by: &Actor) -> Result<Answer, Refusal> {
    let id = KeyId::new(id).map_err(|_| Refusal::KeyId(id.to_owned()))?;
    match registry.revoke_key(&id, by) {
        // Whoever asks for a key to be revoked wants it revoked: it is.
        Ok(()) | Err(ChangeError::Refused(CannotFollow::RevokedAlready(_))) => Ok(Answer::Revoked),
        Err(error) => Err(error.into()),
    }
}

fn confirm(registry: &Registry, id: &str, by: &Actor) -> Result<Answer, Refusal> {
    let id = KeyId::new(id).map_err(|_| Refusal::KeyId(id.to_owned()))?;
    match registry.confirm_key(&id, by) {
        // Whoever asks for a key to be good wants it good: it is.
        Ok(()) | Err(ChangeError::Refused(CannotFollow::NotSuspended(_))) => Ok(Answer::Confirmed),
        Err(error) => Err(error.into()),
    }
}

/// Where the control socket of a data directory is.
#[must_use]
pub fn socket_path(data: &Path) -> PathBuf {
    data.join("registry").join("control.sock")
}

/// The bound socket. Its file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    own_uid: u32,
}

/// Why the control socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ControlSocketError {
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

impl ControlSocket {
    /// Binds the socket. The caller holds the gateway half's lock, so that a socket file that is
    /// there already was left behind.
    ///
    /// # Errors
    /// [`ControlSocketError`] when the file system refuses or the path is too long for a socket.
    pub fn bind(data: &Path) -> Result<Self, ControlSocketError> {
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

    /// Answers until `shutdown` says true; connections that are open then are closed.
    pub async fn serve(self, registry: Arc<Registry>, mut shutdown: watch::Receiver<bool>) {
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
                    let registry = registry.clone();
                    connections.spawn(converse(stream, self.own_uid, registry));
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

impl Drop for ControlSocket {
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

fn may_command(peer: UCred, own_uid: u32) -> bool {
    peer.uid() == own_uid || peer.uid() == 0
}

async fn converse(stream: UnixStream, own_uid: u32, registry: Arc<Registry>) {
    if let Err(error) = try_to_converse(stream, own_uid, registry).await {
        tracing::debug!(%error, "a conversation on the control socket broke off");
    }
}

async fn try_to_converse(
    mut stream: UnixStream,
    own_uid: u32,
    registry: Arc<Registry>,
) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    if !may_command(peer, own_uid) {
        tracing::warn!(uid = peer.uid(), "another account called the control socket");
        let refused = Answer::Refused("this account may not command the registry".to_owned());
        return stream.write_all(&line_of(&refused)?).await;
    }
    let (read, mut write) = stream.split();
    let mut reader = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(LONGEST_REQUEST);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let answer = match serde_json::from_slice(&line) {
            Ok(request) => {
                let registry = registry.clone();
                let by = Actor::local_user(peer.uid());
                // Changes wait for the disk.
                tokio::task::spawn_blocking(move || execute(&registry, request, &by))
                    .await
                    .map_err(io::Error::other)?
            }
            Err(_) => Answer::Refused("the request is none that this release knows".to_owned()),
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

/// Asks a running gateway half.
///
/// # Errors
/// What the system says when nobody answers or the answer is none.
pub async fn ask(data: &Path, request: &Request) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket_path(data)).await?;
    stream.write_all(&line_of(request)?).await?;
    let mut line = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut line).await?;
    serde_json::from_slice(&line).map_err(io::Error::other)
}

/// A created key's text is not for a log.
impl std::fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Created { key, .. } => write!(formatter, "Created({key})"),
            Self::Keys(keys) => write!(formatter, "Keys({keys:?})"),
            Self::Revoked => formatter.write_str("Revoked"),
            Self::Confirmed => formatter.write_str("Confirmed"),
            Self::Refused(why) => write!(formatter, "Refused({why:?})"),
        }
    }
}

#[cfg(test)]
mod tests;
