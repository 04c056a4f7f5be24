//! Where the walk is, as a path, and what it tells of that place. What is wrong there, is found
//! elsewhere.

use fhir_core::json::Value;
use fhir_core::{IssueCode, Severity};

use super::{Open, Run};
use crate::issue::{Issue, Place};

/// One name on the way from the root.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a> {
    pub(super) name: &'a str,
    pub(super) index: Option<usize>,
}

/// Where an extension stands.
pub(crate) struct ExtensionPlace<'a> {
    pub(crate) is_modifier: bool,
    /// What it extends.
    pub(crate) parent: Open<'a>,
}

impl<'a> Run<'a> {
    pub(crate) fn into_issues(self) -> Vec<Issue> {
        self.issues
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.issues.iter().any(Issue::is_error)
    }

    /// Whether nobody wants to hear more.
    pub(crate) fn is_full(&self) -> bool {
        self.issues.len() >= self.cap
    }

    /// Whether an error was told since there were as many issues as this.
    pub(crate) fn has_errors_since(&self, count: usize) -> bool {
        self.issues[count.min(self.issues.len())..].iter().any(Issue::is_error)
    }

    pub(crate) fn tell(
        &mut self,
        severity: Severity,
        code: IssueCode,
        at: Value<'_>,
        rule: &str,
        text: impl Into<String>,
    ) {
        self.tell_below("", severity, code, at, rule, text);
    }

    pub(crate) fn tell_below(
        &mut self,
        below: &str,
        severity: Severity,
        code: IssueCode,
        at: Value<'_>,
        rule: &str,
        text: impl Into<String>,
    ) {
        // A run that only answers does not stop at what is no error.
        if self.is_full() || (self.cap == 1 && severity < Severity::Error) {
            return;
        }
        let issue = Issue {
            severity,
            code,
            expression: self.expression(below),
            place: Place { offset: at.offset(), line: 0, column: 0 },
            rule: rule.to_owned(),
            text: text.into(),
        };
        // Two profiles may ask the same.
        let is_known = self.issues.iter().rev().take(64).any(|it| {
            it.place.offset == issue.place.offset
                && it.rule == issue.rule
                && it.expression == issue.expression
                && it.text == issue.text
        });
        if !is_known {
            self.issues.push(issue);
        }
    }

    pub(crate) fn error(
        &mut self,
        code: IssueCode,
        at: Value<'_>,
        rule: &str,
        text: impl Into<String>,
    ) {
        self.tell(Severity::Error, code, at, rule, text);
    }

    pub(crate) fn enter(&mut self, name: &'a str, index: Option<usize>) {
        self.path.push(Segment { name, index });
    }

    pub(crate) fn leave(&mut self) {
        self.path.pop();
    }

    fn expression(&self, below: &str) -> String {
        let mut text = String::new();
        for segment in &self.path {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(segment.name);
            if let Some(index) = segment.index {
                text.push_str(&format!("[{index}]"));
            }
        }
        if !below.is_empty() {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(below);
        }
        text
    }

    /// Where the extension stands that the walk is at.
    pub(crate) fn extension_place(&self) -> Option<ExtensionPlace<'a>> {
        Some(ExtensionPlace {
            is_modifier: self.path.last().is_some_and(|it| it.name == "modifierExtension"),
            parent: *self.elements.iter().rev().nth(1)?,
        })
    }

    /// The names on the way from the nearest resource to the parent of what the walk is at, with
    /// the type of that resource: `Patient.name.given`.
    pub(crate) fn parent_path(&self, resource_type: &str) -> String {
        let above = &self.path[..self.path.len().saturating_sub(1)];
        let begin = above
            .iter()
            .rposition(|it| matches!(it.name, "resource" | "contained" | "outcome"))
            .unwrap_or(0);
        let mut path = resource_type.to_owned();
        for segment in above.iter().skip(begin + 1) {
            path.push('.');
            path.push_str(segment.name);
        }
        path
    }
}
