//! What is looked for in the resources of one type: the paths of all its parameters as one tree
//! of element names, so that a resource is gone through once, whatever the number of parameters.
//! What is more than a path stays an expression of FHIRPath.

use fhir_schema::{Element, Node};
use fhirpath::{CompileError, Expression};

use super::convert::Conversion;
use crate::parameters::{Flaw, Kind, ParameterId};

/// What is looked for in the resources of one type.
#[derive(Debug)]
pub(super) struct Plan {
    /// From the resource on.
    pub(super) root: Target,
    /// What is no path.
    pub(super) expressions: Vec<WholeExpression>,
    pub(super) composites: Vec<CompositePlan>,
    /// `_lastUpdated`, which may be told from outside.
    pub(super) last_updated: Option<ParameterId>,
    pub(super) unsupported: Vec<Unsupported>,
}

/// An element, or elements, that paths lead to or through.
#[derive(Debug, Default)]
pub(super) struct Target {
    pub(super) leaves: Vec<Leaf>,
    /// By the name in JSON.
    pub(super) members: Vec<(Box<str>, Target)>,
    pub(super) tests: Vec<(Test, Target)>,
}

/// What is taken where a path ends.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) take: Take,
    /// Whose values these are; nobody's own within a composite.
    pub(super) parameters: Vec<ParameterId>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Take {
    Values(Conversion),
    /// Index into [`Plan::composites`].
    Composite(usize),
}

/// What an element must meet for a path to go on.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(super) enum Test {
    /// A reference to a resource of a type.
    ResolvesTo(Box<str>),
    /// A member with a text.
    Has(Box<str>, Box<str>),
}

/// An expression of FHIRPath on the whole resource.
#[derive(Debug)]
pub(super) struct WholeExpression {
    pub(super) parameter: ParameterId,
    pub(super) expression: Expression,
    pub(super) take: TakeItem,
    /// Steps that it may take on one resource.
    pub(super) steps: u64,
}

#[derive(Debug)]
pub(super) enum TakeItem {
    Values(Kind),
    Composite(usize),
}

/// What an element gives to the components of a composite.
#[derive(Debug)]
pub(super) struct CompositePlan {
    /// The element; `None` for the resource, and for what FHIRPath found.
    pub(super) element: Option<Element>,
    pub(super) parts: Vec<Part>,
    /// Steps that FHIRPath may take for one component of one element.
    pub(super) steps: u64,
}

/// A component of a composite.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// From the composite's element on.
    pub(super) here: Target,
    /// From the resource on: `%resource`.
    pub(super) root: Target,
    /// What is no path.
    pub(super) expressions: Vec<(Expression, Kind)>,
}

/// A parameter without values, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// Which.
    pub parameter: ParameterId,
    /// Why.
    pub reason: UnsupportedReason,
}

/// Why a parameter has no values in any resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedReason {
    /// The definition says nothing of where they are.
    #[error("it has no expression")]
    NoExpression,
    /// Its composite cannot be made.
    #[error(transparent)]
    Flaw(#[from] Flaw),
    /// The expression is none.
    #[error("its expression cannot be used: {0}")]
    Expression(#[from] CompileError),
    /// The expression says nothing of this type.
    #[error("its expression is about other types")]
    OtherType,
    /// The expression leads to what the kind of parameter cannot compare.
    #[error("its expression leads to {found}, of which a {kind} has no values")]
    NoValues {
        /// What kind of parameter.
        kind: &'static str,
        /// What the expression leads to.
        found: String,
    },
}

impl Part {
    pub(super) fn is_empty(&self) -> bool {
        self.here.is_empty() && self.root.is_empty() && self.expressions.is_empty()
    }
}

impl Target {
    pub(super) fn is_empty(&self) -> bool {
        self.leaves.is_empty() && self.members.is_empty() && self.tests.is_empty()
    }

    /// The target at the end of a path, which is made if it is not there.
    pub(super) fn at(&mut self, keys: &[Key]) -> &mut Self {
        let Some((key, rest)) = keys.split_first() else {
            return self;
        };
        fn entry<'t, K: PartialEq + Clone>(
            of: &'t mut Vec<(K, Target)>,
            key: &K,
        ) -> &'t mut Target {
            let at = of.iter().position(|(it, _)| it == key).unwrap_or_else(|| {
                of.push((key.clone(), Target::default()));
                of.len() - 1
            });
            &mut of[at].1
        }
        match key {
            Key::Member(name) => entry(&mut self.members, name),
            Key::Test(test) => entry(&mut self.tests, test),
        }
        .at(rest)
    }

    pub(super) fn add(&mut self, take: Take, parameter: Option<ParameterId>) {
        let at = self.leaves.iter().position(|leaf| leaf.take == take).unwrap_or_else(|| {
            self.leaves.push(Leaf { take, parameters: Vec::new() });
            self.leaves.len() - 1
        });
        let parameters = &mut self.leaves[at].parameters;
        // Two members of a union may lead to one element.
        parameters.extend(parameter.filter(|it| !parameters.contains(it)));
    }
}

/// One step in the JSON.
#[derive(Debug, Clone)]
pub(super) enum Key {
    Member(Box<str>),
    Test(Test),
}

/// Where a path ends, and how it gets there.
#[derive(Debug, Clone)]
pub(super) struct Place<'s> {
    pub(super) keys: Vec<Key>,
    pub(super) spot: Spot<'s>,
}

/// What stands at a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot<'s> {
    /// The name of its type.
    pub(super) type_name: &'s str,
    /// What its elements are looked up in, if it has any.
    pub(super) node: Option<Node>,
    /// What holds it, its name in there, and what it is; none for a resource.
    pub(super) element: Option<(Node, &'s str, Element)>,
}
