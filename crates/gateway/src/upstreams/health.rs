//! An upstream's checks: whether each endpoint answers as it should, and whether the upstream
//! says the base that clients know it by.
//!
//! An upstream whose links lead elsewhere would send clients past the gateway. Where that is
//! said in the answer the operator names; nothing else of the answer is read.

use std::sync::Arc;

use http::HeaderValue;
use http::header::ACCEPT;
use tokio::task::JoinSet;

use super::Upstream;
use super::ask::{AskError, Question};
use super::target::Target;
use super::written::{ExpectedBase, Health};

/// The longest answer to a check, in bytes: a CapabilityStatement is a few hundred thousand.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Checks all endpoints, again and again.
pub(crate) async fn keep_checking(upstream: Arc<Upstream>, health: Health) {
    loop {
        let balancer = upstream.balancer();
        let mut checks = JoinSet::new();
        for target in balancer.targets() {
            let (upstream, health, target) = (upstream.clone(), health.clone(), target.clone());
            checks.spawn(async move { check(&upstream, &health, &target).await });
        }
        while checks.join_next().await.is_some() {}
        tokio::time::sleep(health.interval).await;
    }
}

async fn check(upstream: &Upstream, health: &Health, target: &Target) {
    let host = upstream.host_for(None);
    let question = Question::get(&health.path, host).with(ACCEPT, HeaderValue::from_static("*/*"));
    let asked = match upstream.ask(target, &question, health.timeout, LONGEST_ANSWER).await {
        // What answers everybody is well without a token.
        Err(AskError::NoToken) => {
            let limit = health.timeout / 2;
            upstream.asker.ask(&target.peer, &question, limit, LONGEST_ANSWER).await
        }
        asked => asked,
    };
    let well = match &asked {
        Ok((status, _)) => *status == health.status,
        Err(_) => false,
    };
    let tallies = &upstream.tallies;
    if well { &tallies.passed } else { &tallies.failed }.inc();
    if target.checked(well, health.up, health.down) {
        if well {
            tracing::info!(upstream = &*upstream.name, endpoint = %target.address, "is well again");
        } else {
            let status = asked.as_ref().ok().map(|(status, _)| status.as_u16());
            let error = asked.as_ref().err().map(|error| error as &dyn std::error::Error);
            tracing::warn!(
                upstream = &*upstream.name, endpoint = %target.address, status, error,
                "does not pass its checks, and gets no requests"
            );
        }
    }
    if let (Some(expected), Ok((_, body)), true) = (&health.base, &asked, well) {
        upstream.says_base(expected, expected.read(body).as_deref());
    }
}

impl ExpectedBase {
    /// What an answer says.
    fn read(&self, body: &[u8]) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(body).ok()?;
        Some(body.pointer(&self.pointer)?.as_str()?.to_owned())
    }

    /// Whether that is the base, or something below it.
    pub(crate) fn is_met_by(&self, said: Option<&str>) -> bool {
        said.and_then(|said| said.strip_prefix(self.base.trim_end_matches('/')))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, met: bool) {
        let expected = ExpectedBase {
            pointer: "/implementation/url".to_owned(),
            base: "https://hub.example/lab".to_owned(),
        };
        let said = expected.read(body.as_bytes());
        assert_eq!(expected.is_met_by(said.as_deref()), met, "{body}");
    }

    #[test]
    fn a_base_is_met_by_itself_and_by_what_is_below_it() {
        check(r#"{"implementation":{"url":"https://hub.example/lab"}}"#, true);
        check(r#"{"implementation":{"url":"https://hub.example/lab/"}}"#, true);
        check(r#"{"implementation":{"url":"https://hub.example/laboratory"}}"#, false);
        check(r#"{"implementation":{"url":"http://10.0.0.7:8080/fhir"}}"#, false);
        check(r#"{"implementation":{}}"#, false);
        check("not JSON", false);
    }
}
