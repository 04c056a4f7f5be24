//! Clients as somebody keeps them elsewhere, in files: many put and disabled in one change.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use contract::{Instant, Revoked as Kind};
use serde::{Deserialize, Serialize};

use crate::change::{Actor, Change};
use crate::client::{Client, ClientId, InvalidClient, NewClient};
use crate::error::ChangeError;
use crate::registry::Registry;
use crate::state::{CannotFollow, Revoked, State};

/// A client as it is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PutClient {
    /// All of it. It keeps its keys, and when it was made.
    pub client: NewClient,
    /// Nothing of it is granted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

impl Registry {
    /// Makes or replaces the clients of `put`, and grants nothing of those of `disable` any more:
    /// all of it, or nothing.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when a client is wrong in itself, there is none to be disabled, or
    /// one is named twice; otherwise the change could not be made durable.
    pub fn put_clients(
        &self,
        put: Vec<PutClient>,
        disable: Vec<ClientId>,
        by: &Actor,
    ) -> Result<(), ChangeError> {
        // Here and not when the log is replayed, as for a client that is made by itself.
        for put in &put {
            self.check_client(&put.client).map_err(CannotFollow::from)?;
        }
        self.change(&Change::PutClients { put, disable }, by)
    }

    /// Like [`Self::put_clients`], where every client is still as it stands in `judged`, by which
    /// the change was decided on.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] with [`CannotFollow::ClientChangedMeanwhile`] where somebody made,
    /// changed, disabled or enabled one since, and as [`Self::put_clients`].
    pub fn put_clients_as_judged(
        &self,
        put: Vec<PutClient>,
        disable: Vec<ClientId>,
        judged: &[Arc<Client>],
        by: &Actor,
    ) -> Result<(), ChangeError> {
        for put in &put {
            self.check_client(&put.client).map_err(CannotFollow::from)?;
        }
        let is_as_judged = |state: &State| match state.differing_client(judged) {
            None => Ok(()),
            Some(id) => Err(CannotFollow::ClientChangedMeanwhile(id)),
        };
        self.change_where(&Change::PutClients { put, disable }, by, is_as_judged)
    }

    /// Whether a client is right in itself.
    ///
    /// # Errors
    /// [`InvalidClient`], as making it would say.
    pub fn check_client(&self, client: &NewClient) -> Result<(), InvalidClient> {
        client.check(self.ids())
    }
}

impl State {
    /// A client that is another than in `judged`, or that only one of the two has.
    fn differing_client(&self, judged: &[Arc<Client>]) -> Option<ClientId> {
        let judged: BTreeMap<&ClientId, &Arc<Client>> =
            judged.iter().map(|client| (&client.id, client)).collect();
        let differs = |id: &&ClientId| self.clients.get(*id) != judged.get(*id).copied();
        self.clients.keys().chain(judged.keys().copied()).find(differs).cloned()
    }

    pub(crate) fn put_clients(
        &mut self,
        put: &[PutClient],
        disable: &[ClientId],
        sequence: u64,
        instant: Instant,
    ) -> Result<(), CannotFollow> {
        let ids = put.iter().map(|put| &put.client.id).chain(disable);
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = ids.into_iter().find(|id| !seen.insert(*id)) {
            return Err(CannotFollow::ClientTwice(twice.clone()));
        }
        for PutClient { client, disabled } in put {
            let id = client.id.clone();
            let standing = self.clients.get(&id).cloned();
            let before = standing.as_ref().and_then(|standing| standing.disabled);
            let client = Client {
                disabled: disabled.then(|| before.unwrap_or(instant)),
                ..client.clone().into_client(standing.as_ref().map_or(instant, |it| it.created))
            };
            match standing {
                None => self.add_client(client)?,
                Some(_) => self.change_client(&id, |_| Ok(client))?,
            }
            if *disabled && before.is_none() {
                self.tell_of_client(&id, sequence, instant);
            }
        }
        for id in disable {
            let mut was_enabled = false;
            self.change_client(id, |standing| {
                was_enabled = standing.disabled.is_none();
                let disabled = standing.disabled.or(Some(instant));
                Ok(Client { disabled, ..standing.clone() })
            })?;
            if was_enabled {
                self.tell_of_client(id, sequence, instant);
            }
        }
        Ok(())
    }

    /// Whatever it came with: whoever works on something of it is told to stop.
    fn tell_of_client(&mut self, id: &ClientId, sequence: u64, since: Instant) {
        let (kind, id) = (Kind::Client, id.as_str().to_owned());
        self.revocations.push(Revoked { sequence, kind, id, since });
    }
}

impl Client {
    /// The client as it would be made, without when that was and whether it is disabled.
    #[must_use]
    pub fn to_new(self: &Arc<Self>) -> NewClient {
        let Self {
            id,
            name,
            role,
            patient,
            fhir_user,
            rules,
            powers,
            lane,
            limit,
            plan,
            budget,
            ..
        } = (**self).clone();
        NewClient { id, name, role, patient, fhir_user, rules, powers, lane, limit, plan, budget }
    }
}

/// The change in one line, for the audit.
pub(crate) fn told(
    put: &[PutClient],
    disable: &[ClientId],
    formatter: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    formatter.write_str("from files:")?;
    let mut separator = " ";
    for PutClient { client, disabled } in put {
        let verb = if *disabled { "put and disable" } else { "put" };
        write!(formatter, "{separator}{verb} client {}", client.id)?;
        separator = ", ";
    }
    for id in disable {
        write!(formatter, "{separator}disable client {id}, which no file names")?;
        separator = ", ";
    }
    Ok(())
}
