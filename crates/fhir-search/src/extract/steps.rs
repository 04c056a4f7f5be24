//! How much FHIRPath a parameter may ask for on one resource.

use std::sync::Arc;

use super::Extractor;
use super::planner::Planner;
use super::walk::EVALUATIONS_OF_COMPONENTS;
use crate::parameters::Parameter;

/// Steps of FHIRPath that the posted parameters of one type may take together on one resource:
/// a commit waits for all of them.
pub const STEPS_OF_ALL_POSTED: u64 = 2_000_000;

impl Extractor<'_> {
    /// Steps of FHIRPath that a parameter may take at most on one resource; none where all it has
    /// are paths.
    #[must_use]
    pub fn most_steps(&self, parameter: &Arc<Parameter>) -> u64 {
        let planner = Planner::new(self.schema, &self.definitions, &parameter.resource_type);
        let plan = planner.plan(std::slice::from_ref(parameter));
        let whole: u64 = plan.expressions.iter().map(|it| it.steps).sum();
        // Of all its elements together, a composite has so many evaluations.
        let of_parts = plan
            .composites
            .iter()
            .filter(|it| it.parts.iter().any(|part| !part.expressions.is_empty()))
            .map(|it| it.steps.saturating_mul(EVALUATIONS_OF_COMPONENTS as u64))
            .max();
        whole.saturating_add(of_parts.unwrap_or(0))
    }
}
