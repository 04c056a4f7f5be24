//! The Bundle that answers a batch or transaction; stored bytes are put into it unparsed.

use fhir_core::json::write_string;
use http::StatusCode;

use crate::call::Answer;
use crate::error_answer::ErrorAnswer;
use crate::validation;

/// Which of the two.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Batch,
    Transaction,
}

/// The Bundle so far.
pub(crate) struct Response {
    out: Vec<u8>,
    first: bool,
}

impl Response {
    pub(crate) fn new(kind: Kind, entries: usize) -> Self {
        let mut out = Vec::with_capacity(64 + entries * 200);
        out.extend_from_slice(b"{\"resourceType\":\"Bundle\",\"type\":\"");
        out.extend_from_slice(match kind {
            Kind::Batch => b"batch-response".as_slice(),
            Kind::Transaction => b"transaction-response",
        });
        out.push(b'"');
        Self { out, first: true }
    }

    /// The answer of the next entry; to HEAD without the resource.
    pub(crate) fn answer(&mut self, answer: &Answer, head: bool) {
        self.begin();
        if let Some(resource) = answer.body.as_ref().filter(|_| !head) {
            self.out.extend_from_slice(b"\"resource\":");
            self.out.extend_from_slice(resource);
            self.out.push(b',');
        }
        self.status(answer.status);
        if let Some(location) = &answer.location {
            self.member(",\"location\":", location);
        }
        if let Some((version, instant)) = answer.version {
            self.member(",\"etag\":", &format!("W/\"{version}\""));
            self.member(",\"lastModified\":", &instant.to_string());
        }
        if !answer.told.is_empty() {
            self.out.extend_from_slice(b",\"outcome\":");
            self.out.extend_from_slice(&validation::outcome(answer.told.clone()));
        }
        self.out.extend_from_slice(b"}}");
    }

    /// The next entry failed.
    pub(crate) fn error(&mut self, error: &ErrorAnswer) {
        self.begin();
        self.status(error.status);
        if let Some(version) = error.deleted {
            self.member(",\"etag\":", &format!("W/\"{version}\""));
        }
        self.out.extend_from_slice(b",\"outcome\":");
        self.out.extend_from_slice(&error.outcome.to_json());
        self.out.extend_from_slice(b"}}");
    }

    fn begin(&mut self) {
        self.out.extend_from_slice(if self.first { b",\"entry\":[{" } else { b",{" });
        self.first = false;
    }

    fn status(&mut self, status: StatusCode) {
        let reason = status.canonical_reason().unwrap_or_default();
        let text = format!("{} {reason}", status.as_u16());
        self.member("\"response\":{\"status\":", text.trim_end());
    }

    fn member(&mut self, before: &str, value: &str) {
        self.out.extend_from_slice(before.as_bytes());
        write_string(value, &mut self.out);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(if self.first { b"}" } else { b"]}" });
        self.out
    }
}
