//! A compiled expression: what an evaluation walks. Names are resolved to elements where their
//! type was known, literals are values, patterns are compiled.

use fhir_schema::{Element, Node};

use crate::ast::Literal;
use crate::functions::Function;
use crate::model::TypeTest;
use crate::pattern::Pattern;

/// A part of a compiled expression.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) op: Op,
    /// Where it stands in the text.
    pub(crate) at: u32,
}

#[derive(Debug)]
pub(crate) enum Op {
    Literal(Literal),
    Empty,
    This,
    Index,
    Total,
    Resource,
    RootResource,
    Context,
    Variable(Box<str>),
    /// A type's name at the start of a path: what is in focus if it is of that type.
    OfFocus(TypeTest),
    Child(Box<Expr>, Step),
    At(Box<Expr>, Box<Expr>),
    Negate(Box<Expr>),
    Positive(Box<Expr>),
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    Concatenate(Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Equal(Sense, Box<Expr>, Box<Expr>),
    Equivalent(Sense, Box<Expr>, Box<Expr>),
    /// Whether the first is among the second.
    In(Box<Expr>, Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Xor(Box<Expr>, Box<Expr>),
    Implies(Box<Expr>, Box<Expr>),
    Union(Vec<Expr>),
    Is(Box<Expr>, TypeTest),
    As(AsMode, Box<Expr>, TypeTest),
    /// A function that looks for a pattern which the text of the expression holds.
    Matches(Function, Box<Expr>, Pattern),
    Call(Function, Box<Expr>, Vec<Expr>),
    Sort(Box<Expr>, Vec<(Direction, Expr)>),
}

/// What `as` does with several items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AsMode {
    /// Refuses them (N1 6.3).
    Single,
    /// Keeps those of the type, as the definitions of R4 need.
    Each,
}

/// `=` or `!=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sense {
    Plain,
    Negated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Ascending,
    Descending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Multiply,
    Divide,
    DivideWhole,
    Modulo,
    Add,
    Subtract,
}

impl Arithmetic {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::DivideWhole => "div",
            Self::Modulo => "mod",
            Self::Add => "+",
            Self::Subtract => "-",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    pub(crate) fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// A step to the elements with a name.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: Box<str>,
    /// The same with an underscore before it.
    pub(crate) sibling_name: Box<str>,
    /// What the name means in the nodes that were expected. Elsewhere it is looked up.
    pub(crate) known: Vec<(Node, Element)>,
}
