//! What the caller's rules leave of the data (contract, `decide`): which part of a type an
//! interaction may touch, and that part as the database judges it.
//!
//! What is outside is as if it did not exist. Here nothing is said of how that is answered.

mod filter;
mod members;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::{Clause, Decision, Instance, Interaction, Reason, Within};
use database::{Author, Seen, SeenWithin, T, Visibility};
use fhir_core::{ResourceId, ResourceType};

use crate::call::Call;
use crate::error::ServerError;
use crate::interactions::search::SeenCodes;
use crate::validation::Definitions;

pub(crate) use write::{author, check_body, check_references, check_resource, maker, reads};

/// What of the resources of a type an interaction may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of them.
    Whole,
    /// What one of these reaches; at least one.
    Within(Vec<Clause>),
}

/// What of a type `interaction` may touch.
///
/// # Errors
/// [`ServerError::Denied`] when that is nothing, whatever the data.
pub(crate) fn reach(
    call: &Call<'_>,
    interaction: &Interaction,
    of: &ResourceType,
) -> Result<Reach, ServerError> {
    let restriction = match contract::decide(call.grant, interaction) {
        Decision::Allow => return Ok(Reach::Whole),
        Decision::AllowWithin(restriction) => restriction,
        Decision::Deny(reason) => return Err(ServerError::Denied(reason)),
    };
    let of_type = restriction.clauses.into_iter().filter(|clause| clause.types.touch(Some(of)));
    let clauses: Vec<Clause> = of_type.collect();
    let is_whole = |clause: &Clause| {
        clause.within == Within::All && clause.filter.is_none() && clause.without_labels.is_empty()
    };
    if clauses.is_empty() {
        return Err(ServerError::Denied(Reason::NoRuleForType));
    }
    Ok(if clauses.iter().any(is_whole) { Reach::Whole } else { Reach::Within(clauses) })
}

/// What may be seen of a type on the way to others, which chains, `_has` and includes go: what may
/// be searched and read.
///
/// # Errors
/// [`ServerError::Denied`] when that is nothing, whatever the data.
pub(crate) fn reach_on_the_way(call: &Call<'_>, of: &ResourceType) -> Result<Reach, ServerError> {
    let search = reach(call, &Interaction::SearchType(of.clone()), of)?;
    let read = reach(call, &Interaction::Read(any(of)), of)?;
    match (search, read) {
        (Reach::Whole, other) | (other, Reach::Whole) => Ok(other),
        (Reach::Within(search), Reach::Within(read)) => {
            let both: Vec<_> = search.into_iter().filter(|clause| read.contains(clause)).collect();
            match both.is_empty() {
                true => Err(ServerError::Denied(Reason::NoRuleForAction)),
                false => Ok(Reach::Within(both)),
            }
        }
    }
}

/// Stands for any resource of a type.
pub(crate) fn any(of: &ResourceType) -> Instance {
    let id: ResourceId = "any".parse().expect("it has the form of an id");
    Instance { resource_type: of.clone(), id }
}

/// What of one type is seen by an interaction, as of now.
///
/// # Errors
/// As [`reach`], and whatever rules depend on that cannot be read.
pub(crate) async fn visibility(
    call: &Call<'_>,
    interaction: &Interaction,
    of: &ResourceType,
) -> Result<Visibility, ServerError> {
    match reach(call, interaction, of)? {
        Reach::Whole => Ok(Visibility::everything()),
        Reach::Within(clauses) => {
            let parts = Seer::of(call, None).parts(of, &clauses).await?;
            Ok(Visibility::of_parts([(of.clone(), parts)].into()))
        }
    }
}

/// Turns rules into what the database judges by.
pub(crate) struct Seer<'c, 'a> {
    call: &'c Call<'a>,
    /// A position that has passed: who was no member there sees nothing of it by being one now.
    at: Option<T>,
    definitions: Option<Arc<Definitions>>,
    codes: Option<Arc<SeenCodes>>,
    /// Whose data parts of the data are, as far as that was asked.
    patients: Vec<(Within, BTreeSet<ResourceId>)>,
}

impl<'c, 'a> Seer<'c, 'a> {
    /// Judged as of now, and as of `at` where it is given.
    pub(crate) fn of(call: &'c Call<'a>, at: Option<T>) -> Self {
        let definitions = call.server.validations[&call.grant.tenant].current();
        Self { call, at, definitions, codes: None, patients: Vec::new() }
    }

    /// Of each of these types what may be seen of it.
    ///
    /// # Errors
    /// When what rules depend on cannot be read.
    pub(crate) async fn visibility(
        &mut self,
        types: Vec<(ResourceType, Reach)>,
    ) -> Result<Visibility, ServerError> {
        let mut parts = BTreeMap::new();
        for (of, reach) in types {
            let of_type = match reach {
                Reach::Whole => vec![Seen::whole()],
                Reach::Within(clauses) => self.parts(&of, &clauses).await?,
            };
            parts.insert(of, of_type);
        }
        Ok(Visibility::of_parts(parts))
    }

    /// The parts of a type that these clauses reach.
    async fn parts(
        &mut self,
        of: &ResourceType,
        clauses: &[Clause],
    ) -> Result<Vec<Seen>, ServerError> {
        let mut parts = Vec::with_capacity(clauses.len());
        for clause in clauses {
            let within = match &clause.within {
                Within::All => SeenWithin::Anywhere,
                Within::Own => match author(self.call) {
                    Some(author) => SeenWithin::Compartments([author.as_compartment()].into()),
                    None => continue,
                },
                Within::Compartment(about) if about.resource_type.as_str() != "Patient" => {
                    SeenWithin::Anywhere
                }
                within => {
                    let patients = self.patients(within).await?;
                    if patients.is_empty() {
                        continue;
                    }
                    Seen::within_patients(patients).within
                }
            };
            // What cannot match anything of this type reaches nothing of it.
            let Some(filter) = self.filter(of, clause).await? else { continue };
            parts.push(Seen { within, filter });
        }
        Ok(parts)
    }

    /// The patients whose data a part of the data is.
    async fn patients(&mut self, within: &Within) -> Result<BTreeSet<ResourceId>, ServerError> {
        if let Within::Compartment(patient) = within {
            return Ok([patient.id.clone()].into());
        }
        if let Some((_, known)) = self.patients.iter().find(|(known, _)| known == within) {
            return Ok(known.clone());
        }
        let now = self.call.snapshot(Visibility::everything());
        let mut patients = self.members(&now, within).await?;
        if let Some(at) = self.at.filter(|at| *at < now.at()) {
            let then = self.members(&now.as_of(at), within).await?;
            patients.retain(|patient| then.contains(patient));
        }
        self.patients.push((within.clone(), patients.clone()));
        Ok(patients)
    }
}

/// Who makes the request, as what it writes has it on record.
pub(crate) fn author_of(client: Option<&str>, user: Option<&str>) -> Option<Author> {
    client.map(|client| Author::of(client, user))
}
