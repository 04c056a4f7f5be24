//! On which parameters' values the answer to a query depends.

use std::sync::Arc;

use super::{IncludeSource, Query, SortBy, Test, UriTest};
use crate::matches::visit;
use crate::{Clause, Kind, Parameter, Parameters};

impl Query {
    /// The parameters of this query, read with `own`, that have other values with `other` or do
    /// not exist there: where there are none, an index of the values of `other` answers it. Where
    /// the query follows every reference, the references of `other` that `own` does not have are
    /// among them.
    #[must_use]
    pub fn unlike(&self, own: &Parameters, other: &Parameters) -> Vec<Arc<Parameter>> {
        if own.fingerprint() == other.fingerprint() {
            return Vec::new();
        }
        let mut found = Unlike { other, found: Vec::new() };
        self.visit_parameters(own, &mut |parameter| found.add(parameter));
        let mut found = found.found;
        for include in &self.includes {
            let of = match &include.source {
                IncludeSource::Parameter(_) => continue,
                IncludeSource::Everything => None,
                IncludeSource::OfType(of) => Some(of.as_str()),
            };
            let wanted = |it: &&Arc<Parameter>| {
                it.kind == Kind::Reference && of.is_none_or(|of| *it.resource_type == *of)
            };
            for reference in other.all().filter(wanted) {
                let same = own.get(&reference.resource_type, reference.code());
                if same.is_none_or(|it| it.kind != Kind::Reference) {
                    found.push(Arc::clone(reference));
                }
            }
        }
        found
    }

    /// A hash of what matches and their order depend on: the same as long as the definitions of
    /// its parameters are.
    #[must_use]
    pub fn fingerprint_of_order(&self, own: &Parameters) -> [u8; 8] {
        let mut sum = 0_u64;
        self.visit_criteria(own, &mut |parameter| {
            let [high @ .., _, _, _, _, _, _, _, _] = parameter.fingerprint.to_bytes();
            sum = sum.rotate_left(5) ^ u64::from_be_bytes(high);
        });
        sum.to_be_bytes()
    }

    fn visit_criteria(&self, own: &Parameters, each: &mut dyn FnMut(&Arc<Parameter>)) {
        for of in &self.types {
            visit(&of.clauses, &mut |clause| of_clause(clause, own, each));
            of.membership.iter().flat_map(|it| &it.parameters).for_each(&mut *each);
        }
        for key in &self.sort {
            if let SortBy::Parameter(parameters) = &key.by {
                parameters.iter().for_each(&mut *each);
            }
        }
    }

    fn visit_parameters(&self, own: &Parameters, each: &mut dyn FnMut(&Arc<Parameter>)) {
        self.visit_criteria(own, each);
        if !self.includes.is_empty() {
            names(
                own.all().filter(|it| it.code() == "url").map(|it| &*it.resource_type),
                own,
                each,
            );
        }
        for include in &self.includes {
            match &include.source {
                IncludeSource::Parameter(parameter) => each(parameter),
                IncludeSource::OfType(of) => {
                    let of_type = own.of_type(of.as_str()).iter();
                    of_type.filter(|it| it.kind == Kind::Reference).for_each(&mut *each);
                }
                IncludeSource::Everything => {
                    own.all().filter(|it| it.kind == Kind::Reference).for_each(&mut *each);
                }
            }
        }
    }
}

struct Unlike<'o> {
    other: &'o Parameters,
    found: Vec<Arc<Parameter>>,
}

impl Unlike<'_> {
    fn add(&mut self, parameter: &Arc<Parameter>) {
        let same = self.other.get(&parameter.resource_type, parameter.code());
        let is_same = same.is_some_and(|it| it.fingerprint == parameter.fingerprint);
        if !is_same && !self.found.iter().any(|it| it.id == parameter.id) {
            self.found.push(Arc::clone(parameter));
        }
    }
}

/// The parameters of a clause, but not of those within it.
fn of_clause(clause: &Clause, own: &Parameters, each: &mut dyn FnMut(&Arc<Parameter>)) {
    match clause {
        Clause::Value(clause) => {
            each(&clause.parameter);
            for test in clause.tests.iter() {
                if let Test::Uri(UriTest::OfResource { resource_type, .. }) = test
                    && let Some(url) = own.get(resource_type.as_str(), "url")
                {
                    each(url);
                }
            }
        }
        Clause::Missing { parameter, .. } => each(parameter),
        Clause::Chain(chain) => {
            each(&chain.parameter);
            names(chain.targets.iter().map(|(of, _)| of.as_str()), own, each);
        }
        Clause::Has(has) => {
            each(&has.parameter);
            names(has.parameter.definition.targets.iter().map(|it| &**it), own, each);
        }
        Clause::List(_) => {
            if let Some(item) = own.get("List", "item") {
                each(item);
            }
        }
        Clause::Text(_) | Clause::Content(_) | Clause::All(_) | Clause::Any(_) | Clause::Not(_) => {
        }
    }
}

/// What canonicals name resources of these types by.
fn names<'t>(
    types: impl Iterator<Item = &'t str>,
    own: &Parameters,
    each: &mut dyn FnMut(&Arc<Parameter>),
) {
    for of in types {
        if let Some(url) = own.get(of, "url") {
            each(url);
            own.get(of, "version").into_iter().for_each(&mut *each);
        }
    }
}
