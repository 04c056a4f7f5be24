//! The reference meaning of a query (FHIR R4, 3.1.1.4 and 3.1.1.5): whether a resource matches,
//! and where it stands among the matches.
//!
//! Simple rather than fast: a resource's values are compared with the query one by one. Whoever
//! answers from an index must find the same resources in the same order.
//!
//! What must be known beyond the resource is asked of a [`World`]. It may not have it at hand: then
//! matching stops with what it lacks, which whoever asked provides before asking again.

mod asks;
mod canonical;
mod codes;
mod hierarchy;
mod indexed;
mod near;
mod order;
mod token;
mod value;
mod weight;
mod words;

pub(crate) use asks::visit;
pub use asks::{
    BareId, Unanswerable, asks_for_words, asks_terminology, bare_ids, check_answerable,
};
pub use canonical::{is_named, urls_of};
pub use codes::{Codes, CodesError, NoCodes, case_counts};
use indexed::Indexed;
pub use indexed::IndexedResource;
pub use order::{InvalidSortPosition, SortPosition, sort_value};
pub use weight::Weight;

use std::sync::Arc;

use fhir_core::{ResourceId, ResourceType};

use crate::{
    Chain, Clause, Compartment, Has, IndexValue, Membership, Parameter, Parameters, Query,
    ReferenceTarget, Sense, Test, TypeQuery, ValueClause,
};

/// What is known beyond a resource: other resources as they are now, and codes.
///
/// What is deleted or may not be seen is not there.
pub trait World {
    /// The search parameters.
    fn parameters(&self) -> &Parameters;

    /// The server's own base URL, without its last slash.
    fn base(&self) -> Option<&str>;

    /// The resource with this type and id, if there is one.
    ///
    /// # Errors
    /// [`Unanswered`] when that is not known yet.
    fn resource(
        &self,
        resource_type: &str,
        id: &str,
    ) -> Result<Option<Arc<IndexedResource>>, Unanswered>;

    /// The resources of a type that a canonical names, as [`is_named`] tells.
    ///
    /// # Errors
    /// [`Unanswered`] when that is not known yet.
    fn named(
        &self,
        resource_type: &str,
        url: &str,
        version: Option<&str>,
    ) -> Result<Vec<Arc<IndexedResource>>, Unanswered>;

    /// Whether a resource is referred to as `has` says: by one of its type and parameter of which
    /// its clause [`holds()`].
    ///
    /// # Errors
    /// [`Unanswered`] when that is not known yet.
    fn is_referred_to(&self, has: &Has, resource: &IndexedResource) -> Result<bool, Unanswered>;

    /// What is known of codes.
    fn codes(&self) -> &dyn Codes;
}

/// Why it cannot be told whether a resource matches.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unanswered {
    /// Another resource is not at hand.
    #[error("{resource_type}/{id} is not at hand")]
    Resource {
        /// Its type.
        resource_type: Box<str>,
        /// Its id.
        id: Box<str>,
    },
    /// Which resources of this type have which canonical URL is not at hand.
    #[error("the canonical URLs of each {0} are not at hand")]
    Urls(Box<str>),
    /// What is referred to as this says is not at hand.
    #[error("what {} refers to by {} is not at hand", .0.resource_type, .0.parameter.code())]
    Has(Box<Has>),
    /// It never can.
    #[error(transparent)]
    Never(#[from] Unanswerable),
}

impl From<CodesError> for Unanswered {
    fn from(error: CodesError) -> Self {
        Self::Never(error.into())
    }
}

/// Whether a resource matches what `query` asks of its type.
///
/// # Errors
/// [`Unanswered`] when that cannot be told.
pub fn matches(
    query: &Query,
    of: &TypeQuery,
    resource: &IndexedResource,
    world: &dyn World,
) -> Result<bool, Unanswered> {
    if resource.resource_type() != of.resource_type.as_str() {
        return Ok(false);
    }
    if let (Some(compartment), Some(membership)) = (&query.compartment, &of.membership)
        && !is_in(compartment, membership, resource)
    {
        return Ok(false);
    }
    Subject::of(resource, world).all(&of.clauses)
}

/// Whether the resource that stands at `at` among those that a container contains matches what
/// `query` asks of its type. It is asked for what it says itself: it has no time of its own, is on
/// no list, and is referred to from within its container alone.
///
/// # Errors
/// [`Unanswered`] when that cannot be told.
pub fn matches_contained(
    query: &Query,
    of: &TypeQuery,
    (container, at): (&IndexedResource, usize),
    world: &dyn World,
) -> Result<bool, Unanswered> {
    let Some(resource) = container.contained().get(at) else { return Ok(false) };
    if resource.resource_type() != of.resource_type.as_str() {
        return Ok(false);
    }
    if let (Some(compartment), Some(membership)) = (&query.compartment, &of.membership)
        && !refers_into(compartment, membership, resource)
    {
        return Ok(false);
    }
    Subject { resource, container, world }.all(&of.clauses)
}

/// Whether a clause holds of a resource that is not contained in another.
///
/// # Errors
/// [`Unanswered`] when that cannot be told.
pub fn holds(
    clause: &Clause,
    resource: &IndexedResource,
    world: &dyn World,
) -> Result<bool, Unanswered> {
    Subject::of(resource, world).holds(clause)
}

/// The values that a resource has of the parameter of a clause, each with whether it is one by
/// which the clause holds.
///
/// # Errors
/// [`Unanswered`] when that cannot be told.
pub fn values_asked<'r>(
    clause: &ValueClause,
    resource: &'r IndexedResource,
    world: &dyn World,
) -> Result<Vec<(&'r IndexValue<'static>, bool)>, Unanswered> {
    let subject = Subject::of(resource, world);
    let values = resource.indexed(clause.parameter.id);
    values.map(|it| Ok((&it.value, subject.counts(clause, it)?))).collect()
}

/// Whether a resource is in a compartment: it refers to what that is about, or it is that.
fn is_in(compartment: &Compartment, membership: &Membership, resource: &IndexedResource) -> bool {
    let Compartment { resource_type, id } = compartment;
    let is_itself = membership.itself
        && resource.resource_type() == resource_type.as_str()
        && resource.id() == id.as_str();
    is_itself || refers_into(compartment, membership, resource)
}

/// Whether a resource refers to what a compartment is about.
fn refers_into(
    compartment: &Compartment,
    membership: &Membership,
    resource: &IndexedResource,
) -> bool {
    let Compartment { resource_type, id } = compartment;
    membership.parameters.iter().any(|it| refers_to(resource, it, resource_type, id))
}

/// Whether one of the references of a parameter is to a resource of this server.
fn refers_to(
    resource: &IndexedResource,
    parameter: &Parameter,
    resource_type: &ResourceType,
    id: &ResourceId,
) -> bool {
    resource.references(parameter.id).any(|reference| {
        matches!(
            &reference.target,
            ReferenceTarget::Local { resource_type: of, id: to, .. }
                if of == resource_type.as_str() && to == id.as_str()
        )
    })
}

/// The resource of which something holds or does not.
#[derive(Clone, Copy)]
struct Subject<'s> {
    resource: &'s IndexedResource,
    /// What contains it, or itself.
    container: &'s IndexedResource,
    world: &'s dyn World,
}

impl<'s> Subject<'s> {
    fn of(resource: &'s IndexedResource, world: &'s dyn World) -> Self {
        Self { resource, container: resource, world }
    }

    fn is_contained(&self) -> bool {
        !std::ptr::eq(self.resource, self.container)
    }

    fn all(&self, clauses: &[Clause]) -> Result<bool, Unanswered> {
        for clause in clauses {
            if !self.holds(clause)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn holds(&self, clause: &Clause) -> Result<bool, Unanswered> {
        match clause {
            Clause::Value(clause) => self.has_value(clause),
            Clause::Missing { parameter, missing } => {
                let has_none = self.resource.values(parameter.id).next().is_none();
                Ok(has_none == *missing)
            }
            Clause::Chain(chain) => self.chain(chain),
            Clause::Has(has) => self.has(has),
            Clause::Text(test) => Ok(words::holds(test, self.resource.narrative())),
            Clause::Content(test) => Ok(words::holds(test, self.resource.content())),
            Clause::List(list) => self.is_on(list),
            Clause::All(clauses) => self.all(clauses),
            Clause::Any(clauses) => {
                for clause in clauses {
                    if self.holds(clause)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Clause::Not(clause) => Ok(!self.holds(clause)?),
        }
    }

    fn has_value(&self, clause: &ValueClause) -> Result<bool, Unanswered> {
        for indexed in self.resource.indexed(clause.parameter.id) {
            if self.counts(clause, indexed)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a value is one by which a clause holds.
    fn counts(&self, clause: &ValueClause, indexed: &Indexed) -> Result<bool, Unanswered> {
        Ok(match clause.sense {
            Sense::SomeHolds => self.some_holds(clause, indexed)?,
            Sense::SomeDiffers => {
                is_compared(&indexed.value, &clause.tests) && !self.some_holds(clause, indexed)?
            }
        })
    }

    fn some_holds(&self, clause: &ValueClause, indexed: &Indexed) -> Result<bool, Unanswered> {
        let Indexed { value, folded, .. } = indexed;
        for test in &*clause.tests {
            if value::holds(test, value, folded.as_deref(), &clause.parameter, self.world)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn chain(&self, chain: &Chain) -> Result<bool, Unanswered> {
        let asked_of = |resource_type: &str| {
            let mut targets = chain.targets.iter();
            targets.find(|(of, _)| of.as_str() == resource_type).map(|(_, clause)| clause)
        };
        for reference in self.resource.references(chain.parameter.id) {
            let found = match &reference.target {
                ReferenceTarget::Local { resource_type, id, .. } => {
                    let Some(clause) = asked_of(resource_type) else { continue };
                    match self.world.resource(resource_type, id)? {
                        Some(target) => Subject::of(&target, self.world).holds(clause)?,
                        None => false,
                    }
                }
                ReferenceTarget::Contained(id) => {
                    let Some(target) = self.container.contained_by_id(id) else { continue };
                    let Some(clause) = asked_of(target.resource_type()) else { continue };
                    Subject { resource: target, ..*self }.holds(clause)?
                }
                ReferenceTarget::Canonical { url, version } => {
                    self.leads_by_url(chain, url, version.as_deref())?
                }
                ReferenceTarget::Url(_) | ReferenceTarget::Logical => false,
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a chain holds of something that a canonical names.
    fn leads_by_url(
        &self,
        chain: &Chain,
        url: &str,
        version: Option<&str>,
    ) -> Result<bool, Unanswered> {
        for (of, clause) in &chain.targets {
            for target in self.world.named(of.as_str(), url, version)? {
                if Subject::of(&target, self.world).holds(clause)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn has(&self, has: &Has) -> Result<bool, Unanswered> {
        if self.is_contained() {
            // Nothing outside its container refers to it.
            return Ok(false);
        }
        self.world.is_referred_to(has, self.resource)
    }

    fn is_on(&self, id: &ResourceId) -> Result<bool, Unanswered> {
        if self.is_contained() {
            return Ok(false);
        }
        let Some(item) = self.world.parameters().get("List", "item") else { return Ok(false) };
        let Some(list) = self.world.resource("List", id.as_str())? else { return Ok(false) };
        let is_this = |reference: &crate::Reference<'_>| {
            matches!(
                &reference.target,
                ReferenceTarget::Local { resource_type, id, .. }
                    if resource_type == self.resource.resource_type() && id == self.resource.id()
            )
        };
        Ok(list.references(item.id).any(is_this))
    }
}

/// Whether a value is one that the tests could hold of. A token that is a text alone is none,
/// unless texts are asked for.
fn is_compared(value: &IndexValue<'_>, tests: &[Test]) -> bool {
    match value {
        IndexValue::Token(token) => token.code.is_some() || tests.iter().any(value::is_of_text),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
