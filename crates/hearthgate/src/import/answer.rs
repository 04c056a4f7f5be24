//! What an answer says: statuses of a Bundle's entries, and the text of an OperationOutcome.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The most of an error's text that is kept.
const LONGEST_TEXT: usize = 500;

/// What became of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EntryAnswer {
    pub(crate) status: u16,
    /// Where the resource is, as the server says.
    pub(crate) location: Option<String>,
    /// Why, where it failed.
    pub(crate) text: String,
}

/// The status of what is invalid and was quarantined: it is not stored as what it is.
pub(crate) const QUARANTINED: u16 = 202;

impl EntryAnswer {
    /// Whether the resource is there.
    pub(crate) fn stands(&self) -> bool {
        self.status < 400 && self.status != QUARANTINED
    }
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(borrow, default)]
    entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    response: Option<Response<'a>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    location: Option<String>,
    #[serde(borrow)]
    outcome: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    issue: Vec<Issue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Issue {
    severity: Option<String>,
    code: Option<String>,
    details: Option<Details>,
    diagnostics: Option<String>,
    #[serde(default)]
    expression: Vec<String>,
}

#[derive(Deserialize)]
struct Details {
    text: Option<String>,
}

/// The statuses in a transaction's or batch's answer; `None` when it is none.
pub(crate) fn entries(body: &[u8]) -> Option<Vec<EntryAnswer>> {
    let bundle: Bundle<'_> = serde_json::from_slice(body).ok()?;
    let entries = bundle.entry.into_iter();
    entries
        .map(|entry| {
            let response = entry.response?;
            let status = response.status.get(..3)?.parse().ok()?;
            let text = match response.outcome {
                Some(outcome) if status >= 400 || status == QUARANTINED => {
                    text_of(outcome.get().as_bytes())
                }
                _ => String::new(),
            };
            Some(EntryAnswer { status, location: response.location, text })
        })
        .collect()
}

/// Why something was refused, in one line: the errors of an OperationOutcome, or the body's start.
pub(crate) fn text_of(body: &[u8]) -> String {
    let mut text = match serde_json::from_slice::<Outcome>(body) {
        Ok(outcome) if !outcome.issue.is_empty() => outcome.text(),
        _ => String::from_utf8_lossy(&body[..body.len().min(LONGEST_TEXT)]).into_owned(),
    };
    text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.retain(|character| !character.is_control());
    if let Some((end, _)) = text.char_indices().nth(LONGEST_TEXT) {
        text.truncate(end);
        text.push('…');
    }
    text
}

impl Outcome {
    fn text(&self) -> String {
        let is_error =
            |issue: &&Issue| matches!(issue.severity.as_deref(), None | Some("error" | "fatal"));
        let mut texts: Vec<String> = self.issue.iter().filter(is_error).map(Issue::text).collect();
        if texts.is_empty() {
            texts = self.issue.iter().map(Issue::text).collect();
        }
        texts.join("; ")
    }
}

impl Issue {
    fn text(&self) -> String {
        let said = self.details.as_ref().and_then(|details| details.text.as_ref());
        let said = said.or(self.diagnostics.as_ref()).or(self.code.as_ref());
        let mut text = said.cloned().unwrap_or_default();
        if !self.expression.is_empty() {
            text.push_str(&format!(" ({})", self.expression.join(", ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcomes_errors_are_its_text() {
        let outcome = br#"{"resourceType":"OperationOutcome","issue":[
            {"severity":"warning","code":"x","diagnostics":"w"},
            {"severity":"error","code":"value","details":{"text":"no\nsuch code"},"diagnostics":"d","expression":["Basic.code"]},
            {"severity":"fatal","code":"structure"}]}"#;
        assert_eq!(text_of(outcome), "no such code (Basic.code); structure");
        let warning = br#"{"issue":[{"severity":"warning","diagnostics":"w"}]}"#;
        assert_eq!(text_of(warning), "w");
    }

    #[test]
    fn what_is_no_outcome_is_shown_by_its_start() {
        assert_eq!(text_of(b"<html>\n  bad\x07</html>"), "<html> bad</html>");
        assert_eq!(text_of(b""), "");
        let long = text_of("ä".repeat(2000).as_bytes());
        assert!(long.chars().count() <= LONGEST_TEXT + 1, "{long}");
    }

    #[test]
    fn the_entries_of_an_answer_have_statuses_and_reasons() {
        let body = br#"{"resourceType":"Bundle","entry":[
            {"response":{"status":"201 Created","location":"Basic/1/_history/1","outcome":{"issue":[{"code":"x"}]}}},
            {"response":{"status":"404","outcome":{"issue":[{"diagnostics":"gone"}]}},"resource":{}}]}"#;
        let made = Some("Basic/1/_history/1".to_owned());
        let expected = [
            EntryAnswer { status: 201, location: made, text: String::new() },
            EntryAnswer { status: 404, location: None, text: "gone".to_owned() },
        ];
        assert_eq!(entries(body).unwrap(), expected);
        for bad in [&b"{"[..], br#"{"entry":[{}]}"#, br#"{"entry":[{"response":{"status":"ok"}}]}"#]
        {
            assert_eq!(entries(bad), None);
        }
    }
}
