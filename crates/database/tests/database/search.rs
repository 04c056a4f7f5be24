//! What a search finds as of a snapshot: its matches page by page, what is included with them, and
//! nothing that may not be seen.

mod differential;
mod included;
mod kept;
mod matches;
mod paged;
mod parameters;

use std::sync::{Arc, LazyLock};

use contract::{Restriction, Types};
use database::{Asked, Expect, Found, SearchError, Snapshot, VersionEntry, Visibility};
use fhir_core::{Instant, ResourceType};
use fhir_schema::{DefinitionSet, Schema};
use fhir_search::{
    Compartment, Extractor, Handling, Limits, NoCodes, Parameters, Query, QueryError, Reader, Zone,
    decode_form,
};
use fhir_terminology::Terminology;

use crate::support::{Clinic, block_on, put};

const BASE: &str = "https://own.example/fhir";

static EXTRACTOR: LazyLock<Arc<Extractor<'static>>> = LazyLock::new(extractor);

fn extractor() -> Arc<Extractor<'static>> {
    let (definitions, schema) = (DefinitionSet::r4(), Schema::r4());
    let parameters = Arc::new(Parameters::new(definitions, schema));
    Arc::new(Extractor::new(schema, parameters, definitions.clone(), Terminology::r4()))
}

/// A query as after the base of a URL: `Patient?name=a`, `Patient/1/Observation?code=b`, `?_type=…`.
fn query(request: &str) -> Query {
    read(request, Handling::Strict).unwrap_or_else(|error| panic!("{request}: {error}"))
}

fn read(request: &str, handling: Handling) -> Result<Query, QueryError> {
    read_by(&EXTRACTOR, request, handling)
}

/// Read with the parameters of an extractor.
fn read_by(
    extractor: &Extractor<'static>,
    request: &str,
    handling: Handling,
) -> Result<Query, QueryError> {
    let (path, form) = request.split_once('?').unwrap_or((request, ""));
    let parts: Vec<&str> = path.split('/').collect();
    let (compartment, resource_type) = match parts[..] {
        [of, id, within] => {
            let (resource_type, id) = (of.parse().unwrap(), id.parse().unwrap());
            (Some(Compartment { resource_type, id }), within)
        }
        [of] => (None, of),
        _ => panic!("{request}"),
    };
    let resource_type = Some(resource_type).filter(|it| !it.is_empty());
    let reader = Reader {
        parameters: extractor.parameters(),
        definitions: DefinitionSet::r4(),
        schema: Schema::r4(),
        base: BASE,
        zone: Zone::UTC,
        now: Instant::from_micros(1_800_000_000_000_000),
        handling,
        limits: &Limits::default(),
    };
    let asked = fhir_search::Asked {
        resource_type: resource_type.map(|it| ResourceType::new(it).unwrap()),
        compartment,
        parameters: &decode_form(form.as_bytes()).unwrap(),
    };
    reader.read(&asked)
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
    let clause = contract::Clause {
        types: Types::All,
        within: format!("compartment({patient})").parse().unwrap(),
        filter: None,
        without_labels: Vec::new(),
    };
    let of = "Patient".parse().unwrap();
    let visibility = Visibility::within(&Restriction { clauses: vec![clause] }, &of).unwrap();
    clinic.database().snapshot(visibility)
}
