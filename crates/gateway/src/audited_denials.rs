//! Denials of known callers that the gateway makes itself, handed to the server's half, whose audit
//! log has all others (docs/audit.md).
//!
//! They go over the channel, which no client's request reaches, and behind the answers: no
//! caller waits for that. While the server is away some wait; of more the latest are counted and
//! dropped, and the log says how many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::{GrantFields, Interaction, TenantName};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::socket_client::{self, ChannelPlace};

/// Denials that wait to be handed over.
const MOST_WAITING: usize = 4096;
/// Denials that are handed over together.
const MOST_AT_ONCE: usize = 256;
/// How long the server may take to write them down.
const LIMIT: Duration = Duration::from_secs(5);
/// How long to wait before what the server did not take is handed over again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the last ones may take when the gateway stops.
const LAST: Duration = Duration::from_secs(1);

/// One request that was denied, as the server's half is told.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeniedRequest {
    pub(crate) tenant: String,
    pub(crate) request_id: String,
    pub(crate) client: String,
    pub(crate) role: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) fhir_user: Option<String>,
    pub(crate) purpose: Option<String>,
    pub(crate) break_glass: Option<String>,
    /// The code of the interaction.
    pub(crate) interaction: &'static str,
    pub(crate) operation: Option<String>,
    pub(crate) resource_type: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) status: u16,
}

impl DeniedRequest {
    /// What this client asked, under this grant if it has one.
    pub(crate) fn of(
        (client, role): (&str, Option<String>),
        grant: Option<&GrantFields>,
        interaction: &Interaction,
        tenant: &TenantName,
    ) -> Self {
        let instance = match interaction {
            Interaction::SearchCompartment(within, _) => Some(within),
            interaction => interaction.instance(),
        };
        let of = instance.map(|instance| &instance.resource_type);
        let operation = match interaction {
            Interaction::Operation(name, _) => Some(name.as_str().to_owned()),
            _ => None,
        };
        Self {
            tenant: tenant.as_str().to_owned(),
            request_id: String::new(),
            client: client.to_owned(),
            role,
            user: grant.and_then(|grant| grant.user.clone()),
            fhir_user: grant.and_then(|grant| grant.fhir_user.as_ref().map(ToString::to_string)),
            purpose: grant.and_then(|grant| grant.purpose.clone()),
            break_glass: grant.and_then(|grant| grant.break_glass.clone()),
            interaction: interaction.code(),
            operation,
            resource_type: of.or(interaction.resource_type()).map(ToString::to_string),
            id: instance.map(|instance| instance.id.as_str().to_owned()),
            status: 0,
        }
    }
}

/// Takes denials, and makes no one wait.
#[derive(Debug, Clone)]
pub(crate) struct AuditedDenials {
    waiting: Sender<DeniedRequest>,
    dropped: Arc<AtomicU64>,
}

/// Hands over what was taken.
#[derive(Debug)]
pub(crate) struct Handing {
    waiting: Mutex<Option<Waiting>>,
    dropped: Arc<AtomicU64>,
    place: ChannelPlace,
}

/// What waits, and what of it is being handed over.
#[derive(Debug)]
struct Waiting {
    all: Receiver<DeniedRequest>,
    some: Vec<DeniedRequest>,
}

impl Waiting {
    /// Whether there is something to hand over; waits for it.
    async fn has_some(&mut self) -> bool {
        !self.some.is_empty() || self.all.recv_many(&mut self.some, MOST_AT_ONCE).await > 0
    }
}

/// Both ends, towards the server that has its channel there.
pub(crate) fn towards(place: ChannelPlace) -> (AuditedDenials, Handing) {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    let dropped = Arc::<AtomicU64>::default();
    let denials = AuditedDenials { waiting: sender, dropped: Arc::clone(&dropped) };
    let waiting = Waiting { all: receiver, some: Vec::new() };
    (denials, Handing { waiting: Mutex::new(Some(waiting)), dropped, place })
}

impl AuditedDenials {
    /// Takes a denial, unless too many wait.
    pub(crate) fn take(&self, denied: DeniedRequest) {
        if self.waiting.try_send(denied).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Gives back what waits when whoever hands over is stopped in between.
struct Held<'h> {
    handing: &'h Handing,
    waiting: Option<Waiting>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.handing.waiting.lock() = self.waiting.take();
    }
}

impl Handing {
    /// Hands over for as long as it is polled.
    pub(crate) async fn hand_over(&self) {
        let waiting = self.waiting.lock().take();
        let mut held = Held { handing: self, waiting };
        let Some(waiting) = &mut held.waiting else { return };
        while waiting.has_some().await {
            while !self.is_taken(&waiting.some).await {
                tokio::time::sleep(PAUSE).await;
            }
            waiting.some.clear();
        }
    }

    /// Hands over what waits still, when nobody is denied any more.
    pub(crate) async fn hand_over_last(&self) {
        let Some(mut waiting) = self.waiting.lock().take() else { return };
        waiting.all.close();
        let handing = async {
            while waiting.has_some().await && self.is_taken(&waiting.some).await {
                waiting.some.clear();
            }
        };
        // What is left then is told below.
        drop(tokio::time::timeout(LAST, handing).await);
        let left = waiting.some.len() + waiting.all.len();
        if left > 0 {
            tracing::error!(left, "denials of the gateway are not in the audit log");
        }
    }

    /// Whether the server needs to be told of these no more.
    async fn is_taken(&self, denied: &[DeniedRequest]) -> bool {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::error!(dropped, "denials of the gateway are not in the audit log");
        }
        let Ok(body) = serde_json::to_vec(denied) else { return true };
        match socket_client::post(&self.place, "/denials", body, LIMIT).await {
            Ok(status) if status.is_success() => true,
            Ok(status) if status.is_client_error() => {
                let left = denied.len();
                tracing::error!(%status, left, "denials of the gateway are not in the audit log");
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> DeniedRequest {
        let interaction = Interaction::classify("GET", "/Patient/7", None).unwrap();
        let tenant = "default".parse().unwrap();
        DeniedRequest::of(("ward", None), None, &interaction, &tenant)
    }

    #[test]
    fn no_denial_makes_anyone_wait_and_what_is_too_much_is_counted() {
        let (denials, handing) = towards(ChannelPlace::Socket("/nowhere/channel.sock".into()));
        for _ in 0..MOST_WAITING + 3 {
            denials.take(denied());
        }
        assert_eq!(handing.dropped.load(Ordering::Relaxed), 3);
        let kept = handing.waiting.lock().as_ref().map(|waiting| waiting.all.len());
        assert_eq!(kept, Some(MOST_WAITING));
    }

    #[test]
    fn a_denial_says_what_was_asked_of_whom() {
        let told = serde_json::to_value(denied()).unwrap();
        let of = (&told["interaction"], &told["resourceType"], &told["id"], &told["client"]);
        assert_eq!(of, (&"read".into(), &"Patient".into(), &"7".into(), &"ward".into()));
    }
}
