//! The control socket: commands for the registry while a gateway half runs.
//!
//! `DATA/registry/control.sock` (0600, in a directory of 0700): one JSON request a line, one JSON
//! answer a line. Only this account and root are heard. The same commands run without the socket
//! when nothing runs (`keys`): what a command does is said once, here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::{Power, ResourceId};
use registry::{
    Actor, CannotFollow, ChangeError, ClientId, InvalidClientId, KeyId, NewClient, Registry, Role,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::command_socket::{self, CommandSocket, CommandSocketError, Commands};

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
    /// What the client may beside its role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub powers: Vec<PowerName>,
}

/// A power by its word: those that something can be done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum PowerName {
    /// Have searches explained: `_explain`
    Explain,
    /// Read the audit log: AuditEvents, and `$access-log` of every patient
    Audit,
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
    #[error("--power belongs to a client that --role makes; add --role or leave it out")]
    PowerWithoutRole,
    #[error(
        "the client {0} has other rules than the role {1}, or other powers; leave --role and --power out to use it as it is, or name another client"
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
            let new = new_client(&client, &role, request);
            registry.create_client(new, by)?;
            true
        }
        (Some(_), None) => false,
        (Some(standing), Some(role)) => {
            let new = new_client(&client, &role, request);
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

fn new_client(client: &ClientId, role: &Role, request: &CreateKey) -> NewClient {
    let powers = request.powers.iter().map(|power| match power {
        PowerName::Explain => Power::Explain,
        PowerName::Audit => Power::Audit,
    });
    NewClient {
        powers: powers.collect(),
        ..NewClient::with_role(client.clone(), client.as_str(), role)
    }
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
        (None, None) if !request.powers.is_empty() => Err(Refusal::PowerWithoutRole),
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
pub struct ControlSocket(CommandSocket);

impl ControlSocket {
    /// Binds the socket. The caller holds the gateway half's lock, so that a socket file that is
    /// there already was left behind.
    ///
    /// # Errors
    /// [`CommandSocketError`] when the file system refuses or the path is too long for a socket.
    pub fn bind(data: &Path) -> Result<Self, CommandSocketError> {
        CommandSocket::bind(socket_path(data)).map(Self)
    }

    /// Answers until `shutdown` says true; connections that are open then are closed.
    pub async fn serve(self, registry: Arc<Registry>, shutdown: watch::Receiver<bool>) {
        self.0.serve(OfRegistry(registry), shutdown).await;
    }
}

/// Carries commands out on the registry.
#[derive(Clone)]
struct OfRegistry(Arc<Registry>);

impl Commands for OfRegistry {
    type Request = Request;
    type Answer = Answer;

    async fn carry_out(&self, request: Request, uid: u32) -> io::Result<Answer> {
        let (registry, by) = (Arc::clone(&self.0), Actor::local_user(uid));
        // Changes wait for the disk.
        tokio::task::spawn_blocking(move || execute(&registry, request, &by))
            .await
            .map_err(io::Error::other)
    }

    fn refused(why: &str) -> Answer {
        Answer::Refused(why.to_owned())
    }
}

/// Asks a running gateway half, or one that is starting.
///
/// # Errors
/// What the system says when nobody answers or the answer is none.
pub async fn ask(data: &Path, request: &Request) -> io::Result<Answer> {
    command_socket::ask_once_there(&socket_path(data), request).await
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
