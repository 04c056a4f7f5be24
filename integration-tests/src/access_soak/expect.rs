//! What must be answered, and what must have been written: judged over all data by the rules alone.

use serde_json::Value;

use super::ask::{Ask, Change, Criteria, Name};
use super::caller::{Caller, Reach};
use super::model::{Model, Version};

/// What a request must come to.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    /// Any of these.
    pub(super) statuses: Vec<u16>,
    pub(super) answer: Answer,
    pub(super) effects: Vec<Effect>,
}

/// What must stand in the answer.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// Nothing of any resource.
    Nothing,
    /// This version.
    Version(Name, u64),
    /// These versions, in this order.
    Versions(Vec<(String, String, u64)>),
    /// What a server finds that has nothing else than what may be seen.
    Found(Vec<&'static str>),
    /// What was written, or this, as far as it may be read.
    Written(Option<(String, String)>),
    /// An answer of each entry.
    Entries(Vec<Expected>),
    /// That is not judged here.
    Unjudged,
}

/// A version that must have been written.
#[derive(Debug, Clone)]
pub(super) struct Effect {
    pub(super) of: String,
    /// None where the server gives one.
    pub(super) id: Option<String>,
    /// None for a deletion.
    pub(super) json: Option<Value>,
}

fn refused(status: u16) -> Expected {
    Expected { statuses: vec![status], answer: Answer::Nothing, effects: Vec::new() }
}

fn looked(answer: Answer) -> Expected {
    Expected { statuses: vec![200], answer, effects: Vec::new() }
}

fn written(status: u16, of: &str, id: Option<&str>, json: &Value) -> Expected {
    let (of, id) = (of.to_owned(), id.map(str::to_owned));
    let effects = vec![Effect { of, id, json: Some(json.clone()) }];
    Expected { statuses: vec![status], answer: Answer::Written(None), effects }
}

fn deleted(of: &str, id: Option<&str>) -> Expected {
    let effect = |id: &str| Effect { of: of.to_owned(), id: Some(id.to_owned()), json: None };
    Expected { effects: id.map(effect).into_iter().collect(), ..refused(204) }
}

/// Who asks, and of what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) caller: &'a Caller,
    pub(super) model: &'a Model,
}

impl Judge<'_> {
    /// What a request must come to.
    pub(super) fn expect(&self, ask: &Ask) -> Expected {
        let Self { caller, model } = self;
        match ask {
            Ask::Read((of, id)) => self.version(caller.reads(of), model.present(of, id)),
            Ask::Vread((of, id), number) => {
                let mut versions = model.versions.iter();
                let version =
                    versions.find(|it| it.of == *of && it.id == *id && it.number == *number);
                self.version(caller.reads(of), version)
            }
            Ask::HistoryInstance((of, id)) => {
                let reach = caller.reach(of, &["history"]);
                let newest = model.present(of, id);
                match newest {
                    _ if reach == Reach::Denied => refused(403),
                    Some(newest) if caller.sees(model, &reach, newest) => {
                        self.versions(|it| it.of == *of && it.id == *id, |_| reach.clone())
                    }
                    _ => refused(404),
                }
            }
            Ask::HistoryType(of) => {
                let reach = caller.reach(of, &["history", "search"]);
                match reach {
                    Reach::Denied => refused(403),
                    _ => self.versions(|it| it.of == *of, |_| reach.clone()),
                }
            }
            Ask::HistorySystem => match caller.of_all_types(&["history", "search"]) {
                true => self.versions(|_| true, |it| caller.reach(&it.of, &["history", "search"])),
                false => refused(403),
            },
            Ask::Search(types, _) => {
                match types.iter().any(|of| caller.searches(of) == Reach::Denied) {
                    true => refused(403),
                    false => looked(Answer::Found(types.clone())),
                }
            }
            Ask::Compartment(name, of, _) => self.compartment(name, *of),
            Ask::Create(json) => self.create(json),
            Ask::CreateIfNone(json, criteria) => self.create_if_none(json, criteria),
            Ask::Update((of, id), json) => self.update(of, id, json),
            Ask::Patch((of, id), change) => {
                self.patch((of, id), &caller.reach(of, &["update", "read"]), change)
            }
            Ask::Delete((of, id)) => {
                let reach = caller.reach(of, &["delete"]);
                let seen = model.alive(of, id).filter(|it| caller.sees(model, &reach, it));
                match (&reach, seen) {
                    (Reach::Denied, _) => refused(403),
                    (_, Some(it)) if !caller.may_replace(model, &reach, it) => refused(403),
                    _ => deleted(of, seen.map(|it| &*it.id)),
                }
            }
            Ask::UpdateWhere(json, criteria) => self.update_where(json, criteria),
            Ask::PatchWhere(of, criteria, change) => {
                let reach = caller.reach(of, &["update", "read", "search"]);
                match self.matches(of, &reach, criteria) {
                    None => refused(403),
                    Some(found) => match &*found {
                        [] => refused(404),
                        [one] => self.patch((of, one), &reach, change),
                        _ => refused(412),
                    },
                }
            }
            Ask::DeleteWhere(of, criteria) => {
                let reach = caller.reach(of, &["delete", "search"]);
                match self.matches(of, &reach, criteria) {
                    None => refused(403),
                    Some(found) => match &*found {
                        [] => deleted(of, None),
                        [one] => match model.alive(of, one) {
                            Some(it) if !caller.may_replace(model, &reach, it) => refused(403),
                            _ => deleted(of, Some(one)),
                        },
                        _ => refused(412),
                    },
                }
            }
            Ask::Batch(entries) => {
                let entries: Vec<_> = entries.iter().map(|entry| self.expect(entry)).collect();
                let effects = entries.iter().flat_map(|it| it.effects.clone()).collect();
                Expected { effects, ..looked(Answer::Entries(entries)) }
            }
            Ask::Transaction(entries) => {
                let entries: Vec<_> = entries.iter().map(|entry| self.expect(entry)).collect();
                let failed = entries.iter().filter(|it| it.statuses.iter().all(|it| *it >= 400));
                let statuses: Vec<u16> = failed.flat_map(|it| it.statuses.clone()).collect();
                if !statuses.is_empty() {
                    return Expected { statuses, ..refused(403) };
                }
                let effects = entries.iter().flat_map(|it| it.effects.clone()).collect();
                Expected { effects, ..looked(Answer::Entries(entries)) }
            }
        }
    }

    fn version(&self, reach: Reach, version: Option<&Version>) -> Expected {
        if reach == Reach::Denied {
            return refused(403);
        }
        match version.filter(|it| self.caller.sees(self.model, &reach, it)) {
            None => refused(404),
            Some(it) if it.json.is_none() => refused(410),
            Some(it) => {
                let of = super::caller::TYPES.into_iter().find(|of| *of == it.of);
                let of = of.expect("a type that is written");
                looked(Answer::Version((of, it.id.clone()), it.number))
            }
        }
    }

    fn versions(
        &self,
        is_of: impl Fn(&Version) -> bool,
        reach: impl Fn(&Version) -> Reach,
    ) -> Expected {
        let of = self.model.versions.iter().rev().filter(|it| is_of(it));
        let seen = of.filter(|it| self.caller.sees(self.model, &reach(it), it));
        let named = seen.map(|it| (it.of.clone(), it.id.clone(), it.number));
        looked(Answer::Versions(named.collect()))
    }

    fn compartment(&self, (about, id): &Name, of: Option<&'static str>) -> Expected {
        let Self { caller, model } = self;
        let denied = match of {
            Some(of) => caller.searches(of) == Reach::Denied,
            None => !caller.of_all_types(&["search"]),
        };
        let reads = caller.reads(about);
        if denied {
            return refused(403);
        }
        if reads == Reach::Denied {
            return looked(Answer::Unjudged);
        }
        let types = match of {
            Some(of) => vec![of],
            None => super::caller::TYPES.to_vec(),
        };
        match model.alive(about, id).filter(|it| caller.sees(model, &reads, it)) {
            None => refused(404),
            // What is read alone the other server does not have.
            Some(it) if !self.is_shown(&types, it) => looked(Answer::Unjudged),
            Some(_) => looked(Answer::Found(types)),
        }
    }

    /// Whether a search of these types may come upon this: as a match what may be searched, of
    /// other types what may be searched and read.
    pub(super) fn is_shown(&self, searched: &[&str], version: &Version) -> bool {
        let reach = match searched.contains(&&*version.of) {
            true => self.caller.searches(&version.of),
            false => self.caller.on_the_way(&version.of),
        };
        self.caller.sees(self.model, &reach, version)
    }

    fn create(&self, json: &Value) -> Expected {
        let of = json["resourceType"].as_str().unwrap_or_default();
        let reach = self.caller.reach(of, &["create"]);
        match self.caller.may_write(self.model, &reach, (of, "new"), json) {
            true => written(201, of, None, json),
            false => refused(403),
        }
    }

    fn create_if_none(&self, json: &Value, criteria: &Criteria) -> Expected {
        let created = self.create(json);
        if created.statuses != [201] {
            return created;
        }
        let of = json["resourceType"].as_str().unwrap_or_default();
        match self.matches(of, &self.caller.searches(of), criteria) {
            None => refused(403),
            Some(found) => match &*found {
                [] => created,
                [one] => looked(Answer::Written(Some((of.to_owned(), one.clone())))),
                _ => refused(412),
            },
        }
    }

    fn update(&self, of: &str, id: &str, json: &Value) -> Expected {
        let Self { caller, model } = self;
        let reach = caller.reach(of, &["update"]);
        let present = model.alive(of, id);
        match (&reach, present) {
            (Reach::Denied, _) => refused(403),
            (Reach::Whole, Some(_)) => written(200, of, Some(id), json),
            (Reach::Whole, None) if caller.may_choose_ids(of) => written(201, of, Some(id), json),
            (Reach::Whole, None) => refused(403),
            (_, Some(it)) if caller.sees(model, &reach, it) => {
                let may = caller.may_replace(model, &reach, it)
                    && caller.may_write(model, &reach, (of, id), json);
                match may {
                    true => written(200, of, Some(id), json),
                    false => refused(403),
                }
            }
            _ => refused(404),
        }
    }

    fn patch(&self, (of, id): (&str, &str), reach: &Reach, change: &Change) -> Expected {
        let Self { caller, model } = self;
        if *reach == Reach::Denied {
            return refused(403);
        }
        let Some(present) = model.present(of, id) else { return refused(404) };
        let Some(json) = &present.json else {
            return refused(if *reach == Reach::Whole { 410 } else { 404 });
        };
        if !caller.sees(model, reach, present) {
            return refused(404);
        }
        let patched = change.apply(json);
        let may = caller.may_replace(model, reach, present)
            && caller.may_write(model, reach, (of, id), &patched);
        match may {
            true => written(200, of, Some(id), &patched),
            false => refused(403),
        }
    }

    fn update_where(&self, json: &Value, criteria: &Criteria) -> Expected {
        let Self { caller, model } = self;
        let of = json["resourceType"].as_str().unwrap_or_default();
        let reach = caller.reach(of, &["update", "search"]);
        match self.matches(of, &reach, criteria) {
            None => refused(403),
            Some(found) => match &*found {
                [] => self.create(json),
                [one] => {
                    let there = model.alive(of, one);
                    let may = there.is_some_and(|it| caller.may_replace(model, &reach, it))
                        && caller.may_write(model, &reach, (of, one), json);
                    match may {
                        true => written(200, of, Some(one), json),
                        false => refused(403),
                    }
                }
                _ => refused(412),
            },
        }
    }

    /// The ids of what criteria match among what may be touched; `None` where they may not be asked.
    fn matches(&self, of: &str, reach: &Reach, criteria: &Criteria) -> Option<Vec<String>> {
        let Self { caller, model } = self;
        let patients = caller.on_the_way("Patient");
        if *reach == Reach::Denied || caller.searches(of) == Reach::Denied {
            return None;
        }
        if matches!(criteria, Criteria::OfActive) && patients == Reach::Denied {
            return None;
        }
        let is_match = |it: &Version| {
            let json = it.json.as_ref().expect("it is there");
            let subject = json["subject"]["reference"].as_str().unwrap_or_default();
            match criteria {
                Criteria::Id(id) => it.id == *id,
                Criteria::Tag(code) => json["meta"]["tag"][0]["code"] == **code,
                Criteria::Subject(reference) => subject == reference,
                Criteria::OfActive => {
                    let patient = subject.strip_prefix("Patient/");
                    let patient = patient.and_then(|id| model.alive("Patient", id));
                    patient.filter(|it| caller.sees(model, &patients, it)).is_some_and(|it| {
                        it.json.as_ref().is_some_and(|json| json["active"] == true)
                    })
                }
            }
        };
        let seen = model.all_alive(Some(of)).filter(|it| caller.sees(model, reach, it));
        Some(seen.filter(|it| is_match(it)).map(|it| it.id.clone()).collect())
    }
}
