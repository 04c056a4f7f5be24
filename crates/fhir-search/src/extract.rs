//! What of a resource is indexed: the values of every search parameter of its type (FHIR R4
//! 3.1.1.4.1 and 3.1.1.5), in one pass over the resource.
//!
//! An [`Extractor`] makes a plan for a type when the first resource of it comes. Nearly every
//! expression is a union of paths; these are joined into one tree of names, and the resource is
//! walked along it. FHIRPath evaluates the rest. What fails on odd data fails alone, and is told
//! beside the values.

mod convert;
#[cfg(test)]
mod differential;
mod implied;
mod plan;
mod planner;
mod route;
mod sample;
mod steps;
mod trial;
mod units;
mod walk;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use fhir_core::Instant;
use fhir_core::json::Value;
use fhir_schema::{DefinitionSet, Schema};
use fhir_terminology::Terminology;
use fhirpath::EvaluationError;

use crate::parameters::{ParameterId, Parameters};
use crate::value::{DateRange, IndexValue, Zone};
use plan::Plan;
pub use plan::{Unsupported, UnsupportedReason};
use planner::Planner;
pub use steps::STEPS_OF_ALL_POSTED;
pub use trial::TrialError;
use units::Units;
use walk::Walk;

/// What extraction is told from outside the resource.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExtractOptions<'o> {
    /// The server's own base URL, without a slash at its end: absolute references below it are
    /// local. Without it none are.
    pub base: Option<&'o str>,
    /// Where days begin, and what times without an offset are read in. Queries must use the same.
    pub zone: Zone,
    /// When the version was written, where the resource does not say it itself.
    pub last_updated: Option<Instant>,
}

/// Takes index values from resources.
pub struct Extractor<'s> {
    schema: &'s Schema,
    parameters: Arc<Parameters>,
    definitions: Arc<DefinitionSet>,
    terminology: Terminology,
    units: Units,
    /// By resource type, each made when it is first needed.
    plans: HashMap<Box<str>, Arc<OnceLock<Plan>>>,
}

/// The values of one resource.
#[derive(Debug, Default)]
pub struct Extracted<'a> {
    resource_type: Option<&'a str>,
    values: Vec<IndexValue<'a>>,
    /// Sorted. Parameters that have the same values share them.
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    parameter: ParameterId,
    /// Among the values.
    first: u32,
    end: u32,
}

/// What of a parameter could not be had from a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whose values are missing.
    pub parameter: ParameterId,
    /// Why.
    pub reason: ProblemReason,
}

/// Why a value is missing. It tells no data of the resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemReason {
    /// The expression failed on this resource.
    #[error("the expression failed: {0}")]
    Evaluation(#[from] EvaluationError),
    /// A composite that looks at the whole resource for too many elements, or evaluates FHIRPath
    /// on too many: those after them have no values.
    #[error("the resource has too many elements for a parameter that combines them")]
    TooMuch,
    /// An element has a value that its type does not allow.
    #[error("{what} at byte {offset}")]
    Unreadable {
        /// What stands there.
        what: &'static str,
        /// How many bytes of the document stand before it.
        offset: usize,
    },
}

impl<'s> Extractor<'s> {
    /// For `parameters`, which are of these definitions. `terminology` tells the code systems of
    /// bindings.
    #[must_use]
    pub fn new(
        schema: &'s Schema,
        parameters: Arc<Parameters>,
        definitions: DefinitionSet,
        terminology: Terminology,
    ) -> Self {
        let plans = schema.resource_types().map(|name| (name.into(), Arc::default())).collect();
        let definitions = Arc::new(definitions);
        Self { schema, parameters, definitions, terminology, units: Units::default(), plans }
    }

    /// One for other parameters of the same definitions and value sets. What is known of types
    /// whose parameters are the very same is shared.
    #[must_use]
    pub fn with_parameters(&self, parameters: Arc<Parameters>) -> Self {
        let plans = self.plans.iter().map(|(name, plan)| {
            let is_shared = self.parameters.shares(&parameters, name);
            (name.clone(), if is_shared { Arc::clone(plan) } else { Arc::default() })
        });
        Self {
            schema: self.schema,
            plans: plans.collect(),
            parameters,
            definitions: Arc::clone(&self.definitions),
            terminology: self.terminology.clone(),
            units: Units::default(),
        }
    }

    /// Whether parameters that are equal by their fingerprints have the same values by both: these
    /// are of the same definitions and value sets.
    #[must_use]
    pub fn is_comparable(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.definitions, &other.definitions)
    }

    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &Arc<Parameters> {
        &self.parameters
    }

    /// The definitions that values are read by.
    #[must_use]
    pub fn definitions(&self) -> &DefinitionSet {
        &self.definitions
    }

    /// The parameters that have no values in any resource, and why: those without an expression
    /// among them. Looks at every type.
    #[must_use]
    pub fn unsupported(&self) -> Vec<Unsupported> {
        let types = self.schema.resource_types();
        let plans = types.filter_map(|name| self.plan(name));
        plans.flat_map(|(_, plan)| plan.unsupported.iter().cloned()).collect()
    }

    /// The plan of a type, with the type's name.
    fn plan(&self, resource_type: &str) -> Option<(&str, &Plan)> {
        let (resource_type, plan) = self.plans.get_key_value(resource_type)?;
        let plan = plan.get_or_init(|| {
            let planner = Planner::new(self.schema, &self.definitions, resource_type);
            planner.plan(self.parameters.of_type(resource_type))
        });
        Some((resource_type, plan))
    }

    /// The values of all parameters of a resource, which borrow from it. What is no resource of a
    /// known type has none.
    #[must_use]
    pub fn extract<'a>(
        &'a self,
        resource: Value<'a>,
        options: &ExtractOptions<'_>,
    ) -> Extracted<'a> {
        let name = resource.get_str("resourceType").unwrap_or_default();
        let Some((resource_type, plan)) = self.plan(&name) else {
            return Extracted::default();
        };
        let mut extracted = Walk::new(self, plan, resource, options).run();
        extracted.resource_type = Some(resource_type);
        if let (Some(parameter), Some(instant)) = (plan.last_updated, options.last_updated) {
            extracted.entries.retain(|it| it.parameter != parameter);
            let value = IndexValue::Date(DateRange::at(instant.as_micros()));
            extracted.add(parameter, value);
        }
        extracted.entries.sort_unstable();
        extracted
    }
}

impl std::fmt::Debug for Extractor<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Extractor").finish_non_exhaustive()
    }
}

impl<'a> Extracted<'a> {
    fn add(&mut self, parameter: ParameterId, value: IndexValue<'a>) {
        let first = self.values.len();
        self.values.push(value);
        self.enter(parameter, first..self.values.len());
    }

    fn enter(&mut self, parameter: ParameterId, range: Range<usize>) {
        // A document has less than 2^32 bytes, and no byte has several values.
        if let (Ok(first), Ok(end)) = (u32::try_from(range.start), u32::try_from(range.end)) {
            self.entries.push(Entry { parameter, first, end });
        }
    }

    /// The type of the resource, which `_type` asks for; `None` when there is no such type.
    #[must_use]
    pub fn resource_type(&self) -> Option<&'a str> {
        self.resource_type
    }

    /// Each value with its parameter, parameter by parameter.
    pub fn iter(&self) -> impl Iterator<Item = (ParameterId, &IndexValue<'a>)> {
        self.entries
            .iter()
            .flat_map(|entry| self.of_entry(entry).map(|value| (entry.parameter, value)))
    }

    /// The values of one parameter.
    pub fn of(&self, parameter: ParameterId) -> impl Iterator<Item = &IndexValue<'a>> {
        let from = self.entries.partition_point(|it| it.parameter < parameter);
        let entries = self.entries[from..].iter().take_while(move |it| it.parameter == parameter);
        entries.flat_map(|entry| self.of_entry(entry))
    }

    fn of_entry(&self, entry: &Entry) -> impl Iterator<Item = &IndexValue<'a>> + use<'_, 'a> {
        self.values[entry.first as usize..entry.end as usize].iter()
    }

    /// What is missing, and why.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}
