//! What a canonical names (FHIR R4, 2.24.0.1): resources by their `url` and, where it says one,
//! their `version`.

use super::IndexedResource;
use crate::{IndexValue, Kind, Parameters};

/// Whether a canonical with this URL and version names a resource. One without a version names
/// each version that is here: which one is meant, nobody says.
#[must_use]
pub fn is_named(
    resource: &IndexedResource,
    parameters: &Parameters,
    url: &str,
    version: Option<&str>,
) -> bool {
    let has_version = |wanted: &str| {
        let Some(of) = parameters.get(resource.resource_type(), "version") else { return false };
        resource.values(of.id).any(|value| match value {
            IndexValue::Token(token) => token.code.as_deref() == Some(wanted),
            _ => false,
        })
    };
    urls_of(resource, parameters).any(|own| own == url) && version.is_none_or(has_version)
}

/// The canonical URLs of a resource.
pub fn urls_of<'r>(
    resource: &'r IndexedResource,
    parameters: &Parameters,
) -> impl Iterator<Item = &'r str> + use<'r> {
    let of = parameters.get(resource.resource_type(), "url").filter(|it| it.kind == Kind::Uri);
    let id = of.map(|it| it.id);
    id.into_iter().flat_map(|id| resource.values(id)).filter_map(|value| match value {
        IndexValue::Uri(url) => Some(&**url),
        _ => None,
    })
}
