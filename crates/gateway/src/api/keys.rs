//! Keys of clients, and tokens of issuers that are believed no more.

use registry::{
    CannotFollow, ChangeError, CreatedKey, Key, KeyId, TokenIdentity, WhichTokens,
    token_authorization,
};
use serde_json::{Value, json};

use super::call::Call;
use super::clients::ID;
use super::form::{Form, Shape, needed, optional};
use super::listed;
use super::operators::{TIME, without_absent};
use super::precondition::Resource;
use super::problem::Problem;

const KEY_ID: Form = Form::Text { most: 16, example: "0123456789abcdef" };
const LABEL: Form = Form::Text { most: 200, example: "night import" };

pub(super) static KEY: Shape = Shape {
    name: "Key",
    says: "A key of a client, without its secret.",
    fields: &[
        needed("id", KEY_ID, ""),
        needed("client", ID, ""),
        needed("label", LABEL, "What it is for."),
        needed("created", TIME, ""),
        optional("revoked", TIME, "When it was revoked."),
        optional("suspended", TIME, "Since when it waits to be confirmed after a restore."),
        optional("expires", TIME, "Until when it is good, another having taken its place."),
    ],
};

pub(super) static LIST: Shape = Shape {
    name: "KeyList",
    says: "Keys, oldest first.",
    fields: &[needed("items", Form::List(&Form::Shaped(&KEY)), "")],
};

pub(super) static NEW: Shape = Shape {
    name: "NewKey",
    says: "A key to be made.",
    fields: &[optional("label", LABEL, "What it is for; at most 200 bytes.")],
};

pub(super) static ROTATION: Shape = Shape {
    name: "KeyRotation",
    says: "How a key is replaced.",
    fields: &[optional(
        "overlapHours",
        Form::Number { least: 0, most: 8760 },
        "For how many hours both keys are good; 24 where it is not said.",
    )],
};

pub(super) static MADE: Shape = Shape {
    name: "MadeKey",
    says: "A key that is new.",
    fields: &[
        needed("key", Form::Shaped(&KEY), ""),
        needed(
            "secret",
            Form::Text { most: 100, example: "hg_…" },
            "The whole key, which is shown this once.",
        ),
    ],
};

const KIND: Form = Form::Word(&["client", "user", "authorization", "jti"]);
const OF: Form = Form::Text { most: 1024, example: "lab" };
const ISSUER: Form = Form::Text { most: 64, example: "hospital" };

pub(super) static REVOCATION: Shape = Shape {
    name: "NewTokenRevocation",
    says: "Which tokens of issuers are to be believed no more.",
    fields: &[
        needed(
            "kind",
            KIND,
            "By what they are named: of a client or a user those that were issued up to now, or one by its authorization id (token:…) or its jti.",
        ),
        needed(
            "id",
            OF,
            "The client, the user (ISSUER/SUBJECT), the authorization id, or the jti.",
        ),
        optional(
            "issuer",
            ISSUER,
            "The issuer's name in the configuration; with a jti alone, and needed there.",
        ),
    ],
};

pub(super) static REVOKED: Shape = Shape {
    name: "TokenRevocation",
    says: "Tokens of issuers that are believed no more.",
    fields: &[
        needed(
            "kind",
            Form::Word(&["client", "user", "authorization", "all"]),
            "By what they are named; all after a restore.",
        ),
        optional("id", OF, "What names them."),
        optional("issuedUpTo", TIME, "Tokens that were issued later stand."),
    ],
};

pub(super) static REVOCATIONS: Shape = Shape {
    name: "TokenRevocationList",
    says: "What was revoked of tokens.",
    fields: &[needed("items", Form::List(&Form::Shaped(&REVOKED)), "")],
};

pub(super) static SHOWN: Resource = Resource { word: "key", shape: &KEY, show };

pub(super) fn list(call: &Call<'_>) -> Result<Value, Problem> {
    Ok(listed(call.api.registry.keys().iter().map(shown).collect()))
}

pub(super) fn show(call: &Call<'_>) -> Result<Value, Problem> {
    one(call, &call.key()?)
}

pub(super) fn create(call: &Call<'_>) -> Result<Value, Problem> {
    let label = call.text("label").unwrap_or_default();
    let made = call.api.registry.create_key(&call.client()?, label, &call.by);
    made_answer(call, made.map_err(|error| placed(error, "/label"))?)
}

pub(super) fn rotate(call: &Call<'_>) -> Result<Value, Problem> {
    let hours = call.body.get("overlapHours").and_then(Value::as_u64).unwrap_or(24);
    let hours = u32::try_from(hours).unwrap_or(u32::MAX);
    let made = call.api.registry.rotate_key(&call.key()?, hours, &call.by);
    made_answer(call, made.map_err(|error| placed(error, "/overlapHours"))?)
}

pub(super) fn revoke(call: &Call<'_>) -> Result<Value, Problem> {
    let id = call.key()?;
    match call.api.registry.revoke_key(&id, &call.by) {
        // Whoever asks for a key to be revoked wants it revoked: it is.
        Ok(()) | Err(ChangeError::Refused(CannotFollow::RevokedAlready(_))) => one(call, &id),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn confirm(call: &Call<'_>) -> Result<Value, Problem> {
    let id = call.key()?;
    call.api.registry.confirm_key(&id, &call.by)?;
    one(call, &id)
}

pub(super) fn revocations(call: &Call<'_>) -> Result<Value, Problem> {
    let revoked = call.api.registry.token_revocations().into_iter().map(|revoked| {
        let until = revoked.issued_up_to.map(|until| until.to_string());
        match revoked.which {
            None => json!({"kind": "all", "issuedUpTo": until}),
            Some(which) => revoked_shown(&which, until),
        }
    });
    Ok(listed(revoked.map(without_absent).collect()))
}

pub(super) fn revoke_tokens(call: &Call<'_>) -> Result<Value, Problem> {
    let (id, issuer) = (call.needed("id"), call.text("issuer"));
    let which = match (call.needed("kind"), issuer) {
        ("jti", Some(issuer)) => {
            WhichTokens::Authorization(token_authorization(issuer, TokenIdentity::Jti(id)))
        }
        ("jti", None) => {
            let what = "is missing; a jti is of an issuer: give its name in the configuration";
            return Err(Problem::at("/issuer", what));
        }
        (_, Some(_)) => {
            return Err(Problem::at("/issuer", "says nothing beside this kind; leave it out"));
        }
        ("client", None) => WhichTokens::Client(id.to_owned()),
        ("user", None) => WhichTokens::User(id.to_owned()),
        (_, None) => WhichTokens::Authorization(id.to_owned()),
    };
    let revoked = call.api.registry.revoke_tokens(which.clone(), &call.by);
    revoked.map_err(|error| placed(error, "/id"))?;
    let found = call.api.registry.token_revocations().into_iter();
    let until = found.filter(|revoked| revoked.which.as_ref() == Some(&which));
    let until = until.filter_map(|revoked| revoked.issued_up_to).next();
    Ok(without_absent(revoked_shown(&which, until.map(|until| until.to_string()))))
}

fn revoked_shown(which: &WhichTokens, until: Option<String>) -> Value {
    let (kind, id) = match which {
        WhichTokens::Authorization(id) => ("authorization", id),
        WhichTokens::Client(id) => ("client", id),
        WhichTokens::User(id) => ("user", id),
    };
    json!({"kind": kind, "id": id, "issuedUpTo": until})
}

/// A refusal with the member of the body that it is about.
fn placed(error: ChangeError, place: &str) -> Problem {
    match error {
        ChangeError::Refused(
            refused @ (CannotFollow::Label | CannotFollow::Overlap | CannotFollow::NoTokens),
        ) => Problem::at(place, format!("is not taken: {refused}")),
        other => other.into(),
    }
}

fn made_answer(call: &Call<'_>, created: CreatedKey) -> Result<Value, Problem> {
    let key = one(call, &created.key_id)?;
    Ok(json!({"key": key, "secret": created.secret.into_inner()}))
}

fn one(call: &Call<'_>, id: &KeyId) -> Result<Value, Problem> {
    let key = call.api.registry.keys().into_iter().find(|key| key.id == *id);
    let missing = || Problem::not_found(format!("there is no key {id}; GET /keys lists them"));
    key.as_ref().map(shown).ok_or_else(missing)
}

fn shown(key: &Key) -> Value {
    without_absent(json!({
        "id": key.id.to_string(),
        "client": key.client.as_str(),
        "label": key.label,
        "created": key.created.to_string(),
        "revoked": key.revoked.map(|at| at.to_string()),
        "suspended": key.suspended.map(|at| at.to_string()),
        "expires": key.expires.map(|at| at.to_string()),
    }))
}
