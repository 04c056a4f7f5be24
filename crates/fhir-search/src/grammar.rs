//! Reads a [`Query`] from what a request asks (FHIR R4, 3.1.1): the names and values of its
//! parameters, from the URL and from a form alike.
//!
//! The work is linear in the length of the request, but for chains that may lead to several
//! types; [`Limits`] bound both.

mod answer;
mod criterion;
mod elements;
mod encoding;
mod fault;
mod filter;
mod include;
mod leaf;
mod lists;
mod modifier;
mod name;
mod piece;
mod scope;
mod value;
mod words;

pub use encoding::{MalformedForm, decode_form, encode_form};

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fhir_core::{Instant, ResourceType};
use fhir_schema::conformance::SearchParameter;
use fhir_schema::{DefinitionSet, Schema};

use crate::{
    Answer, Applied, Clause, Compartment, Handling, Include, Limits, Parameters, Place, Query,
    QueryError, QueryProblem, SortKey, Summary, Test, TypeQuery, Zone,
};
use fault::{Fault, quoted};
use piece::Piece;

/// What a request asks, as its URL and body have it.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The type in the URL; none when all are searched, or those of `_type`.
    pub resource_type: Option<ResourceType>,
    /// The compartment in the URL.
    pub compartment: Option<Compartment>,
    /// Names and values, decoded once: those of the URL and then those of the body.
    pub parameters: &'a [(String, String)],
}

/// What a query is read against.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The search parameters.
    pub parameters: &'a Parameters,
    /// For the compartments.
    pub definitions: &'a DefinitionSet,
    /// For the resource types.
    pub schema: &'a Schema,
    /// The server's own base URL, without its last slash.
    pub base: &'a str,
    /// What a time without an offset is read in.
    pub zone: Zone,
    /// What `ap` measures from.
    pub now: Instant,
    /// What becomes of what is not understood.
    pub handling: Handling,
    /// How much is read.
    pub limits: &'a Limits,
}

impl Reader<'_> {
    /// Reads a query.
    ///
    /// # Errors
    /// [`QueryError`] for the first parameter that is wrong; with lenient handling not for those
    /// that [`QueryProblem::may_be_ignored`], which are then in [`Query::ignored`].
    pub fn read(&self, asked: &Asked<'_>) -> Result<Query, QueryError> {
        self.check_size(asked.parameters)?;
        let mut reading = Reading {
            reader: self,
            types: self.scope(asked)?,
            asks_one_type: asked.resource_type.is_some(),
            clauses_left: self.limits.clauses,
            tests: HashMap::new(),
            given_once: HashSet::new(),
            codes_given_once: HashSet::new(),
            sort: Vec::new(),
            includes: Vec::new(),
            answer: Answer::default(),
            ignored: Vec::new(),
        };
        let mut applied = Vec::with_capacity(asked.parameters.len());
        for (name, value) in asked.parameters {
            match reading.parameter(name, value) {
                Ok(Some(value)) => {
                    applied.push(Applied { name: (&**name).into(), value: (&*value).into() });
                }
                Ok(None) => {}
                Err(fault) => reading.ignore(fault, name, value)?,
            }
        }
        reading.finish(asked.compartment.clone(), applied)
    }

    fn check_size(&self, parameters: &[(String, String)]) -> Result<(), QueryError> {
        let limits = self.limits;
        let too_many = |name: &str, what, limit| QueryError {
            parameter: quoted(name),
            place: Place::Name(0),
            problem: QueryProblem::TooMany { what, limit },
        };
        if let Some((name, _)) = parameters.get(limits.parameters) {
            return Err(too_many(name, "parameters", limits.parameters));
        }
        let mut length = 0;
        for (name, value) in parameters {
            length += name.len() + value.len();
            if length > limits.length {
                return Err(too_many(name, "bytes of parameters", limits.length));
            }
            if name.len() > LONGEST_NAME {
                return Err(too_many(name, "bytes of one name", LONGEST_NAME));
            }
        }
        Ok(())
    }
}

/// Bytes of a name. The longest of definitions, with a type each time, are below 100.
const LONGEST_NAME: usize = 1_024;

/// A query that is being read.
struct Reading<'r> {
    reader: &'r Reader<'r>,
    /// What has been read of each type.
    types: Vec<TypeQuery>,
    asks_one_type: bool,
    /// So many conditions may still be read.
    clauses_left: usize,
    /// The tests of the parameter that is being read, by definition: a definition that is for
    /// many types is read once.
    tests: HashMap<*const SearchParameter, Arc<[Test]>>,
    /// The parameters given that may be given once.
    given_once: HashSet<&'static str>,
    /// Search parameters given that their definition allows once.
    codes_given_once: HashSet<Box<str>>,
    sort: Vec<SortKey>,
    includes: Vec<Include>,
    answer: Answer,
    ignored: Vec<QueryError>,
}

impl<'r> Reading<'r> {
    /// Reads one parameter; gives its value as far as it is used, none for one that concerns
    /// others than the search.
    fn parameter<'v>(&mut self, name: &str, value: &'v str) -> Result<Option<Cow<'v, str>>, Fault> {
        let (code, modifier) = match name.split_once(':') {
            Some((code, modifier)) => (code, Some(Piece::new(modifier, code.len() + 1))),
            None => (name, None),
        };
        if matches!(code, "_format" | "_pretty") {
            return Ok(None);
        }
        if value.is_empty() {
            return Err(Fault::in_value(0, QueryProblem::EmptyValue));
        }
        let whole = Piece::new(value, 0);
        match code {
            "_include" | "_revinclude" => self.include(code, modifier, whole)?,
            "_filter" => self.filter(modifier, whole)?,
            "_query" => {
                let problem = QueryProblem::UnknownNamedQuery(quoted(value));
                return Err(Fault::in_value(0, problem));
            }
            _ => {
                return match answer::Control::of(code) {
                    Some(control) => {
                        let used = self.control(control, modifier, whole)?;
                        Ok(Some(used).filter(|used| !used.is_empty()))
                    }
                    None => self.criterion(name, whole).map(Some),
                };
            }
        }
        Ok(Some(Cow::Borrowed(value)))
    }

    fn is_strict(&self) -> bool {
        self.reader.handling == Handling::Strict
    }

    /// Notes what is left out, if it may be.
    fn ignore(&mut self, fault: Fault, name: &str, value: &str) -> Result<(), QueryError> {
        let may_be_ignored = fault.problem.may_be_ignored();
        let error = fault.into_error(name, value);
        if self.is_strict() || !may_be_ignored {
            return Err(error);
        }
        self.ignored.push(error);
        Ok(())
    }

    /// Counts a condition.
    fn spend(&mut self, clauses: usize) -> Result<(), QueryProblem> {
        match self.clauses_left.checked_sub(clauses) {
            Some(left) => {
                self.clauses_left = left;
                Ok(())
            }
            None => {
                let limit = self.reader.limits.clauses;
                Err(QueryProblem::TooMany { what: "conditions", limit })
            }
        }
    }

    /// Adds a condition to the type that stands at this place.
    fn require(&mut self, of_type: usize, clause: Clause) {
        if let Some(of_type) = self.types.get_mut(of_type) {
            of_type.clauses.push(clause);
        }
    }

    fn finish(
        self,
        compartment: Option<Compartment>,
        applied: Vec<Applied>,
    ) -> Result<Query, QueryError> {
        if self.answer.summary == Some(Summary::Text) && !self.includes.is_empty() {
            return Err(QueryError {
                parameter: "_summary".into(),
                place: Place::Value(0),
                problem: QueryProblem::SummaryTextWithInclude,
            });
        }
        Ok(Query {
            types: self.types,
            compartment,
            sort: self.sort,
            includes: self.includes,
            answer: self.answer,
            applied,
            ignored: self.ignored,
        })
    }
}

/// Whether a parameter of this name puts a condition on the resources of each type.
pub(crate) fn is_criterion(name: &str) -> bool {
    let code = name.split(':').next().unwrap_or_default();
    let is_include = matches!(code, "_include" | "_revinclude");
    !is_include && answer::Control::of(code).is_none()
}

#[cfg(test)]
pub(crate) mod tests;
