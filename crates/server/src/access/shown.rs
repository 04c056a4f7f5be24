//! What rules came to show lately: of some 150 types they mostly say the same, and to say it of
//! each again takes longer than to find a page.
//!
//! Whose data it is, which changes while the rules do not, is asked each time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::{Grant, Instance, Rule, TenantName, Within};
use database::{Owners, Visibility};
use fhir_core::ResourceType;
use fhir_search::TypeQuery;

use super::filter::asks_for_content;

/// So many are kept, each some 25 KB.
const MOST: usize = 32;

/// What the rules of a caller showed when some types were searched.
#[derive(Debug)]
pub(crate) struct Known {
    tenant: TenantName,
    user: Option<Instance>,
    searched: Vec<ResourceType>,
    rules: Vec<Rule>,
    /// Whose data the parts were.
    patients: Vec<(Within, Owners)>,
    visibility: Visibility,
}

/// What was shown lately.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// What was asked for last stands last.
    known: Mutex<VecDeque<Arc<Known>>>,
}

impl Known {
    pub(super) fn patients(&self) -> &[(Within, Owners)] {
        &self.patients
    }

    pub(super) fn visibility(&self) -> &Visibility {
        &self.visibility
    }

    fn is_of(&self, grant: &Grant, searched: &[TypeQuery]) -> bool {
        // Those of many callers differ in this alone.
        self.rules.len() == grant.rules.len()
            && self.rules.iter().zip(&grant.rules).all(|(own, asked)| own.within == asked.within)
            && self.user == grant.fhir_user
            && self.tenant == grant.tenant
            && self.searched.iter().eq(searched.iter().map(|of| &of.resource_type))
            && self.rules == grant.rules
    }
}

/// Whether what these rules show follows from them and from whose data it is: not from who made it,
/// nor from what it says.
pub(super) fn may_be_kept(grant: &Grant) -> bool {
    let asks_more = |rule: &Rule| rule.within == Within::Own || asks_for_content(&rule.into());
    !grant.is_public() && !grant.rules.iter().any(asks_more)
}

impl Shown {
    fn known(&self) -> MutexGuard<'_, VecDeque<Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What these rules showed when these types were searched, where that is known.
    pub(super) fn get(&self, grant: &Grant, searched: &[TypeQuery]) -> Option<Arc<Known>> {
        let mut known = self.known();
        let at = known.iter().rposition(|it| it.is_of(grant, searched))?;
        let found = known.remove(at)?;
        known.push_back(Arc::clone(&found));
        Some(found)
    }

    /// Keeps it in the place of what the same rules showed before.
    pub(super) fn keep(
        &self,
        (grant, searched): (&Grant, &[TypeQuery]),
        patients: Vec<(Within, Owners)>,
        visibility: Visibility,
    ) {
        let shown = Known {
            tenant: grant.tenant.clone(),
            user: grant.fhir_user.clone(),
            searched: searched.iter().map(|of| of.resource_type.clone()).collect(),
            rules: grant.rules.clone(),
            patients,
            visibility,
        };
        let mut known = self.known();
        known.retain(|it| !it.is_of(grant, searched));
        if known.len() >= MOST {
            known.pop_front();
        }
        known.push_back(Arc::new(shown));
    }
}

#[cfg(test)]
mod tests {
    use contract::{GrantFields, Interaction};
    use fhir_core::Instant;

    use super::*;

    fn grant(tenant: &str, user: &str, rules: serde_json::Value) -> Grant {
        let none = GrantFields::of_request(
            tenant.parse().unwrap(),
            &Interaction::Capabilities,
            "A".repeat(43).parse().unwrap(),
            "A".repeat(22).parse().unwrap(),
            Instant::from_micros(1),
        );
        Grant::new(GrantFields {
            client: Some("app".to_owned()),
            fhir_user: Some(user.parse().unwrap()),
            rules: serde_json::from_value(rules).unwrap(),
            ..none
        })
        .unwrap()
    }

    fn within(within: &str, actions: &[&str]) -> serde_json::Value {
        serde_json::json!([{ "types": ["*"], "actions": actions, "within": within }])
    }

    fn searched(of: &str) -> Vec<TypeQuery> {
        vec![TypeQuery {
            resource_type: of.parse().unwrap(),
            clauses: Vec::new(),
            membership: None,
        }]
    }

    fn keep(shown: &Shown, grant: &Grant, of: &str) {
        shown.keep((grant, &searched(of)), Vec::new(), Visibility::everything());
    }

    #[test]
    fn what_is_kept_is_for_the_same_rules_of_the_same_caller_and_the_same_search() {
        // LEAK-01
        let group = || within("group(Group/g)", &["read", "search"]);
        let (shown, asked) = (Shown::default(), grant("a", "Practitioner/p", group()));
        keep(&shown, &asked, "Observation");
        assert!(shown.get(&asked, &searched("Observation")).is_some());
        assert!(shown.get(&asked, &searched("Patient")).is_none());
        for other in [
            grant("b", "Practitioner/p", group()),
            grant("a", "Practitioner/q", group()),
            grant("a", "Practitioner/p", within("group(Group/h)", &["read", "search"])),
            grant("a", "Practitioner/p", within("group(Group/g)", &["search"])),
        ] {
            assert!(shown.get(&other, &searched("Observation")).is_none(), "{other:?}");
        }
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let shown = Shown::default();
        let of = |number: usize| {
            grant("a", "Practitioner/p", within(&format!("group(Group/{number})"), &["search"]))
        };
        (0..2 * MOST).for_each(|number| keep(&shown, &of(number), "Patient"));
        (0..2).for_each(|_| keep(&shown, &of(2 * MOST - 1), "Patient"));
        assert_eq!(shown.known().len(), MOST);
        let is_kept = |number: &usize| shown.get(&of(*number), &searched("Patient")).is_some();
        assert_eq!((0..2 * MOST).filter(is_kept).count(), MOST);
        assert!(is_kept(&(2 * MOST - 1)) && !is_kept(&0));
    }

    #[test]
    fn what_follows_from_who_made_it_or_what_it_says_is_not_kept() {
        let check = |rule: serde_json::Value, expected: bool| {
            let mut rules = within("group(Group/g)", &["search"]);
            rules[0].as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
            assert_eq!(may_be_kept(&grant("a", "Practitioner/p", rules)), expected, "{rule}");
        };
        check(serde_json::json!({}), true);
        check(serde_json::json!({ "within": "careTeamOf(user)" }), true);
        check(serde_json::json!({ "within": "own" }), false);
        check(serde_json::json!({ "within": "compartment(Encounter/e)" }), false);
        check(serde_json::json!({ "filter": "status=final" }), false);
        check(serde_json::json!({ "withoutLabels": ["s|R"] }), false);
    }
}
