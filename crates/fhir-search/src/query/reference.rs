//! References (FHIR R4, 3.1.1.4.13). Addresses of the server itself are local ones here.

use fhir_core::{ResourceId, ResourceType};

use super::TokenTest;

/// What is asked of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferenceTest {
    /// A bare id: a resource of any of these types, which are all that the parameter may point
    /// to. Empty when it may point to any.
    Id {
        /// The id.
        id: ResourceId,
        /// The types.
        types: Vec<ResourceType>,
    },
    /// A resource of this server; a reference to any version of it counts when none is asked.
    Local {
        /// The type.
        resource_type: ResourceType,
        /// The id.
        id: ResourceId,
        /// The version.
        version: Option<Box<str>>,
    },
    /// An absolute URL or URN, to the letter; of a canonical one the version counts when one is
    /// asked.
    Url {
        /// The URL.
        url: Box<str>,
        /// The canonical's version.
        version: Option<Box<str>>,
    },
    /// `:below` of a canonical: this URL, with a version that is this or begins with it (`1` with
    /// `1.0`), whatever version when none is asked.
    CanonicalBelow {
        /// The URL.
        url: Box<str>,
        /// What the version begins with.
        version: Option<Box<str>>,
    },
    /// `:identifier`: what `Reference.identifier` says.
    Identifier(TokenTest),
    /// `:above` and `:below`: this resource, or one that is above or below it by this same
    /// parameter.
    Hierarchy {
        /// Which way.
        towards: Hierarchy,
        /// The type.
        resource_type: ResourceType,
        /// The id.
        id: ResourceId,
    },
}

/// Which way a hierarchy is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// To what it is a part of.
    Above,
    /// To what its parts are.
    Below,
}
