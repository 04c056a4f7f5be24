//! The dashboard and the rules for alarms name metrics of the server, and labels, that there are.

use std::collections::BTreeSet;

const SOURCE: &str = include_str!("../metrics.rs");

const DEPLOYED: [&str; 2] = [
    include_str!("../../../../deploy/observability/alerts.yaml"),
    include_str!("../../../../deploy/observability/dashboard.json"),
];

const PREFIX: &str = "hearthgate_server_";

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Each name of a metric in the text that begins so, with what follows it.
fn named<'text>(
    text: &'text str,
    prefix: &'static str,
) -> impl Iterator<Item = (&'text str, &'text str)> {
    text.match_indices(prefix).map(|(at, _)| {
        let rest = &text[at..];
        rest.split_at(rest.find(|character| !is_of_name(character)).unwrap_or(rest.len()))
    })
}

// GW-050
#[test]
fn dashboard_and_alarms_name_what_there_is() {
    let made = SOURCE.split("mod tests {").next().unwrap();
    let registered: BTreeSet<_> = named(made, PREFIX).map(|(name, _)| name).collect();
    assert!(registered.len() > 10, "{registered:?}");
    let mut unused = registered.clone();
    for text in DEPLOYED {
        let mut found = 0;
        for (name, rest) in named(text, PREFIX) {
            let base = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(registered.contains(base), "{name} is no metric");
            unused.remove(base);
            found += 1;
            let Some(selector) = rest.strip_prefix('{') else { continue };
            let selector = selector.split('}').next().unwrap_or_default();
            for matcher in selector.split(',') {
                let label: String = matcher.chars().take_while(|it| is_of_name(*it)).collect();
                assert!(made.contains(&format!("\"{label}\"")), "{name} has no label {label}");
            }
        }
        assert!(found > 3, "there is something to look at");
        // What begins otherwise nobody makes.
        for (name, _) in named(text, "hearthgate_") {
            let is_ours = name.starts_with(PREFIX) || name.starts_with("hearthgate_gateway_");
            assert!(is_ours, "{name} is of neither half");
        }
    }
    assert_eq!(unused, BTreeSet::from(["hearthgate_server_index_documents"]), "shown nowhere");
}
