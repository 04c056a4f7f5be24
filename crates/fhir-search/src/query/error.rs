//! What can be wrong with a search, where in the request, and how to mend it.

use std::fmt;

use crate::Kind;

/// Why a parameter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: {problem} ({place})")]
pub struct QueryError {
    /// The name of the parameter as the request has it.
    pub parameter: Box<str>,
    /// Where in the parameter it stands.
    pub place: Place,
    /// What is wrong. Its text says how to mend it, and may quote the request.
    pub problem: QueryProblem,
}

/// A place in a parameter that has been decoded, in characters from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// In its name.
    Name(usize),
    /// In its value.
    Value(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(at) => write!(formatter, "at character {} of the name", at + 1),
            Self::Value(at) => write!(formatter, "at character {} of the value", at + 1),
        }
    }
}

/// What is wrong with a parameter, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryProblem {
    /// The type has no such parameter.
    #[error("{resource_type} has no search parameter '{code}'{hint}")]
    UnknownParameter {
        /// The type.
        resource_type: Box<str>,
        /// The name.
        code: Box<str>,
        /// What could have been meant, or nothing.
        hint: Box<str>,
    },
    /// As [`QueryProblem::UnknownParameter`], at the end of a chain or within `_has` or `_filter`.
    #[error("{resource_type}, where this leads, has no search parameter '{code}'{hint}")]
    UnknownInChain {
        /// The type.
        resource_type: Box<str>,
        /// The name.
        code: Box<str>,
        /// What could have been meant, or nothing.
        hint: Box<str>,
    },
    /// The parameter exists, and this server cannot search by it.
    #[error("searching by '{0}' is not supported; leave it out")]
    UnsupportedParameter(Box<str>),
    /// Of several types that are searched some do not have the parameter.
    #[error(
        "'{code}' is no search parameter of {resource_type}, which is searched too; name with _type only types that have it"
    )]
    NotOfEveryType {
        /// The name.
        code: Box<str>,
        /// One that does not have it.
        resource_type: Box<str>,
    },
    /// There is nothing before or after a dot or colon.
    #[error("a name is missing; write code, code:modifier, code.code or _has:Type:code:code")]
    MissingName,
    /// The modifier does not exist, or does not apply here.
    #[error("'{modifier}' is no modifier of {of}; {allowed}")]
    UnsupportedModifier {
        /// The modifier, without its colon.
        modifier: Box<str>,
        /// What it was put to.
        of: Box<str>,
        /// What could stand there.
        allowed: Box<str>,
    },
    /// Prefixes that the definition of the parameter does not list.
    #[error("'{prefix}' is no prefix of {code}; it takes {allowed}")]
    UnsupportedPrefix {
        /// The prefix.
        prefix: &'static str,
        /// The parameter.
        code: Box<str>,
        /// Those it takes.
        allowed: Box<str>,
    },
    /// No resource type has this name.
    #[error("there is no resource type '{0}'; names of types are case-sensitive, as Patient")]
    UnknownType(Box<str>),
    /// The parameter does not refer to this type.
    #[error("'{code}' does not refer to {resource_type}; it refers to {allowed}")]
    NotATarget {
        /// The parameter.
        code: Box<str>,
        /// The type.
        resource_type: Box<str>,
        /// The types that it refers to.
        allowed: Box<str>,
    },
    /// What a chain or `_has` goes along is no reference.
    #[error("'{code}' is of type {kind}, and only along a reference can a search go on")]
    NotAReference {
        /// The parameter.
        code: Box<str>,
        /// Its type.
        kind: &'static str,
    },
    /// A chain that may lead to several types, with strict handling.
    #[error("'{code}' may lead to {types}; say which, as {code}:{first}")]
    AmbiguousChain {
        /// The parameter.
        code: Box<str>,
        /// The types.
        types: Box<str>,
        /// One of them.
        first: Box<str>,
    },
    /// A parameter that only stands alone within a chain, or within `_filter`.
    #[error("'{0}' cannot stand here; give it as a parameter of its own")]
    NotInChain(Box<str>),
    /// There is no value.
    #[error("the value is empty; give one, or leave the parameter out")]
    EmptyValue,
    /// A backslash before something that needs none.
    #[error(r"a backslash may stand before , $ | and \ only; write \\ for a backslash")]
    InvalidEscape,
    /// An empty string in a `_filter`.
    #[error("the string is empty; ask with pr whether there is a value")]
    EmptyFilterValue,
    /// A backslash in a string of a `_filter` with something that JSON does not know.
    #[error(r#"JSON has no such escape; write \ for a backslash and " for a quote"#)]
    InvalidJsonEscape,
    /// The value is not of the parameter's type.
    #[error("this is no {what}; {mend}")]
    InvalidValue {
        /// What was expected.
        what: &'static str,
        /// What one looks like.
        mend: &'static str,
    },
    /// Nothing of a text is left that counts in a comparison.
    #[error(
        "nothing is left of this text without punctuation and spaces; give a letter or digit, or use :exact"
    )]
    NothingToCompare,
    /// A composite has another number of parts.
    #[error(
        "{given} parts where the composite has {expected}; put $ between them, and \\$ for one within"
    )]
    CompositeParts {
        /// How many it has.
        expected: usize,
        /// How many stand there.
        given: usize,
    },
    /// A parameter that is given twice and may be given once.
    #[error("this is given more than once; give it once")]
    Repeated,
    /// More than the limit.
    #[error("more than {limit} {what}; ask for less at once")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Resources of this type are in no compartment of this kind.
    #[error(
        "{resource_type} is not in the compartment of a {compartment}; search it without the compartment"
    )]
    NotInCompartment {
        /// The type.
        resource_type: Box<str>,
        /// The kind of compartment.
        compartment: Box<str>,
    },
    /// There is no such kind of compartment.
    #[error("there are no compartments of a {0}; search by a reference to it")]
    UnknownCompartment(Box<str>),
    /// There is no list of this name that a server makes.
    #[error("there is no list '{name}'; name one of {known}, or a List by its id")]
    UnknownList {
        /// The name, as it was given.
        name: Box<str>,
        /// Those there are.
        known: Box<str>,
    },
    /// A list that the server makes has no resources of this type.
    #[error("the list '{name}' has no {resource_type}; ask for it among {types}")]
    NotOnList {
        /// The list.
        name: &'static str,
        /// The type.
        resource_type: Box<str>,
        /// The types that it has.
        types: Box<str>,
    },
    /// No named query has this name.
    #[error("there is no query named '{0}'; ask with parameters of their own")]
    UnknownNamedQuery(Box<str>),
    /// `_type` where one type is searched.
    #[error("the types are given by the URL; leave _type out, or search at the base")]
    TypeOfOneType,
    /// `_summary=text` with an include.
    #[error("with _summary=text nothing can be included; leave out one of the two")]
    SummaryTextWithInclude,
    /// An include that is none.
    #[error(
        "{0}; write Type:code, Type:code:TargetType, Type:* or *, and repeat the parameter for more"
    )]
    InvalidInclude(Box<str>),
    /// Values of this type have no order.
    #[error("'{code}' is of type {kind}, which has no order; sort by another parameter")]
    NotSortable {
        /// The parameter.
        code: Box<str>,
        /// Its type.
        kind: &'static str,
    },
    /// Something stands where the grammar of `_filter`, `_text` or `_content` has no place for it.
    #[error("{found} where {expected} was expected")]
    Unexpected {
        /// What stands there.
        found: Box<str>,
        /// What could stand there.
        expected: &'static str,
    },
    /// An operator of `_filter` that does not apply.
    #[error("'{operator}' cannot be asked of '{code}', which is of type {kind}; {allowed} can")]
    UnsupportedOperator {
        /// The operator.
        operator: Box<str>,
        /// The parameter.
        code: Box<str>,
        /// Its type.
        kind: &'static str,
        /// Those that apply.
        allowed: &'static str,
    },
}

impl QueryProblem {
    /// Whether lenient handling may leave the parameter out: when nobody knows what it means, when
    /// it says nothing, or when it only concerns how the answer looks. What is known to restrict
    /// the matches is never left out, since the answer would have more than was asked.
    #[must_use]
    pub fn may_be_ignored(&self) -> bool {
        match self {
            Self::UnknownParameter { .. }
            | Self::UnsupportedParameter(_)
            | Self::EmptyValue
            | Self::TypeOfOneType
            | Self::InvalidInclude(_)
            | Self::NotSortable { .. } => true,
            Self::NotOfEveryType { .. }
            | Self::UnknownInChain { .. }
            | Self::MissingName
            | Self::UnsupportedModifier { .. }
            | Self::UnsupportedPrefix { .. }
            | Self::UnknownType(_)
            | Self::NotATarget { .. }
            | Self::NotAReference { .. }
            | Self::AmbiguousChain { .. }
            | Self::NotInChain(_)
            | Self::InvalidEscape
            | Self::EmptyFilterValue
            | Self::InvalidJsonEscape
            | Self::InvalidValue { .. }
            | Self::NothingToCompare
            | Self::CompositeParts { .. }
            | Self::Repeated
            | Self::TooMany { .. }
            | Self::NotInCompartment { .. }
            | Self::UnknownCompartment(_)
            | Self::UnknownList { .. }
            | Self::NotOnList { .. }
            | Self::UnknownNamedQuery(_)
            | Self::SummaryTextWithInclude
            | Self::Unexpected { .. }
            | Self::UnsupportedOperator { .. } => false,
        }
    }

    pub(crate) fn not_a_reference(code: &str, kind: Kind) -> Self {
        Self::NotAReference { code: code.into(), kind: kind.as_str() }
    }

    pub(crate) fn invalid(what: &'static str, mend: &'static str) -> Self {
        Self::InvalidValue { what, mend }
    }
}
