//! `Patient/ID/$access-log`: who looked at a patient's record, in plain words: as Parameters, and
//! as a page that the patient can read.
//!
//! It is for who may read that patient, and for who has the power `audit`. Searches count whose
//! answers showed data of the patient, and so does all that named the patient and was refused.

use contract::{Instance, Interaction, Level, Power};
use database::audit::{Act, Event, Outcome};
use http::HeaderMap;
use http::header::ACCEPT;
use serde_json::{Value, json};

use super::log_of;
use super::resource::ID;
use super::search::{Asked, next_page, page};
use crate::call::{Answer, Call, Conditions};
use crate::error::ServerError;
use crate::interactions;
use crate::page_link::PageLinks;

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
    if !call.grant.powers.contains(&Power::Audit) {
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
    let lines: Vec<Line> =
        found.events.iter().map(|(number, event)| Line::of(*number, event)).collect();
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
    event: String,
    instant: String,
    who: String,
    what: String,
    why: String,
}

impl Line {
    fn of(number: u64, event: &Event) -> Self {
        Self {
            event: format!("AuditEvent/{ID}{number}"),
            instant: event.instant.to_string(),
            who: who(event),
            what: what(event),
            why: why(event),
        }
    }

    /// The day, and the time in UTC to the second.
    fn when(&self) -> (&str, &str) {
        (self.instant.get(..10).unwrap_or_default(), self.instant.get(11..19).unwrap_or_default())
    }
}

fn who(event: &Event) -> String {
    let app = event.client.as_deref().map(|app| format!("the app \"{app}\""));
    let user = match (event.fhir_user.as_deref(), event.user.as_deref()) {
        (Some(of), Some(name)) if of != name => Some(format!("{name} ({of})")),
        (of, name) => of.or(name).map(str::to_owned),
    };
    match (user, app) {
        (Some(user), Some(app)) => format!("{user}, with {app}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "somebody unknown".to_owned(),
    }
}

fn what(event: &Event) -> String {
    let act = in_words(&event.act);
    let words = match event.outcome {
        Outcome::Done => act,
        Outcome::Denied => format!("tried to, and was refused: {act}"),
        Outcome::NotFound => format!("found nothing: {act}"),
        Outcome::Refused | Outcome::Failed => format!("did not succeed: {act}"),
    };
    if event.entries.is_empty() {
        return words;
    }
    let entries: Vec<String> = event.entries.iter().take(LISTED).map(in_words).collect();
    let more = event.entries.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{words}: {}{more}", entries.join("; "))
}

/// How many entries of a Bundle are named.
const LISTED: usize = 10;

/// What was done to what.
fn in_words(act: &Act) -> String {
    let of = act.resource_type.as_deref();
    let it = match (of, act.id.as_deref()) {
        (Some("Patient"), Some(_)) => "your personal details".to_owned(),
        (Some(of), Some(id)) => format!("{of}/{id}"),
        (Some(of), None) => format!("entries of the kind {of}"),
        _ => "the records".to_owned(),
    };
    match act.kind.code() {
        "read" => format!("looked at {it}"),
        "vread" => format!("looked at an earlier version of {it}"),
        "history-instance" => format!("looked at all versions of {it}"),
        "history-type" | "history-system" => format!("looked at what changed in {it}"),
        "search-type" | "search-system" => {
            format!("searched {it}, and the answer showed data about you")
        }
        "search-compartment" => match act.name.as_deref() {
            Some(of) => format!("looked through your entries of the kind {of}"),
            None => "looked through all of your entries".to_owned(),
        },
        "create" => format!("added {it}"),
        "update" | "conditional-update" | "patch" | "conditional-patch" => format!("changed {it}"),
        "delete" | "conditional-delete" => format!("deleted {it}"),
        "batch-or-transaction" => "did several things at once".to_owned(),
        "purge" => "erased your data for good".to_owned(),
        _ if act.name.as_deref() == Some(NAME) => "looked at this list".to_owned(),
        code => {
            let name = act.name.as_deref().unwrap_or(code);
            format!("had the server work on {it} ({name})")
        }
    }
}

fn why(event: &Event) -> String {
    let purpose = match event.purpose.as_deref() {
        Some("TREAT") => "treatment".to_owned(),
        Some("ETREAT") => "emergency treatment".to_owned(),
        Some("HPAYMT") => "payment".to_owned(),
        Some("HOPERAT") => "running the organisation".to_owned(),
        Some("HRESCH") => "research".to_owned(),
        Some("PATRQT") => "asked for by the patient".to_owned(),
        Some(other) => other.to_owned(),
        None => "no reason was given".to_owned(),
    };
    match &event.break_glass {
        Some(id) => format!("{purpose}; the normal limits were set aside in an emergency ({id})"),
        None => purpose,
    }
}

fn parameters(lines: &[Line], next: Option<&str>) -> Value {
    let line = |line: &Line| {
        json!({ "name": "access", "part": [
            { "name": "when", "valueInstant": line.instant },
            { "name": "who", "valueString": line.who },
            { "name": "what", "valueString": line.what },
            { "name": "why", "valueString": line.why },
            { "name": "event", "valueReference": { "reference": line.event } },
        ] })
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
