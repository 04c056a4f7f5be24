//! Everything that can refuse a request, in order: its framing, its route, who is calling, how
//! often, what they ask, whether they ever may. What passes waits for its turn, and then gets a grant
//! for itself alone ([`crate::second_look`]).
//!
//! What the caller may see of the data is not decided here; the server decides again, finally.

use std::net::IpAddr;
use std::time::Duration;

use contract::{Decision, Interaction, Nonce, decide, digest, header};
use http::{HeaderMap, HeaderName, Method};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::audited_denials::DeniedRequest;
use crate::break_glass;
use crate::callers::Who;
use crate::cors;
use crate::denials::{self, Denial, Explanation};
use crate::errors::{Exceeded, Refusal};
use crate::foreign;
use crate::framing::{self, BodyLength};
use crate::guard::Lockout;
use crate::lanes;
use crate::limiting::{Admission, NotAdmitted, Now};
use crate::metrics::RouteLabel;
use crate::plans::Kind;
use crate::proxy::Gateway;
use crate::request::{Pass, Request};
use crate::request_id;
use crate::upstreams::Enforces;

/// What to do with a request that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// Forward it to the server of ours: its pass is made.
    Forward,
    /// Forward it to an upstream of others: its way is still to be made.
    Foreign,
    /// Answer a browser's preflight.
    Preflight,
    /// Record a break-glass: its body is still to be read.
    BreakGlass,
}

impl Gateway {
    /// Judges a request and prepares it to be forwarded.
    pub(crate) async fn judge(
        &self,
        session: &mut Session,
        request: &mut Request,
        address: IpAddr,
    ) -> Result<Judged, Refusal> {
        let snapshot = request.snapshot.clone();
        let raw = session.downstream_session.to_h1_raw();
        let is_http2 = session.downstream_session.is_http2();
        let has_body = !session.downstream_session.is_body_empty();
        let head = session.downstream_session.req_header_mut();
        request.id = request_id::keep_or_make(&head.headers, self.ids.as_ref());
        if request.behind.is_some() && !snapshot.addresses.admits(address) {
            return Err(Refusal::AddressDenied);
        }
        request.body = match is_http2 {
            true => framing::judge_http2_head(&raw, head, has_body, &snapshot.limits)?,
            false => framing::judge_head(&raw, head.raw_path(), &head.headers, &snapshot.limits)?,
        };
        make_origin_form(head)?;
        let is_break_glass = head.uri.path() == break_glass::PATH;
        if is_break_glass {
            request.label = RouteLabel::BreakGlass;
        } else {
            let method = cors::asked_method(&head.method, &head.headers);
            let found = snapshot.table.find(&method, &head.uri, &head.headers);
            let route = found.ok_or(Refusal::NoRoute)?.clone();
            request.label = RouteLabel::Named(route.name.clone());
            request.route = Some(route);
        }
        if matches!(request.body, BodyLength::Known(length) if length > request.body_limit()) {
            return Err(Refusal::BodyTooLarge);
        }
        let cors = match &request.route {
            Some(route) => route.cors.as_ref(),
            None => snapshot.cors.as_ref(),
        };
        request.allowed_origin = cors::allowed_origin(cors, &head.headers);
        let is_preflight =
            request.allowed_origin.is_some() && cors::is_preflight(&head.method, &head.headers);

        let now = request.started;
        request.as_of = snapshot.callers.as_of();
        let route = request.route.clone();
        let others = route.as_ref().and_then(|route| route.foreign());
        let passes_token = others.is_some_and(|way| way.enforces == Enforces::SmartToken);
        let who = match passes_token {
            // A browser sends none with it, and none would be looked at.
            _ if is_preflight => snapshot.callers.nobody(),
            true => snapshot.callers.stranger(&head.headers, address, now)?,
            false => {
                let certificate = request.certificate.as_deref();
                snapshot.callers.identify(&head.headers, certificate, address, now).await?
            }
        };
        let who = request.who.insert(who);
        match snapshot.callers.admit(who, address, now) {
            Ok(limit) => request.limit = limit,
            Err((refusal, limit)) => {
                request.limit = Some(limit);
                return Err(refusal);
            }
        }

        match self.admit(who, address, request.label.text(), now) {
            Ok(admission) => {
                request.told = admission.as_ref().map(|admission| admission.told.clone());
                request.admission = admission;
            }
            Err(refused) => {
                // What the client's own limit gave comes to nothing.
                snapshot.callers.give_back(who, address);
                request.told = Some(refused.told);
                return Err(refused.refusal);
            }
        }

        if is_preflight {
            return Ok(Judged::Preflight);
        }
        if is_break_glass {
            return match (who.is_public(), &head.method) {
                (true, _) => Err(Refusal::CredentialsMissing),
                (_, &Method::POST) => Ok(Judged::BreakGlass),
                _ => Err(Refusal::MethodNotAllowed { allow: "POST".to_owned() }),
            };
        }
        if let (Some(route), Some(others)) = (&route, others) {
            self.judge_foreign(head, route, others, request)?;
            strip_identity(head);
            head.remove_header(break_glass::HEADER);
            foreign::keep_websockets_alone(head);
            return Ok(Judged::Foreign);
        }
        if let Some(id) = head.headers.get(break_glass::HEADER) {
            *who = snapshot.callers.with_break_glass(who, id)?;
        }

        let route = route.ok_or(Refusal::NoRoute)?;
        let path = route.below(head.uri.path()).ok_or(Refusal::NoRoute)?;
        let method = head.method.as_str();
        let interaction = Interaction::classify(method, path, head.uri.query())
            .map_err(|not_fhir| Refusal::of_url(&not_fhir))?;
        request.interaction = interaction.code();
        request.template = Some(interaction.template());
        let is_open = snapshot.public_open.iter().any(|open| open == interaction.code());
        if who.is_public() && !is_open {
            return Err(Refusal::CredentialsMissing);
        }
        judge_rights(who, &interaction)?;

        let of_role = who.known().template.grant().lane;
        request.lane = lanes::lane_of(of_role, request.admission.as_ref(), &interaction);
        let channel = self.channel.current().ok_or(Refusal::ChannelUnknown)?;
        let nonce = Nonce::generate(self.ids.as_ref());
        // Of the very bytes that the server will see: the base path is not cut off.
        let digest = digest(method, head.uri.path(), head.uri.query());
        strip_identity(head);
        head.remove_header(break_glass::HEADER);
        request.pass = Some(Pass { nonce, channel, digest, granted: None });
        Ok(Judged::Forward)
    }

    /// Counts one request against the limits of its caller's plan.
    fn admit(
        &self,
        who: &Who,
        address: IpAddr,
        route: &str,
        monotonic: Duration,
    ) -> Result<Option<Admission>, NotAdmitted> {
        let now = Now { wall: self.clock.now(), monotonic };
        let user = || {
            let grant = who.known().template.grant();
            let person = || grant.fhir_user.as_ref().map(ToString::to_string);
            grant.user.clone().or_else(person)
        };
        let client = who.client().map(|client| &**client);
        self.limiting.admit(client, user, address, route, &now, &self.metrics)
    }

    /// Keeps why a request is denied, for an operator to look up by its id.
    pub(crate) fn remember(&self, session: &Session, request: &Request, refusal: &Refusal) {
        if !matches!(refusal.status(), 401 | 403 | 429) {
            return;
        }
        let head = session.req_header();
        let route = request.route.as_ref();
        let path = route.and_then(|route| route.below(head.uri.path()));
        let classified = path.and_then(|path| {
            Interaction::classify(head.method.as_str(), path, head.uri.query()).ok()
        });
        let who = request.who.as_ref();
        // A good key whose role gives it nothing never became a caller.
        let refused = match who {
            None => request.snapshot.callers.role_problem(&head.headers),
            Some(_) => None,
        };
        let client =
            who.and_then(|who| who.client()).or(refused.as_ref().map(|(client, _)| client));
        let role = client.and_then(|client| client.role.as_ref());
        let Explanation { decided, mend } =
            self.explain(&head.headers, request, refusal, classified.as_ref());
        let grant = who.map(|who| who.known().template.grant());
        // The tenant's audit is of the tenant's server.
        let is_of_server = route.is_some_and(|route| route.foreign().is_none());
        if refusal.status() == 403
            && is_of_server
            && let (Some(client), Some(interaction)) = (client, &classified)
        {
            let client = (client.id.as_str(), role.map(ToString::to_string));
            let denied =
                DeniedRequest::of(client, grant.map(|it| &**it), interaction, &self.tenant);
            let request_id = request_id::text(&request.id).to_owned();
            self.audited.take(DeniedRequest {
                denial: format!("{:032x}", self.ids.next()),
                time: denials::time(self.clock.now()),
                request_id,
                status: refusal.status(),
                ..denied
            });
        }
        self.denials.keep(Denial {
            request_id: request_id::text(&request.id).to_owned(),
            time: denials::time(self.clock.now()),
            status: refusal.status(),
            reason: refusal.reason().to_owned(),
            client: client.map(|client| client.id.to_string()),
            authorization: grant.and_then(|grant| grant.authorization.clone()),
            role: role.map(ToString::to_string),
            asked: classified
                .as_ref()
                .map_or_else(|| request.label.text().to_owned(), denials::asked),
            decided,
            mend,
        });
    }

    fn explain(
        &self,
        headers: &HeaderMap,
        request: &Request,
        refusal: &Refusal,
        classified: Option<&Interaction>,
    ) -> Explanation {
        let who = request.who.as_ref();
        let why_not = || request.snapshot.callers.why_not(headers);
        match refusal {
            Refusal::CredentialsMissing => Explanation::new(
                "the request came without credentials, and it is not open to nobody",
                "send a key, as Authorization: Bearer KEY, or name the interaction in \
                 gateway.public",
            ),
            Refusal::CredentialsInvalid => Explanation::new(
                why_not().unwrap_or_default(),
                "a key that `hearthgate keys list` shows as good",
            ),
            Refusal::TokenInvalid(why) => Explanation::new(
                format!("the token was not believed: {}", why.says()),
                "a token of an issuer in gateway.issuers, for its audience (docs/tokens.md)",
            ),
            Refusal::CredentialsAmbiguous => Explanation::new(
                "there is more than one Authorization header, or it is not Bearer KEY",
                "one header Authorization: Bearer KEY",
            ),
            Refusal::TooManyFailedAuthentications(Lockout { of, retry_after }) => Explanation::new(
                format!(
                    "{}, and was not to be looked at; of these: {}",
                    of.says(),
                    why_not().unwrap_or_else(|| "they are not Bearer KEY".to_owned())
                ),
                format!("a good key at once, or a pause of {retry_after} s"),
            ),
            Refusal::RateLimited { retry_after } => {
                let limit = match who {
                    Some(who) if who.has_own_limit() => "the client's own limit",
                    Some(who) if !who.is_public() => {
                        "gateway.client_per_second and gateway.client_burst"
                    }
                    _ => {
                        "gateway.public_per_second and gateway.public_burst, by address: 16 times \
                         as much by its /48 of IPv6, 256 times by its /32"
                    }
                };
                Explanation::new(
                    format!("more requests came than allowed by {limit}"),
                    format!("a pause of {retry_after} s, or a higher limit"),
                )
            }
            Refusal::Exceeded(Exceeded { limit, retry_after }) => Explanation::new(
                format!("more came than {limit}"),
                match limit.kind {
                    Kind::AtOnce { .. } => "fewer at once, or another plan".to_owned(),
                    _ => format!("a pause of {retry_after} s, or another plan"),
                },
            ),
            Refusal::TooManyBreakGlasses => Explanation::new(
                "the client has as many break-glasses in force as a client may",
                "wait until one is over",
            ),
            Refusal::Denied { reason: "break-glass-invalid" } => Explanation::new(
                "the header Break-Glass names none that is in force, this client's, for its \
                 patient, and allowed by its role",
                "POST /break-glass again, or leave the header out",
            ),
            Refusal::Denied { reason: "client-not-on-route" } => Explanation::new(
                "the route is for other clients",
                "the client in the route's `clients`",
            ),
            Refusal::Denied { reason: "authorizer-denied" } => Explanation::new(
                "the route's authorizer said no",
                "whatever the authorizer asks for",
            ),
            Refusal::Denied { reason: "upstream-enforces-nothing" } => Explanation::new(
                "the route's upstream enforces nothing and would show everything, and the client \
                 may see a part only",
                "a client whose role has a rule for all types, within all, for what is asked",
            ),
            Refusal::Denied { reason: "no-break-glass" } => Explanation::new(
                "the client's role has no rules for a break-glass, the client is for another \
                 patient, or it came with a token",
                "break_glass in the role, and a key of the registry",
            ),
            Refusal::Denied { .. } | Refusal::InsufficientScope { .. } => {
                let denied = who.zip(classified).and_then(|(who, interaction)| {
                    match decide(who.known().template.grant(), interaction) {
                        Decision::Deny(reason) => Some((who, interaction, reason)),
                        _ => None,
                    }
                });
                let Some((who, interaction, reason)) = denied else {
                    let problem = request.snapshot.callers.role_problem(headers);
                    return Explanation::new(
                        problem.map(|(_, problem)| problem.to_string()).unwrap_or_default(),
                        "the role in the configuration, or another client with what it needs",
                    );
                };
                let role = who.client().and_then(|client| client.role.as_ref());
                let rights = match role.filter(|_| who.token().is_none()) {
                    Some(role) => format!("the role {role}"),
                    None if who.token().is_some() => {
                        "the token's scopes and its client's role together".to_owned()
                    }
                    None => "the client".to_owned(),
                };
                Explanation::of_decision(reason, interaction, &rights)
            }
            _ => Explanation::new("", ""),
        }
    }
}

/// Refuses what the caller may never do, whatever the data.
pub(crate) fn judge_rights(who: &Who, interaction: &Interaction) -> Result<(), Refusal> {
    let Decision::Deny(reason) = decide(who.known().template.grant(), interaction) else {
        return Ok(());
    };
    Err(match who.token() {
        Some(token) => Refusal::of_token_denial(reason, token.level, interaction),
        None => Refusal::of_denial(reason),
    })
}

/// Brings `GET http://host/path` to `GET /path` (RFC 9112, section 3.2.2), so that the bytes that
/// are judged are the bytes that are forwarded. Any other form is no request for a resource.
fn make_origin_form(head: &mut RequestHeader) -> Result<(), Refusal> {
    let target = head.raw_path();
    if std::str::from_utf8(target).is_err() {
        return Err(Refusal::UnsupportedTarget);
    }
    if target.starts_with(b"/") {
        return Ok(());
    }
    let scheme = |scheme: &[u8]| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    if !scheme(b"http://") && !scheme(b"https://") {
        return Err(Refusal::UnsupportedTarget);
    }
    let path = head
        .uri
        .path_and_query()
        .map(|path| path.as_str().to_owned())
        .filter(|path| path.starts_with('/'))
        .ok_or(Refusal::UnsupportedTarget)?;
    head.set_raw_path(path.as_bytes()).map_err(|_| Refusal::UnsupportedTarget)
}

/// Takes out what a client may not say about itself or about the request.
fn strip_identity(head: &mut RequestHeader) {
    let stripped: Vec<HeaderName> = head
        .headers
        .keys()
        .filter(|name| header::must_be_stripped(name.as_str()))
        .cloned()
        .collect();
    for name in &stripped {
        head.remove_header(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str) -> RequestHeader {
        RequestHeader::build("GET", target.as_bytes(), None).expect("a target")
    }

    fn check_origin_form(target: &str, expected: Option<&str>) {
        let mut head = head(target);
        let made = make_origin_form(&mut head);
        assert_eq!(made.is_ok(), expected.is_some(), "{target}");
        if let Some(expected) = expected {
            assert_eq!(head.raw_path(), expected.as_bytes(), "{target}");
            assert_eq!(head.uri.to_string(), expected, "{target}");
        }
    }

    #[test]
    fn the_target_that_is_judged_is_the_target_that_is_forwarded() {
        check_origin_form("/fhir/Patient?x=%20", Some("/fhir/Patient?x=%20"));
        check_origin_form("http://host/fhir/Patient?x", Some("/fhir/Patient?x"));
        check_origin_form("HTTP://host", Some("/"));
        check_origin_form("ftp://host/fhir", None);
        check_origin_form("*", None);
        check_origin_form("fhir/Patient", None);
    }

    // GW-025
    #[test]
    fn identity_headers_go_in_every_spelling_and_number() {
        let mut head = head("/fhir");
        for name in [
            "Hearthgate-Grant",
            "hearthgate_grant",
            "HEARTHGATE-Channel",
            "Forwarded",
            "X-Forwarded-For",
            "x_forwarded_for",
            "X-HTTP-Method-Override",
        ] {
            head.append_header(name, "forged").expect("a header");
            head.append_header(name, "again").expect("a header");
        }
        head.append_header("Accept", "a").expect("a header");
        strip_identity(&mut head);
        let left: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["accept"]);
        let mut wire = Vec::new();
        head.header_to_h1_wire(&mut wire);
        assert_eq!(String::from_utf8_lossy(&wire), "Accept: a\r\n");
    }
}
