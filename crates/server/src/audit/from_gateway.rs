//! Denials that the gateway's side makes itself, of callers that it knows: handed over on the
//! channel socket, they stand in the tenant's log beside those of the server.
//!
//! Who may speak on that socket is given the channel's secret there, and could ask for anything in
//! any client's name: it is believed, also about when it denied. An event has that instant beside
//! the one at which it was written, by which the log is ordered.
//!
//! What may not have been taken is handed over again. A denial has an id of its own, which stands in
//! the log with it: one that is remembered here is not written again, and one that may be from
//! before this process began is looked for in the log.

mod remembered;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use contract::{Clock, TenantName};
use database::audit::{Act, AuditLog, Event, Extent, Kind, NotKept, Outcome, Reached};
use fhir_core::Instant;
use serde::{Deserialize, Serialize};

pub(crate) use remembered::HandedOver;

use super::{event_of, synced};
use crate::Server;

/// The most that are taken together.
const MOST: usize = 1024;
/// The longest id of a denial.
const LONGEST_ID: usize = 64;
/// The longest reason, in bytes: answers have a bound.
const LONGEST_REASON: usize = 100;
/// How far the gateway's clock may be ahead of this one, in microseconds: two minutes. A denial that
/// was made no longer than this after the process began, by the gateway's clock, may be from before,
/// and be written in the log as much earlier than it says. With clocks that are further apart one
/// that is handed over again after a restart may stand in the log twice.
const CLOCKS_APART: i64 = 120_000_000;
/// Bytes of a log in which denials from before this process began are looked for.
const MOST_BYTES: u64 = 64 << 20;

/// One request that the gateway denied.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DeniedAtGateway {
    /// The denial's own id: no two have the same.
    denial: Box<str>,
    /// When it was denied.
    time: Box<str>,
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

/// What became of denials that were handed over. Those that are not in it are on the disk.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Taken {
    /// Those that can never be written down.
    refused: Vec<Refused>,
    /// Those that are to be handed over again: by where they stand in the list.
    later: Vec<usize>,
}

/// A denial that cannot be written down.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Refused {
    /// Where it stands in the list.
    entry: usize,
    reason: String,
}

/// Denials of one tenant, each with where it stands in the list.
type OfTenant = Vec<(usize, DeniedAtGateway, Event)>;

/// Writes down what the gateway denied, each by itself. `None` for what is no list of so many.
pub(crate) async fn take_denials(server: &Server, list: &[u8]) -> Option<Taken> {
    let list: Vec<serde_json::Value> = serde_json::from_slice(list).ok()?;
    if list.len() > MOST {
        return None;
    }
    let mut taken = Taken::default();
    let mut of_tenants: BTreeMap<&TenantName, OfTenant> = BTreeMap::new();
    for (entry, denied) in list.into_iter().enumerate() {
        match understood(server, denied) {
            Ok((tenant, denied, event)) => {
                of_tenants.entry(tenant).or_default().push((entry, denied, event));
            }
            Err(mut reason) => {
                reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
                taken.refused.push(Refused { entry, reason });
            }
        }
    }
    for (tenant, denied) in of_tenants {
        // What one tenant's log does not take keeps back nothing of others.
        taken.later.extend(take_for(server, tenant, denied).await);
    }
    taken.later.sort_unstable();
    Some(taken)
}

/// A denial with the event that it is, and the tenant with the log for it.
fn understood(
    server: &Server,
    denied: serde_json::Value,
) -> Result<(&TenantName, DeniedAtGateway, Event), String> {
    let denied: DeniedAtGateway =
        serde_json::from_value(denied).map_err(|error| error.to_string())?;
    if denied.denial.is_empty() || denied.denial.len() > LONGEST_ID {
        return Err(format!("`denial` is to have 1 to {LONGEST_ID} bytes"));
    }
    let log = server.audit.logs.keys().find(|tenant| *tenant.as_str() == *denied.tenant);
    let tenant = log.ok_or("no audit log is kept here for `tenant`")?;
    let kind = Kind::of(&denied.interaction).ok_or("`interaction` is none")?;
    let occurred: Instant = denied.time.parse().map_err(|_| "`time` is no instant")?;
    let event = denied.event((kind, occurred), &*server.clock);
    Ok((tenant, denied, event))
}

/// Writes down denials of one tenant; where in the list those stand that are to come again.
async fn take_for(server: &Server, tenant: &TenantName, denied: OfTenant) -> Vec<usize> {
    let Some(log) = server.audit.logs.get(tenant) else { return Vec::new() };
    let all = |denied: &OfTenant| denied.iter().map(|(entry, ..)| *entry).collect();
    // Before any is: nothing is gained by one more that waits.
    if log.trouble().is_some() {
        return all(&denied);
    }
    let earlier = match written_before(server, log, tenant, &denied).await {
        Ok(earlier) => earlier,
        Err(error) => {
            tracing::error!(%error, "denials of the gateway wait: the audit log is to be read first");
            return all(&denied);
        }
    };
    let mut later = Vec::new();
    for (entry, denied, event) in &denied {
        if earlier.contains(&denied.denial) {
            server.handed_over.note(tenant, &denied.denial);
            continue;
        }
        let append = || match log.append(event) {
            Ok(()) => true,
            Err(NotKept { reason, waits }) => {
                tracing::error!(%reason, "a denial of the gateway waits for the audit log");
                waits
            }
        };
        if !server.handed_over.once(tenant, &denied.denial, append) {
            later.push(*entry);
        }
    }
    match synced(&**log).await {
        Ok(()) => later,
        // They wait here, and are asked for again: only then it is known that they are kept.
        Err(NotKept { reason, .. }) => {
            tracing::error!(%reason, "denials of the gateway wait for the audit log");
            all(&denied)
        }
    }
}

/// What told events of denials from one another before they had their own ids in the log.
type Name = (Option<Instant>, Box<str>, Option<Box<str>>, Act);

fn name_of(event: &Event) -> Name {
    (event.occurred, event.request_id.clone(), event.client.clone(), event.act.clone())
}

/// Denials that are looked for in the log: by their ids, and by what events without have.
struct Sought {
    ids: HashSet<Box<str>>,
    names: HashMap<Name, Box<str>>,
    found: HashSet<Box<str>>,
}

impl Sought {
    fn of<'d>(denied: impl Iterator<Item = (&'d DeniedAtGateway, &'d Event)>) -> Self {
        let denied = denied.map(|(denied, event)| (name_of(event), denied.denial.clone()));
        let names = denied.collect::<Vec<_>>();
        let ids = names.iter().map(|(_, id)| id.clone()).collect();
        Self { ids, names: names.into_iter().collect(), found: HashSet::new() }
    }

    /// Looks at an event of the log; whether all were found.
    fn look_at(&mut self, event: &Event) -> bool {
        let found = match &event.told_as {
            Some(id) => self.ids.get(id),
            None => self.names.get(&name_of(event)),
        };
        self.found.extend(found.cloned());
        self.found.len() == self.ids.len()
    }
}

/// Those of these denials, by their ids, that the log may have, since they may be from before this
/// process began and it does not remember them.
async fn written_before(
    server: &Server,
    log: &Arc<dyn AuditLog>,
    tenant: &TenantName,
    denied: &OfTenant,
) -> Result<HashSet<Box<str>>, String> {
    let later = |at: Instant, by: i64| Instant::from_micros(at.as_micros().saturating_add(by));
    let last = later(server.handed_over.began(), CLOCKS_APART);
    let unknown = denied.iter().filter(|(_, denied, event)| {
        event.occurred.is_some_and(|at| at < last)
            && !server.handed_over.remembers(tenant, &denied.denial)
    });
    let unknown = unknown.map(|(_, denied, event)| (denied, event)).collect::<Vec<_>>();
    let Some(first) = unknown.iter().filter_map(|(_, event)| event.occurred).min() else {
        return Ok(HashSet::new());
    };
    let mut sought = Sought::of(unknown.into_iter());
    let log = Arc::clone(log);
    let look = move || {
        // The log is ordered by this clock.
        let instants = later(first, -CLOCKS_APART)..Instant::from_micros(i64::MAX);
        let extent = Extent { instants, before: None, patient: None, most_bytes: MOST_BYTES };
        let reached = log.read(&extent, &mut |_, event| match sought.look_at(&event) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        let reached = reached.map_err(|error| error.to_string())?;
        if let Reached::Number(number) = reached {
            tracing::warn!(number, "a denial of the gateway may stand twice in the audit log");
        }
        Ok(sought.found)
    };
    let looked = tokio::task::spawn_blocking(look).await;
    looked.unwrap_or_else(|error| Err(error.to_string()))
}

impl DeniedAtGateway {
    fn event(&self, (kind, occurred): (Kind, Instant), clock: &dyn Clock) -> Event {
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
            occurred: Some(occurred),
            told_as: Some(self.denial.clone()),
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
