//! What a search knows of codes: the terminology of the tenant, as far as the caller sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use database::T;
use fhir_core::ResourceId;
use fhir_search::{Codes, CodesError};
use fhir_terminology::{
    Canonical, CodeSystem, Kind, Membership, Pins, ResolvedSet, Terminology, TerminologyError,
};

use crate::PublicBase;
use crate::call::Call;
use crate::error::ServerError;
use crate::terminology::{self, State};

/// Knows what the terminology knows.
pub(crate) struct SeenCodes {
    terminology: Terminology,
    /// The tenant's own value sets, for who may see them.
    own: Option<Arc<State>>,
    /// When any of it was written last.
    changed_at: T,
    base: String,
    /// What was looked up before, so that each resource is compared with it at once.
    sets: Mutex<HashMap<Box<str>, Arc<ResolvedSet>>>,
    systems: Mutex<HashMap<Box<str>, Option<Arc<CodeSystem>>>>,
}

impl SeenCodes {
    pub(crate) async fn of(call: &Call<'_>) -> Result<Self, ServerError> {
        let state = terminology::current(call).await?;
        Ok(Self::seen(state, &call.server.base, |kind| terminology::sees(call, kind)))
    }

    /// For whoever sees all of it.
    pub(crate) fn all(state: Arc<State>, base: &PublicBase) -> Self {
        Self::seen(state, base, |_| true)
    }

    fn seen(state: Arc<State>, base: &PublicBase, sees: impl Fn(Kind) -> bool) -> Self {
        Self {
            changed_at: state.changed_at(&sees),
            terminology: state.seen(&sees),
            own: sees(Kind::ValueSet).then_some(state),
            base: format!("{}/", base.as_str()),
            sets: Mutex::default(),
            systems: Mutex::default(),
        }
    }

    /// What is known already of a code system: perhaps that it is not here.
    fn at_hand(&self, system: &str) -> Option<Option<Arc<CodeSystem>>> {
        self.systems.lock().unwrap_or_else(PoisonError::into_inner).get(system).cloned()
    }

    /// The position of the last commit that wrote to what is seen here of the tenant's own
    /// terminology.
    pub(super) fn changed_at(&self) -> T {
        self.changed_at
    }

    fn value_set(&self, value_set: &str) -> Result<Arc<ResolvedSet>, CodesError> {
        if let Some(set) = self.sets.lock().unwrap_or_else(PoisonError::into_inner).get(value_set) {
            return Ok(Arc::clone(set));
        }
        let set = self.resolve(value_set).map_err(|error| match error {
            TerminologyError::UnknownCanonical { .. } => {
                CodesError::UnknownValueSet(value_set.into())
            }
            error => undecided(value_set, &error),
        })?;
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.insert(value_set.into(), Arc::clone(&set));
        Ok(set)
    }

    fn resolve(&self, value_set: &str) -> Result<Arc<ResolvedSet>, TerminologyError> {
        let relative = value_set.strip_prefix(&*self.base).unwrap_or(value_set);
        let id = relative.strip_prefix("ValueSet/").and_then(|id| ResourceId::new(id).ok());
        let own = id.and_then(|id| self.own.as_ref()?.own(Kind::ValueSet, &id));
        match own {
            Some(entry) => {
                let set = entry.value_set()?;
                ResolvedSet::new(&self.terminology, &set, &Pins::default()).map(Arc::new)
            }
            None => self.terminology.resolve(value_set),
        }
    }

    /// A code system of which all concepts are here.
    fn complete(&self, system: &str) -> Option<Arc<CodeSystem>> {
        let mut systems = self.systems.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = systems.get(system) {
            return known.clone();
        }
        let of = Canonical { url: system, version: None };
        let found = self.terminology.code_system(of, None).ok().flatten();
        let found = found.filter(|it| it.is_complete());
        // Resources name any number of code systems, and few are here.
        if found.is_some() || systems.len() < MOST_UNKNOWN {
            systems.insert(system.into(), found.clone());
        }
        found
    }
}

/// Of a value set with more parts nothing is told at once: each may have to be gone through.
const MOST_PARTS_AT_HAND: usize = 64;

/// Code systems that are remembered not to be here.
const MOST_UNKNOWN: usize = 1_000;

fn undecided(value_set: &str, reason: &TerminologyError) -> CodesError {
    CodesError::Undecided {
        value_set: value_set.into(),
        reason: reason.to_string().into_boxed_str(),
    }
}

impl Codes for SeenCodes {
    fn check_value_set(&self, value_set: &str) -> Result<(), CodesError> {
        self.value_set(value_set).map(drop)
    }

    fn check_hierarchy(&self, system: &str) -> Result<(), CodesError> {
        match self.complete(system) {
            Some(_) => Ok(()),
            None => Err(CodesError::UnknownHierarchy(system.into())),
        }
    }

    fn is_member(
        &self,
        value_set: &str,
        system: Option<&str>,
        code: &str,
    ) -> Result<bool, CodesError> {
        let set = self.value_set(value_set)?;
        let membership = match system {
            Some(system) => set.check(system, code),
            None => set.check_code(code),
        };
        match membership {
            Membership::Member(_) => Ok(true),
            Membership::Outside => Ok(false),
            Membership::NotKnown(why) => Err(undecided(value_set, why)),
        }
    }

    fn subsumes(&self, system: &str, above: &str, below: &str) -> Result<bool, CodesError> {
        if above == below {
            return Ok(true);
        }
        let unknown = || CodesError::UnknownHierarchy(system.into());
        let system = self.complete(system).ok_or_else(unknown)?;
        // A code that is not in its system has none above and none below it.
        let (Some(above), Some(below)) = (system.find(above), system.find(below)) else {
            return Ok(false);
        };
        Ok(system.subsumes(above, below))
    }

    fn is_case_sensitive(&self, system: &str) -> bool {
        self.complete(system).is_some_and(|it| it.case_sensitive)
    }

    fn is_member_at_hand(&self, value_set: &str, system: Option<&str>, code: &str) -> Option<bool> {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let set = sets.get(value_set).map(Arc::clone)?;
        drop(sets);
        if set.parts() > MOST_PARTS_AT_HAND {
            return None;
        }
        let membership = match system {
            Some(system) => set.check(system, code),
            None => set.check_code(code),
        };
        match membership {
            Membership::Member(_) => Some(true),
            Membership::Outside => Some(false),
            Membership::NotKnown(_) => None,
        }
    }

    fn subsumes_at_hand(&self, system: &str, above: &str, below: &str) -> Option<bool> {
        let system = self.at_hand(system)??;
        let (Some(above), Some(below)) = (system.find(above), system.find(below)) else {
            return Some(false);
        };
        Some(system.subsumes(above, below))
    }

    fn is_case_sensitive_at_hand(&self, system: &str) -> Option<bool> {
        Some(self.at_hand(system)?.is_some_and(|it| it.case_sensitive))
    }
}
