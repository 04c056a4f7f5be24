//! What of the data a search shows: of the types that are searched what the caller may search, of
//! others, which chains, `_has` and includes reach, what it may search and read.

use contract::{Action, Instance, Interaction, Types};
use database::{T, Visibility};
use fhir_core::ResourceType;
use fhir_search::TypeQuery;

use crate::access::{self, Reach, Seer, reach, reach_on_the_way};
use crate::call::Call;
use crate::error::ServerError;

/// What a search of these types shows, as of now and as of a position that has passed.
///
/// # Errors
/// When the caller may search nothing of one of them: a part of what was asked for is not shown as
/// if it were all there is.
pub(crate) async fn visibility(
    call: &Call<'_>,
    searched: &[TypeQuery],
    at: Option<T>,
) -> Result<Visibility, ServerError> {
    let matched_by = |of: &ResourceType| Interaction::SearchType(of.clone());
    if sees_everything(call, searched, matched_by) {
        return Ok(Visibility::everything());
    }
    access::when_searched(call, searched, at, || reaches(call, searched, matched_by)).await
}

/// The same where what may match is what these interactions may touch.
pub(crate) async fn visibility_of_matches(
    call: &Call<'_>,
    searched: &[TypeQuery],
    matched_by: impl Fn(&ResourceType) -> Interaction,
    at: Option<T>,
) -> Result<Visibility, ServerError> {
    if sees_everything(call, searched, &matched_by) {
        return Ok(Visibility::everything());
    }
    Seer::of(call, at).visibility(reaches(call, searched, matched_by)?).await
}

fn sees_everything(
    call: &Call<'_>,
    searched: &[TypeQuery],
    matched_by: impl Fn(&ResourceType) -> Interaction,
) -> bool {
    let is_whole = |of: &TypeQuery| {
        let matched = reach(call, &matched_by(&of.resource_type), &of.resource_type);
        matches!(matched, Ok(Reach::Whole))
    };
    let everything = call.grant.rules.iter().any(|rule| {
        rule.is_unrestricted()
            && rule.types == Types::All
            && rule.actions.contains(&Action::Search)
            && rule.actions.contains(&Action::Read)
    });
    everything && searched.iter().all(is_whole)
}

/// What of each type is reached.
fn reaches(
    call: &Call<'_>,
    searched: &[TypeQuery],
    matched_by: impl Fn(&ResourceType) -> Interaction,
) -> Result<Vec<(ResourceType, Reach)>, ServerError> {
    let mut types = Vec::new();
    for TypeQuery { resource_type: of, .. } in searched {
        types.push((of.clone(), reach(call, &matched_by(of), of)?));
    }
    let all = call.database.schema().resource_types();
    // What is reached of a type depends on the rules that speak of it alone, and of most types the
    // same do.
    let mut known: Vec<(Vec<bool>, Option<Reach>)> = Vec::new();
    for of in all.filter_map(|name| ResourceType::new(name).ok()) {
        if searched.iter().any(|it| it.resource_type == of) {
            continue;
        }
        let spoken: Vec<bool> =
            call.grant.rules.iter().map(|rule| rule.types.touch(Some(&of))).collect();
        let reach = match known.iter().find(|(rules, _)| *rules == spoken) {
            Some((_, reach)) => reach.clone(),
            None => {
                let reach = reach_on_the_way(call, &of).ok();
                known.push((spoken, reach.clone()));
                reach
            }
        };
        types.extend(reach.map(|reach| (of, reach)));
    }
    Ok(types)
}

/// Whether the caller may search and read resources of a type on the way to others.
pub(crate) fn is_seen(call: &Call<'_>, of: &ResourceType) -> bool {
    reach_on_the_way(call, of).is_ok()
}

/// Why a type is not seen.
pub(crate) fn refusal(call: &Call<'_>, of: &ResourceType) -> ServerError {
    reach_on_the_way(call, of).err().unwrap_or(ServerError::TakesAll)
}

/// What the caller may read of the type of this resource, to tell whether it is there; `None`
/// when that may not be told.
///
/// # Errors
/// When that cannot be said.
pub(super) async fn of_compartment(
    call: &Call<'_>,
    within: &Instance,
) -> Result<Option<Visibility>, ServerError> {
    let read = Interaction::Read(within.clone());
    match access::visibility(call, &read, &within.resource_type).await {
        Ok(visibility) => Ok(Some(visibility)),
        Err(ServerError::Denied(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
