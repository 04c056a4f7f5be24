//! What an answer tells: all of it for comparison, and in short for the matrix.

use serde_json::Value;

use super::rows::Via;
use super::world::IDS;
use crate::support::{Answer, BASE};

/// Stands for an id that the server chose.
pub(super) const NEW: &str = "NEW";
/// What ids begin with that a test's server chooses.
const CHOSEN: &str = "00000000-0000-0000-0000-";
const PAGE: &str = "_page=";

/// All that an answer tells: status, headers, body. Ids that the server chose and what a page
/// link seals are other ones each time; the gateway keeps the cost to itself.
pub(super) fn all(answer: &Answer) -> String {
    let mut headers: Vec<String> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["date", contract::header::COST].contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    same(&format!("{}\n{}\n\n{}", answer.status, headers.join("\n"), answer.text()))
}

/// The same text for what differs by chance.
fn same(text: &str) -> String {
    let text = cut(text, CHOSEN, NEW, |char| char.is_ascii_hexdigit());
    cut(&text, PAGE, "_page=…", |char| char.is_ascii_alphanumeric() || "-_".contains(char))
}

/// Each `start` with all after it that is `part`, replaced.
fn cut(text: &str, start: &str, with: &str, part: impl Fn(char) -> bool) -> String {
    let mut pieces = text.split(start);
    let mut cut = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        cut += with;
        cut += piece.trim_start_matches(&part);
    }
    cut
}

/// An answer in short: status, body, Location, ETag, and which ids it tells, in brackets those
/// that were `named` by the request.
pub(super) fn short(answer: &Answer, via: Via, named: &str) -> String {
    let entry =
        (via != Via::Itself && answer.status == 200).then(|| answer.json()["entry"][0].clone());
    let (status, body, location, etag) = match &entry {
        None => {
            let body = match answer.body.is_empty() {
                true => "-".to_owned(),
                false => name_of(&answer.json()),
            };
            let has = |name| answer.header(name).is_some();
            (answer.status.to_string(), body, has("location"), has("etag"))
        }
        Some(entry) => {
            let response = &entry["response"];
            let resources = [&entry["resource"], &response["outcome"]];
            let body = resources.into_iter().find(|resource| !resource.is_null());
            let body = body.map_or_else(|| "-".to_owned(), name_of);
            let status = response["status"].as_str().unwrap()[..3].to_owned();
            (status, body, !response["location"].is_null(), !response["etag"].is_null())
        }
    };
    let mark = |is_there, mark| if is_there { mark } else { "-" };
    let ids = ids(&all(answer), named);
    format!("{status:<5}{body:<22}{:<10}{:<6}{ids}", mark(location, "Location"), mark(etag, "ETag"))
}

/// The status that a request has, alone or as an entry.
pub(super) fn status(answer: &Answer, via: Via) -> u16 {
    match via {
        Via::Itself => answer.status,
        _ if answer.status == 200 => answer.statuses()[0],
        _ => answer.status,
    }
}

/// A type; of a Bundle how much it is said to hold.
fn name_of(resource: &Value) -> String {
    let name = resource["resourceType"].as_str().unwrap();
    match resource["total"].as_u64() {
        Some(total) => format!("{name} of {total}"),
        None if name == "Bundle" => {
            format!("{name} with {}", resource["entry"].as_array().map_or(0, Vec::len))
        }
        None => name.to_owned(),
    }
}

fn ids(text: &str, named: &str) -> String {
    let of = |text: &str| -> Vec<String> {
        let words = text.split(|char: char| !(char.is_ascii_alphanumeric() || char == '-'));
        words.map(str::to_owned).collect()
    };
    let (told, named) = (of(&text.replace(BASE, "")), of(named));
    let told = IDS.iter().filter(|id| told.iter().any(|word| word == *id));
    let told = told.map(|id| match named.iter().any(|word| word == id) {
        true => format!("({id})"),
        false => (*id).to_owned(),
    });
    told.collect::<Vec<_>>().join(" ")
}
