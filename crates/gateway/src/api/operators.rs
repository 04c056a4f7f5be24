//! Operators, by administrators.

use contract::Instant;
use registry::{
    CertificateDigest, Credential, DrawnToken, KnownBy, Operator, OperatorName, OperatorRole,
};
use serde_json::{Value, json};

use super::call::Call;
use super::form::{Field, Form, Shape, needed, optional};
use super::listed;
use super::precondition::Resource;
use super::problem::Problem;

pub(super) const NAME: Form = Form::Text { most: 64, example: "anna" };
const ROLE: Form = Form::Word(&["viewer", "operator", "administrator"]);
pub(super) const TIME: Form = Form::Text { most: 40, example: "2026-01-01T00:00:00.000000Z" };
const FINGERPRINT: Form = Form::Text {
    most: 95,
    example: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
};

const CERTIFICATE: Field = optional(
    "certificate",
    FINGERPRINT,
    "The SHA-256 fingerprint of the certificate that it is known by, in the place of a token.",
);

pub(super) static SELF: Shape = Shape {
    name: "Self",
    says: "Whom the credential stands for.",
    fields: &[needed("name", NAME, ""), needed("role", ROLE, "")],
};

pub(super) static OPERATOR: Shape = Shape {
    name: "Operator",
    says: "An operator.",
    fields: &[
        needed("name", NAME, ""),
        needed("role", ROLE, "What it may do; each may what the one before may."),
        optional(
            "token",
            Form::Text { most: 16, example: "0123456789abcdef" },
            "The id of its token.",
        ),
        CERTIFICATE,
        needed("created", TIME, ""),
        optional("rotated", TIME, "When its credential last took the place of another."),
        optional("revoked", TIME, "When it was revoked."),
        optional("suspended", TIME, "Since when it waits to be confirmed after a restore."),
    ],
};

pub(super) static LIST: Shape = Shape {
    name: "OperatorList",
    says: "Operators, by name.",
    fields: &[needed("items", Form::List(&Form::Shaped(&OPERATOR)), "")],
};

pub(super) static NEW: Shape = Shape {
    name: "NewOperator",
    says: "An operator to be made.",
    fields: &[
        needed("name", NAME, "1 to 64 characters of A-Z a-z 0-9 . - _, never given before."),
        needed("role", ROLE, "What it may do."),
        CERTIFICATE,
    ],
};

pub(super) static ROTATION: Shape = Shape {
    name: "NewCredential",
    says: "Another credential: a token, or the certificate that is named.",
    fields: &[CERTIFICATE],
};

pub(super) static MADE: Shape = Shape {
    name: "MadeOperator",
    says: "An operator whose credential is new.",
    fields: &[
        needed("operator", Form::Shaped(&OPERATOR), ""),
        optional(
            "secret",
            Form::Text { most: 100, example: "hgo_…" },
            "Its token, which is shown this once; absent where it is known by a certificate.",
        ),
    ],
};

pub(super) static SHOWN: Resource = Resource { word: "operator", shape: &OPERATOR, show };

pub(super) fn own(call: &Call<'_>) -> Result<Value, Problem> {
    let Operator { name, role, .. } = call.operator;
    Ok(json!({"name": name.as_str(), "role": role.word()}))
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, Problem> {
    Ok(listed(call.api.registry.operators().iter().map(shown).collect()))
}

pub(super) fn show(call: &Call<'_>) -> Result<Value, Problem> {
    one(call, &call.named()?)
}

pub(super) fn create(call: &Call<'_>) -> Result<Value, Problem> {
    let name = OperatorName::new(call.needed("name"));
    let name = name.map_err(|error| Problem::at("/name", error.to_string()))?;
    // The table lets no other word come here.
    let role = call.needed("role").parse().unwrap_or(OperatorRole::Viewer);
    let drawn = call.api.registry.create_operator(&name, role, credential(call)?, &call.by)?;
    made(call, &name, drawn)
}

pub(super) fn rotate(call: &Call<'_>) -> Result<Value, Problem> {
    let name = call.named()?;
    let drawn = call.api.registry.rotate_operator(&name, credential(call)?, &call.by)?;
    made(call, &name, drawn)
}

pub(super) fn revoke(call: &Call<'_>) -> Result<Value, Problem> {
    let name = call.named()?;
    // Nobody would be left to ask.
    if name == call.operator.name {
        let detail = "an operator does not revoke itself; have another administrator do it, or use `hearthgate operators revoke`";
        return Err(Problem::conflict(detail));
    }
    call.api.registry.revoke_operator(&name, &call.by)?;
    one(call, &name)
}

pub(super) fn confirm(call: &Call<'_>) -> Result<Value, Problem> {
    let name = call.named()?;
    call.api.registry.confirm_operator(&name, &call.by)?;
    one(call, &name)
}

fn credential(call: &Call<'_>) -> Result<Credential, Problem> {
    match call.text("certificate").map(str::parse::<CertificateDigest>) {
        None => Ok(Credential::Token),
        Some(Ok(own)) => Ok(Credential::Certificate(own)),
        Some(Err(error)) => Err(Problem::at("/certificate", error.to_string())),
    }
}

fn made(call: &Call<'_>, name: &OperatorName, drawn: Option<DrawnToken>) -> Result<Value, Problem> {
    let mut made = json!({"operator": one(call, name)?});
    if let (Some(drawn), Some(members)) = (drawn, made.as_object_mut()) {
        members.insert("secret".to_owned(), drawn.secret.into_inner().into());
    }
    Ok(made)
}

fn one(call: &Call<'_>, name: &OperatorName) -> Result<Value, Problem> {
    let operator = call.api.registry.operator(name);
    let operator = operator.ok_or_else(|| Problem::not_found(format!("no operator {name}")))?;
    Ok(shown(&operator))
}

fn shown(operator: &Operator) -> Value {
    let (token, certificate) = match &operator.known_by {
        KnownBy::Token(id) => (Some(id.to_string()), None),
        KnownBy::Certificate(own) => (None, Some(own.to_string())),
    };
    let time = |at: &Option<Instant>| at.as_ref().map(ToString::to_string);
    without_absent(json!({
        "name": operator.name.as_str(),
        "role": operator.role.word(),
        "token": token,
        "certificate": certificate,
        "created": operator.created.to_string(),
        "rotated": time(&operator.rotated),
        "revoked": time(&operator.revoked),
        "suspended": time(&operator.suspended),
    }))
}

/// An object without the members that are null.
pub(super) fn without_absent(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    value
}
