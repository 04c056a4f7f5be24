//! A client's file: its keys, what they take, and the client that it means (docs/gitops.md).
//!
//! It holds no secrets: keys are made by `hearthgate keys create`. Every name in it is looked up in
//! the configuration that is to be in force beside it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use contract::{Instance, Instant, Power, ResourceId};
use registry::{Client, ClientId, NewClient, OWNER, PlanName, PutClient, RateLimit, Registry};
use registry::{InvalidClient, RoleName};
use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use super::files::ClientText;
use crate::config::{Config, line_of, refused};

/// The keys of a file.
const KEYS: [&str; 12] = [
    "id", "name", "role", "rules", "tenant", "plan", "patient", "user", "powers", "limit",
    "budget", "enabled",
];
/// What stands for rules that no file can say.
const OWN: &str = "own";

/// What is wrong with a client's file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} line {line}: {problem}", path.display())]
pub(crate) struct ClientFileError {
    path: PathBuf,
    line: usize,
    problem: String,
}

/// A file's text.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    powers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<WrittenLimit>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLimit {
    per_second: u32,
    burst: u32,
}

/// What a client's file can say of a client that stands, by key, for comparing and for writing.
pub(crate) fn told(client: &NewClient, disabled: bool) -> BTreeMap<&'static str, String> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut told = BTreeMap::from([("name", quoted(&client.name))]);
    match &client.role {
        Some(role) => told.insert("role", quoted(role.as_str())),
        None => told.insert("rules", quoted(OWN)),
    };
    let texts = [
        ("plan", client.plan.as_ref().map(ToString::to_string)),
        ("patient", client.patient.as_ref().map(ToString::to_string)),
        ("user", client.fhir_user.as_ref().map(ToString::to_string)),
    ];
    told.extend(texts.into_iter().filter_map(|(key, text)| Some((key, quoted(&text?)))));
    if !client.powers.is_empty() {
        let words: Vec<_> = client.powers.iter().map(|power| quoted(&word(*power))).collect();
        told.insert("powers", format!("[{}]", words.join(", ")));
    }
    if let Some(RateLimit { per_second, burst }) = client.limit {
        told.insert("limit", format!("{{ per_second = {per_second}, burst = {burst} }}"));
    }
    if let Some(budget) = client.budget {
        told.insert("budget", budget.to_string());
    }
    if disabled {
        told.insert("enabled", "false".to_owned());
    }
    told
}

/// The file of a client that stands.
pub(crate) fn to_file(client: &NewClient, disabled: bool) -> String {
    let told = told(client, disabled);
    let mut text = String::new();
    for key in KEYS {
        if let Some(value) = told.get(key) {
            // A String takes every text.
            let _ = writeln!(text, "{key} = {value}");
        }
    }
    text
}

fn word(power: Power) -> String {
    format!("{power:?}").to_lowercase()
}

/// Reads every file, against the configuration that is to be in force and the clients that stand.
///
/// # Errors
/// [`ClientFileError`] at the first thing that is wrong, with its line, and how many other files
/// are wrong too.
pub(crate) fn read_all(
    files: &[ClientText],
    config: &Config,
    registry: &Registry,
) -> Result<Vec<PutClient>, ClientFileError> {
    let mut read: Vec<PutClient> = Vec::new();
    let mut named: BTreeMap<ClientId, &Path> = BTreeMap::new();
    let mut wrong: Vec<ClientFileError> = Vec::new();
    for file in files {
        let reader = Reader { file, config, registry };
        match reader.read(&mut named) {
            Ok(client) => read.push(client),
            Err(error) => wrong.push(error),
        }
    }
    let more = wrong.len().saturating_sub(1);
    match wrong.into_iter().next() {
        None => Ok(read),
        Some(first) if more == 0 => Err(first),
        Some(first) => {
            let files = if more == 1 { "file is" } else { "files are" };
            let problem = format!("{} ({more} other {files} wrong too)", first.problem);
            Err(ClientFileError { problem, ..first })
        }
    }
}

struct Reader<'a> {
    file: &'a ClientText,
    config: &'a Config,
    registry: &'a Registry,
}

/// The file as TOML, for the lines of its keys.
struct Lines<'a> {
    file: &'a ClientText,
    table: &'a DeTable<'a>,
}

impl Lines<'_> {
    /// Says what is wrong with the value of a key.
    fn wrong(&self, key: &str, problem: impl std::fmt::Display) -> ClientFileError {
        let spot = self.table.keys().find(|name| name.get_ref() == key);
        let line = spot.map_or(1, |name| line_of(&self.file.text, &name.span()));
        ClientFileError {
            path: self.file.path.clone(),
            line,
            problem: format!("`{key}`: {problem}"),
        }
    }

    fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &self,
        key: &str,
        text: Option<&str>,
    ) -> Result<Option<T>, ClientFileError> {
        text.map(str::parse).transpose().map_err(|error| self.wrong(key, error))
    }
}

impl<'a> Reader<'a> {
    fn read(&self, named: &mut BTreeMap<ClientId, &'a Path>) -> Result<PutClient, ClientFileError> {
        let text = &self.file.text;
        let at = |line, problem| ClientFileError { path: self.file.path.clone(), line, problem };
        let table = DeTable::parse(text).map_err(|error| {
            let (line, message) = refused(text, &error);
            at(line, format!("{message}; mend the syntax there"))
        })?;
        let table = table.get_ref();
        if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.get_ref().as_ref())) {
            let mend = match nearest(unknown.get_ref(), KEYS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", KEYS.join(", ")),
            };
            let problem = format!("there is no key `{}`; {mend}", unknown.get_ref());
            return Err(at(line_of(text, &unknown.span()), problem));
        }
        let written: Written = toml::from_str(text).map_err(|error| {
            let (line, message) = refused(text, &error);
            at(line, format!("{message}; docs/gitops.md says what each key takes"))
        })?;
        let lines = Lines { file: self.file, table };
        let id = written.id.as_deref().unwrap_or(&self.file.stem);
        let id = ClientId::new(id).map_err(|error| lines.wrong("id", error))?;
        if let Some(other) = named.insert(id.clone(), &self.file.path) {
            let problem = format!(
                "the client {id} is in {} too; one file says what a client is",
                other.display()
            );
            return Err(lines.wrong("id", problem));
        }
        let standing = self.registry.client(&id);
        let client = self.client(id, &written, standing.as_deref(), &lines)?;
        Ok(PutClient { client, disabled: written.enabled == Some(false) })
    }

    fn client(
        &self,
        id: ClientId,
        written: &Written,
        standing: Option<&Client>,
        lines: &Lines<'_>,
    ) -> Result<NewClient, ClientFileError> {
        let name = written.name.clone().unwrap_or_else(|| id.as_str().to_owned());
        let mut client = match (&written.role, written.rules.as_deref()) {
            (Some(role), None) => {
                if id.as_str() == OWNER {
                    let problem = "the owner keeps rules of its own, which no configuration takes \
                                   away; write `rules = \"own\"`";
                    return Err(lines.wrong("role", problem));
                }
                NewClient::of_role(id, &name, self.role(role, lines)?)
            }
            (None, Some(OWN)) => match standing.filter(|standing| standing.role.is_none()) {
                Some(own) => NewClient {
                    lane: own.lane,
                    ..NewClient::with_rules(id, &name, own.rules.clone())
                },
                None => {
                    let problem = "no client of this id has rules of its own, and a file cannot \
                                   make them; name a role";
                    return Err(lines.wrong("rules", problem));
                }
            },
            (None, Some(_)) => return Err(lines.wrong("rules", "it takes \"own\"; or name a role")),
            (Some(_), Some(_)) => {
                let problem = "a client has a role or rules of its own; take one of them out";
                return Err(lines.wrong("rules", problem));
            }
            (None, None) => {
                return Err(lines.wrong("role", "it is missing; `hearthgate roles` lists them"));
            }
        };
        if let Some(tenant) =
            written.tenant.as_deref().filter(|it| *it != self.config.tenant.as_str())
        {
            let problem = format!(
                "this gateway serves the tenant {}, not {tenant}; correct it, or apply the file there",
                self.config.tenant
            );
            return Err(lines.wrong("tenant", problem));
        }
        client.plan = written.plan.as_deref().map(|plan| self.plan(plan, lines)).transpose()?;
        let patient = written.patient.as_deref().map(ResourceId::new).transpose();
        client.patient = patient.map_err(|_| {
            lines.wrong("patient", "it is no resource id; write it alone, as 123 of Patient/123")
        })?;
        client.fhir_user = lines.parsed::<Instance>("user", written.user.as_deref())?;
        client.powers = self.powers(&written.powers, lines)?;
        client.budget = written.budget;
        client.limit = written
            .limit
            .as_ref()
            .map(|limit| RateLimit { per_second: limit.per_second, burst: limit.burst });
        self.whole(&client, lines)?;
        Ok(client)
    }

    /// What no key by itself can say.
    fn whole(&self, client: &NewClient, lines: &Lines<'_>) -> Result<(), ClientFileError> {
        self.registry.check_client(client).map_err(|error| {
            let key = match error {
                InvalidClient::Name => "name",
                InvalidClient::Limit => "limit",
                _ => "role",
            };
            lines.wrong(key, error)
        })?;
        let roles = &self.config.roles;
        let as_made = client.clone().into_client(Instant::MIN);
        if let Err(problem) = roles.rights_of(&as_made) {
            let problem = problem.to_string();
            // There it is said for the command line.
            let problem = problem.replace("add --patient ID", "add `patient`");
            let problem = problem.replace("add --user REF", "add `user`");
            return Err(lines.wrong("role", problem));
        }
        let role = client.role.as_ref().and_then(|role| roles.get(role));
        if client.patient.is_some() && role.is_some_and(|role| !role.needs_patient()) {
            let problem = "its role is for no patient; name one that is, or leave it out";
            return Err(lines.wrong("patient", problem));
        }
        Ok(())
    }

    fn role(&self, text: &str, lines: &Lines<'_>) -> Result<RoleName, ClientFileError> {
        let names: Vec<&str> = self.config.roles.iter().map(|(name, _)| name.as_str()).collect();
        known("role", text, &names, lines)
    }

    fn plan(&self, text: &str, lines: &Lines<'_>) -> Result<PlanName, ClientFileError> {
        let plans = self.config.plans();
        let names: Vec<&str> = plans.names().map(PlanName::as_str).collect();
        known("plan", text, &names, lines)
    }

    fn powers(&self, words: &[String], lines: &Lines<'_>) -> Result<Vec<Power>, ClientFileError> {
        const ALL: [Power; 6] = [
            Power::Expunge,
            Power::Reindex,
            Power::Packages,
            Power::Jobs,
            Power::Explain,
            Power::Audit,
        ];
        let names: Vec<String> = ALL.into_iter().map(word).collect();
        let mut powers = Vec::new();
        for text in words {
            let Some(power) = ALL.into_iter().find(|power| word(*power) == *text) else {
                let problem = format!("there is no power {text}; there are {}", names.join(", "));
                return Err(lines.wrong("powers", problem));
            };
            if powers.contains(&power) {
                return Err(lines.wrong("powers", format!("{text} stands twice")));
            }
            powers.push(power);
        }
        Ok(powers)
    }
}

/// A name that must be one of these.
fn known<T: FromStr<Err: std::fmt::Display>>(
    key: &str,
    text: &str,
    names: &[&str],
    lines: &Lines<'_>,
) -> Result<T, ClientFileError> {
    if names.contains(&text) {
        return text.parse().map_err(|error| lines.wrong(key, error));
    }
    let mend = match nearest(text, names.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None if names.is_empty() => {
            format!("the configuration defines none; define [{key}s.{text}]")
        }
        None => format!("there are {}", names.join(", ")),
    };
    Err(lines.wrong(key, format!("there is no {key} {text}; {mend}")))
}

/// The name that is nearest to one that is not there, where one is near.
fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.into_iter().map(|name| (strsim::jaro_winkler(name, text), name));
    let nearest = near.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (nearest.0 > 0.75).then_some(nearest.1)
}

#[cfg(test)]
mod tests;
