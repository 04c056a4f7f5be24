//! What one entry asks for: method and URL as an interaction.

use contract::Interaction;
use fhir_core::{BundleEntry, BundleRequest, Resource};

use super::Context;
use crate::audit;
use crate::call::{Call, Conditions};
use crate::error::ServerError;
use crate::interactions::{delete, operation};
use crate::negotiation::Return;

/// The interaction of an entry and the query of its URL.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) interaction: Interaction,
    pub(crate) query: String,
    pub(crate) head: bool,
    pub(crate) conditions: Conditions,
}

/// The order of processing (FHIR R4, 3.1.0.11.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Delete,
    Create,
    Update,
    Read,
}

impl Target {
    /// Reads the request of an entry.
    ///
    /// # Errors
    /// When it is no request of this server.
    pub(crate) fn of(
        context: &Context<'_>,
        request: &BundleRequest<'_>,
    ) -> Result<Self, ServerError> {
        let invalid = |problem| ServerError::InvalidEntryUrl {
            url: request.url.clone().into_owned(),
            problem,
        };
        let method = request.method.as_ref();
        if !matches!(method, "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE") {
            return Err(ServerError::InvalidTransaction {
                expression: "request.method".to_owned(),
                text: format!("\"{method}\" is not one of GET, HEAD, POST, PUT, PATCH, DELETE"),
            });
        }
        let url = context.server.base.relative(&request.url).ok_or_else(|| invalid(None))?;
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let path = format!("/{path}");
        let query_given = url.contains('?').then_some(query);
        let interaction = Interaction::classify(method, &path, query_given)
            .map_err(|problem| invalid(Some(problem)))?;
        if interaction == Interaction::BatchOrTransaction {
            return Err(ServerError::InvalidTransaction {
                expression: "request.url".to_owned(),
                text: "a Bundle within a Bundle is not carried out".to_owned(),
            });
        }
        // Within a transaction it would be done before that is.
        if operation::changes_data(&interaction) {
            return Err(ServerError::InvalidTransaction {
                expression: "request.url".to_owned(),
                text: "an operation that changes what is stored is no entry of a Bundle; send it \
                       as a request of its own"
                    .to_owned(),
            });
        }
        audit::check_not_written(&interaction)?;
        delete::check_deletable(context.server, &interaction)?;
        let head = method == "HEAD";
        let conditions = conditions(request);
        Ok(Self { interaction, query: query.to_owned(), head, conditions })
    }

    /// When it is processed.
    pub(crate) fn step(&self) -> Step {
        match &self.interaction {
            Interaction::Delete(_) | Interaction::ConditionalDelete(_) => Step::Delete,
            Interaction::Create(_) => Step::Create,
            Interaction::Update(_)
            | Interaction::ConditionalUpdate(_)
            | Interaction::Patch(_)
            | Interaction::ConditionalPatch(_) => Step::Update,
            _ => Step::Read,
        }
    }

    /// The Parameters that an operation is invoked with; what else is read takes no resource.
    pub(crate) fn parameters<'a>(&self, entry: &BundleEntry<'a>) -> Option<Resource<'a>> {
        let invokes = matches!(self.interaction, Interaction::Operation(..));
        entry.resource.clone().filter(|_| invokes)
    }

    /// The entry as an interaction to carry out by itself.
    pub(crate) fn call<'a>(
        &'a self,
        context: &Context<'a>,
        resource: Option<Resource<'a>>,
    ) -> Call<'a> {
        // In a Bundle's answer, written resources stand only where they are asked for.
        let preference = match (context.preference, self.step()) {
            (Return::Default, Step::Delete | Step::Create | Step::Update) => Return::Minimal,
            (preference, _) => preference,
        };
        Call {
            server: context.server,
            database: context.database,
            grant: context.grant,
            interaction: self.interaction.clone(),
            query: &self.query,
            handling: context.handling,
            conditions: self.conditions.clone(),
            resource,
            json_patch: None,
            preference,
            accept_language: context.accept_language,
            named: context.named,
            sent: context.sent,
            original: None,
            request_id: context.request_id,
            abandoned: context.abandoned,
            rows: context.rows,
            trail: context.trail,
        }
    }
}

fn conditions(request: &BundleRequest<'_>) -> Conditions {
    let text = |part: &Option<std::borrow::Cow<'_, str>>| part.as_deref().map(str::to_owned);
    Conditions {
        if_match: text(&request.if_match),
        if_none_match: text(&request.if_none_match),
        if_modified_since: text(&request.if_modified_since).map(|instant| as_http_date(&instant)),
        if_none_exist: text(&request.if_none_exist),
    }
}

/// `ifModifiedSince` is an instant in a Bundle and an HTTP date in a header.
fn as_http_date(instant: &str) -> String {
    let seconds = instant.parse().map(|instant: fhir_core::Instant| instant.as_seconds());
    match seconds.map(u64::try_from) {
        Ok(Ok(seconds)) => {
            let since = std::time::Duration::from_secs(seconds);
            httpdate::fmt_http_date(std::time::UNIX_EPOCH + since)
        }
        _ => instant.to_owned(),
    }
}
