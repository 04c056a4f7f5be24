//! What an operator is shown of a client's limits.

use contract::Instant;
use registry::Client;
use serde::{Deserialize, Serialize};

use super::{Limiting, Now};

/// The limits of one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LimitsShown {
    /// The plan that it is held to; absent where there is none.
    pub plan: Option<String>,
    /// A plan that it has by name, and that no configuration defines.
    pub unknown_plan: Option<String>,
    /// Whether this gateway counts with the others: `own`, `shared` or `local-shares`.
    pub counting: String,
    /// The limits, each once for whatever else it counts by.
    pub limits: Vec<LimitShown>,
}

/// How one limit stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LimitShown {
    /// The limit in words.
    pub limit: String,
    /// What is counted apart, where the limit does not count by client alone.
    pub of: String,
    /// What is left; absent where nothing was counted yet.
    pub remaining: Option<u64>,
    /// In how many seconds there is more.
    pub seconds: Option<u32>,
}

impl Limiting {
    /// How a client's limits stand.
    #[must_use]
    pub fn show(
        &self,
        client: &Client,
        wall: Instant,
        monotonic: std::time::Duration,
    ) -> LimitsShown {
        let now = Now { wall, monotonic };
        let mode = self.mode();
        let in_force = self.in_force.load();
        let plan = in_force.plans.of(client);
        let mut limits = Vec::new();
        for limit in plan.iter().flat_map(|plan| &plan.limits) {
            let before = limits.len();
            if let Some(table) = in_force.tables.get(&limit.id) {
                let counters: Vec<_> = table.kept.lock().counters.values().cloned().collect();
                let whose = counters.iter().filter(|counter| counter.key.is_of(&client.id));
                limits.extend(whose.map(|counter| {
                    let (remaining, seconds) = counter.look(mode, &now);
                    let remaining = Some(remaining);
                    let of = counter.key.to_string();
                    LimitShown { limit: limit.to_string(), of, remaining, seconds }
                }));
            }
            if limits.len() == before {
                let (limit, of) = (limit.to_string(), String::new());
                limits.push(LimitShown { limit, of, remaining: None, seconds: None });
            }
        }
        let unknown = client.plan.as_ref().filter(|name| !in_force.plans.has(name));
        LimitsShown {
            plan: plan.map(|plan| plan.name.to_string()),
            unknown_plan: unknown.map(ToString::to_string),
            counting: self.counting().word().to_owned(),
            limits,
        }
    }
}
