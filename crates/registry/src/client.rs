//! Clients: who may ask, what for and how often.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use contract::{
    Grant, GrantError, GrantFields, Ids, Instance, Instant, Interaction, Lane, Nonce, Power,
    ResourceId, Rule, digest,
};
use serde::{Deserialize, Serialize};

use crate::plan::PlanName;
use crate::role::RoleName;
use crate::text;

/// The longest name of a client or label of a key, in bytes.
pub const MAX_TEXT: usize = 200;

/// Bytes of a grant that differ from request to request: authorization, interaction, tenant.
const ROOM_FOR_THE_REQUEST: usize = 512;

/// A client's id: 1 to 64 characters of `A-Z a-z 0-9 . - _`, a letter or digit first. It stands
/// in logs and metrics, so it must not be the name of a person.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(Arc<str>);

/// The text is no client id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a client id has 1 to 64 characters of A-Z a-z 0-9 . - _ and begins with a letter or digit"
)]
pub struct InvalidClientId;

impl ClientId {
    /// Reads a client id.
    ///
    /// # Errors
    /// [`InvalidClientId`] when the text is not one.
    pub fn new(text: &str) -> Result<Self, InvalidClientId> {
        let valid = (1..=64).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if valid { Ok(Self(Arc::from(text))) } else { Err(InvalidClientId) }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = InvalidClientId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for ClientId {
    type Error = InvalidClientId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// How often a client may ask: a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RateLimit {
    /// Requests a second in the long run; at least 1.
    pub per_second: u32,
    /// Requests at once after a pause; at least 1.
    pub burst: u32,
}

/// A client to be made. The serde form is what the change log holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewClient {
    /// Its id, not taken yet.
    pub id: ClientId,
    /// A name for people, at most [`MAX_TEXT`] bytes.
    pub name: String,
    /// The role that says what it may do, where it has no rules of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// The patient in whose context it works, which rules within a compartment need.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text")]
    pub patient: Option<ResourceId>,
    /// The person who asks, as a resource (`Practitioner/7`), which rules within care teams need.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "text")]
    pub fhir_user: Option<Instance>,
    /// What it may do: the union of these. Empty beside a role.
    pub rules: Vec<Rule>,
    /// What no rule can say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub powers: Vec<Power>,
    /// Which queue its requests stand in.
    pub lane: Lane,
    /// How often it may ask; the gateway's default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<RateLimit>,
    /// The plan that says how much it may ask; its role's, or the default one, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanName>,
    /// What a request may cost at most; the server's default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
}

/// A client as it stands.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// A name for people.
    pub name: String,
    /// The role that says what it may do, where it has no rules of its own.
    pub role: Option<RoleName>,
    /// The patient in whose context it works.
    pub patient: Option<ResourceId>,
    /// The person who asks, as a resource.
    pub fhir_user: Option<Instance>,
    /// What it may do: the union of these.
    pub rules: Vec<Rule>,
    /// What no rule can say.
    pub powers: Vec<Power>,
    /// Which queue its requests stand in.
    pub lane: Lane,
    /// How often it may ask; the gateway's default where absent.
    pub limit: Option<RateLimit>,
    /// The plan that says how much it may ask; its role's, or the default one, where absent.
    pub plan: Option<PlanName>,
    /// What a request may cost at most; the server's default where absent.
    pub budget: Option<u64>,
    /// When it was made.
    pub created: Instant,
    /// Since when nothing of it is granted.
    pub disabled: Option<Instant>,
}

/// Why a client cannot be made as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClient {
    /// The name is empty, too long, or has control characters.
    #[error("a name has 1 to 200 bytes without control characters")]
    Name,
    /// A limit that would let nothing through.
    #[error("a limit has at least 1 request a second and a burst of at least 1")]
    Limit,
    /// Rules of its own beside a role.
    #[error("a client has a role or rules of its own, not both")]
    RoleAndRules,
    /// No request of it could be granted, in the contract's words.
    #[error("no request of the client could be granted: {0}")]
    Grant(String),
    /// Its rules leave no room in a grant for the rest of it.
    #[error("the client's rules are too long for a grant")]
    TooLong,
}

impl NewClient {
    /// A client with rules of its own, in the interactive lane, without powers, with default
    /// limits.
    #[must_use]
    pub fn with_rules(id: ClientId, name: &str, rules: Vec<Rule>) -> Self {
        Self {
            id,
            name: name.to_owned(),
            role: None,
            patient: None,
            fhir_user: None,
            rules,
            powers: Vec::new(),
            lane: Lane::Interactive,
            limit: None,
            plan: None,
            budget: None,
        }
    }

    /// A client that may what the role of this name says, as the configuration has it when it
    /// asks.
    #[must_use]
    pub fn of_role(id: ClientId, name: &str, role: RoleName) -> Self {
        Self { role: Some(role), ..Self::with_rules(id, name, Vec::new()) }
    }

    /// Checks what the types cannot.
    pub(crate) fn check(&self, ids: &dyn Ids) -> Result<(), InvalidClient> {
        if !is_plain_text(&self.name) {
            return Err(InvalidClient::Name);
        }
        if self.limit.is_some_and(|limit| limit.per_second == 0 || limit.burst == 0) {
            return Err(InvalidClient::Limit);
        }
        if self.role.is_some() && !self.rules.is_empty() {
            return Err(InvalidClient::RoleAndRules);
        }
        self.check_grant(ids)
    }

    /// Makes the grant that a request would get: what the contract refuses there, it refuses
    /// here, while someone is looking.
    fn check_grant(&self, ids: &dyn Ids) -> Result<(), InvalidClient> {
        let refused = |error| match error {
            GrantError::TooLong(_) => InvalidClient::TooLong,
            other => InvalidClient::Grant(other.to_string()),
        };
        let request = GrantFields::of_request(
            "default".parse().expect("`default` is a tenant's name"),
            &Interaction::classify("GET", "/metadata", None).expect("`/metadata` is FHIR"),
            digest("GET", "/metadata", None),
            Nonce::generate(ids),
            Instant::MIN,
        );
        let grant = Grant::new(GrantFields {
            client: Some(self.id.as_str().to_owned()),
            patient: self.patient.clone(),
            fhir_user: self.fhir_user.clone(),
            rules: self.rules.clone(),
            powers: self.powers.clone(),
            lane: self.lane,
            ..request
        })
        .map_err(refused)?;
        let length = grant.encode().map_err(refused)?.len();
        if length + ROOM_FOR_THE_REQUEST > Grant::MAX_LENGTH {
            return Err(InvalidClient::TooLong);
        }
        Ok(())
    }

    /// The client as it stands once it is made.
    #[must_use]
    pub fn into_client(self, created: Instant) -> Client {
        Client {
            id: self.id,
            name: self.name,
            role: self.role,
            patient: self.patient,
            fhir_user: self.fhir_user,
            rules: self.rules,
            powers: self.powers,
            lane: self.lane,
            limit: self.limit,
            plan: self.plan,
            budget: self.budget,
            created,
            disabled: None,
        }
    }
}

/// The patient's id is no business of a log.
impl fmt::Debug for NewClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NewClient")
            .field("id", &self.id)
            .field("role", &self.role)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// The patient's id is no business of a log.
impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("id", &self.id)
            .field("role", &self.role)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// Text that a person wrote and that may stand in a list: not empty, no control characters.
pub(crate) fn is_plain_text(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control)
}
