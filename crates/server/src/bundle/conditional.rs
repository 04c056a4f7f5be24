//! The entries of a transaction whose URL says by criteria what they are about (FHIR R4, 3.1.0.4.3
//! and 3.1.0.7.1): what is there before the transaction counts.

use contract::{Decision, Interaction};
use database::Method;
use fhir_core::{ResourceId, ResourceType};

use super::plan::{Planned, Planner};
use super::target::{Step, Target};
use crate::call::Call;
use crate::criteria::{Criteria, standing_at};
use crate::error::ServerError;
use crate::interactions::conditional_delete;
use crate::interactions::conditional_update::{Chosen, check_sent, choose, unmatched};

/// Where their criteria stand, for errors.
const URL: &str = "request.url";

impl<'a> Planner<'a> {
    pub(super) async fn conditional_update(
        &mut self,
        index: usize,
        target: &'a Target,
        of: &ResourceType,
    ) -> Result<Planned, ServerError> {
        let call = target.call(self.context, None);
        let resource = self.resource(index)?;
        check_sent(resource, of)?;
        let criteria = self.allowed(&call, of).await?;
        let found = self.find(&call, &criteria).await.map_err(standing_at(URL))?;
        let is_new = found.is_empty();
        let found = found.to_vec();
        let chosen = choose((&call, of), resource, &found).await?;
        let Chosen { instance, method, expect, .. } = chosen;
        if is_new {
            self.creates(criteria.clone(), (index, "url"), &target.query)?;
        }
        let identity = (instance.resource_type, instance.id);
        let planned = self.write(index, identity, Some(resource), method, expect)?;
        if let Some(write) = self.writes.last_mut() {
            write.criteria = Some(criteria);
        }
        Ok(planned)
    }

    pub(super) async fn conditional_delete(
        &mut self,
        index: usize,
        target: &'a Target,
        of: &ResourceType,
    ) -> Result<Planned, ServerError> {
        let call = target.call(self.context, None);
        call.allowed()?;
        let criteria = self.allowed(&call, of).await?;
        let found = self.find(&call, &criteria).await.map_err(standing_at(URL))?.to_vec();
        let expect = conditional_delete::expectation(&call, &found)?;
        let first = self.writes.len();
        let pinned =
            conditional_delete::pinned(&call, self.snapshot, (of, &found), &expect).await?;
        let pinned = pinned.unwrap_or_else(|| vec![expect; found.len()]);
        for (id, expect) in found.into_iter().zip(pinned) {
            self.write(index, (of.clone(), id), None, Method::Delete, expect)?;
        }
        Ok(Planned::Deleted((first..self.writes.len()).collect()))
    }

    /// The criteria of an entry's URL, of one who may do what it asks for.
    async fn allowed(&self, call: &Call<'_>, of: &ResourceType) -> Result<Criteria, ServerError> {
        if let Decision::Deny(reason) = contract::decide(call.grant, &call.interaction) {
            return Err(ServerError::Denied(reason));
        }
        Criteria::read(call, of, call.query).await
    }

    /// Notes that an entry creates what its criteria did not find; two would create it twice.
    pub(super) fn creates(
        &mut self,
        criteria: Criteria,
        (index, element): (usize, &str),
        text: &str,
    ) -> Result<(), ServerError> {
        let Some(other) = self.creating.insert(criteria, index) else { return Ok(()) };
        Err(ServerError::InvalidTransaction {
            expression: format!("Bundle.entry[{index}].request.{element}"),
            text: format!(
                "entries {other} and {index} would both create what \"{text}\" matches; keep one \
                 and let the others refer to it"
            ),
        })
    }

    /// How many matches must be known: more than the transaction may take away, and one more
    /// than there may be.
    fn most(&self) -> usize {
        let deleted = self.context.server.limits.conditional_deletes;
        let taken = self.targets.iter().map(|target| match &target.interaction {
            Interaction::ConditionalDelete(_) => deleted,
            _ if target.step() == Step::Read => 0,
            _ => 1,
        });
        taken.fold(deleted.saturating_add(2), usize::saturating_add)
    }

    /// What criteria match before the transaction; asked once.
    pub(super) async fn find(
        &mut self,
        call: &Call<'_>,
        criteria: &Criteria,
    ) -> Result<&[ResourceId], ServerError> {
        if !self.conditions.contains_key(criteria) {
            let most = self.most();
            let found = criteria.find(call, self.snapshot, most).await?;
            self.conditions.insert(criteria.clone(), found);
        }
        Ok(&self.conditions[criteria])
    }

    /// Tells whoever sent an entry when its own criteria do not match what it writes.
    pub(super) fn tell_unmatched(&mut self, index: usize, json: &[u8]) {
        let write = &self.writes[index];
        let target = &self.targets[write.entry];
        let (Some(criteria), Some(resource)) = (&write.criteria, write.resource) else { return };
        let call = target.call(self.context, None);
        let Some(issue) = unmatched(&call, (criteria, &target.query), resource, json) else {
            return;
        };
        let judged = self.judged.get_mut(&write.entry);
        if let Some(judged) = judged.filter(|judged| !judged.told.contains(&issue)) {
            judged.told.push(issue);
        }
    }
}
