//! search (FHIR R4, 3.1.1): of a type, of several types or all, within a compartment; by GET, or
//! by POST of a form.
//!
//! Pages show the data as of one position, whatever is written in between, and what a page must
//! know is in its link. What the caller may not see does not exist here: it is no match, no
//! target of a chain, not included and not counted.

mod asked;
mod bundle;
mod projection;
mod seen;

use contract::Instance;
use database::{Asked, Found, SearchError, Visibility};
use fhir_core::{Instant, ResourceType};
use fhir_search::{Compartment, Limits as QueryLimits, Query, Reader, Zone, decode_form};

use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::negotiation::Handling;
use crate::page_link::{self, PageLinks};
use asked::Page;
use bundle::Writer;
use projection::Projection;

/// Matches on a page where the request does not say.
const PAGE: usize = 50;

/// What is searched.
#[derive(Debug, Clone, Copy)]
struct Scope<'a> {
    resource_type: Option<&'a ResourceType>,
    compartment: Option<&'a Instance>,
}

impl Scope<'_> {
    /// Relative to the base.
    fn path(self) -> String {
        match (self.compartment, self.resource_type) {
            (None, None) => String::new(),
            (None, Some(of)) => of.to_string(),
            (Some(of), None) => format!("{}/{}/*", of.resource_type, of.id),
            (Some(within), Some(of)) => format!("{}/{}/{of}", within.resource_type, within.id),
        }
    }
}

pub(crate) async fn search_type(
    call: &Call<'_>,
    of: &ResourceType,
) -> Result<Answer, ServerError> {
    let visibility = seen::of_type(call, of)?;
    search(call, visibility, Scope { resource_type: Some(of), compartment: None }).await
}

pub(crate) async fn search_system(call: &Call<'_>) -> Result<Answer, ServerError> {
    // A part of everything is not shown as if it were all there is.
    call.unrestricted()?;
    let scope = Scope { resource_type: None, compartment: None };
    search(call, Visibility::everything(), scope).await
}

pub(crate) async fn search_compartment(
    call: &Call<'_>,
    within: &Instance,
    of: Option<&ResourceType>,
) -> Result<Answer, ServerError> {
    call.known(&within.resource_type)?;
    let visibility = match of {
        Some(of) => seen::of_type(call, of)?,
        None => {
            call.unrestricted()?;
            Visibility::everything()
        }
    };
    search(call, visibility, Scope { resource_type: of, compartment: Some(within) }).await
}

async fn search(
    call: &Call<'_>,
    visibility: Visibility,
    scope: Scope<'_>,
) -> Result<Answer, ServerError> {
    let server = call.server;
    let definitions = server.validations[&call.grant.tenant].current();
    let Some(definitions) = definitions else {
        return Err(ServerError::NoSearchParameters);
    };
    let path = scope.path();
    let links = PageLinks::of(call, &path);
    let parameters = decode_form(call.query.as_bytes()).map_err(ServerError::MalformedForm)?;
    let page = parameters.iter().find(|(name, _)| name == page_link::PARAMETER);
    let (page, is_first) = match page {
        Some((_, text)) if parameters.iter().all(|(name, _)| belongs_to_a_page(name)) => {
            let page = Page::decode(&links.open(text)?).ok_or(ServerError::PageLinkInvalid)?;
            (page, None::<()>.is_some())
        }
        Some(_) => {
            return Err(ServerError::InvalidParameter {
                name: page_link::PARAMETER,
                mend: "follow the link as it was given",
            });
        }
        None => (Page::first(call.query, call.handling, server.clock.now()), true),
    };
    let snapshot = match page.at {
        Some(at) => call.database.snapshot_at(at, visibility),
        None => call.database.snapshot(visibility),
    };
    if let Some(within) = scope.compartment {
        let found = snapshot.newest(&within.resource_type, &within.id).await?;
        if found.is_none_or(|version| version.flags.is_deleted()) {
            return Err(ServerError::NotFound);
        }
    }
    let query = read(call, scope, &page, &definitions)?;
    let most = query.answer.count.map_or(PAGE, |count| count as usize);
    let terminology = seen::terminology(call).await?;
    let asked = Asked {
        extractor: &definitions.extractor,
        codes: &terminology,
        base: server.base.as_str(),
        zone: Zone::UTC,
        after: page.after.as_deref(),
        most: if query.answer.is_count_only() { 0 } else { most },
        count: query.answer.total != Some(fhir_search::Total::None),
        most_included: server.limits.search_included,
        budget: server.limits.search_budget,
    };
    let found = snapshot.search(&query, &asked).await.map_err(failed)?;
    let _ = is_first;
    answer(call, (&query, &page), (scope, &links), (&snapshot, found), &definitions).await
}

/// Whether a parameter may stand beside what a page's link says.
fn belongs_to_a_page(name: &str) -> bool {
    matches!(name, page_link::PARAMETER | "_format" | "_pretty")
}
