//! The grant: who asks, what they may do, and the one request it is good for.
//!
//! Absence never means more. What is optional can only add; what narrows is required, or stands
//! in a [`Rule`], where nothing unknown is ignored.

use std::fmt;
use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fhir_core::{Instant, ResourceId};
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::{Digest, GrantError, Instance, Interaction, Nonce, OperationName, Rule, TenantName};
use crate::{Types, Within, digest, text};

/// A grant's members, by the names of their JSON. [`Grant::new`] judges them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantFields {
    /// Which database.
    pub tenant: TenantName,
    /// The id of the app. Absent: no caller at all, see [`Grant::public`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The subject on whose behalf it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// That subject as a resource: `Practitioner/7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fhir_user: Option<Instance>,
    /// What durable work renews by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
    /// Launch context: the patient.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "text::optional"
    )]
    pub patient: Option<ResourceId>,
    /// Launch context: the encounter.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "text::optional"
    )]
    pub encounter: Option<ResourceId>,
    /// Purpose of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The id of a recorded break-glass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
    /// What is allowed: the union of these.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What no scope can say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub powers: Vec<Power>,
    /// Which queue the work waits in.
    pub lane: Lane,
    /// How many rows answering may read.
    pub budget: u64,
    /// The last instant at which the grant is good.
    #[serde(with = "text")]
    pub not_after: Instant,
    /// [`Interaction::code`] as the gateway classified the request.
    pub interaction: String,
    /// The digest of the request.
    pub digest: Digest,
    /// What the answer must return.
    pub nonce: Nonce,
    /// Names of members that must be understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub critical: Vec<String>,
}

/// The names of the members, as `critical` may list them.
const MEMBERS: &[&str] = &[
    "tenant",
    "client",
    "user",
    "fhirUser",
    "authorization",
    "patient",
    "encounter",
    "purpose",
    "breakGlass",
    "rules",
    "powers",
    "lane",
    "budget",
    "notAfter",
    "interaction",
    "digest",
    "nonce",
    "critical",
];

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

/// The grant was made for another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// Method, path or query differ.
    #[error("the grant is for another method, path or query")]
    Digest,
    /// The two sides understand the request differently.
    #[error("the grant is for another interaction")]
    Classification,
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
        let unknown = |name: &&String| !MEMBERS.contains(&name.as_str());
        if let Some(name) = self.critical.iter().find(unknown) {
            return Err(GrantError::UnknownCritical(name.clone()));
        }
        let texts = [
            ("client", &self.client),
            ("user", &self.user),
            ("authorization", &self.authorization),
            ("purpose", &self.purpose),
            ("breakGlass", &self.break_glass),
        ];
        for (name, value) in texts {
            if value.as_ref().is_some_and(|value| !text::is_plain(value)) {
                return Err(GrantError::InvalidText(name));
            }
        }
        let callers = [
            ("user", self.user.is_some()),
            ("fhirUser", self.fhir_user.is_some()),
            ("authorization", self.authorization.is_some()),
            ("patient", self.patient.is_some()),
            ("encounter", self.encounter.is_some()),
            ("breakGlass", self.break_glass.is_some()),
            ("powers", !self.powers.is_empty()),
        ];
        if let (None, Some((name, _))) = (&self.client, callers.iter().find(|(_, set)| *set)) {
            return Err(GrantError::CallerMissing(name));
        }
        self.rules.iter().try_for_each(|rule| self.check_rule(rule))
    }

    fn check_rule(&self, rule: &Rule) -> Result<(), GrantError> {
        if rule.actions.is_empty() || matches!(&rule.types, Types::Only(types) if types.is_empty())
        {
            return Err(GrantError::EmptyRule);
        }
        let wildcard = rule.actions.has_wildcard() || rule.types == Types::All;
        if self.client.is_none() && wildcard {
            return Err(GrantError::PublicWildcard);
        }
        if rule
            .filter
            .as_ref()
            .is_some_and(|filter| !text::is_plain(filter))
        {
            return Err(GrantError::InvalidText("filter"));
        }
        if !rule
            .without_labels
            .iter()
            .all(|label| text::is_plain(label))
        {
            return Err(GrantError::InvalidText("withoutLabels"));
        }
        match (&rule.within, &self.patient) {
            (Within::Compartment(of), patient) if of.resource_type.as_str() == "Patient" => {
                let patient = patient.as_ref().ok_or(GrantError::PatientMissing)?;
                (*patient == of.id)
                    .then_some(())
                    .ok_or(GrantError::PatientDiffers)
            }
            (Within::CareTeamOfUser, _) if self.fhir_user.is_none() => {
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
        Self::new(GrantFields {
            client: None,
            rules: opened,
            ..request
        })
    }

    /// Whether there is no caller.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        self.0.client.is_none()
    }

    /// The value of [`header::GRANT`](crate::header::GRANT).
    ///
    /// # Errors
    /// [`GrantError::TooLong`]: a grant is never cut.
    pub fn encode(&self) -> Result<String, GrantError> {
        let json = serde_json::to_vec(&self.0).map_err(GrantError::NotJson)?;
        let header = URL_SAFE_NO_PAD.encode(json);
        if header.len() > Self::MAX_LENGTH {
            return Err(GrantError::TooLong(header.len()));
        }
        Ok(header)
    }

    /// Reads a header. Unknown members are ignored unless `critical` lists them; names given
    /// twice are refused; everything that [`Grant::new`] judges is judged again.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn decode(header: &str) -> Result<Self, GrantError> {
        if header.len() > Self::MAX_LENGTH {
            return Err(GrantError::TooLong(header.len()));
        }
        let json = URL_SAFE_NO_PAD
            .decode(header)
            .map_err(GrantError::NotBase64)?;
        let Distinct(fields) = serde_json::from_slice(&json).map_err(GrantError::NotJson)?;
        Self::new(fields)
    }

    /// Whether this grant was made for this request, understood in this way.
    ///
    /// # Errors
    /// [`Disagreement`].
    pub fn agrees(
        &self,
        method: &str,
        path: &str,
        query: Option<&str>,
        interaction: &Interaction,
    ) -> Result<(), Disagreement> {
        if self.digest != digest(method, path, query) {
            return Err(Disagreement::Digest);
        }
        if self.interaction != interaction.code() {
            return Err(Disagreement::Classification);
        }
        Ok(())
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
        shown
            .field("tenant", &self.tenant)
            .field("client", &self.client);
        shown
            .field("interaction", &self.interaction)
            .field("rules", &self.rules);
        shown.finish_non_exhaustive()
    }
}

/// [`GrantFields`], read so that no name may stand twice, not even an unknown one.
struct Distinct(GrantFields);

/// An object's members, with the names seen so far.
struct Members<'de, A> {
    map: A,
    seen: Vec<&'de str>,
}

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Distinct;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Distinct, A::Error> {
                let seen = Vec::with_capacity(MEMBERS.len());
                let members = MapAccessDeserializer::new(Members { map, seen });
                GrantFields::deserialize(members).map(Distinct)
            }
        }
        from.deserialize_map(Object)
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        // Borrowed, so a name written with escapes is refused too.
        let Some(name) = self.map.next_key::<&'de str>()? else {
            return Ok(None);
        };
        if self.seen.contains(&name) {
            return Err(A::Error::custom("a name given twice"));
        }
        self.seen.push(name);
        seed.deserialize(BorrowedStrDeserializer::new(name))
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
