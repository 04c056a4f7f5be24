//! Whether an answer is what it must be.

use serde_json::Value;

use super::ask::Ask;
use super::caller::Caller;
use super::expect::{Answer, Effect, Expected};
use super::model::{Model, Version};
use super::site::{BASE, Reply, Sent, Site};

/// More pages than anything has.
const MOST_PAGES: usize = 60;

/// What tells where something is and which version it has.
const TELLING: [&str; 4] = ["location", "etag", "last-modified", "content-location"];

/// The same resource without what the server fills in.
pub(super) fn bare(json: &Value) -> Value {
    let mut json = json.clone();
    if let Some(resource) = json.as_object_mut() {
        resource.remove("id");
    }
    if let Some(meta) = json["meta"].as_object_mut() {
        meta.remove("versionId");
        meta.remove("lastUpdated");
    }
    json
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// Whether this was written, and nothing else.
pub(super) fn check_effects(effects: &[Effect], written: &[Version]) -> Result<(), String> {
    let told = || format!("expected to be written: {effects:?}\nwritten: {written:?}");
    if effects.len() != written.len() {
        return Err(told());
    }
    let is = |effect: &Effect, it: &Version| {
        effect.of == it.of
            && effect.id.as_ref().is_none_or(|id| *id == it.id)
            && effect.json.as_ref().map(bare) == it.json.as_ref().map(bare)
    };
    let all = effects.iter().all(|effect| written.iter().any(|it| is(effect, it)));
    if all { Ok(()) } else { Err(told()) }
}

/// Checks an answer that the other server is not needed for. The model has what was written.
pub(super) fn check(
    (model, caller): (&Model, &Caller),
    expected: &Expected,
    reply: &Reply,
    written: &[Version],
) -> Result<(), String> {
    if !expected.statuses.contains(&reply.status()) {
        return Err(format!("status {} and not {:?}", reply.status(), expected.statuses));
    }
    if reply.status() >= 400 {
        return match TELLING.iter().find(|it| reply.header(it).is_some()) {
            Some(name) if reply.status() != 410 => Err(format!("a refusal has {name}")),
            _ => Ok(()),
        };
    }
    let json = reply.json();
    match &expected.answer {
        Answer::Nothing | Answer::Unjudged | Answer::Versions(_) | Answer::Found(_) => Ok(()),
        Answer::Version((of, id), number) => {
            let version = model
                .versions
                .iter()
                .find(|it| it.of == *of && it.id == *id && it.number == *number);
            is_version(version, &json)?;
            let etag = format!("W/\"{number}\"");
            match reply.header("etag") == Some(&*etag) {
                true => Ok(()),
                false => Err(format!("its ETag is not {etag}")),
            }
        }
        Answer::Written(existing) => {
            let of_reply = Told {
                status: reply.status(),
                location: reply.header("location").map(str::to_owned),
                etag: reply.header("etag").map(str::to_owned),
                json,
            };
            let version = match existing {
                Some((of, id)) => model.present(of, id),
                None => written.first(),
            };
            is_told((model, caller), version, &of_reply)
        }
        Answer::Entries(entries) => {
            let answers = json["entry"].as_array().cloned().unwrap_or_default();
            if answers.len() != entries.len() {
                return Err(format!("{} entries and not {}", answers.len(), entries.len()));
            }
            let mut all = entries.iter().zip(&answers).enumerate();
            all.try_for_each(|(at, (entry, answer))| {
                let checked = check_entry((model, caller), entry, answer, written);
                checked.map_err(|why| format!("entry {at}: {why}"))
            })
        }
    }
}

fn check_entry(
    (model, caller): (&Model, &Caller),
    expected: &Expected,
    answer: &Value,
    written: &[Version],
) -> Result<(), String> {
    let response = &answer["response"];
    let status: u16 = text(response, "status").get(..3).and_then(|it| it.parse().ok()).unwrap_or(0);
    if !expected.statuses.contains(&status) {
        return Err(format!("status {status} and not {:?}", expected.statuses));
    }
    let told = Told {
        status,
        location: response["location"].as_str().map(str::to_owned),
        etag: response["etag"].as_str().map(str::to_owned),
        json: answer["resource"].clone(),
    };
    if status >= 400 {
        let is_silent = told.location.is_none() && told.etag.is_none() && told.json.is_null();
        return if is_silent || status == 410 { Ok(()) } else { Err(format!("it tells {answer}")) };
    }
    match &expected.answer {
        Answer::Version((of, id), number) => {
            let mut versions = model.versions.iter();
            let version = versions.find(|it| it.of == *of && it.id == *id && it.number == *number);
            is_version(version, &told.json)
        }
        Answer::Written(_) => {
            let effect = expected.effects.first();
            let version = written.iter().find(|it| {
                effect.is_some_and(|effect| {
                    effect.of == it.of
                        && effect.json.as_ref().map(bare) == it.json.as_ref().map(bare)
                })
            });
            is_told((model, caller), version, &told)
        }
        _ => Ok(()),
    }
}

/// What an answer tells of what was written.
struct Told {
    status: u16,
    location: Option<String>,
    etag: Option<String>,
    json: Value,
}

/// Whether an answer about this version tells what its caller may read, and no more.
fn is_told(
    (model, caller): (&Model, &Caller),
    version: Option<&Version>,
    told: &Told,
) -> Result<(), String> {
    let version = version.ok_or("nothing was written")?;
    let Told { status, location, etag, json } = told;
    let is_read = caller.sees(model, &caller.reads(&version.of), version);
    if *status == 201 || is_read {
        let name = format!("{}/{}/_history/{}", version.of, version.id, version.number);
        if !location.as_ref().is_some_and(|it| it.ends_with(&name)) {
            return Err(format!("Location is {location:?} and not {name}"));
        }
    } else if location.is_some() || etag.is_some() {
        return Err(format!("who may not read it is told {location:?} {etag:?}"));
    }
    if is_read {
        // An entry of a Bundle may come without what was written.
        return if json.is_null() { Ok(()) } else { is_version(Some(version), json) };
    }
    if json.is_null() { Ok(()) } else { Err(format!("who may not read it is told {json}")) }
}

fn is_version(version: Option<&Version>, json: &Value) -> Result<(), String> {
    let version = version.ok_or("there is no such version")?;
    let is = text(json, "id") == version.id
        && text(json, "resourceType") == version.of
        && text(&json["meta"], "versionId") == version.number.to_string()
        && version.json.as_ref().map(bare) == Some(bare(json));
    if is { Ok(()) } else { Err(format!("it is {json}\nand not {version:?}")) }
}

/// A page of a search or of a history.
#[derive(Debug, PartialEq)]
pub(super) struct Page {
    pub(super) total: Value,
    /// How each came there, its URL, and what it says.
    pub(super) entries: Vec<(String, String, Value)>,
}

/// The link of a page, relative to the base.
pub(super) fn link(json: &Value, relation: &str) -> Option<String> {
    let links = json["link"].as_array()?;
    let found = links.iter().find(|it| it["relation"] == relation)?;
    let relative = text(found, "url").strip_prefix(BASE)?;
    Some(relative.trim_start_matches('/').to_owned())
}

/// All pages from this one on, each with its own answer.
pub(super) async fn pages(
    site: &Site,
    caller: &Caller,
    first: Reply,
) -> Result<Vec<Value>, String> {
    let mut pages = vec![first.json()];
    while let Some(next) = pages.last().and_then(|page| link(page, "next")) {
        if pages.len() > MOST_PAGES {
            return Err("its pages do not end".to_owned());
        }
        let sent = Sent { method: "GET", target: next, headers: Vec::new(), body: None };
        let reply = site.ask(&sent, caller).await;
        if reply.status() != 200 {
            return Err(format!("its next page is {} {}", reply.status(), reply.text()));
        }
        pages.push(reply.json());
    }
    Ok(pages)
}

/// The versions of a history.
pub(super) fn check_history(
    pages: &[Value],
    expected: &[(String, String, u64)],
) -> Result<(), String> {
    let mut found = Vec::new();
    for page in pages {
        if page["total"] != expected.len() {
            return Err(format!("total {} and not {}", page["total"], expected.len()));
        }
        for entry in page["entry"].as_array().into_iter().flatten() {
            let name = text(entry, "fullUrl").strip_prefix(BASE).unwrap_or_default();
            let etag = text(&entry["response"], "etag");
            let number = etag.trim_start_matches("W/").trim_matches('"').parse().unwrap_or(0);
            let (of, id) = name.trim_start_matches('/').split_once('/').unwrap_or_default();
            found.push((of.to_owned(), id.to_owned(), number));
        }
    }
    match found == expected {
        true => Ok(()),
        false => Err(format!("versions {found:?}\nand not {expected:?}")),
    }
}

/// A page of a search as it is compared: versions have other numbers on the other server.
pub(super) fn page(json: &Value) -> Page {
    let entries = json["entry"].as_array().into_iter().flatten();
    let entry = |entry: &Value| {
        let mode = text(&entry["search"], "mode").to_owned();
        let mut resource = entry["resource"].clone();
        if let Some(meta) = resource["meta"].as_object_mut() {
            meta.remove("versionId");
        }
        let url = match &*mode {
            "outcome" => String::new(),
            _ => text(entry, "fullUrl").to_owned(),
        };
        if mode == "outcome" {
            resource = resource["issue"].clone();
        }
        (mode, url, resource)
    };
    Page { total: json["total"].clone(), entries: entries.map(entry).collect() }
}

/// Whether the versions on a page of a search are the present ones.
pub(super) fn check_present(model: &Model, json: &Value) -> Result<(), String> {
    for entry in json["entry"].as_array().into_iter().flatten() {
        if entry["search"]["mode"] == "outcome" {
            continue;
        }
        let resource = &entry["resource"];
        let present = model.alive(text(resource, "resourceType"), text(resource, "id"));
        is_version(present, resource)?;
    }
    Ok(())
}

impl Ask {
    /// The same of what never was, and what was named there; `None` where nothing is named.
    pub(super) fn of_nothing(&self) -> Option<(Self, String)> {
        let mut ask = self.clone();
        let name = match &mut ask {
            Self::Read(name)
            | Self::Vread(name, _)
            | Self::HistoryInstance(name)
            | Self::Compartment(name, ..)
            | Self::Patch(name, _)
            | Self::Delete(name) => name,
            Self::Update(name, json) => {
                json["id"] = "z".repeat(name.1.len()).into();
                name
            }
            _ => return None,
        };
        let never = "z".repeat(name.1.len());
        name.1.clone_from(&never);
        Some((ask, never))
    }
}
