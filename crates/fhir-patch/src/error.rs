//! Why a patch is not applied, and where.

use std::fmt;

use fhir_core::{Issue, IssueCode};

/// A patch that cannot be read or applied. Nothing of it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PatchError {
    /// What is wrong.
    pub problem: PatchProblem,
    /// The index of the operation, from nought; `None` when it is about the whole.
    pub operation: Option<usize>,
    /// What the operation names: a JSON Pointer or FHIRPath, as it was written. May be empty.
    pub path: String,
    /// Where that is, as FHIRPath: an element of the resource, or of the Parameters of the patch.
    /// May be empty.
    pub expression: String,
}

/// What is wrong with a patch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchProblem {
    /// The patch is none: what it says has the wrong form. Says how to mend it.
    #[error("{0}")]
    Malformed(String),
    /// The operation cannot be applied to this resource. Says why.
    #[error("{0}")]
    Inapplicable(String),
    /// What a `test` compares is not equal.
    #[error("the test fails: the value there is not equal to the one given")]
    TestFailed,
    /// It takes more than is given to one patch. Says of what.
    #[error("{0}")]
    TooCostly(String),
}

impl PatchProblem {
    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        Self::Malformed(text.into())
    }

    pub(crate) fn inapplicable(text: impl Into<String>) -> Self {
        Self::Inapplicable(text.into())
    }

    pub(crate) fn too_costly(text: impl Into<String>) -> Self {
        Self::TooCostly(text.into())
    }
}

impl PatchError {
    /// About the patch as a whole.
    pub(crate) fn whole(problem: PatchProblem, expression: impl Into<String>) -> Self {
        Self { problem, operation: None, path: String::new(), expression: expression.into() }
    }

    /// As an issue for the client. Nothing of the resource stands in it.
    #[must_use]
    pub fn issue(&self) -> Issue {
        let code = match self.problem {
            PatchProblem::Malformed(_) => IssueCode::Structure,
            PatchProblem::Inapplicable(_) | PatchProblem::TestFailed => IssueCode::Processing,
            PatchProblem::TooCostly(_) => IssueCode::TooCostly,
        };
        Issue::error(code, self.to_string()).at(self.expression.as_str())
    }
}

impl fmt::Display for PatchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operation {
            Some(index) if self.path.is_empty() => write!(formatter, "operation {index}: ")?,
            Some(index) => write!(formatter, "operation {index} ({}): ", self.path)?,
            None => {}
        }
        self.problem.fmt(formatter)
    }
}
