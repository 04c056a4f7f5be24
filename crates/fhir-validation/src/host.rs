//! What lies around an element when its invariants and profiles are asked: the Bundle, the
//! terminology, the profiles. FHIRPath asks it as its host.

use std::cell::RefCell;
use std::collections::HashMap;

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_schema::Node;
use fhirpath::{DateTime, FhirValue, Host, Item, NodeType, ReferenceTypes, Resolved, Unavailable};

use crate::binding::{self, Coded};
use crate::bundle::Entries;
use crate::narrative;
use crate::options::Options;
use crate::program::Program;
use crate::validator::Validator;
use crate::walk::{Instance, Run, Scope};

/// Profiles may ask for conformance to profiles, and these to others; not for ever.
const MAX_NESTING: u32 = 8;

/// How often `conformsTo()` may be asked on behalf of another.
const MAX_ASKED_WITHIN: u32 = 2;

/// All that a validation may look at beyond the element.
pub(crate) struct Surroundings<'a> {
    pub(crate) validator: &'a Validator<'a>,
    pub(crate) entries: Entries<'a>,
    /// What a run is asked that only answers.
    pub(crate) silent: Options<'a>,
    now: Option<DateTime>,
    /// On behalf of how many `conformsTo()` all this is looked at.
    asked_within: u32,
    /// What was found of targets of references, by their places and profiles.
    conforming: RefCell<HashMap<(u32, *const Program), Option<bool>>>,
}

impl<'a> Surroundings<'a> {
    pub(crate) fn new(
        validator: &'a Validator<'a>,
        root: Value<'a>,
        options: &Options<'_>,
    ) -> Self {
        let entries = Entries::of(root);
        let silent = Options::silent(options.depth);
        Self {
            validator,
            entries,
            silent,
            now: options.now,
            asked_within: 0,
            conforming: RefCell::default(),
        }
    }

    /// Whether the target of a reference conforms to a profile; `None` where nobody can tell. Each
    /// is asked once, however many refer to it, and while it is asked it counts as conforming: so
    /// a circle ends.
    pub(crate) fn target_conforms(
        &'a self,
        target: Value<'a>,
        scope: Scope<'a>,
        program: &'a Program,
        nesting: u32,
    ) -> Option<bool> {
        let key = (target.place(), std::ptr::from_ref(program));
        if let Some(known) = self.conforming.borrow().get(&key) {
            return *known;
        }
        let schema = self.validator.schema();
        let node = schema.resource(&target.get_str("resourceType")?)?;
        self.conforming.borrow_mut().insert(key, Some(true));
        let instance = Instance { value: Some(target), sibling: None, element: None };
        let found = self.conforms(instance, node, scope, program, nesting);
        self.conforming.borrow_mut().insert(key, found);
        found
    }

    /// Whether something conforms to a profile; `None` where the profile is not known or this
    /// goes round in a circle.
    pub(crate) fn conforms(
        &'a self,
        instance: Instance<'a>,
        node: Node,
        scope: Scope<'a>,
        program: &'a Program,
        nesting: u32,
    ) -> Option<bool> {
        if nesting >= MAX_NESTING {
            return None;
        }
        let mut run = Run::silent(self, nesting + 1);
        run.conform(program, 0, instance, node, scope);
        Some(!run.has_errors())
    }
}

impl<'a> Host<'a> for Surroundings<'a> {
    fn resolve(&self, reference: &str) -> Resolved<'a> {
        match self.entries.find(reference, None) {
            Some(found) => Resolved::Resource(found),
            None => ReferenceTypes.resolve(reference),
        }
    }

    fn member_of(&self, item: &Item<'a>, value_set: &str) -> Result<Option<bool>, Unavailable> {
        let schema = self.validator.schema();
        let set = self.validator.terminology().resolve(value_set);
        let set = set.map_err(|error| Unavailable::from(error.to_string()))?;
        let unknown = || Unavailable::Borrowed("the code system is not loaded");
        let coded = match item {
            Item::Fhir(value) => match value.value() {
                Some(json) => Coded::of(value.type_name(schema), json),
                None => None,
            },
            _ => None,
        };
        match (coded, item.to_text(schema)) {
            (Some(coded), _) => {
                let found = binding::is_in(&set, &coded);
                found.map(Some).map_err(|why| Unavailable::from(why.to_string()))
            }
            (None, Some(code)) => match set.check_code(&code) {
                fhir_terminology::Membership::Member(_) => Ok(Some(true)),
                fhir_terminology::Membership::Outside => Ok(Some(false)),
                fhir_terminology::Membership::NotKnown(_) => Err(unknown()),
            },
            (None, None) => Ok(None),
        }
    }

    fn conforms_to(
        &self,
        value: &FhirValue<'a>,
        profile: &str,
    ) -> Result<Option<bool>, Unavailable> {
        let unknown = || Unavailable::Borrowed("the profile is not known here");
        let program = self.validator.profile(profile).ok_or_else(unknown)?;
        // A host has no walk to go on with: only a resource or what is one in its document.
        let Some(json) = value.value() else { return Ok(None) };
        let type_name = value.type_name(self.validator.schema());
        let schema = self.validator.schema();
        let is_type = schema.is_subtype(type_name, &program.structure.type_name);
        if !is_type {
            return Ok(Some(false));
        }
        if !program.structure.is_profile() {
            return Ok(Some(true));
        }
        let NodeType::Root(_) = value.node_type() else { return Err(unknown()) };
        // A profile may ask for itself, or for one that asks for it.
        if self.asked_within >= MAX_ASKED_WITHIN {
            return Err(Unavailable::Borrowed("profiles ask for each other without an end"));
        }
        let options = Options { depth: self.silent.depth, ..Options::default() };
        let surroundings = Surroundings {
            asked_within: self.asked_within + 1,
            ..Surroundings::new(self.validator, json, &options)
        };
        let (Some(node), true) = (schema.resource(type_name), json.kind() == JsonKind::Object)
        else {
            return Err(unknown());
        };
        let scope = Scope {
            resource: *value,
            root: *value,
            full_url: None,
            is_contained: false,
            is_bundled: false,
        };
        let instance = Instance { value: Some(json), sibling: None, element: None };
        surroundings
            .conforms(instance, node, scope, program, MAX_NESTING - 2)
            .map(Some)
            .ok_or_else(unknown)
    }

    fn html_checks(&self, xhtml: &str) -> Result<bool, Unavailable> {
        Ok(narrative::is_valid(xhtml))
    }

    fn now(&self) -> Option<DateTime> {
        self.now
    }
}
