//! What a search takes whoever may see everything, one patient's compartment, or those of the 200
//! members of a Group: through the server, by grants as the gateway writes them.

use std::path::Path;

use contract::{Actions, Instance, Rule, Types, Within};
use fhir_core::{ResourceId, ResourceType};
use serde_json::json;

use super::asked::{answer, stored};
use super::queries::{KINDS, Stored};
use super::{Sizes, one_client};
use crate::bench::Failure;
use crate::bench::figures::print;
use crate::bench::http::{Address, Requests, ask};
use crate::bench::load::Round;
use crate::bench::product::{Caller, server_socket};

/// The Group, which is written into what is measured.
const GROUP: &str = "bench-seen";
/// How many times what it takes whoever sees everything is wanted at most.
const WANTED: f64 = 1.5;

/// Measures and prints.
pub(super) fn run(path: &Path, caller: &Caller, sizes: &Sizes) -> Result<(), Failure> {
    let stored = stored(path, caller)?;
    put_group(path, caller, &stored)?;
    let first = stored.first().ok_or("nothing is stored")?;
    let (resource_type, id) = (ResourceType::new("Patient")?, ResourceId::new(&first.patient)?);
    let one = Within::Compartment(Instance { resource_type, id });
    let seen = [Within::All, one, Within::Group(ResourceId::new(GROUP)?)];
    print(&format!(
        "\none client by whose data it may see, over a Unix socket to the server, milliseconds; \
         wanted: the median <= {WANTED} times that of whoever sees everything\n  \
         {:<36}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
        "", "found", "p50", "p99", "one p50", "p99", "ratio", "200 p50", "p99", "ratio", ""
    ))?;
    for kind in KINDS.iter().filter(|it| it.name != "read") {
        if sizes.only.as_deref().is_some_and(|only| !kind.name.contains(only)) {
            continue;
        }
        let asked = |within: &Within| -> Result<Vec<Vec<u8>>, Failure> {
            let request = |it: &Stored| {
                let everything = Rule::within_all(Types::All, Actions::all());
                let rules = vec![Rule { within: within.clone(), ..everything }];
                caller.request_within(rules, ("GET", &(kind.url)(it)), "", "")
            };
            stored.iter().map(request).collect()
        };
        let taken = |requests: Vec<Vec<u8>>| -> Result<(f64, f64), Failure> {
            let address = Address::Unix(server_socket(path));
            let requests = Requests::Repeated(requests.into());
            let Round { median, slowest_of_100, .. } =
                one_client(&address, &requests, sizes.window())?;
            Ok((median.as_secs_f64() * 1e3, slowest_of_100.as_secs_f64() * 1e3))
        };
        let [all, one, many] = seen.each_ref().map(asked);
        let all = all?;
        let found: serde_json::Value =
            serde_json::from_slice(&answer(path, all.first().ok_or("nothing is asked")?)?)?;
        let found = found["total"].as_u64().map_or_else(|| "-".to_owned(), |it| it.to_string());
        let (all, one, many) = (taken(all)?, taken(one?)?, taken(many?)?);
        let (first, second) = (one.0 / all.0, many.0 / all.0);
        let met = if first <= WANTED && second <= WANTED { "met" } else { "SHORT" };
        print(&format!(
            "  {:<36}{found:>9}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{first:>9.2}{:>9.2}{:>9.2}{second:>9.2}\
             {met:>9}\n",
            kind.name, all.0, all.1, one.0, one.1, many.0, many.1
        ))?;
    }
    Ok(())
}

/// Writes a Group that all patients are in that queries are drawn from.
fn put_group(path: &Path, caller: &Caller, stored: &[Stored]) -> Result<(), Failure> {
    let member =
        |it: &Stored| json!({ "entity": { "reference": format!("Patient/{}", it.patient) } });
    let members: Vec<_> = stored.iter().map(member).collect();
    let group = json!({
        "resourceType": "Group", "id": GROUP, "type": "person", "actual": true, "member": members,
    });
    let minimal = "prefer: return=minimal\r\n";
    let request = caller.request("PUT", &format!("Group/{GROUP}"), minimal, &group.to_string())?;
    let (head, body) = ask(&server_socket(path), &request)?;
    if !head.starts_with("HTTP/1.1 20") {
        return Err(format!("{head}{}", String::from_utf8_lossy(&body)).into());
    }
    Ok(())
}
