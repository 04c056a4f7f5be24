//! What of the data a search shows: of the types that are searched what the caller may search, of
//! others, which chains, `_has` and includes reach, what it may search and read.

use std::collections::BTreeSet;

use contract::{Action, Decision, Instance, Interaction, Types};
use database::Visibility;
use fhir_core::{ResourceId, ResourceType};
use fhir_search::TypeQuery;

use crate::call::Call;
use crate::error::ServerError;

/// What a search of these types shows.
///
/// # Errors
/// When the caller may not search one of them, or only within bounds that are not enforced yet: a
/// part of what was asked for is not shown as if it were all there is.
pub(crate) fn visibility(
    call: &Call<'_>,
    searched: &[TypeQuery],
) -> Result<Visibility, ServerError> {
    let everything = call.grant.rules.iter().any(|rule| {
        rule.is_unrestricted()
            && rule.types == Types::All
            && rule.actions.contains(&Action::Search)
            && rule.actions.contains(&Action::Read)
    });
    if everything {
        return Ok(Visibility::everything());
    }
    let mut seen = BTreeSet::new();
    for TypeQuery { resource_type: of, .. } in searched {
        match contract::decide(call.grant, &Interaction::SearchType(of.clone())) {
            Decision::Allow => {
                seen.insert(of.clone());
            }
            Decision::AllowWithin(restriction) if searched.len() == 1 => {
                return Visibility::within(&restriction, of)
                    .map_err(|_| ServerError::NotEnforcedYet);
            }
            Decision::AllowWithin(_) => return Err(ServerError::NotEnforcedYet),
            Decision::Deny(reason) => return Err(ServerError::Denied(reason)),
        }
    }
    let all = call.database.schema().resource_types();
    let others = all.filter_map(|name| ResourceType::new(name).ok());
    seen.extend(others.filter(|of| is_seen(call, of)));
    Ok(Visibility::of_types(seen))
}

/// Whether the caller may search and read all resources of a type.
pub(crate) fn is_seen(call: &Call<'_>, of: &ResourceType) -> bool {
    let allowed = |interaction| contract::decide(call.grant, &interaction) == Decision::Allow;
    allowed(Interaction::SearchType(of.clone())) && allowed(Interaction::Read(any(of)))
}

/// Why a type is not seen.
pub(crate) fn refusal(call: &Call<'_>, of: &ResourceType) -> ServerError {
    let decisions = [Interaction::SearchType(of.clone()), Interaction::Read(any(of))]
        .map(|interaction| contract::decide(call.grant, &interaction));
    let reason = decisions.iter().find_map(|decision| match decision {
        Decision::Deny(reason) => Some(*reason),
        Decision::Allow | Decision::AllowWithin(_) => None,
    });
    reason.map_or(ServerError::NotEnforcedYet, ServerError::Denied)
}

fn any(of: &ResourceType) -> Instance {
    let id: ResourceId = "any".parse().expect("it has the form of an id");
    Instance { resource_type: of.clone(), id }
}

/// What the caller may read of the type of this resource, to tell whether it is there; `None`
/// when that may not be told.
pub(super) fn of_compartment(call: &Call<'_>, within: &Instance) -> Option<Visibility> {
    match contract::decide(call.grant, &Interaction::Read(within.clone())) {
        Decision::Allow => Some(Visibility::everything()),
        Decision::AllowWithin(restriction) => {
            Visibility::within(&restriction, &within.resource_type).ok()
        }
        Decision::Deny(_) => None,
    }
}
