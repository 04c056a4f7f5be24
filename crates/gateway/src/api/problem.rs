//! What is answered instead of what was asked for: problem details (RFC 9457).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use registry::{CannotFollow, ChangeError, OperatorRole};
use serde_json::json;

use super::form::{Form, Shape, Wrong, needed, optional};
use crate::limiter::whole_seconds;
use crate::small_server::answer;

/// A refusal: what, where, and how it is mended.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
    pub(crate) errors: Vec<Wrong>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Nothing is wrong but that somebody changed something after it was looked at.
    is_overtaken: bool,
}

/// How problems are described in the document.
pub(crate) static PROBLEM: Shape = Shape {
    name: "Problem",
    says: "What was not done, why, and how it is mended (RFC 9457).",
    fields: &[
        needed("type", Form::Word(&["about:blank"]), "The status says of which kind it is."),
        needed("title", Form::Text { most: 100, example: "Conflict" }, "The status in words."),
        needed("status", Form::Number { least: 400, most: 599 }, "The status."),
        needed(
            "detail",
            Form::Text { most: 4000, example: "…" },
            "What was wrong and what would be right.",
        ),
        optional(
            "errors",
            Form::List(&Form::Shaped(&ERROR)),
            "What in the request was wrong, each by its place.",
        ),
    ],
};

static ERROR: Shape = Shape {
    name: "Error",
    says: "One thing in a request that was wrong.",
    fields: &[
        needed(
            "pointer",
            Form::Text { most: 1000, example: "/plan" },
            "Where: a JSON Pointer into the body, or `?NAME` of a parameter.",
        ),
        needed("detail", Form::Text { most: 4000, example: "…" }, "What was wrong."),
    ],
};

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let (errors, headers) = (Vec::new(), Vec::new());
        Self { status, detail: detail.into(), errors, headers, is_overtaken: false }
    }

    /// Something in the body or the query is wrong.
    pub(crate) fn wrong(errors: Vec<Wrong>) -> Self {
        let told = errors.iter().map(|wrong| format!("{}: {}", wrong.place, wrong.what));
        let told: Vec<String> = told.collect();
        let detail = told.join("; ");
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// One member of the body is wrong.
    pub(crate) fn at(place: &str, what: impl Into<String>) -> Self {
        Self::wrong(vec![Wrong::new(place, what)])
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        const CHALLENGE: &str = "Bearer realm=\"hearthgate admin\"";
        Self::new(StatusCode::UNAUTHORIZED, detail)
            .with(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE))
    }

    pub(crate) fn too_weak(has: OperatorRole, takes: OperatorRole) -> Self {
        let detail = format!(
            "this takes the role {takes}, and the operator has the role {has}; ask an \
             administrator, or use the credential of another operator"
        );
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// An operator was refused too much within a minute.
    pub(crate) fn too_many_refusals(wait: Duration) -> Self {
        let seconds = whole_seconds(wait).max(1);
        let detail = format!(
            "too many changes of this operator were refused within a minute; mend what asks for \
             them, and try again in {seconds} s"
        );
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
            .with(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Whether it may be tried again once it was looked at again.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.is_overtaken
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn response(self) -> Response<Full<Bytes>> {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let (false, Some(members)) = (self.errors.is_empty(), body.as_object_mut()) {
            let one = |wrong: &Wrong| json!({"pointer": wrong.place, "detail": wrong.what});
            let errors = self.errors.iter().map(one).collect::<Vec<_>>();
            members.insert("errors".to_owned(), errors.into());
        }
        let mut response = answer(self.status, "application/problem+json", body.to_string());
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::Refused(refused) => Self::new(status_of(&refused), detail),
            ChangeError::TooLong => Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            ChangeError::Overtaken => {
                Self { is_overtaken: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
            }
            ChangeError::Form(_)
            | ChangeError::Io(_)
            | ChangeError::Broken
            | ChangeError::Away(_)
            | ChangeError::Unknown(_)
            | ChangeError::Behind(_)
            | ChangeError::Contended => Self::new(StatusCode::SERVICE_UNAVAILABLE, detail),
        }
    }
}

fn status_of(refused: &CannotFollow) -> StatusCode {
    match refused {
        CannotFollow::UnknownClient(_)
        | CannotFollow::UnknownKey(_)
        | CannotFollow::UnknownOperator(_) => StatusCode::NOT_FOUND,
        CannotFollow::NoTokens
        | CannotFollow::Overlap
        | CannotFollow::Label
        | CannotFollow::InvalidClient(_) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::CONFLICT,
    }
}
