//! What each error is over HTTP: status, issues and headers (the one place that says so).
//!
//! `commit` says it of what keeps a commit from being made, `search` of searches, `in_entry` where
//! an issue stands in a Bundle.

mod commit;
mod in_entry;
mod search;

use database::{Broken, ReadError};
use fhir_core::{Issue, IssueCode, OperationOutcome};
use fhir_patch::{PatchError, PatchProblem};
use fhir_terminology::TerminologyError;
use fhir_xml::XmlIssue;
use http::StatusCode;

use self::commit::describe_commit;
use self::in_entry::in_entry;
pub(crate) use self::search::ignored;
use self::search::{describe_criteria, describe_query, describe_search};
use crate::error::ServerError;
use crate::negotiation::Spoken;

/// An error as the client gets it.
#[derive(Debug, Clone)]
pub(crate) struct ErrorAnswer {
    pub(crate) status: StatusCode,
    pub(crate) outcome: OperationOutcome,
    /// `Retry-After` in seconds.
    pub(crate) retry_after: Option<u32>,
    /// The version of a deletion: `ETag`.
    pub(crate) deleted: Option<fhir_core::VersionId>,
    /// The methods that the URL takes: `Allow`.
    pub(crate) allow: Option<&'static str>,
}

impl ErrorAnswer {
    /// The answer to `error`.
    pub(crate) fn of(error: &ServerError) -> Self {
        let (status, mut issues) = describe(error);
        for issue in &mut issues {
            shorten(&mut issue.diagnostics);
        }
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        let deleted = match error {
            ServerError::Deleted { version } => Some(*version),
            _ => None,
        };
        let allow = match error {
            ServerError::NotDeletable { allow, .. } => Some(*allow),
            _ => None,
        };
        Self { status, outcome: OperationOutcome { issues }, retry_after, deleted, allow }
    }

    /// Whether it is a fault of our own, to be logged with its chain.
    ///
    /// What passes (503) is said in the log when it begins and ends, not at each request.
    pub(crate) fn is_our_fault(&self) -> bool {
        self.status.is_server_error()
            && self.status != StatusCode::NOT_IMPLEMENTED
            && self.status != StatusCode::SERVICE_UNAVAILABLE
    }
}

/// Bytes of a text for the client, which may repeat what was sent.
const MAX_TEXT: usize = 1000;

fn shorten(text: &mut String) {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
}

const BAD_REQUEST: StatusCode = StatusCode::BAD_REQUEST;

/// The status of a terminology question without an answer (FHIR R4, 4.7.2).
fn of_terminology(error: &TerminologyError) -> StatusCode {
    use TerminologyError as E;
    match error {
        E::UnknownCanonical { .. }
        | E::SystemNotLoaded { .. }
        | E::SystemInPart { .. }
        | E::UnknownCode { .. } => StatusCode::NOT_FOUND,
        E::ImportCycle { .. }
        | E::ImportsTooDeep { .. }
        | E::Filter { .. }
        | E::TooCostly { .. }
        | E::Malformed { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        E::VersionConflict { .. } | E::Parameter { .. } => BAD_REQUEST,
    }
}

/// Whether an issue is of a narrative that is no XHTML: in JSON it is refused as in XML, where the
/// whole cannot be read for it (XML-015).
fn is_unreadable(issue: &Issue) -> bool {
    issue.code == IssueCode::Structure && issue.rule.as_deref() == Some("txt-1")
}

/// The status of a patch that is not applied (HTTP-114, HTTP-116, HTTP-122).
fn of_patch(error: &PatchError) -> StatusCode {
    match error.problem {
        PatchProblem::Malformed(_) => BAD_REQUEST,
        PatchProblem::Inapplicable(_) | PatchProblem::TestFailed | PatchProblem::TooCostly(_) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
    }
}

/// Status and issues of an error; an exhaustive match, so that a new condition must be thought
/// about here.
fn describe(error: &ServerError) -> (StatusCode, Vec<Issue>) {
    use ServerError as E;
    let one = |status, code, text: String| (status, vec![Issue::error(code, text)]);
    let at = |status, code, text: String, place: &str| {
        (status, vec![Issue::error(code, text).at(place)])
    };
    match error {
        E::UnknownType(of) => one(
            StatusCode::NOT_FOUND,
            IssueCode::NotSupported,
            format!("{of} is not a resource type of FHIR R4; type names are case-sensitive"),
        ),
        E::Terminology(error) => (of_terminology(error), vec![error.issue()]),
        E::NotFound => one(
            StatusCode::NOT_FOUND,
            IssueCode::NotFound,
            // The same whether nothing is there or it is not for the caller.
            "nothing is here that you may see: check the type and the id".into(),
        ),
        E::Deleted { .. } => one(StatusCode::GONE, IssueCode::Deleted, "deleted".into()),
        E::Read(ReadError::Purged) => one(
            StatusCode::GONE,
            IssueCode::Deleted,
            "the patient whose data it was has been purged: it cannot be read any more".into(),
        ),
        E::Read(ReadError::TooCostly { rows }) => one(
            BAD_REQUEST,
            IssueCode::TooCostly,
            format!(
                "to answer this, more than {rows} versions would have to be looked at; ask for a \
                 shorter time with _since, or for the history of one resource"
            ),
        ),
        E::DeletedHere => one(
            StatusCode::GONE,
            IssueCode::Deleted,
            "this transaction deletes what this entry reads; entries that delete come first".into(),
        ),
        E::VersionNotFound => {
            one(StatusCode::NOT_FOUND, IssueCode::NotFound, "there is no such version".into())
        }
        E::Denied(reason) => one(
            StatusCode::FORBIDDEN,
            IssueCode::Forbidden,
            format!("your access does not allow this ({})", reason.code()),
        ),
        E::TakesAll => one(
            StatusCode::FORBIDDEN,
            IssueCode::Forbidden,
            "your access is limited to a part of the data, and this takes access to all of it"
                .into(),
        ),
        E::OutsideAccess => one(
            StatusCode::FORBIDDEN,
            IssueCode::Forbidden,
            "your access is limited to a part of the data, and what you sent is not within it \
             alone: check whom it is about, and who else it names as its patient"
                .into(),
        ),
        E::NotAudited(reason) => one(
            StatusCode::SERVICE_UNAVAILABLE,
            IssueCode::Transient,
            format!(
                "the audit log cannot be written ({reason}), and what cannot be written down is \
                 not answered; try again later"
            ),
        ),
        E::TooManyAuditReads => one(
            StatusCode::SERVICE_UNAVAILABLE,
            IssueCode::Throttled,
            "others read the audit log now, as many as may at once; ask again in a moment".into(),
        ),
        E::NotDeletable { resource_type, .. } => one(
            StatusCode::METHOD_NOT_ALLOWED,
            IssueCode::NotSupported,
            format!(
                "this server deletes no {resource_type}: its configuration names the type in \
                 server.not_deletable; mark the resource as no longer in use instead, as by its \
                 status"
            ),
        ),
        E::AuditUnreadable(_) => one(
            StatusCode::INTERNAL_SERVER_ERROR,
            IssueCode::Exception,
            "the audit log cannot be read; the server's log says why".into(),
        ),
        E::AuditEventsAreRecorded => one(
            StatusCode::METHOD_NOT_ALLOWED,
            IssueCode::NotSupported,
            "AuditEvents are what this server records itself: nobody creates, changes or deletes \
             them; GET [base]/AuditEvent finds them"
                .into(),
        ),
        E::AuditParameter { name, known } => at(
            BAD_REQUEST,
            IssueCode::NotSupported,
            format!("the parameter \"{name}\" is not known here; ask by {known}"),
            &format!("http.{name}"),
        ),
        E::MayNotChooseIds => one(
            StatusCode::FORBIDDEN,
            IssueCode::Forbidden,
            "choosing the id of a new resource takes access to all resources of its type; \
             create it with POST instead"
                .into(),
        ),
        E::NotThereYet(code) => one(
            StatusCode::NOT_IMPLEMENTED,
            IssueCode::NotSupported,
            format!("this server does not do {code}; GET [base]/metadata lists what it does"),
        ),
        E::UnsupportedParameter(name) => at(
            BAD_REQUEST,
            IssueCode::NotSupported,
            format!("the parameter \"{name}\" is not supported here; leave it out"),
            &format!("http.{name}"),
        ),
        E::CreateWithSearch(name) => at(
            BAD_REQUEST,
            IssueCode::NotSupported,
            format!(
                "a create does not read the parameter \"{name}\"; what must not be there yet goes \
                 into the header If-None-Exist, or ifNoneExist of an entry"
            ),
            &format!("http.{name}"),
        ),
        E::InvalidParameter { name, mend } => at(
            BAD_REQUEST,
            IssueCode::Value,
            format!("the parameter {name} cannot be read: {mend}"),
            &format!("http.{name}"),
        ),
        E::Query(error) => describe_query(error),
        E::Criteria { criteria, error } => describe_criteria(criteria, error),
        E::Search(error) => describe_search(error),
        E::MalformedForm(error) => one(
            BAD_REQUEST,
            IssueCode::Invalid,
            format!("the parameters cannot be read: {error}"),
        ),
        E::NotAForm { given } => at(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            IssueCode::NotSupported,
            format!(
                "the parameters of a search by POST are a form; send them as                  application/x-www-form-urlencoded, not {}",
                given.as_deref().map_or("without a Content-Type".into(), |it| format!("\"{it}\""))
            ),
            "http.Content-Type",
        ),
        E::NoSearchParameters => one(
            StatusCode::NOT_IMPLEMENTED,
            IssueCode::NotSupported,
            "this tenant's resources are of another version of FHIR than R4, and only those of R4 \
             can be searched; read them by their ids, or by the history of their type"
                .into(),
        ),
        E::PageLinkInvalid => at(
            BAD_REQUEST,
            IssueCode::Value,
            "the link to this page is not one that you were given for this URL, or your access has \
             changed since; begin again without _page"
                .into(),
            "http._page",
        ),
        E::TerminologyChanged => at(
            StatusCode::GONE,
            IssueCode::Expired,
            "a value set or code system has changed since the first page, and what matches may \
             have changed with it; begin again without _page"
                .into(),
            "http._page",
        ),
        E::PageLinkExpired => at(
            StatusCode::GONE,
            IssueCode::Expired,
            "the link to this page has lived its 24 hours; begin again without _page".into(),
            "http._page",
        ),
        E::InvalidEntryUrl { url, problem } => {
            let (status, reason) = match problem {
                Some(problem) => (
                    StatusCode::from_u16(problem.status()).unwrap_or(BAD_REQUEST),
                    problem.to_string(),
                ),
                None => (BAD_REQUEST, "it is not under this server's base".to_owned()),
            };
            at(
                status,
                IssueCode::Value,
                format!("\"{url}\" cannot be carried out: {reason}; write it like Patient/1"),
                "request.url",
            )
        }
        E::FormatNotSupported { asked } => at(
            StatusCode::NOT_ACCEPTABLE,
            IssueCode::NotSupported,
            format!("\"{asked}\" cannot be answered; ask for application/fhir+json or application/fhir+xml"),
            "http.Accept",
        ),
        E::FhirVersionsDiffer { sent, asked, spoken } => at(
            BAD_REQUEST,
            IssueCode::Value,
            format!(
                "the body is sent as FHIR version \"{sent}\" and the answer asked for as \
                 \"{asked}\"; use fhirVersion={} for both",
                spoken.release()
            ),
            "http.Accept",
        ),
        E::FhirVersionNotAnswered { version, spoken } => at(
            StatusCode::NOT_ACCEPTABLE,
            IssueCode::NotSupported,
            unspoken(version, *spoken),
            "http.Accept",
        ),
        E::FhirVersionNotTaken { version, spoken } => at(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            IssueCode::NotSupported,
            unspoken(version, *spoken),
            "http.Content-Type",
        ),
        E::ContentTypeNotSupported { given } => at(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            IssueCode::NotSupported,
            match given {
                Some(given) => format!(
                    "\"{given}\" is not taken; send application/fhir+json or application/fhir+xml, \
                     to PATCH application/json-patch+json as well"
                ),
                None => "the body has no Content-Type; name it: application/fhir+json or \
                         application/fhir+xml"
                    .to_owned(),
            },
            "http.Content-Type",
        ),
        E::ContentCodingNotSupported(coding) => at(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            IssueCode::NotSupported,
            format!("Content-Encoding \"{coding}\" is not taken; send the body as it is"),
            "http.Content-Encoding",
        ),
        E::BodyTooLong { limit } => one(
            StatusCode::PAYLOAD_TOO_LARGE,
            IssueCode::TooLong,
            format!("the body is longer than the {limit} bytes taken; send it in parts"),
        ),
        E::TooMuchHeld => one(
            StatusCode::SERVICE_UNAVAILABLE,
            IssueCode::Transient,
            "too many bytes of requests are being worked on; nothing was written, try again later"
                .into(),
        ),
        E::TooManyLarge => one(
            StatusCode::SERVICE_UNAVAILABLE,
            IssueCode::Transient,
            "too many large requests are being worked on; nothing was written, try again later"
                .into(),
        ),
        E::BodyTooSlow => one(
            StatusCode::REQUEST_TIMEOUT,
            IssueCode::Timeout,
            "the body came too slowly; nothing was written, send it again faster or in parts"
                .into(),
        ),
        E::BodyUnreadable => one(
            BAD_REQUEST,
            IssueCode::Structure,
            "the body ended early; send it again whole".into(),
        ),
        E::BodyMissing => one(
            BAD_REQUEST,
            IssueCode::Required,
            "the body is missing: send the resource as JSON or XML".into(),
        ),
        E::InvalidJson(error) => {
            let text = format!("the body cannot be read as JSON: {error}");
            at(BAD_REQUEST, IssueCode::Structure, text, &error.expression)
        }
        E::InvalidXml(issues) => (BAD_REQUEST, issues.iter().map(XmlIssue::issue).collect()),
        E::NotWritableAsXml(issues) => {
            let explain = |issue: &XmlIssue| {
                let text = format!(
                    "what is stored cannot be written as XML: {}; ask for application/fhir+json",
                    issue.problem
                );
                Issue::error(IssueCode::NotSupported, text).at(issue.expression.as_str())
            };
            (StatusCode::NOT_ACCEPTABLE, issues.iter().map(explain).collect())
        }
        E::InvalidResource(error) => (BAD_REQUEST, vec![error.issue()]),
        E::TypeDiffers { expected, found } => at(
            BAD_REQUEST,
            IssueCode::Invalid,
            format!("the URL says {expected}, the body is a {found}; send it to /{found}"),
            "resourceType",
        ),
        E::IdDiffers { found } => at(
            BAD_REQUEST,
            IssueCode::Value,
            match found {
                Some(found) => {
                    format!("the resource's id is \"{found}\"; it must be the id in the URL")
                }
                None => "the resource has no id; an update must repeat the id in the URL".into(),
            },
            "id",
        ),
        E::Subsetted => at(
            StatusCode::UNPROCESSABLE_ENTITY,
            IssueCode::BusinessRule,
            "the resource is tagged SUBSETTED: parts were left out when it was read, and would be \
             lost; read it whole, and send that without the tag"
                .into(),
            "Resource.meta.tag",
        ),
        E::Patch(error) => (of_patch(error), vec![error.issue()]),
        E::InvalidContent(issues) => (BAD_REQUEST, issues.clone()),
        E::Invalid(issues) if issues.iter().any(is_unreadable) => (BAD_REQUEST, issues.clone()),
        E::Invalid(issues) => (StatusCode::UNPROCESSABLE_ENTITY, issues.clone()),
        E::SearchParameter(issue) => {
            (StatusCode::UNPROCESSABLE_ENTITY, vec![Issue::clone(issue)])
        }
        E::TooManyEntries { count, limit } => at(
            StatusCode::PAYLOAD_TOO_LARGE,
            IssueCode::TooCostly,
            format!("the Bundle has {count} entries, {limit} are taken; send it in parts"),
            "Bundle.entry",
        ),
        E::AnswerTooLong { limit } => one(
            StatusCode::PAYLOAD_TOO_LARGE,
            IssueCode::TooCostly,
            format!("this Bundle reads more than {limit} bytes; read in parts"),
        ),
        E::InvalidCondition { header } => at(
            BAD_REQUEST,
            IssueCode::Value,
            format!("{header} cannot be read; write it like W/\"3\""),
            &format!("http.{header}"),
        ),
        E::CriteriaNotSupported { criteria, reason } => one(
            BAD_REQUEST,
            IssueCode::NotSupported,
            format!(
                "the criteria \"{criteria}\" cannot be used: {reason}"
            ),
        ),
        E::MultipleMatches { criteria } => one(
            StatusCode::PRECONDITION_FAILED,
            IssueCode::MultipleMatches,
            format!(
                "\"{criteria}\" matches more than one resource, and must match one at most; add \
                 what tells the one that is meant from the others, as an identifier with its system"
            ),
        ),
        E::TooManyMatches { criteria, limit } => one(
            StatusCode::PRECONDITION_FAILED,
            IssueCode::MultipleMatches,
            format!(
                "\"{criteria}\" matches more than {limit} resources, and no more are deleted at \
                 once; nothing was deleted: add criteria, and delete them in parts"
            ),
        ),
        E::IdIsNotOfMatch => one(
            BAD_REQUEST,
            IssueCode::Value,
            "the criteria match a resource with another id than the body's; leave the id out to \
             update the one that matches"
                .into(),
        ),
        E::IdTaken => one(
            StatusCode::CONFLICT,
            IssueCode::Duplicate,
            "nothing matches the criteria, and there is a resource with the body's id; update \
             that by its id, or leave the id out to create another"
                .into(),
        ),
        E::NoMatch { criteria } => one(
            BAD_REQUEST,
            IssueCode::NotFound,
            format!("\"{criteria}\" matches no resource; create what it refers to first"),
        ),
        E::VersionConflict { newest } => at(
            StatusCode::PRECONDITION_FAILED,
            IssueCode::Conflict,
            match newest {
                // Whoever may read it finds out which.
                Some(_) => {
                    "another version is the newest; read it and apply your change to it".into()
                }
                None => {
                    "there is no such resource to match; leave If-Match out to create it".into()
                }
            },
            "http.If-Match",
        ),
        E::AlreadyThere => at(
            StatusCode::PRECONDITION_FAILED,
            IssueCode::Duplicate,
            "the resource exists; leave If-None-Match out to update it".into(),
            "http.If-None-Match",
        ),
        E::InvalidTransaction { expression, text } => {
            at(BAD_REQUEST, IssueCode::Invalid, text.clone(), expression)
        }
        // What the operation is about is no part of the entry; the operation is.
        E::InEntry { index, source } if let E::Patch(error) = &**source => {
            let mut issue = error.issue();
            issue.expression = vec![format!("Bundle.entry[{index}].resource")];
            (of_patch(error), vec![issue])
        }
        E::InEntry { index, source } => {
            let (status, issues) = describe(source);
            let entry = format!("Bundle.entry[{index}]");
            (status, issues.into_iter().map(|issue| in_entry(issue, &entry)).collect())
        }
        // What a search would say of a parameter of the URL is about criteria that stand there.
        E::AtExpression { expression, source } if let E::Search(error) = &**source => {
            let (status, issues) = describe_search(error);
            let stands = |issue| Issue { expression: vec![expression.clone()], ..issue };
            (status, issues.into_iter().map(stands).collect())
        }
        E::AtExpression { expression, source } => {
            let (status, issues) = describe(source);
            (status, issues.into_iter().map(|issue| issue.at(expression.as_str())).collect())
        }
        E::InvalidIdempotencyKey { mend } => at(
            BAD_REQUEST,
            IssueCode::Value,
            format!("the Idempotency-Key cannot be used: {mend}"),
            "http.Idempotency-Key",
        ),
        E::IdempotencyKeyReused => one(
            StatusCode::UNPROCESSABLE_ENTITY,
            IssueCode::BusinessRule,
            "this Idempotency-Key named another request within the last 7 days; use a new key for \
             each request"
                .into(),
        ),
        // It names no other resource: the caller may not be allowed to know of it.
        E::Rule(Broken::NotUnique { element, system }) => at(
            StatusCode::CONFLICT,
            IssueCode::Duplicate,
            format!(
                "an identifier of the system {system} belongs to one resource of this type alone, \
                 and another one bears this one already; update that one, or correct the identifier"
            ),
            element,
        ),
        E::Rule(Broken::Dangling { element, reference }) => at(
            StatusCode::UNPROCESSABLE_ENTITY,
            IssueCode::NotFound,
            format!(
                "there is no {reference}, and references here must lead to what is there; create \
                 it first, or in the same transaction"
            ),
            element,
        ),
        E::Contended | E::PatchedMeanwhile => one(
            StatusCode::CONFLICT,
            IssueCode::Conflict,
            "others kept changing what this request depends on; send it again".into(),
        ),
        E::Commit(error) => describe_commit(error),
        E::Read(ReadError::Overloaded) => describe(&E::TooManyLarge),
        E::Read(error) if error.is_passing() => rebuilding(),
        E::Read(_) => one(
            StatusCode::INTERNAL_SERVER_ERROR,
            IssueCode::Exception,
            "the stored data could not be read; the operator's log has the reason".into(),
        ),
        E::Revoked => one(
            StatusCode::FORBIDDEN,
            IssueCode::Forbidden,
            "access was revoked while the request was under way, and it was ended".into(),
        ),
        E::Interrupted => one(
            StatusCode::INTERNAL_SERVER_ERROR,
            IssueCode::Exception,
            "the request could not be completed; the operator's log has the reason".into(),
        ),
    }
}

fn unspoken(version: &str, spoken: Spoken) -> String {
    let spoken = spoken.release();
    format!("FHIR version \"{version}\" is not spoken here; use fhirVersion={spoken}")
}

/// What finds versions is being put right from the log.
pub(super) fn rebuilding() -> (StatusCode, Vec<Issue>) {
    let text = "the server is rebuilding what it finds resources by; try again later";
    (StatusCode::SERVICE_UNAVAILABLE, vec![Issue::error(IssueCode::Transient, text)])
}
