//! Why a grant cannot be made or read.

/// The condition that a grant breaks. Nothing a client sends can cause it.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The header would be longer than [`Grant::MAX_LENGTH`](crate::Grant::MAX_LENGTH).
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
    /// A member or a part of the data that takes a caller, or a person, whom the grant lacks.
    #[error("`{0}` takes a caller that the grant does not name")]
    CallerMissing(&'static str),
    /// A rule without a type or an action.
    #[error("a rule that names no type or no action")]
    EmptyRule,
    /// What is open without a caller is opened by name, type by type, action by action.
    #[error("a wildcard in a rule that needs no caller")]
    PublicWildcard,
    /// A text that is empty, too long or has control characters.
    #[error("`{0}` is empty, too long or has control characters")]
    InvalidText(&'static str),
}

impl GrantError {
    /// A label that never changes, for logs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "too-long",
            Self::NotBase64(_) => "not-base64",
            Self::NotJson(_) => "not-json",
            Self::UnknownCritical(_) => "unknown-critical",
            Self::PatientMissing => "patient-missing",
            Self::PatientDiffers => "patient-differs",
            Self::CallerMissing(_) => "caller-missing",
            Self::EmptyRule => "empty-rule",
            Self::PublicWildcard => "public-wildcard",
            Self::InvalidText(_) => "invalid-text",
        }
    }
}
