//! The dashboard and the rules for alarms name metrics and labels that there are.

use std::collections::BTreeSet;

/// All that makes metrics.
const SOURCES: [&str; 4] = [
    include_str!("../metrics.rs"),
    include_str!("limiting.rs"),
    include_str!("registry.rs"),
    include_str!("upstreams.rs"),
];

const DEPLOYED: [&str; 2] = [
    include_str!("../../../../deploy/observability/alerts.yaml"),
    include_str!("../../../../deploy/observability/dashboard.json"),
];

const PREFIX: &str = "hearthgate_gateway_";

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Each name of a metric in the text, with what follows it.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.match_indices(PREFIX).map(|(at, _)| {
        let rest = &text[at..];
        rest.split_at(rest.find(|character| !is_of_name(character)).unwrap_or(rest.len()))
    })
}

/// The names that are registered, without those that tests of the metrics spell out.
fn registered() -> BTreeSet<&'static str> {
    let made = SOURCES.into_iter().map(|source| source.split("mod tests {").next());
    made.flatten().flat_map(named).map(|(name, _)| name).collect()
}

// GW-050
#[test]
fn dashboard_and_alarms_name_what_there_is() {
    let registered = registered();
    assert!(registered.len() > 20, "{registered:?}");
    for text in DEPLOYED {
        let mut found = 0;
        for (name, rest) in named(text) {
            let base = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(registered.contains(base), "{name} is no metric");
            found += 1;
            let Some(selector) = rest.strip_prefix('{') else { continue };
            let selector = selector.split('}').next().unwrap_or_default();
            for matcher in selector.split(',') {
                let label: String = matcher.chars().take_while(|it| is_of_name(*it)).collect();
                let is_made = SOURCES.iter().any(|from| from.contains(&format!("\"{label}\"")));
                assert!(is_made, "{name} has no label {label}");
            }
        }
        assert!(found > 10, "there is something to look at");
    }
    serde_json::from_str::<serde_json::Value>(DEPLOYED[1]).expect("a dashboard is JSON");
}
