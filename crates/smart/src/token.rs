//! Tokens that say who is calling: JSON Web Tokens (RFC 7519) signed in the compact form of RFC
//! 7515, read strictly and checked with an issuer's keys.
//!
//! The cheap is asked before the signature, and nothing of a token counts before all was asked.
//! A token that is bound to its holder's key (`cnf`, RFC 7800) is refused: whoever stole it would
//! be taken for the holder. Absent: encrypted tokens, fetching keys, what the claims let do.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::key_set::{KeySet, SigningKey};

/// The longest token, in bytes.
pub const LONGEST_TOKEN: usize = 16 * 1024;

/// A token that was taken apart, and of which nothing is believed yet.
pub struct UnverifiedToken<'a> {
    signed: &'a [u8],
    signature: Vec<u8>,
    key_id: Option<String>,
    algorithm: Algorithm,
    claims: Claims,
}

/// What an issuer says of the caller.
#[derive(Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

/// What a token must be, to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// `iss`, to the letter.
    pub issuer: String,
    /// What `aud` is or has among others, to the letter.
    pub audience: String,
    /// Seconds by which clocks may differ.
    pub leeway: u32,
}

/// Why a token is not believed. The texts are for its sender too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// Not three parts of base64url, or not JSON.
    #[error("it has not the form of a signed token")]
    Malformed,
    /// `alg` is none of those that are taken, or another than the key's.
    #[error("its algorithm is not accepted")]
    Algorithm,
    /// `typ` says that it is something else than an access token.
    #[error("its type is not that of an access token")]
    Type,
    /// `crit` names what is not understood.
    #[error("its header has parts that must be understood and are not")]
    Critical,
    /// No key of the issuer is the one that it names.
    #[error("it is signed with a key that its issuer does not show")]
    KeyUnknown,
    /// The signature is not of the key and these bytes.
    #[error("its signature is wrong")]
    Signature,
    /// `iss` is not the issuer.
    #[error("its issuer is not one whose tokens are accepted")]
    Issuer,
    /// `aud` does not name this place.
    #[error("it is for another audience")]
    Audience,
    /// `exp` is missing or no number.
    #[error("it does not say when it expires")]
    ExpiryMissing,
    /// `exp` has passed.
    #[error("it has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("it is not valid yet")]
    NotYet,
    /// `cnf`: it is for the holder of a key, who was not seen.
    #[error("it is bound to a key whose holder does not show here")]
    Bound,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<Value>,
}

impl TokenProblem {
    /// A label that never changes, for logs and metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "token-malformed",
            Self::Algorithm => "token-algorithm",
            Self::Type => "token-type",
            Self::Critical => "token-critical",
            Self::KeyUnknown => "token-key-unknown",
            Self::Signature => "token-signature",
            Self::Issuer => "token-issuer",
            Self::Audience => "token-audience",
            Self::ExpiryMissing => "token-without-expiry",
            Self::Expired => "token-expired",
            Self::NotYet => "token-not-yet",
            Self::Bound => "token-bound",
        }
    }
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`TokenProblem`] when it is none, or of a kind that is never taken.
    pub fn read(text: &'a str) -> Result<Self, TokenProblem> {
        if text.len() > LONGEST_TOKEN {
            return Err(TokenProblem::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenProblem::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenProblem::Malformed)?;
        let decoded =
            |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenProblem::Malformed);
        let header: Header =
            serde_json::from_slice(&decoded(header)?).map_err(|_| TokenProblem::Malformed)?;
        let algorithm = header.alg.parse().map_err(|_| TokenProblem::Algorithm)?;
        if header.crit.is_some() {
            return Err(TokenProblem::Critical);
        }
        // RFC 9068, section 2.1. An ID token, a logout token or a proof is for something else.
        let kind = header.typ.as_deref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
        let of_access =
            |typ: &str| ["jwt", "at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known));
        if !kind.is_none_or(of_access) {
            return Err(TokenProblem::Type);
        }
        let claims =
            serde_json::from_slice(&decoded(claims)?).map_err(|_| TokenProblem::Malformed)?;
        Ok(Self {
            signed: signed.as_bytes(),
            signature: decoded(signature)?,
            key_id: header.kid,
            algorithm,
            claims: Claims(claims),
        })
    }

    /// How it says that it is signed.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The issuer that it names, which chooses the keys to check it with.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.claims.text("iss")
    }

    /// The key that it says to be signed with, where it is one of these.
    #[must_use]
    pub fn key_among(&self, keys: &KeySet) -> Option<SigningKey> {
        keys.find(self.key_id.as_deref(), self.algorithm).map(SigningKey::of)
    }

    /// Believes it, or says why not. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`TokenProblem::KeyUnknown`] when the keys may be out of date; the others are final.
    pub fn verify(
        self,
        keys: &KeySet,
        expected: &Expected,
        now: i64,
    ) -> Result<Claims, TokenProblem> {
        self.claims.check(expected, now)?;
        let found = keys.find(self.key_id.as_deref(), self.algorithm);
        let key = found.ok_or(TokenProblem::KeyUnknown)?;
        if key.algorithm != self.algorithm {
            return Err(TokenProblem::Algorithm);
        }
        if !key.has_signed(self.signed, &self.signature) {
            return Err(TokenProblem::Signature);
        }
        Ok(self.claims)
    }
}

impl Claims {
    /// Claims that were said in another way than by a token, as an introspection's answer.
    #[must_use]
    pub fn of(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// A claim that is a text and not empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// A claim that is an instant, in whole seconds since 1970.
    #[must_use]
    pub fn seconds(&self, name: &str) -> Option<i64> {
        let value = self.0.get(name)?;
        #[expect(clippy::cast_possible_truncation, reason = "it is floored, and saturates")]
        let floor = |number: f64| number.floor() as i64;
        value.as_i64().or_else(|| value.as_f64().filter(|number| number.is_finite()).map(floor))
    }

    /// A claim that is a text or a list of them (`aud`, and `scope` of some issuers), as texts.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let value = self.0.get(name);
        let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        value.and_then(Value::as_str).into_iter().chain(list.iter().filter_map(Value::as_str))
    }

    /// Whether they are said by whom, for whom and when is expected (RFC 7519, section 4.1).
    ///
    /// # Errors
    /// [`TokenProblem`], the first that is found.
    pub fn check(&self, expected: &Expected, now: i64) -> Result<(), TokenProblem> {
        if self.text("iss") != Some(expected.issuer.as_str()) {
            return Err(TokenProblem::Issuer);
        }
        if !self.texts("aud").any(|audience| audience == expected.audience) {
            return Err(TokenProblem::Audience);
        }
        self.check_time(expected.leeway, now)?;
        self.check_bearer()
    }

    /// Whether whoever has the token may use it, and need not show a key beside it (RFC 7800,
    /// `cnf`; RFC 7662 section 2.2, `token_type`).
    ///
    /// # Errors
    /// [`TokenProblem::Bound`].
    pub fn check_bearer(&self) -> Result<(), TokenProblem> {
        let of_another_kind = |of: &str| {
            !["bearer", "access_token"].iter().any(|known| of.eq_ignore_ascii_case(known))
        };
        match self.0.contains_key("cnf") || self.text("token_type").is_some_and(of_another_kind) {
            true => Err(TokenProblem::Bound),
            false => Ok(()),
        }
    }

    /// Whether now is between `nbf` and `exp`.
    ///
    /// # Errors
    /// [`TokenProblem`].
    pub fn check_time(&self, leeway: u32, now: i64) -> Result<(), TokenProblem> {
        let leeway = i64::from(leeway);
        let expires = self.seconds("exp").ok_or(TokenProblem::ExpiryMissing)?;
        if now >= expires.saturating_add(leeway) {
            return Err(TokenProblem::Expired);
        }
        match (self.0.get("nbf"), self.seconds("nbf")) {
            (None, _) => Ok(()),
            (Some(_), Some(begins)) if now >= begins.saturating_sub(leeway) => Ok(()),
            _ => Err(TokenProblem::NotYet),
        }
    }
}

/// They name people.
impl std::fmt::Debug for Claims {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Claims({})", self.0.len())
    }
}

/// Whoever has it is taken for its holder.
impl std::fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "UnverifiedToken({})", self.algorithm)
    }
}
