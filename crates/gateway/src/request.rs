//! What the gateway knows of one request while it passes.

use std::sync::Arc;
use std::time::Duration;

use contract::{Cost, Digest, Lane, Nonce};
use http::HeaderValue;
use pingora::http::ResponseHeader;
use prometheus::IntGauge;

use crate::access_log::LimitDecision;
use crate::addresses::Behind;
use crate::callers::{LimitState, Who};
use crate::certificates::PeerCertificate;
use crate::channel::Channel;
use crate::errors::Refusal;
use crate::foreign::Way;
use crate::framing::BodyLength;
use crate::lanes::Place;
use crate::limiting::{Admission, Told};
use crate::metrics::{RouteLabel, UpstreamLabel};
use crate::origin::Origin;
use crate::request_id;
use crate::routes::{Content, Route};
use crate::snapshot::Snapshot;
use crate::spans::Traced;

/// The label of what was never classified.
pub(crate) const NO_INTERACTION: &str = "none";

/// One request's way through the gateway.
#[derive(Debug)]
pub(crate) struct Request {
    /// What was decided when it came.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) started: Duration,
    pub(crate) id: HeaderValue,
    pub(crate) who: Option<Who>,
    /// The registry's change as of which that is so.
    pub(crate) as_of: u64,
    /// Where it goes, once that is known.
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) label: RouteLabel,
    pub(crate) interaction: &'static str,
    /// What the interaction's path has in common with others.
    pub(crate) template: Option<&'static str>,
    pub(crate) traced: Traced,
    pub(crate) body: BodyLength,
    /// Bytes of the body that passed so far.
    pub(crate) body_passed: u64,
    /// Whether its end passed.
    pub(crate) body_is_whole: bool,
    pub(crate) pass: Option<Pass>,
    /// The way to an upstream that is not the server of ours.
    pub(crate) way: Option<Way>,
    pub(crate) limit: Option<LimitState>,
    /// What its plan gave it.
    pub(crate) admission: Option<Admission>,
    /// What its answer says of its plan's limits.
    pub(crate) told: Option<Told>,
    /// Which share it has of what the server does at once.
    pub(crate) lane: Lane,
    /// Its place among those of its lane that are worked on, until the server has said everything.
    pub(crate) place: Option<Place>,
    /// When the rest of its body is not waited for any more: its answer is whole.
    pub(crate) rest_until: Option<Duration>,
    pub(crate) allowed_origin: Option<HeaderValue>,
    /// Who asks by way of a trusted proxy.
    pub(crate) behind: Option<Behind>,
    /// `Strict-Transport-Security`, for an answer over TLS.
    pub(crate) hsts: Option<HeaderValue>,
    pub(crate) certificate: Option<Arc<PeerCertificate>>,
    /// The channel that the server said it does not know.
    pub(crate) stale: Option<Arc<Channel>>,
    pub(crate) tries: Tries,
    pub(crate) sent: Option<Duration>,
    pub(crate) upstream: Option<Duration>,
    pub(crate) cost: Option<Cost>,
    pub(crate) refusal: Option<Refusal>,
    _in_flight: InFlight,
}

/// What the server needs to see, made once the request may pass.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) nonce: Nonce,
    pub(crate) channel: Arc<Channel>,
    pub(crate) digest: Digest,
    /// Made last, when nothing is waited for any more.
    pub(crate) granted: Option<Granted>,
}

/// What the server is told of the caller.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) grant: HeaderValue,
    /// As of when the registry knew the caller; of one that it does not know, nothing.
    pub(crate) known_as_of: Option<HeaderValue>,
}

/// How often the request was sent to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tries {
    First,
    Second,
}

/// Counts a request in flight for as long as it is.
#[derive(Debug)]
struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Request {
    /// What is said of whoever asks, `Forwarded` and `X-Forwarded-For`, to whom it is sent on to.
    pub(crate) fn forwarded<'r>(
        &'r self,
        origin: &'r Origin,
    ) -> (&'r HeaderValue, &'r HeaderValue) {
        match &self.behind {
            Some(behind) => behind.forwarded(),
            None => (origin.forwarded(), origin.forwarded_for()),
        }
    }

    /// A request of which nothing is known yet.
    pub(crate) fn new(snapshot: Arc<Snapshot>, in_flight: &IntGauge) -> Self {
        in_flight.inc();
        Self {
            snapshot,
            started: Duration::ZERO,
            id: HeaderValue::from_static("-"),
            who: None,
            as_of: 0,
            route: None,
            label: RouteLabel::None,
            interaction: NO_INTERACTION,
            template: None,
            traced: Traced::default(),
            body: BodyLength::Known(0),
            body_passed: 0,
            body_is_whole: false,
            pass: None,
            way: None,
            limit: None,
            admission: None,
            told: None,
            lane: Lane::Interactive,
            place: None,
            rest_until: None,
            allowed_origin: None,
            behind: None,
            hsts: None,
            certificate: None,
            stale: None,
            tries: Tries::First,
            sent: None,
            upstream: None,
            cost: None,
            refusal: None,
            _in_flight: InFlight(in_flight.clone()),
        }
    }

    /// Where it was let through to.
    pub(crate) fn upstream_label(&self) -> UpstreamLabel {
        match (&self.way, &self.pass) {
            (Some(way), _) => UpstreamLabel::Named(way.upstream.name.clone()),
            (None, Some(_)) => UpstreamLabel::Server,
            (None, None) => UpstreamLabel::None,
        }
    }

    /// What limits decided about it, for the access log.
    pub(crate) fn limit_decision(&self) -> Option<LimitDecision<'_>> {
        let plan = self.admission.as_ref().map(|admission| admission.plan.name.as_str());
        let refused = |plan, by| LimitDecision {
            decision: "refused",
            plan,
            by: Some(by),
            wait: Duration::ZERO,
        };
        match &self.refusal {
            Some(Refusal::RateLimited { .. }) => {
                let public = self.who.as_ref().is_none_or(Who::is_public);
                Some(refused(None, if public { "address" } else { "client" }))
            }
            Some(Refusal::Exceeded(exceeded)) => {
                Some(refused(Some(exceeded.limit.plan.as_str()), &exceeded.limit.id))
            }
            Some(Refusal::TooManyFailedAuthentications(_)) => Some(refused(None, "failures")),
            Some(Refusal::LaneFull) => Some(refused(plan, "lane")),
            _ => {
                let wait = self.admission.as_ref().map_or(Duration::ZERO, |admitted| admitted.wait);
                let asked = self.limit.is_some() || self.admission.is_some();
                asked.then_some(LimitDecision {
                    decision: if wait.is_zero() { "admitted" } else { "delayed" },
                    plan,
                    by: None,
                    wait,
                })
            }
        }
    }

    /// In what form errors are said.
    pub(crate) fn content(&self) -> Content {
        match &self.route {
            Some(route) => route.content,
            None if self.refusal == Some(Refusal::NoRoute) => self.snapshot.table.content(),
            None => Content::Fhir,
        }
    }

    /// Bytes that its body may have.
    pub(crate) fn body_limit(&self) -> u64 {
        let limits = &self.snapshot.limits;
        self.route.as_ref().map_or(limits.body_bytes, |route| route.body_bytes)
    }

    /// Adds what every answer to this request says, the server's and our own.
    pub(crate) fn dress(&self, head: &mut ResponseHeader) -> pingora::Result<()> {
        head.insert_header(request_id::NAME, &self.id)?;
        let own = self.limit.as_ref().map(|limit| (&limit.policy, &limit.state));
        let of_plan = self.told.as_ref().map(|told| (&told.policy, &told.state));
        for name in ["ratelimit-policy", "ratelimit"] {
            head.remove_header(name);
        }
        // Lists: a second field adds members.
        for (policy, state) in [own, of_plan].into_iter().flatten() {
            head.append_header("ratelimit-policy", policy)?;
            head.append_header("ratelimit", state)?;
        }
        if let Some(origin) = &self.allowed_origin {
            let cors = self.route.as_ref().map_or(&self.snapshot.cors, |route| &route.cors);
            crate::cors::allow(head, origin, cors.as_ref())?;
        }
        if let Some(hsts) = &self.hsts {
            head.insert_header(http::header::STRICT_TRANSPORT_SECURITY, hsts)?;
        }
        Ok(())
    }
}
