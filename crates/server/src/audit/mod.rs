//! The audit: who saw and changed what, written down before the answer is sent.
//!
//! `exchange` begins and ends each request's event here; on the way the [`Trail`] notes what is
//! shown and done. What cannot be written down is not done: a log in trouble refuses the request
//! before anything of it is carried out. Denials, break-glass and what the operator does are
//! durable before their answer, all else within a tenth of a second (docs/audit.md).
//!
//! `resource` says how an event looks as an AuditEvent, `search` finds them, `access_log` answers
//! who looked at a patient's record.

mod access_log;
mod from_gateway;
mod patients;
mod resource;
mod search;
mod trail;

pub use resource::to_resource;

pub(crate) use access_log::{
    NAME as ACCESS_LOG, access_log, is_access_log, policy as page_policy, wants_page,
};
pub(crate) use from_gateway::{HandedOver, take_denials};
pub(crate) use search::{PARAMETERS, Readers, read, search};
pub(crate) use trail::{Trail, note};

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::{Clock, Decision, Grant, Interaction, TenantName};
use database::audit::{Act, AuditLog, Event, Kind, NotKept, Outcome};
use fhir_core::{Instance, ResourceType};
use http::StatusCode;
use tokio::sync::oneshot;

use crate::Server;
use crate::error::ServerError;

/// The type of the resources that events are read as.
pub(crate) const AUDIT_EVENT: &str = "AuditEvent";

/// The tenants' audit logs, and what is written into them.
#[derive(Clone, Default)]
pub struct Audit {
    /// The log of each tenant. A tenant without one is not audited: for measurements and tests.
    pub logs: BTreeMap<TenantName, Arc<dyn AuditLog>>,
    /// Whether the values of queries are kept beside their parameters' names.
    pub query_values: bool,
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Audit({} logs)", self.logs.len())
    }
}

/// A request whose event is written when it is answered.
pub(crate) struct Audited {
    log: Arc<dyn AuditLog>,
    /// The event as far as it is known before the request is carried out.
    event: Event,
    is_bundle: bool,
}

impl Audit {
    /// Why nothing that must be audited is done now.
    pub(crate) fn trouble(&self) -> Option<(&TenantName, NotKept)> {
        self.logs.iter().find_map(|(tenant, log)| Some((tenant, log.trouble()?)))
    }

    /// Checks that the tenant's log takes events: what is done next could be written down.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) fn check(&self, tenant: &TenantName) -> Result<(), Box<str>> {
        match self.logs.get(tenant).and_then(|log| log.trouble()) {
            Some(NotKept { reason, .. }) => Err(reason),
            None => Ok(()),
        }
    }

    /// Begins the event of a request; `None` for what shows and changes nothing of a tenant.
    ///
    /// # Errors
    /// [`ServerError::NotAudited`] when it could not be written.
    pub(crate) fn begin(
        &self,
        (grant, interaction): (&Grant, &Interaction),
        request_id: &str,
        clock: &dyn Clock,
    ) -> Result<Option<Audited>, ServerError> {
        let log = match self.logs.get(&grant.tenant) {
            Some(log) if *interaction != Interaction::Capabilities => log,
            _ => return Ok(None),
        };
        self.check(&grant.tenant).map_err(ServerError::NotAudited)?;
        let text = |text: &Option<String>| text.as_deref().map(Box::from);
        let event = Event {
            instant: clock.now(),
            occurred: None,
            told_as: None,
            request_id: request_id.into(),
            client: text(&grant.client),
            user: text(&grant.user),
            fhir_user: grant.fhir_user.as_ref().map(|user| user.to_string().into()),
            role: text(&grant.role),
            purpose: text(&grant.purpose),
            break_glass: text(&grant.break_glass),
            act: act_of(interaction),
            entries: Vec::new(),
            shown: Vec::new(),
            patients: Vec::new(),
            query: None,
            outcome: Outcome::Done,
            restricted: matches!(contract::decide(grant, interaction), Decision::AllowWithin(_)),
        };
        let is_bundle = *interaction == Interaction::BatchOrTransaction;
        Ok(Some(Audited { log: Arc::clone(log), event, is_bundle }))
    }

    /// Writes down that something came to the socket that the gateway's side does not vouch for.
    /// It names no tenant that could be believed: every log has it.
    pub(crate) async fn not_admitted(
        &self,
        status: StatusCode,
        request_id: &str,
        clock: &dyn Clock,
    ) {
        for log in self.logs.values() {
            let act = Act { status: status.as_u16(), ..plain_act("not-admitted") };
            let outcome = Outcome::Denied;
            let event = Event { outcome, ..event_of(act, clock) };
            let event = Event { request_id: request_id.into(), ..event };
            if log.append(&event).is_err() || synced(&**log).await.is_err() {
                tracing::error!("a refused request could not be written into the audit log");
            }
        }
    }
}

/// Writes down, durably, what an operator did through the control socket or by a command.
///
/// # Errors
/// [`NotKept`].
pub async fn record_command(
    log: &dyn AuditLog,
    clock: &dyn Clock,
    (kind, name): (&str, Option<&str>),
    patient: Option<&str>,
    by: &str,
) -> Result<(), NotKept> {
    let act = Act {
        name: name.map(Box::from),
        resource_type: patient.map(|_| "Patient".into()),
        id: patient.map(Box::from),
        status: StatusCode::OK.as_u16(),
        ..plain_act(kind)
    };
    let event = Event {
        user: Some(by.into()),
        patients: patient.map(Box::from).into_iter().collect(),
        ..event_of(act, clock)
    };
    log.append(&event)?;
    synced(log).await
}

/// Waits until all that was appended is durable.
pub(crate) async fn synced(log: &dyn AuditLog) -> Result<(), NotKept> {
    let (tell, told) = oneshot::channel();
    // Whoever waits may have left.
    log.sync(Box::new(move |result| drop(tell.send(result))));
    told.await.unwrap_or_else(|_| Err(closed()))
}

fn closed() -> NotKept {
    NotKept { reason: "the audit log was closed".into(), waits: false }
}

/// Refuses to let anyone make, change or delete AuditEvents.
///
/// # Errors
/// [`ServerError::AuditEventsAreRecorded`].
pub(crate) fn check_not_written(interaction: &Interaction) -> Result<(), ServerError> {
    let writes = matches!(
        interaction,
        Interaction::Create(_)
            | Interaction::Update(_)
            | Interaction::ConditionalUpdate(_)
            | Interaction::Patch(_)
            | Interaction::ConditionalPatch(_)
            | Interaction::Delete(_)
            | Interaction::ConditionalDelete(_)
    );
    match interaction.resource_type() {
        Some(of) if writes && of.as_str() == AUDIT_EVENT => {
            Err(ServerError::AuditEventsAreRecorded)
        }
        _ => Ok(()),
    }
}

fn outcome_of(status: StatusCode) -> Outcome {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::Denied,
        StatusCode::NOT_FOUND | StatusCode::GONE => Outcome::NotFound,
        status if status.is_server_error() => Outcome::Failed,
        status if status.is_client_error() => Outcome::Refused,
        _ => Outcome::Done,
    }
}

fn plain_act(kind: &str) -> Act {
    let kind = Kind::of(kind).expect("every code of an interaction or command has its number");
    Act { kind, name: None, resource_type: None, id: None, version: None, status: 0 }
}

/// What an interaction asks for.
fn act_of(interaction: &Interaction) -> Act {
    let within = match interaction {
        Interaction::SearchCompartment(within, _) => Some(within),
        _ => None,
    };
    let of = |of: &Instance| (of.resource_type.as_str().into(), of.id.as_str().into());
    let instance = interaction.instance().or(within).map(of);
    let (resource_type, id) = match instance {
        Some((resource_type, id)) => (Some(resource_type), Some(id)),
        None => (interaction.resource_type().map(ResourceType::as_str).map(Box::from), None),
    };
    let name = match (interaction, within) {
        (Interaction::Operation(name, _), _) => Some(name.as_str().into()),
        (_, Some(_)) => interaction.resource_type().map(|of| of.as_str().into()),
        _ => None,
    };
    let version = interaction.version().and_then(|version| version.parse().ok());
    Act { name, resource_type, id, version, ..plain_act(interaction.code()) }
}

fn event_of(act: Act, clock: &dyn Clock) -> Event {
    Event {
        instant: clock.now(),
        occurred: None,
        told_as: None,
        request_id: "".into(),
        client: None,
        user: None,
        fhir_user: None,
        role: None,
        purpose: None,
        break_glass: None,
        act,
        entries: Vec::new(),
        shown: Vec::new(),
        patients: Vec::new(),
        query: None,
        outcome: Outcome::Done,
        restricted: false,
    }
}

/// The log of the tenant that a grant is for.
pub(crate) fn log_of<'a>(
    server: &'a Server,
    grant: &Grant,
) -> Result<&'a Arc<dyn AuditLog>, ServerError> {
    let log = server.audit.logs.get(&grant.tenant);
    log.ok_or(ServerError::NotThereYet("reading an audit log where none is kept"))
}
