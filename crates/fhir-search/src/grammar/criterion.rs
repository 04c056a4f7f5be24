//! Parameters that restrict the matches, along chains and `_has` (FHIR R4, 3.1.1.4.17 and
//! 3.1.1.4.18) down to what is asked at the end.

use std::borrow::Cow;
use std::sync::Arc;

use fhir_core::ResourceType;

use super::elements::{Source, some_of};
use super::name::{Name, Step};
use super::{Fault, Piece, Reader, Reading, quoted};
use crate::{Chain, Clause, Has, Kind, Parameter, QueryProblem};

/// Names that are search parameters of every type though no definition says so.
const OF_EVERY_TYPE: [&str; 2] = ["_has", "_list"];

impl Reading<'_> {
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
        self.check_repeat(&parsed)?;
        let (values, used) = self.values(name, value)?;
        self.tests.clear();
        for index in 0..self.types.len() {
            let resource_type = self.types[index].resource_type.clone();
            let clause = self.clause(resource_type.as_str(), &parsed.steps, &parsed, &values)?;
            self.require(index, clause);
        }
        Ok(used)
    }

    /// Whether a parameter that its definition allows once is given again.
    fn check_repeat(&mut self, name: &Name<'_>) -> Result<(), Fault> {
        let Some(first) = first_code(&name.steps, name.code) else { return Ok(()) };
        let allowed_once = self.types.iter().any(|of| {
            let parameter = self.reader.parameters.get(of.resource_type.as_str(), first.text);
            parameter.is_some_and(|it| it.definition.multiple_and == Some(false))
        });
        if allowed_once && !self.codes_given_once.insert(first.text.into()) {
            return Err(first.fault_in_name(QueryProblem::Repeated));
        }
        Ok(())
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
            code: quoted(code),
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
        if parameter.can_be_searched() {
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
                check_chain(&parameter, rest, name.code)?;
                let mut union = Union::new(parameter, *code, target.is_some());
                for of_type in self.chain_targets(&union.parameter, *code, *target)? {
                    let clause = self.clause(of_type.as_str(), rest, name, values);
                    union.add(of_type, clause)?;
                }
                union.into_clause(self.is_strict())
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
        if !self.reader.may_refer_to(Source::of(&parameter), resource_type) {
            return Err(
                reference.fault_in_name(self.reader.not_a_target(&parameter, resource_type))
            );
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

    /// The types that a chain may lead to: the one that it names, or all that are referred to.
    pub(super) fn chain_targets(
        &self,
        parameter: &Parameter,
        code: Piece<'_>,
        target: Option<Piece<'_>>,
    ) -> Result<Vec<ResourceType>, Fault> {
        let of = Source::of(parameter);
        let Some(target) = target else { return Ok(self.reader.targets(of)) };
        let Ok(named) = self.reader.resource_type(target.text) else {
            return Err(target.fault_in_name(QueryProblem::UnsupportedModifier {
                modifier: target.text.into(),
                of: format!("'{}' within a chain", code.text).into(),
                allowed: "it takes a resource type there".into(),
            }));
        };
        if !self.reader.may_refer_to(of, target.text) {
            return Err(target.fault_in_name(self.reader.not_a_target(parameter, target.text)));
        }
        Ok(vec![named])
    }
}

/// What a chain asks of each type that it may lead to: of those for which it means something.
pub(super) struct Union<'a> {
    pub(super) parameter: Arc<Parameter>,
    code: Piece<'a>,
    /// Whether the chain names its type.
    is_named: bool,
    targets: Vec<(ResourceType, Clause)>,
    /// What is wrong with the first type for which it means nothing.
    fault: Option<Fault>,
}

impl<'a> Union<'a> {
    pub(super) fn new(parameter: Arc<Parameter>, code: Piece<'a>, is_named: bool) -> Self {
        Self { parameter, code, is_named, targets: Vec::new(), fault: None }
    }

    pub(super) fn add(
        &mut self,
        of_type: ResourceType,
        clause: Result<Clause, Fault>,
    ) -> Result<(), Fault> {
        match clause.map_err(chained) {
            Ok(clause) => self.targets.push((of_type, clause)),
            Err(fault) if leads_nowhere(&fault.problem) && !self.is_named => {
                self.fault.get_or_insert(fault);
            }
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    pub(super) fn into_clause(self, is_strict: bool) -> Result<Clause, Fault> {
        let Self { parameter, code, targets, fault, .. } = self;
        match targets.as_slice() {
            [] => Err(fault.unwrap_or_else(|| {
                code.fault_in_name(QueryProblem::not_a_reference(code.text, parameter.kind))
            })),
            [(first, _), _, ..] if is_strict => {
                Err(code.fault_in_name(QueryProblem::AmbiguousChain {
                    code: code.text.into(),
                    types: some_of(targets.iter().map(|(of_type, _)| of_type.as_str())).into(),
                    first: first.as_str().into(),
                }))
            }
            _ => Ok(Clause::Chain(Chain { parameter, targets })),
        }
    }
}

/// Whether it says that a type does not have what a chain asks.
fn leads_nowhere(problem: &QueryProblem) -> bool {
    matches!(
        problem,
        QueryProblem::UnknownInChain { .. }
            | QueryProblem::NotAReference { .. }
            | QueryProblem::NotATarget { .. }
    )
}

/// The code that a name asks first; none with `_has`, which every type has.
fn first_code<'a>(steps: &[Step<'a>], last: Piece<'a>) -> Option<Piece<'a>> {
    match steps.first() {
        None => Some(last),
        Some(Step::Chain { code, .. }) => Some(*code),
        Some(Step::Has { .. }) => None,
    }
}

/// A definition that lists where a chain may go on allows nothing else.
fn check_chain(parameter: &Parameter, rest: &[Step<'_>], last: Piece<'_>) -> Result<(), Fault> {
    let chains = &parameter.definition.chains;
    let Some(next) = first_code(rest, last) else { return Ok(()) };
    if chains.is_empty() || chains.iter().any(|it| &**it == next.text) {
        return Ok(());
    }
    Err(next.fault_in_name(QueryProblem::NotInChain(next.text.into())))
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

impl Reader<'_> {
    fn not_a_target(&self, parameter: &Parameter, resource_type: &str) -> QueryProblem {
        QueryProblem::NotATarget {
            code: parameter.code().into(),
            resource_type: resource_type.into(),
            allowed: self.list_targets(Source::of(parameter)).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, check_chain};
    use crate::{Parameter, Parameters};
    use fhir_schema::conformance::SearchParameter;
    use fhir_schema::{DefinitionSet, Schema};
    use std::sync::Arc;

    #[test]
    fn a_definition_that_lists_where_a_chain_goes_on_allows_nothing_else() {
        // SRCH-241
        let parameters = Parameters::new(DefinitionSet::r4(), Schema::r4());
        let subject = parameters.get("Observation", "subject").unwrap();
        let listing = SearchParameter {
            chains: vec!["name".into(), "identifier".into()],
            ..(*subject.definition).clone()
        };
        let parameter = Parameter {
            id: subject.id,
            resource_type: Arc::clone(&subject.resource_type),
            kind: subject.kind,
            definition: Arc::new(listing),
            components: Arc::clone(&subject.components),
            flaw: None,
            origin: subject.origin,
            fingerprint: subject.fingerprint,
        };
        let check = |text| {
            let name = Name::parse(text, 8).unwrap();
            check_chain(&parameter, &name.steps[1..], name.code).is_ok()
        };
        assert!(check("subject.name") && check("subject.identifier:missing"));
        assert!(!check("subject.gender") && !check("subject.organization.name"));
    }
}
