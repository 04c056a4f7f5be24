//! `Patient/ID/$access-log`: who looked at a patient's record, in plain words: as Parameters, and
//! as a page that the patient can read.
//!
//! It is for who may read that patient, and for who has the power `audit`. Searches count whose
//! answers showed data of the patient, and so does all that named the patient and was refused.

use contract::{Instance, Interaction, Level, Power};
use database::audit::Event;
use http::HeaderMap;
use http::header::ACCEPT;
use serde_json::{Value, json};

use super::log_of;
use super::resource::ID;
use super::search::{Asked, next_page, page};
use super::words::{self, NAME};
use crate::call::{Answer, Call, Conditions};
use crate::error::ServerError;
use crate::interactions;
use crate::page_link::PageLinks;

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
    let log = log_of(call.server, call.grant)?;
    let path = format!("{patient}/{NAME}");
    let links = PageLinks::of(call, &path);
    let (query, before) = page(call, &links)?;
    let asked = Asked::read(&query, &PARAMETERS)?;
    let asked = Asked { patient: Some(patient.id.as_str().to_owned()), ..asked };
    let found = asked.find(log, before).await?;
    let base = call.server.base.as_str();
    let next =
        found.next.map(|number| format!("{base}/{path}?{}", next_page(&links, number, &query)));
    let id = patient.id.as_str();
    let line = |(number, event): &(u64, Event)| Line {
        // Their numbers count what else happens here.
        event: reads_events.then(|| format!("AuditEvent/{ID}{number}")),
        ..Line::of(event, id)
    };
    let lines: Vec<Line> = found.events.iter().map(line).collect();
    let body = parameters(&lines, next.as_deref()).to_string();
    let page = html(&lines, next.as_deref());
    Ok(Answer { page: Some(page.into()), ..Answer::of(body) })
}

/// A patient may ask who can read the patient; one who was deleted, too.
async fn check_readable(call: &Call<'_>, patient: &Instance) -> Result<(), ServerError> {
    let interaction = Interaction::Read(patient.clone());
    let conditions = Conditions::default();
    let read = Call { interaction, conditions, resource: None, ..call.clone() };
    match interactions::read::read(&read, patient).await {
        Ok(_) | Err(ServerError::Deleted { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// One event in plain words.
struct Line {
    /// The event itself, for who may read it.
    event: Option<String>,
    instant: String,
    who: String,
    what: String,
    why: String,
}

impl Line {
    fn of(event: &Event, patient: &str) -> Self {
        Self {
            event: None,
            instant: event.instant.to_string(),
            who: words::who(event),
            what: words::what(event, patient),
            why: words::why(event),
        }
    }

    /// The day, and the time in UTC to the second.
    fn when(&self) -> (&str, &str) {
        (self.instant.get(..10).unwrap_or_default(), self.instant.get(11..19).unwrap_or_default())
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

/// The page. It loads nothing and runs nothing.
fn html(lines: &[Line], next: Option<&str>) -> String {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>Who looked at your record</title>\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <style>body{font-family:sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem;\
         line-height:1.5}h2{font-size:1.1rem;border-bottom:1px solid #999;margin-top:2rem}\
         dt{font-weight:bold;margin-top:1rem}dd{margin:0}</style></head><body>\n\
         <h1>Who looked at your record</h1>\n\
         <p>Each time somebody saw or changed data about you, it is written down here, the newest \
         first. Times are in UTC.</p>\n",
    );
    if lines.is_empty() {
        page.push_str("<p>Nothing is written down for this time.</p>\n");
    }
    let mut day = "";
    for line in lines {
        let (of_day, time) = line.when();
        if of_day != day {
            page.push_str(if day.is_empty() { "" } else { "</dl>\n" });
            page.push_str(&format!("<h2>{of_day}</h2>\n<dl>\n"));
            day = of_day;
        }
        let [who, what, why] = [&line.who, &line.what, &line.why].map(|text| escaped(text));
        page.push_str(&format!("<dt>{time} {who}</dt><dd>{what}.</dd><dd>Why: {why}.</dd>\n"));
    }
    page.push_str(if day.is_empty() { "" } else { "</dl>\n" });
    if let Some(next) = next {
        page.push_str(&format!("<p><a href=\"{}\">Earlier</a></p>\n", escaped(next)));
    }
    page.push_str("</body></html>\n");
    page
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            char => out.push(char),
        }
    }
    out
}
