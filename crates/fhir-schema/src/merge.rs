//! One element of a differential into the element that it constrains (FHIR R4 2.31.0.1, "Rules
//! about using ElementDefinition"): what it says stands for what the base says, constraints are
//! added, and nothing becomes wider.

use std::sync::Arc;

use crate::draft::ElementDraft;
use crate::interner::Interner;
use crate::structure::{Binding, Constraint, ElementDefinition, StructureDefinition};

/// Merges; the error says what would become wider than the base.
pub(crate) fn into(
    element: &mut ElementDefinition,
    draft: &ElementDraft,
    structure: &StructureDefinition,
    interner: &mut Interner,
) -> Result<(), String> {
    if let Some(min) = draft.min {
        if structure.is_profile() && min < element.min {
            return Err(format!("has min {min}, less than {} of its base", element.min));
        }
        element.min = min;
    }
    if let Some(max) = draft.max {
        if structure.is_profile()
            && element.max.is_some_and(|base| max.is_none_or(|own| own > base))
            && draft.path.contains('.')
        {
            return Err("has a max greater than that of its base".to_owned());
        }
        element.max = max;
    }
    if element.max.is_some_and(|max| element.min > max) {
        return Err(format!("has min {} and a lesser max", element.min));
    }
    if let Some(types) = &draft.types {
        // What says how a system type is written is seldom repeated.
        let types = types
            .iter()
            .map(|own| {
                let mut own = own.clone();
                if let Some(base) = element.types.iter().find(|base| base.code == own.code) {
                    own.fhir_type = own.fhir_type.or_else(|| base.fhir_type.clone());
                    own.regex = own.regex.or_else(|| base.regex.clone());
                }
                own
            })
            .collect();
        element.types = interner.type_list(types);
    }
    if let Some(slicing) = &draft.slicing {
        element.slicing = Some(Arc::clone(slicing));
    }
    for (own, place) in [
        (&draft.fixed, &mut element.fixed),
        (&draft.pattern, &mut element.pattern),
        (&draft.min_value, &mut element.min_value),
        (&draft.max_value, &mut element.max_value),
    ] {
        if own.is_some() {
            own.clone_into(place);
        }
    }
    if let (Some(own), Some(base)) = (draft.max_length, element.max_length)
        && structure.is_profile()
        && own > base
    {
        return Err(format!("has maxLength {own}, more than {base} of its base"));
    }
    element.max_length = draft.max_length.or(element.max_length);
    if let Some(binding) = &draft.binding {
        let base = element.binding.as_deref();
        // Published profiles say less than their bases (US Core's vital signs do). The base's word
        // holds for what meets the profile all the same.
        let is_weaker = structure.is_profile()
            && base.is_some_and(|base| strictness(&binding.strength) < strictness(&base.strength));
        let said = base.filter(|_| is_weaker).unwrap_or(binding);
        element.binding = Some(Arc::new(Binding {
            strength: Arc::clone(&said.strength),
            value_set: said.value_set.clone().or_else(|| base?.value_set.clone()),
            max_value_set: binding.max_value_set.clone().or_else(|| base?.max_value_set.clone()),
        }));
    }
    if !draft.constraints.is_empty() {
        let own: Vec<Arc<Constraint>> = draft.constraints.clone();
        let own = with_source(&interner.constraint_list(own), &structure.url, interner);
        element.constraints = all_constraints(&element.constraints, &own, interner);
    }
    element.flags.must_support = draft.must_support.unwrap_or(element.flags.must_support);
    // A profile cannot take it away that an element changes what others mean.
    element.flags.is_modifier |= draft.is_modifier.unwrap_or_default();
    element.flags.is_summary = draft.is_summary.unwrap_or(element.flags.is_summary);
    Ok(())
}

/// How much a strength of a binding asks for (FHIR R4 4.1.5).
fn strictness(strength: &str) -> u8 {
    match strength {
        "required" => 3,
        "extensible" => 2,
        "preferred" => 1,
        _ => 0,
    }
}

/// The first list, and of the second what the first does not have. Nothing of the first goes: of
/// two definitions that give one key to different constraints, both hold.
pub(crate) fn all_constraints(
    base: &[Arc<Constraint>],
    own: &[Arc<Constraint>],
    interner: &mut Interner,
) -> Arc<[Arc<Constraint>]> {
    let mut all = base.to_vec();
    for constraint in own {
        let is_there = all.iter().any(|it| {
            it.key == constraint.key
                && (it.source == constraint.source
                    || (it.severity == constraint.severity
                        && it.expression == constraint.expression))
        });
        if !is_there {
            all.push(Arc::clone(constraint));
        }
    }
    interner.constraint_list(all)
}

/// Constraints without a source have this one.
pub(crate) fn with_source(
    constraints: &[Arc<Constraint>],
    source: &Arc<str>,
    interner: &mut Interner,
) -> Arc<[Arc<Constraint>]> {
    let constraints = constraints
        .iter()
        .map(|constraint| match constraint.source {
            Some(_) => Arc::clone(constraint),
            None => interner.constraint(Constraint {
                source: Some(Arc::clone(source)),
                ..Constraint::clone(constraint)
            }),
        })
        .collect();
    interner.constraint_list(constraints)
}
