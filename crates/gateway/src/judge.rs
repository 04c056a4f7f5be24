//! Everything that can refuse a request, in order: its framing, its route, who is calling, how
//! often, what they ask, whether they ever may. What passes gets a grant for itself alone.
//!
//! What the caller may see of the data is not decided here; the server decides again, finally.

use std::net::IpAddr;
use std::time::Duration;

use contract::{Decision, Interaction, Nonce, decide, digest, header};
use http::HeaderName;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::cors;
use crate::errors::Refusal;
use crate::framing;
use crate::grant_template::Filling;
use crate::metrics::Route;
use crate::proxy::Gateway;
use crate::request::{Pass, Request};
use crate::request_id;

/// How long a grant is good: as long as a slow body may take to begin.
const GRANT_LIFE: Duration = Duration::from_secs(60);

/// What to do with a request that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// Forward it: its pass is made.
    Forward,
    /// Answer a browser's preflight.
    Preflight,
}

impl Gateway {
    /// Judges a request and prepares it to be forwarded.
    pub(crate) fn judge(
        &self,
        session: &mut Session,
        request: &mut Request,
        address: IpAddr,
    ) -> Result<Judged, Refusal> {
        let raw = session.downstream_session.to_h1_raw();
        let head = session.downstream_session.req_header_mut();
        request.id = request_id::keep_or_make(&head.headers, self.ids.as_ref());
        request.body = framing::judge_head(&raw, head.raw_path(), &head.headers, &self.limits)?;
        make_origin_form(head)?;
        let path = self.below_base(head.uri.path()).ok_or(Refusal::NoRoute)?;
        request.route = Route::Fhir;
        request.allowed_origin = cors::allowed_origin(self.cors.as_ref(), &head.headers);
        if request.allowed_origin.is_some() && cors::is_preflight(&head.method, &head.headers) {
            return Ok(Judged::Preflight);
        }

        let now = request.started;
        let who = self.callers.identify(&head.headers, address, now)?;
        let who = request.who.insert(who);
        match self.callers.admit(who, address, now) {
            Ok(limit) => request.limit = limit,
            Err((refusal, limit)) => {
                request.limit = Some(limit);
                return Err(refusal);
            }
        }

        let method = head.method.as_str();
        let interaction = Interaction::classify(method, path, head.uri.query())
            .map_err(|not_fhir| Refusal::of_url(&not_fhir))?;
        request.interaction = interaction.code();
        if who.is_public() && !self.is_open(&interaction) {
            return Err(Refusal::CredentialsMissing);
        }
        let template = &who.known().template;
        if let Decision::Deny(reason) = decide(template.grant(), &interaction) {
            return Err(Refusal::of_denial(reason));
        }

        let channel = self.channel.current().ok_or(Refusal::ChannelUnknown)?;
        let nonce = Nonce::generate(self.ids.as_ref());
        let filling = Filling {
            not_after: crate::later(self.clock.now(), GRANT_LIFE),
            interaction: interaction.code(),
            // Of the very bytes that the server will see: the base path is not cut off.
            digest: digest(method, head.uri.path(), head.uri.query()),
            nonce,
        };
        let grant = template.fill(&filling).map_err(|_| Refusal::GrantImpossible)?;
        strip_identity(head);
        request.pass = Some(Pass { grant, nonce, channel });
        Ok(Judged::Forward)
    }

    /// What follows the base in `path`: nothing, or something that begins with a slash.
    fn below_base<'path>(&self, path: &'path str) -> Option<&'path str> {
        let below = path.strip_prefix(self.base_path.as_str())?;
        (below.is_empty() || below.starts_with('/')).then_some(below)
    }

    fn is_open(&self, interaction: &Interaction) -> bool {
        self.public_open.iter().any(|open| open == interaction.code())
    }
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
