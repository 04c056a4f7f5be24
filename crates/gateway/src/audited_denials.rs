//! Denials of known callers that the gateway makes itself, handed to the server's half, whose audit
//! log has all others (docs/audit.md).
//!
//! They go over the channel, which no client's request reaches, and behind the answers: no
//! caller waits for that. What the server may not have taken it is handed again; by the denial's
//! own id it knows what it has. What is not taken waits here, in a queue for each tenant, so that
//! one whose log takes nothing keeps back no other. Of what cannot wait, is refused or has waited
//! for a day the log and a counter say how much it was.

mod queues;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, GrantFields, Interaction, TenantName};
use prometheus::IntCounterVec;
use serde::{Deserialize, Serialize, Serializer};

use self::queues::Queues;
use crate::socket_client::{self, ChannelPlace};

/// Denials that are handed over together.
const MOST_AT_ONCE: usize = 256;
/// How long the server may take to write them down.
const LIMIT: Duration = Duration::from_secs(5);
/// How long to wait before what the server did not take is handed over again.
const PAUSE: Duration = Duration::from_millis(500);
/// Of a tenant whose log takes nothing, so many pauses are let pass at most between two tries.
const MOST_SKIPPED: u32 = 7;
/// How long the last ones may take when the gateway stops.
const LAST: Duration = Duration::from_secs(1);

/// One request that was denied, as the server's half is told.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeniedRequest {
    /// The denial's own id: no other has it.
    pub(crate) denial: String,
    /// When it was denied.
    pub(crate) time: String,
    #[serde(serialize_with = "as_text")]
    pub(crate) tenant: TenantName,
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

fn as_text<S: Serializer>(name: &TenantName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(name)
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
            denial: String::new(),
            time: String::new(),
            tenant: tenant.clone(),
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

/// What the server says of a list; all else in it is on its disk.
#[derive(Debug, Default, Deserialize)]
struct Answered {
    refused: Vec<RefusedDenial>,
    /// Where those stand in the list that are to be handed over again.
    later: Vec<usize>,
}

/// A denial that never can be written down.
#[derive(Debug, Deserialize)]
struct RefusedDenial {
    /// Where it stands in the list.
    entry: usize,
    reason: String,
}

/// Takes denials, and makes no one wait.
#[derive(Debug, Clone)]
pub(crate) struct AuditedDenials(Arc<Queues>);

impl AuditedDenials {
    /// Takes a denial, unless too many of its tenant wait.
    pub(crate) fn take(&self, denied: DeniedRequest) {
        self.0.add(denied);
    }
}

/// Hands over what was taken.
#[derive(Debug)]
pub(crate) struct Handing {
    queues: Arc<Queues>,
    place: ChannelPlace,
}

/// Both ends, towards the server that has its channel there; `lost` counts what does not
/// come into the log.
pub(crate) fn towards(
    place: ChannelPlace,
    lost: IntCounterVec,
    clock: Arc<dyn Clock>,
) -> (AuditedDenials, Handing) {
    let queues = Arc::new(Queues::new(lost, clock));
    (AuditedDenials(Arc::clone(&queues)), Handing { queues, place })
}

/// How often a tenant is let be, after a log that took nothing.
#[derive(Debug, Default, Clone, Copy)]
struct Skipping {
    each_time: u32,
    left: u32,
}

impl Handing {
    /// Hands over for as long as it is polled.
    pub(crate) async fn hand_over(&self) {
        let mut skipping = BTreeMap::<TenantName, Skipping>::new();
        loop {
            let mut is_all = true;
            for tenant in self.queues.tenants() {
                let skips = skipping.entry(tenant.clone()).or_default();
                if skips.left > 0 {
                    skips.left -= 1;
                    is_all = false;
                } else if self.hand_over_of(&tenant).await {
                    skipping.remove(&tenant);
                } else {
                    is_all = false;
                    skips.left = skips.each_time;
                    skips.each_time = (2 * skips.each_time + 1).min(MOST_SKIPPED);
                }
            }
            self.queues.tell_of_lost();
            match is_all {
                true => self.queues.some().await,
                false => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Hands over what waits still, when nobody is denied any more.
    pub(crate) async fn hand_over_last(&self) {
        let handing = async {
            for tenant in self.queues.tenants() {
                self.hand_over_of(&tenant).await;
            }
        };
        // What is left then is told below.
        drop(tokio::time::timeout(LAST, handing).await);
        self.queues.close();
        self.queues.tell_of_lost();
    }

    /// Hands over what waits of a tenant; whether all of it is taken.
    async fn hand_over_of(&self, tenant: &TenantName) -> bool {
        loop {
            let some = self.queues.first(tenant, MOST_AT_ONCE);
            if some.is_empty() {
                return true;
            }
            let Some(Answered { refused, later }) = self.tell(&some).await else { return false };
            for RefusedDenial { entry, reason } in &refused {
                let request_id = some.get(*entry).map(|denied| &*denied.request_id);
                tracing::error!(?request_id, %reason, "a denial of the gateway was refused");
            }
            self.queues.settle(tenant, (some.len(), refused.len()), &later);
            if !later.is_empty() {
                return false;
            }
        }
    }

    /// Tells the server of these; `None` where it is not known what it took.
    async fn tell(&self, some: &[Arc<DeniedRequest>]) -> Option<Answered> {
        let some: Vec<&DeniedRequest> = some.iter().map(|denied| &**denied).collect();
        let all_refused = |why: String| {
            let refused = (0..some.len()).map(|entry| RefusedDenial { entry, reason: why.clone() });
            Some(Answered { refused: refused.collect(), later: Vec::new() })
        };
        let body = match serde_json::to_vec(&some) {
            Ok(body) => body,
            Err(error) => return all_refused(error.to_string()),
        };
        match socket_client::post(&self.place, "/denials", body, LIMIT).await {
            Ok((status, answer)) if status.is_success() => serde_json::from_slice(&answer).ok(),
            Ok((status, _)) if status.is_client_error() => all_refused(status.to_string()),
            _ => None,
        }
    }
}
