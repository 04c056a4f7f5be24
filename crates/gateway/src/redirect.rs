//! The listener of plain HTTP beside one of HTTPS: it serves nothing, and says where to ask.
//!
//! Who only looks, and shows no credentials, is sent on. Anything else is refused: a body or a
//! key that came here was readable on its way, and is not to be sent once more without a word.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::net::TcpListener;

use crate::acme::Challenges;
use crate::small_server::{SmallServer, answer};

/// How long a question's head may take.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

const REFUSED: &str = "Only https is spoken here. If a key was sent, it was readable on its way: \
                       have it revoked.\n";

/// Serves the listener for as long as it is polled; HTTPS is at `port` of the same host. What proves
/// names to an authority is shown to whoever asks for it.
pub(crate) async fn serve(listener: TcpListener, port: u16, challenges: Arc<Challenges>) {
    let mut server = SmallServer::new(HEAD_LIMIT);
    loop {
        match server.tend(listener.accept()).await {
            Ok((stream, _)) => {
                let challenges = challenges.clone();
                server.begin(stream, move |request: Request<Incoming>| {
                    let proof = challenges.text(request.uri().path());
                    let looks = request.method() == Method::GET;
                    async move {
                        Ok::<_, Infallible>(match proof.filter(|_| looks) {
                            Some(text) => answer(StatusCode::OK, "application/octet-stream", text),
                            None => send_on(&request, port),
                        })
                    }
                });
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn send_on<B>(request: &Request<B>, port: u16) -> Response<Full<Bytes>> {
    let looks = [Method::GET, Method::HEAD].contains(request.method());
    let credentials = request.headers().contains_key(header::AUTHORIZATION);
    match location(request, port) {
        Some(location) if looks && !credentials => {
            let mut sent = answer(StatusCode::PERMANENT_REDIRECT, "text/plain", "");
            sent.headers_mut().insert(header::LOCATION, location);
            sent
        }
        _ => {
            let mut refused = answer(StatusCode::FORBIDDEN, "text/plain; charset=utf-8", REFUSED);
            refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            refused
        }
    }
}

/// The same in HTTPS, where the request names exactly one host.
fn location<B>(request: &Request<B>, port: u16) -> Option<HeaderValue> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
    let authority: Authority = host.to_str().ok()?.parse().ok()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let path = request.uri().path_and_query().filter(|path| path.as_str().starts_with('/'))?;
    let host = authority.host();
    let location = match port {
        443 => format!("https://{host}{path}"),
        port => format!("https://{host}:{port}{path}"),
    };
    location.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, target: &str, fields: &[(&str, &str)], port: u16, to: Option<&str>) {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let answer = send_on(&request.body(()).expect("a request"), port);
        let location = answer.headers().get("location").map(|value| value.to_str().expect("text"));
        assert_eq!(location, to, "{method} {target} {fields:?}");
        assert_eq!(answer.status().as_u16(), if to.is_some() { 308 } else { 403 });
    }

    // GW-021
    #[test]
    fn who_only_looks_and_shows_nothing_is_sent_on_and_nobody_else() {
        let host = ("host", "ehr.example.org");
        check(
            "GET",
            "/fhir/metadata?a=b",
            &[host],
            443,
            Some("https://ehr.example.org/fhir/metadata?a=b"),
        );
        check(
            "HEAD",
            "/",
            &[("host", "ehr.example.org:80")],
            8443,
            Some("https://ehr.example.org:8443/"),
        );
        check("GET", "/", &[("host", "[::1]:80")], 443, Some("https://[::1]/"));
        check("POST", "/fhir/Patient", &[host], 443, None);
        check("GET", "/fhir", &[host, ("authorization", "Bearer x")], 443, None);
        check("GET", "/fhir", &[], 443, None);
        check("GET", "/fhir", &[host, host], 443, None);
        check("GET", "/fhir", &[("host", "a@b")], 443, None);
        check("GET", "/fhir", &[("host", "a/b")], 443, None);
    }
}
