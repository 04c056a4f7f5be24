//! The registry: opened once, asked on every request, changed now and then.
//!
//! Asking takes no lock: the state is published whole behind an [`ArcSwap`]. A change is judged
//! against the state, written to the log and synced, and only then published and answered. Where
//! the log is in PostgreSQL, a change that another gateway was quicker than is judged again.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use contract::{Actions, Clock, Ids, ResourceId, Revocation, RevocationFeed, Rule, Types};
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;

use crate::audit::RecordedChange;
use crate::backend::{self, Backend, Found};
use crate::break_glass::{BreakGlass, MOST_AT_A_TIME, NewBreakGlass};
use crate::change::{Actor, Change, NewKey, Subject};
use crate::client::{Client, ClientId, NewClient};
use crate::error::{ChangeError, OpenError};
use crate::key::{self, CreatedKey, Key, KeyId};
use crate::log::AppendError;
use crate::moving;
use crate::plan::PlanName;
use crate::postgres::{Follower, Standing};
use crate::state::{CannotFollow, State};
use crate::tokens::{TokenFacts, WhichTokens};
use crate::trail::Trail;

/// The id of the client that the first start makes.
pub const OWNER: &str = "owner";

/// Clients, keys and revocations, durable.
pub struct Registry {
    pub(crate) state: Arc<ArcSwap<State>>,
    pub(crate) writer: Arc<Mutex<Backend>>,
    /// Where other gateways change it too.
    pub(crate) follower: Option<Follower>,
    /// The directory in which it is still to be noted that the registry is in PostgreSQL.
    pub(crate) unnoted: Option<PathBuf>,
    pub(crate) trail: Trail,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

/// How often a change is judged anew because other gateways were quicker.
const MOST_TRIES: usize = 100;

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
    /// Whether what other gateways change is seen here.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.follower.as_ref().map_or(Standing::Alone, Follower::standing)
    }

    /// How many changes the registry has, as far as this process knows.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.state.load().sequence
    }

    /// Reads what other gateways have changed up to now. There is nothing to read of files.
    ///
    /// # Errors
    /// [`ChangeError`] when PostgreSQL does not answer, or what it answers cannot be followed.
    pub fn catch_up(&self) -> Result<(), ChangeError> {
        self.writer.lock().catch_up(&self.state)?;
        Ok(())
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
            Ok(()) => {
                if let Some(Err(error)) = self.unnoted.as_deref().map(moving::note_in_postgres) {
                    // The next start does it.
                    tracing::warn!(%error, "it was not noted that the registry is in PostgreSQL");
                }
                Ok(Some(created))
            }
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
        let (client, _) = self.known_key(key)?;
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
        let (client, label) = self.known_key(old)?;
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
        let (client, _) = self.known_key(key)?;
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
    /// [`ChangeError::Refused`] when the reason is none, the client has taken too many, or the key
    /// is good no more ([`CannotFollow::NotGood`]); otherwise the change could not be made durable.
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
        // The caller was good when its request came; its body may have taken half a minute.
        let still_good = |state: &State| match state.keys.get(&caller.key) {
            Some(record) if record.is_good(self.clock.now()) => Ok(()),
            _ => Err(CannotFollow::NotGood(caller.key.clone())),
        };
        self.change_where(&Change::BreakGlass { taken }, &Actor::key(&caller.key), still_good)?;
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
        let found = self.writer.lock().changes(subject, after, limit);
        match found {
            Found::Read(changes) => changes,
            // Others' changes are taken up, and own ones made, while PostgreSQL is read.
            Found::Elsewhere(database) => backend::changes_in(&database, subject, after, limit),
        }
    }

    pub(crate) fn ids(&self) -> &dyn Ids {
        self.ids.as_ref()
    }

    /// The trail of what was asked of the registry and the gateway, and by whom.
    #[must_use]
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    pub(crate) fn state(&self) -> arc_swap::Guard<Arc<State>> {
        self.state.load()
    }

    fn draw_key(&self, client: &ClientId, label: &str) -> (NewKey, CreatedKey) {
        let id = key::draw_id(self.ids.as_ref());
        let (secret, hash) = key::draw_secret(self.ids.as_ref(), &id);
        let key = NewKey { id: id.clone(), client: client.clone(), label: label.to_owned(), hash };
        (key, CreatedKey { key_id: id, secret })
    }

    /// The client and label of a key, which another gateway may have made a moment ago.
    fn known_key(&self, key: &KeyId) -> Result<(ClientId, String), ChangeError> {
        let known = || {
            let state = self.state.load();
            let record = state.keys.get(key)?;
            Some((record.client.id.clone(), record.label.clone()))
        };
        if let Some(known) = known() {
            return Ok(known);
        }
        self.catch_up()?;
        known().ok_or_else(|| CannotFollow::UnknownKey(key.clone()).into())
    }

    /// Looks whether nothing was changed since `by` looked, where they say after what they did
    /// ([`Actor::only_after`]): for who found that nothing is to be done.
    ///
    /// # Errors
    /// [`ChangeError::Overtaken`] where something was.
    pub fn check_unchanged(&self, by: &Actor) -> Result<(), ChangeError> {
        match by.follows() {
            Some(sequence) if sequence != self.sequence() => Err(ChangeError::Overtaken),
            _ => Ok(()),
        }
    }

    /// Judges, writes, syncs, publishes: in this order, one change at a time.
    pub(crate) fn change(&self, change: &Change, by: &Actor) -> Result<(), ChangeError> {
        self.change_where(change, by, |_| Ok(()))
    }

    /// The same, where what it follows is as `judge` wants it, each time that it is judged.
    pub(crate) fn change_where(
        &self,
        change: &Change,
        by: &Actor,
        judge: impl Fn(&State) -> Result<(), CannotFollow>,
    ) -> Result<(), ChangeError> {
        let json = serde_json::to_vec(change).map_err(ChangeError::Form)?;
        let mut writer = self.writer.lock();
        for _ in 0..MOST_TRIES {
            let head = writer.head();
            if by.follows().is_some_and(|sequence| sequence != head.sequence) {
                return Err(ChangeError::Overtaken);
            }
            let instant = head.next_instant(self.clock.now());
            let state = self.state.load();
            let next = judge(&state).and_then(|()| state.after(change, head.sequence + 1, instant));
            let next = match next {
                Ok(next) => next,
                // It may be wrong only as long as it is not known what others did.
                Err(refusal) => match writer.catch_up(&self.state)? {
                    0 => return Err(refusal.into()),
                    _ => continue,
                },
            };
            match writer.append(instant, by.as_str(), change, &json) {
                Ok(()) => {
                    self.state.store(Arc::new(next));
                    return Ok(());
                }
                Err(AppendError::Overtaken) => drop(writer.catch_up(&self.state)?),
                Err(AppendError::TooLong) => return Err(ChangeError::TooLong),
                Err(AppendError::Io(error)) => return Err(ChangeError::Io(error)),
                Err(AppendError::Broken) => return Err(ChangeError::Broken),
                Err(AppendError::Away(failure)) => return Err(ChangeError::Away(failure)),
                Err(AppendError::Unknown(failure)) => return Err(ChangeError::Unknown(failure)),
            }
        }
        Err(ChangeError::Contended)
    }
}

/// Nothing of the state: it names clients and what they may do.
impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Registry").finish_non_exhaustive()
    }
}
