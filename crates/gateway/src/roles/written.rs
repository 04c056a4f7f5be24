//! A role as the configuration writes it, and what is checked of it when it is read.

use std::collections::BTreeSet;

use contract::{
    Action, Actions, Grant, GrantError, GrantFields, Instance, Instant, Interaction, Lane, Nonce,
    Power, ResourceId, ResourceType, Types, Within, digest,
};
use registry::RoleName;
use serde::{Deserialize, Serialize};

use super::{Part, Role, RoleRule, patient_type};

/// A role's text. [`WrittenRole::check`] makes a [`Role`] of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenRole {
    /// What it is for.
    pub says: String,
    /// `interactive` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// What a request may cost at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// What no rule says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub powers: Vec<Power>,
    /// Types that belong to no patient: all of them are read, searched and seen in their histories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<String>,
    /// The union of these.
    #[serde(default)]
    pub rules: Vec<WrittenRule>,
    /// What a break-glass adds; none is allowed where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<WrittenRule>,
}

/// A rule's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenRule {
    /// Names of types, or `*` alone.
    pub types: Vec<String>,
    /// The contract's actions.
    pub actions: Vec<String>,
    /// `all`, `compartment(patient)`, `careTeamOf(user)`, `own` or `group(Group/ID)`.
    pub within: String,
    /// Search criteria to match as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Security labels, `system|code`, that must be absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_labels: Vec<String>,
}

/// What is wrong with a role's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the role {role}, {place}: {problem}")]
pub struct RoleError {
    /// Which role.
    pub role: RoleName,
    /// Where in it: `rules[0].types`, the first counted 0.
    pub place: String,
    /// What is wrong, and what is right.
    pub problem: String,
}

/// The longest text that says what a role is for.
const MAX_SAYS: usize = 500;

impl WrittenRole {
    /// Reads every word of the role, and makes the grant that a request under it would get.
    ///
    /// # Errors
    /// [`RoleError`] at the first thing that is wrong.
    pub fn check(&self, name: &RoleName) -> Result<Role, RoleError> {
        let wrong = |place: &str, problem: &str| RoleError {
            role: name.clone(),
            place: place.to_owned(),
            problem: problem.to_owned(),
        };
        if !(1..=MAX_SAYS).contains(&self.says.len()) || self.says.chars().any(char::is_control) {
            return Err(wrong("says", "1 to 500 bytes on one line say what the role is for"));
        }
        if self.budget == Some(0) {
            return Err(wrong("budget", "nothing can be answered with 0 rows; leave it out"));
        }
        let rules_of = |list: &str, rules: &[WrittenRule]| {
            let numbered = rules.iter().enumerate();
            let read = numbered.map(|(at, rule)| {
                let place = format!("{list}[{at}]");
                rule.read().map_err(|(member, text)| wrong(&format!("{place}.{member}"), &text))
            });
            read.collect::<Result<Vec<_>, _>>()
        };
        let shared = self.shared.iter().map(|name| type_named(name));
        let role = Role {
            says: self.says.clone(),
            rules: rules_of("rules", &self.rules)?,
            shared: shared.collect::<Result<_, _>>().map_err(|text| wrong("shared", &text))?,
            powers: self.powers.clone(),
            lane: self.lane.unwrap_or(Lane::Interactive),
            budget: self.budget,
            break_glass: rules_of("break_glass", &self.break_glass)?,
        };
        if role.rules.is_empty() && role.shared.is_empty() {
            return Err(wrong("rules", "a role without a rule allows nothing; add one"));
        }
        if role.needs_patient() && !role.break_glass.is_empty() {
            let text = "a role for one patient takes no other's data; leave it out, or the rules \
                        within compartment(patient)";
            return Err(wrong("break_glass", text));
        }
        role.try_grant().map_err(|error| wrong("rules", &error.to_string()))?;
        Ok(role)
    }
}

impl WrittenRule {
    fn read(&self) -> Result<RoleRule, (&'static str, String)> {
        let types = match self.types.as_slice() {
            [] => return Err(("types", "name a type, or \"*\" for all".to_owned())),
            [star] if star == "*" => Types::All,
            names => {
                let types: Result<BTreeSet<_>, _> =
                    names.iter().map(|name| type_named(name)).collect();
                Types::Only(types.map_err(|text| ("types", text))?)
            }
        };
        if self.actions.is_empty() {
            return Err(("actions", "name an action, as \"read\"".to_owned()));
        }
        let action = |text: &String| {
            text.parse::<Action>().map_err(|_| {
                let known = "create, read, update, delete, search, history, operation:$name, \
                             operation:* and *";
                ("actions", format!("there is no action {text:?}; there are {known}"))
            })
        };
        let listed: Vec<Action> = self.actions.iter().map(action).collect::<Result<_, _>>()?;
        let named = |action: &Action| match action {
            Action::Operation(name) => Some(name.clone()),
            _ => None,
        };
        let operations = listed.iter().filter_map(named).collect();
        let actions: Actions = listed.into_iter().collect();
        let part = || {
            if self.within == "compartment(patient)" {
                return Some(Part::OfPatient);
            }
            match self.within.parse().ok()? {
                // A role is for many; the key says for whom.
                Within::Compartment(_) => None,
                within => Some(Part::Same(within)),
            }
        };
        let within = part().ok_or_else(|| {
            let known = "all, compartment(patient), careTeamOf(user), own and group(Group/ID)";
            ("within", format!("there is no part {:?} of the data; there are {known}", self.within))
        })?;
        if let Some(filter) = &self.filter
            && !is_criteria(filter)
        {
            return Err(("filter", "criteria have the form name=value&name=value".to_owned()));
        }
        let labels = &self.without_labels;
        let is_label = |label: &&String| {
            label.split_once('|').is_none_or(|(system, code)| system.is_empty() || code.is_empty())
        };
        if let Some(label) = labels.iter().find(is_label) {
            let text = format!("{label:?} is no label; one has the form \"system|code\"");
            return Err(("without_labels", text));
        }
        let (filter, without_labels) = (self.filter.clone(), labels.clone());
        Ok(RoleRule { types, actions, operations, within, filter, without_labels })
    }
}

/// Whether a text is criteria by its form. What they mean the server knows.
fn is_criteria(filter: &str) -> bool {
    filter.split('&').all(|pair| {
        pair.split_once('=').is_some_and(|(name, value)| !name.is_empty() && !value.is_empty())
    })
}

fn type_named(name: &str) -> Result<ResourceType, String> {
    ResourceType::new(name).map_err(|_| match name {
        "*" => "\"*\" stands alone, for all types".to_owned(),
        name => format!("{name:?} is no type's name; one is like \"Patient\""),
    })
}

impl Role {
    /// Makes the longest grants that requests under the role can get: what the contract refuses
    /// there, it refuses here, while someone is looking.
    fn try_grant(&self) -> Result<(), GrantError> {
        let longest = ResourceId::new(&"9".repeat(64)).expect("digits are an id");
        let fhir_user = Instance { resource_type: patient_type(), id: longest.clone() };
        let request = GrantFields::of_request(
            "d".repeat(63).parse().expect("letters are a tenant's name"),
            &Interaction::Capabilities,
            digest("", "", None),
            "A".repeat(22).parse::<Nonce>().expect("sixteen bytes"),
            Instant::from_micros(0),
        );
        let mut rules = self.rules_for(Some(&longest));
        rules.extend(self.break_glass_for(&longest));
        let grant = Grant::new(GrantFields {
            client: Some("c".repeat(64)),
            authorization: Some("a".repeat(64)),
            fhir_user: Some(fhir_user),
            patient: Some(longest),
            break_glass: Some("b".repeat(16)),
            purpose: Some("p".repeat(16)),
            interaction: "i".repeat(32),
            rules,
            powers: self.powers.clone(),
            budget: u64::MAX,
            ..request
        })?;
        grant.encode().map(drop)
    }
}
