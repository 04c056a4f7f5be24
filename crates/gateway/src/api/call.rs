//! A request that was found in the table, whose body is as the table says.

use std::collections::BTreeMap;

use registry::{Actor, ClientId, KeyId, Operator, OperatorName};
use serde_json::Value;

use super::Api;
use super::form::Wrong;
use super::problem::Problem;
use super::table::Operation;

/// What is asked, by whom.
pub(crate) struct Call<'a> {
    pub(crate) api: &'a Api,
    pub(crate) operator: &'a Operator,
    pub(crate) by: Actor,
    pub(crate) path: &'a [(&'static str, String)],
    pub(crate) query: &'a BTreeMap<&'static str, u64>,
    pub(crate) body: &'a Value,
}

/// Members of bodies that the trail names, being no secrets.
const TOLD: [&str; 8] = ["id", "name", "client", "kind", "issuer", "role", "plan", "dryRun"];

impl Call<'_> {
    /// What stands for `{name}` in the path.
    pub(crate) fn in_path(&self, name: &str) -> &str {
        let found = self.path.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value)
    }

    /// A member of the body that is a text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name)?.as_str()
    }

    /// A member that the table says is needed.
    pub(crate) fn needed(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// A parameter of the query.
    pub(crate) fn parameter(&self, name: &str, otherwise: u64) -> u64 {
        self.query.get(name).copied().unwrap_or(otherwise)
    }

    /// The same, of whom who changes something only where nothing was changed since.
    pub(crate) fn only_after(&self, sequence: u64) -> Self {
        let Self { api, operator, path, query, body, .. } = *self;
        Self { api, operator, by: self.by.clone().only_after(sequence), path, query, body }
    }

    /// The client in the path; what can be none's id is none's.
    pub(crate) fn client(&self) -> Result<ClientId, Problem> {
        let text = self.in_path("client");
        ClientId::new(text)
            .map_err(|error| Problem::not_found(format!("no client {text}: {error}")))
    }

    /// The key in the path.
    pub(crate) fn key(&self) -> Result<KeyId, Problem> {
        let text = self.in_path("key");
        let missing = |error| Problem::not_found(format!("no key {text}: {error}"));
        KeyId::new(text).map_err(missing)
    }

    /// The operator in the path.
    pub(crate) fn named(&self) -> Result<OperatorName, Problem> {
        let text = self.in_path("operator");
        let missing = |error| Problem::not_found(format!("no operator {text}: {error}"));
        OperatorName::new(text).map_err(missing)
    }
}

/// What a request is about, for the trail: the path's ids, and of the body what names something.
pub(crate) fn object(path: &[(&'static str, String)], body: &Value) -> String {
    let mut told: Vec<String> = path.iter().map(|(name, id)| format!("{name} {id}")).collect();
    // A token's own id is known to its issuer and its holder alone.
    let is_of_token = body.get("kind").and_then(Value::as_str) == Some("jti");
    for name in TOLD.into_iter().filter(|name| !(is_of_token && *name == "id")) {
        match body.get(name) {
            Some(Value::String(text)) => told.push(format!("{name} {text}")),
            Some(Value::Bool(truth)) => told.push(format!("{name} {truth}")),
            _ => {}
        }
    }
    told.join(", ")
}

/// The parameters of a query, as the table has them.
pub(crate) fn query(
    operation: &Operation,
    query: Option<&str>,
) -> Result<BTreeMap<&'static str, u64>, Problem> {
    let mut read = BTreeMap::new();
    let mut wrong = Vec::new();
    for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let Some(known) = operation.query.iter().find(|known| known.name == name) else {
            let known: Vec<_> = operation.query.iter().map(|known| known.name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let what = format!("is no parameter that is known; known are: {known}");
            wrong.push(Wrong::new(format!("?{name}"), what));
            continue;
        };
        match value.parse::<u64>() {
            Ok(number) if (known.least..=known.most).contains(&number) => {
                read.insert(known.name, number);
            }
            _ => {
                let what =
                    format!("has to be a whole number from {} to {}", known.least, known.most);
                wrong.push(Wrong::new(format!("?{name}"), what));
            }
        }
    }
    if wrong.is_empty() { Ok(read) } else { Err(Problem::wrong(wrong)) }
}
