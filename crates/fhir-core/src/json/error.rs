//! What is wrong with a text that should be JSON, and where.

use std::fmt;

use super::parse::MAX_DEPTH;

/// The first thing in a text that is not JSON as FHIR needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// What is wrong.
    pub problem: JsonProblem,
    /// Bytes from the start of the text.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The element in which it stands, as a simple FHIRPath (`Patient.name[0].given[1]`); empty
    /// when nothing around it could be named.
    pub expression: String,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonProblem {
    /// The text is empty or only white space.
    Empty,
    /// The text is not UTF-8.
    InvalidUtf8,
    /// The text begins with a byte order mark.
    ByteOrderMark,
    /// The text ends inside a value.
    UnexpectedEnd,
    /// This byte cannot stand here; what could is named.
    Unexpected {
        /// The byte found.
        found: u8,
        /// What could stand here.
        expected: &'static str,
    },
    /// An object has this name twice.
    DuplicateName(String),
    /// More than [`MAX_DEPTH`] objects and arrays inside each other.
    TooDeep,
    /// A control character (below U+0020) in a string.
    ControlCharacter,
    /// A backslash with something JSON does not know, or half a surrogate pair.
    InvalidEscape,
    /// Digits that are no JSON number, such as `01`, `1.` or `.5`.
    InvalidNumber,
    /// Something after the value.
    TrailingBytes,
    /// Longer than 4 GiB.
    TooLong,
}

impl std::error::Error for JsonError {}

impl fmt::Display for JsonError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at line {}, column {}", self.problem, self.line, self.column)
    }
}

impl fmt::Display for JsonProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("no content where a JSON object was expected"),
            Self::InvalidUtf8 => formatter.write_str("bytes that are not UTF-8"),
            Self::ByteOrderMark => {
                formatter.write_str("a byte order mark; send the text without it")
            }
            Self::UnexpectedEnd => formatter.write_str("the text ends too early"),
            Self::Unexpected { found, expected } => {
                write!(formatter, "'{}' where {expected} was expected", found.escape_ascii())
            }
            Self::DuplicateName(name) => {
                write!(formatter, "the name \"{}\" stands twice in one object", name.escape_debug())
            }
            Self::TooDeep => {
                write!(formatter, "more than {MAX_DEPTH} objects and arrays inside each other")
            }
            Self::ControlCharacter => formatter
                .write_str("a control character in a string; write it as an escape such as \\n"),
            Self::InvalidEscape => formatter.write_str("an escape that JSON does not know"),
            Self::InvalidNumber => formatter.write_str("a number that is not a JSON number"),
            Self::TrailingBytes => formatter.write_str("something after the end of the value"),
            Self::TooLong => formatter.write_str("the text is longer than 4 GiB"),
        }
    }
}

impl JsonError {
    /// Describes `problem` at `offset` of `text`: line, column and element are found only now.
    pub(super) fn at(text: &[u8], offset: usize, problem: JsonProblem) -> Self {
        let offset = offset.min(text.len());
        let before = &text[..offset];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let is_character_start = |byte: &&u8| **byte & 0xC0 != 0x80;
        Self {
            problem,
            offset,
            line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
            column: before[line_start..].iter().filter(is_character_start).count() + 1,
            expression: expression_at(before),
        }
    }
}

/// One object or array that is still open.
struct Open {
    is_array: bool,
    index: usize,
    name: String,
}

/// How many levels a path names.
const MOST_LEVELS: usize = 40;

/// The path of the element in which `before` ends. Slow and forgiving: for error texts alone.
fn expression_at(before: &[u8]) -> String {
    let mut stack: Vec<Open> = Vec::new();
    // What is open inside those is counted alone: a text may open as much as it has bytes.
    let mut deeper = 0_usize;
    let mut root = String::new();
    let mut last_string = String::new();
    let mut at = 0;
    while at < before.len() {
        match before[at] {
            b'{' | b'[' if stack.len() == MOST_LEVELS => deeper += 1,
            b'}' | b']' if deeper > 0 => deeper -= 1,
            b'{' | b'[' => {
                stack.push(Open { is_array: before[at] == b'[', index: 0, name: String::new() })
            }
            b'}' | b']' => {
                stack.pop();
            }
            b',' if deeper == 0 => match stack.last_mut() {
                Some(open) if open.is_array => open.index += 1,
                Some(open) => open.name.clear(),
                None => {}
            },
            b':' if deeper == 0 => {
                if let Some(open) = stack.last_mut() {
                    open.name = std::mem::take(&mut last_string);
                }
            }
            b'"' => {
                let start = at + 1;
                at = start;
                while at < before.len() && before[at] != b'"' {
                    at += if before[at] == b'\\' { 2 } else { 1 };
                }
                last_string =
                    String::from_utf8_lossy(&before[start..at.min(before.len())]).into_owned();
                if stack.len() == 1 && stack[0].name == "resourceType" {
                    root.clone_from(&last_string);
                }
            }
            _ => {}
        }
        at += 1;
    }
    let mut expression = root;
    for open in &stack {
        if open.is_array {
            expression.push_str(&format!("[{}]", open.index));
        } else if !open.name.is_empty() {
            if !expression.is_empty() {
                expression.push('.');
            }
            expression.extend(open.name.chars().take(64));
        }
    }
    expression
}
