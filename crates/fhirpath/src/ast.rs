//! An expression as it was written, before names and types mean anything.

use crate::calendar::CalendarUnit;
use crate::decimal::Decimal;
use crate::temporal::{Date, DateTime, Time};

/// A part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ast {
    pub(crate) kind: AstKind,
    /// Where its operator or name stands: bytes from the start of the text.
    pub(crate) at: u32,
    /// How many parts stand inside each other here.
    pub(crate) depth: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AstKind {
    Literal(Literal),
    /// `{}`
    Empty,
    /// `$this`
    This,
    /// `$index`
    Index,
    /// `$total`
    Total,
    /// `%name`
    Variable(String),
    /// A name at the start of a path: an element of what is in focus, or its type.
    Name(String),
    /// `input.name`
    Member(Box<Ast>, String),
    /// `input.name(arguments)`, or without an input.
    Call {
        input: Option<Box<Ast>>,
        name: String,
        arguments: Vec<Ast>,
    },
    /// `input[index]`
    At(Box<Ast>, Box<Ast>),
    /// `-operand`
    Minus(Box<Ast>),
    /// `+operand`
    Plus(Box<Ast>),
    Binary(BinaryOperator, Box<Ast>, Box<Ast>),
    /// `a | b | c`
    Union(Vec<Ast>),
    /// `operand is Type`
    Is(Box<Ast>, TypeName),
    /// `operand as Type`
    As(Box<Ast>, TypeName),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Boolean(bool),
    String(String),
    Integer(i64),
    Decimal(Decimal),
    Date(Date),
    DateTime(DateTime),
    Time(Time),
    /// A quantity with the code of its unit.
    Quantity(Decimal, String),
    /// A quantity by the calendar.
    Duration(Decimal, CalendarUnit),
}

/// A type as it was named: `Quantity`, `FHIR.Quantity`, `System.Quantity`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeName {
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) at: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOperator {
    Multiply,
    Divide,
    DivideWhole,
    Modulo,
    Add,
    Subtract,
    Concatenate,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    Equivalent,
    NotEquivalent,
    In,
    Contains,
    And,
    Or,
    Xor,
    Implies,
}

impl BinaryOperator {
    /// As it is written.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::DivideWhole => "div",
            Self::Modulo => "mod",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Concatenate => "&",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Equivalent => "~",
            Self::NotEquivalent => "!~",
            Self::In => "in",
            Self::Contains => "contains",
            Self::And => "and",
            Self::Or => "or",
            Self::Xor => "xor",
            Self::Implies => "implies",
        }
    }
}
