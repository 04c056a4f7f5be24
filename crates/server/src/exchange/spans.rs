//! The span of a request that the gateway's side records.
//!
//! It has the template of the path, and of what a request names the type alone, where there is
//! such a type: never a path, a query, an id or anything of a body.

use contract::{Grant, Interaction};
use database::Rows;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use trace::{Context, Kind, Span};

use crate::Server;

/// Begins it, where the gateway's side says that the request is recorded.
pub(super) fn begin(
    server: &Server,
    head: &Parts,
    (grant, interaction): (&Grant, &Interaction),
) -> Option<Span> {
    let from = context(&head.headers)?;
    let mut span = server.tracer.begin(Kind::Server, Some(&from), true)?;
    let route = format!("{}{}", server.base.path(), interaction.template());
    // Admitted requests have one of the methods of FHIR.
    let method = METHODS.iter().find(|method| **method == head.method.as_str());
    let method = method.copied().unwrap_or("_OTHER");
    span.rename(format!("{method} {route}"));
    span.set("http.request.method", method);
    span.set("http.route", route);
    span.set("hearthgate.interaction", interaction.code());
    span.set("hearthgate.tenant", grant.tenant.as_str().to_owned());
    let schema = server.databases[&grant.tenant].schema();
    let known = interaction.resource_type().filter(|of| schema.is_resource_type(of.as_str()));
    if let Some(of) = known {
        span.set("hearthgate.resource_type", of.as_str().to_owned());
    }
    Some(span)
}

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// Ends it.
pub(super) fn end(mut span: Span, status: StatusCode, rows: &Rows) {
    span.set("http.response.status_code", status.as_u16());
    span.set("hearthgate.rows", rows.get());
    if status.is_server_error() {
        span.set("error.type", status.as_str().to_owned());
        span.fail();
    }
}

fn context(headers: &HeaderMap) -> Option<Context> {
    let mut given = headers.get_all(trace::TRACEPARENT).iter();
    match (given.next(), given.next()) {
        (Some(given), None) => Context::parse(given.as_bytes()),
        _ => None,
    }
}
