//! Which types a reference may point to: by the definition of its parameter, and by that of the
//! element that the parameter takes it from.
//!
//! A definition for several types lists the targets of all of them, so that it alone would have
//! `Observation.encounter` point to an EpisodeOfCare.

use fhir_core::ResourceType;
use fhir_schema::conformance::SearchParameter;

use super::Reader;
use crate::Parameter;

/// A definition of references, and one of the types that it is for.
#[derive(Clone, Copy)]
pub(super) struct Referring<'a> {
    pub(super) definition: &'a SearchParameter,
    pub(super) resource_type: &'a str,
}

impl<'a> Referring<'a> {
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
    pub(super) fn may_refer_to(&self, of: Referring<'_>, target: &str) -> bool {
        self.target_names(of).is_none_or(|targets| targets.contains(&target))
    }

    /// The types that references may point to.
    pub(super) fn targets(&self, of: Referring<'_>) -> Vec<ResourceType> {
        let named = |name: &str| self.resource_type(name).ok();
        match self.target_names(of) {
            None => self.schema.resource_types().filter_map(named).collect(),
            Some(targets) => targets.into_iter().filter_map(named).collect(),
        }
    }

    /// The names of the types that references may point to; none when they may to any.
    pub(super) fn target_names<'a>(&self, of: Referring<'a>) -> Option<Vec<&'a str>>
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
    /// anything, or is not told by a plain path.
    fn targets_of_elements<'a>(&self, of: Referring<'a>) -> Option<Vec<&'a str>>
    where
        'r: 'a,
    {
        let mut targets = Vec::new();
        for part in of.parts() {
            if let Some((_, resolved)) = part.rsplit_once(".where(resolve() is ") {
                targets.push(resolved.trim_end_matches(')').trim());
                continue;
            }
            let path = part.trim_end_matches(')').trim_end_matches(" as Reference");
            self.add_targets_of_element(of.resource_type, path, &mut targets)?;
        }
        targets.sort_unstable();
        targets.dedup();
        (!targets.is_empty()).then_some(targets)
    }

    /// None when the element may refer to anything, is canonical, or is not found.
    fn add_targets_of_element<'a>(
        &self,
        resource_type: &str,
        path: &str,
        targets: &mut Vec<&'a str>,
    ) -> Option<()>
    where
        'r: 'a,
    {
        let structure = self.definitions.type_structure(resource_type)?;
        let element = structure.elements.iter().find(|element| {
            &*element.path == path || element.path.strip_suffix("[x]") == Some(path)
        })?;
        let before = targets.len();
        for reference in element.types.iter().filter(|it| &*it.code == "Reference") {
            for profile in &reference.target_profiles {
                let name = profile.rsplit('/').next().filter(|name| *name != "Resource")?;
                targets.push(name);
            }
        }
        (targets.len() > before).then_some(())
    }

    /// The types that references may point to, for an error.
    pub(super) fn list_targets(&self, of: Referring<'_>) -> String {
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
