//! What an evaluation is given besides the expression and what it is evaluated on.

use fhir_schema::Schema;

use crate::host::{Host, NoHost};
use crate::value::{FhirValue, Item};

/// Steps that an evaluation may take unless it is told otherwise: a fraction of a second.
const BUDGET: u64 = 5_000_000;

static NO_HOST: NoHost = NoHost;

/// The surroundings of evaluations: the resource, the host, and how much they may do.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    schema: &'a Schema,
    resource: Option<FhirValue<'a>>,
    root_resource: Option<FhirValue<'a>>,
    host: &'a dyn Host<'a>,
    budget: u64,
}

impl<'a> Context<'a> {
    /// Without a resource: `%resource` is what is evaluated, if that is one.
    #[must_use]
    pub fn new(schema: &'a Schema) -> Self {
        Self { schema, resource: None, root_resource: None, host: &NO_HOST, budget: BUDGET }
    }

    /// `%resource`: the resource that holds what is evaluated.
    #[must_use]
    pub fn with_resource(self, resource: FhirValue<'a>) -> Self {
        Self { resource: Some(resource), ..self }
    }

    /// `%rootResource`: the container of a contained resource.
    #[must_use]
    pub fn with_root_resource(self, resource: FhirValue<'a>) -> Self {
        Self { root_resource: Some(resource), ..self }
    }

    /// Who is asked for what lies outside.
    #[must_use]
    pub fn with_host(self, host: &'a dyn Host<'a>) -> Self {
        Self { host, ..self }
    }

    /// How many steps an evaluation may take. A step is about an item looked at.
    #[must_use]
    pub fn with_budget(self, budget: u64) -> Self {
        Self { budget, ..self }
    }

    /// The definitions.
    #[must_use]
    pub fn schema(&self) -> &'a Schema {
        self.schema
    }

    pub(crate) fn host(&self) -> &'a dyn Host<'a> {
        self.host
    }

    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    pub(crate) fn resource_or(&self, focus: &Item<'a>) -> Option<FhirValue<'a>> {
        self.resource.or_else(|| focus.as_fhir().copied())
    }

    pub(crate) fn root_resource_or(&self, focus: &Item<'a>) -> Option<FhirValue<'a>> {
        self.root_resource.or_else(|| self.resource_or(focus))
    }
}
