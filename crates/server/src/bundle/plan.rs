//! A transaction planned against one snapshot: what it writes, and what it found to be so.

use std::collections::{BTreeMap, HashMap};

use contract::{Instance, Interaction};
use database::{Action, Body, Change, Condition, Expect, Method, Snapshot};
use fhir_core::json::Replacements;
use fhir_core::{Bundle, Resource, ResourceId, ResourceType, VersionId};
use fhir_validation::{OtherEntries, SentIn};

use super::Context;
use super::allowance::Allowance;
use super::patches::PatchedResource;
use super::references::{Becomes, Destination, Destinations, Rewritten};
use super::target::{Step, Target};
use crate::access::{self, Reach};
use crate::call::Call;
use crate::criteria::{Criteria, IF_NONE_EXIST, standing_at};
use crate::dispatch::dispatch;
use crate::error::ServerError;
use crate::interactions::conditional_update::written_by;
use crate::interactions::create::refuse_search;
use crate::interactions::preconditions::expected;
use crate::interactions::write::{Issues, kept_on_record, on_record};
use crate::interactions::{delete, update, write};
use crate::validation::{Judged, Judgement, Sent, judge};

/// A transaction ready to be committed.
pub(crate) struct Plan {
    pub(crate) changes: Vec<Change>,
    /// The entry of each change.
    pub(crate) entry_of: Vec<usize>,
    pub(crate) conditions: Vec<Condition>,
    /// What each entry comes to, in their order.
    pub(crate) entries: Vec<Planned>,
}

/// What one entry comes to.
pub(crate) enum Planned {
    /// The change with this index.
    Change(usize),
    /// The changes with these indexes: what criteria matched is deleted.
    Deleted(Vec<usize>),
    /// A conditional create that found this resource.
    Existing(ResourceType, ResourceId),
    /// One that found a resource, of which it cannot be told any more which it was.
    Untold,
    /// Read after the commit.
    Read,
}

pub(super) type Identity = (ResourceType, ResourceId);

/// What an entry writes, before its references are resolved.
pub(super) struct Write<'a> {
    pub(super) entry: usize,
    pub(super) identity: Identity,
    pub(super) full_url: Option<&'a str>,
    pub(super) resource: Option<&'a Resource<'a>>,
    pub(super) method: Method,
    pub(super) expect: Expect,
    /// What it was chosen by, where the entry does not name it.
    pub(super) criteria: Option<Criteria>,
}

pub(crate) struct Planner<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) snapshot: &'a Snapshot,
    pub(super) bundle: &'a Bundle<'a>,
    pub(super) targets: &'a [Target],
    patched: &'a BTreeMap<usize, PatchedResource<'a>>,
    pub(super) writes: Vec<Write<'a>>,
    /// The entry that writes each resource.
    pub(super) written: HashMap<Identity, usize>,
    /// The entry that writes each resource, or finds it by its condition.
    touched: HashMap<Identity, usize>,
    destinations: Destinations,
    pub(super) conditions: HashMap<Criteria, Vec<ResourceId>>,
    /// Conditional creates and updates that found nothing, by what they looked for.
    pub(super) creating: HashMap<Criteria, usize>,
    entries: Vec<Planned>,
    /// What the tenant's policy says of what is written, by the index of the entry, as far as
    /// that was judged: what stands here is judged no more.
    pub(super) judged: &'a mut BTreeMap<usize, Judged>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        snapshot: &'a Snapshot,
        bundle: &'a Bundle<'a>,
        targets: &'a [Target],
        (patched, judged): (
            &'a BTreeMap<usize, PatchedResource<'a>>,
            &'a mut BTreeMap<usize, Judged>,
        ),
    ) -> Self {
        Self {
            context,
            snapshot,
            bundle,
            targets,
            patched,
            writes: Vec::new(),
            written: HashMap::new(),
            touched: HashMap::new(),
            destinations: Destinations::default(),
            conditions: HashMap::new(),
            creating: HashMap::new(),
            entries: Vec::new(),
            judged,
        }
    }

    /// Plans the whole transaction.
    ///
    /// # Errors
    /// The first entry that cannot be carried out: then none is.
    pub(crate) async fn plan(mut self) -> Result<Plan, ServerError> {
        for (index, target) in self.targets.iter().enumerate() {
            let planned = self.entry(index, target).await;
            self.entries.push(planned.map_err(|error| error.in_entry(index))?);
        }
        self.check_reads().await?;
        let changes = self.changes().await?;
        let conditions = self.conditions.into_iter();
        let conditions = conditions.map(|(criteria, found)| criteria.condition(found));
        Ok(Plan {
            changes,
            entry_of: self.writes.iter().map(|write| write.entry).collect(),
            conditions: conditions.collect(),
            entries: self.entries,
        })
    }

    async fn entry(&mut self, index: usize, target: &'a Target) -> Result<Planned, ServerError> {
        if let Some(of) = target.interaction.resource_type() {
            target.call(self.context, None).known(of)?;
        }
        match &target.interaction {
            Interaction::Create(of) => self.create(index, target, of).await,
            Interaction::Update(instance) => {
                let call = target.call(self.context, None);
                let may_create = update::may_write(&call, instance).await?;
                let resource = self.resource(index)?;
                update::check_identity(resource, instance)?;
                let expect = may_create.narrow(expected(&target.conditions)?)?;
                let identity = (instance.resource_type.clone(), instance.id.clone());
                self.write(index, identity, Some(resource), Method::Put, expect)
            }
            Interaction::Patch(_) | Interaction::ConditionalPatch(_) => {
                let patched = self.patched.get(&index).ok_or(ServerError::Interrupted)?;
                let instance = patched.instance;
                update::check_identity(&patched.resource, instance)?;
                if let Some(criteria) = patched.criteria {
                    self.conditions.insert(criteria.clone(), vec![instance.id.clone()]);
                }
                let expect = Expect::Versions(vec![patched.version]);
                let identity = (instance.resource_type.clone(), instance.id.clone());
                self.write(index, identity, Some(&patched.resource), Method::Patch, expect)
            }
            Interaction::Delete(instance) => {
                let call = target.call(self.context, None);
                let identity = (instance.resource_type.clone(), instance.id.clone());
                let of = &instance.resource_type;
                let expect = match access::reach(&call, &call.interaction, of)? {
                    Reach::Whole => expected(&target.conditions)?,
                    Reach::Within(_) => match delete::seen(&call, instance).await? {
                        Some(expect) => expect,
                        // There is nothing to delete.
                        None => {
                            self.touch(index, &identity)?;
                            return Ok(Planned::Deleted(Vec::new()));
                        }
                    },
                };
                self.write(index, identity, None, Method::Delete, expect)
            }
            Interaction::ConditionalUpdate(of) => self.conditional_update(index, target, of).await,
            Interaction::ConditionalDelete(of) => self.conditional_delete(index, target, of).await,
            _ if target.step() == Step::Read => Ok(Planned::Read),
            other => Err(ServerError::NotThereYet(other.code())),
        }
    }

    pub(super) fn resource(&self, index: usize) -> Result<&'a Resource<'a>, ServerError> {
        self.bundle.entries[index].resource.as_ref().ok_or(ServerError::BodyMissing)
    }

    async fn create(
        &mut self,
        index: usize,
        target: &'a Target,
        of: &ResourceType,
    ) -> Result<Planned, ServerError> {
        let call = target.call(self.context, None);
        call.allowed()?;
        refuse_search(&target.query)?;
        let resource = self.resource(index)?;
        if resource.resource_type() != of {
            let found = resource.resource_type().clone();
            return Err(ServerError::TypeDiffers { expected: of.clone(), found });
        }
        if let Some(text) = &target.conditions.if_none_exist {
            let criteria = Criteria::if_none_exist(&call, of, text).await?;
            let found = self.find(&call, &criteria).await;
            match found.map_err(standing_at(IF_NONE_EXIST))? {
                [] => {}
                [existing] => {
                    let identity = (of.clone(), existing.clone());
                    self.touch(index, &identity)?;
                    self.lead(index, &identity, false)?;
                    return Ok(Planned::Existing(identity.0, identity.1));
                }
                _ => {
                    let criteria = text.clone();
                    return Err(ServerError::MultipleMatches { criteria }.at(IF_NONE_EXIST));
                }
            }
            self.creates(criteria, (index, "ifNoneExist"), text)?;
        }
        let identity = (of.clone(), write::new_id(self.context.server));
        self.write(index, identity, Some(resource), Method::Post, Expect::New)
    }

    /// Notes which resource the entry writes or finds by its condition; each may be touched once
    /// (HTTP-176).
    fn touch(&mut self, index: usize, identity: &Identity) -> Result<(), ServerError> {
        let Some(other) = self.touched.insert(identity.clone(), index) else {
            return Ok(());
        };
        Err(touched_twice((other, index), (&identity.0, &identity.1)))
    }

    /// Notes what the entry writes.
    pub(super) fn write(
        &mut self,
        index: usize,
        identity: Identity,
        resource: Option<&'a Resource<'a>>,
        method: Method,
        expect: Expect,
    ) -> Result<Planned, ServerError> {
        self.touch(index, &identity)?;
        self.written.insert(identity.clone(), index);
        if let Some(resource) = resource {
            write::check_meta(resource)?;
            self.lead(index, &identity, method == Method::Post)?;
        }
        let full_url = self.bundle.entries[index].full_url.as_deref();
        let (entry, criteria) = (index, None);
        self.writes.push(Write { entry, identity, full_url, resource, method, expect, criteria });
        Ok(Planned::Change(self.writes.len() - 1))
    }

    /// Notes where the entry's `fullUrl` leads; it must be the only one (bdl-7).
    fn lead(&mut self, index: usize, identity: &Identity, is_new: bool) -> Result<(), ServerError> {
        let Some(full_url) = self.bundle.entries[index].full_url.as_deref() else {
            return Ok(());
        };
        let (resource_type, id) = identity.clone();
        if self.destinations.insert(full_url, Destination { resource_type, id, is_new }) {
            return Ok(());
        }
        Err(ServerError::InvalidTransaction {
            expression: format!("Bundle.entry[{index}].fullUrl"),
            text: format!("the fullUrl \"{full_url}\" stands at two entries; each needs its own"),
        })
    }

    /// What is read must be there, or the whole transaction fails.
    async fn check_reads(&self) -> Result<(), ServerError> {
        let mut allowance = Allowance::of(self.context);
        for (index, target) in self.targets.iter().enumerate() {
            if target.step() == Step::Read {
                let read = self.check_read(index, target, &mut allowance).await;
                read.map_err(|error| error.in_entry(index))?;
            }
        }
        Ok(())
    }

    /// What the transaction does not write itself is asked for now.
    async fn check_read(
        &self,
        index: usize,
        target: &Target,
        allowance: &mut Allowance,
    ) -> Result<(), ServerError> {
        let parameters = target.parameters(&self.bundle.entries[index]);
        let call = target.call(self.context, parameters);
        let Some((of, step)) = self.written_here(&target.interaction) else {
            return allowance.take(dispatch(call).await?).map(drop);
        };
        if access::reach(&call, &call.interaction, &of.resource_type)? != Reach::Whole {
            return self.check_read_in_part(call, of, step, allowance).await;
        }
        match (step, &target.interaction) {
            (Step::Delete, Interaction::Read(_)) => Err(ServerError::DeletedHere),
            // Entries that read come last (FHIR R4, 3.1.0.11.2): the version that this
            // transaction makes is there by then.
            (step, Interaction::Vread(_, asked)) => {
                let newest = self.snapshot.newest(&of.resource_type, &of.id).await?;
                let is_there = newest.as_ref().is_some_and(|it| !it.flags.is_deleted());
                let next = newest.map_or(VersionId::FIRST, |newest| newest.version.next());
                match step {
                    _ if asked.as_str() != next.to_string() => {
                        allowance.take(dispatch(call).await?).map(drop)
                    }
                    Step::Delete if is_there => Err(ServerError::DeletedHere),
                    Step::Delete => Err(ServerError::VersionNotFound),
                    _ => Ok(()),
                }
            }
            (Step::Delete, _) => allowance.take(dispatch(call).await?).map(drop),
            _ => Ok(()),
        }
    }

    /// The same for one who sees a part of the type alone: what is there before the transaction
    /// must be seen, and what it writes is judged like any content.
    async fn check_read_in_part(
        &self,
        call: Call<'_>,
        of: &Instance,
        step: Step,
        allowance: &mut Allowance,
    ) -> Result<(), ServerError> {
        let snapshot = call.snapshot(call.visibility(&of.resource_type).await?);
        let newest = snapshot.newest(&of.resource_type, &of.id).await?;
        match (newest, step) {
            (None, _) => Err(ServerError::NotFound),
            (Some(_), Step::Delete) => Err(ServerError::DeletedHere),
            (Some(_), _) => allowance.take(dispatch(call).await?).map(drop),
        }
    }

    /// The resource to be read and how the transaction writes it, when it does.
    fn written_here<'r>(&self, read: &'r Interaction) -> Option<(&'r Instance, Step)> {
        let (Interaction::Read(of) | Interaction::Vread(of, _) | Interaction::HistoryInstance(of)) =
            read
        else {
            return None;
        };
        let entry = self.written.get(&(of.resource_type.clone(), of.id.clone()))?;
        Some((of, self.targets[*entry].step()))
    }

    async fn changes(&mut self) -> Result<Vec<Change>, ServerError> {
        let schema = self.context.database.schema();
        let base = &self.context.server.base;
        let mut rewrites: Vec<Vec<Rewritten<'a>>> = Vec::with_capacity(self.writes.len());
        for write in &self.writes {
            rewrites.push(match write.resource {
                Some(resource) => self
                    .destinations
                    .rewrite(schema, base, resource, write.full_url)
                    .map_err(|error| error.in_entry(write.entry))?,
                None => Vec::new(),
            });
        }
        let matches = self.matches(&rewrites).await?;
        self.judge()?;
        let mut changes = Vec::with_capacity(self.writes.len());
        for (write, rewrites) in self.writes.iter().zip(rewrites) {
            let mut replacements = Replacements::default();
            for rewritten in rewrites {
                replacements.push(
                    rewritten.value,
                    match rewritten.becomes {
                        Becomes::Text(text) => text,
                        Becomes::Match { resource_type, text, .. } => {
                            format!("{resource_type}/{}", matches[&text])
                        }
                    },
                );
            }
            let (resource_type, id) = write.identity.clone();
            let action = match write.resource {
                Some(resource) => {
                    let judged = self.judged.get(&write.entry);
                    let body = match judged {
                        Some(judged) => judged.body(resource, &id, &replacements, schema),
                        None => Body::of(resource, &id, &replacements, schema),
                    };
                    let call = self.targets[write.entry].call(self.context, None);
                    let body = match write.method {
                        Method::Post => on_record(&call, body),
                        _ => {
                            let name = (&resource_type, &id);
                            let kept = kept_on_record(&call, name, body).await;
                            kept.map_err(|error| error.in_entry(write.entry))?
                        }
                    };
                    let written_by = written_by(&call, &write.expect);
                    let checked =
                        access::check_body(&call, &written_by, (&resource_type, &id), &body);
                    checked.await.map_err(|error| error.in_entry(write.entry))?;
                    Action::Write { body: Box::new(body), method: write.method }
                }
                None => Action::Delete,
            };
            changes.push(Change { resource_type, id, action, expect: write.expect.clone() });
        }
        for (index, change) in changes.iter().enumerate() {
            if let Action::Write { body, .. } = &change.action {
                self.tell_unmatched(index, body.plain());
            }
        }
        Ok(changes)
    }

    /// Notes what the tenant's policy says of each resource that is written. What was sent is
    /// judged once; what a patch makes depends on the snapshot, and is judged anew.
    ///
    /// # Errors
    /// [`ServerError::Invalid`], with all that is wrong in all entries.
    fn judge(&mut self) -> Result<(), ServerError> {
        let judged = &mut *self.judged;
        let Context { server, grant, preference, sent, .. } = self.context;
        let (validation, destinations) = (&server.validations[&grant.tenant], &self.destinations);
        let (now, mut issues) = (server.clock.now(), Issues::default());
        for write in &self.writes {
            let Some(resource) = write.resource else { continue };
            let is_patch = write.method == Method::Patch;
            if !is_patch && judged.contains_key(&write.entry) {
                continue;
            }
            if issues.is_full() {
                // More would not be told, and nothing will be written.
                break;
            }
            let sent = if is_patch { Sent::Stored } else { *sent };
            // What a reference to another entry becomes is of that entry's type.
            let type_of = |reference: &str| {
                let (destination, _) = destinations.leads_to(reference, write.full_url)?;
                Some(destination.resource_type.to_string())
            };
            let sent_in = SentIn::Transaction(OtherEntries::new(&type_of));
            match judge(validation, resource, (sent, sent_in), *preference, now) {
                Ok(Judgement::MayBeWritten(one)) => drop(judged.insert(write.entry, one)),
                // A part of it set apart would be half of it done (docs/adr/0022).
                Ok(Judgement::IsSetApart(found)) | Err(found) => {
                    let entry = format!("Bundle.entry[{}].resource", write.entry);
                    for issue in found {
                        issues.note(|| issue.within(&entry));
                    }
                }
            }
        }
        issues.refuse_invalid()
    }
}

/// Two entries of a transaction, by their indexes, are about one resource (HTTP-176).
pub(crate) fn touched_twice(
    (other, index): (usize, usize),
    (resource_type, id): (&ResourceType, &ResourceId),
) -> ServerError {
    ServerError::InvalidTransaction {
        expression: format!("Bundle.entry[{index}].request.url"),
        text: format!(
            "entries {other} and {index} are both about {resource_type}/{id}; a transaction \
             touches each resource once"
        ),
    }
}
