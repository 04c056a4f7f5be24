//! The second look at who asks: a request may have waited since it was judged, for an authorizer, for
//! its turn, for a place in its lane or at an upstream, and what it came under may have been revoked.
//! Its grant is made then, so that it is not spent in a queue.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use contract::Interaction;
use http::HeaderValue;
use pingora::proxy::Session;

use crate::errors::Refusal;
use crate::grant_template::Filling;
use crate::judge::judge_rights;
use crate::proxy::Gateway;
use crate::request::{Granted, Request};

/// How long a grant is good: as long as a slow body may take to begin. The server, which knows it
/// (docs/contract.md), tells by it when a grant was made.
const GRANT_LIFE: Duration = Duration::from_secs(60);
/// Between two looks at whether something was revoked that a connection came under.
const LOOK: Duration = Duration::from_secs(2);

/// As of when the registry knows callers, as the server is told it: by a change of the feed of what
/// is revoked here. Made anew after a change alone.
#[derive(Debug)]
pub(crate) struct KnownAsOf {
    /// The name of that feed.
    feed: Arc<str>,
    made: ArcSwapOption<(u64, HeaderValue)>,
}

impl KnownAsOf {
    pub(crate) fn new(feed: Arc<str>) -> Self {
        Self { feed, made: ArcSwapOption::empty() }
    }

    /// The value of the header for that change.
    fn header(&self, as_of: u64) -> Option<HeaderValue> {
        if let Some(made) = &*self.made.load()
            && made.0 == as_of
        {
            return Some(made.1.clone());
        }
        let made = HeaderValue::try_from(format!("{} {as_of}", self.feed)).ok()?;
        self.made.store(Some(Arc::new((as_of, made.clone()))));
        Some(made)
    }
}

impl Gateway {
    /// Lets a request go on that waited: refuses it where it would be refused now, as whoever was
    /// revoked is, and makes its grant.
    pub(crate) async fn look_again(
        &self,
        session: &Session,
        request: &mut Request,
        address: IpAddr,
    ) -> Result<(), Refusal> {
        // Before the look: what changes meanwhile, the server is told of.
        let as_of = request.snapshot.callers.as_of();
        if request.as_of != as_of {
            self.still_passes(session, request, address).await?;
            request.as_of = as_of;
        }
        self.grant(request)
    }

    /// Judges again what the registry decides.
    async fn still_passes(
        &self,
        session: &Session,
        request: &mut Request,
        address: IpAddr,
    ) -> Result<(), Refusal> {
        let snapshot = request.snapshot.clone();
        let Some(who) = &request.who else { return Err(Refusal::Internal) };
        if who.is_public() {
            return Ok(());
        }
        let head = session.req_header();
        let certificate = request.certificate.as_deref();
        let now = self.clock.monotonic();
        let again = snapshot.callers.identify(&head.headers, certificate, address, now).await?;
        if again.is_public() {
            // The client that its certificate stood for is no more.
            return Err(Refusal::CredentialsMissing);
        }
        let again = match &who.known().template.grant().break_glass {
            Some(id) => {
                let id = HeaderValue::from_str(id).map_err(|_| Refusal::Internal)?;
                snapshot.callers.with_break_glass(&again, &id)?
            }
            None => again,
        };
        let route = request.route.clone().ok_or(Refusal::NoRoute)?;
        request.who = Some(again);
        if let Some(foreign) = route.foreign() {
            return self.judge_foreign(head, &route, foreign, request);
        }
        let path = route.below(head.uri.path()).ok_or(Refusal::NoRoute)?;
        let interaction = Interaction::classify(head.method.as_str(), path, head.uri.query())
            .map_err(|not_fhir| Refusal::of_url(&not_fhir))?;
        request.who.as_ref().map_or(Err(Refusal::Internal), |who| judge_rights(who, &interaction))
    }

    /// Makes the grant of a request to the server of ours.
    fn grant(&self, request: &mut Request) -> Result<(), Refusal> {
        let (Some(pass), Some(who)) = (&mut request.pass, &request.who) else { return Ok(()) };
        let filling = Filling {
            not_after: crate::later(self.clock.now(), GRANT_LIFE),
            lane: request.lane,
            interaction: request.interaction,
            digest: pass.digest,
            nonce: pass.nonce,
        };
        let grant = who.known().template.fill(&filling).map_err(|_| Refusal::GrantImpossible)?;
        let known_as_of = match who.is_public() {
            true => None,
            false => self.known_as_of.header(request.as_of),
        };
        pass.granted = Some(Granted { grant, known_as_of });
        Ok(())
    }

    /// Comes to its end once the caller of a request that goes on is revoked.
    pub(crate) fn until_revoked(
        &self,
        request: &Request,
    ) -> impl Future<Output = ()> + Send + use<> {
        let who = request.who.clone().filter(|who| !who.is_public());
        let (current, mut as_of) = (self.current.clone(), request.as_of);
        async move {
            let Some(who) = who else { return std::future::pending().await };
            loop {
                tokio::time::sleep(LOOK).await;
                let callers = current.take().callers.clone();
                let now = callers.as_of();
                if now != as_of && !callers.still_stands(&who) {
                    return;
                }
                as_of = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::KnownAsOf;

    // GW-034
    #[test]
    fn the_server_is_told_of_the_change_as_of_which_a_caller_was_known() {
        let known = KnownAsOf::new("feed".into());
        for as_of in [0, 1, 1, 7, 6, 7] {
            assert_eq!(known.header(as_of).expect("a header"), format!("feed {as_of}"));
        }
    }
}
