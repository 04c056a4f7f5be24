//! The control socket: commands for the registry while a gateway half runs.
//!
//! `DATA/registry/control.sock` (0600, in a directory of 0700): one JSON request a line, one JSON
//! answer a line. Only this account and root are heard. The same commands run without the socket
//! when nothing runs (`keys`): what a command does is said once, here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::{Clock as _, Instance, Instant, Power, ResourceId};
use gateway::{Denial, Denials, Limiting, LimitsShown, Plans, RoleProblem, Roles};
use registry::{
    Actor, CannotFollow, ChangeError, ClientId, How, InvalidClientId, InvalidPlanName,
    InvalidRoleName, KeyId, NewClient, OpenError, PlanName, Registry, RoleName, Subject,
    TokenIdentity, WhichTokens, token_authorization,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::command_socket::{self, CommandSocket, CommandSocketError, Commands};
use crate::doors::SystemClock;
use crate::gitops::{self, Answered, Asked};
use crate::operators::{self, OperatorAnswer, OperatorRefusal, OperatorRequest};
use crate::reload::Reloader;
use crate::serve::Process;
use crate::trailed;

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
    /// Make a key in the place of the one of this id, which is good for so many hours more.
    RotateKey {
        /// The key's id.
        key: String,
        /// How long both are good.
        hours: u32,
    },
    /// Revoke tokens of issuers.
    RevokeTokens(Tokens),
    /// Confirm the key of this id, which a restore suspended.
    ConfirmKey(String),
    /// Why the request of this id was denied.
    ShowDenials(String),
    /// Every break-glass that was taken, oldest first.
    ListBreakGlasses,
    /// Give a client a plan, or take its own away.
    SetPlan {
        /// The client's id.
        client: String,
        /// The plan.
        plan: Option<String>,
    },
    /// How the limits of the client of this id stand.
    ShowLimits(String),
    /// Read the configuration again.
    Reload,
    /// Something with configuration and clients as files.
    Config(Asked),
    /// Grant nothing of the client of this id any more.
    DisableClient(String),
    /// Grant the client of this id again what it could before.
    EnableClient(String),
    /// Something about operators.
    Operators(OperatorRequest),
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
    pub role: Option<String>,
    /// The patient of a role that is for one.
    pub patient: Option<String>,
    /// The person who asks, as a resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The plan of a client that is to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
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

/// Tokens of issuers that are to be revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Tokens {
    /// The token of this `jti`, of the issuer of this name.
    Jti {
        /// The issuer's name in the configuration.
        issuer: String,
        /// The `jti`.
        jti: String,
    },
    /// The token of this authorization id, as denials and the audit log show it.
    Authorization(String),
    /// Those of this client, as grants name it, that were issued up to now.
    Client(String),
    /// Those of this user, as grants name them (`ISSUER/SUBJECT`), that were issued up to now.
    User(String),
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
    /// The keys as far as this gateway knows: what others changed cannot be read, for this reason.
    KnownKeys(Vec<ListedKey>, String),
    /// The key is revoked.
    Revoked,
    /// The key is good again.
    Confirmed,
    /// Denials of the request, oldest first.
    Denials(Vec<Denial>),
    /// What was taken: when, and the change in one line.
    BreakGlasses(Vec<(String, String)>),
    /// The client has the plan, or none of its own.
    PlanSet,
    /// How the limits stand.
    Limits(LimitsShown),
    /// Another configuration is in force; these keys have changed.
    Reloaded(Vec<String>),
    /// What came of files.
    Config(Answered),
    /// The client is disabled, or is not any more.
    ClientSet,
    /// What came of it about operators.
    Operators(OperatorAnswer),
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
    /// The client's role; absent where it has rules of its own.
    #[serde(default)]
    pub role: Option<String>,
    /// What it is for.
    pub label: String,
    /// When it was made.
    pub created: String,
    /// When it was revoked.
    pub revoked: Option<String>,
    /// Since when it waits to be confirmed.
    #[serde(default)]
    pub suspended: Option<String>,
    /// From when on it is good no more, another having taken its place.
    #[serde(default)]
    pub expires: Option<String>,
}

/// Why a command could not be followed.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Client(#[from] InvalidClientId),
    #[error("there is no client {0}; --role ROLE makes it, and `hearthgate roles` lists the roles")]
    UnknownClient(ClientId),
    #[error("--power belongs to a client that --role makes; add --role or leave it out")]
    PowerWithoutRole,
    #[error(
        "the client {0} has other rules than the role {1}, or other powers; leave --role and --power out to use it as it is, or name another client"
    )]
    OtherRules(ClientId, RoleName),
    #[error(transparent)]
    RoleName(#[from] InvalidRoleName),
    #[error(transparent)]
    Role(#[from] RoleProblem),
    #[error(
        "--patient belongs to a role that is for one patient, as --role patient is; name such a role or leave it out"
    )]
    PatientWithoutRole,
    #[error("--user belongs to a client that --role makes; add --role or leave it out")]
    UserWithoutRole,
    #[error(
        "--plan belongs to a client that --role makes; `hearthgate clients set-plan` gives others one"
    )]
    PlanWithoutRole,
    #[error(transparent)]
    PlanName(#[from] InvalidPlanName),
    #[error("there is no plan {0}; the configuration defines {1}")]
    Plan(PlanName, String),
    #[error("no gateway runs here, and limits are counted by a running one")]
    NothingCounted,
    #[error("there is no client {0}; `hearthgate keys list` shows the clients")]
    NoClient(ClientId),
    #[error("{0} names no person; write it like Practitioner/7")]
    User(String),
    #[error("no gateway runs here, and denials are kept in the memory of a running one")]
    NoGateway,
    #[error("no gateway runs here that could read its configuration again")]
    NothingRuns,
    #[error(
        "no gateway runs here, and files are compared with a running one; start it, or name its data directory with --data"
    )]
    NothingToCompare,
    #[error("the registry's log cannot be read")]
    Unreadable(#[from] OpenError),
    #[error(
        "{0} is no resource id: write it alone, as 123 of Patient/123; it has 1 to 64 characters of A-Z a-z 0-9 - and ."
    )]
    Patient(String),
    #[error("{0} is no key id; `hearthgate keys list` shows the ids")]
    KeyId(String),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Operator(#[from] OperatorRefusal),
}

/// What commands are carried out with, beside the registry.
#[derive(Debug, Clone)]
pub struct Site {
    /// Every role there is.
    pub roles: Arc<Roles>,
    /// The reasons of denials; absent where no gateway runs.
    pub denials: Option<Arc<Denials>>,
    /// Every plan there is.
    pub plans: Arc<Plans>,
    /// What is counted; absent where no gateway runs.
    pub counted: Option<Counted>,
    /// What reads the configuration again; absent where no gateway runs. Its roles and plans count
    /// then.
    pub reloader: Option<Reloader>,
}

/// What a running gateway counts, and by which clock.
#[derive(Clone)]
pub struct Counted {
    /// The counters.
    pub limiting: Arc<Limiting>,
    /// The clock.
    pub clock: Arc<SystemClock>,
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Counted")
    }
}

/// Does what `request` says, with the trail before and after where it is a change.
#[must_use]
pub fn execute(registry: &Registry, site: &Site, request: Request, by: &Actor) -> Answer {
    // What other gateways did counts for what is judged and shown here.
    let is_of_registry =
        !matches!(request, Request::ShowDenials(_) | Request::ShowLimits(_) | Request::Reload);
    let doing = trailed::doing(&request, by);
    let execute = || match is_of_registry.then(|| registry.catch_up()) {
        Some(Err(error)) => {
            let why = crate::failure::one_line(&error);
            // What is known here may be known nowhere else, after a database was put back to before.
            match request {
                Request::ListKeys => Answer::KnownKeys(list(registry), why),
                _ => Answer::Refused(why),
            }
        }
        None | Some(Ok(())) => carry_out(registry, site, request, by),
    };
    match doing {
        None => execute(),
        Some(doing) => trailed::done(registry, doing, execute),
    }
}

fn carry_out(registry: &Registry, site: &Site, request: Request, by: &Actor) -> Answer {
    let done = match request {
        Request::CreateKey(request) => create(registry, site, &request, by),
        Request::SetPlan { client, plan } => set_plan(registry, site, &client, plan.as_deref(), by),
        Request::ShowLimits(client) => show_limits(registry, site, &client),
        Request::ListKeys => Ok(Answer::Keys(list(registry))),
        Request::RevokeKey(id) => revoke(registry, &id, by),
        Request::RotateKey { key, hours } => rotate(registry, &key, hours, by),
        Request::RevokeTokens(tokens) => revoke_tokens(registry, tokens, by),
        Request::ConfirmKey(id) => confirm(registry, &id, by),
        Request::ShowDenials(id) => match &site.denials {
            Some(denials) => Ok(Answer::Denials(denials.of_request(&id))),
            None => Err(Refusal::NoGateway),
        },
        Request::ListBreakGlasses => break_glasses(registry),
        Request::Reload => Err(Refusal::NothingRuns),
        Request::Config(_) => Err(Refusal::NothingToCompare),
        Request::DisableClient(client) => set_client(&client, |client| {
            match registry.disable_client(client, by) {
                // Whoever asks for it wants it disabled: it is.
                Err(ChangeError::Refused(CannotFollow::DisabledAlready(_))) => Ok(()),
                done => done,
            }
        }),
        Request::EnableClient(client) => {
            set_client(&client, |client| match registry.enable_client(client, by) {
                Err(ChangeError::Refused(CannotFollow::NotDisabled(_))) => Ok(()),
                done => done,
            })
        }
        Request::Operators(request) => {
            operators::execute(registry, request, by).map(Answer::Operators).map_err(Refusal::from)
        }
    };
    done.unwrap_or_else(|refusal| Answer::Refused(crate::failure::one_line(&refusal)))
}

fn create(
    registry: &Registry,
    site: &Site,
    request: &CreateKey,
    by: &Actor,
) -> Result<Answer, Refusal> {
    let roles = &*site.roles;
    let id = ClientId::new(&request.client)?;
    let asked = asked(&id, site, request)?;
    let with_client = match (registry.client(&id), asked) {
        (None, None) => return Err(Refusal::UnknownClient(id)),
        (None, Some((_, new))) => {
            registry.create_client(new, by)?;
            true
        }
        (Some(_), None) => false,
        (Some(standing), Some((role, new))) => {
            let same_role = standing.role.as_ref().is_none_or(|standing| *standing == role);
            let new = new.into_client(standing.created);
            let same = same_role
                && roles.rights_of(&new) == roles.rights_of(&standing)
                && (&new.patient, &new.fhir_user) == (&standing.patient, &standing.fhir_user)
                && new.plan.as_ref().is_none_or(|plan| standing.plan.as_ref() == Some(plan));
            if !same {
                return Err(Refusal::OtherRules(id, role));
            }
            false
        }
    };
    let created = registry.create_key(&id, &request.label, by)?;
    Ok(Answer::Created {
        key: created.key_id.to_string(),
        secret: created.secret.into_inner(),
        with_client,
    })
}

/// The client that is asked for, by its role.
fn asked(
    id: &ClientId,
    site: &Site,
    request: &CreateKey,
) -> Result<Option<(RoleName, NewClient)>, Refusal> {
    let Some(role) = &request.role else {
        return match request {
            CreateKey { patient: Some(_), .. } => Err(Refusal::PatientWithoutRole),
            CreateKey { user: Some(_), .. } => Err(Refusal::UserWithoutRole),
            CreateKey { plan: Some(_), .. } => Err(Refusal::PlanWithoutRole),
            CreateKey { powers, .. } if !powers.is_empty() => Err(Refusal::PowerWithoutRole),
            _ => Ok(None),
        };
    };
    let roles = &*site.roles;
    let role: RoleName = role.parse()?;
    let plan = request.plan.as_deref().map(|plan| plan_named(plan, site)).transpose()?;
    let patient = request
        .patient
        .as_deref()
        .map(|patient| ResourceId::new(patient).map_err(|_| Refusal::Patient(patient.to_owned())));
    let user = request
        .user
        .as_deref()
        .map(|user| user.parse::<Instance>().map_err(|_| Refusal::User(user.to_owned())));
    let powers = request.powers.iter().map(|power| match power {
        PowerName::Explain => Power::Explain,
        PowerName::Audit => Power::Audit,
    });
    let new = NewClient {
        patient: patient.transpose()?,
        fhir_user: user.transpose()?,
        powers: powers.collect(),
        plan,
        ..NewClient::of_role(id.clone(), id.as_str(), role.clone())
    };
    let _ = roles.rights_of(&new.clone().into_client(Instant::MIN))?;
    if new.patient.is_some() && !roles.get(&role).is_some_and(gateway::Role::needs_patient) {
        return Err(Refusal::PatientWithoutRole);
    }
    Ok(Some((role, new)))
}

/// The plan of this name, where there is one.
fn plan_named(name: &str, site: &Site) -> Result<PlanName, Refusal> {
    let name: PlanName = name.parse()?;
    if site.plans.has(&name) {
        return Ok(name);
    }
    let all: Vec<String> = site.plans.names().map(ToString::to_string).collect();
    let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    Err(Refusal::Plan(name, all))
}

fn set_plan(
    registry: &Registry,
    site: &Site,
    client: &str,
    plan: Option<&str>,
    by: &Actor,
) -> Result<Answer, Refusal> {
    let client = ClientId::new(client)?;
    let plan = plan.map(|plan| plan_named(plan, site)).transpose()?;
    let standing = registry.client(&client).ok_or(Refusal::NoClient(client.clone()))?;
    // Whoever asks for a plan that it has wants it to have it: it does.
    if standing.plan != plan {
        registry.set_plan(&client, plan, by)?;
    }
    Ok(Answer::PlanSet)
}

fn show_limits(registry: &Registry, site: &Site, client: &str) -> Result<Answer, Refusal> {
    let Counted { limiting, clock } = site.counted.as_ref().ok_or(Refusal::NothingCounted)?;
    let client = ClientId::new(client)?;
    let client = registry.client(&client).ok_or(Refusal::NoClient(client))?;
    Ok(Answer::Limits(limiting.show(&client, clock.now(), clock.monotonic())))
}

fn set_client(
    client: &str,
    set: impl FnOnce(&ClientId) -> Result<(), ChangeError>,
) -> Result<Answer, Refusal> {
    set(&ClientId::new(client)?)?;
    Ok(Answer::ClientSet)
}

fn break_glasses(registry: &Registry) -> Result<Answer, Refusal> {
    let taken = registry.changes(Some(&Subject::BreakGlass), 0, usize::MAX)?;
    let lines = taken.into_iter().map(|change| (change.instant.to_string(), change.summary));
    Ok(Answer::BreakGlasses(lines.collect()))
}

fn list(registry: &Registry) -> Vec<ListedKey> {
    let keys = registry.keys().into_iter();
    let role = |client: &ClientId| Some(registry.client(client)?.role.as_ref()?.to_string());
    keys.map(|key| ListedKey {
        id: key.id.to_string(),
        role: role(&key.client),
        client: key.client.to_string(),
        label: key.label,
        created: key.created.to_string(),
        revoked: key.revoked.map(|instant| instant.to_string()),
        suspended: key.suspended.map(|instant| instant.to_string()),
        expires: key.expires.map(|instant| instant.to_string()),
    })
    .collect()
}

fn revoke(registry: &Registry, id: &str, by: &Actor) -> Result<Answer, Refusal> {
    let id = KeyId::new(id).map_err(|_| Refusal::KeyId(id.to_owned()))?;
    match registry.revoke_key(&id, by) {
        // Whoever asks for a key to be revoked wants it revoked: it is.
        Ok(()) | Err(ChangeError::Refused(CannotFollow::RevokedAlready(_))) => Ok(Answer::Revoked),
        Err(error) => Err(error.into()),
    }
}

fn rotate(registry: &Registry, id: &str, hours: u32, by: &Actor) -> Result<Answer, Refusal> {
    let id = KeyId::new(id).map_err(|_| Refusal::KeyId(id.to_owned()))?;
    let created = registry.rotate_key(&id, hours, by)?;
    Ok(Answer::Created {
        key: created.key_id.to_string(),
        secret: created.secret.into_inner(),
        with_client: false,
    })
}

fn revoke_tokens(registry: &Registry, tokens: Tokens, by: &Actor) -> Result<Answer, Refusal> {
    let which = match tokens {
        Tokens::Jti { issuer, jti } => {
            WhichTokens::Authorization(token_authorization(&issuer, TokenIdentity::Jti(&jti)))
        }
        Tokens::Authorization(id) => WhichTokens::Authorization(id),
        Tokens::Client(id) => WhichTokens::Client(id),
        Tokens::User(id) => WhichTokens::User(id),
    };
    registry.revoke_tokens(which, by)?;
    Ok(Answer::Revoked)
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
    pub async fn serve(self, registry: Arc<Registry>, site: Site, shutdown: watch::Receiver<bool>) {
        self.0.serve(OfRegistry(registry, site), shutdown).await;
    }
}

/// Carries commands out on the registry.
#[derive(Clone)]
struct OfRegistry(Arc<Registry>, Site);

impl Commands for OfRegistry {
    type Request = Request;
    type Answer = Answer;

    /// Files of clients come in one.
    const LONGEST: u64 = 8 << 20;

    async fn carry_out(&self, request: Request, uid: u32) -> io::Result<Answer> {
        let (registry, mut site, by) =
            (Arc::clone(&self.0), self.1.clone(), Actor::local_user(uid));
        if let Some(reloader) = &site.reloader {
            if request == Request::Reload {
                let doing = trailed::reload(How::Command, by.as_str());
                let reload = reloader.reload(Process::gateway_config);
                return Ok(match trailed::reloaded(&registry, doing, reload).await {
                    Ok(changed) => Answer::Reloaded(changed),
                    Err(why) => Answer::Refused(why),
                });
            }
            let doing = trailed::doing(&request, &by);
            if let Request::Config(asked) = request {
                let work = gitops::carry_out(Arc::clone(&registry), reloader, asked, by);
                let done = match doing {
                    Some(doing) => trailed::ended(&registry, doing, work).await,
                    None => work.await,
                };
                return Ok(done.map_or_else(Answer::Refused, Answer::Config));
            }
            (site.roles, site.plans) = (reloader.roles(), reloader.plans());
        }
        // Changes wait for the disk.
        tokio::task::spawn_blocking(move || execute(&registry, &site, request, &by))
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
            Self::KnownKeys(keys, why) => write!(formatter, "KnownKeys({keys:?}, {why:?})"),
            Self::Revoked => formatter.write_str("Revoked"),
            Self::Confirmed => formatter.write_str("Confirmed"),
            Self::Denials(denials) => write!(formatter, "Denials({})", denials.len()),
            Self::BreakGlasses(taken) => write!(formatter, "BreakGlasses({})", taken.len()),
            Self::PlanSet => formatter.write_str("PlanSet"),
            Self::Limits(shown) => write!(formatter, "Limits({})", shown.limits.len()),
            Self::Reloaded(changed) => write!(formatter, "Reloaded({changed:?})"),
            Self::Config(answered) => write!(formatter, "Config({answered:?})"),
            Self::ClientSet => formatter.write_str("ClientSet"),
            Self::Operators(answer) => write!(formatter, "Operators({answer:?})"),
            Self::Refused(why) => write!(formatter, "Refused({why:?})"),
        }
    }
}

#[cfg(test)]
mod tests;
