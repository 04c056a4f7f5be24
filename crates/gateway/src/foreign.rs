//! Requests to upstreams that are not the server of ours.
//!
//! Such an upstream gets no grant and none of the contract's headers. One that enforces nothing
//! is asked only for callers who may see everything, for it would show everybody everything; one
//! that enforces the caller's token gets that token, and nobody here judges it. What is the same
//! as with the server of ours (framing, callers, limits) is in `judge`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use contract::{Decision, Grant, Interaction, Types, decide};
use http::header::{
    AUTHORIZATION, CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};
use tokio::sync::OwnedSemaphorePermit;

use crate::callers::Who;
use crate::errors::Refusal;
use crate::framing::BodyLength;
use crate::mirror::Copy;
use crate::origin::Origin;
use crate::pace::Pace;
use crate::proxy::{Gateway, strip_contract, wire};
use crate::request::{Request, Tries};
use crate::request_id;
use crate::routes::{Access, Content, Foreign, Route};
use crate::upstreams::{Enforces, OnTheWay, Upstream, Watch};
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
    watch: Watch,
    /// How its body comes.
    pub(crate) pace: Pace,
    /// Where it is under way.
    at: Option<OnTheWay>,
    /// Where it was under way before, in vain.
    before: Option<OnTheWay>,
    authorization: Option<HeaderValue>,
    is_upgrade: bool,
    /// Where a copy goes, until it is begun.
    mirror: Option<Arc<Upstream>>,
    /// A copy that collects its body.
    copy: Option<Copy>,
    /// Room among the requests under way, and among the WebSockets.
    _room: OwnedSemaphorePermit,
    _socket: Option<OwnedSemaphorePermit>,
}

impl Gateway {
    /// Whether the caller may ask this of the route's upstreams.
    pub(crate) fn judge_foreign(
        &self,
        head: &RequestHeader,
        route: &Route,
        foreign: &Foreign,
        request: &mut Request,
    ) -> Result<(), Refusal> {
        let path = head.uri.path();
        if !is_plain(path) {
            return Err(Refusal::InvalidUrl);
        }
        let Some(who) = &request.who else { return Err(Refusal::Internal) };
        if foreign.enforces == Enforces::None {
            if who.is_public() && foreign.callers == Access::Client {
                return Err(Refusal::CredentialsMissing);
            }
            let named = |id: &str| foreign.clients.iter().any(|client| client == id);
            if !foreign.clients.is_empty() && !who.client_id().is_some_and(named) {
                return Err(match who.is_public() {
                    true => Refusal::CredentialsMissing,
                    false => Refusal::Denied { reason: "client-not-on-route" },
                });
            }
        }
        if route.content == Content::Other {
            return Ok(());
        }
        let below = route.below(path).ok_or(Refusal::NoRoute)?;
        let interaction = Interaction::classify(head.method.as_str(), below, head.uri.query());
        // Which of FHIR's URLs it takes an upstream of another version knows better.
        let interaction = match (interaction, foreign.enforces) {
            (Ok(interaction), _) => interaction,
            (Err(_), Enforces::SmartToken) => return Ok(()),
            (Err(not_fhir), _) => return Err(Refusal::of_url(&not_fhir)),
        };
        request.interaction = interaction.code();
        request.template = Some(interaction.template());
        if foreign.enforces == Enforces::None && foreign.callers == Access::Client {
            judge_whole(who, &interaction)?;
        }
        Ok(())
    }

    /// Makes way: room at the upstream, and what it is shown.
    pub(crate) async fn make_way(
        &self,
        session: &Session,
        request: &mut Request,
    ) -> Result<(), Refusal> {
        let Some(route) = request.route.clone() else { return Err(Refusal::NoRoute) };
        let Some(foreign) = route.foreign() else { return Ok(()) };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let name = foreign.upstream(&session.req_header().headers, turn);
        let upstream = request.snapshot.upstreams.get(name).ok_or(Refusal::Internal)?.clone();
        let is_upgrade = session.downstream_session.is_upgrade_req();
        let mirror = foreign.mirror.as_ref().filter(|mirror| mirror.takes(turn) && !is_upgrade);
        let mirror = mirror.and_then(|mirror| request.snapshot.upstreams.get(&mirror.upstream));
        let socket = match is_upgrade {
            true => Some(
                upstream.sockets.clone().try_acquire_owned().map_err(|_| Refusal::UpstreamFull)?,
            ),
            false => None,
        };
        let whole = foreign.whole.or(upstream.config.whole);
        let longest = whole.unwrap_or(upstream.config.first_byte);
        let room = upstream.breaker.enter(longest).await.map_err(|_| Refusal::UpstreamFull)?;
        let authorization = upstream.authorization().await.map_err(|_| Refusal::NoToken)?;
        request.way = Some(Way {
            watch: Watch::begin(whole),
            pace: Pace::begin(self.clock.monotonic()),
            upstream,
            at: None,
            before: None,
            authorization,
            is_upgrade,
            mirror: mirror.cloned(),
            copy: None,
            _room: room,
            _socket: socket,
        });
        Ok(())
    }

    /// Begins the copy of a request whose head is as its upstream gets it.
    pub(crate) fn begin_copy(&self, request: &mut Request, head: &RequestHeader) {
        let Some(way) = &mut request.way else { return };
        let Some(mirror) = way.mirror.take() else { return };
        way.copy = self.mirrors.begin(&mirror, head);
        if request.body == BodyLength::Known(0) {
            self.end_copy(request);
        }
    }

    /// Adds a piece of a body to its copy. A body that is too long for one has none.
    pub(crate) fn add_to_copy(&self, request: &mut Request, piece: Option<&Bytes>, is_last: bool) {
        let Some(way) = &mut request.way else { return };
        if let (Some(copy), Some(piece)) = (&mut way.copy, piece)
            && !copy.take(piece)
        {
            way.copy = None;
        }
        if is_last {
            self.end_copy(request);
        }
    }

    fn end_copy(&self, request: &mut Request) {
        if let Some(copy) = request.way.as_mut().and_then(|way| way.copy.take()) {
            self.mirrors.send(copy, self.clock.monotonic());
        }
    }
}

/// Whether an upstream that enforces nothing may answer this: only for a caller who may see
/// whatever could come of it.
fn judge_whole(who: &Who, interaction: &Interaction) -> Result<(), Refusal> {
    let grant: &Grant = who.known().template.grant();
    if let Decision::Deny(reason) = decide(grant, interaction) {
        return Err(Refusal::of_denial(reason));
    }
    let suffices = |actions: &contract::Actions| match interaction {
        // Its entries are judged by nobody.
        Interaction::BatchOrTransaction => *actions == contract::Actions::all(),
        _ => actions.suffice_for(interaction),
    };
    // A search for one type may include others.
    let sees_all = grant
        .rules
        .iter()
        .any(|rule| rule.types == Types::All && rule.is_unrestricted() && suffices(&rule.actions));
    match sees_all || *interaction == Interaction::Capabilities {
        true => Ok(()),
        false => Err(Refusal::Denied { reason: "upstream-enforces-nothing" }),
    }
}

/// Takes an upgrade out of a request that is none to a WebSocket (RFC 6455, section 4.1): what asks
/// for another protocol is asked in this one (RFC 9110, section 7.8).
pub(crate) fn keep_websockets_alone(head: &mut RequestHeader) {
    if head.headers.contains_key(UPGRADE) && !is_websocket(head) {
        head.remove_header(&UPGRADE);
        head.remove_header("http2-settings");
    }
}

fn is_websocket(head: &RequestHeader) -> bool {
    let only = |name: HeaderName| {
        let mut values = head.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())?.to_str().ok()
    };
    let has_word = |name: HeaderName, word: &str| {
        let lines = head.headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
    };
    let key = only(SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key).ok());
    head.method == Method::GET
        && head.version == http::Version::HTTP_11
        && has_word(CONNECTION, "upgrade")
        && only(UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case("websocket"))
        && only(SEC_WEBSOCKET_VERSION) == Some("13")
        && key.is_some_and(|key| key.len() == 16)
}

/// Whether a path is read in one way only: without dot segments, empty segments, backslashes, and
/// without escapes of what would be one of these or needs no escape. What follows a semicolon in a
/// segment is a parameter to some servers, which read `..;a` as `..`.
fn is_plain(path: &str) -> bool {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let segments_are_plain = inner.split('/').rev().enumerate().all(|(from_end, segment)| {
        match segment.split(';').next() {
            None | Some("") => from_end == 0 && segment.is_empty(),
            Some("." | "..") => false,
            Some(_) => true,
        }
    });
    let escapes_are_plain = path.split('%').skip(1).all(|rest| {
        let escaped = rest.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let digits = rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        escaped.is_some_and(|byte| {
            digits
                && !byte.is_ascii_alphanumeric()
                && !byte.is_ascii_control()
                && !b"/\\.-_~;".contains(&byte)
        })
    });
    segments_are_plain && escapes_are_plain && !path.contains('\\')
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

    /// Makes of a client's head what the upstream gets.
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
        route.request_headers.apply(upstream)
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
            }
            status if status.is_informational() => return Ok(()),
            _ => self.watch.answered(config.between_bytes),
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            self.upstream.refused(self.authorization.as_ref());
        }
        if let Some(at) = &self.at {
            match answer.status.as_u16() {
                502..=504 => self.upstream.failed(at.target(), now),
                _ => at.target().succeeded(),
            }
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
            self.upstream.failed(at.target(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_are_read_in_one_way_pass() {
        for path in
            ["/", "/a", "/a/", "/a/b.c/~d", "/a%20b", "/a%C3%A9", "/a/$op", "/a:b", "/a;b=c/d"]
        {
            assert!(is_plain(path), "{path}");
        }
        for path in [
            "//",
            "/a//b",
            "/a/..",
            "/a/./b",
            "/../a",
            "/a/%2e%2e/b",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/%61",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%00",
            "/a%+1",
            "/..;/a",
            "/a/.;x=1/b",
            "/;/a",
            "/a;%2e/b",
            "/a/..%3b/b",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
