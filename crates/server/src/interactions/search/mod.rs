//! search (FHIR R4, 3.1.1): of a type, of several types or all, within a compartment; by GET, or
//! by POST of a form.
//!
//! Pages show the data as of one position, whatever is written in between, and what a page must
//! know is in its link. What the caller may not see does not exist here: it is no match, no
//! target of a chain, not included and not counted.

mod asked;
mod bundle;
mod codes;
mod explain;
mod fill;
mod projection;
mod seen;
mod stated;

use contract::Instance;
use database::{Asked, BeingIndexed, Found, Snapshot, T};
use fhir_core::{Issue, IssueCode, OperationOutcome, ResourceId, ResourceType, Severity};
use fhir_search::{
    Compartment, Handling as QueryHandling, Limits as QueryLimits, Query, Reader, Total, Zone,
    decode_form, encode_form,
};

use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::error_answer::ignored;
use crate::negotiation::Handling;
use crate::page_link::{self, PageLinks};
use crate::validation::Definitions;
use asked::Page;
use bundle::Writer;
use explain::Explain;
use fill::{Filled, Filler, Resource};

pub(crate) use codes::SeenCodes;
pub(crate) use seen::{is_seen, refusal, visibility_of_matches};
pub(crate) use stated::Stated;

/// What is searched: resources of a type or of all, anywhere or within a compartment.
#[derive(Debug, Clone, Copy)]
struct Scope<'a> {
    of: Option<&'a ResourceType>,
    within: Option<&'a Instance>,
}

impl Scope<'_> {
    /// Relative to the base.
    fn path(self) -> String {
        match (self.within, self.of) {
            (None, None) => String::new(),
            (None, Some(of)) => of.to_string(),
            (Some(within), None) => format!("{within}/*"),
            (Some(within), Some(of)) => format!("{within}/{of}"),
        }
    }
}

/// Searches resources of a type, or of all; those within a compartment, or anywhere.
pub(crate) async fn search(
    call: &Call<'_>,
    of: Option<&ResourceType>,
    within: Option<&Instance>,
) -> Result<Answer, ServerError> {
    let server = call.server;
    let definitions = server.validations[&call.grant.tenant].current();
    let definitions = definitions.ok_or(ServerError::NoSearchParameters)?;
    if let Some(within) = within {
        call.known(&within.resource_type)?;
    }
    let scope = Scope { of, within };
    let path = scope.path();
    let links = PageLinks::of(call, &path);
    let mut asked = Url::read(call, &path, &links)?;
    let query = read(call, scope, &asked.page, &definitions)?;
    let codes = SeenCodes::of(call).await?;
    asked.page.check_terminology(&query, codes.changed_at())?;
    let visibility = seen::visibility(call, &query.types, asked.page.at).await?;
    let snapshot = match asked.page.at {
        Some(at) => call.snapshot_at(at, visibility),
        None => call.snapshot(visibility),
    };
    if let Some(within) = within {
        check_compartment(call, within, snapshot.at()).await?;
    }
    if let Some(explain) = &asked.explain {
        let asked = (&query, &asked.page, explain);
        return explain::explain(call, asked, &snapshot, &definitions).await;
    }
    if asked.page.at.is_none() {
        snapshot.check_ids(&query).await?;
    }
    let content = find(call, (&query, &codes), &asked.page, &snapshot, &definitions).await?;
    Ok(Answer::of(write(call, (&query, &asked), &links, &snapshot, &content)))
}

/// A compartment of what is not there has nothing, and does not exist either (SRCH-011).
async fn check_compartment(call: &Call<'_>, within: &Instance, at: T) -> Result<(), ServerError> {
    let Some(visibility) = seen::of_compartment(call, within).await? else { return Ok(()) };
    let snapshot = call.snapshot_at(at, visibility);
    match snapshot.newest(&within.resource_type, &within.id).await? {
        Some(version) if !version.flags.is_deleted() => Ok(()),
        _ => Err(ServerError::NotFound),
    }
}

/// What a request asks for: which page of what, under which URL.
struct Url {
    page: Page,
    /// Without its query.
    url: String,
    /// The value of [`page_link::PARAMETER`], of any page but the first.
    given: Option<String>,
    /// `_format` and `_pretty`, which go on with the links.
    format: String,
    /// What is to be told of the page instead of it.
    explain: Option<Explain>,
}

impl Url {
    fn read(call: &Call<'_>, path: &str, links: &PageLinks<'_>) -> Result<Self, ServerError> {
        let parameters = decode_form(call.query.as_bytes()).map_err(ServerError::MalformedForm)?;
        let is_format = |name: &str| matches!(name, "_format" | "_pretty");
        let format = parameters.iter().filter(|(name, _)| is_format(name));
        let format = encode_form(format.map(|(name, value)| (&**name, &**value)));
        let explain = Explain::read(call, &parameters)?;
        let is_about = |name: &str| is_format(name) || name == explain::PARAMETER;
        let mut others = parameters.iter().filter(|(name, _)| !is_about(name));
        let given = parameters.iter().find(|(name, _)| name == page_link::PARAMETER);
        let page = match given {
            None => {
                let now = call.server.clock.now();
                match explain {
                    None => Page::first(call.query, call.handling, now),
                    Some(_) => {
                        let others = others.map(|(name, value)| (&**name, &**value));
                        Page::first(&encode_form(others), call.handling, now)
                    }
                }
            }
            // The link says all of it.
            Some(_) if others.nth(1).is_some() => {
                let mend = "follow the link as it was given";
                return Err(ServerError::InvalidParameter { name: page_link::PARAMETER, mend });
            }
            Some((_, text)) => {
                Page::decode(&links.open(text)?).ok_or(ServerError::PageLinkInvalid)?
            }
        };
        let base = call.server.base.as_str();
        let url = if path.is_empty() { base.to_owned() } else { format!("{base}/{path}") };
        Ok(Self { page, url, given: given.map(|(_, text)| text.clone()), format, explain })
    }

    /// With this query.
    fn with(&self, query: &str) -> String {
        let parts = [query, &*self.format];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            self.url.clone()
        } else {
            format!("{}?{}", self.url, parts.join("&"))
        }
    }

    fn of_page(&self, sealed: &str) -> String {
        self.with(&format!("{}={sealed}", page_link::PARAMETER))
    }
}

/// The query of a page.
fn read(
    call: &Call<'_>,
    scope: Scope<'_>,
    page: &Page,
    definitions: &Definitions,
) -> Result<Query, ServerError> {
    let parameters = decode_form(page.query.as_bytes()).map_err(ServerError::MalformedForm)?;
    let compartment = scope.within.map(|within| Compartment {
        resource_type: within.resource_type.clone(),
        id: within.id.clone(),
    });
    let asked = fhir_search::Asked {
        resource_type: scope.of.cloned(),
        compartment,
        parameters: &parameters,
    };
    let reader = Reader {
        parameters: definitions.extractor.parameters(),
        definitions: &definitions.set,
        schema: call.database.schema(),
        base: call.server.base.as_str(),
        zone: Zone::UTC,
        now: page.now,
        handling: match page.handling {
            Handling::Lenient => QueryHandling::Lenient,
            Handling::Strict => QueryHandling::Strict,
        },
        limits: &QueryLimits::default(),
    };
    Ok(reader.read(&asked)?)
}

/// What stands on a page.
struct Content {
    total: Option<u64>,
    resources: Vec<Resource>,
    included_cut: bool,
    /// Whether a chain led to another version than a reference names.
    follows_older: bool,
    /// Where the next page begins.
    next: Option<Vec<u8>>,
    /// What is still being indexed.
    being_indexed: Option<BeingIndexed>,
}

/// How a page is asked for.
fn asked_with<'a>(
    call: &'a Call<'_>,
    query: &Query,
    page: &'a Page,
    definitions: &'a Definitions,
    codes: &'a SeenCodes,
) -> Asked<'a> {
    let limits = &call.server.limits;
    let count_only = query.answer.is_count_only();
    let count = query.answer.count.map_or(limits.search_page, |count| count as usize);
    Asked {
        extractor: &definitions.extractor,
        codes,
        base: call.server.base.as_str(),
        zone: Zone::UTC,
        after: page.after.as_deref(),
        most: if count_only { 0 } else { count },
        count: count_only || query.answer.total != Some(Total::None),
        most_included: limits.search_included,
        budget: limits.search_versions.min(call.rows_left()),
    }
}

/// Finds a page; one whose resources are too long for an answer with fewer matches.
async fn find(
    call: &Call<'_>,
    (query, codes): (&Query, &SeenCodes),
    page: &Page,
    snapshot: &Snapshot,
    definitions: &Definitions,
) -> Result<Content, ServerError> {
    let limits = &call.server.limits;
    let filler = Filler {
        snapshot,
        schema: call.database.schema(),
        definitions: &definitions.set,
        answer: &query.answer,
        limit: limits.answer_bytes,
    };
    let mut asked = asked_with(call, query, page, definitions, codes);
    loop {
        let found: Found = snapshot.search(query, &asked).await?;
        match filler.fill(&found).await? {
            Filled::Whole { resources, included_cut } => {
                let Found { total, next, follows_older, being_indexed, .. } = found;
                return Ok(Content {
                    total,
                    resources,
                    included_cut,
                    follows_older,
                    next,
                    being_indexed,
                });
            }
            // Where that page ends and what is included on it is asked anew.
            Filled::Fewer(matches) => asked.most = matches,
        }
    }
}

/// The Bundle.
fn write(
    call: &Call<'_>,
    (query, asked): (&Query, &Url),
    links: &PageLinks<'_>,
    snapshot: &Snapshot,
    content: &Content,
) -> Vec<u8> {
    let server = call.server;
    let id = ResourceId::from_uuid(server.ids.next());
    let names = (server.base.as_str(), id.as_str());
    let bytes = content.resources.iter().map(|it| it.json.len()).sum();
    let room = (content.resources.len(), bytes);
    let mut bundle = Writer::new(names, server.clock.now(), content.total, room);
    let own = match &asked.given {
        Some(sealed) => asked.of_page(sealed),
        None => asked.with(&query.to_query_string()),
    };
    bundle.link("self", &own);
    if let Some(after) = &content.next {
        let next = asked.page.next(snapshot.at(), after.clone());
        bundle.link("next", &asked.of_page(&links.seal(&next.encode())));
    }
    for Resource { name: (of, id), within, json, mode, stored } in &content.resources {
        call.trail.shown((of, id), stored.0, Some(&stored.1), server.base.as_str());
        bundle.resource((of, id), within.as_deref(), json, *mode);
    }
    if let Some(outcome) = outcome(query, content) {
        bundle.outcome(&outcome.to_json());
    }
    bundle.finish()
}

/// What is to be said of the search, where there is something: nothing beside a number alone.
fn outcome(query: &Query, content: &Content) -> Option<OperationOutcome> {
    if query.answer.is_count_only() {
        return None;
    }
    let mut issues: Vec<Issue> = query.ignored.iter().map(ignored).collect();
    if content.included_cut {
        let text = "not all that was to be included is on this page; ask for fewer matches a page \
                    with _count, or for what is missing by itself";
        let issue = Issue::error(IssueCode::TooCostly, text);
        issues.push(Issue { severity: Severity::Warning, ..issue });
    }
    if let Some(BeingIndexed { parameters, percent }) = &content.being_indexed {
        let names: Vec<String> =
            parameters.iter().map(|it| format!("{}.{}", it.resource_type, it.code())).collect();
        issues.push(Issue::information(format!(
            "{} is still being indexed, {percent} % of what was written so far: this answer is \
             whole, since every resource was looked at for it, and will be found sooner then",
            names.join(", ")
        )));
    }
    if content.follows_older {
        let text = "a reference of a match names an older version of a resource; the chain was \
                    asked of its present version";
        let issue = Issue::error(IssueCode::Informational, text);
        issues.push(Issue { severity: Severity::Warning, ..issue });
    }
    (!issues.is_empty()).then_some(OperationOutcome { issues })
}
