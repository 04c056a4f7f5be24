//! What can go wrong with an expression, and where in its text.

use std::fmt;

/// Why a text is no expression that can be evaluated. Positions are bytes from its start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at {at}")]
pub struct CompileError {
    /// What is wrong.
    pub problem: CompileProblem,
    /// Where it stands.
    pub at: Position,
}

/// What is wrong with the text of an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileProblem {
    /// Something stands where the grammar has no place for it.
    #[error("{found} where {expected} was expected")]
    Unexpected {
        /// What stands there.
        found: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// A string, a name in back-ticks or a comment has no end.
    #[error("{0} that does not end")]
    Unterminated(&'static str),
    /// A backslash with something that the language does not know.
    #[error("an escape that FHIRPath does not know")]
    InvalidEscape,
    /// A number, date or time that is none.
    #[error("'{0}' is no valid literal")]
    InvalidLiteral(String),
    /// Deeper or longer than is accepted.
    #[error("the expression is too large: {0}")]
    TooLarge(&'static str),
    /// No function has this name.
    #[error("no function is named '{0}'")]
    UnknownFunction(String),
    /// A function with too few or too many arguments.
    #[error("{function}() takes {takes}, not {given}")]
    ArgumentCount {
        /// The function.
        function: &'static str,
        /// What it takes.
        takes: String,
        /// How many stand there.
        given: usize,
    },
    /// No type has this name.
    #[error("no type is named '{0}'")]
    UnknownType(String),
    /// The type has no such element.
    #[error("{type_name} has no element '{name}'{hint}")]
    UnknownElement {
        /// The type.
        type_name: String,
        /// The name.
        name: String,
        /// What could have been meant, or nothing.
        hint: String,
    },
    /// An operator or function cannot take what stands there, whatever the data.
    #[error("{what} cannot take {given}")]
    TypeMismatch {
        /// The operator or function.
        what: String,
        /// What it is given.
        given: String,
    },
    /// One item is needed, and there may be several.
    #[error("{0} needs a single item, and several may stand there")]
    NotSingle(String),
    /// The order of what is given is not defined.
    #[error("{0}() depends on an order that its input does not have")]
    Unordered(&'static str),
    /// A regular expression in a literal that is none.
    #[error("'{pattern}' is no regular expression: {reason}")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A place in an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Bytes from the start.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Position {
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            offset,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}", self.line, self.column)
    }
}

/// Why an evaluation has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at {at}")]
pub struct EvaluationError {
    /// What is wrong.
    pub problem: EvaluationProblem,
    /// Where in the expression it happened.
    pub at: Position,
}

/// What went wrong in an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationProblem {
    /// Several items where one or none is needed.
    #[error("{0} needs a single item and was given several")]
    NotSingle(&'static str),
    /// An operator or function was given something that it cannot take.
    #[error("{what} cannot take {given}")]
    TypeMismatch {
        /// The operator or function.
        what: &'static str,
        /// What it was given.
        given: String,
    },
    /// The evaluation did as much as it may.
    #[error("the evaluation was stopped after {0} steps")]
    BudgetExceeded(u64),
    /// Too many parts wait for each other: items that are handed on, each for the one before.
    #[error("the evaluation is nested more than {0} deep")]
    TooDeep(u32),
    /// Nobody gave this variable a value.
    #[error("no variable is named '%{0}'")]
    UnknownVariable(String),
    /// What the expression asks for is not available here.
    #[error("{function}(): {reason}")]
    Unavailable {
        /// The function.
        function: &'static str,
        /// Why not.
        reason: String,
    },
    /// A pattern that is no regular expression, or one that is too large.
    #[error("no regular expression: {0}")]
    InvalidPattern(String),
    /// A unit that a date or time cannot be moved by, or that is unknown.
    #[error("a date or time cannot be moved by '{0}'")]
    UnsuitableUnit(String),
    /// The expression was compiled with another schema than the one given now.
    #[error("the expression was compiled for another schema")]
    OtherSchema,
}
