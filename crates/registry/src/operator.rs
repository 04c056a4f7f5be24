//! Operators: who may use the admin API, in one of three roles. Their credentials are no keys of
//! clients and the other way round: a token of an operator begins with `hgo_`, is drawn and kept
//! as a key is, and is looked for here alone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use contract::{Instant, Redacted};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::change::{Actor, Change};
use crate::client::ClientId;
use crate::error::ChangeError;
use crate::key::{self, KeyId, OPERATOR_PREFIX, SecretHash};
use crate::registry::Registry;
use crate::state::{CannotFollow, State};

/// An operator's name: as a client id is written. It stands in the audit for good, so no name is
/// given twice.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperatorName(Arc<str>);

/// The text is no operator's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an operator's name has 1 to 64 characters of A-Z a-z 0-9 . - _ and begins with a letter or \
     digit"
)]
pub struct InvalidOperatorName;

/// What an operator may do. Each may what the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorRole {
    /// See how things stand.
    Viewer,
    /// Change clients, keys, plans and revocations.
    Operator,
    /// Everything: operators and the configuration too.
    Administrator,
}

/// The SHA-256 of a whole certificate, as 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CertificateDigest(Arc<str>);

/// The text is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a certificate's fingerprint has 64 hexadecimal digits, with or without colons, as \
     openssl x509 -fingerprint -sha256 prints it"
)]
pub struct InvalidCertificateDigest;

/// By what an operator is to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A token, drawn by the registry.
    Token,
    /// A certificate that the connection was begun with.
    Certificate(CertificateDigest),
}

/// An operator as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Its name.
    pub name: OperatorName,
    /// What it may do.
    pub role: OperatorRole,
    /// By what it is known.
    pub known_by: KnownBy,
    /// When it was made.
    pub created: Instant,
    /// When its credential last took the place of another.
    pub rotated: Option<Instant>,
    /// When it was revoked.
    pub revoked: Option<Instant>,
    /// Since when it waits to be confirmed, its registry having come out of a backup.
    pub suspended: Option<Instant>,
}

/// By what an operator is known, without a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownBy {
    /// The token of this id.
    Token(KeyId),
    /// The certificate with this fingerprint.
    Certificate(CertificateDigest),
}

/// A token just drawn: the only moment at which its text exists.
#[derive(Debug, Clone)]
pub struct DrawnToken {
    /// Its id.
    pub id: KeyId,
    /// The whole text, to be shown once.
    pub secret: Redacted<String>,
}

/// An operator to be made, as the change log holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NewOperator {
    pub(crate) name: OperatorName,
    pub(crate) role: OperatorRole,
    pub(crate) credential: Kept,
}

/// What is kept of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) enum Kept {
    Token { id: KeyId, hash: SecretHash },
    Certificate(CertificateDigest),
}

/// An operator with what is kept of its credential.
#[derive(Debug, Clone)]
pub(crate) struct OperatorRecord {
    operator: Operator,
    credential: Kept,
}

impl OperatorName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`InvalidOperatorName`] when the text is none.
    pub fn new(text: &str) -> Result<Self, InvalidOperatorName> {
        match ClientId::new(text) {
            Ok(_) => Ok(Self(Arc::from(text))),
            Err(_) => Err(InvalidOperatorName),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl OperatorRole {
    /// Every role, the weakest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Administrator];

    /// The role's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }
}

impl CertificateDigest {
    /// The fingerprint of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let hash = digest(&SHA256, der);
        Self(hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    }

    /// The fingerprint as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CertificateDigest {
    type Err = InvalidCertificateDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|&one| one != ':').collect();
        let valid = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if valid {
            Ok(Self(Arc::from(digits.to_ascii_lowercase())))
        } else {
            Err(InvalidCertificateDigest)
        }
    }
}

/// Whether a text is written as an operator's token is, whatever it is worth.
#[must_use]
pub fn is_operator_token(text: &str) -> bool {
    text.starts_with(OPERATOR_PREFIX)
}

impl Registry {
    /// Makes an operator; the token's text, where it has one, exists in the answer alone.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when the name was given before or the certificate is another
    /// operator's; otherwise the change could not be made durable.
    pub fn create_operator(
        &self,
        name: &OperatorName,
        role: OperatorRole,
        credential: Credential,
        by: &Actor,
    ) -> Result<Option<DrawnToken>, ChangeError> {
        let (credential, drawn) = self.draw(credential);
        let operator = NewOperator { name: name.clone(), role, credential };
        self.change(&Change::CreateOperator { operator }, by)?;
        Ok(drawn)
    }

    /// Gives an operator another credential; the one of before is worth nothing from the answer
    /// on.
    ///
    /// # Errors
    /// As [`Self::create_operator`], and when there is no such operator or it is revoked.
    pub fn rotate_operator(
        &self,
        name: &OperatorName,
        credential: Credential,
        by: &Actor,
    ) -> Result<Option<DrawnToken>, ChangeError> {
        let (credential, drawn) = self.draw(credential);
        self.change(&Change::RotateOperator { operator: name.clone(), credential }, by)?;
        Ok(drawn)
    }

    /// Revokes an operator: from the answer on its credential is worth nothing.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when there is no such operator or it is revoked already;
    /// otherwise the change could not be made durable.
    pub fn revoke_operator(&self, name: &OperatorName, by: &Actor) -> Result<(), ChangeError> {
        self.change(&Change::RevokeOperator { operator: name.clone() }, by)
    }

    /// Makes an operator good again that a restore made stand still.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] when there is no such operator, it is revoked, or it is not
    /// suspended; otherwise the change could not be made durable.
    pub fn confirm_operator(&self, name: &OperatorName, by: &Actor) -> Result<(), ChangeError> {
        self.change(&Change::ConfirmOperator { operator: name.clone() }, by)
    }

    /// Every operator, revoked ones too, by name.
    #[must_use]
    pub fn operators(&self) -> Vec<Operator> {
        self.state().operators.values().map(|record| record.operator.clone()).collect()
    }

    /// The operator of this name.
    #[must_use]
    pub fn operator(&self, name: &OperatorName) -> Option<Operator> {
        self.state().operators.get(name).map(|record| record.operator.clone())
    }

    /// Whom a presented token stands for; `None` for every other text, keys of clients among
    /// them, and for an operator that is revoked or suspended.
    ///
    /// The secret's hash is compared in constant time. That an id exists is no secret.
    #[must_use]
    pub fn authenticate_operator(&self, presented: &str) -> Option<Operator> {
        let (id, presented) = key::read_operator_token(presented)?;
        let state = self.state();
        let (record, hash) = state.operator_of_token(id)?;
        let same = bool::from(hash.0.ct_eq(&presented.0));
        (same && record.is_good()).then(|| record.operator.clone())
    }

    /// The id of the token that a presented text says to be, good or not, where there is one.
    #[must_use]
    pub fn operator_token_named_by(&self, presented: &str) -> Option<KeyId> {
        let (id, _) = key::read_operator_token(presented)?;
        self.state().operator_of_token(id).and_then(|_| KeyId::new(id).ok())
    }

    /// Whom a certificate stands for that the connection was begun with, verified by whoever
    /// listens.
    #[must_use]
    pub fn operator_of_certificate(&self, shown: &CertificateDigest) -> Option<Operator> {
        let state = self.state();
        let is_its = |record: &&OperatorRecord| match &record.credential {
            Kept::Certificate(own) => own == shown,
            Kept::Token { .. } => false,
        };
        let record = state.operators.values().filter(is_its).find(|record| record.is_good())?;
        Some(record.operator.clone())
    }

    fn draw(&self, credential: Credential) -> (Kept, Option<DrawnToken>) {
        match credential {
            Credential::Certificate(own) => (Kept::Certificate(own), None),
            Credential::Token => {
                let id = key::draw_id(self.ids());
                let (secret, hash) = key::draw_operator_secret(self.ids(), &id);
                (Kept::Token { id: id.clone(), hash }, Some(DrawnToken { id, secret }))
            }
        }
    }
}

impl State {
    pub(crate) fn add_operator(
        &mut self,
        new: &NewOperator,
        instant: Instant,
    ) -> Result<(), CannotFollow> {
        if self.operators.contains_key(&new.name) {
            return Err(CannotFollow::OperatorExists(new.name.clone()));
        }
        self.check_credential(&new.credential)?;
        let operator = Operator {
            name: new.name.clone(),
            role: new.role,
            known_by: new.credential.known_by(),
            created: instant,
            rotated: None,
            revoked: None,
            suspended: None,
        };
        let record = OperatorRecord { operator, credential: new.credential.clone() };
        self.operators.insert(new.name.clone(), record);
        Ok(())
    }

    pub(crate) fn rotate_operator(
        &mut self,
        name: &OperatorName,
        credential: &Kept,
        instant: Instant,
    ) -> Result<(), CannotFollow> {
        self.standing_operator(name)?;
        self.check_credential(credential)?;
        let record = self.standing_operator(name)?;
        record.operator.known_by = credential.known_by();
        record.operator.rotated = Some(instant);
        record.credential = credential.clone();
        Ok(())
    }

    pub(crate) fn revoke_operator(
        &mut self,
        name: &OperatorName,
        instant: Instant,
    ) -> Result<(), CannotFollow> {
        self.standing_operator(name)?.operator.revoked = Some(instant);
        Ok(())
    }

    pub(crate) fn confirm_operator(&mut self, name: &OperatorName) -> Result<(), CannotFollow> {
        let record = self.standing_operator(name)?;
        match record.operator.suspended.take() {
            Some(_) => Ok(()),
            None => Err(CannotFollow::OperatorNotSuspended(name.clone())),
        }
    }

    /// After a restore: who was revoked since the backup is not known.
    pub(crate) fn suspend_operators(&mut self, instant: Instant) {
        for record in self.operators.values_mut().filter(|record| record.is_good()) {
            record.operator.suspended = Some(instant);
        }
    }

    fn standing_operator(
        &mut self,
        name: &OperatorName,
    ) -> Result<&mut OperatorRecord, CannotFollow> {
        match self.operators.get_mut(name) {
            None => Err(CannotFollow::UnknownOperator(name.clone())),
            Some(record) if record.operator.revoked.is_some() => {
                Err(CannotFollow::OperatorRevoked(name.clone()))
            }
            Some(record) => Ok(record),
        }
    }

    /// A certificate is one operator's, and stays so when that one is revoked: else whoever has
    /// it came back under another name.
    fn check_credential(&self, credential: &Kept) -> Result<(), CannotFollow> {
        let taken = self.operators.values().find(|record| match (&record.credential, credential) {
            (Kept::Certificate(own), Kept::Certificate(new)) => own == new,
            (Kept::Token { id: own, .. }, Kept::Token { id: new, .. }) => own == new,
            _ => false,
        });
        match taken {
            Some(record) => Err(CannotFollow::CredentialTaken(record.operator.name.clone())),
            None => Ok(()),
        }
    }

    fn operator_of_token(&self, id: &str) -> Option<(&OperatorRecord, &SecretHash)> {
        self.operators.values().find_map(|record| match &record.credential {
            Kept::Token { id: own, hash } if own.as_str() == id => Some((record, hash)),
            _ => None,
        })
    }
}

impl OperatorRecord {
    fn is_good(&self) -> bool {
        self.operator.revoked.is_none() && self.operator.suspended.is_none()
    }
}

impl Kept {
    fn known_by(&self) -> KnownBy {
        match self {
            Self::Token { id, .. } => KnownBy::Token(id.clone()),
            Self::Certificate(own) => KnownBy::Certificate(own.clone()),
        }
    }
}

impl FromStr for OperatorName {
    type Err = InvalidOperatorName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for OperatorName {
    type Error = InvalidOperatorName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<OperatorName> for String {
    fn from(name: OperatorName) -> Self {
        name.as_str().to_owned()
    }
}

impl fmt::Display for OperatorName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for OperatorName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl FromStr for OperatorRole {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.word() == text).ok_or(())
    }
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

impl TryFrom<String> for CertificateDigest {
    type Error = InvalidCertificateDigest;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CertificateDigest> for String {
    fn from(digest: CertificateDigest) -> Self {
        digest.as_str().to_owned()
    }
}

impl fmt::Display for CertificateDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for CertificateDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}
