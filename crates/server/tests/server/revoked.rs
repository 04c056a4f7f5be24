//! Requests that a gateway let through before a revocation, and that come after it.

use contract::{Clock as _, header};
use serde_json::{Value, json};

use crate::support::{Site, raw};

const PATIENT: &str = r#"{"resourceType":"Patient","id":"1"}"#;

/// Tells something on the channel; what is answered.
async fn tell(site: &Site, told: &Value) -> Value {
    let (told, length) = (told.to_string(), told.to_string().len());
    let request = format!(
        "POST /revocations HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\
         \r\n{told}"
    );
    let answer = raw(&site.channel_socket, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

// GW-034
#[tokio::test]
async fn a_request_that_comes_after_its_revocation_does_nothing_unless_its_gateway_knew_of_it() {
    let site = Site::start().await;
    let _ = site.ask("PUT", "Patient/1").body(PATIENT).send().await;
    let client = site.ask("GET", "Patient/1").grant().client.unwrap();
    assert_eq!(tell(&site, &json!({ "feed": "a" })).await, json!({ "after": 0 }));
    let entry = json!({ "kind": "client", "id": client, "since": site.clock.now().to_string() });
    let page = json!({ "after": 0, "cursor": 3, "entries": [entry] });
    let told = json!({ "feed": "a", "page": page });
    assert_eq!(tell(&site, &told).await, json!({ "after": 3 }));
    let before = site.position();
    for known in ["", "a 2", "b 9", "a"] {
        let mut ask = site.ask("DELETE", "Patient/1");
        if !known.is_empty() {
            ask = ask.header(header::FEED, known);
        }
        let answer = ask.send().await;
        assert_eq!(answer.status, 403, "{known}");
        assert!(answer.text().contains("revoked"), "{}", answer.text());
    }
    assert_eq!(site.position(), before);
    // It was enabled again before this was let through.
    let enabled = site.ask("GET", "Patient/1").header(header::FEED, "a 3").send().await;
    assert_eq!(enabled.status, 200);
}
