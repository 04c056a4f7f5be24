//! Which tokens of issuers are believed no more. Tokens themselves are never kept here: one is
//! named by an id that follows from its issuer and its `jti`, or by its client or user.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use contract::{Instant, Revoked};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::client::is_plain_text;
use crate::registry::Registry;

/// What an authorization id of a token begins with.
const AUTHORIZATION: &str = "token:";
/// How far an issuer's clock may be ahead, in microseconds: what it issued within so much after a
/// revocation may have been issued before it.
const AHEAD: i64 = 60_000_000;

/// Which tokens a revocation ends. Those of a client or a user that are issued later stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum WhichTokens {
    /// The one of this authorization id.
    Authorization(String),
    /// Those of the client of this id, issued up to now.
    Client(String),
    /// Those of the user, as grants name them, issued up to now.
    User(String),
}

/// Of a token, what a revocation can name.
#[derive(Debug, Clone, Copy)]
pub struct TokenFacts<'a> {
    /// Its authorization id.
    pub authorization: &'a str,
    /// Its client, as grants name it.
    pub client: &'a str,
    /// Its user, as grants name them.
    pub user: Option<&'a str>,
    /// When it was issued; one that does not say counts as issued long ago.
    pub issued: Option<Instant>,
}

/// The id of the authorization that a token is, for grants: of its issuer, by the name that the
/// configuration gives it, and its `jti`, or where it has none its text.
#[must_use]
pub fn token_authorization(issuer: &str, identity: TokenIdentity<'_>) -> String {
    let mut context = Context::new(&SHA256);
    let (kind, text) = match identity {
        TokenIdentity::Jti(jti) => (b"j", jti),
        TokenIdentity::Text(text) => (b"t", text),
    };
    for part in [kind, issuer.as_bytes(), b"\0", text.as_bytes()] {
        context.update(part);
    }
    let hash = context.finish();
    let digits = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}"));
    digits.fold(AUTHORIZATION.to_owned(), |id, digits| id + &digits)
}

/// What tells one token of an issuer from another.
#[derive(Clone, Copy)]
pub enum TokenIdentity<'a> {
    /// Its `jti`.
    Jti(&'a str),
    /// Its whole text.
    Text(&'a str),
}

/// Whether an authorization id is a token's.
#[must_use]
pub fn is_token_authorization(authorization: &str) -> bool {
    authorization.starts_with(AUTHORIZATION)
}

impl WhichTokens {
    /// Whether it can be one: an authorization id of a token, or a plain text.
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            Self::Authorization(id) => is_token_authorization(id) && is_plain_text(id),
            Self::Client(id) => is_plain_text(id),
            Self::User(id) => (1..=1024).contains(&id.len()) && !id.chars().any(char::is_control),
        }
    }

    /// What the feed of revocations tells.
    pub(crate) fn told(&self) -> (Revoked, String) {
        match self {
            Self::Authorization(id) => (Revoked::Authorization, id.clone()),
            Self::Client(id) => (Revoked::Client, id.clone()),
            Self::User(id) => (Revoked::User, id.clone()),
        }
    }
}

/// What was revoked of tokens so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenRevocations {
    authorizations: HashSet<String>,
    clients: HashMap<String, Instant>,
    users: HashMap<String, Instant>,
    all: Option<Instant>,
}

impl TokenRevocations {
    pub(crate) fn add(&mut self, which: &WhichTokens, instant: Instant) {
        match which {
            WhichTokens::Authorization(id) => {
                self.authorizations.insert(id.clone());
            }
            WhichTokens::Client(id) => {
                self.clients.insert(id.clone(), instant);
            }
            WhichTokens::User(id) => {
                self.users.insert(id.clone(), instant);
            }
        }
    }

    /// Every token that was issued up to now.
    pub(crate) fn add_all(&mut self, instant: Instant) {
        self.all = Some(instant);
    }

    pub(crate) fn ends(&self, token: &TokenFacts<'_>) -> bool {
        let since = [
            self.all.as_ref(),
            self.clients.get(token.client),
            token.user.and_then(|user| self.users.get(user)),
        ];
        let before = |since: &Instant| {
            token
                .issued
                .is_none_or(|issued| issued.as_micros() <= since.as_micros().saturating_add(AHEAD))
        };
        self.authorizations.contains(token.authorization) || since.into_iter().flatten().any(before)
    }
}

/// Tokens that are believed no more, as lists show them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedTokens {
    /// What names them; `None` for all, after a restore.
    pub which: Option<WhichTokens>,
    /// Tokens that were issued later stand; absent where a single one is named.
    pub issued_up_to: Option<Instant>,
}

impl Registry {
    /// Which tokens of issuers were revoked, in the order of what names them.
    #[must_use]
    pub fn token_revocations(&self) -> Vec<RevokedTokens> {
        let state = self.state();
        let TokenRevocations { authorizations, clients, users, all } = &state.tokens;
        let until =
            |which, instant: &Instant| RevokedTokens { which, issued_up_to: Some(*instant) };
        let sorted = |map: &HashMap<String, Instant>| -> BTreeMap<String, Instant> {
            map.iter().map(|(id, instant)| (id.clone(), *instant)).collect()
        };
        let mut listed: Vec<RevokedTokens> =
            all.iter().map(|instant| until(None, instant)).collect();
        listed.extend(
            sorted(clients).iter().map(|(id, at)| until(Some(WhichTokens::Client(id.clone())), at)),
        );
        listed.extend(
            sorted(users).iter().map(|(id, at)| until(Some(WhichTokens::User(id.clone())), at)),
        );
        let single: BTreeSet<&String> = authorizations.iter().collect();
        listed.extend(single.into_iter().map(|id| RevokedTokens {
            which: Some(WhichTokens::Authorization(id.clone())),
            issued_up_to: None,
        }));
        listed
    }
}

/// The change in one line, for the audit.
impl fmt::Display for WhichTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorization(id) => write!(formatter, "revoke the token of {id}"),
            Self::Client(id) => write!(formatter, "revoke tokens of client {id}"),
            Self::User(id) => write!(formatter, "revoke tokens of user {id}"),
        }
    }
}

/// A token is named by what only its issuer and its holder know.
impl fmt::Debug for TokenIdentity<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenIdentity")
    }
}
