//! The admin API: clients, keys, operators and how things stand, over HTTP, for operators alone.
//!
//! One table (`table`) says which requests there are, who may make them and what they take; it
//! routes them, checks them, and the OpenAPI document is written from it. A change is written into
//! the trail before it is made and before it is answered; so is every refusal of one. What somebody saw
//! has an `ETag`, and a change can be asked for on the condition that it is still so.
//! Nothing here is on the public port, and no key of a client opens anything here.

mod call;
mod clients;
mod form;
mod keys;
mod openapi;
mod operators;
mod precondition;
mod problem;
mod standing;
mod strict;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::Clock;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use registry::{
    Actor, CertificateDigest, Doing, How, Operator, Outcome, Registry, TrailError,
    is_operator_token,
};
use serde_json::{Value, json};

use crate::denials::Denials;
use crate::guard::{Account, Guard, Lockout, Patience};
use crate::limiting::Limiting;
use crate::readiness::Watched;
use crate::small_server::answer;
use crate::snapshot::Current;
use call::Call;
use precondition::Condition;
use problem::Problem;
use table::{Found, Operation};

/// What every path begins with.
pub(crate) const BASE: &str = "/admin/v1";

/// The longest body.
const LONGEST_BODY: usize = 64 << 10;
/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Whoever can read the configuration again: the process that has its file.
pub trait Reconfigure: Send + Sync + std::fmt::Debug {
    /// Puts into force what the file says by now, or only says what that would change.
    ///
    /// # Errors
    /// Why it cannot be put into force, for people; everything is as before then.
    fn reconfigure(&self, dry_run: bool) -> Reconfiguring<'_>;
}

/// The configuration being read again: which keys have changed, or why it cannot be.
pub type Reconfiguring<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>, String>> + Send + 'a>>;

/// What the admin API answers from.
pub(crate) struct Api {
    pub(crate) registry: Arc<Registry>,
    pub(crate) current: Arc<Current>,
    pub(crate) limiting: Arc<Limiting>,
    pub(crate) denials: Arc<Denials>,
    /// Of operators' tokens alone: who guesses at the public port locks no operator out.
    pub(crate) guard: Guard,
    pub(crate) clock: Arc<dyn Clock>,
    /// What readiness is told from.
    pub(crate) watched: Arc<Watched>,
    pub(crate) reconfigure: Option<Arc<dyn Reconfigure>>,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// The certificate that the connection was begun with, verified.
    pub(crate) certificate: Option<CertificateDigest>,
}

/// What came of a request.
type Answered = Result<Response<Full<Bytes>>, Problem>;

/// Whether a path is one of these.
pub(crate) fn is_below(path: &str) -> bool {
    path == "/admin" || path.starts_with("/admin/")
}

impl Api {
    /// Answers a request below `/admin`.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let answered = match self.enter(&head, &peer).await {
            Ok((operator, found)) => {
                self.clone().carry_out(head, body, peer, operator, found).await
            }
            Err(problem) => Err(problem),
        };
        answered.unwrap_or_else(Problem::response)
    }

    /// Who asks, and for what; whether they may is looked at too.
    async fn enter(
        self: &Arc<Self>,
        head: &Parts,
        peer: &Peer,
    ) -> Result<(Operator, Found), Problem> {
        let found = table::find(&head.method, head.uri.path());
        let operator = self.identify(head, peer);
        let (who, refused) = match (operator, found) {
            (Err(problem), found) => (None, (problem, found.ok())),
            (Ok(_), Err(problem)) => return Err(problem),
            (Ok(operator), Ok(found)) => {
                let takes = found.operation.role;
                let problem = if operator.role < takes {
                    Problem::too_weak(operator.role, takes)
                } else if found.operation.changes() && head.headers.contains_key(header::ORIGIN) {
                    let detail = "a web page may not make changes here; ask without Origin";
                    Problem::new(StatusCode::FORBIDDEN, detail)
                } else {
                    return Ok((operator, found));
                };
                (Some(operator), (problem, Some(found)))
            }
        };
        let (problem, found) = refused;
        if let Some(found) = found.filter(|found| found.operation.changes())
            // Whoever has to wait learns nothing and writes nothing: it would fill the disk.
            && problem.status != StatusCode::TOO_MANY_REQUESTS
        {
            let doing = doing(who.as_ref(), peer, &found, &Value::Null);
            self.note_refusal(doing, &problem).await?;
        }
        Err(problem)
    }

    async fn carry_out(
        self: Arc<Self>,
        head: Parts,
        body: Incoming,
        peer: Peer,
        operator: Operator,
        found: Found,
    ) -> Answered {
        let read = read_body(found.operation, &head.headers, body).await;
        let checked = read.and_then(|body| {
            let condition = precondition::read(found.operation, &head.headers);
            match (call::query(found.operation, head.uri.query()), condition) {
                (Ok(query), Ok(condition)) => Ok((query, condition, body)),
                (Err(problem), _) | (_, Err(problem)) => Err((problem, body)),
            }
        });
        let (query, condition, body) = match checked {
            Ok(checked) => checked,
            Err((problem, body)) => {
                if found.operation.changes() {
                    let doing = doing(Some(&operator), &peer, &found, &body);
                    self.note_refusal(doing, &problem).await?;
                }
                return Err(problem);
            }
        };
        // Changes wait for the disk; begun, they are brought to an end though nobody waits.
        let run = move || self.run(&operator, &peer, &found, &query, condition.as_ref(), &body);
        match tokio::task::spawn_blocking(run).await {
            Ok(answered) => answered,
            Err(_) => Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "answering failed; what was done of it the trail does not say",
            )),
        }
    }

    /// Does it, with the trail before and after where it is a change.
    fn run(
        &self,
        operator: &Operator,
        peer: &Peer,
        found: &Found,
        query: &BTreeMap<&'static str, u64>,
        condition: Option<&Condition>,
        body: &Value,
    ) -> Answered {
        let operation = found.operation;
        let by = Actor::operator(&operator.name);
        let call = Call { api: self, operator, by, path: &found.parameters, query, body };
        if !operation.changes() {
            self.still_stands(operator)?;
            return (operation.run)(&call).map(|value| shown(operation, &value));
        }
        let trail = self.registry.trail();
        let doing = doing(Some(operator), peer, found, body);
        let most = self.refusals_told();
        if let Some(wait) = trail.waits(&doing.by, most) {
            // What is begun leaves lines, however it ends.
            let problem = Problem::too_many_refusals(wait);
            let status = Some(problem.status.as_u16());
            let told = trail.refused(&doing, status, &problem.detail, most);
            return Err(told.map_or_else(|error| not_written(&error), |()| problem));
        }
        let begun = trail.begin(doing).map_err(|error| not_written(&error))?;
        // What other gateways did counts; where it is not known, the registry takes no change.
        let _ = self.registry.catch_up();
        let done = self.still_stands(operator).and_then(|()| match condition {
            None => (operation.run)(&call),
            Some(condition) => condition.held(&call, operation.run),
        });
        let ended = match &done {
            Ok(_) => trail.end(begun, Outcome::Done, Some(operation.status), ""),
            Err(problem) => {
                trail.end(begun, Outcome::Refused, Some(problem.status.as_u16()), &problem.detail)
            }
        };
        match (done, ended) {
            (Ok(value), Ok(())) => Ok(shown(operation, &value)),
            (Err(problem), Ok(())) => Err(problem),
            (Ok(_), Err(_)) => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "it is done, but the trail of changes could not be written to say so; free space \
                 or repair the disk, and look before you ask again",
            )),
            (Err(_), Err(error)) => Err(not_written(&error)),
        }
    }

    /// Whether the operator is who it was when the request's head came: its body may have taken
    /// seconds.
    fn still_stands(&self, operator: &Operator) -> Result<(), Problem> {
        match self.registry.operator(&operator.name) {
            Some(now) if now == *operator => Ok(()),
            _ => Err(Problem::unauthorized(
                "the operator was revoked, or got another credential, while the request came; nothing is done",
            )),
        }
    }

    /// Writes a refusal into the trail.
    async fn note_refusal(
        self: &Arc<Self>,
        doing: Doing,
        problem: &Problem,
    ) -> Result<(), Problem> {
        let (api, status, why) = (self.clone(), problem.status.as_u16(), problem.detail.clone());
        let most = self.refusals_told();
        let write = move || api.registry.trail().refused(&doing, Some(status), &why, most);
        match tokio::task::spawn_blocking(write).await {
            Ok(written) => written.map_err(|error| not_written(&error)),
            Err(_) => Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the refusal could not be written down",
            )),
        }
    }

    /// How many refusals of one operator within a minute have a line each in the trail.
    fn refusals_told(&self) -> u32 {
        self.current.take().limits.refusals_per_minute.max(1)
    }

    /// Tells in the trail of refusals that were only counted, once their minute has passed.
    pub(crate) async fn tell_refused(self: &Arc<Self>) {
        let api = self.clone();
        let told = tokio::task::spawn_blocking(move || api.registry.trail().tell_refused()).await;
        if let Ok(Err(error)) = told {
            tracing::warn!(%error, "refused requests are not in the trail yet");
        }
    }

    /// Whom a request comes from.
    fn identify(&self, head: &Parts, peer: &Peer) -> Result<Operator, Problem> {
        let now = self.clock.monotonic();
        let patience = Patience::of(&self.current.take().limits);
        let wait = |lockout: Lockout| {
            let detail = format!(
                "too many wrong credentials came from this address; try again in {} s",
                lockout.retry_after
            );
            Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
                .with(header::RETRY_AFTER, HeaderValue::from(lockout.retry_after))
        };
        let refused = |problem: Problem| {
            if let Err(lockout) = self.guard.admits(None, peer.address, now) {
                return wait(lockout);
            }
            // What leaves a line in the trail is counted, so that nobody fills the disk.
            let lockout = match is_read(&head.method) {
                true => None,
                false => self.guard.failed(None, peer.address, &patience, now),
            };
            lockout.map_or(problem, wait)
        };
        let Some(presented) = presented(&head.headers).map_err(refused)? else {
            let shown = peer.certificate.as_ref();
            if let Some(operator) = shown.and_then(|own| self.registry.operator_of_certificate(own))
            {
                return Ok(operator);
            }
            return Err(refused(Problem::unauthorized(match shown {
                None => {
                    "send an operator's token as Authorization: Bearer hgo_…; `hearthgate operators create` makes one"
                }
                Some(_) => {
                    "the certificate is no operator's; send a token as Authorization: Bearer hgo_…, or `hearthgate operators create --certificate`"
                }
            })));
        };
        let account = self.registry.operator_token_named_by(presented).map(Account::Key);
        self.guard.admits(account.as_ref(), peer.address, now).map_err(wait)?;
        if let Some(operator) = self.registry.authenticate_operator(presented) {
            if let Some(account) = &account {
                self.guard.succeeded(account, peer.address);
            }
            return Ok(operator);
        }
        if let Some(lockout) = self.guard.failed(account, peer.address, &patience, now) {
            return Err(wait(lockout));
        }
        Err(Problem::unauthorized(if is_operator_token(presented) {
            "the token is no operator's, or the operator is revoked or suspended; `hearthgate operators list` says which"
        } else {
            "that is no operator's token, which begins with hgo_; keys of clients open nothing here"
        }))
    }
}

/// What is presented in `Authorization`, if anything is.
fn presented(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return match headers.contains_key(header::AUTHORIZATION) {
            true => Err(Problem::unauthorized("Authorization stands there twice; send it once")),
            false => Ok(None),
        };
    };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
    });
    // Another scheme names nobody: it is looked at as a wrong token is, and counted.
    Ok(Some(token.unwrap_or_default()))
}

fn is_read(method: &Method) -> bool {
    [Method::GET, Method::HEAD].contains(method)
}

/// The body, read and checked; with the problem what was read of it, for the trail.
async fn read_body(
    operation: &'static Operation,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Value, (Problem, Value)> {
    let refused = |problem| (problem, Value::Null);
    let reading = Limited::new(body, LONGEST_BODY).collect();
    let bytes = match tokio::time::timeout(BODY_WITHIN, reading).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("a body has at most {LONGEST_BODY} bytes here");
            return Err(refused(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)));
        }
        Ok(Err(_)) => {
            let detail = "the body broke off";
            return Err(refused(Problem::new(StatusCode::BAD_REQUEST, detail)));
        }
        Err(_) => {
            let detail = "the body did not come in time; send it at once";
            return Err(refused(Problem::new(StatusCode::REQUEST_TIMEOUT, detail)));
        }
    };
    let Some(shape) = operation.body else {
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        return Err(refused(Problem::at("", "this takes no body; send none")));
    };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let detail = "the body has to be JSON, with Content-Type: application/json";
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
        return Err(refused(
            problem.with(header::ACCEPT, HeaderValue::from_static("application/json")),
        ));
    }
    let value = strict::read(&bytes).map_err(|error| {
        let detail = format!("the body is no JSON: {error}; send one object");
        refused(Problem::new(StatusCode::BAD_REQUEST, detail))
    })?;
    let wrong = shape.check(&value);
    if wrong.is_empty() { Ok(value) } else { Err((Problem::wrong(wrong), value)) }
}

fn shown(operation: &Operation, value: &Value) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(operation.status).unwrap_or(StatusCode::OK);
    let mut answer = answer(status, "application/json", value.to_string());
    if let Some(tag) = precondition::tag_of(operation, value) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

/// What the trail says of a request.
fn doing(operator: Option<&Operator>, peer: &Peer, found: &Found, body: &Value) -> Doing {
    let by = operator.map_or_else(
        || "nobody known".to_owned(),
        |operator| format!("operator {}", operator.name),
    );
    Doing {
        by,
        from: Some(peer.address.to_string()),
        how: How::Api,
        operation: found.operation.id.to_owned(),
        object: call::object(&found.parameters, body),
    }
}

fn not_written(error: &TrailError) -> Problem {
    let detail = format!("{error}; nothing is changed until then");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

/// A list, as every one is answered.
fn listed(items: Vec<Value>) -> Value {
    json!({ "items": items })
}
