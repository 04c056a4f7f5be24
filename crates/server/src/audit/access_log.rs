//! `Patient/ID/$access-log`: who looked at a patient's record, in plain words: as Parameters, and
//! as a page that the patient can read.
//!
//! It is for who may read that patient, and for who has the power `audit`. Searches count whose
//! answers showed data of the patient, and so does all that named the patient and was refused.

mod page;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use contract::{Decision, Instance, Interaction, Level, Power, decide};
use database::audit::Event;
use http::HeaderMap;
use http::header::ACCEPT;
use serde_json::{Value, json};

use self::page::html;
pub(crate) use self::page::policy;
use self::words::{Line, Reader, name_of};

use super::resource::ID;
use super::search::{Asked, next_page, page};
use crate::call::{Answer, Call, Conditions};
use crate::error::ServerError;
use crate::interactions;
use crate::page_link::PageLinks;

/// How many people are asked for their names for one answer.
const NAMED: usize = 100;

/// The operation's name.
pub(crate) const NAME: &str = "$access-log";
const PARAMETERS: [&str; 2] = ["date", "_count"];

/// Whether an interaction asks who looked at a patient's record.
pub(crate) fn is_access_log(interaction: &Interaction) -> bool {
    matches!(interaction, Interaction::Operation(name, Level::Instance(of))
        if name.as_str() == NAME && of.resource_type.as_str() == "Patient")
}

/// Whether a browser asks, which is answered a page.
pub(crate) fn wants_page(interaction: &Interaction, headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    is_access_log(interaction) && accepts.into_iter().any(|value| value.contains("text/html"))
}

/// Who looked at the record of a patient.
pub(crate) async fn access_log(call: &Call<'_>, patient: &Instance) -> Result<Answer, ServerError> {
    let reads_events = call.grant.powers.contains(&Power::Audit);
    if !reads_events {
        check_readable(call, patient).await?;
    }
    let path = format!("{patient}/{NAME}");
    let links = PageLinks::of(call, &path);
    let (query, before) = page(call, &links)?;
    let asked = Asked::read(&query, &PARAMETERS)?;
    let asked = Asked { patient: Some(patient.id.as_str().to_owned()), ..asked };
    let found = asked.find(call, before).await?;
    let base = call.server.base.as_str();
    let next =
        found.next.map(|number| format!("{base}/{path}?{}", next_page(&links, number, &query)));
    let names = names(call, &found.events).await;
    // Kinds and ids of clinical data are for who may see these, which whoever reads Patients
    // alone, as a front desk does, may not.
    let is_told = reads_events || call.grant.patient.as_ref() == Some(&patient.id);
    let reader = Reader { patient: patient.id.as_str(), names: &names, is_told };
    let lines = found.events.iter();
    let lines: Vec<Line> = lines
        .map(|(number, event)| {
            // Their numbers count what else happens here.
            let id = reads_events.then(|| format!("AuditEvent/{ID}{number}"));
            reader.line(id, event)
        })
        .collect();
    let body = parameters(&lines, next.as_deref()).to_string();
    let whose = name(call, patient).await;
    let page = html(&lines, whose.as_deref(), next.as_deref());
    Ok(Answer { page: Some(page.into()), ..Answer::of(body) })
}

/// What the people are called on whose behalf it was asked, as far as the caller may read that.
async fn names(call: &Call<'_>, events: &[(u64, Event)]) -> BTreeMap<String, String> {
    let people: BTreeSet<&str> =
        events.iter().filter_map(|(_, event)| event.fhir_user.as_deref()).collect();
    let mut names = BTreeMap::new();
    for person in people.into_iter().take(NAMED) {
        if let Ok(instance) = person.parse::<Instance>()
            && let Some(name) = name(call, &instance).await
        {
            names.insert(person.to_owned(), name);
        }
    }
    names
}

async fn name(call: &Call<'_>, of: &Instance) -> Option<String> {
    let body = read(call, of).await.ok()?.body?;
    name_of(&serde_json::from_slice(&body).ok()?)
}

async fn read(call: &Call<'_>, of: &Instance) -> Result<Answer, ServerError> {
    let interaction = Interaction::Read(of.clone());
    if let Decision::Deny(reason) = decide(call.grant, &interaction) {
        return Err(ServerError::Denied(reason));
    }
    let conditions = Conditions::default();
    let read = Call { interaction, conditions, resource: None, ..call.clone() };
    interactions::read::read(&read, of).await
}

/// A patient may ask who can read the patient; one who was deleted, too.
async fn check_readable(call: &Call<'_>, patient: &Instance) -> Result<(), ServerError> {
    match read(call, patient).await {
        Ok(_) | Err(ServerError::Deleted { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn parameters(lines: &[Line], next: Option<&str>) -> Value {
    let line = |line: &Line| {
        let mut part = vec![
            json!({ "name": "when", "valueInstant": line.instant }),
            json!({ "name": "who", "valueString": line.who }),
            json!({ "name": "what", "valueString": line.what }),
            json!({ "name": "why", "valueString": line.why }),
        ];
        let event = line.event.iter();
        part.extend(
            event.map(|it| json!({ "name": "event", "valueReference": { "reference": it } })),
        );
        json!({ "name": "access", "part": part })
    };
    let mut all: Vec<Value> = lines.iter().map(line).collect();
    all.extend(next.map(|url| json!({ "name": "next", "valueUri": url })));
    let mut parameters = json!({ "resourceType": "Parameters" });
    if !all.is_empty() {
        parameters["parameter"] = all.into();
    }
    parameters
}
