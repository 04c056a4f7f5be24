//! The grant: who asks, what they may do, and the one request it is good for.
//!
//! Absence never means more. What is optional can only add; what narrows is required, or stands
//! in a [`Rule`], where nothing unknown is ignored.

use std::fmt;
use std::ops::Deref;

use fhir_core::{Instant, ResourceId};
use serde::{Deserialize, Serialize};

use crate::{Digest, Instance, Interaction, Nonce, OperationName, Rule, TenantName, Types, Within};
use crate::{grant_codec::MEMBERS, json};

/// A grant's members, by the names of their JSON. [`Grant::new`] judges them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantFields {
    /// Which database.
    #[serde(with = "json")]
    pub tenant: TenantName,
    /// The id of the app. Absent: no caller at all, see [`Grant::public`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The subject on whose behalf it asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The name of the role that the rules come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// That subject as a resource: `Practitioner/7`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "json::optional")]
    pub fhir_user: Option<Instance>,
    /// What durable work renews by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
    /// Launch context: the patient.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "json::optional")]
    pub patient: Option<ResourceId>,
    /// Launch context: the encounter.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "json::optional")]
    pub encounter: Option<ResourceId>,
    /// Purpose of use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The id of a recorded break-glass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
    /// What is allowed: the union of these.
    pub rules: Vec<Rule>,
    /// What no scope can say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub powers: Vec<Power>,
    /// Which queue the work waits in.
    pub lane: Lane,
    /// How many rows answering may read.
    pub budget: u64,
    /// The last instant at which the grant is good.
    #[serde(with = "json")]
    pub not_after: Instant,
    /// [`Interaction::code`] as the gateway classified the request.
    pub interaction: String,
    /// The digest of the request.
    #[serde(with = "json")]
    pub digest: Digest,
    /// What the answer must return.
    #[serde(with = "json")]
    pub nonce: Nonce,
    /// Names of members that must be understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub critical: Vec<String>,
}

/// What no scope can say. An operation named like a power (`$expunge`) takes both, the power and
/// a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is the name of what it lets be done")]
pub enum Power {
    Expunge,
    Reindex,
    Packages,
    Jobs,
    Explain,
    Audit,
}

/// Which queue work waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Someone is waiting.
    Interactive,
    /// A program is waiting.
    System,
    /// No one is waiting.
    Bulk,
}

/// A grant whose members agree with each other. Reads as its [`GrantFields`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant(GrantFields);

/// Why a grant cannot be made or read. Nothing a client sends can cause it.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The header would be longer than [`Grant::MAX_LENGTH`].
    #[error("the grant has {0} bytes, too many")]
    TooLong(usize),
    /// The header's alphabet.
    #[error("the grant is not base64url without padding")]
    NotBase64(#[source] base64::DecodeError),
    /// The syntax, a member's form, a required member's absence, or a name given twice.
    #[error("the grant is not the JSON it should be")]
    NotJson(#[source] serde_json::Error),
    /// A member that must be understood is not.
    #[error("`{0}` is critical and unknown here")]
    UnknownCritical(String),
    /// A rule within a patient's compartment, and no patient in the grant.
    #[error("a rule within a patient's compartment, and the grant names no patient")]
    PatientMissing,
    /// A rule within the compartment of another patient than the grant's.
    #[error("a rule within the compartment of another patient than the grant's")]
    PatientDiffers,
    /// A member, or a part of the data, that takes a caller whom the grant does not name.
    #[error("`{0}` takes a caller that the grant does not name")]
    CallerMissing(&'static str),
    /// A rule without a type or an action.
    #[error("a rule that names no type or no action")]
    EmptyRule,
    /// What is open without a caller is opened by name, type by type, action by action.
    #[error("a wildcard in a rule that needs no caller")]
    PublicWildcard,
    /// A text that is empty, too long or has control characters.
    #[error("a text that is empty, too long or has control characters")]
    InvalidText,
}

impl GrantFields {
    /// The members that a request gives: no caller, no rules, nothing to spare. The rest is added
    /// with struct update syntax.
    #[must_use]
    pub fn of_request(
        tenant: TenantName,
        interaction: &Interaction,
        digest: Digest,
        nonce: Nonce,
        not_after: Instant,
    ) -> Self {
        Self {
            tenant,
            client: None,
            user: None,
            role: None,
            fhir_user: None,
            authorization: None,
            patient: None,
            encounter: None,
            purpose: None,
            break_glass: None,
            rules: Vec::new(),
            powers: Vec::new(),
            lane: Lane::Interactive,
            budget: 0,
            not_after,
            interaction: interaction.code().to_owned(),
            digest,
            nonce,
            critical: Vec::new(),
        }
    }

    fn check(&self) -> Result<(), GrantError> {
        let unknown = |name: &&String| !MEMBERS.split(' ').any(|member| member == *name);
        if let Some(name) = self.critical.iter().find(unknown) {
            return Err(GrantError::UnknownCritical(name.clone()));
        }
        let who = [&self.client, &self.user, &self.role, &self.authorization, &self.break_glass];
        let mut texts = who.into_iter().chain([&self.purpose]).flatten();
        if !texts.all(|text| json::is_plain(text)) {
            return Err(GrantError::InvalidText);
        }
        let context =
            self.patient.is_some() || self.encounter.is_some() || self.fhir_user.is_some();
        let members = who.into_iter().any(Option::is_some) || context || !self.powers.is_empty();
        if self.client.is_none() && members {
            return Err(GrantError::CallerMissing("member"));
        }
        self.rules.iter().try_for_each(|rule| self.check_rule(rule))
    }

    fn check_rule(&self, rule: &Rule) -> Result<(), GrantError> {
        let no_type = matches!(&rule.types, Types::Only(types) if types.is_empty());
        if no_type || rule.actions.is_empty() {
            return Err(GrantError::EmptyRule);
        }
        let wildcard = rule.actions.has_wildcard() || rule.types == Types::All;
        if self.client.is_none() && wildcard {
            return Err(GrantError::PublicWildcard);
        }
        let mut texts = rule.filter.iter().chain(&rule.without_labels);
        if !texts.all(|text| json::is_plain(text)) {
            return Err(GrantError::InvalidText);
        }
        match (&rule.within, &self.patient) {
            (Within::Compartment(of), patient) if of.resource_type.as_str() == "Patient" => {
                let patient = patient.as_ref().ok_or(GrantError::PatientMissing)?;
                (*patient == of.id).then_some(()).ok_or(GrantError::PatientDiffers)
            }
            (Within::CareTeamOf, _) if self.fhir_user.is_none() => {
                Err(GrantError::CallerMissing("careTeamOf(user)"))
            }
            (Within::Own, _) if self.client.is_none() => Err(GrantError::CallerMissing("own")),
            _ => Ok(()),
        }
    }
}

impl Grant {
    /// The longest header, in bytes.
    pub const MAX_LENGTH: usize = 6 * 1024;

    /// A grant of these members.
    ///
    /// # Errors
    /// [`GrantError`] when they contradict each other; a rule within a patient's compartment
    /// takes that patient.
    pub fn new(fields: GrantFields) -> Result<Self, GrantError> {
        fields.check()?;
        Ok(Self(fields))
    }

    /// The grant of a request without a caller: capabilities, and what the configuration opens by
    /// name.
    ///
    /// # Errors
    /// [`GrantError`] when `request` has a caller's members, or a rule has a wildcard.
    pub fn public(request: GrantFields, opened: Vec<Rule>) -> Result<Self, GrantError> {
        let (client, rules) = (None, opened);
        Self::new(GrantFields { client, rules, ..request })
    }

    /// Whether there is no caller.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        self.0.client.is_none()
    }

    /// Whether the grant is no longer good.
    #[must_use]
    pub fn expired(&self, now: Instant) -> bool {
        now > self.not_after
    }
}

impl Power {
    /// The power that an operation of this name takes beside a rule.
    #[must_use]
    pub fn for_operation(name: &OperationName) -> Option<Self> {
        Some(match name.as_str() {
            "$expunge" => Self::Expunge,
            "$reindex" => Self::Reindex,
            "$packages" => Self::Packages,
            "$jobs" => Self::Jobs,
            "$explain" => Self::Explain,
            "$audit" => Self::Audit,
            _ => return None,
        })
    }
}

impl Deref for Grant {
    type Target = GrantFields;

    fn deref(&self) -> &GrantFields {
        &self.0
    }
}

/// Names no one and no patient.
impl fmt::Debug for GrantFields {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("GrantFields");
        shown.field("tenant", &self.tenant).field("client", &self.client);
        shown.field("interaction", &self.interaction).finish_non_exhaustive()
    }
}
