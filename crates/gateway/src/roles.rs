//! Roles: named rights that the configuration defines and keys refer to.
//!
//! A role is written in the configuration's words ([`WrittenRole`]), checked once, and made into
//! the contract's rules for each client that has it, with that client's patient and person. What
//! needs a patient or a person gives nothing without one. Which types exist is not known on this
//! side: their names are checked by form.

mod words;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use contract::{
    Action, Actions, Instance, Lane, OperationName, Power, ResourceId, ResourceType, Rule, Types,
    Within,
};
use registry::{Client, ClientId, RoleName};

pub use written::{RoleError, WrittenRole, WrittenRule};

/// All roles there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles(BTreeMap<RoleName, Role>);

/// A role, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// What it is for, in its maker's words.
    pub says: String,
    rules: Vec<RoleRule>,
    shared: BTreeSet<ResourceType>,
    powers: Vec<Power>,
    lane: Lane,
    budget: Option<u64>,
    break_glass: Vec<RoleRule>,
}

/// A rule of a role: a rule of the contract, but for whose compartment it may be within.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RoleRule {
    types: Types,
    actions: Actions,
    /// Those of the actions that are operations by name.
    operations: Vec<OperationName>,
    within: Part,
    filter: Option<String>,
    without_labels: Vec<String>,
}

/// A part of the data, as a role says it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `compartment(patient)`: of the patient whom the key, or the break-glass, is for.
    OfPatient,
    /// Any other.
    Same(Within),
}

/// What a client may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// The union of these.
    pub rules: Vec<Rule>,
    /// What no rule says.
    pub powers: Vec<Power>,
    /// Which queue its requests stand in.
    pub lane: Lane,
    /// What a request may cost at most; the gateway's default where absent.
    pub budget: Option<u64>,
}

/// Why a client's role gives it nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleProblem {
    /// The configuration has no such role.
    #[error("there is no role {0}; `hearthgate roles` lists them, [roles.{0}] would define it")]
    Unknown(RoleName),
    /// It is within a patient's compartment, and the client has no patient.
    #[error("the role {0} needs the patient it is for; add --patient ID")]
    PatientMissing(RoleName),
    /// An operator disabled the client.
    #[error(
        "the client {0} is disabled; `hearthgate clients enable` grants it again what it could"
    )]
    Disabled(ClientId),
    /// It is within care teams, and the client is no person.
    #[error("the role {0} needs the person it is for; add --user REF, as in Practitioner/7")]
    UserMissing(RoleName),
}

impl RoleProblem {
    /// A label that never changes, for logs and metrics.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "role-unknown",
            Self::Disabled(_) => "client-disabled",
            Self::PatientMissing(_) => "role-without-patient",
            Self::UserMissing(_) => "role-without-user",
        }
    }
}

impl Roles {
    /// The role of this name.
    #[must_use]
    pub fn get(&self, name: &RoleName) -> Option<&Role> {
        self.0.get(name)
    }

    /// Every role, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&RoleName, &Role)> {
        self.0.iter()
    }

    /// Adds a role, in the place of one of that name.
    pub fn define(&mut self, name: RoleName, role: Role) {
        self.0.insert(name, role);
    }

    /// What `client` may: what its role says, or its own rules. Powers of its own add to the
    /// role's.
    ///
    /// # Errors
    /// [`RoleProblem`] when the role gives it nothing.
    pub fn rights_of(&self, client: &Client) -> Result<Rights, RoleProblem> {
        if client.disabled.is_some() {
            return Err(RoleProblem::Disabled(client.id.clone()));
        }
        let Some(name) = &client.role else {
            return Ok(Rights {
                rules: client.rules.clone(),
                powers: client.powers.clone(),
                lane: client.lane,
                budget: client.budget,
            });
        };
        let role = self.get(name).ok_or_else(|| RoleProblem::Unknown(name.clone()))?;
        if role.needs_patient() && client.patient.is_none() {
            return Err(RoleProblem::PatientMissing(name.clone()));
        }
        if role.needs_user() && client.fhir_user.is_none() {
            return Err(RoleProblem::UserMissing(name.clone()));
        }
        let more = client.powers.iter().filter(|power| !role.powers.contains(power));
        Ok(Rights {
            rules: role.rules_for(client.patient.as_ref()),
            powers: role.powers.iter().chain(more).copied().collect(),
            lane: role.lane,
            budget: client.budget.or(role.budget),
        })
    }

    /// The rules that a break-glass for `patient` adds to the client's; `None` when its role
    /// allows none.
    pub(crate) fn break_glass_of(
        &self,
        client: &Client,
        patient: &ResourceId,
    ) -> Option<Vec<Rule>> {
        let role = self.get(client.role.as_ref()?)?;
        let rules = role.break_glass_for(patient);
        (!rules.is_empty()).then_some(rules)
    }

    /// Whether the client's role has rules for when it breaks the glass, whoever the patient is.
    pub(crate) fn has_break_glass(&self, client: &Client) -> bool {
        let role = client.role.as_ref().and_then(|name| self.get(name));
        role.is_some_and(|role| !role.break_glass.is_empty())
    }
}

impl Role {
    /// Whether a key with this role is for one patient.
    #[must_use]
    pub fn needs_patient(&self) -> bool {
        self.rules.iter().any(|rule| rule.within == Part::OfPatient)
    }

    /// Whether a key with this role is for one person.
    #[must_use]
    pub fn needs_user(&self) -> bool {
        let within = Part::Same(Within::CareTeamOf);
        self.rules.iter().any(|rule| rule.within == within)
    }

    /// Types that belong to no patient and are read with a patient's data.
    pub(crate) fn shared(&self) -> &BTreeSet<ResourceType> {
        &self.shared
    }

    /// Its rules, shared types among them, with the patient that a key is for.
    fn rules_for(&self, patient: Option<&ResourceId>) -> Vec<Rule> {
        let own = self.rules.iter().filter_map(|rule| rule.for_patient(patient));
        let look = [Action::Read, Action::Search, Action::History].into_iter().collect();
        let shared = || Rule::within_all(Types::Only(self.shared.clone()), look);
        own.chain((!self.shared.is_empty()).then(shared)).collect()
    }

    /// The rules that a break-glass for this patient adds.
    fn break_glass_for(&self, patient: &ResourceId) -> Vec<Rule> {
        self.break_glass.iter().filter_map(|rule| rule.for_patient(Some(patient))).collect()
    }
}

impl RoleRule {
    fn for_patient(&self, patient: Option<&ResourceId>) -> Option<Rule> {
        let within = match &self.within {
            Part::Same(within) => within.clone(),
            Part::OfPatient => Within::Compartment(Instance {
                resource_type: patient_type(),
                id: patient?.clone(),
            }),
        };
        Some(Rule {
            types: self.types.clone(),
            actions: self.actions.clone(),
            within,
            filter: self.filter.clone(),
            without_labels: self.without_labels.clone(),
        })
    }
}

fn patient_type() -> ResourceType {
    ResourceType::new("Patient").expect("`Patient` has a type's form")
}

#[cfg(test)]
mod tests;
