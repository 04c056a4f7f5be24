//! What a request asks for: the interactions of the RESTful API (FHIR R4, 3.1.0).

use crate::{Instance, OperationName, ResourceId, ResourceType};

/// One interaction, with what its URL names. Read from a request by
/// [`Interaction::classify`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the specification's own words")]
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
#[expect(missing_docs, reason = "the variants are the specification's own words")]
pub enum Level {
    System,
    Type(ResourceType),
    Instance(Instance),
    Version(Instance, ResourceId),
}

impl Interaction {
    /// A label that never changes: in logs, metrics and the grant. FHIR's own code
    /// (`restful-interaction`) where there is one.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::Read(_) => "read",
            Self::Vread(..) => "vread",
            Self::Update(_) => "update",
            Self::ConditionalUpdate(_) => "conditional-update",
            Self::Patch(_) => "patch",
            Self::ConditionalPatch(_) => "conditional-patch",
            Self::Delete(_) => "delete",
            Self::ConditionalDelete(_) => "conditional-delete",
            Self::HistoryInstance(_) => "history-instance",
            Self::HistoryType(_) => "history-type",
            Self::HistorySystem => "history-system",
            Self::Create(_) => "create",
            Self::SearchType(_) => "search-type",
            Self::SearchSystem => "search-system",
            Self::SearchCompartment(..) => "search-compartment",
            Self::BatchOrTransaction => "batch-or-transaction",
            Self::Operation(..) => "operation",
        }
    }

    /// The path below the base with placeholders for all that a request fills in: what many
    /// requests have in common (OpenTelemetry: `http.route`).
    #[must_use]
    pub const fn template(&self) -> &'static str {
        match self {
            Self::Capabilities => "/metadata",
            Self::Read(_) | Self::Update(_) | Self::Patch(_) | Self::Delete(_) => "/{type}/{id}",
            Self::Vread(..) => "/{type}/{id}/_history/{vid}",
            Self::HistoryInstance(_) => "/{type}/{id}/_history",
            Self::HistoryType(_) => "/{type}/_history",
            Self::HistorySystem => "/_history",
            Self::Create(_)
            | Self::ConditionalUpdate(_)
            | Self::ConditionalPatch(_)
            | Self::ConditionalDelete(_)
            | Self::SearchType(_) => "/{type}",
            Self::SearchSystem | Self::BatchOrTransaction => "",
            Self::SearchCompartment(_, Some(_)) => "/{type}/{id}/{type}",
            Self::SearchCompartment(_, None) => "/{type}/{id}/*",
            Self::Operation(_, Level::System) => "/${operation}",
            Self::Operation(_, Level::Type(_)) => "/{type}/${operation}",
            Self::Operation(_, Level::Instance(_)) => "/{type}/{id}/${operation}",
            Self::Operation(_, Level::Version(..)) => "/{type}/{id}/_history/{vid}/${operation}",
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
