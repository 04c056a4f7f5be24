//! `_filter` (FHIR R4, search_filter.html): conditions with `and`, `or`, `not` and brackets.
//!
//! As there, `and` and `or` bind alike, from left to right. A chain may name the type that it leads
//! to, `subject:Patient.name`, and go on without brackets, `subject.name`. Operators that do not
//! apply to a parameter's type are errors, and so is everything else that is not understood:
//! a filter restricts the matches.

mod lexer;
mod operator;

use super::criterion::{Union, chained};
use super::value::Of;
use super::{Fault, Piece, Reading, modifier, quoted, value, words};
use crate::{Clause, Kind, Parameter, QueryProblem, Sense, StringMatch, Test, ValueClause};
use lexer::{Lexer, Operand};
use operator::Operator;
use std::sync::Arc;

impl Reading<'_> {
    /// Reads a filter for every type that is searched.
    pub(super) fn filter(
        &mut self,
        modifier: Option<Piece<'_>>,
        value: Piece<'_>,
    ) -> Result<(), Fault> {
        if let Some(it) = modifier {
            return Err(it.fault_in_name(modifier::none_here(it.text, "_filter")));
        }
        for index in 0..self.types.len() {
            let resource_type = self.types[index].resource_type.clone();
            let mut parser = Parser { lexer: Lexer::new(value), depth: 0 };
            let clause = self.expression(&mut parser, resource_type.as_str()).map_err(chained)?;
            if !parser.lexer.is_at_end() {
                return Err(parser.lexer.unexpected("and, or or the end"));
            }
            self.require(index, clause);
        }
        Ok(())
    }

    /// `filter ((and | or) filter)*`
    fn expression(&mut self, parser: &mut Parser<'_>, of_type: &str) -> Result<Clause, Fault> {
        let mut clause = self.condition(parser, of_type)?;
        let depth = parser.depth;
        let mut last = None;
        while let Some(operator) = parser.logical() {
            let next = self.condition(parser, of_type)?;
            clause = match (clause, operator) {
                (Clause::All(mut all), Logical::And) if last == Some(operator) => {
                    all.push(next);
                    Clause::All(all)
                }
                (Clause::Any(mut any), Logical::Or) if last == Some(operator) => {
                    any.push(next);
                    Clause::Any(any)
                }
                (clause, operator) => {
                    // What has been read moves a level down.
                    self.deeper(parser)?;
                    match operator {
                        Logical::And => Clause::All(vec![clause, next]),
                        Logical::Or => Clause::Any(vec![clause, next]),
                    }
                }
            };
            last = Some(operator);
        }
        parser.depth = depth;
        Ok(clause)
    }

    /// `not (filter)`, `(filter)` or one comparison.
    fn condition(&mut self, parser: &mut Parser<'_>, of_type: &str) -> Result<Clause, Fault> {
        if parser.lexer.takes_word_before_bracket("not") {
            let inner = self.bracketed(parser, of_type)?;
            return Ok(Clause::Not(Box::new(inner)));
        }
        if parser.lexer.is_at('(') {
            return self.bracketed(parser, of_type);
        }
        self.path(parser, of_type)
    }

    fn bracketed(&mut self, parser: &mut Parser<'_>, of_type: &str) -> Result<Clause, Fault> {
        self.within(parser, '(', ')', "(", ")", of_type)
    }

    fn within(
        &mut self,
        parser: &mut Parser<'_>,
        open: char,
        close: char,
        open_expected: &'static str,
        close_expected: &'static str,
        of_type: &str,
    ) -> Result<Clause, Fault> {
        if !parser.lexer.takes(open) {
            return Err(parser.lexer.unexpected(open_expected));
        }
        self.deeper(parser)?;
        let clause = self.expression(parser, of_type)?;
        if !parser.lexer.takes(close) {
            return Err(parser.lexer.unexpected(close_expected));
        }
        parser.depth -= 1;
        Ok(clause)
    }

    fn deeper(&self, parser: &mut Parser<'_>) -> Result<(), Fault> {
        let limit = self.reader.limits.depth;
        if parser.depth == limit {
            let what = "levels of brackets, chains, and changes between and and or";
            return Err(parser.lexer.fault(QueryProblem::TooMany { what, limit }));
        }
        parser.depth += 1;
        Ok(())
    }

    /// `code operator value`, perhaps along a chain: `code.path`, `code[filter].path`.
    fn path(&mut self, parser: &mut Parser<'_>, of_type: &str) -> Result<Clause, Fault> {
        let name = parser.lexer.name()?;
        let goes_on = parser.lexer.is_at('.') || parser.lexer.is_at('[');
        if !goes_on {
            return self.comparison(parser, of_type, name);
        }
        self.spend(1).map_err(|it| name.fault(it))?;
        let (code, target) = match name.text.split_once(':') {
            Some((code, _)) => (Piece::new(code, name.at), Some(name.after(code.len() + 1))),
            None => (name, None),
        };
        self.deeper(parser)?;
        let parameter = self.link(of_type, code).map_err(in_value)?;
        let types = self.chain_targets(&parameter, code, target).map_err(in_value)?;
        // What follows is read once for each type that it may be about.
        let (start, mut end) = ((parser.lexer, parser.depth), None);
        let mut union = Union::new(parameter, code, target.is_some());
        for target in types {
            (parser.lexer, parser.depth) = start;
            let clause = self.along(parser, target.as_str());
            if clause.is_ok() {
                end = Some(parser.lexer);
            }
            union.add(target, clause)?;
        }
        let clause = union.into_clause(self.is_strict()).map_err(in_value)?;
        parser.lexer = end.unwrap_or(parser.lexer);
        parser.depth = start.1 - 1;
        Ok(clause)
    }

    /// `.path` or `[filter].path`, of one type.
    fn along(&mut self, parser: &mut Parser<'_>, of_type: &str) -> Result<Clause, Fault> {
        let mut clauses = Vec::new();
        if parser.lexer.is_at('[') {
            clauses.push(self.within(parser, '[', ']', "[", "]", of_type)?);
        }
        if !parser.lexer.takes('.') {
            return Err(parser.lexer.unexpected("a dot and another name"));
        }
        let last = self.path(parser, of_type)?;
        if clauses.is_empty() {
            return Ok(last);
        }
        clauses.push(last);
        Ok(Clause::All(clauses))
    }

    fn comparison(
        &mut self,
        parser: &mut Parser<'_>,
        of_type: &str,
        name: Piece<'_>,
    ) -> Result<Clause, Fault> {
        self.spend(1).map_err(|it| name.fault(it))?;
        let word = parser.lexer.word("an operator, as eq")?;
        let Some(operator) = Operator::of(word.text) else {
            return Err(word.fault(QueryProblem::Unexpected {
                found: format!("'{}'", quoted(word.text)).into(),
                expected: operator::EXPECTED,
            }));
        };
        let operand = parser.lexer.operand()?;
        self.spend(operand.piece().cost()).map_err(|it| operand.fault(it))?;
        if matches!(name.text, "_text" | "_content")
            && self.reader.parameters.get(of_type, name.text).is_some()
        {
            return self.of_words(name, operator, word, &operand);
        }
        let parameter = self.known(of_type, name.text).map_err(|it| name.fault(it))?;
        if operator == Operator::Pr {
            return match &*operand.text {
                "true" => Ok(Clause::Missing { parameter, missing: false }),
                "false" => Ok(Clause::Missing { parameter, missing: true }),
                _ => {
                    let problem = QueryProblem::invalid("answer to pr", "write true or false");
                    Err(operand.fault(problem))
                }
            };
        }
        self.compare(parameter, operator, word, &operand)
    }

    fn of_words(
        &self,
        name: Piece<'_>,
        operator: Operator,
        word: Piece<'_>,
        operand: &Operand<'_>,
    ) -> Result<Clause, Fault> {
        if operator != Operator::Co {
            return Err(word.fault(QueryProblem::UnsupportedOperator {
                operator: word.text.into(),
                code: name.text.into(),
                kind: Kind::String.as_str(),
                allowed: "co",
            }));
        }
        let test = words::parse(operand.piece(), self.reader.limits)?;
        Ok(if name.text == "_text" { Clause::Text(test) } else { Clause::Content(test) })
    }

    fn compare(
        &mut self,
        parameter: Arc<Parameter>,
        operator: Operator,
        word: Piece<'_>,
        operand: &Operand<'_>,
    ) -> Result<Clause, Fault> {
        let kind = parameter.kind;
        let unsupported = || {
            word.fault(QueryProblem::UnsupportedOperator {
                operator: word.text.into(),
                code: parameter.code().into(),
                kind: kind.as_str(),
                allowed: operator::allowed(kind),
            })
        };
        let of = Of::parameter(&parameter);
        let value = operand.piece();
        let test = match kind {
            Kind::Number | Kind::Date | Kind::Quantity => {
                let prefix = operator.prefix(kind).ok_or_else(unsupported)?;
                value::ordered_test(self.reader, kind, prefix, value)?
            }
            Kind::String => {
                let at = match operator {
                    Operator::Eq | Operator::Ne => StringMatch::Whole,
                    Operator::Co => StringMatch::Contains,
                    Operator::Sw => StringMatch::Start,
                    Operator::Ew => StringMatch::End,
                    _ => return Err(unsupported()),
                };
                Test::String(value::string(at, value.text, value)?)
            }
            Kind::Token | Kind::Reference | Kind::Uri => {
                let modifier = operator.modifier(kind).ok_or_else(unsupported)?;
                self.reader.test(&of, modifier.as_ref(), value)?
            }
            Kind::Composite | Kind::Special => return Err(unsupported()),
        };
        // A date that is unequal says so by itself.
        let is_ne = operator == Operator::Ne && operator.prefix(kind).is_none();
        let sense = if is_ne { Sense::SomeDiffers } else { Sense::SomeHolds };
        let clause = Clause::Value(ValueClause { parameter, tests: [test].into(), sense });
        Ok(if operator == Operator::Ni { Clause::Not(Box::new(clause)) } else { clause })
    }
}

/// What is wrong with a name, which stands in the value here.
fn in_value(fault: Fault) -> Fault {
    match fault.place {
        crate::Place::Name(at) | crate::Place::Value(at) => Fault::in_value(at, fault.problem),
    }
}

/// `and` or `or`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Logical {
    And,
    Or,
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// How deep it is.
    depth: usize,
}

impl Parser<'_> {
    fn logical(&mut self) -> Option<Logical> {
        if self.lexer.takes_word("and") {
            return Some(Logical::And);
        }
        self.lexer.takes_word("or").then_some(Logical::Or)
    }
}
