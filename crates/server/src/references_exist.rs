//! References that must lead somewhere, where a tenant's rules say so: which of what is written
//! they are. Whether it is there, the database judges.

use database::{Action, Change, Database, Required};
use fhir_core::json::Document;
use fhir_core::{Reference, Resource, ResourceId, ResourceType};

use crate::PublicBase;
use crate::bundle::walk::{Place, walk};
use crate::error::ServerError;

/// What must be there for these changes.
///
/// # Errors
/// When a body that was just written cannot be read.
pub(crate) fn required(
    database: &Database,
    base: &PublicBase,
    changes: &[Change],
) -> Result<Vec<Required>, ServerError> {
    let rules = &database.rules().references_exist;
    let mut required = Vec::new();
    if rules.is_empty() {
        return Ok(required);
    }
    for (index, change) in changes.iter().enumerate() {
        let Action::Write { body, .. } = &change.action else { continue };
        let of = &change.resource_type;
        if !rules.iter().any(|rule| rule.concerns(of)) {
            continue;
        }
        // As it is stored: what a transaction resolves is resolved.
        let document = Document::parse(body.plain()).map_err(ServerError::InvalidJson)?;
        let resource = Resource::new(document.root()).map_err(ServerError::InvalidResource)?;
        walk(database.schema(), &resource, &mut |place, value, trail| {
            let Some(text) = value.as_str().filter(|_| place == Place::Reference) else { return };
            let Some((resource_type, id)) = local(base, &text) else { return };
            let element = trail.to_string();
            if rules.iter().any(|rule| rule.covers(&element)) {
                required.push(Required { change: index, element, resource_type, id });
            }
        });
    }
    Ok(required)
}

/// What a reference names on this server; what lies elsewhere, nobody here can judge.
pub(crate) fn local(base: &PublicBase, text: &str) -> Option<(ResourceType, ResourceId)> {
    match Reference::parse(base.relative(text)?).ok()? {
        Reference::Relative(target) => Some((target.resource_type, target.id)),
        _ => None,
    }
}
