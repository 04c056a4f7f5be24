//! Why requests were denied: what an operator looks up by a request's id.
//!
//! Every 401, 403 and 429 of the gateway leaves a [`Denial`] here, in memory, and is gone with the
//! process. What callers did that have a key, and what came without a good one, is kept apart, so
//! that nobody's noise pushes out a client's denial. None of it is told to the caller, and none of
//! it holds a path, an id of a resource, a query or a secret.

use std::collections::VecDeque;

use contract::{Action, Actions, Instant, Interaction, OperationName, Reason, ResourceType};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Denials kept of each of the two kinds; older ones go.
const MOST: usize = 4096;

/// One request that was denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Denial {
    /// The request's id, as its answer carried it.
    pub request_id: String,
    /// When it was denied.
    pub time: String,
    /// With which status.
    pub status: u16,
    /// The stable code, as in the access log and the metrics.
    pub reason: String,
    /// Whose request it was, where a key said so.
    pub client: Option<String>,
    /// The authorization it came under: `key:ID`.
    pub authorization: Option<String>,
    /// The client's role.
    pub role: Option<String>,
    /// What was asked for: the interaction, and the type.
    pub asked: String,
    /// Which rule, role or limit decided.
    pub decided: String,
    /// What would allow it.
    pub mend: String,
}

/// The latest denials.
#[derive(Debug, Default)]
pub struct Denials {
    of_clients: Mutex<VecDeque<Denial>>,
    of_others: Mutex<VecDeque<Denial>>,
}

impl Denials {
    /// Keeps a denial.
    pub(crate) fn keep(&self, denial: Denial) {
        let kept = if denial.client.is_some() { &self.of_clients } else { &self.of_others };
        let mut kept = kept.lock();
        if kept.len() >= MOST {
            kept.pop_front();
        }
        kept.push_back(denial);
    }

    /// The denials of this request id, oldest first: a client may give several requests one id.
    #[must_use]
    pub fn of_request(&self, id: &str) -> Vec<Denial> {
        let mut found = Vec::new();
        for kept in [&self.of_clients, &self.of_others] {
            found.extend(kept.lock().iter().filter(|denial| denial.request_id == id).cloned());
        }
        found.sort_by(|a, b| a.time.cmp(&b.time));
        found
    }
}

/// What was decided, and what would allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Explanation {
    pub(crate) decided: String,
    pub(crate) mend: String,
}

impl Explanation {
    pub(crate) fn new(decided: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { decided: decided.into(), mend: mend.into() }
    }

    /// Of the contract's decision about `interaction`, for a client whose rights are called so.
    pub(crate) fn of_decision(reason: Reason, interaction: &Interaction, rights: &str) -> Self {
        let of = interaction.resource_type().map_or("every type", ResourceType::as_str);
        let actions = needed(interaction).join(" and ");
        match reason {
            Reason::NoCaller => Self::new(
                "the request came without credentials",
                "send a key, as Authorization: Bearer KEY",
            ),
            Reason::NoRuleForType => Self::new(
                format!("no rule of {rights} speaks of {of}"),
                format!("a rule for {of} with {actions}"),
            ),
            Reason::NoRuleForAction => Self::new(
                format!("a rule of {rights} speaks of {of}, but none has {actions}"),
                format!("{actions} in one rule for {of}"),
            ),
            Reason::PowerMissing(power) => {
                let power = format!("{power:?}").to_lowercase();
                Self::new(
                    format!("the operation takes the power {power}, and {rights} has it not"),
                    format!("the power {power}, and a rule with {actions}"),
                )
            }
        }
    }
}

/// The interaction and its type, without any id.
pub(crate) fn asked(interaction: &Interaction) -> String {
    let operation = match interaction {
        Interaction::Operation(name, _) => format!(" {}", name.as_str()),
        _ => String::new(),
    };
    let of = interaction.resource_type().map(|of| format!(" {of}")).unwrap_or_default();
    format!("{}{operation}{of}", interaction.code())
}

/// The fewest actions that suffice in one rule.
pub(crate) fn needed(interaction: &Interaction) -> Vec<String> {
    use Action::{Create, Delete, History, Read, Search, Update};
    let operation = |name: &OperationName| vec![Action::Operation(name.clone())];
    let candidates = match interaction {
        Interaction::Operation(name, _) => vec![operation(name)],
        _ => vec![
            vec![Read],
            vec![Search],
            vec![History],
            vec![Create],
            vec![Update],
            vec![Update, Read],
            vec![Delete],
            vec![History, Search],
            vec![Update, Search],
            vec![Update, Read, Search],
            vec![Delete, Search],
        ],
    };
    let suffice = |actions: &&Vec<Action>| {
        let actions: Actions = actions.iter().cloned().collect();
        actions.suffice_for(interaction)
    };
    let found = candidates.iter().find(suffice);
    found.into_iter().flatten().map(ToString::to_string).collect()
}

/// When, as a denial says it.
pub(crate) fn time(now: Instant) -> String {
    now.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(id: &str, client: Option<&str>, at: usize) -> Denial {
        Denial {
            request_id: id.to_owned(),
            time: format!("{at:09}"),
            status: 403,
            reason: "no-rule-for-type".to_owned(),
            client: client.map(str::to_owned),
            authorization: None,
            role: None,
            asked: "read Patient".to_owned(),
            decided: String::new(),
            mend: String::new(),
        }
    }

    #[test]
    fn noise_without_a_key_pushes_no_clients_denial_out() {
        let denials = Denials::default();
        denials.keep(denial("kept", Some("ward"), 0));
        for at in 0..2 * MOST {
            denials.keep(denial("noise", None, at));
        }
        assert_eq!(denials.of_request("kept").len(), 1);
        assert_eq!(denials.of_request("noise").len(), MOST);
        assert_eq!(denials.of_request("none"), []);
    }

    #[test]
    fn an_explanation_says_what_decided_and_what_would_allow_it() {
        let check = |method: &str, path: &str, reason, decided: &str, mend: &str| {
            let interaction = Interaction::classify(method, path, Some("a=b")).expect("a URL");
            let said = Explanation::of_decision(reason, &interaction, "the role reader");
            assert_eq!((said.decided.as_str(), said.mend.as_str()), (decided, mend), "{path}");
        };
        check(
            "GET",
            "/Observation/1",
            Reason::NoRuleForType,
            "no rule of the role reader speaks of Observation",
            "a rule for Observation with read",
        );
        check(
            "PUT",
            "/Observation",
            Reason::NoRuleForAction,
            "a rule of the role reader speaks of Observation, but none has update and search",
            "update and search in one rule for Observation",
        );
        check(
            "POST",
            "/Patient/1/$expunge",
            Reason::PowerMissing(contract::Power::Expunge),
            "the operation takes the power expunge, and the role reader has it not",
            "the power expunge, and a rule with operation:$expunge",
        );
    }
}
