//! How things stand: plans, roles, routes, upstreams, denials, break-glasses, the trail; and the
//! configuration read again.

use http::StatusCode;
use registry::{PlanName, Subject};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::call::Call;
use super::clients::{PLAN, ROLE};
use super::form::{Form, Shape, needed, optional};
use super::listed;
use super::operators::{TIME, without_absent};
use super::precondition::Resource;
use super::problem::Problem;
use crate::readiness::Readiness;
use crate::routes::{Content, Destination};

const WORDS: Form = Form::Text { most: 1000, example: "…" };
const NAME: Form = Form::Text { most: 64, example: "fhir" };
const COUNT: Form = Form::Number { least: 0, most: u64::MAX };

pub(super) static PLAN_OF_NAME: Shape = Shape {
    name: "Plan",
    says: "A plan: how much its clients may ask.",
    fields: &[
        needed("name", PLAN, ""),
        needed("limits", Form::List(&WORDS), "Each limit in words."),
    ],
};

pub(super) static PLANS: Shape = Shape {
    name: "PlanList",
    says: "Plans, by name.",
    fields: &[needed("items", Form::List(&Form::Shaped(&PLAN_OF_NAME)), "")],
};

static ROLE_SHOWN: Shape = Shape {
    name: "Role",
    says: "A role that clients can have.",
    fields: &[
        needed("name", ROLE, ""),
        needed("says", WORDS, "What it is for."),
        needed("needsPatient", Form::Truth, "It is for one patient, whom its client names."),
        needed("needsUser", Form::Truth, "It is for one person, whom its client names."),
    ],
};

pub(super) static ROLES: Shape = Shape {
    name: "RoleList",
    says: "Roles, by name.",
    fields: &[needed("items", Form::List(&Form::Shaped(&ROLE_SHOWN)), "")],
};

static ROUTE: Shape = Shape {
    name: "Route",
    says: "A route: which requests go where.",
    fields: &[
        needed("name", NAME, ""),
        needed("host", WORDS, "Its host; empty for every one."),
        needed("path", WORDS, "Its path, with all below it."),
        needed("methods", Form::List(&NAME), "The methods it takes; every one where empty."),
        needed("content", Form::Word(&["fhir", "other"]), "What is spoken there."),
        needed("upstreams", Form::List(&NAME), "Where it leads; empty for the server of ours."),
        needed("ready", Form::Truth, "Whether its requests can be answered now."),
        optional("why", WORDS, "Why they cannot."),
    ],
};

pub(super) static ROUTES: Shape = Shape {
    name: "RouteList",
    says: "Routes, in the order in which they are tried.",
    fields: &[needed("items", Form::List(&Form::Shaped(&ROUTE)), "")],
};

static ENDPOINT: Shape = Shape {
    name: "Endpoint",
    says: "An endpoint of an upstream at one address.",
    fields: &[
        needed("address", WORDS, ""),
        needed("available", Form::Truth, "Whether requests are sent to it."),
        needed("inFlight", COUNT, "Requests on their way to it."),
        optional("why", WORDS, "Why none are sent to it."),
    ],
};

static UPSTREAM: Shape = Shape {
    name: "Upstream",
    says: "An upstream of others.",
    fields: &[
        needed("name", NAME, ""),
        needed("ready", Form::Truth, "Whether requests may be sent to it."),
        optional("why", WORDS, "Why they may not."),
        needed("endpoints", Form::List(&Form::Shaped(&ENDPOINT)), ""),
    ],
};

static UPSTREAM_HEALTH: Shape = Shape {
    name: "UpstreamHealth",
    says: "Whether an upstream of others can be asked.",
    fields: &[needed("name", NAME, ""), needed("ready", Form::Truth, "")],
};

static CERTIFICATE_HEALTH: Shape = Shape {
    name: "CertificateHealth",
    says: "How it stands with the certificate by ACME.",
    fields: &[
        needed("certificate", Form::Word(&["issued", "stand-in"]), "Whether there is one."),
        optional("notAfter", TIME, "When it ends."),
        needed("failures", COUNT, "Orders that failed since one succeeded."),
        optional("error", WORDS, "Why the last one did."),
    ],
};

pub(super) static HEALTH: Shape = Shape {
    name: "Health",
    says: "Whether requests can be answered, and what is waited for.",
    fields: &[
        needed("ready", Form::Truth, "All of it holds: `/readyz` says 200."),
        needed("gateway", Form::Truth, "The gateway takes new requests."),
        optional("channel", Form::Truth, "The channel's secret is held."),
        optional("requests", Form::Truth, "The server on another host takes connections."),
        optional("server", Form::Truth, "The server says that it can answer."),
        needed("upstreams", Form::List(&Form::Shaped(&UPSTREAM_HEALTH)), "Upstreams of others."),
        needed(
            "counters",
            Form::Word(&["own", "shared", "local-shares"]),
            "How limits are counted.",
        ),
        optional(
            "registry",
            Form::Word(&["current", "away", "stuck"]),
            "Whether what other gateways change is seen.",
        ),
        optional("acme", Form::Shaped(&CERTIFICATE_HEALTH), ""),
        optional("reason", WORDS, "What is wrong with the server, or with the registry."),
    ],
};

pub(super) static UPSTREAMS: Shape = Shape {
    name: "UpstreamList",
    says: "Upstreams, by name.",
    fields: &[needed("items", Form::List(&Form::Shaped(&UPSTREAM)), "")],
};

static DENIAL: Shape = Shape {
    name: "Denial",
    says: "Why a request was denied.",
    fields: &[
        needed("requestId", WORDS, ""),
        needed("time", TIME, ""),
        needed("status", COUNT, ""),
        needed("reason", WORDS, "The stable code, as in the access log."),
        optional("client", WORDS, "Whose request it was."),
        optional("authorization", WORDS, "The authorization it came under."),
        optional("role", WORDS, "The client's role."),
        needed("asked", WORDS, "What was asked for."),
        needed("decided", WORDS, "What decided."),
        needed("mend", WORDS, "What would allow it."),
    ],
};

pub(super) static DENIALS: Shape = Shape {
    name: "DenialList",
    says: "Denials of one request id, oldest first.",
    fields: &[needed("items", Form::List(&Form::Shaped(&DENIAL)), "")],
};

static BREAK_GLASS: Shape = Shape {
    name: "BreakGlass",
    says: "Wider rights that were taken in an emergency.",
    fields: &[
        needed("time", TIME, ""),
        needed("by", WORDS, "With which key."),
        needed(
            "summary",
            Form::Text { most: 4000, example: "…" },
            "Who took what, for whom and why.",
        ),
    ],
};

pub(super) static BREAK_GLASSES: Shape = Shape {
    name: "BreakGlassList",
    says: "Break-glasses, oldest first.",
    fields: &[needed("items", Form::List(&Form::Shaped(&BREAK_GLASS)), "")],
};

static CHANGE: Shape = Shape {
    name: "Change",
    says: "A line of the trail.",
    fields: &[
        needed("number", COUNT, ""),
        needed("at", TIME, ""),
        optional("of", COUNT, "The line that says `begun` of the same."),
        needed("by", WORDS, "Who asked."),
        optional("from", WORDS, "From which address."),
        needed("how", Form::Word(&["api", "command", "signal"]), "By which way."),
        needed("operation", WORDS, "What was asked for."),
        optional("object", WORDS, "With what."),
        needed("outcome", Form::Word(&["begun", "done", "refused"]), "What came of it."),
        optional("status", COUNT, "With which status it was answered."),
        optional("why", WORDS, "Why it was refused."),
        optional(
            "more",
            COUNT,
            "Of so many refused requests it speaks that have no line of their own.",
        ),
        needed("previous", WORDS, "The SHA-256 of the line before."),
    ],
};

pub(super) static CHANGES: Shape = Shape {
    name: "ChangePage",
    says: "Lines of the trail, oldest first; newest first where `before` is said.",
    fields: &[
        needed("items", Form::List(&Form::Shaped(&CHANGE)), ""),
        needed(
            "next",
            COUNT,
            "What `after`, or `before`, says to go on: the number of the last line of the page.",
        ),
    ],
};

pub(super) static RELOAD: Shape = Shape {
    name: "Reload",
    says: "How the configuration is read again.",
    fields: &[needed("dryRun", Form::Truth, "True only says what would change.")],
};

pub(super) static RELOADED: Shape = Shape {
    name: "Reloaded",
    says: "What came of reading the configuration again.",
    fields: &[
        needed("inForce", Form::Truth, "Whether it is in force now."),
        needed("changed", Form::List(&WORDS), "The keys and sections that have changed."),
    ],
};

pub(super) static PLAN_SHOWN: Resource =
    Resource { word: "plan", shape: &PLAN_OF_NAME, show: plan };

pub(super) fn plans(call: &Call<'_>) -> Result<Value, Problem> {
    let plans = call.api.limiting.plans();
    Ok(listed(plans.names().map(|name| plan_shown(call, name)).collect()))
}

pub(super) fn plan(call: &Call<'_>) -> Result<Value, Problem> {
    let text = call.in_path("plan");
    let name = text.parse::<PlanName>().ok();
    match name.filter(|name| call.api.limiting.plans().has(name)) {
        Some(name) => Ok(plan_shown(call, &name)),
        None => Err(Problem::not_found(format!("there is no plan {text}; GET /plans lists them"))),
    }
}

fn plan_shown(call: &Call<'_>, name: &PlanName) -> Value {
    let plans = call.api.limiting.plans();
    let limits = plans.limits().filter(|limit| limit.plan == *name);
    let limits: Vec<String> = limits.map(ToString::to_string).collect();
    json!({"name": name.to_string(), "limits": limits})
}

pub(super) fn roles(call: &Call<'_>) -> Result<Value, Problem> {
    let roles = call.api.current.take().roles.clone();
    let shown = roles.iter().map(|(name, role)| {
        json!({
            "name": name.to_string(),
            "says": role.says.trim(),
            "needsPatient": role.needs_patient(),
            "needsUser": role.needs_user(),
        })
    });
    Ok(listed(shown.collect()))
}

pub(super) fn routes(call: &Call<'_>) -> Result<Value, Problem> {
    let (snapshot, now) = (call.api.current.take(), call.api.clock.monotonic());
    let Readiness { parts, reason, .. } = Handle::current().block_on(call.api.watched.readiness());
    let waits = [parts.channel, parts.server, parts.requests].contains(&Some(false));
    let server = waits.then(|| reason.unwrap_or_else(|| "the server does not answer".to_owned()));
    let shown = snapshot.table.routes().map(|route| {
        let (names, why) = match &route.to {
            Destination::Server => (Vec::new(), server.clone()),
            Destination::Foreign(foreign) => {
                let names: Vec<&str> = foreign.upstreams().collect();
                let why = names.iter().filter_map(|name| {
                    let why = snapshot.upstreams.get(name)?.why_not(now)?;
                    Some(format!("{name}: {why}"))
                });
                let why = why.collect::<Vec<_>>().join("; ");
                (names, (!why.is_empty()).then_some(why))
            }
        };
        let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
        without_absent(json!({
            "name": &*route.name,
            "host": route.host.to_string(),
            "path": route.path,
            "methods": methods,
            "content": match route.content {
                Content::Fhir => "fhir",
                Content::Other => "other",
            },
            "upstreams": names,
            "ready": why.is_none(),
            "why": why,
        }))
    });
    Ok(listed(shown.collect()))
}

pub(super) fn health(call: &Call<'_>) -> Result<Value, Problem> {
    let readiness = Handle::current().block_on(call.api.watched.readiness());
    let Readiness { ready, parts, counters, registry, acme, reason } = readiness;
    let upstreams = parts.upstreams.iter();
    let upstreams = upstreams.map(|(name, ready)| json!({"name": name, "ready": ready}));
    let acme = acme.map(|state| {
        without_absent(json!({
            "certificate": state.certificate,
            "notAfter": state.not_after,
            "failures": state.failures,
            "error": state.error,
        }))
    });
    Ok(without_absent(json!({
        "ready": ready,
        "gateway": parts.gateway,
        "channel": parts.channel,
        "requests": parts.requests,
        "server": parts.server,
        "upstreams": upstreams.collect::<Vec<_>>(),
        "counters": counters,
        "registry": registry,
        "acme": acme,
        "reason": reason,
    })))
}

pub(super) fn upstreams(call: &Call<'_>) -> Result<Value, Problem> {
    let (snapshot, now) = (call.api.current.take(), call.api.clock.monotonic());
    let shown = snapshot.upstreams.iter().map(|upstream| {
        let endpoints = upstream.endpoints(now).into_iter().map(|endpoint| {
            without_absent(json!({
                "address": endpoint.address.to_string(),
                "available": endpoint.why.is_none(),
                "inFlight": endpoint.in_flight,
                "why": endpoint.why,
            }))
        });
        let why = upstream.why_not(now);
        without_absent(json!({
            "name": &*upstream.name,
            "ready": why.is_none(),
            "why": why,
            "endpoints": endpoints.collect::<Vec<_>>(),
        }))
    });
    Ok(listed(shown.collect()))
}

pub(super) fn denials(call: &Call<'_>) -> Result<Value, Problem> {
    let found = call.api.denials.of_request(call.in_path("request"));
    let shown = found.iter().map(serde_json::to_value).filter_map(Result::ok);
    Ok(listed(shown.map(without_absent).collect()))
}

pub(super) fn break_glasses(call: &Call<'_>) -> Result<Value, Problem> {
    let taken = call.api.registry.changes(Some(&Subject::BreakGlass), 0, usize::MAX);
    let taken = taken.map_err(unreadable)?.into_iter().map(|change| {
        json!({"time": change.instant.to_string(), "by": change.actor, "summary": change.summary})
    });
    Ok(listed(taken.collect()))
}

pub(super) fn changes(call: &Call<'_>) -> Result<Value, Problem> {
    let after = call.parameter("after", 0);
    let limit = usize::try_from(call.parameter("limit", 100)).unwrap_or(usize::MAX);
    let trail = call.api.registry.trail();
    let before = call.query.get("before").copied();
    let lines = match before {
        None => trail.lines(after, limit),
        Some(before) => trail.lines_before(before, after, limit),
    };
    let lines = lines.map_err(unreadable)?;
    let next = lines.last().map_or(before.unwrap_or(after), |line| line.number);
    let shown = lines.iter().map(serde_json::to_value).filter_map(Result::ok);
    Ok(json!({"items": shown.collect::<Vec<_>>(), "next": next}))
}

pub(super) fn reload(call: &Call<'_>) -> Result<Value, Problem> {
    let dry_run = call.body.get("dryRun").and_then(Value::as_bool).unwrap_or(true);
    let Some(reconfigure) = &call.api.reconfigure else {
        return Err(Problem::conflict("nothing here can read a configuration again"));
    };
    let changed = Handle::current().block_on(reconfigure.reconfigure(dry_run));
    let changed = changed.map_err(Problem::conflict)?;
    Ok(json!({"inForce": !dry_run, "changed": changed}))
}

fn unreadable(error: impl std::error::Error) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("what was recorded cannot be read: {error}"),
    )
}
