//! Asking somebody else whether a request may pass: an authorizer of the operator's, by HTTP.
//!
//! It comes after all that the gateway decides itself and can only refuse. When it does not
//! answer in time, or says anything that is neither yes nor no, the request is refused. What it
//! said is kept for a while, by a digest of what it was asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use contract::digest;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use parking_lot::Mutex;
use pingora::proxy::Session;
use serde::{Deserialize, Serialize};

use crate::errors::Refusal;
use crate::proxy::Gateway;
use crate::request::Request;
use crate::request_id;
use crate::upstreams::{Question, Row};

/// Answers that are kept at a time; more only cost time.
const MOST: usize = 16 * 1024;
/// The longest answer that is read to its end, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The text of a route's authorizer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenAuthorizer {
    /// The upstream that is asked.
    pub upstream: String,
    /// What is asked of it, with POST.
    pub path: String,
    /// How long it may take, in milliseconds.
    #[serde(default = "one_second")]
    pub timeout_ms: u32,
    /// For how long its answer holds; it is asked each time where 0.
    #[serde(default)]
    pub keep_seconds: u32,
}

fn one_second() -> u32 {
    1000
}

/// A route's authorizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorizer {
    pub(crate) upstream: Arc<str>,
    pub(crate) path: String,
    pub(crate) limit: Duration,
    pub(crate) keep: Duration,
}

/// What authorizers said.
#[derive(Debug, Default)]
pub(crate) struct Verdicts(Mutex<HashMap<String, (bool, Duration)>>);

/// What an authorizer is asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'request> {
    request_id: &'request str,
    route: &'request str,
    method: &'request str,
    path: &'request str,
    query: Option<&'request str>,
    interaction: &'request str,
    /// The client's id; null without credentials.
    client: Option<&'request str>,
    /// Which of its keys; null without credentials.
    authorization: Option<&'request str>,
}

impl Gateway {
    /// Asks the route's authorizer, where there is one.
    pub(crate) async fn ask_authorizer(
        &self,
        session: &Session,
        request: &Request,
    ) -> Result<(), Refusal> {
        let Some(route) = &request.route else { return Ok(()) };
        let Some(authorizer) = &route.authorizer else { return Ok(()) };
        let head = session.req_header();
        let who = request.who.as_ref();
        let asked = Asked {
            request_id: request_id::text(&request.id),
            route: &route.name,
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query(),
            interaction: request.interaction,
            client: who.and_then(|who| who.client_id()),
            authorization: who
                .and_then(|who| who.known().template.grant().authorization.as_deref()),
        };
        // A token that somebody else judges says more than is known here.
        let keeps = !authorizer.keep.is_zero()
            && (asked.client.is_some() || !head.headers.contains_key(AUTHORIZATION));
        let key = keeps.then(|| asked.digest(authorizer));
        let now = self.clock.monotonic();
        let kept = key.as_ref().and_then(|key| self.verdicts.get(key, now));
        let count = |result| self.metrics.authorizer_verdicts.with_label_values(&[result]).inc();
        let allowed = match kept {
            Some(allowed) => {
                count("kept");
                allowed
            }
            None => {
                let verdict = self.verdict(authorizer, &asked, request, now).await;
                count(if verdict.is_ok() { "asked" } else { "none" });
                let allowed = verdict?;
                if let Some(key) = key {
                    self.verdicts.keep(key, allowed, now + authorizer.keep);
                }
                allowed
            }
        };
        match allowed {
            true => Ok(()),
            false => Err(Refusal::Denied { reason: "authorizer-denied" }),
        }
    }

    async fn verdict(
        &self,
        authorizer: &Authorizer,
        asked: &Asked<'_>,
        request: &Request,
        now: Duration,
    ) -> Result<bool, Refusal> {
        let silent = || Refusal::AuthorizerSilent;
        let upstream = request.snapshot.upstreams.get(&authorizer.upstream).ok_or_else(silent)?;
        let at = upstream.choose(&HeaderMap::new(), now, None).ok_or_else(silent)?;
        let json = HeaderValue::from_static("application/json");
        let question = Question {
            method: Method::POST,
            target: authorizer.path.clone(),
            host: upstream.host_for(None),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
            body: serde_json::to_vec(asked).map_err(|_| silent())?.into(),
        };
        let asked = upstream.ask(at.target(), &question, authorizer.limit, LONGEST_ANSWER).await;
        upstream.judge(at.target(), &asked, Row::Requests, self.clock.monotonic());
        let said = match asked {
            Ok((status, _)) => status.as_u16(),
            Err(error) => {
                tracing::warn!(
                    upstream = &*upstream.name,
                    error = &error as &dyn std::error::Error,
                    "an authorizer does not answer, and its requests are refused"
                );
                return Err(silent());
            }
        };
        match said {
            200 | 204 => Ok(true),
            401 | 403 => Ok(false),
            status => {
                tracing::warn!(
                    upstream = &*upstream.name,
                    status,
                    "an authorizer says neither yes nor no, and its requests are refused"
                );
                Err(silent())
            }
        }
    }
}

impl Asked<'_> {
    /// Of all but the request's id, and of who is asked: another one may say something else.
    fn digest(&self, of: &Authorizer) -> String {
        let Self { route, client, authorization, path, .. } = self;
        let text = |part: &Option<&str>| part.unwrap_or_default().to_owned();
        let asked = format!("{} {}", of.upstream, of.path);
        let whole = format!("{asked} {route} {} {} {path}", text(client), text(authorization));
        digest(self.method, &whole, self.query).to_string()
    }
}

impl Verdicts {
    fn get(&self, key: &str, now: Duration) -> Option<bool> {
        let kept = self.0.lock();
        kept.get(key).filter(|(_, until)| now < *until).map(|(allowed, _)| *allowed)
    }

    fn keep(&self, key: String, allowed: bool, until: Duration) {
        let mut kept = self.0.lock();
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(key, (allowed, until));
    }
}
