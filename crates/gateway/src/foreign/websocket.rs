//! Upgrades to a WebSocket, the one other protocol that may pass.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderName, Method};
use pingora::http::RequestHeader;

/// Takes an upgrade out of a request that is none to a WebSocket (RFC 6455, section 4.1): what asks
/// for another protocol is asked in this one (RFC 9110, section 7.8).
pub(crate) fn keep_websockets_alone(head: &mut RequestHeader) {
    if head.headers.contains_key(UPGRADE) && !is_websocket(head) {
        head.remove_header(&UPGRADE);
        head.remove_header("http2-settings");
    }
}

fn is_websocket(head: &RequestHeader) -> bool {
    let only = |name: HeaderName| {
        let mut values = head.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())?.to_str().ok()
    };
    let has_word = |name: HeaderName, word: &str| {
        let lines = head.headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
    };
    let key = only(SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key).ok());
    head.method == Method::GET
        && head.version == http::Version::HTTP_11
        && has_word(CONNECTION, "upgrade")
        && only(UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case("websocket"))
        && only(SEC_WEBSOCKET_VERSION) == Some("13")
        && key.is_some_and(|key| key.len() == 16)
}
