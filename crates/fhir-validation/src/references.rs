//! References, contained resources, extensions and other rules that stand in the text of the
//! specification rather than in definitions (FHIR R4, 2.3.0, 2.3.0.2, 2.5, 2.24).

use std::collections::HashSet;

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_core::{IssueCode, Reference, Severity};
use fhir_schema::Node;
use fhir_schema::structure::TypeReference;
use fhirpath::FhirValue;

use crate::options::{Contained, Depth, SentIn, Targets};
use crate::primitive::{base64_length, has_scheme};
use crate::program::{Program, compile_anywhere};
use crate::walk::{Instance, Run, Scope};

impl<'a> Run<'a> {
    /// A resource inside another, by the element that it stands in.
    pub(crate) fn inner_resource(&mut self, element: &str, value: Value<'a>, scope: Scope<'a>) {
        let resource = FhirValue::resource(self.validator.schema(), value);
        let inner = if element == "contained" {
            if value.get("id").is_none() {
                let text = "a contained resource needs an id, which references name after '#'";
                self.error(IssueCode::Required, value, "contained-id", text);
            }
            Scope { resource, is_contained: true, ..scope }
        } else {
            let full_url = self.surroundings.entries.full_url_of(value);
            Scope { resource, root: resource, full_url, is_contained: false, is_bundled: true }
        };
        self.resource(value, inner, &[]);
    }

    /// What is asked of a resource besides its definition.
    ///
    /// `first_issue` is how many issues there were before it.
    pub(crate) fn about_resource(
        &mut self,
        name: &str,
        value: Value<'a>,
        scope: Scope<'a>,
        first_issue: usize,
    ) {
        self.by_resource_type(name, value, first_issue);
        let contained = value.get("contained").filter(|it| it.kind() == JsonKind::Array);
        let is_asked = !scope.is_contained && self.options.contained == Contained::Validate;
        let Some(contained) = contained.filter(|_| is_asked) else { return };
        let mut ids = HashSet::new();
        for (index, resource) in contained.items().enumerate() {
            if let Some(id) = resource.get("id")
                && let Some(text) = id.as_str()
                && !ids.insert(text)
            {
                self.enter("contained", Some(index));
                self.enter("id", None);
                let said = "another contained resource has this id; give each its own";
                self.error(IssueCode::Duplicate, id, "contained-id", said);
                self.leave();
                self.leave();
            }
        }
    }

    /// dom-3: the contained resources that nothing refers to. One pass through the resource,
    /// however many there are.
    pub(crate) fn unreferred(&mut self, value: Value<'a>, key: &str) {
        let Some(contained) = value.get("contained").filter(|it| it.kind() == JsonKind::Array)
        else {
            return;
        };
        let mut referred = HashSet::new();
        collect_fragments(value, &mut referred);
        for (index, resource) in contained.items().enumerate() {
            let Some(id) = resource.get_str("id") else { continue };
            let mut own = HashSet::new();
            collect_fragments(resource, &mut own);
            // One that refers to its container is part of what is said too.
            if !referred.contains(&*id) && !own.contains("") {
                self.enter("contained", Some(index));
                let text = format!(
                    "nothing refers to this resource; refer to it as '#{id}' or leave it out"
                );
                self.error(IssueCode::Invariant, resource, key, text);
                self.leave();
            }
        }
    }

    /// What is asked of some datatypes besides their definitions.
    pub(crate) fn about_datatype(
        &mut self,
        type_name: &str,
        instance: Instance<'a>,
        scope: Scope<'a>,
        node: Node,
    ) {
        let Some(value) = instance.value else { return };
        match type_name {
            "Reference" => self.about_reference(value, scope),
            "Extension" => self.about_extension(instance, value, scope, node),
            "Coding" => {
                if let Some(system) = value.get("system")
                    && let Some(text) = system.as_str()
                    && !has_scheme(&text)
                {
                    self.enter("system", None);
                    let said = "the system of a code is an absolute URI";
                    self.error(IssueCode::Invalid, system, "coding-system", said);
                    self.leave();
                }
                if self.depth >= Depth::Terminology {
                    self.known_code(value);
                }
            }
            "Expression" => self.about_expression(value),
            "Identifier" => self.about_identifier(value),
            "Attachment" => {
                let stated: Option<usize> =
                    value.get("size").and_then(|it| it.as_number()?.parse().ok());
                let data = value.get_str("data").and_then(|it| base64_length(&it));
                if let (Some(stated), Some(data)) = (stated, data)
                    && stated != data
                    && let Some(size) = value.get("size")
                {
                    let said =
                        format!("the size is stated as {stated}, and the data has {data} bytes");
                    self.error(IssueCode::Structure, size, "attachment-size", said);
                }
            }
            _ => {}
        }
    }

    /// FHIRPath in a resource is FHIRPath (R4, 2.1.28.0.15).
    fn about_expression(&mut self, value: Value<'a>) {
        let is_fhirpath = value.get("language").is_some_and(|it| it.is_string("text/fhirpath"));
        let Some(expression) = value.get("expression").filter(|_| is_fhirpath) else { return };
        let Some(text) = expression.as_str() else { return };
        if let Err(reason) = compile_anywhere(&text, self.validator.schema()) {
            self.enter("expression", None);
            let said = format!("this is no FHIRPath: {reason}");
            self.error(IssueCode::Invalid, expression, "fhirpath", said);
            self.leave();
        }
    }

    /// The value of an identifier whose system says that it is a URI (R4, Identifier Registry).
    fn about_identifier(&mut self, identifier: Value<'a>) {
        let is_uri = identifier.get("system").is_some_and(|it| it.is_string("urn:ietf:rfc:3986"));
        let Some(value) = identifier.get("value").filter(|_| is_uri) else { return };
        if value.as_str().is_some_and(|it| !has_scheme(&it)) {
            self.enter("value", None);
            let said = "by its system the value is a URI, which begins with a scheme such as urn:";
            self.tell(Severity::Warning, IssueCode::Value, value, "identifier-uri", said);
            self.leave();
        }
    }

    fn about_reference(&mut self, value: Value<'a>, scope: Scope<'a>) {
        let Some(reference) = value.get("reference") else { return };
        let Some(text) = reference.as_str() else { return };
        if text.starts_with('#') || text.is_empty() {
            // ref-1 says whether it is there.
            return;
        }
        let schema = self.validator.schema();
        let problem = match Reference::parse(&text) {
            Err(error) => Some(error.to_string()),
            Ok(Reference::Relative(target)) => {
                let name = target.resource_type.as_str();
                (!schema.is_resource_type(name))
                    .then(|| format!("'{name}' is no resource type; names are case-sensitive"))
            }
            Ok(Reference::Conditional(name, _)) => (!scope.is_bundled
                && matches!(self.options.sent_in, SentIn::Itself))
            .then(|| format!("{}?… is for transactions alone", name.as_str())),
            Ok(_) => None,
        };
        if let Some(problem) = problem {
            self.enter("reference", None);
            self.error(IssueCode::Value, reference, "reference", problem);
            self.leave();
            return;
        }
        let is_for_here = !has_scheme(&text) || text.starts_with("urn:");
        if self.options.targets == Targets::Given
            && scope.is_bundled
            && is_for_here
            && self.target(&text, scope).is_none()
        {
            let said = format!("'{text}' is not given here; add it, or refer to what is");
            self.error(IssueCode::NotFound, value, "reference-missing", said);
        }
        if let (Some(named), Some(target)) =
            (value.get("type"), self.target_type(&text, None, scope))
            && let Some(name) = named.as_str()
            && !has_scheme(&name)
            && schema.is_resource_type(&target)
            && *name != *target
        {
            self.enter("type", None);
            let said = format!("the reference is to a {target}, and not to a {name}");
            self.error(IssueCode::Value, named, "reference-type", said);
            self.leave();
        }
    }

    /// The type of what a reference points at, if it can be told.
    pub(crate) fn target_type(
        &self,
        reference: &str,
        stated: Option<&str>,
        scope: Scope<'a>,
    ) -> Option<String> {
        if let Some(found) = self.target(reference, scope) {
            return found.get_str("resourceType").map(Into::into);
        }
        if let SentIn::Transaction(entries) = self.options.sent_in
            && let Some(name) = entries.type_of(reference)
        {
            return Some(name);
        }
        match Reference::parse(reference) {
            Ok(Reference::Relative(target) | Reference::Absolute(_, target)) => {
                let name = target.resource_type.as_str();
                self.validator.schema().is_resource_type(name).then(|| name.to_owned())
            }
            Ok(Reference::Conditional(name, _)) => Some(name.as_str().to_owned()),
            _ => stated.map(ToOwned::to_owned),
        }
    }

    /// What a reference points at, within the resource and its Bundle.
    pub(crate) fn target(&self, reference: &str, scope: Scope<'a>) -> Option<Value<'a>> {
        if let Some(id) = reference.strip_prefix('#') {
            let root = scope.root.value()?;
            if id.is_empty() {
                return Some(root);
            }
            let contained = root.get("contained")?;
            return contained.items().find(|it| it.get("id").is_some_and(|it| it.is_string(id)));
        }
        let full_url = scope.full_url.and_then(|it| it.as_str());
        self.surroundings.entries.find(reference, full_url.as_deref())
    }

    /// Whether a reference leads where its element allows: into the same resource, the same
    /// Bundle, or anywhere (ElementDefinition.type.aggregation).
    fn aggregated(&mut self, types: &[&'a TypeReference], value: Value<'a>, scope: Scope<'a>) {
        let Some(reference) = value.get("reference") else { return };
        let Some(text) = reference.as_str() else { return };
        if types.iter().any(|it| it.aggregation.is_empty()) {
            return;
        }
        let mode = if text.starts_with('#') {
            "contained"
        } else if scope.is_bundled && self.target(&text, scope).is_some() {
            "bundled"
        } else {
            "referenced"
        };
        let mut allowed = types.iter().flat_map(|it| &it.aggregation);
        if allowed.all(|it| &**it != mode) {
            let allowed: Vec<&str> =
                types.iter().flat_map(|it| &it.aggregation).map(|it| &**it).collect();
            let said = format!("the target is {mode}, and must be {}", allowed.join(" or "));
            self.error(IssueCode::Value, reference, "reference-aggregation", said);
        }
    }

    /// Whether a reference names a version where it must, or must not
    /// (ElementDefinition.type.versioning).
    fn versioned(&mut self, types: &[&'a TypeReference], value: Value<'a>) {
        let Some(reference) = value.get("reference") else { return };
        let Some(text) = reference.as_str() else { return };
        let has_version = text.contains("/_history/");
        let fits = |it: &&'a TypeReference| match it.versioning.as_deref() {
            Some("independent") => !has_version,
            Some("specific") => has_version,
            _ => true,
        };
        if !types.iter().any(fits) {
            let said = match has_version {
                true => "the reference must not name a version; leave /_history/… out",
                false => "the reference must name a version; add /_history/ and the version's id",
            };
            self.error(IssueCode::Value, reference, "reference-versioning", said);
        }
    }

    /// What a reference leads to, where it is at hand, against the profiles that it must meet one
    /// of.
    fn target_profiles(
        &mut self,
        program: &'a Program,
        types: &[&'a TypeReference],
        name: &str,
        value: Value<'a>,
        scope: Scope<'a>,
    ) {
        if self.depth < Depth::Profiles {
            return;
        }
        let schema = self.validator.schema();
        let mut profiles: Vec<&'a Program> = Vec::new();
        for canonical in types.iter().flat_map(|it| &it.target_profiles) {
            let Some(profile) = self.validator.profile_from(&program.structure, canonical) else {
                return;
            };
            if schema.is_subtype(name, &profile.structure.type_name) {
                if !profile.structure.is_profile() {
                    // Any of its type will do.
                    return;
                }
                profiles.push(profile);
            }
        }
        let Some(reference) = value.get("reference") else { return };
        let Some(text) = reference.as_str() else { return };
        let Some(target) = self.target(&text, scope) else { return };
        let resource = FhirValue::resource(schema, target);
        let scope = if text.starts_with('#') {
            Scope { resource, is_contained: true, ..scope }
        } else {
            let full_url = self.surroundings.entries.full_url_of(target);
            Scope { resource, root: resource, full_url, is_contained: false, is_bundled: true }
        };
        let surroundings: &'a crate::host::Surroundings<'a> = self.surroundings;
        let nesting = self.nesting;
        let conforms = |it: &&'a Program| {
            surroundings.target_conforms(target, scope, it, nesting) != Some(false)
        };
        if profiles.is_empty() || profiles.iter().any(conforms) {
            return;
        }
        let urls: Vec<&str> = profiles.iter().map(|it| &*it.structure.url).collect();
        let said = format!("what '{text}' refers to conforms to none of {}", urls.join(", "));
        self.error(IssueCode::Value, reference, "reference-profile", said);
    }

    /// A reference against the types that its element allows.
    pub(crate) fn targets(
        &mut self,
        program: &'a Program,
        types: &[&'a TypeReference],
        value: Value<'a>,
        scope: Scope<'a>,
    ) {
        self.aggregated(types, value, scope);
        self.versioned(types, value);
        if types.iter().any(|it| it.target_profiles.is_empty()) {
            return;
        }
        let reference = value.get("reference");
        let text = reference.and_then(|it| it.as_str()).unwrap_or_default();
        let stated = value.get_str("type").filter(|it| !has_scheme(it));
        let Some(name) = self.target_type(&text, stated.as_deref(), scope) else { return };
        let schema = self.validator.schema();
        let definitions = self.validator.definitions();
        let mut allowed: Vec<&str> = Vec::new();
        for profile in types.iter().flat_map(|it| &it.target_profiles) {
            match definitions.structure_from(&program.structure, profile) {
                Some(target) => allowed.push(&target.type_name),
                // What it is of nobody can tell.
                None => return,
            }
        }
        if allowed.iter().any(|it| schema.is_subtype(&name, it)) {
            return self.target_profiles(program, types, &name, value, scope);
        }
        allowed.sort_unstable();
        allowed.dedup();
        let text = format!(
            "a reference to {name} cannot stand here, but to one of these: {}",
            allowed.join(", ")
        );
        self.error(IssueCode::Value, reference.unwrap_or(value), "reference-target", text);
    }
}

/// Every `#…` that a resource's strings have as their whole or, of canonicals, as their end.
fn collect_fragments(value: Value<'_>, found: &mut HashSet<String>) {
    match value.kind() {
        JsonKind::Object => {
            for (_, member) in value.named_members() {
                collect_fragments(member, found);
            }
        }
        JsonKind::Array => {
            for item in value.items() {
                collect_fragments(item, found);
            }
        }
        JsonKind::String => {
            let Some(text) = value.as_str() else { return };
            if let Some(id) = text.strip_prefix('#') {
                found.insert(id.to_owned());
            } else if text.starts_with("<div") {
                // Images and links of the narrative refer too.
                for attribute in ["src=\"#", "src='#", "href=\"#", "href='#"] {
                    for (at, _) in text.match_indices(attribute) {
                        let id = &text[at + attribute.len()..];
                        let id = id.split(['"', '\'']).next().unwrap_or_default();
                        found.insert(id.to_owned());
                    }
                }
            }
        }
        _ => {}
    }
}
