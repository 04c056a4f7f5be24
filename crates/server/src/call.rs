//! One interaction to carry out, and its answer: the same for a request of its own and for an
//! entry of a batch.

use bytes::Bytes;
use contract::{Grant, Instance, Interaction, TenantName};
use database::{
    Abandoned, Change, Database, Named, Receipt, Rows, Snapshot, StoredVersion, T, Terms,
    Transaction, Visibility,
};
use fhir_core::json::Value;
use fhir_core::{Instant, Issue, Resource, ResourceId, ResourceType, VersionId};
use fhir_validation::SentIn;
use http::StatusCode;

use crate::audit::Trail;
use crate::error::ServerError;
use crate::negotiation::{Encoding, Handling, Return};
use crate::validation::{self, Judgement, NotCommitted, Sent, judge};
use crate::{Server, access, references_exist};

/// An interaction with all that its request says.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    pub(crate) server: &'a Server,
    pub(crate) database: &'a Database,
    pub(crate) grant: &'a Grant,
    pub(crate) interaction: Interaction,
    /// The query as received; of a search, what its form says stands after what its URL says.
    pub(crate) query: &'a str,
    /// What becomes of parameters of a search that are not understood.
    pub(crate) handling: Handling,
    pub(crate) conditions: Conditions,
    /// `None` where the interaction takes none.
    pub(crate) resource: Option<Resource<'a>>,
    /// A body that is a JSON Patch and no resource.
    pub(crate) json_patch: Option<Value<'a>>,
    pub(crate) preference: Return,
    /// `Accept-Language`, for what has names in several languages.
    pub(crate) accept_language: Option<&'a str>,
    /// The name that the client gave the request.
    pub(crate) named: Option<&'a Named>,
    /// Where in what was sent the resource's issues stand.
    pub(crate) sent: Sent<'a>,
    /// The body as it was sent, where the resource is all of it.
    pub(crate) original: Option<(&'a [u8], Encoding)>,
    /// The id of the request, by which logs have it.
    pub(crate) request_id: &'a str,
    /// Whether its client has left: then no search for it goes on.
    pub(crate) abandoned: &'a Abandoned,
    /// What is read for the whole request.
    pub(crate) rows: &'a Rows,
    /// What is shown and done for the whole request.
    pub(crate) trail: &'a Trail,
}

/// The conditional headers, or the elements of `entry.request` that stand for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions {
    pub(crate) if_match: Option<String>,
    pub(crate) if_none_match: Option<String>,
    pub(crate) if_modified_since: Option<String>,
    pub(crate) if_none_exist: Option<String>,
}

/// What an interaction answers.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The resource in the body, as JSON.
    pub(crate) body: Option<Bytes>,
    /// The version that the answer is about: `ETag` and `Last-Modified`.
    pub(crate) version: Option<(VersionId, Instant)>,
    /// `Location`, relative to the base.
    pub(crate) location: Option<String>,
    /// What whoever wrote is told of the content.
    pub(crate) told: Vec<Issue>,
    /// The same as a page for a browser that asks for one.
    pub(crate) page: Option<Bytes>,
    /// What was deleted, for the audit.
    pub(crate) deleted: Vec<Deleted>,
}

/// A resource that was deleted, and the version that its deletion is.
#[derive(Debug, Clone)]
pub(crate) struct Deleted {
    pub(crate) instance: Instance,
    pub(crate) version: VersionId,
}

impl Answer {
    /// An answer without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            body: None,
            version: None,
            location: None,
            told: Vec::new(),
            page: None,
            deleted: Vec::new(),
        }
    }

    /// A resource that has no version of its own.
    pub(crate) fn of(body: impl Into<Bytes>) -> Self {
        Self { body: Some(body.into()), ..Self::empty(StatusCode::OK) }
    }

    /// A stored version in full.
    pub(crate) fn version(status: StatusCode, version: StoredVersion) -> Self {
        Self {
            body: version.json,
            version: Some((version.entry.version, version.entry.instant)),
            ..Self::empty(status)
        }
    }
}

/// What a commit of these changes is bound to besides them.
pub(crate) fn terms(
    server: &Server,
    database: &Database,
    named: Option<&Named>,
    changes: &[Change],
) -> Result<Terms, ServerError> {
    let required = references_exist::required(database, &server.base, changes)?;
    Ok(Terms { required, named: named.map(|named| Box::new(named.clone())) })
}

/// Commits a transaction of a tenant, unless it could not be written down that it was done.
pub(crate) async fn commit(
    (server, tenant): (&Server, &TenantName),
    transaction: Transaction,
    terms: Terms,
) -> Result<Receipt, NotCommitted> {
    server.audit.check(tenant).map_err(NotCommitted::NotAudited)?;
    let (database, validation) = (&server.databases[tenant], &server.validations[tenant]);
    validation::commit(database, validation, transaction, terms).await
}

/// `Type/id/_history/version`
pub(crate) fn location(of: &ResourceType, id: &ResourceId, version: VersionId) -> String {
    format!("{of}/{id}/_history/{version}")
}

impl Call<'_> {
    /// The data as they are now, counted as read for this request, and searched as long as its
    /// client waits.
    pub(crate) fn snapshot(&self, visibility: Visibility) -> Snapshot {
        self.database.snapshot(visibility).counted(self.rows).until(self.abandoned)
    }

    /// The data as they are now, of which nothing that is read counts: for what is looked at to
    /// judge whether something may be seen.
    pub(crate) fn unaccounted(&self, visibility: Visibility) -> Snapshot {
        self.database.snapshot(visibility).until(self.abandoned)
    }

    /// The same as of a position.
    pub(crate) fn snapshot_at(&self, at: T, visibility: Visibility) -> Snapshot {
        self.database.snapshot_at(at, visibility).counted(self.rows).until(self.abandoned)
    }

    /// How many rows the rest of the request may read.
    pub(crate) fn rows_left(&self) -> u64 {
        self.grant.budget.saturating_sub(self.rows.get())
    }

    /// What a commit of these changes is bound to besides them.
    ///
    /// # Errors
    /// When they refer to what must be there, and is not for the caller.
    pub(crate) async fn terms(&self, changes: &[Change]) -> Result<Terms, ServerError> {
        let terms = terms(self.server, self.database, self.named, changes)?;
        let checked = access::check_references(self, changes, &terms.required).await;
        checked.map_err(|(_, error)| error)?;
        Ok(terms)
    }

    /// Commits a transaction.
    pub(crate) async fn commit(
        &self,
        transaction: Transaction,
        terms: Terms,
    ) -> Result<Receipt, NotCommitted> {
        commit((self.server, &self.grant.tenant), transaction, terms).await
    }

    /// Judges the resource that is to be written, alone, by the tenant's policy. What a patch made
    /// was not sent, and its issues have no line.
    ///
    /// # Errors
    /// [`ServerError::Invalid`] when the policy refuses it.
    pub(crate) fn judge(&self, resource: &Resource<'_>) -> Result<Judgement, ServerError> {
        let validation = &self.server.validations[&self.grant.tenant];
        let now = self.server.clock.now();
        let sent = match self.interaction {
            Interaction::Patch(_) | Interaction::ConditionalPatch(_) => Sent::Stored,
            _ => self.sent,
        };
        judge(validation, resource, (sent, SentIn::Itself), self.preference, now)
            .map_err(ServerError::Invalid)
    }

    /// Checks that resources of this type exist in this version of FHIR.
    pub(crate) fn known(&self, of: &ResourceType) -> Result<(), ServerError> {
        if self.database.schema().is_resource_type(of.as_str()) {
            Ok(())
        } else {
            Err(ServerError::UnknownType(of.clone()))
        }
    }

    /// What of this type the caller may see in this interaction.
    pub(crate) async fn visibility(&self, of: &ResourceType) -> Result<Visibility, ServerError> {
        access::visibility(self, &self.interaction, of).await
    }

    /// Refuses what the caller may not do whatever the data. How far it may, the data say.
    pub(crate) fn allowed(&self) -> Result<(), ServerError> {
        match contract::decide(self.grant, &self.interaction) {
            contract::Decision::Allow | contract::Decision::AllowWithin(_) => Ok(()),
            contract::Decision::Deny(reason) => Err(ServerError::Denied(reason)),
        }
    }

    /// Refuses everything but an unrestricted permission.
    pub(crate) fn unrestricted(&self) -> Result<(), ServerError> {
        match contract::decide(self.grant, &self.interaction) {
            contract::Decision::Allow => Ok(()),
            contract::Decision::AllowWithin(_) => Err(ServerError::TakesAll),
            contract::Decision::Deny(reason) => Err(ServerError::Denied(reason)),
        }
    }

    /// Checks that the caller may learn of all that matches criteria over a type.
    pub(crate) fn may_search(&self, of: &ResourceType) -> Result<(), ServerError> {
        match access::reach(self, &Interaction::SearchType(of.clone()), of)? {
            access::Reach::Whole => Ok(()),
            access::Reach::Within(_) => Err(ServerError::TakesAll),
        }
    }
}
