//! The spans of a request: the gateway's own, and one for each time it is sent to an upstream.
//!
//! Named by route and template, after OpenTelemetry's conventions for HTTP, but for what these
//! would have of a request's own: no path, no query, no address, no agent. A path can name a
//! patient.

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use trace::{Context, Kind, Span, TraceId, Tracer};

use crate::errors::Refusal;
use crate::request::{Request, Tries};
use crate::request_id;

const TRACEPARENT: HeaderName = HeaderName::from_static(trace::TRACEPARENT);
const TRACESTATE: HeaderName = HeaderName::from_static(trace::TRACESTATE);

/// What is known of a request's trace.
#[derive(Debug, Default)]
pub(crate) struct Traced {
    /// What the sender says.
    from: Option<Context>,
    /// The request, where it is recorded.
    span: Option<Span>,
    /// It on its way to an upstream.
    sent: Option<Sent>,
}

#[derive(Debug)]
struct Sent {
    span: Span,
    is_answered: bool,
}

/// To whom a request is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To<'name> {
    /// To the server of ours.
    Server,
    /// To an upstream of others, of this name.
    Foreign(&'name str),
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) method: &'static str,
    pub(crate) status: u16,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// The version of HTTP.
    pub(crate) version: &'static str,
}

impl Traced {
    /// Begins with what a request's head says; a proxy that `is_trusted` decides what is recorded.
    pub(crate) fn begin(tracer: &Tracer, headers: &HeaderMap, is_trusted: bool) -> Self {
        let from = context(headers);
        let span = tracer.begin(Kind::Server, from.as_ref(), is_trusted);
        Self { from, span, sent: None }
    }

    /// Whether it is recorded.
    pub(crate) fn is_recorded(&self) -> bool {
        self.span.is_some()
    }

    /// The id of its trace: of the one it is recorded in, or else of the one its sender names.
    pub(crate) fn trace_id(&self) -> Option<TraceId> {
        let recorded = self.span.as_ref().map(|span| span.context().trace);
        recorded.or(self.from.map(|from| from.trace))
    }

    /// Says to the upstream which trace the request belongs to. The server of ours learns nothing
    /// of it from a client: only what is recorded here goes there.
    pub(crate) fn send(
        &mut self,
        tracer: &Tracer,
        head: &mut RequestHeader,
        to: To<'_>,
        tries: Tries,
    ) -> pingora::Result<()> {
        if let Some(before) = self.sent.take() {
            before.end();
        }
        let context = match &self.span {
            Some(span) => {
                let mut sent = span.child(Kind::Client, crate::metrics::method_label(&head.method));
                sent.set("http.request.method", method_attribute(&head.method));
                match to {
                    To::Server => sent.set("hearthgate.upstream", "server"),
                    To::Foreign(name) => sent.set("hearthgate.upstream", name.to_owned()),
                }
                if tries == Tries::Second {
                    sent.set("http.request.resend_count", 1_u16);
                }
                let context = sent.context();
                self.sent = Some(Sent { span: sent, is_answered: false });
                Some(context)
            }
            None => match to {
                To::Server => None,
                To::Foreign(_) if !tracer.is_on() => return Ok(()),
                To::Foreign(_) => match &self.from {
                    // It goes on as it came.
                    Some(from) if !from.is_sampled => return Ok(()),
                    Some(from) => tracer.unrecorded(from.trace),
                    None => None,
                },
            },
        };
        if matches!(to, To::Server) || self.from.is_none() {
            head.remove_header(&TRACESTATE);
        }
        match context {
            Some(context) => {
                let value = HeaderValue::from_bytes(&context.header());
                let value = value.expect("digits and hyphens are visible ASCII");
                head.insert_header(TRACEPARENT, value)
            }
            None => {
                head.remove_header(&TRACEPARENT);
                Ok(())
            }
        }
    }

    /// The upstream's answer has begun.
    pub(crate) fn answered(&mut self, status: u16) {
        let Some(sent) = &mut self.sent else { return };
        sent.is_answered = true;
        sent.span.set("http.response.status_code", status);
        if status >= 400 {
            sent.span.fail();
        }
    }
}

impl Request {
    /// Ends its spans.
    pub(crate) fn end_spans(&mut self, ended: Ended) {
        let Traced { span, sent, .. } = std::mem::take(&mut self.traced);
        if let Some(sent) = sent {
            sent.end();
        }
        let Some(mut span) = span else { return };
        let route = self.http_route();
        span.rename(match &route {
            Some(route) => format!("{} {route}", ended.method),
            None => ended.method.to_owned(),
        });
        let method = if ended.method == "other" { "_OTHER" } else { ended.method };
        span.set("http.request.method", method);
        if let Some(route) = route {
            span.set("http.route", route);
        }
        span.set("url.scheme", ended.scheme);
        span.set("network.protocol.version", ended.version);
        span.set("http.response.status_code", ended.status);
        span.set("hearthgate.request_id", request_id::text(&self.id).to_owned());
        span.set("hearthgate.route", self.label.text().to_owned());
        span.set("hearthgate.interaction", self.interaction);
        if let Some(client) = self.who.as_ref().and_then(|who| who.client_id()) {
            span.set("hearthgate.client", client.to_owned());
        }
        if let Some(refusal) = self.refusal.as_ref().map(Refusal::reason) {
            span.set("error.type", refusal);
        }
        if ended.status >= 500 {
            span.fail();
        }
    }

    /// The route's path, and what of FHIR's paths is below it.
    fn http_route(&self) -> Option<String> {
        let path = self.route.as_ref()?.path.trim_end_matches('/');
        Some(match self.template {
            Some(template) => format!("{path}{template}"),
            None => format!("{path}/*"),
        })
    }
}

impl Sent {
    /// What got no answer failed.
    fn end(mut self) {
        if !self.is_answered {
            self.span.set("error.type", "no-answer");
            self.span.fail();
        }
    }
}

/// What a head says of its trace; nothing where it says two things.
fn context(headers: &HeaderMap) -> Option<Context> {
    let mut given = headers.get_all(&TRACEPARENT).iter();
    match (given.next(), given.next()) {
        (Some(given), None) => Context::parse(given.as_bytes()),
        _ => None,
    }
}

/// A method as OpenTelemetry's conventions name it: what HTTP does not define is `_OTHER`.
fn method_attribute(method: &http::Method) -> &'static str {
    match crate::metrics::method_label(method) {
        "other" => "_OTHER",
        known => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn head(given: &[&str]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", b"/", None).expect("a head");
        for value in given {
            head.append_header("traceparent", *value).expect("a value");
        }
        head.append_header("tracestate", "vendor=word").expect("a value");
        head
    }

    fn sent(given: &[&str], tracer: &Tracer, to: To<'_>) -> (Option<String>, bool) {
        let mut head = head(given);
        let mut traced = Traced::begin(tracer, &head.headers, false);
        traced.send(tracer, &mut head, to, Tries::First).expect("it is dressed");
        let text = |value: &HeaderValue| value.to_str().expect("text").to_owned();
        let keeps_state = head.headers.contains_key("tracestate");
        (head.headers.get("traceparent").map(text), keeps_state)
    }

    // GW-051
    #[test]
    fn what_is_not_recorded_says_nothing_to_our_server_and_no_more_than_it_came_with_to_others() {
        let off = Tracer::off();
        assert_eq!(sent(&[GIVEN], &off, To::Server), (None, false));
        // Whoever takes no part in tracing passes it on.
        assert_eq!(sent(&[GIVEN], &off, To::Foreign("lab")), (Some(GIVEN.to_owned()), true));
        let none = crate::testing::tracer(trace::Sample::NONE);
        assert_eq!(sent(&[GIVEN], &none, To::Server), (None, false));
        let unsampled = GIVEN.replace("-01", "-00");
        assert_eq!(sent(&[&unsampled], &none, To::Foreign("lab")), (Some(unsampled), true));
        let (told, keeps_state) = sent(&[GIVEN], &none, To::Foreign("lab"));
        let told = told.expect("the trace goes on");
        assert!(told.starts_with(&GIVEN[..36]) && told.ends_with("-00") && keeps_state, "{told}");
        assert!(!told.contains(&GIVEN[36..52]), "another flag, another span: {told}");
        for bad in [vec!["00-x"], vec![GIVEN, GIVEN], vec![]] {
            assert_eq!(sent(&bad, &none, To::Foreign("lab")), (None, false), "{bad:?}");
        }
    }

    // GW-051
    #[test]
    fn what_is_recorded_is_sent_as_a_part_of_its_trace() {
        let all = crate::testing::tracer(trace::Sample::ALL);
        let (told, keeps_state) = sent(&[GIVEN], &all, To::Server);
        let told = told.expect("the server goes on");
        assert!(told.starts_with(&GIVEN[..36]) && told.ends_with("-01"), "{told}");
        assert!(!keeps_state, "others' words are nothing to our server");
        assert!(sent(&[GIVEN], &all, To::Foreign("lab")).1);
        let (told, keeps_state) = sent(&["garbage"], &all, To::Foreign("lab"));
        let told = told.expect("a trace of our own");
        assert!(Context::parse(told.as_bytes()).is_some_and(|told| told.is_sampled));
        assert!(!keeps_state);
    }
}
