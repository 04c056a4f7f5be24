//! Which crate may name which: the table in docs/ARCHITECTURE.md as data ([`rules`]), a small
//! model of who names whom ([`workspace`]), and the rules over it (here).
//!
//! Rules hold for normal and build dependencies alike, whether optional or not, for whatever
//! target and under whatever name. What a crate's tests need (dev-dependencies) may come from
//! anywhere but the other side of the line between gateway and server.

pub mod rules;
pub mod workspace;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use rules::{BANS, Ban, Library, MayName, ROWS, Row, Side, WIDENINGS};
use workspace::{Dependency, Purpose, Workspace};

/// One breach of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// From one of our crates to what it must not name: `server -> jsonwebtoken (optional,
    /// feature "tokens")`.
    pub path: String,
    /// The rule that it breaks.
    pub rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.rule)
    }
}

/// Every breach in a workspace, one for each path, crate by crate.
#[must_use]
pub fn violations(workspace: &Workspace) -> Vec<Violation> {
    let mut found = Vec::new();
    for (name, dependencies) in &workspace.crates {
        match rules::row(name) {
            None => found.push(Violation {
                path: name.clone(),
                rule: "the crate has no row in the table of crates".to_owned(),
            }),
            Some(row) => {
                for dependency in dependencies {
                    found.extend(check_dependency(workspace, row, dependency));
                }
            }
        }
    }
    for ban in BANS {
        for from in ban.from {
            found.extend(check_ban(workspace, ban, from));
        }
    }
    let mut paths = BTreeSet::new();
    found.retain(|violation| paths.insert(violation.path.clone()));
    found
}

fn check_dependency(
    workspace: &Workspace,
    row: &Row,
    dependency: &Dependency,
) -> Option<Violation> {
    let rule = if dependency.is_ours || workspace.crates.contains_key(&dependency.name) {
        check_crate(row, dependency)?
    } else {
        check_library(row, dependency)?
    };
    Some(Violation { path: format!("{} -> {dependency}", row.name), rule })
}

/// The table's first column.
fn check_crate(row: &Row, dependency: &Dependency) -> Option<String> {
    let Some(target) = rules::row(&dependency.name) else {
        return Some("the crate has no row in the table of crates".to_owned());
    };
    let named_in_row = match row.may_name {
        MayName::All => true,
        MayName::These(names) => names.contains(&target.name),
    };
    if named_in_row {
        return None;
    }
    if dependency.purpose == Purpose::Development {
        let same_side = target.side == row.side || target.side == Side::Shared;
        return (!same_side).then(|| {
            format!(
                "tests of {} may not name {}, which is not on its side of the line",
                row.name, target.name
            )
        });
    }
    Some(match row.may_name {
        MayName::These([]) => format!("{} may name none of our crates", row.name),
        MayName::These(names) => format!("{} may name only {}", row.name, names.join(", ")),
        MayName::All => unreachable!("such a row names every crate"),
    })
}

/// The table's second column.
fn check_library(row: &Row, dependency: &Dependency) -> Option<String> {
    if dependency.purpose == Purpose::Development {
        return None;
    }
    if !rules::is_confined(&dependency.name) {
        return None;
    }
    let is_allowed = |allowed: &Library| allowed.covers(&dependency.name);
    let widened = WIDENINGS
        .iter()
        .filter(|widening| widening.crate_name == row.name)
        .flat_map(|widening| widening.libraries);
    if row.libraries.iter().chain(widened).any(is_allowed) {
        return None;
    }
    let owners: Vec<&str> = ROWS
        .iter()
        .filter(|other| other.libraries.iter().any(is_allowed))
        .map(|other| other.name)
        .collect();
    Some(format!("{} is confined to {}", dependency.name, owners.join(", ")))
}

/// The shortest path from a crate to each library that a ban keeps from it, at whatever distance.
/// A path through another crate of the same ban is that crate's.
fn check_ban(workspace: &Workspace, ban: &Ban, from: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut queue: VecDeque<(String, String)> = VecDeque::new();
    let mut seen = BTreeSet::new();
    let mut report = |name: &str, path: &str| {
        let is_banned = ban.libraries.iter().any(|library| library.covers(name));
        if is_banned {
            found.push(Violation { path: path.to_owned(), rule: ban.reason.to_owned() });
        }
        is_banned
    };
    let mut ours = VecDeque::from([(from.to_owned(), from.to_owned())]);
    while let Some((name, path)) = ours.pop_front() {
        for dependency in workspace.crates.get(&name).into_iter().flatten() {
            if dependency.purpose == Purpose::Development {
                continue;
            }
            let path = format!("{path} -> {dependency}");
            if workspace.crates.contains_key(&dependency.name) {
                let is_another = ban.from.contains(&&*dependency.name);
                if !is_another && seen.insert(dependency.name.clone()) {
                    ours.push_back((dependency.name.clone(), path));
                }
            } else if !report(&dependency.name, &path) {
                for id in workspace.locked_dependency(&name, &dependency.name) {
                    if seen.insert(id.clone()) {
                        queue.push_back((id, path.clone()));
                    }
                }
            }
        }
    }
    while let Some((id, path)) = queue.pop_front() {
        for next in workspace.locked.get(&id).into_iter().flatten() {
            let name = workspace::name_of(next);
            let path = format!("{path} -> {name}");
            if seen.insert(next.clone()) && !report(name, &path) {
                queue.push_back((next.clone(), path));
            }
        }
    }
    found
}
