//! One item: the body as it was sent, byte for byte, who sent it, and what was wrong with it; and
//! how that is written as a resource of the server's own.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use database::{StoredVersion, quarantine};
use fhir_core::{
    Instance, Instant, Interaction, Issue, IssueCode, Position, ResourceId, ResourceType, Severity,
    VersionId,
};
use serde::{Deserialize, Serialize};

use super::ListedItem;
use crate::error::ServerError;
use crate::negotiation::{Encoding, FHIR_JSON, FHIR_XML};

/// An item.
#[derive(Debug, Clone)]
pub(crate) struct Item<'b> {
    pub(crate) id: ResourceId,
    pub(crate) received: Instant,
    pub(crate) sender: String,
    pub(crate) user: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) request: Request,
    pub(crate) encoding: Encoding,
    pub(crate) body: Cow<'b, [u8]>,
    pub(crate) issues: Vec<Issue>,
}

/// What the sender asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Create {
        /// What the resource will be stored as.
        instance: Instance,
        if_none_exist: Option<String>,
    },
    Update {
        instance: Instance,
        /// The newest version then, deletions included.
        newest: Option<VersionId>,
    },
}

impl Request {
    pub(crate) fn instance(&self) -> &Instance {
        let (Self::Create { instance, .. } | Self::Update { instance, .. }) = self;
        instance
    }

    pub(crate) fn resource_type(&self) -> &ResourceType {
        &self.instance().resource_type
    }

    /// The interaction that it was, as far as permissions go.
    pub(crate) fn interaction(&self) -> Interaction {
        match self {
            Self::Create { instance, .. } => Interaction::Create(instance.resource_type.clone()),
            Self::Update { instance, .. } => Interaction::Update(instance.clone()),
        }
    }

    /// `POST Patient`, `PUT Patient/1`
    fn text(&self) -> String {
        match self {
            Self::Create { instance, .. } => format!("POST {}", instance.resource_type),
            Self::Update { instance, .. } => format!("PUT {instance}"),
        }
    }
}

/// An item as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    resource_type: String,
    /// Whose data it is: by these it is sealed.
    subject: Vec<Subject>,
    sender: String,
    user: Option<String>,
    request_id: Option<String>,
    method: StoredMethod,
    target: String,
    if_none_exist: Option<String>,
    newest: Option<String>,
    media_type: String,
    issue: Vec<StoredIssue>,
    data: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum StoredMethod {
    Post,
    Put,
}

#[derive(Debug, Serialize, Deserialize)]
struct Subject {
    reference: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredIssue {
    severity: String,
    code: String,
    text: String,
    expression: Vec<String>,
    rule: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
}

impl Item<'_> {
    /// The item as the JSON that is stored, the data of these patients.
    pub(crate) fn written(&self, patients: &[ResourceId]) -> Vec<u8> {
        let (method, if_none_exist, newest) = match &self.request {
            Request::Create { if_none_exist, .. } => {
                (StoredMethod::Post, if_none_exist.clone(), None)
            }
            Request::Update { newest, .. } => (StoredMethod::Put, None, *newest),
        };
        let subject = |id: &ResourceId| Subject { reference: format!("Patient/{id}") };
        let stored = Stored {
            resource_type: quarantine::TYPE.to_owned(),
            subject: patients.iter().map(subject).collect(),
            sender: self.sender.clone(),
            user: self.user.clone(),
            request_id: self.request_id.clone(),
            method,
            target: self.request.instance().to_string(),
            if_none_exist,
            newest: newest.map(|newest| newest.to_string()),
            media_type: self.media_type().to_owned(),
            issue: self.issues.iter().map(StoredIssue::of).collect(),
            data: STANDARD.encode(&self.body),
        };
        serde_json::to_vec(&stored).expect("it is plain data")
    }

    /// Reads what [`Self::written`] wrote.
    pub(crate) fn read(version: &StoredVersion) -> Result<Item<'static>, ServerError> {
        Self::of(version).ok_or_else(|| {
            tracing::error!("what is stored as quarantined is no item of this server's");
            ServerError::Interrupted
        })
    }

    fn of(version: &StoredVersion) -> Option<Item<'static>> {
        let stored: Stored = serde_json::from_slice(version.json.as_deref()?).ok()?;
        let instance: Instance = stored.target.parse().ok()?;
        let newest = match stored.newest {
            Some(newest) => Some(newest.parse().ok()?),
            None => None,
        };
        let request = match stored.method {
            StoredMethod::Post => Request::Create { instance, if_none_exist: stored.if_none_exist },
            StoredMethod::Put => Request::Update { instance, newest },
        };
        Some(Item {
            id: version.entry.id.clone(),
            received: version.entry.instant,
            sender: stored.sender,
            user: stored.user,
            request_id: stored.request_id,
            request,
            encoding: match stored.media_type == FHIR_XML {
                true => Encoding::Xml,
                false => Encoding::Json,
            },
            body: Cow::Owned(STANDARD.decode(stored.data).ok()?),
            issues: stored.issue.into_iter().map(StoredIssue::issue).collect(),
        })
    }

    pub(crate) fn media_type(&self) -> &'static str {
        match self.encoding {
            Encoding::Json => FHIR_JSON,
            Encoding::Xml => FHIR_XML,
        }
    }

    /// The item as lists show it.
    pub(crate) fn listed(&self) -> ListedItem {
        ListedItem {
            id: self.id.clone(),
            received: self.received,
            sender: self.sender.clone(),
            user: self.user.clone(),
            request_id: self.request_id.clone(),
            request: self.request.text(),
            media_type: self.media_type().to_owned(),
            bytes: self.body.len(),
            issues: self.issues.clone(),
        }
    }
}

impl StoredIssue {
    fn of(issue: &Issue) -> Self {
        Self {
            severity: issue.severity.as_str().to_owned(),
            code: issue.code.as_str().to_owned(),
            text: issue.diagnostics.clone(),
            expression: issue.expression.clone(),
            rule: issue.rule.clone(),
            line: issue.position.map(|position| position.line),
            column: issue.position.map(|position| position.column),
        }
    }

    fn issue(self) -> Issue {
        let position = self.line.zip(self.column);
        Issue {
            severity: self.severity.parse().unwrap_or(Severity::Error),
            expression: self.expression,
            rule: self.rule,
            position: position.map(|(line, column)| Position { line, column }),
            ..Issue::error(self.code.parse().unwrap_or(IssueCode::Invalid), self.text)
        }
    }
}
