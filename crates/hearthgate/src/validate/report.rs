//! How what is found is written: rows for people, one JSON object, or OperationOutcomes.
//!
//! Everything is written as it comes. Rows that are alike (one severity, rule and path, indexes
//! left out) are written a few times and then counted, and the counts come last. What came from a
//! file is written to a terminal without its control characters.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use fhir_core::{OperationOutcome, Severity};
use fhir_validation::Issue;
use serde::Serialize;

use super::check::Checked;
use super::{FailOn, Format};
use crate::command::columns;

/// Rows written of those that are alike.
const ALIKE_WRITTEN: u64 = 3;
/// Kinds of rows that are told apart; more are counted as one.
const MOST_KINDS: usize = 10_000;
/// What is said in place of the rest's severity and rule.
const OTHER: &str = "other";
/// Kinds in the list at the end.
const LISTED: usize = 50;

/// Writes what is found, and counts it.
pub(crate) struct Report<W: Write> {
    out: BufWriter<W>,
    format: Format,
    fail_on: FailOn,
    quiet: bool,
    counts: Counts,
    kinds: HashMap<Kind, Alike>,
    /// The widest that each column was so far.
    widths: [usize; 4],
    /// What stands before the next result in the JSON.
    separator: &'static [u8],
}

/// What makes rows alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    severity: &'static str,
    rule: String,
    path: String,
}

#[derive(Debug)]
struct Alike {
    count: u64,
    first: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    resources: u64,
    with_errors: u64,
    errors: u64,
    warnings: u64,
    information: u64,
    files_skipped: u64,
}

/// A resource in the JSON.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    line: usize,
    resource: &'a str,
    issues: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    severity: &'static str,
    code: &'static str,
    expression: &'a str,
    line: usize,
    column: usize,
    rule: &'a str,
    text: &'a str,
}

impl<W: Write> Report<W> {
    pub(crate) fn new(out: W, format: Format, fail_on: FailOn, quiet: bool) -> Self {
        Self {
            out: BufWriter::new(out),
            format,
            fail_on,
            quiet,
            counts: Counts::default(),
            kinds: HashMap::new(),
            widths: [0; 4],
            separator: b"\n",
        }
    }

    /// Writes what stands before everything.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        match self.format {
            Format::Json => self.out.write_all(b"{\"results\":["),
            Format::Text | Format::Outcome => Ok(()),
        }
    }

    /// Writes what was found in one resource.
    pub(crate) fn add(&mut self, checked: &Checked) -> io::Result<()> {
        self.counts.resources += 1;
        let issues = checked.issues.iter();
        self.counts.with_errors += u64::from(issues.clone().any(Issue::is_error));
        for issue in issues.clone() {
            *match issue.severity {
                Severity::Error | Severity::Fatal => &mut self.counts.errors,
                Severity::Warning => &mut self.counts.warnings,
                Severity::Information => &mut self.counts.information,
            } += 1;
        }
        let told: Vec<&Issue> = issues.filter(|it| !self.quiet || self.fails(it)).collect();
        if self.quiet && told.is_empty() {
            return Ok(());
        }
        match self.format {
            Format::Text => self.rows(checked, &told)?,
            Format::Json => self.json(checked, &told)?,
            Format::Outcome => self.outcome(checked, &told)?,
        }
        // Whoever reads along sees it at once.
        if told.is_empty() { Ok(()) } else { self.out.flush() }
    }

    /// Writes what stands after everything, and says whether nothing makes the exit status 1.
    pub(crate) fn finish(mut self, files_skipped: u64) -> io::Result<bool> {
        self.counts.files_skipped = files_skipped;
        match self.format {
            Format::Text if !self.quiet => {
                let text = self.summary();
                self.out.write_all(text.as_bytes())?;
            }
            Format::Json => {
                self.out.write_all(b"],\n\"counts\":")?;
                serde_json::to_writer(&mut self.out, &self.counts)?;
                self.out.write_all(b"}\n")?;
            }
            Format::Text | Format::Outcome => {}
        }
        self.out.flush()?;
        let warnings = match self.fail_on {
            FailOn::Error => 0,
            FailOn::Warning => self.counts.warnings,
        };
        Ok(self.counts.errors + warnings == 0)
    }

    fn fails(&self, issue: &Issue) -> bool {
        match self.fail_on {
            FailOn::Error => issue.is_error(),
            FailOn::Warning => issue.severity >= Severity::Warning,
        }
    }

    fn rows(&mut self, checked: &Checked, issues: &[&Issue]) -> io::Result<()> {
        let mut rows = Vec::new();
        for issue in issues {
            let place = format!("{}:{}:{}", checked.file, issue.place.line, issue.place.column);
            if !self.is_one_too_many(issue, &place) {
                rows.push([
                    harmless(&place),
                    issue.severity.as_str().to_owned(),
                    harmless(&issue.expression),
                    harmless(&issue.rule),
                    harmless(&issue.text),
                ]);
            }
        }
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for [place, severity, path, rule, text] in &rows {
            let [first, second, third, fourth] = self.widths;
            writeln!(
                self.out,
                "{place:first$}  {severity:second$}  {path:third$}  {rule:fourth$}  {text}"
            )?;
        }
        Ok(())
    }

    /// Counts a row, and says whether enough like it were written.
    fn is_one_too_many(&mut self, issue: &Issue, place: &str) -> bool {
        let mut kind = Kind {
            severity: issue.severity.as_str(),
            rule: issue.rule.clone(),
            path: without_indexes(&issue.expression),
        };
        if self.kinds.len() >= MOST_KINDS && !self.kinds.contains_key(&kind) {
            kind = Kind { severity: OTHER, rule: OTHER.to_owned(), path: String::new() };
        }
        let alike =
            self.kinds.entry(kind).or_insert_with(|| Alike { count: 0, first: place.to_owned() });
        alike.count += 1;
        alike.count > ALIKE_WRITTEN
    }

    fn json(&mut self, checked: &Checked, issues: &[&Issue]) -> io::Result<()> {
        let rows = issues.iter().map(|issue| Row {
            severity: issue.severity.as_str(),
            code: issue.code.as_str(),
            expression: &issue.expression,
            line: issue.place.line,
            column: issue.place.column,
            rule: &issue.rule,
            text: &issue.text,
        });
        let line = Line {
            file: &checked.file,
            line: checked.line,
            resource: &checked.resource,
            issues: rows.collect(),
        };
        self.out.write_all(self.separator)?;
        self.separator = b",\n";
        Ok(serde_json::to_writer(&mut self.out, &line)?)
    }

    fn outcome(&mut self, checked: &Checked, issues: &[&Issue]) -> io::Result<()> {
        let place = |line: usize, column: usize| format!("{}:{line}:{column}", checked.file);
        let mut outcome = OperationOutcome {
            issues: issues
                .iter()
                .map(|issue| fhir_core::Issue {
                    diagnostics: format!(
                        "{} [{}, {}]",
                        issue.text,
                        issue.rule,
                        place(issue.place.line, issue.place.column)
                    ),
                    ..issue.outcome_issue()
                })
                .collect(),
        };
        if outcome.issues.is_empty() {
            let text = format!("nothing is wrong [{}]", place(checked.line, 1));
            outcome.issues.push(fhir_core::Issue::information(text));
        }
        self.out.write_all(&outcome.to_json())?;
        self.out.write_all(b"\n")
    }

    /// What was found how often, where rows were left out, and the counts.
    fn summary(&self) -> String {
        let mut text = String::new();
        if self.counts.errors + self.counts.warnings + self.counts.information > 0 {
            text.push('\n');
        }
        if self.kinds.values().any(|it| it.count > ALIKE_WRITTEN) {
            self.list(&mut text);
        }
        let Counts { resources, with_errors, errors, warnings, information, files_skipped } =
            &self.counts;
        if *files_skipped > 0 {
            let files = counted(*files_skipped, "other file");
            text.push_str(&format!("left out in the folders: {files}\n"));
        }
        text.push_str(&format!(
            "{}, {with_errors} with errors: {}, {}, {information} information\n",
            counted(*resources, "resource"),
            counted(*errors, "error"),
            counted(*warnings, "warning"),
        ));
        text
    }

    /// Writes how many there are of each kind, errors first.
    fn list(&self, text: &mut String) {
        let mut kinds: Vec<(&Kind, &Alike)> = self.kinds.iter().collect();
        kinds.sort_by_key(|(kind, alike)| {
            let is_error = ["fatal", "error", OTHER].contains(&kind.severity);
            (Reverse((is_error, alike.count)), &kind.rule, &kind.path)
        });
        let rows: Vec<[String; 5]> = kinds
            .iter()
            .take(LISTED)
            .map(|(kind, alike)| {
                [
                    alike.count.to_string(),
                    kind.severity.to_owned(),
                    harmless(&kind.rule),
                    harmless(&kind.path),
                    harmless(&alike.first),
                ]
            })
            .collect();
        text.push_str(&format!("Of each kind {ALIKE_WRITTEN} at most stand above:\n"));
        text.push_str(&columns(&["COUNT", "SEVERITY", "RULE", "PATH", "FIRST"], &rows));
        if kinds.len() > LISTED {
            text.push_str(&format!("and {} kinds more\n", kinds.len() - LISTED));
        }
        text.push('\n');
    }
}

/// A line on stderr.
pub(crate) fn note(text: &str) {
    // Where stderr is gone, there is nobody to tell.
    let _ = writeln!(io::stderr(), "note: {}", harmless(text));
}

/// A number of things, in words.
fn counted(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// A path with nothing in its brackets.
fn without_indexes(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('[') {
        let (before, from) = rest.split_at(at + 1);
        plain.push_str(before);
        rest = from.trim_start_matches(|it: char| it.is_ascii_digit());
    }
    plain.push_str(rest);
    plain
}

/// Without control characters, which would command a terminal.
fn harmless(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '\u{FFFD}' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir_core::IssueCode;
    use fhir_validation::Place;

    fn issue(severity: Severity, path: &str, text: &str) -> Issue {
        Issue {
            severity,
            code: IssueCode::Value,
            expression: path.to_owned(),
            place: Place { offset: 0, line: 3, column: 5 },
            rule: "type".to_owned(),
            text: text.to_owned(),
        }
    }

    /// What is written of these issues, of one resource each, and whether nothing fails.
    fn written(format: Format, fail_on: FailOn, quiet: bool, issues: &[Issue]) -> (String, bool) {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, format, fail_on, quiet);
        report.begin().unwrap();
        for issue in issues {
            let resource = "Patient/1".to_owned();
            let issues = vec![issue.clone()];
            report.add(&Checked { file: "f.json".into(), line: 1, resource, issues }).unwrap();
        }
        let passes = report.finish(0).unwrap();
        (String::from_utf8(out).unwrap(), passes)
    }

    #[test]
    fn rows_name_place_severity_path_rule_and_message_and_the_counts_come_last() {
        let issues = [
            issue(Severity::Error, "Patient.name[0]", "wrong"),
            issue(Severity::Warning, "Patient", "odd"),
        ];
        let (text, passes) = written(Format::Text, FailOn::Error, false, &issues);
        assert_eq!(
            text,
            "f.json:3:5  error  Patient.name[0]  type  wrong\n\
             f.json:3:5  warning  Patient          type  odd\n\
             \n2 resources, 1 with errors: 1 error, 1 warning, 0 information\n"
        );
        assert!(!passes);
    }

    #[test]
    fn rows_that_are_alike_are_counted_after_the_third() {
        let many: Vec<Issue> = (0..7)
            .map(|at| issue(Severity::Warning, &format!("Patient.name[{at}].given[0]"), "odd"))
            .collect();
        let (text, passes) = written(Format::Text, FailOn::Error, false, &many);
        assert!(passes);
        assert_eq!(text.matches("odd").count(), 3, "{text}");
        assert!(
            text.contains("7      warning   type  Patient.name[].given[]  f.json:3:5"),
            "{text}"
        );
    }

    #[test]
    fn what_fails_the_run_is_as_asked_and_alone_told_when_quiet() {
        let warning = [issue(Severity::Warning, "Patient", "odd")];
        assert!(written(Format::Text, FailOn::Error, false, &warning).1);
        assert_eq!(written(Format::Text, FailOn::Error, true, &warning), (String::new(), true));
        let (text, passes) = written(Format::Text, FailOn::Warning, true, &warning);
        assert!(!passes && text.lines().count() == 1, "{text}");
        assert_eq!(written(Format::Outcome, FailOn::Error, true, &warning).0, "");
    }

    #[test]
    fn json_is_one_object_and_outcomes_are_one_a_line() {
        let issues = [
            issue(Severity::Error, "Patient", "say \"no\""),
            issue(Severity::Information, "Patient", "x"),
        ];
        for issues in [&issues[..], &[]] {
            let (text, _) = written(Format::Json, FailOn::Error, false, issues);
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["results"].as_array().unwrap().len(), issues.len());
            assert_eq!(json["counts"]["resources"], issues.len());
        }
        let (text, _) = written(Format::Outcome, FailOn::Error, false, &issues);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["resourceType"], "OperationOutcome");
        assert_eq!(first["issue"][0]["diagnostics"], "say \"no\" [type, f.json:3:5]");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn nothing_from_a_file_commands_the_terminal() {
        let hostile = [issue(Severity::Error, "Patient\u{1b}[2J", "\u{7}\u{9b}x")];
        let (text, _) = written(Format::Text, FailOn::Error, false, &hostile);
        assert!(text.chars().all(|it| it == '\n' || !it.is_control()), "{text:?}");
    }
}
