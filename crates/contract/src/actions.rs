//! What a rule lets be done: six actions and the operations by name.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{OperationName, names::InvalidName};

/// One thing to do. On the wire `read`, `operation:$everything`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the variants are the specification's own words"
)]
pub enum Action {
    Create,
    Read,
    Update,
    Delete,
    Search,
    History,
    Operation(OperationName),
}

/// A set of actions. On the wire a list, in which `*` is every action and `operation:*` every
/// operation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Actions {
    /// A bit for each of [`PLAIN`].
    plain: u8,
    every_operation: bool,
    operations: BTreeSet<OperationName>,
}

/// The actions without a name of their own, in the order of their bits and on the wire.
const PLAIN: [(Action, &str); 6] = [
    (Action::Create, "create"),
    (Action::Read, "read"),
    (Action::Update, "update"),
    (Action::Delete, "delete"),
    (Action::Search, "search"),
    (Action::History, "history"),
];
const EVERY: &str = "*";
const EVERY_OPERATION: &str = "operation:*";

impl Actions {
    /// Every action and every operation, those to come included.
    #[must_use]
    pub fn all() -> Self {
        Self {
            plain: u8::MAX,
            ..Self::every_operation()
        }
    }

    /// Every operation and nothing else.
    #[must_use]
    pub fn every_operation() -> Self {
        Self {
            every_operation: true,
            ..Self::default()
        }
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an action to come, or an operation not named, is in the set.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.plain == u8::MAX || self.every_operation
    }

    /// Whether `action` is in the set.
    #[must_use]
    pub fn contains(&self, action: &Action) -> bool {
        self.includes(&std::iter::once(action.clone()).collect())
    }

    /// Whether all of `others` are in the set.
    #[must_use]
    pub fn includes(&self, others: &Self) -> bool {
        self.plain & others.plain == others.plain
            && (self.every_operation
                || !others.every_operation && self.operations.is_superset(&others.operations))
    }

    fn insert(&mut self, action: Action) {
        let bit = PLAIN.iter().position(|(plain, _)| *plain == action);
        match (bit, action) {
            (Some(bit), _) => self.plain |= 1 << bit,
            // Named beside the wildcard it adds nothing, and the set keeps one form.
            (None, Action::Operation(name)) if !self.every_operation => {
                self.operations.insert(name);
            }
            (None, _) => {}
        }
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        let mut set = Self::default();
        actions.into_iter().for_each(|action| set.insert(action));
        set
    }
}

impl TryFrom<Vec<String>> for Actions {
    type Error = InvalidName;

    fn try_from(names: Vec<String>) -> Result<Self, Self::Error> {
        let has = |wildcard: &str| names.iter().any(|name| name == wildcard);
        let mut set = Self {
            plain: if has(EVERY) { u8::MAX } else { 0 },
            every_operation: has(EVERY) || has(EVERY_OPERATION),
            operations: BTreeSet::new(),
        };
        for name in names {
            if name != EVERY && name != EVERY_OPERATION {
                set.insert(name.parse()?);
            }
        }
        Ok(set)
    }
}

impl From<Actions> for Vec<String> {
    fn from(set: Actions) -> Self {
        if set == Actions::all() {
            return vec![EVERY.to_owned()];
        }
        let plain = PLAIN.iter().filter(|(action, _)| set.contains(action));
        let mut names: Self = plain.map(|(_, name)| (*name).to_owned()).collect();
        if set.every_operation {
            names.push(EVERY_OPERATION.to_owned());
        }
        names.extend(
            set.operations
                .iter()
                .map(|name| format!("operation:{name}")),
        );
        names
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, PLAIN.iter().find(|(plain, _)| plain == self)) {
            (Self::Operation(name), _) => write!(formatter, "operation:{name}"),
            (_, plain) => formatter.write_str(plain.map_or("", |(_, name)| name)),
        }
    }
}

impl FromStr for Action {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(name) = text.strip_prefix("operation:") {
            return name.parse().map(Self::Operation);
        }
        let plain = PLAIN.iter().find(|(_, name)| *name == text);
        plain
            .map(|(action, _)| action.clone())
            .ok_or(InvalidName("action"))
    }
}
