//! Validation of what is about to be written, by the tenant's policy. It is done where the body
//! is made ready, before the serial step.

use bytes::Bytes;
use database::{Body, OwnTag};
use fhir_core::json::{Kind, Replacements};
use fhir_core::{Issue, IssueCode, Resource, ResourceId, Severity};
use fhir_schema::Schema;
use fhir_validation::{BestPractices, Options, SentIn};
use fhirpath::DateTime;

use super::{Action, Depth, Policy, Sent, Validation, issues};
use crate::negotiation::Return;

/// The system of the server's own tags.
const SYSTEM: &str = "urn:hearthgate:validation";
/// The tag of what was written although it is invalid.
const INVALID: &str = "invalid";
/// How many issues are told of one resource.
const MOST: usize = 20;

/// A resource that may be written.
#[derive(Debug)]
pub(crate) struct Judged {
    /// What whoever sent it is told.
    pub(crate) told: Vec<Issue>,
    tag: Tag,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    /// Nothing is to be changed about its tags.
    AsItCame,
    /// The server's tag of an earlier version is taken away.
    Without,
    Invalid,
}

impl Judged {
    /// The resource as it is to be stored.
    pub(crate) fn body(
        &self,
        resource: &Resource<'_>,
        id: &ResourceId,
        replacements: &Replacements,
        schema: &Schema,
    ) -> Body {
        let code = match self.tag {
            Tag::AsItCame => return Body::of(resource, id, replacements, schema),
            Tag::Without => None,
            Tag::Invalid => Some(INVALID),
        };
        Body::tagged(resource, id, replacements, OwnTag { system: SYSTEM, code }, schema)
    }
}

/// Judges a resource by the policy. Where its FHIR version has no validator, nothing is asked of it.
///
/// # Errors
/// What is wrong with it, where the policy refuses it for that.
pub(crate) fn judge(
    validation: &Validation,
    resource: &Resource<'_>,
    (sent, sent_in): (Sent<'_>, SentIn<'_>),
    preference: Return,
    now: fhir_core::Instant,
) -> Result<Judged, Vec<Issue>> {
    // Nobody but the server says what it has found, also where it does not look.
    let tag = if is_tagged(resource) { Tag::Without } else { Tag::AsItCame };
    let as_it_came = Judged { told: Vec::new(), tag };
    let Some(current) = validation.current() else { return Ok(as_it_came) };
    let Policy { depth, action } = validation.policy.of(resource);
    let depth = match depth {
        Depth::Parse => return Ok(as_it_came),
        Depth::Base => fhir_validation::Depth::Base,
        Depth::Invariants => fhir_validation::Depth::Invariants,
        Depth::Profiles => fhir_validation::Depth::Profiles,
        Depth::Terminology => fhir_validation::Depth::Terminology,
    };
    let profiles: Vec<&str> = validation.policy.required_of(resource.resource_type()).collect();
    let options = Options {
        depth,
        profiles: &profiles,
        cap: MOST,
        now: DateTime::parse(&now.to_string()),
        best_practices: BestPractices::Silent,
        sent_in,
        ..Options::default()
    };
    let mut told = issues(&current.validator, resource.value(), &options, sent);
    let is_error = |issue: &Issue| issue.severity >= Severity::Error;
    let is_invalid = told.iter().any(is_error);
    match action {
        Action::Enforce if is_invalid => return Err(told),
        Action::Warn if is_invalid => taggable(resource)?,
        _ => {}
    }
    // It is written: nothing that is told is an error any more.
    for issue in told.iter_mut().filter(|issue| is_error(issue)) {
        issue.severity = Severity::Warning;
    }
    let tag = if is_invalid {
        let text = format!(
            "stored although it is invalid, and tagged {SYSTEM}|{INVALID}; mend it and update it"
        );
        told.insert(0, Issue::information(text));
        Tag::Invalid
    } else if is_tagged(resource) {
        Tag::Without
    } else {
        Tag::AsItCame
    };
    if !is_invalid && preference != Return::OperationOutcome {
        told.clear();
    }
    Ok(Judged { told, tag })
}

/// Where tags are no list none can be added.
fn taggable(resource: &Resource<'_>) -> Result<(), Vec<Issue>> {
    let meta = resource.value().get("meta").filter(|meta| meta.kind() == Kind::Object);
    if meta.and_then(|meta| meta.get("tag")).is_none_or(|tags| tags.kind() == Kind::Array) {
        return Ok(());
    }
    let expression = format!("{}.meta.tag", resource.resource_type());
    let text = "meta.tag must be an array: what is stored although it is invalid is tagged";
    Err(vec![Issue::error(IssueCode::Structure, text).at(expression)])
}

/// Whether it bears a tag of the server's.
fn is_tagged(resource: &Resource<'_>) -> bool {
    let meta = resource.value().get("meta").filter(|meta| meta.kind() == Kind::Object);
    let tags = meta.and_then(|meta| meta.get("tag")).filter(|tags| tags.kind() == Kind::Array);
    tags.iter().flat_map(|tags| tags.items()).any(|tag| {
        tag.kind() == Kind::Object && tag.get_str("system").is_some_and(|it| it == SYSTEM)
    })
}

/// What cannot stand in XML replaced, so that issues can be told in both formats: texts may
/// repeat what was sent.
fn tellable(issues: &mut [Issue]) {
    for issue in issues {
        for text in std::iter::once(&mut issue.diagnostics).chain(&mut issue.expression) {
            if text.contains(|it| !fhir_xml::is_allowed(it)) {
                *text = text.replace(|it| !fhir_xml::is_allowed(it), "\u{fffd}");
            }
        }
    }
}

/// An OperationOutcome of these issues, as JSON.
pub(crate) fn outcome(mut issues: Vec<Issue>) -> Bytes {
    tellable(&mut issues);
    fhir_core::OperationOutcome { issues }.to_json().into()
}
