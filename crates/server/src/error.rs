//! Everything that keeps the server from doing what was asked. What each becomes over HTTP is in
//! `error_answer` alone.

use contract::{NotFhir, Reason};
use database::{CommitError, ReadError, SearchError};
use fhir_core::json::JsonError;
use fhir_core::{InvalidResource, Issue, ResourceType, VersionId};
use fhir_search::{MalformedForm, QueryError};
use fhir_xml::XmlIssue;

use crate::negotiation::Spoken;

/// A condition under which a request is not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("there is no resource type {0} in this version of FHIR")]
    UnknownType(ResourceType),
    #[error("the terminology has no answer")]
    Terminology(Box<fhir_terminology::TerminologyError>),
    #[error("there is no such resource")]
    NotFound,
    #[error("the resource was deleted")]
    Deleted { version: VersionId },
    #[error("the same transaction deletes the resource")]
    DeletedHere,
    #[error("there is no such version of the resource")]
    VersionNotFound,
    #[error("the grant does not allow this")]
    Denied(Reason),
    #[error("the audit log cannot be written: {0}")]
    NotAudited(Box<str>),
    #[error("others read the audit log, as many as may at once")]
    TooManyAuditReads,
    #[error("the configuration says that {resource_type} resources are not deleted")]
    NotDeletable { resource_type: ResourceType, allow: &'static str },
    #[error("the audit log cannot be read: {0}")]
    AuditUnreadable(String),
    #[error("AuditEvents are recorded and not written")]
    AuditEventsAreRecorded,
    #[error("AuditEvents are not searched by {name}")]
    AuditParameter { name: String, known: String },
    #[error("the grant allows this for a part of the data alone, and it is about all of it")]
    TakesAll,
    #[error("what is to be written is not within what the grant allows to write")]
    OutsideAccess,
    #[error("the grant does not allow choosing ids")]
    MayNotChooseIds,
    #[error("the interaction {0} is not there yet")]
    NotThereYet(&'static str),
    #[error("the parameter {0} is not supported here")]
    UnsupportedParameter(String),
    #[error("a create has the parameter {0}, as if it were a search")]
    CreateWithSearch(String),
    #[error("the parameter {name} cannot be read")]
    InvalidParameter { name: &'static str, mend: &'static str },
    #[error("a parameter of the search cannot be used")]
    Query(#[source] Box<QueryError>),
    #[error("the query or form cannot be decoded")]
    MalformedForm(#[source] MalformedForm),
    #[error("the body of the search is no form")]
    NotAForm { given: Option<String> },
    #[error("the search has no answer")]
    Search(#[source] SearchError),
    #[error("there are no search parameters for the tenant's version of FHIR")]
    NoSearchParameters,
    #[error("the link to a page is none of this server's, of another caller or of another URL")]
    PageLinkInvalid,
    #[error("the link to a page is too old")]
    PageLinkExpired,
    #[error("the terminology that a search asks has changed since its first page")]
    TerminologyChanged,
    #[error("the URL of the entry is not one of this server's")]
    InvalidEntryUrl { url: String, problem: Option<NotFhir> },

    #[error("the format {asked} is not supported")]
    FormatNotSupported { asked: String },
    #[error("one FHIR version is sent and another asked for")]
    FhirVersionsDiffer { sent: String, asked: String, spoken: Spoken },
    #[error("answers are not written in FHIR version {version}")]
    FhirVersionNotAnswered { version: String, spoken: Spoken },
    #[error("bodies are not taken in FHIR version {version}")]
    FhirVersionNotTaken { version: String, spoken: Spoken },
    #[error("the content type of the body is not supported")]
    ContentTypeNotSupported { given: Option<String> },
    #[error("the content coding {0} is not supported")]
    ContentCodingNotSupported(String),
    #[error("the body is longer than {limit} bytes")]
    BodyTooLong { limit: usize },
    #[error("the bodies of other requests take all the room there is")]
    TooMuchHeld,
    #[error("the large bodies of other requests are worked on")]
    TooManyLarge,
    #[error("the body came too slowly")]
    BodyTooSlow,
    #[error("the body ended early or could not be read")]
    BodyUnreadable,
    #[error("the body is missing")]
    BodyMissing,
    #[error("the body is not JSON")]
    InvalidJson(#[source] JsonError),
    #[error("the body is no resource in FHIR's XML")]
    InvalidXml(Vec<XmlIssue>),
    #[error("the answer cannot be written as XML")]
    NotWritableAsXml(Vec<XmlIssue>),
    #[error("the body is no resource")]
    InvalidResource(#[source] InvalidResource),
    #[error("the body is a {found}, the URL says {expected}")]
    TypeDiffers { expected: ResourceType, found: ResourceType },
    #[error("the resource must have the id of its URL")]
    IdDiffers { found: Option<String> },
    #[error("the resource is a part of what a read left out the rest of")]
    Subsetted,
    #[error("the patch cannot be read or applied")]
    Patch(#[source] Box<fhir_patch::PatchError>),
    #[error("the resource was changed by others while it was patched")]
    PatchedMeanwhile,
    #[error("the content breaks a rule")]
    InvalidContent(Vec<Issue>),
    #[error("the content is invalid, and the tenant's policy refuses it")]
    Invalid(Vec<Issue>),
    #[error("the search parameter that the content defines cannot be used")]
    SearchParameter(Box<Issue>),
    #[error("the Bundle has {count} entries, {limit} are taken")]
    TooManyEntries { count: usize, limit: usize },
    #[error("what the Bundle reads is longer than {limit} bytes")]
    AnswerTooLong { limit: usize },

    #[error("a condition of the request cannot be read")]
    InvalidCondition { header: &'static str },
    #[error("the criteria are not supported")]
    CriteriaNotSupported { criteria: String, reason: String },
    #[error("a parameter of the criteria cannot be used")]
    Criteria { criteria: String, error: Box<QueryError> },
    #[error("the criteria match more than one resource")]
    MultipleMatches { criteria: String },
    #[error("the criteria match more than {limit} resources")]
    TooManyMatches { criteria: String, limit: usize },
    #[error("the criteria match a resource with another id than was sent")]
    IdIsNotOfMatch,
    #[error("a resource that does not match the criteria has the id that was sent")]
    IdTaken,
    #[error("the conditional reference matches nothing")]
    NoMatch { criteria: String },
    #[error("the resource is not in the version that was expected")]
    VersionConflict { newest: Option<VersionId> },
    #[error("the resource exists already")]
    AlreadyThere,

    #[error("a rule for the whole transaction is broken")]
    InvalidTransaction { expression: String, text: String },
    #[error("entry {index} failed")]
    InEntry {
        index: usize,
        #[source]
        source: Box<ServerError>,
    },
    #[error("it is about {expression}")]
    AtExpression {
        expression: String,
        #[source]
        source: Box<ServerError>,
    },
    #[error("the key of the request cannot be used")]
    InvalidIdempotencyKey { mend: &'static str },
    #[error("the key of the request names another request")]
    IdempotencyKeyReused,
    #[error("a rule of the tenant is broken")]
    Rule(database::Broken),
    #[error("the resource was changed by others again and again")]
    Contended,
    #[error("the commit failed")]
    Commit(#[source] CommitError),
    #[error("the data cannot be read")]
    Read(#[source] ReadError),
    #[error("what the request came under was revoked meanwhile")]
    Revoked,
    #[error("the work ended before its answer")]
    Interrupted,
}

impl ServerError {
    /// The same error, about the element or header at `expression`.
    pub(crate) fn at(self, expression: impl Into<String>) -> Self {
        Self::AtExpression { expression: expression.into(), source: Box::new(self) }
    }

    /// The same error, in this entry of a Bundle.
    pub(crate) fn in_entry(self, index: usize) -> Self {
        Self::InEntry { index, source: Box::new(self) }
    }
}

impl From<ReadError> for ServerError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<SearchError> for ServerError {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Read(error) => Self::Read(error),
            // It was in a link, and in none that this server gives for this query.
            SearchError::Cursor(_) => Self::PageLinkInvalid,
            SearchError::BeforeHorizon => Self::PageLinkExpired,
            error => Self::Search(error),
        }
    }
}

impl From<QueryError> for ServerError {
    fn from(error: QueryError) -> Self {
        Self::Query(Box::new(error))
    }
}

impl From<fhir_terminology::TerminologyError> for ServerError {
    fn from(error: fhir_terminology::TerminologyError) -> Self {
        Self::Terminology(Box::new(error))
    }
}
