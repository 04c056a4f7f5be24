//! What profiles ask of elements: cardinalities, types, values, bindings, slices, invariants (FHIR
//! R4, 5.1 and 2.31). A base type's demands on single elements go the same way.

use std::borrow::Cow;

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_core::{IssueCode, Severity};
use fhir_schema::structure::TypeReference;
use fhir_schema::{Kind, Node, Schema};
use fhirpath::{Context, FhirValue, Item};

use crate::errata::Native;
use crate::options::{BestPractices, Contained, Depth};
use crate::program::{Check, Invariant, Program, Rule, RuleAt, compile_expression};
use crate::walk::{Instance, Run, Scope};

/// Steps that one invariant may take on one element.
pub(crate) const BUDGET: u64 = 2_000_000;

impl<'a> Instance<'a> {
    /// Where the elements in it stand.
    pub(crate) fn object(&self) -> Option<Value<'a>> {
        self.value.filter(|it| it.kind() == JsonKind::Object).or(self.sibling)
    }

    /// A place to tell issues at.
    pub(crate) fn place(&self) -> Option<Value<'a>> {
        self.value.or(self.sibling)
    }
}

impl<'a> Run<'a> {
    /// The profiles that a resource claims, and those that the caller asks for.
    pub(crate) fn claimed_profiles(
        &mut self,
        value: Value<'a>,
        node: Node,
        scope: Scope<'a>,
        asked: &[&str],
    ) {
        let instance = Instance { value: Some(value), sibling: None, element: None };
        let claimed = value.get("meta").and_then(|it| it.get("profile"));
        let claimed = claimed.filter(|it| it.kind() == JsonKind::Array);
        for (index, claim) in claimed.into_iter().flat_map(|it| it.items()).enumerate() {
            let Some(canonical) = claim.as_str() else { continue };
            if asked.contains(&&*canonical) {
                continue;
            }
            match self.validator.profile(&canonical) {
                Some(program) => self.against_profile(program, instance, node, scope),
                None => {
                    self.enter("meta", None);
                    self.enter("profile", Some(index));
                    let text = format!(
                        "the profile {canonical} is not loaded, so nothing was checked against it"
                    );
                    self.tell(
                        Severity::Warning,
                        IssueCode::NotFound,
                        claim,
                        "profile-unknown",
                        text,
                    );
                    self.leave();
                    self.leave();
                }
            }
        }
        for canonical in asked {
            match self.validator.profile(canonical) {
                Some(program) => self.against_profile(program, instance, node, scope),
                None => {
                    let text = format!("the profile {canonical} is not loaded");
                    self.error(IssueCode::NotFound, value, "profile-unknown", text);
                }
            }
        }
    }

    fn against_profile(
        &mut self,
        program: &'a Program,
        instance: Instance<'a>,
        node: Node,
        scope: Scope<'a>,
    ) {
        let schema = self.validator.schema();
        let is_type = schema.is_subtype(schema.node_path(node), &program.structure.type_name);
        if is_type {
            return self.conform(program, 0, instance, node, scope);
        }
        if let Some(value) = instance.value {
            let text = format!(
                "{} is for {}, and this is a {}",
                program.structure.url,
                program.structure.type_name,
                schema.node_path(node)
            );
            self.error(IssueCode::Invalid, value, "profile-type", text);
        }
    }

    /// An element against a rule of a profile and all below it.
    pub(crate) fn conform(
        &mut self,
        program: &'a Program,
        at: RuleAt,
        instance: Instance<'a>,
        node: Node,
        scope: Scope<'a>,
    ) {
        let rule = program.rule(at);
        if rule.is_idle || self.is_full() {
            return;
        }
        if self.depth >= Depth::Invariants {
            self.invariants(rule, instance, scope, program);
        }
        self.demands(program, rule, instance, scope);
        let Some(object) = instance.object() else { return };
        for child_at in &rule.children {
            let child = program.rule(*child_at);
            if child.is_idle {
                continue;
            }
            let found = self.find(node, object, child);
            self.elements(program, *child_at, &found, object, scope);
        }
    }

    /// The occurrences of an element in an object.
    pub(crate) fn find(
        &self,
        node: Node,
        object: Value<'a>,
        rule: &Rule,
    ) -> Vec<(Option<usize>, Instance<'a>)> {
        find_named(self.validator.schema(), node, object, &rule.name)
    }

    fn elements(
        &mut self,
        program: &'a Program,
        at: RuleAt,
        found: &[(Option<usize>, Instance<'a>)],
        parent: Value<'a>,
        scope: Scope<'a>,
    ) {
        let rule = program.rule(at);
        self.count(program, rule, found.len(), parent);
        for (index, instance) in found {
            let Some(node) = self.node_of(*instance) else { continue };
            self.enter(&rule.name, *index);
            self.conform(program, at, *instance, node, scope);
            self.leave();
        }
        if !rule.slices.is_empty() {
            self.slices(program, at, found, parent, scope);
        }
    }

    /// How often an element or slice stands where it does.
    pub(crate) fn count(
        &mut self,
        program: &Program,
        rule: &Rule,
        count: usize,
        parent: Value<'a>,
    ) {
        let what = || match &rule.slice_name {
            Some(slice) => format!("{}:{slice}", rule.name),
            None => rule.name.to_string(),
        };
        if count < rule.min as usize {
            let text = format!(
                "{} asks for at least {} of '{}', and there are {count}; add what is missing",
                program.structure.url,
                rule.min,
                what()
            );
            self.error(IssueCode::Required, parent, "cardinality", text);
        } else if rule.max.is_some_and(|max| count > max as usize) {
            let text = format!(
                "{} allows at most {} of '{}', and there are {count}; leave some out",
                program.structure.url,
                rule.max.unwrap_or_default(),
                what()
            );
            self.error(IssueCode::Structure, parent, "cardinality", text);
        }
    }

    /// The node with the elements of an instance.
    pub(crate) fn node_of(&self, instance: Instance<'a>) -> Option<Node> {
        let schema = self.validator.schema();
        match instance.element.map(|it| it.kind) {
            Some(Kind::Resource) | None => {
                let name = instance.value?.get_str("resourceType")?;
                schema.resource(&name)
            }
            Some(kind) => kind.node().or_else(|| schema.datatype("Element")),
        }
    }

    /// The name of an instance's type.
    pub(crate) fn type_of(&self, instance: Instance<'a>) -> Cow<'a, str> {
        let schema: &'a Schema = self.validator.schema();
        match instance.element {
            Some(element) if element.kind != Kind::Resource => {
                Cow::Borrowed(schema.type_name(element))
            }
            _ => instance.value.and_then(|it| it.get_str("resourceType")).unwrap_or_default(),
        }
    }

    /// What a rule asks of one occurrence: its value, type and code.
    pub(crate) fn demands(
        &mut self,
        program: &'a Program,
        rule: &'a Rule,
        instance: Instance<'a>,
        scope: Scope<'a>,
    ) {
        let Some(place) = instance.place() else { return };
        if let Some(fixed) = &rule.fixed {
            let is_equal = instance.sibling.is_none()
                && instance.value.is_some_and(|value| fixed.equals(value));
            if !is_equal {
                let text = format!(
                    "the value must be exactly what {} fixes at {}",
                    program.structure.url, rule.id
                );
                self.error(IssueCode::Value, place, "fixed", text);
            }
        }
        if let Some(pattern) = &rule.pattern
            && !instance.value.is_some_and(|value| pattern.matches(value))
        {
            let text = format!(
                "the value must have what the pattern of {} has at {}",
                program.structure.url, rule.id
            );
            self.error(IssueCode::Value, place, "pattern", text);
        }
        if let (Some(most), Some(text)) =
            (rule.max_length, instance.value.and_then(|it| it.as_str()))
            && text.chars().nth(most as usize).is_some()
        {
            let text = format!("the text has more than {most} characters");
            self.error(IssueCode::TooLong, place, "max-length", text);
        }
        self.bounds(rule, instance, place);
        if let Some(types) = &rule.types {
            self.types(program, types, instance, scope, place);
        }
        if let Some(bound) = &rule.binding
            && self.depth >= Depth::Terminology
        {
            let type_name = self.type_of(instance);
            self.bound(bound, &type_name, instance);
        }
    }

    fn types(
        &mut self,
        program: &'a Program,
        types: &'a [TypeReference],
        instance: Instance<'a>,
        scope: Scope<'a>,
        place: Value<'a>,
    ) {
        let name = self.type_of(instance);
        let schema = self.validator.schema();
        let is_of = |it: &&TypeReference| {
            // A FHIRPath system type is what the base has already asked for.
            it.code.contains('/')
                || schema.is_subtype(&name, &it.code)
                || (&*it.code == "BackboneElement" || &*it.code == "Element")
        };
        let matching: Vec<&TypeReference> = types.iter().filter(is_of).collect();
        if matching.is_empty() {
            let allowed: Vec<&str> = types.iter().map(|it| &*it.code).collect();
            let text = format!(
                "{} allows here {}, and not {name}",
                program.structure.url,
                allowed.join(" or ")
            );
            return self.error(IssueCode::Structure, place, "type", text);
        }
        if name == "Reference"
            && let Some(value) = instance.value
        {
            self.targets(program, &matching, value, scope);
        }
        // Extensions are held to their definitions wherever they stand.
        if name == "Extension"
            || self.depth < Depth::Profiles
            || matching.iter().any(|it| it.profiles.is_empty())
        {
            return;
        }
        let Some(node) = self.node_of(instance) else { return };
        let profiles: Vec<&Program> = matching
            .iter()
            .flat_map(|it| &it.profiles)
            .filter_map(|it| self.validator.profile_from(&program.structure, it))
            .collect();
        let all = matching.iter().map(|it| it.profiles.len()).sum::<usize>();
        match &profiles[..] {
            [one] if all == 1 => {
                if self.nesting < 16 {
                    self.nesting += 1;
                    self.conform(one, 0, instance, node, scope);
                    self.nesting -= 1;
                }
            }
            several if several.len() == all => {
                let conforms = |it: &&&'a Program| {
                    self.surroundings.conforms(instance, node, scope, it, self.nesting)
                        != Some(false)
                };
                if !several.iter().any(|it| conforms(&it)) {
                    let urls: Vec<&str> = several.iter().map(|it| &*it.structure.url).collect();
                    let text = format!("this conforms to none of {}", urls.join(", "));
                    self.error(IssueCode::Structure, place, "profile", text);
                }
            }
            _ => {
                let text = "a profile that is asked for here is not loaded, so it was not checked";
                self.tell(Severity::Warning, IssueCode::NotFound, place, "profile-unknown", text);
            }
        }
    }

    /// The invariants of a rule on one occurrence.
    pub(crate) fn invariants(
        &mut self,
        rule: &'a Rule,
        instance: Instance<'a>,
        scope: Scope<'a>,
        program: &'a Program,
    ) {
        let Some(place) = instance.place() else { return };
        for invariant in &rule.invariants {
            if self.is_full() {
                return;
            }
            let key = &*invariant.constraint.key;
            // The narrative of what is contained stands in its container (R4 2.3.0.2).
            let is_moot = invariant.constraint.is_best_practice
                && (self.options.best_practices == BestPractices::Silent
                    || (scope.is_contained && key == "dom-6"));
            if is_moot {
                continue;
            }
            match &invariant.check {
                Check::Native(Native::HasContent | Native::Narrative) => {}
                Check::Native(Native::ContainedIsReferred) => {
                    let is_asked = self.options.contained == Contained::Validate;
                    if let (Some(value), false, true) =
                        (instance.value, scope.is_contained, is_asked)
                    {
                        self.unreferred(value, key);
                    }
                }
                Check::Native(Native::ValueOrExtensions) => {
                    let Some(object) = instance.object() else { continue };
                    let has_value = object.named_members().any(|(name, _)| {
                        let raw = name.raw();
                        raw.starts_with("\"value") || raw.starts_with("\"_value")
                    });
                    if has_value == object.get("extension").is_some() {
                        self.broken(invariant, place);
                    }
                }
                Check::Expression { text, compiled } => {
                    let compiled = compiled.get_or_init(|| {
                        compile_expression(text, self.validator.schema(), &rule.path)
                    });
                    match compiled {
                        Ok(expression) => {
                            self.evaluate(invariant, expression, instance, scope, place);
                        }
                        Err(reason) => {
                            let text = format!(
                                "{key} of {} cannot be evaluated: {reason}",
                                program.structure.url
                            );
                            self.tell(Severity::Warning, IssueCode::NotSupported, place, key, text);
                        }
                    }
                }
            }
        }
    }

    fn evaluate(
        &mut self,
        invariant: &'a Invariant,
        expression: &'a fhirpath::Expression,
        instance: Instance<'a>,
        scope: Scope<'a>,
        place: Value<'a>,
    ) {
        let schema = self.validator.schema();
        let focus = match instance.element {
            Some(element) => FhirValue::element(schema, element, instance.value, instance.sibling),
            None => instance.value.map(|value| FhirValue::resource(schema, value)),
        };
        let Some(focus) = focus else { return };
        let surroundings: &'a crate::host::Surroundings<'a> = self.surroundings;
        let context = Context::new(schema)
            .with_resource(scope.resource)
            .with_root_resource(scope.root)
            .with_host(surroundings)
            .with_budget(BUDGET);
        match expression.is_true(&context, &Item::Fhir(focus)) {
            Ok(Some(true)) => {}
            // Nothing is not true: so the reference implementation reads invariants.
            Ok(Some(false) | None) => self.broken(invariant, place),
            Err(error) => {
                let text = format!(
                    "{} was not evaluated: {error}; its text: {}",
                    invariant.constraint.key, invariant.constraint.human
                );
                let key = &*invariant.constraint.key;
                self.tell(Severity::Warning, IssueCode::NotSupported, place, key, text);
            }
        }
    }

    fn broken(&mut self, invariant: &'a Invariant, place: Value<'a>) {
        let constraint = &invariant.constraint;
        let text = format!("does not hold: {}", constraint.human);
        self.tell(invariant.severity, IssueCode::Invariant, place, &constraint.key, text);
    }
}

/// The occurrences of an element in an object; of a choice by its short name.
pub(crate) fn find_named<'a>(
    schema: &Schema,
    node: Node,
    object: Value<'a>,
    name: &str,
) -> Vec<(Option<usize>, Instance<'a>)> {
    let mut found = Vec::new();
    match schema.element(node, name) {
        Some(element) => occurrences(object, name, element, &mut found),
        None => {
            for (name, element) in schema.choice(node, name) {
                occurrences(object, name, element, &mut found);
            }
        }
    }
    found
}

/// The occurrences of one JSON name.
fn occurrences<'a>(
    object: Value<'a>,
    name: &str,
    element: fhir_schema::Element,
    found: &mut Vec<(Option<usize>, Instance<'a>)>,
) {
    let value = object.get(name);
    let sibling = match element.kind {
        Kind::Complex(_) | Kind::Reference(_) | Kind::Identifier(_) | Kind::Resource => None,
        _ => object.get(&format!("_{name}")),
    };
    if value.is_none() && sibling.is_none() {
        return;
    }
    let is_there = |it: &Value<'a>| it.kind() != JsonKind::Null;
    let element = Some(element);
    let is_array = [value, sibling].iter().flatten().any(|it| it.kind() == JsonKind::Array);
    if !is_array {
        let value = value.filter(is_there);
        let sibling = sibling.filter(|it| it.kind() == JsonKind::Object);
        if value.is_some() || sibling.is_some() {
            found.push((None, Instance { value, sibling, element }));
        }
        return;
    }
    let mut values = value.into_iter().flat_map(|it| it.items());
    let mut siblings = sibling.into_iter().flat_map(|it| it.items());
    for index in 0.. {
        let (value, sibling) = (values.next(), siblings.next());
        if value.is_none() && sibling.is_none() {
            return;
        }
        let value = value.filter(is_there);
        let sibling = sibling.filter(|it| it.kind() == JsonKind::Object);
        if value.is_some() || sibling.is_some() {
            found.push((Some(index), Instance { value, sibling, element }));
        }
    }
}
