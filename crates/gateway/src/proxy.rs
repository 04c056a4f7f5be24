//! The gateway as pingora's hooks: judge, forward, check the answer, log.
//!
//! Bodies pass in pieces, both ways, and are never looked at. An answer of the server goes to the
//! client byte for byte, once it has shown to be the answer to this very request.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use contract::{Clock, Cost, Ids, TenantName, header};
use http::header::AUTHORIZATION;
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};
use tokio::sync::watch;
use trace::Tracer;

use crate::access_log::{Line, Lines};
use crate::addresses::Behind;
use crate::answer;
use crate::audited_denials::AuditedDenials;
use crate::authorizer::Verdicts;
use crate::break_glass;
use crate::channel::ChannelKeeper;
use crate::cors;
use crate::denials::Denials;
use crate::errors::Refusal;
use crate::foreign::{Sent, Way};
use crate::framing::BodyLength;
use crate::judge::Judged;
use crate::lanes::Lanes;
use crate::limiting::Limiting;
use crate::metrics::{Metrics, UpstreamLabel, method_label};
use crate::mirror::Mirrors;
use crate::origin::origin;
use crate::pace::Least;
use crate::request::{Pass, Request, Tries};
use crate::request_id;
use crate::second_look::KnownAsOf;
use crate::server_link::ServerWay;
use crate::snapshot::Current;
use crate::spans::{Ended, To, Traced};
use crate::wire::Wire;

const STALE_CHANNEL: ErrorType = ErrorType::new("StaleChannel");
const FOREIGN_ANSWER: ErrorType = ErrorType::new("ForeignAnswer");
const BODY_TOO_LARGE: ErrorType = ErrorType::new("BodyTooLarge");
const BODY_TOO_SLOW: ErrorType = ErrorType::new("BodyTooSlow");

/// The gateway.
pub(crate) struct Gateway {
    pub(crate) current: Arc<Current>,
    /// Grows with every request that could go one way or another.
    pub(crate) turn: AtomicU64,
    pub(crate) mirrors: Mirrors,
    pub(crate) verdicts: Verdicts,
    pub(crate) denials: Arc<Denials>,
    pub(crate) audited: AuditedDenials,
    pub(crate) tenant: TenantName,
    pub(crate) limiting: Arc<Limiting>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) channel: Arc<ChannelKeeper>,
    /// As of when the registry knows callers, for the server.
    pub(crate) known_as_of: KnownAsOf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lines: Lines,
    pub(crate) tracer: Arc<Tracer>,
    /// The server of ours.
    pub(crate) server: ServerWay,
    /// Whether the process is to stop.
    pub(crate) shutdown: watch::Receiver<bool>,
}

impl Gateway {
    /// Whether answers say that their connection ends. From the stop on: connections that wait for
    /// a request are told of it later ([`crate::connections`]).
    fn is_stopping(&self) -> bool {
        // An owner that is gone cannot tell us any more: its end is the signal.
        *self.shutdown.borrow() || self.shutdown.has_changed().is_err()
    }

    /// Writes an answer of our own.
    async fn refuse(
        &self,
        session: &mut Session,
        request: &mut Request,
        refusal: Refusal,
    ) -> pingora::Result<()> {
        request.place = None;
        // A fault of ours, before anybody was asked.
        if let (503, None, Some(admission)) =
            (refusal.status(), request.sent, &mut request.admission)
        {
            self.limiting.give_back(admission);
        }
        request.refusal = Some(refusal.clone());
        let content = request.content();
        let body = refusal.body(request_id::text(&request.id), content);
        let mut head = refusal.head(body.len(), content)?;
        request.dress(&mut head)?;
        if refusal.ends_the_connection() || self.is_stopping() {
            session.set_keepalive(None);
        }
        session.write_response_header(head, false).await?;
        session.write_response_body(Some(body), true).await?;
        answer::linger(session).await;
        Ok(())
    }

    /// Waits for the request's turn, and for a place in its lane.
    async fn enter(&self, request: &mut Request) -> Result<(), Refusal> {
        let wait = request.admission.as_ref().map_or(Duration::ZERO, |admission| admission.wait);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        // Lanes are of what the server of ours does; an upstream of others has bounds of its own.
        if request.pass.is_some() {
            request.place = Some(self.lanes.enter(request.lane).await.ok_or(Refusal::LaneFull)?);
        }
        Ok(())
    }

    /// What has to be waited for before a request that was judged is sent.
    async fn let_pass(
        &self,
        session: &Session,
        request: &mut Request,
        address: IpAddr,
    ) -> Result<(), Refusal> {
        self.ask_authorizer(session, request).await?;
        self.enter(request).await?;
        self.make_way(session, request).await?;
        self.look_again(session, request, address).await
    }

    /// Answers a preflight.
    async fn answer_preflight(
        &self,
        session: &mut Session,
        request: &Request,
    ) -> pingora::Result<()> {
        let mut head = cors::preflight_answer()?;
        request.dress(&mut head)?;
        session.write_response_header(head, true).await
    }

    /// Records a break-glass and answers it.
    async fn answer_break_glass(
        &self,
        session: &mut Session,
        request: &mut Request,
    ) -> pingora::Result<()> {
        match self.take_break_glass(session, request).await {
            Ok(taken) => {
                let (mut head, body) = break_glass::answer(&taken)?;
                request.dress(&mut head)?;
                session.write_response_header(head, false).await?;
                session.write_response_body(Some(body), true).await
            }
            Err(refusal) => {
                self.remember(session, request, &refusal);
                self.refuse(session, request, refusal).await
            }
        }
    }

    /// Checks that an answer's head is the answer to this request and takes the contract's
    /// headers out of it.
    fn accept_answer(
        &self,
        answer: &mut ResponseHeader,
        request: &mut Request,
    ) -> pingora::Result<()> {
        let Some(pass) = &request.pass else {
            return Err(Error::new_in(ErrorType::InternalError));
        };
        if answer.status == StatusCode::CONTINUE {
            // Says nothing but "go on": of its headers, none is needed.
            strip_contract(answer);
            return Ok(());
        }
        if answer.status == StatusCode::MISDIRECTED_REQUEST {
            request.stale = Some(pass.channel.clone());
            return Err(Error::new_up(STALE_CHANNEL));
        }
        if !carries_nonce(answer, pass) {
            self.metrics.answers_discarded.inc();
            request.refusal = Some(Refusal::AnswerDiscarded);
            tracing::error!(
                request_id = request_id::text(&request.id),
                "security: an answer without its request's nonce was discarded"
            );
            return Err(Error::new_up(FOREIGN_ANSWER));
        }
        request.cost = answer
            .headers
            .get(header::COST)
            .and_then(|cost| Cost::from_header(cost.to_str().ok()?));
        strip_contract(answer);
        if let Some(route) = &request.route {
            route.response_headers.apply(answer)?;
        }
        request.dress(answer)
    }

    /// What a failure at an upstream of others means.
    fn foreign_failed(
        &self,
        session: &Session,
        request: &mut Request,
        mut error: Box<Error>,
        reused: bool,
    ) -> Box<Error> {
        let now = self.clock.monotonic();
        let whole = request.body_is_whole || request.body == BodyLength::Known(0);
        let sent = Sent { tries: request.tries, body: request.body, whole };
        let Some(way) = &mut request.way else { return error };
        match way.failed(session, &error, reused, sent, now) {
            Ok(()) => {
                request.tries = Tries::Second;
                self.metrics.retries.inc();
                error.set_retry(true);
            }
            Err(refusal) => {
                request.refusal = refusal.or(request.refusal.take());
                error.set_retry(false);
            }
        }
        error
    }

    /// Says in the log what went wrong, without a word of the request or the answer.
    fn tell_of_failure(&self, error: &Error, refusal: &Refusal, request: &Request) {
        if refusal.status() < 500 {
            return;
        }
        tracing::warn!(
            request_id = request_id::text(&request.id),
            refusal = refusal.reason(),
            failure = error.etype().as_str(),
            side = error.esource().as_str(),
            "a request could not be answered by the server"
        );
    }
}

fn carries_nonce(answer: &ResponseHeader, pass: &Pass) -> bool {
    let mut nonces = answer.headers.get_all(header::NONCE).iter();
    match (nonces.next(), nonces.next()) {
        (Some(nonce), None) => nonce.to_str().is_ok_and(|nonce| pass.nonce.matches(nonce)),
        _ => false,
    }
}

/// Takes out whatever could be read as the contract's.
pub(crate) fn strip_contract(answer: &mut ResponseHeader) {
    answer.remove_header(header::NONCE);
    answer.remove_header(header::COST);
    // No other is ever sent back; what a later version adds must not reach clients either.
    let others: Vec<_> = answer
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with(header::PREFIX))
        .cloned()
        .collect();
    for name in &others {
        answer.remove_header(name);
    }
}

/// What its span says of a request that ended.
fn how_it_ended(session: &Session, request: &Request, status: u16) -> Ended {
    let head = session.req_header();
    let is_https = origin(session).is_some_and(|origin| {
        let (forwarded, _) = request.forwarded(origin);
        forwarded.as_bytes().ends_with(b"proto=https")
    });
    Ended {
        method: method_label(&head.method),
        status,
        scheme: if is_https { "https" } else { "http" },
        version: match head.version {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        },
    }
}

/// The connection beneath a session.
pub(crate) fn wire(session: &Session) -> Option<&Wire> {
    (**session.downstream_session.stream()?).as_any().downcast_ref()
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Request;

    fn new_ctx(&self) -> Request {
        Request::new(self.current.take(), &self.metrics.in_flight)
    }

    /// No modules: not even the idle compression that pingora adds by itself.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(
        &self,
        session: &mut Session,
        request: &mut Request,
    ) -> pingora::Result<()> {
        request.started = self.clock.monotonic();
        if let Some(wire) = wire(session) {
            wire.head_is_read();
            wire.must_be_taken(Least::of(&request.snapshot.limits));
        }
        let idle = request.snapshot.limits.idle;
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(idle.as_secs().max(1)));
        }
        session.set_read_timeout(Some(idle));
        session.set_write_timeout(Some(idle));
        session.set_total_drain_timeout(Some(answer::LINGER));
        Ok(())
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        request: &mut Request,
    ) -> pingora::Result<bool> {
        let Some(origin) = origin(session) else {
            return Err(Error::new_in(ErrorType::InternalError));
        };
        request.hsts = origin.hsts().cloned();
        request.certificate = origin.certificate().cloned();
        let peer = origin.peer().ip();
        request.behind = request.snapshot.addresses.behind(peer, &session.req_header().headers);
        let address = request.behind.as_ref().map_or(peer, Behind::address);
        let is_trusted = request.snapshot.addresses.trusts(peer);
        request.traced = Traced::begin(&self.tracer, &session.req_header().headers, is_trusted);
        match self.judge(session, request, address).await {
            Ok(Judged::Forward | Judged::Foreign) => {
                match self.let_pass(session, request, address).await {
                    Ok(()) => return Ok(false),
                    Err(refusal) => {
                        self.remember(session, request, &refusal);
                        self.refuse(session, request, refusal).await?;
                    }
                }
            }
            Ok(Judged::Preflight) => self.answer_preflight(session, request).await?,
            Ok(Judged::BreakGlass) => self.answer_break_glass(session, request).await?,
            Err(refusal) => {
                self.remember(session, request, &refusal);
                self.refuse(session, request, refusal).await?;
            }
        }
        Ok(true)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        request: &mut Request,
    ) -> pingora::Result<()> {
        let length = body.as_ref().map_or(0, Bytes::len);
        request.body_passed += u64::try_from(length).unwrap_or(u64::MAX);
        request.body_is_whole |= end_of_stream;
        if !end_of_stream && !answer::waits_for_rest(request, &*self.clock) {
            request.refusal = Some(Refusal::ClientTooSlow);
            return Err(Error::new_down(BODY_TOO_SLOW));
        }
        if let Some(way) = &mut request.way {
            way.progress()?;
            let limits = &request.snapshot.limits;
            let late = wire(session).map(Wire::late);
            let now = self.clock.monotonic();
            if !end_of_stream && way.pace.is_too_slow(request.body_passed, late, now, limits) {
                request.refusal = Some(Refusal::ClientTooSlow);
                return Err(Error::new_down(BODY_TOO_SLOW));
            }
            self.add_to_copy(request, body.as_ref(), end_of_stream);
        }
        if request.body == BodyLength::Chunked && request.body_passed > request.body_limit() {
            request.refusal = Some(Refusal::BodyTooLarge);
            return Err(Error::new_down(BODY_TOO_LARGE));
        }
        Ok(())
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        request: &mut Request,
    ) -> pingora::Result<Box<HttpPeer>> {
        if let Some(way) = &mut request.way {
            let chosen = way.choose(session, self.clock.monotonic());
            if chosen.is_err() {
                request.refusal = Some(Refusal::ServerUnreachable);
            }
            return chosen;
        }
        if let Some(stale) = request.stale.take() {
            if self.channel.replace(&stale).await.is_err() {
                request.refusal = Some(Refusal::ChannelUnknown);
                return Err(Error::new_up(STALE_CHANNEL));
            }
            if let (Some(pass), Some(channel)) = (&mut request.pass, self.channel.current()) {
                pass.channel = channel;
            }
        }
        self.server.peer().ok_or_else(|| {
            request.refusal = Some(Refusal::ServerUnreachable);
            Error::new_up(ErrorType::ConnectNoRoute)
        })
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::fd::RawFd,
        digest: Option<&Digest>,
        request: &mut Request,
    ) -> pingora::Result<()> {
        request.way.as_ref().map_or(Ok(()), |way| way.connected(digest))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        request: &mut Request,
    ) -> pingora::Result<()> {
        let internal = || Error::new_in(ErrorType::InternalError);
        let origin = origin(session).ok_or_else(internal)?;
        request.sent = Some(self.clock.monotonic());
        let route = request.route.as_ref().ok_or_else(internal)?;
        if let (Some(way), Some(foreign)) = (&request.way, route.foreign()) {
            let to = To::Foreign(&way.upstream.name);
            request.traced.send(&self.tracer, upstream, to, request.tries)?;
            way.dress_request(upstream, route, foreign, request, origin)?;
            let route = route.clone();
            let rules = &route.request_headers;
            self.begin_copy(request, upstream, rules);
            return rules.apply(upstream);
        }
        let pass = request.pass.as_ref().ok_or_else(internal)?;
        let granted = pass.granted.as_ref().ok_or_else(internal)?;
        route.request_headers.apply(upstream)?;
        request.traced.send(&self.tracer, upstream, To::Server, request.tries)?;
        upstream.remove_header(&AUTHORIZATION);
        upstream.insert_header(header::CONTRACT, &pass.channel.version)?;
        upstream.insert_header(header::CHANNEL, &pass.channel.secret)?;
        upstream.insert_header(header::GRANT, &granted.grant)?;
        if let Some(known_as_of) = &granted.known_as_of {
            upstream.insert_header(header::FEED, known_as_of)?;
        }
        upstream.insert_header(request_id::NAME, &request.id)?;
        let (forwarded, forwarded_for) = request.forwarded(origin);
        upstream.insert_header("forwarded", forwarded)?;
        upstream.insert_header("x-forwarded-for", forwarded_for)?;
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        request: &mut Request,
    ) -> pingora::Result<()> {
        if self.is_stopping() {
            session.set_keepalive(None);
        }
        if let Some(sent) = request.sent
            && answer.status != StatusCode::CONTINUE
        {
            request.upstream = Some(self.clock.monotonic().saturating_sub(sent));
            request.traced.answered(answer.status.as_u16());
        }
        if let (Some(way), Some(route)) = (&request.way, &request.route) {
            let now = self.clock.monotonic();
            way.accept_answer(session, answer, (route, request), now)?;
        } else {
            self.accept_answer(answer, request)?;
        }
        answer::begin(session, answer, request, &self.clock);
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        _body: &mut Option<Bytes>,
        end_of_stream: bool,
        request: &mut Request,
    ) -> pingora::Result<Option<Duration>> {
        request.way.as_ref().map_or(Ok(()), Way::progress)?;
        if end_of_stream {
            answer::is_whole(session, request, self.clock.monotonic());
        }
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        request: &mut Request,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if request.way.is_some() {
            return self.foreign_failed(session, request, error, false);
        }
        error.set_retry(false);
        request.refusal = Some(Refusal::ServerUnreachable);
        error
    }

    /// Sends a request a second time only when nothing is done twice: the server said that it did
    /// nothing (421), or the connection ended before any answer and the method changes nothing. A
    /// server that stops or dies then costs a reader no more than a 503. Never once a byte of a
    /// body may have been sent.
    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        request: &mut Request,
        client_reused: bool,
    ) -> Box<Error> {
        if request.way.is_some() {
            return self.foreign_failed(session, request, error, client_reused);
        }
        let untouched = request.tries == Tries::First
            && request.body == BodyLength::Known(0)
            && session.response_written().is_none();
        let method = &session.req_header().method;
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
        let unanswered = safe
            && session.response_written().is_none()
            && *error.esource() == ErrorSource::Upstream
            && matches!(
                error.etype(),
                ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed
            );
        let again = untouched && (request.stale.is_some() || unanswered);
        if again {
            request.tries = Tries::Second;
            self.metrics.retries.inc();
        } else if unanswered {
            // Whether it was there a moment ago is nothing to someone who only reads.
            request.refusal = Some(Refusal::ServerUnreachable);
        }
        error.set_retry(again);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        request: &mut Request,
    ) -> FailToProxy {
        if let Some(stale) = request.stale.take() {
            // Not for this request any more, but for those that follow; a failure is logged there.
            let _ = self.channel.replace(&stale).await;
            request.refusal = Some(Refusal::ChannelUnknown);
        }
        let refusal = request.refusal.take().unwrap_or_else(|| Refusal::of_failure(error));
        let of_ours = request.way.is_none();
        if of_ours
            && matches!(
                refusal,
                Refusal::ServerUnreachable | Refusal::ServerBroken | Refusal::LinkLost
            )
        {
            self.channel.doubt();
        }
        self.tell_of_failure(error, &refusal, request);
        let status = refusal.status();
        let written = session.response_written().is_some();
        // The connection ends with this request: a client that is not told would send its next
        // one into it.
        session.set_keepalive(None);
        if written || matches!(refusal, Refusal::ClientGone | Refusal::AnswerLeft) {
            request.refusal = Some(refusal);
        } else if self.refuse(session, request, refusal).await.is_err() {
            tracing::debug!("the client went away before it could be refused");
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    /// Only what of the request has been read can be told here. Where pingora has yet to read the
    /// rest of a body, or a body came in chunks, it does not come to what was handed out, and
    /// nothing is known.
    fn persist_connection_context(
        &self,
        session: &Session,
        _request: &Request,
    ) -> Option<Box<dyn Any + Send + Sync>> {
        let http1 = session.downstream_session.as_http1()?;
        let length = http1.get_headers_raw_bytes().len() + session.body_bytes_read();
        wire(session)?.request_came_to(length as u64);
        None
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, request: &mut Request) {
        let duration = self.clock.monotonic().saturating_sub(request.started);
        let refusal = request.refusal.as_ref();
        let status = session
            .response_written()
            .map(|head| head.status.as_u16())
            .or_else(|| refusal.map(Refusal::status))
            .unwrap_or(500);
        let count = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        let bytes_in = count(session.body_bytes_read());
        let bytes_out = count(session.body_bytes_sent());
        let method = &session.req_header().method;
        if let Some(admission) = &request.admission {
            let bytes = bytes_in.saturating_add(bytes_out);
            self.limiting.charge(admission, bytes, request.cost, self.clock.now());
        }

        let metrics = &self.metrics;
        let series = metrics.series(&request.label, request.upstream_label(), request.interaction);
        series.finished(method, status, duration);
        metrics.bytes_in.inc_by(bytes_in);
        metrics.bytes_out.inc_by(bytes_out);
        if let Some(upstream) = request.upstream {
            series.upstream_took(upstream);
        }
        let is_left = matches!(refusal, Some(Refusal::ClientGone | Refusal::AnswerLeft));
        if let (true, Some(origin)) = (is_left, origin(session)) {
            origin.abandon();
        }
        if let Some(refusal) = refusal {
            metrics.refusals.with_label_values(&[refusal.reason()]).inc();
        }
        if self.lines.are_kept() {
            let upstream = request.upstream_label();
            self.lines.write(&Line {
                time: self.clock.now(),
                request_id: request_id::text(&request.id),
                client: request.who.as_ref().and_then(|who| who.client_id()),
                subject: request.who.as_ref().and_then(|who| who.subject()),
                method: method_label(method),
                route: request.label.text(),
                upstream: (upstream != UpstreamLabel::None).then(|| upstream.text()),
                trace_id: request.traced.trace_id(),
                interaction: request.interaction,
                status,
                bytes_in,
                bytes_out,
                duration,
                upstream_took: request.upstream,
                cost: request.cost,
                limit: request.limit_decision(),
                refusal: refusal.map(Refusal::reason),
            });
        }
        if request.traced.is_recorded() {
            request.end_spans(how_it_ended(session, request, status));
        }
    }

    /// pingora's own error lines name method, path and host: a path can name a patient.
    fn suppress_error_log(&self, _: &Session, _: &Request, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Request,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn request_summary(&self, _: &Session, request: &Request) -> String {
        format!("request {}", request_id::text(&request.id))
    }
}
