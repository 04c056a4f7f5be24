//! Which requests there are. A row without somebody who carries it out does not compile.

use http::{HeaderValue, Method, StatusCode, header};
use registry::OperatorRole::{self, Administrator, Operator, Viewer};
use serde_json::Value;

use super::call::Call;
use super::form::Shape;
use super::precondition::Resource;
use super::problem::Problem;
use super::{BASE, clients, keys, openapi, operators, standing};

/// The methods that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
}

impl Verb {
    /// As it is sent.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }

    /// Whether a request with this method is one of these; who asks for a head reads.
    fn is(self, method: &Method) -> bool {
        method.as_str() == self.word() || (self == Self::Get && *method == Method::HEAD)
    }
}

/// One request that there is.
pub(crate) struct Operation {
    /// Its name in the document and in the trail.
    pub(crate) id: &'static str,
    pub(crate) verb: Verb,
    /// Below the base; `{name}` stands for one segment.
    pub(crate) path: &'static str,
    /// The weakest role that may.
    pub(crate) role: OperatorRole,
    pub(crate) says: &'static str,
    pub(crate) query: &'static [Parameter],
    pub(crate) body: Option<&'static Shape>,
    /// The status of success.
    pub(crate) status: u16,
    /// What is answered; any object where it is not said.
    pub(crate) answer: Option<&'static Shape>,
    /// What it is about, where that can be shown by itself: what `If-Match` is held against.
    pub(crate) about: Option<&'static Resource>,
    /// What else may come of it, beside what every request may get.
    pub(crate) refusals: &'static [u16],
    pub(crate) run: fn(&Call<'_>) -> Result<Value, Problem>,
}

/// A parameter of the query: a whole number.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) says: &'static str,
    pub(crate) least: u64,
    pub(crate) most: u64,
}

/// An operation, and what its path says.
pub(crate) struct Found {
    pub(crate) operation: &'static Operation,
    pub(crate) parameters: Vec<(&'static str, String)>,
}

impl Operation {
    /// Whether it changes anything.
    pub(crate) fn changes(&self) -> bool {
        self.verb != Verb::Get
    }

    /// Whether it answers with what has an `ETag`.
    pub(crate) fn is_tagged(&self) -> bool {
        let tagged = || OPERATIONS.iter().filter_map(|other| other.about);
        self.answer.is_some_and(|answer| tagged().any(|about| std::ptr::eq(about.shape, answer)))
    }

    /// What `If-Match` is held against, where it is taken.
    pub(crate) fn guarded(&self) -> Option<&'static Resource> {
        self.about.filter(|_| self.changes())
    }
}

const fn read(
    id: &'static str,
    path: &'static str,
    answer: &'static Shape,
    says: &'static str,
    run: fn(&Call<'_>) -> Result<Value, Problem>,
) -> Operation {
    Operation {
        id,
        verb: Verb::Get,
        path,
        role: Viewer,
        says,
        query: &[],
        body: None,
        status: 200,
        answer: Some(answer),
        about: None,
        refusals: &[],
        run,
    }
}

const fn change(
    id: &'static str,
    path: &'static str,
    answer: &'static Shape,
    says: &'static str,
    run: fn(&Call<'_>) -> Result<Value, Problem>,
) -> Operation {
    Operation {
        verb: Verb::Post,
        role: Operator,
        refusals: &[409, 503],
        ..read(id, path, answer, says, run)
    }
}

const PAGE: &[Parameter] = &[
    Parameter {
        name: "after",
        says: "Lines with a higher number than this alone.",
        least: 0,
        most: u32::MAX as u64,
    },
    Parameter {
        name: "before",
        says: "Lines with a lower number than this alone, newest first.",
        least: 1,
        most: u32::MAX as u64,
    },
    Parameter {
        name: "limit",
        says: "So many lines at most; 100 where it is not said.",
        least: 1,
        most: 1000,
    },
];

/// Every request there is.
pub(crate) static OPERATIONS: &[Operation] = &[
    Operation {
        answer: None,
        ..read("openapi", "/openapi.json", &operators::SELF, "This document.", openapi::answer)
    },
    read("self.show", "/self", &operators::SELF, "Whom the credential stands for.", operators::own),
    read("clients.list", "/clients", &clients::LIST, "Every client, by id.", clients::list),
    Operation {
        body: Some(&clients::NEW),
        status: 201,
        ..change("clients.create", "/clients", &clients::CLIENT, "Makes a client.", clients::create)
    },
    read("clients.show", "/clients/{client}", &clients::CLIENT, "One client.", clients::show),
    Operation {
        about: Some(&clients::SHOWN),
        ..change(
            "clients.disable",
            "/clients/{client}/disable",
            &clients::CLIENT,
            "Grants nothing of a client any more, whatever it comes with.",
            clients::disable,
        )
    },
    Operation {
        about: Some(&clients::SHOWN),
        ..change(
            "clients.enable",
            "/clients/{client}/enable",
            &clients::CLIENT,
            "Lets a disabled client do again what it could before.",
            clients::enable,
        )
    },
    Operation {
        verb: Verb::Put,
        about: Some(&clients::SHOWN),
        body: Some(&clients::PLAN_OF),
        ..change(
            "clients.set-plan",
            "/clients/{client}/plan",
            &clients::CLIENT,
            "Gives a client a plan, or takes its own away.",
            clients::set_plan,
        )
    },
    read(
        "clients.limits",
        "/clients/{client}/limits",
        &clients::LIMITS,
        "How the limits of a client stand.",
        clients::limits,
    ),
    Operation {
        body: Some(&keys::NEW),
        status: 201,
        ..change(
            "keys.create",
            "/clients/{client}/keys",
            &keys::MADE,
            "Makes a key. Its secret is in this answer alone.",
            keys::create,
        )
    },
    read("keys.list", "/keys", &keys::LIST, "Every key, revoked ones too.", keys::list),
    read("keys.show", "/keys/{key}", &keys::KEY, "One key.", keys::show),
    Operation {
        body: Some(&keys::ROTATION),
        status: 201,
        about: Some(&keys::SHOWN),
        ..change(
            "keys.rotate",
            "/keys/{key}/rotate",
            &keys::MADE,
            "Makes a key in the place of another, which is good for some hours more.",
            keys::rotate,
        )
    },
    Operation {
        about: Some(&keys::SHOWN),
        ..change("keys.revoke", "/keys/{key}/revoke", &keys::KEY, "Revokes a key.", keys::revoke)
    },
    Operation {
        about: Some(&keys::SHOWN),
        ..change(
            "keys.confirm",
            "/keys/{key}/confirm",
            &keys::KEY,
            "Makes a key good again that a restore made stand still.",
            keys::confirm,
        )
    },
    read(
        "token-revocations.list",
        "/token-revocations",
        &keys::REVOCATIONS,
        "Which tokens of issuers were revoked.",
        keys::revocations,
    ),
    Operation {
        body: Some(&keys::REVOCATION),
        status: 201,
        ..change(
            "token-revocations.create",
            "/token-revocations",
            &keys::REVOKED,
            "Revokes tokens of issuers before they expire.",
            keys::revoke_tokens,
        )
    },
    read("plans.list", "/plans", &standing::PLANS, "Every plan.", standing::plans),
    Operation {
        about: Some(&standing::PLAN_SHOWN),
        ..read("plans.show", "/plans/{plan}", &standing::PLAN_OF_NAME, "One plan.", standing::plan)
    },
    read(
        "roles.list",
        "/roles",
        &standing::ROLES,
        "Every role that clients can have.",
        standing::roles,
    ),
    read(
        "routes.list",
        "/routes",
        &standing::ROUTES,
        "Every route, whether it is ready, and why it is not.",
        standing::routes,
    ),
    read(
        "health",
        "/health",
        &standing::HEALTH,
        "Whether requests can be answered, and what is waited for: as `/readyz` says it, always with 200.",
        standing::health,
    ),
    read(
        "upstreams.list",
        "/upstreams",
        &standing::UPSTREAMS,
        "Every upstream of others, with its endpoints.",
        standing::upstreams,
    ),
    read(
        "denials.show",
        "/denials/{request}",
        &standing::DENIALS,
        "Why a request was denied, by its id; nothing where it was not, or long ago.",
        standing::denials,
    ),
    Operation {
        role: Operator,
        ..read(
            "break-glass.list",
            "/break-glass",
            &standing::BREAK_GLASSES,
            "The wider rights that were taken in an emergency.",
            standing::break_glasses,
        )
    },
    Operation {
        query: PAGE,
        ..read(
            "changes.list",
            "/changes",
            &standing::CHANGES,
            "The trail: who asked for which change, and what came of it.",
            standing::changes,
        )
    },
    Operation {
        role: Administrator,
        ..read("operators.list", "/operators", &operators::LIST, "Every operator.", operators::list)
    },
    Operation {
        role: Administrator,
        body: Some(&operators::NEW),
        status: 201,
        ..change(
            "operators.create",
            "/operators",
            &operators::MADE,
            "Makes an operator. Its token is in this answer alone.",
            operators::create,
        )
    },
    Operation {
        role: Administrator,
        ..read(
            "operators.show",
            "/operators/{operator}",
            &operators::OPERATOR,
            "One operator.",
            operators::show,
        )
    },
    Operation {
        role: Administrator,
        about: Some(&operators::SHOWN),
        body: Some(&operators::ROTATION),
        ..change(
            "operators.rotate",
            "/operators/{operator}/rotate",
            &operators::MADE,
            "Gives an operator another credential; the one of before is worth nothing.",
            operators::rotate,
        )
    },
    Operation {
        role: Administrator,
        about: Some(&operators::SHOWN),
        ..change(
            "operators.revoke",
            "/operators/{operator}/revoke",
            &operators::OPERATOR,
            "Revokes an operator, for good.",
            operators::revoke,
        )
    },
    Operation {
        role: Administrator,
        about: Some(&operators::SHOWN),
        ..change(
            "operators.confirm",
            "/operators/{operator}/confirm",
            &operators::OPERATOR,
            "Makes an operator good again that a restore made stand still.",
            operators::confirm,
        )
    },
    Operation {
        role: Administrator,
        body: Some(&standing::RELOAD),
        ..change(
            "reload",
            "/reload",
            &standing::RELOADED,
            "Reads the configuration again and puts all of it into force, or nothing; a dry run only says what would change.",
            standing::reload,
        )
    },
];

/// The operation of a request.
pub(crate) fn find(method: &Method, path: &str) -> Result<Found, Problem> {
    let below = path.strip_prefix(BASE).unwrap_or("/none");
    let mut allowed: Vec<&str> = Vec::new();
    for operation in OPERATIONS {
        let Some(parameters) = matched(operation.path, below) else { continue };
        if operation.verb.is(method) {
            return Ok(Found { operation, parameters });
        }
        allowed.push(operation.verb.word());
        if operation.verb == Verb::Get {
            allowed.push(Method::HEAD.as_str());
        }
    }
    if allowed.is_empty() {
        let detail = format!("there is no such path; GET {BASE}/openapi.json says which there are");
        return Err(Problem::not_found(detail));
    }
    let allowed = allowed.join(", ");
    let detail = format!("this path takes {allowed}");
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail);
    Err(match HeaderValue::try_from(allowed) {
        Ok(allowed) => problem.with(header::ALLOW, allowed),
        Err(_) => problem,
    })
}

/// What stands in a path for the names of a pattern; `None` where it is another path.
fn matched(pattern: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
    let mut parameters = Vec::new();
    let (mut expected, mut segments) = (pattern.split('/'), path.split('/'));
    loop {
        match (expected.next(), segments.next()) {
            (None, None) => return Some(parameters),
            (Some(expected), Some(segment)) => match name_of(expected) {
                Some(_) if segment.is_empty() => return None,
                Some(name) => parameters.push((name, segment.to_owned())),
                None if expected == segment => {}
                None => return None,
            },
            _ => return None,
        }
    }
}

/// The name in `{name}`.
pub(crate) fn name_of(segment: &'static str) -> Option<&'static str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}
