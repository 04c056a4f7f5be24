//! The queries as requests, drawn from what is stored, and what the first of each is answered.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::queries::{KINDS, Kind, Stored};
use crate::bench::Failure;
use crate::bench::http::ask as ask_once;
use crate::bench::product::{Caller, server_socket};

/// Patients that queries are drawn from.
const PATIENTS: usize = 200;

/// A kind of query, ready to be asked.
pub(super) struct Asked {
    pub(super) name: &'static str,
    pub(super) requests: Arc<[Vec<u8>]>,
    /// What the first one finds, as the answer says.
    pub(super) total: Option<u64>,
    /// The body of that answer.
    pub(super) answer: Vec<u8>,
}

/// All kinds, or those alone whose name has `only` in it.
pub(super) fn ask(path: &Path, caller: &Caller, only: Option<&str>) -> Result<Vec<Asked>, Failure> {
    let stored = stored(path, caller)?;
    let wanted = |kind: &&Kind| only.is_none_or(|only| kind.name.contains(only));
    let asked = |kind: &Kind| {
        let request = |it: &Stored| caller.request("GET", &(kind.url)(it), "", "");
        let requests = stored.iter().map(request).collect::<Result<Vec<_>, _>>()?;
        let answer = answer(path, requests.first().ok_or("nothing is stored")?)?;
        let bundle: Value = serde_json::from_slice(&answer)?;
        let total = bundle["total"].as_u64();
        Ok(Asked { name: kind.name, requests: requests.into(), total, answer })
    };
    KINDS.iter().filter(wanted).map(asked).collect()
}

pub(super) fn answer(path: &Path, request: &[u8]) -> Result<Vec<u8>, Failure> {
    let (head, body) = ask_once(&server_socket(path), request)?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("{head}{}", String::from_utf8_lossy(&body)).into());
    }
    Ok(body)
}

/// What queries are drawn from.
pub(super) fn stored(path: &Path, caller: &Caller) -> Result<Vec<Stored>, Failure> {
    let found = |url: &str| -> Result<Vec<Value>, Failure> {
        let answer = answer(path, &caller.request("GET", url, "", "")?)?;
        let mut bundle: Value = serde_json::from_slice(&answer)?;
        Ok(match bundle["entry"].take() {
            Value::Array(entries) => {
                entries.into_iter().map(|mut it| it["resource"].take()).collect()
            }
            _ => Vec::new(),
        })
    };
    let mut stored = Vec::new();
    // From patients of every age.
    for number in 0..2 * PATIENTS {
        let (year, count) = (1930 + number % 85, 1 + number / 85 * 5);
        let found_patients = found(&format!("Patient?birthdate={year}&_count={count}"))?;
        let Some(patient) = found_patients.last() else { continue };
        let text = |of: &Value| of.as_str().map(str::to_owned);
        let Some((id, family)) = text(&patient["id"]).zip(text(&patient["name"][0]["family"]))
        else {
            continue;
        };
        let observations = found(&format!("Observation?patient={id}&_count=1"))?;
        let Some(observation) = observations.first().and_then(|it| text(&it["id"])) else {
            continue;
        };
        let family = family.chars().take(4).collect();
        stored.push(Stored { patient: id, observation, family, number: stored.len() as u64 });
        if stored.len() == PATIENTS {
            break;
        }
    }
    Ok(stored)
}
