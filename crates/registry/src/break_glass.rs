//! Break-glass: a client says for which patient and why it takes wider rights for some minutes.
//! It is a change like any other: on the disk before it counts, and in the audit for good.

use std::fmt;

use contract::{Instant, ResourceId};
use serde::{Deserialize, Serialize};

use crate::client::ClientId;
use crate::key::KeyId;
use crate::state::CannotFollow;

/// What may be in force for one client at a time.
pub(crate) const MOST_AT_A_TIME: usize = 20;
/// Characters of a reason.
const REASON: std::ops::RangeInclusive<usize> = 20..=1000;

/// One break-glass, as the change log holds it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NewBreakGlass {
    pub(crate) id: String,
    pub(crate) client: ClientId,
    pub(crate) key: KeyId,
    patient: String,
    reason: String,
    minutes: u32,
}

/// A break-glass in force.
#[derive(Clone, PartialEq, Eq)]
pub struct BreakGlass {
    /// Its id, which grants carry.
    pub id: String,
    /// Whose it is.
    pub client: ClientId,
    /// For which patient.
    pub patient: ResourceId,
    /// The last instant at which it is in force.
    pub until: Instant,
}

impl NewBreakGlass {
    pub(crate) fn new(
        id: String,
        (client, key): (&ClientId, &KeyId),
        patient: &ResourceId,
        reason: &str,
        minutes: u32,
    ) -> Result<Self, CannotFollow> {
        let reason = reason.trim();
        if !REASON.contains(&reason.chars().count()) || reason.chars().any(char::is_control) {
            return Err(CannotFollow::Reason);
        }
        let (client, key) = (client.clone(), key.clone());
        let (patient, reason) = (patient.to_string(), reason.to_owned());
        Ok(Self { id, client, key, patient, reason, minutes })
    }

    /// What is in force from `instant` on; `None` when the patient's id is none.
    pub(crate) fn from(&self, instant: Instant) -> Option<BreakGlass> {
        let micros = i64::from(self.minutes) * 60_000_000;
        Some(BreakGlass {
            id: self.id.clone(),
            client: self.client.clone(),
            patient: ResourceId::new(&self.patient).ok()?,
            until: Instant::from_micros(instant.as_micros().saturating_add(micros)),
        })
    }
}

/// In one line, for the audit.
impl fmt::Display for NewBreakGlass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, client, key, patient, reason, minutes } = self;
        write!(
            formatter,
            "break-glass {id}: client {client} by key {key} for Patient/{patient}, \
             {minutes} minutes: {reason}"
        )
    }
}

/// Patient and reason are no business of a log.
impl fmt::Debug for NewBreakGlass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("NewBreakGlass").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The patient is no business of a log.
impl fmt::Debug for BreakGlass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BreakGlass").field("id", &self.id).finish_non_exhaustive()
    }
}
