//! Whose data a Group's or a care team's are: who is an active member now (FHIR R4, Group.member,
//! CareTeam.participant). It is judged each time it is asked, of a Group once for as long as its
//! version is the newest and no membership begins or ends.

use contract::Within;
use database::{Asked, Owners, Snapshot};
use fhir_core::json::{Document, Value};
use fhir_core::{Instance, Instant, Reference, ResourceId, ResourceType};
use fhir_search::{Handling, Limits, Reader, Zone};

use super::Seer;
use super::groups::Members;
use crate::error::ServerError;
use crate::interactions::history::Period;
use crate::interactions::search::SeenCodes;

/// Care teams that are looked up at once.
const PAGE: usize = 1_000;

impl Seer<'_, '_> {
    /// The members of a Group, or the patients in the care of the user, as of a snapshot of all
    /// data.
    pub(super) async fn members(
        &self,
        snapshot: &Snapshot,
        within: &Within,
    ) -> Result<Owners, ServerError> {
        match within {
            Within::Group(id) => self.of_group(snapshot, id).await,
            Within::CareTeamOf => match &self.call.grant.fhir_user {
                Some(user) => self.in_care_of(snapshot, user).await,
                None => Ok(Owners::from([])),
            },
            Within::All | Within::Compartment(_) | Within::Own => Ok(Owners::from([])),
        }
    }

    async fn of_group(&self, snapshot: &Snapshot, id: &ResourceId) -> Result<Owners, ServerError> {
        let group = ResourceType::new("Group").expect("the name of a type");
        let version = match snapshot.read(&group, id).await {
            Err(database::ReadError::Purged) => None,
            version => version?,
        };
        let Some((t, json)) = version.and_then(|it| Some((it.entry.t, it.json?))) else {
            return Ok(Owners::from([]));
        };
        let now = self.call.server.clock.now();
        let groups = &self.call.server.groups;
        let key = (self.call.grant.tenant.clone(), id.clone(), t);
        if let Some(known) = groups.get(&key, now) {
            return Ok(known);
        }
        let document = Document::parse(&json).map_err(ServerError::InvalidJson)?;
        let group = document.root();
        let is_active = !is_literally(group.get("active"), "false");
        let members = group.get("member").filter(|_| is_active);
        let members = members.into_iter().flat_map(|members| members.items());
        let (mut patients, mut until) = (Vec::new(), None);
        for member in members.filter(|member| !is_literally(member.get("inactive"), "true")) {
            let Some(patient) = self.patient(member.get("entity")) else { continue };
            let period = member.get("period");
            if covers(period, now) {
                patients.push(patient);
            }
            until = [until, changes(period, now)].into_iter().flatten().min();
        }
        let patients = owners(patients);
        groups.keep(key, Members { patients: patients.clone(), from: now, until });
        Ok(patients)
    }

    async fn in_care_of(
        &self,
        snapshot: &Snapshot,
        user: &Instance,
    ) -> Result<Owners, ServerError> {
        let mut patients = Vec::new();
        let of = ResourceType::new("CareTeam").expect("the name of a type");
        let Some(definitions) = &self.definitions else { return Ok(owners(patients)) };
        if !definitions.has_fhirs_own(&of, "participant") {
            return Ok(owners(patients));
        }
        let (call, limits) = (self.call, Limits::default());
        let reader = Reader {
            parameters: definitions.extractor.parameters(),
            definitions: &definitions.set,
            schema: call.database.schema(),
            base: call.server.base.as_str(),
            zone: Zone::UTC,
            now: call.server.clock.now(),
            handling: Handling::Strict,
            limits: &limits,
        };
        let query = reader.read(&fhir_search::Asked {
            resource_type: Some(of),
            compartment: None,
            parameters: &[("participant".to_owned(), user.to_string())],
        })?;
        let codes = SeenCodes::of(call).await?;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let asked = Asked {
                extractor: &definitions.extractor,
                codes: &codes,
                base: call.server.base.as_str(),
                zone: Zone::UTC,
                after: after.as_deref(),
                most: PAGE,
                count: false,
                most_included: 0,
                budget: call.server.limits.search_versions,
            };
            let found = snapshot.search(&query, &asked).await?;
            for team in found.matches {
                let json = match snapshot.load(team).await {
                    Err(database::ReadError::Purged) => None,
                    version => version?.json,
                };
                let Some(json) = json else { continue };
                let document = Document::parse(&json).map_err(ServerError::InvalidJson)?;
                patients.extend(self.cared_for(document.root(), user));
            }
            match found.next {
                Some(next) => after = Some(next),
                None => return Ok(owners(patients)),
            }
        }
    }

    /// The patient that a care team cares for, if the user takes part in it now.
    fn cared_for(&self, team: Value<'_>, user: &Instance) -> Option<ResourceId> {
        let now = self.call.server.clock.now();
        let is_active = team.get("status").is_some_and(|status| status.is_string("active"));
        if !is_active || !covers(team.get("period"), now) {
            return None;
        }
        let is_user = |reference: Option<Value<'_>>| {
            self.local(reference).is_some_and(|(of, id)| of == user.resource_type && id == user.id)
        };
        let mut participants = team.get("participant").into_iter().flat_map(|all| all.items());
        participants
            .any(|it| is_user(it.get("member")) && covers(it.get("period"), now))
            .then(|| self.patient(team.get("subject")))?
    }

    /// The patient of this server that a reference names.
    fn patient(&self, reference: Option<Value<'_>>) -> Option<ResourceId> {
        self.local(reference).filter(|(of, _)| of.as_str() == "Patient").map(|(_, id)| id)
    }

    fn local(&self, reference: Option<Value<'_>>) -> Option<(ResourceType, ResourceId)> {
        let text = reference?.get("reference")?.as_str()?;
        named(&text, self.call.server.base.as_str())
    }
}

/// The resource of this server, whose base that is, that a reference names: by the grammar that
/// compartments are judged by. Whoever writes a membership is asked for the patients that are named
/// so, and no others may be meant.
pub(super) fn named(reference: &str, base: &str) -> Option<(ResourceType, ResourceId)> {
    match Reference::parse(reference).ok()? {
        Reference::Relative(target) => Some((target.resource_type, target.id)),
        Reference::Absolute(of, target) if of == base => Some((target.resource_type, target.id)),
        _ => None,
    }
}

/// Whether a boolean is there and is this.
fn is_literally(value: Option<Value<'_>>, wanted: &str) -> bool {
    value.is_some_and(|value| value.raw() == wanted)
}

/// Patients as those whose compartments are shown.
fn owners(patients: Vec<ResourceId>) -> Owners {
    let patient = ResourceType::new("Patient").expect("the name of a type");
    patients.into_iter().map(|id| (patient.clone(), id)).collect()
}

/// The last moment until which what [`covers`] says now stays so; `None` where it always does.
fn changes(period: Option<Value<'_>>, now: Instant) -> Option<Instant> {
    let side = |name: &str| Period::read(&period?.get(name)?.as_str()?);
    let begins = side("start").map(|start| start.first).filter(|first| now < *first);
    let begins = begins.map(|first| Instant::from_micros(first.as_micros() - 1));
    let ends = side("end").map(|end| end.last).filter(|last| now <= *last);
    [begins, ends].into_iter().flatten().min()
}

/// Whether a Period has begun and has not ended; none has neither begin nor end, and one that
/// cannot be read covers nothing.
fn covers(period: Option<Value<'_>>, now: Instant) -> bool {
    let Some(period) = period else { return true };
    let side = |name: &str, holds: &dyn Fn(Period) -> bool| match period.get(name) {
        None => true,
        Some(text) => text.as_str().and_then(|text| Period::read(&text)).is_some_and(holds),
    };
    side("start", &|start| start.first <= now) && side("end", &|end| now <= end.last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(period: &str, expected: bool) {
        let document = Document::parse(period.as_bytes()).unwrap();
        let now = "2026-03-04T05:06:07Z".parse().unwrap();
        assert_eq!(covers(Some(document.root()), now), expected, "{period}");
    }

    #[test]
    fn a_period_covers_all_of_its_first_and_of_its_last_day() {
        check("{}", true);
        check(r#"{"start":"2026-03-04","end":"2026-03-04"}"#, true);
        check(r#"{"start":"2026"}"#, true);
        check(r#"{"end":"2026-03"}"#, true);
        check(r#"{"start":"2026-03-05"}"#, false);
        check(r#"{"end":"2026-03-03"}"#, false);
        check(r#"{"end":"2026-03-04T05:06:06Z"}"#, false);
    }

    /// Whom a reference names, and whether compartments have it under that name.
    fn check_named(reference: &str, expected: Option<&str>) {
        let named = named(reference, "http://clinic.example/fhir");
        let named = named.map(|(of, id)| format!("{of}/{id}"));
        assert_eq!(named.as_deref(), expected, "{reference}");
    }

    // LEAK-25
    #[test]
    fn a_member_is_named_as_compartments_read_references_and_in_no_other_way() {
        check_named("Patient/7", Some("Patient/7"));
        check_named("http://clinic.example/fhir/Patient/7", Some("Patient/7"));
        check_named("Patient/7/_history/2", Some("Patient/7"));
        for other in [
            "http://other.example/fhir/Patient/7",
            "http://clinic.example/fhir/v2/Patient/7",
            "https://clinic.example/fhir/Patient/7",
            "/Patient/7",
            "./Patient/7",
            "fhir/Patient/7",
            "Patient/7/",
            "Patient/7?x=1",
            "Patient?identifier=7",
            "#7",
            "urn:uuid:7f0c2b1e-0000-4000-8000-000000000000",
            "patient/7",
            "",
        ] {
            check_named(other, None);
        }
    }

    #[test]
    fn what_a_period_covers_stays_so_until_it_begins_or_ends() {
        let now: Instant = "2026-03-04T05:06:07Z".parse().unwrap();
        for (period, expected) in [
            ("{}", None),
            (r#"{"start":"2026","end":"2026-03-03"}"#, None),
            (r#"{"start":"2026-03-05"}"#, Some("2026-03-04T23:59:59.999999Z")),
            (r#"{"end":"2026-03-04"}"#, Some("2026-03-04T23:59:59.999999Z")),
            (
                r#"{"start":"2026-03-04T05:06:08Z","end":"2027"}"#,
                Some("2026-03-04T05:06:07.999999Z"),
            ),
            (r#"{"start":"soon","end":7}"#, None),
        ] {
            let document = Document::parse(period.as_bytes()).unwrap();
            let last = changes(Some(document.root()), now);
            assert_eq!(last, expected.map(|text| text.parse().unwrap()), "{period}");
            // It covers the same then, and another moment later it does not.
            if let Some(last) = last {
                let covered = |at| covers(Some(document.root()), at);
                let later = Instant::from_micros(last.as_micros() + 1);
                assert!(
                    covered(last) == covered(now) && covered(later) != covered(now),
                    "{period}"
                );
            }
        }
    }

    #[test]
    fn a_period_that_cannot_be_read_covers_nothing() {
        for period in [r#"{"start":"soon"}"#, r#"{"end":""}"#, r#"{"end":7}"#] {
            check(period, false);
        }
    }
}
