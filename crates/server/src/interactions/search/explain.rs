//! `_explain`: how a search is answered and what it costs (`plan`), or why a resource matches or
//! does not (`Type/id`), as Parameters instead of the page.
//!
//! It takes the power `explain` beside the right to search. What the caller may not see is not
//! there: it has no count, and its resources are explained as those that do not exist. What depends
//! on all data, as positions of the log, the counts of the index and what was really spent, is told
//! to who sees all.

use contract::{Instance, Power, Reason};
use database::{
    ClauseExplained, Costly, Explained, ResourceExplained, SearchError, Snapshot, Step, TypePlan,
};
use fhir_search::explain::{Read, criteria, included_by, read_as, sorted_by};
use fhir_search::{Clause, Query};
use serde_json::{Value, json};

use super::asked::Page;
use super::asked_with;
use super::codes::SeenCodes;
use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::validation::Definitions;

/// The parameter that asks for it.
pub(super) const PARAMETER: &str = "_explain";

/// What is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Explain {
    /// How the search is answered.
    Plan,
    /// Whether and why this resource matches.
    Resource(Instance),
}

impl Explain {
    /// What the parameters of a request ask to be explained, if its caller may ask that.
    pub(super) fn read(
        call: &Call<'_>,
        parameters: &[(String, String)],
    ) -> Result<Option<Self>, ServerError> {
        let mut given = parameters.iter().filter(|(name, _)| name == PARAMETER);
        let Some((_, value)) = given.next() else { return Ok(None) };
        check_power(call)?;
        let invalid = |mend| ServerError::InvalidParameter { name: PARAMETER, mend };
        if given.next().is_some() {
            return Err(invalid("give it once"));
        }
        match &**value {
            "plan" => Ok(Some(Self::Plan)),
            value => match value.parse() {
                Ok(instance) => Ok(Some(Self::Resource(instance))),
                Err(_) => Err(invalid("write plan, or Type/id of the resource in question")),
            },
        }
    }
}

/// Checks that the caller may have searches explained.
fn check_power(call: &Call<'_>) -> Result<(), ServerError> {
    if call.grant.powers.contains(&Power::Explain) {
        Ok(())
    } else if call.grant.is_public() {
        Err(ServerError::Denied(Reason::NoCaller))
    } else {
        Err(ServerError::Denied(Reason::PowerMissing(Power::Explain)))
    }
}

/// Explains a page of a search.
pub(super) async fn explain(
    call: &Call<'_>,
    (query, page, explain): (&Query, &Page, &Explain),
    snapshot: &Snapshot,
    definitions: &Definitions,
) -> Result<Answer, ServerError> {
    let codes = SeenCodes::of(call).await?;
    let mut asked = asked_with(call, query, page, definitions, &codes);
    asked.count = true;
    let parameters = match explain {
        Explain::Plan => {
            let explained = snapshot.explain(query, &asked).await?;
            let before = call.rows.get();
            let total = match snapshot.search(query, &asked).await {
                Ok(found) => found.total,
                Err(SearchError::TooCostly { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            let real = (explained.at.is_some() && total.is_some())
                .then(|| call.rows.get().saturating_sub(before));
            plan(query, &explained, Spent { budget: asked.budget, real, total })
        }
        Explain::Resource(instance) => {
            let (of, id) = (&instance.resource_type, &instance.id);
            if !query.types.iter().any(|it| it.resource_type == *of) {
                let mend = "name a resource of a type that is searched";
                return Err(ServerError::InvalidParameter { name: PARAMETER, mend });
            }
            let explained = snapshot.explain_resource(query, &asked, (of, id)).await?;
            let found = snapshot.search(query, &asked).await?;
            let on_page = found.matches.iter().any(|it| it.resource_type == *of && it.id == *id);
            resource(query, instance, explained.as_ref(), on_page)
        }
    };
    let parameters = Value::from(parameters);
    Ok(Answer::of(format!(r#"{{"resourceType":"Parameters","parameter":{parameters}}}"#)))
}

/// What a search cost.
struct Spent {
    budget: u64,
    /// Told to who sees all data.
    real: Option<u64>,
    /// None when it costs too much to be known.
    total: Option<u64>,
}

fn plan(query: &Query, explained: &Explained, spent: Spent) -> Vec<Value> {
    let mut told = Vec::new();
    told.extend(explained.at.map(|at| number("t", at.get())));
    told.extend(spent.total.map(|total| number("total", total)));
    match &explained.by {
        Ok(_) => told.push(code("answeredBy", "index")),
        Err(why) => {
            told.push(code("answeredBy", "scan"));
            told.push(text("because", &why.to_string()));
        }
    }
    let mut cost = vec![number("budget", spent.budget)];
    cost.extend(explained.estimated.map(|rows| number("estimated", rows)));
    cost.extend(spent.real.map(|rows| number("real", rows)));
    if spent.total.is_none() {
        cost.push(boolean("tooCostly", true));
    }
    if let Some(Costly { parameter, mend }) = &explained.most {
        let parameter = parameter.as_deref().map(|name| text("parameter", name));
        let most = parameter.into_iter().chain([text("cheaper", mend)]);
        cost.push(part("most", most.collect()));
    }
    told.push(part("rows", cost));
    let plans = explained.by.as_ref().ok().and_then(Option::as_ref);
    told.extend(plans.map(|it| number("parts", it.parts as u64)));
    for (at, of) in query.types.iter().enumerate() {
        let plan = plans.and_then(|plan| plan.types.get(at));
        let mut parts = vec![code("of", of.resource_type.as_str())];
        if let Some(TypePlan { documents, left, cost, .. }) = plan {
            let counts = [("versions", *documents), ("left", *left), ("entries", *cost)];
            parts.extend(counts.map(|(name, count)| number(name, count)));
        }
        for (at, clause) in of.clauses.iter().enumerate() {
            let mut told = named(query, at);
            told.push(reading(&read_as(clause)));
            told.extend(plan.and_then(|it| it.steps.get(at)).map(step));
            parts.push(part("condition", told));
        }
        // Behind the conditions stands the compartment.
        let compartment = plan.and_then(|it| it.steps.get(of.clauses.len()));
        parts.extend(compartment.map(|it| part("compartment", vec![step(it)])));
        for key in &query.sort {
            parts.push(text("sort", &sorted_by(key, at)));
        }
        told.push(part("type", parts));
    }
    if let Some(plan) = plans {
        told.extend((!query.sort.is_empty()).then(|| number("entriesForSort", plan.sort)));
        let included = !query.includes.is_empty();
        told.extend(included.then(|| number("entriesForIncludes", plan.includes)));
    }
    told.extend(query.includes.iter().map(|it| text("include", &included_by(it))));
    told
}

/// The parameter of the request that a condition came from.
fn named(query: &Query, at: usize) -> Vec<Value> {
    match criteria(query).get(at) {
        Some(applied) => vec![text("parameter", &applied.name), text("value", &applied.value)],
        None => Vec::new(),
    }
}

/// How a condition was read.
fn reading(read: &Read) -> Value {
    let says = read.says.iter().map(|(name, said)| text(name, said));
    let what = [code("what", read.what)].into_iter();
    part("read", what.chain(says).chain(read.within.iter().map(reading)).collect())
}

/// How a condition is answered.
fn step(step: &Step) -> Value {
    let mut parts = vec![code("by", step.way.as_str())];
    parts.extend(step.of.as_ref().map(|of| code("of", of.as_str())));
    parts.push(number("turn", step.turn as u64));
    if step.asks_each {
        parts.push(boolean("asksEach", true));
    }
    let counts = [("keys", step.keys), ("versions", step.documents), ("entries", step.cost)];
    parts.extend(counts.map(|(name, count)| number(name, count)));
    parts.extend(step.within.iter().map(self::step));
    part("answered", parts)
}

fn resource(
    query: &Query,
    instance: &Instance,
    explained: Option<&ResourceExplained>,
    on_page: bool,
) -> Vec<Value> {
    let mut told = vec![text("resource", &instance.to_string())];
    let Some(explained) = explained else {
        told.extend([boolean("there", false), boolean("matches", false)]);
        return told;
    };
    told.extend([
        boolean("there", true),
        boolean("matches", explained.matches),
        boolean("onThisPage", on_page),
        text("version", &explained.entry.version.to_string()),
    ]);
    told.extend(explained.since.map(|t| number("indexedSinceT", t.get())));
    let since = explained.instant.to_string();
    told.push(json!({ "name": "indexedSince", "valueInstant": since }));
    told.push(boolean("indexCaughtUp", explained.caught_up));
    told.extend(explained.in_compartment.map(|it| boolean("inCompartment", it)));
    let of = query.types.iter().find(|it| it.resource_type == instance.resource_type);
    let clauses: &[Clause] = of.map_or(&[], |of| &of.clauses);
    for (at, (condition, clause)) in explained.clauses.iter().zip(clauses).enumerate() {
        let mut parts = named(query, at);
        parts.push(reading(&read_as(clause)));
        parts.extend(held(condition));
        told.push(part("condition", parts));
    }
    for (by, value) in &explained.sort {
        let value = value.as_deref().map(|it| text("value", it));
        told.push(part("sort", [text("by", by)].into_iter().chain(value).collect()));
    }
    told
}

/// Whether a condition holds, and what there is for it to hold of.
fn held(condition: &ClauseExplained) -> Vec<Value> {
    let mut parts = vec![boolean("holds", condition.holds)];
    for value in &condition.values {
        let mut told = vec![text("of", &value.parameter), text("value", &value.value)];
        told.extend(value.counts.map(|counts| boolean("counts", counts)));
        parts.push(part("indexed", told));
    }
    parts.extend(condition.within.iter().map(|it| part("within", held(it))));
    parts
}

fn part(name: &str, parts: Vec<Value>) -> Value {
    json!({ "name": name, "part": parts })
}

fn text(name: &str, text: &str) -> Value {
    // FHIR has no empty text.
    let text = if text.trim().is_empty() { "nothing" } else { text };
    json!({ "name": name, "valueString": text })
}

fn code(name: &str, code: &str) -> Value {
    json!({ "name": name, "valueCode": code })
}

fn number(name: &str, number: u64) -> Value {
    json!({ "name": name, "valueDecimal": number })
}

fn boolean(name: &str, boolean: bool) -> Value {
    json!({ "name": name, "valueBoolean": boolean })
}
