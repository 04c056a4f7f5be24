//! Search parameters that a tenant defines by SearchParameter resources (FHIR R4, 3.1.1.4): those
//! whose status is active count from the answer to their write on, before anything is indexed by
//! them. One that cannot be used is refused with its write; what came another way, by an import or
//! before its package, is kept and does not count.
//!
//! Such writes wait for each other, and for changes of the packages, so that each is judged by
//! what counts when it is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use database::{
    Action, Change, CommitError, Database, ReadError, Receipt, Terms, Transaction, VersionEntry,
    Visibility,
};
use fhir_core::json::Document;
use fhir_core::{Issue, IssueCode, ResourceId, ResourceType};
use fhir_schema::conformance::SearchParameter;
use fhir_schema::{Schema, SchemaError};
use fhir_search::{Origin, Parameter, Parameters, PostedProblem, STEPS_OF_ALL_POSTED};
use tokio::runtime::Handle;

use super::packages::{aside, index_with, newest};
use super::{Definitions, PackagesError, Validation};

/// The type of the resources that define search parameters.
const TYPE: &str = "SearchParameter";

/// A tenant's definitions, by the ids of their resources.
pub(crate) type Posted = BTreeMap<ResourceId, Arc<SearchParameter>>;

/// Why a transaction was not committed.
#[derive(Debug)]
pub(crate) enum NotCommitted {
    /// The database did not.
    Commit(CommitError),
    /// One of its changes defines a search parameter that cannot be used.
    SearchParameter {
        /// Which change.
        change: usize,
        /// What is wrong with it.
        issue: Box<Issue>,
    },
    /// It could not be written down that it was done: why.
    NotAudited(Box<str>),
    /// The work ended before its time.
    Interrupted,
}

impl From<CommitError> for NotCommitted {
    fn from(error: CommitError) -> Self {
        Self::Commit(error)
    }
}

/// Commits a transaction of a request. Whether whoever asked is still there makes no difference
/// once it defines a search parameter.
pub(crate) async fn commit(
    database: &Arc<Database>,
    validation: &Arc<Validation>,
    transaction: Transaction,
    terms: Terms,
) -> Result<Receipt, NotCommitted> {
    if !concerns(&transaction.changes) {
        return Ok(database.commit_under(transaction, terms).await?);
    }
    let (database, validation) = (Arc::clone(database), Arc::clone(validation));
    let work = async move { commit_here(&database, &validation, transaction, terms).await };
    Handle::current().spawn(work).await.unwrap_or(Err(NotCommitted::Interrupted))
}

/// As [`commit`], for whoever sees to it that this ends.
pub(crate) async fn commit_here(
    database: &Database,
    validation: &Validation,
    transaction: Transaction,
    terms: Terms,
) -> Result<Receipt, NotCommitted> {
    let current = validation.current().filter(|_| concerns(&transaction.changes));
    if current.is_none() {
        return Ok(database.commit_under(transaction, terms).await?);
    }
    let _turn = validation.turn.lock().await;
    let Some(current) = validation.current() else { return Err(NotCommitted::Interrupted) };
    let definitions = judged(&current, &transaction.changes).await?;
    let receipt = database.commit_under(transaction, terms).await?;
    index_with(database, &definitions);
    validation.put(definitions);
    Ok(receipt)
}

/// What the tenant's definitions come to with these changes.
///
/// # Errors
/// The first change that defines a search parameter that cannot be used.
pub(crate) async fn judged(
    current: &Arc<Definitions>,
    changes: &[Change],
) -> Result<Arc<Definitions>, NotCommitted> {
    let mut posted = (*current.posted).clone();
    let mut changed = BTreeMap::new();
    for (index, change) in changes.iter().enumerate().filter(|(_, it)| is_definition(it)) {
        posted.remove(&change.id);
        if let Action::Write { body, .. } = &change.action {
            let refused =
                |issue| NotCommitted::SearchParameter { change: index, issue: Box::new(issue) };
            if let Some(definition) = read(body.plain()).map_err(refused)? {
                posted.insert(change.id.clone(), Arc::new(definition));
                changed.insert(change.id.clone(), index);
            }
        }
    }
    let (current, ids) = (Arc::clone(current), changed.keys().cloned().collect());
    let work = move || Ok(current.with_posted(posted, &Tried::These(ids)));
    let (definitions, mut faults) = aside(work).await.map_err(|_| NotCommitted::Interrupted)?;
    faults.retain(|(id, _)| changed.contains_key(id));
    match faults.into_iter().next() {
        None => Ok(Arc::new(definitions)),
        Some((id, issue)) => {
            Err(NotCommitted::SearchParameter { change: changed[&id], issue: Box::new(issue) })
        }
    }
}

/// Whether a transaction may change what is searched by.
pub(crate) fn concerns(changes: &[Change]) -> bool {
    changes.iter().any(is_definition)
}

fn is_definition(change: &Change) -> bool {
    change.resource_type.as_str() == TYPE
}

/// The definition that a resource is; none where it is not active.
fn read(json: &[u8]) -> Result<Option<SearchParameter>, Issue> {
    let none = |text: String| Issue::error(IssueCode::Invalid, text).at(TYPE);
    let document = Document::parse(json).map_err(|error| none(error.to_string()))?;
    let resource = document.root();
    if resource.get_str("status").is_none_or(|status| status != "active") {
        return Ok(None);
    }
    let definition = SearchParameter::read(resource, TYPE).map_err(|error| {
        none(match error {
            SchemaError::NotFhir { problem, .. } => {
                format!("as it is active it must be usable, but {problem}")
            }
            other => other.to_string(),
        })
    })?;
    Ok(Some(definition))
}

/// The definitions in a tenant's log; says in the log of this process which cannot be had.
///
/// # Errors
/// When they cannot be read now, and may be a moment later.
pub(super) async fn stored(database: &Database) -> Result<Posted, PackagesError> {
    let snapshot = database.snapshot(Visibility::everything());
    let Ok(of) = ResourceType::new(TYPE) else { return Ok(Posted::new()) };
    let mut stored = Posted::new();
    for entry in newest(&snapshot, &of).await? {
        let VersionEntry { id, .. } = entry.clone();
        let json = match snapshot.load(entry).await {
            Ok(version) => version.json,
            Err(ReadError::Purged) => None,
            Err(error @ ReadError::Overloaded) => return Err(error.into()),
            Err(error) if error.is_passing() => return Err(error.into()),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "{TYPE}/{id} cannot be read: nothing is searched by it, should it be active"
                );
                None
            }
        };
        let Some(json) = json else { continue };
        match read(&json) {
            Ok(Some(definition)) => {
                stored.insert(id, Arc::new(definition));
            }
            Ok(None) => {}
            Err(issue) => warn(&issue),
        }
    }
    Ok(stored)
}

/// Says in the log that a stored definition does not count.
pub(super) fn warn(issue: &Issue) {
    tracing::warn!(
        reason = %issue.diagnostics,
        "a stored SearchParameter is active and cannot be used: nothing is searched by it"
    );
}

/// Which definitions are tried out, beside those that did not count before.
pub(super) enum Tried {
    /// Those of these resources: the others were.
    These(BTreeSet<ResourceId>),
    /// All; what fails does not count.
    All,
}

impl Tried {
    fn has(&self, id: &ResourceId) -> bool {
        match self {
            Self::These(ids) => ids.contains(id),
            Self::All => true,
        }
    }
}

impl Definitions {
    /// These with such search parameters on top of those of the packages, and what of them does
    /// not count.
    pub(super) fn with_posted(
        &self,
        posted: Posted,
        tried: &Tried,
    ) -> (Self, Vec<(ResourceId, Issue)>) {
        let schema = Schema::r4();
        // What counts already comes first: it is not at fault when another wants its code. What
        // did not count comes last, and is tried anew: the reason may be gone, or not.
        let (new, old): (Vec<_>, Vec<_>) = posted.iter().partition(|(id, _)| tried.has(id));
        let (failed, old): (Vec<_>, Vec<_>) =
            old.into_iter().partition(|(id, _)| self.at_fault.contains(*id));
        let is_tried = |id: &ResourceId| tried.has(id) || self.at_fault.contains(id);
        let mut all: Vec<(&ResourceId, &Arc<SearchParameter>)> =
            old.into_iter().chain(new).chain(failed).collect();
        let mut faults = Vec::new();
        let base = &self.of_packages;
        let parameters = loop {
            let list: Vec<_> = all.iter().map(|(_, definition)| Arc::clone(definition)).collect();
            let (parameters, errors) = base.parameters().with_posted(&list, &self.set, schema);
            let mut failed = self.failed(&parameters, &all, is_tried);
            if errors.is_empty() && failed.is_empty() {
                failed = self.too_many_steps(&parameters, &all, is_tried);
                if failed.is_empty() {
                    break parameters;
                }
            }
            let wrong = errors.into_iter().map(|(at, error)| {
                let code = match error.problem {
                    PostedProblem::Conflict { .. } | PostedProblem::Alike { .. } => {
                        IssueCode::Duplicate
                    }
                    _ => IssueCode::Invalid,
                };
                (all[at].0.clone(), Issue::error(code, error.to_string()).at(error.element))
            });
            let wrong: Vec<(ResourceId, Issue)> = wrong.chain(failed).collect();
            all.retain(|(id, _)| wrong.iter().all(|(other, _)| other != *id));
            faults.extend(wrong);
        };
        let extractor = match all.is_empty() {
            true => Arc::clone(base),
            false => Arc::new(base.with_parameters(Arc::new(parameters))),
        };
        let at_fault = Arc::new(faults.iter().map(|(id, _)| id.clone()).collect());
        (Self { extractor, posted: Arc::new(posted), at_fault, ..self.clone() }, faults)
    }

    /// Those of the definitions to be tried that fail.
    fn failed(
        &self,
        parameters: &Parameters,
        all: &[(&ResourceId, &Arc<SearchParameter>)],
        is_tried: impl Fn(&ResourceId) -> bool,
    ) -> Vec<(ResourceId, Issue)> {
        let mut failed = Vec::new();
        for (id, definition) in all.iter().filter(|(id, _)| is_tried(id)) {
            let own = parameters.all().filter(|it| Arc::ptr_eq(&it.definition, definition));
            let error = own.map(|it| self.of_packages.try_out(it)).find_map(Result::err);
            if let Some(error) = error {
                let issue = Issue::error(IssueCode::Invalid, error.to_string());
                failed.push(((*id).clone(), issue.at("SearchParameter.expression")));
            }
        }
        failed
    }

    /// Those of the definitions to be tried with which the tenant's own may take more steps of
    /// FHIRPath on one resource than all of them may together. Those that count already come
    /// first.
    fn too_many_steps(
        &self,
        parameters: &Parameters,
        all: &[(&ResourceId, &Arc<SearchParameter>)],
        is_tried: impl Fn(&ResourceId) -> bool,
    ) -> Vec<(ResourceId, Issue)> {
        let mut of_definition: HashMap<*const SearchParameter, Vec<&Arc<Parameter>>> =
            HashMap::new();
        for parameter in parameters.all().filter(|it| it.origin == Origin::Posted) {
            of_definition.entry(Arc::as_ptr(&parameter.definition)).or_default().push(parameter);
        }
        let own = |definition| of_definition.get(&Arc::as_ptr(definition)).into_iter().flatten();
        // Nothing becomes more of the other types.
        let tried = all.iter().filter(|(id, _)| is_tried(id));
        let mut taken: HashMap<&str, u64> =
            tried.flat_map(|(_, it)| own(it)).map(|it| (&*it.resource_type, 0)).collect();
        let mut failed = Vec::new();
        for (id, definition) in all {
            let mut steps = Vec::new();
            for parameter in own(definition) {
                if let Some(before) = taken.get(&*parameter.resource_type) {
                    let own = self.of_packages.most_steps(parameter);
                    steps.push((&*parameter.resource_type, *before, own));
                }
            }
            let is_over = |(_, before, own): &&(&str, u64, u64)| {
                *own > 0 && before.saturating_add(*own) > STEPS_OF_ALL_POSTED
            };
            match steps.iter().find(is_over).filter(|_| is_tried(id)) {
                Some((of, before, own)) => {
                    let text = format!(
                        "the tenant's own search parameters may take {STEPS_OF_ALL_POSTED} steps \
                         of FHIRPath together on one resource; those of {of} may take {before} \
                         already, and this one {own} more: write a plain path, name fewer types as \
                         base, or delete another"
                    );
                    let issue = Issue::error(IssueCode::TooCostly, text);
                    failed.push(((*id).clone(), issue.at("SearchParameter.expression")));
                }
                None => {
                    for (of, before, own) in steps {
                        taken.insert(of, before.saturating_add(own));
                    }
                }
            }
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(code: &str, expression: &str) -> Arc<SearchParameter> {
        let json = format!(
            r#"{{"resourceType":"SearchParameter","url":"http://own.example/{code}","name":"Own",
            "status":"active","description":"own","code":"{code}","base":["Patient"],
            "type":"token","expression":"{expression}"}}"#
        );
        Arc::new(read(json.as_bytes()).unwrap().unwrap())
    }

    #[test]
    fn what_fails_its_trial_at_the_start_counts_after_no_other_write_either() {
        // SRCH-239
        let [bad, good]: [ResourceId; 2] = ["bad", "good"].map(|id| id.parse().unwrap());
        let counts =
            |of: &Definitions, code| of.extractor.parameters().get("Patient", code).is_some();
        let away = "Patient.descendants().select(%resource.descendants()).count().toString()";
        let mut posted = Posted::from([(bad.clone(), own("bad", away))]);
        let (started, faults) = Definitions::r4().with_posted(posted.clone(), &Tried::All);
        assert_eq!((faults.len(), counts(&started, "bad")), (1, false));
        posted.insert(good.clone(), own("good", "Patient.gender"));
        let these = Tried::These([good].into());
        let (written, faults) = started.with_posted(posted.clone(), &these);
        assert_eq!((faults.len(), &faults[0].0), (1, &bad));
        assert_eq!([counts(&written, "bad"), counts(&written, "good")], [false, true]);
        posted.insert(bad.clone(), own("bad", "Patient.gender"));
        let (mended, faults) = written.with_posted(posted, &Tried::These([bad].into()));
        assert_eq!((faults.len(), counts(&mended, "bad")), (0, true));
    }
}
