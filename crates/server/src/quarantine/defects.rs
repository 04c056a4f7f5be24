//! What is wrong with what is quarantined, the commonest first.

use std::collections::{BTreeMap, BTreeSet};

use fhir_core::{ResourceId, Severity};

use super::{Found, Quarantine, QuarantineError};
use crate::error::ServerError;

/// Items, and bytes of them, that are looked at, the newest first: so that it ends.
const MOST_LOOKED_AT: usize = 10_000;
const MOST_BYTES: usize = 256 << 20;
/// Kinds of defects that are counted apart; what names more is one of the rest.
const MOST_KINDS: usize = 10_000;
/// Senders that are named of each.
const MOST_SENDERS: usize = 10;

/// One kind of defect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// The rule that is broken; empty where none has a name.
    pub rule: String,
    /// The element, without indexes.
    pub expression: String,
    /// In how many items.
    pub items: usize,
    /// Who sent some, the first ten.
    pub senders: BTreeSet<String>,
    /// The newest of the items.
    pub example: ResourceId,
}

/// The defects of the newest items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defects {
    /// The commonest first.
    pub defects: Vec<Defect>,
    /// How many items were looked at.
    pub looked_at: usize,
    /// How many of those cannot be read.
    pub unreadable: usize,
    /// How many there are.
    pub total: usize,
}

impl Quarantine<'_> {
    /// Counts what is wrong with the newest items, those of one sender where one is named.
    ///
    /// # Errors
    /// [`QuarantineError`] when the log cannot be read.
    pub async fn defects(&self, sender: Option<&str>) -> Result<Defects, QuarantineError> {
        Ok(self.count(sender).await?)
    }

    pub(crate) async fn count(&self, sender: Option<&str>) -> Result<Defects, ServerError> {
        let shelf = &self.validation.shelf;
        shelf.follow(self.database).await?;
        let mut kinds: BTreeMap<(String, String), Defect> = BTreeMap::new();
        let (mut looked_at, mut unreadable, mut bytes, mut before) = (0, 0, 0, None);
        while let Some((key, length)) = shelf.newest_before(before.as_ref()) {
            bytes += length;
            if looked_at == MOST_LOOKED_AT || (looked_at > 0 && bytes > MOST_BYTES) {
                break;
            }
            looked_at += 1;
            let found = self.load(&key.1).await?;
            before = Some(key);
            let item = match found {
                Found::Item(item) => item,
                Found::Unreadable { .. } => {
                    unreadable += 1;
                    continue;
                }
                Found::Nothing => continue,
            };
            if sender.is_some_and(|sender| sender != item.sender) {
                continue;
            }
            let mut own = BTreeSet::new();
            for issue in item.issues.iter().filter(|issue| issue.severity >= Severity::Error) {
                let expression = issue.expression.first().map(|it| without_indexes(it));
                let rule = issue.rule.clone().unwrap_or_default();
                own.insert((rule, expression.unwrap_or_default()));
            }
            for kind in own {
                if kinds.len() >= MOST_KINDS && !kinds.contains_key(&kind) {
                    continue;
                }
                let (rule, expression) = kind.clone();
                let defect = kinds.entry(kind).or_insert_with(|| Defect {
                    rule,
                    expression,
                    items: 0,
                    senders: BTreeSet::new(),
                    example: item.id.clone(),
                });
                defect.items += 1;
                if defect.senders.len() < MOST_SENDERS {
                    defect.senders.insert(item.sender.clone());
                }
            }
        }
        let mut defects: Vec<_> = kinds.into_values().collect();
        defects.sort_by_key(|defect| std::cmp::Reverse(defect.items));
        Ok(Defects { defects, looked_at, unreadable, total: shelf.len() })
    }
}

/// `Patient.name[0].given[1]` as `Patient.name.given`.
fn without_indexes(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some((before, behind)) = rest.split_once('[') {
        out.push_str(before);
        match behind.split_once(']') {
            Some((index, left)) if index.bytes().all(|byte| byte.is_ascii_digit()) => rest = left,
            _ => {
                out.push('[');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::without_indexes;

    #[test]
    fn indexes_go_and_all_else_stays() {
        for (expression, expected) in [
            ("Patient.name[0].given[12]", "Patient.name.given"),
            ("Patient.colour", "Patient.colour"),
            ("Patient.a[b].c[0]", "Patient.a[b].c"),
            ("Patient.a[", "Patient.a["),
            ("", ""),
        ] {
            assert_eq!(without_indexes(expression), expected);
        }
    }
}
