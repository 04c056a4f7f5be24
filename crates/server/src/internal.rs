//! Types that FHIR does not have, under which the server keeps in a tenant's log what is its own:
//! packages (docs/adr/0021) and what is quarantined (docs/adr/0022). No request names them, and
//! no history shows them.

use fhir_core::ResourceType;

/// The type that packages are stored as.
pub(crate) const PACKAGE: &str = "HearthgatePackage";

/// All of them.
const TYPES: [&str; 2] = [PACKAGE, database::quarantine::TYPE];

/// Whether resources of this type are the server's own, and no part of what clients see.
pub(crate) fn is_internal(of: &ResourceType) -> bool {
    TYPES.contains(&of.as_str())
}

/// All of them.
pub(crate) fn types() -> impl Iterator<Item = ResourceType> {
    TYPES.into_iter().map(of)
}

/// One of them.
pub(crate) fn of(name: &str) -> ResourceType {
    ResourceType::new(name).expect("it has the form of a type's name")
}
