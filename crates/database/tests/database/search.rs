//! What a search finds as of a snapshot: its matches page by page, what is included with them, and
//! nothing that may not be seen.

mod differential;
mod included;
mod kept;
mod matches;
mod memory;
mod paged;
mod parameters;

use std::sync::{Arc, LazyLock};

use database::{Asked, Expect, Found, SearchError, Seen, Snapshot, VersionEntry, Visibility};
use fhir_search::{Extractor, Handling, NoCodes, Query, Zone};

use crate::differential::{BASE, Known};
use crate::support::{Clinic, block_on, put, resource};

pub(crate) static EXTRACTOR: LazyLock<Arc<Extractor<'static>>> =
    LazyLock::new(|| Arc::clone(&Known::r4().indexing));

/// A query as after the base of a URL: `Patient?name=a`, `Patient/1/Observation?code=b`, `?_type=…`.
pub(crate) fn query(request: &str) -> Query {
    let read = Known::r4().read(request, Handling::Strict);
    read.unwrap_or_else(|error| panic!("{request}: {error}"))
}

/// Asks for everything at once.
fn asked() -> Asked<'static> {
    Asked {
        extractor: &EXTRACTOR,
        codes: &NoCodes,
        base: BASE,
        zone: Zone::UTC,
        after: None,
        most: 1000,
        count: true,
        most_included: 1000,
        budget: 1_000_000,
    }
}

fn search(snapshot: &Snapshot, request: &str) -> Result<Found, SearchError> {
    block_on(snapshot.search(&query(request), &asked()))
}

/// `Type/id` of each, and its version unless that is the first.
fn names(entries: &[VersionEntry]) -> String {
    let name = |entry: &VersionEntry| match entry.version.get() {
        1 => format!("{}/{}", entry.resource_type, entry.id),
        version => format!("{}/{}/{version}", entry.resource_type, entry.id),
    };
    entries.iter().map(name).collect::<Vec<_>>().join(" ")
}

/// Asserts what each request finds, and after a bar what is included.
fn check(snapshot: &Snapshot, cases: &[(&str, &str)]) {
    for (request, expected) in cases {
        let found = search(snapshot, request).unwrap();
        let (matches, included) = (names(&found.matches), names(&found.included));
        let all = if included.is_empty() { matches } else { format!("{matches} | {included}") };
        assert_eq!(all, *expected, "{request}");
        assert_eq!(found.total, Some(found.matches.len() as u64), "{request}");
        assert!(!found.included_cut && found.next.is_none(), "{request}");
    }
}

/// Writes a resource: its type and id, and its other members.
fn write(clinic: &Clinic, name: &str, members: &str) {
    let resource_type = name.split_once('/').unwrap().0;
    let comma = if members.is_empty() { "" } else { "," };
    let json = format!("{{\"resourceType\":\"{resource_type}\"{comma}{members}}}");
    clinic.write(put(name, &json, Expect::Any));
}

/// A member that refers to a resource.
fn refers(member: &str, to: &str) -> String {
    format!("\"{member}\":{{\"reference\":\"{to}\"}}")
}

fn coded(code: &str, subject: &str) -> String {
    format!("\"code\":{{\"coding\":[{{\"code\":\"{code}\"}}]}},{}", refers("subject", subject))
}

/// A snapshot that shows this patient and nothing else.
fn only(clinic: &Clinic, patient: &str) -> Snapshot {
    let (of, id) = resource(patient);
    let visibility = Visibility::of_parts([(of, vec![Seen::within_patients([id])])].into());
    clinic.database().snapshot(visibility)
}
