//! References that order resources of one type: `:above` and `:below` (FHIR R4, 3.1.1.4.13).

use std::collections::HashSet;

use super::{Unanswered, World};
use crate::{Hierarchy, Parameter, ReferenceTarget};

/// Whether what a reference points at is the resource that is asked for, or stands above or below
/// it by the same parameter. A cycle is gone around once.
pub(super) fn holds(
    towards: Hierarchy,
    asked: (&str, &str),
    target: &ReferenceTarget<'_>,
    parameter: &Parameter,
    world: &dyn World,
) -> Result<bool, Unanswered> {
    let ReferenceTarget::Local { resource_type, id, .. } = target else { return Ok(false) };
    let (resource_type, id): (&str, &str) = (resource_type, id);
    if resource_type != asked.0 {
        return Ok(false);
    }
    match towards {
        Hierarchy::Below => is_part_of(resource_type, id, asked.1, parameter, world),
        Hierarchy::Above => is_part_of(resource_type, asked.1, id, parameter, world),
    }
}

/// Whether one resource is the other or, directly or not, a part of it.
fn is_part_of(
    resource_type: &str,
    part: &str,
    whole: &str,
    parameter: &Parameter,
    world: &dyn World,
) -> Result<bool, Unanswered> {
    let mut met: HashSet<Box<str>> = HashSet::from([part.into()]);
    let mut next: Vec<Box<str>> = vec![part.into()];
    while let Some(id) = next.pop() {
        if *id == *whole {
            return Ok(true);
        }
        let Some(resource) = world.resource(resource_type, &id)? else { continue };
        for reference in resource.references(parameter.id) {
            if let ReferenceTarget::Local { resource_type: of, id, .. } = &reference.target
                && of == resource_type
                && met.insert((&**id).into())
            {
                next.push((&**id).into());
            }
        }
    }
    Ok(false)
}
