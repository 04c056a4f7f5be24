//! URIs, compared to the letter (FHIR R4, 3.1.1.4.15).

use fhir_core::{ResourceId, ResourceType};

/// What is asked of a URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UriTest {
    /// It is this.
    Is(Box<str>),
    /// `:below`: it is this, or begins with this and goes on with another segment.
    Below(Box<str>),
    /// `:above`: it is this, or this goes on from it with another segment.
    Above(Box<str>),
    /// A canonical URL, with whatever version when none is asked: `_profile`.
    Canonical {
        /// The URL.
        url: Box<str>,
        /// The version.
        version: Option<Box<str>>,
    },
    /// The canonical URL of this resource, or its address on this server: `_profile`.
    OfResource {
        /// The type.
        resource_type: ResourceType,
        /// The id.
        id: ResourceId,
    },
}

impl UriTest {
    /// Whether it holds of a URI; of [`UriTest::OfResource`] a URI alone does not tell, and it
    /// does not hold.
    #[must_use]
    pub fn holds(&self, uri: &str) -> bool {
        match self {
            Self::Is(wanted) => uri == &**wanted,
            Self::Below(wanted) => is_below(uri, wanted),
            Self::Above(wanted) => is_below(wanted, uri),
            Self::Canonical { url, version } => {
                let (stored, stored_version) = uri.split_once('|').unwrap_or((uri, ""));
                stored == &**url && version.as_deref().is_none_or(|it| it == stored_version)
            }
            Self::OfResource { .. } => false,
        }
    }
}

/// Whether `uri` is `base` or continues it with another segment of its path.
fn is_below(uri: &str, base: &str) -> bool {
    let base = base.strip_suffix('/').unwrap_or(base);
    uri.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '|']))
}
