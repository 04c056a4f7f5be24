//! What stands after the changes so far: clients, keys, revocations. Immutable once published;
//! a change makes the next one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use contract::{Instant, Revoked as Kind};

use crate::break_glass::BreakGlass;
use crate::change::{Change, NewKey};
use crate::client::{Client, ClientId, InvalidClient, is_plain_text};
use crate::key::{Key, KeyId, SecretHash};
use crate::operator::{OperatorName, OperatorRecord};
use crate::tokens::TokenRevocations;

/// The longest that a key and the one in its place are good together.
const MOST_OVERLAP_HOURS: u32 = 8760;
/// In microseconds.
const HOUR: i64 = 3_600_000_000;

/// The registry after some change.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) clients: BTreeMap<ClientId, Arc<Client>>,
    pub(crate) keys: HashMap<KeyId, KeyRecord>,
    /// In the order of the changes; the sequence of a change is the feed's cursor.
    pub(crate) revocations: Vec<Revoked>,
    /// What is in force or was when the last one was taken, by id.
    pub(crate) break_glasses: BTreeMap<String, Arc<BreakGlass>>,
    /// Which tokens of issuers are believed no more.
    pub(crate) tokens: TokenRevocations,
    /// Who may use the admin API.
    pub(crate) operators: BTreeMap<OperatorName, OperatorRecord>,
    pub(crate) sequence: u64,
}

/// A key and what is kept of its secret.
#[derive(Debug, Clone)]
pub(crate) struct KeyRecord {
    pub(crate) hash: SecretHash,
    pub(crate) client: Arc<Client>,
    pub(crate) label: String,
    pub(crate) created: Instant,
    pub(crate) revoked: Option<Instant>,
    /// Since when it stands still, waiting to be confirmed.
    pub(crate) suspended: Option<Instant>,
    /// From when on it is good no more, another having taken its place.
    pub(crate) expires: Option<Instant>,
}

impl KeyRecord {
    /// Whether the key authenticates now.
    pub(crate) fn is_good(&self, now: Instant) -> bool {
        self.stands(now) && self.client.disabled.is_none()
    }

    /// Whether the key itself is good, whatever its client is.
    fn stands(&self, now: Instant) -> bool {
        self.revoked.is_none() && self.suspended.is_none() && !self.has_expired(now)
    }

    /// Whether another key has taken its place for good.
    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// What stands no more, as grants name it.
#[derive(Debug, Clone)]
pub(crate) struct Revoked {
    pub(crate) sequence: u64,
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) since: Instant,
}

/// Why a change cannot follow the changes so far.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotFollow {
    /// There is a client of that id.
    #[error("there is a client {0} already")]
    ClientExists(ClientId),
    /// There is none of that id.
    #[error("there is no client {0}")]
    UnknownClient(ClientId),
    /// There is a key of that id.
    #[error("there is a key {0} already")]
    KeyExists(KeyId),
    /// There is none of that id.
    #[error("there is no key {0}")]
    UnknownKey(KeyId),
    /// It was revoked before.
    #[error("the key {0} is revoked already")]
    RevokedAlready(KeyId),
    /// It does not wait to be confirmed.
    #[error("the key {0} is not suspended")]
    NotSuspended(KeyId),
    /// It is suspended, or another key took its place already.
    #[error("the key {0} is not good any more; confirm it if it is suspended, or make another")]
    NotGood(KeyId),
    /// Nothing that names tokens.
    #[error(
        "tokens are named by an authorization id (token:…), a client, or a user (ISSUER/SUBJECT)"
    )]
    NoTokens,
    /// A rotation without an end.
    #[error("a key overlaps another for 0 to 8760 hours")]
    Overlap,
    /// The label is too long or has control characters.
    #[error("a label has at most 200 bytes without control characters")]
    Label,
    /// The reason of a break-glass says nothing or too much.
    #[error("a reason has 20 to 1000 characters without control characters")]
    Reason,
    /// The id of a break-glass stands already, or its patient's is none.
    #[error("the break-glass {0} cannot be taken")]
    BreakGlass(String),
    /// The client has taken as many as may be in force.
    #[error("the client {0} has as many break-glasses in force as a client may")]
    TooManyBreakGlasses(ClientId),
    /// One client is to become two things.
    #[error("the client {0} is named twice; name it once")]
    ClientTwice(ClientId),
    /// It is not as it was when the change was decided on.
    #[error(
        "somebody else made, changed, disabled or enabled the client {0} meanwhile, and nothing is changed; look what differs by now (`hearthgate config diff`) and ask again"
    )]
    ClientChangedMeanwhile(ClientId),
    /// Nothing of the client is granted already.
    #[error("the client {0} is disabled already")]
    DisabledAlready(ClientId),
    /// It is not disabled.
    #[error("the client {0} is not disabled")]
    NotDisabled(ClientId),
    /// There is an operator of that name, or was.
    #[error("there is, or was, an operator {0}; choose a name that was never given")]
    OperatorExists(OperatorName),
    /// There is none of that name.
    #[error("there is no operator {0}; `hearthgate operators list` shows the names")]
    UnknownOperator(OperatorName),
    /// It was revoked, for good.
    #[error("the operator {0} is revoked, for good; make one of another name")]
    OperatorRevoked(OperatorName),
    /// It does not wait to be confirmed.
    #[error("the operator {0} is not suspended")]
    OperatorNotSuspended(OperatorName),
    /// Two operators would be known by the same.
    #[error("the operator {0} has, or had, that certificate; give each operator one of its own")]
    CredentialTaken(OperatorName),
    /// The first start happened before.
    #[error("the registry has been started before")]
    StartedBefore,
    /// The client itself is wrong.
    #[error(transparent)]
    InvalidClient(#[from] InvalidClient),
}

impl State {
    /// The state after `change`, which is number `sequence` and made at `instant`.
    pub(crate) fn after(
        &self,
        change: &Change,
        sequence: u64,
        instant: Instant,
    ) -> Result<Self, CannotFollow> {
        let mut next = self.clone();
        next.apply(change, sequence, instant)?;
        Ok(next)
    }

    /// Applies `change`; after an error the state is of no use any more.
    pub(crate) fn apply(
        &mut self,
        change: &Change,
        sequence: u64,
        instant: Instant,
    ) -> Result<(), CannotFollow> {
        match change {
            Change::FirstStart { client, key } => {
                if self.sequence != 0 {
                    return Err(CannotFollow::StartedBefore);
                }
                self.add_client(client.clone().into_client(instant))?;
                self.add_key(key, instant)?;
            }
            Change::CreateClient { client } => {
                self.add_client(client.clone().into_client(instant))?;
            }
            Change::CreateKey { key } => self.add_key(key, instant)?,
            Change::RevokeKey { key, client } => {
                let record = self
                    .keys
                    .get_mut(key)
                    .filter(|record| record.client.id == *client)
                    .ok_or_else(|| CannotFollow::UnknownKey(key.clone()))?;
                if record.revoked.is_some() {
                    return Err(CannotFollow::RevokedAlready(key.clone()));
                }
                record.revoked = Some(instant);
                self.tell_of_key(key, sequence, instant);
            }
            Change::RotateKey { key, old, hours } => {
                if *hours > MOST_OVERLAP_HOURS {
                    return Err(CannotFollow::Overlap);
                }
                let until = instant.as_micros().saturating_add(i64::from(*hours) * HOUR);
                let record = self
                    .keys
                    .get_mut(old)
                    .filter(|record| record.client.id == key.client)
                    .ok_or_else(|| CannotFollow::UnknownKey(old.clone()))?;
                if !record.is_good(instant) {
                    return Err(CannotFollow::NotGood(old.clone()));
                }
                let until = Instant::from_micros(until);
                record.expires = Some(record.expires.map_or(until, |earlier| earlier.min(until)));
                if *hours == 0 {
                    record.revoked = Some(instant);
                    self.tell_of_key(old, sequence, instant);
                }
                self.add_key(key, instant)?;
            }
            Change::RevokeTokens { tokens } => {
                if !tokens.is_valid() {
                    return Err(CannotFollow::NoTokens);
                }
                self.tokens.add(tokens, instant);
                let (kind, id) = tokens.told();
                self.revocations.push(Revoked { sequence, kind, id, since: instant });
            }
            Change::SuspendKeys {} => {
                let mut suspended = Vec::new();
                for (key, record) in &mut self.keys {
                    if record.stands(instant) {
                        record.suspended = Some(instant);
                        suspended.push(key.clone());
                    }
                }
                // The feed tells of them as of keys revoked: whoever holds one is cut off.
                suspended.sort();
                for key in &suspended {
                    self.tell_of_key(key, sequence, instant);
                }
                // Which tokens and operators were revoked since the backup is not known either.
                self.tokens.add_all(instant);
                self.suspend_operators(instant);
            }
            Change::SetPlan { client, plan } => {
                self.change_client(client, |standing| {
                    Ok(Client { plan: plan.clone(), ..standing.clone() })
                })?;
            }
            Change::PutClients { put, disable } => {
                self.put_clients(put, disable, sequence, instant)?;
            }
            Change::DisableClient { client } => {
                self.change_client(client, |standing| match standing.disabled {
                    Some(_) => Err(CannotFollow::DisabledAlready(client.clone())),
                    None => Ok(Client { disabled: Some(instant), ..standing.clone() }),
                })?;
                // Whatever it came with: whoever works on something of it is told to stop.
                let (kind, id) = (Kind::Client, client.as_str().to_owned());
                self.revocations.push(Revoked { sequence, kind, id, since: instant });
            }
            Change::EnableClient { client } => {
                self.change_client(client, |standing| match standing.disabled {
                    None => Err(CannotFollow::NotDisabled(client.clone())),
                    Some(_) => Ok(Client { disabled: None, ..standing.clone() }),
                })?;
            }
            Change::CreateOperator { operator } => self.add_operator(operator, instant)?,
            Change::RotateOperator { operator, credential } => {
                self.rotate_operator(operator, credential, instant)?;
            }
            Change::RevokeOperator { operator } => self.revoke_operator(operator, instant)?,
            Change::ConfirmOperator { operator } => self.confirm_operator(operator)?,
            Change::BreakGlass { taken } => {
                let given = taken
                    .from(instant)
                    .filter(|given| !self.break_glasses.contains_key(&given.id))
                    .ok_or_else(|| CannotFollow::BreakGlass(taken.id.clone()))?;
                self.break_glasses.retain(|_, one| one.until >= instant);
                self.break_glasses.insert(given.id.clone(), Arc::new(given));
            }
            Change::ConfirmKey { key, client } => {
                let record = self
                    .keys
                    .get_mut(key)
                    .filter(|record| record.client.id == *client)
                    .ok_or_else(|| CannotFollow::UnknownKey(key.clone()))?;
                if record.revoked.is_some() {
                    return Err(CannotFollow::RevokedAlready(key.clone()));
                }
                if record.suspended.take().is_none() {
                    return Err(CannotFollow::NotSuspended(key.clone()));
                }
            }
        }
        self.sequence = sequence;
        Ok(())
    }

    /// Every key, oldest first.
    pub(crate) fn listed_keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self
            .keys
            .iter()
            .map(|(id, record)| Key {
                id: id.clone(),
                client: record.client.id.clone(),
                label: record.label.clone(),
                created: record.created,
                revoked: record.revoked,
                suspended: record.suspended,
                expires: record.expires,
            })
            .collect();
        keys.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        keys
    }

    fn tell_of_key(&mut self, key: &KeyId, sequence: u64, since: Instant) {
        let (kind, id) = (Kind::Authorization, key.authorization());
        self.revocations.push(Revoked { sequence, kind, id, since });
    }

    /// Puts another client in the place of the one of this id, for its keys too.
    pub(crate) fn change_client(
        &mut self,
        id: &ClientId,
        change: impl FnOnce(&Client) -> Result<Client, CannotFollow>,
    ) -> Result<(), CannotFollow> {
        let standing =
            self.clients.get_mut(id).ok_or_else(|| CannotFollow::UnknownClient(id.clone()))?;
        *standing = Arc::new(change(standing)?);
        for record in self.keys.values_mut().filter(|record| record.client.id == *id) {
            record.client = standing.clone();
        }
        Ok(())
    }

    pub(crate) fn add_client(&mut self, client: Client) -> Result<(), CannotFollow> {
        if self.clients.contains_key(&client.id) {
            return Err(CannotFollow::ClientExists(client.id));
        }
        self.clients.insert(client.id.clone(), Arc::new(client));
        Ok(())
    }

    fn add_key(&mut self, key: &NewKey, instant: Instant) -> Result<(), CannotFollow> {
        let Some(client) = self.clients.get(&key.client) else {
            return Err(CannotFollow::UnknownClient(key.client.clone()));
        };
        if self.keys.contains_key(&key.id) {
            return Err(CannotFollow::KeyExists(key.id.clone()));
        }
        if !(key.label.is_empty() || is_plain_text(&key.label)) {
            return Err(CannotFollow::Label);
        }
        let record = KeyRecord {
            hash: key.hash,
            client: client.clone(),
            label: key.label.clone(),
            created: instant,
            revoked: None,
            suspended: None,
            expires: None,
        };
        self.keys.insert(key.id.clone(), record);
        Ok(())
    }
}
