//! `$quarantine-release` and `$quarantine-discard`: Parameters name the items, each as `item`; the
//! answer says what became of each.

use fhir_core::ResourceId;
use fhir_core::json::{Kind, Value};
use serde_json::json;

use super::{issues, parameters};
use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::interactions::update::{self, MayCreate};
use crate::negotiation;
use crate::quarantine::{Item, Outcome, Quarantine, Request};

/// So many items at a time.
const MOST: usize = 100;

pub(super) async fn release(call: &Call<'_>) -> Result<Answer, ServerError> {
    let items = items(call)?;
    let outcomes = Quarantine::of(call).release_as(&items, &|item| may_write(call, item)).await?;
    Ok(answer(&outcomes))
}

pub(super) async fn discard(call: &Call<'_>) -> Result<Answer, ServerError> {
    let items = items(call)?;
    Ok(answer(&Quarantine::of(call).discard_all(&items).await?))
}

/// Whether the caller might itself have written what an item asks for.
fn may_write(call: &Call<'_>, item: &Item<'_>) -> Result<MayCreate, ServerError> {
    let own = Call { interaction: item.request.interaction(), ..call.clone() };
    match &item.request {
        Request::Create { instance, if_none_exist } => {
            own.unrestricted()?;
            if if_none_exist.is_some() {
                own.may_search(&instance.resource_type)?;
            }
            Ok(MayCreate::Yes)
        }
        Request::Update { instance, .. } => update::may_write_any(&own, &instance.resource_type),
    }
}

/// The items that the body names. What changes something takes a body, so that no link does it.
fn items(call: &Call<'_>) -> Result<Vec<ResourceId>, ServerError> {
    let invalid = |mend| ServerError::InvalidParameter { name: "item", mend };
    for (name, _) in negotiation::parameters(call.query) {
        if !matches!(name.as_str(), "_format" | "_pretty") {
            return Err(ServerError::UnsupportedParameter(name));
        }
    }
    let resource = call.resource.as_ref().ok_or(ServerError::BodyMissing)?;
    if resource.resource_type().as_str() != "Parameters" {
        return Err(invalid("send Parameters with the items, each as a valueId"));
    }
    let list = resource.value().get("parameter").filter(|list| list.kind() == Kind::Array);
    let mut items = Vec::new();
    for part in list.iter().flat_map(Value::items) {
        let part = Some(part).filter(|part| part.kind() == Kind::Object);
        let name = part.and_then(|part| part.get_str("name")).unwrap_or_default();
        if name != "item" {
            return Err(ServerError::UnsupportedParameter(name.into_owned()));
        }
        let values = ["valueId", "valueString"];
        let id = values.iter().find_map(|value| part?.get_str(value)).unwrap_or_default();
        let id = ResourceId::new(&id).map_err(|_| invalid("give the id of an item as valueId"))?;
        if !items.contains(&id) {
            items.push(id);
        }
    }
    match items.len() {
        0 => Err(invalid("name the items, each as a valueId")),
        1..=MOST => Ok(items),
        _ => Err(invalid("name at most 100 items at a time")),
    }
}

fn answer(outcomes: &[(ResourceId, Outcome)]) -> Answer {
    let shown = outcomes.iter().map(|(id, outcome)| {
        let mut part = vec![json!({ "name": "item", "valueId": id.as_str() })];
        let code = match outcome {
            Outcome::Released(place) => {
                part.push(json!({ "name": "location", "valueUri": place }));
                "released"
            }
            Outcome::Kept(why) => {
                part.extend(issues(why));
                "kept"
            }
            Outcome::Discarded => "discarded",
            Outcome::Unknown => "unknown",
            Outcome::Unreadable => "unreadable",
            Outcome::NotDone(why) => {
                part.extend(issues(why));
                "not-done"
            }
        };
        part.insert(1, json!({ "name": "outcome", "valueCode": code }));
        json!({ "name": "result", "part": part })
    });
    Answer::of(parameters(shown.collect()).to_string())
}
