//! What validation finds, and where.

use std::fmt;

use fhir_core::{IssueCode, Position, Severity};

/// One thing that validation found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of issue it is.
    pub code: IssueCode,
    /// The element, as a simple FHIRPath with indexes: `Patient.name[0].given[1]`.
    pub expression: String,
    /// Where in the text it stands.
    pub place: Place,
    /// Which rule is broken: the key of an invariant (`obs-6`), or `cardinality`, `binding`,
    /// `type`, `unknown-property` and the like. Stable, for machines.
    pub rule: String,
    /// What is wrong and how to mend it.
    pub text: String,
}

/// A place in the JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Bytes from the start.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Issue {
    /// Whether the resource is invalid by it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self.severity, Severity::Error | Severity::Fatal)
    }

    /// As an issue of an OperationOutcome, the rule and the place in elements of their own.
    #[must_use]
    pub fn outcome_issue(&self) -> fhir_core::Issue {
        let issue = fhir_core::Issue {
            severity: self.severity,
            rule: Some(self.rule.clone()),
            position: Some(Position { line: self.place.line, column: self.place.column }),
            ..fhir_core::Issue::error(self.code, self.text.as_str())
        };
        issue.at(self.expression.as_str())
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{} {} {}: {} [{}]",
            self.place.line,
            self.place.column,
            self.severity.as_str(),
            self.expression,
            self.text,
            self.rule
        )
    }
}

/// Gives every issue its line and column, reading the text once.
pub(crate) fn locate(issues: &mut [Issue], text: &str) {
    let mut order: Vec<usize> = (0..issues.len()).collect();
    order.sort_by_key(|at| issues[*at].place.offset);
    let (mut line, mut column, mut done) = (1, 1, 0);
    for at in order {
        let place = &mut issues[at].place;
        let offset = place.offset.min(text.len());
        let between = &text[done..offset];
        let newlines = between.bytes().filter(|byte| *byte == b'\n').count();
        if newlines > 0 {
            line += newlines;
            column = 1;
        }
        // What stands after the last line feed is on the issue's own line.
        let own = between.rfind('\n').map_or(between, |newline| &between[newline + 1..]);
        column += own.chars().count();
        done = offset;
        place.line = line;
        place.column = column;
    }
}
