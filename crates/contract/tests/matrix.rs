//! The matrix of interactions and rules, for the eyes of a security officer: vectors/matrix.txt.
//!
//! When a decision changes on purpose, the failing test names the file with the new matrix; it is
//! read, and copied over the old one, by hand.

use std::path::Path;

use contract::{Decision, Grant, GrantFields, Interaction, Nonce, Power, Rule, decide, digest};

/// One request of each interaction.
const REQUESTS: [(&str, &str, Option<&str>); 33] = [
    ("GET", "/metadata", None),
    ("GET", "/Patient/123", None),
    ("GET", "/Patient/123/_history/1", None),
    ("PUT", "/Patient/123", None),
    ("PUT", "/Patient", Some("a=b")),
    ("PATCH", "/Patient/123", None),
    ("PATCH", "/Patient", Some("a=b")),
    ("DELETE", "/Patient/123", None),
    ("DELETE", "/Patient", Some("a=b")),
    ("GET", "/Patient/123/_history", None),
    ("GET", "/Patient/_history", None),
    ("GET", "/_history", None),
    ("POST", "/Patient", None),
    ("GET", "/Patient", None),
    ("POST", "/Patient/_search", None),
    ("GET", "/", None),
    ("POST", "/_search", None),
    ("GET", "/Patient/123/Observation", None),
    ("GET", "/Observation/1/Patient", None),
    ("GET", "/Patient/123/*", None),
    ("POST", "/", None),
    ("POST", "/Patient/$validate", None),
    ("POST", "/Patient/123/$validate", None),
    ("GET", "/$other", None),
    ("GET", "/Patient/$other", None),
    ("GET", "/Patient/123/$other", None),
    ("GET", "/Patient/123/$everything", None),
    ("GET", "/Patient/123/_history/1/$other", None),
    ("POST", "/$expunge", None),
    ("POST", "/Patient/123/$expunge", None),
    ("POST", "/$reindex", None),
    ("GET", "/Observation/1", None),
    ("GET", "/Observation", None),
];

/// A column: its name, the actions and the part of the data of one rule for Patient.
const RULES: [(&str, &str, &str); 17] = [
    ("create", r#"["create"]"#, "all"),
    ("read", r#"["read"]"#, "all"),
    ("update", r#"["update"]"#, "all"),
    ("delete", r#"["delete"]"#, "all"),
    ("search", r#"["search"]"#, "all"),
    ("history", r#"["history"]"#, "all"),
    ("hist+srch", r#"["history","search"]"#, "all"),
    ("upd+srch", r#"["update","search"]"#, "all"),
    ("upd+read", r#"["update","read"]"#, "all"),
    ("u+r+srch", r#"["update","read","search"]"#, "all"),
    ("del+srch", r#"["delete","search"]"#, "all"),
    ("everythng", r#"["operation:$everything"]"#, "all"),
    ("any oper.", r#"["operation:*"]"#, "all"),
    ("any", r#"["*"]"#, "all"),
    ("any comp.", r#"["*"]"#, "compartment(Patient/123)"),
    ("any group", r#"["*"]"#, "group(Group/1)"),
    ("any own", r#"["*"]"#, "own"),
];

fn grant(rules: Vec<Rule>, client: Option<&str>, powers: Vec<Power>) -> Grant {
    let request = GrantFields::of_request(
        "default".parse().expect("a tenant"),
        &Interaction::Capabilities,
        digest("GET", "/", None),
        "AAECAwQFBgcICQoLDA0ODw".parse::<Nonce>().expect("a nonce"),
        "2026-01-02T03:04:05Z".parse().expect("an instant"),
    );
    let fields = GrantFields {
        client: client.map(str::to_owned),
        patient: client.map(|_| "123".parse().expect("an id")),
        powers,
        rules,
        ..request
    };
    Grant::new(fields).expect("a grant")
}

fn rule(types: &str, actions: &str, within: &str) -> Rule {
    let json = format!(r#"{{"types":["{types}"],"actions":{actions},"within":"{within}"}}"#);
    serde_json::from_str(&json).expect("a rule")
}

fn matrix() -> String {
    let mut columns = vec![
        ("nobody", grant(Vec::new(), None, Vec::new())),
        ("no rule", grant(Vec::new(), Some("app"), Vec::new())),
    ];
    for (name, actions, within) in RULES {
        let rules = vec![rule("Patient", actions, within)];
        columns.push((name, grant(rules, Some("app"), Vec::new())));
    }
    let owner = || vec![rule("*", r#"["*"]"#, "all")];
    columns.push(("owner", grant(owner(), Some("app"), Vec::new())));
    let powers = vec![Power::Expunge, Power::Reindex];
    columns.push(("own.+powr", grant(owner(), Some("app"), powers)));
    let mut text = String::from(
        "What one rule allows. Rules are for Patient, but for the owner's: any action, any type.\n\
         allow: whatever the data; within: as far as the data lie within the rule; -: refused.\n\n",
    );
    let mut line = |first: &str, cells: &[&str]| {
        text += &format!("{first:<58}");
        cells.iter().for_each(|cell| text += &format!("{cell:<10}"));
        text.truncate(text.trim_end().len());
        text.push('\n');
    };
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    line("", &names);
    for (method, path, query) in REQUESTS {
        let interaction = Interaction::classify(method, path, query).expect("a FHIR request");
        let url = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let cells: Vec<_> = columns
            .iter()
            .map(|(_, grant)| match decide(grant, &interaction) {
                Decision::Allow => "allow",
                Decision::AllowWithin(_) => "within",
                Decision::Deny(_) => "-",
            })
            .collect();
        line(&format!("{:<21}{method} {url}", interaction.code()), &cells);
    }
    text
}

#[test]
fn what_each_rule_allows_is_as_the_security_officer_read_it() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/matrix.txt");
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    let actual = matrix();
    if actual == expected {
        return;
    }
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("matrix.txt");
    std::fs::write(&fresh, &actual).unwrap();
    let lines = expected.lines().count().max(actual.lines().count());
    let (mut old, mut new) = (expected.lines(), actual.lines());
    for _ in 0..lines {
        let (old, new) = (old.next().unwrap_or(""), new.next().unwrap_or(""));
        if old != new {
            println!("-{old}\n+{new}");
        }
    }
    panic!("decisions changed; the new matrix is {}", fresh.display());
}

#[test]
fn every_interaction_has_a_row() {
    let seen: std::collections::BTreeSet<_> = REQUESTS
        .iter()
        .map(|(method, path, query)| Interaction::classify(method, path, *query).unwrap().code())
        .collect();
    assert_eq!(seen.len(), 18, "{seen:?}");
}
