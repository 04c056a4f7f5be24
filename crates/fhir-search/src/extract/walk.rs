//! Goes through one resource along the plan of its type.

use std::mem;

use fhir_core::json::{Kind as JsonKind, Value};
use fhirpath::{Context, Expression, FhirValue, Item, ReferenceTypes};

use super::convert::Converter;
use super::plan::{CompositePlan, Leaf, Part, Plan, Take, TakeItem, Target, Test};
use super::{ExtractOptions, Extracted, Extractor, Problem, ProblemReason};
use crate::parameters::{Origin, ParameterId};
use crate::value::{Composite, IndexValue, type_of_reference};

static REFERENCE_TYPES: ReferenceTypes = ReferenceTypes;

/// What types' definitions begin with, as Reference.type may name one.
const TYPE_URL: &str = "http://hl7.org/fhir/StructureDefinition/";

/// Steps of FHIRPath on a whole resource, by the definition of a package: a fraction of a second.
const STEPS: u64 = 1_000_000;

/// The same by a definition that was posted: some milliseconds.
pub(super) const STEPS_OF_POSTED: u64 = 100_000;

/// Elements and values that composites may come to by looking at the whole resource again for
/// each of their elements.
const STEPS_AGAIN: usize = 100_000;

/// Contained resources that are looked at for what references to them mean. Beyond that, nobody
/// knows.
const LOOKUPS: usize = 1_000_000;

/// Steps of FHIRPath for a component of one element, by the definition of a package.
const STEPS_OF_A_COMPONENT: u64 = 50_000;

/// The same by a definition that was posted.
const STEPS_OF_A_POSTED_COMPONENT: u64 = 500;

/// How often FHIRPath is evaluated for the components of one resource's composites.
pub(super) const EVALUATIONS_OF_COMPONENTS: usize = 2_000;

/// Steps that an expression may take on a whole resource.
pub(super) fn steps_of(origin: Origin) -> u64 {
    match origin {
        Origin::Package => STEPS,
        Origin::Posted => STEPS_OF_POSTED,
    }
}

/// Steps that an expression may take for a component of one element.
pub(super) fn steps_of_component(origin: Origin) -> u64 {
    match origin {
        Origin::Package => STEPS_OF_A_COMPONENT,
        Origin::Posted => STEPS_OF_A_POSTED_COMPONENT,
    }
}

/// The walk through one resource.
pub(super) struct Walk<'a, 'o> {
    plan: &'a Plan,
    resource: Value<'a>,
    converter: Converter<'a, 'o>,
    extracted: Extracted<'a>,
    /// Elements gone through so far.
    steps: usize,
    /// Of [`STEPS_AGAIN`], those that are left.
    steps_again: usize,
    /// Of [`EVALUATIONS_OF_COMPONENTS`], by composite, those that are left.
    evaluations_left: Vec<(ParameterId, usize)>,
    /// Composites that ran out of these.
    cut_off: Vec<ParameterId>,
    /// Of [`LOOKUPS`], those that are left.
    lookups: usize,
}

impl<'a, 'o> Walk<'a, 'o> {
    pub(super) fn new(
        extractor: &'a Extractor<'_>,
        plan: &'a Plan,
        resource: Value<'a>,
        options: &'o ExtractOptions<'o>,
    ) -> Self {
        let converter = Converter {
            schema: extractor.schema,
            terminology: &extractor.terminology,
            units: &extractor.units,
            options,
            values: Vec::with_capacity(32),
            unreadable: Vec::new(),
        };
        let mut extracted = Extracted::default();
        extracted.entries.reserve(64);
        Self {
            plan,
            resource,
            converter,
            extracted,
            steps: 0,
            steps_again: STEPS_AGAIN,
            evaluations_left: Vec::new(),
            cut_off: Vec::new(),
            lookups: LOOKUPS,
        }
    }

    pub(super) fn run(mut self) -> Extracted<'a> {
        self.walk(&self.plan.root, self.resource);
        for whole in &self.plan.expressions {
            let focus = FhirValue::resource(self.converter.schema, self.resource);
            let first = self.converter.values.len();
            match self.evaluate(&whole.expression, &Item::Fhir(focus), whole.steps) {
                Err(problem) => self.problem(whole.parameter, problem),
                Ok(items) => {
                    for item in &items {
                        match whole.take {
                            TakeItem::Values(kind) => self.converter.take_item(kind, item),
                            TakeItem::Composite(at) => {
                                let plan = &self.plan.composites[at];
                                self.composite(plan, whole.parameter, item);
                            }
                        }
                    }
                    self.enter(&[whole.parameter], first);
                }
            }
        }
        self.extracted.values = self.converter.values;
        self.extracted
    }

    /// Takes what is wanted of an element, and goes on into it.
    fn walk(&mut self, target: &'a Target, value: Value<'a>) {
        for leaf in &target.leaves {
            self.take(leaf, value);
        }
        for (test, target) in &target.tests {
            if self.holds(test, value) {
                self.walk(target, value);
            }
        }
        self.steps += 1;
        if target.members.is_empty() {
            return;
        }
        for (name, member) in value.members() {
            let Some((_, target)) = target.members.iter().find(|(it, _)| **it == *name) else {
                continue;
            };
            match member.kind() {
                JsonKind::Array => {
                    let items = member.items().filter(|it| it.kind() != JsonKind::Null);
                    items.for_each(|item| self.walk(target, item));
                }
                JsonKind::Null => {}
                _ => self.walk(target, member),
            }
        }
    }

    fn take(&mut self, leaf: &'a Leaf, value: Value<'a>) {
        let first = self.converter.values.len();
        match &leaf.take {
            Take::Values(conversion) => self.converter.take(conversion, value),
            Take::Composite(at) => {
                let plan = &self.plan.composites[*at];
                if let Some(parameter) = leaf.parameters.first() {
                    let item = match plan.element {
                        Some(element) => {
                            let schema = self.converter.schema;
                            FhirValue::element(schema, element, Some(value), None)
                        }
                        None => Some(FhirValue::resource(self.converter.schema, value)),
                    };
                    if let Some(item) = item {
                        self.composite(plan, *parameter, &Item::Fhir(item));
                    }
                }
            }
        }
        self.enter(&leaf.parameters, first);
    }

    /// Says whose the values are that came since there were `first`.
    fn enter(&mut self, parameters: &[ParameterId], first: usize) {
        let end = self.converter.values.len();
        for parameter in parameters {
            if end > first {
                self.extracted.enter(*parameter, first..end);
            }
            for unreadable in &self.converter.unreadable {
                self.extracted.problems.push(Problem {
                    parameter: *parameter,
                    reason: ProblemReason::Unreadable {
                        what: unreadable.what,
                        offset: unreadable.offset,
                    },
                });
            }
        }
        if !parameters.is_empty() {
            self.converter.unreadable.clear();
        }
    }

    fn problem(&mut self, parameter: ParameterId, reason: ProblemReason) {
        self.extracted.problems.push(Problem { parameter, reason });
    }

    /// Adds what an element gives to each component, if it gives something to all of them.
    fn composite(&mut self, plan: &'a CompositePlan, parameter: ParameterId, item: &Item<'a>) {
        let Some(value) = item.as_fhir().and_then(FhirValue::value) else { return };
        let mut components = Vec::with_capacity(plan.parts.len());
        // The last first: it is the value, and the code before it is nearly always there.
        for part in plan.parts.iter().rev() {
            let before = mem::take(&mut self.converter.values);
            self.part((part, plan.steps), parameter, value, item);
            let values = mem::replace(&mut self.converter.values, before);
            if values.is_empty() {
                return;
            }
            components.push(values);
        }
        components.reverse();
        let composite = Composite { components: components.into_boxed_slice() };
        self.converter.values.push(IndexValue::Composite(composite));
    }

    fn part(
        &mut self,
        (part, steps): (&'a Part, u64),
        parameter: ParameterId,
        value: Value<'a>,
        item: &Item<'a>,
    ) {
        self.walk(&part.here, value);
        if !part.root.is_empty() {
            if self.steps_again == 0 {
                return self.cut_off(parameter);
            }
            let before = self.steps + self.converter.values.len();
            self.walk(&part.root, self.resource);
            let taken = self.steps + self.converter.values.len() - before;
            self.steps_again = self.steps_again.saturating_sub(taken);
        }
        for (expression, kind) in &part.expressions {
            if !self.may_evaluate(parameter) {
                return self.cut_off(parameter);
            }
            match self.evaluate(expression, item, steps) {
                Err(problem) => self.problem(parameter, problem),
                Ok(items) => items.iter().for_each(|it| self.converter.take_item(*kind, it)),
            }
        }
    }

    /// Says once that a composite has no more values.
    fn cut_off(&mut self, parameter: ParameterId) {
        if !self.cut_off.contains(&parameter) {
            self.cut_off.push(parameter);
            self.problem(parameter, ProblemReason::TooMuch);
        }
    }

    /// Whether FHIRPath may be evaluated once more for a composite.
    fn may_evaluate(&mut self, parameter: ParameterId) -> bool {
        let at = self.evaluations_left.iter().position(|(it, _)| *it == parameter);
        let at = at.unwrap_or_else(|| {
            self.evaluations_left.push((parameter, EVALUATIONS_OF_COMPONENTS));
            self.evaluations_left.len() - 1
        });
        let left = &mut self.evaluations_left[at].1;
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }

    fn evaluate(
        &self,
        expression: &'a Expression,
        focus: &Item<'a>,
        steps: u64,
    ) -> Result<Vec<Item<'a>>, ProblemReason> {
        let schema = self.converter.schema;
        let context = Context::new(schema)
            .with_host(&REFERENCE_TYPES)
            .with_budget(steps)
            .with_resource(FhirValue::resource(schema, self.resource));
        Ok(expression.evaluate(&context, focus)?)
    }

    fn holds(&mut self, test: &Test, value: Value<'a>) -> bool {
        match test {
            Test::Has(name, text) => value.get(name).is_some_and(|it| it.is_string(text)),
            Test::ResolvesTo(wanted) => self.resolves_to(value, wanted),
        }
    }

    /// Whether what a Reference points at is of a type, as far as the resource tells: by its
    /// text, by what is contained, or by Reference.type.
    fn resolves_to(&mut self, reference: Value<'a>, wanted: &str) -> bool {
        let schema = self.converter.schema;
        let is_wanted = |name: &str| name == wanted || schema.is_subtype(name, wanted);
        if let Some(text) = reference.get_str("reference") {
            if let Some(id) = text.strip_prefix('#') {
                let found = if id.is_empty() { Some(self.resource) } else { self.contained(id) };
                return found
                    .and_then(|it| it.get_str("resourceType"))
                    .is_some_and(|it| is_wanted(&it));
            }
            if let Some(name) = type_of_reference(&text) {
                return is_wanted(name);
            }
        }
        reference
            .get_str("type")
            .is_some_and(|it| is_wanted(it.strip_prefix(TYPE_URL).unwrap_or(&it)))
    }

    fn contained(&mut self, id: &str) -> Option<Value<'a>> {
        for contained in self.resource.get("contained")?.items() {
            self.lookups = self.lookups.checked_sub(1)?;
            if contained.get("id").is_some_and(|it| it.is_string(id)) {
                return Some(contained);
            }
        }
        None
    }
}
