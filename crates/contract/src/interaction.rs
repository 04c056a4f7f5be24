//! What a request asks for: the interactions of the RESTful API (FHIR R4, 3.1.0).

use fhir_core::{ResourceId, ResourceType};

use crate::{Action, Actions, Instance, OperationName};

/// One interaction, with what its URL names. Read from a request by
/// [`Interaction::classify`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the variants are the specification's own words"
)]
pub enum Interaction {
    Capabilities,
    Read(Instance),
    Vread(Instance, ResourceId),
    Update(Instance),
    ConditionalUpdate(ResourceType),
    Patch(Instance),
    ConditionalPatch(ResourceType),
    Delete(Instance),
    ConditionalDelete(ResourceType),
    HistoryInstance(Instance),
    HistoryType(ResourceType),
    HistorySystem,
    /// Conditional create is the same request with `If-None-Exist`.
    Create(ResourceType),
    SearchType(ResourceType),
    SearchSystem,
    /// In the compartment of an instance, one type or all.
    SearchCompartment(Instance, Option<ResourceType>),
    /// `POST` to the base: which of the two, the Bundle says.
    BatchOrTransaction,
    Operation(OperationName, Level),
}

/// What an operation is invoked on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the variants are the specification's own words"
)]
pub enum Level {
    System,
    Type(ResourceType),
    Instance(Instance),
    Version(Instance, ResourceId),
}

impl Interaction {
    /// Each interaction's code, and the actions it takes: an operation takes its own.
    ///
    /// As in SMART's `r` and `s`: a version is read by whoever may read; the history of a type or
    /// of the system lists resources, so it takes `search` beside `history`. A criterion in a URL
    /// tells what exists, so conditional interactions take `search` as well.
    const fn row(&self) -> (&'static str, &'static [Action]) {
        use Action::{Create, Delete, History, Read, Search, Update};
        match self {
            Self::Capabilities => ("capabilities", &[]),
            Self::Read(_) => ("read", &[Read]),
            Self::Vread(..) => ("vread", &[Read]),
            Self::Update(_) => ("update", &[Update]),
            Self::ConditionalUpdate(_) => ("conditional-update", &[Update, Search]),
            Self::Patch(_) => ("patch", &[Update]),
            Self::ConditionalPatch(_) => ("conditional-patch", &[Update, Search]),
            Self::Delete(_) => ("delete", &[Delete]),
            Self::ConditionalDelete(_) => ("conditional-delete", &[Delete, Search]),
            Self::HistoryInstance(_) => ("history-instance", &[History]),
            Self::HistoryType(_) => ("history-type", &[History, Search]),
            Self::HistorySystem => ("history-system", &[History, Search]),
            Self::Create(_) => ("create", &[Create]),
            Self::SearchType(_) => ("search-type", &[Search]),
            Self::SearchSystem => ("search-system", &[Search]),
            Self::SearchCompartment(..) => ("search-compartment", &[Search]),
            Self::BatchOrTransaction => ("batch-or-transaction", &[]),
            Self::Operation(..) => ("operation", &[]),
        }
    }

    /// A label that never changes: in logs, metrics and the grant. FHIR's own code
    /// (`restful-interaction`) where there is one.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.row().0
    }

    /// Whether one rule's actions suffice for this interaction.
    #[must_use]
    pub fn is_within(&self, actions: &Actions) -> bool {
        match self {
            Self::Operation(name, _) => actions.contains(&Action::Operation(name.clone())),
            _ => self.row().1.iter().all(|action| actions.contains(action)),
        }
    }

    /// The type whose rules count: that of the resource, or the one searched for. `None`: all.
    #[must_use]
    pub fn resource_type(&self) -> Option<&ResourceType> {
        match self {
            Self::ConditionalUpdate(of)
            | Self::ConditionalPatch(of)
            | Self::ConditionalDelete(of)
            | Self::HistoryType(of)
            | Self::Create(of)
            | Self::SearchType(of)
            | Self::SearchCompartment(_, Some(of))
            | Self::Operation(_, Level::Type(of)) => Some(of),
            _ => self.instance().map(|instance| &instance.resource_type),
        }
    }

    /// The resource addressed, when it is one; for [`Self::SearchCompartment`] none.
    #[must_use]
    pub const fn instance(&self) -> Option<&Instance> {
        match self {
            Self::Read(of) | Self::Update(of) | Self::Patch(of) | Self::Delete(of) => Some(of),
            Self::Vread(of, _) | Self::HistoryInstance(of) => Some(of),
            Self::Operation(_, Level::Instance(of) | Level::Version(of, _)) => Some(of),
            _ => None,
        }
    }

    /// The id of [`Self::instance`].
    #[must_use]
    pub fn id(&self) -> Option<&ResourceId> {
        self.instance().map(|instance| &instance.id)
    }

    /// The version addressed, as written: whether it can be one, the server knows.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Vread(_, of) | Self::Operation(_, Level::Version(_, of)) => Some(of.as_str()),
            _ => None,
        }
    }
}
