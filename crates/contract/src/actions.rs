//! What a rule lets be done.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use fhir_core::InvalidName;

use crate::{Interaction, Level, OperationName, json};

/// One thing to do, written `read` or `operation:$everything`; or, in rules alone, a wildcard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "most variants are the specification's own words")]
pub enum Action {
    Create,
    Read,
    Update,
    Delete,
    Search,
    History,
    Operation(OperationName),
    /// `operation:*`: every operation.
    AnyOperation,
    /// `*`: every action and operation, those to come included.
    Any,
}

const WORDS: [(Action, &str); 8] = [
    (Action::Create, "create"),
    (Action::Read, "read"),
    (Action::Update, "update"),
    (Action::Delete, "delete"),
    (Action::Search, "search"),
    (Action::History, "history"),
    (Action::AnyOperation, "operation:*"),
    (Action::Any, "*"),
];

/// A set of actions; in JSON a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Actions(BTreeSet<Listed>);

/// An action as a member of a list in JSON.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Listed(#[serde(with = "json")] Action);

impl Actions {
    /// Every action and every operation, those to come included.
    #[must_use]
    pub fn all() -> Self {
        [Action::Any].into_iter().collect()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether more is in the set than it names.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        let wildcard = |action: &Listed| matches!(action.0, Action::Any | Action::AnyOperation);
        self.0.iter().any(wildcard)
    }

    /// Whether `action` is in the set, by name or by a wildcard.
    #[must_use]
    pub fn contains(&self, action: &Action) -> bool {
        self.0.iter().any(|Listed(listed)| match listed {
            Action::Any => true,
            Action::AnyOperation => matches!(action, Action::Operation(_) | Action::AnyOperation),
            listed => listed == action,
        })
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        Self(actions.into_iter().map(Listed).collect())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, WORDS.iter().find(|(action, _)| action == self)) {
            (Self::Operation(name), _) => write!(formatter, "operation:{}", name.as_str()),
            (_, word) => formatter.write_str(word.expect("every other action has a word").1),
        }
    }
}

impl FromStr for Action {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((action, _)) = WORDS.iter().find(|(_, word)| *word == text) {
            return Ok(action.clone());
        }
        let name = text.strip_prefix("operation:").ok_or(InvalidName("action"))?;
        name.parse().map(Self::Operation)
    }
}

impl Actions {
    /// Whether these actions, of one rule, suffice for `interaction`.
    ///
    /// As in SMART's `r` and `s`: a version is read by whoever may read; the history of a type or
    /// of the system lists resources, so it takes `search` beside `history`. A criterion in a URL
    /// tells what exists, so conditional interactions take `search` as well. A patch tells what the
    /// resource holds, by its tests and by what it cannot be applied to, so it takes `read` beside
    /// `update`. `$validate` shows
    /// and writes nothing: whoever may create or read resources of the type may ask of a type
    /// whether they are valid, and whoever may read a resource, of it. `$access-log` says who looked
    /// at a patient's record: whoever may read the patient may ask.
    #[must_use]
    pub fn suffice_for(&self, interaction: &Interaction) -> bool {
        use Action::{Create, Delete, History, Read, Search, Update};
        let needed: &[Action] = match interaction {
            Interaction::Operation(name, level) => {
                let (of_type, of_instance) =
                    (matches!(level, Level::Type(_)), matches!(level, Level::Instance(_)));
                let reads = (of_type || of_instance) && self.contains(&Read);
                let may = match name.as_str() {
                    "$validate" => reads || of_type && self.contains(&Create),
                    "$access-log" => reads && of_instance,
                    _ => false,
                };
                return may || self.contains(&Action::Operation(name.clone()));
            }
            Interaction::Capabilities | Interaction::BatchOrTransaction => &[],
            Interaction::Read(_) | Interaction::Vread(..) => &[Read],
            Interaction::Update(_) => &[Update],
            Interaction::ConditionalUpdate(_) => &[Update, Search],
            Interaction::Patch(_) => &[Update, Read],
            Interaction::ConditionalPatch(_) => &[Update, Read, Search],
            Interaction::Delete(_) => &[Delete],
            Interaction::ConditionalDelete(_) => &[Delete, Search],
            Interaction::HistoryInstance(_) => &[History],
            Interaction::HistoryType(_) | Interaction::HistorySystem => &[History, Search],
            Interaction::Create(_) => &[Create],
            Interaction::SearchType(_)
            | Interaction::SearchSystem
            | Interaction::SearchCompartment(..) => &[Search],
        };
        needed.iter().all(|action| self.contains(action))
    }
}
