//! The way back: durable work asks for a fresh grant before each step, and hears what is revoked.
//! The types alone; who asks whom over which socket is the two sides' business.

use fhir_core::Instant;
use serde::{Deserialize, Serialize};

use crate::{Digest, Grant, GrantError, digest, json};

/// The server asks: may this go on?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// The grant's `authorization`.
    pub authorization: String,
}

/// The gateway's side answers: `{"grant": "…"}` with the header's text, or `"gone"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RenewalAnswer {
    /// A grant for the next step.
    Grant(String),
    /// The authorization is no more: the work ends.
    Gone,
}

/// The answer to a renewal cannot be used: the work waits.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The grant itself.
    #[error("the renewed grant cannot be read")]
    Unreadable(#[from] GrantError),
    /// It is for another authorization or for a request, has expired, or is good for longer than
    /// [`Renewal::MAX_LIFE`].
    #[error("the renewed grant is for something else or another time")]
    Unfit,
}

impl Renewal {
    /// The longest life of a renewed grant, in microseconds.
    pub const MAX_LIFE: i64 = 5_000_000;
    /// The `interaction` of a renewed grant: none that a request could have.
    pub const INTERACTION: &str = "renewal";

    /// The `digest` of a renewed grant: that of a request `RENEW` for the authorization.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest("RENEW", &self.authorization, None)
    }

    /// The grant in the answer, good for one step that begins now; `None`: the work ends.
    ///
    /// # Errors
    /// [`RenewalError`], and then no step begins.
    pub fn accept(
        &self,
        answer: &RenewalAnswer,
        now: Instant,
    ) -> Result<Option<Grant>, RenewalError> {
        let RenewalAnswer::Grant(header) = answer else {
            return Ok(None);
        };
        let grant = Grant::decode(header)?;
        let life = grant.not_after.as_micros() - now.as_micros();
        let fits = grant.authorization.as_ref() == Some(&self.authorization)
            && grant.interaction == Self::INTERACTION
            && grant.digest == self.digest()
            && (0..=Self::MAX_LIFE).contains(&life);
        fits.then_some(Some(grant)).ok_or(RenewalError::Unfit)
    }
}

/// What was revoked after a cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationFeed {
    /// The cursor that the entries follow.
    pub after: u64,
    /// The cursor to ask with next.
    pub cursor: u64,
    /// The revocations between the two, oldest first.
    pub entries: Vec<Revocation>,
}

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// What kind of thing is gone.
    pub kind: Revoked,
    /// Its id, as it stands in grants.
    pub id: String,
    /// Since when.
    #[serde(with = "json")]
    pub since: Instant,
}

/// What can be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is a member of the grant")]
pub enum Revoked {
    Authorization,
    Client,
    User,
}

/// The feed cannot be followed: every cached grant is dropped, all durable work asks anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the revocation feed does not follow the cursor asked with")]
pub struct UnusableFeed;

impl RevocationFeed {
    /// The revocations since `cursor`, the one asked with.
    ///
    /// # Errors
    /// [`UnusableFeed`] when something may be missing: the feed begins elsewhere (it was cut, or
    /// belongs to another registry), goes back, or names no id.
    pub fn since(&self, cursor: u64) -> Result<&[Revocation], UnusableFeed> {
        let silent = !self.entries.is_empty() && self.cursor == self.after;
        let named = self.entries.iter().all(|entry| json::is_plain(&entry.id));
        if self.after != cursor || self.cursor < self.after || silent || !named {
            return Err(UnusableFeed);
        }
        Ok(&self.entries)
    }
}

impl Revocation {
    /// Whether it ends what was begun under `grant`.
    #[must_use]
    pub fn ends(&self, grant: &Grant) -> bool {
        let holder = match self.kind {
            Revoked::Authorization => &grant.authorization,
            Revoked::Client => &grant.client,
            Revoked::User => &grant.user,
        };
        holder.as_deref() == Some(self.id.as_str())
    }
}
