//! The one table of interactions: what each is called in the CapabilityStatement and whether it
//! is there. Dispatch, the statement and the tests are derived from it.

use contract::Interaction;

/// Where the CapabilityStatement names an interaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `rest.resource.interaction`, for every type.
    Type(&'static str),
    /// `rest.interaction`, each of these.
    System(&'static [&'static str]),
    /// `rest.resource.operation`: `$validate` of every type, and each of
    /// [`fhir_terminology::operations::OPERATIONS`] of its own; `rest.operation`: those of the
    /// quarantine.
    Operations,
    /// Elsewhere or nowhere.
    Unnamed,
}

/// One interaction.
#[derive(Debug)]
pub(crate) struct Row {
    /// [`Interaction::code`].
    pub(crate) code: &'static str,
    pub(crate) place: Place,
    pub(crate) there: bool,
}

const fn row(code: &'static str, place: Place, there: bool) -> Row {
    Row { code, place, there }
}

/// Every interaction of the contract, in the order of the specification.
pub(crate) const TABLE: [Row; 18] = [
    row("read", Place::Type("read"), true),
    row("vread", Place::Type("vread"), true),
    row("update", Place::Type("update"), true),
    row("conditional-update", Place::Unnamed, true),
    row("patch", Place::Type("patch"), true),
    row("conditional-patch", Place::Unnamed, true),
    row("delete", Place::Type("delete"), true),
    row("conditional-delete", Place::Unnamed, true),
    row("create", Place::Type("create"), true),
    row("search-type", Place::Type("search-type"), true),
    row("search-system", Place::System(&["search-system"]), true),
    row("search-compartment", Place::Unnamed, true),
    row("capabilities", Place::Unnamed, true),
    row("batch-or-transaction", Place::System(&["transaction", "batch"]), true),
    row("history-instance", Place::Type("history-instance"), true),
    row("history-type", Place::Type("history-type"), true),
    row("history-system", Place::System(&["history-system"]), true),
    row("operation", Place::Operations, true),
];

/// Whether this interaction is there.
pub(crate) fn is_there(interaction: &Interaction) -> bool {
    TABLE.iter().any(|row| row.code == interaction.code() && row.there)
}
