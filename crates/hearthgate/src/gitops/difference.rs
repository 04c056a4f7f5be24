//! What differs between what is in force and what files say, for people and for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use registry::{Client, ClientId, PutClient};
use serde::{Deserialize, Serialize};

use super::clients;
use crate::config::Config;

/// What differs. Its serde form is what `--json` prints.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Whether anything does.
    differs: bool,
    /// Of the configuration, by place.
    configuration: Vec<Setting>,
    /// Of clients, by id.
    clients: Vec<Changed>,
    /// Clients that no file names, and that are left as they are.
    not_in_files: Vec<String>,
}

/// A place in the configuration that is decided otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Setting {
    /// `plans.app.rates`, `gateway.routes[lab].path`
    place: String,
    /// As TOML; absent where there is none.
    in_force: Option<String>,
    in_files: Option<String>,
    needs_restart: bool,
}

/// What becomes of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Action {
    Create,
    Update,
    /// No file names it.
    Disable,
}

/// A client that is to be another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    id: String,
    action: Action,
    keys: Vec<ChangedKey>,
}

/// A key of a client's file that says something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangedKey {
    key: String,
    in_force: Option<String>,
    in_files: Option<String>,
}

/// It names patients.
impl std::fmt::Debug for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (settings, clients) = (self.configuration.len(), self.clients.len());
        write!(formatter, "Difference({settings}, {clients})")
    }
}

/// What clients differ, and what the registry is to be told for it.
#[derive(Debug, Default)]
pub(super) struct ClientChanges {
    pub(super) put: Vec<PutClient>,
    pub(super) disable: Vec<ClientId>,
    told: Vec<Changed>,
    left: Vec<String>,
}

impl ClientChanges {
    /// Between the clients that stand and those of files; `None` where nothing is said of clients.
    pub(super) fn of(standing: &[Arc<Client>], files: Option<Vec<PutClient>>, prune: bool) -> Self {
        let mut changes = Self::default();
        let Some(files) = files else { return changes };
        let by_id: BTreeMap<&ClientId, &Arc<Client>> =
            standing.iter().map(|client| (&client.id, client)).collect();
        let named: BTreeSet<ClientId> = files.iter().map(|put| put.client.id.clone()).collect();
        for put in files {
            let before = by_id.get(&put.client.id);
            let in_force = before
                .map(|it| clients::told(&it.to_new(), it.disabled.is_some()))
                .unwrap_or_default();
            let keys = changed_keys(&in_force, &clients::told(&put.client, put.disabled));
            if before.is_none() || !keys.is_empty() {
                let action = if before.is_some() { Action::Update } else { Action::Create };
                changes.told.push(Changed { id: put.client.id.to_string(), action, keys });
                changes.put.push(put);
            }
        }
        for client in standing.iter().filter(|client| !named.contains(&client.id)) {
            let id = client.id.to_string();
            if !prune {
                changes.left.push(id);
            } else if client.disabled.is_none() {
                changes.told.push(Changed { id, action: Action::Disable, keys: Vec::new() });
                changes.disable.push(client.id.clone());
            }
        }
        changes.told.sort_by(|one, other| one.id.cmp(&other.id));
        changes
    }

    /// Whether nothing of the registry changes.
    pub(super) fn is_none(&self) -> bool {
        self.put.is_empty() && self.disable.is_empty()
    }

    /// Whether nobody could ask anything any more, where somebody can now.
    pub(super) fn leaves_nobody(&self, standing: &[Arc<Client>]) -> bool {
        let put: BTreeMap<&ClientId, bool> =
            self.put.iter().map(|put| (&put.client.id, put.disabled)).collect();
        let goes = |client: &Client| {
            let disabled = put.get(&client.id).copied();
            disabled.unwrap_or(client.disabled.is_some() || self.disable.contains(&client.id))
        };
        let stands = |id: &ClientId| standing.iter().any(|client| client.id == *id);
        let comes = self.put.iter().any(|put| !put.disabled && !stands(&put.client.id));
        let is_somebody = standing.iter().any(|client| client.disabled.is_none());
        is_somebody && !comes && standing.iter().all(|client| goes(client))
    }
}

fn changed_keys(
    in_force: &BTreeMap<&'static str, String>,
    in_files: &BTreeMap<&'static str, String>,
) -> Vec<ChangedKey> {
    let keys: BTreeSet<_> = in_force.keys().chain(in_files.keys()).collect();
    let both = keys.into_iter().map(|key| (key, in_force.get(key), in_files.get(key)));
    both.filter(|(_, before, after)| before != after)
        .map(|(key, before, after)| ChangedKey {
            key: (*key).to_owned(),
            in_force: before.cloned(),
            in_files: after.cloned(),
        })
        .collect()
}

impl Difference {
    /// Between two configurations, and of clients. `fixed` are the keys that need a restart.
    pub(super) fn of(
        in_force: &Config,
        in_files: &Config,
        fixed: &[&'static str],
        clients: &ClientChanges,
    ) -> Self {
        let (before, after) = (places(in_force), places(in_files));
        let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let is_fixed = |place: &str| {
            fixed.iter().any(|key| {
                place.strip_prefix(key).is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with('.') || rest.starts_with('[')
                })
            })
        };
        let configuration: Vec<Setting> = all
            .into_iter()
            .filter(|place| before.get(*place) != after.get(*place))
            .map(|place| Setting {
                place: place.clone(),
                in_force: before.get(place).cloned(),
                in_files: after.get(place).cloned(),
                needs_restart: is_fixed(place),
            })
            .collect();
        Self {
            differs: !configuration.is_empty() || !clients.told.is_empty(),
            configuration,
            clients: clients.told.clone(),
            not_in_files: clients.left.clone(),
        }
    }

    /// Whether nothing differs.
    pub(crate) fn is_none(&self) -> bool {
        !self.differs
    }

    /// As `--json` prints it.
    pub(crate) fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("texts have a JSON form");
        text + "\n"
    }

    /// As people read it; `did` says what became of what is listed.
    pub(crate) fn in_words(&self, did: &str) -> String {
        let mut text = String::new();
        // A String takes every text.
        for Setting { place, in_force, in_files, needs_restart } in &self.configuration {
            let restart = if *needs_restart { "   (needs a restart)" } else { "" };
            let _ = writeln!(text, "{}{restart}", change(place, in_force, in_files, ""));
        }
        for Changed { id, action, keys } in &self.clients {
            let _ = match action {
                Action::Create => writeln!(text, "+ client {id}"),
                Action::Update => writeln!(text, "~ client {id}"),
                Action::Disable => {
                    writeln!(text, "- client {id}: no file names it, so it is disabled")
                }
            };
            for ChangedKey { key, in_force, in_files } in keys {
                let _ = writeln!(text, "{}", change(key, in_force, in_files, "    "));
            }
        }
        if !self.not_in_files.is_empty() {
            let ids = self.not_in_files.join(", ");
            let _ = writeln!(text, "Clients that no file names, left as they are: {ids}");
        }
        let count = |number: usize, one: &str| match number {
            1 => format!("1 {one}"),
            more => format!("{more} {one}s"),
        };
        let _ = match self.differs {
            false => writeln!(text, "Nothing differs."),
            true => writeln!(
                text,
                "{} and {} {did}.",
                count(self.configuration.len(), "setting"),
                count(self.clients.len(), "client")
            ),
        };
        text
    }
}

fn change(
    place: &str,
    in_force: &Option<String>,
    in_files: &Option<String>,
    indent: &str,
) -> String {
    match (in_force, in_files) {
        (None, Some(after)) => format!("{indent}+ {place} = {after}"),
        (Some(before), None) => format!("{indent}- {place} = {before}"),
        (before, after) => {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            format!("{indent}~ {place} = {} -> {}", text(before), text(after))
        }
    }
}

/// Every value of a configuration by its place.
fn places(config: &Config) -> BTreeMap<String, String> {
    let table: toml::Table =
        config.to_toml().parse().expect("a configuration is written as TOML, as a test reads it");
    let mut places = BTreeMap::new();
    add("", &toml::Value::Table(table), &mut places);
    places
}

fn add(place: &str, value: &toml::Value, places: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                let dot = if place.is_empty() { "" } else { "." };
                add(&format!("{place}{dot}{key}"), value, places);
            }
        }
        toml::Value::Array(items)
            if !items.is_empty() && items.iter().all(|it| name(it).is_some()) =>
        {
            // They are tried in this order.
            let names: Vec<_> = items.iter().filter_map(name).collect();
            places.insert(format!("{place}[]"), names.join(", "));
            for (item, name) in items.iter().zip(names) {
                add(&format!("{place}[{name}]"), item, places);
            }
        }
        other => drop(places.insert(place.to_owned(), other.to_string())),
    }
}

/// The name of a part of a list, where it has one.
fn name(value: &toml::Value) -> Option<&str> {
    value.get("name")?.as_str()
}

#[cfg(test)]
mod tests;
