//! The path that one request was let through to an upstream of others, from the choice of an
//! endpoint to what a failure means.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, HOST, PROXY_AUTHORIZATION};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};
use tokio::sync::OwnedSemaphorePermit;

use crate::errors::Refusal;
use crate::framing::BodyLength;
use crate::mirror::Copy;
use crate::origin::Origin;
use crate::pace::Pace;
use crate::proxy::{strip_contract, wire};
use crate::request::{Request, Tries};
use crate::request_id;
use crate::routes::{Content, Foreign, Route};
use crate::upstreams::{Enforces, OnTheWay, Row, Upstream, Watch};
use crate::wire::Wire;

const TOO_SLOW: ErrorType = ErrorType::new("UpstreamTooSlow");
const NO_ENDPOINT: ErrorType = ErrorType::new("NoEndpoint");

/// What was sent of a request so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) tries: Tries,
    pub(crate) body: BodyLength,
    /// Whether its body has ended.
    pub(crate) whole: bool,
}

/// Who was waited for when a limit passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stalled {
    Endpoint,
    Client,
    /// Neither had anything to say.
    Both,
}

/// The path that a request was let through, kept to its end.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) upstream: Arc<Upstream>,
    /// Its times.
    pub(super) watch: Watch,
    /// How its body comes.
    pub(crate) pace: Pace,
    /// Where it is under way.
    pub(super) at: Option<OnTheWay>,
    /// Where it was under way before, in vain.
    pub(super) before: Option<OnTheWay>,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) is_upgrade: bool,
    /// Where a copy goes, until it is begun.
    pub(super) mirror: Option<Arc<Upstream>>,
    /// A copy that collects its body.
    pub(super) copy: Option<Copy>,
    /// Room among the requests under way, and among the WebSockets.
    pub(super) _room: OwnedSemaphorePermit,
    pub(super) _socket: Option<OwnedSemaphorePermit>,
}

impl Way {
    /// Chooses an endpoint; another one than before, or the same where there is no other.
    pub(crate) fn choose(
        &mut self,
        session: &Session,
        now: Duration,
    ) -> pingora::Result<Box<pingora::upstreams::peer::HttpPeer>> {
        let headers = &session.req_header().headers;
        self.before = self.at.take().or(self.before.take());
        let before = self.before.as_ref().map(|before| &**before.target());
        let other = self.upstream.choose(headers, now, before);
        let chosen = other.or_else(|| before.and(self.upstream.choose(headers, now, None)));
        let Some(chosen) = chosen else { return Err(Error::new_up(NO_ENDPOINT)) };
        let peer = chosen.target().peer.clone();
        self.at = Some(chosen);
        Ok(Box::new(peer))
    }

    /// The request has a connection.
    pub(crate) fn connected(&self, digest: Option<&Digest>) -> pingora::Result<()> {
        match self.watch.connected(digest, self.upstream.config.first_byte) {
            true => Ok(()),
            false => Err(Error::new_up(TOO_SLOW)),
        }
    }

    /// Something passed, in either direction.
    pub(crate) fn progress(&self) -> pingora::Result<()> {
        self.watch.progress();
        // What ended the connection would look like the end of an answer without a length.
        match self.watch.is_over() {
            true => Err(Error::new_up(TOO_SLOW)),
            false => Ok(()),
        }
    }

    /// Makes of a client's head what the upstream gets, the rules of its route aside.
    pub(crate) fn dress_request(
        &self,
        upstream: &mut RequestHeader,
        route: &Route,
        foreign: &Foreign,
        request: &Request,
        origin: &Origin,
    ) -> pingora::Result<()> {
        if let Some(replacing) = &foreign.upstream_path {
            let below = route.below(upstream.uri.path()).unwrap_or_default();
            let mut target = format!("{replacing}{below}");
            if target.is_empty() {
                target.push('/');
            }
            if let Some(query) = upstream.uri.query() {
                target.push('?');
                target.push_str(query);
            }
            upstream.set_raw_path(target.as_bytes())?;
        }
        if foreign.enforces != Enforces::SmartToken {
            upstream.remove_header(&AUTHORIZATION);
        }
        // What is not FHIR may well be pages that know their visitors by cookies.
        if foreign.enforces == Enforces::None && route.content == Content::Fhir {
            upstream.remove_header(&COOKIE);
            upstream.remove_header(&PROXY_AUTHORIZATION);
        }
        if let Some(authorization) = &self.authorization {
            upstream.insert_header(AUTHORIZATION, authorization)?;
        }
        let client_host = upstream.headers.get(HOST).cloned();
        if let Some(host) = &client_host {
            upstream.insert_header("x-forwarded-host", host)?;
        }
        let (forwarded, forwarded_for) = request.forwarded(origin);
        let https = forwarded.as_bytes().ends_with(b"proto=https");
        upstream.insert_header("x-forwarded-proto", if https { "https" } else { "http" })?;
        let host = self.upstream.host_for(client_host.as_ref());
        upstream.insert_header(HOST, host)?;
        upstream.insert_header(request_id::NAME, &request.id)?;
        upstream.insert_header("forwarded", forwarded)?;
        upstream.insert_header("x-forwarded-for", forwarded_for)?;
        Ok(())
    }

    /// An answer's head came: what it says of the endpoint, and what of it goes on.
    pub(crate) fn accept_answer(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        (route, request): (&Route, &Request),
        now: Duration,
    ) -> pingora::Result<()> {
        let config = &self.upstream.config;
        strip_contract(answer);
        match answer.status {
            StatusCode::SWITCHING_PROTOCOLS => {
                self.watch.upgraded(config.socket_idle);
                // From now on both directions are watched together.
                session.set_read_timeout(None);
                if let Some(wire) = wire(session) {
                    wire.is_upgraded();
                }
            }
            status if status.is_informational() => return Ok(()),
            _ => self.watch.answered(config.between_bytes),
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            self.upstream.refused(self.authorization.as_ref());
        }
        if let Some(at) = &self.at {
            self.upstream.answered(at.target(), answer.status, Row::Requests, now);
        }
        if route.cors.is_some() {
            let own: Vec<HeaderName> = answer
                .headers
                .keys()
                .filter(|name| name.as_str().starts_with("access-control-"))
                .cloned()
                .collect();
            for name in &own {
                answer.remove_header(name);
            }
        }
        route.response_headers.apply(answer)?;
        request.dress(answer)
    }

    /// What a failure to reach the endpoint, or on the way, means: whether the request is sent
    /// once more, and the refusal when it is not.
    pub(crate) fn failed(
        &mut self,
        session: &Session,
        error: &Error,
        reused: bool,
        sent: Sent,
        now: Duration,
    ) -> Result<(), Option<Refusal>> {
        self.watch.disconnected();
        if self.watch.was_revoked() {
            return Err(Some(Refusal::CredentialsInvalid));
        }
        if self.watch.is_over() {
            return Err(Some(match self.stalled(session, sent.whole) {
                Stalled::Endpoint => {
                    self.blame(now);
                    Refusal::ServerTooSlow
                }
                Stalled::Both => Refusal::ServerTooSlow,
                Stalled::Client => Refusal::ClientTooSlow,
            }));
        }
        if *error.esource() != ErrorSource::Upstream {
            return Err(None);
        }
        // A kept connection that the endpoint closed meanwhile says nothing against it.
        if !reused {
            self.blame(now);
        }
        let method = &session.req_header().method;
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
        let unanswered = session.response_written().is_none()
            && matches!(
                error.etype(),
                ErrorType::ReadError
                    | ErrorType::WriteError
                    | ErrorType::ConnectionClosed
                    | ErrorType::ConnectError
                    | ErrorType::ConnectRefused
                    | ErrorType::ConnectTimedout
                    | ErrorType::ConnectNoRoute
                    | ErrorType::TLSHandshakeFailure
                    | ErrorType::TLSHandshakeTimedout
            );
        let elsewhere = || {
            let at = self.at.as_ref().map(|at| &**at.target());
            reused || self.upstream.choose(&session.req_header().headers, now, at).is_some()
        };
        let again = safe
            && unanswered
            && sent.tries == Tries::First
            && sent.body == BodyLength::Known(0)
            && !self.is_upgrade
            && self.upstream.config.retry
            && elsewhere();
        match again {
            true => Ok(()),
            false if *error.etype() == ErrorType::ConnectTimedout => {
                Err(Some(Refusal::ServerTooSlow))
            }
            false if unanswered && safe => Err(Some(Refusal::ServerUnreachable)),
            false => Err(None),
        }
    }

    /// Who was waited for when a limit passed. `whole` says whether the request's body was. A
    /// client of HTTP/2 that takes no answer shows by what the endpoint has sent in vain alone.
    fn stalled(&self, session: &Session, whole: bool) -> Stalled {
        if self.watch.was_upgraded() {
            return Stalled::Both;
        }
        let wire = wire(session);
        let takes_nothing = wire.is_some_and(Wire::waits_to_write);
        let sends_nothing = !whole && wire.is_none_or(Wire::waits_to_read);
        match takes_nothing || sends_nothing || self.watch.left_unread() {
            true => Stalled::Client,
            false => Stalled::Endpoint,
        }
    }

    fn blame(&self, now: Duration) {
        if let Some(at) = &self.at {
            self.upstream.failed(at.target(), Row::Requests, now);
        }
    }
}
