//! The kinds of queries that are measured.

/// What a query is drawn from: something that is stored.
pub(super) struct Stored {
    pub(super) patient: String,
    pub(super) observation: String,
    /// How the family's name begins.
    pub(super) family: String,
    /// A number that makes one draw another.
    pub(super) number: u64,
}

/// A kind of query.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// The path and query, below the base.
    pub(super) url: fn(&Stored) -> String,
}

const HEIGHT: &str = "http://loinc.org%7C8302-2";
const WEIGHT: &str = "http://loinc.org%7C29463-7";
const GLUCOSE: &str = "http://loinc.org%7C2339-0";
const CM: &str = "%7Chttp://unitsofmeasure.org%7Ccm";

/// All of them.
pub(super) const KINDS: &[Kind] = &[
    Kind { name: "read", url: |it| format!("Observation/{}", it.observation) },
    Kind {
        name: "a patient's by code, newest first",
        url: |it| format!("Observation?patient={}&code={WEIGHT}&_sort=-date", it.patient),
    },
    Kind {
        name: "code and a year",
        url: |it| {
            let year = 2008 + it.number % 10;
            format!("Observation?code={HEIGHT}&date=ge{year}-01-01&date=lt{}-01-01", year + 1)
        },
    },
    Kind { name: "status=final", url: |_| "Observation?status=final".to_owned() },
    Kind { name: "start of a name", url: |it| format!("Patient?family={}", it.family) },
    Kind {
        name: "range of a quantity",
        url: |it| {
            let low = 120 + it.number % 50;
            format!("Observation?value-quantity=ge{low}{CM}&value-quantity=lt{}{CM}", low + 10)
        },
    },
    Kind {
        name: "chain patient.name",
        url: |it| format!("Observation?patient.name={}&code={HEIGHT}", it.family),
    },
    Kind {
        name: "_has by code",
        url: |_| format!("Patient?_has:Observation:patient:code={GLUCOSE}"),
    },
    Kind {
        name: "_revinclude of a patient",
        url: |it| format!("Patient?_id={}&_revinclude=Observation:patient", it.patient),
    },
    Kind {
        name: "three sort keys",
        url: |_| format!("Observation?code={HEIGHT}&_sort=-date,status,value-quantity"),
    },
    Kind { name: ":not", url: |_| format!("Observation?code:not={HEIGHT}") },
    Kind { name: ":missing", url: |_| "Observation?value-quantity:missing=true".to_owned() },
    Kind {
        name: "a page by _lastUpdated",
        url: |it| {
            // Everything was written since.
            let day = 1 + it.number % 25;
            format!("Observation?_lastUpdated=ge2020-01-{day:02}&_sort=_lastUpdated&_count=100")
        },
    },
];
