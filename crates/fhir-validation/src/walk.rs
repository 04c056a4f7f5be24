//! The walk through a resource by its types (FHIR R4, 2.6.2, 2.4, 2.24): what may stand where, how
//! often, with what value. Profiles are asked where it comes by elements that have some.

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_core::{IssueCode, Severity};
use fhir_schema::{Element, Kind};
use fhirpath::FhirValue;

use crate::host::Surroundings;
use crate::issue::{Issue, Place};
use crate::options::{Contained, Depth, Options};
use crate::program::{Member, Program, Rule, RuleAt};
use crate::validator::Validator;
use crate::{narrative, primitive};

/// One name on the way from the root.
#[derive(Clone, Copy)]
struct Segment<'a> {
    name: &'a str,
    index: Option<usize>,
}

/// One occurrence of an element.
#[derive(Clone, Copy)]
pub(crate) struct Instance<'a> {
    /// The value, and what stands beside it under `_name`.
    pub(crate) value: Option<Value<'a>>,
    pub(crate) sibling: Option<Value<'a>>,
    /// What it is by the type; `None` for a resource by itself.
    pub(crate) element: Option<Element>,
}

/// Whose members an object has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// A resource: `resourceType` is one of them.
    Resource,
    Element,
    /// A primitive that has a value: there its id alone says something too.
    BesideValue,
}

/// The resource that is walked through.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The nearest resource.
    pub(crate) resource: FhirValue<'a>,
    /// The one that contains it, or itself.
    pub(crate) root: FhirValue<'a>,
    /// The fullUrl of the entry of a Bundle in which it stands.
    pub(crate) full_url: Option<Value<'a>>,
    pub(crate) is_contained: bool,
    /// Whether it stands in a Bundle.
    pub(crate) is_bundled: bool,
}

/// Where an extension stands.
pub(crate) struct ExtensionPlace<'a> {
    pub(crate) is_modifier: bool,
    /// What it extends.
    pub(crate) parent: Open<'a>,
}

/// An element that the walk is in.
#[derive(Clone, Copy)]
pub(crate) struct Open<'a> {
    /// Its path, and the path of what defines its content.
    pub(crate) paths: [&'a str; 2],
    /// Its type.
    pub(crate) type_name: &'a str,
    pub(crate) instance: Instance<'a>,
}

/// One validation.
pub(crate) struct Run<'a> {
    pub(crate) validator: &'a Validator<'a>,
    pub(crate) surroundings: &'a Surroundings<'a>,
    pub(crate) options: &'a Options<'a>,
    pub(crate) depth: Depth,
    cap: usize,
    issues: Vec<Issue>,
    path: Vec<Segment<'a>>,
    /// The elements that are open.
    elements: Vec<Open<'a>>,
    /// How often each child of the objects that are open was met.
    counts: Vec<u32>,
    /// Profiles inside profiles.
    pub(crate) nesting: u32,
}

impl<'a> Run<'a> {
    pub(crate) fn new(surroundings: &'a Surroundings<'a>, options: &'a Options<'a>) -> Self {
        Self {
            validator: surroundings.validator,
            surroundings,
            options,
            depth: options.depth,
            cap: options.cap.max(1),
            issues: Vec::new(),
            path: Vec::new(),
            elements: Vec::new(),
            counts: Vec::new(),
            nesting: 0,
        }
    }

    /// A run that only answers whether something holds.
    pub(crate) fn silent(surroundings: &'a Surroundings<'a>, nesting: u32) -> Self {
        Self { nesting, ..Self::new(surroundings, &surroundings.silent) }
    }

    pub(crate) fn into_issues(self) -> Vec<Issue> {
        self.issues
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.issues.iter().any(Issue::is_error)
    }

    /// Whether nobody wants to hear more.
    pub(crate) fn is_full(&self) -> bool {
        self.issues.len() >= self.cap
    }

    pub(crate) fn enter(&mut self, name: &'a str, index: Option<usize>) {
        self.path.push(Segment { name, index });
    }

    pub(crate) fn leave(&mut self) {
        self.path.pop();
    }

    fn expression(&self, below: &str) -> String {
        let mut text = String::new();
        for segment in &self.path {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(segment.name);
            if let Some(index) = segment.index {
                text.push_str(&format!("[{index}]"));
            }
        }
        if !below.is_empty() {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(below);
        }
        text
    }

    /// Where the extension stands that the walk is at.
    pub(crate) fn extension_place(&self) -> Option<ExtensionPlace<'a>> {
        Some(ExtensionPlace {
            is_modifier: self.path.last().is_some_and(|it| it.name == "modifierExtension"),
            parent: *self.elements.iter().rev().nth(1)?,
        })
    }

    /// The names on the way from the nearest resource to the parent of what the walk is at, with
    /// the type of that resource: `Patient.name.given`.
    pub(crate) fn parent_path(&self, resource_type: &str) -> String {
        let above = &self.path[..self.path.len().saturating_sub(1)];
        let begin = above
            .iter()
            .rposition(|it| matches!(it.name, "resource" | "contained" | "outcome"))
            .unwrap_or(0);
        let mut path = resource_type.to_owned();
        for segment in above.iter().skip(begin + 1) {
            path.push('.');
            path.push_str(segment.name);
        }
        path
    }

    /// Whether an error was told since there were as many issues as this.
    pub(crate) fn has_errors_since(&self, count: usize) -> bool {
        self.issues[count.min(self.issues.len())..].iter().any(Issue::is_error)
    }

    pub(crate) fn tell(
        &mut self,
        severity: Severity,
        code: IssueCode,
        at: Value<'_>,
        rule: &str,
        text: impl Into<String>,
    ) {
        self.tell_below("", severity, code, at, rule, text);
    }

    pub(crate) fn tell_below(
        &mut self,
        below: &str,
        severity: Severity,
        code: IssueCode,
        at: Value<'_>,
        rule: &str,
        text: impl Into<String>,
    ) {
        // A run that only answers does not stop at what is no error.
        if self.is_full() || (self.cap == 1 && severity < Severity::Error) {
            return;
        }
        let issue = Issue {
            severity,
            code,
            expression: self.expression(below),
            place: Place { offset: at.offset(), line: 0, column: 0 },
            rule: rule.to_owned(),
            text: text.into(),
        };
        // Two profiles may ask the same.
        let is_known = self.issues.iter().rev().take(64).any(|it| {
            it.place.offset == issue.place.offset
                && it.rule == issue.rule
                && it.expression == issue.expression
                && it.text == issue.text
        });
        if !is_known {
            self.issues.push(issue);
        }
    }

    pub(crate) fn error(
        &mut self,
        code: IssueCode,
        at: Value<'_>,
        rule: &str,
        text: impl Into<String>,
    ) {
        self.tell(Severity::Error, code, at, rule, text);
    }

    /// The whole.
    pub(crate) fn root(&mut self, value: Value<'a>, profiles: &[&str]) {
        let resource = FhirValue::resource(self.validator.schema(), value);
        let scope = Scope {
            resource,
            root: resource,
            full_url: None,
            is_contained: false,
            is_bundled: false,
        };
        self.resource(value, scope, profiles);
    }

    /// A resource: at the root, contained, in an entry or a parameter. Its path is already
    /// entered, the name of its type at the root alone is not.
    pub(crate) fn resource(&mut self, value: Value<'a>, scope: Scope<'a>, profiles: &[&str]) {
        if value.kind() != JsonKind::Object {
            return self.error(
                IssueCode::Structure,
                value,
                "type",
                "a resource is a JSON object with a resourceType",
            );
        }
        let Some(named) = value.get("resourceType") else {
            let text = "resourceType is missing; it says of which type the resource is";
            return self.error(IssueCode::Structure, value, "resource-type", text);
        };
        let name = named.as_str().unwrap_or_default();
        let found = self.validator.schema().resource(&name);
        let (Some(node), Some(program)) = (found, self.validator.type_program(&name)) else {
            let text = format!("'{}' is no resource type; their names are case-sensitive", &*name);
            return self.error(IssueCode::Structure, named, "resource-type", text);
        };
        let is_outermost = self.path.is_empty();
        if is_outermost {
            self.enter(&program.structure.type_name, None);
        }
        let own_name: &'a str = &program.structure.type_name;
        let instance = Instance { value: Some(value), sibling: None, element: None };
        self.elements.push(Open { paths: [own_name; 2], type_name: own_name, instance });
        let first_issue = self.issues.len();
        self.object(program, 0, value, Owner::Resource, scope);
        self.narrative_of(value);
        if self.depth >= Depth::Invariants {
            self.invariants(program.rule(0), instance, scope, program);
        }
        self.about_resource(&name, value, scope, first_issue);
        if self.depth >= Depth::Profiles {
            self.claimed_profiles(value, node, scope, profiles);
            if *name == *"Observation" {
                self.vital_sign(value, node, scope);
            }
        }
        self.elements.pop();
        if is_outermost {
            self.leave();
        }
    }

    fn narrative_of(&mut self, value: Value<'a>) {
        let Some(text) = value.get("text").filter(|it| it.kind() == JsonKind::Object) else {
            return;
        };
        let Some(div) = text.get("div") else { return };
        let Some(xhtml) = div.as_str() else { return };
        let narrative = narrative::read(&xhtml);
        self.enter("text", None);
        self.enter("div", None);
        for problem in narrative.problems {
            self.error(IssueCode::Invalid, div, problem.rule, problem.text);
        }
        let contained = value.get("contained").filter(|it| it.kind() == JsonKind::Array);
        let ids = || contained.into_iter().flat_map(|it| it.items()).filter_map(|it| it.get("id"));
        for image in narrative.images.iter().filter(|image| !ids().any(|id| id.is_string(image))) {
            let said = format!("an image shows '#{image}', and nothing of that id is contained");
            self.tell(Severity::Warning, IssueCode::NotFound, div, "narrative-image", said);
        }
        if let Some(language) = value.get_str("language")
            && let Some(other) = narrative.languages.iter().find(|it| !is_alike(&language, it))
        {
            let said = format!("the narrative is in '{other}', and the resource in '{language}'");
            let kind = IssueCode::Informational;
            self.tell(Severity::Information, kind, div, "narrative-language", said);
        }
        self.leave();
        self.leave();
    }

    /// The members of an object, by a rule with names.
    fn object(
        &mut self,
        program: &'a Program,
        at: RuleAt,
        value: Value<'a>,
        owner: Owner,
        scope: Scope<'a>,
    ) {
        let rule = program.rule(at);
        let is_resource = owner == Owner::Resource;
        let first_count = self.counts.len();
        self.counts.resize(first_count + rule.children.len(), 0);
        let mut is_empty = true;
        // Looking for `_name` is spared where there is none at all.
        let has_siblings = value.named_members().any(|(name, _)| may_be_sibling(name.raw()));
        for (name, member) in value.named_members() {
            if self.is_full() {
                break;
            }
            let Some(name_text) = name.as_str() else { continue };
            if is_resource && name_text == "resourceType" {
                continue;
            }
            if name_text != "id" || owner == Owner::BesideValue {
                is_empty = false;
            }
            let parent = has_siblings.then_some(value);
            self.member(program, rule, first_count, &name_text, (name, member), parent, scope);
        }
        if is_empty && !is_resource {
            let text = "an object without content says nothing; leave it out";
            self.error(IssueCode::Invalid, value, "ele-1", text);
        } else {
            self.missing(program, rule, first_count, value);
        }
        self.counts.truncate(first_count);
    }

    fn missing(
        &mut self,
        program: &'a Program,
        rule: &'a Rule,
        first_count: usize,
        value: Value<'a>,
    ) {
        for (child_at, child) in rule.children.iter().enumerate() {
            let child = program.rule(*child);
            let count = self.counts[first_count + child_at];
            if count < child.min {
                let name = if child.is_choice {
                    format!("{}[x]", child.name)
                } else {
                    child.name.to_string()
                };
                let text = format!(
                    "'{name}' stands here {count} times and must at least {}; add it",
                    child.min
                );
                self.error(IssueCode::Required, value, "cardinality", text);
            } else if child.max.is_some_and(|max| count > max) {
                let text = if child.is_choice {
                    format!("'{}[x]' has one type and value; leave one", child.name)
                } else {
                    format!("'{}' stands here {count} times, which is too often", child.name)
                };
                self.error(IssueCode::Structure, value, "cardinality", text);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a member is, and where")]
    fn member(
        &mut self,
        program: &'a Program,
        rule: &'a Rule,
        first_count: usize,
        name: &str,
        (name_value, member): (Value<'a>, Value<'a>),
        parent: Option<Value<'a>>,
        scope: Scope<'a>,
    ) {
        if let Some(found) = rule.names.get(name) {
            let parent = parent.filter(|_| is_primitive(found.element.kind));
            let sibling = parent.and_then(|it| it.get(&format_sibling(name)));
            return self.occurrences(
                program,
                rule,
                first_count,
                *found,
                Some(member),
                sibling,
                scope,
            );
        }
        let primitive_name = name.strip_prefix('_');
        if let Some(found) = primitive_name.and_then(|name| rule.names.get(name)) {
            let is_alone = parent.is_none_or(|it| it.get(&name[1..]).is_none());
            let may_have = is_primitive(found.element.kind)
                && found.element.kind != Kind::Xhtml
                && !found.element.is_attribute;
            if may_have {
                // Beside a value it was looked at with it.
                if is_alone {
                    self.occurrences(program, rule, first_count, *found, None, Some(member), scope);
                }
                return;
            }
        }
        let mut text = format!("'{name}' is not known here");
        let choice = rule.children.iter().map(|it| program.rule(*it)).find(|it| {
            it.is_choice && name.strip_prefix('_').unwrap_or(name).starts_with(&*it.name)
        });
        match choice {
            Some(choice) => text.push_str(&format!(
                "; '{}' is written with one of its types, and this is none of them",
                choice.name
            )),
            None => text.push_str("; leave it out, or say it by an extension"),
        }
        // The path of a name from outside has no place in a path of ours but at its end.
        let below: String = name.chars().take(64).collect();
        self.tell_below(
            &below,
            Severity::Error,
            IssueCode::Structure,
            name_value,
            "unknown-property",
            text,
        );
    }

    #[expect(clippy::too_many_arguments, reason = "what an element is, and where")]
    fn occurrences(
        &mut self,
        program: &'a Program,
        rule: &'a Rule,
        first_count: usize,
        found: Member,
        value: Option<Value<'a>>,
        sibling: Option<Value<'a>>,
        scope: Scope<'a>,
    ) {
        let child_at = rule.children[found.child as usize];
        let child = program.rule(child_at);
        let element = found.element;
        let count_at = first_count + found.child as usize;
        let shape = |run: &mut Self, given: Option<Value<'a>>| -> bool {
            let Some(given) = given else { return true };
            let is_array = given.kind() == JsonKind::Array;
            if is_array == element.is_array {
                return true;
            }
            run.enter(&child.name, None);
            let text = if is_array {
                "stands at most once, so it is no array; take the brackets away"
            } else {
                "may repeat, so it is an array even with one item; put it in brackets"
            };
            // What is null or of another kind is told once, and as this.
            run.error(IssueCode::Structure, given, "array", text);
            run.leave();
            false
        };
        if !shape(self, value) || !shape(self, sibling) {
            self.counts[count_at] += 1;
            return;
        }
        if !element.is_array {
            self.counts[count_at] += 1;
            self.enter(&child.name, None);
            let instance = Instance { value, sibling, element: Some(element) };
            self.occurrence(program, child, found, instance, scope);
            self.leave();
            return;
        }
        let length = |it: Option<Value<'a>>| it.map_or(0, |it| it.items().count());
        let (values, siblings) = (length(value), length(sibling));
        let total = values.max(siblings);
        if let (0, Some(array)) = (total, value.or(sibling)) {
            self.counts[count_at] += 1;
            self.enter(&child.name, None);
            let text = "an empty array says nothing; leave the element out";
            self.error(IssueCode::Structure, array, "array", text);
            self.leave();
        }
        let mut each_value = value.into_iter().flat_map(|it| it.items());
        let mut each_sibling = sibling.into_iter().flat_map(|it| it.items());
        for index in 0..total {
            if self.is_full() {
                return;
            }
            let value = each_value.next();
            let sibling = each_sibling.next().filter(|it| it.kind() != JsonKind::Null);
            let given = value.filter(|it| it.kind() != JsonKind::Null);
            self.counts[count_at] += 1;
            self.enter(&child.name, Some(index));
            match (given, sibling, value) {
                (None, None, at) => {
                    if let Some(at) = at.or(sibling) {
                        let text = "null stands for nothing here; leave it out";
                        self.error(IssueCode::Structure, at, "null", text);
                    }
                }
                _ => {
                    let instance = Instance { value: given, sibling, element: Some(element) };
                    self.occurrence(program, child, found, instance, scope);
                }
            }
            self.leave();
        }
    }

    fn occurrence(
        &mut self,
        program: &'a Program,
        rule: &'a Rule,
        found: Member,
        instance: Instance<'a>,
        scope: Scope<'a>,
    ) {
        let type_name = self.validator.schema().type_name(found.element);
        let content = found.content.map_or(rule, |it| program.rule(it));
        let paths: [&'a str; 2] = [&rule.path, &content.path];
        self.elements.push(Open { paths, type_name, instance });
        self.typed(program, rule, found, type_name, instance, scope);
        self.elements.pop();
    }

    fn typed(
        &mut self,
        program: &'a Program,
        rule: &'a Rule,
        found: Member,
        type_name: &'a str,
        instance: Instance<'a>,
        scope: Scope<'a>,
    ) {
        let element = found.element;
        match element.kind {
            Kind::Complex(node) | Kind::Reference(node) | Kind::Identifier(node) => {
                let Some(value) = instance.value else { return };
                if value.kind() != JsonKind::Object {
                    let text = if value.kind() == JsonKind::Null {
                        "null stands for nothing here; leave the element out".to_owned()
                    } else {
                        format!("{type_name} is an object; write its elements in braces")
                    };
                    return self.error(IssueCode::Structure, value, "type", text);
                }
                match found.content {
                    Some(content) => self.object(program, content, value, Owner::Element, scope),
                    None => {
                        let Some(of_type) = self.validator.type_program(type_name) else { return };
                        self.object(of_type, 0, value, Owner::Element, scope);
                        if self.depth >= Depth::Invariants {
                            self.invariants(of_type.rule(0), instance, scope, of_type);
                        }
                        self.about_datatype(type_name, instance, scope, node);
                    }
                }
            }
            Kind::Resource => {
                let Some(value) = instance.value else { return };
                let is_passed_over = &*rule.name == "contained"
                    && self.options.contained == Contained::PassOver
                    && value.kind() == JsonKind::Object;
                if is_passed_over {
                    return;
                }
                self.inner_resource(&rule.name, value, scope);
            }
            Kind::Uri
            | Kind::Url
            | Kind::Oid
            | Kind::Uuid
            | Kind::Canonical
            | Kind::Xhtml
            | Kind::Primitive => {
                if !self.primitive(rule, type_name, instance, scope) {
                    return;
                }
            }
        }
        if self.is_full() {
            return;
        }
        if self.depth >= Depth::Invariants {
            self.invariants(rule, instance, scope, program);
        }
        self.demands(program, rule, instance, scope);
    }

    /// A primitive; false when what follows would only repeat what is wrong with it.
    fn primitive(
        &mut self,
        rule: &'a Rule,
        type_name: &'a str,
        instance: Instance<'a>,
        scope: Scope<'a>,
    ) -> bool {
        if let Some(sibling) = instance.sibling {
            if sibling.kind() != JsonKind::Object {
                let text = "beside a primitive value stands an object with id and extension";
                self.error(IssueCode::Structure, sibling, "type", text);
                return false;
            }
            if let Some(program) = self.validator.type_program("Element") {
                let is_beside = instance.value.is_some();
                let owner = if is_beside { Owner::BesideValue } else { Owner::Element };
                self.object(program, 0, sibling, owner, scope);
            }
        }
        let Some(value) = instance.value else { return true };
        if value.kind() == JsonKind::Null {
            let text = "null stands for nothing here; leave the element out";
            self.error(IssueCode::Structure, value, "null", text);
            return false;
        }
        // R4 gives ids of resources the type string, and means id (its own text, 2.26.3.4).
        let is_resource_id = &*rule.name == "id"
            && rule
                .path
                .strip_suffix(".id")
                .is_some_and(|it| it == "Resource" || self.validator.schema().is_resource_type(it));
        let type_name = if is_resource_id { "id" } else { type_name };
        if let Err(problem) = primitive::check(type_name, value) {
            let code = if value.kind() == JsonKind::String || type_name != "boolean" {
                IssueCode::Value
            } else {
                IssueCode::Structure
            };
            self.error(code, value, "type", problem);
            return false;
        }
        if let (JsonKind::String, Some(text)) = (value.kind(), value.as_str()) {
            self.about_text(rule, type_name, value, &text);
        }
        true
    }
}

/// Whether two tags are of one language, wherever it is spoken.
fn is_alike(one: &str, other: &str) -> bool {
    let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    primary(one) == primary(other)
}

fn is_primitive(kind: Kind) -> bool {
    !matches!(kind, Kind::Complex(_) | Kind::Reference(_) | Kind::Identifier(_) | Kind::Resource)
}

/// Whether a name, as it is written, may begin with `_`; it may be an escape.
fn may_be_sibling(raw: &str) -> bool {
    matches!(raw.as_bytes().get(1), Some(b'_' | b'\\'))
}

/// `_name`, without allocating for the names that FHIR has.
fn format_sibling(name: &str) -> SiblingName {
    let mut bytes = [0_u8; 64];
    bytes[0] = b'_';
    let length = name.len().min(63);
    bytes[1..=length].copy_from_slice(&name.as_bytes()[..length]);
    SiblingName { bytes, length: length + 1 }
}

struct SiblingName {
    bytes: [u8; 64],
    length: usize,
}

impl std::ops::Deref for SiblingName {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}
