//! What is asked of a parameter at the end of its name: modifiers, and the parameters that are
//! like no others.

use std::sync::Arc;

use fhir_schema::conformance::SearchParameter;

use super::modifier::{self, Modifier};
use super::value::Of;
use super::{Fault, Piece, Reading, words};
use crate::{Clause, Kind, Parameter, QueryProblem, Sense, Test, TextTest, ValueClause};

impl Reading<'_> {
    /// What must hold of a parameter of a resource of a type.
    pub(super) fn leaf(
        &mut self,
        resource_type: &str,
        code: Piece<'_>,
        modifier: Option<Piece<'_>>,
        values: &[Piece<'_>],
    ) -> Result<Clause, Fault> {
        self.spend(1).map_err(|it| code.fault_in_name(it))?;
        match code.text {
            "_list" => {
                no_modifier(code, modifier)?;
                self.spend_values(values)?;
                let lists = values.iter().map(|value| self.list(resource_type, *value));
                return lists.collect::<Result<Vec<_>, _>>().map(one_or_any);
            }
            "_text" | "_content" => {
                // Known, or it would be a parameter like any other that is not.
                let known = self.reader.parameters.get(resource_type, code.text);
                if known.is_some() {
                    no_modifier(code, modifier)?;
                    self.spend_values(values)?;
                    let clause = if code.text == "_text" { Clause::Text } else { Clause::Content };
                    return any_of(values.iter().map(|value| self.words(*value).map(clause)));
                }
            }
            "_has" => {
                let end = code.after(code.text.len());
                return Err(end.fault_in_name(QueryProblem::MissingName));
            }
            "_filter" | "_query" | "_type" | "_include" | "_revinclude" => {
                return Err(code.fault_in_name(QueryProblem::NotInChain(code.text.into())));
            }
            _ => {}
        }
        let parameter =
            self.known(resource_type, code.text).map_err(|it| code.fault_in_name(it))?;
        let modifier = match modifier {
            Some(text) => {
                let parsed = Modifier::parse(text.text, parameter.kind, &parameter.definition);
                Some(parsed.map_err(|it| text.fault_in_name(it))?)
            }
            None => None,
        };
        self.of_values(parameter, modifier.as_ref(), values)
    }

    fn of_values(
        &mut self,
        parameter: Arc<Parameter>,
        modifier: Option<&Modifier>,
        values: &[Piece<'_>],
    ) -> Result<Clause, Fault> {
        match modifier {
            Some(Modifier::Missing) => {
                let missing = missing(values)?;
                Ok(Clause::Missing { parameter, missing })
            }
            Some(Modifier::Not | Modifier::NotIn) => {
                let clause = self.some_holds(parameter, modifier, values)?;
                Ok(Clause::Not(Box::new(clause)))
            }
            None if self.has_versions(&parameter) => self.urls(&parameter, values),
            _ => self.some_holds(parameter, modifier, values),
        }
    }

    fn some_holds(
        &mut self,
        parameter: Arc<Parameter>,
        modifier: Option<&Modifier>,
        values: &[Piece<'_>],
    ) -> Result<Clause, Fault> {
        let tests = self.tests(&parameter, modifier, values)?;
        Ok(Clause::Value(ValueClause { parameter, tests, sense: Sense::SomeHolds }))
    }

    fn spend_values(&mut self, values: &[Piece<'_>]) -> Result<(), Fault> {
        let spend = |value: &Piece<'_>| self.spend(value.cost()).map_err(|it| value.fault(it));
        values.iter().try_for_each(spend)
    }

    fn tests(
        &mut self,
        parameter: &Parameter,
        modifier: Option<&Modifier>,
        values: &[Piece<'_>],
    ) -> Result<Arc<[Test]>, Fault> {
        // R4's own composites say so too, while its text has several values of one.
        let takes_one = parameter.definition.multiple_or == Some(false);
        if let [_, second, ..] = values
            && takes_one
            && parameter.kind != Kind::Composite
        {
            let what = "value of this parameter";
            return Err(second.fault(QueryProblem::TooMany { what, limit: 1 }));
        }
        let of = Of::parameter(parameter);
        // What may be referred to depends on the type that has the parameter.
        let is_for_every_type = !matches!(parameter.kind, Kind::Reference | Kind::Composite);
        let key: *const SearchParameter = Arc::as_ptr(&parameter.definition);
        if is_for_every_type && let Some(tests) = self.tests.get(&key) {
            return Ok(Arc::clone(tests));
        }
        self.spend_values(values)?;
        let tests: Result<Arc<[Test]>, Fault> =
            values.iter().map(|value| self.reader.test(&of, modifier, *value)).collect();
        let tests = tests?;
        if is_for_every_type {
            self.tests.insert(key, Arc::clone(&tests));
        }
        Ok(tests)
    }

    /// Whether the values of a parameter are URLs of resources that have a version beside them.
    fn has_versions(&self, parameter: &Parameter) -> bool {
        let version = || self.known(&parameter.resource_type, "version");
        parameter.kind == Kind::Uri
            && parameter.code() == "url"
            && version().is_ok_and(|it| it.kind == Kind::Token)
    }

    /// `url=http://a|1`: the URL, and the version that stands beside it.
    fn urls(&mut self, parameter: &Arc<Parameter>, values: &[Piece<'_>]) -> Result<Clause, Fault> {
        let mut plain = Vec::with_capacity(values.len());
        let mut clauses = Vec::new();
        for value in values {
            let parts: Vec<Piece<'_>> = value.split(b'|').collect();
            match parts[..] {
                [url, version] if !url.text.is_empty() && !version.text.is_empty() => {
                    self.tests.clear();
                    let url = self.some_holds(Arc::clone(parameter), None, &[url])?;
                    let versions = self
                        .known(&parameter.resource_type, "version")
                        .map_err(|it| version.fault(it))?;
                    let version = self.some_holds(versions, None, &[version])?;
                    clauses.push(Clause::All(vec![url, version]));
                }
                _ => plain.push(*value),
            }
        }
        self.tests.clear();
        if clauses.is_empty() {
            return self.some_holds(Arc::clone(parameter), None, &plain);
        }
        if !plain.is_empty() {
            clauses.push(self.some_holds(Arc::clone(parameter), None, &plain)?);
        }
        self.tests.clear();
        Ok(one_or_any(clauses))
    }

    fn words(&self, value: Piece<'_>) -> Result<TextTest, Fault> {
        let text = value.unescape(self.reader.handling)?;
        words::parse(Piece::new(&text, value.at), self.reader.limits)
    }
}

fn no_modifier(code: Piece<'_>, modifier: Option<Piece<'_>>) -> Result<(), Fault> {
    match modifier {
        Some(it) => Err(it.fault_in_name(modifier::none_here(it.text, code.text))),
        None => Ok(()),
    }
}

fn any_of(clauses: impl Iterator<Item = Result<Clause, Fault>>) -> Result<Clause, Fault> {
    clauses.collect::<Result<Vec<Clause>, Fault>>().map(one_or_any)
}

fn one_or_any(mut clauses: Vec<Clause>) -> Clause {
    match clauses.pop() {
        Some(only) if clauses.is_empty() => only,
        Some(last) => {
            clauses.push(last);
            Clause::Any(clauses)
        }
        None => Clause::Any(clauses),
    }
}

fn missing(values: &[Piece<'_>]) -> Result<bool, Fault> {
    let mend = "write :missing=true or :missing=false";
    match values {
        [value] if value.text == "true" => Ok(true),
        [value] if value.text == "false" => Ok(false),
        [value, ..] => {
            Err(value.fault(QueryProblem::invalid("answer to whether it is missing", mend)))
        }
        [] => Err(Fault::in_value(0, QueryProblem::EmptyValue)),
    }
}
