//! Searches that take long, whatever the machine, and what they search among.

use http::Method;
use reqwest::RequestBuilder;

use crate::bundle::transaction;
use crate::client::Client;

/// The line of a server's `[server]` that lets such a search look at as much as it likes.
pub const LETS_SEARCH: &str = "search_versions = 1000000000\n";

/// Writes two thousand patients with ten names each, `p0` and so on.
///
/// # Panics
/// When they are not taken.
pub async fn fill(owner: &Client) {
    for hundred in 0..20 {
        let entries = (0..100).map(|one| {
            let id = hundred * 100 + one;
            let given: Vec<String> = (0..10).map(|name| format!("\"Given{id}x{name}\"")).collect();
            format!(
                r#"{{"resource":{{"resourceType":"Patient","id":"p{id}","name":[{{"given":[{}]}}]}},"request":{{"method":"PUT","url":"Patient/p{id}"}}}}"#,
                given.join(",")
            )
        });
        let entries: Vec<String> = entries.collect();
        let _ = owner.post("", transaction(&entries)).await.is(200);
    }
}

/// A search among them that compares each name with so many others: with a thousand it takes more
/// than two seconds.
pub fn search(client: &Client, others: usize) -> RequestBuilder {
    let parts: Vec<String> = (0..others).map(|part| format!("zz{part}")).collect();
    let form = format!("given:contains={}", parts.join(","));
    let request = client.request(Method::POST, "/Patient/_search");
    request.header("content-type", "application/x-www-form-urlencoded").body(form)
}
