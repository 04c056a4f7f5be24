//! The registry: opened once, asked on every request, changed now and then.
//!
//! Asking takes no lock: the state is published whole behind an [`ArcSwap`]. A change is judged
//! against the state, written to the log and synced, and only then published and answered.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use contract::{Actions, Clock, Ids, ResourceId, Revocation, RevocationFeed, Rule, Types};
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;

use crate::audit::{Audit, RecordedChange, ViewReport};
use crate::break_glass::{BreakGlass, MOST_AT_A_TIME, NewBreakGlass};
use crate::change::{Actor, Change, NewKey, Subject};
use crate::client::{Client, ClientId, NewClient};
use crate::error::{ChangeError, OpenError};
use crate::files;
use crate::format;
use crate::key::{self, CreatedKey, Key, KeyId};
use crate::log::{AppendError, ChangeLog, Cut, Entry};
use crate::plan::PlanName;
use crate::state::{CannotFollow, State};
use crate::tokens::{TokenFacts, WhichTokens};
use crate::trail::Trail;

/// The id of the client that the first start makes.
pub const OWNER: &str = "owner";

pub(crate) const LOG: &str = "changes.log";
const VIEW: &str = "view";

/// Clients, keys and revocations, durable.
pub struct Registry {
    state: ArcSwap<State>,
    writer: Mutex<Writer>,
    trail: Trail,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

struct Writer {
    log: ChangeLog,
    audit: Audit,
}

/// What stands beside the registry: an empty registry is a first start only where no tenant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// No tenant's data is there.
    NoTenant,
    /// A tenant's data is there.
    ExistingTenant,
}

/// An open registry and how it was found.
#[derive(Debug)]
pub struct Opened {
    /// The registry.
    pub registry: Registry,
    /// Nothing was ever changed in it: the owner is still to be made.
    pub first_start: bool,
    /// What opening found and did.
    pub report: OpenReport,
}

/// What opening found and did, for the log of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// How many changes the log holds.
    pub changes: u64,
    /// A torn end that was cut off.
    pub cut: Option<Cut>,
    /// What was done with the view.
    pub view: ViewReport,
}

/// Whom a presented key stands for.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The client, with its rules.
    pub client: Arc<Client>,
    /// The key.
    pub key: KeyId,
    /// The id of the authorization: `key:ID`.
    pub authorization: String,
}

/// What an authorization is worth now.
#[derive(Debug, Clone)]
pub enum Renewed {
    /// It stands, with the client as it is now.
    Standing(Caller),
    /// It was revoked, stands still, or never was.
    Gone,
}

impl Registry {
    /// Opens the registry in `dir`, making it where nothing is.
    ///
    /// The caller holds the lock of the directory. A change log whose end a crash left short or
    /// zero-filled is cut back to its last whole change, with a copy kept; any other damage is an
    /// error and nothing is touched.
    ///
    /// # Errors
    /// [`OpenError::RegistryMissing`] when there is no change beside an existing tenant, and its
    /// other conditions.
    pub fn open(
        dir: &Path,
        beside: Beside,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Opened, OpenError> {
        let path = dir.join(LOG);
        let format = format::found(dir)?;
        if beside == Beside::ExistingTenant && files::is_absent_or_empty(&path) {
            return Err(OpenError::RegistryMissing { dir: dir.to_owned() });
        }
        files::private_dir(dir).map_err(OpenError::io("create", dir))?;
        match format {
            None => format::begin(dir, &path)?,
            Some(_) if path.exists() => {}
            Some(_) => return Err(OpenError::LogMissing { path }),
        }
        let (log, entries, cut) = ChangeLog::open(&path)?;
        if beside == Beside::ExistingTenant && entries.is_empty() {
            return Err(OpenError::RegistryMissing { dir: dir.to_owned() });
        }
        let changes = read_changes(&path, entries)?;
        let state = replay(&path, &changes)?;
        let (audit, view) = Audit::open(&dir.join(VIEW), &changes);
        let first_start = changes.is_empty();
        let trail = Trail::open(dir, clock.clone())?;
        Ok(Opened {
            registry: Self {
                state: ArcSwap::from_pointee(state),
                writer: Mutex::new(Writer { log, audit }),
                trail,
                clock,
                ids,
            },
            first_start,
            report: OpenReport { changes: changes.len() as u64, cut, view },
        })
    }

    /// The first start's change: the client `owner` (all types, all actions, no powers) and its
    /// key. `None` when anything was ever changed: an owner is made once.
    ///
    /// # Errors
    /// [`ChangeError`] when the change could not be made durable.
    pub fn owner(&self, by: &Actor) -> Result<Option<CreatedKey>, ChangeError> {
        self.owner_kept(by, |_| Ok(()))
    }

    /// Like [`Self::owner`], with the key in `keep`'s hands before anybody is owner: where it
    /// fails, nothing is changed, and what it kept is worth nothing.
    ///
    /// # Errors
    /// `keep`'s, or [`ChangeError`] when the change could not be made durable.
    pub fn owner_kept<E: From<ChangeError>>(
        &self,
        by: &Actor,
        keep: impl FnOnce(&CreatedKey) -> Result<(), E>,
    ) -> Result<Option<CreatedKey>, E> {
        if self.state.load().sequence > 0 {
            return Ok(None);
        }
        let id = ClientId::new(OWNER).expect("the owner's id has a client id's form");
        // Rules of its own: no configuration takes them away.
        let everything = Rule::within_all(Types::All, Actions::all());
        let client = NewClient::with_rules(id.clone(), "Owner", vec![everything]);
        let (key, created) = self.draw_key(&id, "made at the first start");
        keep(&created)?;
        match self.change(&Change::FirstStart { client, key }, by) {
            Ok(()) => Ok(Some(created)),
            Err(ChangeError::Refused(CannotFollow::StartedBefore)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a client.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when its id is taken or it is wrong in itself; otherwise the
    /// change could not be made durable.
    pub fn create_client(&self, client: NewClient, by: &Actor) -> Result<Arc<Client>, ChangeError> {
        // Here and not when the log is replayed: a later release may judge more strictly, and
        // must still open.
        client.check(self.ids.as_ref()).map_err(CannotFollow::from)?;
        let id = client.id.clone();
        self.change(&Change::CreateClient { client }, by)?;
        Ok(self.client(&id).expect("a client stands once its change is published"))
    }

    /// The client of this id.
    #[must_use]
    pub fn client(&self, id: &ClientId) -> Option<Arc<Client>> {
        self.state.load().clients.get(id).cloned()
    }

    /// Every client, by id.
    #[must_use]
    pub fn clients(&self) -> Vec<Arc<Client>> {
        self.state.load().clients.values().cloned().collect()
    }

    /// Gives a client a plan, or takes its own away where `plan` is `None`.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when there is no such client; otherwise the change could not be
    /// made durable.
    pub fn set_plan(
        &self,
        client: &ClientId,
        plan: Option<PlanName>,
        by: &Actor,
    ) -> Result<(), ChangeError> {
        self.change(&Change::SetPlan { client: client.clone(), plan }, by)
    }

    /// Grants nothing of a client from the answer on, whatever it comes with.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when there is no such client or it is disabled already; otherwise
    /// the change could not be made durable.
    pub fn disable_client(&self, client: &ClientId, by: &Actor) -> Result<(), ChangeError> {
        self.change(&Change::DisableClient { client: client.clone() }, by)
    }

    /// Lets a disabled client do again what it could before.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when there is no such client or it is not disabled; otherwise the
    /// change could not be made durable.
    pub fn enable_client(&self, client: &ClientId, by: &Actor) -> Result<(), ChangeError> {
        self.change(&Change::EnableClient { client: client.clone() }, by)
    }

    /// Makes a key for a client. Its text exists in the answer alone.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when there is no such client or the label is none; otherwise the
    /// change could not be made durable.
    pub fn create_key(
        &self,
        client: &ClientId,
        label: &str,
        by: &Actor,
    ) -> Result<CreatedKey, ChangeError> {
        let (key, created) = self.draw_key(client, label);
        self.change(&Change::CreateKey { key }, by)?;
        Ok(created)
    }

    /// Every key, revoked ones too, oldest first.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.state.load().listed_keys()
    }

    /// Revokes a key: from the answer on it authenticates nobody.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when there is no such key or it is revoked already; otherwise the
    /// change could not be made durable.
    pub fn revoke_key(&self, key: &KeyId, by: &Actor) -> Result<(), ChangeError> {
        let client = match self.state.load().keys.get(key) {
            Some(record) => record.client.id.clone(),
            None => return Err(CannotFollow::UnknownKey(key.clone()).into()),
        };
        let key = key.clone();
        self.change(&Change::RevokeKey { key, client }, by)
    }

    /// Makes a key in the place of another, with its client and label; the other is good for so
    /// many hours more.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when there is no such key, it is not good, or the hours are too
    /// many; otherwise the change could not be made durable.
    pub fn rotate_key(
        &self,
        old: &KeyId,
        hours: u32,
        by: &Actor,
    ) -> Result<CreatedKey, ChangeError> {
        let (client, label) = match self.state.load().keys.get(old) {
            Some(record) => (record.client.id.clone(), record.label.clone()),
            None => return Err(CannotFollow::UnknownKey(old.clone()).into()),
        };
        let (key, created) = self.draw_key(&client, &label);
        self.change(&Change::RotateKey { key, old: old.clone(), hours }, by)?;
        Ok(created)
    }

    /// Revokes tokens of issuers: from the answer on they are believed no more.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when `tokens` can name none; otherwise the change could not be
    /// made durable.
    pub fn revoke_tokens(&self, tokens: WhichTokens, by: &Actor) -> Result<(), ChangeError> {
        self.change(&Change::RevokeTokens { tokens }, by)
    }

    /// Whether a token was revoked, by its id, its client or its user.
    #[must_use]
    pub fn is_revoked(&self, token: &TokenFacts<'_>) -> bool {
        self.state.load().tokens.ends(token)
    }

    /// Makes every key that is good stand still until it is confirmed: what was revoked after a
    /// backup was made is not known to it.
    ///
    /// # Errors
    /// [`ChangeError`] when the change could not be made durable.
    pub fn suspend_keys(&self, by: &Actor) -> Result<(), ChangeError> {
        self.change(&Change::SuspendKeys {}, by)
    }

    /// Makes a suspended key good again.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when there is no such key, it is revoked, or it is not suspended;
    /// otherwise the change could not be made durable.
    pub fn confirm_key(&self, key: &KeyId, by: &Actor) -> Result<(), ChangeError> {
        let client = match self.state.load().keys.get(key) {
            Some(record) => record.client.id.clone(),
            None => return Err(CannotFollow::UnknownKey(key.clone()).into()),
        };
        let key = key.clone();
        self.change(&Change::ConfirmKey { key, client }, by)
    }

    /// Whom a presented key stands for; `None` for every other text, and for a key that is revoked
    /// or suspended.
    ///
    /// The secret's hash is compared in constant time. That an id exists is no secret: ids stand
    /// in lists and logs.
    #[must_use]
    pub fn authenticate(&self, presented: &str) -> Option<Caller> {
        let (id, hash) = key::read_presented(presented)?;
        let state = self.state.load();
        let (key, record) = state.keys.get_key_value(id)?;
        let same = bool::from(record.hash.0.ct_eq(&hash.0));
        (same && record.is_good(self.clock.now())).then(|| Caller {
            client: record.client.clone(),
            key: key.clone(),
            authorization: key.authorization(),
        })
    }

    /// The key that a presented text says to be, good or not, where there is one of that id.
    #[must_use]
    pub fn named_by(&self, presented: &str) -> Option<KeyId> {
        let (id, _) = key::read_presented(presented)?;
        self.state.load().keys.get_key_value(id).map(|(key, _)| key.clone())
    }

    /// Takes wider rights for a patient: in force from the answer on, for so many minutes.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when the reason is none or the client has taken too many;
    /// otherwise the change could not be made durable.
    pub fn break_glass(
        &self,
        caller: &Caller,
        patient: &ResourceId,
        reason: &str,
        minutes: u32,
    ) -> Result<Arc<BreakGlass>, ChangeError> {
        let client = &caller.client.id;
        let state = self.state.load();
        let now = self.clock.now();
        let in_force = state.break_glasses.values();
        let in_force = in_force.filter(|one| one.client == *client && one.until >= now).count();
        if in_force >= MOST_AT_A_TIME {
            return Err(CannotFollow::TooManyBreakGlasses(client.clone()).into());
        }
        let id = key::draw_id(self.ids.as_ref()).to_string();
        let whose = (client, &caller.key);
        let taken = NewBreakGlass::new(id.clone(), whose, patient, reason, minutes)?;
        self.change(&Change::BreakGlass { taken }, &Actor::key(&caller.key))?;
        let given = self.state.load().break_glasses.get(&id).cloned();
        given.ok_or_else(|| CannotFollow::BreakGlass(id).into())
    }

    /// The break-glass of this id, where it is this client's and in force.
    #[must_use]
    pub fn break_glass_in_force(&self, id: &str, client: &ClientId) -> Option<Arc<BreakGlass>> {
        let given = self.state.load().break_glasses.get(id).cloned()?;
        (given.client == *client && given.until >= self.clock.now()).then_some(given)
    }

    /// Why a presented text stands for nobody, in words for an operator, with the id of the key
    /// that it names where there is one. It tells no more of a secret than that it differs.
    #[must_use]
    pub fn why_not(&self, presented: &str) -> String {
        let Some((id, hash)) = key::read_presented(presented) else {
            return "what was presented has not a key's form".to_owned();
        };
        let state = self.state.load();
        match state.keys.get(id) {
            None => format!("there is no key {id}; make one"),
            Some(record) if !bool::from(record.hash.0.ct_eq(&hash.0)) => {
                format!("the secret is not that of the key {id}; make another key")
            }
            Some(record) if record.revoked.is_some() => {
                format!("the key {id} is revoked; make another key")
            }
            Some(record) if record.has_expired(self.clock.now()) => {
                format!("another key has taken the place of {id}; use that one")
            }
            Some(record) if record.suspended.is_some() => {
                format!("the key {id} is suspended since a restore; confirm it")
            }
            Some(record) => {
                format!("the client {} of the key {id} is disabled; enable it", record.client.id)
            }
        }
    }

    /// What the authorization of some earlier caller is worth now.
    #[must_use]
    pub fn renew(&self, authorization: &str) -> Renewed {
        let Some(id) = KeyId::from_authorization(authorization) else {
            return Renewed::Gone;
        };
        match self.state.load().keys.get(&id) {
            Some(record) if record.is_good(self.clock.now()) => Renewed::Standing(Caller {
                client: record.client.clone(),
                authorization: id.authorization(),
                key: id,
            }),
            _ => Renewed::Gone,
        }
    }

    /// What was revoked after `cursor`, at most `limit` entries, and those that the last one's change
    /// revoked with it. A cursor that this registry
    /// never gave is answered from 0, which its asker notices.
    #[must_use]
    pub fn revocations(&self, cursor: u64, limit: usize) -> RevocationFeed {
        let state = self.state.load();
        let after = if cursor > state.sequence { 0 } else { cursor };
        let from = state.revocations.partition_point(|revoked| revoked.sequence <= after);
        let left = &state.revocations[from..];
        // What one change revoked is told together: the cursor is that change's number.
        let end = match left.get(limit.saturating_sub(1)) {
            Some(last) if limit > 0 => {
                left.partition_point(|revoked| revoked.sequence <= last.sequence)
            }
            _ => left.len().min(limit),
        };
        let page = &left[..end];
        let cursor = match page.last() {
            Some(last) if page.len() < left.len() => last.sequence,
            None if !left.is_empty() => after,
            _ => state.sequence,
        };
        let entries = page.iter().map(|revoked| Revocation {
            kind: revoked.kind,
            id: revoked.id.clone(),
            since: revoked.since,
        });
        RevocationFeed { after, cursor, entries: entries.collect() }
    }

    /// The change audit: changes about `subject` (all where `None`) after number `after`, oldest
    /// first, at most `limit`.
    ///
    /// # Errors
    /// [`OpenError`] when the log can no longer be read as it was.
    pub fn changes(
        &self,
        subject: Option<&Subject>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RecordedChange>, OpenError> {
        let writer = &mut *self.writer.lock();
        writer.audit.changes(&writer.log, subject, after, limit)
    }

    /// The trail of what was asked of the registry and the gateway, and by whom.
    #[must_use]
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    pub(crate) fn state(&self) -> arc_swap::Guard<Arc<State>> {
        self.state.load()
    }

    pub(crate) fn ids(&self) -> &dyn Ids {
        self.ids.as_ref()
    }

    fn draw_key(&self, client: &ClientId, label: &str) -> (NewKey, CreatedKey) {
        let id = key::draw_id(self.ids.as_ref());
        let (secret, hash) = key::draw_secret(self.ids.as_ref(), &id);
        let key = NewKey { id: id.clone(), client: client.clone(), label: label.to_owned(), hash };
        (key, CreatedKey { key_id: id, secret })
    }

    /// Judges, writes, syncs, publishes: in this order, one change at a time.
    pub(crate) fn change(&self, change: &Change, by: &Actor) -> Result<(), ChangeError> {
        let json = serde_json::to_vec(change).map_err(ChangeError::Form)?;
        let mut writer = self.writer.lock();
        let instant = writer.log.next_instant(self.clock.now());
        let sequence = writer.log.head().sequence + 1;
        let next = self.state.load().after(change, sequence, instant)?;
        let entry = writer.log.append(instant, by.as_str(), json).map_err(|error| match error {
            AppendError::TooLong => ChangeError::TooLong,
            AppendError::Io(error) => ChangeError::Io(error),
            AppendError::Broken => ChangeError::Broken,
        })?;
        self.state.store(Arc::new(next));
        writer.audit.add(&entry, change);
        Ok(())
    }
}

/// The changes that the log's entries hold.
pub(crate) fn read_changes(
    path: &Path,
    entries: Vec<Entry>,
) -> Result<Vec<(Entry, Change)>, OpenError> {
    entries
        .into_iter()
        .map(|entry| match serde_json::from_slice(&entry.change) {
            Ok(change) => Ok((entry, change)),
            Err(source) => Err(OpenError::UnknownChange {
                path: path.to_owned(),
                offset: entry.offset,
                sequence: entry.sequence,
                source,
            }),
        })
        .collect()
}

fn replay(path: &Path, changes: &[(Entry, Change)]) -> Result<State, OpenError> {
    let mut state = State::default();
    for (entry, change) in changes {
        state.apply(change, entry.sequence, entry.instant).map_err(|source| {
            OpenError::CannotFollow {
                path: path.to_owned(),
                offset: entry.offset,
                sequence: entry.sequence,
                source,
            }
        })?;
    }
    Ok(state)
}

/// Nothing of the state: it names clients and what they may do.
impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Registry").finish_non_exhaustive()
    }
}
