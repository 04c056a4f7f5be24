//! Parameters that restrict the matches, along chains and `_has` (FHIR R4, 3.1.1.4.17 and
//! 3.1.1.4.18) down to what is asked at the end.

use std::borrow::Cow;
use std::sync::Arc;

use fhir_core::ResourceType;
use fhir_schema::conformance::SearchParameter;

use super::name::{Name, Step};
use super::{Fault, Piece, Reader, Reading};
use crate::{Chain, Clause, Has, Kind, Parameter, QueryProblem};

/// Names that are search parameters of every type though no definition says so.
const OF_EVERY_TYPE: [&str; 2] = ["_has", "_list"];

impl Reader<'_> {
    /// Whether the references of a definition may point to a type.
    pub(super) fn may_refer_to(&self, definition: &SearchParameter, resource_type: &str) -> bool {
        refers_to_anything(definition)
            || definition.targets.iter().any(|target| &**target == resource_type)
    }

    /// The types that the references of a definition may point to.
    pub(super) fn targets(&self, definition: &SearchParameter) -> Vec<ResourceType> {
        let named = |name: &str| self.resource_type(name).ok();
        if refers_to_anything(definition) {
            self.schema.resource_types().filter_map(named).collect()
        } else {
            definition.targets.iter().filter_map(|name| named(name)).collect()
        }
    }
}

/// Whether the definition names no type in particular.
pub(super) fn refers_to_anything(definition: &SearchParameter) -> bool {
    definition.targets.is_empty() || definition.targets.iter().any(|it| &**it == "Resource")
}

impl<'r> Reading<'r> {
    /// Reads a restriction; gives its value as far as it is used.
    pub(super) fn criterion<'v>(
        &mut self,
        name: &str,
        value: Piece<'v>,
    ) -> Result<Cow<'v, str>, Fault> {
        let parsed = Name::parse(name, self.reader.limits.depth)?;
        if let Some(first) = first_code(&parsed.steps, parsed.code) {
            self.of_every_type(first.text).map_err(|it| first.fault_in_name(it))?;
        }
        let (values, used) = self.values(name, value)?;
        self.tests.clear();
        for index in 0..self.types.len() {
            let resource_type = self.types[index].resource_type.clone();
            let clause = self.clause(resource_type.as_str(), &parsed.steps, &parsed, &values)?;
            self.require(index, clause);
        }
        Ok(used)
    }

    /// The values with commas between them. Empty ones are left out, if that may be.
    fn values<'v>(
        &mut self,
        name: &str,
        value: Piece<'v>,
    ) -> Result<(Vec<Piece<'v>>, Cow<'v, str>), Fault> {
        let limit = self.reader.limits.values;
        let mut values = Vec::new();
        let mut empty = None;
        for piece in value.split(b',') {
            if piece.text.is_empty() {
                empty.get_or_insert(piece);
                continue;
            }
            if values.len() == limit {
                let what = "values of one parameter";
                return Err(piece.fault(QueryProblem::TooMany { what, limit }));
            }
            values.push(piece);
        }
        let Some(empty) = empty else { return Ok((values, Cow::Borrowed(value.text))) };
        let fault = empty.fault(QueryProblem::EmptyValue);
        if self.is_strict() || values.is_empty() {
            return Err(fault);
        }
        self.ignored.push(fault.into_error(name, value.text));
        let used: Vec<&str> = values.iter().map(|piece| piece.text).collect();
        let used = used.join(",");
        Ok((values, Cow::Owned(used)))
    }

    /// Whether every type that is searched has a parameter.
    pub(super) fn of_every_type(&self, code: &str) -> Result<(), QueryProblem> {
        let parameters = self.reader.parameters;
        let lacks = |of: &&crate::TypeQuery| {
            parameters.get(of.resource_type.as_str(), code).is_none()
                && !OF_EVERY_TYPE.contains(&code)
        };
        let Some(lacking) = self.types.iter().find(lacks) else { return Ok(()) };
        let resource_type = lacking.resource_type.as_str();
        if self.types.iter().all(|of| lacks(&of)) {
            return Err(self.unknown(resource_type, code));
        }
        Err(QueryProblem::NotOfEveryType { code: code.into(), resource_type: resource_type.into() })
    }

    fn unknown(&self, resource_type: &str, code: &str) -> QueryProblem {
        let of_type = self.reader.parameters.of_type(resource_type);
        let hint = match of_type.iter().find(|it| it.code().eq_ignore_ascii_case(code)) {
            Some(meant) => format!("; '{}' is written so", meant.code()),
            None => "; the CapabilityStatement lists those it has".to_owned(),
        };
        QueryProblem::UnknownParameter {
            resource_type: resource_type.into(),
            code: code.into(),
            hint: hint.into(),
        }
    }

    /// A parameter of a type that can be searched by.
    pub(super) fn known(
        &self,
        resource_type: &str,
        code: &str,
    ) -> Result<Arc<Parameter>, QueryProblem> {
        let Some(parameter) = self.reader.parameters.get(resource_type, code) else {
            return Err(self.unknown(resource_type, code));
        };
        let can_be_searched = match parameter.kind {
            Kind::Special => code == "near",
            _ => parameter.flaw.is_none() && parameter.expression().is_some(),
        };
        if can_be_searched {
            Ok(Arc::clone(parameter))
        } else {
            Err(QueryProblem::UnsupportedParameter(code.into()))
        }
    }

    /// What must hold of a resource of a type, from a step on.
    fn clause(
        &mut self,
        resource_type: &str,
        steps: &[Step<'_>],
        name: &Name<'_>,
        values: &[Piece<'_>],
    ) -> Result<Clause, Fault> {
        match steps.split_first() {
            None => self.leaf(resource_type, name.code, name.modifier, values),
            Some((Step::Has { resource_type: from, reference }, rest)) => {
                self.spend(1).map_err(|it| from.fault_in_name(it))?;
                let (from, parameter) = self.referrer(resource_type, *from, *reference)?;
                let clause = self.clause(from.as_str(), rest, name, values);
                let clause = Box::new(clause.map_err(chained)?);
                Ok(Clause::Has(Has { resource_type: from, parameter, clause }))
            }
            Some((Step::Chain { code, target }, rest)) => {
                self.spend(1).map_err(|it| code.fault_in_name(it))?;
                let parameter = self.link(resource_type, *code)?;
                let next = first_code(rest, name.code).map(|it| it.text);
                let types = self.chain_targets(&parameter, *code, *target, next)?;
                let mut targets = Vec::with_capacity(types.len());
                for of_type in types {
                    let clause = self.clause(of_type.as_str(), rest, name, values);
                    targets.push((of_type, clause.map_err(chained)?));
                }
                Ok(Clause::Chain(Chain { parameter, targets }))
            }
        }
    }

    /// The type and parameter that `_has` names, which must refer to a type.
    fn referrer(
        &self,
        resource_type: &str,
        from: Piece<'_>,
        reference: Piece<'_>,
    ) -> Result<(ResourceType, Arc<Parameter>), Fault> {
        let from_type =
            self.reader.resource_type(from.text).map_err(|it| from.fault_in_name(it))?;
        let parameter = self.link(from.text, reference).map_err(chained)?;
        if !self.reader.may_refer_to(&parameter.definition, resource_type) {
            return Err(reference.fault_in_name(not_a_target(&parameter, resource_type)));
        }
        Ok((from_type, parameter))
    }

    /// A parameter that a search can go on along.
    pub(super) fn link(
        &self,
        resource_type: &str,
        code: Piece<'_>,
    ) -> Result<Arc<Parameter>, Fault> {
        let parameter =
            self.known(resource_type, code.text).map_err(|it| code.fault_in_name(it))?;
        match parameter.kind {
            Kind::Reference => Ok(parameter),
            kind => Err(code.fault_in_name(QueryProblem::not_a_reference(code.text, kind))),
        }
    }

    /// The types that a chain leads to: the one that it names, or those that have the parameter
    /// which is asked next.
    pub(super) fn chain_targets(
        &self,
        parameter: &Parameter,
        code: Piece<'_>,
        target: Option<Piece<'_>>,
        next: Option<&str>,
    ) -> Result<Vec<ResourceType>, Fault> {
        let definition = &parameter.definition;
        if let Some(target) = target {
            let Ok(named) = self.reader.resource_type(target.text) else {
                return Err(target.fault_in_name(QueryProblem::UnsupportedModifier {
                    modifier: target.text.into(),
                    of: format!("'{}' within a chain", code.text).into(),
                    allowed: "it takes a resource type there".into(),
                }));
            };
            if !self.reader.may_refer_to(definition, target.text) {
                return Err(target.fault_in_name(not_a_target(parameter, target.text)));
            }
            return Ok(vec![named]);
        }
        let mut types = self.reader.targets(definition);
        if types.len() > 1
            && let Some(next) = next
        {
            let has_next = |of: &ResourceType| {
                self.reader.parameters.get(of.as_str(), next).is_some()
                    || OF_EVERY_TYPE.contains(&next)
            };
            if types.iter().any(has_next) {
                types.retain(has_next);
            } else {
                // None has it: what is said of the first is true of all.
                types.truncate(1);
            }
        }
        match types.first() {
            Some(first) if self.is_strict() && types.len() > 1 => {
                Err(code.fault_in_name(QueryProblem::AmbiguousChain {
                    code: code.text.into(),
                    types: some_of(types.iter().map(ResourceType::as_str)).into(),
                    first: first.as_str().into(),
                }))
            }
            _ => Ok(types),
        }
    }
}

/// The code that a name asks first; none with `_has`, which every type has.
fn first_code<'a>(steps: &[Step<'a>], last: Piece<'a>) -> Option<Piece<'a>> {
    match steps.first() {
        None => Some(last),
        Some(Step::Chain { code, .. }) => Some(*code),
        Some(Step::Has { .. }) => None,
    }
}

/// What is not known at the end of a chain is never left out: the parameter as such is known, and
/// restricts the matches.
pub(super) fn chained(fault: Fault) -> Fault {
    let problem = match fault.problem {
        QueryProblem::UnknownParameter { resource_type, code, hint } => {
            QueryProblem::UnknownInChain { resource_type, code, hint }
        }
        QueryProblem::UnsupportedParameter(code) => QueryProblem::NotInChain(code),
        other => other,
    };
    Fault { problem, ..fault }
}

pub(super) fn not_a_target(parameter: &Parameter, resource_type: &str) -> QueryProblem {
    QueryProblem::NotATarget {
        code: parameter.code().into(),
        resource_type: resource_type.into(),
        allowed: some_of(parameter.definition.targets.iter().map(|it| &**it)).into(),
    }
}

/// The first of many names.
fn some_of<'n>(mut names: impl Iterator<Item = &'n str>) -> String {
    let mut some: Vec<&str> = names.by_ref().take(8).collect();
    if names.next().is_some() {
        some.push("…");
    }
    some.join(", ")
}
