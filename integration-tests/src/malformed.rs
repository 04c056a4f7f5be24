//! Requests that are none, and good ones in which chance changed a byte. What must become of them
//! is for who sends them to say.

use crate::chance::Chance;

/// Requests of whoever has this key, for this path, of which each breaks HTTP or the limits of the
/// gateway. Each is for a connection of its own.
#[must_use]
pub fn malformed(path: &str, key: &str) -> Vec<Vec<u8>> {
    let start = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n");
    let field = |field: &str| format!("{start}{field}\r\n\r\n").into_bytes();
    let line = |line: &str| {
        format!("{line}\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n").into_bytes()
    };
    let target = |target: &str| line(&format!("GET {target} HTTP/1.1"));
    let body = |framing: &str, body: &str| {
        format!(
            "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/fhir+json\r\n{framing}\r\n\r\n{body}"
        )
        .into_bytes()
    };
    let chunked = |text: &str| body("Transfer-Encoding: chunked", text);
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    vec![
        Vec::new(),
        b"\r\n\r\n\r\n".to_vec(),
        vec![0; 512],
        vec![0xff; 512],
        // What opens TLS, and HTTP/2, where neither is spoken.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        line("GET"),
        line(&format!("GET {path}")),
        line(&format!("{path} GET HTTP/1.1")),
        line(&format!("GET {path} HTTP/1.1 HTTP/1.1")),
        line(&format!("GET {path} HTTP/1.10")),
        line(&format!("GET {path} HTTP/-1.1")),
        line(&format!("GET {path} http/1.1")),
        line(&format!("GET {path} FTP/1.1")),
        line(&format!("get {path} HTTP/1.1")),
        line(&format!("GE\0T {path} HTTP/1.1")),
        line(&format!("GE(T {path} HTTP/1.1")),
        line(&format!("CONNECT {path} HTTP/1.1")),
        line(&format!("TRACE {path} HTTP/1.1")),
        line(&format!("BREW {path} HTTP/1.1")),
        target("*"),
        target(""),
        target("fhir/Patient/read"),
        target(&format!("{path}#end")),
        target(&format!("{path}\\..")),
        target("/fhir/../fhir/Patient/read"),
        target("/fhir/./Patient/read"),
        target("/fhir//Patient/read"),
        target("/fhir/%2e%2e/fhir/Patient/read"),
        target("/fhir/Patient%2fread"),
        target("/fhir/Patient/%zz"),
        target("/fhir/Patient/%"),
        target("/fhir/Patient/%00"),
        target("/fhir/Patient/%c0%ae"),
        target("/fhir/Patient/%ed%a0%80"),
        target("/fhir/Patient/re\u{1}ad"),
        target("/fhir/Patient/re ad"),
        target(&format!("{path}?{}", "x".repeat(64 << 10))),
        field("no colon"),
        field(": no name"),
        field("na me: y"),
        field("name : y"),
        field("na\0me: y"),
        field("n\u{e4}me: y"),
        field("x: y\0"),
        field("x: y\u{7f}"),
        field("x: y\rz"),
        field("x: y\nz: w"),
        field("x: y\r\n folded"),
        field(&format!("x: {}", "y".repeat(64 << 10))),
        field(&format!("{}: y", "x".repeat(64 << 10))),
        field(many.trim_end()),
        field("Host: b"),
        body("Content-Length: -1", "{}"),
        body("Content-Length: 99999999999999999999", "{}"),
        body("Content-Length: 0x2", "{}"),
        body("Content-Length: 2, 2", "{}"),
        body("Content-Length: ", "{}"),
        // It ends before its end.
        body("Content-Length: 2000", "{}"),
        chunked("x\r\n{}\r\n0\r\n\r\n"),
        chunked("-2\r\n{}\r\n0\r\n\r\n"),
        chunked("2\r\n{}{}\r\n0\r\n\r\n"),
        chunked("2\n{}\n0\n\n"),
        chunked("ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        chunked(&format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(64 << 10))),
        chunked("2\r\n{}\r\n"),
        body("Content-Encoding: gzip\r\nContent-Length: 2", "{}"),
    ]
}

/// A request of whoever has this key, for this path, in which chance changed some bytes.
#[must_use]
pub fn changed(path: &str, key: &str, chance: &mut Chance) -> Vec<u8> {
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\
         Accept: application/fhir+json\r\nX-Request-Id: 0123456789abcdef\r\nIf-None-Match: W/\"7\"\r\n\
         Connection: close\r\n\r\n"
    );
    let mut bytes = text.into_bytes();
    for _ in 0..=chance.below(3) {
        let place = chance.below(bytes.len());
        match chance.below(3) {
            0 => bytes[place] = chance.number().to_le_bytes()[0],
            1 => bytes.insert(place, chance.number().to_le_bytes()[0]),
            _ => drop(bytes.remove(place)),
        }
    }
    bytes
}
