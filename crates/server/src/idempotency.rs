//! `Idempotency-Key`: a request that is sent again is not carried out again. Its answer is built
//! anew from the commit that answered it, by what the caller may do and see now.
//!
//! A key belongs to one client of one tenant. Only what was committed is known by it: a request
//! that was refused is carried out again.

use contract::{Grant, Instance, Interaction};
use database::{Answered, CommitError, Database, Idempotency, Lookup, Named, Written};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use ring::digest::{Context, SHA256};

use crate::Server;
use crate::call::{Answer, Call};
use crate::error::ServerError;
use crate::interactions::{update, write};
use crate::quarantine;

/// The header.
pub(crate) const HEADER: &str = "idempotency-key";
/// The longest key.
const LONGEST: usize = 255;
/// How many turns a request has when others touch its name.
pub(crate) const TRIES: usize = 16;

/// Where errors say that the key stands.
const EXPRESSION: &str = "http.Idempotency-Key";

/// The request by the name its client gave it, if it did: with the digest of all that decides
/// what is done.
///
/// # Errors
/// When the name is none, or nobody's.
pub(crate) fn named(head: &Parts, grant: &Grant) -> Result<Option<OfHead>, ServerError> {
    let Some(key) = key(&head.headers)? else { return Ok(None) };
    let Some(client) = &grant.client else {
        let mend = "a key belongs to a client: send credentials, or leave it out";
        return Err(ServerError::InvalidIdempotencyKey { mend });
    };
    let mut digest = Context::new(&SHA256);
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    part(&mut digest, head.method.as_str().as_bytes());
    part(&mut digest, target.as_bytes());
    for name in ["if-match", "if-none-match", "if-none-exist"] {
        for value in head.headers.get_all(name) {
            part(&mut digest, name.as_bytes());
            part(&mut digest, value.as_bytes());
        }
    }
    Ok(Some(OfHead { client: client.clone(), key: key.to_owned(), digest }))
}

/// The name of a request, as far as its head tells it.
pub(crate) struct OfHead {
    client: String,
    key: String,
    digest: Context,
}

impl OfHead {
    /// The whole name. A long body takes its time.
    pub(crate) fn with_body(mut self, body: &[u8]) -> Idempotency {
        part(&mut self.digest, body);
        request(&self.client, self.key, self.digest)
    }
}

/// An entry of a batch, by the batch's name and its place in it.
pub(crate) fn entry(batch: &Idempotency, index: usize, parts: &[&[u8]]) -> Idempotency {
    let mut digest = Context::new(&SHA256);
    for bytes in parts {
        part(&mut digest, bytes);
    }
    // No key has a line break.
    request(&batch.client, format!("{}\n{index}", batch.key), digest)
}

fn request(client: &str, key: String, digest: Context) -> Idempotency {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    Idempotency { client: client.into(), key: key.into(), digest: bytes }
}

/// With its length, so that no two sequences of parts are one.
fn part(digest: &mut Context, bytes: &[u8]) {
    digest.update(&(bytes.len() as u64).to_be_bytes());
    digest.update(bytes);
}

fn key(headers: &HeaderMap) -> Result<Option<&str>, ServerError> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=LONGEST).contains(&key.len()));
    match key {
        Some(key) if values.next().is_none() && key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(key))
        }
        _ => Err(ServerError::InvalidIdempotencyKey {
            mend: "send one, of 1 to 255 visible ASCII characters",
        }),
    }
}

/// What becomes of a named request.
pub(crate) enum Turn {
    /// It is carried out, under this name.
    Perform(Named),
    /// It was: its answer is built anew.
    Replay(Answered),
}

/// What becomes of a named request now.
pub(crate) async fn turn(
    (server, database): (&Server, &Database),
    request: &Idempotency,
) -> Result<Turn, ServerError> {
    match database.look_up(request, server.clock.now()).await? {
        Lookup::Answered(answered) => Ok(Turn::Replay(*answered)),
        Lookup::OtherRequest => Err(ServerError::IdempotencyKeyReused.at(EXPRESSION)),
        Lookup::Unanswered(unanswered_at) => {
            Ok(Turn::Perform(Named { request: request.clone(), unanswered_at }))
        }
    }
}

/// Whether another request of that name came between: then there is another turn.
pub(crate) fn came_between(done: &Result<Answer, ServerError>) -> bool {
    matches!(done, Err(ServerError::Commit(CommitError::Repeated)))
}

/// The answer to a create, update or delete that was carried out.
pub(crate) async fn answer(call: &Call<'_>, answered: &Answered) -> Result<Answer, ServerError> {
    if !allowed(call).await? {
        return Ok(Answer::empty(StatusCode::NO_CONTENT));
    }
    let Some((entry, written)) = answered.versions.first() else {
        return wrote_nothing(call, answered).await;
    };
    if entry.resource_type.as_str() == database::quarantine::TYPE {
        return quarantine::answered(call, entry).await;
    }
    if entry.flags.is_deleted() {
        let gone = answered.versions.iter().map(|(entry, written)| {
            let (resource_type, id) = (entry.resource_type.clone(), entry.id.clone());
            (Instance { resource_type, id }, *written)
        });
        return Ok(write::deleted(call, gone.collect()).await);
    }
    write::answer(call, &entry.resource_type, &entry.id, (answered.t, *written)).await
}

/// Whether the caller may be told now what was done then: who may delete a part of a type alone is
/// told that it was done, and no more.
///
/// # Errors
/// When the caller may no longer do it.
pub(crate) async fn allowed(call: &Call<'_>) -> Result<bool, ServerError> {
    match &call.interaction {
        Interaction::Update(instance) | Interaction::Patch(instance) => {
            update::may_write(call, instance).await?;
        }
        Interaction::Delete(_) | Interaction::ConditionalDelete(_)
            if call.unrestricted().is_err() =>
        {
            call.allowed()?;
            return Ok(false);
        }
        _ => call.allowed()?,
    }
    Ok(true)
}

/// A deletion of what was not there.
async fn wrote_nothing(call: &Call<'_>, answered: &Answered) -> Result<Answer, ServerError> {
    let Instance { resource_type, id } = match &call.interaction {
        Interaction::Delete(instance) => instance,
        Interaction::ConditionalDelete(_) => return Ok(Answer::empty(StatusCode::NO_CONTENT)),
        _ => return Err(ServerError::Interrupted),
    };
    let newest = answered.before.newest(resource_type, id).await?;
    let gone = newest.map(|newest| {
        let (version, instant) = (Some(newest.version), newest.instant);
        let written = Written { version, instant, created: false, changed: false };
        (Instance { resource_type: resource_type.clone(), id: id.clone() }, written)
    });
    Ok(write::deleted(call, gone.into_iter().collect()).await)
}
