//! Two answers to one query, page by page.

use std::collections::BTreeSet;

use database::{Asked, Found, SearchError, Snapshot};
use fhir_search::{Query, Zone};
use store::VersionEntry;
use store::suite::block_on;

use super::codes::FewCodes;
use super::known::Known;

/// The server's own base.
pub(crate) const BASE: &str = "https://own.example/fhir";

/// Versions that may be looked at: more than there are.
const BUDGET: u64 = 10_000_000;

/// A query, and how its pages are asked for.
pub(crate) struct Pair<'a> {
    /// What it was read from, and what else is to be told of it.
    pub(crate) request: &'a str,
    pub(crate) query: &'a Query,
    pub(crate) known: &'static Known,
    /// Matches on a page.
    pub(crate) most: usize,
    /// Resources that are included with a page.
    pub(crate) most_included: usize,
}

/// What two answers that are the same have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    /// So many matches, on so many pages.
    Found {
        /// On all pages.
        matches: u64,
        /// How many pages were compared.
        pages: u64,
    },
    /// Both refused it alike.
    Refused,
    /// What was replaced so long ago cannot be searched any more.
    BeforeHorizon,
}

impl Pair<'_> {
    /// What the index finds, or what looking at every resource does.
    pub(crate) fn find(
        &self,
        snapshot: &Snapshot,
        is_indexed: bool,
        after: Option<&[u8]>,
    ) -> Result<Found, SearchError> {
        let extractor = if is_indexed { &self.known.indexing } else { &self.known.scanning };
        let asked = Asked {
            extractor,
            codes: &FewCodes,
            base: BASE,
            zone: Zone::UTC,
            after,
            most: self.most,
            count: true,
            most_included: self.most_included,
            budget: BUDGET,
        };
        block_on(snapshot.search(self.query, &asked))
    }
}

/// `Type/id/version` of each.
pub(crate) fn names(entries: &[VersionEntry]) -> Vec<String> {
    let name = |it: &VersionEntry| format!("{}/{}/{}", it.resource_type, it.id, it.version);
    entries.iter().map(name).collect()
}

fn sorted(entries: &[VersionEntry]) -> BTreeSet<String> {
    names(entries).into_iter().collect()
}

/// Compares what both find, page by page; `snapshot` gives what each page, by its number, is asked
/// of, and may do something before.
///
/// # Errors
/// What differs.
pub(crate) fn compare(
    pair: &Pair<'_>,
    snapshot: &mut dyn FnMut(u64) -> Snapshot,
) -> Result<Compared, String> {
    let (request, most) = (pair.request, pair.most);
    let [mut by_index, mut by_scan]: [Option<Vec<u8>>; 2] = [None, None];
    let (mut matches, mut pages) = (0, 0);
    loop {
        let snapshot = snapshot(pages);
        let indexed = pair.find(&snapshot, true, by_index.as_deref());
        let scanned = pair.find(&snapshot, false, by_scan.as_deref());
        let (indexed, scanned) = match (indexed, scanned) {
            (Ok(indexed), Ok(scanned)) => (indexed, scanned),
            (Err(SearchError::BeforeHorizon), Ok(_)) => return Ok(Compared::BeforeHorizon),
            (Err(indexed), Err(scanned)) if indexed.to_string() == scanned.to_string() => {
                return Ok(Compared::Refused);
            }
            (indexed, scanned) => {
                return Err(format!(
                    "{request}, page {pages}: the index {:?}, the scan {:?}",
                    indexed.map(|it| names(&it.matches)),
                    scanned.map(|it| names(&it.matches))
                ));
            }
        };
        let both = |of: &dyn Fn(&Found) -> String| (of(&indexed), of(&scanned));
        // Which of too many are included, nothing says.
        let included = |it: &Found| match it.included_cut {
            true => format!("{} cut", it.included.len()),
            false => format!("{:?}", sorted(&it.included)),
        };
        for (indexed, scanned) in [
            both(&|it| format!("{:?} {:?}", names(&it.matches), it.contained)),
            both(&included),
            both(&|it| format!("{:?}", it.total)),
            both(&|it| it.next.is_some().to_string()),
        ] {
            if indexed != scanned {
                return Err(format!(
                    "{request} by {most}, page {pages}:\n  index {indexed}\n  scan  {scanned}"
                ));
            }
        }
        (matches, pages) = (matches + indexed.matches.len() as u64, pages + 1);
        (by_index, by_scan) = (indexed.next, scanned.next);
        if by_index.is_none() {
            return Ok(Compared::Found { matches, pages });
        }
    }
}
