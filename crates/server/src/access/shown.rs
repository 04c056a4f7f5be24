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
