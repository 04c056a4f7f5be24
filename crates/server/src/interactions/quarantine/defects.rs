//! `$quarantine-defects`: what is most often wrong with what is quarantined, and who sent it.

use serde_json::{Value, json};

use super::{parameters, text};
use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::negotiation;
use crate::quarantine::{Defect, Quarantine};

pub(super) async fn defects(call: &Call<'_>) -> Result<Answer, ServerError> {
    let mut count = call.server.limits.history_page;
    let mut sender = None;
    for (name, value) in negotiation::parameters(call.query) {
        match name.as_str() {
            "_format" | "_pretty" => {}
            "sender" => sender = Some(value),
            "_count" => {
                let mend = "write a whole number";
                let asked = value.parse::<usize>();
                let asked =
                    asked.map_err(|_| ServerError::InvalidParameter { name: "_count", mend })?;
                count = count.min(asked);
            }
            _ => return Err(ServerError::UnsupportedParameter(name)),
        }
    }
    let found = Quarantine::of(call).count(sender.as_deref()).await?;
    let mut shown = vec![
        json!({ "name": "items", "valueInteger": found.total }),
        json!({ "name": "looked-at", "valueInteger": found.looked_at }),
    ];
    if found.unreadable > 0 {
        shown.push(json!({ "name": "unreadable", "valueInteger": found.unreadable }));
    }
    shown.extend(found.defects.iter().take(count).map(defect));
    Ok(Answer::of(parameters(shown).to_string()))
}

fn defect(defect: &Defect) -> Value {
    let mut part = Vec::new();
    part.extend(text("rule", &defect.rule));
    part.extend(text("expression", &defect.expression));
    part.push(json!({ "name": "items", "valueInteger": defect.items }));
    part.extend(defect.senders.iter().filter_map(|sender| text("sender", sender)));
    part.push(json!({ "name": "example", "valueId": defect.example.as_str() }));
    json!({ "name": "defect", "part": part })
}
