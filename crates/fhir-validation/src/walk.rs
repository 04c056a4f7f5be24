//! The walk through a resource by its types (FHIR R4, 2.6.2, 2.4, 2.24): what may stand where, how
//! often, with what value. Profiles are asked where it comes by elements that have some.
//!
//! Here are resources and what values their elements have. The members of an object are in
//! `members`, where the walk is and what it tells in `issues`.

mod issues;
mod members;

pub(crate) use issues::ExtensionPlace;

use fhir_core::IssueCode;
use fhir_core::json::{Kind as JsonKind, Value};
use fhir_schema::{Element, Kind};
use fhirpath::FhirValue;

use self::issues::Segment;
use self::members::Owner;
use crate::host::Surroundings;
use crate::issue::Issue;
use crate::options::{Contained, Depth, Options};
use crate::program::{Member, Program, Rule};
use crate::validator::Validator;
use crate::{narrative, primitive};

/// One occurrence of an element.
#[derive(Clone, Copy)]
pub(crate) struct Instance<'a> {
    /// The value, and what stands beside it under `_name`.
    pub(crate) value: Option<Value<'a>>,
    pub(crate) sibling: Option<Value<'a>>,
    /// What it is by the type; `None` for a resource by itself.
    pub(crate) element: Option<Element>,
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
        let problems = narrative::check(&xhtml);
        self.enter("text", None);
        self.enter("div", None);
        for problem in problems {
            self.error(problem.code, div, problem.rule, problem.text);
        }
        self.leave();
        self.leave();
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
