//! Whether a caller can tell by the clock what it may not see from what is not there: the same
//! requests for both, in turns, over the server's socket.

use std::sync::Arc;

use contract::Rule;
use fhir_core::Clock as _;
use hearthgate::doors::SystemClock;
use serde_json::json;
use tokio::task::JoinSet;

use super::child::Child;
use super::directory::Directory;
use super::figures::print;
use super::http::{Address, Connection, Requests, ask};
use super::product::{Caller, server_socket};
use super::{Failure, runtime};

/// Resources that the caller may not see, and names of as many that are not there.
const RESOURCES: usize = 200;
/// Connections that ask at once: each waits for most of an answer's time.
const CONNECTIONS: usize = 8;
/// How far the two medians may be apart.
const WANTED: f64 = 0.05;

/// How much to measure.
#[derive(clap::Args)]
pub(crate) struct Samples {
    /// Requests of each kind for what is hidden, and as many for what is not there.
    #[arg(long, default_value_t = 10_000)]
    samples: usize,
    /// Measures only the kinds whose names hold this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// A way to ask for a resource by its id.
struct Kind {
    name: &'static str,
    method: &'static str,
    path: fn(&str) -> String,
    body: fn(&str) -> String,
    expected: &'static str,
}

const KINDS: [Kind; 7] = [
    Kind { name: "read", method: "GET", path: instance, body: nothing, expected: "HTTP/1.1 404" },
    Kind {
        name: "vread",
        method: "GET",
        path: |id| format!("{}/_history/1", instance(id)),
        body: nothing,
        expected: "HTTP/1.1 404",
    },
    Kind {
        name: "history",
        method: "GET",
        path: |id| format!("{}/_history", instance(id)),
        body: nothing,
        expected: "HTTP/1.1 404",
    },
    Kind {
        name: "search by _id",
        method: "GET",
        path: |id| format!("Observation?_id={id}"),
        body: nothing,
        expected: "HTTP/1.1 200",
    },
    Kind {
        name: "update",
        method: "PUT",
        path: instance,
        body: |id| observation(id, OWN),
        expected: "HTTP/1.1 404",
    },
    Kind {
        name: "patch",
        method: "PATCH",
        path: instance,
        body: |_| patch(),
        expected: "HTTP/1.1 404",
    },
    Kind {
        name: "delete",
        method: "DELETE",
        path: instance,
        body: nothing,
        expected: "HTTP/1.1 200",
    },
];

/// The patient whose data the caller sees, and the one whose it does not.
const OWN: &str = "own";
const OTHER: &str = "other";
/// An answer without a body would have no length.
const PREFER: &str = "prefer: return=OperationOutcome\r\n";

fn instance(id: &str) -> String {
    format!("Observation/{id}")
}

fn nothing(_: &str) -> String {
    String::new()
}

fn hidden(number: usize) -> String {
    format!("hidden-{number:03}")
}

fn missing(number: usize) -> String {
    format!("absent-{number:03}")
}

fn observation(id: &str, patient: &str) -> String {
    json!({
        "resourceType": "Observation", "id": id, "status": "final",
        "category": [{ "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "vital-signs", "display": "Vital signs" }] }],
        "code": { "coding": [{
            "system": "http://loinc.org", "code": "8302-2", "display": "Body height" }] },
        "subject": { "reference": format!("Patient/{patient}") },
        "effectiveDateTime": "2026-03-04T05:06:07+01:00",
        "valueQuantity": { "value": 166.2, "unit": "cm",
            "system": "http://unitsofmeasure.org", "code": "cm" }
    })
    .to_string()
}

fn patch() -> String {
    let operation = json!([
        { "name": "type", "valueCode": "replace" },
        { "name": "path", "valueString": "Observation.status" },
        { "name": "value", "valueCode": "amended" }
    ]);
    json!({ "resourceType": "Parameters",
        "parameter": [{ "name": "operation", "part": operation }] })
    .to_string()
}

/// Measures and prints.
pub(crate) fn run(samples: &Samples) -> Result<(), Failure> {
    let directory = Directory::new("access-timing")?;
    // Started again, it has indexed all that there is.
    let server = Child::Server { directory: directory.path().to_owned() };
    let filling = server.start()?;
    let socket = server_socket(directory.path());
    let caller = Caller::of(directory.path())?;
    let put = |path: &str, body: &str| -> Result<(), Failure> {
        let (head, _) = ask(&socket, &caller.request("PUT", path, "", body)?)?;
        let is_put = head.starts_with("HTTP/1.1 201");
        if is_put { Ok(()) } else { Err(format!("{path} was not put: {head}").into()) }
    };
    for patient in [OWN, OTHER] {
        let body = json!({ "resourceType": "Patient", "id": patient }).to_string();
        put(&format!("Patient/{patient}"), &body)?;
    }
    for number in 0..RESOURCES {
        put(&instance(&hidden(number)), &observation(&hidden(number), OTHER))?;
        let own = format!("own-{number:03}");
        put(&instance(&own), &observation(&own, OWN))?;
    }
    drop(filling);
    let _server = server.start()?;
    let caller = Caller::of(directory.path())?;
    print(&format!(
        "\nan Observation that the caller may not see, beside one that is not there: medians of {} \
         each, microseconds, {CONNECTIONS} connections; wanted: within {:.0} %\n  \
         {:<16}{:>12}{:>12}{:>9}{:>9}\n",
        samples.samples,
        WANTED * 100.0,
        "",
        "not there",
        "hidden",
        "ratio",
        ""
    ))?;
    let runtime = runtime()?;
    for kind in &KINDS {
        if samples.only.as_ref().is_some_and(|only| !kind.name.contains(&**only)) {
            continue;
        }
        let pairs = pairs(kind, &caller)?;
        let address = Address::Unix(socket.clone());
        let each = samples.samples.div_ceil(CONNECTIONS);
        let [hidden, missing] = runtime.block_on(measure(kind, pairs, &address, each))?;
        let ratio = hidden / missing;
        let met = if (ratio - 1.0).abs() <= WANTED { "met" } else { "SHORT" };
        print(&format!("  {:<16}{missing:>12.0}{hidden:>12.0}{ratio:>9.3}{met:>9}\n", kind.name))?;
    }
    Ok(())
}

/// Requests for what is hidden, each with one for what is not there.
type Pairs = Arc<[[Vec<u8>; 2]]>;

fn pairs(kind: &Kind, caller: &Caller) -> Result<Pairs, Failure> {
    let within = json!({ "types": ["*"], "actions": ["*"],
        "within": format!("compartment(Patient/{OWN})") });
    let rule: Rule = serde_json::from_value(within)?;
    let request = |id: &str| {
        let (path, body) = ((kind.path)(id), (kind.body)(id));
        caller.request_within(vec![rule.clone()], (kind.method, &path), PREFER, &body)
    };
    (0..RESOURCES).map(|it| Ok([request(&hidden(it))?, request(&missing(it))?])).collect()
}

/// The median time of an answer about what is hidden, and about what is not there, in
/// microseconds.
async fn measure(
    kind: &Kind,
    pairs: Pairs,
    address: &Address,
    each: usize,
) -> Result<[f64; 2], Failure> {
    let clock = Arc::new(SystemClock::start());
    let mut asking = JoinSet::new();
    for number in 0..CONNECTIONS {
        let requests = Requests::Repeated(Arc::new([]));
        let mut connection = Connection::open(address, requests, kind.expected).await?;
        let (pairs, clock) = (Arc::clone(&pairs), Arc::clone(&clock));
        asking.spawn(async move {
            let mut taken = [Vec::with_capacity(each), Vec::with_capacity(each)];
            for at in 0..each + each / 20 {
                let pair = &pairs[(at + number * RESOURCES / CONNECTIONS) % pairs.len()];
                // Neither always comes first.
                for which in if at % 2 == 0 { [0, 1] } else { [1, 0] } {
                    let begun = clock.monotonic();
                    connection.ask(&pair[which]).await?;
                    // The first ones warm up.
                    if at >= each / 20 {
                        taken[which].push((clock.monotonic() - begun).as_secs_f64() * 1e6);
                    }
                }
            }
            Ok::<_, Failure>(taken)
        });
    }
    let mut all = [Vec::new(), Vec::new()];
    while let Some(taken) = asking.join_next().await {
        all.iter_mut().zip(taken??).for_each(|(all, taken)| all.extend(taken));
    }
    Ok(all.map(|mut all: Vec<f64>| {
        all.sort_unstable_by(f64::total_cmp);
        all[all.len() / 2]
    }))
}
