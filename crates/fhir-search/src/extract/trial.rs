//! A definition tried out before it counts: that its expression compiles against the types that it
//! is for, leads to what its kind can compare, and neither fails nor runs away on a resource in
//! which every element stands.

use std::sync::Arc;

use fhir_core::json::Document;
use fhirpath::{CompileError, Context, Expression, FhirValue, Item, Options, OrderCheck};
use fhirpath::{ReferenceTypes, Strictness};

use super::plan::{Plan, UnsupportedReason};
use super::planner::Planner;
use super::sample::{Meta, OF_VERSION, Shape, sample};
use super::walk::{STEPS_OF_POSTED, Walk};
use super::{ExtractOptions, Extractor, ProblemReason, route};
use crate::parameters::{Kind, Parameter, Parameters};

static REFERENCE_TYPES: ReferenceTypes = ReferenceTypes;

/// The resources that are tried: the plainest, and one that is longer.
const SHAPES: [Shape; 2] = [
    Shape { items: 1, choice: 0, meta: Meta::Whole },
    Shape { items: 2, choice: 1, meta: Meta::Whole },
];

/// Why a parameter would not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// Its expression is none, or not of this type.
    #[error("the expression cannot be used on {resource_type}: {error}")]
    Expression {
        /// The type.
        resource_type: Arc<str>,
        /// What is wrong with it.
        error: CompileError,
    },
    /// It has no values in any resource of the type.
    #[error("of {resource_type}, {reason}")]
    Unsupported {
        /// The type.
        resource_type: Arc<str>,
        /// Why.
        reason: UnsupportedReason,
    },
    /// It cannot be evaluated, or not within its steps.
    #[error(
        "the expression was tried on a {resource_type} in which every element stands, with \
         {items} in each list, and cannot be used: {reason}"
    )]
    Fails {
        /// The type.
        resource_type: Arc<str>,
        /// Items of each list.
        items: usize,
        /// What happened.
        reason: ProblemReason,
    },
    /// Its values depend on which version a resource is, or on when it was written: values are
    /// taken before that is known.
    #[error(
        "of {resource_type}, what the expression finds depends on meta.versionId or \
         meta.lastUpdated, which a resource has only once it is written; leave them out, and ask \
         by _lastUpdated for when it was"
    )]
    OfVersion {
        /// The type.
        resource_type: Arc<str>,
    },
}

impl Extractor<'_> {
    /// Tries a parameter out, whether it is one of this extractor's or not.
    ///
    /// # Errors
    /// [`TrialError`] when it would not do.
    pub fn try_out(&self, parameter: &Arc<Parameter>) -> Result<(), TrialError> {
        let resource_type = || Arc::clone(&parameter.resource_type);
        let unsupported =
            |reason| TrialError::Unsupported { resource_type: resource_type(), reason };
        if let Some(flaw) = &parameter.flaw {
            return Err(unsupported(flaw.clone().into()));
        }
        self.compile(parameter)
            .map_err(|error| TrialError::Expression { resource_type: resource_type(), error })?;
        let planner = Planner::new(self.schema, &self.definitions, &parameter.resource_type);
        let plan = planner.plan(std::slice::from_ref(parameter));
        if let Some(it) = plan.unsupported.first() {
            return Err(unsupported(it.reason.clone()));
        }
        for shape in SHAPES {
            self.try_on(parameter, &plan, shape)?;
        }
        // Of `_lastUpdated` itself the instant is given from outside the resource.
        if plan.last_updated.is_none() && self.is_of_version(parameter, &plan) {
            return Err(TrialError::OfVersion { resource_type: resource_type() });
        }
        Ok(())
    }

    /// The parameters whose values depend on which version a resource is or when it was written,
    /// but for those that `sound` has by the same definitions: `_lastUpdated` is none of them.
    #[must_use]
    pub fn of_version(&self, sound: &Parameters) -> Vec<Arc<Parameter>> {
        let all = self.parameters.all().filter(|it| {
            let other = sound.get(&it.resource_type, it.code());
            it.flaw.is_none() && other.is_none_or(|other| other.fingerprint != it.fingerprint)
        });
        let of_version = all.filter(|parameter| {
            let planner = Planner::new(self.schema, &self.definitions, &parameter.resource_type);
            let plan = planner.plan(std::slice::from_ref(parameter));
            plan.last_updated.is_none() && self.is_of_version(parameter, &plan)
        });
        of_version.map(Arc::clone).collect()
    }

    /// Whether the values of a parameter depend on the elements that a resource has only once it
    /// is written: by their names, or by whatever leads to them as well.
    fn is_of_version(&self, parameter: &Parameter, plan: &Plan) -> bool {
        let parts = parameter.components.iter().map(|it| &*it.expression);
        let mut texts = parameter.expression().into_iter().chain(parts);
        let is_evaluated = !plan.expressions.is_empty()
            || plan.composites.iter().flat_map(|it| &it.parts).any(|it| !it.expressions.is_empty());
        texts.any(|text| OF_VERSION.iter().any(|name| names(text, name)))
            // A path leads to nothing that it does not name.
            || is_evaluated && SHAPES.iter().any(|shape| {
                let differ = |one, other| {
                    let [one, other] = [one, other].map(|meta| Shape { meta, ..*shape });
                    self.differ(parameter, plan, (one, other))
                };
                differ(Meta::Whole, Meta::OfNoVersion) || differ(Meta::OfVersionAlone, Meta::Empty)
            })
    }

    /// Whether a parameter has other values in one sample than in another.
    fn differ(&self, parameter: &Parameter, plan: &Plan, (one, other): (Shape, Shape)) -> bool {
        let [one, other] =
            [one, other].map(|shape| sample(self.schema, &parameter.resource_type, shape));
        let (Ok(one), Ok(other)) = (Document::parse(&one), Document::parse(&other)) else {
            return false;
        };
        let options = ExtractOptions::default();
        let [one, other] =
            [&one, &other].map(|it| Walk::new(self, plan, it.root(), &options).run());
        !one.iter().eq(other.iter())
    }

    /// Whether what of the expression is about the type names nothing that the type does not have.
    fn compile(&self, parameter: &Parameter) -> Result<(), CompileError> {
        let of = &*parameter.resource_type;
        let options = Options { strictness: Strictness::Strict, order_check: OrderCheck::Off };
        let text = parameter.expression().unwrap_or_default();
        let is_of_other_type = |member: &str| {
            let word = super::planner::first_word(member);
            word.is_some_and(|it| {
                it != of && self.schema.is_resource_type(it) && !self.schema.is_subtype(of, it)
            })
        };
        for member in route::union_members(text).into_iter().filter(|it| !is_of_other_type(it)) {
            Expression::compile(member, self.schema, of, options)?;
        }
        Ok(())
    }

    fn try_on(&self, parameter: &Parameter, plan: &Plan, shape: Shape) -> Result<(), TrialError> {
        let resource_type = || Arc::clone(&parameter.resource_type);
        let json = sample(self.schema, &parameter.resource_type, shape);
        let Ok(document) = Document::parse(&json) else { return Ok(()) };
        let root = document.root();
        let extracted = Walk::new(self, plan, root, &ExtractOptions::default()).run();
        let failed = |it: &&super::Problem| !matches!(it.reason, ProblemReason::Unreadable { .. });
        if let Some(problem) = extracted.problems().iter().find(failed) {
            let (items, reason) = (shape.items, problem.reason.clone());
            return Err(TrialError::Fails { resource_type: resource_type(), items, reason });
        }
        if !extracted.entries.is_empty() || parameter.kind == Kind::Composite {
            return Ok(());
        }
        // What FHIRPath finds must be something that can be compared.
        let focus = FhirValue::resource(self.schema, root);
        let context = Context::new(self.schema)
            .with_host(&REFERENCE_TYPES)
            .with_budget(STEPS_OF_POSTED)
            .with_resource(focus);
        let focus = Item::Fhir(focus);
        for whole in &plan.expressions {
            if let Ok(items) = whole.expression.evaluate(&context, &focus)
                && let Some(item) = items.first()
            {
                let (kind, found) = (parameter.kind.as_str(), item.type_name(self.schema));
                let reason = UnsupportedReason::NoValues { kind, found };
                return Err(TrialError::Unsupported { resource_type: resource_type(), reason });
            }
        }
        Ok(())
    }
}

/// Whether an expression has this word, outside of what is quoted as text.
fn names(expression: &str, word: &str) -> bool {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let mut words = expression.split(move |it: char| {
        let was_escaped = std::mem::take(&mut is_escaped);
        if was_escaped {
            return true;
        }
        match it {
            '\'' => is_quoted = !is_quoted,
            '\\' => is_escaped = true,
            _ => {}
        }
        is_quoted || !(it.is_alphanumeric() || it == '_')
    });
    words.any(|it| it == word)
}
