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

/// A search among them that takes more than two seconds, so many times over: it compares each name
/// with a thousand others, and goes on for the last is a part of all.
#[must_use]
pub fn search(client: &Client, times: usize) -> RequestBuilder {
    let others: Vec<String> = (0..999).map(|other| format!("zz{other}")).collect();
    let one = format!("given:contains={},given", others.join(","));
    let form = vec![one; times].join("&");
    let request = client.request(Method::POST, "/Patient/_search");
    request.header("content-type", "application/x-www-form-urlencoded").body(form)
}
