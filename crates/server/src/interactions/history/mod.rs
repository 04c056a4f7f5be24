//! history (FHIR R4, 3.1.0.9): versions of an instance, a type or everything, deletions included,
//! the newest first, in pages.
//!
//! Pages show the data as of one position, whatever arrives in between. Who may see a part of a
//! type sees that part alone, counts included.

mod instance;
mod of_type;
mod query;
mod system;
mod window;
mod writer;

use std::ops::Range;

use contract::{Decision, Instance};
use database::{HistoryOrder, HistoryVersion, Place, Snapshot, T, VersionEntry, Visibility};
use fhir_core::ResourceType;

use crate::access::{self, Reach, Seer};
use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::page_link::{self, PageLinks};
use query::Query;
use window::{Side, Window};
use writer::Writer;

pub(crate) use instance::history_instance;
pub(crate) use of_type::history_type;
pub(crate) use query::{PARAMETERS, Period};
pub(crate) use system::history_system;

/// What a history is of.
#[derive(Debug, Clone, Copy)]
enum Of<'a> {
    Instance(&'a Instance),
    Type(&'a ResourceType),
    Everything,
}

impl Of<'_> {
    /// Relative to the base.
    fn path(self) -> String {
        match self {
            Self::Instance(instance) => {
                format!("{}/{}/_history", instance.resource_type, instance.id)
            }
            Self::Type(of) => format!("{of}/_history"),
            Self::Everything => "_history".to_owned(),
        }
    }

    fn resource_type(&self) -> Option<&ResourceType> {
        match self {
            Self::Instance(instance) => Some(&instance.resource_type),
            Self::Type(of) => Some(of),
            Self::Everything => None,
        }
    }

    /// What of it the caller may see, as of now and as of a position that has passed.
    async fn visibility(self, call: &Call<'_>, at: Option<T>) -> Result<Visibility, ServerError> {
        let mut types = Vec::new();
        match self.resource_type() {
            Some(of) => match access::reach(call, &call.interaction, of)? {
                Reach::Whole => return Ok(Visibility::everything()),
                within => types.push((of.clone(), within)),
            },
            None => {
                if contract::decide(call.grant, &call.interaction) == Decision::Allow {
                    return Ok(Visibility::everything());
                }
                call.allowed()?;
                let all = call.database.schema().resource_types();
                for of in all.filter_map(|name| ResourceType::new(name).ok()) {
                    // A part of all types is not shown as if it were all there is.
                    let reach = access::reach(call, &call.interaction, &of)?;
                    types.push((of, reach));
                }
            }
        }
        Seer::of(call, at).visibility(types).await
    }

    /// Its versions at these places, `most` of them at most.
    async fn log(
        self,
        snapshot: &Snapshot,
        range: Range<Place>,
        order: HistoryOrder,
        most: usize,
    ) -> Result<Vec<HistoryVersion>, ServerError> {
        let Self::Instance(instance) = self else {
            return Ok(snapshot.log(self.resource_type(), range, order, most).await?);
        };
        let entries = snapshot.history(&instance.resource_type, &instance.id).await?;
        // A commit has one version of a resource.
        let placed = |entry: VersionEntry| {
            let place = Place::first_of(entry.t);
            HistoryVersion { place, entry }
        };
        let mut versions: Vec<_> = entries
            .into_iter()
            .map(placed)
            .filter(|version| range.contains(&version.place))
            .collect();
        if order == HistoryOrder::OldestFirst {
            versions.reverse();
        }
        versions.truncate(most);
        Ok(versions)
    }
}

async fn history(call: &Call<'_>, of: Of<'_>) -> Result<Answer, ServerError> {
    let limits = &call.server.limits;
    let path = of.path();
    let links = PageLinks::of(call, &path);
    let (snapshot, window, own) = match Query::read(call.query, limits.history_page)? {
        Query::First(asked) => {
            let snapshot = call.snapshot(of.visibility(call, None).await?);
            let window = Window::first(&snapshot, of, &asked).await?;
            (snapshot, window, own_query(call.query))
        }
        Query::Page(text) => {
            let window = Window::decode(&links.open(&text)?);
            let window = window.ok_or(ServerError::PageLinkInvalid)?;
            let visibility = of.visibility(call, Some(window.at)).await?;
            let snapshot = call.snapshot_at(window.at, visibility);
            (snapshot, window, format!("{}={text}", page_link::PARAMETER))
        }
    };
    if let Of::Instance(instance) = of
        && snapshot.newest(&instance.resource_type, &instance.id).await?.is_none()
    {
        return Err(ServerError::NotFound);
    }
    let page = window.page(&snapshot, of, limits.answer_bytes).await?;
    let url = format!("{}/{path}", call.server.base.as_str());
    let mut bundle = Writer::new(call.server.base.as_str(), window.total);
    bundle.link("self", &if own.is_empty() { url.clone() } else { format!("{url}?{own}") });
    let mut link = |relation: &str, side: Option<Side>| {
        if let Some(side) = side {
            let sealed = links.seal(&window.at_side(side).encode());
            bundle.link(relation, &format!("{url}?{}={sealed}", page_link::PARAMETER));
        }
    };
    link("previous", page.previous);
    link("next", page.next);
    for version in page.versions {
        if call.abandoned.is_set() {
            return Err(database::ReadError::Abandoned.into());
        }
        bundle.entry(&snapshot, version.entry, call.trail).await?;
    }
    Ok(Answer::of(bundle.finish()))
}

/// What of a query a history understood, as it was written.
fn own_query(query: &str) -> String {
    let known = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        PARAMETERS.contains(&name)
    };
    query.split('&').filter(known).collect::<Vec<_>>().join("&")
}
