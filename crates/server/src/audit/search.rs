//! Search and read of AuditEvents: a bounded set of parameters over the audit log, the newest
//! first, for who has the power `audit`.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use contract::{Instance, Power, Reason};
use database::Abandoned;
use database::audit::{AuditLog, Event, Extent, Reached};
use fhir_core::{Instant, ResourceId, days_in_month};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::resource::ID;
use super::{AUDIT_EVENT, log_of, synced, to_resource};
use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::negotiation::parameters;
use crate::page_link::{self, PageLinks};

/// The parameters that AuditEvents are searched by.
pub(crate) const PARAMETERS: [&str; 5] = ["date", "patient", "agent", "entity", "_count"];
/// Events on a page that does not say how many, and on any.
const COUNT: usize = 50;
const MOST: usize = 1_000;
/// Bytes of the log that one request looks at before it gives the page that it has.
pub(super) const MOST_BYTES: u64 = 128 << 20;
/// Requests that read audit logs at once, and how long another waits for its place.
const AT_ONCE: usize = 4;
const PATIENCE: Duration = Duration::from_secs(10);
const SECOND: i64 = 1_000_000;

/// What is asked of the log.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) instants: Range<Instant>,
    pub(super) patient: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) entity: Option<Instance>,
    pub(super) count: usize,
}

/// What was found of it.
pub(super) struct Found {
    pub(super) events: Vec<(u64, Event)>,
    /// Events before this number are still to be looked at.
    pub(super) next: Option<u64>,
    /// A place among those that read, until the answer is made of it.
    _place: OwnedSemaphorePermit,
}

/// Who may read audit logs at once: each reads and opens up to [`MOST_BYTES`] of files, and holds a
/// page of events.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    places: Arc<Semaphore>,
    patience: Duration,
}

impl Readers {
    /// So many at once; of others each waits as long for a place.
    pub(crate) fn new(places: usize, patience: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), patience }
    }

    /// A place.
    ///
    /// # Errors
    /// [`ServerError::TooManyAuditReads`] when others have all of them for too long.
    async fn place(&self) -> Result<OwnedSemaphorePermit, ServerError> {
        let place = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout(self.patience, place).await;
        place.ok().and_then(Result::ok).ok_or(ServerError::TooManyAuditReads)
    }
}

impl Default for Readers {
    fn default() -> Self {
        Self::new(AT_ONCE, PATIENCE)
    }
}

impl Asked {
    /// Reads a query, of which `known` are the parameters that are read here.
    pub(super) fn read(query: &str, known: &[&str]) -> Result<Self, ServerError> {
        let always = Instant::MIN..Instant::from_micros(i64::MAX);
        let mut asked =
            Self { instants: always, patient: None, agent: None, entity: None, count: COUNT };
        for (name, value) in parameters(query) {
            if matches!(&*name, "_format" | "_pretty") {
                continue;
            }
            if !known.contains(&&*name) {
                return Err(ServerError::AuditParameter { name, known: known.join(", ") });
            }
            let invalid = |name, mend| ServerError::InvalidParameter { name, mend };
            match &*name {
                "date" => {
                    let range = date(&value).ok_or_else(|| {
                        invalid("date", "write a date like 2026-05-01, or ge2026-05 and lt2026-06")
                    })?;
                    asked.instants.start = asked.instants.start.max(range.start);
                    asked.instants.end = asked.instants.end.min(range.end);
                }
                "patient" => {
                    let id = value.strip_prefix("Patient/").unwrap_or(&value);
                    if !ResourceId::is_valid(id) {
                        return Err(invalid("patient", "write the patient's id, or Patient/id"));
                    }
                    asked.patient = Some(id.to_owned());
                }
                "agent" => asked.agent = Some(value),
                "entity" => {
                    let entity = value.parse();
                    asked.entity = Some(entity.map_err(|_| invalid("entity", "write Type/id"))?);
                }
                _ => {
                    let count = value.parse::<usize>();
                    let count = count.map_err(|_| invalid("_count", "write a number"))?;
                    asked.count = count.clamp(1, MOST);
                }
            }
        }
        Ok(asked)
    }

    pub(super) fn matches(&self, event: &Event) -> bool {
        let is = |text: &Option<Box<str>>, asked: &str| text.as_deref() == Some(asked);
        let patient = |asked: &String| event.patients.iter().any(|patient| **patient == **asked);
        let agent = |asked: &String| {
            is(&event.client, asked) || is(&event.user, asked) || is(&event.fhir_user, asked)
        };
        let entity = |asked: &Instance| {
            let (of, id) = (asked.resource_type.as_str(), asked.id.as_str());
            let acts = std::iter::once(&event.act).chain(&event.entries);
            let mut acted = acts.map(|act| (act.resource_type.as_deref(), act.id.as_deref()));
            acted.any(|it| it == (Some(of), Some(id)))
                || event.shown.iter().any(|it| *it.resource_type == *of && *it.id == *id)
        };
        self.patient.as_ref().is_none_or(patient)
            && self.agent.as_ref().is_none_or(agent)
            && self.entity.as_ref().is_none_or(entity)
    }

    /// Finds a page of events that come before a number, all that was answered by now among them.
    ///
    /// # Errors
    /// [`ServerError::TooManyAuditReads`], or what keeps the log from being read.
    pub(super) async fn find(
        self,
        call: &Call<'_>,
        before: Option<u64>,
    ) -> Result<Found, ServerError> {
        let log = Arc::clone(log_of(call.server, call.grant)?);
        let place = call.server.audit_readers.place().await?;
        synced(&*log).await.map_err(|refused| ServerError::NotAudited(refused.reason))?;
        let abandoned = call.abandoned.clone();
        // It reads files, and opens what is sealed.
        aside(move || self.look((&*log, place), before, &abandoned)).await?
    }

    fn look(
        &self,
        (log, place): (&dyn AuditLog, OwnedSemaphorePermit),
        before: Option<u64>,
        abandoned: &Abandoned,
    ) -> Result<Found, ServerError> {
        let instants = self.instants.clone();
        let mut events = Vec::new();
        // One more tells whether another page follows.
        let mut more = None;
        let patient = self.patient.as_deref().map(Box::from);
        let extent = Extent { instants, before, patient, most_bytes: MOST_BYTES };
        let reached = log.read(&extent, &mut |number, event| {
            // Nobody waits for it any more.
            if abandoned.is_set() {
                return ControlFlow::Break(());
            }
            if !self.matches(&event) {
                return ControlFlow::Continue(());
            }
            if events.len() == self.count {
                more = Some(number + 1);
                return ControlFlow::Break(());
            }
            events.push((number, event));
            ControlFlow::Continue(())
        });
        let reached = reached.map_err(|error| ServerError::AuditUnreadable(error.to_string()))?;
        let next = match reached {
            Reached::Number(number) => more.or(Some(number)),
            Reached::Beginning => more,
        };
        Ok(Found { events, next, _place: place })
    }
}

/// Does what takes a while off the threads that answer requests.
async fn aside<D: Send + 'static>(
    work: impl FnOnce() -> D + Send + 'static,
) -> Result<D, ServerError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ServerError::Interrupted)
}

/// The instants that a date's parameter lets through.
fn date(value: &str) -> Option<Range<Instant>> {
    let (prefix, text) = match value.get(..2) {
        Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_lowercase()) => {
            (prefix, &value[2..])
        }
        _ => ("eq", value),
    };
    let Range { start, end } = span(text)?;
    let (first, last) = (Instant::MIN, Instant::from_micros(i64::MAX));
    Some(match prefix {
        "eq" => start..end,
        "ge" => start..last,
        "gt" | "sa" => end..last,
        "le" => first..end,
        "lt" | "eb" => first..start,
        _ => return None,
    })
}

/// The instants that a date or an instant stands for; a date without a zone is one in UTC.
fn span(text: &str) -> Option<Range<Instant>> {
    let at = |year: i64, month: i64, day: i64| -> Option<Instant> {
        format!("{year:04}-{month:02}-{day:02}T00:00:00Z").parse().ok()
    };
    let number = |text: &str| text.parse::<i64>().ok();
    let parts: Vec<&str> = text.split('-').collect();
    if !text.contains('T') {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        return match (is_plain, parts.as_slice()) {
            (true, [year]) => Some(at(number(year)?, 1, 1)?..at(number(year)? + 1, 1, 1)?),
            (true, [year, month]) => {
                let (year, month) = (number(year)?, number(month)?);
                let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                Some(at(year, month, 1)?..at(next.0, next.1, 1)?)
            }
            (true, [year, month, day]) => {
                let (year, month, day) = (number(year)?, number(month)?, number(day)?);
                let start = at(year, month, day)?;
                let is_last = day == days_in_month(year, month);
                let end = match (is_last, month) {
                    (true, 12) => at(year + 1, 1, 1)?,
                    (true, _) => at(year, month + 1, 1)?,
                    (false, _) => at(year, month, day + 1)?,
                };
                Some(start..end)
            }
            _ => None,
        };
    }
    let start: Instant = text.parse().ok()?;
    let span = if text.contains('.') { 1 } else { SECOND };
    Some(start..Instant::from_micros(start.as_micros().saturating_add(span)))
}

/// Checks that the caller may read the audit log.
fn check_power(call: &Call<'_>) -> Result<(), ServerError> {
    if call.grant.powers.contains(&Power::Audit) {
        // Events are of all the tenant's data.
        call.unrestricted()
    } else if call.grant.is_public() {
        Err(ServerError::Denied(Reason::NoCaller))
    } else {
        Err(ServerError::Denied(Reason::PowerMissing(Power::Audit)))
    }
}

/// A page of AuditEvents.
pub(crate) async fn search(call: &Call<'_>) -> Result<Answer, ServerError> {
    check_power(call)?;
    let links = PageLinks::of(call, AUDIT_EVENT);
    let (query, before) = page(call, &links)?;
    let asked = Asked::read(&query, &PARAMETERS)?;
    let patient = asked.patient.clone();
    let found = asked.find(call, before).await?;
    let (base, tenant) = (call.server.base.clone(), call.grant.tenant.clone());
    let own = if call.query.is_empty() { String::new() } else { format!("?{}", call.query) };
    let own = format!("{}/{AUDIT_EVENT}{own}", base.as_str());
    let mut link = vec![json!({ "relation": "self", "url": own })];
    if let Some(next) = found.next {
        let next = next_page(&links, next, &query);
        let url = format!("{}/{AUDIT_EVENT}?{next}", base.as_str());
        link.push(json!({ "relation": "next", "url": url }));
    }
    let write = move || bundle(&found, patient.as_deref(), link, (base.as_str(), tenant.as_str()));
    Ok(Answer::of(aside(write).await?))
}

/// A page as a Bundle.
fn bundle(
    found: &Found,
    patient: Option<&str>,
    link: Vec<Value>,
    (base, tenant): (&str, &str),
) -> String {
    let entries = found.events.iter().map(|(number, event)| {
        let resource = to_resource((*number, event), patient, (base, tenant));
        json!({
            "fullUrl": format!("{base}/{AUDIT_EVENT}/{ID}{number}"),
            "resource": resource,
            "search": { "mode": "match" },
        })
    });
    let entries: Vec<Value> = entries.collect();
    let mut bundle = json!({ "resourceType": "Bundle", "type": "searchset", "link": link });
    if !entries.is_empty() {
        bundle["entry"] = entries.into();
    }
    bundle.to_string()
}

/// The query of a page, and the number that its events come before.
pub(super) fn page(
    call: &Call<'_>,
    links: &PageLinks<'_>,
) -> Result<(String, Option<u64>), ServerError> {
    let given = parameters(call.query).find(|(name, _)| name == page_link::PARAMETER);
    let Some((_, text)) = given else { return Ok((call.query.to_owned(), None)) };
    let content = links.open(&text)?;
    let (before, query) = content.split_first_chunk().ok_or(ServerError::PageLinkInvalid)?;
    let query = String::from_utf8(query.to_vec()).map_err(|_| ServerError::PageLinkInvalid)?;
    Ok((query, Some(u64::from_be_bytes(*before))))
}

pub(super) fn next_page(links: &PageLinks<'_>, before: u64, query: &str) -> String {
    let content = [&before.to_be_bytes()[..], query.as_bytes()].concat();
    format!("{}={}", page_link::PARAMETER, links.seal(&content))
}

/// One event by its id; `None` where the id is none of the audit log's.
pub(crate) async fn read(
    call: &Call<'_>,
    instance: &Instance,
) -> Result<Option<Answer>, ServerError> {
    let number = instance.id.as_str().strip_prefix(ID).and_then(|it| it.parse::<u64>().ok());
    let Some(number) = number.filter(|_| instance.resource_type.as_str() == AUDIT_EVENT) else {
        return Ok(None);
    };
    check_power(call)?;
    let asked = Asked { count: 1, ..Asked::read("", &[])? };
    let found = asked.find(call, number.checked_add(1)).await?;
    let event = found.events.first().filter(|(found, _)| *found == number);
    let (number, event) = event.ok_or(ServerError::NotFound)?;
    let at = (call.server.base.as_str(), call.grant.tenant.as_str());
    Ok(Some(Answer::of(to_resource((*number, event), None, at).to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_answer::ErrorAnswer;

    #[tokio::test]
    async fn no_more_read_the_audit_log_at_once_than_have_a_place_and_others_are_told_so() {
        let readers = Readers::new(2, Duration::from_millis(1));
        let (first, _second) = (readers.place().await.unwrap(), readers.place().await.unwrap());
        let refused = ErrorAnswer::of(&readers.place().await.unwrap_err());
        assert_eq!((refused.status.as_u16(), refused.retry_after), (503, Some(1)));
        drop(first);
        drop(readers.place().await.unwrap());
    }

    fn check(value: &str, expected: Option<(&str, &str)>) {
        let instant = |text: &str| match text {
            "" => None,
            text => Some(text.parse::<Instant>().unwrap()),
        };
        let range = date(value);
        assert_eq!(range.is_some(), expected.is_some(), "{value}");
        if let (Some(range), Some((from, to))) = (range, expected) {
            let last = Instant::from_micros(i64::MAX);
            assert_eq!(range.start, instant(from).unwrap_or(Instant::MIN), "{value}");
            assert_eq!(range.end, instant(to).unwrap_or(last), "{value}");
        }
    }

    #[test]
    fn a_date_stands_for_all_its_instants() {
        let day = ("2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z");
        check("2026-12-31", Some(day));
        check("2026", Some(("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")));
        check("2026-02", Some(("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")));
        check("ge2026-12-31", Some((day.0, "")));
        check("gt2026-12-31", Some((day.1, "")));
        check("le2026-12-31", Some(("", day.1)));
        check("lt2026-12-31", Some(("", day.0)));
        check("2026-01-02T03:04:05Z", Some(("2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z")));
        for bad in ["", "ne2026", "2026-13", "2026-02-30", "yesterday", "2026-1-1-1", "ge", "äö"]
        {
            check(bad, None);
        }
    }
}
