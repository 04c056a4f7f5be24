//! The operators of `_filter`, and what each is for a type of parameter.

use crate::grammar::modifier::Modifier;
use crate::{Kind, Prefix};

/// An operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Ne,
    Co,
    Sw,
    Ew,
    Gt,
    Lt,
    Ge,
    Le,
    Ap,
    Sa,
    Eb,
    Pr,
    Po,
    Ss,
    Sb,
    In,
    Ni,
    Re,
}

const WORDS: [(&str, Operator); 19] = [
    ("eq", Operator::Eq),
    ("ne", Operator::Ne),
    ("co", Operator::Co),
    ("sw", Operator::Sw),
    ("ew", Operator::Ew),
    ("gt", Operator::Gt),
    ("lt", Operator::Lt),
    ("ge", Operator::Ge),
    ("le", Operator::Le),
    ("ap", Operator::Ap),
    ("sa", Operator::Sa),
    ("eb", Operator::Eb),
    ("pr", Operator::Pr),
    ("po", Operator::Po),
    ("ss", Operator::Ss),
    ("sb", Operator::Sb),
    ("in", Operator::In),
    ("ni", Operator::Ni),
    ("re", Operator::Re),
];

/// What an error says could stand there.
pub(super) const EXPECTED: &str =
    "eq, ne, co, sw, ew, gt, lt, ge, le, ap, sa, eb, pr, po, ss, sb, in, ni or re";

/// The operators that a type of parameter can be asked by.
pub(super) fn allowed(kind: Kind) -> &'static str {
    match kind {
        Kind::Number | Kind::Quantity => "eq, ne, gt, lt, ge, le, ap, sa, eb and pr",
        Kind::Date => "eq, ne, gt, lt, ge, le, ap, sa, eb, po and pr",
        Kind::String => "eq, ne, co, sw, ew and pr",
        Kind::Token => "eq, ne, ss, sb, in, ni and pr",
        Kind::Reference => "eq, ne, re and pr",
        Kind::Uri => "eq, ne and pr",
        Kind::Composite | Kind::Special => "pr",
    }
}

impl Operator {
    pub(super) fn of(word: &str) -> Option<Self> {
        WORDS.iter().find(|(it, _)| *it == word).map(|(_, operator)| *operator)
    }

    /// As a prefix of an ordered value; none where it is no order or the type has none.
    pub(super) fn prefix(self, kind: Kind) -> Option<Prefix> {
        if !matches!(kind, Kind::Number | Kind::Date | Kind::Quantity) {
            return None;
        }
        Some(match self {
            Self::Eq => Prefix::Eq,
            Self::Ne => Prefix::Ne,
            Self::Gt => Prefix::Gt,
            Self::Lt => Prefix::Lt,
            Self::Ge => Prefix::Ge,
            Self::Le => Prefix::Le,
            Self::Ap => Prefix::Ap,
            Self::Sa => Prefix::Sa,
            Self::Eb => Prefix::Eb,
            Self::Po if kind == Kind::Date => Prefix::Po,
            _ => return None,
        })
    }

    /// As a modifier of a value that has no order; none where it does not apply.
    pub(super) fn modifier(self, kind: Kind) -> Option<Option<Modifier>> {
        match (kind, self) {
            (Kind::Token | Kind::Reference | Kind::Uri, Self::Eq | Self::Ne)
            | (Kind::Reference, Self::Re) => Some(None),
            // What the value subsumes lies below it.
            (Kind::Token, Self::Ss) => Some(Some(Modifier::Below)),
            (Kind::Token, Self::Sb) => Some(Some(Modifier::Above)),
            (Kind::Token, Self::In | Self::Ni) => Some(Some(Modifier::In)),
            _ => None,
        }
    }
}
