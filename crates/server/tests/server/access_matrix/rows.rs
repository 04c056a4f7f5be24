//! What must have requests: every row of the server's tables, each as a request of its own and as
//! an entry of a batch and of a transaction.

use std::collections::BTreeSet;

use contract::{Interaction, Level};
use server::{OperationRow, Row};

use super::requests::Request;

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    Itself,
    Batch,
    Transaction,
}

pub(super) const VIAS: [Via; 3] = [Via::Itself, Via::Batch, Via::Transaction];

impl Via {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Itself => "itself",
            Self::Batch => "batch",
            Self::Transaction => "transaction",
        }
    }
}

/// The names of rows: an interaction's code; where an operation is, and its name.
pub(super) fn rows(table: &[Row], operations: &[OperationRow]) -> Vec<String> {
    let interactions = table.iter().map(|row| row.code.to_owned());
    let operations = operations.iter().map(|row| match row.on.is_empty() {
        true => row.name.to_owned(),
        false => format!("{} {}", row.on, row.name),
    });
    interactions.chain(operations).collect()
}

/// What is wrong: a row that no request asks in a way that it can be asked, and a request that is
/// of no row or of another than it says.
pub(super) fn gaps(
    table: &[Row],
    operations: &[OperationRow],
    requests: &[Request],
) -> Vec<String> {
    let rows = rows(table, operations);
    let mut gaps = Vec::new();
    for row in &rows {
        for via in VIAS {
            let is_bundle = row == "batch-or-transaction";
            let asked = requests.iter().any(|request| request.row == row && request.goes(via));
            if !(asked || is_bundle && via != Via::Itself) {
                gaps.push(format!("{row} is not asked by {}", via.name()));
            }
        }
    }
    let known: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
    for request in requests {
        let row = row_of(request);
        if request.row != row && !(request.row.starts_with("[type]") && is_of(request.row, &row)) {
            gaps.push(format!("{} is of {row}, not of {}", request.name(), request.row));
        }
        if !known.contains(request.row) {
            gaps.push(format!("{} is of no row: {}", request.name(), request.row));
        }
    }
    gaps
}

/// The row that a request is of, by what it is classified as. An operation that no row names is
/// of the interaction's.
fn row_of(request: &Request) -> String {
    let target = request.target.replace("[o]", "o").replace("[p]", "p");
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*target, None),
    };
    let classified = Interaction::classify(request.method, &format!("/{path}"), query).unwrap();
    let code = classified.code().to_owned();
    match classified {
        _ if request.row == code => code,
        Interaction::Operation(name, Level::System) => name.as_str().to_owned(),
        Interaction::Operation(name, Level::Type(of)) => format!("{of} {}", name.as_str()),
        Interaction::Operation(name, Level::Instance(of)) => {
            format!("{}/[id] {}", of.resource_type, name.as_str())
        }
        _ => code,
    }
}

/// Whether a row of every type is that of a row of one.
fn is_of(any: &str, one: &str) -> bool {
    let end = |row: &str| row.find(['/', ' ']).map(|at| row[at..].to_owned());
    end(any) == end(one)
}
