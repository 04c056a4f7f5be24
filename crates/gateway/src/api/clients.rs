//! Clients: who there is, what they may, and how much.

use contract::{Instance, Instant, Lane, Power, ResourceId};
use registry::{
    CannotFollow, ChangeError, Client, ClientId, InvalidClient, NewClient, PlanName, RoleName,
};
use serde_json::{Value, json};

use super::call::Call;
use super::form::{Form, Shape, needed, optional};
use super::listed;
use super::operators::{TIME, without_absent};
use super::precondition::Resource;
use super::problem::Problem;
use crate::roles::{Role, RoleProblem};

pub(super) const ID: Form = Form::Text { most: 64, example: "lab" };
pub(super) const ROLE: Form = Form::Text { most: 64, example: "admin" };
pub(super) const PLAN: Form = Form::Text { most: 64, example: "standard" };
const POWER: Form = Form::Word(&["explain", "audit"]);

pub(super) static CLIENT: Shape = Shape {
    name: "Client",
    says: "A client: who may ask.",
    fields: &[
        needed("id", ID, ""),
        needed("name", Form::Text { most: 200, example: "The laboratory" }, "For people."),
        optional("role", ROLE, "What it may do; absent where it has rules of its own."),
        optional("patient", Form::Text { most: 64, example: "123" }, "The patient it is for."),
        optional(
            "user",
            Form::Text { most: 200, example: "Practitioner/7" },
            "The person who asks.",
        ),
        optional("plan", PLAN, "How much it may ask, where that is not its role's or the default."),
        needed("lane", Form::Word(&["interactive", "system", "bulk"]), "Where its requests queue."),
        needed("powers", Form::List(&POWER_SHOWN), "What it may beside its rules."),
        needed("created", TIME, ""),
        optional("disabled", TIME, "Since when nothing of it is granted."),
        optional(
            "grantsNothing",
            Form::Text { most: 1000, example: "there is no role lab" },
            "Why its role gives it nothing.",
        ),
    ],
};

static POWER_SHOWN: Form = Form::Text { most: 40, example: "explain" };

pub(super) static LIST: Shape = Shape {
    name: "ClientList",
    says: "Clients, by id.",
    fields: &[needed("items", Form::List(&Form::Shaped(&CLIENT)), "")],
};

pub(super) static NEW: Shape = Shape {
    name: "NewClient",
    says: "A client to be made.",
    fields: &[
        needed("id", ID, "1 to 64 characters of A-Z a-z 0-9 . - _; the name of no person."),
        needed("role", ROLE, "What it may do; `GET /roles` lists the roles."),
        optional(
            "name",
            Form::Text { most: 200, example: "The laboratory" },
            "For people; the id where absent.",
        ),
        optional(
            "patient",
            Form::Text { most: 64, example: "123" },
            "The patient, for a role that is for one.",
        ),
        optional(
            "user",
            Form::Text { most: 200, example: "Practitioner/7" },
            "The person who asks.",
        ),
        optional("plan", PLAN, "How much it may ask; `GET /plans` lists the plans."),
        optional("powers", Form::List(&POWER), "What it may beside its role."),
    ],
};

pub(super) static PLAN_OF: Shape = Shape {
    name: "PlanOfClient",
    says: "Which plan a client has.",
    fields: &[needed("plan", Form::OrNull(&PLAN), "Null takes its own plan away.")],
};

pub(super) static LIMITS: Shape = Shape {
    name: "Limits",
    says: "How the limits of a client stand.",
    fields: &[
        needed("plan", Form::OrNull(&PLAN), "The plan that it is held to."),
        needed("unknownPlan", Form::OrNull(&PLAN), "A plan of its own that nothing defines."),
        needed(
            "counting",
            Form::Text { most: 40, example: "own" },
            "Whether it is counted with the other gateways: own, shared or local-shares.",
        ),
        needed("limits", Form::List(&Form::Shaped(&LIMIT)), ""),
    ],
};

static LIMIT: Shape = Shape {
    name: "Limit",
    says: "How one limit stands.",
    fields: &[
        needed("limit", Form::Text { most: 400, example: "100 requests a second" }, "In words."),
        needed("of", Form::Text { most: 400, example: "client lab" }, "What is counted apart."),
        needed(
            "remaining",
            Form::OrNull(&COUNT),
            "What is left; null where nothing was counted yet.",
        ),
        needed("seconds", Form::OrNull(&COUNT), "In how many seconds there is more."),
    ],
};

const COUNT: Form = Form::Number { least: 0, most: u64::MAX };

pub(super) static SHOWN: Resource = Resource { word: "client", shape: &CLIENT, show };

pub(super) fn list(call: &Call<'_>) -> Result<Value, Problem> {
    let clients = call.api.registry.clients();
    Ok(listed(clients.iter().map(|client| shown(call, client)).collect()))
}

pub(super) fn show(call: &Call<'_>) -> Result<Value, Problem> {
    one(call, &call.client()?)
}

pub(super) fn create(call: &Call<'_>) -> Result<Value, Problem> {
    let id = ClientId::new(call.needed("id"));
    let id = id.map_err(|error| Problem::at("/id", error.to_string()))?;
    let role: RoleName = call
        .needed("role")
        .parse()
        .map_err(|error: registry::InvalidRoleName| Problem::at("/role", error.to_string()))?;
    let patient = call.text("patient").map(ResourceId::new).transpose();
    let patient = patient.map_err(|_| {
        Problem::at("/patient", "is no resource id; write it alone, as 123 of Patient/123")
    })?;
    let user = call.text("user").map(str::parse::<Instance>).transpose();
    let user =
        user.map_err(|_| Problem::at("/user", "names no person; write it like Practitioner/7"))?;
    let plan = call.text("plan").map(|plan| plan_named(call, plan)).transpose()?;
    let powers = powers(call)?;
    let name = call.text("name").unwrap_or(id.as_str());
    let new = NewClient {
        patient,
        fhir_user: user,
        plan,
        powers,
        ..NewClient::of_role(id.clone(), name, role.clone())
    };
    let roles = call.api.current.take().roles.clone();
    let rights = roles.rights_of(&new.clone().into_client(Instant::MIN));
    if let Err(problem) = rights {
        return Err(match &problem {
            RoleProblem::PatientMissing(role) => {
                Problem::at("/patient", format!("is missing; the role {role} is for one patient"))
            }
            RoleProblem::UserMissing(role) => {
                let what = format!("is missing; the role {role} is for one person: Practitioner/7");
                Problem::at("/user", what)
            }
            _ => Problem::at("/role", problem.to_string()),
        });
    }
    if new.patient.is_some() && !roles.get(&role).is_some_and(Role::needs_patient) {
        let what = "belongs to a role that is for one patient; leave it out or name such a role";
        return Err(Problem::at("/patient", what));
    }
    let made = call.api.registry.create_client(new, &call.by);
    made.map_err(|error| match error {
        ChangeError::Refused(CannotFollow::InvalidClient(wrong @ InvalidClient::Name)) => {
            Problem::at("/name", format!("is not taken: {wrong}"))
        }
        other => other.into(),
    })?;
    one(call, &id)
}

/// The powers that are asked for, each once.
fn powers(call: &Call<'_>) -> Result<Vec<Power>, Problem> {
    let named = call.body.get("powers").and_then(Value::as_array).into_iter().flatten();
    let mut powers = Vec::new();
    for (at, power) in named.enumerate() {
        let power = match power.as_str() {
            Some("audit") => Power::Audit,
            _ => Power::Explain,
        };
        if powers.contains(&power) {
            return Err(Problem::at(
                &format!("/powers/{at}"),
                "stands twice; name each power once",
            ));
        }
        powers.push(power);
    }
    Ok(powers)
}

pub(super) fn disable(call: &Call<'_>) -> Result<Value, Problem> {
    let id = call.client()?;
    call.api.registry.disable_client(&id, &call.by)?;
    one(call, &id)
}

pub(super) fn enable(call: &Call<'_>) -> Result<Value, Problem> {
    let id = call.client()?;
    call.api.registry.enable_client(&id, &call.by)?;
    one(call, &id)
}

pub(super) fn set_plan(call: &Call<'_>) -> Result<Value, Problem> {
    let id = call.client()?;
    let plan = call.text("plan").map(|plan| plan_named(call, plan)).transpose()?;
    let standing = client(call, &id)?;
    // Whoever asks for a plan that it has wants it to have it: it does.
    if standing.plan == plan {
        call.api.registry.check_unchanged(&call.by)?;
    } else {
        call.api.registry.set_plan(&id, plan, &call.by)?;
    }
    one(call, &id)
}

pub(super) fn limits(call: &Call<'_>) -> Result<Value, Problem> {
    let client = client(call, &call.client()?)?;
    let clock = &call.api.clock;
    let shown = call.api.limiting.show(&client, clock.now(), clock.monotonic());
    let limits = shown.limits.into_iter().map(|limit| {
        json!({
            "limit": limit.limit,
            "of": limit.of,
            "remaining": limit.remaining,
            "seconds": limit.seconds,
        })
    });
    Ok(json!({
        "plan": shown.plan,
        "unknownPlan": shown.unknown_plan,
        "counting": shown.counting,
        "limits": limits.collect::<Vec<_>>(),
    }))
}

fn plan_named(call: &Call<'_>, name: &str) -> Result<PlanName, Problem> {
    let plans = call.api.limiting.plans();
    let name: PlanName = name
        .parse()
        .map_err(|error: registry::InvalidPlanName| Problem::at("/plan", error.to_string()))?;
    if plans.has(&name) {
        return Ok(name);
    }
    let all: Vec<String> = plans.names().map(ToString::to_string).collect();
    let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    Err(Problem::at("/plan", format!("there is no plan {name}; the configuration defines {all}")))
}

fn client(call: &Call<'_>, id: &ClientId) -> Result<std::sync::Arc<Client>, Problem> {
    let missing =
        || Problem::not_found(format!("there is no client {id}; GET /clients lists them"));
    call.api.registry.client(id).ok_or_else(missing)
}

fn one(call: &Call<'_>, id: &ClientId) -> Result<Value, Problem> {
    client(call, id).map(|client| shown(call, &client))
}

fn shown(call: &Call<'_>, client: &Client) -> Value {
    let rights = match client.disabled {
        Some(_) => None,
        None => call.api.current.take().roles.rights_of(client).err(),
    };
    let powers = client.powers.iter().map(serde_json::to_value).filter_map(Result::ok);
    without_absent(json!({
        "id": client.id.as_str(),
        "name": client.name,
        "role": client.role.as_ref().map(ToString::to_string),
        "patient": client.patient.as_ref().map(ToString::to_string),
        "user": client.fhir_user.as_ref().map(ToString::to_string),
        "plan": client.plan.as_ref().map(ToString::to_string),
        "lane": match client.lane {
            Lane::Interactive => "interactive",
            Lane::System => "system",
            Lane::Bulk => "bulk",
        },
        "powers": powers.collect::<Vec<_>>(),
        "created": client.created.to_string(),
        "disabled": client.disabled.as_ref().map(ToString::to_string),
        "grantsNothing": rights.map(|problem| problem.to_string()),
    }))
}
