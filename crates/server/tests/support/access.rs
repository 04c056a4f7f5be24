//! Who asks: the part of a grant that does not depend on the request.

use contract::{GrantFields, Power, Rule};
use serde_json::{Value, json};

/// A caller's rules and context.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    caller: Caller,
    rules: Vec<Rule>,
    patient: Option<&'static str>,
    encounter: Option<&'static str>,
    powers: Vec<Power>,
    budget: u64,
    pub(crate) tenant: &'static str,
    client: &'static str,
    user: Option<&'static str>,
    fhir_user: Option<&'static str>,
    role: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Known,
    Nobody,
}

/// A rule from the JSON of the contract: types, actions, part of the data.
pub(crate) fn rule(types: &[&str], actions: &[&str], within: &str) -> Rule {
    let rule: Value = json!({ "types": types, "actions": actions, "within": within });
    serde_json::from_value(rule).expect("a rule")
}

impl Access {
    /// Everything.
    pub(crate) fn owner() -> Self {
        Self::of(vec![rule(&["*"], &["*"], "all")])
    }

    /// These rules.
    pub(crate) fn of(rules: Vec<Rule>) -> Self {
        let tenant = super::TENANTS[0];
        Self {
            caller: Caller::Known,
            rules,
            patient: None,
            encounter: None,
            powers: Vec::new(),
            budget: 1_000_000,
            tenant,
            client: "clinic-app",
            user: None,
            fhir_user: None,
            role: None,
        }
    }

    /// Every action within one patient's compartment.
    pub(crate) fn of_patient(id: &'static str) -> Self {
        let within = format!("compartment(Patient/{id})");
        Self::of(vec![rule(&["*"], &["*"], &within)]).launched_for(id)
    }

    /// The same with this patient as its launch context.
    pub(crate) fn launched_for(self, id: &'static str) -> Self {
        Self { patient: Some(id), ..self }
    }

    /// The same with this encounter in its launch context.
    pub(crate) fn within_encounter(self, id: &'static str) -> Self {
        Self { encounter: Some(id), ..self }
    }

    /// The same with a power.
    pub(crate) fn with(mut self, power: Power) -> Self {
        self.powers.push(power);
        self
    }

    /// The same with so many rows to be read for a request.
    pub(crate) fn reading(self, budget: u64) -> Self {
        Self { budget, ..self }
    }

    /// No caller at all.
    pub(crate) fn nobody() -> Self {
        Self { caller: Caller::Nobody, ..Self::of(Vec::new()) }
    }

    /// The same in another tenant.
    pub(crate) fn in_tenant(self, tenant: &'static str) -> Self {
        Self { tenant, ..self }
    }

    /// The same by another app.
    pub(crate) fn sent_by(self, client: &'static str) -> Self {
        Self { client, ..self }
    }

    /// The same with this user at the app.
    pub(crate) fn used_by(self, user: &'static str) -> Self {
        Self { user: Some(user), ..self }
    }

    /// The same with this resource for its user.
    pub(crate) fn being(self, name: &'static str) -> Self {
        Self { fhir_user: Some(name), ..self }
    }

    /// The same by the rules of a role of this name.
    pub(crate) fn acting_as(self, role: &'static str) -> Self {
        Self { role: Some(role), ..self }
    }

    /// The whole grant of a request.
    pub(crate) fn fields(&self, request: GrantFields) -> GrantFields {
        GrantFields {
            client: (self.caller == Caller::Known).then(|| self.client.to_owned()),
            user: self.user.map(str::to_owned),
            role: self.role.map(str::to_owned),
            fhir_user: self.fhir_user.map(|name| name.parse().expect("an instance")),
            patient: self.patient.map(|id| id.parse().expect("an id")),
            encounter: self.encounter.map(|id| id.parse().expect("an id")),
            rules: self.rules.clone(),
            powers: self.powers.clone(),
            budget: self.budget,
            ..request
        }
    }
}
