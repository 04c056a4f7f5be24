//! From scopes and context to the contract's rules.
//!
//! The contract adds no actions of two rules up, so what two scopes say of one resource is put
//! into one rule here. Where the limits of a scope and of a person cannot be said by one rule
//! (two different parts of the data), there is none: less is allowed, never more.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Actions, Instance, ResourceId, ResourceType, Rule, Types, Within};

use crate::permissions::Permissions;
use crate::scope::{Level, Scope};
use crate::scopes::Scopes;

/// In which context an app asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// The patient of the launch.
    pub patient: Option<&'a ResourceId>,
    /// What the person may for whom the app asks: the rules of their role. Absent where there is
    /// no person.
    pub user: Option<&'a [Rule]>,
    /// Types that belong to no patient and that whoever reads a patient's data reads with them.
    pub shared: Option<&'a BTreeSet<ResourceType>>,
}

/// Why scopes have no rules in a context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TranslationError {
    /// `patient/` without a patient would mean every patient or none; it means an error.
    #[error("a scope that begins with patient/ takes a patient in context, and there is none")]
    PatientMissing,
    /// `user/` without a person would be bounded by nothing.
    #[error("a scope that begins with user/ takes a person, and there is none")]
    UserMissing,
}

/// A type, or all.
type OfType = Option<ResourceType>;

/// The rules that `scopes` mean in `context`. Scopes that speak of no resource mean none.
///
/// # Errors
/// [`TranslationError`] when a scope takes what the context does not have.
pub fn rules(scopes: &Scopes, context: &Context<'_>) -> Result<Vec<Rule>, TranslationError> {
    let mut rules = Vec::new();
    for level in [Level::Patient, Level::User, Level::System] {
        let said = gather(scopes, level);
        if said.is_empty() {
            continue;
        }
        match level {
            Level::Patient => {
                let patient = context.patient.ok_or(TranslationError::PatientMissing)?;
                let of = Instance { resource_type: patient_type(), id: patient.clone() };
                let own = within(&said, &Within::Compartment(of));
                rules.extend(bounded(own, context.user));
                rules.extend(bounded(shared(&said, context.shared), context.user));
            }
            Level::User => {
                let user = context.user.ok_or(TranslationError::UserMissing)?;
                rules.extend(bounded(within(&said, &Within::All), Some(user)));
            }
            Level::System => rules.extend(within(&said, &Within::All)),
        }
    }
    Ok(rules)
}

/// What is said at a level, by criteria and type. What is said of all types, or without criteria,
/// is said of the narrower as well, so that one rule has all that holds for a resource.
fn gather(scopes: &Scopes, level: Level) -> BTreeMap<(Option<String>, OfType), Permissions> {
    let mut said: BTreeMap<(Option<String>, OfType), Permissions> = BTreeMap::new();
    for scope in scopes.iter() {
        let Scope::Resource(scope) = scope else { continue };
        if scope.level != level {
            continue;
        }
        let types: Vec<OfType> = match &scope.types {
            Types::All => vec![None],
            Types::Only(types) => types.iter().cloned().map(Some).collect(),
        };
        for of in types {
            let held = said.entry((scope.query.clone(), of)).or_insert(scope.permissions);
            *held = held.and(scope.permissions);
        }
    }
    let narrowed = said.iter().map(|((query, of), permissions)| {
        let wider = [(query.clone(), None), (None, of.clone()), (None, None)];
        let wider = wider.iter().filter_map(|key| said.get(key));
        let all = wider.fold(*permissions, |all, more| all.and(*more));
        ((query.clone(), of.clone()), all)
    });
    narrowed.collect()
}

/// Rules within one part of the data, types that may be treated alike together.
fn within(said: &BTreeMap<(Option<String>, OfType), Permissions>, part: &Within) -> Vec<Rule> {
    let mut alike: BTreeMap<(&Option<String>, Permissions), Types> = BTreeMap::new();
    for ((query, of), permissions) in said {
        let types = alike.entry((query, *permissions)).or_insert(Types::Only(BTreeSet::new()));
        match (of, types) {
            (None, types) => *types = Types::All,
            (Some(of), Types::Only(types)) => {
                types.insert(of.clone());
            }
            (Some(_), Types::All) => {}
        }
    }
    let rule = |((query, permissions), types): ((&Option<String>, Permissions), Types)| Rule {
        filter: query.clone(),
        within: part.clone(),
        ..Rule::within_all(types, permissions.actions().collect())
    };
    alike.into_iter().map(rule).collect()
}

/// What scopes of a patient say of the types that belong to no patient: to read and find them.
fn shared(
    said: &BTreeMap<(Option<String>, OfType), Permissions>,
    shared: Option<&BTreeSet<ResourceType>>,
) -> Vec<Rule> {
    let mut of_shared = BTreeMap::new();
    for ((query, of), permissions) in said {
        let Some(permissions) = permissions.common(Permissions::READ) else { continue };
        let types = shared.into_iter().flatten();
        for shared in types.filter(|shared| of.as_ref().is_none_or(|of| of == *shared)) {
            let held =
                of_shared.entry((query.clone(), Some(shared.clone()))).or_insert(permissions);
            *held = held.and(permissions);
        }
    }
    within(&of_shared, &Within::All)
}

/// What of `rules` the rules of a role allow as well.
#[must_use]
pub fn bounded_by(rules: Vec<Rule>, role: &[Rule]) -> Vec<Rule> {
    bounded(rules, Some(role))
}

/// What of `rules` the person may as well; all of it where there is no person.
fn bounded(rules: Vec<Rule>, user: Option<&[Rule]>) -> Vec<Rule> {
    let Some(user) = user else { return rules };
    let pairs = rules.iter().flat_map(|rule| user.iter().map(move |bound| (rule, bound)));
    pairs.filter_map(|(rule, bound)| intersection(rule, bound)).collect()
}

/// What both rules allow, if one rule can say it.
fn intersection(rule: &Rule, bound: &Rule) -> Option<Rule> {
    let types = match (&rule.types, &bound.types) {
        (Types::All, types) | (types, Types::All) => types.clone(),
        (Types::Only(some), Types::Only(others)) => {
            Types::Only(some.intersection(others).cloned().collect())
        }
    };
    let actions = Permissions::ALL.actions();
    let actions: Actions = actions
        .filter(|action| rule.actions.contains(action) && bound.actions.contains(action))
        .collect();
    let nothing = matches!(&types, Types::Only(types) if types.is_empty()) || actions.is_empty();
    if nothing {
        return None;
    }
    let within = match (&rule.within, &bound.within) {
        (Within::All, part) | (part, Within::All) => part.clone(),
        (part, other) if part == other => part.clone(),
        _ => return None,
    };
    let filters: BTreeSet<&str> =
        rule.filter.iter().chain(&bound.filter).map(String::as_str).collect();
    let labels: BTreeSet<&String> =
        rule.without_labels.iter().chain(&bound.without_labels).collect();
    Some(Rule {
        types,
        actions,
        within,
        // Criteria side by side must all be met.
        filter: (!filters.is_empty()).then(|| filters.into_iter().collect::<Vec<_>>().join("&")),
        without_labels: labels.into_iter().cloned().collect(),
    })
}

fn patient_type() -> ResourceType {
    ResourceType::new("Patient").expect("`Patient` has a type's form")
}
