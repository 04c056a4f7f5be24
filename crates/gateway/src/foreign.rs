//! Requests to upstreams that are not the server of ours.
//!
//! Such an upstream gets no grant and none of the contract's headers. One that enforces nothing
//! is asked only for callers who may see everything, for it would show everybody everything; one
//! that enforces the caller's token gets that token, and nobody here judges it. What is the same
//! as with the server of ours (framing, callers, limits) is in `judge`.

mod path;
mod way;
mod websocket;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use contract::{Decision, Grant, Interaction, Types, decide};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use self::path::is_plain;
use crate::callers::Who;
use crate::errors::Refusal;
use crate::framing::BodyLength;
use crate::header_rules::HeaderRules;
use crate::pace::Pace;
use crate::proxy::Gateway;
use crate::request::Request;
use crate::routes::{Access, Content, Foreign, Route};
use crate::upstreams::{Enforces, Watch};

pub(crate) use self::way::{Sent, Way};
pub(crate) use self::websocket::keep_websockets_alone;

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
        // Both are waited for within one limit. Room comes first: so it is bounded how many wait.
        let limit = tokio::time::sleep(longest);
        tokio::pin!(limit);
        let room = upstream.breaker.enter(limit.as_mut()).await;
        let room = room.map_err(|_| Refusal::UpstreamFull)?;
        let authorization = upstream.authorization(limit).await.map_err(|_| Refusal::NoToken)?;
        request.way = Some(Way {
            watch: Watch::begin(whole, self.until_revoked(request)),
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

    /// Begins the copy of a request whose head is dressed, but for the rules of its route.
    pub(crate) fn begin_copy(
        &self,
        request: &mut Request,
        head: &RequestHeader,
        rules: &HeaderRules,
    ) {
        let Some(way) = &mut request.way else { return };
        let Some(mirror) = way.mirror.take() else { return };
        way.copy = self.mirrors.begin(&mirror, head, rules);
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
            self.mirrors.send(copy, self.clock.clone());
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
