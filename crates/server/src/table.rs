//! The one table of interactions: what each is called in the CapabilityStatement and whether it
//! is there. Dispatch, the statement and the tests are derived from it.

use std::sync::LazyLock;

use contract::{Interaction, Level, OperationName};
use fhir_terminology::operations::OPERATIONS;

use crate::audit;
use crate::interactions::{quarantine, validate};

/// Where the CapabilityStatement names an interaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `rest.resource.interaction`, for every type.
    Type(&'static str),
    /// `rest.interaction`, each of these.
    System(&'static [&'static str]),
    /// `rest.resource.operation`: `$validate` of every type, `$access-log` of Patient, and each of
    /// [`fhir_terminology::operations::OPERATIONS`] of its own; `rest.operation`: those of the
    /// quarantine.
    Operations,
    /// Elsewhere or nowhere.
    Unnamed,
}

/// How a rule that is narrower than all data bears on what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Not at all: it tells nothing of anybody's data.
    Open,
    /// It shows what the rule shows, and all else is as if it were not there.
    Shown,
    /// It changes what the rule shows, and leaves what is within it.
    Changed,
    /// The same, and finds what it changes by criteria, which match what the rule shows.
    ChangedByCriteria,
    /// Each of its entries is judged by itself.
    Entries,
    /// It tells of what was sent, and of resources what a read shows.
    Told,
    /// It takes a rule without restriction.
    Whole,
}

/// One interaction.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// As [`Interaction::code`] says.
    pub code: &'static str,
    /// Method and URL, in the words of the specification.
    pub request: &'static str,
    /// How a narrow rule bears on it.
    pub judged: Judged,
    pub(crate) place: Place,
    pub(crate) there: bool,
}

const fn row(code: &'static str, request: &'static str, judged: Judged, place: Place) -> Row {
    Row { code, request, judged, place, there: true }
}

/// Every interaction of the contract, in the order of the specification.
pub const TABLE: [Row; 18] = [
    row("read", "GET [type]/[id]", Judged::Shown, Place::Type("read")),
    row("vread", "GET [type]/[id]/_history/[vid]", Judged::Shown, Place::Type("vread")),
    row("update", "PUT [type]/[id]", Judged::Changed, Place::Type("update")),
    row("conditional-update", "PUT [type]?[criteria]", Judged::ChangedByCriteria, Place::Unnamed),
    row("patch", "PATCH [type]/[id]", Judged::Changed, Place::Type("patch")),
    row("conditional-patch", "PATCH [type]?[criteria]", Judged::ChangedByCriteria, Place::Unnamed),
    row("delete", "DELETE [type]/[id]", Judged::Changed, Place::Type("delete")),
    row(
        "conditional-delete",
        "DELETE [type]?[criteria]",
        Judged::ChangedByCriteria,
        Place::Unnamed,
    ),
    row("create", "POST [type]", Judged::Changed, Place::Type("create")),
    row("search-type", "GET [type]?[parameters]", Judged::Shown, Place::Type("search-type")),
    row("search-system", "GET ?[parameters]", Judged::Shown, Place::System(&["search-system"])),
    row(
        "search-compartment",
        "GET [compartment]/[id]/[type]?[parameters]",
        Judged::Shown,
        Place::Unnamed,
    ),
    row("capabilities", "GET metadata", Judged::Open, Place::Unnamed),
    row(
        "batch-or-transaction",
        "POST [base]",
        Judged::Entries,
        Place::System(&["transaction", "batch"]),
    ),
    row(
        "history-instance",
        "GET [type]/[id]/_history",
        Judged::Shown,
        Place::Type("history-instance"),
    ),
    row("history-type", "GET [type]/_history", Judged::Shown, Place::Type("history-type")),
    row("history-system", "GET _history", Judged::Shown, Place::System(&["history-system"])),
    row("operation", "POST …/$[name]", Judged::Whole, Place::Operations),
];

/// One operation at one level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRow {
    /// With its `$`.
    pub name: &'static str,
    /// `[type]/[id]`, where `[type]` may be one alone; nothing at the system.
    pub on: String,
    /// How a narrow rule bears on it.
    pub judged: Judged,
}

/// Every operation that is there, at each level.
#[must_use]
pub fn operations() -> Vec<OperationRow> {
    let row = |name, on: String, judged| OperationRow { name, on, judged };
    let mut rows: Vec<OperationRow> =
        ["[type]", "[type]/[id]"].map(|on| row(validate::NAME, on.to_owned(), Judged::Told)).into();
    rows.push(row(audit::ACCESS_LOG, "Patient/[id]".to_owned(), Judged::Shown));
    for operation in OPERATIONS {
        let of = operation.kind.as_str();
        rows.push(row(operation.name, of.to_owned(), Judged::Whole));
        if operation.on_instances {
            rows.push(row(operation.name, format!("{of}/[id]"), Judged::Whole));
        }
    }
    let own = quarantine::OPERATIONS.iter();
    rows.extend(own.map(|(_, name)| row(*name, String::new(), Judged::Whole)));
    rows
}

/// Whether this operation is there at this level.
pub(crate) fn has_operation(name: &OperationName, level: &Level) -> bool {
    let of = |on: &str| match (level, on.split_once('/')) {
        (Level::System, _) => on.is_empty(),
        (Level::Type(of), None) => on == "[type]" || on == of.as_str(),
        (Level::Instance(of), Some((on, _))) => on == "[type]" || on == of.resource_type.as_str(),
        _ => false,
    };
    static THERE: LazyLock<Vec<OperationRow>> = LazyLock::new(operations);
    THERE.iter().any(|row| row.name == name.as_str() && of(&row.on))
}

/// Whether this interaction is there.
pub(crate) fn is_there(interaction: &Interaction) -> bool {
    TABLE.iter().any(|row| row.code == interaction.code() && row.there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_where_its_row_says_and_nowhere_else() {
        let is_there = |name: &str, target: &str| {
            let path = format!("/{target}{}{name}", if target.is_empty() { "" } else { "/" });
            let asked = Interaction::classify("POST", &path, None).unwrap();
            let Interaction::Operation(name, level) = asked else { panic!("{path}") };
            has_operation(&name, &level)
        };
        for OperationRow { name, on, .. } in operations() {
            let target = on.replace("[type]", "Observation").replace("[id]", "1");
            assert!(is_there(name, &target), "{name} on {on}");
        }
        for (name, target) in [
            ("$everything", "Patient/1"),
            ("$graphql", ""),
            ("$export", ""),
            ("$access-log", "Observation/1"),
            ("$access-log", "Patient"),
            ("$expand", "Patient"),
            ("$validate", ""),
        ] {
            assert!(!is_there(name, target), "{name} on {target}");
        }
    }

    #[test]
    fn each_row_is_the_interaction_that_its_request_is() {
        for Row { code, request, .. } in &TABLE {
            let (method, url) = request.split_once(' ').unwrap();
            let url = url
                .replace("[base]", "")
                .replace("[type]", "Observation")
                .replace("[compartment]", "Patient")
                .replace("[id]", "1")
                .replace("[vid]", "1")
                .replace("[criteria]", "code=x")
                .replace("[parameters]", "_count=1")
                .replace("…/$[name]", "Observation/$validate");
            let (path, query) = match url.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (&*url, None),
            };
            let classified = Interaction::classify(method, &format!("/{path}"), query);
            assert_eq!(classified.map(|it| it.code()).ok(), Some(*code), "{request}");
        }
    }

    #[test]
    fn every_operation_stands_at_its_levels() {
        let rows = operations();
        for (at, row) in rows.iter().enumerate() {
            assert!(row.name.starts_with('$'), "{row:?}");
            assert!(!rows[..at].contains(row), "{row:?}");
        }
        assert!(rows.iter().any(|row| row.name == "$lookup" && row.judged == Judged::Whole));
    }
}
