//! Slices (FHIR R4, 5.1.0.14 and 5.1.0.15): which occurrence belongs to which, and what is asked of
//! them together.

use fhir_core::json::Value;
use fhir_core::{IssueCode, Severity};
use fhir_schema::structure::{Discriminator, Slicing};

use crate::binding::{self, Coded};
use crate::program::{Program, Rule, RuleAt};
use crate::template::Template;
use crate::walk::{Instance, Run, Scope};

/// A step of a discriminator's path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step<'p> {
    Name(&'p str),
    Extension(&'p str),
    Resolve,
    OfType(&'p str),
}

/// Reads the restricted FHIRPath of discriminators.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("extension(") {
            let (url, after) = after.split_once(')')?;
            steps.push(Step::Extension(url.trim_matches(['\'', '"'])));
            rest = after;
        } else if let Some(after) = rest.strip_prefix("ofType(") {
            let (name, after) = after.split_once(')')?;
            steps.push(Step::OfType(name));
            rest = after;
        } else if let Some(after) = rest.strip_prefix("resolve()") {
            steps.push(Step::Resolve);
            rest = after;
        } else {
            let length = rest.find('.').unwrap_or(rest.len());
            let (name, after) = rest.split_at(length);
            if name != "$this" {
                if !name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_') {
                    return None;
                }
                steps.push(Step::Name(name));
            }
            rest = after;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    Some(steps)
}

/// What a slice expects at the end of a discriminator's path.
enum Expected<'r> {
    /// A fixed value or pattern, or a part of one.
    Template(&'r Template),
    /// The URL of the extension that the slice is.
    Url(&'r str),
    /// Whatever these rules ask, of which nothing above fixes the value.
    Rule(RuleAt),
    /// Nothing that could tell slices apart.
    Nothing,
}

impl<'a> Run<'a> {
    /// Occurrences of an element against its slices.
    pub(crate) fn slices(
        &mut self,
        program: &'a Program,
        at: RuleAt,
        found: &[(Option<usize>, Instance<'a>)],
        parent: Value<'a>,
        scope: Scope<'a>,
    ) {
        let base = program.rule(at);
        let Some(slicing) = &base.slicing else { return };
        let mut members: Vec<Vec<(Option<usize>, Instance<'a>)>> =
            base.slices.iter().map(|_| Vec::new()).collect();
        let mut highest = 0;
        let mut had_unmatched = false;
        for (index, instance) in found {
            let Some(place) = instance.place() else { continue };
            let mut matched: Vec<usize> = Vec::new();
            for (slice_at, slice) in base.slices.iter().enumerate() {
                if self.is_in_slice(program, slicing, *slice, *instance, scope) {
                    matched.push(slice_at);
                }
            }
            self.enter(&base.name, *index);
            match &matched[..] {
                [] => {
                    had_unmatched = true;
                    let default = base
                        .slices
                        .iter()
                        .find(|it| program.rule(**it).slice_name.as_deref() == Some("@default"));
                    if let Some(default) = default {
                        if let Some(node) = self.node_of(*instance) {
                            self.conform(program, *default, *instance, node, scope);
                        }
                    } else if &*slicing.rules == "closed" {
                        let text = format!(
                            "{} takes nothing here but its slices, and this is none of them",
                            program.structure.url
                        );
                        self.error(IssueCode::Structure, place, "slicing", text);
                    }
                }
                [one] => {
                    if &*slicing.rules == "openAtEnd" && had_unmatched {
                        let text = "what belongs to no slice stands after all that do";
                        self.error(IssueCode::Structure, place, "slicing", text);
                    }
                    if slicing.ordered && *one < highest {
                        let text = "slices stand here in the order of their definitions";
                        self.error(IssueCode::Structure, place, "slicing", text);
                    }
                    highest = highest.max(*one);
                    members[*one].push((*index, *instance));
                }
                [first, ..] => {
                    let names: Vec<&str> = matched
                        .iter()
                        .filter_map(|it| program.rule(base.slices[*it]).slice_name.as_deref())
                        .collect();
                    let text = format!("this belongs to more than one slice: {}", names.join(", "));
                    self.error(IssueCode::Structure, place, "slicing", text);
                    members[*first].push((*index, *instance));
                }
            }
            self.leave();
        }
        for (slice, members) in base.slices.iter().zip(&members) {
            let rule = program.rule(*slice);
            if rule.is_idle || rule.slice_name.as_deref() == Some("@default") {
                continue;
            }
            self.count(program, rule, members.len(), parent);
            for (index, instance) in members {
                let Some(node) = self.node_of(*instance) else { continue };
                self.enter(&rule.name, *index);
                self.conform(program, *slice, *instance, node, scope);
                self.leave();
            }
            if !rule.slices.is_empty() {
                self.slices(program, *slice, members, parent, scope);
            }
        }
    }

    fn is_in_slice(
        &mut self,
        program: &'a Program,
        slicing: &'a Slicing,
        slice: RuleAt,
        instance: Instance<'a>,
        scope: Scope<'a>,
    ) -> bool {
        if slicing.discriminators.is_empty() {
            // Without one, what meets all that a slice asks belongs to it.
            return self.meets(program, slice, instance, scope);
        }
        slicing
            .discriminators
            .iter()
            .all(|it| self.discriminates(program, it, slice, instance, scope))
    }

    /// Whether an instance meets a rule and all below it. What is wrong is not told.
    fn meets(
        &self,
        program: &'a Program,
        rule: RuleAt,
        instance: Instance<'a>,
        scope: Scope<'a>,
    ) -> bool {
        let Some(node) = self.node_of(instance) else { return false };
        let mut run = Run::silent(self.surroundings, self.nesting + 1);
        if run.nesting > 16 {
            return false;
        }
        run.conform(program, rule, instance, node, scope);
        !run.has_errors()
    }

    fn discriminates(
        &mut self,
        program: &'a Program,
        discriminator: &'a Discriminator,
        slice: RuleAt,
        instance: Instance<'a>,
        scope: Scope<'a>,
    ) -> bool {
        let Some(steps) = steps(&discriminator.path) else {
            if let Some(place) = instance.place() {
                let text = format!("the discriminator {discriminator} is not understood");
                self.tell(Severity::Information, IssueCode::NotSupported, place, "slicing", text);
            }
            return false;
        };
        let found = self.follow(instance, &steps, scope);
        match &*discriminator.kind {
            "exists" => {
                let rule = rule_at(program, slice, &steps);
                match rule.map(|it| program.rule(it)) {
                    Some(rule) if rule.max == Some(0) => found.is_empty(),
                    Some(rule) if rule.min > 0 => !found.is_empty(),
                    _ => true,
                }
            }
            "type" => self.is_type(program, slice, &steps, &found, instance, scope),
            "profile" => {
                let Some(rule) = rule_at(program, slice, &steps) else { return false };
                found.iter().any(|it| self.has_profile(program, program.rule(rule), *it, scope))
            }
            _ => match expected(program, slice, &steps, self) {
                Expected::Nothing => false,
                Expected::Template(template) => {
                    found.iter().any(|it| it.value.is_some_and(|value| template.matches(value)))
                }
                Expected::Url(url) => {
                    found.iter().any(|it| it.value.is_some_and(|value| value.is_string(url)))
                }
                Expected::Rule(rule) => found.iter().any(|it| {
                    let bound = program.rule(rule).binding.as_ref();
                    match bound.filter(|it| &*it.binding.strength == "required") {
                        Some(bound) => self.is_bound_in(bound, *it),
                        None => self.meets(program, rule, *it, scope),
                    }
                }),
            },
        }
    }

    fn is_bound_in(&self, bound: &'a crate::program::Bound, instance: Instance<'a>) -> bool {
        let Some(url) = &bound.binding.value_set else { return false };
        let Ok(set) = self.validator.terminology().resolve(url) else { return false };
        let coded = instance.value.and_then(|it| Coded::of(&self.type_of(instance), it));
        coded.is_some_and(|it| binding::is_in(&set, &it) == Ok(true))
    }

    fn is_type(
        &self,
        program: &'a Program,
        slice: RuleAt,
        steps: &[Step<'_>],
        found: &[Instance<'a>],
        instance: Instance<'a>,
        scope: Scope<'a>,
    ) -> bool {
        let schema = self.validator.schema();
        let is_resolved = steps.last() == Some(&Step::Resolve);
        let before = if is_resolved { &steps[..steps.len() - 1] } else { steps };
        let Some(rule) = rule_at(program, slice, before) else { return false };
        let definition = &program.structure.elements[rule as usize];
        if is_resolved {
            let mut types = Vec::new();
            for reference in self.follow(instance, before, scope) {
                let text = reference.value.and_then(|it| it.get_str("reference"));
                let stated = reference.value.and_then(|it| it.get_str("type"));
                let text = text.unwrap_or_default();
                types.extend(self.target_type(&text, stated.as_deref(), scope));
            }
            let targets = definition.types.iter().flat_map(|it| &it.target_profiles);
            let targets = targets.filter_map(|it| {
                self.validator.definitions().structure_from(&program.structure, it)
            });
            let targets: Vec<&str> = targets.map(|it| &*it.type_name).collect();
            return types.iter().any(|name| targets.iter().any(|it| schema.is_subtype(name, it)));
        }
        found.iter().any(|it| {
            let name = self.type_of(*it);
            definition.types.iter().any(|it| schema.is_subtype(&name, &it.code))
        })
    }

    fn has_profile(
        &self,
        program: &'a Program,
        rule: &'a Rule,
        instance: Instance<'a>,
        scope: Scope<'a>,
    ) -> bool {
        let Some(node) = self.node_of(instance) else { return false };
        let types = rule.types.as_deref().unwrap_or_default();
        let profiles = types.iter().flat_map(|it| it.profiles.iter().chain(&it.target_profiles));
        let mut profiles =
            profiles.filter_map(|it| self.validator.profile_from(&program.structure, it));
        let schema = self.validator.schema();
        profiles.any(|profile| {
            schema.is_subtype(schema.node_path(node), &profile.structure.type_name)
                && self.surroundings.conforms(instance, node, scope, profile, self.nesting)
                    == Some(true)
        })
    }

    /// What stands at the end of a path.
    fn follow(
        &self,
        from: Instance<'a>,
        steps: &[Step<'_>],
        scope: Scope<'a>,
    ) -> Vec<Instance<'a>> {
        let schema = self.validator.schema();
        let mut current = vec![from];
        for step in steps {
            let mut next = Vec::new();
            for instance in current {
                match step {
                    Step::Name(name) => {
                        if let (Some(node), Some(object)) =
                            (self.node_of(instance), instance.object())
                        {
                            next.extend(self.find_named(node, object, name));
                        }
                    }
                    Step::Extension(url) => {
                        if let (Some(node), Some(object)) =
                            (self.node_of(instance), instance.object())
                        {
                            next.extend(
                                self.find_named(node, object, "extension").into_iter().filter(
                                    |it| {
                                        it.value
                                            .and_then(|it| it.get("url"))
                                            .is_some_and(|it| it.is_string(url))
                                    },
                                ),
                            );
                        }
                    }
                    Step::OfType(name) => {
                        if schema.is_subtype(&self.type_of(instance), name) {
                            next.push(instance);
                        }
                    }
                    Step::Resolve => {
                        let reference = instance
                            .value
                            .and_then(|it| it.get_str("reference").or_else(|| it.as_str()));
                        if let Some(target) = reference.and_then(|it| self.target(&it, scope)) {
                            let value = Some(target);
                            next.push(Instance { value, sibling: None, element: None });
                        }
                    }
                }
            }
            current = next;
        }
        current
    }

    fn find_named(
        &self,
        node: fhir_schema::Node,
        object: Value<'a>,
        name: &str,
    ) -> Vec<Instance<'a>> {
        let found = crate::profile::find_named(self.validator.schema(), node, object, name);
        found.into_iter().map(|(_, it)| it).collect()
    }
}

/// The rule at the end of a path below a rule, if the profile has one of its own.
fn rule_at(program: &Program, from: RuleAt, steps: &[Step<'_>]) -> Option<RuleAt> {
    let mut at = from;
    for step in steps {
        at = match step {
            Step::Name(name) => child(program, at, name)?,
            Step::Extension(url) => extension(program, at, url)?,
            Step::Resolve | Step::OfType(_) => at,
        };
    }
    Some(at)
}

fn child(program: &Program, at: RuleAt, name: &str) -> Option<RuleAt> {
    program.rule(at).children.iter().copied().find(|it| &*program.rule(*it).name == name)
}

fn extension(program: &Program, at: RuleAt, url: &str) -> Option<RuleAt> {
    let all = child(program, at, "extension")?;
    program.rule(all).slices.iter().copied().find(|it| {
        let types = program.rule(*it).types.as_deref().unwrap_or_default();
        types.iter().flat_map(|it| &it.profiles).any(|it| &**it == url)
    })
}

/// What a slice expects at the end of a path: from a fixed value or pattern of an element on the
/// way, from the extension that the slice is, or from what its rules ask there.
fn expected<'r>(
    program: &'r Program,
    from: RuleAt,
    steps: &[Step<'_>],
    run: &Run<'r>,
) -> Expected<'r> {
    let rule = program.rule(from);
    let names: Option<Vec<&str>> = steps
        .iter()
        .map(|it| match it {
            Step::Name(name) => Some(*name),
            _ => None,
        })
        .collect();
    if let (Some(template), Some(names)) = (rule.fixed.as_ref().or(rule.pattern.as_ref()), &names)
        && let Some(part) = template.at(names)
    {
        return Expected::Template(part);
    }
    let Some((step, rest)) = steps.split_first() else {
        return if rule.is_idle { Expected::Nothing } else { Expected::Rule(from) };
    };
    if let (Step::Name("url"), Some(types)) = (step, &rule.types)
        && let Some(profile) = types.iter().flat_map(|it| &it.profiles).next()
    {
        let url = profile.split_once('|').map_or(&**profile, |(url, _)| url);
        return Expected::Url(url);
    }
    let next = match step {
        Step::Name(name) => child(program, from, name),
        Step::Extension(url) => extension(program, from, url),
        Step::Resolve | Step::OfType(_) => Some(from),
    };
    let Some(next) = next else {
        // The profile of the element's type may fix it.
        let types = rule.types.as_deref().unwrap_or_default();
        let profile = types.iter().flat_map(|it| &it.profiles).next();
        let profile = profile.and_then(|it| run.validator.profile_from(&program.structure, it));
        return match profile {
            Some(profile) if !std::ptr::eq(profile, program) => {
                match expected(profile, 0, steps, run) {
                    Expected::Rule(_) => Expected::Nothing,
                    found => found,
                }
            }
            _ => Expected::Nothing,
        };
    };
    match expected(program, next, rest, run) {
        found @ (Expected::Template(_) | Expected::Url(_)) => found,
        found => {
            // An element on the way may have a slice that must be there and fixes the value.
            let slices = program.rule(next).slices.iter().copied();
            let mut of_slices = slices
                .filter(|it| next != from && program.rule(*it).min > 0)
                .map(|it| expected(program, it, rest, run));
            let is_fixed =
                |it: &Expected<'_>| matches!(it, Expected::Template(_) | Expected::Url(_));
            of_slices.find(is_fixed).unwrap_or(found)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_of_discriminators_are_read() {
        // VAL-070
        assert_eq!(steps("$this"), Some(vec![]));
        assert_eq!(steps("code.coding"), Some(vec![Step::Name("code"), Step::Name("coding")]));
        assert_eq!(
            steps("extension('http://a.b/c').value"),
            Some(vec![Step::Extension("http://a.b/c"), Step::Name("value")])
        );
        assert_eq!(
            steps("entry.resolve().ofType(Patient)"),
            Some(vec![Step::Name("entry"), Step::Resolve, Step::OfType("Patient")])
        );
        assert_eq!(steps("a.where(b = 1)"), None);
    }
}
