//! Why a terminology question has no answer.

use fhir_core::{Issue, IssueCode};

/// A question that could not be answered. What was asked about is named in the text; nothing of it
/// is patient data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TerminologyError {
    /// Nothing with this canonical is loaded.
    #[error("{kind} {canonical} is not known here")]
    UnknownCanonical {
        /// The resource type.
        kind: &'static str,
        /// What was asked for.
        canonical: String,
    },
    /// A code system without content here, so that nothing can be said of its codes.
    #[error("the code system {system} is not loaded here, so what needs its content is not known")]
    SystemNotLoaded {
        /// Its canonical.
        system: String,
    },
    /// A code system of which a part is here, so that a code that is not may still exist.
    #[error("of the code system {system} only a part is loaded here, and this code is not in it")]
    SystemInPart {
        /// Its canonical.
        system: String,
    },
    /// A code is not in its code system.
    #[error("the code {code} is not in the code system {system}")]
    UnknownCode {
        /// The code system.
        system: String,
        /// The code.
        code: String,
    },
    /// Value sets import each other in a circle.
    #[error("the value set {canonical} imports itself, directly or through others")]
    ImportCycle {
        /// Where the circle was closed.
        canonical: String,
    },
    /// Imports deeper than anyone needs.
    #[error("the imports of the value set {canonical} stand deeper than {limit}")]
    ImportsTooDeep {
        /// The value set that goes too deep.
        canonical: String,
        /// How deep they may stand.
        limit: usize,
    },
    /// A filter on a property or with an operator that the code system does not have.
    #[error("the filter {property} {op} {value} on {system} cannot be evaluated: {problem}")]
    Filter {
        /// The code system.
        system: String,
        /// `filter.property`
        property: String,
        /// `filter.op`
        op: String,
        /// `filter.value`
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An expansion longer than may be sent, or that cannot be listed at all.
    #[error("the expansion of {canonical} is too large: {mend}")]
    TooCostly {
        /// The value set.
        canonical: String,
        /// How to ask instead.
        mend: &'static str,
    },
    /// The resource is not what it should be.
    #[error("{path}: {problem}")]
    Malformed {
        /// Where.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A version that `check-system-version` or a parameter asks for is not the one in use.
    #[error("{system} is used in version {used}, and version {wanted} was asked for")]
    VersionConflict {
        /// The system or value set.
        system: String,
        /// The version in use.
        used: String,
        /// The version asked for.
        wanted: String,
    },
    /// A parameter is missing, given twice, of the wrong type, or not offered.
    #[error("{problem}")]
    Parameter {
        /// The parameter, as an expression.
        expression: String,
        /// What is wrong with it.
        problem: String,
        /// Which kind of wrong.
        code: IssueCode,
    },
}

impl TerminologyError {
    /// The kind of issue that this is.
    #[must_use]
    pub fn code(&self) -> IssueCode {
        match self {
            Self::UnknownCanonical { .. } | Self::SystemNotLoaded { .. } => IssueCode::NotFound,
            Self::UnknownCode { .. } | Self::SystemInPart { .. } => IssueCode::NotFound,
            Self::ImportCycle { .. } | Self::ImportsTooDeep { .. } => IssueCode::Processing,
            Self::Filter { .. } => IssueCode::NotSupported,
            Self::TooCostly { .. } => IssueCode::TooCostly,
            Self::Malformed { .. } => IssueCode::Invalid,
            Self::VersionConflict { .. } => IssueCode::Conflict,
            Self::Parameter { code, .. } => *code,
        }
    }

    /// As an issue for the client.
    #[must_use]
    pub fn issue(&self) -> Issue {
        let issue = Issue::error(self.code(), self.to_string());
        match self {
            Self::Parameter { expression, .. } => issue.at(expression.as_str()),
            Self::Malformed { path, .. } => issue.at(path.as_str()),
            _ => issue,
        }
    }
}
