//! What becomes of a request once its answer comes: the pace that the answer must be taken with,
//! the end of the request's place in its lane, and the rest of a body that nobody wants any more.
//!
//! pingora goes on with a request until its body has ended too, however long ago its answer did. A
//! client that never ends one would hold for nothing what the request holds.

use std::sync::Arc;
use std::time::Duration;

use contract::Clock;
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::http2;
use crate::pace::Least;
use crate::request::Request;

/// How long a client may go on sending a body that nobody wants, so that it gets to read why (and
/// after how many seconds to try again) instead of a reset connection. Of any length: throwing
/// bytes away costs less than forwarding them.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// An answer's head was accepted.
pub(crate) fn begin(
    session: &mut Session,
    answer: &ResponseHeader,
    request: &mut Request,
    clock: &Arc<dyn Clock>,
) {
    if answer.status.is_informational() {
        return;
    }
    let limits = &request.snapshot.limits;
    http2::hold_answer(&mut session.downstream_session, Least::of(limits), limits.idle, clock);
    let length = answer.headers.get(http::header::CONTENT_LENGTH);
    if session.req_header().method == Method::HEAD
        || matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || length.is_some_and(|length| length == "0")
    {
        is_whole(session, request, clock.monotonic());
    }
}

/// The last byte of an answer came: what is left to do is the client's.
pub(crate) fn is_whole(session: &mut Session, request: &mut Request, now: Duration) {
    request.place = None;
    // An upstream of others may go on with a body that it has answered; that body has its pace.
    if request.pass.is_some() && !request.body_is_whole {
        session.set_read_timeout(Some(LINGER));
        request.rest_until = Some(now.saturating_add(LINGER));
    }
}

/// Whether more of the request's body is waited for.
pub(crate) fn waits_for_rest(request: &Request, clock: &dyn Clock) -> bool {
    request.rest_until.is_none_or(|until| clock.monotonic() < until)
}

/// Reads and forgets what is left of a body, for a while.
pub(crate) async fn linger(session: &mut Session) {
    if session.is_body_done() {
        return;
    }
    let drain =
        async { while let Ok(Some(_)) = session.downstream_session.read_request_body().await {} };
    // Whoever is not done by then sees the connection end.
    let _ = tokio::time::timeout(LINGER, drain).await;
}
