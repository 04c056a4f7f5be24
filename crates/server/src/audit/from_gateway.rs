//! Denials that the gateway's side makes itself, of callers that it knows: handed over on the
//! channel socket, they stand in the tenant's log beside those of the server.
//!
//! Each is noted as of when it is written. Who may speak on that socket is given the channel's
//! secret there, and could ask for anything in any client's name: it is believed.

use contract::Clock;
use database::audit::{Act, Event, Kind, NotKept, Outcome};
use serde::Deserialize;

use super::{Audit, event_of, synced};

/// The most that are taken together.
const MOST: usize = 1024;

/// One request that the gateway denied.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct DeniedAtGateway {
    tenant: Box<str>,
    request_id: Box<str>,
    client: Box<str>,
    role: Option<Box<str>>,
    user: Option<Box<str>>,
    fhir_user: Option<Box<str>>,
    purpose: Option<Box<str>>,
    break_glass: Option<Box<str>>,
    interaction: Box<str>,
    operation: Option<Box<str>>,
    resource_type: Option<Box<str>>,
    id: Option<Box<str>>,
    status: u16,
}

/// What became of denials that were handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// They are written down, or wait with all else that is.
    Yes,
    /// Not now.
    NotNow,
    /// They cannot be: too many, of another tenant, or of no interaction.
    Unreadable,
}

impl Audit {
    /// Writes down what the gateway denied.
    pub(crate) async fn take_denials(
        &self,
        denied: &[DeniedAtGateway],
        clock: &dyn Clock,
    ) -> Taken {
        if denied.len() > MOST {
            return Taken::Unreadable;
        }
        let mut events = Vec::with_capacity(denied.len());
        for denied in denied {
            let log = self.logs.iter().find(|(tenant, _)| *tenant.as_str() == *denied.tenant);
            let (Some((_, log)), Some(kind)) = (log, Kind::of(&denied.interaction)) else {
                return Taken::Unreadable;
            };
            events.push((log, denied.event(kind, clock)));
        }
        // Before any is: what is handed over again would stand there twice.
        if self.trouble().is_some() {
            return Taken::NotNow;
        }
        for (log, event) in &events {
            if let Err(NotKept { reason }) = log.append(event) {
                tracing::error!(%reason, "a denial of the gateway waits for the audit log");
            }
        }
        for log in self.logs.values() {
            if let Err(NotKept { reason }) = synced(&**log).await {
                tracing::error!(%reason, "denials of the gateway wait for the audit log");
            }
        }
        Taken::Yes
    }
}

impl DeniedAtGateway {
    fn event(&self, kind: Kind, clock: &dyn Clock) -> Event {
        let act = Act {
            kind,
            name: self.operation.clone(),
            resource_type: self.resource_type.clone(),
            id: self.id.clone(),
            version: None,
            status: self.status,
        };
        // Whoever asks who was refused a patient's record asks by that patient.
        let is_patient = self.resource_type.as_deref() == Some("Patient");
        Event {
            request_id: self.request_id.clone(),
            client: Some(self.client.clone()),
            user: self.user.clone(),
            fhir_user: self.fhir_user.clone(),
            role: self.role.clone(),
            purpose: self.purpose.clone(),
            break_glass: self.break_glass.clone(),
            patients: self.id.iter().filter(|_| is_patient).cloned().collect(),
            outcome: Outcome::Denied,
            ..event_of(act, clock)
        }
    }
}
