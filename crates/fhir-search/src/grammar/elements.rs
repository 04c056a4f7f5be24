//! What the elements that a parameter's values come from say of it: whether codes have a system,
//! and which types a reference may point to: by the definition of its parameter, and by that of the
//! element that the parameter takes it from.
//!
//! A definition for several types lists the targets of all of them, so that it alone would have
//! `Observation.encounter` point to an EpisodeOfCare.

use fhir_core::ResourceType;
use fhir_schema::conformance::SearchParameter;
use fhir_schema::structure::ElementDefinition;

use super::Reader;
use crate::Parameter;

/// A definition, and one of the types that it is for.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) definition: &'a SearchParameter,
    pub(super) resource_type: &'a str,
}

impl<'a> Source<'a> {
    pub(super) fn of(parameter: &'a Parameter) -> Self {
        Self { definition: &parameter.definition, resource_type: &parameter.resource_type }
    }

    /// The parts of the expression that are for this type, without the brackets before them.
    fn parts(self) -> impl Iterator<Item = &'a str> {
        let expression: &'a str = self.definition.expression.as_deref().unwrap_or_default();
        expression.split('|').map(|part| part.trim().trim_start_matches('(')).filter(move |part| {
            let rest = part.strip_prefix(self.resource_type);
            rest.is_some_and(|rest| rest.starts_with('.'))
        })
    }
}

impl<'r> Reader<'r> {
    /// Whether references may point to a type.
    pub(super) fn may_refer_to(&self, of: Source<'_>, target: &str) -> bool {
        self.target_names(of).is_none_or(|targets| targets.contains(&target))
    }

    /// The types that references may point to.
    pub(super) fn targets(&self, of: Source<'_>) -> Vec<ResourceType> {
        let named = |name: &str| self.resource_type(name).ok();
        match self.target_names(of) {
            None => self.schema.resource_types().filter_map(named).collect(),
            Some(targets) => targets.into_iter().filter_map(named).collect(),
        }
    }

    /// The names of the types that references may point to; none when they may to any.
    pub(super) fn target_names<'a>(&self, of: Source<'a>) -> Option<Vec<&'a str>>
    where
        'r: 'a,
    {
        let listed: Vec<&str> = of.definition.targets.iter().map(|it| &**it).collect();
        let narrowed = self.targets_of_elements(of);
        if listed.is_empty() || listed.contains(&"Resource") {
            return narrowed;
        }
        let Some(narrowed) = narrowed else { return Some(listed) };
        let both: Vec<&str> = listed.iter().copied().filter(|it| narrowed.contains(it)).collect();
        // Where the two contradict each other, the parameter's word counts.
        Some(if both.is_empty() { listed } else { both })
    }

    /// The targets of every element that the values come from; none when one may refer to
    /// anything, is canonical, or is not told by a plain path.
    fn targets_of_elements<'a>(&self, of: Source<'a>) -> Option<Vec<&'a str>>
    where
        'r: 'a,
    {
        let mut targets = Vec::new();
        for part in of.parts() {
            if let Some((_, resolved)) = part.rsplit_once(".where(resolve() is ") {
                targets.push(resolved.trim_end_matches(')').trim());
                continue;
            }
            let before = targets.len();
            let types = self.element(of, part)?.types.iter();
            for reference in types.filter(|it| &*it.code == "Reference") {
                for profile in &reference.target_profiles {
                    let name = profile.rsplit('/').next().filter(|name| *name != "Resource")?;
                    targets.push(name);
                }
            }
            if targets.len() == before {
                return None;
            }
        }
        targets.sort_unstable();
        targets.dedup();
        (!targets.is_empty()).then_some(targets)
    }

    /// The element that a part of an expression is a plain path to, whatever is asked of it there.
    fn element<'a>(&self, of: Source<'a>, part: &'a str) -> Option<&'r ElementDefinition> {
        let end = part.find([' ', ')']).unwrap_or(part.len());
        let path = part[..end].split(".where(").next()?;
        let structure = self.definitions.type_structure(of.resource_type)?;
        structure.elements.iter().find(|element| {
            &*element.path == path || element.path.strip_suffix("[x]") == Some(path)
        })
    }

    /// Whether the values come from elements alone that have no system, so that none can be asked
    /// for (FHIR R4, 3.1.1.4.12): as a boolean, a URI, a telephone number.
    pub(super) fn have_no_system(&self, of: Source<'_>) -> bool {
        const WITHOUT: [&str; 6] = ["boolean", "uri", "url", "canonical", "string", "ContactPoint"];
        let mut parts = of.parts().peekable();
        let is_without = |part| {
            self.element(of, part)
                .is_some_and(|element| element.types.iter().all(|it| WITHOUT.contains(&&*it.code)))
        };
        parts.peek().is_some() && parts.all(is_without)
    }

    /// The types that references may point to, for an error.
    pub(super) fn list_targets(&self, of: Source<'_>) -> String {
        match self.target_names(of) {
            Some(names) => some_of(names.into_iter()),
            None => "any type".to_owned(),
        }
    }
}

/// The first of many names.
pub(super) fn some_of<'n>(mut names: impl Iterator<Item = &'n str>) -> String {
    let mut some: Vec<&str> = names.by_ref().take(8).collect();
    if names.next().is_some() {
        some.push("…");
    }
    some.join(", ")
}
