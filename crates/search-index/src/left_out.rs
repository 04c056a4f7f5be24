//! What could not be indexed: parameters whose expression fails on a resource or takes more steps
//! than it may. They have no values there, all else of the resource is indexed.

use std::collections::BTreeMap;

use fhir_search::{Extracted, Parameters, ProblemReason};
use parking_lot::Mutex;

use crate::Index;

/// A type and a code.
type Name = (Box<str>, Box<str>);

/// How often, by type and code.
#[derive(Debug, Default)]
pub(crate) struct LeftOut(Mutex<BTreeMap<Name, u64>>);

impl LeftOut {
    /// Counts what was missing of one resource.
    pub(crate) fn add(&self, extracted: &Extracted<'_>, parameters: &Parameters) {
        for problem in extracted.problems() {
            // What is no value of its type is the resource's fault, and validation's to tell.
            if matches!(problem.reason, ProblemReason::Unreadable { .. }) {
                continue;
            }
            if let Some(parameter) = parameters.by_id(problem.parameter) {
                let name = ((&*parameter.resource_type).into(), parameter.code().into());
                *self.0.lock().entry(name).or_default() += 1;
            }
        }
    }
}

impl Index {
    /// Parameters, by type and code, that have no values of some resources since their expression
    /// fails there or takes more steps than it may, each with how often that was so.
    #[must_use]
    pub fn left_out(&self) -> Vec<(Box<str>, Box<str>, u64)> {
        let left_out = self.left_out.0.lock();
        left_out.iter().map(|((of, code), count)| (of.clone(), code.clone(), *count)).collect()
    }
}
