//! What the caller's rules leave of the data (contract, `decide`): which part of a type an
//! interaction may touch, and that part as the database judges it.
//!
//! What is outside is as if it did not exist. Here nothing is said of how that is answered.

mod binary;
mod filter;
mod groups;
mod members;
mod shown;
mod write;

use std::sync::Arc;

use contract::{Clause, Decision, Instance, Interaction, Reason, Within};
use database::{Author, Owners, Seen, SeenWithin, T, Visibility};
use fhir_core::{ResourceId, ResourceType};
use fhir_search::TypeQuery;

use crate::call::Call;
use crate::error::ServerError;
use crate::interactions::search::SeenCodes;
use crate::validation::Definitions;

pub(crate) use binary::by_context;
pub(crate) use groups::Groups;
pub(crate) use shown::Shown;
pub(crate) use write::{
    author, check_body, check_references, check_replaced, check_resource, maker, reads,
};

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
/// be searched and read, by one rule or by two.
///
/// # Errors
/// [`ServerError::Denied`] when that is nothing, whatever the data.
pub(crate) fn reach_on_the_way(call: &Call<'_>, of: &ResourceType) -> Result<Reach, ServerError> {
    let search = reach(call, &Interaction::SearchType(of.clone()), of)?;
    let read = reach(call, &Interaction::Read(any(of)), of)?;
    match (search, read) {
        (Reach::Whole, other) | (other, Reach::Whole) => Ok(other),
        (Reach::Within(search), Reach::Within(read)) => match in_both(search, &read) {
            both if both.is_empty() => Err(ServerError::Denied(Reason::NoRuleForAction)),
            both => Ok(Reach::Within(both)),
        },
    }
}

/// What of a type one of the first reaches and one of the others too; all speak of it.
fn in_both(search: Vec<Clause>, read: &[Clause]) -> Vec<Clause> {
    let mut both = Vec::new();
    for clause in search {
        // What it has in common with others is a part of it.
        match read.iter().any(|it| is_same_part(it, &clause)) {
            true => both.push(clause),
            false => both.extend(read.iter().filter_map(|it| common(&clause, it))),
        }
    }
    both
}

/// Whether two clauses that speak of a type reach the same of it.
fn is_same_part(one: &Clause, other: &Clause) -> bool {
    (&one.within, &one.filter, &one.without_labels)
        == (&other.within, &other.filter, &other.without_labels)
}

/// What two clauses that speak of a type both reach of it. What is in two parts of the data at once
/// no one clause says: that is not reached.
fn common(one: &Clause, other: &Clause) -> Option<Clause> {
    let within = match (&one.within, &other.within) {
        (Within::All, within) | (within, Within::All) => within,
        (within, other) if within == other => within,
        _ => return None,
    };
    let filters = [&one.filter, &other.filter].into_iter().flatten();
    let filters: Vec<&str> = filters.map(|it| it.strip_prefix('?').unwrap_or(it)).collect();
    // Nothing matches an empty filter, and beside another one it would be none.
    let filter = match filters.iter().any(|it| it.is_empty()) {
        true => Some(String::new()),
        false => (!filters.is_empty()).then(|| filters.join("&")),
    };
    let mut without_labels = one.without_labels.clone();
    without_labels.extend(other.without_labels.iter().cloned());
    Some(Clause { within: within.clone(), filter, without_labels, ..one.clone() })
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

/// What is shown when these types are searched, as `reaches` says of each type; what the same rules
/// showed lately of the same patients' data is taken again.
///
/// # Errors
/// As `reaches`, and whatever rules depend on that cannot be read.
pub(crate) async fn when_searched(
    call: &Call<'_>,
    searched: &[TypeQuery],
    at: Option<T>,
    reaches: impl FnOnce() -> Result<Vec<(ResourceType, Reach)>, ServerError>,
) -> Result<Visibility, ServerError> {
    let mut seer = Seer::of(call, at);
    if at.is_some() || !shown::may_be_kept(call.grant) {
        return seer.visibility(reaches()?).await;
    }
    if let Some(known) = call.server.shown.get(call.grant, searched)
        && seer.are_still(known.patients()).await?
    {
        return Ok(known.visibility().clone());
    }
    let visibility = seer.visibility(reaches()?).await?;
    call.server.shown.keep((call.grant, searched), seer.patients, visibility.clone());
    Ok(visibility)
}

/// Turns rules into what the database judges by.
pub(crate) struct Seer<'c, 'a> {
    call: &'c Call<'a>,
    /// A position that has passed: who was no member there sees nothing of it by being one now.
    at: Option<T>,
    definitions: Option<Arc<Definitions>>,
    codes: Option<Arc<SeenCodes>>,
    /// Whose data parts of the data are, as far as that was asked.
    patients: Vec<(Within, Owners)>,
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
        let mut parts = Vec::with_capacity(types.len());
        // Of very many types the same clauses reach the same, where none asks for content.
        let mut last: Option<(Vec<Clause>, Vec<Seen>)> = None;
        for (of, reach) in types {
            let of_type = match (reach, &last) {
                (Reach::Whole, _) => vec![Seen::whole()],
                (Reach::Within(clauses), Some((known, seen))) if clauses == *known => seen.clone(),
                (Reach::Within(clauses), _) => {
                    let seen = self.parts(&of, &clauses).await?;
                    if !clauses.iter().any(filter::asks_for_content) {
                        last = Some((clauses, seen.clone()));
                    }
                    seen
                }
            };
            parts.push((of, of_type));
        }
        Ok(Visibility::of_parts(parts.into_iter().collect()))
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
                    SeenWithin::Compartments(patients)
                }
            };
            // What cannot match anything of this type reaches nothing of it.
            let Some(filter) = self.filter(of, clause).await? else { continue };
            parts.push(Seen { within, filter });
        }
        Ok(parts)
    }

    /// Whether parts of the data are of the same patients as they were.
    async fn are_still(&mut self, known: &[(Within, Owners)]) -> Result<bool, ServerError> {
        for (within, patients) in known {
            if self.patients(within).await? != *patients {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The patients whose data a part of the data is.
    async fn patients(&mut self, within: &Within) -> Result<Owners, ServerError> {
        if let Some((_, known)) = self.patients.iter().find(|(known, _)| known == within) {
            return Ok(known.clone());
        }
        let patients = match within {
            Within::Compartment(patient) => {
                Owners::from([(patient.resource_type.clone(), patient.id.clone())])
            }
            within => {
                // What is looked at for access alone costs nothing: how much that is tells of what
                // may not be seen.
                let now = self.call.unaccounted(Visibility::everything());
                let members = self.members(&now, within).await?;
                match self.at.filter(|at| *at < now.at()) {
                    None => members,
                    Some(at) => {
                        let then = self.members(&now.as_of(at), within).await?;
                        members.iter().filter(|it| then.contains(it)).cloned().collect()
                    }
                }
            }
        };
        self.patients.push((within.clone(), patients.clone()));
        Ok(patients)
    }
}

/// Who makes the request, as what it writes has it on record.
pub(crate) fn author_of(client: Option<&str>, user: Option<&str>) -> Option<Author> {
    client.map(|client| Author::of(client, user))
}

#[cfg(test)]
mod tests {
    use contract::Rule;

    use super::*;

    /// A clause of a rule for these types.
    fn clause(types: &str, within: &str, filter: Option<&str>, labels: &[&str]) -> Clause {
        let rule = serde_json::json!({
            "types": [types], "actions": ["*"], "within": within, "withoutLabels": labels,
        });
        let mut rule: Rule = serde_json::from_value(rule).unwrap();
        rule.filter = filter.map(str::to_owned);
        Clause::from(&rule)
    }

    #[test]
    fn what_one_rule_lets_search_and_another_read_is_what_both_reach() {
        // LEAK-01, LEAK-05
        let check = |search: Clause, read: Clause, expected: Option<Clause>| {
            let both = in_both(vec![search.clone()], std::slice::from_ref(&read));
            let wanted: Vec<Clause> = expected.into_iter().collect();
            assert_eq!(both, wanted, "{search:?} {read:?}");
        };
        let patient = "compartment(Patient/1)";
        let own = clause("*", patient, None, &[]);
        // Which other types a rule speaks of does not matter.
        check(own.clone(), clause("Observation", patient, None, &[]), Some(own.clone()));
        check(own.clone(), clause("*", "group(Group/g)", None, &[]), None);
        let labelled = clause("*", patient, Some("a=b"), &["s|R"]);
        check(own, labelled.clone(), Some(labelled.clone()));
        let all = clause("*", "all", Some("?c=d"), &["s|V"]);
        let wanted = clause("*", patient, Some("a=b&c=d"), &["s|R", "s|V"]);
        check(labelled.clone(), all, Some(wanted));
        // What matches nothing matches nothing together with another.
        let nothing = clause("*", "all", Some("?"), &[]);
        check(labelled, nothing, Some(clause("*", patient, Some(""), &["s|R"])));
    }
}
