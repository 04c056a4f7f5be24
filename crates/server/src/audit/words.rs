//! An event in plain words, for one patient whose data was in it.
//!
//! A request may be about several patients. What it did is then told without ids, and of a Bundle
//! what is the patient's own alone: nothing here names what is of somebody else.

use database::audit::{Act, Event, Outcome};

/// The name of the operation that tells a patient who looked at the record.
pub(crate) const NAME: &str = "$access-log";

/// Kinds of entries of a Bundle that are told.
const LISTED: usize = 10;

/// Who asked.
pub(super) fn who(event: &Event) -> String {
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

/// What was done, as this patient may know it.
pub(super) fn what(event: &Event, patient: &str) -> String {
    let act = in_words(&event.act, &thing(&event.act, event, patient), patient);
    let words = match event.outcome {
        Outcome::Done => act,
        Outcome::Denied => format!("tried to, and was refused: {act}"),
        Outcome::NotFound => format!("found nothing: {act}"),
        Outcome::Refused | Outcome::Failed => format!("did not succeed: {act}"),
    };
    let entries = entries_in_words(event, patient);
    if entries.is_empty() { words } else { format!("{words}: {entries}") }
}

/// Why, as far as it was said.
pub(super) fn why(event: &Event) -> String {
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

/// Whether an event had data of this patient and of nobody else.
fn is_of_one(event: &Event, patient: &str) -> bool {
    event.patients.iter().all(|it| **it == *patient)
}

/// Whether something was done to the Patient itself.
fn is_own(act: &Act, patient: &str) -> bool {
    act.resource_type.as_deref() == Some("Patient") && act.id.as_deref() == Some(patient)
}

/// What the entries of a Bundle did that succeeded: like ones once, with how many they were.
fn entries_in_words(event: &Event, patient: &str) -> String {
    let is_of_one = is_of_one(event, patient);
    let mut told: Vec<(String, usize)> = Vec::new();
    for act in event.entries.iter().filter(|act| act.status < 400) {
        let own = is_own(act, patient);
        if !own && (!is_of_one || act.resource_type.as_deref() == Some("Patient")) {
            continue;
        }
        let thing = if own { "your personal details".to_owned() } else { kind_of(act) };
        let words = in_words(act, &thing, patient);
        match told.iter_mut().find(|(it, _)| *it == words) {
            Some((_, count)) => *count += 1,
            None => told.push((words, 1)),
        }
    }
    let more = told.len().saturating_sub(LISTED);
    let listed = told.iter().take(LISTED).map(|(words, count)| match count {
        1 => words.clone(),
        _ => format!("{words} ({count} times)"),
    });
    let mut parts: Vec<String> = listed.collect();
    if more > 0 {
        parts.push(format!("and {more} things more"));
    }
    if !is_of_one && !event.entries.is_empty() {
        let rest = "was about others, or about you and others";
        parts.push(if parts.is_empty() {
            format!("it {rest}")
        } else {
            format!("the rest {rest}")
        });
    }
    parts.join("; ")
}

/// What an act was done to.
fn thing(act: &Act, event: &Event, patient: &str) -> String {
    match (act.resource_type.as_deref(), act.id.as_deref()) {
        _ if is_own(act, patient) => "your personal details".to_owned(),
        // Their numbers count what else happens here.
        (Some("AuditEvent"), Some(_)) => "a record of who looked at your data".to_owned(),
        (Some(of), Some(_)) if !is_of_one(event, patient) => {
            format!("something of the kind {of} that names you and others")
        }
        (Some(of), Some(id)) => format!("{of}/{id}"),
        _ => kind_of(act),
    }
}

fn kind_of(act: &Act) -> String {
    match act.resource_type.as_deref() {
        Some(of) => format!("entries of the kind {of}"),
        None => "the records".to_owned(),
    }
}

/// What was done to it.
fn in_words(act: &Act, it: &str, patient: &str) -> String {
    match act.kind.code() {
        "read" => format!("looked at {it}"),
        "vread" => format!("looked at an earlier version of {it}"),
        "history-instance" => format!("looked at all versions of {it}"),
        "history-type" | "history-system" => format!("looked at what changed in {it}"),
        "search-type" | "search-system" => {
            format!("searched {it}, and the answer showed data about you")
        }
        "search-compartment" if is_own(act, patient) => match act.name.as_deref() {
            Some(of) => format!("looked through your entries of the kind {of}"),
            None => "looked through all of your entries".to_owned(),
        },
        "search-compartment" => match act.name.as_deref() {
            Some(of) => {
                format!("searched entries of the kind {of}, and the answer showed data about you")
            }
            None => "searched the records, and the answer showed data about you".to_owned(),
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
