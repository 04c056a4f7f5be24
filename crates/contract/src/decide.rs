//! What a grant lets an interaction do. The gateway acts on [`Decision::Deny`] alone; the server
//! acts on all of it, again for every bundle entry, include, chain link, criterion and operation.

use fhir_core::ResourceType;

use crate::{Action, Grant, Interaction, Power, Rule, Types, Within};

/// The answer of [`decide`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Never, whatever the data.
    Deny(Reason),
    /// Without regard to the data.
    Allow,
    /// As far as the data lie within.
    AllowWithin(Restriction),
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is no caller, and this is not open: 401, for a caller might be allowed.
    NoCaller,
    /// No rule speaks of the type: 403.
    NoRuleForType,
    /// A rule speaks of the type, none allows the action: 403.
    NoRuleForAction,
    /// The operation takes this power: 403.
    PowerMissing(Power),
}

/// The parts of the data within which an interaction is allowed: all that any clause reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    /// At least one.
    pub clauses: Vec<Clause>,
}

/// What one rule reaches: resources of these types, within this part, that match the filter and
/// carry none of the labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// The types.
    pub types: Types,
    /// The part of the data.
    pub within: Within,
    /// Search criteria to match as well.
    pub filter: Option<String>,
    /// Security labels, `system|code`, that must be absent.
    pub without_labels: Vec<String>,
}

/// What `grant` lets `interaction` do. One rule must hold every action that it takes.
///
/// Who looked at a patient's record may be asked by whoever may read it, and with the power `audit`.
/// A batch or transaction is allowed to every caller with a rule, for its entries are judged one
/// by one. What names no type (system level, whole compartments) is allowed without restriction
/// only by a rule for all types.
#[must_use]
pub fn decide(grant: &Grant, interaction: &Interaction) -> Decision {
    match judge(grant, interaction) {
        Decision::Deny(_) if grant.is_public() => Decision::Deny(Reason::NoCaller),
        decision => decision,
    }
}

fn judge(grant: &Grant, interaction: &Interaction) -> Decision {
    match interaction {
        Interaction::Capabilities => return Decision::Allow,
        Interaction::BatchOrTransaction if grant.is_public() || grant.rules.is_empty() => {
            return Decision::Deny(Reason::NoRuleForType);
        }
        Interaction::BatchOrTransaction => return Decision::Allow,
        Interaction::Operation(name, _) => match Power::for_operation(name) {
            Some(power) if !grant.powers.contains(&power) => {
                return Decision::Deny(Reason::PowerMissing(power));
            }
            None if name.as_str() == "$access-log" && grant.powers.contains(&Power::Audit) => {
                return Decision::Allow;
            }
            _ => {}
        },
        _ => {}
    }
    let of = interaction.resource_type();
    let mut reason = Reason::NoRuleForType;
    let mut clauses = Vec::new();
    for rule in grant.rules.iter().filter(|rule| rule.types.touch(of)) {
        reason = Reason::NoRuleForAction;
        if rule.actions.suffice_for(interaction) {
            if rule.is_unrestricted() && (of.is_some() || rule.types == Types::All) {
                return Decision::Allow;
            }
            clauses.push(Clause::from(rule));
        }
    }
    if clauses.is_empty() {
        return Decision::Deny(reason);
    }
    Decision::AllowWithin(Restriction { clauses })
}

/// Whether the caller may choose the ids of resources of this type, as update-as-create does:
/// only one who can see every resource of the type, or the answer would tell what exists.
#[must_use]
pub fn may_choose_ids(grant: &Grant, resource_type: &ResourceType) -> bool {
    let of_type = |rule: &&Rule| rule.is_unrestricted() && rule.types.touch(Some(resource_type));
    let rules: Vec<&Rule> = grant.rules.iter().filter(of_type).collect();
    let holds = |action| rules.iter().any(|rule| rule.actions.contains(action));
    holds(&Action::Create) && holds(&Action::Update)
}

impl Reason {
    /// A label that never changes, for logs, metrics and vectors.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoCaller => "no-caller",
            Self::NoRuleForType => "no-rule-for-type",
            Self::NoRuleForAction => "no-rule-for-action",
            Self::PowerMissing(_) => "power-missing",
        }
    }
}

impl From<&Rule> for Clause {
    fn from(rule: &Rule) -> Self {
        let Rule { types, within, filter, without_labels, .. } = rule.clone();
        Self { types, within, filter, without_labels }
    }
}
