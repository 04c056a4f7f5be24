//! A tenant's rules that look beyond one resource: identifiers that one resource alone bears, and
//! references that must lead somewhere.
//!
//! A rule becomes conditions of the transaction, looked up before it is queued and judged in the
//! serial step like every other: what a commit in between changed is looked up again. Nothing
//! here costs a transaction that no rule governs.

use std::collections::HashMap;
use std::str::FromStr;

use fhir_core::json::Document;
use fhir_core::{Resource, ResourceType};
use fhir_schema::Schema;
use store::IdentifierKey;

use crate::terms::{Broken, Required, Terms};
use crate::transaction::{Action, Change, Receipt, Transaction};
use crate::{CommitError, Condition, Criteria, Database, ReadError, Snapshot, Visibility, body};

/// How often a transaction that a rule governs is looked up again when others changed what the
/// rule looks at.
const TRIES: usize = 16;

/// The rules of a tenant; there are none unless it names them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Identifiers that one resource alone bears.
    pub unique_identifiers: Vec<UniqueIdentifier>,
    /// References that must lead to what is there. Which these are in what is written,
    /// [`Terms::required`] says.
    pub references_exist: Vec<CheckedReferences>,
}

/// Which references must lead to what is there: all (`*`), those of a type, or those at and below
/// an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedReferences(String);

/// The text names no references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("references are named by \"*\", by a type like Observation, or by Observation.subject")]
pub struct InvalidCheckedReferences;

impl CheckedReferences {
    /// The type whose references they are; `None` for all.
    #[must_use]
    pub fn resource_type(&self) -> Option<&str> {
        self.0.split('.').next().filter(|of| *of != "*")
    }

    /// Whether references in resources of this type can be among them.
    #[must_use]
    pub fn concerns(&self, of: &ResourceType) -> bool {
        self.0 == "*" || self.0.split('.').next() == Some(of.as_str())
    }

    /// Whether the reference at this place, a simple FHIRPath, is among them.
    #[must_use]
    pub fn covers(&self, element: &str) -> bool {
        if self.0 == "*" {
            return true;
        }
        let name = |part: &'_ str| part.split('[').next().unwrap_or_default().to_owned();
        let mut parts = element.split('.').map(name);
        self.0.split('.').all(|part| parts.next().as_deref() == Some(part))
    }
}

impl FromStr for CheckedReferences {
    type Err = InvalidCheckedReferences;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let of_type = parts.next().is_some_and(|of| ResourceType::new(of).is_ok());
        let elements = parts.all(|part| {
            part.starts_with(|c: char| c.is_ascii_lowercase())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        if text == "*" || (of_type && elements) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidCheckedReferences)
    }
}

impl std::fmt::Display for CheckedReferences {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What one resource alone may bear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueIdentifier {
    resource_type: ResourceType,
    system: String,
}

/// The text is no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a unique identifier is named by type and system: Patient https://hospital.example/mrn")]
pub struct InvalidUniqueIdentifier;

impl UniqueIdentifier {
    /// The type.
    #[must_use]
    pub fn resource_type(&self) -> &ResourceType {
        &self.resource_type
    }

    /// The system of the identifier.
    #[must_use]
    pub fn system(&self) -> &str {
        &self.system
    }
}

impl FromStr for UniqueIdentifier {
    type Err = InvalidUniqueIdentifier;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (of, system) = text.split_once(' ').ok_or(InvalidUniqueIdentifier)?;
        let resource_type = ResourceType::new(of).map_err(|_| InvalidUniqueIdentifier)?;
        let no_uri = |c: char| c.is_whitespace() || c.is_control();
        if system.is_empty() || system.contains(no_uri) {
            return Err(InvalidUniqueIdentifier);
        }
        Ok(Self { resource_type, system: system.to_owned() })
    }
}

impl std::fmt::Display for UniqueIdentifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.resource_type, self.system)
    }
}

/// An identifier that a change writes and a rule governs.
struct Governed<'a> {
    change: usize,
    rule: &'a UniqueIdentifier,
    key: IdentifierKey,
}

impl Governed<'_> {
    fn broken(&self) -> CommitError {
        let UniqueIdentifier { resource_type, system } = self.rule;
        CommitError::Rule {
            change: self.change,
            broken: Broken::NotUnique {
                element: format!("{resource_type}.identifier"),
                system: system.clone(),
            },
        }
    }
}

/// Whether a transaction must be looked up before it is judged.
pub(crate) fn concern(
    rules: &[UniqueIdentifier],
    transaction: &Transaction,
    terms: &Terms,
) -> bool {
    !terms.required.is_empty()
        || (!rules.is_empty()
            && transaction
                .changes
                .iter()
                .any(|change| rules.iter().any(|rule| rule.resource_type == change.resource_type)))
}

impl Database {
    /// Whether the tenant's rules let a transaction pass on what `snapshot` has. Nothing is
    /// committed, and its own conditions are not judged.
    ///
    /// # Errors
    /// [`CommitError::Rule`] when one is broken; [`CommitError::Read`].
    pub async fn check_rules(
        &self,
        transaction: &Transaction,
        terms: &Terms,
        snapshot: &Snapshot,
    ) -> Result<(), CommitError> {
        let rules = self.rules().unique_identifiers.as_slice();
        prepared(rules, self.schema(), (transaction, terms), snapshot).await.map(drop)
    }

    /// Commits a transaction that rules concern.
    pub(crate) async fn commit_by_rules(
        &self,
        transaction: Transaction,
        terms: Terms,
    ) -> Result<Receipt, CommitError> {
        let (rules, schema) = (self.rules().unique_identifiers.as_slice(), self.schema());
        for _ in 0..TRIES {
            let snapshot = self.snapshot(Visibility::everything());
            let (prepared, terms) =
                prepared(rules, schema, (&transaction, &terms), &snapshot).await?;
            match self.judge_and_write(prepared, terms).await {
                // Its own conditions hold, if it has none: a rule's was touched.
                Err(CommitError::Raced) if transaction.conditions.is_empty() => {}
                Err(CommitError::Raced) => break,
                done => return done,
            }
        }
        // Whose condition it was shows when the rules are looked up again.
        let snapshot = self.snapshot(Visibility::everything());
        prepared(rules, schema, (&transaction, &terms), &snapshot).await?;
        Err(CommitError::Raced)
    }
}

/// The transaction with what its rules ask of `snapshot` as conditions, and of its terms what is
/// to be judged.
///
/// # Errors
/// [`CommitError::Rule`] when one is broken already.
async fn prepared(
    rules: &[UniqueIdentifier],
    schema: &Schema,
    (transaction, terms): (&Transaction, &Terms),
    snapshot: &Snapshot,
) -> Result<(Transaction, Terms), CommitError> {
    let mut prepared = transaction.clone();
    let mut judged = Terms { required: Vec::new(), named: terms.named.clone() };
    let by_name: HashMap<_, _> = transaction
        .changes
        .iter()
        .enumerate()
        .map(|(index, change)| ((&change.resource_type, &change.id), index))
        .collect();
    let mut borne: HashMap<(&ResourceType, IdentifierKey), usize> = HashMap::new();
    for governed in governed(rules, schema, &transaction.changes).map_err(CommitError::Read)? {
        let of = &governed.rule.resource_type;
        let first = borne.insert((of, governed.key.clone()), governed.change);
        if first.is_some_and(|first| first != governed.change) {
            return Err(governed.broken());
        }
        let found = snapshot.identified(of, &governed.key).await.map_err(CommitError::Read)?;
        let own = &transaction.changes[governed.change].id;
        // Who bears it already keeps it: data that was there before the rule can be mended.
        let taken = !found.contains(own)
            && found.iter().any(|other| match by_name.get(&(of, other)) {
                // This very transaction deletes it, or takes the identifier from it.
                Some(change) => bears(&transaction.changes[*change], &governed.key),
                None => true,
            });
        if taken {
            return Err(governed.broken());
        }
        let (resource_type, criteria) = (of.clone(), Criteria::Identifier(governed.key));
        prepared.conditions.push(Condition { resource_type, criteria, found });
    }
    for required in &terms.required {
        let is_there = match by_name.get(&(&required.resource_type, &required.id)) {
            Some(change) => matches!(transaction.changes[*change].action, Action::Write { .. }),
            None => {
                judged.required.push(required.clone());
                let newest = snapshot.newest(&required.resource_type, &required.id).await;
                let newest = newest.map_err(CommitError::Read)?;
                newest.is_some_and(|newest| !newest.flags.is_deleted())
            }
        };
        if !is_there {
            return Err(dangling(required));
        }
    }
    Ok((prepared, judged))
}

/// The refusal of a reference to what is not there.
pub(crate) fn dangling(required: &Required) -> CommitError {
    let Required { change, element, resource_type, id } = required;
    CommitError::Rule {
        change: *change,
        broken: Broken::Dangling {
            element: element.clone(),
            reference: format!("{resource_type}/{id}"),
        },
    }
}

fn bears(change: &Change, key: &IdentifierKey) -> bool {
    match &change.action {
        Action::Write { body, .. } => body.identifiers.contains(key),
        _ => false,
    }
}

/// What of the changes the rules govern.
fn governed<'a>(
    rules: &'a [UniqueIdentifier],
    schema: &Schema,
    changes: &[Change],
) -> Result<Vec<Governed<'a>>, ReadError> {
    let mut found = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let of = |rule: &&UniqueIdentifier| rule.resource_type == change.resource_type;
        let Action::Write { body, .. } = &change.action else { continue };
        if body.identifiers.is_empty() || !rules.iter().any(|rule| of(&rule)) {
            continue;
        }
        // A key may be a hash, which tells of no system: what is stored does.
        let unreadable = |reason: String| ReadError::UnreadableBody { reason };
        let document =
            Document::parse(&body.plain).map_err(|error| unreadable(error.to_string()))?;
        let resource =
            Resource::new(document.root()).map_err(|error| unreadable(error.to_string()))?;
        for rule in rules.iter().filter(of) {
            for key in body::identifiers_of_system(&resource, &rule.system, schema) {
                found.push(Governed { change: index, rule, key });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{CheckedReferences, UniqueIdentifier};

    #[test]
    fn checked_references_are_all_or_those_of_a_type_or_element() {
        let covers =
            |rule: &str, element: &str| rule.parse::<CheckedReferences>().unwrap().covers(element);
        for (rule, element, expected) in [
            ("*", "Observation.subject.reference", true),
            ("Observation", "Observation.subject.reference", true),
            ("Observation", "Encounter.subject.reference", false),
            ("Observation.performer", "Observation.performer[1].reference", true),
            ("Observation.performer", "Observation.subject.reference", false),
            ("Observation.sub", "Observation.subject.reference", false),
        ] {
            assert_eq!(covers(rule, element), expected, "{rule} {element}");
        }
        for text in ["", ".", "observation", "Observation.", "Observation.a b", "Observation.*"] {
            assert!(text.parse::<CheckedReferences>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rule_is_a_type_and_a_system() {
        let rule: UniqueIdentifier = "Patient https://hospital.example/mrn".parse().unwrap();
        assert_eq!(rule.resource_type().as_str(), "Patient");
        assert_eq!(rule.system(), "https://hospital.example/mrn");
        assert_eq!(rule.to_string(), "Patient https://hospital.example/mrn");
        for text in ["", "Patient", "Patient ", "patient urn:x", " urn:x", "Patient urn:x y"] {
            assert!(text.parse::<UniqueIdentifier>().is_err(), "{text}");
        }
    }
}
