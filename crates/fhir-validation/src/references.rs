//! References, contained resources, extensions and other rules that stand in the text of the
//! specification rather than in definitions (FHIR R4, 2.3.0, 2.3.0.2, 2.5, 2.24).

use std::collections::HashSet;

use fhir_core::json::{Kind as JsonKind, Value};
use fhir_core::{IssueCode, Reference, Severity};
use fhir_schema::Node;
use fhir_schema::structure::TypeReference;
use fhirpath::FhirValue;

use crate::primitive::{base64_length, has_scheme, has_space_around};
use crate::program::{Program, Rule, compile_anywhere};
use crate::validator::{Depth, SentIn};
use crate::walk::{ExtensionPlace, Instance, Run, Scope};

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
    pub(crate) fn about_resource(&mut self, name: &str, value: Value<'a>, scope: Scope<'a>) {
        self.by_resource_type(name, value);
        let contained = value.get("contained").filter(|it| it.kind() == JsonKind::Array);
        let Some(contained) = contained.filter(|_| !scope.is_contained) else { return };
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
                && self.sent_in == SentIn::Itself)
                .then(|| format!("{}?… is for transactions alone", name.as_str())),
            Ok(_) => None,
        };
        if let Some(problem) = problem {
            self.enter("reference", None);
            self.error(IssueCode::Value, reference, "reference", problem);
            self.leave();
            return;
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

    /// A reference against the types that its element allows.
    pub(crate) fn targets(
        &mut self,
        program: &'a Program,
        types: &[&'a TypeReference],
        value: Value<'a>,
        scope: Scope<'a>,
    ) {
        self.aggregated(types, value, scope);
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
            return;
        }
        allowed.sort_unstable();
        allowed.dedup();
        let text = format!(
            "a reference to {name} cannot stand here, but to one of these: {}",
            allowed.join(", ")
        );
        self.error(IssueCode::Value, reference.unwrap_or(value), "reference-target", text);
    }

    /// An extension against its definition.
    fn about_extension(
        &mut self,
        instance: Instance<'a>,
        value: Value<'a>,
        scope: Scope<'a>,
        node: Node,
    ) {
        let Some(url) = value.get("url") else { return };
        let Some(text) = url.as_str() else { return };
        let place = self.extension_place();
        let is_nested = place.parent_type == "Extension";
        if !has_scheme(&text) {
            if !is_nested {
                self.enter("url", None);
                let said = "the url of an extension is absolute, but for those inside another";
                self.error(IssueCode::Invalid, url, "extension-url", said);
                self.leave();
            }
            return;
        }
        if self.depth < Depth::Profiles {
            return;
        }
        let is_modifier = place.is_modifier;
        let Some(program) = self.validator.profile(&text) else {
            let severity = match (is_modifier, self.refuses_modifiers) {
                (true, true) => Severity::Error,
                (true, false) => Severity::Warning,
                (false, _) => Severity::Information,
            };
            let said = format!("no definition of the extension {text} is loaded");
            return self.tell(severity, IssueCode::NotSupported, url, "extension-unknown", said);
        };
        if &*program.structure.type_name != "Extension" {
            let said = format!("{text} is no extension");
            return self.error(IssueCode::Invalid, url, "extension-url", said);
        }
        let defined = &program.structure.elements[0];
        if defined.flags.is_modifier != is_modifier {
            let said = match is_modifier {
                true => "this extension changes no meaning; put it into 'extension'",
                false => "this extension changes the meaning; put it into 'modifierExtension'",
            };
            self.error(IssueCode::Structure, value, "extension-modifier", said);
        }
        self.extension_context(program, &place, url);
        self.conform(program, 0, instance, node, scope);
    }

    fn extension_context(
        &mut self,
        program: &'a Program,
        place: &ExtensionPlace<'a>,
        url: Value<'a>,
    ) {
        let contexts = &program.structure.contexts;
        // FHIRPath contexts are not evaluated here, and an extension's need its url.
        let is_allowed = contexts.is_empty()
            || contexts.iter().any(|context| match &*context.kind {
                "element" => {
                    let expression = context.expression.trim_end_matches("[x]");
                    let schema = self.validator.schema();
                    place.parent_paths.iter().any(|it| {
                        it.trim_end_matches("[x]") == expression
                            || is_wider_context(&program.structure.url, it)
                    }) || schema.is_subtype(place.parent_type, expression)
                        || expression == "Element"
                }
                "extension" => place.parent_type == "Extension",
                _ => true,
            });
        if !is_allowed {
            let wanted: Vec<&str> = contexts.iter().map(|it| &*it.expression).collect();
            let text = format!(
                "{} cannot stand here, but at: {}",
                program.structure.url,
                wanted.join(", ")
            );
            self.error(IssueCode::Structure, url, "extension-context", text);
        }
    }

    /// What is asked of strings besides their type.
    pub(crate) fn about_text(
        &mut self,
        rule: &'a Rule,
        type_name: &str,
        value: Value<'a>,
        text: &str,
        _scope: Scope<'a>,
    ) {
        match type_name {
            "string" if has_space_around(text) => {
                let said = "there is white space around the text; take it away";
                self.tell(Severity::Warning, IssueCode::Value, value, "white-space", said);
            }
            "url" if !has_scheme(text) && !text.starts_with('#') => {
                let said = "a url is absolute; this one has no scheme such as https";
                self.tell(Severity::Warning, IssueCode::Value, value, "relative-url", said);
            }
            "markdown" if has_tag(text) => {
                let said = "there are HTML tags in the markdown, which are not shown as such";
                self.tell(Severity::Warning, IssueCode::Value, value, "markdown-html", said);
            }
            "id" if &*rule.name == "id" && text.starts_with('#') => {
                let said = "an id stands without '#', which references to it have";
                self.error(IssueCode::Value, value, "contained-id", said);
            }
            "date" | "dateTime" | "instant" => {
                let year = text.get(..4).and_then(|it| it.parse::<u32>().ok());
                if year.is_some_and(|it| !(1800..=2200).contains(&it)) {
                    let said = "the year is far from our time; is it what is meant?";
                    self.tell(Severity::Warning, IssueCode::Value, value, "implausible-date", said);
                }
            }
            _ => {}
        }
    }
}

/// Contexts that published definitions lack, though HL7's own definitions use the extension there.
const WIDER_CONTEXTS: &[(&str, &str)] = &[
    (
        "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type",
        "StructureDefinition.snapshot.element.type",
    ),
    (
        "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type",
        "ElementDefinition.type",
    ),
    ("http://hl7.org/fhir/StructureDefinition/regex", "ElementDefinition.type"),
    ("http://hl7.org/fhir/StructureDefinition/structuredefinition-normative-version", "CodeSystem"),
    ("http://hl7.org/fhir/StructureDefinition/structuredefinition-normative-version", "ValueSet"),
    (
        "http://hl7.org/fhir/StructureDefinition/structuredefinition-normative-version",
        "OperationDefinition",
    ),
    (
        "http://hl7.org/fhir/StructureDefinition/structuredefinition-normative-version",
        "StructureDefinition.snapshot.element",
    ),
    (
        "http://hl7.org/fhir/StructureDefinition/structuredefinition-normative-version",
        "StructureDefinition.differential.element",
    ),
];

fn is_wider_context(url: &str, path: &str) -> bool {
    WIDER_CONTEXTS.contains(&(url, path))
}

fn has_tag(text: &str) -> bool {
    text.match_indices('<').any(|(at, _)| {
        let rest = text[at + 1..].trim_start_matches('/');
        rest.starts_with(|it: char| it.is_ascii_alphabetic())
            && rest.bytes().take(200).any(|it| it == b'>')
    })
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
