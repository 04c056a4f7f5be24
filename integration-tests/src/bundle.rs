//! Bundles as tests see them: entries with their resources' bytes untouched.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::document::Members;

/// A transaction Bundle.
#[derive(Debug, Deserialize)]
pub struct Bundle<'a> {
    /// Its entries.
    #[serde(borrow)]
    pub entry: Vec<Entry<'a>>,
}

/// One entry.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry<'a> {
    /// Its URL within the Bundle.
    pub full_url: String,
    /// Its resource as written.
    #[serde(borrow)]
    pub resource: &'a RawValue,
    /// What is to be done.
    pub request: Request,
}

/// What an entry wants done.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The URL: for a create, the type.
    pub url: String,
    /// Criteria under which nothing is created.
    pub if_none_exist: Option<String>,
}

/// The answer to a batch or transaction.
#[derive(Debug, Deserialize)]
pub struct Answers {
    /// One for each entry.
    pub entry: Vec<EntryAnswer>,
}

/// The answer to one entry.
#[derive(Debug, Deserialize)]
pub struct EntryAnswer {
    /// What became of it.
    pub response: Response,
}

/// What became of an entry.
#[derive(Debug, Deserialize)]
pub struct Response {
    /// The status, perhaps with its words.
    pub status: String,
}

impl<'a> Bundle<'a> {
    /// Reads a Bundle.
    ///
    /// # Panics
    /// When it is none whose entries have all of this.
    #[must_use]
    pub fn read(text: &'a str) -> Self {
        serde_json::from_str(text).expect("a transaction Bundle")
    }
}

/// A transaction under ids that its sender chose, so that what became of it can be asked without
/// its answer.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The Bundle.
    pub body: String,
    /// `Type/id` of each entry.
    pub instances: Vec<String>,
}

/// The Bundle of creates in `text` as one of updates, each under `prefix` and the id that its
/// resource came with.
///
/// # Panics
/// When a resource has no id.
#[must_use]
pub fn under_chosen_ids(text: &str, prefix: &str) -> Chosen {
    let mut instances = Vec::new();
    let entries: Vec<String> = Bundle::read(text)
        .entry
        .iter()
        .map(|entry| {
            let Members(members) = serde_json::from_str(entry.resource.get()).expect("a resource");
            let is_id = |member: &&(String, &RawValue)| member.0 == "id";
            let given = members.iter().find(is_id).expect("a resource with an id").1.get();
            let id = format!("{prefix}-{}", given.trim_matches('"'));
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| match name.as_str() {
                    "id" => format!("\"id\":\"{id}\""),
                    name => format!("\"{name}\":{value}"),
                })
                .collect();
            let instance = format!("{}/{id}", entry.request.url);
            let entry = format!(
                "{{\"fullUrl\":\"{}\",\"resource\":{{{}}},\
                 \"request\":{{\"method\":\"PUT\",\"url\":\"{instance}\"}}}}",
                entry.full_url,
                members.join(",")
            );
            instances.push(instance);
            entry
        })
        .collect();
    Chosen { body: transaction(&entries), instances }
}

/// A transaction of these entries.
#[must_use]
pub fn transaction(entries: &[String]) -> String {
    of_type("transaction", entries)
}

/// A batch that reads each of these instances.
#[must_use]
pub fn reads(instances: &[String]) -> String {
    let read = |instance: &String| {
        format!("{{\"request\":{{\"method\":\"GET\",\"url\":\"{instance}\"}}}}")
    };
    of_type("batch", &instances.iter().map(read).collect::<Vec<_>>())
}

fn of_type(bundle_type: &str, entries: &[String]) -> String {
    format!(
        "{{\"resourceType\":\"Bundle\",\"type\":\"{bundle_type}\",\"entry\":[{}]}}",
        entries.join(",")
    )
}
