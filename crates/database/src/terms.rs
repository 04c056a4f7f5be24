//! What a transaction is bound to besides its own changes: resources that its references need,
//! and the name its client gave the request.

use fhir_core::{ResourceId, ResourceType};
use store::{Idempotency, T};

use crate::judge::Judge;
use crate::{CommitError, Transaction, rules};

/// The terms of a transaction; most have none.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// What must be there, and not deleted, when the commit is written.
    pub required: Vec<Required>,
    /// The request that the commit answers, when its client named it.
    pub named: Option<Box<Named>>,
}

/// A resource that a change refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required {
    /// The index of the change.
    pub change: usize,
    /// Where the reference stands, as a simple FHIRPath.
    pub element: String,
    /// The type of what it refers to.
    pub resource_type: ResourceType,
    /// Its id.
    pub id: ResourceId,
}

/// A request that its client named, and which no commit up to a position answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The request.
    pub request: Idempotency,
    /// The position up to which it was looked for.
    pub unanswered_at: T,
}

/// A rule of the tenant that a change breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// Another resource bears the identifier.
    NotUnique {
        /// Where it stands, as a simple FHIRPath.
        element: String,
        /// Its system.
        system: String,
    },
    /// A reference leads to what is not there.
    Dangling {
        /// Where it stands, as a simple FHIRPath.
        element: String,
        /// What it says, as `Type/id`.
        reference: String,
    },
}

impl Terms {
    /// Whether the serial step looks at them.
    pub(crate) fn are_judged(&self) -> bool {
        self.named.is_some() || !self.required.is_empty()
    }

    /// Bytes of memory that they take while the transaction waits.
    pub(crate) fn held(&self) -> usize {
        self.required.len() * size_of::<Required>()
    }
}

impl Judge<'_> {
    /// Judges the terms of `transaction`, which were looked up at its position or later.
    pub(crate) async fn judge_terms(
        &mut self,
        terms: &Terms,
        transaction: &Transaction,
    ) -> Result<(), CommitError> {
        if let Some(named) = &terms.named {
            let (of, name) = named.request.name();
            // What is not certain is looked up again, and found if it is there.
            if !self.recent.unborne(&of, &name, named.unanswered_at) {
                return Err(CommitError::Repeated);
            }
        }
        for required in &terms.required {
            let Required { resource_type, id, .. } = required;
            if self.recent.untouched(resource_type, id, transaction.prepared_at) {
                continue;
            }
            let state = self.state_of(resource_type, id).await.map_err(CommitError::Read)?;
            if state.is_none_or(|state| state.is_deleted()) {
                return Err(rules::dangling(required));
            }
        }
        Ok(())
    }
}
