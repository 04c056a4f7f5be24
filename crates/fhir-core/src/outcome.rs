//! OperationOutcome (FHIR R4, 2.33): what went wrong, where, and how to mend it.

use std::fmt;
use std::str::FromStr;

use crate::json::write_string;

/// One issue or more about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationOutcome {
    /// The issues; never empty when written.
    pub issues: Vec<Issue>,
}

/// One issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of issue it is.
    pub code: IssueCode,
    /// What is wrong and how to mend it, safe to show to the client.
    pub diagnostics: String,
    /// Where: simple FHIRPath for content, `http.header` or `http.parameter` for the request.
    pub expression: Vec<String>,
    /// The rule that is broken, for machines; written as `details.coding`.
    pub rule: Option<String>,
    /// Where in the text that was sent; written as the extensions for line and column.
    pub position: Option<Position>,
}

/// A place in a text, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "there is nothing to add to the words")]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// The system of the codes in `details.coding`: keys of invariants, and names of other rules.
pub const RULE_SYSTEM: &str = "urn:hearthgate:validation-rule";

/// The extensions that say where in a text an issue stands (FHIR R4, 2.33.3).
const LINE: &str = "http://hl7.org/fhir/StructureDefinition/operationoutcome-issue-line";
const COLUMN: &str = "http://hl7.org/fhir/StructureDefinition/operationoutcome-issue-col";

/// Makes an enum whose variants are codes, from one table of both.
macro_rules! codes {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal,)+ }) => {
        $(#[$about])*
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// The code.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }
        }

        impl FromStr for $name {
            type Err = UnknownCode;

            fn from_str(code: &str) -> Result<Self, Self::Err> {
                match code {
                    $($code => Ok(Self::$variant),)+
                    _ => Err(UnknownCode(code.to_owned())),
                }
            }
        }
    };
}

/// A text is none of the codes that there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of the codes")]
pub struct UnknownCode(pub String);

codes! {
    /// `issue.severity`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    Severity {
        /// Nothing is wrong.
        Information = "information",
        /// May be a problem; the request was carried out.
        Warning = "warning",
        /// The request was not carried out.
        Error = "error",
        /// The request was not carried out and nothing else was looked at.
        Fatal = "fatal",
    }
}

codes! {
    /// `issue.code`, those of the value set issue-type that Hearthgate gives.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    #[expect(missing_docs, reason = "each variant is the code of that name in issue-type")]
    IssueCode {
        Invalid = "invalid",
        Structure = "structure",
        Required = "required",
        Value = "value",
        Invariant = "invariant",
        Login = "login",
        Expired = "expired",
        Forbidden = "forbidden",
        NotSupported = "not-supported",
        Duplicate = "duplicate",
        MultipleMatches = "multiple-matches",
        NotFound = "not-found",
        Deleted = "deleted",
        TooLong = "too-long",
        CodeInvalid = "code-invalid",
        TooCostly = "too-costly",
        BusinessRule = "business-rule",
        Conflict = "conflict",
        Processing = "processing",
        Transient = "transient",
        Exception = "exception",
        Timeout = "timeout",
        Throttled = "throttled",
        Informational = "informational",
    }
}

impl Issue {
    /// An error of this kind.
    #[must_use]
    pub fn error(code: IssueCode, diagnostics: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            diagnostics: diagnostics.into(),
            expression: Vec::new(),
            rule: None,
            position: None,
        }
    }

    /// A remark; the request was carried out.
    #[must_use]
    pub fn information(diagnostics: impl Into<String>) -> Self {
        Self {
            severity: Severity::Information,
            ..Self::error(IssueCode::Informational, diagnostics)
        }
    }

    /// The same issue, standing at `expression` (nothing is added when that is empty).
    #[must_use]
    pub fn at(mut self, expression: impl Into<String>) -> Self {
        let expression = expression.into();
        if !expression.is_empty() {
            self.expression.push(expression);
        }
        self
    }

    /// The same issue seen from further out: `prefix` stands before every expression, and alone
    /// where there was none.
    #[must_use]
    pub fn within(mut self, prefix: &str) -> Self {
        if self.expression.is_empty() {
            self.expression.push(prefix.to_owned());
        }
        for expression in &mut self.expression {
            if !expression.starts_with(prefix) && !expression.starts_with("http.") {
                // A resource's own path begins with its type, which stands for `prefix` here.
                let inner = expression.split_once('.').map_or("", |(_, inner)| inner);
                let dot = if inner.is_empty() { "" } else { "." };
                *expression = format!("{prefix}{dot}{inner}");
            }
        }
        self
    }
}

impl OperationOutcome {
    /// An outcome of one issue.
    #[must_use]
    pub fn of(issue: Issue) -> Self {
        Self { issues: vec![issue] }
    }

    /// The resource as compact JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(b"{\"resourceType\":\"OperationOutcome\",\"issue\":[");
        for (count, issue) in self.issues.iter().enumerate() {
            if count > 0 {
                out.push(b',');
            }
            issue.write(&mut out);
        }
        out.extend_from_slice(b"]}");
        out
    }
}

impl Issue {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        if let Some(Position { line, column }) = self.position {
            let extension =
                |url, number| format!("{{\"url\":\"{url}\",\"valueInteger\":{number}}}");
            let (line, column) = (extension(LINE, line), extension(COLUMN, column));
            out.extend_from_slice(format!("\"extension\":[{line},{column}],").as_bytes());
        }
        out.extend_from_slice(b"\"severity\":\"");
        out.extend_from_slice(self.severity.as_str().as_bytes());
        out.extend_from_slice(b"\",\"code\":\"");
        out.extend_from_slice(self.code.as_str().as_bytes());
        out.push(b'"');
        if let Some(rule) = &self.rule {
            out.extend_from_slice(b",\"details\":{\"coding\":[{\"system\":\"");
            out.extend_from_slice(RULE_SYSTEM.as_bytes());
            out.extend_from_slice(b"\",\"code\":");
            write_string(rule, out);
            out.extend_from_slice(b"}]}");
        }
        out.extend_from_slice(b",\"diagnostics\":");
        write_string(&self.diagnostics, out);
        let mut separator: &[u8] = b",\"expression\":[";
        for expression in &self.expression {
            out.extend_from_slice(separator);
            separator = b",";
            write_string(expression, out);
        }
        out.extend_from_slice(if self.expression.is_empty() { b"}" } else { b"]}" });
    }
}

impl fmt::Display for OperationOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, issue) in self.issues.iter().enumerate() {
            let separator = if count > 0 { "; " } else { "" };
            write!(formatter, "{separator}{}", issue.diagnostics)?;
            if !issue.expression.is_empty() {
                write!(formatter, " ({})", issue.expression.join(", "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Issue, IssueCode, OperationOutcome, Position, Severity, UnknownCode};

    #[test]
    fn a_code_is_read_as_it_is_written() {
        for code in ["invalid", "multiple-matches", "code-invalid", "informational"] {
            assert_eq!(code.parse::<IssueCode>().map(IssueCode::as_str), Ok(code));
        }
        for code in ["information", "warning", "error", "fatal"] {
            assert_eq!(code.parse::<Severity>().map(Severity::as_str), Ok(code));
        }
        for code in ["", "Invalid", "multiplematches"] {
            assert_eq!(code.parse::<IssueCode>(), Err(UnknownCode(code.to_owned())));
        }
    }

    #[test]
    fn an_outcome_is_written_as_the_resource() {
        // HTTP-202, HTTP-203
        let issue = Issue::error(IssueCode::Invalid, "say \"when\"").at("Patient.birthDate");
        assert_eq!(
            String::from_utf8(OperationOutcome::of(issue).to_json()).unwrap(),
            r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","diagnostics":"say \"when\"","expression":["Patient.birthDate"]}]}"#
        );
    }

    #[test]
    fn an_issue_says_its_rule_and_where_in_the_text_it_stands() {
        // VAL-010, VAL-199
        let issue = Issue {
            rule: Some("pat-1".to_owned()),
            position: Some(Position { line: 3, column: 14 }),
            ..Issue::error(IssueCode::Invariant, "x")
        };
        assert_eq!(
            String::from_utf8(OperationOutcome::of(issue).to_json()).unwrap(),
            r#"{"resourceType":"OperationOutcome","issue":[{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/operationoutcome-issue-line","valueInteger":3},{"url":"http://hl7.org/fhir/StructureDefinition/operationoutcome-issue-col","valueInteger":14}],"severity":"error","code":"invariant","details":{"coding":[{"system":"urn:hearthgate:validation-rule","code":"pat-1"}]},"diagnostics":"x"}]}"#
        );
    }

    #[test]
    fn an_issue_within_an_entry_names_the_entry() {
        let check = |expression: &str, expected: &str| {
            let issue = Issue::error(IssueCode::Invalid, "x").at(expression);
            assert_eq!(issue.within("Bundle.entry[2].resource").expression, [expected]);
        };
        check("", "Bundle.entry[2].resource");
        check("Patient", "Bundle.entry[2].resource");
        check("Patient.name[0]", "Bundle.entry[2].resource.name[0]");
    }
}
